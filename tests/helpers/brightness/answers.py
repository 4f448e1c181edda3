"""What a file says of images, and how good it is on those whose truth is known."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from brightness import data
from brightness.kind import FIGURE, BrightnessKind, explained
from brightness.numbers import numbers
from export.runtime.load import load
from export.runtime.model_facts import facts
from export.runtime.predict import Asked, answering
from export.runtime.subjects import Subject
from export.tools.scorers import Score, Scored
from training.augment.boxes import to_network
from training.datasets.broken import BrokenPictures
from training.datasets.pictures import read_pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brightness:
    """How bright an image is."""

    image: str
    value: float

    def as_text(self) -> str:
        """One line."""
        return f"{self.image}: {self.value:.2f}"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


def answers(path: pathlib.Path, images: Sequence[str], asked: Asked) -> Iterator[Brightness]:
    """A number for each image."""
    preprocessing = facts(path).preprocessing
    runtime = load(path, preprocessing)
    for image in images:
        with answering(path):
            (row,) = runtime.predict(to_network(read_pixels(image, image), preprocessing)[None])
            yield Brightness(image=image, value=float(row[0]))


class BrightnessScorer:
    """See `export.tools.scorers.Scorer`."""

    skips_first = False

    def scan(self, spec: str) -> data.BrightnessDataset:
        """With a quarter held out."""
        return data.scan(spec, seed=0)

    measured = scan

    def score(
        self,
        subject: Subject,
        parts: Sequence[data.BrightnessSplit],
        broken: BrokenPictures,
        root: str,
        *,
        keep: bool = False,
    ) -> Scored:
        """The figure of files, by the images of all parts."""
        known = subject.known
        runtime = load(subject.path, known.preprocessing)
        found = np.concatenate([numbers(runtime.predict, p, known.preprocessing) for p in parts])
        truth = np.concatenate([data.truths(part) for part in parts])
        right, pair = np.array([truth, truth]), np.array([truth, found])
        low, high = BrightnessKind().drop_interval(right, pair)
        score = Score(
            metric=FIGURE,
            value=explained(truth, found),
            low=100 - high,
            high=100 - low,
            figures={},
            per_class=({"label": known.labels[0], "images": len(found)},),
        )
        names = tuple(name for part in parts for name in part.names)
        return Scored(score=score, names=names)
