"""What a linear layer's kernel meets: patches of its input, and the kernel as a matrix for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from keras import layers

from export.compress.reconstruct.loud import weights_of_images

# Places for each weight of a kernel, in all pictures together, and the fewest.
_PLACES = 12
_FEWEST_PLACES, _FEWEST_OF_DEPTHWISE = 4000, 1500
_MOST_POSITIONS = 128  # in one picture: neighbours say the same
_MOST_NUMBERS = 96_000_000  # of all patches
# Weights of a channel that are rounded in the light of each other: of more, the matrices would take
# gigabytes and minutes.
_WIDEST = 4608
# Of more weights, matrices of two groups of images are kept, not of all.
_TOLD_APART = 2304


def groups_of(layer: layers.Layer) -> int:
    """Groups that `matrix` has, see `export.compress.reconstruct.rounding`."""
    kernel = layer.kernel.shape
    if isinstance(layer, layers.DepthwiseConv2D):
        return int(kernel[2])
    if isinstance(layer, layers.Conv2DTranspose):
        return int(kernel[0] * kernel[1])
    groups = int(layer.groups) if isinstance(layer, layers.Conv2D) else 1
    return groups if groups > 1 else _parts(int(np.prod(kernel[:-1])))


def shares_scales(layer: layers.Layer) -> bool:
    """Whether a channel has one scale in all groups."""
    if isinstance(layer, layers.Conv2DTranspose):
        return True
    grouped = isinstance(layer, layers.DepthwiseConv2D) or getattr(layer, "groups", 1) > 1
    return not grouped and groups_of(layer) > 1


def _parts(weights: int) -> int:
    """Groups of a wide layer: the fewest of one size that are narrow enough."""
    fewest = -(-weights // _WIDEST)
    return next(parts for parts in range(fewest, weights + 1) if weights % parts == 0)


def matrix(layer: layers.Layer, kernel: np.ndarray) -> np.ndarray:
    """A kernel as the layer holds it -> (g, o, k), see `export.compress.reconstruct.rounding`."""
    if isinstance(layer, layers.DepthwiseConv2D):
        height, width, channels, multiplier = kernel.shape
        return kernel.reshape(height * width, channels, multiplier).transpose(1, 2, 0)
    if isinstance(layer, layers.Conv2DTranspose):
        return kernel.reshape(-1, *kernel.shape[2:])
    groups = groups_of(layer)
    if shares_scales(layer):  # parts of a wide one
        return kernel.reshape(groups, -1, kernel.shape[-1]).transpose(0, 2, 1)
    return kernel.reshape(-1, groups, kernel.shape[-1] // groups).transpose(1, 2, 0)


def kernel_of(layer: layers.Layer, values: np.ndarray) -> np.ndarray:
    """The way back from `matrix`, float32."""
    if not shares_scales(layer):
        values = values.transpose(2, 0, 1)
    elif not isinstance(layer, layers.Conv2DTranspose):
        values = values.transpose(0, 2, 1)
    return values.reshape(layer.kernel.shape).astype(np.float32)


def channel_scales(layer: layers.Layer, scales: np.ndarray) -> np.ndarray:
    """(g, o) scales -> (channels,), in the order of the layer's outputs."""
    return scales[0] if shares_scales(layer) else scales.reshape(-1)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """How what a kernel meets varies. A bias can make up for the mean: it is not in there.

    Places of images that are far louder than most count less (`export.compress.reconstruct.loud`).

    Attributes:
        inputs: (g, k, k) covariances of what the layer is given.
        crossed: (g, k, k) of what it was given in the float network (rows) with that; None where
            nobody asked.
        places: that they are of.
        by_group: of each group of images, about the mean of all; empty where none were told apart.
    """

    inputs: np.ndarray
    crossed: np.ndarray | None
    places: int
    by_group: tuple[Moments, ...] = ()

    def without(self, group: Moments) -> Moments:
        """Of all other groups, together."""
        assert self.crossed is not None
        assert group.crossed is not None
        places = self.places - group.places
        share = np.float32(group.places / places)
        return Moments(
            inputs=self.inputs + share * (self.inputs - group.inputs),
            crossed=self.crossed + share * (self.crossed - group.crossed),
            places=places,
        )


