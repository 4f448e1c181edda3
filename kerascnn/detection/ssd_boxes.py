"""The boxes of `kerascnn.detection.ssd`: which anchors its maps have; needs no framework."""

from __future__ import annotations

from typing import Any

from kerascnn.detection.anchors import ssd_anchors
from kerascnn.detection.specs import DetectorSpec

# How often the picture is halved before the maps.
HALVINGS = (4, 5, 6, 7, 8, 9)


def detector_spec(
    name: str,
    input_shape: tuple[int, ...],
    *,
    min_scale: float = 0.2,
    max_scale: float = 0.95,
    **options: Any,
) -> DetectorSpec:
    """What the outputs of an SSDLite mean at a picture size; torchvision's conventions.

    Args:
        min_scale, max_scale: sides of the anchors of the first and the last map, as shares of the
            picture's; smaller ones for smaller objects.
        **options: other fields of `DetectorSpec`.
    """
    height, width = input_shape[:2]
    grids = [(-(-height // 2**n), -(-width // 2**n)) for n in HALVINGS]
    values: dict[str, Any] = {
        "anchors": ssd_anchors(grids, min_scale=min_scale, max_scale=max_scale),
        "box_scales": (10.0, 10.0, 5.0, 5.0),
        "background": True,
        "positive_iou": 0.5,
        "negative_iou": 0.5,
        "loss": "multibox",
    }
    return DetectorSpec(**{**values, **options})
