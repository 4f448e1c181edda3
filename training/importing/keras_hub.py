"""What a classifier of KerasHub says of its images: that stands beside its graph, not inside.

`keras_hub.models.ImageClassifier` has a `preprocessor`, whose `image_converter` resizes an image
and gives the network `image * scale + offset`; both are in the .keras file.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerascnn.preprocessing import INTERPOLATIONS, Preprocessing


def preprocessing(model: keras.Model, shape: tuple[int, int, int]) -> Preprocessing | None:
    """By its image converter; None where it has none, or one that no `Preprocessing` says.

    Args:
        model: as it was read.
        shape: (height, width, channels) of the network's input.
    """
    converter = getattr(getattr(model, "preprocessor", None), "image_converter", None)
    if converter is None:
        return None
    height, width, channels = shape
    try:
        scale, offset = _numbers(converter.scale, 1.0), _numbers(converter.offset, 0.0)
        interpolation = str(converter.interpolation)
        if not (scale > 0).all():
            return None
        return Preprocessing(
            height=height,
            width=width,
            channels=channels,
            mean=_told(-offset / scale),
            std=_told(1 / scale),
            interpolation=interpolation if interpolation in INTERPOLATIONS else "bilinear",
            **_resize(converter),
        )
    except (AttributeError, TypeError, ValueError):
        return None


def _numbers(value: Any, default: float) -> np.ndarray:
    """(1,), or (channels,)."""
    return np.asarray(default if value is None else value, np.float64).reshape(-1)


def _told(values: np.ndarray) -> float | tuple[float, ...]:
    """Six digits of what was computed in another way there: 127.5 is 127.5."""
    rounded = tuple(float(f"{one:.6g}") + 0.0 for one in values)
    return rounded[0] if len({*rounded}) == 1 else rounded


def _resize(converter: Any) -> dict[str, Any]:
    """As `keras.layers.Resizing` does it: the whole image, or what has the input's shape."""
    if converter.crop_to_aspect_ratio:
        return {"resize": "crop", "crop_fraction": 1.0}
    return {"resize": "stretch"}
