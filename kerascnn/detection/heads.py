"""What the heads of all detectors share: outputs in float32, and one row an anchor.

A convolution predicts all anchors of a cell at once. Its channels are ordered anchor by anchor, as
`kerascnn.detection.anchors` orders them, so that a plain reshape gives one row an anchor.
"""

from __future__ import annotations

import math

import keras
from keras import layers

# At the start of focal training an object is 1 anchor in 100 (RetinaNet, arXiv:1708.02002, 4.1).
RARE_OBJECT = -math.log((1 - 0.01) / 0.01)


def output_dtype() -> str | None:
    """The dtype of layers that make outputs: float32 in mixed precision, else the policy's own."""
    policy = keras.config.dtype_policy()
    mixed = policy.compute_dtype != policy.variable_dtype
    return policy.variable_dtype if mixed else None


def rows(x, values, *, name):
    """(batch, height, width, anchors * values) as (batch, height * width * anchors, values)."""
    _, height, width, channels = x.shape
    shape = (height * width * channels // values, values)
    return layers.Reshape(shape, dtype=output_dtype(), name=name)(x)


def joined(levels, *, name):
    """The rows of all levels, one below the other."""
    return layers.Concatenate(axis=1, dtype=output_dtype(), name=name)(levels)
