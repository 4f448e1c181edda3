"""Boxes of one's own pictures: AdamW, cosine decay, averaged weights, flips, scale and colour.

Command:  kerascnn train efficientdet_lite0 --weights imagenet --data coco.json
Hardware, time and score: not yet run.

Numbers are ours, for sets of some thousand pictures; `--set augmentation=mosaic` helps where
pictures are few and objects small. The average looks back over a thousand updates, or a ninth of a
shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="detection",
    config=TrainConfig(
        epochs=60,
        batch_size=16,
        min_steps=8,
        min_updates=1000,
        learning_rate=1e-3,
        weight_decay=0.02,
        warmup_epochs=2,
        clip_norm=10.0,
        ema=0.999,
        label_smoothing=0.0,
        augmentation="detection",
        validation_fraction=0.1,
    ),
    options={"norm_momentum": 0.97},
)
