"""Reference checkpoints -> our models, by name tables.

    name ──> published (where it is) ──> download, once, into the cache ──┐
    file ─────────────────────────────────────────────────────────────────┴──> read (by its first
    bytes) ──> tensors by name ──> layout (by a tensor it alone has) ──> model.build with the
    layout's options ──> fill, layer by layer, by the layout's names

A detector or U-Net takes the files of its backbone, too: those fill the layers that the two share.

Weights come from files that the user has, from packages that the user installed (extra
`pretrained`), or, asked for by name, from whoever publishes them. Nothing in a file is run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import zipfile
from collections.abc import Mapping, Set
from typing import Any

from kerascnn.errors import InputError
from kerascnn.weights import (
    cache,
    effdet,
    efficientnet_pytorch,
    keras_applications,
    kerascnn_runs,
    mmdetection,
    plain_unet,
    published,
    timm,
    torchvision,
)
from kerascnn.weights.layout import Layout

_LAYOUTS = (
    *keras_applications.LAYOUTS,
    *torchvision.LAYOUTS,
    *timm.LAYOUTS,
    *efficientnet_pytorch.LAYOUTS,
    *effdet.LAYOUTS,
    *mmdetection.LAYOUTS,
    *plain_unet.LAYOUTS,
)
_HDF5 = b"\x89HDF\r\n\x1a\n"  # how its files begin
SUFFIXES = (".h5", ".keras", ".pth", ".pt", ".safetensors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A weights file that was recognised.

    Attributes:
        path: of the file.
        layout: how it names and orders its tensors.
        tensors: by name; anything with a shape that NumPy reads.
        backbone: whether it is a classifier, of which the model has the backbone alone.
        published: what is published of it, where it was asked for by name.
    """

    path: pathlib.Path
    layout: Layout
    tensors: Mapping[str, Any]
    backbone: bool = False
    published: published.Published | None = None

    def unused(self, used: Set[str]) -> str | None:
        """The first tensor that is not in `used` and that the layout does not ignore."""
        ignored = re.compile(self.layout.ignored)
        return next((n for n in self.tensors if n not in used and not ignored.fullmatch(n)), None)

    def by_order(self) -> Source | None:
        """The same file with its layers named by their order; None where that does not count.

        It counts for files that keras.applications publishes, some layers of which have names of
        older versions.
        """
        row = self.published or published.of_file(self.path.name)
        if row is None or row.source != keras_applications.ORIGIN:
            return None
        from kerascnn.weights import keras_order

        with contextlib.suppress(InputError):  # another file of that name
            named = keras_order.named(row, self.tensors)
            if found := _source(self.path, "keras", named, (row.model,)):
                return dataclasses.replace(found, backbone=self.backbone, published=self.published)
        return None


def origins(name: str) -> tuple[str, ...]:
    """Whose files `name` can load: keras.applications, torchvision, timm, ..."""
    return tuple(dict.fromkeys(layout.origin for layout in _layouts(name)))


