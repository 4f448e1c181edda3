"""Round a layer's kernel so that its outputs, not its weights, stay where they are.

A layer's kernel W (channels, weights) meets inputs x (weights,) whose covariance is H. Rounded to
Q, it errs by tr((W - Q) H (W - Q)'), a quadratic form that knows which weights matter and which
errors cancel. It is made small in three ways, one after another:

- Each channel's scale is searched for by that error, not taken from its largest weight.
- Weights are rounded one after another, those of the largest inputs first, and those not yet
  rounded make up for the error made so far: GPTQ (Frantar et al. 2022, arXiv 2210.17323,
  algorithm 1).
- Then each weight in turn is moved to its best integer while all others stay, and each scale to its
  least-squares value, neither of which can raise the error: QuantEase (Behdin et al. 2023, arXiv
  2309.01885).

Shapes: g groups, o channels a group, k weights a channel. A convolution or dense layer has one
group, a depthwise convolution one group for each input channel, and a transposed convolution one
for each tap of its kernel, whose channels share their scales.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# What H's diagonal is raised by, as a share of its mean: directions that the pictures do not show
# must not be rounded at will. The coarser the steps, the more there is to lose in them: at four
# bits, EfficientNet-Lite0 at 96 pixels had the float network's top-1 on 48% of crops of two photos
# that were set aside with 0.01, and on 66% with 0.05.
DAMPING = {4: 0.05, 8: 0.01}
_BLOCK = 64  # weights after which the rest is told of the errors, in one product
_SWEEPS = 2
# Of the largest weight: fewer bits gain by clipping it.
_LEAST_SCALE = {4: 0.35, 8: 0.75}
_SCALES_TRIED = 16


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rounded:
    """A kernel on its grid.

    Attributes:
        integers: (g, o, k).
        scales: (g, o), above 0.
    """

    integers: np.ndarray
    scales: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """(g, o, k) floats that a file gives back."""
        values: np.ndarray = self.integers * self.scales[..., None]
        return values


def limits(bits: int) -> tuple[int, int]:
    """Least and largest integer of a kernel: int8's is symmetric, as runtimes demand."""
    top = 2 ** (bits - 1) - 1
    return (-top if bits >= 8 else -top - 1), top


def by_range(kernel: np.ndarray, bits: int, *, tied: bool = False) -> Rounded:
    """To the nearest, by the largest weight of each channel: what quantisers do.

    Args:
        kernel: (g, o, k).
        tied: whether a channel has one scale in all groups.
    """
    low, top = limits(bits)
    scales = _largest(kernel, tied) / top
    return Rounded(integers=_nearest(kernel, scales, low, top), scales=scales)


def by_error(kernel: np.ndarray, inputs: np.ndarray, bits: int, *, tied: bool = False) -> Rounded:
    """Scales by error, weights to the nearest.

    Args:
        kernel: (g, o, k).
        inputs: (g, k, k) H of each group.
        tied: whether a channel has one scale in all groups.
    """
    low, top = limits(bits)
    kernel, inputs = kernel.astype(np.float64), damped(inputs, bits)
    scales = _scales_by_error(kernel, inputs, low, top, _LEAST_SCALE[bits], tied)
    return Rounded(integers=_nearest(kernel, scales, low, top), scales=scales)


def compensated(
    kernel: np.ndarray,
    inputs: np.ndarray,
    bits: int,
    *,
    tied: bool = False,
    target: np.ndarray | None = None,
) -> Rounded:
    """Scales by error, weights with compensation, both refined; see the module. As of `by_error`.

    Weights that are 0 stay 0: what pruning made is kept (SparseGPT, arXiv 2301.00774).

    Args:
        target: (g, o, k) what is to be come near to, of `export.compress.reconstruct.targets`; the
            kernel itself by default.
    """
    low, top = limits(bits)
    kept = kernel != 0
    kernel = (kernel if target is None else target).astype(np.float64)
    inputs = damped(inputs, bits)
    scales = _scales_by_error(kernel, inputs, low, top, _LEAST_SCALE[bits], tied)
    integers = _error_fed_forward(kernel, inputs, scales, kept, low, top)
    for _ in range(_SWEEPS):
        if not _moved(kernel, inputs, integers, scales, kept, low, top):
            break
        scales = _least_squares(kernel, inputs, integers, scales, tied)
    return Rounded(integers=integers, scales=scales)


def error_of(kernel: np.ndarray, rounded: Rounded, inputs: np.ndarray) -> float:
    """Mean squared error of the layer's outputs, summed over its channels."""
    difference = kernel - rounded.values
    return float(np.sum((difference @ inputs) * difference))


