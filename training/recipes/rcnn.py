"""Faster and Mask R-CNN on COCO as torchvision trains them: SGD, two steps down, frozen norms.

Command:  kerascnn train mask_rcnn_resnet50_fpn --weights imagenet --data COCO --recipe rcnn
Hardware, time and score: not yet run.

Source: torchvision, references/detection/README.md, "Faster R-CNN ResNet-50 FPN" and the next ones:
26 epochs, learning rate 0.02 for 8 x 2 pictures, a tenth of it from epochs 16 and 22 on, momentum
0.9, weight decay 0.0001, 1,000 updates of warm-up, flips, the backbone's weights from ImageNet. The
schedule is Mask R-CNN's (arXiv:1703.06870, section 3.1) stretched by two.

Deviations: batches of 8, and the rate in proportion; biases are not decayed; the stem and the first
stage learn as well, which torchvision freezes; pictures have one size.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="detection",
    config=TrainConfig(
        epochs=26,
        batch_size=8,
        optimizer="sgd",
        learning_rate=0.02,
        reference_batch=16,
        nesterov=False,
        weight_decay=1e-4,
        decay="l2",
        schedule="steps",
        milestones=((16, 0.1), (22, 0.01)),
        warmup_epochs=0.15,
        label_smoothing=0.0,
        augmentation="flip",
        validation_fraction=0.0,
    ),
)
