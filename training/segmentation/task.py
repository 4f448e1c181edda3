"""Segmentation: an image has a mask with the class of every pixel."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.box_policies import BOX_POLICIES
from training.datasets import map_pack, mask_folder, segmentation_sets, unlabelled, voc_masks
from training.datasets.detection import is_scenes
from training.datasets.segmentation import SegmentationDataset, SegmentationSplit
from training.engine import closing
from training.engine import dataset_of_request as of_request
from training.engine.alignment import aligned
from training.engine.own_answers import HELD_AGAINST, is_agreement
from training.engine.task import Curves, Figure, Form, Line, Look, Metric, Task
from training.segmentation import floor

if TYPE_CHECKING:
    from training.engine.config import TrainConfig
    from training.engine.inspection import Counts, Sample
    from training.engine.request import TrainRequest
    from training.engine.training import Ready
    from training.segmentation.train import SegmenterTraining

MIOU = Figure(column="val_miou", title="val mIoU", mark="mIoU")
# Beside mIoU.
_FIGURES = {"dice": "mean_dice", "boundary F1": "boundary_f1"}


class SegmentationTask(Task):
    """Segmentation networks; see `training.engine.task.Task`."""

    name = "segmentation"
    tiled = True
    network = "a segmentation network"
    metric = Metric(name="mIoU", judge=MIOU)
    figures = (MIOU, Figure(column="val_dice"))
    policies = tuple(BOX_POLICIES)
    settings = frozenset({
        *("map_loss", "border_weight", "class_weights", "watch_images"),
        *("teacher", "distil_weight", "temperature"),
    })  # fmt: skip
    model = "unet_efficientnet_lite0"
    head = ("dec", "logits")
    commands = frozenset({"sweep", "debug", "shrink", "find-lr", "bench-data"})
    curves = Curves(
        title="mean over classes (%)",
        scores=(
            Line(column="val_miou", label="validation, IoU", look=Look.VALIDATION),
            Line(column="val_dice", label="dice", look=Look.SECOND),
        ),
    )

    def require(self, data: str) -> None:
        """See `training.datasets.segmentation_sets.require`."""
        segmentation_sets.require(data)

    def canonical(self, data: str) -> str:
        """The embedded scenes keep their name."""
        return data if is_scenes(data) else super().canonical(data)

    def form(self, data: str) -> Form:
        """A folder with masks."""
        path = pathlib.Path(data)
        forms = (map_pack, voc_masks, mask_folder)
        masked = path.is_dir() and any(one.recognises(path) for one in forms)
        return Form.MASKS if masked else Form.NONE

    def scan(self, asked: TrainRequest) -> SegmentationDataset:
        """The images with their masks; of an imported network with its classes."""
        if of_request.without_labels(asked):
            found: SegmentationDataset = of_request.scanned(unlabelled.scan_maps, asked)
        else:
            found = of_request.scanned(segmentation_sets.scan_maps, asked, strict=asked.strict)
        if asked.imported is None or not asked.imported.labels:
            return found
        same = found.classes == asked.imported.labels
        return aligned(found, asked.imported, palette=found.palette if same else None)

    def with_answers(
        self, dataset: SegmentationDataset, folder: pathlib.Path
    ) -> SegmentationDataset:
        """See `training.segmentation.own_answers`."""
        from training.segmentation import own_answers

        return own_answers.with_answers(dataset, folder)

    def learnt(self, data: str) -> SegmentationDataset:
        """See `training.engine.task.Task`."""
        return segmentation_sets.learnt(data)

    def default_recipe(self, data: str, weights: str | None) -> str:
        """By the data; of one's own fine-tuning where there are weights."""
        if is_scenes(data):
            return "scenes_maps"
        return "segmentation_finetune" if weights else "segmentation"

    def check_config(self, config: TrainConfig) -> None:
        """Dice has a term for each class, whatever its share of the pixels."""
        if config.map_loss == "dice" and config.class_weights != "none":
            raise InputError(
                "class_weights: map_loss 'dice' weights all classes equally already; leave it out"
            )

    def open(
        self, asked: TrainRequest, dataset: SegmentationDataset, ready: Ready | None = None
    ) -> SegmenterTraining:
        """See `training.segmentation.train`."""
        from training.segmentation.train import SegmenterTraining

        return SegmenterTraining(asked, dataset, ready)

    def counts(
        self,
        dataset: SegmentationDataset,
        splits: Mapping[str, SegmentationSplit],
        preprocessing: Preprocessing,
    ) -> Counts:
        """See `training.segmentation.inspection.counts`."""
        from training.segmentation import inspection

        return inspection.counts(dataset, splits)

    def samples(
        self,
        dataset: SegmentationDataset,
        preprocessing: Preprocessing,
        config: TrainConfig,
        readable: Sequence[int] | np.ndarray,
    ) -> list[Sample]:
        """See `training.segmentation.inspection.samples`."""
        from training.segmentation import inspection

        return inspection.samples(dataset, preprocessing, config, readable)

    def closing(self, results: Mapping[str, Any], images: str) -> list[str]:
        """mIoU, and what else compares masks."""
        if is_agreement(results["metric"]):
            return [HELD_AGAINST.format(images)]
        return closing.listed(results, images, _FIGURES)

    def below_floor(self, info: Mapping[str, Any]) -> str | None:
        """Against one class for every pixel."""
        results = info["results"]
        if is_agreement(results["metric"]):
            return None
        value, majority = results["held_out"], results.get("majority_baseline")
        return floor.below_floor(
            math.nan if value is None else value,
            classes=results.get("classes_there", len(info["labels"])),
            majority=math.nan if majority is None else majority,
            imported=info.get("request", {}).get("imported") is not None,
        )
