"""Object detection: boxes, anchors, matching, suppression and the detectors made of them.

A box is (top, left, bottom, right) as shares of the upright picture's height and width, float32.
A coded box is (dy, dx, dh, dw) against an anchor. Labels count from 0, without a background; -1
pads. What comes of the ground truth has the prefix `gt_`.

Detections are the same from every runtime: Keras, .tflite and .onnx files, the Android demo and
the web page.

- Boxes lie within 0..1. They are clipped after suppression; a box that lies outside of the picture
  altogether is left without an area, at its edge.
- The best score comes first. Of scores that are equal to the last bit, the lower label comes first,
  and within a label the earlier anchor (one stage) or the earlier region (two stages).
- The order of scores that differ by rounding alone is not promised: exponentials differ in the last
  bit by processor, runtime and batch, and with them the order of scores that are equal on paper,
  and which of two such boxes suppresses the other. Whoever compares detections matches them by
  label and overlap (`export.tasks.agreement`), never by place.

Letters in shapes:
    n    pictures of a batch
    a    anchors of a picture
    m    ground-truth boxes of a picture, padded to the largest number in the batch, at least 1
    c    classes
    k    candidates that suppression chooses from
    r    regions of a picture that a second stage looks at
    d    detections of a picture, padded
    h w  height and width in pixels
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kerascnn import outside_json
from kerascnn.zoo import detector_spec

if TYPE_CHECKING:
    from kerascnn.detection.specs import DetectorSpec, TwoStageSpec

__all__ = ["detector_spec", "spec_from_dict"]

_MOST_DETECTIONS = 10**5


def spec_from_dict(values: Mapping[str, Any]) -> DetectorSpec | TwoStageSpec:
    """Read the JSON form of a detector's spec, as run.json and artefacts have it.

    Raises ValueError on anything else.
    """
    from kerascnn.detection.specs import DetectorSpec, TwoStageSpec

    try:
        kind = TwoStageSpec if values.get("stages") == 2 else DetectorSpec
        known = {"stages", *(field.name for field in dataclasses.fields(kind))}
        if unknown := set(values) - known:
            raise ValueError(f"unknown field {min(unknown)!r} of a detector")
        spec: DetectorSpec | TwoStageSpec = kind.from_dict(values)
        outside_json.check_types(spec)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no description of a detector ({error})") from error
    if spec.max_detections > _MOST_DETECTIONS:
        raise ValueError(f"a detector of {spec.max_detections} detections")
    return spec
