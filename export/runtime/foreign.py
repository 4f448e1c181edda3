"""Run .tflite, .onnx and .keras files of other programs: whatever layout and types they have.

What such a file takes and gives is in its own tensors (`Form`); what it expects of an image has to
be given (`strangers`). One image goes through it at a time. No framework is needed for .tflite and
.onnx files.
"""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from export.runtime.load import THREADS, by_ending
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet
from training.detection.metrics import Detections

POSTPROCESS = "TFLite_Detection_PostProcess"
BOXES, LABELS, SCORES, COUNT = "boxes", "labels", "scores", "count"
_SUM = 0.01  # how far the sum of probabilities may be from one, of half precision
_SOFTMAX = 1 / 256
_LEAST = 1e-9  # probability whose logarithm is taken of 0
_ONNX_TYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output.

    Attributes:
        name: in the file.
        shape: None of a side that is not fixed.
        dtype: of its numbers.
        scale: of quantised numbers; 0 of others. Real ones are `(number - zero) * scale`.
        zero: likewise.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: Any
    scale: float = 0.0
    zero: int = 0

    def quantised(self, values: np.ndarray) -> np.ndarray:
        """Real numbers as the tensor has them."""
        if not self.scale:
            return values.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        numbers = np.round(values / self.scale) + self.zero
        return np.clip(numbers, limits.min, limits.max).astype(self.dtype)

    def real(self, numbers: np.ndarray) -> np.ndarray:
        """The reverse; whole numbers that have no scale stay what they are."""
        if not self.scale:
            return numbers
        return (numbers.astype(np.float32) - self.zero) * np.float32(self.scale)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """How a file takes an image and gives its answer.

    Attributes:
        channels_first: whether a picture is (channels, height, width).
        raw: bytes go in as they are, shifted into the input's type; nothing is normalised.
        detections: places of the outputs "boxes", "labels", "scores" and "count", of a detector.
        classes: of the answer; 0 where the file does not tell.
    """

    channels_first: bool = False
    raw: bool = False
    detections: tuple[int, int, int, int] | None = None
    classes: int = 0


class OpenedFile(abc.ABC):
    """A file in its runtime.

    Attributes:
        input: its only one.
        outputs: in the file's order.
    """

    input: Tensor
    outputs: tuple[Tensor, ...]

    @abc.abstractmethod
    def run(self, given: np.ndarray) -> list[np.ndarray]:
        """The outputs, as the file gives them, of a batch of one."""


class _TFLite(OpenedFile):
    def __init__(self, path: pathlib.Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with native_quiet():
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        given = self._interpreter.get_input_details()
        answers = self._interpreter.get_output_details()
        _require_one(path, [one["name"] for one in given])
        self.input = _of_details(given[0])
        self.outputs = tuple(map(_of_details, answers))
        self._index, self._indices = given[0]["index"], [one["index"] for one in answers]
        self.tensors = tuple(self._indices)

    def run(self, given: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._index, given)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._indices]


def _of_details(details: dict[str, Any]) -> Tensor:
    fixed = details.get("shape_signature", details["shape"])
    scale, zero = details["quantization"]
    return Tensor(
        name=details["name"],
        # A batch of any size is run as the one that the file was made with.
        shape=tuple(int(n) if n > 0 else None for n in fixed),
        dtype=np.dtype(details["dtype"]),
        scale=float(scale),
        zero=int(zero),
    )


class _Onnx(OpenedFile):
    def __init__(self, path: pathlib.Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        given = self._session.get_inputs()
        _require_one(path, [one.name for one in given])
        self.input = _of_onnx(path, given[0])
        self.outputs = tuple(_of_onnx(path, one) for one in self._session.get_outputs())

    def run(self, given: np.ndarray) -> list[np.ndarray]:
        found: list[np.ndarray] = self._session.run(None, {self.input.name: given})
        return found


def _of_onnx(path: pathlib.Path, tensor: Any) -> Tensor:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in tensor.shape)
    dtype = np.dtype(_ONNX_TYPES.get(tensor.type, np.int64))
    return Tensor(name=tensor.name, shape=shape, dtype=dtype)


class _Keras(OpenedFile):
    def __init__(self, path: pathlib.Path, _threads: int) -> None:
        from training.engine.run import load_keras

        self.model = load_keras(path)
        _require_one(path, [one.name for one in self.model.inputs])
        self.input = _of_keras(self.model.inputs[0])
        self.outputs = tuple(map(_of_keras, self.model.outputs))

    def run(self, given: np.ndarray) -> list[np.ndarray]:
        import keras

        found = keras.tree.flatten(self.model(given, training=False))
        return [keras.ops.convert_to_numpy(one) for one in found]


def _of_keras(tensor: Any) -> Tensor:
    name = tensor.dtype if isinstance(tensor.dtype, str) else "float32"
    dtype = np.dtype("float32" if name == "bfloat16" else name)
    return Tensor(name=tensor.name, shape=tuple(tensor.shape), dtype=dtype)


