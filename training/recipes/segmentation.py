"""Label maps of one's own pictures: AdamW, cosine decay, averaged weights, flips, scale and colour.

Command:  kerascnn train unet_efficientnet_lite0 --weights imagenet --data DIR
Hardware, time and score: not yet run.

Numbers are ours, for sets of some hundred to some thousand pictures. `--set border_weight=10` keeps
objects apart that nearly touch, as the U-Net paper's cells; `--set class_weights=balanced` is for
classes of few pixels. The average looks back over a thousand updates, or a ninth of a shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="segmentation",
    config=TrainConfig(
        epochs=60,
        batch_size=16,
        min_steps=8,
        min_updates=600,
        learning_rate=1e-3,
        weight_decay=0.02,
        warmup_epochs=2,
        clip_norm=10.0,
        ema=0.999,
        label_smoothing=0.0,
        map_loss="cross_entropy_dice",
        augmentation="detection",
        validation_fraction=0.1,
    ),
    options={"norm_momentum": 0.97},
    model_options={"unet": {"norm": True, "dropout": 0.0}},
)
