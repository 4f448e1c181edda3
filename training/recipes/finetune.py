"""From ImageNet weights on a user's own pictures: the head first, then everything, gently.

Command:  kerascnn train efficientnet_lite0 --weights imagenet --data FOLDER
Hardware, time and score: 2 cores of an AMD EPYC with AVX-512, 129 s: 52.6% on scenes-digits with
20 pictures a class, at 100 epochs and a rate of 0.005, where the best training from scratch gave
27.3% (benchmarks/transfer.py). The values below: benchmarks/finetune.md.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=12,
        batch_size=32,
        min_steps=8,
        learning_rate=3e-4,
        weight_decay=0.01,
        augmentation="pictures",
        freeze_epochs=2,
        freeze_learning_rate=3e-3,
    ),
    # Moving averages of norms that follow a run of few steps, instead of staying ImageNet's.
    options={"norm_momentum": 0.9},
)
