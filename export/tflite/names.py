"""Names of the inputs and outputs of files, which clients and runtimes find them by."""

from __future__ import annotations

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
# Of a detector; the masks are those of instance segmentation.
BOXES, LOGITS, SCORES = "boxes", "logits", "scores"
LABELS, COUNT, MASKS = "labels", "count", "masks"
# The order of the operation's outputs, by which clients without names find them.
DETECTIONS = (BOXES, LABELS, SCORES, COUNT)
# Of a segmentation network whose choice of the likeliest class is inside.
MAP = "map"
