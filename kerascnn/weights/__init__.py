"""Reference checkpoints -> our models, by name tables.

Weights come from packages that the user installed (extra `pretrained`); nothing is downloaded.
"""

from __future__ import annotations

import keras

from kerascnn.errors import InputError
from kerascnn.weights import efficientnet_lite

_LOADERS = {("efficientnet_lite0", "imagenet"): efficientnet_lite.load_lite0}


def load(model: keras.Model, name: str, weights: str) -> None:
    """Fill `model`, built as `name`, with the named weights, in place.

    The logits layer keeps its random weights where its length differs from the checkpoint's.

    Raises:
        InputError: no such weights, or the package that carries them is not installed.
    """
    try:
        loader = _LOADERS[name, weights]
    except KeyError:
        raise InputError(f"no weights {weights!r} for {name}") from None
    loader(model)
