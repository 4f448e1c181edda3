"""The end of a classifier: what turns logits into answers, taken off."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from kerascnn.errors import InputError
from training.importing.graph import Change, Graph, Step

# Layers that change the shape of logits, or nothing at inference.
_SHAPING = (layers.Flatten, layers.Reshape, layers.Identity, layers.Dropout, layers.GaussianNoise,
            layers.GaussianDropout, layers.AlphaDropout, layers.SpatialDropout2D,
            layers.ActivityRegularization)  # fmt: skip
_AVERAGES = (layers.GlobalAveragePooling2D, layers.AveragePooling2D)
_OPERATIONS = ("Reshape", "Squeeze", "Cast", "Identity")
_LINEAR = (layers.Dense, layers.Conv2D)
_NORMS = (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization)
_NO_HEAD = (
    "it has no classifier at its end: put GlobalAveragePooling2D and Dense(classes) behind it and "
    "train that, or save the model with its top (include_top=True)"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """How the end of a graph is to be built.

    Attributes:
        activation: "softmax", "sigmoid" or None: what stands behind the logits.
        removed: what was taken off: of two classes that share one output, "sigmoid" or None, where
            `activation` is "softmax".
        binary: whether one output tells two classes apart.
        dropped: the step that is the activation.
        changes: of the layer that makes the logits.
    """

    activation: str | None
    removed: str | None
    binary: bool = False
    dropped: tuple[Step, ...] = ()
    changes: Mapping[Step, Change] = dataclasses.field(default_factory=dict)


def find(graph: Graph) -> Head:
    """Look for the logits of a classifier.

    Raises:
        InputError: the graph does not end in logits; the message says what it ends in.
    """
    _check_shape(graph)
    activation, last = None, graph.maker(graph.output)
    dropped: list[Step] = []
    passed: list[Step] = []
    while last is not None:
        behind = _activation(last)
        if behind and activation is None and _commutes(behind, last, passed):
            activation = behind
            dropped.append(last)
        elif _passes(last):
            passed.append(last)
        else:
            break
        last = graph.maker(last.inputs[0])
    if last is None:
        raise InputError(f"{graph.name} has no layer with weights")
    inside = _inside(last)
    if inside and activation is None and _commutes(inside, last, passed):
        activation, inside = inside, None
    _check_last(graph, last, inside)
    binary = graph.output.shape[-1] == 1
    if binary and activation == "softmax":
        raise InputError(f"{last.name} has one output and a softmax: its answer is always 1")
    return Head(
        activation="softmax" if binary else activation,
        removed=activation,
        binary=binary,
        dropped=tuple(dropped),
        changes=_change(graph, last, passed, binary),
    )


def _check_shape(graph: Graph) -> None:
    shape = graph.output.shape
    if len(shape) == 2 or (len(shape) == 4 and shape[1:3] == (1, 1)):
        return
    step = graph.maker(graph.output)
    sides = "x".join("?" if one is None else str(one) for one in shape[1:])
    raise InputError(
        f"{graph.name} ends in {step.name if step else 'its input'}, whose answer is {sides}: "
        f"{_NO_HEAD}"
    )


def _activation(step: Step) -> str | None:
    """ "softmax" or "sigmoid" where a step is that and nothing else."""
    operation: Any = step.operation
    if isinstance(operation, layers.Softmax):
        return "softmax" if operation.axis in (-1, len(step.outputs[0].shape) - 1) else None
    if isinstance(operation, layers.Activation):
        return _name(operation.activation)
    kind = type(operation).__name__
    if isinstance(operation, keras.Layer) or kind not in ("Softmax", "Sigmoid"):
        return None
    return "sigmoid" if kind == "Sigmoid" else "softmax" if operation.axis == -1 else None


def _name(function: Any) -> str | None:
    known = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
    return known.get(function)


def _inside(step: Step) -> str | None:
    """The activation that a layer with weights carries, by name; None for none."""
    function = getattr(step.operation, "activation", None)
    if function is None or function is keras.activations.linear:
        return None
    return _name(function) or getattr(function, "__name__", type(function).__name__)


def _passes(step: Step) -> bool:
    """Whether logits go through a step as logits."""
    operation: Any = step.operation
    if isinstance(operation, layers.Activation):
        return operation.activation is keras.activations.linear
    if isinstance(operation, keras.Layer):
        return isinstance(operation, (*_SHAPING, *_AVERAGES))
    return type(operation).__name__ in _OPERATIONS


def _commutes(activation: str, step: Step, passed: list[Step]) -> bool:
    """Whether an activation may be taken off in front of what stands behind it."""
    if activation not in ("softmax", "sigmoid"):
        return False
    shape = step.outputs[0].shape
    return not passed or all(one == 1 for one in shape[1:-1])


def _check_last(graph: Graph, last: Step, inside: str | None) -> None:
    """Raise InputError where what makes the last numbers makes no logits."""
    operation: Any = last.operation
    if inside:
        raise InputError(
            f"{graph.name} ends in {last.name} with {inside!r} behind it, which makes no logits of "
            f"classes: {_NO_HEAD}"
        )
    features = isinstance(operation, (*_NORMS, layers.Activation, layers.MaxPooling2D))
    rectified = isinstance(operation, layers.ReLU | layers.LeakyReLU | layers.PReLU | layers.ELU)
    pooled = isinstance(operation, layers.GlobalMaxPooling2D)
    if features or rectified or pooled or _is_nonlinear(operation):
        raise InputError(f"{graph.name} ends in the features of {last.name}: {_NO_HEAD}")


def _is_nonlinear(operation: Any) -> bool:
    """Whether an operation is one of `keras.activations`."""
    kind = type(operation).__name__.lower()
    return not isinstance(operation, keras.Layer) and kind in dir(keras.activations)


def _change(graph: Graph, last: Step, passed: list[Step], binary: bool) -> dict[Step, Change]:
    """The layer of the logits: without an activation, by its name, and of two outputs."""
    operation: Any = last.operation
    if not isinstance(operation, _LINEAR):
        if binary or getattr(operation, "activation", None) not in (None, keras.activations.linear):
            raise InputError(f"{last.name} cannot be made to end in logits; end in a Dense layer")
        return {}
    config: dict[str, Any] = {"activation": None}
    if not binary:
        return {last: Change(config=config, name="logits")}
    if any(isinstance(step.operation, layers.Reshape) for step in passed):
        raise InputError(f"{last.name} has one output, which a Reshape follows: end in Flatten")
    config["units" if isinstance(operation, layers.Dense) else "filters"] = 2
    return {last: Change(config=config, name="logits", weights=_two_outputs)}


def _two_outputs(weights: list[np.ndarray]) -> list[np.ndarray]:
    """The logits (0, z) of z: their softmax is 1 - sigmoid(z) and sigmoid(z)."""
    return [np.concatenate([np.zeros_like(one), one], axis=-1) for one in weights]
