"""Any Keras network as one list of steps, and a list of steps as a network again.

A model may have models inside. A `Graph` has none: each step is one call of one layer or operation,
in an order in which they can be run.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from kerascnn.errors import InputError, reason


@dataclasses.dataclass(eq=False, frozen=True)
class Value:
    """What stands for a tensor: its shape as the network has it, with None where it is open."""

    shape: tuple[int | None, ...]


@dataclasses.dataclass(eq=False, frozen=True, kw_only=True)
class Step:
    """One call of one layer or operation.

    Attributes:
        operation: of the network that was read; it is never changed.
        args, kwargs: with a `Value` in the place of each tensor.
        outputs: what it makes.
        scope: the names of the models around it, the outermost first.
        frozen: whether it is called with `training=False`, alone or with a model around it.
    """

    operation: keras.Operation
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[Value, ...]
    scope: tuple[str, ...] = ()
    frozen: bool = False

    @property
    def name(self) -> str:
        """As a message calls it: "layer 'fc' (Dense)"."""
        kind = "layer" if isinstance(self.operation, keras.Layer) else "operation"
        return f"{kind} {self.operation.name!r} ({type(self.operation).__name__})"

    @property
    def inputs(self) -> list[Value]:
        """The tensors that it reads."""
        flat = keras.tree.flatten((self.args, dict(self.kwargs)))
        return [one for one in flat if isinstance(one, Value)]

    @property
    def weighted(self) -> bool:
        """Whether its layer has weights."""
        return bool(getattr(self.operation, "weights", ()))

    def filled(self, values: Mapping[Value, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its arguments with tensors in them, and without what is said of training."""
        kept = {k: v for k, v in self.kwargs.items() if k not in ("training", "mask")}
        return keras.tree.map_structure(
            lambda one: values[one] if isinstance(one, Value) else one, (self.args, kept)
        )


@dataclasses.dataclass(eq=False, frozen=True, kw_only=True)
class Graph:
    """The steps from one image to the answers."""

    name: str
    input: Value
    steps: tuple[Step, ...]
    output: Value

    @property
    def channels(self) -> int:
        """Of the input."""
        return self.input.shape[-1] or 0

    def maker(self, value: Value) -> Step | None:
        """The step that makes a tensor; None for the input."""
        return next((step for step in self.steps if value in step.outputs), None)


def trace(model: keras.Model) -> Graph:
    """Read a functional or Sequential model of one input and one output.

    Raises:
        InputError: another kind of model, or a layer that no file may bring along; it is named.
    """
    inner = _functional(model)
    for what, found in (("input", inner.inputs), ("output", inner.outputs)):
        if len(found) != 1:
            # Tensors have numbers for names.
            names = ", ".join(one._keras_history.operation.name for one in found)
            raise InputError(
                f"{model.name} has {len(found)} {what}s ({names}); one image goes in here and one "
                "answer comes out: make a model of that path alone, keras.Model(input, output)"
            )
    source = Value(tuple(inner.inputs[0].shape))
    steps: list[Step] = []
    outputs = _walk(inner, [source], (), False, steps)
    return Graph(
        name=model.name,
        input=source,
        steps=_needed(steps, outputs[0]),
        output=outputs[0],
    )


def _functional(model: keras.Model) -> Any:
    """The functional model that a model is, or has inside if it is Sequential."""
    inner = getattr(model, "_functional", model) if isinstance(model, keras.Sequential) else model
    if inner is None or not hasattr(inner, "_run_through_graph"):
        raise InputError(
            f"{model.name} ({type(model).__name__}) is a model with code of its own, whose layers "
            "cannot be seen; write it with keras.Sequential or keras.Model(inputs, outputs)"
        )
    return inner


def _walk(
    inner: Any, inputs: Sequence[Value], scope: tuple[str, ...], frozen: bool, steps: list[Step]
) -> list[Value]:
    def call(operation, *args, **kwargs):
        still = frozen or kwargs.get("training") is False
        if isinstance(operation, keras.Model):
            given = [one for one in keras.tree.flatten((args, kwargs)) if isinstance(one, Value)]
            return _walk(_functional(operation), given, (*scope, operation.name), still, steps)
        _check(operation)
        made = keras.tree.flatten(operation.output)
        step = Step(
            operation=operation,
            args=args,
            kwargs=kwargs,
            outputs=tuple(Value(tuple(one.shape)) for one in made),
            scope=scope,
            frozen=still,
        )
        steps.append(step)
        return list(step.outputs)

    return keras.tree.flatten(inner._run_through_graph(list(inputs), call_fn=call))


def _check(operation: keras.Operation) -> None:
    """Raise InputError for a layer that cannot be taken over."""
    named = f"layer {operation.name!r}"
    if isinstance(operation, layers.Lambda):
        raise InputError(
            f"{named} is a Lambda: code that no file may bring along; write it as a layer or with "
            "keras.ops, and save the model again"
        )
    if getattr(operation, "quantization_mode", None):
        raise InputError(
            f"{named} was quantised by Keras ({operation.quantization_mode}); import the model as "
            "it was before model.quantize()"
        )
    if getattr(operation, "data_format", None) == "channels_first":
        raise InputError(
            f"{named} has channels first; phones have them last: build the model with "
            "data_format='channels_last' and give it the same weights"
        )


