"""The images that files of one run are calibrated on, and whether they look like its data.

What is calibrated follows the activations that these images cause. An image set that shows other
things, or shows them in another light, causes others, and nothing in a file says so afterwards:
ranges that clip what the data needs, and rounding that is best for what it never sees. The float
network is asked before: what it answers on the set is held against what it answers on training
images.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from export.artefacts.variants import Variant
from export.compress.reconstruct.files import answers
from export.tasks import base as tasks
from export.tasks.calibration_set import CalibrationSet
from kerascnn.preprocessing import Preprocessing
from training.common.progress import say
from training.common.spread import spread
from training.common.wording import counted

# Of the images, so many are compared, of either side.
_COMPARED = 100
_AT_ONCE = 10
# Two samples of one distribution are apart, too: in the mean by so much over the root of their
# sizes (Kolmogorov's distribution).
_BY_CHANCE = 0.8687
# In the mean of the outputs so many of the images answer where those of the data do not. A LeNet-5
# on digits has, beyond chance: other digits 0.03 at most, half of the classes 0.05, three of ten
# 0.12; two of ten 0.16, noise 0.17, negatives 0.21, one class 0.25, a quarter of the light 0.38.
UNLIKE = 0.15
# Of few images chance alone does so much more than its mean once in twenty times.
_RARELY = 1.5633


@dataclasses.dataclass(frozen=True, kw_only=True)
class Likeness:
    """How far the float network's answers on calibration images are from those on training ones.

    Attributes:
        distance: see `distance`.
        by_chance: what samples of these sizes would have of the same images.
    """

    distance: float
    by_chance: float

    @property
    def unlike(self) -> bool:
        """Whether the images are to be warned of."""
        beyond = self.distance - self.by_chance > UNLIKE
        return beyond and self.distance > _RARELY * self.by_chance

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "distance": round(self.distance, 4),
            "by_chance": round(self.by_chance, 4),
            "limit": UNLIKE,
            "unlike": self.unlike,
        }


class Calibration:
    """Calibration images of one run's variants, each set read once.

    Args:
        task: of the run.
        sample: so many of its training images.
        float_file: gives its float network as a file.
    """

    def __init__(
        self,
        task: tasks.Task,
        sample: Callable[[int], np.ndarray],
        float_file: Callable[[], bytes],
    ) -> None:
        self._task, self._sample, self._float_file = task, sample, float_file
        self._images: dict[tuple[str, int], np.ndarray] = {}
        self._sets: dict[str, CalibrationSet] = {}
        self._likeness: dict[tuple[str, int], Likeness] = {}

    def pictures(self, variant: Variant) -> np.ndarray:
        """(n, height, width, channels) uint8 for the files of a variant.

        Raises:
            InputError: there are none, or none that can be read.
        """
        if not variant.calibration:
            return self._sample(variant.calibration_pictures)
        key = variant.calibration, variant.calibration_pictures
        if key not in self._images:
            found, broken = self._task.sampled(self._set(variant), variant.calibration_pictures)
            if broken:
                say(
                    f"{counted(len(broken), 'calibration image')} cannot be read and "
                    f"{'is' if len(broken) == 1 else 'are'} left out; for one: {broken[0].reason}"
                )
            self._images[key] = found
        return self._images[key]

    def key(self, variant: Variant) -> str | None:
        """Of the set that a variant names; None where that is the run's own."""
        return self._set(variant).fingerprint if variant.calibration else None

    def described(self, variant: Variant) -> dict[str, Any]:
        """For the .json of a file; empty where training images were calibrated on.

        The first time that a set is unlike the data it is warned of.
        """
        if not variant.calibration:
            return {}
        found, likeness = self._set(variant), self._likeness_of(variant)
        source = {"data": found.name, "fingerprint": found.fingerprint, "labelled": found.labelled}
        return {"calibration": {**source, **likeness.to_dict()}}

    def _set(self, variant: Variant) -> CalibrationSet:
        if variant.calibration not in self._sets:
            self._sets[variant.calibration] = self._task.calibration_set(variant.calibration)
        return self._sets[variant.calibration]

    def _likeness_of(self, variant: Variant) -> Likeness:
        key = variant.calibration, variant.calibration_pictures
        if key not in self._likeness:
            found = _spread(self.pictures(variant))
            wanted = _spread(self._sample(_COMPARED))
            ask = functools.partial(_summaries, self._float_file(), self._task.run.preprocessing)
            likeness = Likeness(
                distance=distance(ask(found), ask(wanted)),
                by_chance=by_chance(len(found), len(wanted)),
            )
            if likeness.unlike:
                say(f"warning: {warning(self._set(variant).name, likeness)}")
            self._likeness[key] = likeness
        return self._likeness[key]


def warning(name: str, likeness: Likeness) -> str:
    """What is said of a set that is unlike the data."""
    return (
        f"the calibration images of {name} look unlike the training images: the network's answers "
        f"on them are apart by {likeness.distance:.2f} in the mean of its outputs (0: the same, 1: "
        f"nothing in common; chance alone {likeness.by_chance:.2f}, and {UNLIKE:g} beyond that is "
        "much); files may lose accuracy, give images like those of use"
    )


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Kolmogorov and Smirnov's distance of two samples, in the mean of the columns.

    It asks no scale and no shape of a distribution, so that logits, box deltas and scores count
    alike, and a column that is the same in all images of both counts as no distance.

    Args:
        found: (n, c), finite.
        wanted: (m, c), likewise.

    Returns:
        0 where the samples are the same, 1 where no column of one overlaps the other's.
    """
    return float(np.mean([_apart(*pair) for pair in zip(found.T, wanted.T, strict=True)]))


def by_chance(n: int, m: int) -> float:
    """The mean distance of two samples of these sizes of one continuous distribution."""
    return float(_BY_CHANCE * np.sqrt(1 / n + 1 / m))


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of two samples' distribution functions."""
    values = np.concatenate([one, other])
    below = [
        np.searchsorted(np.sort(each), values, side="right") / len(each) for each in (one, other)
    ]
    return float(np.abs(below[0] - below[1]).max())


def _spread(pictures: np.ndarray) -> np.ndarray:
    return pictures[spread(len(pictures), _COMPARED)]


def _summaries(file: bytes, preprocessing: Preprocessing, pictures: np.ndarray) -> np.ndarray:
    """(n, c) what a file answers.

    Of an answer for each of many places its mean and its largest value, channel by channel: most
    places are background, and what is found is in the largest.
    """
    parts = [
        _summary(answers(file, preprocessing, pictures[start : start + _AT_ONCE]))
        for start in range(0, len(pictures), _AT_ONCE)
    ]
    return np.nan_to_num(np.concatenate(parts))


def _summary(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    columns = []
    for values in outputs.values():
        channels = values.shape[-1] if values.ndim > 1 else 1  # a count is one number an image
        flat = values.reshape(len(values), -1, channels).astype(np.float64)
        columns.append(flat.mean(axis=1))
        if flat.shape[1] > 1:
            columns.append(flat.max(axis=1))
    return np.concatenate(columns, axis=1)
