"""Bring the channels of a tensor to one size, where nothing but linear layers can tell.

Or the weights that read it: `with_even_columns`, of kernels of few bits.

An activation of an int8 file has one scale for all of its channels, which is the loudest one's: a
channel that is thirty times as quiet has eight steps left. Where a tensor is made by layers with
kernels and read by such, and what lies between them (sums, pooling, a ReLU without a cap) makes
twice as much of twice as much, a channel may be made louder by what writes it and quieter by what
reads it: the float network stays the same (Nagel et al. 2019, arXiv 1906.04721, section 4.1, there
between two layers; here over whole chains of sums, as the narrow ends of inverted residuals are).

Channels are raised by the root of what they lack, so that a channel keeps room for what
calibration did not see of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from export.compress.reconstruct.network import (
    NEAREST,
    Format,
    looked_at,
    reconstruct,
    with_bare_layers,
)
from export.compress.reconstruct.tied import tied_kernels
from export.compress.reconstruct.walk import Walk, called_once, inputs_of, steps
from training.common.spread import spread
from training.engine.foldable_norms import LINEAR

# Whose outputs have the channels of their inputs, each multiplied by what its input is.
_HANDED_ON = (
    *(layers.Add, layers.AveragePooling2D, layers.Cropping2D, layers.Dropout),
    *(layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.MaxPooling2D),
    *(layers.UpSampling2D, layers.ZeroPadding2D),
)
_FEW_BITS = 4
_ROOT = 0.5
_MOST = 8.0
_FEW = 16  # images that ranges are chosen on, and others that it is judged on


def better(model: keras.Model, format_: Format, x: np.ndarray, groups: np.ndarray) -> keras.Model:
    """The network, with its channels equalised where the rounding of activations errs less for it.

    Told by images of other groups than those that say how loud channels are and where ranges end: a
    channel that calibration had as a quiet one is cut off where other images are loud in it.
    Kernels are left out: rounded to the nearest they say little of what they will be.

    Args:
        model: as of `reconstruct`.
        format_: of the file; of integers for activations.
        x: (n, height, width, channels) normalised images.
        groups: (n,) of images that are alike.
    """
    halves = [np.flatnonzero(groups % 2 == half) for half in (0, 1)]
    if not all(map(len, halves)):
        return model
    gained = 0.0
    for known, other in (halves, halves[::-1]):
        made = equalised(model, looked_at(model, x[known]), kept=format_.kept)
        if made is None:
            return model
        few, judged = (some[spread(len(some), _FEW)] for some in (known, other))
        before, after = (
            _decibels(one, format_, x[few], groups[few], x[judged]) for one in (model, made)
        )
        gained += after - before
    even = equalised(model, looked_at(model, x), kept=format_.kept) if gained > 0 else None
    return even or model


def _decibels(
    model: keras.Model, format_: Format, x: np.ndarray, groups: np.ndarray, judged: np.ndarray
) -> float:
    """Of activations that are rounded to ranges of some images, on others."""
    floats = dataclasses.replace(format_, bits=lambda _layer: None)
    parts = dataclasses.replace(NEAREST, ranges=True)
    ranges = reconstruct(model, floats, x, parts=parts, groups=groups).ranges
    return reconstruct(
        model, dataclasses.replace(floats, fixed=ranges), judged, parts=NEAREST
    ).decibels


def equalised(
    model: keras.Model, x: np.ndarray, *, kept: Container[str] = ()
) -> keras.Model | None:
    """A twin whose channels are of one size where that is possible; equal to float rounding.

    None where it is possible nowhere.

    Args:
        model: functional, linear layers bare, with one input.
        x: (n, height, width, channels) normalised images that say how loud channels are.
        kept: layers whose kernels stay as they are.
    """
    chains = _Chains(model, kept)
    if not any(chains.of(one) is not None for step in steps(model) for one in step.outputs):
        return None
    loudest: dict[int, np.ndarray] = {}
    walk = Walk(model, x)
    for step in steps(model):
        made = walk.outputs(step)
        chain = chains.of(step.outputs[0]) if len(step.outputs) == 1 else None
        if chain is not None:
            found = np.abs(made).reshape(-1, made.shape[-1]).max(axis=0)
            share = found / max(float(found.max()), 1e-12)
            loudest[chain] = np.maximum(loudest.get(chain, 0.0), share)
        walk.keep(step, made)
    factors = {
        chain: np.clip(np.maximum(share, 1e-12) ** -_ROOT, 1.0, _MOST)
        for chain, share in loudest.items()
    }
    return _scaled(model, chains, factors)


def with_even_columns(model: keras.Model, format_: Format) -> keras.Model:
    """A twin whose kernels of four bits have weights of one size for each channel that they read.

    A kernel has a scale for each channel that it writes, which its largest weight sets: the weights
    of a channel whose readers' weights are half as large as usual have half of the sixteen steps.
    Where it is exact, such a channel is made quieter by what writes it, whose scales make up for
    that, and louder by all that read it (benchmarks/ptq.md: what it brings).

    Args:
        model: as of `reconstruct`; itself where there is nothing to do.
        format_: of the file.
    """
    chains = _Chains(model, format_.kept)
    columns: dict[int, list[np.ndarray]] = {}
    for step in steps(model):
        layer = step.operation
        few = isinstance(layer, LINEAR) and (format_.bits(layer) or 8) <= _FEW_BITS
        if few and not isinstance(layer, layers.DepthwiseConv2D):
            chain = chains.of(inputs_of(step)[0])
            if chain is not None:
                columns.setdefault(chain, []).append(_columns(layer))
    if not columns:
        return model
    factors = {}
    for chain, squares in columns.items():
        sizes = np.sqrt(np.mean(squares, axis=0))
        usual = np.exp(np.mean(np.log(np.maximum(sizes, 1e-12))))
        factors[chain] = np.clip(sizes / usual, 1 / _MOST, _MOST)
    return _scaled(model, chains, factors)


def _columns(layer: layers.Layer) -> np.ndarray:
    """(inputs,) mean squares of the weights that read each channel, those of all outputs alike."""
    kernel = np.asarray(layer.kernel, np.float64)
    kernel = kernel.reshape(-1, *kernel.shape[-2:])  # (taps, inputs, outputs)
    if isinstance(layer, layers.Conv2DTranspose):
        kernel = kernel.transpose(0, 2, 1)
    sizes = np.mean(np.square(kernel), axis=(0, 1), keepdims=True)
    found: np.ndarray = np.mean(np.square(kernel) / np.maximum(sizes, 1e-24), axis=(0, 2))
    return found


def _scaled(model: keras.Model, chains: _Chains, factors: Mapping[int, np.ndarray]) -> keras.Model:
    """A twin whose tensors are so many times as large, by the chain that they belong to."""
    twin = with_bare_layers(model)
    for step in steps(model):
        if isinstance(step.operation, LINEAR):
            (source,), (output,) = inputs_of(step), step.outputs
            into, out = (_of(factors, chains.of(one)) for one in (source, output))
            if into is not None or out is not None:
                _scale(twin.get_layer(step.operation.name), into, out)
    return twin


def _of(factors: Mapping[int, np.ndarray], chain: int | None) -> np.ndarray | None:
    return None if chain is None else factors.get(chain)


def _scale(layer: layers.Layer, into: np.ndarray | None, out: np.ndarray | None) -> None:
    """Divide by what its inputs were multiplied by, and multiply its outputs."""
    kernel, *bias = layer.get_weights()
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    if into is not None:
        last = isinstance(layer, layers.Conv2DTranspose)
        kernel = kernel / (into if last else into[:, None])
    if out is not None:
        if depthwise:
            kernel = kernel * out.reshape(kernel.shape[2:])
        elif isinstance(layer, layers.Conv2DTranspose):
            kernel = kernel * out[:, None]
        else:
            kernel = kernel * out
        bias = [one * out for one in bias]
    layer.set_weights([one.astype(np.float32) for one in (kernel, *bias)])


class _Chains:
    """Tensors that have to be scaled together, and those that may not be."""

    def __init__(self, model: keras.Model, kept: Container[str]) -> None:
        self._parents: dict[int, int] = {}
        fixed = [*model.inputs, *model.outputs]
        once = called_once(model)
        linear = [step.operation for step in steps(model) if isinstance(step.operation, LINEAR)]
        tied = tied_kernels(linear)  # a head that looks at all levels stays one kernel
        for step in steps(model):
            tensors = [*inputs_of(step), *step.outputs]
            if isinstance(step.operation, LINEAR):
                name = step.operation.name
                known = name in once and name not in tied and name not in kept
                if not known or not _scalable(step.operation):
                    fixed += tensors
            elif _hands_on(step.operation) and len({one.shape[-1] for one in tensors}) == 1:
                for one in tensors:
                    self._join(id(one), id(tensors[0]))
            else:
                fixed += tensors
        self._fixed = {self._root(id(one)) for one in fixed}

    def of(self, tensor: Any) -> int | None:
        """The chain that a tensor belongs to; None where it has to stay as it is."""
        root = self._root(id(tensor))
        return None if root in self._fixed else root

    def _root(self, tensor: int) -> int:
        while (parent := self._parents.get(tensor, tensor)) != tensor:
            tensor = parent
        return tensor

    def _join(self, one: int, other: int) -> None:
        self._parents[self._root(one)] = self._root(other)


def _scalable(layer: layers.Layer) -> bool:
    return layer.trainable and getattr(layer, "groups", 1) == 1


def _hands_on(layer: Any) -> bool:
    if isinstance(layer, layers.ReLU):
        return layer.max_value is None and not layer.threshold
    if isinstance(layer, layers.Activation):
        return layer.activation is keras.activations.relu
    return isinstance(layer, _HANDED_ON)
