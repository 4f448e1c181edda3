"""ResNet on pictures of 32x32, as the paper trains CIFAR-10.

Command:  kerascnn train resnet18 --data FOLDER --recipe resnet_cifar --image-size 32
Hardware, time and score: not yet run.

Source: He et al., arXiv:1512.03385, section 4.2: batches of 128, 0.1, divided by ten after 32,000
and 48,000 of 64,000 iterations, weight decay 0.0001, momentum 0.9, shifts of 4 pixels and
mirroring. An epoch of 50,000 pictures has 390 whole batches, so that these are epochs 82, 123 and
164 (82.05, 123.08 and 164.10).

Deviations: the networks are ImageNet's with a 3x3 stem, wider than the paper's for CIFAR-10; a mean
per channel is subtracted, not one per pixel.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=164,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        reference_batch=128,
        nesterov=False,
        schedule="steps",
        milestones=((82, 0.1), (123, 0.01)),
        weight_decay=1e-4,
        decay="l2",
        warmup_epochs=0,
        label_smoothing=0.0,
        augmentation="cifar",
    )
)
