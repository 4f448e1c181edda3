"""Boxes of one's own pictures, from weights of ImageNet or COCO: the heads first, then all layers.

Command:  kerascnn train efficientdet_lite0 --weights imagenet --data coco.json
Hardware, time and score: benchmarks/few_images.md.

PLACEHOLDER
"""

import dataclasses

from training.recipes import detection
from training.engine.recipes import Recipe

RECIPE: Recipe = dataclasses.replace(
    detection.RECIPE,
    config=dataclasses.replace(
        detection.RECIPE.config,
        freeze_epochs=1,
        freeze_updates=150,
        freeze_learning_rate=1e-3,
        norms="backbone",
    ),
)
