"""The embedded scenes, 320x320, in an hour on a laptop's CPU.

Command:  kerascnn train efficientdet_lite0 --weights imagenet --data scenes
Hardware, time and score: benchmarks/detection.md.

Few updates want small batches and fast-moving statistics; a scene in twenty of those to learn from
is set aside to watch AP. Nothing is mirrored, since digits are not.

SSDLite is given smaller anchors, more of them an object, and the focal loss: with its own, which
looks at three hard anchors for each matched one, it told no digits apart after four epochs.
"""

from training.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="detection",
    config=TrainConfig(
        epochs=10,
        batch_size=8,
        learning_rate=2e-3,
        weight_decay=0.02,
        warmup_epochs=0.5,
        clip_norm=10.0,
        ema=0.995,
        label_smoothing=0.0,
        augmentation="scenes",
        validation_fraction=0.05,
    ),
    options={"norm_momentum": 0.95},
    # Digits have 8 to 50% of the picture's side.
    detector_options={
        f"ssdlite_mobilenet_{backbone}": {
            "min_scale": 0.1,
            "max_scale": 0.6,
            "positive_iou": 0.4,
            "negative_iou": 0.4,
            "loss": "focal",
        }
        for backbone in ("v2", "v3_small", "v3_large")
    },
)
