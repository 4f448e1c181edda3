"""Whether a file's answers are Keras' answers. Always run; nothing is listed without it.

Most held-out images may be of one class, or show nothing at all, and a file that gives that answer
for everything agrees on most. So agreement is also asked for where Keras gives another answer than
its commonest one, and in the mean of the classes; and the file's own figure must not fall far below
Keras'. Where Keras' answers are all the same there is nothing to compare: that is "not verified".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from export.artefacts.significance import drop_interval
from export.artefacts.variants import Variant
from training.classification.outputs import Outputs

YES, NO, NOT_VERIFIED = "yes", "no", "not verified"

# The same arithmetic in another order.
EXACT_LOGITS = 1e-3
# Quantised files answer like Keras on nearly all pictures, or something broke.
LEAST_AGREEMENT = 95.0
# The same where Keras gives another answer than its commonest one, and in the mean of the classes.
LEAST_OF_CLASSES = 90.0
# Points of the metric below the network that was written; published int8 files lose up to three.
MOST_DROP = 5.0
# Standard errors: a one-sided bound of 95%.
_ERRORS = 1.645


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a file's answers compare with Keras' on the held-out pictures.

    Attributes:
        verified: `YES` where they agree as the variant demands, `NO` where they do not, and
            `NOT_VERIFIED` where these pictures do not tell.
        agreement: share of pictures with the same top-1, in percent.
        max_logit_diff: largest absolute difference from Keras.
        rule: what was demanded, and what was found.
    """

    verified: str
    agreement: float
    max_logit_diff: float
    rule: str

    @property
    def is_verified(self) -> bool:
        """Whether the file is verified."""
        return self.verified == YES

    def to_dict(self) -> dict[str, Any]:
        """For the .json beside a file; `fits` is what `verified` was called."""
        return {"fits": self.is_verified, **dataclasses.asdict(self)}


def verified_of(evaluation: Mapping[str, Any]) -> str:
    """`Verdict.verified` of the .json beside a file; earlier ones have `fits` alone."""
    return str(evaluation.get("verified") or (YES if evaluation["fits"] else NO))


def in_short(evaluation: Mapping[str, Any]) -> str:
    """Why a file is `NOT_VERIFIED`, in a few words, of the .json beside it."""
    reason = str(evaluation.get("rule", "")).rpartition("; ")[2].removeprefix("but ")
    return "the held-out images do not tell" + (f": {reason}" if reason else "")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ByClass:
    """How often another one agrees with what the first one answers, by class; shares in percent.

    A share of few answers falls below the least one by luck: `least_outside` and `least_balanced`
    are what 95 of 100 files exceed whose true share is `LEAST_OF_CLASSES`.

    Attributes:
        same: (c,) answers of each class that the other one gives too.
        total: (c,) answers of each class.
    """

    same: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, answers: np.ndarray, same: np.ndarray, classes: int) -> ByClass:
        """Of (n,) classes that the first one answers and (n,) bool whether the other one agrees."""
        return cls(
            same=np.bincount(answers[np.asarray(same, bool)], minlength=classes),
            total=np.bincount(answers, minlength=classes),
        )

    @property
    def classes(self) -> int:
        """How many different answers the first one gives."""
        return int(np.count_nonzero(self.total))

    @property
    def count(self) -> int:
        """How many answers there are."""
        return int(self.total.sum())

    @property
    def outside_count(self) -> int:
        """How many are not of the commonest class."""
        return self.count - int(self.total.max(initial=0))

    @property
    def overall(self) -> float:
        """Share of all answers; NaN without any."""
        return _percent(self.same.sum(), self.total.sum())

    @property
    def outside(self) -> float:
        """Share of those that are not of the commonest class; NaN where there are none."""
        others = np.arange(len(self.total)) != np.argmax(self.total)
        return _percent(self.same[others].sum(), self.total[others].sum())

    @property
    def balanced(self) -> float:
        """The mean of the classes' shares; NaN without any answer."""
        there = self.total > 0
        shares = self.same[there] / self.total[there]
        return 100 * float(shares.mean()) if len(shares) else math.nan

    @property
    def least_outside(self) -> float:
        """What `outside` must reach."""
        return _least(1 / max(1, self.outside_count))

    @property
    def least_balanced(self) -> float:
        """What `balanced` must reach."""
        there = self.total[self.total > 0]
        return _least(float((1 / there).sum()) / max(1, len(there)) ** 2)

    @property
    def holds(self) -> bool:
        """Whether `outside` and `balanced` reach what they must; so does what is not there."""
        return not (self.outside < self.least_outside or self.balanced < self.least_balanced)

    def text(self) -> str:
        """What `holds` demands and what was found."""
        if self.classes < 2:
            return "they are all of one class"
        return (
            f"{self.outside:.1f}% outside of its commonest answer, at least "
            f"{self.least_outside:.1f}%; {self.balanced:.1f}% in the mean of {self.classes} "
            f"classes, at least {self.least_balanced:.1f}%"
        )


def bounded(
    verdict: Verdict,
    metric: str,
    drop: float,
    interval: Callable[[], tuple[float, float]],
) -> Verdict:
    """The verdict on a file whose figure fell by `drop` points below its network's.

    Beyond `MOST_DROP` it is never `YES`: `NO` where the interval's low end is beyond it too, else
    `NOT_VERIFIED`.

    Args:
        interval: of the drop; only asked for where the drop is beyond.
    """
    if verdict.verified != YES or not drop > MOST_DROP:
        return verdict
    low, high = interval()
    return dataclasses.replace(
        verdict,
        verified=NO if low > MOST_DROP else NOT_VERIFIED,
        rule=f"{verdict.rule}; but {metric} is {drop:.1f} points lower ({low:.1f} to {high:.1f}), "
        f"at most {MOST_DROP:g}",
    )


