"""The rows and boxes of `kerascnn.detection.rtmdet`; needs no framework."""

from __future__ import annotations

import dataclasses
from typing import Any

from kerascnn.detection.anchors import point_anchors
from kerascnn.detection.specs import DISTANCES, OF_ANCHORS, QUALITY_FOCAL, DetectorSpec
from kerascnn.errors import InputError

# Level l has 1 / 2**l of the picture's size.
LEVELS = (3, 4, 5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A network.

    Attributes:
        backbone: of the zoo.
        stages: of the backbone, whose maps are levels 3, 4 and 5.
        units: blocks in each stage of the pyramid.
        size: of the picture.
        activation: of the pyramid and the heads.
        norm_epsilon: of all batch norms.
    """

    backbone: str
    stages: tuple[str, str, str]
    units: int = 1
    size: int = 640
    activation: str = "silu"
    norm_epsilon: float = 1e-5


RTMDETS = {
    "rtmdet_tiny": Config(backbone="cspnext_tiny", stages=("stage2", "stage3", "stage4")),
    "rtmdet_s": Config(backbone="cspnext_s", stages=("stage2", "stage3", "stage4")),
    "rtmdet_mobilenet_v4_conv_small": Config(
        backbone="mobilenet_v4_conv_small",
        stages=("stage2", "stage3", "stage4"),
        size=320,
        activation="relu",
        norm_epsilon=1e-3,
    ),
}


def detector_spec(
    name: str,
    input_shape: tuple[int, ...],
    **options: Any,
) -> DetectorSpec:
    """What the outputs of an RTMDet mean at a picture size; mmdetection's conventions.

    Args:
        **options: fields of `DetectorSpec` that are not about anchors: there are none.
    """
    for field in OF_ANCHORS:
        if field in options:
            raise InputError(
                f"{name} has no anchors: its objects are assigned by what it predicts, and its "
                f"boxes are distances; leave --detector {field} out"
            )
    values: dict[str, Any] = {
        "anchors": point_anchors(input_shape[:2], levels=LEVELS),
        "box_scales": (1.0, 1.0, 1.0, 1.0),
        "background": False,
        "positive_iou": 1.0,
        "negative_iou": 1.0,
        "loss": QUALITY_FOCAL,
        "coding": DISTANCES,
        "iou_threshold": 0.65,
    }
    return DetectorSpec(**{**values, **options})
