"""LeNet-5: Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998).

doi:10.1109/5.726791, section II.B and figure 2. The default is the form of nearly every
re-implementation today: C3 sees all six maps of S2, sub-sampling is a plain average, the squashing
function is tanh, and the output is a dense layer: 61,706 trainable parameters.

`original=True` is the paper's network: C3 connected by table I, sub-sampling with a coefficient
and a bias for each map, 1.7159 tanh(2/3 x), and fixed output units that measure the distance to a
7x12 picture of each digit: the paper's 60,000 trainable parameters.

Deviations of the original: the pictures of the digits are ours (the paper prints its own, figure
3, too small to copy). The distances |x - w|^2 of one picture share |x|^2, and |w|^2 is 84 for
every w of +1 and -1, so that 2 w.x, a dense layer that does not learn, gives the same softmax as
the negative distance.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from kerascnn import blocks
from kerascnn.errors import InputError

# Table I: which maps of S2 the maps of C3 see: six see three, nine see four, one sees all.
THREE = tuple(tuple((i + j) % 6 for j in range(3)) for i in range(6))
FOUR = (
    *(tuple((i + j) % 6 for j in range(4)) for i in range(6)),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
)

# Twelve rows of seven columns each, as the bits of a number.
DIGITS = (
    (0x00, 0x1C, 0x22, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x22, 0x1C, 0x00),
    (0x00, 0x08, 0x18, 0x28, 0x08, 0x08, 0x08, 0x08, 0x08, 0x08, 0x3E, 0x00),
    (0x00, 0x3E, 0x41, 0x01, 0x01, 0x02, 0x0C, 0x10, 0x20, 0x40, 0x7F, 0x00),
    (0x00, 0x3E, 0x41, 0x01, 0x01, 0x1E, 0x01, 0x01, 0x01, 0x41, 0x3E, 0x00),
    (0x00, 0x02, 0x06, 0x0A, 0x12, 0x22, 0x42, 0x7F, 0x02, 0x02, 0x02, 0x00),
    (0x00, 0x7F, 0x40, 0x40, 0x7E, 0x01, 0x01, 0x01, 0x01, 0x41, 0x3E, 0x00),
    (0x00, 0x1E, 0x20, 0x40, 0x40, 0x7E, 0x41, 0x41, 0x41, 0x41, 0x3E, 0x00),
    (0x00, 0x7F, 0x01, 0x02, 0x02, 0x04, 0x04, 0x08, 0x08, 0x10, 0x10, 0x00),
    (0x00, 0x3E, 0x41, 0x41, 0x41, 0x3E, 0x41, 0x41, 0x41, 0x41, 0x3E, 0x00),
    (0x00, 0x3E, 0x41, 0x41, 0x41, 0x41, 0x3F, 0x01, 0x01, 0x02, 0x3C, 0x00),
)


def lenet5(*, input_shape=(32, 32, 1), classes=10, original=False) -> keras.Model:
    """Build LeNet-5.

    Args:
        input_shape: (height, width, channels). 28x28 pictures get the paper's two-pixel border
            from 'same' padding in C1, so they and 32x32 make the same network.
        classes: length of the logits.
        original: the network of the paper, for ten classes.

    Returns:
        A functional model from (batch, height, width, channels) to (batch, classes) logits.

    Raises:
        InputError: a side is neither 28 nor at least 32 pixels, or an original of other classes.
    """
    height, width = input_shape[:2]
    if (height, width) != (28, 28) and min(height, width) < 32:
        raise InputError(f"lenet5 takes 28x28 or at least 32x32 images, not {height}x{width}")
    padding = "same" if (height, width) == (28, 28) else "valid"
    x = inputs = blocks.picture_input(input_shape)
    if original:
        if classes != len(DIGITS):
            raise InputError(f"the original lenet5 tells {len(DIGITS)} digits, not {classes}")
        return keras.Model(inputs, _original(x, padding), name="lenet5")
    x = layers.Conv2D(6, 5, padding=padding, activation="tanh", name="stem")(x)
    x = layers.AveragePooling2D(2, name="stage1_pool")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="stage2_block1_conv")(x)
    x = layers.AveragePooling2D(2, name="stage2_pool")(x)
    x = layers.Conv2D(120, 5, activation="tanh", name="stage3_block1_conv")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(84, activation="tanh", name="head")(x)
    return keras.Model(inputs, blocks.logits(x, classes, dropout=0.0), name="lenet5")


def _original(x, padding):
    x = _squash(layers.Conv2D(6, 5, padding=padding, name="stem")(x), "stem")
    x = _subsample(x, "stage1")
    three, four = (ops.take(x, sum(maps, ()), axis=-1) for maps in (THREE, FOUR))
    x = layers.Concatenate(name="stage2_block1_concat")([
        layers.Conv2D(len(THREE), 5, groups=len(THREE), name="stage2_block1_three")(three),
        layers.Conv2D(len(FOUR), 5, groups=len(FOUR), name="stage2_block1_four")(four),
        layers.Conv2D(1, 5, name="stage2_block1_all")(x),
    ])  # fmt: skip
    x = _subsample(_squash(x, "stage2_block1"), "stage2")
    x = _squash(layers.Conv2D(120, 5, name="stage3_block1_conv")(x), "stage3_block1_conv")
    x = layers.Flatten(name="flatten")(x)
    x = _squash(layers.Dense(84, name="head")(x), "head")
    rows = np.array(DIGITS)[:, :, None] >> np.arange(6, -1, -1) & 1
    pictures = 2.0 * rows.reshape(len(DIGITS), 84) - 1.0
    return layers.Dense(
        len(DIGITS),
        use_bias=False,
        kernel_initializer=keras.initializers.Constant((2 * pictures.T).tolist()),
        trainable=False,
        name="logits",
    )(x)


def _subsample(x, name):
    """A coefficient and a bias for the mean of each 2x2 of each map, squashed."""
    x = layers.AveragePooling2D(2, name=f"{name}_pool")(x)
    return _squash(layers.DepthwiseConv2D(1, name=f"{name}_pool_scale")(x), f"{name}_pool")


def _squash(x, name):
    x = layers.Rescaling(2 / 3, name=f"{name}_slope")(x)
    x = layers.Activation("tanh", name=f"{name}_act")(x)
    return layers.Rescaling(1.7159, name=f"{name}_amplitude")(x)
