"""How it is trained."""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="brightness",
    config=TrainConfig(
        epochs=4,
        batch_size=4,
        learning_rate=0.02,
        warmup_epochs=0.0,
        weight_decay=0.0,
        label_smoothing=0.0,
        augmentation="none",
        validation_fraction=0.25,
    ),
)
