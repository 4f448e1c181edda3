"""Label maps of one's own pictures, from ImageNet weights: the decoder first, then all layers.

Command:  kerascnn train unet_efficientnet_lite0 --weights imagenet --data DIR
Hardware, time and score: benchmarks/few_images.md.

PLACEHOLDER
"""

import dataclasses

from training.engine.recipes import Recipe
from training.recipes import segmentation

RECIPE: Recipe = dataclasses.replace(
    segmentation.RECIPE,
    config=dataclasses.replace(
        segmentation.RECIPE.config,
        freeze_epochs=1,
        freeze_updates=100,
        freeze_learning_rate=1e-3,
        norms="backbone",
    ),
)
