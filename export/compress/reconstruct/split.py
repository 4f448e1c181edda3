"""Let dead channels do the work of those whose rounding errs most.

All channels of an activation share one step, but not what becomes of its rounding: a depthwise
convolution that takes differences of neighbours makes much of it. Of the noise that the rounding of
EfficientNet-Lite0's first activation brings into the logits 86% is one channel's of 32, and four
channels are dead: 0 whatever the image. A dead channel can become a copy of such a channel that is
offset by a part of a step, each copy read at its share. The float network stays the same, the
offsets cancelling (but for values that a ReLU cuts off within that part of a step), while n copies
round as steps of a n-th would; the file has the same operations and bytes. (Outlier channel
splitting, Zhao et al. 2019, arXiv 1901.09504, adds channels for it.)

Where: a convolution with a ReLU, a depthwise convolution with or without one, and a 1x1
convolution, that nothing else reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from export.compress.reconstruct.network import with_bare_layers
from export.compress.reconstruct.tied import tied_kernels
from export.compress.reconstruct.walk import Walk, called_once, inputs_of, steps
from training.common.spread import spread
from training.engine.foldable_norms import LINEAR

_FEW = 16  # images that are looked at
# Of what was seen of an input without a bound: a kernel that is 0 but for rounding is dead for all.
_BEYOND = 2.0
_NOTHING = 1e-4  # that a dead depthwise kernel makes of the largest input
_LEAST = 0.25  # of the noise, that has to go: copies of a channel that is clipped are not exact


def split(
    model: keras.Model, x: np.ndarray, between: tuple[float, float], *, kept: Container[str] = ()
) -> keras.Model:
    """A twin whose dead channels are copies of others, where that lowers the noise of int8.

    Args:
        model: functional, linear layers bare, with one input.
        x: (n, height, width, channels) normalised images.
        between: least and largest value of any image.
        kept: layers whose kernels stay as they are.

    Returns:
        The model itself where there is no such channel.
    """
    chains = list(_chains(model, kept))
    if not chains:
        return model
    seen = _seen(model, x[spread(len(x), _FEW)], chains)
    twin = None
    for chain in chains:
        copies = _copies(chain, seen, between)
        if copies is not None:
            twin = twin or with_bare_layers(model)
            _fill(twin, chain, copies, _step_of(chain, seen))
    return twin or model


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Chain:
    """Steps: a convolution, its ReLU, a depthwise convolution, its ReLU or none, a convolution."""

    writer: Any
    act: Any
    depthwise: Any
    last: Any  # whose output the reader reads: the second ReLU, or the depthwise convolution
    reader: Any


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """Of what layers made of images.

    Attributes:
        largest: by tensor, the largest magnitude.
        active: by tensor, (channels,) share of values that its ReLU left as they were.
        variances: by tensor, (channels,).
    """

    largest: dict[int, float]
    active: dict[int, np.ndarray]
    variances: dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Copies:
    """What a chain's channels become.

    Attributes:
        of: by channel, the dead ones that become its copies.
        constants: (channels,) of dead ones, what the reader is given of them; 0 of others.
    """

    of: dict[int, list[int]]
    constants: np.ndarray


def _chains(model: keras.Model, kept: Container[str]) -> Iterator[_Chain]:
    readers: dict[int, list[Any]] = {}
    for step in steps(model):
        for tensor in inputs_of(step):
            readers.setdefault(id(tensor), []).append(step)
    ends = {id(tensor) for tensor in model.outputs}
    once = called_once(model)
    linear = [step.operation for step in steps(model) if isinstance(step.operation, LINEAR)]
    tied = tied_kernels(linear)

    def changeable(step: Any) -> bool:
        layer = step.operation
        free = layer.name in once and layer.name not in tied and layer.name not in kept
        return free and layer.use_bias and layer.trainable and getattr(layer, "groups", 1) == 1

    def behind(step: Any) -> Any:
        tensor = step.outputs[0]
        found = readers.get(id(tensor), [])
        return found[0] if len(found) == 1 and id(tensor) not in ends else None

    for writer in steps(model):
        if type(writer.operation) is not layers.Conv2D:
            continue
        act = behind(writer)
        depthwise = behind(act) if act is not None and _cap(act.operation) is not None else None
        if depthwise is None or not isinstance(depthwise.operation, layers.DepthwiseConv2D):
            continue
        last, reader = depthwise, behind(depthwise)
        if reader is not None and _cap(reader.operation) is not None:
            last, reader = reader, behind(reader)
        if reader is None or not _is_pointwise(reader.operation):
            continue
        if depthwise.operation.depth_multiplier == 1 and all(
            map(changeable, (writer, depthwise, reader))
        ):
            yield _Chain(writer=writer, act=act, depthwise=depthwise, last=last, reader=reader)


def _is_pointwise(layer: Any) -> bool:
    return type(layer) is layers.Conv2D and tuple(layer.kernel_size) == (1, 1)


def _cap(layer: Any) -> float | None:
    """Of a ReLU; None of anything else."""
    if isinstance(layer, layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return (np.inf if layer.max_value is None else float(layer.max_value)) if plain else None
    caps = {keras.activations.relu: np.inf, keras.activations.relu6: 6.0}
    return caps.get(layer.activation) if isinstance(layer, layers.Activation) else None


def _seen(model: keras.Model, x: np.ndarray, chains: list[_Chain]) -> _Seen:
    seen = _Seen(largest={id(model.inputs[0]): float(np.abs(x).max())}, active={}, variances={})
    lasts = {id(chain.last) for chain in chains}
    read = {id(chain.reader) for chain in chains}
    walk = Walk(model, x)
    for step in steps(model):
        made, tensor = walk.outputs(step), id(step.outputs[0])
        walk.keep(step, made)
        if len(step.outputs) > 1:
            continue
        seen.largest[tensor] = max(float(made.max()), -float(made.min()))
        rows = made.reshape(-1, made.shape[-1])
        if id(step) in lasts:
            cap = _cap(step.operation)
            inside = np.ones(rows.shape, bool) if cap is None else (rows > 0) & (rows < cap)
            seen.active[tensor] = inside.mean(axis=0)
        if id(step) in read:
            seen.variances[tensor] = rows.var(axis=0, dtype=np.float64)
    return seen


def _step_of(chain: _Chain, seen: _Seen) -> float:
    """Of the activation that copies are of."""
    return min(seen.largest[id(chain.act.outputs[0])], _cap(chain.act.operation) or 0.0) / 255


def _copies(chain: _Chain, seen: _Seen, between: tuple[float, float]) -> _Copies | None:
    """None where there is no dead channel, or nothing to gain."""
    constants = _constants(chain, seen, between)
    dead = [int(one) for one in np.flatnonzero(~np.isnan(constants))]
    if not dead:
        return None
    noise = _noise(chain, seen)
    noise[dead] = 0.0
    count, of = np.ones(len(noise)), dict[int, list[int]]()
    for one in dead:
        best = int(np.argmax(noise / count**2 - noise / (count + 1) ** 2))
        of.setdefault(best, []).append(one)
        count[best] += 1
    if np.sum(noise / count**2) > (1 - _LEAST) * np.sum(noise):
        return None
    return _Copies(of=of, constants=np.nan_to_num(constants))


def _constants(chain: _Chain, seen: _Seen, between: tuple[float, float]) -> np.ndarray:
    """(channels,) what the reader is given of a channel at every place of every image, or nan."""
    kernel, bias = chain.writer.operation.get_weights()
    low, high = _bounds(chain.writer, seen, between)
    flat = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    loudest = bias + np.maximum(flat * low, flat * high).sum(axis=0)
    taps, offset = chain.depthwise.operation.get_weights()
    taps = taps.reshape(-1, taps.shape[2])
    size = seen.largest[id(chain.act.outputs[0])]
    dead = (loudest <= 0) | (np.abs(taps).sum(axis=0) * _BEYOND * size < _NOTHING)
    if np.any(flat[:, ~dead] == 0) or np.any(taps[:, ~dead] == 0):
        dead[:] = False  # what pruning made 0 stays 0
    cap = _cap(chain.last.operation)
    made = offset if cap is None else np.clip(offset, 0, cap)
    return np.where(dead, made, np.nan)


def _bounds(step: Any, seen: _Seen, between: tuple[float, float]) -> tuple[float, float]:
    """Of what a layer is given, padding included."""
    (tensor,) = inputs_of(step)
    made_by = tensor._keras_history.operation
    if isinstance(made_by, layers.InputLayer):
        return min(between[0], 0.0), max(between[1], 0.0)
    cap = _cap(made_by)
    if cap is not None and np.isfinite(cap):
        return 0.0, cap
    most = _BEYOND * seen.largest[id(tensor)]
    return (-most if cap is None else 0.0), most


def _noise(chain: _Chain, seen: _Seen) -> np.ndarray:
    """(channels,) of a step's rounding, in variances of what the reader makes."""
    taps = chain.depthwise.operation.get_weights()[0].astype(np.float64)
    rows = chain.reader.operation.get_weights()[0][0, 0].astype(np.float64)
    variances = np.maximum(seen.variances[id(chain.reader.outputs[0])], 1e-12)
    passed = np.square(taps).sum(axis=(0, 1, 3)) * seen.active[id(chain.last.outputs[0])]
    noise: np.ndarray = passed * np.sum(np.square(rows) / variances, axis=1)
    return noise


def _fill(twin: keras.Model, chain: _Chain, copies: _Copies, step: float) -> None:
    """Change a chain's weights.

    Args:
        step: of the activation's scale.
    """
    writer, depthwise, reader = (
        twin.get_layer(one.operation.name) for one in (chain.writer, chain.depthwise, chain.reader)
    )
    kernel, bias = writer.get_weights()
    taps, offset = depthwise.get_weights()
    rows, end = reader.get_weights()
    end += copies.constants @ rows[0, 0]
    for channel, dead in copies.of.items():
        members = [channel, *dead]
        moved = step * ((np.arange(len(members)) + 0.5) / len(members) - 0.5)
        kernel[..., members] = kernel[..., [channel]]
        taps[:, :, members] = taps[:, :, [channel]]
        offset[members] = offset[channel] - moved * taps[:, :, channel].sum()
        bias[members] = bias[channel] + moved
        rows[:, :, members] = rows[:, :, [channel]] / len(members)
    writer.set_weights([kernel, bias])
    depthwise.set_weights([taps, offset])
    reader.set_weights([rows, end])
