"""The training of detectors: what `training.engine.loop` trains, on what, and by which loss."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import keras

from kerascnn.detection.specs import DetectorSpec, TwoStageSpec
from training import tasks
from training.datasets.detection import DetectionSplit
from training.detection.batches import DetectionTrainingData
from training.detection.distillation import distillation_of
from training.detection.evaluate import evaluate_detector, keras_detect_fn
from training.detection.loss_of_spec import loss_of
from training.detection.training_model import DetectionTrainingModel
from training.detection.truth import Truth
from training.detection.two_stage_training_model import TwoStageTrainingModel
from training.engine import fit as engine
from training.engine.devices import SINGLE, Placement
from training.engine.history import History
from training.engine.loop import Fitted
from training.engine.teacher import TeacherNetwork
from training.engine.tiled_training import TiledTraining

# What a step's figures are called for a person.
_LOSSES = {
    "rpn_class_loss": "objects",
    "rpn_box_loss": "proposals",
    "box_loss": "boxes",
    "class_loss": "classes",
    "mask_loss": "masks",
}


def fit_detector(
    model: keras.Model,
    spec: DetectorSpec | TwoStageSpec,
    training_data: DetectionTrainingData,
    validation: DetectionSplit | None,
    *,
    classes: Sequence[str],
    folder: pathlib.Path,
    history_file: pathlib.Path,
    placement: Placement,
    after_epoch: Callable[[History], None] | None = None,
    teacher: TeacherNetwork | None = None,
) -> Fitted:
    """Train `model` in place; see `training.engine.fit`.

    Args:
        training_data: is completed by what a two-stage detector needs beside boxes: masks, and
            random numbers.
        validation: images whose AP, of masks where the detector has them, chooses the best epoch;
            with None, or where they have no object, the last epoch is kept.
        placement: the devices and hosts to train on; all hosts see the same `folder`.
        teacher: of a one-stage detector, see `training.detection.distillation`.
    """
    return engine.fit(
        model,
        lambda: training_task(
            *(model, spec, training_data, validation, classes, placement), teacher=teacher
        ),
        config=training_data.config,
        folder=folder,
        history_file=history_file,
        placement=placement,
        after_epoch=after_epoch,
    )


def training_task(
    model: keras.Model,
    spec: DetectorSpec | TwoStageSpec,
    training_data: DetectionTrainingData,
    validation: DetectionSplit | None,
    classes: Sequence[str],
    placement: Placement,
    *,
    teacher: TeacherNetwork | None = None,
) -> Detection:
    """What is trained, as `fit_detector` takes it; call it in the scope of the placement."""
    opened = _BY_STAGES[spec.stages]
    taught = {}
    if teacher is not None:
        twin = placement.twin(teacher.model)
        taught = {"teacher": dataclasses.replace(teacher, model=twin)}
    twin = placement.twin(model)
    return opened(twin, spec, training_data, validation, classes, placement, **taught)


class Detection(TiledTraining):
    """Images with boxes, and with masks where the detector has them."""

    head = tasks.of("detection").head

    def __init__(
        self,
        training_model: keras.Model,
        spec: DetectorSpec | TwoStageSpec,
        training_data: DetectionTrainingData,
        validation: DetectionSplit | None,
        classes: Sequence[str],
        placement: Placement = SINGLE,
    ) -> None:
        super().__init__(training_model, training_data, validation, placement)
        self._classes, self._kind = classes, kind(spec)
        self._detect = keras_detect_fn(self.network, training_data.preprocessing, spec)
        self._rule = spec.rule
        self._truth: Truth | None = None

    def readable(self, split: DetectionSplit, index: int) -> object:
        return split.picture(index)

    def figures(self, split: DetectionSplit) -> dict[str, float]:
        found = evaluate_detector(
            *(self._detect, split, self.training_data.preprocessing, self._classes),
            rule=self._rule,
            truth=self._truth_of(split),
        )
        return {"val_ap": found.ap, "val_ap50": found.ap50}

    def _truth_of(self, split: DetectionSplit) -> Truth:
        """What the watching images have: made once, and again where a broken one is left out."""
        if self._truth is None or self._truth.names != split.names:
            self._truth = Truth.of(split, self._classes, self._kind)
        return self._truth

    def note(self, logs: dict[str, float]) -> str:
        parts = [
            f"{word} {float(logs[name]):.3f}" for name, word in _LOSSES.items() if name in logs
        ]
        return f"{super().note(logs)} ({', '.join(parts)})"


class _OneStage(Detection):
    """Anchors have classes and boxes."""

    def __init__(
        self,
        network: keras.Model,
        spec: DetectorSpec,
        training_data: DetectionTrainingData,
        validation: DetectionSplit | None,
        classes: Sequence[str],
        placement: Placement = SINGLE,
        teacher: TeacherNetwork | None = None,
    ) -> None:
        loss, distillation = loss_of(spec, placement.total), None
        if teacher is not None:
            distillation = distillation_of(loss, training_data.config)
        training_model = DetectionTrainingModel(
            *(network, training_data.preprocessing, loss, placement),
            teacher=teacher,
            distillation=distillation,
        )
        super().__init__(training_model, spec, training_data, validation, classes, placement)


class _TwoStage(Detection):
    """Regions that the network proposes have classes, boxes and, for some networks, masks."""

    def __init__(
        self,
        network: keras.Model,
        spec: TwoStageSpec,
        training_data: DetectionTrainingData,
        validation: DetectionSplit | None,
        classes: Sequence[str],
        placement: Placement = SINGLE,
    ) -> None:
        training_model = TwoStageTrainingModel(
            network, training_data.preprocessing, spec, placement
        )
        count = training_model.rcnn_loss.random_numbers(training_data.most_objects)
        training_data = dataclasses.replace(training_data, masks=spec.masks, random_numbers=count)
        super().__init__(training_model, spec, training_data, validation, classes, placement)


_BY_STAGES: Mapping[int, Callable[..., Detection]] = {1: _OneStage, 2: _TwoStage}


def kind(spec: DetectorSpec | TwoStageSpec) -> str:
    """What a detector is judged by: "segm" where it has masks, else "bbox"."""
    return "segm" if spec.masks else "bbox"
