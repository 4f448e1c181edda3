"""GoogLeNet on ImageNet: momentum, 4% off the rate every 8 epochs, averaged weights.

Command:  kerascnn train googlenet --data FOLDER --recipe googlenet
Hardware, time and score: not yet run.

Source: Szegedy et al., arXiv:1409.4842, section 6: momentum 0.9, the rate times 0.96 every 8
epochs, Polyak averaging for the final model, crops of 8 to 100% of the area with aspects from 3/4
to 4/3. The paper says no more; rate 0.01 for batches of 32, L2 penalty 0.0002 and 250 epochs are
those of BVLC/caffe, models/bvlc_googlenet (320,000 batches a decay are 8 epochs).

Deviations: training was asynchronous and distributed; Polyak's plain mean is an exponential one; no
photometric distortions, no auxiliary classifiers. The network is the zoo's default with batch norm;
the paper's own is `--option batch_norm=false`.

The average looks back over 10,000 updates, or a ninth of a shorter run.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=250,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.01,
        reference_batch=32,
        nesterov=False,
        schedule="exponential",
        decay_rate=0.96,
        decay_epochs=8,
        weight_decay=2e-4,
        decay="l2",
        warmup_epochs=0,
        ema=0.9999,
        label_smoothing=0.0,
        augmentation="inception",
    )
)
