"""Masks of anything that maps images to them: Keras, TFLite and ONNX share the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kerascnn.preprocessing import Preprocessing
from training.augment.boxes import evaluation_placement
from training.augment.masks import middle
from training.datasets.segmentation import VOID, SegmentationSplit
from training.engine.evaluation import IMAGES_AT_ONCE, answers, compiled
from training.segmentation.metrics import SegmentationEvaluation, evaluate_maps
from training.segmentation.tiles import MERGE

if TYPE_CHECKING:  # files are evaluated without a framework
    import keras

# (n, h, w, 3) uint8 at the network's geometry -> (n, h', w') classes, in whole numbers; h' and w'
# may be smaller, as those of a network that does not pad are.
SegmentFn = Callable[[np.ndarray], np.ndarray]


def maps(
    segment: SegmentFn, split: SegmentationSplit, preprocessing: Preprocessing, *, title: str = ""
) -> Iterator[np.ndarray]:
    """The map of each image of a split at the image's own size, as `on_picture` makes it.

    Of an image that is seen in tiles, see `training.segmentation.tiles`.

    Args:
        title: of a progress bar; none is shown without.

    Yields:
        (h, w) uint8.

    Raises:
        InputError: an image that cannot be read.
    """
    return answers(
        *(lambda block: np.asarray(segment(block)), split, preprocessing, on_picture),
        merge=MERGE,
        title=title,
    )


def on_picture(
    found: np.ndarray, size: Sequence[int] | np.ndarray, preprocessing: Preprocessing
) -> np.ndarray:
    """A map of the network's output on the image, each pixel that of the nearest one.

    What lies outside of the output, where that is smaller than the input, is `VOID`.

    Args:
        found: (h', w') classes.
        size: (height, width) of the image.

    Returns:
        (height, width) uint8.
    """
    whole = np.full(preprocessing.input_shape[:2], VOID, np.uint8)
    whole[middle(whole.shape, found.shape)] = found
    place = evaluation_placement(size, preprocessing)
    seen = whole[place.slices]
    height, width = int(size[0]), int(size[1])
    if seen.shape == (height, width):
        return seen
    image = Image.fromarray(np.ascontiguousarray(seen))
    return np.array(image.resize((width, height), Image.Resampling.NEAREST))


def evaluate_segmenter(
    segment: SegmentFn,
    split: SegmentationSplit,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    boundaries: bool = True,
    title: str = "",
) -> SegmentationEvaluation:
    """Figures of a segmentation network on a split; see `maps` and `evaluate_maps`."""
    found = maps(segment, split, preprocessing, title=title)
    return evaluate_maps(found, split, classes, boundaries=boundaries)


def keras_segment_fn(model: keras.Model, preprocessing: Preprocessing) -> SegmentFn:
    """`segment` of a Keras model, normalisation and the choice of the likeliest class included."""
    from keras import ops

    run = compiled(model, lambda logits: ops.argmax(logits, axis=-1))

    def found(pictures: np.ndarray) -> np.ndarray:
        parts = [
            np.asarray(
                ops.convert_to_numpy(
                    run(preprocessing.normalise(pictures[i : i + IMAGES_AT_ONCE]))
                ),
                np.uint8,
            )
            for i in range(0, len(pictures), IMAGES_AT_ONCE)
        ]
        return np.concatenate(parts)

    return found
