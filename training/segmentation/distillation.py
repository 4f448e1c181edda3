"""Knowledge distillation of segmentation networks: where a class's map looks.

Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction" (ICCV 2021,
arXiv:2011.13256), equation 4 on the logits' maps.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from kerascnn.errors import InputError
from training.engine.run import Run
from training.engine.teacher import Distillation, TeacherNetwork, channel_wise_divergence
from training.segmentation.losses import SegmentationLoss


class SegmentationTeacher(TeacherNetwork):
    """A segmentation network that teaches another one."""

    @classmethod
    def check(cls, run: Run, model: keras.Model, classes: int) -> None:
        """Raise InputError for a network that gives no maps of logits."""
        if len(model.outputs) != 1 or len(model.output_shape) != 4:
            raise InputError(
                f"the teacher {run.folder} has outputs of {model.output_shape} where maps of "
                f"{classes} logits belong; take another teacher"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationDistillation(Distillation[SegmentationLoss]):
    """The teacher's part is the divergence from its maps."""

    def __call__(self, gt_map: Any, logits: Any, teacher: Any, weights: Any = None) -> Any:
        """The loss of a batch; a float32 number.

        Args:
            gt_map, logits, weights: as of `SegmentationLoss`.
            teacher: (n, h'', w'', c) logits; at another size they are resized to the student's.
        """
        logits = ops.cast(logits, "float32")
        height, width, classes = logits.shape[1:]
        if tuple(teacher.shape[1:3]) != (height, width):
            teacher = ops.image.resize(teacher, (height, width), interpolation="bilinear")
        places = (-1, height * width, classes)
        divergence = channel_wise_divergence(
            ops.reshape(teacher, places),
            ops.reshape(logits, places),
            self.temperature,
            self.loss.total,
        )
        return (1 - self.weight) * self.loss(gt_map, logits, weights) + self.weight * divergence
