"""How a file of a classifier of several labels is scored on any data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.runtime.model_facts import ModelFacts
from export.runtime.subjects import Subject
from export.tools.scorers import Score, Scored, decoded, logits_of
from training.datasets import multilabel
from training.datasets.broken import BrokenPictures
from training.datasets.splits import Dataset, Split
from training.multilabel import metrics
from training.multilabel.evaluate import MultilabelEvaluation


class Multilabel:
    """See `export.tools.scorers.Scorer`."""

    skips_first = False  # images are decoded once they are set aside

    def scan(self, data: str) -> Dataset:
        return multilabel.scan(data, seed=0)

    def measured(self, data: str) -> Dataset:
        return multilabel.measured(data)

    def score(
        self,
        subject: Subject,
        parts: Sequence[Split],
        broken: BrokenPictures,
        root: str,
        *,
        keep: bool = False,
    ) -> Scored:
        sound = decoded(parts, subject.known, broken, root)
        width = len(subject.known.labels)
        truth = np.concatenate(
            [np.pad(split.labels, ((0, 0), (0, width - split.labels.shape[1]))) for split in sound]
        )
        logits = logits_of(subject.classifier(), subject, sound)
        found = MultilabelEvaluation.of_blocks(logits, truth)
        names = tuple(name for split in sound for name in split.names)
        return Scored(score=_score(found, subject.known), names=names)


def _score(found: MultilabelEvaluation, known: ModelFacts) -> Score:
    told = found.by_class(known.labels)
    # What was lost against a network that ranks every image right.
    low, high = metrics.map_interval(found.truth.astype(np.float64), found.logits, found.truth)
    return Score(
        metric="mAP",
        value=metrics.number(found.value),
        low=metrics.number(100 - high),
        high=metrics.number(100 - low),
        figures={
            "f1": told["f1"],
            "macro_f1": told["macro_f1"],
            "loss": metrics.number(found.loss),
        },
        per_class=tuple(
            {"label": row["label"], "images": row["pictures"]}
            | {name: row[name] for name in ("ap", "precision", "recall", "f1")}
            for row in told["per_class"]
        ),
    )
