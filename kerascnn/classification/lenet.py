"""LeNet-5: Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998).

doi:10.1109/5.726791, section II.B and figure 2.

Deviations, those of nearly every re-implementation today: C3 sees all six maps of S2 (the paper
connects them by table I), sub-sampling is a plain average without coefficient and bias, the
squashing function is tanh without scaling, and the output is a dense layer instead of radial
basis functions. That form has 61,706 trainable parameters at 32x32x1 and 10 classes; the paper's
own count of 60,000 belongs to the connection table.
"""

from __future__ import annotations

import keras
from keras import layers

from kerascnn import blocks
from kerascnn.errors import InputError


def lenet5(*, input_shape=(32, 32, 1), classes=10) -> keras.Model:
    """Build LeNet-5.

    Args:
        input_shape: (height, width, channels). 28x28 pictures get the paper's two-pixel border
            from 'same' padding in C1, so they and 32x32 make the same network.
        classes: length of the logits.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.

    Raises:
        InputError: a side is neither 28 nor at least 32 pixels.
    """
    height, width = input_shape[:2]
    if (height, width) != (28, 28) and min(height, width) < 32:
        raise InputError(f"lenet5 takes 28x28 or at least 32x32 pictures, not {height}x{width}")
    x = inputs = blocks.picture_input(input_shape)
    padding = "same" if (height, width) == (28, 28) else "valid"
    x = layers.Conv2D(6, 5, padding=padding, activation="tanh", name="stem")(x)
    x = layers.AveragePooling2D(2, name="stage1_pool")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="stage2_block1_conv")(x)
    x = layers.AveragePooling2D(2, name="stage2_pool")(x)
    x = layers.Conv2D(120, 5, activation="tanh", name="stage3_block1_conv")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(84, activation="tanh", name="head")(x)
    return keras.Model(inputs, blocks.logits(x, classes, dropout=0.0), name="lenet5")
