"""Fit the kernels of a network that lost channels to what the whole one gave, in closed form.

Layer by layer, in the order of the graph, each kernel becomes the one that makes of what the
narrower network gives it what the whole network's layer made of what that had, in the sense of
least squares (He et al., arXiv:1707.06168, who fit layers to the pruned network's inputs too). So
what the channels that are gone said is said by those that stay, as far as they can, and the
statistics that the norms have stored hold again: behind those of another network a training does
not recover.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from export.compress.reconstruct.inputs import (
    images_of,
    kernel_of,
    matrix,
    patches_at,
    places_of,
    shares_scales,
)
from export.compress.reconstruct.walk import (
    Walk,
    called_once,
    floats_at_once,
    twin_steps,
)
from training.common.progress import busy
from training.common.spread import spread
from training.engine.foldable_norms import LINEAR, foldable_norms

# Bytes of activations, of both networks together.
_MEMORY = 1.2e9
_FEWEST, _ENOUGH = 8, 128  # images
# What holds a kernel to what it was, as shares of the mean variance of what it meets.
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_JUDGED = 4  # one image of so many says which of them is best


def refit(
    model: keras.Model, narrower: keras.Model, kept: Mapping[str, np.ndarray], x: np.ndarray
) -> None:
    """Change the kernels of `narrower` in place, and the biases or the norms' means behind them.

    Convolutions, depthwise ones and dense layers that are called once; transposed and grouped ones
    stay as they are.

    Args:
        model: functional, with one input.
        narrower: the same with fewer channels, by `export.compress.channel_prune`.
        kept: by layer, which of its output channels stayed, bool; all of those that are not there.
        x: (n, height, width, channels) normalised images.
    """
    count = _MEMORY / (4 * (floats_at_once(model) + floats_at_once(narrower)))
    x = x[spread(len(x), max(_FEWEST, min(_ENOUGH, int(count))))]
    whole, ours, once = Walk(model, x), Walk(narrower, x), called_once(model)
    norms = {maker.name: norm for norm, maker in foldable_norms(narrower).values()}
    with busy("fitting what is left"):
        for number, (step, twin) in enumerate(twin_steps(model, narrower)):
            layer, slim = step.operation, twin.operation
            if slim.name in once and _can_fit(slim):
                wanted, got = whole.inputs(step)[0], ours.inputs(twin)[0]
                if wanted is not got:  # else nothing is missing
                    channels = kept.get(slim.name, np.ones(slim.output.shape[-1], bool))
                    _fit(layer, slim, channels, wanted, got, norms.get(slim.name), seed=number)
            whole.keep(step, whole.outputs(step))
            ours.keep(twin, ours.outputs(twin))


def _can_fit(layer: keras.Layer) -> bool:
    plain = isinstance(layer, LINEAR) and getattr(layer, "groups", 1) == 1
    return plain and not shares_scales(layer)  # of wide ones the matrices would take gigabytes


def _fit(
    layer: keras.Layer,
    slim: keras.Layer,
    channels: np.ndarray,
    wanted: np.ndarray,
    got: np.ndarray,
    norm: layers.BatchNormalization | None,
    *,
    seed: int,
) -> None:
    """Change one kernel, and what stands for the mean behind it.

    Args:
        channels: which outputs of `layer` those of `slim` are.
        wanted, got: what the layers are given.
        norm: behind `slim`, if there is one.
    """
    chosen = places_of(layer, wanted, seed)
    now, then = patches_at(slim, got, chosen), patches_at(layer, wanted, chosen)
    aim, old = _rows(layer), _rows(slim)  # (g, k, o)
    if isinstance(layer, layers.DepthwiseConv2D):
        inputs = channels.reshape(len(aim), -1).any(axis=1)
        then, aim = then[inputs], aim[inputs]
    else:
        aim = aim[..., channels]
    images = images_of(layer, wanted, chosen)
    new, shift = _solved(now, then @ aim, old, images % _JUDGED == _JUDGED - 1)
    slim.kernel.assign(kernel_of(slim, new.transpose(0, 2, 1)))
    if slim.use_bias:
        slim.bias.assign(np.asarray(slim.bias) - shift.reshape(-1))
    elif norm is not None:
        norm.moving_mean.assign(np.asarray(norm.moving_mean) + shift.reshape(-1))


def _solved(
    now: np.ndarray, target: np.ndarray, old: np.ndarray, judged: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(g, k, o) the kernel that makes most of `target` of `now`, and (g, 1, o) what it adds to it.

    It is held to the old one as much as suits images that it was not fitted on, and is that where
    none suits them better.

    Args:
        now: (g, places, k) what it meets.
        target: (g, places, o).
        judged: (places,) bool, which of them judge.
    """
    fits = _Moments.of(now[:, ~judged], target[:, ~judged], old)
    asked = now[:, judged] - fits.means[0], target[:, judged] - fits.means[1]

    def missed(kernel: np.ndarray) -> float:
        return float(np.square(asked[0] @ kernel - asked[1]).sum())

    errors = {share: missed(fits.kernel(share)) for share in _RIDGES} if judged.any() else {}
    best = min(errors, key=errors.__getitem__, default=None)
    whole = _Moments.of(now, target, old)
    new = old if best is None or errors[best] >= missed(old) else whole.kernel(best)
    return new, whole.means[0] @ new - whole.means[1]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Moments:
    """What a kernel of least squares is solved from.

    Attributes:
        means: (g, 1, k) of what it meets, and (g, 1, o) of what it should make of that.
        varied: (g, k, k) float64.
        crossed: (g, k, o) float64.
        old: (g, k, o) what it is held to.
    """

    means: tuple[np.ndarray, np.ndarray]
    varied: np.ndarray
    crossed: np.ndarray
    old: np.ndarray

    @classmethod
    def of(cls, now: np.ndarray, target: np.ndarray, old: np.ndarray) -> _Moments:
        means = now.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
        now, places = (now - means[0]).transpose(0, 2, 1), now.shape[1]
        return cls(
            means=means,
            varied=(now @ now.transpose(0, 2, 1)).astype(np.float64) / places,
            crossed=(now @ (target - means[1])).astype(np.float64) / places,
            old=old,
        )

    def kernel(self, share: float) -> np.ndarray:
        """Held to the old one by that share of the mean variance."""
        weights = self.varied.shape[-1]
        ridge = share * np.trace(self.varied, axis1=1, axis2=2) / weights
        held = np.maximum(ridge, 1e-12)[:, None, None]
        crossed = self.crossed + held * self.old
        return np.linalg.solve(self.varied + held * np.eye(weights), crossed).astype(np.float32)


def _rows(layer: keras.Layer) -> np.ndarray:
    """(g, k, o) float32 of a kernel, in the order of `patches_at`; of a wide one in one group."""
    rows = matrix(layer, np.asarray(layer.kernel, np.float32)).transpose(0, 2, 1)
    return rows.reshape(1, -1, rows.shape[-1]) if shares_scales(layer) else rows