def _require_one(path: pathlib.Path, names: Sequence[str]) -> None:
    if len(names) != 1:
        listed = ", ".join(names)
        raise InputError(
            f"{path} takes {len(names)} inputs ({listed}), not one image; cut its graph to the part"
            " that takes one"
        )


_LOADERS: dict[str, Callable[[pathlib.Path, int], OpenedFile]] = {
    ".tflite": _TFLite,
    ".onnx": _Onnx,
    ".keras": _Keras,
}


def opened(path: pathlib.Path, *, threads: int = THREADS) -> OpenedFile:
    """Load a file by its ending.

    Raises:
        InputError: another ending, a file that its runtime refuses, or one with several inputs.
    """
    return by_ending(path, _LOADERS, threads)


class _Foreign:
    """What all of them share; see `export.runtime.load.Runtime`."""

    partitions = None
    operations: tuple[str, ...] = ()
    masks = False

    def __init__(self, file: OpenedFile, form: Form, preprocessing: Preprocessing) -> None:
        self._file, self._form, self._preprocessing = file, form, preprocessing

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        """A call that runs the network on one prepared picture."""
        given = self._given(picture)
        return lambda: self._file.run(given)

    def _given(self, picture: np.ndarray) -> np.ndarray:
        """(1, ...) of a (height, width, channels) uint8 picture, as the input has it."""
        tensor = self._file.input
        if self._form.raw:
            low = int(np.iinfo(tensor.dtype).min) if tensor.dtype.kind in "iu" else 0
            given = (picture.astype(np.int32) + low).astype(tensor.dtype)
        else:
            given = tensor.quantised(self._preprocessing.normalise(picture))
        if self._form.channels_first:
            given = given.transpose(2, 0, 1)
        return np.ascontiguousarray(given[None])

    def _answers(self, picture: np.ndarray) -> list[np.ndarray]:
        found = self._file.run(self._given(picture))
        return [t.real(np.asarray(one)) for t, one in zip(self._file.outputs, found, strict=True)]


class ForeignClassifier(_Foreign):
    """Logits of each picture; the logarithm of what are probabilities already.

    Attributes:
        probabilities: whether they are; None before the first answer.
        rounded: whether they are of 8 bits.
    """

    def __init__(self, file: OpenedFile, form: Form, preprocessing: Preprocessing) -> None:
        super().__init__(file, form, preprocessing)
        # A softmax of 8 bits has this scale by TFLite's specification, and rounds to sums of any
        # size.
        self.rounded = file.outputs[0].scale == _SOFTMAX
        self.probabilities = True if self.rounded else None

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """See `export.runtime.load.Runtime.predict`."""
        rows = [self._answers(picture)[0].reshape(-1) for picture in pictures]
        answers = np.stack(rows).astype(np.float32)
        if self.probabilities is None and np.isfinite(answers).all(axis=-1).any():
            self.probabilities = are_probabilities(answers)
        if not self.probabilities:
            return answers
        least = self._file.outputs[0].scale / 2 or _LEAST
        logarithms: np.ndarray = np.log(np.maximum(answers, least), dtype=np.float32)
        return logarithms


class ForeignDetector(_Foreign):
    """The outputs of TFLite_Detection_PostProcess."""

    def detect(self, pictures: np.ndarray) -> list[Detections]:
        """See `export.runtime.detectors.Detector.detect`."""
        return [self._found(self._answers(picture)) for picture in pictures]

    def _found(self, answers: list[np.ndarray]) -> Detections:
        assert self._form.detections is not None
        boxes, labels, scores, count = (answers[place] for place in self._form.detections)
        most = int(np.ravel(count)[0])
        return Detections.of(
            boxes.reshape(-1, 4)[:most],
            np.round(labels.reshape(-1)[:most]),
            scores.reshape(-1)[:most],
        )


class ForeignSegmenter(_Foreign):
    """Maps as they are, and the likeliest classes of scores."""

    def segment(self, pictures: np.ndarray) -> np.ndarray:
        """See `export.runtime.segmenters.Segmenter.segment`."""
        return np.stack([self._map(self._answers(picture)[0][0]) for picture in pictures])

    def _map(self, answer: np.ndarray) -> np.ndarray:
        if answer.ndim == 3 and self._form.channels_first:
            answer = answer.transpose(1, 2, 0)
        if answer.ndim == 3:
            answer = answer[..., 0] if answer.shape[-1] == 1 else answer.argmax(axis=-1)
        return answer.astype(np.uint8)


def are_probabilities(answers: np.ndarray) -> bool:
    """Whether (n, classes) numbers are none below 0 and add up to one in each image.

    Of logits that is not so. Images whose numbers are none do not count.
    """
    answers = answers[np.isfinite(answers).all(axis=-1)]
    if not len(answers):
        return False
    sums = answers.sum(axis=-1)
    return bool(answers.min() >= 0 and np.abs(sums - 1).max() <= _SUM)
