"""Structured pruning: whole channels leave the graph, and a smaller plain network remains.

A walk over the graph gives every channel of every tensor a number. Sums, products and depthwise
convolutions make numbers one, concatenations put them side by side, flattening repeats them; so a
channel is everything that has to go at once. A kernel that is called several times, as those of a
detector's heads are, ties the channels of all its calls. Channels that no layer tells apart form a
group, from which the least worthy go, a step at a time, wherever least is lost for a multiply-add
saved.

What the walk cannot follow (grouped convolutions, normalisation across channels, nested models,
unknown layers) keeps all channels that it touches; so do the inputs and the outputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from export.compress.refit import refit
from kerascnn.complexity import count_macs
from kerascnn.errors import InputError
from training.common.progress import busy

SCORES = ("taylor", "norm", "l1")
# From a truth and a network's outputs to a number.
Loss = Callable[[Any, Sequence[Any]], Any]
# A layer's name, and which of its calls.
_Call = tuple[str, int]
# Of a group, the share that always stays.
_FLOOR = 1 / 8

_KERNELS = (layers.Conv2D, layers.Conv2DTranspose, layers.Dense, layers.DepthwiseConv2D)
_MERGES = (
    layers.Add,
    layers.Average,
    layers.Concatenate,  # along another axis than the channels
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
)
_BY_CHANNEL = (
    layers.AveragePooling2D,
    layers.Cropping2D,
    layers.ELU,
    layers.GaussianNoise,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.Identity,
    layers.LeakyReLU,
    layers.MaxPooling2D,
    layers.ReLU,
    layers.SpatialDropout2D,
    layers.UpSampling2D,
    layers.ZeroPadding2D,
)
_ELEMENTWISE = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "hard_silu"),
    *("sigmoid", "hard_sigmoid", "log_sigmoid", "tanh", "hard_tanh", "softplus", "softsign"),
    *("squareplus", "exponential", "mish"),
)


def prune_channels(
    model: keras.Model,
    *,
    macs: float,
    score: str,
    batches: Iterable[tuple[Any, Any]] = (),
    divisor: int = 8,
    loss: Loss | None = None,
    images: np.ndarray | None = None,
) -> keras.Model:
    """Remove whole channels until a share of the multiply-adds is left.

    Args:
        model: functional; left as it is.
        macs: share of `count_macs(model)` that may stay, between 0 and 1. The result has at most
            that, and no step of `divisor` channels could be given back.
        score: what a channel is worth.
            "taylor": how much the loss changes to first order if the channel is zero: for each
            picture |sum of y * dL/dy| over the pixels of the batch norm's output y, or of the
            layer's own without a norm. That sum is gamma * dL/dgamma + beta * dL/dbeta (kernel and
            bias) of one picture (Molchanov et al., arXiv:1906.10771); taken picture by picture,
            since the mean gradient of a trained network is close to nothing.
            "norm": |gamma| of the batch norm (Liu et al., arXiv:1708.06519), L1 for groups that
            have none.
            "l1": sum of absolute kernel weights (Li et al., arXiv:1608.08710).
        batches: for "taylor": normalised pictures (n, height, width, channels) in float32 and what
            `loss` takes as their truth.
        loss: of a truth and the list of the network's outputs, a sum over pictures; None: softmax
            cross-entropy of the only output and one-hot labels (n, classes).
        divisor: widths stay multiples of it where a group is at least twice as wide; phones
            compute channels in lanes of 4 or 8.
        images: normalised ones that what is left is fitted to the whole network on, by
            `export.compress.refit`; None: weights are copied.

    A channel's worth is the sum over the layers that make it, since a sum of layers loses all of
    its terms at once. Depthwise convolutions and gates do not count: they would be a second opinion
    of the same channels, and weigh inner channels double against those that blocks hand on. Changes
    of the loss have one unit, and stand as they are; gamma and kernels have none, so theirs are
    taken as shares of their layer.

    A step of `divisor` channels takes worth * log(worth before / worth after) from its group, and
    the step that takes least for a multiply-add saved is next. The logarithm knows what scores of
    single channels do not, that the last ones of a layer carry what all did: it is the score while
    a group is whole, and keeps it from falling to its floor beside neighbours that lose nothing.

    Returns:
        A functional model with the same layer names, flags and types.

    Raises:
        InputError: no functional model of one picture size, an impossible share, divisor or score,
            "taylor" without batches, or a share that the smallest widths exceed; the message names
            the least.
    """
    _check(model, macs, score, divisor)
    graph = _Graph(model)
    worth = _worth(graph, score, batches, loss or _cross_entropy)
    groups = graph.groups(divisor)
    kept = _choose(_Costs(graph, groups), groups, [worth[g.channels] for g in groups], macs)
    keep = np.ones(graph.size, bool)
    for group, count in zip(groups, kept, strict=True):
        order = np.argsort(-worth[group.channels], kind="stable")
        keep[group.channels[order[count:]]] = False
    narrower = _cut(model, graph, keep)
    if images is not None:
        left = {name: keep[channels] for name, channels in graph.outputs.items()}
        refit(model, narrower, left, images)
    return narrower


def widths(model: keras.Model) -> dict[str, int]:
    """Output channels of each convolution and dense layer, by layer name."""
    # Of a layer that is called several times Keras knows no one output.
    return {
        layer.name: layer._inbound_nodes[0].outputs[0].shape[-1]
        for layer in model.layers
        if isinstance(layer, _KERNELS)
    }


def _check(model: keras.Model, macs: float, score: str, divisor: int) -> None:
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise InputError(f"channels are removed from functional models, not from {model!r}")
    for picture in model.inputs:
        if None in picture.shape[1:]:
            raise InputError(f"{model.name} has no fixed image size, which its MACs depend on")
    if not 0 < macs < 1:
        raise InputError(f"macs must be a fraction between 0 and 1, not {macs}")
    if score not in SCORES:
        raise InputError(f"the score must be one of {', '.join(SCORES)}, not {score!r}")
    if divisor < 1:
        raise InputError(f"divisor must be at least 1, not {divisor}")


@dataclasses.dataclass(frozen=True)
class _Group:
    """Channels that every layer treats alike.

    Attributes:
        channels: their numbers.
        floor: how many stay at least.
        divisor: of how many stay, where the group is wide enough, else 1.
    """

    channels: np.ndarray
    floor: int
    divisor: int

    @classmethod
    def of(cls, channels: np.ndarray, divisor: int) -> _Group:
        width = len(channels)
        step = divisor if width >= 2 * divisor else 1
        floor = max(divisor, math.ceil(width * _FLOOR / step) * step)
        return cls(channels, min(width, floor), step)

    def smaller(self, width: int) -> int:
        """The next width below, or `width` at the floor."""
        return max(self.floor, (width - 1) // self.divisor * self.divisor)

    def larger(self, width: int) -> int:
        """The next width above, or `width` where all are there."""
        return min(len(self.channels), (width // self.divisor + 1) * self.divisor)


@dataclasses.dataclass(frozen=True, eq=False)
class _Tensor:
    """A tensor of the walk: its channels' numbers, and the convolution that they come from.

    That has a name, and a number of the call.

    The symbolic tensor is kept with them: a freed one's id could be given to another.
    """

    symbol: Any
    channels: np.ndarray
    producer: _Call | None = None


class _Graph:
    """Channels of a model, numbered; what must go together has one number.

    Attributes:
        inputs, outputs: by layer name, the numbers of the channels on both sides of each layer
            whose weights are cut.
        norms: batch norm behind each call of a convolution, by name and call.
        points: where its channels are scored, likewise: behind the norm, if there is one.
        areas: multiply-adds of a pair of channels, by name, all calls together.
        makers: layers that make channels that may go, and that these are scored by: neither
            depthwise convolutions, which pass on what another made, nor the last one of a gate.
    """

    def __init__(self, model: keras.Model) -> None:
        self.inputs: dict[str, np.ndarray] = {}
        self.outputs: dict[str, np.ndarray] = {}
        self.norms: dict[str, dict[int, str]] = {}
        self.points: dict[str, list[Any]] = {}
        self.areas: dict[str, int] = {}
        self.makers: dict[str, None] = {}
        self._lost: set[str] = set()  # layers of which a call could not be followed
        self._parent: list[int] = []
        self._locked: set[int] = set()
        self._tensors: dict[int, _Tensor] = {}
        # The graph is public only to whoever clones it; and layers of the twin have the calls of
        # this model alone, also where it shares them with another.
        self.twin = keras.models.clone_model(model, call_function=self._call)
        for layer in model.layers:
            self.twin.get_layer(layer.name).set_weights(layer.get_weights())
        for output in self.twin.outputs:
            self._lock(self._of(output).channels)
        self._settle()

    def groups(self, divisor: int) -> list[_Group]:
        """Free channels, sorted by how often each layer has them on either side."""
        sides = [*self.inputs.values(), *self.outputs.values()]
        counts = np.stack([self.count(side) for side in sides], 1)
        free = np.zeros(self.size, bool)
        for name in self.makers:
            free[self.outputs[name]] = True
        free[sorted(self._locked)] = False
        found: dict[bytes, list[int]] = {}
        for channel in np.flatnonzero(free).tolist():
            found.setdefault(counts[channel].tobytes(), []).append(channel)
        return [_Group.of(np.array(channels), divisor) for channels in found.values()]

    @property
    def size(self) -> int:
        """How many numbers were given out."""
        return len(self._parent)

    def count(self, side: np.ndarray) -> np.ndarray:
        """How often each number is among a layer's channels."""
        return np.bincount(side, minlength=self.size).astype(np.int32)

    def _call(self, layer, *args, **kwargs):
        """Call a layer of the twin, and number the channels of what comes out."""
        kwargs.pop("training", None)
        outputs = layer(*args, **kwargs)
        tensors = [self._of(x) for x in _symbols((args, kwargs))]
        followed = None if _symbols(kwargs) else self._follow(layer, tensors, outputs)
        if followed is None:
            self._lose(layer.name)
            for tensor in tensors:
                self._lock(tensor.channels)
            for symbol in _symbols(outputs):
                self._lock(self._of(symbol).channels)
        else:
            channels, producer = followed
            self._tensors[id(outputs)] = _Tensor(outputs, channels, producer)
        return outputs

    def _follow(self, layer, tensors, output) -> tuple[np.ndarray, _Call | None] | None:
        """Channels and producer of a layer's output, or None where they are not known."""
        if layer.name in self._lost or not _is_followed(layer, tensors):
            return None
        first = tensors[0]
        if type(layer) in _KERNELS:
            return self._follow_kernel(layer, first, output)
        if type(layer) is layers.BatchNormalization:
            if first.producer:
                name, call = first.producer
                self.norms.setdefault(name, {})[call] = layer.name
                self.points[name][call] = output
            self._cut_here(layer, first.channels)
        elif type(layer) is layers.Concatenate and layer.axis in (-1, len(output.shape) - 1):
            return np.concatenate([tensor.channels for tensor in tensors]), None
        elif type(layer) in _MERGES:
            return self._merge(layer, tensors, output)
        elif type(layer) in (layers.Flatten, layers.Reshape):
            return self._reshape(layer, first, output)
        return first.channels, first.producer

    def _lose(self, name: str) -> None:
        """Leave a layer's weights as they are, at all of its calls."""
        self._lost.add(name)
        for sides in (self.inputs, self.outputs):
            self._lock(sides.get(name, np.array([], int)))

    def _cut_here(self, layer, channels: np.ndarray) -> None:
        """Cut a layer's weights, or shape, with these channels, and those of its other calls."""
        self._tie_all(self.outputs.setdefault(layer.name, channels), channels)

    def _follow_kernel(self, layer, tensor: _Tensor, output) -> tuple[np.ndarray, _Call]:
        name = layer.name
        self._tie_all(self.inputs.setdefault(name, tensor.channels), tensor.channels)
        if name not in self.outputs:
            if type(layer) is layers.DepthwiseConv2D:
                self.outputs[name] = np.repeat(tensor.channels, layer.depth_multiplier)
            else:
                self.outputs[name] = self._number(output.shape[-1])
                self.makers[name] = None
        self.areas[name] = self.areas.get(name, 0) + _macs_a_pair(layer, tensor.symbol, output)
        points = self.points.setdefault(name, [])
        points.append(output)
        return self.outputs[name], (name, len(points) - 1)

    def _merge(self, layer, tensors, output) -> tuple[np.ndarray, _Call | None] | None:
        """Tie the channels of terms or factors; one channel for all of another cannot go."""
        rank, width = len(output.shape), output.shape[-1]
        if not width or any(len(tensor.symbol.shape) != rank for tensor in tensors):
            return None
        full = [t for t in tensors if len(t.channels) == width]
        for tensor in tensors:
            if tensor not in full:
                self._lock(tensor.channels)
                continue
            self._tie_all(full[0].channels, tensor.channels)
        if type(layer) is not layers.Multiply:
            return full[0].channels, None
        # A gate scales channels that others make: what it is worth is in what it scales.
        maps = [t for t in full if t.symbol.shape == output.shape]
        for gate in tensors:
            if gate.symbol.shape != output.shape and gate.producer:
                self.makers.pop(gate.producer[0], None)
        return full[0].channels, maps[0].producer if len(maps) == 1 else None

    def _reshape(self, layer, tensor: _Tensor, output) -> tuple[np.ndarray, _Call | None] | None:
        """Rows of pixels, channels last: a longer last axis has the channels again and again.

        Of such an axis a shorter one has them once more, where it takes whole pixels of it.
        """
        width, channels = output.shape[-1], tensor.channels
        if not width or not len(channels):
            return None
        if width % len(channels) == 0:
            channels = np.tile(channels, width // len(channels))
        elif len(channels) % width == 0:
            pixels = channels.reshape(-1, width)
            if (pixels != pixels[0]).any():
                return None
            channels = pixels[0]
        else:
            return None
        if getattr(layer, "target_shape", (-1,))[-1] != -1:
            self._cut_here(layer, channels)
        return channels, tensor.producer

    def _of(self, symbol) -> _Tensor:
        """What is known of a tensor; the unknown (an input) has channels that stay."""
        if id(symbol) not in self._tensors:
            channels = self._number((symbol.shape or (0,))[-1] or 0)
            self._lock(channels)
            self._tensors[id(symbol)] = _Tensor(symbol, channels)
        return self._tensors[id(symbol)]

    def _number(self, count: int) -> np.ndarray:
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def _lock(self, channels: np.ndarray) -> None:
        self._locked.update(channels.tolist())

    def _root(self, channel: int) -> int:
        while self._parent[channel] != channel:
            self._parent[channel] = self._parent[self._parent[channel]]
            channel = self._parent[channel]
        return channel

    def _tie(self, one: int, other: int) -> None:
        one, other = sorted((self._root(one), self._root(other)))
        self._parent[other] = one

    def _tie_all(self, some: np.ndarray, others: np.ndarray) -> None:
        if some is not others:
            for one, other in zip(some.tolist(), others.tolist(), strict=True):
                self._tie(one, other)

    def _settle(self) -> None:
        """Give tied channels their common number everywhere."""
        roots = np.array([self._root(channel) for channel in range(len(self._parent))], int)
        self._locked = set(roots[sorted(self._locked)].tolist())
        for sides in (self.inputs, self.outputs):
            for name, channels in sides.items():
                sides[name] = roots[channels]
        self.makers = {m: None for m in self.makers if {*self.outputs[m].tolist()} - self._locked}


def _symbols(structure) -> list:
    return [x for x in keras.tree.flatten(structure) if isinstance(x, keras.KerasTensor)]


def _is_followed(layer, tensors: Sequence[_Tensor]) -> bool:
    """Whether every output channel of a layer comes of the same input channels, or of a kernel."""
    kind = type(layer)
    if not tensors or getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    if kind in _KERNELS:
        constant = getattr(layer, "kernel_initializer", None) or layer.depthwise_initializer
        return (
            getattr(layer, "groups", 1) == 1
            and _is_elementwise(layer.activation)
            and len(layer.weights) == 1 + layer.use_bias  # neither LoRA nor integers
            and np.ndim(getattr(constant, "value", 0)) == 0
        )
    plain = kind in (*_BY_CHANNEL, *_MERGES, layers.Flatten, layers.Reshape)
    if kind is layers.BatchNormalization:
        plain = layer.axis in (-1, len(tensors[0].symbol.shape) - 1)
    elif kind is layers.Activation:
        plain = _is_elementwise(layer.activation)
    elif kind is layers.Dropout:
        plain = not layer.noise_shape or layer.noise_shape[-1] in (None, 1)
    elif kind is layers.Rescaling:
        plain = np.ndim(layer.scale) == np.ndim(layer.offset) == 0
    return plain


def _is_elementwise(activation) -> bool:
    return getattr(activation, "__name__", "") in _ELEMENTWISE


def _worth(graph: _Graph, score: str, batches, loss: Loss) -> np.ndarray:
    """Worth of every channel, by number: the sum over the layers that make it."""
    if score == "taylor":
        return _gathered(graph, _taylor(graph, batches, loss))
    by_kernel = _gathered(graph, _kernel_sizes(graph))
    if score == "l1":
        return by_kernel
    by_norm = _gathered(graph, _norm_scales(graph))
    return np.where(np.isnan(by_norm), by_kernel, by_norm)


def _gathered(graph: _Graph, measures: dict[str, np.ndarray]) -> np.ndarray:
    """Measures of layers as the worth of channels; NaN where no layer was measured."""
    worth = np.full(graph.size, np.nan)
    for name, measure in measures.items():
        channels = graph.outputs[name]
        worth[channels] = np.nan_to_num(worth[channels])
        np.add.at(worth, channels, measure)
    return worth


def _cross_entropy(labels: Any, outputs: Sequence[Any]) -> Any:
    """Of a classifier's logits, summed over pictures."""
    truth, logits = tf.cast(labels, tf.float32), tf.cast(outputs[0], tf.float32)
    return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(truth, logits))


