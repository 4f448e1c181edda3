"""From ImageNet weights on a user's own pictures: a probe first, then everything, gently.

Command:  kerascnn train efficientnet_lite0 --weights imagenet --data FOLDER
Hardware, time and score: one core, 155 s: 86.0% of 655 grey photos of solar cells at 96x96, where
its probe has 84.7%; 69.4% of digits on photos, 100 images a class, probe 22.7%
(benchmarks/transfer.md).

The head is solved for behind the norms' stored statistics, and they stay: re-estimated ones gave
worse heads. Rates rise tenfold from the first layer to the last. What unfreezing does to a head:
benchmarks/finetune.md, which is of the recipe before probes.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=6,
        batch_size=32,
        min_steps=8,
        min_updates=200,
        learning_rate=1e-3,
        first_layer_rate=0.1,
        weight_decay=0.01,
        augmentation="pictures",
        freeze_epochs=1,
        freeze_learning_rate=3e-3,
        probe="yes",
        norms="stored",
    ),
    # For who sets norms="batches": averages that follow a run of few steps.
    options={"norm_momentum": 0.9},
)
