"""Digits on photos, 96x96 in colour, on a laptop's CPU.

Command:  kerascnn train mobilenet_v2 --data scenes-digits
Hardware, time and score: not yet run.

Strides as published: 96 pixels are 3x3 before the pool. Nothing is mirrored, since digits are not.
"""

from training.config import TrainConfig
from training.recipes import Recipe

_SMALL = {"stem_strides": 2, "early_strides": 2, "norm_momentum": 0.9}

RECIPE = Recipe(
    config=TrainConfig(
        epochs=24,
        learning_rate=4e-3,
        weight_decay=0.02,
        warmup_epochs=2,
        augmentation="scenes",
        validation_fraction=0.0,
    ),
    model_options={
        "mobilenet_v1": _SMALL | {"alpha": 0.25},
        "mobilenet_v2": _SMALL | {"alpha": 0.35, "dropout": 0.1},
        "mobilenet_v3_small": _SMALL,
        "mobilenet_v3_large": _SMALL | {"alpha": 0.5},
        "efficientnet_b0": _SMALL | {"width": 0.35, "drop_path": 0.0},
        "efficientnet_lite0": _SMALL | {"width": 0.35, "drop_path": 0.0},
    },
)
