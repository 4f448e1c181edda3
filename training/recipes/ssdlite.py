"""SSDLite on COCO as torchvision trains it: SGD, cosine decay over 660 epochs, SSD's crops.

Command:  kerascnn train ssdlite_mobilenet_v3_large --data COCO --recipe ssdlite
Hardware, time and score: not yet run.

Source: torchvision, references/detection/README.md, "SSDlite320 MobileNetV3-Large": 660 epochs,
learning rate 0.15 for 8 x 24 pictures, weight decay 0.00004, cosine decay, the backbone's weights
from ImageNet (--weights).

Deviations: batches of 32, and the rate in proportion; norms and biases are not decayed; SSD's
distortions of hue are a gain a channel here.
"""

from training.engine.config import TrainConfig
from training.recipes import Recipe

RECIPE = Recipe(
    task="detection",
    config=TrainConfig(
        epochs=660,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.15,
        reference_batch=192,
        nesterov=False,
        weight_decay=4e-5,
        decay="l2",
        warmup_epochs=1,
        label_smoothing=0.0,
        augmentation="ssd",
        validation_fraction=0.0,
    ),
)
