"""What two or more families share: bound conventions and the inverted residual block.

Layer names are an API. A convolution carries the bare role (`stage2_block1_expand`), its
normalisation and activation add `_norm` and `_act`. FPN, pruning and export find tensors by them.
"""

from __future__ import annotations

import dataclasses

import keras
from keras import layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conventions:
    """How one family writes convolution, normalisation and activation, bound once.

    Attributes:
        activation: a Keras activation name, `"relu6"` or `"hard_silu"` among them.
        norm_momentum, norm_epsilon: of every batch normalisation.
    """

    activation: str
    norm_momentum: float = 0.99
    norm_epsilon: float = 1e-3

    def conv(self, x, filters, kernel_size=1, *, strides=1, activation=True, name):
        """Convolution without bias, batch norm, and (unless `activation` is False) activation.

        Args:
            x: (batch, height, width, channels).
            filters: output channels.

        Returns:
            (batch, ceil(height / strides), ceil(width / strides), filters).
        """
        conv = layers.Conv2D(
            filters, kernel_size, strides=strides, padding="same", use_bias=False, name=name
        )
        return self._finish(conv(x), activation, name)

    def depthwise(self, x, kernel_size=3, *, strides=1, activation=True, name):
        """The same with one filter a channel."""
        conv = layers.DepthwiseConv2D(
            kernel_size, strides=strides, padding="same", use_bias=False, name=name
        )
        return self._finish(conv(x), activation, name)

    def activate(self, x, name):
        """The family's activation as a layer of its own."""
        return layers.Activation(self.activation, name=name)(x)

    def _finish(self, x, activation, name):
        x = layers.BatchNormalization(
            momentum=self.norm_momentum, epsilon=self.norm_epsilon, name=f"{name}_norm"
        )(x)
        return self.activate(x, f"{name}_act") if activation else x


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, at least one, never more than 10% below `channels`.

    Source: `_make_divisible` of the MobileNet reference code (Sandler et al. 2018).
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def with_early_strides(rows, strides):
    """An architecture's table in which the first row that halves the picture has other strides.

    With 1 it halves no more, which leaves pictures of about 32 pixels something to see.
    """
    first = next(i for i, row in enumerate(rows) if row.strides == 2)
    return (*rows[:first], dataclasses.replace(rows[first], strides=strides), *rows[first + 1 :])


def squeeze_excite(x, squeeze_channels, *, gate, name):
    """Channel attention: pool, squeeze with ReLU, excite with `gate`, multiply.

    Args:
        x: (batch, height, width, channels).
        squeeze_channels: width of the bottleneck.
        gate: activation of the second layer, `"hard_sigmoid"` or `"sigmoid"`.

    Source: Hu et al., arXiv:1709.01507; the hard gate from arXiv:1905.02244.
    """
    channels = x.shape[-1]
    s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    s = layers.Conv2D(squeeze_channels, 1, activation="relu", name=f"{name}_reduce")(s)
    s = layers.Conv2D(channels, 1, name=f"{name}_expand")(s)
    s = layers.Activation(gate, name=f"{name}_gate")(s)
    return layers.Multiply(name=f"{name}_scale")([x, s])


def inverted_residual(
    x,
    conventions: Conventions,
    *,
    expanded,
    filters,
    kernel_size=3,
    strides=1,
    squeeze_channels=None,
    drop_path=0.0,
    name,
):
    """Expand, depthwise, (squeeze-excite,) project; added to its input where shapes allow.

    Args:
        x: (batch, height, width, channels).
        expanded: channels inside the block; no expansion where equal to the input's.
        filters: channels out of the linear bottleneck.
        squeeze_channels: adds a squeeze-excite with hard gate of that width.
        drop_path: probability that a training picture skips the residual branch.

    Returns:
        (batch, ceil(height / strides), ceil(width / strides), filters).

    Source: MobileNetV2, arXiv:1801.04381, figure 4; V3, arXiv:1905.02244, figure 4.
    """
    shortcut = x
    if expanded != x.shape[-1]:
        x = conventions.conv(x, expanded, name=f"{name}_expand")
    x = conventions.depthwise(x, kernel_size, strides=strides, name=f"{name}_depthwise")
    if squeeze_channels:
        x = squeeze_excite(x, squeeze_channels, gate="hard_sigmoid", name=f"{name}_se")
    x = conventions.conv(x, filters, activation=False, name=f"{name}_project")
    if strides == 1 and shortcut.shape[-1] == filters:
        if drop_path:
            x = layers.Dropout(drop_path, noise_shape=(None, 1, 1, 1), name=f"{name}_drop_path")(x)
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def classifier(x, classes, *, dropout):
    """Global average pooling, dropout and the `logits` layer; (batch, classes)."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return logits(x, classes, dropout=dropout)


def logits(x, classes, *, dropout):
    """Dropout and the `logits` layer on (batch, features); (batch, classes)."""
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return layers.Dense(classes, name="logits")(x)


def picture_input(input_shape) -> keras.KerasTensor:
    """The input of every builder: (batch, height, width, channels), normalised."""
    return keras.Input(input_shape, name="image")
