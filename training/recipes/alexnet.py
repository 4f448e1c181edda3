"""AlexNet on ImageNet, as in 2012: SGD, and a tenth of the rate at each of three plateaus.

Command:  kerascnn train alexnet --data FOLDER --recipe alexnet
Hardware, time and score: not yet run. (The paper: five to six days on two GTX 580.)

Source: Krizhevsky et al., doi:10.1145/3065386, section 5: batches of 128, momentum 0.9, weight
decay 0.0005 as a part of the gradient, 0.01, divided by ten when the validation error stops
improving, three times, about 90 passes; sections 4.1 and 4.2: crops, mirroring, colour shifts,
dropout.

Deviations: the paper lowers the rate by hand; here after 5 epochs without a better one. Its kernels
start with a standard deviation of 0.01 and some biases at 1. The network is the zoo's default of
one tower; the paper's own is `--option towers=2`.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=90,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.01,
        reference_batch=128,
        nesterov=False,
        schedule="plateau",
        decay_rate=0.1,
        decay_epochs=5,
        decays=3,
        weight_decay=5e-4,
        decay="l2",
        warmup_epochs=0,
        label_smoothing=0.0,
        augmentation="alexnet",
    )
)
