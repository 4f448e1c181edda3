"""Frames out of video files, and into them, by PyAV: an extra, `kerascnn[video]`."""

from __future__ import annotations

import contextlib
import dataclasses
import fractions
import pathlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from export.runtime.answers import clock
from export.runtime.sources import Clip, Turns
from kerascnn.errors import InputError, reason
from training.common import atomic

# By the ending of a drawn video: codecs and their options, the first that PyAV has is taken. H.264
# plays everywhere; a PyAV without x264 has another encoder of it, or MPEG-4's older one.
_H264: Mapping[str, dict[str, str]] = {
    "libx264": {"crf": "20", "preset": "veryfast"},
    "libopenh264": {},
    "mpeg4": {"q": "4"},
}
_VP9 = {"libvpx-vp9": {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "6"}}
WRITTEN = {".mp4": _H264, ".m4v": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9}
_BT709, _LIMITED = 1, 1  # matrix, primaries and curve of colours, and their range (H.273)
_TICKS = 60_000  # per second; frame rates of films and of television are whole numbers of these
_RATE = 30.0  # per second, of a video that does not say


def require() -> types.ModuleType:
    """PyAV; raises InputError with the command that installs it."""
    try:
        import av
    except ImportError:
        raise InputError("videos need PyAV: pip install 'kerascnn[video]'") from None
    module: types.ModuleType = av
    return module


class UnreadableError(InputError):
    """A video, or a camera, that gives no images."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """An image of a video.

    Attributes:
        pixels: (height, width, 3) uint8, upright, red first.
        number: from 0, among all frames of the video.
        time: seconds from its beginning.
    """

    pixels: np.ndarray
    number: int
    time: float


class Frames:
    """The wanted frames of a video file, in order.

    The rotation that phones note is applied; a frame that cannot be decoded, or only in part, is
    left out.

    Args:
        path: of the file.
        clip: which frames are wanted.

    Attributes:
        broken: frames that were left out, as far as the file was read.
        rate: frames per second that are handed out, at most.

    Raises:
        InputError: PyAV is missing.
        UnreadableError: no such file, or one without video.
    """

    def __init__(self, path: str, clip: Clip) -> None:
        self._av, self._path, self._clip = require(), path, clip
        if not pathlib.Path(path).is_file():
            raise UnreadableError(f"{path}: no such video")
        self.broken = 0
        with self._opened() as (_container, stream):
            rate = float(stream.average_rate or stream.guessed_rate or _RATE)
        self._rate = rate
        self.rate = min(rate / clip.every, clip.fps or rate)

    def __iter__(self) -> Iterator[Frame]:
        """Decode the file from its beginning.

        Raises:
            UnreadableError: nothing of it can be decoded, or no frame is wanted.
        """
        turns, shown, last, over = Turns(self._clip), False, None, False
        for number, time, frame in self._decoded():
            last = time
            if over := self._clip.over(time):
                break
            if turns.wants(number, time):
                shown = True
                yield Frame(pixels=_pixels(frame), number=number, time=time)
        if last is None:
            raise UnreadableError(f"{self._path} has no frame that can be decoded; get it again")
        if not shown:
            start, end = self._clip.start, last + 1 / self._rate  # when the last one is over
            raise UnreadableError(
                f"{self._path} starts after the end ({clock(end)}): --start {clock(start)}"
                if start >= end and not over
                else f"{self._path} has no frame in the part that is asked for; ask for more of it"
            )

    def _decoded(self) -> Iterator[tuple[int, float, Any]]:
        """Number, time and frame, from the one on that can be decoded before the clip's start."""
        number, target = self._beginning()
        with self._opened() as (container, stream):
            if target is not None:
                try:
                    container.seek(target, stream=stream)
                except self._av.error.FFmpegError:  # a container without an index
                    number = 0
            tick = float(stream.time_base)
            evenly = container.format.name == "avi"  # which knows no times of reordered frames
            first = (stream.start_time or 0) * tick
            packets = container.demux(stream)
            while True:
                try:
                    frames = next(packets).decode()
                except StopIteration:
                    return
                except self._av.error.InvalidDataError:
                    self.broken, number = self.broken + 1, number + 1
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        self.broken += 1
                    else:
                        timed = frame.pts is not None and not evenly
                        time = frame.pts * tick - first if timed else number / self._rate
                        yield number, time, frame
                    number += 1

    def _beginning(self) -> tuple[int, int | None]:
        """The last frame before the clip's start that needs no other: number and place."""
        number, target = 0, None
        if not self._clip.start:
            return number, target
        with self._opened() as (container, stream):
            begin = (stream.start_time or 0) + self._clip.start / stream.time_base
            for count, packet in enumerate(container.demux(stream)):
                if packet.dts is not None and packet.dts > begin:
                    break
                if packet.is_keyframe and packet.pts is not None and packet.pts <= begin:
                    number, target = count, packet.pts
        return number, target

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """The container, and its video."""
        try:
            with self._av.open(self._path) as container:
                if not container.streams.video:
                    raise UnreadableError(
                        f"{self._path} has no video in it, or is cut short; replace or remove it"
                    )
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                yield container, stream
        except UnreadableError:
            raise
        except (self._av.error.FFmpegError, ValueError) as error:
            raise UnreadableError(
                f"{self._path} is not a readable video ({reason(error)}); replace or remove it"
            ) from error


