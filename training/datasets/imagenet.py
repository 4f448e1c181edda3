"""ImageNet's validation images as they come: in one folder, with a list of their classes.

    ILSVRC2012_val_00000001.JPEG ...  as ILSVRC2012_img_val.tar unpacks; its list is one of
      ILSVRC2012_validation_ground_truth.txt  the development kit's: a number a line, 1 to 1,000 in
                                      the kit's own order, which meta.mat or map_clsloc.txt tells
      LOC_val_solution.csv            Kaggle's: a name and a synset
      imagenet_2012_validation_synset_labels.txt  TensorFlow's: a synset a line
      val.txt                         Caffe's: a name and a number from 0 in the order of the
                                      synsets, which LOC_synset_mapping.txt or synset_words.txt has
    images/val_0.JPEG ...             Tiny ImageNet's, with val_annotations.txt beside images/

The images lie in the folder that is given, in its val/, or where Kaggle's archive has them. Lists
are looked for beside the images, in the folders above them, and in the kit's folder there. Classes
are synsets (n01440764), which a network's labels are found by. Folders of synsets are read by
`folder`, as any class folders.

Source: the kit's readme.txt, https://www.image-net.org/challenges/LSVRC/2012/.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from kerascnn.errors import InputError
from training.common.text import read_text
from training.datasets import folder
from training.datasets.notes import Note
from training.datasets.paths import is_hidden, suffix_of
from training.datasets.pictures import SUFFIXES
from training.datasets.splits import Dataset, Split, digest

_IMAGE = re.compile(r"(?:ILSVRC2012_)?val_(\d+)\.jpe?g", re.IGNORECASE)
_SYNSET = re.compile(r"n\d{8}")
# Where the images may be below what is given; the first ones that are there count.
_FOLDERS = (
    "", "val", "images", "val/images", "ILSVRC2012_img_val", "Data/CLS-LOC/val",
    "ILSVRC/Data/CLS-LOC/val",
)  # fmt: skip
_KITS = ("", "ILSVRC2012_devkit_t12/data", "ILSVRC2012_devkit_t12", "devkit/data", "data")
_ABOVE = 5  # folders up in which lists are looked for
_MOST_BYTES = 64 << 20  # of a list; the longest one has 20 MB
_SHOWN = 3

_Truth = Mapping[str, str]  # synsets by the stem of a file's name, or by its number


def recognises(path: pathlib.Path) -> bool:
    """Whether `measured` is what should read a folder."""
    return _images_in(path) is not None


def measured(path: pathlib.Path) -> Dataset:
    """The validation images, all held out.

    Raises:
        InputError: no list of their classes, or one that lacks some of the images.
    """
    where = _images_in(path)
    assert where is not None, path
    names = _listed(where)
    source, truth = _truth(where, names)
    synsets = [truth.get(_key(name, truth)) for name in names]
    unknown = [name for name, synset in zip(names, synsets, strict=True) if synset is None]
    if unknown:
        raise InputError(
            f"{source} does not say what {len(unknown):,} images of {where} are, such as "
            f"{', '.join(unknown[:_SHOWN])}; get the list that belongs to them"
        )
    found = [synset for synset in synsets if synset is not None]
    classes = tuple(sorted(set(found)))
    places = {synset: place for place, synset in enumerate(classes)}
    split = Split(
        labels=np.array([places[synset] for synset in found], np.int32),
        names=tuple(str(where / name) for name in names),
    )
    pairs = [f"{name}\0{synset}".encode() for name, synset in zip(names, found, strict=True)]
    return Dataset(
        name=str(path),
        classes=classes,
        train=split.take([]),
        validation=None,
        held_out=split,
        resize="crop",
        fingerprint=digest(pairs),
        notes=_notes(source, truth, len(names)),
    )


def scan(path: pathlib.Path) -> Dataset:
    """With the class folders of train/ beside the images to learn from.

    Raises:
        InputError: as of `measured`, or there are none.
    """
    held_out, where = measured(path), _images_in(path)
    assert where is not None
    train = where.parent / "train"
    if where.name != "val" or not train.is_dir():
        raise InputError(
            f"{path} has ILSVRC's validation images alone, with nothing to learn from; kerascnn "
            "evaluate measures on them, and a train/ with a folder per synset goes beside val/"
        )
    learnt = folder.measured(train)
    places = {name: place for place, name in enumerate(learnt.classes)}
    if strange := [name for name in held_out.classes if name not in places]:
        raise InputError(
            f"{where} has classes that {train} has not: {', '.join(strange[:_SHOWN])}; complete it"
        )
    order = np.array([places[name] for name in held_out.classes], np.int32)
    return dataclasses.replace(
        held_out,
        classes=learnt.classes,
        train=learnt.held_out,
        held_out=held_out.held_out.relabelled(order),
        fingerprint=digest([learnt.fingerprint.encode(), held_out.fingerprint.encode()]),
        notes=(*learnt.notes, *held_out.notes),
    )


def _notes(source: pathlib.Path, truth: _Truth, count: int) -> tuple[Note, ...]:
    if count == len(truth):
        return ()
    text = f"{count:,} of the {len(truth):,} images that {source} lists are there"
    return (Note(kind="images-not-there", text=text, count=len(truth) - count, finding=False),)


def _images_in(path: pathlib.Path) -> pathlib.Path | None:
    """The folder that has the images, if it is one of these."""
    for name in _FOLDERS:
        inside = path / name if name else path
        if inside.is_dir() and (first := _first(inside)) and _IMAGE.fullmatch(first):
            return inside
    return None


def _first(path: pathlib.Path) -> str | None:
    """Any image's name that lies in a folder itself."""
    try:
        with os.scandir(path) as entries:
            return next((e.name for e in entries if _is_image(e.name) and e.is_file()), None)
    except OSError:
        return None


