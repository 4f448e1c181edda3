"""MobileNet V2 on ImageNet: RMSprop in batches of 96, 2% off the rate every epoch.

Command:  kerascnn train mobilenet_v2 --data FOLDER --recipe mobilenet_v2
Hardware, time and score: not yet run.

Source: Sandler et al., arXiv:1801.04381, section 6.1: RMSprop with decay and momentum 0.9, weight
decay 0.00004, 0.045, times 0.98 an epoch, batches of 96. From tensorflow/models, research/slim
(nets/mobilenet/README.md and train_image_classifier.py): label smoothing 0.1, averaged weights at
0.9999, epsilon 1, an L2 penalty, Inception's crops. 300 epochs are torchvision's; slim's 5.5
million steps would be 410, with a decay every 2.5.

Deviations: 16 workers trained asynchronously; depthwise kernels are decayed like the others; no
colour distortions; TensorFlow 1 began the mean square at 1, Keras begins at 0.

The average looks back over 10,000 updates, or a ninth of a shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=300,
        batch_size=96,
        optimizer="rmsprop",
        learning_rate=0.045,
        reference_batch=96,
        epsilon=1.0,
        schedule="exponential",
        decay_rate=0.98,
        decay_epochs=1,
        weight_decay=4e-5,
        decay="l2",
        warmup_epochs=0,
        ema=0.9999,
        label_smoothing=0.1,
        augmentation="inception",
    )
)
