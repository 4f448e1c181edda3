"""MobileNet V1 on ImageNet: RMSprop, 6% off the rate every two epochs, little regularisation.

Command:  kerascnn train mobilenet_v1 --data FOLDER --recipe mobilenet_v1
Hardware, time and score: not yet run.

Source: Howard et al., arXiv:1704.04861, section 3.2: RMSprop "similar to Inception V3", no label
smoothing, no side heads, milder crops, little decay of depthwise kernels; it gives no numbers.
Inception V3's (arXiv:1512.00567, section 8): decay 0.9, epsilon 1, 0.045, times 0.94 every two
epochs, 100 epochs, a running average of the weights. Its momentum of 0.9, the average's 0.9999 and
the L2 penalty of 0.00004 are those of tensorflow/models, research/slim; so are batches of 64
(mobilenet_v1_train.py).

Deviations: training was asynchronous; depthwise kernels are decayed like the others; crops are
plain ones of 224 out of 256; Inception V3's clipping at 2 is left out; TensorFlow 1 began the mean
square at 1, Keras begins at 0.

The average looks back over 10,000 updates, or a ninth of a shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=100,
        batch_size=64,
        optimizer="rmsprop",
        learning_rate=0.045,
        reference_batch=64,
        epsilon=1.0,
        schedule="exponential",
        decay_rate=0.94,
        decay_epochs=2,
        weight_decay=4e-5,
        decay="l2",
        warmup_epochs=0,
        ema=0.9999,
        label_smoothing=0.0,
        augmentation="pictures",
    )
)
