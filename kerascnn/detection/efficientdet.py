"""EfficientDet-Lite, EfficientDet (Tan, Pang and Le, arXiv:1911.09070) for phones.

An EfficientNet-Lite without its head, a BiFPN over levels 3 to 7, and one box and one class head
that all levels share, but for their batch norms. Against the paper the Lite family has ReLU6 for
swish, plain sums for fast normalised fusion and smaller pictures (github.com/google/automl,
efficientdet/hparams_config.py, `efficientdet_lite_param_dict`).

Deviations: the stem halves pictures of any size; batch-norm momentum is the zoo's. Google's code
does not pool a level of 1x1, which is the same.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.classification.efficientnet import efficientnet
from kerascnn.detection import fpn, heads
from kerascnn.detection.anchors import pyramid_anchors
from kerascnn.detection.specs import DetectorSpec
from kerascnn.zoo import features

# Level l has 1 / 2**l of the picture's size; the backbone's stages of levels 3, 4 and 5.
LEVELS = (3, 4, 5, 6, 7)
STAGES = ("stage3", "stage5", "stage7")
# Three octaves times three aspect ratios.
ANCHORS_A_CELL = 9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One line of `efficientdet_lite_param_dict`.

    Attributes:
        size: of the picture.
        filters: channels of the pyramid and of the heads.
        cells: of the BiFPN.
        repeats: hidden convolutions of a head.
        anchor_scale: side of the smallest anchors, in cells of their level.
    """

    size: int
    filters: int
    cells: int
    repeats: int = 3
    anchor_scale: float = 3.0


EFFICIENTDETS = {
    "efficientdet_lite0": Config(size=320, filters=64, cells=3),
    "efficientdet_lite1": Config(size=384, filters=88, cells=4),
    "efficientdet_lite2": Config(size=448, filters=112, cells=5),
    "efficientdet_lite3": Config(size=512, filters=160, cells=6, repeats=4, anchor_scale=4.0),
    "efficientdet_lite4": Config(size=640, filters=224, cells=7, repeats=4, anchor_scale=4.0),
}


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


def detector_spec(
    name: str,
    input_shape: tuple[int, ...],
    *,
    anchor_scale: float | None = None,
    **options: Any,
) -> DetectorSpec:
    """What the outputs of an EfficientDet-Lite mean at a picture size; Google's conventions.

    Args:
        anchor_scale: side of the smallest anchors of a level, in its cells; the network's own by
            default, smaller for smaller objects.
        **options: other fields of `DetectorSpec`.
    """
    height, width = input_shape[:2]
    scale = EFFICIENTDETS[name].anchor_scale if anchor_scale is None else anchor_scale
    values: dict[str, Any] = {
        "anchors": pyramid_anchors((height, width), levels=LEVELS, scale=scale),
        "box_scales": (1.0, 1.0, 1.0, 1.0),
        "background": False,
        "positive_iou": 0.5,
        "negative_iou": 0.5,
        "loss": "focal",
    }
    return DetectorSpec(**{**values, **options})


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
