"""The frame that what a file of each task says of images fills."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from export.runtime.answers import Answer
from export.runtime.load import THREADS
from export.runtime.model_facts import ModelFacts
from kerascnn.errors import InputError, reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What to tell of each image.

    Attributes:
        top: labels per image (of classifiers); None: by the task.
        score: the lowest score of an object or a label; None: by the task.
        threads: of the runtime.
    """

    top: int | None = None
    score: float | None = None
    threads: int = THREADS


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """An image that was read.

    Attributes:
        fitted: (height, width, channels) uint8, at the network's geometry; of detectors and
            segmentation networks (n, height, width, 3), one of each tile.
        size: (height, width) of the image itself, upright.
        pixels: (height, width, 3) uint8 of the image itself, where it is to be drawn.
        seconds: that reading took.
    """

    fitted: np.ndarray
    size: tuple[int, int]
    pixels: np.ndarray | None = None
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a file says of an image.

    Attributes:
        answer: makes it, of which image it is, as `Answer`'s image, frame, time and drawn.
        draw: draws it on (height, width, 3) uint8; the second argument says whether all drawings
            have one size, as frames of a video have.
    """

    answer: Callable[..., Answer]
    draw: Callable[[np.ndarray, bool], np.ndarray]


class NumberlessError(InputError):
    """What a file answers to an image is no number."""


class Predictor(abc.ABC):
    """A loaded file, which answers images one after the other.

    Args:
        path: a .tflite or .onnx file, or the model.keras of a run.
        known: what it takes and gives.
        asked: what to tell.

    Attributes:
        columns: of a table of its answers, see `Answer`.
    """

    columns: ClassVar[tuple[str, ...]]

    def __init__(self, path: pathlib.Path, known: ModelFacts, asked: Asked) -> None:
        self.path, self.known, self.asked = path, known, asked

    def read(self, image: str, *, keep: bool) -> Seen:
        """Read an image file; called in several threads.

        Args:
            keep: its pixels, to be drawn on.

        Raises:
            InputError: it cannot be read.
        """
        began = time.perf_counter()
        seen = self._read(image, keep)
        return dataclasses.replace(seen, seconds=time.perf_counter() - began)

    def see(self, pixels: np.ndarray, *, keep: bool) -> Seen:
        """As `read`, of an image (height, width, 3) uint8 that is there already."""
        began = time.perf_counter()
        size = (int(pixels.shape[0]), int(pixels.shape[1]))
        fitted = self.fit(pixels)
        seconds = time.perf_counter() - began
        return Seen(fitted=fitted, size=size, pixels=pixels if keep else None, seconds=seconds)

    @abc.abstractmethod
    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 to the network's geometry, see `Seen`."""

    @abc.abstractmethod
    def find(self, seen: Seen) -> Found:
        """Run the file on an image.

        Raises:
            InputError: it does not answer as its description says.
            NumberlessError: its answer is no number.
        """

    def _read(self, image: str, keep: bool) -> Seen:
        from training.datasets.pictures import read_pixels

        return self.see(read_pixels(image, image), keep=keep)


@contextlib.contextmanager
def answering(path: pathlib.Path) -> Iterator[None]:
    """A file from elsewhere can answer anything, in any shape, or end in any error."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} does not answer as its description says ({reason(error)}); get both again"
        ) from error


def made(answer: type[Answer], **given: Any) -> Callable[..., Answer]:
    """For `Found.answer`: a class with what it says, less of which image."""
    return lambda **place: answer(**place, **given)
