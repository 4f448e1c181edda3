"""The smallest images that a network takes: whatever halves a map has two pixels to halve.

Keras builds most networks for any size. Of images of 5x5 the last stages of a MobileNet see one
pixel each, and learn nothing that a dense layer would not.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable

import keras

from kerascnn.errors import InputError
from training.engine.keras_files import without_values

_BACKBONE = ("stem", "stage", "enc")  # an SSD's own layers end at one pixel, as in the paper
_LARGEST = 512  # a network that fails there too fails by something else


def halves_a_pixel(model: keras.Model) -> bool:
    """Whether a layer of the backbone that leaves out pixels is given a single one."""
    return any(
        _seen(layer) < 2
        for layer in model.layers
        if layer.name.startswith(_BACKBONE) and max(_strides(layer)) > 1
    )


def least_side(build: Callable[[int], keras.Model], side: int) -> int | None:
    """The smallest side above `side` at which a network can be built, and halves no pixel.

    Args:
        build: the network for a side in pixels.

    Returns:
        None where no size is of help.
    """

    def fine(one: int) -> bool:
        try:
            with without_values():
                return not halves_a_pixel(build(one))
        except (InputError, TypeError, ValueError):
            return False

    if side >= _LARGEST or not fine(_LARGEST):
        return None
    return bisect.bisect_left(range(_LARGEST), True, lo=side + 1, key=fine)


def _seen(layer: keras.Layer) -> int:
    """Pixels of the shorter side of what a layer is given, without zeros around it."""
    given = layer.input
    before = given._keras_history.operation
    if isinstance(before, keras.layers.ZeroPadding2D):
        given = before.input
    return int(min(given.shape[1:3]))


def _strides(layer: keras.Layer) -> tuple[int, ...]:
    found = getattr(layer, "strides", 1)
    return (found,) if isinstance(found, int) else tuple(found)
