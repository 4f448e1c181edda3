"""RTMDet on COCO as mmdetection trains it: AdamW, a flat rate and a cosine, averaged weights.

Command:  kerascnn train rtmdet_tiny --weights imagenet --data COCO --recipe rtmdet
Hardware, time and score: not yet run.

Source: Lyu et al., arXiv:2212.07784, table 10 (training settings), and mmdetection,
configs/rtmdet/rtmdet_l_8xb32-300e_coco.py and rtmdet_tiny_8xb32-300e_coco.py: 300 epochs, rate
0.004 for 256 pictures, weight decay 0.05 but for norms and biases, a linear warm-up over 1,000
steps (two epochs of COCO), averages at 0.9998, mosaic.

Deviations: batches of 32, and the rate in proportion; the cosine sets in with the first epoch, and
not half-way, and ends at zero; pictures are not mixed into each other, and mosaics stay for the
last 20 epochs.

The average looks back over 5,000 updates, or a ninth of a shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="detection",
    config=TrainConfig(
        epochs=300,
        batch_size=32,
        optimizer="adamw",
        learning_rate=4e-3,
        reference_batch=256,
        weight_decay=0.05,
        warmup_epochs=2,
        ema=0.9998,
        label_smoothing=0.0,
        augmentation="mosaic",
        validation_fraction=0.0,
    ),
    options={"norm_momentum": 0.9},
)
