"""Object detection: boxes, anchors, matching, suppression and the detectors made of them.

A box is (top, left, bottom, right) as shares of the upright picture's height and width, float32.
A coded box is (dy, dx, dh, dw) against an anchor. Labels count from 0, without a background; -1
pads. What comes of the ground truth has the prefix `gt_`.

Letters in shapes:
    n    pictures of a batch
    a    anchors of a picture
    m    ground-truth boxes of a picture, padded to the largest number in the batch, at least 1
    c    classes
    k    candidates that suppression chooses from
    d    detections of a picture, padded
    h w  height and width in pixels
"""

from kerascnn.zoo import detector_spec

__all__ = ["detector_spec"]
