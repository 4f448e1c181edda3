"""What a .keras file may ask for: no more weights than it holds.

Its config.json says how large every layer is, and Keras makes the layers, with initial weights,
before it looks at those in the file: a few bytes can ask for all memory there is. So the layers
are made once without any values, and their sizes are held against the file's.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import math
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kerascnn import weights as weight_files
from kerascnn.errors import InputError, reason
from training.engine import h5_files

if TYPE_CHECKING:  # what can be refused is refused before a framework is needed
    import keras

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_LONGEST_CONFIG = 2**26  # bytes; the largest network of the zoo takes 2 MB
# HDF5's own tables, and what an archive that was packed again, compressed, saves on weights. Few
# weights of a network are equal, unless it is pruned.
_SLACK, _RATIO = 2**20, 20
_LONGEST_REASON = 200  # letters; Keras may put a whole config into an error
_WAITING = "uninitialized_variables"  # Keras' own name
_DRAWS = "global_seed_generator"
_MODULES = ("keras", "keras_hub", "builtins")
_MODELS = ("Functional", "Model", "Sequential")


def check(path: pathlib.Path) -> Mapping[str, Any]:
    """Refuse a .keras file whose layers are larger than the weights in it.

    One whose layers cannot be made at all is refused here: Keras would make those before the faulty
    one.

    Returns:
        The config.

    Raises:
        InputError: it is that, or no .keras file, or one with code in it: the layer is named.
    """
    config, held = _opened(path)
    try:
        wanted = bytes_of(config)
    except Exception as error:
        raise unreadable(path, error, config) from error
    refuse_larger(path, wanted, held)
    return config


def _opened(path: pathlib.Path) -> tuple[dict[str, Any], int]:
    """The config, and the bytes of the weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            inside = sum(sizes.values())
            if inside > _RATIO * path.stat().st_size + _SLACK or (
                sizes.get(_CONFIG, 0) > _LONGEST_CONFIG
            ):
                raise InputError(f"{path} unpacks to {_size_text(inside)}: it is no model of Keras")
            config = json.loads(archive.read(_CONFIG)) if _CONFIG in sizes else None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or reason(error)}") from None
    except zipfile.BadZipFile as error:
        raise weight_files.no_archive(path) from error
    except Exception as error:
        raise InputError(
            f"{path} is damaged ({_CONFIG} in it: {reason(error)}); copy it again"
        ) from error
    if not isinstance(config, dict):
        raise InputError(
            f"{path} is a zip without the {_CONFIG} of a model: no .keras file; save the whole "
            "model with model.save()"
        )
    return config, sizes.get(_WEIGHTS, 0)


def refuse_larger(path: pathlib.Path, wanted: int, held: int) -> None:
    """Raise InputError for a model that takes more bytes than its file has of weights."""
    if wanted > held + _SLACK:
        raise InputError(
            f"{path} asks for {_size_text(wanted)} of weights and holds {_size_text(held)}: its "
            "config was changed, or it was cut short; get it again"
        )


def load_h5(path: pathlib.Path) -> keras.Model:
    """Read the whole model that an .h5 file of Keras 3 holds; raises InputError."""
    import keras
    from keras.src.legacy.saving import saving_utils  # by which keras.models.load_model makes one

    found = h5_files.read(path)
    if found.version[0] < 3:
        version = ".".join(map(str, found.version))
        raise InputError(f"{path} was saved by Keras {version}: kerascnn import reads it")
    try:
        with without_values():
            model = saving_utils.model_from_config(copy.deepcopy(dict(found.config)))
            wanted = sum(math.prod(one.shape) * size(one.dtype) for one in model.variables)
    except Exception as error:
        raise unreadable(path, error, found.config) from error
    refuse_larger(path, wanted, found.bytes)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise unreadable(path, error, found.config) from error


def unreadable(
    path: pathlib.Path, error: Exception, config: Mapping[str, Any] | None = None
) -> InputError:
    """What to raise where Keras cannot make a model of a file of this config."""
    if "keras_hub" in str(error) and importlib.util.find_spec("keras_hub") is None:
        return InputError(
            f"{path} has layers of KerasHub, which is not installed: pip install keras-hub"
        )
    if config is not None and (code := h5_files.code_in(config, _is_known)):
        return InputError(f"{path}: {code}")
    why = reason(error)
    why = why if len(why) <= _LONGEST_REASON else why[:_LONGEST_REASON] + "..."
    return InputError(
        f"{path} is not a readable Keras model ({why}); copy it again, or save it again where it "
        "was made"
    )


def _is_known(one: Mapping[str, Any]) -> bool:
    """Whether Keras has the class of a part of a config, or has it registered."""
    import keras

    kind, inner = one["class_name"], one.get("config")
    named = one.get("registered_name") or kind
    root = str(one.get("module")).split(".")[0]
    if root in _MODULES or keras.saving.get_registered_object(named) is not None:
        return True
    if "registered_name" in one:
        return False
    # A layer in an .h5 file has a name and no module; what else has none is no class of a layer.
    is_layer = isinstance(inner, Mapping) and "name" in inner
    return not is_layer or kind in _MODELS or hasattr(keras.layers, kind)


def bytes_of(config: Mapping[str, Any]) -> int:
    """Of all variables of a model."""
    import keras

    with without_values():
        model = keras.saving.deserialize_keras_object(_uncompiled(config), safe_mode=True)
        return sum(math.prod(one.shape) * size(one.dtype) for one in model.variables)


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """A scope in which a variable has a shape and a type, and no values, now or later."""
    import keras
    from keras.src.backend.common import global_state

    # Keras gives values to all that wait for them when the next scope of any kind ends.
    waiting = global_state.get_global_attribute(_WAITING)
    global_state.set_global_attribute(_WAITING, [])
    # One that is made in here has no value either, and would be all later draws'.
    draws = global_state.get_global_attribute(_DRAWS)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(_WAITING, waiting)
        global_state.set_global_attribute(_DRAWS, draws)


def _uncompiled(config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's config without its optimiser, whose counter has a value at once.

    KerasHub's tasks, which have a backbone, are compiled where they are made unless told not to.
    """
    # Keras takes parts out of what it is given, and messages want the whole.
    config = {**copy.deepcopy(dict(config)), "compile_config": None}
    inner = config.get("config")
    hub = str(config.get("registered_name")).startswith("keras_hub>")
    if hub and isinstance(inner, dict) and "backbone" in inner:
        config["config"] = {**inner, "compile": False}
    return config


def size(dtype: str) -> int:
    """Bytes of a number: of "bfloat16" two, of "bool" one."""
    bits = re.search(r"\d+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1


def _size_text(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
