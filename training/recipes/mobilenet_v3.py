"""MobileNet V3 on ImageNet: RMSprop, 1% off the rate every three epochs, averaged weights.

Command:  kerascnn train mobilenet_v3_large --data FOLDER --recipe mobilenet_v3
Hardware, time and score: not yet run.

Source: Howard et al., arXiv:1905.02244, section 6.1.1: RMSprop with momentum 0.9, 0.1 for batches
of 4096, "decay rate of 0.01 every 3 epochs" (read as times 0.99), dropout (of a fifth; the paper
writes 0.8, what is kept), L2 weight decay 0.00001, averaged weights at 0.9999, Inception's crops.
The paper is silent on the rest: epsilon 0.001 is that of EfficientNet's code, label smoothing 0.1
and 600 epochs are of V2's README in slim and of torchvision's V3.

Deviations: batches of 256, and the rate in proportion; `--set accumulate=16` gives the paper's
batch. Five epochs of warm-up stand for the mean square, which TensorFlow 1 began at 1 and Keras at
0. No colour distortions.

The average looks back over 10,000 updates, two epochs here and 32 in the paper, or a ninth of a
shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=600,
        batch_size=256,
        optimizer="rmsprop",
        learning_rate=0.1,
        reference_batch=4096,
        epsilon=1e-3,
        schedule="exponential",
        decay_rate=0.99,
        decay_epochs=3,
        weight_decay=1e-5,
        decay="l2",
        warmup_epochs=5,
        ema=0.9999,
        label_smoothing=0.1,
        augmentation="inception",
    ),
    options={"dropout": 0.2},
)
