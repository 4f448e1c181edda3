"""The probe: what the network's first weights know of the images, and the best head on it.

Every image is seen once, as in an evaluation, by all of the network but its logits layer; then the
best logits layer for these features is solved for (`training.classification.linear_head`). The
strength of its regularisation is chosen by the loss on the validation images, or where these are
too few by cross-validation. Images are not augmented.

Features lie in the run's folder for checkpoints while they are gathered, so that a probe that was
interrupted goes on. At most `FEATURE_BYTES` of them are gathered, and no more than a processor
solves in a minute or two: of larger sets a part, drawn by `split_seed`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment import images
from training.augment.policies import Policy
from training.classification.batches import one_hot
from training.classification.linear_head import Head, Loss, Samples, best
from training.common import atomic
from training.common.arrays import read_npz
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets.broken import BrokenPictures
from training.datasets.pictures import read_picture
from training.datasets.splits import Split
from training.engine.evaluation import compiled

FEATURE_BYTES = 1 << 30
# Multiplications of one look at all features.
_MOST_WORK = 20_000_000_000
# With fewer images of a class than this a head that is solved for is not worth its time.
_LEAST_PER_CLASS = 5
# Validation images from which on they choose the strength of the regularisation alone.
LEAST_JUDGES = 50
_AT_ONCE = 64
_KEPT_EVERY = 1024  # images at first, then a quarter of what is there


def images_of_a_probe(count: int, *, features: int, classes: int) -> int:
    """How many of so many images a probe looks at; 0: it is not worth its time.

    Args:
        count: to learn from.
        features: of an image.
        classes: of the head.
    """
    most = min(FEATURE_BYTES // (4 * features), _MOST_WORK // (features * classes))
    if most < min(count, _LEAST_PER_CLASS * classes):
        return 0
    return min(count, most)


def probed(count: int, most: int, *, seed: int) -> np.ndarray:
    """(min(count, most),) places of the images that a probe looks at, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Images as an evaluation sees them, wherever they come from.

    Attributes:
        split: in memory, at the geometry of `source` or the network's; or as files.
        source: how they are stored.
        preprocessing: of the network.
        broken: collects those that cannot be read.
    """

    split: Split
    source: Preprocessing
    preprocessing: Preprocessing
    broken: BrokenPictures

    def block(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, height, width, channels) normalised float32, and (n,) bool, those that are there."""
        split, shape = self.split, self.preprocessing.input_shape
        there = np.ones(len(places), bool)
        if split.pictures is not None and split.pictures.shape[1:] == shape:
            return self.preprocessing.normalise(split.pictures[places]), there
        if split.pictures is not None and self.preprocessing.crops:
            return self._centres(places), there
        found = list(in_order(lambda i: self._read(int(places[i])), len(places)))
        there = np.array([pixels is not None for pixels in found])
        blank = np.zeros(shape, np.uint8)
        pictures = np.stack([blank if pixels is None else pixels for pixels in found])
        return self.preprocessing.normalise(pictures), there

    def _read(self, place: int) -> np.ndarray | None:
        name = self.split.names[place]
        try:
            return read_picture(self.split.encoded(place), self.preprocessing, name)
        except InputError as error:
            self.broken.add(name, error)
            return None

    def _centres(self, places: np.ndarray) -> np.ndarray:
        """Cut out of images that are stored whole, so that augmentation can cut other parts."""
        split, preprocessing = self.split, self.preprocessing
        assert split.pictures is not None
        stored = split.pictures[places]
        sizes = split.sizes
        whole = np.full((len(places), 2), stored.shape[1:3]) if sizes is None else sizes[places]
        cut = images.augment(
            Policy(),
            ops.cast(stored, "float32"),
            {"window": central_windows(whole, preprocessing)},
            preprocessing.input_shape[:2],
        )
        return np.asarray(ops.convert_to_numpy(preprocessing.normalise_floats(cut)), np.float32)