def _taylor(graph: _Graph, batches, loss: Loss) -> dict[str, np.ndarray]:
    """For each layer that makes channels, the sum over pictures of |sum of y * dL/dy|.

    The inner sum goes over the pixels of all calls of a layer.
    """
    names = list(graph.makers)
    points = [point for name in names for point in graph.points[name]]
    owners = [place for place, name in enumerate(names) for _ in graph.points[name]]
    probe = keras.Model(graph.twin.inputs, [*points, *graph.twin.outputs])
    sums = [np.zeros(graph.points[name][0].shape[-1]) for name in names]

    # One graph: calling hundreds of layers one by one takes longer than running them.
    @tf.function(reduce_retracing=True)
    def changes(images: tf.Tensor, truth: Any) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)  # also where every weight is frozen
            answers = probe(images, training=False)
            outputs = answers[: len(points)]
            total = loss(truth, answers[len(points) :])
        slopes = tape.gradient(total, outputs, unconnected_gradients="zero")
        found: list[Any] = [0.0] * len(names)
        for place, output, slope in zip(owners, outputs, slopes, strict=True):
            change = tf.cast(output * slope, tf.float64)
            found[place] += tf.reduce_sum(change, list(range(1, change.shape.rank - 1)))
        return [tf.reduce_sum(tf.abs(each), 0) for each in found]

    pictures = None
    with busy("scores of channels"):
        for pictures, truth in batches:
            tensors = tf.nest.map_structure(tf.convert_to_tensor, (pictures, truth))
            for place, change in enumerate(changes(*tensors)):
                sums[place] += change.numpy()
    if pictures is None:
        raise InputError("score 'taylor' needs batches of images and labels; 'norm' does not")
    return dict(zip(names, sums, strict=True))


