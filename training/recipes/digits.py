"""Handwritten digits of 28x28 in minutes on a laptop's CPU.

Command:  kerascnn demo
Hardware, time and score: docs/guides/first_run.md, section "What it prints".

The phone networks halve the picture four times instead of five (at 28 pixels the published five
leave nothing to see: mobilenet_v2 stayed at 83% after 15 epochs), with the stem as published, so
that no wide layer is at full size; and they get fast-moving batch-norm averages (the run is a few
hundred steps long).
"""

from typing import Any

from training.engine.config import TrainConfig
from training.recipes import Recipe


def phone_networks(*, early_strides: int) -> dict[str, dict[str, Any]]:
    """Options of narrow phone networks for runs of a few hundred steps, by model."""
    small = {"stem_strides": 2, "early_strides": early_strides, "norm_momentum": 0.9}
    return {
        "mobilenet_v1": small | {"alpha": 0.25},
        "mobilenet_v2": small | {"alpha": 0.35, "dropout": 0.1},
        "mobilenet_v3_small": small,
        "mobilenet_v3_large": small | {"alpha": 0.5},
        "efficientnet_b0": small | {"width": 0.35, "drop_path": 0.0},
        "efficientnet_lite0": small | {"width": 0.35, "drop_path": 0.0},
    }


RECIPE = Recipe(
    config=TrainConfig(
        epochs=16,
        batch_size=128,
        learning_rate=6e-3,
        weight_decay=0.02,
        warmup_epochs=2,
        augmentation="digits",
        validation_fraction=0.1,
    ),
    model_config={
        # LeNet-5 takes a hundredth of the others' time, and needs more steps.
        "lenet5": {"epochs": 40, "batch_size": 64, "learning_rate": 2e-3},
        "mobilenet_v2": {"epochs": 20},
    },
    model_options=phone_networks(early_strides=1),
)
