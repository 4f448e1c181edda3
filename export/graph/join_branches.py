"""Join parallel linear branches: a sum of convolutions of one tensor is one convolution.

Networks such as RepVGG (Ding et al., arXiv:2101.03697), MobileOne and RepViT learn better with
several branches in place of a convolution, and run faster without. Convolutions of one tensor with
equal strides, batch norms behind them, batch norms alone and the tensor itself are linear in its
pixels, so that their sum is a convolution with a bias: kernels are scaled by their norms, laid into
one of the largest size where their windows fall, and added.

A batch norm before dense layers goes into them in the same way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from export.graph.fold_norm import copy_weights, without_norms
from training.engine.foldable_norms import moments

_KERNELS = (layers.Conv2D, layers.DepthwiseConv2D)

# Rows above and below, columns to the left and right.
Padding = tuple[tuple[int, int], tuple[int, int]]
_NO_PADDING: Padding = ((0, 0), (0, 0))


def deployed(model: keras.Model) -> keras.Model:
    """The network as files hold it: branches joined, norms before dense layers folded.

    Args:
        model: functional; its weights are copied, never shared.

    Returns:
        A model with equal outputs at inference, to float rounding; `model` itself where there is
        nothing to join or fold.
    """
    return fold_leading_norms(join_branches(model))


def join_branches(model: keras.Model) -> keras.Model:
    """Put a convolution in the place of each sum of linear branches.

    Args:
        model: functional; its weights are copied, never shared.

    Returns:
        A model with equal outputs at inference, to float rounding; `model` itself where there is
        nothing to join. A convolution has the name of the sum that it stands for, and where it
        stands for some of the terms alone, that with `_branches` behind. Branches whose values
        others read, shared and grouped layers, dilated windows, and strides on images of unknown
        size are left as they are.
    """
    while sums := _Joining(model).sums:
        model = _joined(model, sums)
    return model


def fold_leading_norms(model: keras.Model) -> keras.Model:
    """Fold each batch norm that dense layers alone read, and nothing else, into those.

    Args:
        model: functional; its weights are copied, never shared.

    Returns:
        A model with equal outputs at inference, to float rounding; `model` itself without such a
        norm.
    """
    norms = dict(_leading_norms(model))
    if not norms:
        return model
    return without_norms(model, norms, {
        dense: _with_norm_in_front(model.get_layer(dense), model.get_layer(norm))
        for norm, readers in norms.items()
        for dense in readers
    })  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Branch:
    """A term of a sum: from which tensor, and which layers on the way, first to last.

    Attributes:
        source: the tensor that it is linear in.
        pad: zeros around it.
        kernel: the convolution; None for the tensor itself or its norm.
        seen: what the convolution reads; the source, where there is none.
        norms: behind it.
    """

    source: Any
    pad: layers.ZeroPadding2D | None
    kernel: keras.Layer | None
    seen: Any
    norms: tuple[layers.BatchNormalization, ...]

    @property
    def first(self) -> keras.Layer | None:
        """The layer that reads the source."""
        return next((x for x in (self.pad, self.kernel, *self.norms) if x is not None), None)

    @property
    def affine(self) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Gain and shift of each channel, behind the kernel."""
        gain: Any = 1.0
        shift: Any = 0.0
        if self.kernel is not None and self.kernel.use_bias:
            shift = np.asarray(self.kernel.bias, np.float64)
        for norm in self.norms:
            scale, mean, beta = moments(norm)
            gain, shift = gain * scale, (shift - mean) * scale + beta
        return gain, shift

    @property
    def padding(self) -> Padding | None:
        """Zeros around the source, as its convolution sees it; None where nobody can tell."""
        if self.kernel is None:
            return _NO_PADDING
        own = _padding_of(self.kernel, self.seen.shape[1:3])
        if own is None or self.pad is None:
            return own
        (top, bottom), (left, right) = own
        (above, below), (before, behind) = self.pad.padding
        return (top + above, bottom + below), (left + before, right + behind)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Sum:
    """Terms of one `Add` that are joined.

    Attributes:
        add: the layer.
        places: of the terms among its inputs.
        branches: the terms.
        name: of the convolution.
    """

    add: layers.Add
    places: tuple[int, ...]
    branches: tuple[_Branch, ...]
    name: str

    @property
    def widest(self) -> keras.Layer:
        """The convolution whose settings the joined one has."""
        kernels = [branch.kernel for branch in self.branches if branch.kernel is not None]
        return max(kernels, key=lambda layer: math.prod(layer.kernel_size))

    def convolution(self) -> tuple[keras.Layer, Padding, list[np.ndarray]]:
        """The joined layer, what to pad its input with beforehand, and its weights."""
        padding, kernel, bias = self._joined()
        widest = self.widest
        config = widest.get_config() | {
            "name": self.name,
            "kernel_size": kernel.shape[:2],
            "padding": "same",
            "use_bias": True,
        }
        layer = type(widest).from_config(config)
        if _padding_of(layer, self.branches[0].source.shape[1:3]) == padding:
            padding = _NO_PADDING
        else:
            layer = type(widest).from_config(config | {"padding": "valid"})
        dtype = widest.kernel.dtype
        return layer, padding, [kernel.astype(dtype), bias.astype(dtype)]

    def _joined(self) -> tuple[Padding, np.ndarray, np.ndarray]:
        """Padding, kernel and bias in double precision."""
        channels = self.add.output.shape[-1]
        found = [(b.padding or _NO_PADDING, self._kernel(b, channels), b.affine[1]) for b in
                 self.branches]  # fmt: skip
        above, before = (max(padding[axis][0] for padding, _, _ in found) for axis in (0, 1))
        below, behind = (
            max(0, *(kernel.shape[axis] - 1 - padding[axis][0] for padding, kernel, _ in found))
            for axis in (0, 1)
        )
        kernel = np.zeros((1 + above + below, 1 + before + behind, *found[0][1].shape[2:]))
        bias = np.zeros(channels)
        for (rows, columns), part, shift in found:
            top, left = above - rows[0], before - columns[0]
            kernel[top : top + part.shape[0], left : left + part.shape[1]] += part
            bias += shift
        sides = self.widest.strides, self.branches[0].source.shape[1:3], self.add.output.shape[1:3]
        ends = [
            _padding_behind(start, kernel.shape[axis], *(side[axis] for side in sides))
            for axis, start in enumerate((above, before))
        ]
        return ((above, ends[0]), (before, ends[1])), kernel, bias

    def _kernel(self, branch: _Branch, channels: int) -> np.ndarray:
        """Of the branch, its gain in it; of the tensor itself, ones where a channel is its own."""
        gain = np.broadcast_to(branch.affine[0], (channels,))
        depthwise = isinstance(self.widest, layers.DepthwiseConv2D)
        if branch.kernel is not None:
            kernel = np.asarray(branch.kernel.kernel, np.float64)
            return kernel * (gain[:, None] if depthwise else gain)
        if depthwise:
            return gain.reshape(1, 1, channels, 1)
        return np.diag(gain)[None, None]


