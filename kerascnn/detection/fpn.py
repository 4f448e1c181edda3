"""BiFPN, the feature pyramid of EfficientDet (Tan et al., arXiv:1911.09070, section 3), with plain
sums for fast normalised fusion, as the Lite family has it.

A cell of five levels has eight nodes. Four go down the levels: P6', P5', P4' and the output P3"
each add the level's input and the coarser node, up-sampled. Four go up again: P4", P5" and P6" each
add the level's input, the node of the way down and the finer output, pooled; P7" has no node of the
way down. Behind each sum come the activation and a separable convolution.

Deviation from the paper, with Google's code (github.com/google/automl, efficientdet): a map whose
width is not the pyramid's passes a 1x1 convolution of its own for every node that reads it.
"""

from __future__ import annotations

import dataclasses

from keras import layers

from kerascnn.blocks import Conventions


def extended(maps, conventions: Conventions, filters, *, levels):
    """Add coarser levels to a backbone's maps, each half the size of the one before.

    Args:
        maps: (batch, height, width, channels), fine to coarse.
        filters: channels of the new levels.
        levels: numbers of all levels, of `maps` and new; the names of layers have them.

    Returns:
        `maps` and the new levels.
    """
    maps = list(maps)
    for level in levels[len(maps) :]:
        name = f"fpn_p{level}"
        maps.append(_halved(_narrowed(maps[-1], conventions, filters, name=name), name=name))
    return maps


def bifpn(maps, conventions: Conventions, filters, *, cells, levels):
    """Fuse the levels of a pyramid, `cells` times over.

    Args:
        maps: (batch, height, width, channels), fine to coarse, each ceil(half) of the one before;
            the last has `filters` channels.
        filters: channels of all outputs.
        cells: how often to go down and up again.
        levels: numbers of the levels, for the names of layers.

    Returns:
        As many maps, of the same sizes.
    """
    for cell in range(1, cells + 1):
        maps = _cell(maps, conventions, filters, name=f"fpn{cell}", levels=levels)
    return maps


def _cell(maps, conventions, filters, *, name, levels):
    names = [f"{name}_p{level}" for level in levels]
    last = len(maps) - 1
    down = {last: maps[last]}
    for i in reversed(range(last)):
        node = f"{names[i]}_down"
        own = _narrowed(maps[i], conventions, filters, name=node)
        coarse = doubled(down[i + 1], own.shape[1:3], name=node)
        down[i] = _node([own, coarse], conventions, filters, name=node)
    up = [down[0]]
    for i in range(1, last + 1):
        node = f"{names[i]}_up"
        own = _narrowed(maps[i], conventions, filters, name=node)
        middle = [down[i]] if i < last else []
        fine = _halved(up[-1], name=node)
        up.append(_node([own, *middle, fine], conventions, filters, name=node))
    return up


def _node(inputs, conventions, filters, *, name):
    x = layers.Add(name=f"{name}_add")(inputs)
    x = conventions.activate(x, f"{name}_act")
    return separable_conv(x, conventions, filters, name=name)


def separable_conv(x, conventions, filters, *, name):
    """3x3 depthwise, 1x1 with a bias, batch norm; (batch, height, width, filters)."""
    bare = dataclasses.replace(conventions, norm=False, bias=False)
    x = bare.depthwise(x, activation=False, name=f"{name}_depthwise")
    biased = dataclasses.replace(conventions, bias=True)
    return biased.conv(x, filters, activation=False, name=f"{name}_pointwise")


def _narrowed(x, conventions, filters, *, name):
    """The map at the pyramid's width."""
    if x.shape[-1] == filters:
        return x
    biased = dataclasses.replace(conventions, bias=True)
    return biased.conv(x, filters, activation=False, name=f"{name}_lateral")


def _halved(x, *, name):
    return layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)


def doubled(x, size, *, name):
    """Every pixel four times; where `size` is odd, the last row or column is left out.

    Equal to TensorFlow's resizing to the nearest neighbour, floor(i * from / to). Concatenation
    and reshaping do it, since XNNPACK has no kernel for what UpSampling2D becomes (TILE).
    """
    _, height, width, channels = x.shape
    x = layers.Concatenate(name=f"{name}_columns")([x, x])
    x = layers.Reshape((height, 2 * width * channels), name=f"{name}_row")(x)
    x = layers.Concatenate(name=f"{name}_rows")([x, x])
    x = layers.Reshape((2 * height, 2 * width, channels), name=f"{name}_upsample")(x)
    over = (2 * height - size[0], 2 * width - size[1])
    if any(over):
        x = layers.Cropping2D(((0, over[0]), (0, over[1])), name=f"{name}_crop")(x)
    return x
