"""Files of classifiers of several labels: each class has a score and a threshold."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from export.artefacts.variants import Variant
from export.graph.signature import SCORES
from export.runtime import verify
from export.runtime.load import Runtime
from export.runtime.verify import Verdict
from export.tasks.classification import Classification, ClassificationFineTuningData
from export.tasks.comparison import Comparison, OfLabels
from export.tasks.trained import Trained
from training.classification.evaluate import PredictFn
from training.classification.fit import ClassificationTraining
from training.common import packed
from training.common.wording import counted
from training.datasets.splits import Split
from training.engine.config import TrainConfig
from training.multilabel import metrics
from training.multilabel.evaluate import MultilabelEvaluation, evaluate, sigmoid
from training.multilabel.fit import MultilabelLoop, SigmoidLoss
from training.multilabel.metrics import THRESHOLD

_MISTAKES_KEPT = 200


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MultilabelFineTuningData(ClassificationFineTuningData):
    """See `ClassificationFineTuningData`."""

    def targeted(self, config: TrainConfig) -> Callable[..., tuple] | None:
        """Weights of classes are in the loss."""
        return None

    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """The training's own loss."""
        return {"loss": SigmoidLoss.of(config, self.train.labels).call, "metrics": []}

    def score_loss(self, config: TrainConfig) -> Callable[[Any, Sequence[Any]], Any]:
        """The same, summed over pictures."""
        each = SigmoidLoss().call
        return lambda labels, outputs: tf.reduce_sum(each(tf.cast(labels, tf.float32), outputs[0]))

    of: ClassVar[type[ClassificationTraining]] = MultilabelLoop

    def truth(self, labels: np.ndarray) -> np.ndarray:
        """(n, classes) labels are that already."""
        return np.asarray(labels, np.float32)

    def note(self, figures: Mapping[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {figures['loss']:.3f}"


class Multilabel(Classification):
    """See `export.tasks.base.Task`."""

    metric = "mAP"
    probable = SCORES, True
    how_shown = (
        "Each says which labels it has, and which the file gives it from the threshold on; those "
        "come first whose scores are farthest from the truth."
    )

    def comparison(self) -> Comparison:
        return OfLabels(self.run.preprocessing)

    def _balanced(self, split: Split, count: int) -> np.ndarray:
        """By chance: an image has several labels, or none."""
        return self._at_random(split, count)

    def fine_tuning_data(self) -> MultilabelFineTuningData:
        return MultilabelFineTuningData(**{
            field.name: getattr(found, field.name)
            for found in [super().fine_tuning_data()]
            for field in dataclasses.fields(found)
        })  # fmt: skip

    def keras_answers(self, trained: Trained) -> MultilabelEvaluation:  # type: ignore[override]
        if trained.answers is not None:
            return MultilabelEvaluation.from_arrays(trained.answers, self.held_out.labels)
        return evaluate(self.keras_function(trained), self.held_out, self.run.preprocessing)

    def simulated_answers(self, function: PredictFn) -> MultilabelEvaluation:  # type: ignore[override]
        return evaluate(function, self.held_out, self.run.preprocessing)

    def on_validation(self, function: PredictFn, title: str) -> float:
        assert self.validation is not None
        return evaluate(function, self.validation, self.run.preprocessing).value

    def file_answers(self, path: pathlib.Path) -> tuple[MultilabelEvaluation, Runtime]:  # type: ignore[override]
        runtime = self.load(path)
        return evaluate(runtime.predict, self.held_out, self.run.preprocessing), runtime

    def verify(  # type: ignore[override]
        self,
        variant: Variant,
        answers: MultilabelEvaluation,
        reference: MultilabelEvaluation,
        half: MultilabelEvaluation | None,
    ) -> Verdict:
        against = reference if half is None else half
        compared = [one.logits for one in (answers, reference, against)]
        if variant.probabilities:
            # Logits of scores near 0 and 1 are nothing but rounding. This is as large as they are
            # where a label begins.
            compared = [4 * (sigmoid(logits) - 0.5) for logits in compared]
        return verify.of_labels(
            variant,
            *compared,
            whom="Keras" if half is None else "float32 with kernels rounded to half",
            drop=reference.value - answers.value,
            interval=lambda: metrics.map_interval(
                reference.logits, answers.logits, reference.truth
            ),
        )

    def kept(  # type: ignore[override]
        self,
        answers: MultilabelEvaluation,
        reference: MultilabelEvaluation,
        own: MultilabelEvaluation,
    ) -> dict[str, Any]:
        report = answers.by_class(self.run.labels)
        return {
            "f1": report["f1"],
            "macro_f1": report["macro_f1"],
            "per_class": {row["label"]: row["ap"] for row in report["per_class"]},
            "classes": len(self.run.labels),
            "truth": packed.flags(answers.truth),
            "ranks": packed.integers(metrics.ranks(answers.logits)),
            "float_ranks": packed.integers(metrics.ranks(own.logits)),
            "map_by_luck": metrics.number(metrics.by_luck(answers.truth)),
        }

    def mistakes(self, answers: MultilabelEvaluation) -> tuple[int, list[dict[str, Any]]]:  # type: ignore[override]
        held_out, names = self.held_out, np.array(self.run.labels)
        wrong = np.flatnonzero((answers.given != answers.truth).any(axis=1))
        away = np.abs(answers.scores - answers.truth).max(axis=1)
        order = np.argsort(-away[wrong], kind="stable")[:_MISTAKES_KEPT]

        def listed(which: np.ndarray) -> str:
            return ", ".join(names[which]) or "(none)"

        return len(wrong), [
            {
                "index": int(i),
                "name": self.picture_name(held_out.names[i]),
                "truth": listed(answers.truth[i]),
                "predicted": listed(answers.given[i]),
                "probability": round(float(away[i]), 4),
            }
            for i in wrong[order]
        ]

    @property
    def purpose(self) -> str:
        return f"Gives images any of {counted(len(self.run.labels), 'label')}"

    def decoding(self, variant: Variant) -> dict[str, Any]:
        kind = SCORES if variant.probabilities else "sigmoid"
        return {"kind": kind, "threshold": THRESHOLD}
