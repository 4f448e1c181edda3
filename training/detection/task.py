"""Detection: an image has objects with boxes, and for some networks with masks."""

from __future__ import annotations

import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn import zoo
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.box_policies import BOX_POLICIES
from training.common.wording import counted
from training.datasets import coco, detection_sets, object_pack, unlabelled, voc, yolo
from training.datasets.detection import DetectionDataset, DetectionSplit, is_scenes
from training.detection import floor, reach
from training.engine import closing
from training.engine import dataset_of_request as of_request
from training.engine.alignment import aligned
from training.engine.options import AUTO
from training.engine.own_answers import HELD_AGAINST, is_agreement
from training.engine.task import Curves, Figure, Form, Line, Look, Metric, Task

if TYPE_CHECKING:
    from kerascnn.detection.specs import TwoStageSpec
    from training.detection.train import DetectorTraining
    from training.engine.config import TrainConfig
    from training.engine.imported import Imported
    from training.engine.inspection import Counts, Reach, Sample
    from training.engine.request import TrainRequest
    from training.engine.run import Run
    from training.engine.training import Ready

AP = Figure(column="val_ap", title="val AP", mark="AP")
# Beside AP, of boxes or of masks, where a network has them.
_FIGURES = {"AP50": "ap50", "AP75": "ap75", "box AP": "box_ap"}


