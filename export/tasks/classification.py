"""Files of classifiers: one label a picture."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from export.artefacts.open_file import OpenFile
from export.artefacts.significance import pack
from export.artefacts.variants import Variant
from export.graph.signature import OUTPUT_NAME, PROBABILITIES
from export.onnx import probabilities as onnx_probabilities
from export.runtime import verify
from export.runtime.load import Runtime
from export.runtime.load import load as load_runtime
from export.runtime.verify import Verdict
from export.tasks import calibration_set
from export.tasks.base import Task
from export.tasks.calibration_set import CalibrationSet
from export.tasks.comparison import Comparison, OfLogits
from export.tasks.fine_tuning import FineTuningData
from export.tasks.same_data import check_fingerprint
from export.tasks.trained import Trained
from export.tflite import probabilities as tflite_probabilities
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.batches import TrainingData, one_hot
from training.classification.distillation import DistillationLoss, Teacher, accuracy
from training.classification.evaluate import (
    Evaluation,
    PredictFn,
    class_report,
    evaluate,
    keras_predict_fn,
)
from training.classification.fit import ClassificationTraining, fit
from training.classification.tf_data import train_stream, with_teacher
from training.classification.train import source_for
from training.classification.training_model import factors_of
from training.common.spread import spread
from training.common.wording import counted
from training.datasets.decode import Broken, decode_split
from training.datasets.selection import without
from training.datasets.splits import Dataset, Split, places_by_class
from training.engine import dataset_of_request as of_request
from training.engine import own_answers
from training.engine.config import TrainConfig
from training.engine.run import Run

_MISTAKES_KEPT = 200


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationFineTuningData(FineTuningData):
    """What every fine-tuning of a classifier learns from.

    Attributes:
        train: images, at the geometry of `source`.
        source: as of `training.classification.fit.fit`.
        classes: length of the logits.
    """

    train: Split
    source: Preprocessing
    classes: int
    teacher: Teacher | None = None

    def training_data(self, config: TrainConfig) -> TrainingData:
        """See `FineTuningData.training_data`."""
        return TrainingData(
            split=self.train,
            source=self.source,
            preprocessing=self.preprocessing,
            classes=self.classes,
            config=config,
        )

    def batches(self, config: TrainConfig, first_epoch: int) -> tf.data.Dataset:
        """With the teacher's logits if there is one.

        Returns:
            ((n, height, width, channels) float32, (n, classes or 2 classes) float32).
        """
        stream: tf.data.Dataset = train_stream(
            self.train,
            source=self.source,
            preprocessing=self.preprocessing,
            classes=self.classes,
            config=config,
            first_epoch=first_epoch,
        )
        return with_teacher(stream, self.teacher.teacher_logits) if self.teacher else stream

    def targeted(self, config: TrainConfig) -> Callable[..., tuple] | None:
        """Where classes have weights, (n,) float32 by the class, or the mixture, of each image."""
        factors = factors_of(config, self.train.labels, self.classes)
        if factors is None:
            return None

        def weigh(pictures: tf.Tensor, labels: tf.Tensor) -> tuple:
            return pictures, labels, tf.linalg.matvec(labels[:, : self.classes], factors)

        return weigh

    def compiled(self, config: TrainConfig) -> dict[str, Any]:
        """Loss and metrics that fit `stream`; without a teacher the smoothed cross-entropy."""
        return {"loss": DistillationLoss.of(config).call, "metrics": [accuracy]}

    def scored(
        self,
        config: TrainConfig,
        sample: Callable[[int], tuple[np.ndarray, np.ndarray]],
        count: int,
        at_once: int,
    ) -> Iterable[tuple[Any, Any]]:
        """Of the sample, as it is, with one-hot labels; made anew in each round."""
        return _Scored(*sample(count), self, at_once)

    def score_loss(self, config: TrainConfig) -> Callable[[Any, Sequence[Any]], Any]:
        """Softmax cross-entropy of labels as they are, summed over pictures."""

        def loss(labels: Any, outputs: Sequence[Any]) -> Any:
            truth, logits = tf.cast(labels, tf.float32), tf.cast(outputs[0], tf.float32)
            return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(truth, logits))

        return loss

    def truth(self, labels: np.ndarray) -> np.ndarray:
        """(n, classes) of (n,) labels."""
        return one_hot(labels, self.classes)

    # What is trained, by which loss.
    of: ClassVar[type[ClassificationTraining]] = ClassificationTraining

    def train_on(self, model: keras.Model, config: TrainConfig, folder: pathlib.Path) -> None:
        """See `FineTuningData.train_on`."""
        fit(
            model,
            train=self.train,
            validation=None,
            source=self.source,
            preprocessing=self.preprocessing,
            config=config,
            folder=folder,
            history_file=folder.parent / "history.csv",
            teacher=self.teacher,
            of=self.of,
        )

    def note(self, figures: Mapping[str, float]) -> str:
        """What is shown of a step."""
        return f"loss {figures['loss']:.3f}, accuracy {figures['accuracy']:.1%}"


class _Scored:
    """Batches that channels are scored on: bytes are a quarter as long."""

    def __init__(
        self,
        pictures: np.ndarray,
        labels: np.ndarray,
        fine_tuning_data: ClassificationFineTuningData,
        count: int,
    ) -> None:
        self._images, self._labels, self._fine_tuning_data = pictures, labels, fine_tuning_data
        self._count = count

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self._images), self._count):
            chosen = slice(start, start + self._count)
            pictures = self._fine_tuning_data.preprocessing.normalise(self._images[chosen])
            yield pictures, self._fine_tuning_data.truth(self._labels[chosen])


class Classification(Task):
    """See `export.tasks.base.Task`."""

    how_shown = (
        "Each says what it is, what the file took it for, and how sure the file was; of each kind "
        "of mistake the surest come first."
    )
    graded = False

    @property
    def metric(self) -> str:  # type: ignore[override]
        """Accuracy; agreement with the network where images have no labels."""
        return str(self.run.info["results"].get("metric", "accuracy"))

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The run's data; raises InputError if it is gone or has changed."""
        dataset = of_request.dataset_of(self.asked)
        check_fingerprint(self.run, dataset.fingerprint)
        broken = set(self.run.info["dataset"].get("broken", ()))
        dataset = of_request.with_validation(dataset, self.config, broken=broken)
        return own_answers.truth_of(self.run, dataset)

    @functools.cached_property
    def held_out(self) -> Split:
        """Pictures that figures are measured on."""
        split, _broken = decode_split(
            self.dataset.held_out, self.run.preprocessing, root=self.dataset.name
        )
        return split

    def readable(self, split: Split) -> Split:
        """One of `dataset`, not decoded, without the pictures that the training found broken."""
        skipped = set(self.run.info["dataset"].get("skipped", ()))
        return without(split, skipped) if skipped else split

    @functools.cached_property
    def validation(self) -> Split | None:
        if self.dataset.validation is None:
            return None
        split, _broken = decode_split(
            self.dataset.validation, self.run.preprocessing, root=self.dataset.name
        )
        return split if len(split) else None

    def judged(self, count: int) -> np.ndarray:
        known = self.readable(self.dataset.validation or self.dataset.held_out)
        # The few, even where all of them would not fit into memory.
        chosen, _broken = decode_split(
            known.take(spread(len(known), count)), self.run.preprocessing
        )
        assert chosen.pictures is not None
        return chosen.pictures

    def network_ends(self, file: TFLiteModel) -> Mapping[str, int]:
        ends = file.output_places()
        (name,) = ends
        if name == OUTPUT_NAME:
            return ends
        return {OUTPUT_NAME: int(file.maker(ends[name]).inputs[0])}

    def comparison(self) -> Comparison:
        return OfLogits(self.run.preprocessing)

    def pictures(self) -> int:
        return len(self.held_out)

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Class-balanced, as far as there are enough; of more classes, one each of `count`."""
        train = self.dataset.train
        split, _broken = self._decoded(train.take(self._balanced(train, count)), count)
        assert split.pictures is not None
        return split.pictures, split.labels

    def sampled(self, chosen_from: CalibrationSet, count: int) -> tuple[np.ndarray, list[Broken]]:
        chosen = chosen_from.split.take(self._at_random(chosen_from.split, count))
        split, broken = self._decoded(chosen, count)
        assert split.pictures is not None
        calibration_set.require_some(len(split), broken)
        return split.pictures, broken

    def _at_random(self, split: Split, count: int) -> np.ndarray:
        """Places of so many images of a split, whatever they show."""
        order = np.random.default_rng(self.config.seed).permutation(len(split))
        return np.sort(order[:count])

    def _balanced(self, split: Split, count: int) -> np.ndarray:
        """Places of equally many images of each class."""
        rng = np.random.default_rng(self.config.seed)
        places = places_by_class(split.labels)
        if len(places) > count:
            places = [places[i] for i in np.sort(rng.choice(len(places), count, replace=False))]
        each = max(1, count // len(places))
        chosen = [rng.permutation(some)[:each] for some in places]
        return np.sort(np.concatenate(chosen))

    def _decoded(self, split: Split, count: int) -> tuple[Split, list[Broken]]:
        found, broken = decode_split(split, self.run.preprocessing)
        if found.pictures is None:
            raise InputError(
                f"{count:,} calibration images do not fit into memory; a few hundred are enough: "
                "--calibration-pictures"
            )
        return found, broken

    def fine_tuning_data(self) -> ClassificationFineTuningData:
        preprocessing = self.run.preprocessing
        source = source_for(preprocessing, self.config)
        train, _broken = decode_split(self.dataset.train, source, root=self.dataset.name)
        return ClassificationFineTuningData(
            train=train,
            source=source,
            preprocessing=preprocessing,
            classes=len(self.run.labels),
        )

    def teacher(self, run: Run) -> Teacher:
        return Teacher.open(run, classes=self.run.labels, student=self.run.preprocessing)

    # What a file's output is called that is no logits, and whether each class has a probability of
    # its own.
    probable = PROBABILITIES, False

    def extend(self, file: OpenFile, end: str, variant: Variant) -> None:
        """Logits are the answer; where probabilities are asked for, they stand behind them."""
        if variant.probabilities:
            step = onnx_probabilities if end == ".onnx" else tflite_probabilities
            name, each = self.probable
            file.apply(step.append_probabilities, name=name, each=each)

    def keras_answers(self, trained: Trained) -> Evaluation:
        if trained.answers is not None:
            return Evaluation.from_arrays(trained.answers, self.held_out.labels)
        return evaluate(self.keras_function(trained), self.held_out, self.run.preprocessing)

    def simulated_answers(self, function: PredictFn) -> Evaluation:
        return evaluate(function, self.held_out, self.run.preprocessing)

    def keras_function(self, trained: Trained) -> PredictFn:
        return keras_predict_fn(trained.model, trained.preprocessing)

    def function_of(self, runtime: Runtime) -> PredictFn:
        return runtime.predict

    def on_validation(self, function: PredictFn, title: str) -> float:
        assert self.validation is not None
        found = evaluate(function, self.validation, self.run.preprocessing)
        return found.figure(self.config.monitor)

    def load(self, path: pathlib.Path) -> Runtime:
        return load_runtime(path, self.run.preprocessing)

    def file_answers(self, path: pathlib.Path) -> tuple[Evaluation, Runtime]:
        runtime = self.load(path)
        return evaluate(runtime.predict, self.held_out, self.run.preprocessing), runtime

    def verify(
        self,
        variant: Variant,
        answers: Evaluation,
        reference: Evaluation,
        half: Evaluation | None,
    ) -> Verdict:
        wanted, rounded = reference.outputs, None if half is None else half.outputs
        if variant.probabilities:
            # What is read of probabilities are their logarithms.
            wanted = wanted.log_probabilities()
            rounded = None if rounded is None else rounded.log_probabilities()
        return verify.verify(variant, answers.outputs, wanted, rounded, self.held_out.labels)

    def kept(self, answers: Evaluation, reference: Evaluation, own: Evaluation) -> dict[str, Any]:
        labels = self.held_out.labels
        by_class = class_report(
            *(labels, answers.predictions, len(self.run.labels)), answered=answers.outputs.answered
        )
        return {
            **by_class.to_dict(self.run.labels),
            "right": pack(answers.right(labels)),
            "float_right": pack(own.right(labels)),
            "class_pictures": np.bincount(labels, minlength=len(self.run.labels)).tolist(),
        }

    def mistakes(self, answers: Evaluation) -> tuple[int, list[dict[str, Any]]]:
        held_out, names = self.held_out, self.run.labels
        wrong = np.flatnonzero(~answers.right(held_out.labels))
        count, wrong = len(wrong), wrong[answers.outputs.answered[wrong]]  # those with an answer
        kinds = np.stack([held_out.labels[wrong], answers.predictions[wrong]], axis=1)
        order = kinds_first(kinds, answers.confidence[wrong])[:_MISTAKES_KEPT]
        return count, [
            {
                "index": int(i),
                "name": self.picture_name(held_out.names[i]),
                "truth": names[held_out.labels[i]],
                "predicted": names[answers.predictions[i]],
                "probability": round(float(answers.confidence[i]), 4),
            }
            for i in wrong[order]
        ]

    def shown(self, mistakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not mistakes:
            return []
        indices = [one["index"] for one in mistakes]
        chosen = self.readable(self.dataset.held_out).take(indices)
        if [self.picture_name(name) for name in chosen.names] != [one["name"] for one in mistakes]:
            chosen = self.held_out.take(indices)  # some broke between the training and the files
        found, broken = decode_split(chosen, self.run.preprocessing)
        if broken or found.pictures is None:
            why = broken[0].reason if broken else "they are too large"
            raise InputError(f"not all can be read any more ({why})")
        return [
            {"picture": picture, **{k: v for k, v in one.items() if k != "index"}}
            for picture, one in zip(found.pictures, mistakes, strict=True)
        ]

    @property
    def purpose(self) -> str:
        return f"Sorts images into {counted(len(self.run.labels), 'class')}"

    def outputs(self, variant: Variant, end: str) -> list[dict[str, Any]]:
        name = self.probable[0] if variant.probabilities else OUTPUT_NAME
        shape = [None if end == ".onnx" else 1, len(self.run.labels)]
        return [{"name": name, "shape": shape, "type": "float32", "meaning": name}]

    def decoding(self, variant: Variant) -> dict[str, Any]:
        return {"kind": PROBABILITIES if variant.probabilities else "logits"}

    def description(self, variant: Variant, end: str) -> dict[str, Any]:
        (output,) = self.outputs(variant, end)
        return {"output": output}


def by_kind(mistakes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mistakes so that the first few show every kind: the surest of each, then the next of each.

    A kind is a class taken for another; the commonest come first. Mistakes of other tasks are of
    one kind and equally sure: their order stays.
    """
    kinds: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for one in mistakes:
        kinds.setdefault((one.get("truth"), one.get("predicted")), []).append(one)
    ordered = [
        sorted(kind, key=lambda one: -one.get("probability", 0.0))
        for kind in sorted(kinds.values(), key=len, reverse=True)
    ]
    rounds = itertools.zip_longest(*ordered)
    return [one for each in rounds for one in each if one is not None]


def kinds_first(kinds: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Order of mistakes as `by_kind` has it; of a million without a dict for each.

    Args:
        kinds: (n, 2) true and predicted class.
        confidence: (n,) of the prediction.

    Returns:
        (n,) places.
    """
    if not len(kinds):
        return np.empty(0, np.int64)
    _, first, kind, counts = np.unique(
        kinds, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    places = np.empty(len(counts), np.int64)
    places[np.lexsort((first, -counts))] = np.arange(len(counts))
    place = places[kind.ravel()]
    order = np.lexsort((-confidence.round(4), place))  # stable: of equal ones the first
    begins = np.flatnonzero(np.diff(place[order], prepend=-1))
    lengths = np.diff(begins, append=len(order))
    turn = np.arange(len(order)) - np.repeat(begins, lengths)
    return order[np.lexsort((place[order], turn))]
