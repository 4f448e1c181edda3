"""Reconstruction with all that stands around the walk: channels of one size, and varied images."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import keras
import numpy as np

from export.compress.reconstruct.equalise import better, with_even_columns
from export.compress.reconstruct.groups import alike
from export.compress.reconstruct.measure import heads_noise
from export.compress.reconstruct.network import NEAREST, Format, Parts, looked_at, reconstruct
from export.compress.reconstruct.ranges import Range, whole_range
from export.compress.reconstruct.split import split
from export.compress.reconstruct.varied import crops, half_varied
from export.compress.reconstruct.walk import Walk, chooses, has_regions, steps
from kerascnn.preprocessing import Preprocessing
from training.common.spread import spread

_PART = 8  # images that are made at once
_MOST = 288  # images of which others are made


class Work:
    """A network on its way to its file.

    Args:
        model: functional; norms folded, lowered where the file has integers for activations, and no
            linear layer carries an activation.
        format_: of the file.
        preprocessing: of the model.
        images: (n, height, width, channels) uint8, to fit on.
        parts: what to do.
        name: for progress lines.

    Attributes:
        regions: whether it is a two-stage detector.
        model: the network that is rounded: as given, or with channels split or brought to one size.
        x: normalised images that are looked at.
        groups: (n,) of `x`, of images that are alike; one that is made of others is of the first's.
        more: gives others, as of `reconstruct`; or None.
        found: what the walk makes of it.
    """

    def __init__(
        self,
        model: keras.Model,
        format_: Format,
        preprocessing: Preprocessing,
        images: np.ndarray,
        parts: Parts,
        name: str,
    ) -> None:
        images = images[spread(len(images), _MOST)]
        self._format, self._preprocessing, self._images = format_, preprocessing, images
        self.model, self.regions = model, has_regions(model)
        rng, seen = np.random.default_rng(0), looked_at(model, images)
        self._groups = alike(model, preprocessing.normalise(images))
        self.groups = looked_at(model, self._groups)
        self.x = preprocessing.normalise(half_varied(seen, rng) if parts.varied else seen)
        if format_.activations == "int8" and not self.regions:
            if parts.splitting:
                ends = preprocessing.normalise(
                    np.repeat(np.array([[0], [255]], np.uint8), preprocessing.channels, axis=1)
                )
                between = float(ends.min()), float(ends.max())
                self.model = split(model, self.x, between, kept=format_.kept)
            if parts.equalising:
                self.model = better(self.model, format_, self.x, self.groups)
        elif parts.equalising and not self.regions:
            self.model = with_even_columns(model, format_)
        whole = parts.varied and not self.regions
        self.more = functools.partial(self._more, rng) if whole else None
        given = (self.model, format_, self.x)
        self.found = reconstruct(*given, parts=parts, groups=self.groups, more=self.more, name=name)

    def _more(
        self, rng: np.random.Generator, count: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Normalised images, of other places and colours than those that are looked at."""
        for _ in range(-(-count // _PART)):
            chosen = rng.integers(0, len(self._images), _PART)
            made = half_varied(crops(self._images[chosen], rng), rng)
            yield self._preprocessing.normalise(made), self._groups[chosen]

    def heads_noise(self, judged: np.ndarray) -> tuple[float, float]:
        """Of a two-stage detector, whose files that look elsewhere say nothing of their rounding.

        Args:
            judged: (n, height, width, channels) uint8 images held back.

        Returns:
            In decibels, of kernels that are rounded to the nearest and of those found.
        """
        x = self._preprocessing.normalise(judged)
        nearest = reconstruct(self.model, self._format, self.x[:1], parts=NEAREST)
        whole = self._whole_ranges() if self._format.activations == "int8" else {}
        return (
            heads_noise(self.model, nearest.model, x, whole),
            heads_noise(self.model, self.found.model, x, {**whole, **self.found.ranges}),
        )

    def _whole_ranges(self) -> dict[str, Range]:
        """Of all activations of a two-stage detector that are int8, by layer."""
        walk, found = Walk(self.model, self.x), dict[str, Range]()
        for step in steps(self.model):
            if chooses(step):
                break
            made = walk.outputs(step)
            if self._format.has_scale(step.operation):
                found[step.operation.name] = whole_range(made)
            walk.keep(step, made)
        return found
