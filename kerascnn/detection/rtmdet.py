"""RTMDet (Lyu et al., arXiv:2212.07784): a detector without anchors, of plain convolutions.

A backbone's maps of 1/8, 1/16 and 1/32 of the image's side pass a path aggregation network
(PAFPN, arXiv:1803.01534) of the backbone's own cross-stage partial stages: coarse ones are merged
into fine ones on the way down, and fine ones into coarse ones on the way up. Two heads look at
each level, whose 3x3 convolutions all levels share, but for their batch norms and predictions. Of
every cell they say each class's logit, and the distances of a box's four sides from the cell's
corner, in cells: no anchors, and no more than a 1x1 convolution, which int8 takes whole.

The tables are those of github.com/open-mmlab/mmdetection (configs/rtmdet). On MobileNetV4
(arXiv:2404.10518) the same pyramid and heads take ReLU, as the backbone does; nobody publishes
figures of that.

Deviations: distances begin at 1 cell where mmdetection begins at 0, so that the first boxes have an
area (its larger forms, whose distances are exponentials, begin at 1 too); the stem halves pictures
of any size; batch-norm momentum is the zoo's; padding is "same" by default, mmdetection's is
"symmetric".
"""

from __future__ import annotations

import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.classification.cspnext import cspnext, partial_stage
from kerascnn.classification.mobilenet_v4 import mobilenet_v4
from kerascnn.detection import fpn, heads
from kerascnn.detection.rtmdet_boxes import LEVELS, RTMDETS
from kerascnn.zoo import features

_HIDDEN = 2  # convolutions of a head
_STDDEV = 0.01  # of the heads' initial kernels (mmdetection)
_FIRST_DISTANCE = 1.0


def rtmdet(
    name: str,
    *,
    input_shape=None,
    classes=80,
    alpha=1.0,
    activation=None,
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=None,
) -> keras.Model:
    """Build an RTMDet.

    Args:
        name: a key of `RTMDETS`.
        input_shape: (height, width, channels); the network's own by default.
        classes: length of the logits.
        alpha: width multiplier of the backbone, and with it of pyramid and heads.
        activation: of all layers; the network's own by default.
        drop_path: at the backbone's last shortcut, growing linearly from 0 at the first block.
        padding: "same" (TensorFlow) or "symmetric" (PyTorch).
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps. The published epsilon by default.

    Returns:
        A functional model from (batch, height, width, channels) to boxes (batch, points, 4), the
        distances of their sides in cells, and logits (batch, points, classes).
    """
    config = RTMDETS[name]
    conventions = blocks.Conventions(
        activation=activation or config.activation,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=config.norm_epsilon if norm_epsilon is None else norm_epsilon,
    )
    build = cspnext if config.backbone.startswith("cspnext") else mobilenet_v4
    backbone = build(
        config.backbone,
        input_shape=input_shape or (config.size, config.size, 3),
        classes=1,
        alpha=alpha,
        stem_strides=2,
        activation=conventions.activation,
        drop_path=drop_path,
        padding=padding,
        norm_momentum=norm_momentum,
        norm_epsilon=conventions.norm_epsilon,
    )
    backbone = features(backbone, config.stages)
    maps = _pyramid(backbone.outputs, conventions, config.units)
    boxes = _head(maps, conventions, 4, bias=_FIRST_DISTANCE, name="box")
    logits = _head(maps, conventions, classes, bias=heads.RARE_OBJECT, name="class")
    outputs = [heads.joined(boxes, name="boxes"), heads.joined(logits, name="logits")]
    return keras.Model(backbone.inputs[0], outputs, name=name)


def _pyramid(maps, conventions, units):
    """Maps of the finest one's channels, each of which has seen all the others.

    Args:
        maps: (batch, height, width, channels), fine to coarse, each ceil(half) of the one before.
        units: blocks in every stage.

    Returns:
        As many maps, of the same sizes.
    """
    widths, last = [x.shape[-1] for x in maps], len(maps) - 1
    down: list[keras.KerasTensor] = []
    coarse = maps[last]
    for i in reversed(range(last)):
        fine, name = maps[i], f"fpn1_p{LEVELS[i]}"
        coarse = conventions.conv(coarse, widths[i], name=f"{name}_reduce")
        down.insert(0, coarse)
        x = fpn.doubled(coarse, fine.shape[1:3], name=name)
        x = layers.Concatenate(name=f"{name}_join")([x, fine])
        coarse = partial_stage(x, conventions, widths[i], units=units, name=name)
    up = [coarse]
    for i in range(last):
        name = f"fpn2_p{LEVELS[i + 1]}"
        x = conventions.conv(up[-1], widths[i], 3, strides=2, name=f"{name}_down")
        x = layers.Concatenate(name=f"{name}_join")([x, down[i]])
        up.append(partial_stage(x, conventions, widths[i + 1], units=units, name=name))
    return [
        conventions.conv(x, widths[0], 3, name=f"fpn3_p{level}_conv")
        for level, x in zip(LEVELS, up, strict=True)
    ]


def _head(maps, conventions, values, *, bias, name):
    """One head over all levels: a list of (batch, points of the level, values)."""
    initializer = keras.initializers.RandomNormal(stddev=_STDDEV)
    shared = [
        layers.Conv2D(
            x.shape[-1],
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer.clone(),
            name=f"{name}_conv{number}",
        )
        for number, x in enumerate(maps[:1] * _HIDDEN, 1)
    ]
    found = []
    for level, x in enumerate(maps, 1):
        predict = layers.Conv2D(
            values,
            1,
            kernel_initializer=initializer.clone(),
            bias_initializer=keras.initializers.Constant(bias),
            dtype=heads.output_dtype(),
            name=f"{name}_map{level}_predict",
        )
        hidden = _hidden(x, shared, conventions, level=level, name=name)
        found.append(heads.rows(predict(hidden), values, name=f"{name}_map{level}_rows"))
    return found


def _hidden(x, shared, conventions, *, level, name):
    """The hidden convolutions of a head on one level, which has batch norms of its own."""
    for number, conv in enumerate(shared, 1):
        own = f"{name}_conv{number}_map{level}"
        x = conventions.activate(conventions.normalise(conv(x), f"{own}_norm"), f"{own}_act")
    return x


rtmdet_tiny = functools.partial(rtmdet, "rtmdet_tiny")
rtmdet_s = functools.partial(rtmdet, "rtmdet_s")
rtmdet_mobilenet_v4_conv_small = functools.partial(rtmdet, "rtmdet_mobilenet_v4_conv_small")
