"""Narrow networks of the zoo with random weights, and images for them."""

from __future__ import annotations

import keras
import numpy as np
from networks import with_random_weights

import kerascnn

NETWORKS: dict[str, dict] = {
    "lenet5": {"input_shape": (32, 32, 1)},
    "vgg16": {"batch_norm": True},
    "googlenet": {},
    "resnet18": {"width": 0.25},
    "resnet50": {"width": 0.25},
    "mobilenet_v1": {"alpha": 0.25},
    "mobilenet_v2": {"alpha": 0.35, "drop_path": 0.1},
    "mobilenet_v3_small": {"padding": "symmetric"},
    "mobilenet_v3_large": {"alpha": 0.5},
    "efficientnet_b0": {"width": 0.25},
    "efficientnet_lite0": {"width": 0.25},
    "efficientnet_v2_b0": {"width": 0.25},
    "unet": {"width": 4, "depth": 2, "norm": True, "dropout": 0.1},
    "unet_mobilenet_v2": {"alpha": 0.35, "decoder_width": 4},
}


def built(name: str, **options) -> keras.Model:
    return with_random_weights(
        kerascnn.build(name, **{"input_shape": (32, 32, 3), "classes": 10} | options)
    )


def pictures_for(model: keras.Model, count: int = 3) -> np.ndarray:
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(1).normal(0, 1, shape).astype("float32")
