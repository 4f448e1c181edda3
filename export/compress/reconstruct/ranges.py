"""Ranges of activations by the error they cause, not by what was largest once.

Two hundred and fifty-six steps over a range that a single loud value sets are coarse for all
others. Clipping that value costs its own error and spares everyone else's; the best trade is where
the mean squared error is least (Banner et al. 2019, arXiv 1810.05723, find it from a distribution;
here it is searched for on the values themselves). That of an image far louder than most hardly
counts (`export.compress.reconstruct.loud`): else it would be all that does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.compress.reconstruct.loud import are_ordinary, weights_of_images

Range = tuple[float, float]
# Values, how much each counts, and both ends that shares are taken of.
_Part = tuple[np.ndarray, np.ndarray, float, float]

_SAMPLED = 200_000
_BINS = 1 << 13  # ten for each step of the narrowest range that is tried
_SHARES = (*np.linspace(0.3, 1.0, 29), 1.1, 1.2, 1.35, 1.5)
_OUTER_BINS = 1 << 10
_WIDER = 9  # shares up to the whole range, where some images are far louder than most
_ROUNDS = 2
_BLOCK = 1 << 18  # values that are rounded at once


def fake_quantised(
    x: np.ndarray, low: float, high: float, bits: int = 8, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Values as `bits` bits between two ends give them back, as the runtime has them.

    Args:
        x: any shape.
        low, high: of the range, 0 within it.
        bits: 8 (asymmetric, with an exact zero) or 16 (symmetric).
        out: float32 of the shape of `x`, contiguous, which may be `x` itself; None: a new array.

    Returns:
        `out`.
    """
    made = np.empty(x.shape, np.float32) if out is None else out
    # On the way are doubles: of all activations of a layer at once they would be its largest cost.
    values, results = x.reshape(-1), made.reshape(-1)
    for start in range(0, values.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        results[part] = _fake_quantised(values[part], low, high, bits)
    return made


def _fake_quantised(x: np.ndarray, low: float, high: float, bits: int) -> np.ndarray:
    if bits == 16:
        scale = max(abs(low), abs(high), 1e-9) / 32767
        return (np.clip(np.rint(x / np.float32(scale)), -32768, 32767) * scale).astype(np.float32)
    scale = max(high - low, 1e-9) / 255
    zero = np.rint(-low / scale)
    steps = np.rint(x / np.float32(scale))
    return (np.clip(steps, -zero, 255 - zero) * scale).astype(np.float32)


def whole_range(x: np.ndarray) -> Range:
    """Least and largest value, and 0."""
    return min(0.0, float(x.min())), max(0.0, float(x.max()))


def range_by_error(
    x: np.ndarray, rng: np.random.Generator, groups: np.ndarray | None = None
) -> Range:
    """The range whose 256 steps have the least mean squared error, of those about the whole one.

    Args:
        x: (n, ...) of images, or (values,) of one; a seeded sample of it is looked at.
        groups: of images that are alike, in the order of `x`. What a share of the whole range errs
            by is then told of each group by that of the others, so that there is room for what
            other images will have where groups differ in it.
    """
    rows = x[None] if x.ndim == 1 else x.reshape(len(x) if groups is None else len(groups), -1)
    weights = weights_of_images(rows)
    ordinary = are_ordinary(weights)
    ends_of = np.stack([whole_range(one) for one in rows])
    low, high = _ends(ends_of[ordinary])
    at = np.arange(x.size) if x.size <= _SAMPLED else rng.integers(0, x.size, _SAMPLED)
    values, of_image = x.reshape(-1)[at], at // rows.shape[1]
    if groups is None or len(set(groups.tolist())) < 2:
        parts = [(*_binned(values, weights[of_image], low, high), low, high)]
    else:
        numbers = groups[of_image]
        parts = []
        for one in np.unique(numbers):
            mine, others = numbers == one, ordinary & (groups != one)
            known = _binned(values[mine], weights[of_image[mine]], low, high)
            parts.append((*known, *(_ends(ends_of[others]) if others.any() else (low, high))))
    wider = [end / own for end, own in zip(_ends(ends_of), (low, high), strict=True) if own]
    shares = [*_SHARES]
    if max(wider, default=1.0) > _SHARES[-1]:
        shares += np.geomspace(_SHARES[-1], max(wider), _WIDER).tolist()[1:]
    ends = [end for end, value in enumerate((low, high)) if value]
    first, second = _least_error(parts, ends, shares)
    return low * first, high * second


def _ends(ends_of: np.ndarray) -> Range:
    """Of all of (n, 2) ranges."""
    return float(ends_of[:, 0].min()), float(ends_of[:, 1].max())


def _least_error(
    parts: Sequence[_Part], ends: list[int], shares: Sequence[float]
) -> tuple[float, float]:
    """The shares of both ends with the least error, in all parts together.

    Args:
        ends: that are not 0. Behind a ReLU there is one to choose, which nothing is chosen after.
    """
    best = (1.0, 1.0)
    least = _error(parts, best)
    for end in ends * (_ROUNDS if len(ends) > 1 else 1):
        for share in shares:
            tried = (share, best[1]) if end == 0 else (best[0], share)
            error = _error(parts, tried)
            if error < least:
                best, least = tried, error
    return best


def _binned(
    values: np.ndarray, weights: np.ndarray, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means of values that are next to each other, and how much each counts.

    Args:
        low, high: where most are; what is outside is binned more coarsely.
    """
    edges = [np.linspace(low, high, _BINS + 1)]
    least, largest = float(values.min(initial=low)), float(values.max(initial=high))
    if least < low:
        edges.insert(0, np.linspace(least, low, _OUTER_BINS, endpoint=False))
    if largest > high:
        edges.append(np.linspace(largest, high, _OUTER_BINS, endpoint=False)[::-1])
    inner = np.concatenate(edges)
    at = np.clip(np.searchsorted(inner, values, "right"), 1, len(inner) - 1)
    counts = np.bincount(at, weights=weights, minlength=len(inner))
    sums = np.bincount(at, weights=weights * values, minlength=len(inner))
    some = counts > 0
    return sums[some] / counts[some], counts[some]


def _error(parts: Sequence[_Part], shares: tuple[float, float]) -> float:
    """Sum of squares."""
    error = 0.0
    for values, counts, low, high in parts:
        found = _fake_quantised(values, low * shares[0], high * shares[1], 8)
        error += float(np.sum(np.square(values - found) * counts))
    return error
