"""What images come from: files, videos, cameras; which of their frames are wanted."""

from __future__ import annotations

import dataclasses
import math

# Containers that PyAV opens; an animated WebP is read as the image that it begins with.
VIDEOS = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".3gp", ".ts",
})  # fmt: skip
_ROUNDING = 1e-6  # seconds that a frame may come before its turn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """Which frames of a video are wanted.

    Attributes:
        every: each so many-th, by its number; 1 for all.
        fps: at most so many per second; None for all.
        start, end: seconds from the video's beginning; frames from `start` on and before `end`.
    """

    every: int = 1
    fps: float | None = None
    start: float = 0.0
    end: float | None = None

    def over(self, time: float) -> bool:
        """Whether a frame, and all after it, are not wanted."""
        return self.end is not None and time >= self.end


class Turns:
    """Which frames of a clip are wanted, of those that are shown in order."""

    def __init__(self, clip: Clip) -> None:
        self._clip, self._due = clip, clip.start

    def wants(self, number: int, time: float) -> bool:
        """Whether a frame's turn has come."""
        late = time + _ROUNDING - self._due
        if late < 0 or number % self._clip.every:
            return False
        if self._clip.fps is not None:
            # The grid stays where it is, so that late frames do not add up.
            self._due += math.floor(late * self._clip.fps + 1) / self._clip.fps
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Still:
    """An image file.

    Attributes:
        path: that answers name it by.
        name: where its drawing goes within a folder, with the file's own ending.
    """

    path: str
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video(Still):
    """A video file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera(Still):
    """A camera; its path is "camera:" and its number."""

    @property
    def number(self) -> int:
        """As the system counts cameras, from 0."""
        return int(self.path.partition(":")[2])


Source = Still | Video | Camera


def moves(source: Source) -> bool:
    """Whether a source has frames."""
    return isinstance(source, Video | Camera)
