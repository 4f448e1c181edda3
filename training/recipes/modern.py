"""Any network, the modern way: AdamW, cosine, RandAugment, mixup, CutMix, drop path, averages.

Command:  kerascnn train resnet50 --data FOLDER --recipe modern
Hardware, time and score: not yet run.

Source: Liu et al., "A ConvNet for the 2020s", arXiv:2201.03545, section 2.1 and table 5, which took
ResNet-50 from 76.1% to 78.8% by it: AdamW at 0.004 for batches of 4096, 300 epochs, 20 of warm-up,
cosine, weight decay 0.05, RandAugment of two at 9, mixup 0.8, CutMix 1, erasing 0.25, label
smoothing 0.1, stochastic depth of 0.1 (as for ConvNeXt-T), averaged weights at 0.9999.

Deviations: batches of 256, and the rate in proportion (0.00025); `--set accumulate=16` gives the
paper's batch. The warm-up starts from a twenty-fifth of the rate. Networks without drop path
(alexnet, vgg, googlenet, mobilenet_v1) train without.

It is for large sets: on some thousand pictures take `scratch` or `finetune`. The average looks back
over 10,000 updates, or a ninth of a shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=300,
        batch_size=256,
        learning_rate=4e-3,
        reference_batch=4096,
        epsilon=1e-8,
        weight_decay=0.05,
        warmup_epochs=20,
        ema=0.9999,
        label_smoothing=0.1,
        augmentation="modern",
        mixup=0.8,
        cutmix=1.0,
    ),
    options={"drop_path": 0.1},
)
