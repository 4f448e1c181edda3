"""Ranges of kernels, which the quantiser makes scales of: by weight, by need, or as given.

litert-quantizer takes the range of a constant by its name, as it takes an activation's. So the
scales of kernels are decided here, one for each output channel:

- *As given*, for kernels that lie on a grid already (`export.compress.reconstruct`): the quantiser
  finds the same integers again, and nothing is rounded twice.
- *By need*, for dead channels. Trained networks have channels whose folded kernel is nearly zero
  and whose bias is not (EfficientNet-Lite0's ImageNet weights: 93 of them below 1e-6, with biases
  of up to 7). Their bias is stored in steps of the input's scale times the kernel's; where the
  latter is next to nothing, the number of steps exceeds an int32, the constant is lost, and one
  such channel can spoil all that lies behind it. A floor for the kernel's scale keeps the bias and
  rounds the kernel to zero, which is what it is to every output that int8 can tell apart.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite.convert import layer_of
from export.tflite.kernel_operations import KERNEL_OPERATIONS
from export.tflite.model import TFLiteModel

# A bias may have a quarter of an int32's steps: the products are summed on top of it.
_MOST_STEPS = 2.0**29
_INT8_TOP, _INT4_TOP = 127, 7
_OFF_GRID = 1e-2  # of a step: the rounding of float32, with room
# Steps of an activation's range, see `export.tflite.quantise`.
_STEPS = {8: 255, 16: 32767}


class Kernel:
    """A kernel of a float file, with the operation that reads it.

    Attributes:
        name: of the constant.
        output: name of the tensor that the operation makes.
        source: name of the tensor that it reads.
        values: (channels, n) float32.
        bias: (channels,) float32, zeros without one.
        shape: of a range for each channel, as the quantiser wants it.
        operation: its kind, by litert-quantizer's name.
    """

    def __init__(self, model: schema.ModelT, operator: schema.OperatorT) -> None:
        graph = model.subgraphs[0]
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        places = KERNEL_OPERATIONS[code]
        bias, axis = places.bias, places.axis
        self.operation = places.quantiser
        tensor = graph.tensors[operator.inputs[places.kernel]]
        self.name = tensor.name.decode()
        self.output = graph.tensors[operator.outputs[0]].name.decode()
        self.source = graph.tensors[operator.inputs[places.source]].name.decode()
        whole = _floats(model, operator.inputs[places.kernel])
        self.values = np.moveaxis(whole, axis, 0).reshape(whole.shape[axis], -1)
        self.shape = tuple(n if i == axis else 1 for i, n in enumerate(whole.shape))
        has_bias = len(operator.inputs) > bias and operator.inputs[bias] >= 0
        constant = has_bias and _is_constant(model, operator.inputs[bias])
        self.bias = (
            _floats(model, operator.inputs[bias]) if constant else np.zeros(len(self.values))
        )

    def layer_among(self, known: Container[str]) -> str | None:
        """The one of these Keras layers with kernels whose kernel it is, or None.

        Of equal kernels the converter keeps one, and calls it nothing but `arith.constant3`: then
        the operation's output tells, which is named by all that was fused into it.
        """
        for name in (self.name, *reversed(self.output.split(";"))):
            found = layer_of(name, known)
            if found is not None:
                return found
        return None

    @property
    def layer(self) -> str:
        """Name of the Keras layer; of the constant where it is none's."""
        parts = self.name.split("/")
        return re.sub(r"_\d+$", "", parts[1]) if len(parts) > 1 else self.name


def kernels(float_file: TFLiteModel) -> Iterator[Kernel]:
    """All kernels of a float TFLite file that are constants, in the order in which they are met."""
    model = float_file.unpacked
    for operator in float_file.graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code in KERNEL_OPERATIONS:
            index = operator.inputs[KERNEL_OPERATIONS[code].kernel]
            if _is_constant(model, index):
                yield Kernel(model, operator)


