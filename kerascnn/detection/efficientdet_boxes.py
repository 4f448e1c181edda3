"""The rows and boxes of `kerascnn.detection.efficientdet`; needs no framework."""

from __future__ import annotations

import dataclasses
from typing import Any

from kerascnn.detection.anchors import pyramid_anchors
from kerascnn.detection.specs import DetectorSpec

# Level l has 1 / 2**l of the picture's size.
LEVELS = (3, 4, 5, 6, 7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One line of `efficientdet_lite_param_dict`.

    Attributes:
        size: of the picture.
        filters: channels of the pyramid and of the heads.
        cells: of the BiFPN.
        repeats: hidden convolutions of a head.
        anchor_scale: side of the smallest anchors, in cells of their level.
    """

    size: int
    filters: int
    cells: int
    repeats: int = 3
    anchor_scale: float = 3.0


EFFICIENTDETS = {
    "efficientdet_lite0": Config(size=320, filters=64, cells=3),
    "efficientdet_lite1": Config(size=384, filters=88, cells=4),
    "efficientdet_lite2": Config(size=448, filters=112, cells=5),
    "efficientdet_lite3": Config(size=512, filters=160, cells=6, repeats=4, anchor_scale=4.0),
    "efficientdet_lite4": Config(size=640, filters=224, cells=7, repeats=4, anchor_scale=4.0),
}


def detector_spec(
    name: str,
    input_shape: tuple[int, ...],
    *,
    anchor_scale: float | None = None,
    **options: Any,
) -> DetectorSpec:
    """What the outputs of an EfficientDet-Lite mean at a picture size; Google's conventions.

    Args:
        anchor_scale: side of the smallest anchors of a level, in its cells; the network's own by
            default, smaller for smaller objects.
        **options: other fields of `DetectorSpec`.
    """
    height, width = input_shape[:2]
    scale = EFFICIENTDETS[name].anchor_scale if anchor_scale is None else anchor_scale
    values: dict[str, Any] = {
        "anchors": pyramid_anchors((height, width), levels=LEVELS, scale=scale),
        "box_scales": (1.0, 1.0, 1.0, 1.0),
        "background": False,
        "positive_iou": 0.5,
        "negative_iou": 0.5,
        "loss": "focal",
    }
    return DetectorSpec(**{**values, **options})