class DetectionTask(Task):
    """Detectors of one and of two stages; see `training.engine.task.Task`.

    What is measured is AP; of networks with masks "mask AP", under the same column of a history.
    """

    name = "detection"
    tiled = True
    network = "a detector"
    metric = Metric(name="AP", judge=AP)
    figures = (AP, Figure(column="val_ap50"))
    policies = tuple(BOX_POLICIES)
    settings = frozenset({"watch_images", "teacher", "distil_weight", "temperature"})
    model = "efficientdet_lite0"
    head = ("extra", "fpn", "rpn_", "box_", "class_", "mask_")
    curves = Curves(
        title="average precision (%)",
        scores=(
            Line(column="val_ap", label="validation, IoU 0.5 to 0.95", look=Look.VALIDATION),
            Line(column="val_ap50", label="IoU 0.5", look=Look.SECOND),
        ),
        losses=(
            Line(column="loss", label="training, sum of its parts", look=Look.TRAINING),
            Line(column="box_loss", label="boxes", look=Look.PART),
            Line(column="class_loss", label="classes", look=Look.SECOND_PART),
            Line(column="val_loss", label="validation", look=Look.VALIDATION),
        ),
    )
    commands = frozenset({"sweep", "debug", "shrink", "find-lr", "bench-data"})
    decoded = True
    lends_weights = False

    def metric_of(self, model: str) -> str:
        """That of masks, where a network gives some."""
        spec = zoo.detector_spec(model, zoo.entry(model).input_shape)
        return "mask AP" if spec.masks else self.metric.name

    def require(self, data: str) -> None:
        """See `training.datasets.detection_sets.require`."""
        detection_sets.require(data)

    def canonical(self, data: str) -> str:
        """The embedded scenes keep their name."""
        return data if is_scenes(data) else super().canonical(data)

    def form(self, data: str) -> Form:
        """What has boxes is for detection, outlines or not."""
        path = pathlib.Path(data)
        if is_scenes(data):
            return Form.NAME
        if object_pack.recognises(path):
            return Form.ANNOTATIONS
        if path.is_dir() and voc.recognises(path):
            return Form.ANNOTATIONS_PER_IMAGE
        listed = path.exists() and (yolo.recognises(path) or coco.recognises(path))
        return Form.ANNOTATIONS if listed else Form.NONE

    def scan(self, asked: TrainRequest) -> DetectionDataset:
        """The images with their objects; of an imported network with its classes."""
        if of_request.without_labels(asked):
            found: DetectionDataset = of_request.scanned(unlabelled.scan_objects, asked)
        else:
            found = of_request.scanned(detection_sets.scan_objects, asked, strict=asked.strict)
        if asked.imported is None or not asked.imported.labels:
            return found
        return aligned(found, asked.imported, category_ids=_numbers(found, asked.imported))

    def with_answers(self, dataset: DetectionDataset, folder: pathlib.Path) -> DetectionDataset:
        """See `training.detection.own_answers`."""
        from training.detection import own_answers

        return own_answers.with_answers(dataset, folder)

    def learnt(self, data: str) -> DetectionDataset:
        """See `training.engine.task.Task`."""
        return detection_sets.learnt(data)

    def default_recipe(self, data: str, weights: str | None) -> str:
        """By the data; of one's own fine-tuning where there are weights."""
        if is_scenes(data):
            return "scenes"
        return "detection_finetune" if weights else "detection"

    def network_options(
        self, asked: TrainRequest, preprocessing: Preprocessing
    ) -> Mapping[str, Any]:
        """A detector of two stages decodes boxes by itself: it is built with their options."""
        options = without_auto(asked.detector_options)
        spec = zoo.detector_spec(asked.model, preprocessing.input_shape, **options)
        return options if spec.stages == 2 else {}

    def open(
        self, asked: TrainRequest, dataset: DetectionDataset, ready: Ready | None = None
    ) -> DetectorTraining:
        """See `training.detection.train`."""
        from training.detection.train import opened

        return opened(asked, dataset, ready)

    def check_teacher(self, model: str, teacher: Run) -> None:
        """Detectors of two stages have none."""
        super().check_teacher(model, teacher)
        if zoo.detector_spec(model, zoo.entry(model).input_shape).stages == 2:
            raise InputError(
                f"{model}: the second stage of a detector answers for regions that it proposed "
                "itself, and a teacher's are others; only one-stage detectors have a teacher"
            )

    def counts(
        self,
        dataset: DetectionDataset,
        splits: Mapping[str, DetectionSplit],
        preprocessing: Preprocessing,
    ) -> Counts:
        """See `training.detection.inspection.counts`."""
        from training.detection import inspection

        return inspection.counts(dataset, splits, preprocessing)

    def reach(
        self, asked: TrainRequest, preprocessing: Preprocessing, boxes: np.ndarray
    ) -> Reach | None:
        """Of one-stage detectors: proposals move before a second stage looks at them."""
        if not zoo.spec_module(asked.model).endswith("_boxes"):  # which would load a framework
            return None
        spec = spec_of(asked, preprocessing)
        if not isinstance(spec, DetectorSpec):
            return None
        fitting = asked.detector_options.get("anchors") != AUTO
        return reach.of(spec, boxes, preprocessing.input_shape[:2], fitting=fitting)

    def drawn(
        self, pixels: np.ndarray, split: DetectionSplit, index: int, classes: Sequence[str]
    ) -> np.ndarray:
        """With its boxes."""
        from training.detection.drawing import draw_boxes

        objects = split.objects(index)
        return draw_boxes(pixels, objects.boxes, objects.labels, classes=classes)

    def samples(
        self,
        dataset: DetectionDataset,
        preprocessing: Preprocessing,
        config: TrainConfig,
        readable: Sequence[int] | np.ndarray,
    ) -> list[Sample]:
        """See `training.detection.inspection.samples`."""
        from training.detection import inspection

        return inspection.samples(dataset, preprocessing, config, readable)

    def closing(self, results: Mapping[str, Any], images: str) -> list[str]:
        """AP, and its values at two overlaps."""
        if is_agreement(results["metric"]):
            return [HELD_AGAINST.format(images), counted(results["objects"], "object")]
        return closing.listed(results, images, _FIGURES)

    def below_floor(self, info: Mapping[str, Any]) -> str | None:
        """Detections at random have an AP near 0."""
        results = info["results"]
        if is_agreement(results["metric"]):
            return None if results["objects"] else floor.SURE_OF_NOTHING
        value = results["held_out"]
        imported = info.get("request", {}).get("imported") is not None
        value = math.nan if value is None else value
        return floor.below_floor(results["metric"], value, imported=imported)


def without_auto(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `zoo.detector_spec`: not those that the data decide on (`anchors=auto`)."""
    return {name: value for name, value in options.items() if (name, value) != ("anchors", AUTO)}


def spec_of(asked: TrainRequest, preprocessing: Preprocessing) -> DetectorSpec | TwoStageSpec:
    """What the outputs of a request's detector mean, before anything is fitted to data."""
    options = without_auto(asked.detector_options)
    return zoo.detector_spec(asked.model, preprocessing.input_shape, **options)


def _numbers(dataset: DetectionDataset, network: Imported) -> tuple[int, ...]:
    """The data's number of each label of a network; of what the data lacks one that is free."""
    known = {
        network.places[name]: number
        for name, number in zip(dataset.classes, dataset.category_ids, strict=True)
        if name in network.places
    }
    free = (n for n in itertools.count(1) if n not in set(known.values()))
    return tuple(
        known[place] if place in known else next(free) for place in range(len(network.labels))
    )
