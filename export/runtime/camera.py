"""Frames of a camera, by OpenCV: an extra, `kerascnn[camera]`.

PyAV's own packages open no cameras.
"""

from __future__ import annotations

import time
import types
from collections.abc import Iterator

from export.runtime.sources import Clip, Turns
from export.runtime.video import Frame, UnreadableError
from kerascnn.errors import InputError

_FAILURES = 30  # frames in a row that a camera does not give, before it counts as gone
_RATE = 30.0  # per second, of a camera that does not say


def require() -> types.ModuleType:
    """OpenCV; raises InputError with the command that installs it."""
    try:
        import cv2
    except ImportError:
        raise InputError("cameras need OpenCV: pip install 'kerascnn[camera]'") from None
    module: types.ModuleType = cv2
    return module


class Camera:
    """The wanted frames of a camera, until it is gone or nobody asks for more.

    Args:
        number: as the system counts cameras, from 0.
        clip: which frames are wanted; times are since the first one.

    Attributes:
        broken, rate: as of `export.runtime.video.Frames`.

    Raises:
        InputError: OpenCV is missing.
        UnreadableError: the camera cannot be opened.
    """

    def __init__(self, number: int, clip: Clip) -> None:
        self._number, self._clip, self._cv2 = number, clip, require()
        self._capture = self._cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise UnreadableError(
                f"camera:{number} cannot be opened; see whether it is there, and whether another "
                "program has it"
            )
        self.broken = 0
        rate = self._capture.get(self._cv2.CAP_PROP_FPS) or _RATE
        self.rate = min(rate / clip.every, clip.fps or rate)

    def __iter__(self) -> Iterator[Frame]:
        """Take images as they come.

        Raises:
            UnreadableError: the camera gives none.
        """
        turns, failures, number = Turns(self._clip), 0, -1
        began: float | None = None
        try:
            while failures < _FAILURES:
                there, image = self._capture.read()
                if not there:
                    self.broken, failures = self.broken + 1, failures + 1
                    continue
                now = time.monotonic()
                began = now if began is None else began
                failures, number = 0, number + 1
                if self._clip.over(now - began):
                    return
                if turns.wants(number, now - began):
                    pixels = self._cv2.cvtColor(image, self._cv2.COLOR_BGR2RGB)
                    yield Frame(pixels=pixels, number=number, time=now - began)
        finally:
            self._capture.release()
        raise UnreadableError(f"camera:{self._number} gives no more images; plug it in again")
