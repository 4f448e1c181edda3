"""Any network on some ten thousand pictures of 32x32: SGD, cosine, mixup and CutMix.

Command:  kerascnn train resnet18 --data FOLDER --recipe cifar --image-size 32
Hardware, time and score: not yet run.

Source: Loshchilov and Hutter, arXiv:1608.03983, section 4.1: Nesterov momentum 0.9, batches of 128,
weight decay 0.0005, 200 epochs, cosine (without their restarts), shifts of 4 pixels and mirroring.
The rate of 0.1 is that of Wide ResNet (arXiv:1605.07146, section 3), on which they build. Ours:
warm-up, mixup, CutMix, label smoothing, and averaged weights, which look back over 1,000 updates
or a ninth of a shorter run.

Digits and letters must not be mirrored: for MNIST, `--augmentation digits`, and a tenth of the
epochs.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=200,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        reference_batch=128,
        weight_decay=5e-4,
        decay="l2",
        warmup_epochs=5,
        ema=0.999,
        label_smoothing=0.1,
        augmentation="cifar",
        mixup=0.2,
        cutmix=1.0,
    )
)