def _kernel_sizes(graph: _Graph) -> dict[str, np.ndarray]:
    """L1 norm of each output channel's kernel."""
    found = {}
    for name in graph.makers:
        layer = graph.twin.get_layer(name)
        kernel = np.abs(layer.get_weights()[0], dtype=np.float64)
        if isinstance(layer, layers.Conv2DTranspose):
            kernel = kernel.swapaxes(2, 3)
        found[name] = _shares(kernel.sum(tuple(range(kernel.ndim - 1))))
    return found


def _norm_scales(graph: _Graph) -> dict[str, np.ndarray]:
    """|gamma| of the batch norms that have one; of several calls their sum."""
    found = {}
    for name in graph.makers:
        norms = [graph.twin.get_layer(norm) for norm in graph.norms.get(name, {}).values()]
        scales = [np.abs(np.asarray(norm.gamma, np.float64)) for norm in norms if norm.scale]
        if scales:
            found[name] = _shares(np.sum(scales, axis=0))
    return found


def _shares(sizes: np.ndarray) -> np.ndarray:
    return sizes / (sizes.sum() or 1.0)


class _Costs:
    """Multiply-adds as a function of how many channels each group keeps."""

    def __init__(self, graph: _Graph, groups: Sequence[_Group]) -> None:
        names = list(graph.inputs)
        kinds = [graph.twin.get_layer(name) for name in names]
        counted = [graph.count(graph.outputs[name]) for name in names]
        received = [
            # Each channel of a depthwise convolution sees itself alone.
            graph.count(graph.inputs[name]) * (not isinstance(layer, layers.DepthwiseConv2D))
            for name, layer in zip(names, kinds, strict=True)
        ]
        firsts = [group.channels[0] for group in groups]
        sizes = np.array([len(group.channels) for group in groups], int)
        self._outputs = np.array([side[firsts] for side in counted]).reshape(len(names), -1)
        self._inputs = np.array([side[firsts] for side in received]).reshape(len(names), -1)
        self._fixed_outputs = np.array([side.sum() for side in counted]) - self._outputs @ sizes
        self._fixed_inputs = np.array([side.sum() for side in received]) - self._inputs @ sizes
        self._fixed_inputs += [isinstance(layer, layers.DepthwiseConv2D) for layer in kinds]
        self._each = np.array([graph.areas[name] for name in names], float)
        self.total = count_macs(graph.twin)
        self._fixed = self.total - self._followed(sizes)

    def macs(self, kept: np.ndarray) -> float:
        """Of the whole model."""
        return self._fixed + self._followed(kept)

    def macs_each(self, kept: np.ndarray, changed: np.ndarray) -> np.ndarray:
        """Of the whole model with one group after the other changed alone."""
        inputs = self._fixed_inputs + self._inputs @ kept
        outputs = self._fixed_outputs + self._outputs @ kept
        ins = inputs[:, None] + self._inputs * (changed - kept)
        outs = outputs[:, None] + self._outputs * (changed - kept)
        return self._fixed + self._each @ (ins * outs)

    def _followed(self, kept: np.ndarray) -> float:
        inputs = self._fixed_inputs + self._inputs @ kept
        outputs = self._fixed_outputs + self._outputs @ kept
        return float(self._each @ (inputs * outputs))


