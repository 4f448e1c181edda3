"""Which tensors of an int8 file have a scale of their own, and what ranges they have.

One layer of the lowered graph (`export.graph.lower`) makes each of them. Reconstruction chooses
their ranges, and quantisation-aware training rounds what these layers make.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from export.compress.reconstruct.walk import chooses, has_regions, inputs_of, steps
from export.graph import float_ends
from export.graph.lower import HardGate, Scale
from export.graph.regions import Operation, before_regions
from export.tasks.trained import Range
from kerascnn.preprocessing import Preprocessing
from training.engine.foldable_norms import LINEAR

# They hand their input's scale on.
_TRANSPARENT = (
    *(layers.Cropping2D, layers.Dropout, layers.Flatten, layers.MaxPooling2D, layers.Reshape),
    *(layers.UpSampling2D, layers.ZeroPadding2D, layers.GlobalMaxPooling2D),
)
# Scales that the runtime prescribes: 1/256 and 1/128.
FIXED_RANGES = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
IMAGE = "image"
"""The network's input among layers with ranges."""
_PROBED_AT_ONCE = 8


def calibrated(
    lowered: keras.Model, preprocessing: Preprocessing, pictures: np.ndarray
) -> dict[str, Range]:
    """Least and largest value of every tensor that int8 has to give a scale.

    Args:
        lowered: of `export.graph.lower.lower_for_int8`.
        pictures: (n, height, width, channels) uint8.

    Returns:
        Ranges that hold zero, by the name of the tensor's layer; the input's is that of all bytes.
    """
    floats = float_layers(lowered)
    chosen = [layer for layer in lowered.layers if has_scale(layer, floats)]
    probe = keras.Model(lowered.inputs, [layer.output for layer in chosen])
    low, high = (float(preprocessing.normalise(np.array(b, np.uint8))) for b in (0, 255))
    found = {IMAGE: (low, high), **{layer.name: (0.0, 0.0) for layer in chosen}}
    # Few at a time: every activation of every layer is there at once.
    for start in range(0, len(pictures), _PROBED_AT_ONCE):
        block = preprocessing.normalise(pictures[start : start + _PROBED_AT_ONCE])
        for layer, value in zip(chosen, probe([block], training=False), strict=True):
            low, high = found[layer.name]
            array = np.asarray(value)
            found[layer.name] = min(low, float(array.min())), max(high, float(array.max()))
    return found | {
        layer.name: fixed for layer in chosen if (fixed := FIXED_RANGES.get(_function(layer)))
    }


def float_layers(model: keras.Model) -> frozenset[str]:
    """Layers whose outputs stay float in the int8 file.

    See `export.graph.float_ends`, and of a two-stage detector `export.graph.regions`.
    """
    if has_regions(model):
        integers = before_regions([_operation(step) for step in steps(model)])
        pairs = zip(steps(model), integers, strict=True)
        return frozenset(step.operation.name for step, early in pairs if not early)

    def made_by(name: str) -> tuple[str, Sequence[str]]:
        layer = model.get_layer(name)
        kind = _JOINING.get(type(layer), _JOINING_FUNCTIONS.get(_function(layer), ""))
        read = [one for node in layer._inbound_nodes for one in node.parent_nodes] if kind else []
        return kind, [node.operation.name for node in read]

    outputs = [one._keras_history.operation.name for one in model.outputs]
    ranks = {name: len(model.get_layer(name).output.shape) for name in outputs}
    return frozenset(float_ends.float_ends(outputs, made_by, rank=ranks.__getitem__))


def _operation(step: Any) -> Operation[int]:
    return Operation(
        reads=[id(one) for one in inputs_of(step)],
        makes=[id(one) for one in step.outputs],
        has_kernel=isinstance(step.operation, LINEAR),
        chooses=chooses(step),
    )


_JOINING: dict[type, str] = {
    layers.Concatenate: float_ends.CONCATENATION,
    layers.Reshape: float_ends.RESHAPE,
}
_JOINING_FUNCTIONS = {"sigmoid": float_ends.LOGISTIC, "softmax": float_ends.SOFTMAX}


def has_scale(layer: keras.Layer, floats: Container[str]) -> bool:
    """Whether the layer's output is a tensor of the int8 file, with a scale of its own.

    Args:
        floats: of `float_layers`.
    """
    if isinstance(layer, (layers.InputLayer, *_TRANSPARENT)) or layer.name in floats:
        return False
    readers = list(_readers(layer))
    if len(readers) != 1:
        return True
    (reader,) = readers
    # An int8 concatenation takes its inputs at its own scale.
    if isinstance(reader, layers.Concatenate):
        return False
    # The converter makes one operation of these pairs.
    if isinstance(layer, LINEAR) and isinstance(reader, HardGate | Scale):
        return False
    return not (isinstance(layer, _FUSING) and _function(reader) in _FUSED)


def fused_dense(lowered: keras.Model) -> dict[str, str]:
    """Dense layers that a ReLU alone reads, with its name.

    The converter names their common tensor by the dense layer, and not by the ReLU as behind a
    convolution.
    """
    dense = (layer for layer in lowered.layers if isinstance(layer, layers.Dense))
    readers = {layer.name: list(_readers(layer)) for layer in dense}
    return {
        name: found[0].name
        for name, found in readers.items()
        if len(found) == 1 and _function(found[0]) in _FUSED
    }


def with_fused_dense(model: keras.Model, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Ranges with those of dense layers whose ReLU, which has one, is fused into them."""
    fused = fused_dense(model).items()
    return {**ranges, **{dense: ranges[relu] for dense, relu in fused if relu in ranges}}


_FUSING = (*LINEAR, layers.Add, layers.Multiply)
_FUSED = ("relu", "relu6")


def _readers(layer: keras.Layer) -> Iterator[Any]:
    """What reads the layer's output in the file, where there is no dropout."""
    for node in layer._outbound_nodes:
        if isinstance(node.operation, layers.Dropout):
            yield from _readers(node.operation)
        else:
            yield node.operation


def _function(layer: Any) -> str:
    if isinstance(layer, layers.ReLU) and not layer.negative_slope and not layer.threshold:
        return {None: "relu", 6: "relu6"}.get(layer.max_value, "")
    return layer.activation.__name__ if isinstance(layer, layers.Activation) else ""
