"""Digits on photos, 96x96 in colour, on a laptop's CPU.

Command:  kerascnn train mobilenet_v2 --data scenes-digits
Hardware, time and score: 2 busy cores of an AMD EPYC with AVX2, 26 minutes, 77.3%.

Strides as published: 96 pixels are 3x3 before the pool. Nothing is mirrored, since digits are not.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe
from training.recipes.digits import phone_networks

RECIPE = Recipe(
    config=TrainConfig(
        epochs=24,
        learning_rate=4e-3,
        weight_decay=0.02,
        warmup_epochs=2,
        augmentation="scenes",
        validation_fraction=0.1,
    ),
    model_options=phone_networks(early_strides=2),
)