def given(
    float_file: TFLiteModel,
    bounds: Mapping[str, np.ndarray],
    one_scale: Container[str] = (),
) -> dict[str, Any]:
    """Ranges of kernels that lie on a grid.

    Args:
        float_file: whose kernels are multiples of their scales.
        bounds: by layer, (channels,) largest value that the grid holds; (1,) where that is one for
            all channels.
        one_scale: constants that are to have one scale.

    Returns:
        By the constant's name, what litert-quantizer calls a QSV.
    """
    found = {}
    for kernel in kernels(float_file):
        layer = kernel.layer_among(bounds)
        # What the converter multiplied into a kernel took it off its grid: rounded anew, then.
        if layer is None:
            continue
        bound, shape = bounds[layer], kernel.shape
        if kernel.name in one_scale:
            shape = (1,) * len(shape)
        elif bound.size == 1:
            bound = np.broadcast_to(bound, (len(kernel.values),))
        if bound.size == np.prod(shape) and _on_grid(kernel, bound):
            found[kernel.name] = _range(bound, shape)
    return found


def needed(
    float_file: TFLiteModel, activations: Mapping[str, Any], activation_bits: int
) -> dict[str, Any]:
    """Ranges of kernels with dead channels, wide enough for their biases.

    Args:
        float_file: that will have int8 kernels and integers for activations.
        activations: QSVs by tensor, as the quantiser will have them; a kernel's own says what it
            would have without this.
        activation_bits: 8 or 16.

    Returns:
        As of `given`; only kernels that need it.
    """
    found = {}
    for kernel in kernels(float_file):
        floor = _floor(kernel, activations.get(kernel.source), activation_bits)
        own = activations.get(kernel.name)
        if floor is None or (own is not None and np.size(own["max"]) != len(floor)):
            # One scale for all channels is that of the largest: no bias is too large for it.
            continue
        bound = np.abs(kernel.values).max(axis=1) if own is None else _bound(own)
        if np.any(bound < floor):
            found[kernel.name] = _range(np.maximum(bound, floor), kernel.shape)
    return found


def dead_channels(float_file: TFLiteModel) -> dict[str, int]:
    """How many channels of each kernel are nearly zero while their bias is not, by layer.

    Nearly: below a millionth of the bias and of the largest weight of the kernel, so that int8
    rounds all of them to zero.
    """
    found = {}
    for kernel in kernels(float_file):
        largest = np.abs(kernel.values).max(axis=1)
        small = 1e-6 * np.minimum(np.abs(kernel.bias), largest.max(initial=0.0))
        if count := int(np.count_nonzero((largest < small) & (kernel.bias != 0))):
            found[kernel.layer] = count
    return found


def _on_grid(kernel: Kernel, bound: np.ndarray) -> bool:
    """Whether all weights are multiples of what either width has for a step at this bound."""
    for top in (_INT8_TOP, _INT4_TOP):
        steps = kernel.values / (bound[:, None] / top)
        if np.all(np.abs(steps - np.rint(steps)) < _OFF_GRID):
            return True
    return False


def _floor(kernel: Kernel, source: Any, bits: int) -> np.ndarray | None:
    """(channels,) least bound of the kernel, for its bias to fit; None of a float operation."""
    if source is None or "min" not in source:
        return None
    low, high = (float(np.min(source["min"])), float(np.max(source["max"])))
    span = max(abs(low), abs(high)) if bits == 16 else max(high, 0.0) - min(low, 0.0)
    step = max(span, 1e-9) / _STEPS[bits]
    return np.abs(kernel.bias).astype(np.float64) / (step * _MOST_STEPS) * _INT8_TOP


def _bound(own: Any) -> np.ndarray:
    bound: np.ndarray = np.maximum(np.abs(own["min"]), np.abs(own["max"])).reshape(-1)
    return bound


def _range(bound: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    top = bound.reshape(shape).astype(np.float32)
    return {"min": -top, "max": top}


def _is_constant(model: schema.ModelT, index: int) -> bool:
    tensor = model.subgraphs[0].tensors[index]
    return (
        tensor.type == schema.TensorType.FLOAT32 and model.buffers[tensor.buffer].data is not None
    )


def _floats(model: schema.ModelT, index: int) -> np.ndarray:
    tensor = model.subgraphs[0].tensors[index]
    data = np.ascontiguousarray(model.buffers[tensor.buffer].data, np.uint8)
    values: np.ndarray = data.view(np.float32).reshape(tensor.shape)
    return values
