"""What a .keras file may ask for: no more weights than it holds.

Its config.json says how large every layer is, and Keras makes the layers, with initial weights,
before it looks at those in the file: a few bytes can ask for all memory there is. So the layers
are made once without any values, and their sizes are held against the file's.
"""

from __future__ import annotations

import importlib.util
import json
import math
import pathlib
import re
import zipfile
from typing import TYPE_CHECKING

from kerascnn.errors import InputError, reason
from training.engine import h5_files

if TYPE_CHECKING:  # what can be refused is refused before a framework is needed
    import keras

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
    refuse_larger(path, wanted, held)


def refuse_larger(path: pathlib.Path, wanted: int, held: int) -> None:
    """Raise InputError for a model that takes more bytes than its file has of weights."""
    if wanted > held + _SLACK:
        raise InputError(
            f"{path} asks for {_told(wanted)} of weights and holds {_told(held)}: its config "
            "was changed, or it was cut short; get it again"
        )


def load_h5(path: pathlib.Path) -> keras.Model:
    """Read the whole model that an .h5 file of Keras 3 holds; raises InputError."""
    import keras
    from keras.src.legacy.saving import saving_utils  # by which keras.models.load_model makes one

    found = h5_files.read(path)
    if found.version[0] < 3:
        told = ".".join(map(str, found.version))
        raise InputError(f"{path} was saved by Keras {told}: kerascnn import reads it")
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = saving_utils.model_from_config(dict(found.config))
            wanted = sum(math.prod(one.shape) * size(one.dtype) for one in model.variables)
    except Exception as error:
        raise unreadable(path, error) from error
    refuse_larger(path, wanted, found.bytes)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: pathlib.Path, error: Exception) -> InputError:
    """What to raise where Keras cannot make a model of a file."""
    remedy = "train it again or take another file"
    if "keras_hub" in str(error) and importlib.util.find_spec("keras_hub") is None:
        remedy = "its layers are KerasHub's: pip install keras-hub"
    return InputError(f"{path} is not a readable Keras model ({reason(error)}); {remedy}")


def bytes_of(config: dict) -> int:
    """Of all variables of a model."""
    import keras

    # In this scope a variable has a shape and a type, and no values.
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(_uncompiled(config), safe_mode=True)
        return sum(math.prod(one.shape) * size(one.dtype) for one in model.variables)


def _uncompiled(config: dict) -> dict:
    """A model's config without its optimiser, whose counter has a value at once.

    KerasHub's tasks, which have a backbone, are compiled where they are made unless told not to.
    """
    config = {**config, "compile_config": None}
    inner = config.get("config")
    hub = str(config.get("registered_name")).startswith("keras_hub>")
    if hub and isinstance(inner, dict) and "backbone" in inner:
        config["config"] = {**inner, "compile": False}
    return config


def size(dtype: str) -> int:
    """Bytes of a number: of "bfloat16" two, of "bool" one."""
    bits = re.search(r"\d+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1


def _told(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