def central_windows(sizes: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """What "crop" and "centre" see of images, as `training.datasets.pictures.fit` cuts them.

    Args:
        sizes: (n, 2) heights and widths.

    Returns:
        (n, 4) top, left, height and width as shares of the whole; of "centre" to half a pixel.
    """
    frame = np.array(preprocessing.frame, np.float64)
    side = np.array(preprocessing.input_shape[:2], np.float64)
    whole = sizes * (frame / sizes).max(axis=1, keepdims=True)  # resized until it covers the frame
    border = (frame - side) / 2
    if preprocessing.resize == "crop":
        border = np.floor(border)
    first = (whole - frame) / 2 + border
    return np.concatenate([first / whole, side / whole * np.ones_like(whole)], axis=1).astype(
        np.float32
    )


def features_of(
    network: keras.Model,
    seen: Seen,
    places: np.ndarray,
    path: pathlib.Path,
    *,
    title: str,
    is_over: Callable[[], bool],
) -> np.ndarray | None:
    """(n, d) float32 of some places; rows of images that cannot be read are not numbers.

    None where `is_over` ended it: what was found is kept.

    Args:
        network: ends in a dense layer called `logits`, whose inputs these are.
        path: a .npz file to keep them in on the way.
        title: of the progress bar.
        is_over: whether to end before the last image.

    Raises:
        InputError: no image can be read.
    """
    run = compiled(_trunk(network), lambda found: ops.cast(found, "float32"))
    width = network.get_layer("logits").input.shape[-1]
    found = np.full((len(places), width), np.nan, np.float32)
    before = _kept(path, (len(places), width))
    found[: len(before)] = before
    kept = len(before)
    with Progress(title, len(places), done=kept, unit="image") as progress:
        for start in range(kept, len(places), _AT_ONCE):
            rows = slice(start, min(start + _AT_ONCE, len(places)))
            inputs, there = seen.block(places[rows])
            values = np.asarray(ops.convert_to_numpy(run(inputs)), np.float32)
            found[rows] = np.where(there[:, None], values, np.nan)
            progress.step(rows.stop - rows.start)
            last = rows.stop == len(places)
            if last or rows.stop - kept >= max(_KEPT_EVERY, kept // 4) or is_over():
                _keep(path, found[: rows.stop])
                kept = rows.stop
            if is_over() and not last:
                return None
    if not np.isfinite(found).all(axis=1).any():
        raise InputError(f"none of the {len(places)} images could be read; replace them")
    return found


def _trunk(network: keras.Model) -> keras.Model:
    """All of the network that comes before its logits layer; the same variables."""
    return keras.Model(network.input, network.get_layer("logits").input)


def _keep(path: pathlib.Path, found: np.ndarray) -> None:
    with atomic.replacing(path) as temporary:
        np.savez(temporary, features=found)


def _kept(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray:
    """Whole blocks of what was kept; no rows where there is nothing, or something else."""
    try:
        kept = read_npz(path)["features"]
    except (ValueError, KeyError):
        kept = np.empty((0, 0), np.float32)
    if kept.ndim != 2 or kept.shape[1] != shape[1] or len(kept) > shape[0]:
        return np.empty((0, shape[1]), np.float32)
    whole = len(kept) if len(kept) == shape[0] else len(kept) // _AT_ONCE * _AT_ONCE
    return kept[:whole]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """Features of a split, and the labels that belong to them.

    Attributes:
        features: (n, d) float32.
        labels: (n, classes) float32, of one label or of several.
    """

    features: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, split: Split, places: np.ndarray, classes: int) -> Gathered:
        """Of the images that could be read."""
        there = np.isfinite(features).all(axis=1)
        return cls(features=features[there], labels=one_hot(split.labels[places[there]], classes))


def solved(
    train: Gathered,
    validation: Gathered | None,
    loss: Loss,
    *,
    targets: Callable[[np.ndarray], np.ndarray],
    weights: Callable[[np.ndarray], np.ndarray | None],
    seed: int,
) -> Head:
    """The head for features.

    Args:
        targets: from labels to what the loss wants, as smoothed ones.
        weights: from labels to factors of the loss.
        seed: of the parts of a cross-validation.
    """

    def samples(of: Gathered) -> Samples:
        return Samples(features=of.features, targets=targets(of.labels), weights=weights(of.labels))

    judges = validation if validation and len(validation.labels) >= LEAST_JUDGES else None
    return best(samples(train), loss, samples(judges) if judges else None, seed=seed)


def put(network: keras.Model, head: Head) -> None:
    """Make a head the network's own."""
    layer = network.get_layer("logits")
    layer.kernel.assign(head.kernel.astype(np.float32))
    layer.bias.assign(head.bias.astype(np.float32))


def batches_of(gathered: Gathered, head: Head) -> Iterator[tuple[Any, Any]]:
    """(labels, logits) of some images at a time."""
    for start in range(0, len(gathered.labels), 4096):
        rows = slice(start, start + 4096)
        logits = head.logits(gathered.features[rows]).astype(np.float32)
        yield gathered.labels[rows], logits
