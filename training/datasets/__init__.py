"""Labelled images, embedded or from folders, tables, packs and collections, behind one shape.

`scan(spec, seed=...)` finds the images and their labels; `decode.decode_dataset` reads them at a
network's geometry.
"""

from __future__ import annotations

import dataclasses
import pathlib
from types import ModuleType
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.common.reading import NOW
from training.datasets import (
    folder,
    imagenet,
    label_table,
    mnist,
    mnist_photos,
    pack,
    parquet,
    scenes_digits,
    tfds,
)
from training.datasets.elsewhere import Use, joined, unused, with_beside
from training.datasets.splits import Dataset, Split

__all__ = ["EMBEDDED", "Dataset", "canonical", "is_table", "learnt", "measured", "require", "scan"]

EMBEDDED = {
    "mnist": mnist.scan,
    "mnist-photos": mnist_photos.scan,
    "scenes-digits": scenes_digits.scan,
}


def scan(
    spec: str,
    *,
    seed: int,
    to_pack: bool = False,
    val_data: str | None = None,
    reading: int = NOW,
    strict: bool = False,
    sparse: bool = False,
) -> Dataset:
    """Find a data set.

    Args:
        spec: the name of an embedded set ("mnist", "mnist-photos", "scenes-digits"), a folder with
            one sub-folder a class, a table or a folder with one (`label_table`), .parquet files or
            a folder of them (`parquet`), the folder of a pack, or "tfds:NAME[:VERSION][@DATA_DIR]".
        seed: chooses the split where the data has none of its own.
        to_pack: it is read once and not trained on, so that it may be of any size.
        val_data: another one, whose images are held out instead (see `elsewhere`).
        reading: the rules to read folders by, see `training.common.reading`.
        strict: a broken row of a table is an error; else it is left out, and a note counts it.
        sparse: nothing is to be learnt from few images: see `folder.scan`.

    Raises:
        InputError: no such set or folder, an empty class, fewer than two classes.
    """
    how = _How(seed=seed, to_pack=to_pack, reading=reading, strict=strict, sparse=sparse)
    if val_data is None:
        if _is_imagenet(spec):
            return imagenet.scan(pathlib.Path(spec))
        return with_beside(_scan(spec, how), spec)
    if _is_class_folder(spec) and _is_class_folder(val_data):
        root, other = pathlib.Path(spec), pathlib.Path(val_data)
        return folder.scan(root, seed=seed, val_root=other, reading=reading, sparse=sparse)
    learnt, measured = _scan(spec, how, Use.LEARN), _scan(val_data, how, Use.MEASURE)
    if (learnt.train.pictures is None) != (measured.train.pictures is None):
        raise InputError(
            f"{spec} and {val_data}: one is embedded and the other one has files; "
            "hold out images of the same kind"
        )
    return joined(learnt, measured)


def measured(spec: str) -> Dataset:
    """Find a data set that nothing is learnt from; all its images are held out.

    Of one with splits of its own those of its test split are, else of its validation split.

    Args:
        spec: as of `scan`.

    Raises:
        InputError: as of `scan`.
    """
    require(spec)
    if _is_imagenet(spec):
        return imagenet.measured(pathlib.Path(spec))
    if _is_class_folder(spec):
        return folder.measured(pathlib.Path(spec))
    return _scan(spec, _How(), Use.MEASURE)


def learnt(spec: str) -> Dataset:
    """Find a data set that nothing is measured on: `train` has its training split, or all of it.

    There may be few images, and one class.

    Args:
        spec: as of `scan`.

    Raises:
        InputError: as of `scan`.
    """
    require(spec)
    if _is_imagenet(spec):
        return imagenet.scan(pathlib.Path(spec))
    return _scan(spec, _How(sparse=True), Use.LEARN)


def _all_learnt(dataset: Dataset) -> Dataset:
    """With nothing held out: the held-out images of a folder without splits go back."""
    nothing = dataset.held_out.take([])
    if _has_splits(dataset):
        chooses = dataset.validation or dataset.held_out
        left = unused({"test": dataset.held_out.names} if dataset.validation else {}, Use.LEARN)
        return dataclasses.replace(
            dataset, validation=chooses, held_out=nothing, notes=(*dataset.notes, *left)
        )
    return dataclasses.replace(dataset, train=_together(dataset), held_out=nothing)


