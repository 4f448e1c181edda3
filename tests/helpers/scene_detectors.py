"""Two-stage detectors of scenes, sure of many objects without a training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerascnn import blocks
from kerascnn.detection.anchors import rpn_anchors
from kerascnn.detection.faster_rcnn import two_stage_detector
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.preprocessing import Preprocessing

SIDE, CLASSES = 64, 10
DATA = f"scenes:{SIDE}@12+4"
PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, channels=3, resize="stretch")


def spec_of(**changes: Any) -> TwoStageSpec:
    anchors = rpn_anchors(
        (SIDE, SIDE), strides=(4, 8, 16, 32), sizes=((9,), (13,), (18,), (30,)),
        aspect_ratios=(0.7, 1),
    )  # fmt: skip
    values = {
        "anchors": anchors,
        "input_size": (SIDE, SIDE),
        "candidates_a_level": 40,
        "proposals": 20,
        "max_detections": 40,
        "score_threshold": 0.5,
        "masks": True,
    }
    return TwoStageSpec(**{**values, **changes})


# Of what a trained head says, in standard deviations of its input.
GAINS = {"class_logits": 4.0, "rpn_logits": 4.0, "rpn_codes": 0.5, "box_codes": 1.0}


def network_of(spec: TwoStageSpec) -> keras.Model:
    """Three levels, and heads that are sure of many things and unsure of many others."""
    conventions = blocks.Conventions(activation="relu6", norm_momentum=0.5)
    x = inputs = blocks.picture_input((SIDE, SIDE, 3))
    x = conventions.conv(x, 8, 3, strides=2, name="stem")
    for stage in (1, 2, 3):
        x = conventions.conv(x, 16, 3, strides=2, name=f"stage{stage}_block1_expand")
    model = two_stage_detector(
        keras.Model(inputs, x), ("stage1", "stage2", "stage3"), spec, CLASSES, name="tiny",
        frozen_norm=False, fpn_filters=16, head_units=32, mask_filters=8,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            gamma, beta, mean = rng.uniform(0.5, 1.5, n), rng.normal(0, 0.3, n), np.zeros(n)
            layer.set_weights([gamma, beta, mean, rng.uniform(0.5, 1.5, n)])
        elif layer.weights:
            kernel, *bias = layer.get_weights()
            fan_in = kernel.shape[-1] if "deconv" in layer.name else np.prod(kernel.shape[:-1])
            drawn = rng.normal(0, GAINS.get(layer.name, 1.4) / np.sqrt(fan_in), kernel.shape)
            layer.set_weights([drawn, *(rng.normal(0, 0.1, b.shape) for b in bias)])
    return model