def damped(inputs: np.ndarray, bits: int = 8) -> np.ndarray:
    """H with its diagonal raised, in double precision, for a kernel of so many bits."""
    inputs = inputs.astype(np.float64)
    width = inputs.shape[-1]
    mean = np.trace(inputs, axis1=1, axis2=2) / width
    # An input that is always 0 has no H: any positive one will do.
    lift = np.where(mean > 0, DAMPING[bits] * mean, 1.0)
    return inputs + lift[:, None, None] * np.eye(width)


def _largest(kernel: np.ndarray, tied: bool) -> np.ndarray:
    largest = np.abs(kernel).max(axis=-1)
    if tied:
        largest = np.broadcast_to(largest.max(axis=0), largest.shape)
    return np.maximum(largest, np.finfo(np.float32).tiny * 2**20)


def _nearest(kernel: np.ndarray, scales: np.ndarray, low: int, top: int) -> np.ndarray:
    return np.clip(np.rint(kernel / scales[..., None]), low, top)


def _scales_by_error(
    kernel: np.ndarray, inputs: np.ndarray, low: int, top: int, least: float, tied: bool
) -> np.ndarray:
    whole = _largest(kernel, tied) / top
    best, scales = np.full(whole.shape, np.inf), whole
    for share in np.linspace(least, 1.0, _SCALES_TRIED):
        tried = whole * share
        difference = kernel - tried[..., None] * _nearest(kernel, tried, low, top)
        error = np.sum((difference @ inputs) * difference, axis=-1)
        if tied:
            error = np.broadcast_to(error.sum(axis=0), error.shape)
        scales = np.where(error < best, tried, scales)
        best = np.minimum(error, best)
    return scales


def _error_fed_forward(
    kernel: np.ndarray,
    inputs: np.ndarray,
    scales: np.ndarray,
    kept: np.ndarray,
    low: int,
    top: int,
) -> np.ndarray:
    # One order for all groups, or their matrices could not be taken together.
    order = np.argsort(-np.einsum("gkk->k", inputs), kind="stable")
    inverse = np.linalg.inv(inputs[:, order][:, :, order])
    upper = np.linalg.cholesky(inverse).transpose(0, 2, 1)
    left, mask = kernel[..., order].copy(), kept[..., order]
    integers = np.zeros_like(left)
    width = left.shape[-1]
    for start in range(0, width, _BLOCK):
        stop = min(width, start + _BLOCK)
        errors = np.zeros((*left.shape[:2], stop - start))
        for i in range(start, stop):
            rounded = np.clip(np.rint(left[..., i] / scales), low, top) * mask[..., i]
            integers[..., i] = rounded
            error = (left[..., i] - rounded * scales) / upper[:, i, i, None]
            errors[..., i - start] = error
            left[..., i + 1 : stop] -= error[..., None] * upper[:, None, i, i + 1 : stop]
        left[..., stop:] -= errors @ upper[:, start:stop, stop:]
    result = np.empty_like(integers)
    result[..., order] = integers
    return result


def _moved(
    kernel: np.ndarray,
    inputs: np.ndarray,
    integers: np.ndarray,
    scales: np.ndarray,
    kept: np.ndarray,
    low: int,
    top: int,
) -> bool:
    """One sweep of coordinate descent, in place; whether anything changed."""
    changed = False
    width = kernel.shape[-1]
    pull = (kernel - integers * scales[..., None]) @ inputs
    for start in range(0, width, _BLOCK):
        stop = min(width, start + _BLOCK)
        near = pull[..., start:stop].copy()
        steps = np.zeros((*kernel.shape[:2], stop - start))
        for i in range(start, stop):
            to = integers[..., i] + near[..., i - start] / (inputs[:, i, i, None] * scales)
            step = (np.clip(np.rint(to), low, top) - integers[..., i]) * kept[..., i]
            integers[..., i] += step
            step = step * scales
            steps[..., i - start] = step
            near -= step[..., None] * inputs[:, None, i, start:stop]
        if steps.any():
            changed = True
            pull -= steps @ inputs[:, start:stop]
    return changed


def _least_squares(
    kernel: np.ndarray, inputs: np.ndarray, integers: np.ndarray, scales: np.ndarray, tied: bool
) -> np.ndarray:
    weighed = integers @ inputs
    found, size = np.sum(weighed * kernel, axis=-1), np.sum(weighed * integers, axis=-1)
    if tied:
        found, size = (np.broadcast_to(x.sum(axis=0), x.shape) for x in (found, size))
    usable = (size > 0) & (found > 0)
    return np.where(usable, found / np.where(usable, size, 1.0), scales)
