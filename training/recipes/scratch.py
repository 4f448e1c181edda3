"""From random weights on a user's own pictures.

Command:  kerascnn train mobilenet_v2 --data FOLDER
Hardware, time and score: not yet run.

Batches are smaller than asked for where pictures are few (`min_steps`), and the statistics of batch
norms move fast enough for runs of a few hundred updates.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=60,
        min_steps=8,
        learning_rate=2e-3,
        warmup_epochs=5,
        augmentation="randaugment",
    ),
    options={"norm_momentum": 0.97},
)
