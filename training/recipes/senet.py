"""SENet on ImageNet: SGD, a rate of 0.6 for batches of 1024, a tenth of it every 30 epochs.

Command:  kerascnn train se_resnet50 --data FOLDER --recipe senet
Hardware, time and score: not yet run.

Source: Hu et al., arXiv:1709.01507, section 5 and, for SENet-154, the appendix: momentum 0.9,
batches of 1024, 0.6, divided by ten every 30 epochs, 100 epochs, crops by scale and aspect,
mirroring; label smoothing for SENet-154. The paper names no weight decay; 0.0001 is ResNet's.

Deviations: batches of 256, and the rate in proportion (0.15; the authors' later models had 0.1,
github.com/hujie-frank/SENet). SENet-154 froze its batch norms in the last epochs; not here.
"""

from training.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=100,
        batch_size=256,
        optimizer="sgd",
        learning_rate=0.6,
        reference_batch=1024,
        nesterov=False,
        schedule="steps",
        milestones=((30, 0.1), (60, 0.01), (90, 0.001)),
        weight_decay=1e-4,
        decay="l2",
        warmup_epochs=0,
        label_smoothing=0.0,
        augmentation="inception",
    ),
    model_config={"senet154": {"label_smoothing": 0.1}},
)
