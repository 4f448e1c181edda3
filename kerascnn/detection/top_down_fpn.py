"""FPN, the feature pyramid of two-stage detectors (Lin et al., arXiv:1612.03144, section 3).

A 1x1 convolution brings every map of the backbone to the pyramid's width (`lateral`); from the
coarsest down, each takes in the next coarser one, doubled to its size; a 3x3 convolution behind
each sum makes the level (`output`). One more level, for the anchors of the largest objects alone,
is every second pixel of the coarsest (section 4.1). No norm, no activation.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from kerascnn.detection.fpn import doubled


def top_down(maps, filters, *, levels):
    """Give every level of a backbone the semantics of the coarsest.

    Args:
        maps: (batch, height, width, channels), fine to coarse, each ceil(half) of the one before
            or of its size.
        filters: channels of all levels.
        levels: numbers of the maps' levels, for the names of layers.

    Returns:
        As many maps, of the same sizes, and one of ceil(half) the size of the last.
    """
    coarse: Any = None
    outputs: list[Any] = []
    for x, level in reversed(list(zip(maps, levels, strict=True))):
        name = f"fpn_p{level}"
        own = _conv(filters, 1, name=f"{name}_lateral")(x)
        if coarse is not None:
            if coarse.shape[1:3] != own.shape[1:3]:
                coarse = doubled(coarse, own.shape[1:3], name=name)
            own = layers.Add(name=f"{name}_add")([own, coarse])
        coarse = own
        outputs.insert(0, _conv(filters, 3, name=f"{name}_output")(own))
    pool = layers.MaxPooling2D(1, strides=2, name=f"fpn_p{levels[-1] + 1}_pool")
    return [*outputs, pool(outputs[-1])]


def _conv(filters, kernel_size, *, name):
    # A gain of 1 keeps the variance of a linear layer's input (torchvision: kaiming_uniform, a=1).
    return layers.Conv2D(
        filters, kernel_size, padding="same", kernel_initializer="lecun_uniform", name=name
    )
