"""Pascal VOC's masks of classes: a palette PNG an image.

    --data DIR    DIR/SegmentationClass/*.png, DIR/JPEGImages/ and lists in
                  DIR/ImageSets/Segmentation/: train.txt, val.txt, test.txt, or trainval.txt in
                  place of the first two

Without lists of splits, or with others (CVAT's default.txt), a fifth of the masks is held out. The
classes are VOC's twenty and the background, unless a file of classes lies in DIR (`class_files`);
their outlines, of value 255, count nowhere. A list whose images all have no mask is left out:
VOC keeps those of its test images.

Source: the development kits of 2007 and 2012, devkit_doc.pdf, section 4 and VOClabelcolormap.m.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from kerascnn.errors import InputError
from training.datasets import class_files
from training.datasets.class_files import ClassFile, Colour
from training.datasets.detection_table import (
    ALL,
    TEST,
    TRAIN,
    VALIDATION,
)
from training.datasets.elsewhere import Use
from training.datasets.faults import Faults
from training.datasets.mask_table import Pair, assemble_maps
from training.datasets.notes import Note
from training.datasets.paths import is_hidden
from training.datasets.pictures import SUFFIXES
from training.datasets.segmentation import BACKGROUND, SegmentationDataset

CLASSES = (
    *(BACKGROUND, "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_VOID = "void"
_VOID_COLOUR = (224, 224, 192)  # number 255 of the palette
_MASKS = "SegmentationClass"
_LISTS = {TRAIN: "train", VALIDATION: "val", TEST: "test"}


def recognises(path: pathlib.Path) -> bool:
    """Whether `scan` is what should read it."""
    return (path / "JPEGImages").is_dir() and any((path / _MASKS).glob("*.png"))


def scan(
    path: pathlib.Path, *, seed: int, strict: bool = False, use: Use = Use.SPLIT
) -> SegmentationDataset:
    """Find masks and their images; few are decoded yet (see `mask_table`).

    Raises:
        InputError: too many masks or images of a list that are missing, broken, or differ in
            size.
    """
    notes: list[Note] = []
    listed = _listed(path, notes)
    pictures: dict[str, list[pathlib.Path]] = {}
    for file in sorted((path / "JPEGImages").iterdir()):
        if file.suffix.lower() in SUFFIXES and not is_hidden(file.name):
            pictures.setdefault(file.stem, []).append(file)
    parts = {
        part: _pairs(path, part, names, pictures, notes, strict) for part, names in listed.items()
    }
    return assemble_maps(
        path, parts, classes_of(path), seed=seed, use=use, strict=strict, notes=notes
    )


def classes_of(path: pathlib.Path) -> ClassFile:
    """What masks mean: as a file in DIR says, else as Pascal VOC has it."""
    return class_files.find([path]) or _own_classes(path)


def colour(number: int) -> Colour:
    """A class's colour: bits of its number, in turn to red, green and blue, highest first."""
    parts = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            parts[channel] |= (number >> 3 * place + channel & 1) << 7 - place
    return parts[0], parts[1], parts[2]


def _own_classes(path: pathlib.Path) -> ClassFile:
    colours = (*(colour(number) for number in range(len(CLASSES))), _VOID_COLOUR)
    return ClassFile(path=path / _MASKS, names=(*CLASSES, _VOID), colours=colours)


def _listed(path: pathlib.Path, notes: list[Note]) -> dict[str, list[str]]:
    """Names without endings of each split; ALL for those that are to be split."""
    lists = path / "ImageSets" / "Segmentation"
    found = {part: _names(lists / f"{name}.txt") for part, name in _LISTS.items()}
    both = _names(lists / "trainval.txt")
    if both and not found[TRAIN]:
        found = {ALL: both} if not found[TEST] else {TRAIN: both, TEST: found[TEST]}
    for part, names in found.items():
        if names and not any(_mask(path, name).is_file() for name in names):
            if part in (TRAIN, ALL):
                raise InputError(f"{_mask(path, names[0])}: no such mask, nor any other; add them")
            text = f"{part}: its {len(names):,} images have no masks: left out"
            notes.append(Note.of("absent-split", text, names, finding=False))
            names.clear()
    if any(found.values()):
        return {part: names for part, names in found.items() if names}
    return {ALL: sorted(mask.stem for mask in (path / _MASKS).glob("[!.]*.png"))}


def _names(listing: pathlib.Path) -> list[str]:
    if not listing.is_file():
        return []
    lines = listing.read_text("utf-8", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _mask(path: pathlib.Path, name: str) -> pathlib.Path:
    return path / _MASKS / f"{name}.png"


def _pairs(
    path: pathlib.Path,
    part: str,
    names: Sequence[str],
    pictures: Mapping[str, Sequence[pathlib.Path]],
    notes: list[Note],
    strict: bool,
) -> list[Pair]:
    """Images and masks of a list; what is missing is left out."""
    faults = Faults("missing-masks", "masks or their images are missing", strict=strict)
    found, shared = [], []
    for name in dict.fromkeys(names):
        mask, files = _mask(path, name), pictures.get(name, ())
        if not mask.is_file():
            faults.add(
                f"{mask}: no such mask, and a list names it", "restore it or remove its line"
            )
        elif not files:
            faults.add(f"{mask}: no image in {path / 'JPEGImages'} has its name", "add it")
        else:
            found.append((files[-1], mask))
            if len(files) > 1:
                shared.append(f"{mask}: {files[-1].name}")
    notes += faults.settle(part, len(found) + len(faults))
    if shared:
        text = f"{part}: of {len(shared):,} masks each has the name of two images; one was taken"
        notes.append(Note.of("shared-labels", f"{text} ({shared[0]} ...)", shared))
    return found
