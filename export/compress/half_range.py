"""Whether half precision holds what a network computes on the way.

GPUs and NPUs compute in float16 where they may, and often add in it too. Beyond 65,504 that is
infinity, and from there on NaN: a network that is right on this computer gives nothing on the phone
(LiteRT's issue 9249, of the mean over a large map in squeeze-and-excitation). So the float form of
every file is run on calibration images, and two things are kept of all its layers: the largest
magnitude of an activation, and the largest sum that a mean adds up on its way, whatever the order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.artefacts.half_precision import ENDLESS, LARGEST, NEAR
from export.tflite.convert import layer_of
from export.tflite.model import TFLiteModel
from export.tflite.two_step_means import is_of_maps
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet

IMAGES = 16  # that are looked at, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalfRange:
    """What a float network reaches on some images.

    Attributes:
        activation, activation_layer: largest magnitude, and what it comes out of.
        sum, sum_layer: largest sum within a mean, of positive values or of negative ones, and the
            mean; 0 and empty where there is none.
        two_steps: by the name of its output's tensor, the largest sum of each mean of maps that
            reaches `NEAR`, once its rows are added up before its columns.
        images: that it was measured on.
    """

    activation: float
    activation_layer: str
    sum: float
    sum_layer: str
    two_steps: Mapping[str, float]
    images: int

    def to_dict(self, *, rewritten: bool) -> dict[str, Any]:
        """The JSON form.

        Args:
            rewritten: the file's means are in two steps.
        """
        plain = dataclasses.asdict(self)
        after = max(self.two_steps.values(), default=0.0) if rewritten else None
        return {**plain, "two_steps": after if self.two_steps else None, "limit": LARGEST}


def half_range(
    file: TFLiteModel,
    preprocessing: Preprocessing,
    pictures: np.ndarray,
    layers: Container[str] = (),
) -> HalfRange:
    """Run a float file, and keep the largest that it computes.

    Args:
        file: is left as it is.
        preprocessing: of it.
        pictures: (n, height, width, channels) uint8, at least one.
        layers: names of its network's layers, by which tensors are called.
    """
    seen = _Seen(file)
    for picture in pictures:
        seen.look(preprocessing.normalise(picture[None]))
    activation = max(seen.largest, key=lambda place: seen.largest[place])
    most = max(seen.sums, key=lambda place: seen.sums[place], default=None)
    return HalfRange(
        activation=seen.largest[activation],
        activation_layer=seen.name(activation, layers),
        sum=0.0 if most is None else seen.sums[most],
        sum_layer="" if most is None else seen.name(most, layers),
        two_steps={
            file.graph.tensors[place].name.decode(): value
            for place, value in seen.two_steps.items()
            if seen.sums[place] >= NEAR
        },
        images=len(pictures),
    )


class _Seen:
    """The largest of each float tensor that a file computes."""

    def __init__(self, file: TFLiteModel) -> None:
        with native_quiet():
            self._runtime = Interpreter(
                model_content=file.packed(),
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._runtime.allocate_tensors()
        self._file = file
        self._input = int(self._runtime.get_input_details()[0]["index"])
        self._made = [
            (operator, int(place))
            for operator in file.graph.operators
            for place in operator.outputs
            if file.graph.tensors[place].type == schema.TensorType.FLOAT32
        ]
        self.largest: dict[int, float] = {}
        self.sums: dict[int, float] = {}
        self.two_steps: dict[int, float] = {}

    def look(self, picture: np.ndarray) -> None:
        """Run it on one picture."""
        self._runtime.set_tensor(self._input, picture)
        self._runtime.invoke()
        for operator, place in self._made:
            values = self._runtime.get_tensor(place)
            if values.size:
                _raise(self.largest, place, _reach(values))
            self._look_at_sums(operator, place, values)

    def _look_at_sums(self, operator: schema.OperatorT, place: int, values: np.ndarray) -> None:
        kind = self._file.unpacked.operatorCodes[operator.opcodeIndex].builtinCode
        if kind == schema.BuiltinOperator.AVERAGE_POOL_2D:
            options = operator.builtinOptions
            count = options.filterHeight * options.filterWidth
            _raise(self.sums, place, _reach(values) * count)
        elif kind in (schema.BuiltinOperator.MEAN, schema.BuiltinOperator.SUM):
            given = self._runtime.get_tensor(int(operator.inputs[0]))
            axes = tuple(np.atleast_1d(self._runtime.get_tensor(int(operator.inputs[1]))).tolist())
            _raise(self.sums, place, _sums(given, axes))
            if is_of_maps(self._file, operator):
                rows = given.mean(axis=1, keepdims=True)
                _raise(self.two_steps, place, max(_sums(given, (1,)), _sums(rows, (2,))))

    def name(self, place: int, layers: Container[str]) -> str:
        """The layer that makes a tensor, or the tensor's own name."""
        tensor = self._file.graph.tensors[place].name.decode()
        return layer_of(tensor, layers) or tensor.partition(";")[0]


def _sums(values: np.ndarray, axes: Sequence[int]) -> float:
    """The largest sum along axes that any order of adding comes by."""
    wide = values.astype(np.float64)
    parts = (np.maximum(wide, 0).sum(axis=axes), np.maximum(-wide, 0).sum(axis=axes))
    return max(map(_reach, parts))


def _reach(values: np.ndarray) -> float:
    """The largest magnitude; of what is no number the largest there is.

    Places that hold the lowest number there is are masked out (in suppression), and reach nothing.
    """
    if np.isnan(values).any():
        return ENDLESS
    unmasked = values[values > np.finfo(np.float32).min]
    if not unmasked.size:
        return 0.0
    return min(max(float(unmasked.max()), -float(unmasked.min())), ENDLESS)


def _raise(known: dict[int, float], place: int, value: float) -> None:
    known[place] = max(known.get(place, 0.0), float(value))
