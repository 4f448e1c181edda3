"""Label maps of the embedded scenes, 128x128, on a laptop's CPU.

Command:  kerascnn train unet --data scenes:128 --option width=16 --image-size 128
Hardware, time and score: benchmarks/segmentation.md has four runs with these numbers, of which two
begin at 64x64, and their commands.

A digit is few pixels of many: dice, which takes all classes alike, is added to the cross-entropy.
Nothing is mirrored, since digits are not. Batches are small, since updates are few; U-Net has batch
norms, with fast-moving statistics, and no dropout.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="segmentation",
    config=TrainConfig(
        epochs=18,
        batch_size=8,
        learning_rate=2e-3,
        weight_decay=0.02,
        warmup_epochs=0.5,
        clip_norm=10.0,
        ema=0.995,
        label_smoothing=0.0,
        map_loss="cross_entropy_dice",
        augmentation="small_scenes",
        validation_fraction=0.05,
    ),
    options={"norm_momentum": 0.95},
    model_options={"unet": {"norm": True, "dropout": 0.0}},
)
