"""What a file says of images, and how good it is on those whose truth is known."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from brightness import data
from brightness.kind import FIGURE, BrightnessKind, explained
from brightness.numbers import numbers
from export.runtime.answers import Answer
from export.runtime.load import load
from export.runtime.model_facts import ModelFacts
from export.runtime.predictor import Asked, Found, Predictor, Seen, answering, made
from export.runtime.subjects import Subject
from export.tools.scorers import Score, Scored
from training.augment.boxes import to_network
from training.datasets.broken import BrokenPictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brightness(Answer):
    """How bright an image is."""

    columns = ("value",)

    value: float

    def as_text(self) -> str:
        """One line."""
        return f"{self.title}: {self.value:.2f}"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**self.place(), "value": self.value}

    def rows(self) -> list[tuple[Any, ...]]:
        """One."""
        return [(self.value,)]


class BrightnessPredictor(Predictor):
    """A number for each image."""

    columns = Brightness.columns

    def __init__(self, path: pathlib.Path, known: ModelFacts, asked: Asked) -> None:
        super().__init__(path, known, asked)
        self._runtime = load(path, known.preprocessing, threads=asked.threads)

    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """Resized."""
        return to_network(pixels, self.known.preprocessing)

    def find(self, seen: Seen) -> Found:
        """How bright."""
        with answering(self.path):
            (row,) = self._runtime.predict(seen.fitted[None])
            return Found(answer=made(Brightness, value=float(row[0])), draw=lambda it, _: it)


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