def moments(
    layer: layers.Layer,
    x: np.ndarray,
    seed: int,
    wanted: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Moments:
    """See `Moments`; at some places, which the seed draws.

    Args:
        x: (n, height, width, channels) inputs, or (..., channels) of a dense layer.
        wanted: those of the float network, of the same shape.
        groups: of images, in the order of `x`; of two-stage detectors several inputs are of one.
    """
    weights = weights_of_images(x if wanted is None else wanted)
    now, of_inputs = _centred(layer, x, seed, weights)
    # Of what a layer is given as it was, nothing is to be made up for.
    then = None if wanted is None or wanted is x else _centred(layer, wanted, seed, weights)[0]
    if then is None or groups is None:
        return _moments(layer, now, then)
    numbers = np.repeat(groups, len(x) // len(groups))[of_inputs]
    if now.shape[-1] > _TOLD_APART:
        numbers = numbers % 2
    rows = [numbers == one for one in np.unique(numbers)]
    by_group = tuple(_moments(layer, now[:, some], then[:, some]) for some in rows)
    crossed = [one.crossed for one in by_group if one.crossed is not None]
    places = [one.places for one in by_group]
    return Moments(
        inputs=_mean([one.inputs for one in by_group], places),
        crossed=_mean(crossed, places),
        places=now.shape[1],
        by_group=by_group,
    )


def _moments(layer: layers.Layer, now: np.ndarray, then: np.ndarray | None) -> Moments:
    return Moments(
        inputs=_product(layer, now, now),
        crossed=None if then is None else _product(layer, then, now),
        places=now.shape[1],
    )


def _mean(matrices: Sequence[np.ndarray], places: Sequence[int]) -> np.ndarray:
    """Of matrices that are of so many places each."""
    mean = np.zeros_like(matrices[0])
    for one, count in zip(matrices, places, strict=True):
        mean += np.float32(count / sum(places)) * one
    return mean


def covariances(layer: layers.Layer, x: np.ndarray, seed: int) -> np.ndarray:
    """(g, k, k) of `moments`."""
    return moments(layer, x, seed).inputs


def _centred(
    layer: layers.Layer, x: np.ndarray, seed: int, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(g, places, k) without their mean, and (places,) of which row of `x` each is.

    Args:
        weights: (n,) of the rows; what is squared of a place is multiplied by its row's.
    """
    chosen = places_of(layer, x, seed)
    patches = patches_at(layer, x, chosen)
    of_inputs = images_of(layer, x, chosen)
    if shares_scales(layer) and not isinstance(layer, layers.Conv2DTranspose):
        parts = patches.reshape(patches.shape[1], groups_of(layer), -1)
        patches = parts.transpose(1, 0, 2)
    if weights.min() == weights.max():
        return patches - patches.mean(axis=1, keepdims=True), of_inputs
    count = (weights / weights.mean())[of_inputs].astype(np.float32)[:, None]
    mean = (patches * count).mean(axis=1, keepdims=True) / count.mean()
    return (patches - mean) * np.sqrt(count), of_inputs


def _places(layer: layers.Layer) -> int:
    """In all pictures together."""
    weights = int(np.prod(layer.kernel.shape)) // (layer.kernel.shape[-1] or 1)
    fewest = _FEWEST_PLACES
    if isinstance(layer, layers.DepthwiseConv2D):
        weights, fewest = int(np.prod(layer.kernel_size)), _FEWEST_OF_DEPTHWISE
    return max(fewest, min(_PLACES * weights, _MOST_NUMBERS // weights))


def _positions(layer: layers.Layer, x: np.ndarray) -> int:
    """In each picture."""
    return min(-(-_places(layer) // len(x)), _MOST_POSITIONS)


def _product(layer: layers.Layer, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    product: np.ndarray = one.transpose(0, 2, 1) @ other / np.float32(one.shape[1])
    if isinstance(layer, layers.Conv2DTranspose):  # every tap meets the same inputs
        product = np.broadcast_to(product, (groups_of(layer), *product.shape[1:]))
    return product


def places_of(layer: layers.Layer, x: np.ndarray, seed: int) -> np.ndarray:
    """Some places at which a layer meets its inputs, drawn by the seed.

    Args:
        x: as of `moments`.

    Returns:
        (n, places) numbers of a layer's outputs in each image, of a transposed convolution of its
        inputs; of a dense layer (places,) rows of all.
    """
    rng = np.random.default_rng(seed)
    if isinstance(layer, layers.Dense):
        return _drawn(x[..., 0].size, _places(layer), rng)
    if isinstance(layer, layers.Conv2DTranspose):
        count = int(np.prod(x.shape[1:3]))
    else:
        count = int(np.prod([axis[2] for axis in _axes(layer, x)]))
    positions = _positions(layer, x)
    return np.stack([_drawn(count, positions, rng) for _ in x])


def images_of(layer: layers.Layer, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(places,) which row of `x` each place of `places_of` is of, in the order of `patches_at`."""
    if isinstance(layer, layers.Dense):
        return chosen // (x[..., 0].size // len(x))
    return np.repeat(np.arange(len(x)), chosen.shape[1])


def patches_at(layer: layers.Layer, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(g, places, k) what a layer meets at places of `places_of`; of a wide layer in one group."""
    if isinstance(layer, layers.Dense):
        rows: np.ndarray = x.reshape(-1, x.shape[-1])[chosen][None]
        return rows
    if isinstance(layer, layers.Conv2DTranspose):
        flat = x.reshape(len(x), -1, x.shape[-1])
        return np.take_along_axis(flat, chosen[..., None], 1).reshape(1, -1, x.shape[-1])
    found = _windows(layer, x, chosen)  # (places, height, width, channels)
    places = len(found)
    if shares_scales(layer):
        return found.reshape(1, places, -1)
    groups = groups_of(layer)
    # Of a grouped convolution the channels of a group lie together.
    split = found.reshape(places, -1, groups, x.shape[-1] // groups)
    return split.transpose(2, 0, 1, 3).reshape(groups, places, -1)


def _windows(layer: layers.Layer, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    rows, columns = _axes(layer, x)
    before_y, after_y = rows[:2]
    before_x, after_x, wide = columns[:3]
    y, column = np.divmod(chosen, wide)
    y = y[..., None] * rows[3] + rows[4]  # (n, places, taps)
    column = column[..., None] * columns[3] + columns[4]
    windows = np.empty((*y.shape, column.shape[-1], x.shape[-1]), x.dtype)
    for image, at_y, at_x, found in zip(x, y, column, windows, strict=True):
        padded = np.pad(image, ((before_y, after_y), (before_x, after_x), (0, 0)))
        found[...] = padded[at_y[:, :, None], at_x[:, None, :]]
    return windows.reshape(-1, *windows.shape[2:])


def _axes(layer: layers.Layer, x: np.ndarray) -> list[tuple[int, int, int, int, np.ndarray]]:
    """Of rows and columns, see `_axis`."""
    sides = zip(x.shape[1:3], zip(*_geometry(layer), strict=True), strict=True)
    return [_axis(size, layer.padding, *numbers) for size, numbers in sides]


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
