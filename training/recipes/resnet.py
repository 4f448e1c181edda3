"""ResNet and ResNeXt on ImageNet: SGD, a tenth of the rate at epochs 30, 60 and 90.

Command:  kerascnn train resnet50 --data FOLDER --recipe resnet
Hardware, time and score: not yet run.

Source: He et al., arXiv:1512.03385, section 3.4: batches of 256, 0.1, weight decay 0.0001, momentum
0.9, no dropout, 600,000 iterations (120 epochs), shorter side from 256 to 480, mirroring, AlexNet's
colours. The paper divides the rate by ten "when the error plateaus"; every 30 epochs is
facebook/fb.resnet.torch's way, which ResNeXt (arXiv:1611.05431, section 4.1) takes over.

Deviations: a mean per channel is subtracted, not one per pixel.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    config=TrainConfig(
        epochs=120,
        batch_size=256,
        optimizer="sgd",
        learning_rate=0.1,
        reference_batch=256,
        nesterov=False,
        schedule="steps",
        milestones=((30, 0.1), (60, 0.01), (90, 0.001)),
        weight_decay=1e-4,
        decay="l2",
        warmup_epochs=0,
        label_smoothing=0.0,
        augmentation="resnet",
    )
)
