"""The network that files of one-stage detectors hold."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from export.graph.signature import BOXES, LOGITS, SCORES
from export.graph.unshare import unshared
from kerascnn.detection import boxes as box_ops
from kerascnn.detection.specs import DISTANCES, DetectorSpec
from kerascnn.errors import InputError

# Tensors that XNNPACK concatenates at once.
_MOST_CONCATENATED = 5


@keras.saving.register_keras_serializable("kerascnn.export")
class Deltas(layers.Layer):
    """Distances of a box's sides from a point as box deltas; see `boxes.deltas_of`."""

    def call(self, inputs):
        """(n, a, 4), kept."""
        return box_ops.deltas_of(inputs)


def single_calls(model: keras.Model) -> keras.Model:
    """A detector as files are made from it, and as compression trains it.

    Args:
        model: functional, with outputs [boxes (n, a, 4), logits (n, a, c or c + 1)].

    Returns:
        A twin with copied weights and the same outputs, in which no layer is called twice and no
        concatenation has more inputs than XNNPACK takes.

    Raises:
        InputError: the model has other outputs.
    """
    _check(model)
    return _single_calls(model)


def _single_calls(model: keras.Model, renamed: Mapping[str, str] | None = None) -> keras.Model:
    """`single_calls`, in which some layers have other names."""
    single, others = unshared(model), renamed or {}

    def cloned(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        return type(layer).from_config(config | {"name": others.get(layer.name, layer.name)})

    twin = keras.models.clone_model(single, call_function=_called, clone_function=cloned)
    for layer in single.layers:
        if layer.weights:
            twin.get_layer(layer.name).set_weights(layer.get_weights())
    return twin


def with_scores(model: keras.Model, spec: DetectorSpec) -> keras.Model:
    """The network that detector files hold.

    Args:
        model: as of `single_calls`.

    Returns:
        What `single_calls` gives, with outputs [boxes (n, a, 4), scores (n, a, c or c + 1)]. Scores
        are in 0..1; a background stays, as the first column. Boxes are box deltas against the
        anchors of `spec`, whatever the network's own coding is.

    Raises:
        InputError: the model has other outputs.
    """
    _check(model)
    distances = spec.coding == DISTANCES
    twin = _single_calls(model, {BOXES: DISTANCES} if distances else None)
    boxes, logits = twin.outputs
    if distances:
        boxes = Deltas(dtype="float32", name=BOXES)(boxes)
    activation = "softmax" if spec.background else "sigmoid"
    scores = layers.Activation(activation, dtype="float32", name=SCORES)(logits)
    return keras.Model(twin.input, [boxes, scores], name=model.name)


def _check(model: keras.Model) -> None:
    if model.output_names != [BOXES, LOGITS]:
        raise InputError(
            f"{model.name} is not a detector: its outputs are {', '.join(model.output_names)}, "
            f"not {BOXES} and {LOGITS}"
        )


def _called(layer: keras.Layer, *args, **kwargs):
    kwargs.pop("training", None)
    if isinstance(layer, layers.Concatenate):
        return layer(_in_groups(layer, list(args[0])), **kwargs)
    return layer(*args, **kwargs)


def _in_groups(layer: layers.Concatenate, inputs: list) -> list:
    """No more tensors than XNNPACK concatenates: the first ones as one."""
    number = 0
    while len(inputs) > _MOST_CONCATENATED:
        number += 1
        group = layers.Concatenate(axis=layer.axis, name=f"{layer.name}_group{number}")
        inputs = [group(inputs[:_MOST_CONCATENATED]), *inputs[_MOST_CONCATENATED:]]
    return inputs


def centred_anchors(spec: DetectorSpec) -> np.ndarray:
    """(a, 4) float32: centre's y and x, height, width."""
    top, left, bottom, right = spec.anchors.boxes().astype(np.float64).T
    sides = ((top + bottom) / 2, (left + right) / 2, bottom - top, right - left)
    return np.stack(sides, axis=-1).astype(np.float32)
