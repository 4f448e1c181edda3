"""VGG on ImageNet, as in 2014: SGD, and a tenth of the rate at each of three plateaus.

Command:  kerascnn train vgg16 --data FOLDER --recipe vgg
Hardware, time and score: not yet run. (The paper: two to three weeks on four Titan Black.)

Source: Simonyan and Zisserman, arXiv:1409.1556, section 3.1: batches of 256, momentum 0.9, L2
penalty of 0.0005, dropout of 0.5, 0.01, divided by ten when validation stops improving, three
times, 74 epochs; scale jitter from 256 to 512.

Deviations: the patience of 5 epochs is ours, the paper has none. It starts deep networks with
layers of a trained shallow one, and notes that Glorot's initial kernels do as well; they are used
here, and without batch norm the first epochs may stand still: `--option batch_norm=true` helps.
"""

import dataclasses

from training.recipes import Recipe, alexnet

RECIPE = Recipe(
    config=dataclasses.replace(
        alexnet.RECIPE.config, epochs=74, batch_size=256, reference_batch=256, augmentation="vgg"
    )
)