def _pixels(frame: Any) -> np.ndarray:
    """(height, width, 3) uint8, upright, transparent pixels on white."""
    if any(component.is_alpha for component in frame.format.components):
        layers = frame.to_ndarray(format="rgba").astype(np.uint16)
        opaque = layers[..., 3:]
        mixed = layers[..., :3] * opaque + 255 * (255 - opaque)
        pixels = ((mixed + 127) // 255).astype(np.uint8)
    else:
        pixels = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return pixels if matrix is None else _turned(pixels, np.frombuffer(bytes(matrix), np.int32))


def _turned(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Pixels as a display matrix shows them (ISO 14496-12, 8.3.2): in quarter turns and mirrored.

    Args:
        matrix: (9,) a, b, u, c, d, v, x, y, w: (p, q) is shown at (a p + c q, b p + d q).
    """
    a, b, c, d = matrix[[0, 1, 3, 4]]
    if abs(int(b)) > abs(int(a)):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    pixels = pixels[::-1] if d < 0 else pixels
    return np.ascontiguousarray(pixels[:, ::-1] if a < 0 else pixels)


@contextlib.contextmanager
def writing(path: pathlib.Path, rate: float) -> Iterator[Writer]:
    """While open, frames make a video without sound, which gets its name in the end.

    Args:
        path: ends as one of `WRITTEN`.
        rate: frames per second that are to be expected.

    Raises:
        InputError: PyAV is missing, or another ending.
        OSError: the file cannot be written.
    """
    require_written(path)
    av = require()
    try:
        with contextlib.ExitStack() as stack:
            yield Writer(path, rate, stack)
    except av.error.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def require_written(path: pathlib.Path) -> None:
    """Raise InputError for a drawn video of another ending than `WRITTEN` has."""
    if path.suffix.lower() not in WRITTEN:
        raise InputError(f"{path}: videos are written as {' '.join(WRITTEN)}; choose one of them")


class Writer:
    """See `writing`; nothing is written without a frame.

    Args:
        stack: ends when all frames are there.
    """

    def __init__(self, path: pathlib.Path, rate: float, stack: contextlib.ExitStack) -> None:
        self._av, self._path, self._rate, self._stack = require(), path, rate, stack
        self._container: Any = None
        self._stream: Any = None
        self._first, self._tick = 0.0, -1

    def write(self, pixels: np.ndarray, time: float) -> None:
        """Add (height, width, 3) uint8, which is shown at a time, in seconds.

        The first frame has its time at the video's beginning; sides become even, as 4:2:0 needs.
        """
        if self._stream is None:
            self._first = time
            self._begin(*pixels.shape[:2])
        odd = [(0, side % 2) for side in pixels.shape[:2]]
        frame = self._av.VideoFrame.from_ndarray(np.pad(pixels, (*odd, (0, 0)), "edge"), "rgb24")
        stream = self._stream
        frame = frame.reformat(
            *(stream.width, stream.height, stream.pix_fmt), dst_colorspace="ITU709"
        )
        self._tick = max(self._tick + 1, round((time - self._first) * _TICKS))
        frame.pts, frame.time_base = self._tick, fractions.Fraction(1, _TICKS)
        self._put(frame)

    def _begin(self, height: int, width: int) -> None:
        codec, options = self._codec()
        temporary = self._stack.enter_context(atomic.replacing(self._path))
        self._container = self._stack.enter_context(self._av.open(str(temporary), "w"))
        rate = fractions.Fraction(self._rate).limit_denominator(1001)
        stream = self._container.add_stream(codec, rate=max(rate, fractions.Fraction(1, 1001)))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.options = "yuv420p", options
        context = stream.codec_context
        context.time_base = fractions.Fraction(1, _TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        self._stream = stream
        self._stack.push(self._end)

    def _codec(self) -> tuple[str, dict[str, str]]:
        for name, options in WRITTEN[self._path.suffix.lower()].items():
            with contextlib.suppress(self._av.error.FFmpegError, ValueError):
                self._av.codec.Codec(name, "w")
                return name, options
        raise InputError(f"{self._path}: this PyAV has no encoder for it; choose another ending")

    def _end(self, kind: type[BaseException] | None, *_error: object) -> None:
        """What the encoder still holds; nothing of a video that is given up."""
        if kind is None:
            self._put(None)

    def _put(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
