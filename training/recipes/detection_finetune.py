"""Boxes of one's own pictures, from weights of ImageNet or COCO: heads first, then all layers.

Command:  kerascnn train efficientdet_lite0 --weights imagenet --data coco.json
Hardware, time and score: benchmarks/few_images.md.

As `detection`, which is for networks without weights. For the first 150 updates the pyramid and the
heads learn alone, in front of features that are good already, and each of these steps is cheaper.
The norms of the backbone keep the statistics of the weights: batches of few pictures have worse
ones.
"""

import dataclasses

from training.engine.recipes import Recipe
from training.recipes import detection

RECIPE: Recipe = dataclasses.replace(
    detection.RECIPE,
    config=dataclasses.replace(
        detection.RECIPE.config,
        freeze_epochs=1,
        freeze_updates=150,
        freeze_learning_rate=2e-3,
        norms="backbone",
    ),
)