def _all_measured(dataset: Dataset) -> Dataset:
    """With nothing to learn from."""
    held_out = dataset.held_out if _has_splits(dataset) else _together(dataset)
    return dataclasses.replace(dataset, train=held_out.take([]), validation=None, held_out=held_out)


def _has_splits(dataset: Dataset) -> bool:
    """Whether its splits are its own, and not drawn by chance."""
    path = pathlib.Path(dataset.name)
    return pack.is_pack(path) or (path / "train").is_dir() or not path.is_dir()


def _together(dataset: Dataset) -> Split:
    """The images of both splits of a folder, in the order of their names."""
    splits = (dataset.train, dataset.held_out)
    names = [name for split in splits for name in split.names]
    both = Split(labels=np.concatenate([split.labels for split in splits]), names=tuple(names))
    return both.take(sorted(range(len(names)), key=names.__getitem__))


def _is_imagenet(spec: str) -> bool:
    """Whether it is ImageNet's validation images in one folder; see `imagenet`."""
    path = pathlib.Path(spec)
    return spec not in EMBEDDED and not pack.is_pack(path) and imagenet.recognises(path)


def _is_class_folder(spec: str) -> bool:
    path = pathlib.Path(spec)
    return spec not in EMBEDDED and path.is_dir() and not pack.is_pack(path) and not _reader(path)


def _reader(path: pathlib.Path) -> ModuleType | None:
    """What reads a file, or a folder that has one instead of folders of classes."""
    return next((one for one in (label_table, parquet) if one.recognises(path)), None)


def is_table(path: pathlib.Path) -> bool:
    """Whether a file is a table of labelled images."""
    return path.is_file() and _reader(path) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _How:
    """The arguments of `scan` that say how a data set is read."""

    seed: int = 0
    to_pack: bool = False
    reading: int = NOW
    strict: bool = False
    sparse: bool = False


def _scan(spec: str, how: _How, use: Use = Use.SPLIT) -> Dataset:
    require(spec)
    path = pathlib.Path(spec)
    reader = None if _is_name(spec) or pack.is_pack(path) else _reader(path)
    given: dict[str, Any] = {"seed": how.seed, "strict": how.strict, "sparse": how.sparse}
    given["use"] = use
    if reader is label_table:
        return label_table.scan(path, **given)
    if reader is parquet:
        most = None if how.to_pack else parquet.MOST_BYTES
        return parquet.scan(path, **given, most_bytes=most)
    change = {Use.LEARN: _all_learnt, Use.MEASURE: _all_measured}.get(use)
    found = _whole(spec, how)
    return change(found) if change else found


def _whole(spec: str, how: _How) -> Dataset:
    """Those whose readers know nothing of uses."""
    if spec in EMBEDDED:
        return EMBEDDED[spec]()
    if spec.startswith(tfds.PREFIX):
        most = None if how.to_pack else tfds.MOST_BYTES
        return tfds.scan(spec, seed=how.seed, most_bytes=most)
    path = pathlib.Path(spec)
    if pack.is_pack(path):
        return pack.scan(path)
    return folder.scan(path, seed=how.seed, reading=how.reading, sparse=how.sparse)


def _is_name(spec: str) -> bool:
    return spec in EMBEDDED or spec.startswith(tfds.PREFIX)


def require(spec: str) -> None:
    """Raise InputError for what `scan` finds nothing in; no folder is read."""
    path = pathlib.Path(spec)
    if _is_name(spec) or path.is_dir() or _reader(path):
        return
    if path.exists():
        raise InputError(
            f"{spec} is a file{_for_others(path)}; for classifiers give a folder with one "
            "sub-folder per class, a table of images and labels (.csv), or a pack"
        )
    there = ", ".join((*EMBEDDED, "tfds:NAME"))
    raise InputError(f"{spec}: no such folder, and no other data set (there are: {there})")


def _for_others(path: pathlib.Path) -> str:
    """What a file is that holds data of other tasks, by its name; empty of another file."""
    from training.datasets import coco, yolo

    for layout, reader in (("COCO", coco), ("YOLO", yolo)):
        if reader.recognises(path):
            return f" in the form of {layout}, for detectors and segmentation networks"
    return ""


def canonical(spec: str) -> str:
    """What means the same from any working directory: a name, or an absolute path."""
    if spec in EMBEDDED:
        return spec
    return (
        tfds.canonical(spec) if spec.startswith(tfds.PREFIX) else str(pathlib.Path(spec).resolve())
    )
