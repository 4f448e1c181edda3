"""Label maps of anything that maps pictures to them: Keras, TFLite and ONNX share the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kerascnn.preprocessing import Preprocessing
from training.augment.boxes import evaluation_placement, refuse_crops, to_network
from training.augment.masks import middle
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets.segmentation import VOID, SegmentationSplit
from training.segmentation.metrics import SegmentationEvaluation, evaluate_maps

if TYPE_CHECKING:  # files are evaluated without a framework
    import keras

_PICTURES_AT_ONCE = 16

# (n, h, w, 3) uint8 at the network's geometry -> (n, h', w') classes, in whole numbers; h' and w'
# may be smaller, as those of a network that does not pad are.
SegmentFn = Callable[[np.ndarray], np.ndarray]


def maps(
    segment: SegmentFn, split: SegmentationSplit, preprocessing: Preprocessing, *, title: str = ""
) -> Iterator[np.ndarray]:
    """The map of each picture of a split at the picture's own size, as `on_picture` makes it.

    Args:
        title: of a progress bar; none is shown without.

    Yields:
        (h, w) uint8.

    Raises:
        InputError: a picture that cannot be read.
    """
    index = 0
    with Progress(title, len(split) if title else 0, unit="image") as progress:
        for block in _blocks(split, preprocessing):
            for one in np.asarray(segment(block)):
                yield on_picture(one, split.sizes[index], preprocessing)
                index += 1
            if title:
                progress.step(len(block))


def on_picture(
    found: np.ndarray, size: Sequence[int] | np.ndarray, preprocessing: Preprocessing
) -> np.ndarray:
    """A map of the network's output on the picture, each pixel that of the nearest one.

    What lies outside of the output, where that is smaller than the input, is `VOID`.

    Args:
        found: (h', w') classes.
        size: (height, width) of the picture.

    Returns:
        (height, width) uint8.
    """
    whole = np.full(preprocessing.input_shape[:2], VOID, np.uint8)
    whole[middle(whole.shape, found.shape)] = found
    place = evaluation_placement(size, preprocessing)
    seen = whole[place.top : place.top + place.height, place.left : place.left + place.width]
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

    run = _compiled(model)

    def found(pictures: np.ndarray) -> np.ndarray:
        parts = [
            np.asarray(
                ops.convert_to_numpy(
                    run(preprocessing.normalise(pictures[i : i + _PICTURES_AT_ONCE]))
                ),
                np.uint8,
            )
            for i in range(0, len(pictures), _PICTURES_AT_ONCE)
        ]
        return np.concatenate(parts)

    return found


def _compiled(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """The likeliest classes, with the weights of each moment, in one piece."""
    from keras import ops
    from keras.backend import backend

    def run(pictures: Any) -> Any:
        return ops.argmax(model(pictures, training=False), axis=-1)

    if backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(run, reduce_retracing=True)
    if backend() == "jax":
        import jax

        @jax.jit
        def stateless(trainable: Any, others: Any, pictures: Any) -> Any:
            outputs, _others = model.stateless_call(trainable, others, pictures, training=False)
            return ops.argmax(outputs, axis=-1)

        # Variables that it closed over would stay as they were at the first call.
        return lambda pictures: stateless(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            pictures,
        )
    return run


def _blocks(split: SegmentationSplit, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """(n, h, w, 3) uint8 pictures of a split at the network's geometry, in order."""
    refuse_crops(preprocessing)
    block: list[np.ndarray] = []
    for picture in in_order(lambda i: to_network(split.picture(i), preprocessing), len(split)):
        block.append(picture)
        if len(block) == _PICTURES_AT_ONCE:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)
