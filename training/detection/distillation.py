"""Knowledge distillation of one-stage detectors: a teacher's answers as a part of both losses.

Classes: each class of each anchor of a cell is a channel of its level's map, and learns where in
the image the teacher's looks (Shu et al., ICCV 2021, arXiv:2011.13256, equation 4, on the maps that
the heads give: no layer is added to match widths, and the checkpoint of a training stays the
network's own). Boxes: the teacher's is no target but a bound: a matched anchor whose box is farther
from the truth than the teacher's counts once more (Chen et al., "Learning Efficient Object
Detection Models with Knowledge Distillation", NeurIPS 2017, equations 4 and 5, with a margin of 0).

Both compare answers anchor by anchor, so that the anchors must be the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras import ops

from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.detection.losses import DetectionLoss
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
    for name in ("anchors", "box_scales", "background"):
        if getattr(theirs, name) != getattr(spec, name):
            raise InputError(
                f"the teacher {run.folder} has other {name} than the student, whose answers are "
                "compared anchor by anchor; take a teacher of the same family at the same "
                "--image-size and --detector options"
            )
    return TeacherNetwork.open(run, classes=classes, student=student)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetectionDistillation(Distillation[DetectionLoss]):
    """Both losses with a teacher's part."""

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
        parts = [
            channel_wise_divergence(theirs, ours, self.temperature, self.loss.total)
            for theirs, ours in zip(self._maps(teacher), self._maps(logits), strict=True)
        ]
        return (1 - self.weight) * truth + self.weight * (sum(parts) / len(parts))

    def _maps(self, logits: Any) -> list[Any]:
        """(n, cells, anchors of a cell * c) of each level of more than one cell."""
        maps, start = [], 0
        for level in self.loss.spec.anchors.levels:
            cells, columns = level.rows * level.columns, len(level.sizes) * logits.shape[-1]
            if cells > 1:  # of one place there is nothing to learn
                rows = logits[:, start : start + level.count]
                maps.append(ops.reshape(rows, (-1, cells, columns)))
            start += level.count
        return maps
