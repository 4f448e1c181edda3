"""Pascal VOC's XML: a file a picture.

    --data DIR    DIR/Annotations/*.xml, DIR/JPEGImages/ and lists in DIR/ImageSets/Main/:
                  train.txt, val.txt, test.txt, or trainval.txt in place of the first two
    --data DIR    DIR/*.xml beside the pictures, as labelling tools write it
    --data DIR    DIR/train/*.xml, DIR/val/ (or valid/, validation/), DIR/test/, with the pictures

Without splits a fifth of the pictures is held out. A `bndbox` counts pixels from 1 and its last
ones are inside: xmin 1 and xmax 1 are one pixel, from 0 to 1 here. What a tool writes that counts
from 0 is read as one pixel more at the top and left, and clipped at the edge with a note. A
`difficult` object is a crowd here: not to be found, and no mistake to find. (The devkit asks for
half an overlap with it; COCO's evaluation asks that half of what was found lie in a crowd.)

XML is read without document types and thus without entities, which can be made to do harm.

Source: the development kits of 2007 and 2012, devkit_doc.pdf, VOCevaldet.m.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np

from kerascnn.errors import InputError
from training.datasets.elsewhere import Use
from training.datasets.notes import Note
from training.datasets.object_table import (
    ALL,
    FOLDERS,
    TEST,
    TRAIN,
    VALIDATION,
    Annotations,
    Table,
    assemble,
    tabulate,
)
from training.datasets.objects import ObjectDataset
from training.preprocessing import SUFFIXES, read_size

_MOST_BYTES = 1 << 24  # of a file; an object takes some 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Object:
    """As a file has it; the box is top, left, bottom, right in pixels from 0."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Picture:
    """What a file says; `size` is (height, width)."""

    file: pathlib.Path
    size: tuple[int, int]
    objects: list[_Object]


def recognises(path: pathlib.Path) -> bool:
    """Whether `scan` is what should read it."""
    return path.is_dir() and bool(_files(path))


def scan(
    path: pathlib.Path, *, seed: int, strict: bool = False, use: Use = Use.SPLIT
) -> ObjectDataset:
    """Read annotations and find the pictures; none is decoded yet.

    Classes are the names of the training objects, sorted, and numbered from 1.

    Raises:
        InputError: files that cannot be read or are inconsistent; missing pictures.
    """
    files = _files(path)
    parts = {part: _read(listed) for part, listed in files.items()}
    names = {part: {o.name for p in read for o in p.objects} for part, read in parts.items()}
    classes = sorted(names.get(TRAIN) or names.get(ALL) or ())
    for part, used in names.items():
        if strange := sorted(used - set(classes)):
            raise InputError(
                f"{path}: the {part} split has objects that no training picture has: "
                f"{', '.join(strange)}; add some to it, or correct the names"
            )
    return assemble(
        str(path),
        classes,
        range(1, len(classes) + 1),
        {part: _table(path, part, pictures, classes) for part, pictures in parts.items()},
        seed=seed,
        use=use,
        notes=[*_unlabelled(path, files), *_difficult(parts)],
    )


def _files(path: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The .xml files of each split; ALL for those that are to be split."""
    folders = {part: path / name for part, names in FOLDERS.items() for name in names}
    found = {part: _xml(folder) for part, folder in folders.items() if _xml(folder)}
    if found:
        return found
    lists = path / "ImageSets" / "Main"
    names = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
    listed = {part: _listed(path, lists / f"{name}.txt") for part, name in names.items()}
    listed = {part: files for part, files in listed.items() if files}
    both = _listed(path, lists / "trainval.txt")
    if both and TRAIN not in listed:
        return {TRAIN: both, TEST: listed[TEST]} if TEST in listed else {ALL: both}
    if listed:
        return listed
    everything = _xml(path / "Annotations") or _xml(path)
    return {ALL: everything} if everything else {}


def _xml(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.glob("*.xml") if not p.name.startswith("."))


def _listed(path: pathlib.Path, listing: pathlib.Path) -> list[pathlib.Path]:
    """The files that a list names, one a line without ending."""
    if not listing.is_file():
        return []
    lines = [line.strip() for line in listing.read_text("utf-8", errors="replace").splitlines()]
    files = [path / "Annotations" / f"{line}.xml" for line in lines if line]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]}: no such file; of {len(files):,} in {listing} {len(missing):,} are "
            "missing; restore them or remove their lines"
        )
    return files


def _read(files: Sequence[pathlib.Path]) -> list[_Picture]:
    pictures: dict[pathlib.Path, dict[str, pathlib.Path]] = {}
    read = []
    for file in files:
        if file.parent not in pictures:
            pictures[file.parent] = _pictures_near(file.parent)
        read.append(_parse(file, pictures[file.parent]))
    return read


def _pictures_near(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Pictures by name and by name without ending."""
    above = folder.parent if folder.name == "Annotations" else folder
    found: dict[str, pathlib.Path] = {}
    for place in (folder, above / "images", above / "JPEGImages"):
        files = sorted(place.iterdir()) if place.is_dir() else []
        pictures = [p for p in files if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        found |= {p.stem: p for p in pictures} | {p.name: p for p in pictures}
    return found


def _parse(file: pathlib.Path, pictures: Mapping[str, pathlib.Path]) -> _Picture:
    root = _root(file)
    named = pathlib.PurePosixPath((root.findtext("filename") or "").strip().replace("\\", "/")).name
    same = pathlib.PurePosixPath(named).stem == file.stem and named in pictures
    picture = pictures.get(named) if same else pictures.get(file.stem, pictures.get(named))
    if picture is None:
        raise InputError(f"{file}: no image has its name; restore the image or remove the file")
    height, width = (_side(root.findtext(f"size/{key}")) for key in ("height", "width"))
    return _Picture(
        file=picture,
        size=(height, width) if height and width else read_size(picture),
        objects=[_object(file, i, node) for i, node in enumerate(root.findall("object"))],
    )


def _root(file: pathlib.Path) -> ElementTree.Element:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
        if len(data) > _MOST_BYTES:
            raise InputError(
                f"{file} has more than {_MOST_BYTES >> 20} MB; it is not an annotation"
            )
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError(f"{file} declares a document type or entities; remove the declaration")
        root = ElementTree.fromstring(text)  # a str is read as UTF-8, whatever it declares
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); restore it") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8; save it so") from None
    except ElementTree.ParseError as error:
        raise InputError(f"{file} is not XML ({error}); replace it") from None
    if root.tag != "annotation":
        raise InputError(f"{file} has no <annotation>; it is not Pascal VOC's, remove it")
    return root


