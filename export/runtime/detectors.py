"""Run a detector's .tflite, .onnx or .keras file on uint8 pictures in the runtime that ships it."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from export.graph.signature import BOXES, COUNT, DETECTIONS, INPUT_NAME, LABELS, MASKS, SCORES
from export.runtime import suppression
from export.runtime.load import (
    THREADS,
    KerasModel,
    LiteRT,
    OnnxRuntime,
    by_ending,
)
from kerascnn.detection.specs import DetectorSpec, TwoStageSpec
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.detection.metrics import Detections
from training.engine.evaluation import at_once

if TYPE_CHECKING:
    import keras

# Keras works on so many pictures at once.
_PICTURES_AT_ONCE = 16


class Detector(Protocol):
    """A loaded file.

    Attributes:
        partitions, operations: as of `export.runtime.load.Runtime`. The post-processing operation
            is never delegated, and a file with it has a piece behind it that shifts its labels: a
            network in one piece has two then.
        masks: whether detections have masks.
    """

    @property
    def partitions(self) -> int | None: ...

    @property
    def operations(self) -> tuple[str, ...]: ...

    @property
    def masks(self) -> bool: ...

    def detect(self, pictures: np.ndarray) -> list[Detections]:
        """Detections of each of (n, height, width, channels) uint8, in shares of these.

        A network that gives a NaN anywhere has one detection there: label 0, the rest NaN. Only
        where suppression is inside, it drops boxes whose score is NaN by itself.
        """

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        """A call that runs the file on one prepared picture: what a latency measures.

        Decoding and suppression count where the file has them inside.
        """


def load_detector(
    path: pathlib.Path,
    preprocessing: Preprocessing,
    spec: DetectorSpec | TwoStageSpec | None,
    *,
    threads: int = THREADS,
) -> Detector:
    """Load a file by its ending; a .tflite or .onnx file with post-processing inside or without.

    Args:
        spec: what its outputs mean; None of a .tflite or .onnx file with post-processing inside,
            with or without masks, whose outputs need no further explanation.

    Raises:
        InputError: another ending, a file that its runtime refuses, or one that is no detector.
    """
    return by_ending(path, _LOADERS, preprocessing, threads, spec)


_Spec = DetectorSpec | TwoStageSpec | None


class LiteRTDetector(LiteRT):
    """A .tflite file in ai_edge_litert."""

    def __init__(
        self, path: pathlib.Path, preprocessing: Preprocessing, threads: int, spec: _Spec
    ) -> None:
        super().__init__(path, preprocessing, threads)
        self._spec = spec
        named = self._interpreter.get_signature_runner().get_output_details()
        self._indices = {name: detail["index"] for name, detail in named.items()}
        self._inside = _has_postprocess(path, self._indices.keys(), spec)
        self.masks = MASKS in self._indices

    def detect(self, pictures: np.ndarray) -> list[Detections]:
        return _detections(self._spec, self._inside, map(self._outputs, pictures))

    def _outputs(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        self._interpreter.set_tensor(self._input["index"], self._prepare(picture))
        self._interpreter.invoke()
        tensors = self._indices.items()
        return {name: self._interpreter.get_tensor(index) for name, index in tensors}


class OnnxDetector(OnnxRuntime):
    """An .onnx file in onnxruntime, on the CPU."""

    def __init__(
        self, path: pathlib.Path, preprocessing: Preprocessing, threads: int, spec: _Spec
    ) -> None:
        super().__init__(path, preprocessing, threads)
        self._spec = spec
        self._names = [output.name for output in self._session.get_outputs()]
        self._inside = _has_postprocess(path, self._names, spec)
        self.masks = MASKS in self._names

    def detect(self, pictures: np.ndarray) -> list[Detections]:
        return _detections(self._spec, self._inside, map(self._outputs, pictures))

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        feed = {INPUT_NAME: self._preprocessing.normalise(picture[None])}
        return lambda: self._session.run(self._names, feed)

    def _outputs(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self.once(picture)(), strict=True))


class KerasDetector(KerasModel):
    """A .keras file in Keras, as it was trained: of one stage with logits, of two as files are."""

    def __init__(
        self,
        path: pathlib.Path,
        preprocessing: Preprocessing,
        threads: int,
        spec: _Spec,
        *,
        model: keras.Model | None = None,
    ) -> None:
        super().__init__(path, preprocessing, threads, model=model)
        outputs, self._decoder = self._model.output, _decoder(spec)
        coded = self._decoder is not None
        if not isinstance(outputs, list if coded else dict) or (coded and len(outputs) != 2):
            raise InputError(
                f"{path} does not fit its description: it gives {len(self._model.outputs)} "
                f"outputs, not {'boxes and logits' if coded else 'detections'}"
            )
        self.masks = not coded and MASKS in outputs
        self._at_once = at_once(self._model, _PICTURES_AT_ONCE)

    def detect(self, pictures: np.ndarray) -> list[Detections]:
        from keras import ops

        from kerascnn.detection import postprocess

        found: list[Detections] = []
        for begin in range(0, len(pictures), self._at_once):
            block = self._preprocessing.normalise(pictures[begin : begin + self._at_once])
            outputs = self._model(block, training=False)
            if self._decoder is not None:
                codes, logits = map(ops.convert_to_numpy, outputs)
                scores = ops.convert_to_numpy(postprocess.scores(self._decoder, logits))
                found += _decoded(self._decoder, codes, scores)
            else:
                detected = {k: ops.convert_to_numpy(values) for k, values in outputs.items()}
                found += [_of(detected, i) for i in range(len(block))]
        return found


def _has_postprocess(path: pathlib.Path, outputs: Collection[str], spec: _Spec) -> bool:
    """Whether a file's outputs are detections; else they are codes and scores."""
    masked = MASKS in outputs if spec is None else spec.masks
    whole = (*DETECTIONS, MASKS) if masked else DETECTIONS
    if set(outputs) == set(whole):
        return True
    coded = _decoder(spec) is not None
    if coded and set(outputs) == {BOXES, SCORES}:
        return False
    raw = f" or, without post-processing, {BOXES} and {SCORES}"
    raise InputError(
        f"{path} does not fit its description: its outputs are {', '.join(sorted(outputs))}, "
        f"not {', '.join(whole)}{raw if coded else ''}"
    )


