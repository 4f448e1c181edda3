"""The best linear head on fixed features: logistic regression, solved for. NumPy alone.

Minimised is the mean loss of the images, weighted, plus strength / 2 x |kernel|^2 of the kernel for
features of mean 0 and deviation 1; biases are free. By L-BFGS (Nocedal and Wright, "Numerical
Optimization", 2nd edition, algorithms 7.4 and 7.5) with backtracking (algorithm 3.1). The loss is
convex: what is found does not depend on where it began, and every step has a positive curvature.
All is done among the features' principal components, of which there are no more than images, and
the curvature that L-BFGS begins with is by their variances, without which it takes ten times as
many steps. Components are orthogonal, so that the penalty is the same there.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

# From strong to weak, half a decade apart.
STRENGTHS = tuple(float(10 ** (-power / 2)) for power in range(-2, 11))
_MEMORY = 10  # pairs of steps and changes of gradient
_MOST_STEPS = 300
_SUFFICIENT = 1e-4  # of the decrease that the slope promises
_LEAST_STEP = 1e-10
_FOLDS = 5
_TOLERANCE = 1e-3
# Of a softmax between two classes, or a sigmoid, that knows nothing.
_CURVATURE = 0.25
# Strengths behind the best one that are tried, while none is better.
_PATIENCE = 2
_LEAST_DEVIATION = 1e-6
_LEAST_VARIANCE = 1e-6  # of the largest one

# From (n, classes) logits and targets to (n,) losses and (n, classes) gradients of them.
Loss = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def softmax_loss(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of a softmax; targets are shares that sum to 1."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) - (targets * shifted).sum(axis=1)
    return losses, powers / total - targets


def sigmoid_loss(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of each class's sigmoid, summed over classes; targets are from 0 to 1."""
    small = np.exp(-np.abs(logits))
    losses = np.maximum(logits, 0) - logits * targets + np.log1p(small)
    return losses.sum(axis=1), np.where(logits >= 0, 1, small) / (1 + small) - targets


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Features with their targets.

    Attributes:
        features: (n, d) float32 or float64.
        targets: (n, classes) of the same type.
        weights: (n,) or (n, classes) factors of the loss; None: 1.
    """

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, places: np.ndarray) -> Samples:
        """Those at some places."""
        return Samples(
            features=self.features[places],
            targets=self.targets[places],
            weights=None if self.weights is None else self.weights[places],
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """logits = features @ kernel + bias.

    Attributes:
        kernel: (d, classes).
        bias: (classes,).
        strength: of the regularisation that it was found with.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n, classes)."""
        found: np.ndarray = features @ self.kernel + self.bias
        return found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """Principal components of features that were brought to mean 0 and deviation 1.

    Attributes:
        mean: (d,) of the features.
        gain: (d,) one over their deviation; 0 of what never changes, which tells nothing.
        directions: (d, r), orthonormal columns.
        variances: (r,) along them.
    """

    mean: np.ndarray
    gain: np.ndarray
    directions: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Components:
        """Those that (n, d) features have."""
        count, width = features.shape
        mean = features.mean(axis=0, dtype=np.float64)
        deviation = features.std(axis=0, dtype=np.float64)
        gain = np.where(deviation > _LEAST_DEVIATION, 1 / np.maximum(deviation, 1e-12), 0.0)
        scaled = ((features - mean) * gain).astype(features.dtype)
        by_images = count < width  # the smaller of two matrices with the same eigenvalues
        products = np.asarray(scaled @ scaled.T if by_images else scaled.T @ scaled, np.float64)
        variances, vectors = np.linalg.eigh(products / count)
        kept = variances > _LEAST_VARIANCE * max(float(variances[-1]), 1e-12)
        variances, vectors = variances[kept], vectors[:, kept]
        if by_images:
            vectors = (scaled.T @ vectors) / np.sqrt(variances * count)
        return cls(mean=mean, gain=gain, directions=vectors, variances=variances)

    def among(self, features: np.ndarray) -> np.ndarray:
        """(n, r) coordinates of (n, d) features, of their type."""
        moved = (features - self.mean.astype(features.dtype)) * self.gain.astype(features.dtype)
        found: np.ndarray = moved @ self.directions.astype(features.dtype)
        return found

    def head(self, point: np.ndarray, strength: float) -> Head:
        """For features as they are, of (r + 1, classes): a kernel for components, and a bias."""
        kernel = self.gain[:, None] * (self.directions @ point[:-1])
        return Head(kernel=kernel, bias=point[-1] - self.mean @ kernel, strength=strength)


class _Path:
    """Points for one strength behind the other, each begun at the one before.

    Args:
        samples: whose features are coordinates among components.
        variances: along these.
        tolerance: of the gradient's length, as a share of what it is at no kernel.
    """

    def __init__(
        self, samples: Samples, loss: Loss, variances: np.ndarray, tolerance: float
    ) -> None:
        self._samples, self._loss = samples, loss
        self._curvature = np.append(_CURVATURE * variances, _CURVATURE)[:, None]
        self.point = np.zeros((len(variances) + 1, samples.targets.shape[1]))
        self._enough = tolerance * float(np.linalg.norm(self._objective(self.point, 0.0)[1]))

    def go_on(self, strength: float) -> None:
        """Move the point to where the loss with this penalty is least."""
        penalty = np.append(np.full(len(self.point) - 1, strength), 0.0)[:, None]
        self.point = _minimum(
            lambda at: self._objective(at, strength),
            self.point,
            first=lambda vector: vector / (self._curvature + penalty),
            enough=self._enough,
        )

    def mean_loss(self, apart: Samples) -> float:
        """Of other samples, without the penalty."""
        losses, _slopes = _weighed(self._loss, _logits(apart.features, self.point), apart)
        return float(losses.mean(dtype=np.float64))

    def _objective(self, point: np.ndarray, strength: float) -> tuple[float, np.ndarray]:
        features = self._samples.features
        losses, slopes = _weighed(self._loss, _logits(features, point), self._samples)
        slopes = slopes / len(features)
        gradient = np.concatenate([
            features.T @ slopes + strength * point[:-1],
            slopes.sum(axis=0, dtype=np.float64)[None],
        ])  # fmt: skip
        penalty = strength / 2 * float(np.vdot(point[:-1], point[:-1]))
        return float(losses.mean(dtype=np.float64)) + penalty, gradient


def _logits(features: np.ndarray, point: np.ndarray) -> np.ndarray:
    kind = features.dtype
    found: np.ndarray = features @ point[:-1].astype(kind) + point[-1].astype(kind)
    return found


def _weighed(loss: Loss, logits: np.ndarray, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """A loss of samples, and its gradients, by their weights."""
    targets, weights = samples.targets, samples.weights
    if weights is None:
        return loss(logits, targets)
    if weights.ndim == 1:
        losses, slopes = loss(logits, targets)
        return losses * weights, slopes * weights[:, None]
    # Of each class by itself: such a loss is a sum over classes.
    columns = [slice(k, k + 1) for k in range(targets.shape[1])]
    each = [loss(logits[:, k], targets[:, k]) for k in columns]
    losses = np.stack([one for one, _slopes in each], axis=1)
    slopes = np.concatenate([one for _losses, one in each], axis=1)
    return (losses * weights).sum(axis=1), slopes * weights


def solve(samples: Samples, loss: Loss, strength: float, *, tolerance: float = 1e-6) -> Head:
    """The head of the least loss.

    Args:
        tolerance: of the gradient's length, as a share of what it is without a kernel.
    """
    components = Components.of(samples.features)
    among = dataclasses.replace(samples, features=components.among(samples.features))
    path = _Path(among, loss, components.variances, tolerance)
    path.go_on(strength)
    return components.head(path.point, strength)


def best(
    samples: Samples,
    loss: Loss,
    judged: Samples | None = None,
    *,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> Head:
    """The head whose strength has the lowest loss on images that it was not found with.

    Args:
        judged: those images; None: a fifth of the samples at a time, in turn.
        strengths: strong ones first; no weaker one is tried behind two that were no better.
        seed: deals the fifths out.
    """
    components = Components.of(samples.features)
    whole = dataclasses.replace(samples, features=components.among(samples.features))
    if judged is not None:
        moved = dataclasses.replace(judged, features=components.among(judged.features))
        parts = [(whole, moved)]
    else:
        parts = _parts(whole, seed)
    paths = [_Path(learnt, loss, components.variances, _TOLERANCE) for learnt, _apart in parts]
    losses: list[float] = []
    for strength in strengths if parts else ():
        for path in paths:
            path.go_on(strength)
        pairs = zip(paths, parts, strict=True)
        losses.append(sum(path.mean_loss(apart) * len(apart) for path, (_, apart) in pairs))
        if len(losses) - 1 - int(np.argmin(losses)) >= _PATIENCE:
            break
    chosen = strengths[int(np.argmin(losses))] if losses else strengths[0]
    last = _Path(whole, loss, components.variances, _TOLERANCE)
    last.go_on(chosen)
    return components.head(last.point, chosen)


def _parts(samples: Samples, seed: int) -> list[tuple[Samples, Samples]]:
    """Each fifth, behind the other four; none of a single sample."""
    folds = min(_FOLDS, len(samples))
    fold_of = np.random.default_rng(seed).permutation(len(samples)) % folds
    return [
        (samples.take(np.flatnonzero(fold_of != k)), samples.take(np.flatnonzero(fold_of == k)))
        for k in range(folds if folds > 1 else 0)
    ]


def _minimum(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]],
    point: np.ndarray,
    *,
    first: Callable[[np.ndarray], np.ndarray],
    enough: float,
) -> np.ndarray:
    """Where a convex function is least.

    Args:
        objective: its value and gradient.
        point: to begin at.
        first: times the inverse of the curvature that is begun with, but for a factor.
        enough: length of a gradient that ends it.
    """
    value, gradient = objective(point)
    pairs: collections.deque[tuple[np.ndarray, np.ndarray]] = collections.deque(maxlen=_MEMORY)
    for _step in range(_MOST_STEPS):
        if np.linalg.norm(gradient) <= enough:
            break
        direction = -_inverse_hessian_times(gradient, pairs, first)
        slope, share = float(np.vdot(gradient, direction)), 1.0
        while True:
            trial = point + share * direction
            there, slopes = objective(trial)
            if there <= value + _SUFFICIENT * share * slope:
                break
            share /= 2
            if share < _LEAST_STEP:  # no number is small enough to tell the two apart
                return point
        change = slopes - gradient
        if np.vdot(trial - point, change) > 0:  # rounding may hide it
            pairs.append((trial - point, change))
        point, value, gradient = trial, there, slopes
    return point


def _inverse_hessian_times(
    vector: np.ndarray,
    pairs: collections.deque[tuple[np.ndarray, np.ndarray]],
    first: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Algorithm 7.4, of steps and changes of the gradient, the last ones last."""
    found, shares = vector.copy(), []
    for step, change in reversed(pairs):
        share = np.vdot(step, found) / np.vdot(step, change)
        found -= share * change
        shares.append(share)
    found = first(found)
    if pairs:
        step, change = pairs[-1]
        found *= np.vdot(step, change) / np.vdot(change, first(change))
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        found += (share - np.vdot(change, found) / np.vdot(step, change)) * step
    return found