def _object(file: pathlib.Path, number: int, node: ElementTree.Element) -> _Object:
    name = (node.findtext("name") or "").strip()
    called = f"{file}: object {number + 1}" + (f" ({name})" if name else "")
    if not name:
        raise InputError(f"{called} has no <name>; add it")
    keys = ("ymin", "xmin", "ymax", "xmax")
    try:
        top, left, bottom, right = (float(node.findtext(f"bndbox/{key}") or "") for key in keys)
    except ValueError:
        raise InputError(f"{called} has no <bndbox> with four numbers; correct it") from None
    top, left = top - 1, left - 1
    if not (bottom >= top and right >= left and math.isfinite(top + left + bottom + right)):
        raise InputError(f"{called} has a <bndbox> that ends before it begins; correct it")
    difficult = (node.findtext("difficult") or "").strip().lower() in ("1", "true")
    return _Object(name=name, box=(top, left, bottom, right), difficult=difficult)


def _side(text: str | None) -> int:
    """0 if it is not known, as some tools write."""
    try:
        side = float(text or 0)
    except ValueError:
        return 0
    return int(side) if 1 <= side < 2**31 else 0


def _table(
    root: pathlib.Path, part: str, pictures: Sequence[_Picture], classes: Sequence[str]
) -> Table:
    labels = {name: label for label, name in enumerate(classes)}
    objects = [o for picture in pictures for o in picture.objects]
    annotations = Annotations(
        pictures=np.repeat(np.arange(len(pictures)), [len(p.objects) for p in pictures]),
        boxes=np.array([o.box for o in objects], np.float64).reshape(-1, 4),
        labels=np.array([labels[o.name] for o in objects], np.int64),
        crowd=np.array([o.difficult for o in objects], bool),
        areas=np.full(len(objects), np.nan),
        ids=np.arange(len(objects)),
    )
    files = [picture.file for picture in pictures]
    names = [file.relative_to(root).as_posix() for file in files]
    sizes = np.array([picture.size for picture in pictures], np.int64).reshape(-1, 2)
    return tabulate(root.name if part == ALL else part, files, names, sizes, annotations)


def _unlabelled(path: pathlib.Path, files: Mapping[str, Sequence[pathlib.Path]]) -> list[Note]:
    """A note of pictures that have no file, where no list says which ones are meant."""
    if (path / "ImageSets").is_dir():
        return []
    labelled = {file.with_suffix("") for listed in files.values() for file in listed}
    folders = {file.parent for file in labelled}
    stems = {folder / p.stem for folder in folders for p in _pictures_near(folder).values()}
    left = sorted(map(str, stems - labelled))
    text = f"{len(left):,} pictures without an .xml file were left out"
    return [Note.of("no-labels", text, left)] if left else []


def _difficult(parts: Mapping[str, Sequence[_Picture]]) -> list[Note]:
    pictures = [picture for some in parts.values() for picture in some]
    owners = [str(p.file) for p in pictures for o in p.objects if o.difficult]
    text = f"{len(owners):,} difficult objects are neither to be found nor mistakes"
    return [Note.of("difficult-objects", text, owners, finding=False)] if owners else []
