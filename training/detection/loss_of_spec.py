"""The losses that a one-stage detector's spec names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from kerascnn.detection.specs import QUALITY_FOCAL, DetectorSpec
from training.detection.losses import DetectionLoss
from training.detection.quality_losses import QualityLoss

AnyLoss = DetectionLoss | QualityLoss


def loss_of(spec: DetectorSpec, total: Callable[[Any], Any] = ops.sum) -> AnyLoss:
    """What a detector learns by; `total` as of `DetectionLoss`."""
    kind = QualityLoss if spec.loss == QUALITY_FOCAL else DetectionLoss
    return kind(spec=spec, total=total)
