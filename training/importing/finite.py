"""Weights that are numbers."""

from __future__ import annotations

import keras
import numpy as np

from kerascnn.errors import InputError


def require_finite(model: keras.Model) -> None:
    """Raise InputError for weights that are no numbers: what training left that had diverged."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise InputError(
                f"{model.name} has weights that are NaN or infinite, in {weight.path}: its "
                "training has diverged; take a state from before that"
            )