def _detections(
    spec: _Spec, inside: bool, pictures: Iterator[dict[str, np.ndarray]]
) -> list[Detections]:
    """Detections out of the outputs for one picture after the other."""
    decoder = _decoder(spec)
    if inside or decoder is None:
        return [_of(outputs, 0) for outputs in pictures]
    found: list[Detections] = []
    while block := list(itertools.islice(pictures, _PICTURES_AT_ONCE)):
        codes, scores = (np.concatenate([one[name] for one in block]) for name in (BOXES, SCORES))
        found += _decoded(decoder, codes, scores[..., 1:] if decoder.background else scores)
    return found


def _decoder(spec: _Spec) -> DetectorSpec | None:
    return None if spec is None else spec.decoder


def _decoded(spec: DetectorSpec, codes: np.ndarray, scores: np.ndarray) -> list[Detections]:
    """Detections of a batch of codes (n, a, 4) and scores (n, a, c)."""
    if codes.shape[1] != spec.anchors.count:
        raise InputError(
            f"the network has {codes.shape[1]} boxes and its description "
            f"{spec.anchors.count} anchors; use the description that belongs to it"
        )
    broken = [np.isnan(a).any() or np.isnan(b).any() for a, b in zip(codes, scores, strict=True)]
    sound = np.flatnonzero(~np.asarray(broken))
    found = iter(suppression.select(spec, codes[sound], scores[sound]))
    return [_broken() if nan else next(found) for nan in broken]


def _of(detected: Mapping[str, np.ndarray], index: int) -> Detections:
    """Of one picture of a batch, without what pads; copies, since a view keeps the whole batch."""
    count = int(detected[COUNT][index])
    masks = detected.get(MASKS)
    return Detections(
        boxes=detected[BOXES][index, :count].copy(),
        labels=detected[LABELS][index, :count].astype(np.int32),
        scores=detected[SCORES][index, :count].copy(),
        masks=None if masks is None else masks[index, :count].copy(),
    )


def _broken() -> Detections:
    """What is handed on of outputs that are no numbers."""
    nan = np.full((1, 5), np.nan, np.float32)
    return Detections(boxes=nan[:, :4], labels=np.zeros(1, np.int32), scores=nan[:, 4])


_LOADERS: dict[str, Callable[[pathlib.Path, Preprocessing, int, _Spec], Detector]] = {
    ".tflite": LiteRTDetector,
    ".onnx": OnnxDetector,
    ".keras": KerasDetector,
}
