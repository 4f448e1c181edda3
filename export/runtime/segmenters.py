"""Run a segmentation network's .tflite, .onnx or .keras file on uint8 pictures, for label maps.

A file comes in two forms: the raw one gives `logits`, the other `map`, with the choice of the
likeliest class inside.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from export.graph.signature import INPUT_NAME, MAP, OUTPUT_NAME
from export.runtime.load import (
    THREADS,
    KerasModel,
    LiteRT,
    OnnxRuntime,
    by_ending,
)
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.datasets.segmentation import Palette
from training.segmentation.evaluate import keras_segment_fn

if TYPE_CHECKING:
    import keras


class Segmenter(Protocol):
    """A loaded file.

    Attributes:
        partitions, operations: as of `export.runtime.load.Runtime`. The choice of the likeliest
            class is never delegated.
    """

    @property
    def partitions(self) -> int | None: ...

    @property
    def operations(self) -> tuple[str, ...]: ...

    def segment(self, pictures: np.ndarray) -> np.ndarray:
        """(n, height, width, channels) uint8 -> (n, h', w') uint8 classes."""

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        """A call that runs the file on one prepared picture: what a latency measures."""


def load_segmenter(
    path: pathlib.Path, preprocessing: Preprocessing, *, threads: int = THREADS
) -> Segmenter:
    """Load a file by its ending; a .tflite or .onnx file that gives maps or logits.

    Raises:
        InputError: another ending, a file that its runtime refuses, or one that gives no maps.
    """
    return by_ending(path, _LOADERS, preprocessing, threads)


def palette(info: Mapping[str, Any]) -> Palette | None:
    """The data's own colours, if it has some, of a run.json or of the .json beside a file."""
    colours = info.get("segmenter", {}).get("palette")
    return colours and tuple((int(r), int(g), int(b)) for r, g, b in colours)


class LiteRTSegmenter(LiteRT):
    """A .tflite file in ai_edge_litert."""

    def check(self, path: pathlib.Path) -> None:
        dimensions = len(self._output["shape"])
        of_maps = (self._output["dtype"], dimensions) in ((np.int32, 3), (np.float32, 4))
        if not of_maps or not self.takes_pictures:
            raise _no_segmenter(path, f"{self._output['shape'].tolist()} from one image")

    def segment(self, pictures: np.ndarray) -> np.ndarray:
        return _classes(self.predict(pictures))


class OnnxSegmenter(OnnxRuntime):
    """An .onnx file in onnxruntime, on the CPU."""

    def __init__(self, path: pathlib.Path, preprocessing: Preprocessing, threads: int) -> None:
        super().__init__(path, preprocessing, threads)
        outputs = {output.name: len(output.shape) for output in self._session.get_outputs()}
        if outputs not in ({MAP: 3}, {OUTPUT_NAME: 4}):
            raise _no_segmenter(path, ", ".join(sorted(outputs)))
        (self._named,) = outputs

    def segment(self, pictures: np.ndarray) -> np.ndarray:
        # One after the other: the maps inside are large.
        return _classes(np.concatenate([self.once(picture)()[0] for picture in pictures]))

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        feed = {INPUT_NAME: self._preprocessing.normalise(picture[None])}
        return lambda: self._session.run([self._named], feed)


class KerasSegmenter(KerasModel):
    """A .keras file in Keras, as it was trained: with logits."""

    def __init__(
        self,
        path: pathlib.Path,
        preprocessing: Preprocessing,
        threads: int = THREADS,
        *,
        model: keras.Model | None = None,
    ) -> None:
        super().__init__(path, preprocessing, threads, model=model)
        shapes = [tuple(output.shape) for output in self._model.outputs]
        if [len(shape) for shape in shapes] != [4]:
            raise _no_segmenter(path, ", ".join(map(str, shapes)))
        self.segment = keras_segment_fn(self._model, preprocessing)


def _classes(answers: np.ndarray) -> np.ndarray:
    """Maps as they are, and the likeliest classes of logits."""
    return (answers if answers.ndim == 3 else answers.argmax(axis=-1)).astype(np.uint8)


def _no_segmenter(path: pathlib.Path, outputs: str) -> InputError:
    return InputError(
        f"{path} is not a segmentation network: it gives {outputs}, not {MAP} (1, height, width) "
        f"or {OUTPUT_NAME} (1, height, width, classes) of its images"
    )


_LOADERS: dict[str, Callable[[pathlib.Path, Preprocessing, int], Segmenter]] = {
    ".tflite": LiteRTSegmenter,
    ".onnx": OnnxSegmenter,
    ".keras": KerasSegmenter,
}
