"""What two or more families share: bound conventions, squeeze-excite, the inverted residual.

Layer names are an API. A convolution carries the bare role (`stage2_block1_expand`), its padding,
normalisation and activation add `_pad`, `_norm` and `_act`. FPN, pruning and export find tensors
by them. A pooling between two stages belongs to the one that it begins (`stage2_pool`).
"""

from __future__ import annotations

import dataclasses

import keras
from keras import layers

from kerascnn.errors import InputError

# Below this, a published stem leaves less than 2x2 at the end of five halvings.
SMALL_PICTURE = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conventions:
    """How one family writes convolution, normalisation and activation, bound once.

    Attributes:
        activation: a Keras activation name, `"relu6"` or `"hard_silu"` among them.
        norm: whether batch normalisation follows each convolution.
        bias: of convolutions; None for one exactly where no norm follows.
        norm_momentum, norm_epsilon: of every batch normalisation.
        padding: where a stride halves an even side, TensorFlow's "same" pads one pixel less in
            front than behind; "symmetric" pads both alike, as PyTorch and Caffe do. Trained
            weights want the one that they were trained with.
    """

    activation: str
    norm: bool = True
    bias: bool | None = None
    norm_momentum: float = 0.99
    norm_epsilon: float = 1e-3
    padding: str = "same"

    def __post_init__(self) -> None:
        if self.padding not in ("same", "symmetric"):
            raise InputError(f"padding must be 'same' or 'symmetric', not {self.padding!r}")

    def conv(self, x, filters, kernel_size=1, *, strides=1, groups=1, activation=True, name):
        """Convolution, batch norm, and (unless `activation` is False) activation.

        Args:
            x: (batch, height, width, channels).
            filters: output channels.

        Returns:
            (batch, ceil(height / strides), ceil(width / strides), filters).
        """
        x, padding = self._padded(x, kernel_size, strides, name)
        conv = layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            groups=groups,
            use_bias=self._biased,
            name=name,
        )
        return self._finish(conv(x), activation, name)

    def depthwise(self, x, kernel_size=3, *, strides=1, activation=True, name):
        """The same with one filter a channel."""
        x, padding = self._padded(x, kernel_size, strides, name)
        conv = layers.DepthwiseConv2D(
            kernel_size, strides=strides, padding=padding, use_bias=self._biased, name=name
        )
        return self._finish(conv(x), activation, name)

    def max_pool(self, x, kernel_size=3, *, strides=2, padding=None, name):
        """Maximum over windows of activations that are not negative.

        Args:
            padding: in place of the family's; "ceil" lets the windows begin at the first pixel and
                the last one hang over, as PyTorch's `ceil_mode` and Caffe do.
        """
        if padding == "ceil":
            over = [-(side - kernel_size) % strides for side in x.shape[1:3]]
            # Where one pixel is missing on both axes, "same" is the same.
            padding = "same" if over == [1, 1] else "valid"
            if padding == "valid" and any(over):
                x = layers.ZeroPadding2D(((0, over[0]), (0, over[1])), name=f"{name}_pad")(x)
        else:
            x, padding = self._padded(x, kernel_size, strides, name, padding)
        return layers.MaxPooling2D(kernel_size, strides=strides, padding=padding, name=name)(x)

    def activate(self, x, name):
        """The family's activation as a layer of its own."""
        return layers.Activation(self.activation, name=name)(x)

    def normalise(self, x, name):
        """Batch normalisation as a layer of its own."""
        return layers.BatchNormalization(
            momentum=self.norm_momentum, epsilon=self.norm_epsilon, name=name
        )(x)

    @property
    def _biased(self) -> bool:
        return not self.norm if self.bias is None else self.bias

    def _padded(self, x, kernel_size, strides, name, padding=None):
        # At stride 1 the two paddings of an odd kernel are one.
        if (padding or self.padding) == "same" or strides == 1 or kernel_size == 1:
            return x, "same"
        return layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"

    def _finish(self, x, activation, name):
        if self.norm:
            x = self.normalise(x, f"{name}_norm")
        return self.activate(x, f"{name}_act") if activation else x


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, at least one, never more than 10% below `channels`.

    Source: `_make_divisible` of the MobileNet reference code (Sandler et al. 2018).
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def stem_strides_for(input_shape, asked: int | None) -> int:
    """The stem's stride: as asked, or 1 for pictures of less than 64 pixels, or 2."""
    if asked is not None:
        return asked
    return 1 if min(input_shape[:2]) < SMALL_PICTURE else 2


