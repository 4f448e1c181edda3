"""What an .h5 file of a whole Keras model says before anything of it is made.

The layers stand in an attribute as JSON, and their weights in data sets. Neither a layer that is
code (a Lambda is Python's byte code there) nor a class of somebody else's module is ever made of
it, no other file is opened that it points to, and no layer may be larger than what it holds.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kerascnn.errors import InputError, reason

ENDINGS = (".h5", ".hdf5")
_LONGEST_CONFIG = 2**26  # bytes, as of a .keras file
_RATIO, _SLACK = 20, 2**10  # what compressing may save on the weights of a layer
_MODULES = ("keras", "tf_keras", "builtins", "kerascnn")
_CODE = ("Lambda", "__lambda__", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod",
         "InstanceProperty", "__typespec__")  # fmt: skip
_REMEDY = (
    "load the model where it was made, write that layer with layers of Keras, and save it again"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What was read of a file.

    Attributes:
        config: of the model, as JSON has it.
        version: of the Keras that wrote it; (2, 15, 0), for example.
        bytes: of all weights.
    """

    config: Mapping[str, Any]
    version: tuple[int, ...]
    bytes: int


def read(path: pathlib.Path) -> Contents:
    """Read what a file says of its model, and refuse it if that is more than layers.

    Raises:
        InputError: no file of a whole model, or one with code in it; the layer is named.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            version = _text(file.attrs.get("keras_version", "1"))
            held = sum(_bytes(path, file))
        if text is None:
            raise InputError(
                f"{path} holds weights alone, without the layers; save the whole model with "
                "model.save()"
            )
        if len(text) > _LONGEST_CONFIG:
            raise InputError(f"{path} is no model of Keras: its config has {len(text):,} bytes")
        config = json.loads(_text(text))
        parts = tuple(int(one) for one in version.split("-")[0].split(".")[:2])
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} is not a readable HDF5 file of Keras ({reason(error)}); copy it again"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict | list):
        raise InputError(f"{path} is no model of Keras: its config has no layers")
    _refuse_code(path, config)
    return Contents(config=config, version=parts, bytes=held)


def layers_of(config: Any) -> Iterator[Mapping[str, Any]]:
    """All that has a class in a config, models and their parts as well."""
    if isinstance(config, Mapping):
        if isinstance(config.get("class_name"), str):
            yield config
        for value in config.values():
            yield from layers_of(value)
    elif isinstance(config, list):
        for value in config:
            yield from layers_of(value)


def name_of(config: Mapping[str, Any]) -> str:
    """Of a layer's config, what a message calls it."""
    name = _own_name(config)
    return f"layer {name!r} ({config['class_name']})" if name else str(config["class_name"])


def _own_name(config: Mapping[str, Any]) -> str | None:
    inner = config.get("config")
    name = config.get("name") or (inner.get("name") if isinstance(inner, Mapping) else None)
    return str(name) if name else None


def code_in(config: Mapping[str, Any], is_known: Callable[[Mapping[str, Any]], bool]) -> str | None:
    """The part of a config that is code, with the remedy; None where there is none.

    Args:
        is_known: whether the class of a part is one that is there.
    """
    for one in layers_of(config):
        if one["class_name"] in _CODE:
            return f"{name_of(one)} is code, which is never run from a file; {_REMEDY}"
        if not is_known(one):
            return _of_strange_class(one, whole=one is config)
    return None


def _of_strange_class(one: Mapping[str, Any], *, whole: bool) -> str:
    name, kind = _own_name(one), one["class_name"].rpartition(">")[2]  # behind its package's name
    if whole:
        return (
            f"the model is of the class {kind}, which is code that no file may bring along; make "
            "it of layers of Keras where it was made, as keras.Model(inputs, outputs) or "
            "keras.Sequential, and save it again"
        )
    culprit = f"layer {name!r} is of the class {kind}" if name else f"{kind} is a class or function"
    return f"{culprit}, which is code that no file may bring along; {_REMEDY}"


def _refuse_code(path: pathlib.Path, config: Mapping[str, Any]) -> None:
    if code := code_in(config, _is_of_keras):
        raise InputError(f"{path}: {code}")


def _is_of_keras(one: Mapping[str, Any]) -> bool:
    """Whether a part names no other module; Keras itself knows which of its classes there are."""
    module = one.get("module")
    return module is None or str(module).split(".")[0] in _MODULES


def _bytes(path: pathlib.Path, group: Any) -> Iterator[int]:
    """Of each data set; refuses what is stored elsewhere."""
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path} points to {name!r} in another place, which is not followed")
        inner = group[name]
        if isinstance(inner, h5py.Group):
            yield from _bytes(path, inner)
        elif inner.external or inner.is_virtual:
            raise InputError(f"{path} keeps {name!r} in another file, which is not opened")
        else:
            # A data set of zeros may say that it is large and have nothing stored.
            stored = _RATIO * inner.id.get_storage_size() + _SLACK
            yield min(math.prod(inner.shape) * inner.dtype.itemsize, stored)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