def _is_image(name: str) -> bool:
    return suffix_of(name) in SUFFIXES and not is_hidden(name)


def _listed(where: pathlib.Path) -> list[str]:
    names = sorted(path.name for path in where.iterdir() if _is_image(path.name))
    if strange := [name for name in names if not _IMAGE.fullmatch(name)]:
        raise InputError(
            f"{where / strange[0]} lies among ILSVRC's validation images and is none of them; "
            "move it away"
        )
    return names


def _key(name: str, truth: _Truth) -> str:
    """What a list knows an image by: its number, or its stem."""
    match = _IMAGE.fullmatch(name)
    number = str(int(match[1])) if match else ""
    return number if number in truth else pathlib.PurePath(name).stem


def _truth(where: pathlib.Path, names: Sequence[str]) -> tuple[pathlib.Path, _Truth]:
    """The list that is nearest to the images, and what it says."""
    folders = list(_near(where))
    for file, read in _READERS.items():
        if (path := _find(folders, [file])) is not None:
            return path, read(path, folders)
    raise InputError(
        f"{where} has ILSVRC's validation images ({names[0]} ...) and nothing says what they are; "
        "put ILSVRC2012_validation_ground_truth.txt and meta.mat of the development kit "
        "(ILSVRC2012_devkit_t12/data), or Kaggle's LOC_val_solution.csv, beside or above them"
    )


def _near(where: pathlib.Path) -> Iterator[pathlib.Path]:
    absolute = where.absolute()
    for above in (absolute, *list(absolute.parents)[:_ABOVE]):
        for kit in _KITS:
            yield above / kit if kit else above


def _find(folders: Sequence[pathlib.Path], names: Sequence[str]) -> pathlib.Path | None:
    paths = (where / name for where in folders for name in names)
    return next((path for path in paths if path.is_file()), None)


def _lines(path: pathlib.Path) -> list[str]:
    """Those of a list that are not empty."""
    found = read_text(path, most_bytes=_MOST_BYTES, what="a list").splitlines()
    return [line.strip() for line in found if line.strip()]


def _synset(text: str, path: pathlib.Path) -> str:
    if not _SYNSET.fullmatch(text):
        raise InputError(f"{path}: {text!r:.40} is not a synset, as n01440764; replace the file")
    return text


