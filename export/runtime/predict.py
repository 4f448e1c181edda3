"""`kerascnn predict`: what a file says of images and of frames, as the phone would say it.

Image files are decoded in threads, and a video in one of its own, a little ahead of the network, so
that any number of them takes the memory of a few.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL import Image

from export.artefacts.kinds import base as kinds
from export.runtime import camera, drawn_places, first_run, video
from export.runtime.answers import Answer
from export.runtime.model_facts import ModelFacts, declared, facts
from export.runtime.predictor import Asked, Found, NumberlessError, Predictor, Seen
from export.runtime.sources import Camera, Clip, Source, Still, Video, moves
from kerascnn.errors import InputError
from training import tasks
from training.common import atomic, framework
from training.common.cores import WORKERS
from training.common.parallel import ahead, in_order
from training.common.registry import loaded
from training.common.wording import counted

# Called with what is wrong with an image that is passed over.
Refuse = Callable[[InputError], None]
_AHEAD = 2  # images per thread that are decoded before their turn


@dataclasses.dataclass(kw_only=True)
class Work:
    """What was done so far, in seconds.

    Attributes:
        images, frames: that were answered.
        broken: frames that could not be decoded.
        reading: decoding and resizing, added up over threads.
        network: the file's own time.
        drawing: drawing and writing of drawings.
    """

    images: int = 0
    frames: int = 0
    broken: int = 0
    reading: float = 0.0
    network: float = 0.0
    drawing: float = 0.0
    began: float = dataclasses.field(default_factory=time.perf_counter)

    def as_text(self) -> str:
        """One line: how much, how fast, and what took the time."""
        count, seconds = self.images + self.frames, time.perf_counter() - self.began
        both = [(self.images, "image"), (self.frames, "frame")]
        done = " and ".join(counted(number, noun) for number, noun in both if number)
        each = {"reading": self.reading, "network": self.network, "drawing": self.drawing}
        parts = ", ".join(
            f"{name} {1000 * took / count:.1f} ms" for name, took in each.items() if took
        )
        noun = "images" if self.images else "frames"
        return (
            f"{done} in {seconds:.1f} s: {count / seconds:,.1f} {noun}/s (each: {parts}; "
            f"reading in {counted(WORKERS, 'thread')} beside the network)"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """How images are gone through.

    Attributes:
        out: gets the drawings: a folder, or one video's file; None for none.
        clip: which frames of videos are wanted.
        refuse: is called with the error of an image that cannot be read, or whose answer is no
            number, which is passed over;
            None: it is raised.
        warn: is called for frames that were left out.
        say: is called for videos that were written.
        stop: whether no more is wanted; asked before every image.
        work: counts what is done.
    """

    out: pathlib.Path | None = None
    clip: Clip = dataclasses.field(default_factory=Clip)
    refuse: Refuse | None = None
    warn: Callable[[str], None] = lambda _line: None
    say: Callable[[str], None] = lambda _line: None
    stop: Callable[[], bool] = lambda: False
    work: Work = dataclasses.field(default_factory=Work)


def answers(
    path: pathlib.Path,
    images: Sequence[str | Source],
    *,
    top: int | None = None,
    score: float | None = None,
    threads: int | None = None,
    tiles: int | None = None,
    overlap: float | None = None,
    known: ModelFacts | None = None,
    order: Order | None = None,
) -> Iterator[Answer]:
    """What a file of any task says of each image, as soon as it is known.

    Args:
        path: a .tflite or .onnx file, or the model.keras of a run.
        images: paths of images, or what `picture_args.sources` found.
        top: labels per image, of classifiers alone; 1 by default.
        score: the lowest score of an object, of detectors alone; 0.3 by default.
        threads: of the runtime; 1 by default.
        tiles, overlap: of detectors and segmentation networks, how larger images are cut into
            tiles (see `kerascnn.preprocessing.Preprocessing`; 0: not); None: as the file says.
        known: what the file takes and gives, where it does not say so itself.
        order: how images are gone through.

    Raises:
        InputError: a file that is not a model, or that nothing describes; what files of another
            task alone are asked for; a missing extra, or a place that drawings cannot go to; all
            before an image is read. A broken image.
    """
    order = order or Order()
    sources = [
        one if isinstance(one, Still) else Still(path=one, name=pathlib.Path(one).name)
        for one in images
    ]
    targets = drawn_places.targets(sources, order.out)
    _require_extras(sources, drawn=order.out is not None)
    model_facts = (known or declared(path)).in_tiles(tiles, overlap)
    task = model_facts.task
    given: dict[str, Any] = {"top": top, "score": score}
    given = {name: value for name, value in given.items() if value is not None}
    _refuse_foreign(path, task, [*given, *([] if order.out is None else ["out"])])
    if path.suffix == ".keras":
        framework.load()
    kind = loaded(kinds.of(task).predicted)
    asked = Asked(**given, **({} if threads is None else {"threads": threads}))
    if known is not None and path.suffix != ".keras":
        first_run.require([path])
    seen = (known or facts(path)).in_tiles(tiles, overlap)
    predictor: Predictor = kind(path, seen, asked)
    order.work.began = time.perf_counter()
    return _Run(predictor, sources, targets, order).answers()


def columns(path: pathlib.Path, known: ModelFacts | None = None) -> tuple[str, ...]:
    """Of a table of a file's answers, behind the image; see `Answer`."""
    kind: type[Predictor] = loaded(kinds.of((known or declared(path)).task).predicted)
    return kind.columns


