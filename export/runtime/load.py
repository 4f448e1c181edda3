"""Run a .tflite, .onnx or .keras file on uint8 pictures in the runtime that ships it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from export.graph.signature import INPUT_NAME, OUTPUT_NAME, PROBABILITIES, SCORES
from kerascnn.errors import InputError, reason
from kerascnn.preprocessing import Preprocessing
from training.classification.evaluate import keras_predict_fn
from training.common.quiet import native_quiet

if TYPE_CHECKING:  # .tflite and .onnx files need no framework
    import keras

# What Android's and ours default to; more threads than one hide what a file costs.
THREADS = 1
# Bytes of images that onnxruntime is fed at once: its largest tensors are some times as large.
_FED_BYTES = 16 << 20
_Loaded = TypeVar("_Loaded")


class Runtime(Protocol):
    """A loaded file.

    Attributes:
        partitions: how many the XNNPACK delegate took; None for other runtimes.
        operations: partitions and operations outside them, in order; empty for other runtimes.
    """

    @property
    def partitions(self) -> int | None: ...

    @property
    def operations(self) -> tuple[str, ...]: ...

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        """(n, height, width, channels) uint8 -> (n, classes) float32 logits."""

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        """A call that runs the network on one prepared picture: what a latency measures."""


def by_ending(
    path: pathlib.Path, loaders: Mapping[str, Callable[..., _Loaded]], *given: Any
) -> _Loaded:
    """What the loader of a file's ending makes of it.

    Args:
        loaders: by ending; each takes the path, and `given`.

    Raises:
        InputError: another ending, no file, or one that its runtime refuses.
    """
    if path.suffix not in loaders:
        raise InputError(f"{path} is not a model file; it should end in .keras, .tflite or .onnx")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return loaders[path.suffix](path, *given)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} is not a model that its runtime can run ({reason(error)})"
        ) from error


def load(path: pathlib.Path, preprocessing: Preprocessing, *, threads: int = THREADS) -> Runtime:
    """Load a file by its ending.

    Raises:
        InputError: another ending, or a file that its runtime refuses.
    """
    return by_ending(path, _LOADERS, preprocessing, threads)


def as_logits(name: str, answers: np.ndarray) -> np.ndarray:
    """Logits that a classifier's answers stand for, by the name of its output.

    Of probabilities their logarithms: softmax makes the same of them again. Of scores of each class
    what the sigmoid makes them of. None is infinite.

    Args:
        answers: (n, classes) float32.
    """
    if name == PROBABILITIES:
        logarithms: np.ndarray = np.log(np.maximum(answers, np.finfo(np.float32).tiny))
        return logarithms
    if name == SCORES:
        wide = answers.astype(np.float64)
        # The numbers of float32 beside 0 and 1.
        wide = np.clip(wide, np.finfo(np.float32).tiny, 1 - 2.0**-24)
        return np.asarray(np.log(wide / (1 - wide)), np.float32)
    return answers


class LiteRT:
    """A .tflite file in ai_edge_litert; the input's type says whether it wants raw bytes."""

    def __init__(self, path: pathlib.Path, preprocessing: Preprocessing, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._preprocessing = preprocessing
        with native_quiet():  # the delegate announces itself once a process
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self.check(path)
        self.operations = execution_plan(self._interpreter)
        self.partitions = self.operations.count("DELEGATE")

    @property
    def takes_pictures(self) -> bool:
        """Whether the input is one picture of the size that `preprocessing` gives."""
        return tuple(self._input["shape"]) == (1, *self._preprocessing.input_shape)

    def check(self, path: pathlib.Path) -> None:
        """Raise InputError for a file that is not what this class runs."""
        if not self.takes_pictures or self._output["dtype"] != np.float32:
            raise InputError(
                f"{path} is not a classifier for {self._preprocessing.input_shape} "
                "images with float logits"
            )

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        rows = []
        for picture in pictures:
            self._interpreter.set_tensor(self._input["index"], self._prepare(picture))
            self._interpreter.invoke()
            rows.append(self._interpreter.get_tensor(self._output["index"])[0])
        return as_logits(self._output["name"], np.stack(rows))

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        self._interpreter.set_tensor(self._input["index"], self._prepare(picture))
        call: Callable[[], Any] = self._interpreter.invoke
        return call

    def _prepare(self, picture: np.ndarray) -> np.ndarray:
        if self._input["dtype"] == np.uint8:
            return picture[None]
        return self._preprocessing.normalise(picture[None])


def execution_plan(interpreter: Any) -> tuple[str, ...]:
    """What an interpreter runs: a delegated partition replaces the operations that it covers.

    The runtime lists both; a delegated operation's outputs are made by its partition (or are inside
    it and made by nobody), so what is outside is found from the tensors alone.
    """
    listed = interpreter._get_ops_details()
    delegated = [o for o in listed if o["op_name"] == "DELEGATE"]
    covered = _covered(listed, delegated)
    return tuple(o["op_name"] for i, o in enumerate(listed) if i not in covered)


def partitions(file: bytes) -> int:
    """How many partitions of a .tflite file the XNNPACK delegate takes."""
    from ai_edge_litert.interpreter import Interpreter

    with native_quiet():
        interpreter = Interpreter(model_content=file, num_threads=THREADS)
        interpreter.allocate_tensors()
    return execution_plan(interpreter).count("DELEGATE")


def _covered(listed: list[dict], delegated: list[dict]) -> set[int]:
    """Indices of listed operations that some partition computes, walking back from its outputs."""
    maker = {
        int(t): i for i, o in enumerate(listed) if o["op_name"] != "DELEGATE" for t in o["outputs"]
    }
    covered: set[int] = set()
    for partition in delegated:
        given = {int(t) for t in partition["inputs"]}
        open_ends = [int(t) for t in partition["outputs"]]
        while open_ends:
            index = maker.get(open_ends.pop())
            if index is None or index in covered:
                continue
            covered.add(index)
            open_ends += [int(t) for t in listed[index]["inputs"] if int(t) not in given]
    return covered


class OnnxRuntime:
    """An .onnx file in onnxruntime, on the CPU."""

    partitions = None
    operations: tuple[str, ...] = ()

    def __init__(self, path: pathlib.Path, preprocessing: Preprocessing, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._preprocessing = preprocessing
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        _check_sides(path, self._session.get_inputs()[0].shape[1:], preprocessing)
        names = {one.name for one in self._session.get_outputs()}
        self._output = next((n for n in (PROBABILITIES, SCORES) if {n} == names), OUTPUT_NAME)

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        count = max(1, _FED_BYTES // (4 * pictures[0].size))
        return np.concatenate([
            self._logits(pictures[i : i + count]) for i in range(0, len(pictures), count)
        ])  # fmt: skip

    def _logits(self, pictures: np.ndarray) -> np.ndarray:
        feed = {INPUT_NAME: self._preprocessing.normalise(pictures)}
        answers: np.ndarray = self._session.run([self._output], feed)[0]
        return as_logits(self._output, answers)

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        feed = {INPUT_NAME: self._preprocessing.normalise(picture[None])}
        return lambda: self._session.run([self._output], feed)


class KerasModel:
    """A .keras file in Keras, or a model that was built; its path is what messages call it."""

    partitions = None
    operations: tuple[str, ...] = ()

    def __init__(
        self,
        path: pathlib.Path,
        preprocessing: Preprocessing,
        _threads: int = THREADS,
        *,
        model: keras.Model | None = None,
    ) -> None:
        from training.engine.run import load_keras

        self._model = load_keras(path) if model is None else model
        _check_sides(path, self._model.inputs[0].shape[1:], preprocessing)
        self._preprocessing = preprocessing
        self.predict = keras_predict_fn(self._model, preprocessing)

    def once(self, picture: np.ndarray) -> Callable[[], Any]:
        ready = self._preprocessing.normalise(picture[None])
        return lambda: self._model(ready, training=False)


def _check_sides(path: pathlib.Path, sides: Sequence[Any], preprocessing: Preprocessing) -> None:
    """Refuse pictures that a network cannot take before any are made."""
    wanted = preprocessing.input_shape
    fits = len(sides) == 3 and all(
        not isinstance(side, int) or side == due for side, due in zip(sides, wanted, strict=True)
    )
    if not fits:
        shown = "x".join(map(str, sides))
        raise InputError(
            f"{path} takes {shown}, and its description says {'x'.join(map(str, wanted))}; bring "
            "the description that belongs to it"
        )


_LOADERS: dict[str, Callable[[pathlib.Path, Preprocessing, int], Runtime]] = {
    ".tflite": LiteRT,
    ".onnx": OnnxRuntime,
    ".keras": KerasModel,
}
