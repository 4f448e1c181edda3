"""What a .keras file may ask for: no more weights than it holds.

Its config.json says how large every layer is, and Keras makes the layers, with initial weights,
before it looks at those in the file: a few bytes can ask for all memory there is. So the layers
are made once without any values, and their sizes are held against the file's.
"""

from __future__ import annotations

import json
import math
import pathlib
import re
import zipfile

from kerascnn.errors import InputError, reason

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_LONGEST_CONFIG = 2**26  # bytes; the largest network of the zoo takes 2 MB
# HDF5's own tables, and what an archive that was packed again, compressed, saves on weights. Few
# weights of a network are equal, unless it is pruned.
_SLACK, _RATIO = 2**20, 20


def check(path: pathlib.Path) -> None:
    """Raise InputError for a .keras file whose layers are larger than the weights in it.

    One whose layers cannot be made at all is refused here: Keras would make those before the faulty
    one. What is no archive is left to Keras, which says why.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            inside = sum(sizes.values())
            if inside > _RATIO * path.stat().st_size + _SLACK or (
                sizes.get(_CONFIG, 0) > _LONGEST_CONFIG
            ):
                raise InputError(f"{path} unpacks to {_told(inside)}: it is no model of Keras")
            config = json.loads(archive.read(_CONFIG))
    except InputError:
        raise
    except Exception:
        return
    try:
        wanted, held = bytes_of(config), sizes.get(_WEIGHTS, 0)
    except Exception as error:
        raise unreadable(path, error) from error
    if wanted > held + _SLACK:
        raise InputError(
            f"{path} asks for {_told(wanted)} of weights and holds {_told(held)}: its config.json "
            "was changed, or it was cut short; get it again"
        )


def unreadable(path: pathlib.Path, error: Exception) -> InputError:
    """What to raise where Keras cannot make a model of a file."""
    return InputError(
        f"{path} is not a readable Keras model ({reason(error)}); train it again or take another "
        "file"
    )


def bytes_of(config: dict) -> int:
    """Of all variables of a model."""
    import keras

    # In this scope a variable has a shape and a type, and no values.
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(
            {**config, "compile_config": None}, safe_mode=True
        )
        return sum(math.prod(one.shape) * size(one.dtype) for one in model.variables)


def size(dtype: str) -> int:
    """Bytes of a number: of "bfloat16" two, of "bool" one."""
    bits = re.search(r"\d+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1


def _told(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