class _Joining:
    """One look over a model's graph.

    Attributes:
        sums: what can be joined, by the name of the `Add`.
    """

    def __init__(self, model: keras.Model) -> None:
        nodes = [node for found in model._nodes_by_depth.values() for node in found]
        self._makers = {id(x): node for node in nodes for x in node.outputs}
        self._readers: dict[int, int] = {}
        calls: dict[int, int] = {}
        for node in nodes:
            calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
            for x in node.input_tensors:
                self._readers[id(x)] = self._readers.get(id(x), 0) + 1
        self._ends = {id(x) for x in model.outputs}
        self._calls = calls
        self.sums = {
            node.operation.name: found
            for node in nodes
            if type(node.operation) is layers.Add
            and not self.is_shared(node.operation)
            and (found := list(self._of(node)))
        }

    def is_shared(self, layer: keras.Layer) -> bool:
        """Whether a layer is called more than once."""
        return self._calls[id(layer)] > 1

    def maker_of(self, tensor: Any) -> keras.Layer | None:
        """The layer that made a tensor within the model."""
        node = self._makers.get(id(tensor))
        return None if node is None else node.operation

    def is_end(self, tensor: Any) -> bool:
        """Whether a tensor is an output of the model."""
        return id(tensor) in self._ends

    def _of(self, node: Any) -> Iterator[_Sum]:
        """The sums among an Add's terms: those of one source, with a convolution among them."""
        shape = node.outputs[0].shape
        groups: dict[int, list[tuple[int, _Branch]]] = {}
        for place, tensor in enumerate(node.input_tensors):
            branch = self._branch(tensor)
            if tensor.shape == shape and branch is not None:
                groups.setdefault(id(branch.source), []).append((place, branch))
        for number, group in enumerate(groups.values()):
            places, branches = zip(*group, strict=True)
            if len(branches) > 1 and _alike(branches):
                whole = len(places) == len(node.input_tensors)
                name = node.operation.name
                yield _Sum(
                    add=node.operation,
                    places=places,
                    branches=branches,
                    name=name if whole else f"{name}_branches{number or ''}",
                )

    def _branch(self, tensor: Any) -> _Branch | None:
        """The longest linear way back from a term, or None where its order is another."""
        norms: list[layers.BatchNormalization] = []
        kernel = pad = seen = None
        while (layer := self._linear_maker(tensor)) is not None:
            if isinstance(layer, layers.BatchNormalization) and kernel is None:
                norms.insert(0, layer)
            elif isinstance(layer, _KERNELS) and kernel is None:
                kernel, seen = layer, self._makers[id(tensor)].input_tensors[0]
            elif isinstance(layer, layers.ZeroPadding2D) and kernel is not None and pad is None:
                pad = layer
            else:
                break
            tensor = self._makers[id(tensor)].input_tensors[0]
        seen = tensor if seen is None else seen
        return _Branch(source=tensor, pad=pad, kernel=kernel, seen=seen, norms=tuple(norms))

    def _linear_maker(self, tensor: Any) -> keras.Layer | None:
        """The layer that made a tensor, if it is linear and nobody else sees what it made."""
        node = self._makers.get(id(tensor))
        if node is None or self._readers.get(id(tensor), 0) != 1 or self.is_end(tensor):
            return None
        layer = node.operation
        if self.is_shared(layer):
            return None
        if type(layer) is layers.BatchNormalization:
            return layer if layer.axis in (-1, len(tensor.shape) - 1) else None
        if type(layer) is layers.ZeroPadding2D:
            return layer
        plain = type(layer) in _KERNELS and layer.activation is keras.activations.linear
        return layer if plain and _is_simple(layer) else None


