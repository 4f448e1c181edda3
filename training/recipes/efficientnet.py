"""EfficientNet on ImageNet: RMSprop, 3% off the rate every 2.4 epochs, averaged weights.

Command:  kerascnn train efficientnet_b0 --data FOLDER --recipe efficientnet
Hardware, time and score: not yet run.

Source: Tan and Le, arXiv:1905.11946, section 5.2: RMSprop with decay and momentum 0.9, weight decay
0.00001, 0.256, times 0.97 every 2.4 epochs, stochastic depth that keeps 0.8, dropout from 0.2 (B0)
to 0.5 (B7): the builders' defaults. From tensorflow/tpu, models/official/efficientnet: that rate is
for batches of 4096; 350 epochs, of which 5 are warm-up, and the decays count from the first;
epsilon 0.001, an L2 penalty, averaged weights at 0.9999, label smoothing 0.1.

Deviations: batches of 256, and the rate in proportion (0.016); `--set accumulate=16` gives the
paper's batch. RandAugment stands for AutoAugment. The warm-up starts from a twenty-fifth of the
rate, not from 0. TensorFlow 1 began the mean square at 1, Keras begins at 0; its average is quicker
in the first updates, and holds the statistics of batch norms too.

The average looks back over 10,000 updates, two epochs here and 32 in the paper, or a ninth of a
shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=350,
        batch_size=256,
        optimizer="rmsprop",
        learning_rate=0.256,
        reference_batch=4096,
        epsilon=1e-3,
        schedule="exponential",
        decay_rate=0.97,
        decay_epochs=2.4,
        weight_decay=1e-5,
        decay="l2",
        warmup_epochs=5,
        ema=0.9999,
        label_smoothing=0.1,
        augmentation="inception_randaugment",
    ),
    options={"drop_path": 0.2},
)