def _macs_a_pair(layer, taken, given) -> int:
    """Multiply-adds of one input channel into one output channel, of one call."""
    if isinstance(layer, layers.Dense):
        return math.prod(given.shape[1:-1])
    places = taken if isinstance(layer, layers.Conv2DTranspose) else given
    return math.prod(places.shape[1:3]) * math.prod(layer.kernel.shape[:2])


def _choose(
    costs: _Costs, groups: Sequence[_Group], worths: Sequence[np.ndarray], macs: float
) -> np.ndarray:
    """How many channels each group keeps."""
    budget = macs * costs.total
    least = costs.macs(np.array([group.floor for group in groups], int))
    if least > budget:
        raise InputError(
            f"macs={macs} is out of reach: with every layer at its smallest width "
            f"{math.ceil(1000 * least / costs.total) / 1000:.3f} of the MACs are left; ask for more"
        )
    # Of the n worthiest channels together, for every n.
    held = [np.append(0, np.cumsum(np.sort(worth)[::-1])) for worth in worths]
    kept = np.array([len(group.channels) for group in groups], int)
    while costs.macs(kept) > budget:
        fewer = np.array([g.smaller(n) for g, n in zip(groups, kept, strict=True)])
        saved = costs.macs(kept) - costs.macs_each(kept, fewer)
        lost = np.array([_lost(h, n, m) for h, n, m in zip(held, kept, fewer, strict=True)])
        rate = np.where(fewer < kept, lost / np.where(saved > 0, saved, 1e-9), np.inf)
        best = int(np.argmin(rate))
        kept[best] = fewer[best]
    while True:
        more = np.array([g.larger(n) for g, n in zip(groups, kept, strict=True)])
        affordable = (more > kept) & (costs.macs_each(kept, more) <= budget)
        if not affordable.any():
            return kept
        won = np.array([_lost(h, m, n) for h, n, m in zip(held, kept, more, strict=True)])
        best = int(np.argmax(np.where(affordable, won, -np.inf)))
        kept[best] = more[best]


