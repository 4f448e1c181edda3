"""From random weights on a user's own pictures.

Command:  kerascnn train mobilenet_v2 --data FOLDER
Hardware, time and score: not yet run.
"""

from training.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(epochs=60, learning_rate=2e-3, warmup_epochs=5, augmentation="randaugment")
)
