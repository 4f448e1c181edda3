"""The embedded scenes, 320x320, in an hour on a laptop's CPU.

Command:  kerascnn train efficientdet_lite0 --weights imagenet --data scenes
Hardware, time and score: benchmarks/detection.md.

Few updates want small batches and fast-moving statistics; a scene in twenty of those to learn from
is set aside to watch AP. Nothing is mirrored, since digits are not.

SSDLite is given smaller anchors, more of them an object, and the focal loss: with its own, which
looks at three hard anchors for each matched one, it told no digits apart after four epochs.

Detectors of two stages are made small enough for a processor: a narrow pyramid and narrow heads, an
eighth of the published numbers of samples and a tenth of the proposals, for pictures with eight
digits at most. Their norms learn, as the photos behind digits are few.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

_TWO_STAGES = tuple(
    f"{kind}_rcnn_{backbone}_fpn"
    for kind in ("faster", "mask")
    for backbone in ("resnet50", "mobilenet_v3_large", "efficientnet_lite0")
)

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
    model_config={name: {"learning_rate": 1e-3} for name in _TWO_STAGES},
    options={"norm_momentum": 0.95},
    model_options={
        name: {
            "frozen_norm": False,
            "fpn_filters": 96,
            "head_units": 256,
        }
        for name in _TWO_STAGES
    },
    # Digits have 8 to 50% of the picture's side. The largest anchors are as large as published all
    # the same: with 0.6 the second map's would be of 0.2, and digits of more than 0.3 were left to
    # the last three maps, whose cells are as large as they (benchmarks/side_by_side.md).
    detector_options={
        f"ssdlite_mobilenet_{backbone}": {
            "min_scale": 0.1,
            "positive_iou": 0.4,
            "negative_iou": 0.4,
            "loss": "focal",
        }
        for backbone in ("v2", "v3_small", "v3_large")
    }
    | {
        name: {
            "anchor_scale": 0.75,
            "rpn_samples": 128,
            "candidates_a_level": 200,
            "proposals": 100,
            "samples": 64,
            "max_detections": 30,
        }
        for name in _TWO_STAGES
    },
)
