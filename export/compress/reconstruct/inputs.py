"""What a linear layer's kernel meets: patches of its input, and the kernel as a matrix for them."""

from __future__ import annotations

import numpy as np
from keras import layers

# Places for each weight of a kernel, in all pictures together, and the fewest.
_PLACES = 4
_FEWEST_PLACES = 1500
_MOST_POSITIONS = 128  # in one picture: neighbours say the same


def groups_of(layer: layers.Layer) -> int:
    """Groups that `matrix` has, see `export.compress.reconstruct.rounding`."""
    kernel = layer.kernel.shape
    if isinstance(layer, layers.DepthwiseConv2D):
        return int(kernel[2])
    if isinstance(layer, layers.Conv2DTranspose):
        return int(kernel[0] * kernel[1])
    return int(layer.groups) if isinstance(layer, layers.Conv2D) else 1


def matrix(layer: layers.Layer, kernel: np.ndarray) -> np.ndarray:
    """A kernel as the layer holds it -> (g, o, k), see `export.compress.reconstruct.rounding`."""
    if isinstance(layer, layers.DepthwiseConv2D):
        height, width, channels, multiplier = kernel.shape
        return kernel.reshape(height * width, channels, multiplier).transpose(1, 2, 0)
    if isinstance(layer, layers.Conv2DTranspose):
        return kernel.reshape(-1, *kernel.shape[2:])
    flat = kernel.reshape(-1, groups_of(layer), kernel.shape[-1] // groups_of(layer))
    return flat.transpose(1, 2, 0)


def kernel_of(layer: layers.Layer, values: np.ndarray) -> np.ndarray:
    """The way back from `matrix`, float32."""
    if not isinstance(layer, layers.Conv2DTranspose):
        values = values.transpose(2, 0, 1)
    return values.reshape(layer.kernel.shape).astype(np.float32)


def channel_scales(layer: layers.Layer, scales: np.ndarray) -> np.ndarray:
    """(g, o) scales -> (channels,), in the order of the layer's outputs."""
    return scales[0] if isinstance(layer, layers.Conv2DTranspose) else scales.reshape(-1)


def covariances(layer: layers.Layer, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How what the kernel meets varies, at some of its places.

    Args:
        x: (n, height, width, channels) inputs, or (n, channels) of a dense layer.

    Returns:
        (g, k, k) covariances. A bias can make up for the mean, so errors are weighed without it.
    """
    weights = int(np.prod(layer.kernel.shape)) // (layer.kernel.shape[-1] or 1)
    if isinstance(layer, layers.DepthwiseConv2D):
        weights = int(np.prod(layer.kernel_size))
    positions = -(-max(_FEWEST_PLACES, _PLACES * weights) // len(x))
    patches = _patches(layer, x, min(positions, _MOST_POSITIONS), rng)
    centred = patches - patches.mean(axis=1, keepdims=True)
    covariance: np.ndarray = centred.transpose(0, 2, 1) @ centred / np.float32(patches.shape[1])
    groups = groups_of(layer)
    if isinstance(layer, layers.Conv2DTranspose):  # every tap meets the same inputs
        covariance = np.broadcast_to(covariance, (groups, *covariance.shape[1:]))
    return covariance


def _patches(
    layer: layers.Layer, x: np.ndarray, positions: int, rng: np.random.Generator
) -> np.ndarray:
    """(g, places, k), float32."""
    if isinstance(layer, layers.Dense):
        return x.reshape(1, -1, x.shape[-1])
    if isinstance(layer, layers.Conv2DTranspose):
        flat = x.reshape(len(x), -1, x.shape[-1])
        chosen = np.stack([_drawn(flat.shape[1], positions, rng) for _ in x])
        return np.take_along_axis(flat, chosen[..., None], 1).reshape(1, -1, x.shape[-1])
    found = _windows(layer, x, positions, rng)  # (places, height, width, channels)
    places, groups = len(found), groups_of(layer)
    # Of a grouped convolution the channels of a group lie together.
    split = found.reshape(places, -1, groups, x.shape[-1] // groups)
    return split.transpose(2, 0, 1, 3).reshape(groups, places, -1)


def _windows(
    layer: layers.Layer, x: np.ndarray, positions: int, rng: np.random.Generator
) -> np.ndarray:
    rows, columns = (
        _axis(x.shape[1 + i], layer.padding, *(v[i] for v in _geometry(layer))) for i in (0, 1)
    )
    before_y, after_y, tall = rows[:3]
    before_x, after_x, wide = columns[:3]
    chosen = np.stack([_drawn(tall * wide, positions, rng) for _ in x])
    y, column = np.divmod(chosen, wide)
    y = y[..., None] * rows[3] + rows[4]  # (n, places, taps)
    column = column[..., None] * columns[3] + columns[4]
    windows = np.empty((*y.shape, column.shape[-1], x.shape[-1]), x.dtype)
    for image, at_y, at_x, found in zip(x, y, column, windows, strict=True):
        padded = np.pad(image, ((before_y, after_y), (before_x, after_x), (0, 0)))
        found[...] = padded[at_y[:, :, None], at_x[:, None, :]]
    return windows.reshape(-1, *windows.shape[2:])


def _geometry(layer: layers.Layer) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return tuple(layer.kernel_size), tuple(layer.strides), tuple(layer.dilation_rate)


def _axis(
    size: int, padding: str, taps: int, stride: int, dilation: int
) -> tuple[int, int, int, int, np.ndarray]:
    """Padding before and after, outputs, stride, and where the taps are, along one axis."""
    reach = (taps - 1) * dilation + 1
    at = np.arange(taps) * dilation
    if padding == "valid":
        return 0, 0, (size - reach) // stride + 1, stride, at
    outputs = -(-size // stride)
    needed = max(0, (outputs - 1) * stride + reach - size)
    return needed // 2, needed - needed // 2, outputs, stride, at


def _drawn(places: int, positions: int, rng: np.random.Generator) -> np.ndarray:
    if places <= positions:
        return np.arange(places)
    return rng.choice(places, positions, replace=False)