def with_early_strides(rows, strides):
    """An architecture's table in which the first row that halves the picture has other strides.

    With 1 it halves no more, which leaves pictures of about 32 pixels something to see.
    """
    first = next(i for i, row in enumerate(rows) if row.strides == 2)
    return (*rows[:first], dataclasses.replace(rows[first], strides=strides), *rows[first + 1 :])


def squeeze_excite(x, squeeze_channels, *, activation="relu", gate="sigmoid", name):
    """Channel attention: pool, squeeze with `activation`, excite with `gate`, multiply.

    Args:
        x: (batch, height, width, channels).
        squeeze_channels: width of the bottleneck.
        gate: activation of the second layer, `"sigmoid"` or `"hard_sigmoid"`.

    Source: Hu et al., arXiv:1709.01507; the hard gate from arXiv:1905.02244.
    """
    channels = x.shape[-1]
    s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    s = layers.Conv2D(squeeze_channels, 1, activation=activation, name=f"{name}_reduce")(s)
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
    squeeze_excite=None,
    drop_path=0.0,
    name,
):
    """Expand, depthwise, (squeeze-excite,) project; added to its input where shapes allow.

    Args:
        x: (batch, height, width, channels).
        expanded: channels inside the block; no expansion where equal to the input's.
        filters: channels out of the linear bottleneck.
        squeeze_excite: called as `squeeze_excite(x, name=...)` behind the depthwise convolution.
        drop_path: probability that a training picture skips the residual branch.

    Returns:
        (batch, ceil(height / strides), ceil(width / strides), filters).

    Source: MobileNetV2, arXiv:1801.04381, figure 4; V3, arXiv:1905.02244, figure 4.
    """
    shortcut = x
    if expanded != x.shape[-1]:
        x = conventions.conv(x, expanded, name=f"{name}_expand")
    x = conventions.depthwise(x, kernel_size, strides=strides, name=f"{name}_depthwise")
    if squeeze_excite:
        x = squeeze_excite(x, name=f"{name}_se")
    x = conventions.conv(x, filters, activation=False, name=f"{name}_project")
    return add_shortcut(x, shortcut, strides=strides, drop_path=drop_path, name=name)


def add_shortcut(x, shortcut, *, strides, drop_path, name):
    """The residual sum where shapes allow, with stochastic depth (arXiv:1603.09382) on `x`."""
    if strides != 1 or shortcut.shape[-1] != x.shape[-1]:
        return x
    return layers.Add(name=f"{name}_add")([shortcut, dropped_path(x, drop_path, name)])


def dropped_path(x, drop_path, name):
    """A residual branch that a training picture skips with probability `drop_path`."""
    if not drop_path:
        return x
    return layers.Dropout(drop_path, noise_shape=(None, 1, 1, 1), name=f"{name}_drop_path")(x)


def classifier(x, classes, *, dropout):
    """Global average pooling, dropout and the `logits` layer; (batch, classes)."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return logits(x, classes, dropout=dropout)


def dense_classifier(x, classes, *, dropout):
    """Flatten, two hidden dense layers with dropout behind, `logits` (AlexNet, VGG)."""
    x = layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(4096, activation="relu", name=f"head{number}")(x)
        x = layers.Dropout(dropout, name=f"head{number}_dropout")(x) if dropout else x
    return logits(x, classes, dropout=0.0)


def logits(x, classes, *, dropout, prefix=""):
    """Dropout and the `logits` layer on (batch, features); (batch, classes)."""
    if dropout:
        x = layers.Dropout(dropout, name=f"{prefix}dropout")(x)
    # In mixed precision the logits stay float32: half precision would round their softmax.
    policy = keras.config.dtype_policy()
    mixed = policy.compute_dtype != policy.variable_dtype
    dtype = policy.variable_dtype if mixed else None
    return layers.Dense(classes, name=f"{prefix}logits", dtype=dtype)(x)


def picture_input(input_shape) -> keras.KerasTensor:
    """The input of every builder: (batch, height, width, channels), normalised."""
    return keras.Input(input_shape, name="image")