def _of_kaggle(path: pathlib.Path, _folders: Sequence[pathlib.Path]) -> _Truth:
    """ImageId,PredictionString: a stem, and a synset with a box (several of one synset)."""
    rows = list(csv.reader(_lines(path)))
    if not rows or rows[0][:1] != ["ImageId"] or any(len(row) < 2 for row in rows):
        raise InputError(f"{path} has not the columns ImageId and PredictionString; replace it")
    return {row[0]: _synset((row[1].split() or [""])[0], path) for row in rows[1:]}


def _of_tiny(path: pathlib.Path, _folders: Sequence[pathlib.Path]) -> _Truth:
    """A file's name, a synset, and a box."""
    rows = [line.split() for line in _lines(path)]
    return {pathlib.PurePath(row[0]).stem: _synset([*row, ""][1], path) for row in rows}


def _of_synsets(path: pathlib.Path, _folders: Sequence[pathlib.Path]) -> _Truth:
    """A synset a line, in the order of the images."""
    return {str(i): _synset(line, path) for i, line in enumerate(_lines(path), 1)}


def _of_kit(path: pathlib.Path, folders: Sequence[pathlib.Path]) -> _Truth:
    """A number a line, in the order of the images; not in that of the synsets."""
    meta = _find([path.parent, *folders], ["meta.mat", "map_clsloc.txt"])
    if meta is None:
        raise InputError(
            f"{path} numbers the classes in the development kit's own order, and its meta.mat (or "
            f"map_clsloc.txt) is missing; put it beside {path.name}"
        )
    synsets = (_of_meta if meta.suffix == ".mat" else _of_map)(meta)
    numbers = _lines(path)
    if wrong := [number for number in numbers if number not in synsets]:
        raise InputError(f"{meta} has no class {wrong[0]!r:.20}, which {path} has; get both again")
    return {str(i): synsets[number] for i, number in enumerate(numbers, 1)}


def _of_meta(path: pathlib.Path) -> Mapping[str, str]:
    """Synsets by the kit's numbers: the table "synsets" of a MATLAB file."""
    import scipy.io

    try:
        table = scipy.io.loadmat(str(path), squeeze_me=True)["synsets"]
        numbers, synsets = (np.atleast_1d(table[name]) for name in ("ILSVRC2012_ID", "WNID"))
        return {
            str(int(number)): _synset(str(synset), path)
            for number, synset in zip(numbers, synsets, strict=True)
        }
    except InputError:
        raise
    except Exception as error:  # its reader trusts what the file says of itself
        raise InputError(
            f"{path} is not the development kit's meta.mat ({type(error).__name__}); get it again"
        ) from error


def _of_map(path: pathlib.Path) -> Mapping[str, str]:
    """Synset, number and name a line."""
    rows = [line.split() for line in _lines(path)]
    if any(len(row) < 2 for row in rows):
        raise InputError(f"{path} must have a synset, a number and a name a line; replace it")
    return {row[1]: _synset(row[0], path) for row in rows}


def _of_caffe(path: pathlib.Path, folders: Sequence[pathlib.Path]) -> _Truth:
    """A file's name and a number from 0, in the order of the synsets."""
    words = _find([path.parent, *folders], ["LOC_synset_mapping.txt", "synset_words.txt"])
    words = words or _find([path.parent, *folders], ["synsets.txt"])
    if words is None:
        raise InputError(
            f"{path} numbers the classes by the order of their synsets, and the list of these is "
            "missing; put LOC_synset_mapping.txt or synset_words.txt beside it"
        )
    synsets = {str(i): _synset(line.split()[0], words) for i, line in enumerate(_lines(words))}
    rows = [line.split() for line in _lines(path)]
    if wrong := [row for row in rows if len(row) != 2 or row[1] not in synsets]:
        raise InputError(
            f"{path}: {' '.join(wrong[0])!r:.60} is not a file's name and a number of {words}; "
            "get both again"
        )
    return {pathlib.PurePath(name).stem: synsets[number] for name, number in rows}


_READERS: Mapping[str, Callable[[pathlib.Path, Sequence[pathlib.Path]], _Truth]] = {
    "val_annotations.txt": _of_tiny,
    "LOC_val_solution.csv": _of_kaggle,
    "ILSVRC2012_validation_ground_truth.txt": _of_kit,
    "imagenet_2012_validation_synset_labels.txt": _of_synsets,
    "val.txt": _of_caffe,
}