def _needed(steps: Iterable[Step], output: Value) -> tuple[Step, ...]:
    """Those that the output hangs on."""
    wanted, kept = {output}, []
    for step in reversed(list(steps)):
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            kept.append(step)
    return tuple(reversed(kept))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What a layer is rebuilt with instead of what it had.

    Attributes:
        config: of the layer.
        name: in the new network.
        weights: the new layer's, from the old one's.
    """

    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str = ""
    weights: Callable[[list[np.ndarray]], list[np.ndarray]] = lambda weights: weights


def build(
    graph: Graph,
    shape: tuple[int, int, int],
    *,
    dropped: Iterable[Step] = (),
    changes: Mapping[Step, Change] | None = None,
) -> keras.Model:
    """Make a functional float32 model of the steps of a graph, with weights of its own.

    Args:
        graph: whose input takes images of another size, if the layers allow it.
        shape: (height, width, channels) of the new input.
        dropped: steps of one input whose output is their input.
        changes: for some steps.

    Raises:
        InputError: a layer cannot be rebuilt, or has no place for its weights; it is named.
    """
    changes = changes or {}
    names = _Names(one.name for one in changes.values() if one.name)
    inputs = keras.Input(shape, name=names.take("image", ()))
    values: dict[Value, Any] = {graph.input: inputs}
    twins: dict[int, keras.Operation] = {}
    skipped = set(dropped)
    for step in graph.steps:
        if step in skipped:
            values[step.outputs[0]] = values[step.inputs[0]]
            continue
        change = changes.get(step, Change())
        fresh = id(step.operation) not in twins
        if fresh:
            name = names.take(step.operation.name, step.scope)
            twins[id(step.operation)] = twin(step, change.name or name, change.config)
        made = called(step, twins[id(step.operation)], values)
        values.update(zip(step.outputs, made, strict=True))
        if fresh:
            fill(step, twins[id(step.operation)], change.weights)
    return keras.Model(inputs, values[graph.output], name=graph.name)


class _Names:
    """Gives each layer of a network a name of its own, the one that it had if that is free."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._taken = {one.lower() for one in reserved}

    def take(self, name: str, scope: tuple[str, ...]) -> str:
        """The name, with the models' around it if it is taken, and a number if that is too."""
        # Files of weights and of TensorFlow do not tell capitals apart.
        wider = [name, *("_".join((*scope[-n:], name)) for n in range(1, len(scope) + 1))]
        numbered = (f"{wider[-1]}_{number}" for number in itertools.count(2))
        chosen = next(one for one in itertools.chain(wider, numbered) if self._free(one))
        self._taken.add(chosen.lower())
        return chosen

    def _free(self, name: str) -> bool:
        return name.lower() not in self._taken


def twin(step: Step, name: str, config: Mapping[str, Any] | None = None) -> keras.Operation:
    """A new layer or operation in float32, of the same settings and without the weights.

    Raises:
        InputError: its class does not say how it was made.
    """
    operation = step.operation
    try:
        made = type(operation).from_config(
            {**_as_float32(operation.get_config()), **(config or {})}
        )
    except Exception as error:
        raise InputError(
            f"{step.name} does not say how it is made ({reason(error)}); its class needs a "
            "get_config()"
        ) from error
    made.name = name
    return made


def called(step: Step, operation: keras.Operation, values: Mapping[Value, Any]) -> list[Any]:
    """Call a step's twin; raises InputError where it cannot take the tensors."""
    args, kwargs = step.filled(values)
    if "training" in inspect.signature(operation.call).parameters and not _symbolic(args, kwargs):
        kwargs["training"] = False
    try:
        return keras.tree.flatten(operation(*args, **kwargs))
    except Exception as error:
        shapes = [tuple(values[one].shape) for one in step.inputs]
        listed = " and ".join(_shape(one) for one in shapes)
        raise InputError(f"{step.name} cannot take {listed}: {reason(error)}") from error


def fill(
    step: Step,
    operation: keras.Operation,
    change: Callable[[list[np.ndarray]], list[np.ndarray]] = lambda weights: weights,
) -> None:
    """Give a step's twin, which was called, the weights and the trainable flags of the layer.

    Raises:
        InputError: the weights are not of the twin's sizes.
    """
    source = step.operation
    if not isinstance(source, keras.Layer):
        return
    if source.weights:
        held = change([_as_stored(one) for one in source.get_weights()])
        wanted = [tuple(one.shape) for one in operation.weights]
        if [one.shape for one in held] != wanted:
            raise InputError(
                f"{step.name} has weights of {_shapes(held)}, and as it is called here needs "
                f"{' and '.join(map(_shape, wanted))}"
            )
        operation.set_weights(held)
        if isinstance(operation, layers.Normalization):
            operation.finalize_state()  # which it computes with
    for ours, theirs in zip(operation._flatten_layers(), source._flatten_layers(), strict=True):
        ours.trainable = theirs.trainable
    if step.frozen and isinstance(operation, layers.BatchNormalization):
        operation.trainable = False


def _as_stored(weights: np.ndarray) -> np.ndarray:
    floating = weights.dtype.kind == "f" or str(weights.dtype) == "bfloat16"
    return weights.astype(np.float32) if floating else weights


def _as_float32(config: Any) -> Any:
    """The same config with float32 in the place of all other floating types and policies."""
    if isinstance(config, Mapping):
        if "DTypePolicy" in str(config.get("class_name")):
            return "float32"
        return {
            key: "float32" if key == "dtype" and "float" in str(value) else _as_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(map(_as_float32, config))
    return config


def _symbolic(args: Any, kwargs: Any) -> bool:
    return any(isinstance(one, keras.KerasTensor) for one in keras.tree.flatten((args, kwargs)))


def _shapes(arrays: Iterable[np.ndarray]) -> str:
    return " and ".join(_shape(one.shape) for one in arrays)


def _shape(shape: Sequence[int | None]) -> str:
    return "x".join("?" if one is None else str(one) for one in shape) or "one number"
