"""Pascal VOC's XML: a file an image.

    --data DIR    DIR/Annotations/*.xml, DIR/JPEGImages/ and lists in DIR/ImageSets/Main/:
                  train.txt, val.txt, test.txt, or trainval.txt in place of the first two
    --data DIR    DIR/*.xml beside the images, as labelling tools write it
    --data DIR    DIR/train/*.xml, DIR/val/ (or valid/, validation/), DIR/test/, with the images

A file or an object that is broken is left out, as is an image that is missing, and a held-out
object of a class that no training image has, up to the limit of `faults`.

Without splits a fifth of the images is held out. A `bndbox` counts pixels from 1 and its last
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
from training.datasets.detection import DetectionDataset
from training.datasets.detection_table import (
    ALL,
    FOLDERS,
    TEST,
    TRAIN,
    VALIDATION,
    Annotations,
    Table,
    assemble,
    left_out,
    tabulate,
)
from training.datasets.elsewhere import Use
from training.datasets.faults import Faults, present
from training.datasets.notes import Note
from training.datasets.paths import is_hidden
from training.datasets.pictures import SUFFIXES
from training.datasets.spelling import class_key

_MOST_BYTES = 1 << 24  # of a file; an object takes some 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Object:
    """As a file has it; the box is top, left, bottom, right in pixels from 0."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Picture:
    """What a file says; `size` is (height, width), 0 where it does not; `weight` the bytes."""

    file: pathlib.Path
    size: tuple[int, int]
    objects: list[_Object]
    weight: int = 0


def recognises(path: pathlib.Path) -> bool:
    """Whether `scan` is what should read it."""
    return path.is_dir() and bool(_files(path))


