"""EfficientNetV2 on ImageNet: EfficientNet's recipe, with mixup for the larger ones.

Command:  kerascnn train efficientnet_v2_s --data FOLDER --recipe efficientnet_v2
Hardware, time and score: not yet run.

Source: Tan and Le, arXiv:2104.00298, section 5.1: RMSprop with decay and momentum 0.9, weight decay
0.00001, 350 epochs, batches of 4096, warm-up to 0.256, times 0.97 every 2.4 epochs, averaged
weights at 0.9999, RandAugment, mixup, stochastic depth that keeps 0.8, dropout by size: the
builders' defaults. From google/automl, efficientnetv2 (hparams.py, effnetv2_configs.py): warm-up of
5 epochs, epsilon 0.001, label smoothing 0.1, mixup 0, 0.2 and 0.5 for S, M and L, none for B0 to
B3.

Deviations: the paper's point, pictures and regularisation that grow in four stages, is missing:
both stay as they are at the end, which takes longer. Batches of 256, and the rate in proportion;
`--set accumulate=16` gives the paper's batch. RandAugment has one magnitude for all sizes, and
stands for the AutoAugment of B0 to B3. As to RMSprop and the average, see `efficientnet`.
"""

import dataclasses

from training.recipes import efficientnet

RECIPE = dataclasses.replace(
    efficientnet.RECIPE,
    model_config={
        "efficientnet_v2_m": {"mixup": 0.2},
        "efficientnet_v2_l": {"mixup": 0.5},
    },
)
