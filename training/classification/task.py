"""Classification: an image has one label."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import RESIZES, Preprocessing
from training import datasets
from training.augment.policies import POLICIES
from training.classification import imported
from training.datasets import tfds
from training.datasets.splits import Dataset, Split, few
from training.engine import dataset_of_request as of_request
from training.engine.alignment import aligned
from training.engine.task import Curves, Figure, Form, Line, Look, Metric, Task

if TYPE_CHECKING:
    import keras

    from training.classification.train import ClassifierTraining
    from training.engine.config import TrainConfig
    from training.engine.imported import Imported
    from training.engine.inspection import Counts, Sample
    from training.engine.request import TrainRequest
    from training.engine.training import Ready

ACCURACY = Figure(column="val_accuracy", title="val accuracy", monitor="accuracy")


class ClassificationTask(Task):
    """Classifiers; see `training.engine.task.Task`."""

    name = "classification"
    network = "a classifier"
    metric = Metric(name="accuracy", judge=ACCURACY)
    figures: tuple[Figure, ...] = (
        ACCURACY,
        Figure(
            column="val_balanced_accuracy",
            title="val balanced accuracy",
            monitor="balanced_accuracy",
            mark="balanced accuracy",
        ),
        Figure(column="accuracy"),
    )
    policies = tuple(POLICIES)
    settings = frozenset({
        *("mixup", "cutmix", "label_smoothing", "class_weights", "pictures_per_class"),
        *("monitor", "teacher", "distil_weight", "temperature", "probe", "first_layer_rate"),
    })  # fmt: skip
    model = "efficientnet_lite0"
    head = ("logits",)
    resizes = RESIZES
    commands = frozenset({"sweep", "debug", "shrink", "find-lr", "bench-data"})
    curves = Curves(
        title="accuracy (%)",
        scores=(
            Line(column="accuracy", label="training", look=Look.TRAINING),
            Line(column="val_accuracy", label="validation", look=Look.VALIDATION),
            Line(
                column="val_balanced_accuracy",
                label="balanced",
                look=Look.SECOND,
                monitor="balanced_accuracy",
            ),
        ),
    )

    def require(self, data: str) -> None:
        """See `training.datasets.require`."""
        datasets.require(data)

    def canonical(self, data: str) -> str:
        """Embedded sets and those of tensorflow-datasets keep their names."""
        return datasets.canonical(data)

    def form(self, data: str) -> Form:
        """A folder with one of images for each class, a table, or a name."""
        if data in datasets.EMBEDDED or data.startswith(tfds.PREFIX):
            return Form.NAME
        path = pathlib.Path(data)
        return Form.FOLDER if path.is_dir() or datasets.is_table(path) else Form.NONE

    def scan(self, asked: TrainRequest) -> Dataset:
        """The labelled images, at most `pictures_per_class` of each class to learn from."""
        found: Dataset = (
            self.aligned(self.as_it_is(asked), asked.imported)
            if asked.imported
            else of_request.scanned(datasets.scan, asked, strict=asked.strict)
        )
        if per_class := asked.config.pictures_per_class:
            return few(found, per_class, seed=asked.config.split_seed)
        return found

    def as_it_is(self, asked: TrainRequest) -> Dataset:
        """The data of a request for an imported network, with the data's own classes."""
        return imported.as_it_is(asked)

    def aligned(self, dataset: Dataset, network: Imported) -> Dataset:
        """The same with the network's classes."""
        return aligned(dataset, network)

    def with_answers(self, dataset: Dataset, folder: pathlib.Path) -> Dataset:
        """See `training.classification.imported`."""
        return imported.with_answers(dataset, folder / imported.ANSWERS)

    def learnt(self, data: str) -> Dataset:
        """See `training.engine.task.Task`."""
        return datasets.learnt(data)

    def default_recipe(self, data: str, weights: str | None) -> str:
        """Fine-tuning where there are weights; else by the data."""
        if weights:
            return "finetune"
        of_digits = {"mnist": "digits", "mnist-photos": "digits", "scenes-digits": "scenes_digits"}
        return of_digits.get(data, "scratch")

    def check_network(self, name: str, model: keras.Model) -> None:
        """Auxiliary outputs have no loss."""
        if len(model.outputs) > 1:
            raise InputError(
                f"{name} has {len(model.outputs)} outputs with these options, and is trained "
                "here with one; leave out auxiliary"
            )

    def preprocessing(self, asked: TrainRequest, dataset: Dataset) -> Preprocessing:
        """Values by the model; images meet its size as the data says."""
        if asked.image_size:
            height, width = asked.image_size
        elif dataset.train.pictures is not None:
            height, width = dataset.train.pictures.shape[1:3]
        else:
            height, width = zoo.entry(asked.model).input_shape[:2]
        return zoo.preprocessing(
            asked.model, height, width, weights=asked.weights, resize=asked.resize or dataset.resize
        )

    def open(
        self, asked: TrainRequest, dataset: Dataset, ready: Ready | None = None
    ) -> ClassifierTraining:
        """See `training.classification.train`."""
        from training.classification.train import ClassifierTraining

        return ClassifierTraining(asked, dataset, ready)

    def counts(
        self, dataset: Dataset, splits: Mapping[str, Split], preprocessing: Preprocessing
    ) -> Counts:
        """See `training.classification.inspection.counts`."""
        from training.classification import inspection

        return inspection.counts(dataset, splits)

    def labels(self, splits: Mapping[str, Split]) -> np.ndarray:
        """See `Split.labels`."""
        return np.concatenate([split.labels for split in splits.values()])

    def samples(
        self,
        dataset: Dataset,
        preprocessing: Preprocessing,
        config: TrainConfig,
        readable: Sequence[int] | np.ndarray,
    ) -> list[Sample]:
        """See `training.classification.inspection.samples`."""
        from training.classification import inspection

        return inspection.samples(dataset, preprocessing, config, readable)

    def closing(self, results: Mapping[str, Any], images: str) -> list[str]:
        """Accuracy; where classes are of unequal size, their recalls too."""
        from training.classification.closing import parts

        return parts(results, images)

    def below_floor(self, info: Mapping[str, Any]) -> str | None:
        """Against always giving the commonest class."""
        from training.classification.closing import below_floor

        return below_floor(info)