def _is_simple(layer: keras.Layer) -> bool:
    """Whether this convolution can be joined with others."""
    return (
        layer.data_format == "channels_last"
        and set(layer.dilation_rate) == {1}
        and getattr(layer, "groups", 1) == 1
        and getattr(layer, "depth_multiplier", 1) == 1
        and layer.padding in ("same", "valid")
    )


def _alike(branches: tuple[_Branch, ...]) -> bool:
    """Whether branches of one source are one convolution."""
    kernels = [branch.kernel for branch in branches if branch.kernel is not None]
    if not kernels or len(branches[0].source.shape) != 4:
        return False
    strides = {tuple(kernel.strides) for kernel in kernels}
    alone = len(kernels) < len(branches)
    return (
        len({type(kernel) for kernel in kernels}) == len(strides) == 1
        and not (alone and strides != {(1, 1)})
        and all(branch.padding is not None for branch in branches)
    )


def _padding_of(layer: keras.Layer, sides: tuple[int | None, ...]) -> Padding | None:
    """What a convolution pads images of this size with; None where that needs their size."""
    if layer.padding == "valid":
        return _NO_PADDING
    found = []
    for side, kernel, stride in zip(sides, layer.kernel_size, layer.strides, strict=True):
        if stride == 1 or kernel == 1:
            total = kernel - 1
        elif side is None:
            return None
        else:
            total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        found.append((total // 2, total - total // 2))
    return found[0], found[1]


def _padding_behind(
    before: int, kernel: int, stride: int, side: int | None, output: int | None
) -> int:
    """Zeros behind an image, so that windows of this size give the output's."""
    if side is None or output is None:
        # At stride 1; else the padding would not be known, and nothing was joined.
        return kernel - 1 - before
    return max((output - 1) * stride + kernel - side - before, 0)


def _joined(model: keras.Model, sums: dict[str, list[_Sum]]) -> keras.Model:
    """A twin with convolutions in place of sums."""
    starts: dict[str, Any] = {}
    weights: dict[str, list[np.ndarray]] = {}

    def source_of(branch: _Branch, term: Any) -> Any:
        return term if branch.first is None else starts[branch.first.name]

    def convolved(one: _Sum, terms: list[Any]) -> Any:
        layer, padding, weights[layer.name] = one.convolution()
        x = source_of(one.branches[0], terms[one.places[0]])
        if padding != _NO_PADDING:
            x = layers.ZeroPadding2D(padding, dtype=layer.dtype_policy, name=f"{one.name}_pad")(x)
        return layer(x)

    def call(layer: keras.Layer, *args, **kwargs):
        kwargs.pop("training", None)
        # Branches are called too, which the twin has not: nothing that it gives reads them.
        if layer.name not in sums:
            if args and keras.tree.is_nested(args[0]) is False:
                starts[layer.name] = args[0]
            return layer(*args, **kwargs)
        terms, found = list(args[0]), sums[layer.name]
        taken = {place for one in found for place in one.places}
        kept = [term for place, term in enumerate(terms) if place not in taken]
        joined = [convolved(one, terms) for one in found]
        return layer([*joined, *kept]) if len(joined) + len(kept) > 1 else joined[0]

    twin = keras.models.clone_model(model, call_function=call)
    copy_weights(model, twin, weights)
    return twin


def _leading_norms(model: keras.Model) -> Iterator[tuple[str, list[str]]]:
    """Batch norms that dense layers alone read, each with the names of those."""
    graph = _Joining(model)
    nodes = [node for found in model._nodes_by_depth.values() for node in found]
    readers: dict[int, list[keras.Layer]] = {}
    for node in nodes:
        for x in node.input_tensors:
            readers.setdefault(id(x), []).append(node.operation)
    for node in nodes:
        norm = node.operation
        if type(norm) is not layers.BatchNormalization or graph.is_shared(norm):
            continue
        (x,) = node.outputs
        dense = readers.get(id(x), [])
        if (
            dense
            and norm.axis in (-1, len(x.shape) - 1)
            and not graph.is_end(x)
            # One behind a convolution or dense layer is folded into that by the converter.
            and type(graph.maker_of(node.input_tensors[0])) not in (*_KERNELS, layers.Dense)
            and all(type(one) is layers.Dense and not graph.is_shared(one) for one in dense)
        ):
            yield norm.name, [one.name for one in dense]


def _with_norm_in_front(dense: layers.Dense, norm: layers.BatchNormalization) -> list[np.ndarray]:
    gain, mean, beta = moments(norm)
    kernel = np.asarray(dense.kernel, np.float64)
    bias = np.asarray(dense.bias, np.float64) if dense.use_bias else 0.0
    shifted = bias + (beta - mean * gain) @ kernel
    dtype = dense.kernel.dtype
    return [(gain[:, None] * kernel).astype(dtype), shifted.astype(dtype)]
