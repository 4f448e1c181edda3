"""Multi-label classification: an image has any number of labels, each class a score of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from training.classification.task import ClassificationTask
from training.datasets import multilabel
from training.datasets.splits import Dataset, Split
from training.engine import dataset_of_request as of_request
from training.engine.task import Curves, Figure, Form, Line, Look, Metric
from training.multilabel import floor

if TYPE_CHECKING:
    from kerascnn.preprocessing import Preprocessing
    from training.engine.config import TrainConfig
    from training.engine.imported import Imported
    from training.engine.inspection import Counts, Sample
    from training.engine.request import TrainRequest
    from training.engine.training import Ready
    from training.multilabel.train import MultilabelTraining

MAP = Figure(column="val_mAP", title="val mAP", monitor="mAP", mark="mAP")
# Classes whose average precision a closing line names.
_NAMED = 3


class MultilabelTask(ClassificationTask):
    """Classifiers with a sigmoid for each class; see `training.engine.task.Task`."""

    name = "multilabel"
    network = "a classifier of several labels"
    networks = "classification"
    metric = Metric(name="mAP", judge=MAP)
    figures = (MAP,)
    settings = frozenset({
        *("mixup", "class_weights", "teacher", "distil_weight", "temperature"),
        *("probe", "first_layer_rate"),
    })  # fmt: skip
    curves = Curves(
        title="mAP (%)",
        scores=(Line(column="val_mAP", label="validation", look=Look.VALIDATION),),
    )

    def require(self, data: str) -> None:
        """See `training.datasets.multilabel.require`."""
        multilabel.require(data)

    def form(self, data: str) -> Form:
        """A table with several labels for an image."""
        return Form.ANNOTATIONS if multilabel.recognises(data) else Form.NONE

    def claims(self, data: str) -> bool:
        """The same."""
        return multilabel.recognises(data)

    def scan(self, asked: TrainRequest) -> Dataset:
        """The labelled images; of an imported network with its classes."""
        found = self.as_it_is(asked)
        return self.aligned(found, asked.imported) if asked.imported else found

    def as_it_is(self, asked: TrainRequest) -> Dataset:
        """See `ClassificationTask.as_it_is`."""
        found: Dataset = of_request.scanned(multilabel.scan, asked, strict=asked.strict)
        return found

    def aligned(self, dataset: Dataset, network: Imported) -> Dataset:
        """See `ClassificationTask.aligned`; classes that the data lacks are in no image."""
        found = super().aligned(dataset, network)
        return found.each(lambda split: split.widened(len(network.labels)))  # type: ignore[attr-defined]

    def learnt(self, data: str) -> Dataset:
        """See `training.engine.task.Task`."""
        return multilabel.learnt(data)

    def default_recipe(self, data: str, weights: str | None) -> str:
        """Fine-tuning where there are weights."""
        return "multilabel_finetune" if weights else "multilabel"

    def open(
        self, asked: TrainRequest, dataset: Dataset, ready: Ready | None = None
    ) -> MultilabelTraining:
        """See `training.multilabel.train`."""
        from training.multilabel.train import MultilabelTraining

        return MultilabelTraining(asked, dataset, ready)

    def counts(
        self, dataset: Dataset, splits: Mapping[str, Split], preprocessing: Preprocessing
    ) -> Counts:
        """See `training.multilabel.inspection.counts`."""
        from training.multilabel import inspection

        return inspection.counts(dataset, splits)

    def labels(self, splits: Mapping[str, Split]) -> None:  # type: ignore[override]
        """An image has no one label."""
        return None

    def samples(
        self,
        dataset: Dataset,
        preprocessing: Preprocessing,
        config: TrainConfig,
        readable: Sequence[int] | np.ndarray,
    ) -> list[Sample]:
        """See `training.multilabel.inspection.samples`."""
        from training.multilabel import inspection

        return inspection.samples(dataset, preprocessing, config, readable)

    def closing(self, results: Mapping[str, Any], images: str) -> list[str]:
        """mAP, F1, and the classes that are ranked worst."""
        parts = [f"mAP {results['held_out']:.1f}% on {images}"]
        if (f1 := results.get("f1")) is not None:
            parts.append(f"F1 {f1:.1f}%")
        known = [one for one in results.get("per_class") or [] if one["ap"] is not None]
        if len(known) > 1:
            worst = sorted(known, key=lambda one: one["ap"])[:_NAMED]
            parts.append(
                "lowest AP: " + ", ".join(f"{one['label']} {one['ap']:.1f}%" for one in worst)
            )
        return parts

    def below_floor(self, info: Mapping[str, Any]) -> str | None:
        """Against rankings by chance."""
        results = info["results"]
        return floor.below_floor(results["held_out"], results.get("map_by_luck"))