def _require_extras(sources: Sequence[Source], *, drawn: bool) -> None:
    """Raise InputError where a package for videos or cameras is missing."""
    films = any(isinstance(one, Video) for one in sources)
    cameras = any(isinstance(one, Camera) for one in sources)
    if films or (drawn and cameras):
        video.require()
    if cameras:
        camera.require()


_FOREIGN = {
    "out": "draws nothing",
    "score": "finds no objects",
    "top": "gives no labels of whole images",
}


def _refuse_foreign(path: pathlib.Path, task: str, given: Sequence[str]) -> None:
    """Raise InputError for what the answers of a task have no part for."""
    for name in given:
        if name not in kinds.of(task).asked:
            kind = tasks.of(task).network
            raise InputError(f"{path} is {kind}, which {_FOREIGN[name]}; leave out {name}")


class _Run:
    """One file's way through some images.

    Args:
        targets: where each source is drawn; None for nowhere.
    """

    def __init__(
        self,
        predictor: Predictor,
        sources: Sequence[Source],
        targets: Sequence[pathlib.Path | None],
        order: Order,
    ) -> None:
        self._predictor, self._order, self._work = predictor, order, order.work
        self._pairs = list(zip(sources, targets, strict=True))

    def answers(self) -> Iterator[Answer]:
        """Files that stand together are read in parallel."""
        for moving, group in itertools.groupby(self._pairs, key=lambda pair: moves(pair[0])):
            if moving:
                for source, target in group:
                    yield from self._passing_over(self._of_frames(source, target))
            else:
                yield from self._of_stills(list(group))
            if self._order.stop():
                return

    def _of_stills(self, pairs: Sequence[tuple[Source, pathlib.Path | None]]) -> Iterator[Answer]:
        def read(index: int) -> Seen | InputError:
            source, target = pairs[index]
            try:
                return self._predictor.read(source.path, keep=target is not None)
            except InputError as error:
                return error

        with contextlib.closing(in_order(read, len(pairs), chunk=1, ahead=_AHEAD)) as all_seen:
            for (source, target), seen in zip(pairs, all_seen, strict=True):
                if self._order.stop():
                    return
                if isinstance(seen, InputError):
                    self._refuse(seen)
                    continue
                try:
                    found = self._found(seen)
                except NumberlessError as error:
                    self._refuse(NumberlessError(f"{source.path}: {error}"))
                    continue
                if target is not None and seen.pixels is not None:
                    with self._drawing():
                        image = Image.fromarray(found.draw(seen.pixels, False))
                        with atomic.replacing(target) as temporary:
                            image.save(temporary, "PNG")
                self._work.images += 1
                yield found.answer(image=source.path, drawn=None if target is None else str(target))

    def _of_frames(self, source: Source, target: pathlib.Path | None) -> Iterator[Answer]:
        """Each frame; what could not be decoded is counted."""
        clip = self._order.clip
        frames = (
            camera.Camera(source.number, clip)
            if isinstance(source, Camera)
            else video.Frames(source.path, clip)
        )
        drawn = None if target is None else str(target)
        with (
            contextlib.closing(ahead(self._seen(frames, keep=target is not None))) as all_seen,
            contextlib.nullcontext()
            if target is None
            else video.writing(target, frames.rate) as to,
        ):
            for frame, seen in all_seen:
                if self._order.stop():
                    break
                try:
                    found = self._found(seen)
                except NumberlessError as error:
                    where = f"{source.path}, frame {frame.number}"
                    raise NumberlessError(f"{where}: {error}") from None
                if to is not None:
                    with self._drawing():
                        to.write(found.draw(frame.pixels, True), frame.time)
                self._work.frames += 1
                place = {"frame": frame.number, "time": round(frame.time, 6)}
                yield found.answer(image=source.path, **place, drawn=drawn)
        self._work.broken += frames.broken
        if frames.broken:
            count = counted(frames.broken, "frame")
            self._order.warn(f"{source.path}: {count} could not be decoded")
        if target is not None and target.exists():
            self._order.say(f"{source.path} -> {target}")

    def _seen(
        self, frames: camera.Camera | video.Frames, *, keep: bool
    ) -> Iterator[tuple[video.Frame, Seen]]:
        """Each frame, and what the network takes of it; in a thread of its own."""
        iterator = iter(frames)
        while True:
            began = time.perf_counter()
            if (frame := next(iterator, None)) is None:
                return
            seen = self._predictor.see(frame.pixels, keep=False)
            kept = frame if keep else dataclasses.replace(frame, pixels=seen.fitted)
            yield kept, dataclasses.replace(seen, seconds=time.perf_counter() - began)

    def _passing_over(self, found: Iterator[Answer]) -> Iterator[Answer]:
        """Go on behind a video that cannot be read, or answered."""
        try:
            yield from found
        except (video.UnreadableError, NumberlessError) as error:
            self._refuse(error)

    def _found(self, seen: Seen) -> Found:
        began = time.perf_counter()
        found = self._predictor.find(seen)
        self._work.network += time.perf_counter() - began
        self._work.reading += seen.seconds
        return found

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._work.drawing += time.perf_counter() - began

    def _refuse(self, error: InputError) -> None:
        if self._order.refuse is None:
            raise error
        self._order.refuse(error)
