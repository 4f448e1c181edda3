"""Whether a difference of accuracy is more than the luck of the held-out pictures.

Two files that answered the same pictures are compared in pairs: only pictures that one of them has
right and the other wrong speak. The interval is the percentile bootstrap over pictures (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). It is as wide as it claims from
some four such pictures on (`tests/export/artefacts/test_significance.py` simulates it). With fewer
it is too narrow, and where no picture differs it is a point, although up to 3/n of all pictures
might.

The luck of training (another seed, another order of pictures) is not in it.
"""

from __future__ import annotations

import base64
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Accuracy of one file less that of another, in percentage points, and its 95% interval."""

    points: float
    low: float
    high: float

    @property
    def within_noise(self) -> bool:
        """Whether the pictures leave open which of the two is better."""
        return self.low <= 0 <= self.high


def pack(right: np.ndarray) -> str:
    """One bit a picture as text for a .json: base64 of the bits, the first one highest.

    Args:
        right: (n,) bool.
    """
    return base64.b64encode(np.packbits(np.asarray(right, bool)).tobytes()).decode("ascii")


def unpack(text: str, count: int) -> np.ndarray:
    """What `pack` was given.

    Args:
        count: n, how many pictures there were.

    Returns:
        (n,) bool.

    Raises:
        ValueError: the text is not base64, or does not hold n bits.
    """
    bits = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(bits) != -(-count // 8):
        raise ValueError(f"{8 * len(bits)} bits for {count} images")
    return np.unpackbits(bits, count=count).astype(bool)


def drop_interval(
    float_right: np.ndarray,
    right: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 10_000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of the accuracy that a file lost against the float network.

    Args:
        float_right: (n,) bool, whether the float network answered each held-out picture right.
        right: (n,) bool, the same of the file, on the same pictures in the same order.
        seed: equal arguments give equal intervals.
        resamples: how often the n pictures are drawn anew, with replacement.
        level: share of the resamples that the interval holds, at the least.

    Returns:
        Low and high end, in percentage points; a positive drop is a loss.

    Raises:
        ValueError: no pictures, or not the same number of them.
    """
    before, after = (np.asarray(each, bool) for each in (float_right, right))
    if before.ndim != 1 or before.shape != after.shape or not before.size:
        raise ValueError(f"pairs of answers, not {before.shape} and {after.shape}")
    count = before.size
    lost, gained = int(np.sum(before & ~after)), int(np.sum(after & ~before))
    # To draw pairs with replacement is to draw how many of each kind there are.
    shares = np.array([lost, gained, count - lost - gained]) / count
    resampled = np.random.default_rng(seed).multinomial(count, shares, size=resamples)
    drops = 100 * (resampled[:, 0] - resampled[:, 1]) / count
    tail = (1 - level) / 2
    # Drops are whole pictures: the ends are drops that were drawn, never one between two.
    low = np.quantile(drops, tail, method="lower")
    high = np.quantile(drops, 1 - tail, method="higher")
    return float(low), float(high)
