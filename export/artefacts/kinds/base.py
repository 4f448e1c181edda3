"""The frame that each task's kind of file fills, and the registry that finds it."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

from export.artefacts.variants import DEFAULT, ChannelPrune, Cluster, Prune, Qat, Variant
from kerascnn.errors import InputError
from training.common.registry import Registry
from training.engine.own_answers import is_agreement


class Kind(abc.ABC):
    """The files of one task: which there are, and how their figures are judged.

    Attributes:
        metrics: what `Task.metric` of its runs may be called.
        class_metric: what a class's own figure is called; empty where that is the metric.
        resamples: draws of the bootstrap behind `drop_interval`.
        share_of_images: the metric is one, so that an image more or less is as many points
            everywhere.
        reconstructed: kernels are rounded by what they do, see `export.compress.reconstruct`.
        agreed: what the metric is where the network's own answers are the truth.
        columns: of the report: by the title that a classifier's column has, its own title and
            meaning.
        decodings: ways in which outputs become answers, as "decoding" of a file's description
            names them, each with what it is for a person.
        predicted: "package.module:Class" of an `export.runtime.predictor.Predictor`, what a file
            says of images.
        asked: of "top", "score" and "out" of `kerascnn predict`, those that these answers have a
            part for.
        scorer: "package.module:Class" of an `export.tools.scorers.Scorer`.
    """

    metrics: ClassVar[tuple[str, ...]]
    class_metric: ClassVar[str] = ""
    resamples: ClassVar[int] = 1000
    share_of_images: ClassVar[bool] = False
    reconstructed: ClassVar[bool] = False
    columns: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    agreed: ClassVar[str] = ""
    decodings: ClassVar[Mapping[str, str]]
    predicted: ClassVar[str]
    asked: ClassVar[frozenset[str]] = frozenset()
    scorer: ClassVar[str]

    @abc.abstractmethod
    def check(self, variant: Variant, info: Mapping[str, Any]) -> None:
        """Raise InputError for a variant that the networks of a run cannot have.

        Args:
            info: of its run.json.
        """

    def default(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        """Variants that are made when none are asked for."""
        return DEFAULT

    def columns_of(self, metric: str) -> Mapping[str, Mapping[str, str]]:
        """`columns`, where figures may be of the network's own answers."""
        if not is_agreement(metric):
            return self.columns
        title = metric.capitalize() if metric == metric.lower() else metric  # "mIoU agreement"
        named = {"title": f"{title}, %", "meaning": self.agreed}
        return {**self.columns, "Accuracy, %": named}

    def without_onnx(self, info: Mapping[str, Any]) -> str | None:
        """Why the networks of a run have no ONNX file; None where they have one."""
        return None

    @abc.abstractmethod
    def answers(self, evaluation: Mapping[str, Any]) -> tuple[Any, Any]:
        """The Keras model's and the file's on the held-out images, for `drop_interval`.

        Args:
            evaluation: of the .json beside the file.
        """

    @abc.abstractmethod
    def drop_interval(self, before: Any, after: Any) -> tuple[float, float]:
        """The 95% interval of what the second of two answers lost, in points.

        Raises:
            ValueError: they are not of the same images.
        """

    @abc.abstractmethod
    def below_floor(
        self, evaluation: Mapping[str, Any], classes: int, *, imported: bool = False
    ) -> str | None:
        """Why nothing is recommended of a file's network; None where it finds something.

        Args:
            classes: how many labels it has.
            imported: its network was not trained here: other causes are likely.
        """

    @abc.abstractmethod
    def keras_figure(self, results: Mapping[str, Any]) -> str:
        """What the network of a run is worth, as in "accuracy 97.1%".

        Args:
            results: of its run.json.
        """


def shared_steps(variant: Variant, *, slim: bool = False, taught: bool = False) -> bool:
    """Whether all its steps are those that every task has, or one of those that some have.

    Args:
        slim: channels can be removed: `FineTuningData` has `scored` and `train_on`.
        taught: it has a teacher.
    """
    steps = (Prune, Cluster, Qat, *([ChannelPrune] if slim else []))
    return (taught or not has_teacher(variant)) and all(
        isinstance(step, steps) for step in variant.steps
    )


OWN_ANSWERS = "its own answers are the truth that files are held against"


def refuse_without_labels(variant: Variant, info: Mapping[str, Any]) -> None:
    """Raise InputError for a variant that trains, where the images of a run have no labels."""
    imported = info.get("request", {}).get("imported")
    if variant.steps and imported is not None and not imported["labelled"]:
        raise InputError(
            f"{variant.name} trains, which needs labels, and the images of the run have none; "
            "import the network with --data of labelled images, or leave this variant out"
        )


def has_teacher(variant: Variant) -> bool:
    """Whether another network's answers are part of the loss of its steps."""
    return variant.fine_tuning is not None and variant.fine_tuning.teacher is not None


def refuse_probabilities(variant: Variant) -> None:
    """Raise InputError for a variant that ends in a classifier's probabilities."""
    if variant.probabilities:
        raise InputError(
            f"{variant.name}: only classifiers' files end in probabilities; scores of detectors "
            "are probabilities in all of their files"
        )


_KINDS: Registry[Kind] = Registry()


def register(task: str, kind: str) -> None:
    """Add the kind of file of a task, or put another one in its place; nothing is imported.

    Args:
        kind: "package.module:Class".
    """
    _KINDS.register(task, kind)


def unregister(task: str) -> None:
    """Take a kind of file out, as a test does with its own."""
    _KINDS.unregister(task)


def names() -> tuple[str, ...]:
    """All tasks with files, in the order of their registration."""
    return _KINDS.names()


def of(task: str) -> Kind:
    """The kind of file of a task; raises InputError for one without files."""
    if task not in _KINDS:
        raise InputError(f"no files are made for {task} yet")
    return _KINDS.of(task)


def of_metric(metric: str) -> Kind:
    """The kind of file whose figures are called so; raises InputError where there is none."""
    for kind in map(of, names()):
        if metric in kind.metrics:
            return kind
    raise InputError(f"no file is judged by {metric!r}")


register("classification", "export.artefacts.kinds.classification:ClassificationKind")
register("multilabel", "export.artefacts.kinds.multilabel:MultilabelKind")
register("detection", "export.artefacts.kinds.detection:DetectionKind")
register("segmentation", "export.artefacts.kinds.segmentation:SegmentationKind")