def find(
    name: str,
    weights: str | os.PathLike[str],
    *,
    backbone: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Source:
    """Open weights for the zoo's model `name`; download them, if asked for by name.

    Args:
        weights: a name of published weights, or the path of a file.
        backbone: the classifier in `name`, whose files fit as well.
        options: of the builder; published files are for one width, for example.

    Raises:
        InputError: no such name or file, a file of another network or in no known layout, or one
            that cannot be downloaded.
    """
    row = published.choose(name, os.fspath(weights), options, backbone=backbone)
    if row is not None:
        found = _recognised(name, fetch(row), backbone, row)
        return dataclasses.replace(found, published=row)
    require(name, weights, backbone=backbone)
    path = pathlib.Path(weights)
    return _recognised(name, path, backbone, published.of_file(path.name))


def fetch(row: published.Published) -> pathlib.Path:
    """The file of published weights: of an installed package, of the cache, or downloaded.

    Raises:
        InputError: it cannot be had; the message says where it is, and where to put it.
    """
    if row.url is None:
        return efficientnet_pytorch.packaged_checkpoint()
    from kerascnn.weights import download

    return download.fetch(row)


def required(name: str, weights: str | None) -> str:
    """The weights that were asked for; raises InputError, which names some, where none were."""
    if weights is not None:
        return weights
    has = published.names(name)
    there = f"--weights {has[0]}" if has else "--weights FILE"
    raise InputError(f"{name} has random weights without --weights; give {there}")


def require(
    name: str,
    weights: str | os.PathLike[str],
    *,
    backbone: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Refuse what is neither a name of weights nor a file, and what cannot be had offline.

    No file is opened for it, and nothing is downloaded.

    Args:
        name, weights, backbone, options: as of `find`.

    Raises:
        InputError: the message says what can be had: names, files.
    """
    asked, path = os.fspath(weights), pathlib.Path(weights)
    row = published.choose(name, asked, options, backbone=backbone)
    if row is not None:
        if row.url is None or (cache.offline() and not cache.path_of(row).is_file()):
            fetch(row)
        return
    if path.exists():
        return
    if path.suffix in SUFFIXES:
        raise InputError(f"{asked}: no such file; give the path of a weights file")
    files = ", ".join((*origins(name), *(origins(backbone) if backbone else ()), "kerascnn"))
    raise InputError(
        f"no weights {asked!r} for {name}; {published.unknown(name, asked, backbone)}; or give the "
        f"path of a weights file of {files} ({', '.join(SUFFIXES)})"
    )


def _recognised(
    name: str, path: pathlib.Path, backbone: str | None, row: published.Published | None = None
) -> Source:
    """A file with its layout; `row` is what is published of it."""
    kind, tensors = read(path)
    models = (name, backbone) if backbone else (name,)
    if source := _source(path, kind, tensors, models):
        return source
    if row is not None and row.source == keras_applications.ORIGIN and row.model in models:
        from kerascnn.weights import keras_order

        if source := _source(path, kind, keras_order.named(row, tensors), models):
            return source
    known = [layout for model in models for layout in _layouts(model)]
    wanted = ", ".join(f"{layout.signature} ({layout.origin})" for layout in known) or "none"
    first = next(iter(tensors), "nothing")
    raise InputError(
        f"{path} holds no weights of {name} in a known layout; it begins with {first}, and one of "
        f"these tensors tells a layout: {wanted}"
    )


def _source(
    path: pathlib.Path, kind: str, tensors: Mapping[str, Any], models: tuple[str, ...]
) -> Source | None:
    """The first layout of `models`, a network and its backbone, that the tensors have."""
    for model in models:
        for layout in (*_layouts(model), kerascnn_runs.layout(model)):
            if layout.kind == kind and (found := layout.read(tensors)):
                own, values = found
                return Source(path=path, layout=own, tensors=values, backbone=model != models[0])
    return None


def _layouts(name: str) -> list[Layout]:
    return [layout for layout in _LAYOUTS if name in layout.models]


def read(path: pathlib.Path) -> tuple[str, Mapping[str, Any]]:
    """The tensors of a file, and whether their names are "keras" or "torch" ones."""
    from kerascnn.weights.hdf5 import read_hdf5, read_keras_archive
    from kerascnn.weights.safetensors import read_safetensors
    from kerascnn.weights.torch_checkpoint import read_checkpoint

    try:
        with path.open("rb") as stream:
            head = stream.read(9)
            archive = zipfile.is_zipfile(stream)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if head.startswith(_HDF5):
        return "keras", read_hdf5(path)
    if archive:
        if "model.weights.h5" in _entries(path):
            return "keras", read_keras_archive(path)
        return "torch", read_checkpoint(path)
    if path.suffix == ".keras":
        raise no_archive(path)
    if path.suffix == ".h5" or head.startswith(b"PK"):
        raise InputError(f"{path} is cut short, or not a weights file")
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return "torch", read_safetensors(path)
    return "torch", read_checkpoint(path)


def no_archive(path: pathlib.Path) -> InputError:
    """What to raise for a file that is called .keras and is none."""
    with path.open("rb") as stream:
        hdf5 = stream.read(len(_HDF5)) == _HDF5
    if hdf5:
        return InputError(f"{path} is an HDF5 file, no .keras file (a zip); call it .h5")
    return InputError(f"{path} is not a .keras file (a zip), or is cut short; copy it again")


def _entries(path: pathlib.Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as opened:
            return opened.namelist()
    except Exception as error:
        raise InputError(f"{path} is damaged, or cut short ({error}); get it again") from None