def scan(
    path: pathlib.Path, *, seed: int, strict: bool = False, use: Use = Use.SPLIT
) -> DetectionDataset:
    """Read annotations and find the images; none is decoded yet.

    Classes are the names of the training objects, sorted, and numbered from 1.

    Raises:
        InputError: files that contradict each other; too much that is broken or missing.
    """
    files = _files(path)
    if use is Use.MEASURE:
        files = {part: files[part] for part in files if part not in left_out(files, use)}
    notes: list[Note] = []
    parts = {part: _read(part, listed, notes, strict) for part, listed in files.items()}
    learnt = next(part for part in (TRAIN, ALL, *parts) if part in parts)
    # Of two spellings of a name, the first one.
    names = sorted({o.name for picture in parts[learnt] for o in picture.objects})
    classes = sorted({class_key(name): name for name in reversed(names)}.values())
    return assemble(
        str(path),
        classes,
        range(1, len(classes) + 1),
        {p: _table(path, p, pictures, classes, notes, strict) for p, pictures in parts.items()},
        seed=seed,
        use=use,
        notes=[*_unlabelled(path, files), *_difficult(parts), *notes],
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
    return sorted(p for p in folder.glob("*.xml") if not is_hidden(p.name))


def _listed(path: pathlib.Path, listing: pathlib.Path) -> list[pathlib.Path]:
    """The files that a list names, one a line without ending."""
    if not listing.is_file():
        return []
    lines = [line.strip() for line in listing.read_text("utf-8", errors="replace").splitlines()]
    return [path / "Annotations" / f"{line}.xml" for line in lines if line]


def _read(
    part: str, files: Sequence[pathlib.Path], notes: list[Note], strict: bool
) -> list[_Picture]:
    """The images that are there, as their files have them."""
    pictures: dict[pathlib.Path, dict[str, list[pathlib.Path]]] = {}
    unreadable = Faults("unreadable-labels", "files of objects cannot be read", strict=strict)
    missing = Faults("missing-images", "images are missing", strict=strict)
    objects = Faults("broken-annotations", "objects are broken", strict=strict)
    shared: list[str] = []
    found, total = [], 0
    for file in dict.fromkeys(files):
        if file.parent not in pictures:
            pictures[file.parent] = _images_near(file.parent)
        try:
            root = _root(file)
        except InputError as error:
            reason, _, remedy = str(error).partition("; ")
            unreadable.add(reason, remedy)
            continue
        candidates = _called_as(file, root, pictures[file.parent])
        if not candidates:
            missing.add(f"{file}: no image has its name", "restore the image or remove the file")
            continue
        if len(candidates) > 1:
            shared.append(f"{file}: {candidates[-1].name}")
        height, width = (_side(root.findtext(f"size/{key}")) for key in ("height", "width"))
        nodes = root.findall("object")
        total += len(nodes)
        sound = _objects(file, nodes, objects)
        found.append(_Picture(file=candidates[-1], size=(height, width), objects=sound))
    for faults, count in ((unreadable, len(files)), (missing, len(files)), (objects, total)):
        notes += faults.settle(part, count)
    if shared:
        text = f"{part}: of {len(shared):,} files each has the name of two images; one was taken"
        notes.append(Note.of("shared-labels", f"{text} ({shared[0]} ...)", shared))
    there = present(
        part,
        [picture.file for picture in found],
        np.array([picture.size for picture in found]).reshape(-1, 2),
        strict=strict,
    )
    notes += there.notes
    return [
        dataclasses.replace(found[place], size=tuple(size), weight=weight)
        for place, size, weight in zip(
            there.places, there.sizes.tolist(), there.weights.tolist(), strict=True
        )
    ]


def _images_near(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Images by name and by name without ending."""
    above = folder.parent if folder.name == "Annotations" else folder
    found: dict[str, list[pathlib.Path]] = {}
    for place in (folder, above / "images", above / "JPEGImages"):
        files = sorted(place.iterdir()) if place.is_dir() else []
        pictures = [p for p in files if p.suffix.lower() in SUFFIXES and not is_hidden(p.name)]
        here: dict[str, list[pathlib.Path]] = {}
        for picture in pictures:
            here.setdefault(picture.stem, []).append(picture)
            here[picture.name] = [picture]
        found |= here
    return found


def _called_as(
    file: pathlib.Path, root: ElementTree.Element, pictures: Mapping[str, list[pathlib.Path]]
) -> list[pathlib.Path]:
    """The images that a file may be of, the last one first of all; none if there is none."""
    named = pathlib.PurePosixPath((root.findtext("filename") or "").strip().replace("\\", "/")).name
    if pathlib.PurePosixPath(named).stem == file.stem and named in pictures:
        return pictures[named]
    return pictures.get(file.stem) or pictures.get(named) or []


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


def _objects(
    file: pathlib.Path, nodes: Sequence[ElementTree.Element], faults: Faults
) -> list[_Object]:
    """Those that are sound."""
    found = []
    for number, node in enumerate(nodes, 1):
        name = (node.findtext("name") or "").strip()
        try:
            found.append(_object(name, node))
        except ValueError as error:
            called = f"{file}: object {number}" + (f" ({name})" if name else "")
            faults.add(f"{called} {error}", "correct it")
    return found


def _object(name: str, node: ElementTree.Element) -> _Object:
    """Raises ValueError with what is wrong."""
    if not name:
        raise ValueError("has no <name>")
    keys = ("ymin", "xmin", "ymax", "xmax")
    try:
        top, left, bottom, right = (float(node.findtext(f"bndbox/{key}") or "") for key in keys)
    except ValueError:
        raise ValueError("has no <bndbox> with four numbers") from None
    top, left = top - 1, left - 1
    if not (bottom >= top and right >= left and math.isfinite(top + left + bottom + right)):
        raise ValueError("has a <bndbox> that ends before it begins")
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
    root: pathlib.Path,
    part: str,
    pictures: Sequence[_Picture],
    classes: Sequence[str],
    notes: list[Note],
    strict: bool,
) -> Table:
    labels = {class_key(name): label for label, name in enumerate(classes)}
    strange = Faults(
        "unknown-classes", "objects are of a class that no training image has", strict=strict
    )
    objects, owners = [], []
    for place, picture in enumerate(pictures):
        for one in picture.objects:
            if class_key(one.name) not in labels:
                strange.add(
                    f"{picture.file}: no training image has an object of class {one.name!r}",
                    "add some to it, or correct the name",
                )
                continue
            objects.append(one)
            owners.append(place)
    notes += strange.settle(part, len(objects) + len(strange))
    annotations = Annotations(
        pictures=np.array(owners, np.int64),
        boxes=np.array([o.box for o in objects], np.float64).reshape(-1, 4),
        labels=np.array([labels[class_key(o.name)] for o in objects], np.int64),
        crowd=np.array([o.difficult for o in objects], bool),
        areas=np.full(len(objects), np.nan),
        ids=np.arange(len(objects)),
    )
    files = [picture.file for picture in pictures]
    names = [file.relative_to(root).as_posix() for file in files]
    sizes = np.array([picture.size for picture in pictures], np.int64).reshape(-1, 2)
    weights = np.array([picture.weight for picture in pictures], np.int64)
    source = root.name if part == ALL else part
    return tabulate(source, files, names, sizes, weights, annotations)


def _unlabelled(path: pathlib.Path, files: Mapping[str, Sequence[pathlib.Path]]) -> list[Note]:
    """A note of images that have no file, where no list says which ones are meant."""
    if (path / "ImageSets").is_dir():
        return []
    labelled = {file.with_suffix("") for listed in files.values() for file in listed}
    folders = {file.parent for file in labelled}
    stems = {
        folder / p.stem
        for folder in folders
        for near in _images_near(folder).values()
        for p in near
    }
    left = sorted(map(str, stems - labelled))
    text = f"{len(left):,} images without an .xml file were left out"
    return [Note.of("no-labels", text, left)] if left else []


def _difficult(parts: Mapping[str, Sequence[_Picture]]) -> list[Note]:
    pictures = [picture for some in parts.values() for picture in some]
    owners = [str(p.file) for p in pictures for o in p.objects if o.difficult]
    text = f"{len(owners):,} difficult objects are neither to be found nor mistakes"
    return [Note.of("difficult-objects", text, owners, finding=False)] if owners else []
