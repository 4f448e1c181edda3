"""Read Keras weights: legacy .h5, .weights.h5, and the .keras archive around one.

Variables are named `layer/kernel` and so on, whatever the format. No configuration is read, no
object is built, and links that lead out of the file are refused.
"""

from __future__ import annotations

import io
import pathlib
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py

from kerascnn.errors import InputError

_WEIGHTS = "model.weights.h5"
_KERNEL = ("kernel", "bias")
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# Variables of a layer that are stored by number, in the order in which Keras' layers make them.
_NUMBERED = {1: _KERNEL[:1], 2: _KERNEL, 3: ("mean", "variance", "count"), 4: _NORM}
_OLD_NAME = re.compile(r".*_(?P<kind>[Wb])(_\d+)?")


def read_hdf5(path: pathlib.Path) -> dict[str, Any]:
    """Return the variables as h5py data sets, which are read when they are asked for.

    Raises:
        InputError: no Keras weights in it, cut short, or links to other files.
    """
    try:
        return dict(_variables(h5py.File(path, "r"), path))
    except OSError as error:
        raise InputError(f"{path} is cut short or no HDF5 file ({error})") from None


def read_keras_archive(path: pathlib.Path) -> dict[str, Any]:
    """The same for a .keras file."""
    with zipfile.ZipFile(path) as archive:
        try:
            data = io.BytesIO(archive.read(_WEIGHTS))
            return dict(_variables(h5py.File(data, "r"), path))
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged: {_WEIGHTS} in it ({error})") from None


def _variables(root: h5py.File, path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    layers = _member(root, "layers", path)
    if layers is not None:
        yield from _numbered(layers, path)
        return
    legacy = _member(root, "model_weights", path) or root
    if "layer_names" not in legacy.attrs:
        raise InputError(f"{path} holds no Keras weights")
    for layer in map(_text, legacy.attrs["layer_names"]):
        group = _member(legacy, layer, path)
        names = [_text(name) for name in group.attrs["weight_names"]] if group is not None else []
        # A network inside another is stored as one layer, with the names of its own layers.
        nested = len({full.partition("/")[0] for full in names if "/" in full}) > 1
        for full in names:
            variable = _member(group, full, path)
            if variable is None:
                raise InputError(f"{path} is damaged: {full} is missing in layer {layer}")
            yield f"{full.rpartition('/')[0] if nested else layer}/{_role(full)}", variable


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