def _lost(held: np.ndarray, before: int, after: int) -> float:
    """What a group loses with the least worthy of `before` channels, for every layer in it."""
    if not held[after]:
        return 0.0
    return float(held[-1] * np.log(held[before] / held[after]))


def _cut(model: keras.Model, graph: _Graph, keep: np.ndarray) -> keras.Model:
    """A model of the channels that stay."""

    def narrowed(layer):
        config = layer.get_config()
        if layer.name in graph.outputs:
            width = int(keep[graph.outputs[layer.name]].sum())
            for key in ("filters", "units"):
                if key in config:
                    config[key] = width
            if "target_shape" in config:
                config["target_shape"] = (*config["target_shape"][:-1], width)
        return type(layer).from_config(config)

    narrower = keras.models.clone_model(model, clone_function=narrowed)
    narrower.dtype_policy = model.dtype_policy
    if not model.trainable:
        narrower.trainable = False
    for layer in model.layers:
        weights = _narrowed_weights(layer, graph, keep)
        narrower.get_layer(layer.name).set_weights(weights)
    return narrower


def _narrowed_weights(layer, graph: _Graph, keep: np.ndarray) -> list[np.ndarray]:
    weights = layer.get_weights()
    if layer.name not in graph.outputs or not weights:
        return weights
    outputs = keep[graph.outputs[layer.name]]
    if layer.name not in graph.inputs:
        return [weight[outputs] for weight in weights]
    kernel, *bias = weights
    inputs = keep[graph.inputs[layer.name]]
    if isinstance(layer, layers.DepthwiseConv2D):
        kernel = kernel[:, :, inputs]
    elif isinstance(layer, layers.Conv2DTranspose):
        kernel = kernel[..., outputs, :][..., inputs]
    else:
        kernel = kernel[..., inputs, :][..., outputs]
    return [kernel, *(weight[outputs] for weight in bias)]
