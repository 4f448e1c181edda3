"""Knowledge distillation of one-stage detectors: a teacher's answers as a part of both losses.

Classes: each class of each anchor of a cell is a channel of its level's map, and learns where in
the image the teacher's looks (Shu et al., ICCV 2021, arXiv:2011.13256, equation 4, on the maps that
the heads give: no layer is added to match widths, and the checkpoint of a training stays the
network's own). Boxes: the teacher's is no target but a bound: a matched anchor whose box is farther
from the truth than the teacher's counts once more (Chen et al., "Learning Efficient Object
Detection Models with Knowledge Distillation", NeurIPS 2017, equations 4 and 5, with a margin of 0).

Both compare answers anchor by anchor, so that the anchors must be the same. Of a detector without
anchors, "farther" is the generalised IoU with the object that the student's point has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras import ops

from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.detection.loss_of_spec import AnyLoss
from training.detection.losses import DetectionLoss
from training.detection.quality_losses import QualityLoss
from training.engine.config import TrainConfig
from training.engine.run import Run
from training.engine.teacher import Distillation, TeacherNetwork, channel_wise_divergence


def open_teacher(
    run: Run, *, classes: Sequence[str], student: Preprocessing, spec: DetectorSpec
) -> TeacherNetwork:
    """The detector of a finished run.

    Args:
        classes, student: see `TeacherNetwork.open`.
        spec: of the student.

    Raises:
        InputError: also a detector of other anchors, or one whose outputs mean something else.
    """
    own = run.info["detector"]
    if own.get("stages", 1) != 1:
        raise InputError(
            f"the teacher {run.folder} is a two-stage detector: its answers are of regions that it "
            "chose itself, and not of the student's anchors; take a one-stage one"
        )
    theirs = DetectorSpec.from_dict(own)
    for name in ("anchors", "box_scales", "background", "coding"):
        if getattr(theirs, name) != getattr(spec, name):
            raise InputError(
                f"the teacher {run.folder} has other {name} than the student, whose answers are "
                "compared anchor by anchor; take a teacher of the same family at the same "
                "--image-size and --detector options"
            )
    return TeacherNetwork.open(run, classes=classes, student=student)


def distillation_of(loss: AnyLoss, config: TrainConfig) -> AnyDistillation:
    """Both losses of a training with a teacher's part, as its configuration asks for it."""
    if isinstance(loss, QualityLoss):
        return QualityDistillation.of(loss, config)
    return DetectionDistillation.of(loss, config)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionDistillation(Distillation[DetectionLoss]):
    """Both losses of anchors with a teacher's part."""

    def both(
        self, truth: tuple[Any, Any, Any], codes: Any, logits: Any, taught: Sequence[Any]
    ) -> tuple[Any, Any]:
        """See `DetectionLoss.both`.

        Args:
            taught: the teacher's codes and logits.
        """
        wanted, labels = self.loss.targets(*truth)
        teacher_codes, teacher_logits = taught
        return (
            self.of_boxes(wanted, labels, codes, teacher_codes),
            self.of_classes(labels, logits, teacher_logits),
        )

    def of_boxes(self, wanted: Any, labels: Any, codes: Any, teacher: Any) -> Any:
        """See `DetectionLoss.of_boxes`.

        Args:
            teacher: (n, a, 4) codes.
        """
        codes = ops.cast(codes, "float32")
        own = ops.sum(ops.square(ops.stop_gradient(codes) - wanted), axis=-1)
        bound = ops.sum(ops.square(teacher - wanted), axis=-1)
        worse = ops.cast(own > bound, "float32")
        truth = self.loss.of_boxes(wanted, labels, codes)
        bounded = self.loss.of_boxes(wanted, labels, codes, counted=worse)
        return (1 - self.weight) * truth + self.weight * bounded

    def of_classes(self, labels: Any, logits: Any, teacher: Any) -> Any:
        """See `DetectionLoss.of_classes`.

        Args:
            teacher: logits, as the student's.
        """
        logits = ops.cast(logits, "float32")
        truth = self.loss.of_classes(labels, logits)
        imitation = _maps_apart(self, logits, teacher)
        return (1 - self.weight) * truth + self.weight * imitation


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QualityDistillation(Distillation[QualityLoss]):
    """Both losses of points with a teacher's part; objects are assigned by the student."""

    def both(
        self, truth: tuple[Any, Any, Any], codes: Any, logits: Any, taught: Sequence[Any]
    ) -> tuple[Any, Any]:
        """See `QualityLoss.both`.

        Args:
            taught: the teacher's codes and logits.
        """
        loss, (teacher_codes, teacher_logits) = self.loss, taught
        wanted = loss.targets(truth, codes, logits)
        own = loss.apart(wanted, ops.stop_gradient(codes))
        worse = ops.cast(own > loss.apart(wanted, teacher_codes), "float32")
        boxes = (1 - self.weight) * loss.of_boxes(wanted, codes)
        boxes = boxes + self.weight * loss.of_boxes(wanted, codes, counted=worse)
        logits = ops.cast(logits, "float32")
        classes = (1 - self.weight) * loss.of_classes(wanted, logits)
        return boxes, classes + self.weight * _maps_apart(self, logits, teacher_logits)


AnyDistillation = DetectionDistillation | QualityDistillation


def _maps_apart(distillation: AnyDistillation, logits: Any, teacher: Any) -> Any:
    """How far the maps of classes lie from the teacher's; a number."""
    loss = distillation.loss
    parts = [
        channel_wise_divergence(theirs, ours, distillation.temperature, loss.total)
        for theirs, ours in zip(_maps(loss.spec, teacher), _maps(loss.spec, logits), strict=True)
    ]
    return sum(parts) / len(parts)


def _maps(spec: DetectorSpec, logits: Any) -> list[Any]:
    """(n, cells, anchors of a cell * c) of each level of more than one cell."""
    maps, start = [], 0
    for level in spec.anchors.levels:
        cells, columns = level.rows * level.columns, len(level.sizes) * logits.shape[-1]
        if cells > 1:  # of one place there is nothing to learn
            rows = logits[:, start : start + level.count]
            maps.append(ops.reshape(rows, (-1, cells, columns)))
        start += level.count
    return maps
