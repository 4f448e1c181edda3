"""Run a network operation by operation, over all pictures at once.

So that each layer can be changed in the light of what those before it became, and no layer is run
twice: a network of fifty layers run anew for each of them would cost twenty-five times as much.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerascnn.detection.roi_align import RoIAlign
from kerascnn.detection.roi_heads import Detections, FoldRegions, Masks, UnfoldRegions
from kerascnn.detection.rpn import Proposals

_AT_ONCE = 32
# What files hold in their place takes one picture at a time (`export.graph.two_stage`); regions of
# thirty pictures are gigabytes.
_ONE_BY_ONE = (Detections, Masks, Proposals, RoIAlign)
# Between them regions are pictures: no slice of one is a slice of the other.
_WHOLE = (FoldRegions, UnfoldRegions)


def steps(model: keras.Model) -> list[Any]:
    """Calls of a functional model's layers, in an order in which they can be run."""
    return [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]


def chooses(step: Any) -> bool:
    """Whether what a step makes says where later steps look: regions of a two-stage detector.

    A network that looks elsewhere has other activations, which no rounding could make equal.
    """
    return isinstance(step.operation, Detections | Proposals)


def has_regions(model: keras.Model) -> bool:
    """Whether a network is a two-stage detector."""
    return any(map(chooses, steps(model)))


def twin_steps(model: keras.Model, twin: keras.Model) -> list[tuple[Any, Any]]:
    """Steps of a model, each with the one that is the same in a twin."""
    twins = {_key(step, twin): step for step in steps(twin)}
    return [(step, twins[_key(step, model)]) for step in steps(model)]


def called_once(model: keras.Model) -> set[str]:
    """Names of layers that make one tensor."""
    calls = Counter(step.operation.name for step in steps(model))
    return {name for name, count in calls.items() if count == 1}


def floats_at_once(model: keras.Model) -> int:
    """The most numbers that a picture has in memory at any step of the walk."""
    return max(floats_at_each(model))


def floats_at_each(model: keras.Model) -> list[int]:
    """The numbers that a picture has in memory at each step of the walk."""
    waiting = _readers(model)
    alive = {id(tensor): _size(tensor) for tensor in model.inputs}
    found, regions = [], 1
    for step in steps(model):
        if isinstance(step.operation, FoldRegions):
            (folded,) = inputs_of(step)
            regions = int(folded.shape[1])
        inside = step.outputs[0].shape[0] is None and model.inputs[0].shape[0] is not None
        alive |= {id(tensor): _size(tensor) * (regions if inside else 1) for tensor in step.outputs}
        found.append(sum(alive.values()))
        for tensor in inputs_of(step):
            waiting[id(tensor)] -= 1
            if not waiting[id(tensor)]:
                alive.pop(id(tensor), None)
    return found


class Walk:
    """Activations of one network, step by step; what nobody reads any more is dropped.

    Args:
        model: functional, with one input.
        x: (n, ...) what it is given.
    """

    def __init__(self, model: keras.Model, x: np.ndarray) -> None:
        self._waiting = _readers(model)
        self._values: dict[int, Any] = {id(model.inputs[0]): x}
        self._model = model

    def inputs(self, step: Any) -> list[np.ndarray]:
        """What a step is given."""
        return [self._values[id(tensor)] for tensor in inputs_of(step)]

    def outputs(self, step: Any) -> Any:
        """What a step makes of it; one new array, or several."""
        arrays = self.inputs(step)
        if isinstance(step.operation, _WHOLE):
            return keras.tree.map_structure(np.asarray, called(step, arrays))
        count, made = len(arrays[0]), None
        for rows in _slices(count, 1 if isinstance(step.operation, _ONE_BY_ONE) else _AT_ONCE):
            part = keras.tree.map_structure(np.asarray, called(step, [a[rows] for a in arrays]))
            if made is None:  # parts that are joined at the end would take the room twice
                made = keras.tree.map_structure(functools.partial(_room, count), part)
            pairs = zip(keras.tree.flatten(made), keras.tree.flatten(part), strict=True)
            for whole, found in pairs:
                whole[rows] = found
        return made

    def keep(self, step: Any, outputs: Any) -> None:
        """Let the steps behind have these as the step's outputs."""
        for tensor, value in zip(step.outputs, keras.tree.flatten(outputs), strict=True):
            self._values[id(tensor)] = value
        for tensor in inputs_of(step):
            self._waiting[id(tensor)] -= 1
            if not self._waiting[id(tensor)]:
                self._values.pop(id(tensor), None)

    def join(self, others: Sequence[Walk]) -> None:
        """Take over the images of walks that are at the same step, and are no longer of use."""
        for key, value in self._values.items():
            self._values[key] = np.concatenate([value, *(one._values.pop(key) for one in others)])

    def results(self) -> list[np.ndarray]:
        """The network's outputs, when all steps are done."""
        return [self._values[id(tensor)] for tensor in self._model.outputs]


def _room(count: int, part: np.ndarray) -> np.ndarray:
    """For so many pictures, where a part has some."""
    return np.empty((count, *part.shape[1:]), part.dtype)


def called(step: Any, arrays: list[np.ndarray]) -> Any:
    given = iter(arrays)
    args, kwargs = step.arguments.fill_in(
        {id(tensor): next(given) for tensor in _unique(step.arguments.keras_tensors)}
    )
    kwargs.pop("training", None)
    if isinstance(step.operation, keras.layers.Dropout):
        return keras.tree.flatten(args)[0]
    return step.operation(*args, **kwargs)


def inputs_of(step: Any) -> list[Any]:
    """Tensors that a step reads, each once; as of `Walk.inputs`."""
    return list(_unique(step.arguments.keras_tensors))


def _unique(tensors: list[Any]) -> Iterator[Any]:
    yield from {id(tensor): tensor for tensor in tensors}.values()


def _readers(model: keras.Model) -> Counter[int]:
    found = Counter(id(tensor) for step in steps(model) for tensor in inputs_of(step))
    found.update(id(tensor) for tensor in model.outputs)  # read after the last step
    return found


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _size(tensor: Any) -> int:
    return int(np.prod([side or 1 for side in tensor.shape[1:]]))


def _key(step: Any, model: keras.Model) -> tuple[str, int]:
    """A call of a layer, so that it is found again in a twin."""
    calls = [one for one in steps(model) if one.operation is step.operation]
    return step.operation.name, [id(one) for one in calls].index(id(step))
