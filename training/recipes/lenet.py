"""LeNet-5 on MNIST, as in 1998: one picture a step, five learning rates in 20 passes.

Command:  kerascnn train lenet5 --data mnist --recipe lenet
Hardware, time and score: not yet run.

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998,
doi:10.1109/5.726791, section III.B: global rates 0.0005 for two passes, 0.0002 for three, 0.0001
for three, 0.00005 for four, then 0.00001; no distortions.

Deviations: the paper divides the global rate, for every weight by itself, by 0.02 plus a running
estimate of the second derivative (appendix C), and reports effective rates of 0.00007 to 0.016 in
the first pass. Here all weights have 20 times the global rate, which is what a second derivative of
0.03 makes of it. The loss is cross-entropy, where the paper has equation 9. The network is the
zoo's default; the paper's own is `--option original=true`.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

_PAPERS_RATES = ((0, 5e-4), (2, 2e-4), (5, 1e-4), (8, 5e-5), (12, 1e-5))
_FIRST = _PAPERS_RATES[0][1]

RECIPE = Recipe(
    config=TrainConfig(
        epochs=20,
        batch_size=1,
        optimizer="sgd",
        learning_rate=20 * _FIRST,
        momentum=0.0,
        nesterov=False,
        schedule="steps",
        milestones=tuple((epoch, rate / _FIRST) for epoch, rate in _PAPERS_RATES[1:]),
        weight_decay=0.0,
        warmup_epochs=0,
        label_smoothing=0.0,
        augmentation="none",
    )
)
