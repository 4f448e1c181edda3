"""Whether a file's answers are Keras' answers. Always run; nothing is listed without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.recipes import Variant

YES, NO, NOT_VERIFIED = "yes", "no", "not verified"

# The same arithmetic in another order.
EXACT_LOGITS = 1e-3
# Quantised files answer like Keras on nearly all pictures, or something broke.
LEAST_AGREEMENT = 95.0


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
    def fits(self) -> bool:
        """Whether the file is verified."""
        return self.verified == YES

    def to_dict(self) -> dict[str, Any]:
        """For the .json beside a file; `fits` is what `verified` was called."""
        return {"fits": self.fits, **dataclasses.asdict(self)}


def verified_of(evaluation: Mapping[str, Any]) -> str:
    """`Verdict.verified` of the .json beside a file; earlier ones have `fits` alone."""
    return str(evaluation.get("verified") or (YES if evaluation["fits"] else NO))


def verify(
    variant: Variant,
    logits: np.ndarray,
    keras_logits: np.ndarray,
    half_logits: np.ndarray | None = None,
) -> Verdict:
    """Compare (n, classes) logits.

    Args:
        variant: float variants must agree to `EXACT_LOGITS`, quantised ones in `LEAST_AGREEMENT`
            percent of their top-1 answers.
        keras_logits: of the trained model.
        half_logits: of the verified float32 file with its kernels rounded to half precision: what
            a float16 file must equal, since no such file can equal the unrounded network.
    """
    difference = float(np.max(np.abs(logits - keras_logits)))
    agreement = 100 * float(np.mean(logits.argmax(axis=-1) == keras_logits.argmax(axis=-1)))
    if not np.isfinite(logits).all():
        fits, rule = False, "some logits are no numbers"
    elif variant.quantised:
        fits = agreement >= LEAST_AGREEMENT
        rule = f"same top-1 as Keras on {agreement:.1f}% of pictures, at least {LEAST_AGREEMENT:g}%"
    else:
        against = keras_logits if half_logits is None else half_logits
        whom = "Keras" if half_logits is None else "float32 with kernels rounded to half"
        found = float(np.max(np.abs(logits - against)))
        fits = found < EXACT_LOGITS
        rule = f"logits {found:.1e} from {whom}, less than {EXACT_LOGITS:g}"
    verified = YES if fits else NO
    return Verdict(verified=verified, agreement=agreement, max_logit_diff=difference, rule=rule)
