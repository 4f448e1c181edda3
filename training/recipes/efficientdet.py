"""EfficientDet on COCO as Google trains it: SGD, cosine decay over 300 epochs, averaged weights.

Command:  kerascnn train efficientdet_lite0 --weights imagenet --data COCO --recipe efficientdet
Hardware, time and score: not yet run.

Source: Tan et al., arXiv:1911.09070, section 5.1, and github.com/google/automl,
efficientdet/hparams_config.py: momentum 0.9, rate 0.08 for 64 pictures after an epoch of warm-up,
weight decay 4e-5, gradients clipped at 10, averages at 0.9998, flips and scale jitter.

Deviations: batches of 32, and the rate in proportion; norms and biases are not decayed; jitter
goes from half the size where the paper's goes from a tenth.

The average looks back over 5,000 updates, or a ninth of a shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="detection",
    config=TrainConfig(
        epochs=300,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.08,
        reference_batch=64,
        nesterov=False,
        weight_decay=4e-5,
        decay="l2",
        warmup_epochs=1,
        clip_norm=10.0,
        ema=0.9998,
        label_smoothing=0.0,
        augmentation="detection",
        validation_fraction=0.0,
    ),
)
