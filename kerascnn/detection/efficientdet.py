"""EfficientDet-Lite, EfficientDet (Tan, Pang and Le, arXiv:1911.09070) for phones.

An EfficientNet-Lite without its head, a BiFPN over levels 3 to 7, and one box and one class head
that all levels share, but for their batch norms. Against the paper the Lite family has ReLU6 for
swish, plain sums for fast normalised fusion and smaller pictures (github.com/google/automl,
efficientdet/hparams_config.py, `efficientdet_lite_param_dict`).

Deviations: the stem halves pictures of any size; batch-norm momentum is the zoo's. Google's code
does not pool a level of 1x1, which is the same.
"""

from __future__ import annotations

import functools

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.classification.efficientnet import efficientnet
from kerascnn.detection import fpn, heads
from kerascnn.detection.efficientdet_boxes import EFFICIENTDETS, LEVELS
from kerascnn.zoo import features

# The backbone's stages of levels 3, 4 and 5.
STAGES = ("stage3", "stage5", "stage7")
# Three octaves times three aspect ratios.
ANCHORS_A_CELL = 9


def efficientdet(
    name: str,
    *,
    input_shape=None,
    classes=90,
    activation="relu6",
    drop_path=0.0,
    padding="same",
    norm_momentum=0.99,
    norm_epsilon=1e-3,
) -> keras.Model:
    """Build an EfficientDet-Lite.

    Args:
        name: a key of `EFFICIENTDETS`.
        input_shape: (height, width, channels); the network's own by default.
        classes: length of the logits.
        activation: of all layers.
        drop_path: at the backbone's last block, growing linearly from 0 at the first.
        padding: of the backbone, "same" (TensorFlow) or "symmetric" (PyTorch); the pyramid's is
            "same".
        norm_momentum, norm_epsilon: of the batch norms; a momentum of 0.9 suits runs of a few
            hundred steps.

    Returns:
        A functional model from (batch, height, width, channels) to coded boxes (batch, anchors, 4)
        and logits (batch, anchors, classes).
    """
    config = EFFICIENTDETS[name]
    norms = {"norm_momentum": norm_momentum, "norm_epsilon": norm_epsilon}
    backbone = efficientnet(
        name.replace("efficientdet", "efficientnet"),
        input_shape=input_shape or (config.size, config.size, 3),
        classes=1,
        stem_strides=2,
        activation=activation,
        drop_path=drop_path,
        padding=padding,
        **norms,
    )
    backbone = features(backbone, STAGES)
    conventions = blocks.Conventions(activation=activation, **norms)
    maps = fpn.extended(backbone.outputs, conventions, config.filters, levels=LEVELS)
    maps = fpn.bifpn(maps, conventions, config.filters, cells=config.cells, levels=LEVELS)
    boxes = _head(maps, conventions, config, 4, bias="zeros", name="box")
    rare = keras.initializers.Constant(heads.RARE_OBJECT)
    logits = _head(maps, conventions, config, classes, bias=rare, name="class")
    outputs = [heads.joined(boxes, name="boxes"), heads.joined(logits, name="logits")]
    return keras.Model(backbone.inputs[0], outputs, name=name)


def _head(maps, conventions, config, values, *, bias, name):
    """One head over all levels: a list of (batch, anchors of the level, values)."""
    hidden = [
        _separable(config.filters, bias="zeros", name=f"{name}_conv{number}")
        for number in range(1, config.repeats + 1)
    ]
    predict = _separable(
        ANCHORS_A_CELL * values, bias=bias, dtype=heads.output_dtype(), name=f"{name}_predict"
    )
    return [
        heads.rows(
            _called(predict, _hidden(x, hidden, conventions, level=level, name=name)),
            values,
            name=f"{name}_p{level}_rows",
        )
        for level, x in zip(LEVELS, maps, strict=True)
    ]


def _hidden(x, shared, conventions, *, level, name):
    """The hidden convolutions of a head on one level, which has batch norms of its own."""
    for number, pair in enumerate(shared, 1):
        x = _called(pair, x)
        x = layers.BatchNormalization(
            momentum=conventions.norm_momentum,
            epsilon=conventions.norm_epsilon,
            name=f"{name}_conv{number}_p{level}_norm",
        )(x)
        x = conventions.activate(x, f"{name}_conv{number}_p{level}_act")
    return x


def _separable(filters, *, bias, dtype=None, name):
    """The two layers of a separable convolution, for all levels to share."""
    return (
        layers.DepthwiseConv2D(
            3,
            padding="same",
            use_bias=False,
            depthwise_initializer="variance_scaling",
            name=f"{name}_depthwise",
        ),
        layers.Conv2D(
            filters,
            1,
            kernel_initializer="variance_scaling",
            bias_initializer=bias,
            dtype=dtype,
            name=f"{name}_pointwise",
        ),
    )


def _called(pair, x):
    depthwise, pointwise = pair
    return pointwise(depthwise(x))


efficientdet_lite0 = functools.partial(efficientdet, "efficientdet_lite0")
efficientdet_lite1 = functools.partial(efficientdet, "efficientdet_lite1")
efficientdet_lite2 = functools.partial(efficientdet, "efficientdet_lite2")
efficientdet_lite3 = functools.partial(efficientdet, "efficientdet_lite3")
efficientdet_lite4 = functools.partial(efficientdet, "efficientdet_lite4")
