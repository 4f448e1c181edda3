"""How a file of a classifier of several labels is scored on any data."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from export.runtime.model_facts import ModelFacts
from export.runtime.subjects import Subject
from export.tools.scorers import Score, Scored, decibels, decoded, images_below, logits_of
from training.datasets import multilabel
from training.datasets.broken import BrokenPictures
from training.datasets.multilabel import MultilabelSplit
from training.datasets.splits import Dataset, Split
from training.multilabel import metrics
from training.multilabel.evaluate import MultilabelEvaluation


class Multilabel:
    """See `export.tools.scorers.Comparing`."""

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
        return Scored(
            score=_score(found, subject.known),
            names=names,
            paired=found,
            answers=found.logits if keep else None,
            numberless=int(np.sum(~np.isfinite(found.logits).all(axis=1))),
        )

    def unlabelled(self, folder: pathlib.Path) -> MultilabelSplit:
        names = images_below(folder)
        return MultilabelSplit(labels=np.zeros((len(names), 0), bool), names=names)

    def agreement(self, found: Scored, wanted: Scored, classes: int) -> dict[str, float | None]:
        sound = np.isfinite(found.answers).all(axis=1) & np.isfinite(wanted.answers).all(axis=1)
        ours, theirs = (each.answers[sound].astype(np.float64) for each in (found, wanted))
        if not len(ours):
            return {"same_labels": None}
        gaps = ours - theirs
        return {
            # The harmonic mean of both files' shares.
            "same_labels": metrics.number(
                metrics.ThresholdReport.of(ours >= 0, theirs >= 0).micro_f1
            ),
            "snr_db": decibels(np.square(theirs).sum(), np.square(gaps).sum()),
            "largest_difference": float(np.abs(gaps).max()),
        }

    def drop(
        self, before: MultilabelEvaluation, after: MultilabelEvaluation
    ) -> tuple[float, float]:
        return metrics.map_interval(before.logits, after.logits, after.truth)


def _score(found: MultilabelEvaluation, known: ModelFacts) -> Score:
    report = found.by_class(known.labels)
    # What was lost against a network that ranks every image right.
    low, high = metrics.map_interval(found.truth.astype(np.float64), found.logits, found.truth)
    return Score(
        metric="mAP",
        value=metrics.number(found.value),
        low=metrics.number(100 - high),
        high=metrics.number(100 - low),
        figures={
            "f1": report["f1"],
            "macro_f1": report["macro_f1"],
            "loss": metrics.number(found.loss),
        },
        per_class=tuple(
            {"label": row["label"], "images": row["pictures"]}
            | {name: row[name] for name in ("ap", "precision", "recall", "f1")}
            for row in report["per_class"]
        ),
    )
