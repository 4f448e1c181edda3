"""Any network, the modern way with SGD: cosine, mixup, CutMix, averages, 600 epochs.

Command:  kerascnn train resnet50 --data FOLDER --recipe modern_sgd
Hardware, time and score: not yet run. (torchvision: 80.9% for ResNet-50 on eight V100.)

Source: torchvision's recipe for its IMAGENET1K_V2 weights (pytorch/vision, issue 3995): momentum
0.9 at 0.5 for batches of 1024, 600 epochs, 5 of warm-up, cosine, weight decay 0.00002 (none on
norms), label smoothing 0.1, mixup 0.2, CutMix 1, erasing 0.1, TrivialAugment, averaged weights. Its
average takes 0.00002 x 1024 x 32 / 600 of the weights every 32 steps, 0.00003 a step.

Deviations: batches of 256, and the rate in proportion (0.125); `--set accumulate=4` gives the
reference's batch. RandAugment and erasing at 0.25 of `modern`; each picture once an epoch, not four
times; pictures of one size, where the reference trains at 176 and tests at 224.

The average looks back over 33,000 updates, or a ninth of a shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=600,
        batch_size=256,
        optimizer="sgd",
        learning_rate=0.5,
        reference_batch=1024,
        nesterov=False,
        weight_decay=2e-5,
        decay="l2",
        warmup_epochs=5,
        ema=0.99997,
        label_smoothing=0.1,
        augmentation="modern",
        mixup=0.2,
        cutmix=1.0,
    )
)
