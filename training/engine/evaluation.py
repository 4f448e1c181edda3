"""How a network that takes whole images is run on a split, whatever it answers.

Keras, TFLite and ONNX share it: what answers is a function of NumPy arrays. No framework is
imported before a Keras model is run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.augment.boxes import refuse_crops, to_network
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets import tiling
from training.datasets.splits import PlacedSplit

if TYPE_CHECKING:  # files are evaluated without a framework
    import keras

# Images that are run at once.
IMAGES_AT_ONCE = 16
# Bytes of activations that Keras may hold at once, where no compiled function frees them.
_EAGER_BYTES = 512 << 20

_Answer = TypeVar("_Answer")
_OnImage = TypeVar("_OnImage")


def image_blocks(
    split: PlacedSplit[Any], preprocessing: Preprocessing, batch_size: int = IMAGES_AT_ONCE
) -> Iterator[np.ndarray]:
    """(n, height, width, 3) uint8 blocks of a split, in order; the last one may be short.

    Raises:
        InputError: an image that cannot be read.
    """
    refuse_crops(preprocessing)
    block: list[np.ndarray] = []
    for image in in_order(lambda i: to_network(split.picture(i), preprocessing), len(split)):
        block.append(image)
        if len(block) == batch_size:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


def answers(
    function: Callable[[np.ndarray], Iterable[_Answer]],
    split: PlacedSplit[Any],
    preprocessing: Preprocessing,
    on_image: Callable[[_Answer, Sequence[int] | np.ndarray, Preprocessing], _OnImage],
    *,
    merge: Merge[_OnImage] | None = None,
    title: str = "",
) -> Iterator[_OnImage]:
    """What is answered for each image of a split, brought from the network's input onto it.

    Args:
        function: from a block of images to an answer for each.
        on_image: takes an answer and the (height, width) of the image.
        merge: puts the answers of an image's tiles together, where `preprocessing` has tiles.
        title: of a progress bar; none is shown without.

    Raises:
        InputError: an image that cannot be read.
    """
    index = 0
    with Progress(title, len(split) if title else 0, unit="image") as progress:
        if preprocessing.tiles and merge is not None:
            # A large image and its tiles take as much as a block of others.
            for image in in_order(split.picture, len(split), chunk=1, ahead=1):
                seen = tiles_of(image, preprocessing, whole=merge.whole)
                size = image.shape[:2]
                yield of_seen(function, seen, size, preprocessing, on_image, merge)
                progress.step(1 if title else 0)
            return
        for block in image_blocks(split, preprocessing):
            for one in function(block):
                yield on_image(one, split.sizes[index], preprocessing)
                index += 1
            if title:
                progress.step(len(block))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merge(Generic[_OnImage]):
    """How what is found in the tiles of an image becomes one answer.

    Attributes:
        join: takes the answer and the window of each tile, and the (height, width) of the image.
        whole: the image itself is looked at as well, behind its tiles.
    """

    join: Callable[[Sequence[_OnImage], np.ndarray, Sequence[int]], _OnImage]
    whole: bool = False


def windows_of(size: Sequence[int], preprocessing: Preprocessing, *, whole: bool) -> np.ndarray:
    """The tiles of an image of a (height, width); see `training.datasets.tiling.windows`.

    Args:
        whole: the image itself follows, where it has more than one tile.
    """
    found = tiling.windows(size, preprocessing)
    if whole and len(found) > 1:
        found = np.concatenate([found, [[0, 0, int(size[0]), int(size[1])]]])
    return found


def tiles_of(image: np.ndarray, preprocessing: Preprocessing, *, whole: bool) -> np.ndarray:
    """An image's tiles as the network sees them, in the order of `windows_of`.

    Args:
        image: (h, w, 3) uint8.

    Returns:
        (n, height, width, 3) uint8; of an image without tiles, itself alone.
    """
    windows = windows_of(image.shape[:2], preprocessing, whole=whole)
    return np.stack([to_network(tiling.cut(image, one), preprocessing) for one in windows])


def of_seen(
    function: Callable[[np.ndarray], Iterable[_Answer]],
    seen: np.ndarray,
    size: Sequence[int],
    preprocessing: Preprocessing,
    on_image: Callable[[_Answer, Sequence[int] | np.ndarray, Preprocessing], _OnImage],
    merge: Merge[_OnImage],
) -> _OnImage:
    """The answer for one image; as `answers`.

    Args:
        seen: its tiles, of `tiles_of`.
        size: (height, width) of the image.
    """
    windows = windows_of(size, preprocessing, whole=merge.whole)
    found: list[_OnImage] = []
    for start in range(0, len(seen), IMAGES_AT_ONCE):
        for answer in function(seen[start : start + IMAGES_AT_ONCE]):
            window = windows[len(found)]
            found.append(on_image(answer, window[2:] - window[:2], preprocessing))
    return merge.join(found, windows, (int(size[0]), int(size[1])))


def at_once(model: keras.Model, most: int, *, copies: int = 1) -> int:
    """How many images a model may be called on at once, outside of a compiled function.

    Such a call of Keras holds what every layer gave until it ends: of EfficientNet-Lite0 at 224,
    64 images would take 5 GB.

    Args:
        most: as many as are worth it.
        copies: of all activations, as where gradients of them are asked for.
    """
    from kerascnn.complexity import count_activations

    each = 4 * copies * count_activations(model)
    return max(1, min(most, _EAGER_BYTES // max(each, 1)))


def compiled(model: keras.Model, decode: Callable[[Any], Any]) -> Callable[[np.ndarray], Any]:
    """A model and what decodes its outputs, with the weights of each moment, in one piece.

    Args:
        decode: a pure function of operations of `keras.ops`.
    """
    from keras.backend import backend

    def run(images: Any) -> Any:
        return decode(model(images, training=False))

    if backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(run, reduce_retracing=True)
    if backend() == "jax":
        import jax

        @jax.jit
        def stateless(trainable: Any, others: Any, images: Any) -> Any:
            outputs, _others = model.stateless_call(trainable, others, images, training=False)
            return decode(outputs)

        # Variables that it closed over would stay as they were at the first call.
        return lambda images: stateless(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            images,
        )
    return run
