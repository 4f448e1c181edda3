"""SENet on ImageNet: SGD, a rate of 0.6 for batches of 1024, a tenth of it every 30 epochs.

Command:  kerascnn train se_resnet50 --data FOLDER --recipe senet
Hardware, time and score: not yet run.

Source: Hu et al., arXiv:1709.01507, section 5 and, for SENet-154, the appendix: momentum 0.9,
batches of 1024, 0.6, divided by ten every 30 epochs, 100 epochs, crops by scale and aspect,
mirroring; label smoothing for SENet-154. The paper names no weight decay; 0.0001 is ResNet's.

Deviations: batches of 256, and the rate in proportion (0.15; the authors' later models had 0.1,
github.com/hujie-frank/SENet). SENet-154 froze its batch norms in the last epochs; not here.
"""

import dataclasses

from training.recipes import Recipe, resnet

RECIPE = Recipe(
    config=dataclasses.replace(
        resnet.RECIPE.config,
        epochs=100,
        learning_rate=0.6,
        reference_batch=1024,
        augmentation="inception",
    ),
    model_config={"senet154": {"label_smoothing": 0.1}},
)
