"""A model of Keras that Python has in memory, taken as if it had been saved."""

from __future__ import annotations

import hashlib
import pathlib
import re
import tempfile

import keras
import numpy as np

from kerascnn.errors import InputError, reason
from training.engine.run import load_keras
from training.importing.asked import IN_MEMORY, file_name

_NAMELESS = re.compile(r"(functional|sequential|model)(_\d+)?")  # what Keras calls a model


def name_of(model: keras.Model) -> str | None:
    """What its owner called it, as files may be called; None where Keras did."""
    name = file_name(model.name)
    return None if not name or _NAMELESS.fullmatch(name) else name


def sha256_of(model: keras.Model) -> str:
    """Of its weights in their order, with shapes and types."""
    found = hashlib.sha256()
    for value in map(np.ascontiguousarray, model.get_weights()):
        found.update(f"{value.shape} {value.dtype}".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def copied(model: keras.Model) -> keras.Model:
    """The model as it is read again from a .keras file, so that what was given stays as it is.

    Raises:
        InputError: one without weights yet, or with a layer that a file cannot have.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        try:
            model.save(path)
        except Exception as error:
            raise InputError(f"{IN_MEMORY} cannot be saved ({reason(error)})") from error
        try:
            return load_keras(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), IN_MEMORY)) from error
