"""Read Keras weights: legacy .h5, .weights.h5, and the .keras archive around one.

Variables are named `layer/kernel` and so on, whatever the format. No configuration is read, no
object is built, and links that lead out of the file are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import pathlib
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from kerascnn.errors import InputError, reason

_WEIGHTS = "model.weights.h5"
_KERNEL = ("kernel", "bias")
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# Variables of a layer that are stored by number, in the order in which Keras' layers make them.
_NUMBERED = {1: _KERNEL[:1], 2: _KERNEL, 3: ("mean", "variance", "count"), 4: _NORM}
_OLD_NAME = re.compile(r".*_(?P<kind>[Wb])(_\d+)?")


@dataclasses.dataclass(frozen=True, eq=False)
class Variable:
    """A data set, which is read when NumPy asks for it; InputError if it is damaged."""

    path: pathlib.Path
    name: str
    data: h5py.Dataset

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        with _reading(self.path):
            return np.asarray(self.data[()], dtype)


def read_hdf5(path: pathlib.Path) -> dict[str, Variable]:
    """Return the variables, which are read when they are asked for.

    Raises:
        InputError: no Keras weights in it, cut short, damaged, or links to other files.
    """
    with _reading(path):
        return _checked(path, _variables(h5py.File(path, "r"), path))


def read_keras_archive(path: pathlib.Path) -> dict[str, Variable]:
    """The same for a .keras file."""
    with _reading(path), zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(_WEIGHTS)
        # Keras stores it as it is; a compressed one may be a bomb.
        if entry.compress_type != zipfile.ZIP_STORED:
            raise InputError(f"{path}: {_WEIGHTS} in it is compressed; save the model again")
        data = io.BytesIO(archive.read(entry))
        return _checked(path, _variables(h5py.File(data, "r"), path))


def _checked(path: pathlib.Path, found: Iterator[tuple[str, Any]]) -> dict[str, Variable]:
    variables = {}
    for name, data in found:
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiub":
            raise InputError(f"{path} is damaged: {name} is not an array of numbers; get it again")
        variables[name] = Variable(path, name, data)
    return variables


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    """h5py and zipfile end in any error on damaged files."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} is damaged, cut short, or no HDF5 file ({reason(error)}); get it again"
        ) from None


def _variables(root: h5py.File, path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    layers = _member(root, "layers", path)
    if layers is not None:
        yield from _numbered(layers, path)
        return
    legacy = _member(root, "model_weights", path) or root
    if not {"layer_names", "layer_names0"} & set(legacy.attrs):
        raise InputError(f"{path} holds no Keras weights")
    for layer in _names(legacy, "layer_names"):
        group = _member(legacy, layer, path)
        names = [] if group is None else _names(group, "weight_names")
        # A network inside another is stored as one layer, with the names of its own layers.
        nested = len({full.partition("/")[0] for full in names if "/" in full}) > 1
        for full in names:
            variable = _member(group, full, path)
            if variable is None:
                raise InputError(f"{path} is damaged: {full} is missing in layer {layer}")
            yield f"{full.rpartition('/')[0] if nested else layer}/{_role(full)}", variable


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names, which Keras cuts into attributes with numbers where it is too long."""
    if attribute in group.attrs:
        return [_text(name) for name in group.attrs[attribute]]
    parts = (f"{attribute}{number}" for number in itertools.count())
    there = itertools.takewhile(lambda part: part in group.attrs, parts)
    return [_text(name) for part in there for name in group.attrs[part]]


def _numbered(layers: h5py.Group, path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    """Keras 3: layers stand under the names of their classes, and carry their own beside it."""
    for key in layers:
        group = _member(_member(layers, key, path), "vars", path)
        if group is None or not len(group):
            continue
        name = group.attrs.get("name")
        roles = _NUMBERED.get(len(group))
        if name is None or roles is None:
            raise InputError(
                f"{path}: layer {key} has no name, or unknown variables; save the model as .keras "
                "or legacy .h5 with a newer Keras"
            )
        for number, role in enumerate(roles):
            yield f"{_text(name)}/{role}", _member(group, str(number), path)


def _member(group: h5py.Group | None, name: str, path: pathlib.Path) -> Any:
    """A group or data set of this very file, or None."""
    for part in name.split("/"):
        if group is None:
            return None
        link = group.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path}: {name} is a link, which is refused")
        group = group[part]
    if isinstance(group, h5py.Dataset) and (group.external or group.is_virtual):
        raise InputError(f"{path}: {name} lies in another file, which is refused")
    return group


def _role(full: str) -> str:
    """kernel of conv/kernel:0, depthwise_kernel:0, or the oldest files' conv_W_1:0."""
    name = full.rpartition("/")[2].partition(":")[0]
    old = _OLD_NAME.fullmatch(name)
    if old:
        return {"W": "kernel", "b": "bias"}[old["kind"]]
    return "kernel" if name == "depthwise_kernel" else name


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
