"""`kerascnn evaluate --reference`: how far two files agree on the same images.

Where the images have labels, the difference of the two figures comes with its paired interval, and
that of two accuracies with McNemar's exact test of the images that one has right alone (McNemar,
"Note on the sampling error of the difference between correlated proportions or percentages",
Psychometrika 12, 1947; the exact form is a binomial test).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from export.runtime.model_facts import ModelFacts
from export.tools.scorers import Comparing, Scored
from kerascnn.errors import InputError
from training.datasets.spelling import class_key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of a file with another one.

    Attributes:
        reference: the other one.
        figures: of the agreement, by name.
        value: the other one's figure; None of images without labels, as the rest.
        difference: the file's figure less the other one's, in points.
        low, high: its 95% interval.
        lost, gained: images that the other one alone, and the file alone, has right; of
            classifiers.
        p_value: of McNemar's test; of classifiers.
        images: that both were run on.
        numberless: of these, answers of the other one that are no numbers.
    """

    reference: str
    figures: dict[str, float | None]
    value: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    lost: int | None = None
    gained: int | None = None
    p_value: float | None = None
    images: int = 0
    numberless: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what there is none of is None."""
        fields = dataclasses.asdict(self)
        fields["not_numbers"] = fields.pop("numberless")
        return {**{k: v for k, v in fields.items() if k != "figures"}, **self.figures}


def compared(
    scorer: Comparing,
    found: Scored,
    wanted: Scored,
    known: ModelFacts,
    *,
    reference: str,
    labelled: bool,
) -> Agreement:
    """Hold the answers of a file against another one's.

    Args:
        found, wanted: of the file and the other one, with their answers.
        known: of the file.
        reference: name of the other one.
        labelled: whether the images' truth is known.
    """
    if found.names != wanted.names:
        raise InputError(f"{reference} was not measured on the same images; leave broken ones out")
    figures = scorer.agreement(found, wanted, len(known.labels))
    counts = {"images": len(wanted.names), "numberless": wanted.numberless}
    if not labelled or found.score.value is None or wanted.score.value is None:
        return Agreement(reference=reference, figures=figures, **counts)
    low, high = scorer.drop(wanted.paired, found.paired)
    agreement = Agreement(
        reference=reference,
        figures=figures,
        value=wanted.score.value,
        difference=found.score.value - wanted.score.value,
        low=0.0 - high,
        high=0.0 - low,
        **counts,
    )
    right = found.paired
    if not isinstance(right, np.ndarray) or right.dtype != bool:
        return agreement
    lost, gained = int(np.sum(wanted.paired & ~right)), int(np.sum(right & ~wanted.paired))
    return dataclasses.replace(agreement, lost=lost, gained=gained, p_value=mcnemar(lost, gained))


def mcnemar(lost: int, gained: int) -> float:
    """The chance of as unequal numbers, were either as likely for every image; 1 without any."""
    from scipy.stats import binomtest

    if not lost + gained:
        return 1.0
    return float(binomtest(lost, lost + gained, 0.5).pvalue)


def require_same_labels(
    path: str, labels: Sequence[str], reference: str, others: Sequence[str]
) -> None:
    """Raise InputError where two files do not mean the same by their outputs."""
    if len(labels) != len(others):
        raise InputError(
            f"{path} has {len(labels):,} labels and {reference} {len(others):,}; compare files of "
            "the same classes"
        )
    numbers = tuple(map(str, range(len(labels))))
    if numbers in (tuple(labels), tuple(others)):  # their names are not known
        return
    for one, other in zip(labels, others, strict=True):
        if class_key(one) != class_key(other):
            raise InputError(
                f"{path} means {one!r} by an output that {reference} means {other!r} by; compare "
                "files whose labels are the same, in the same order"
            )
