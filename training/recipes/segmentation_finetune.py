"""Label maps of one's own pictures, from ImageNet weights: the decoder first, then all layers.

Command:  kerascnn train unet_efficientnet_lite0 --weights imagenet --data DIR
Hardware, time and score: benchmarks/few_images.md.

As `segmentation`, which is for networks without weights. For the first 150 updates the decoder
learns alone, in front of features that are good already, and each of these steps is cheaper. The
norms of the backbone keep the statistics of the weights: batches of few pictures have worse ones.
"""

import dataclasses

from training.engine.recipes import Recipe
from training.recipes import segmentation

RECIPE: Recipe = dataclasses.replace(
    segmentation.RECIPE,
    config=dataclasses.replace(
        segmentation.RECIPE.config,
        freeze_epochs=1,
        freeze_updates=150,
        freeze_learning_rate=2e-3,
        norms="backbone",
    ),
)