def verify(
    variant: Variant,
    answers: Outputs,
    reference: Outputs,
    half: Outputs | None = None,
    labels: np.ndarray | None = None,
) -> Verdict:
    """Compare a file's answers with its network's.

    Args:
        variant: float variants must agree to `EXACT_LOGITS`; quantised ones in `LEAST_AGREEMENT`
            percent of their top-1 answers, and as `ByClass.holds`.
        reference: of the trained model.
        half: of the verified float32 file with its kernels rounded to half precision: what
            a float16 file must equal, since no such file can equal the unrounded network.
        labels: (n,) true classes, for the drop of accuracy (`bounded`).
    """
    found, wanted = answers.predictions, reference.predictions
    agreed = ByClass.of(wanted, found == wanted, answers.classes)
    if not answers.finite.all():
        verified, rule = NO, "some logits are not numbers"
    elif not reference.finite.all():
        verified, rule = NO, "some logits of Keras are not numbers"
    elif variant.quantised:
        verified, rule = _of_answers(agreed)
    else:
        verified, rule = _of_logits(answers, reference, half)
    verdict = Verdict(
        verified=verified,
        agreement=agreed.overall,
        max_logit_diff=answers.difference(reference),
        rule=rule,
    )
    if labels is None:
        return verdict
    before, after = reference.right(labels), answers.right(labels)
    drop = 100 * float(before.mean() - after.mean())
    return bounded(verdict, "accuracy", drop, lambda: drop_interval(before, after))


def of_labels(
    variant: Variant,
    answers: np.ndarray,
    reference: np.ndarray,
    exact: np.ndarray,
    *,
    whom: str,
    drop: float,
    interval: Callable[[], tuple[float, float]],
) -> Verdict:
    """Compare (n, classes) logits of which any that is positive is a label.

    Agreement is the harmonic mean of the shares, of the labels that either one gives, that the
    other one gives too.

    Args:
        variant: float variants must agree to `EXACT_LOGITS`, quantised ones to `LEAST_AGREEMENT`
            percent of labels.
        reference: of the trained network.
        exact: what a float file must equal, and `whom` what that is called.
        drop, interval: of the metric, see `bounded`.
    """
    given, wanted = answers >= 0, reference >= 0
    labels = int(given.sum() + wanted.sum())
    agreement = _percent(2 * int((given & wanted).sum()), labels)
    with np.errstate(invalid="ignore"):
        away = float(np.abs(answers - reference).max())
        found = float(np.abs(answers - exact).max())
    if not np.isfinite(answers).all():
        verified, rule = NO, "some logits are not numbers"
    elif variant.quantised:
        rule = (
            f"{agreement:.1f}% of its labels and Keras' are the same, at least {LEAST_AGREEMENT:g}%"
        )
        verified = YES if not labels or agreement >= LEAST_AGREEMENT else NO
        if verified == YES and (wanted == wanted[:1]).all():
            verified, rule = NOT_VERIFIED, f"{rule}; but Keras gives all images the same labels"
    else:
        rule = f"logits {found:.1e} from {whom}, less than {EXACT_LOGITS:g}"
        verified = YES if found < EXACT_LOGITS else NO
        if verified == YES and len(exact) > 1 and np.ptp(exact, axis=0).max() < EXACT_LOGITS:
            verified, rule = NOT_VERIFIED, f"{rule}; but no two images differ by more"
    verdict = Verdict(
        verified=verified,
        agreement=100.0 if not labels else agreement,
        max_logit_diff=away,
        rule=rule,
    )
    return bounded(verdict, "mAP", drop, interval)


def _of_answers(agreed: ByClass) -> tuple[str, str]:
    """Verdict and rule of a quantised classifier."""
    rule = (
        f"same top-1 as Keras on {agreed.overall:.1f}% of {agreed.count} images, at least "
        f"{LEAST_AGREEMENT:g}%; {agreed.text()}"
    )
    if agreed.overall < LEAST_AGREEMENT or not agreed.holds:
        return NO, rule
    return (YES if agreed.classes > 1 else NOT_VERIFIED), rule


def _of_logits(answers: Outputs, reference: Outputs, half: Outputs | None) -> tuple[str, str]:
    """Verdict and rule of a float classifier."""
    against = reference if half is None else half
    whom = "Keras" if half is None else "float32 with kernels rounded to half"
    found = answers.difference(against)
    rule = f"logits {found:.1e} from {whom}{answers.coverage}, less than {EXACT_LOGITS:g}"
    if not found < EXACT_LOGITS:
        return NO, rule
    if len(against) > 1 and against.spread < EXACT_LOGITS:
        return NOT_VERIFIED, f"{rule}; but no two images differ by more"
    return YES, rule


def _least(spread: float) -> float:
    """`LEAST_OF_CLASSES` less what luck may take; `spread` is 1/n, or what stands for it."""
    share = LEAST_OF_CLASSES / 100
    return LEAST_OF_CLASSES - 100 * _ERRORS * math.sqrt(share * (1 - share) * spread)


def _percent(part: int, whole: int) -> float:
    return 100 * float(part) / float(whole) if whole else math.nan
