"""What files call their input and outputs; all clients find them by these names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # clients of files need no Keras
    import keras

INPUT_NAME = "image"
# A classifier's; a segmentation network's where the choice of the class is left to the app.
OUTPUT_NAME = "logits"
MAP = "map"

# A detector's network ends in boxes and logits; its file in boxes and scores, or in detections.
# A classifier's, where its file ends in them.
PROBABILITIES = "probabilities"
BOXES, LOGITS, SCORES = "boxes", "logits", "scores"
LABELS, COUNT, MASKS = "labels", "count", "masks"
# The order of the post-processing's outputs, by which clients without names find them.
DETECTIONS = (BOXES, LABELS, SCORES, COUNT)


def output_names(model: keras.Model) -> list[str]:
    """What a file calls the outputs: `logits` a single one, several as their layers are called."""
    return [OUTPUT_NAME] if len(model.outputs) == 1 else list(model.output_names)
