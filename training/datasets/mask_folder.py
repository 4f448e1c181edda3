"""Folders of images and of masks, a mask for each image.

    --data DIR    DIR/images and DIR/masks
    --data DIR    the same with train, val (or valid, validation) and test in both of them
    --data DIR    DIR/train/images and DIR/train/masks, DIR/val/..., DIR/test/...
    --data DIR    DIR/train and DIR/train_masks (or trainannot, train_labels), DIR/val, ... (CamVid)
    --data DIR    DIR/train/a.jpg beside DIR/train/a_mask.png, DIR/val/..., or all in DIR (Roboflow)

Images may also be in image, imgs, img or JPEGImages; masks in mask, labels, label, annotations,
annotation or SegmentationClass. The mask of a.jpg is a.png or a_mask.png (see `_ENDINGS`), at the
same place if there are folders within folders. What masks mean is in `mask_files`, and how classes
are named in `class_files`: the file is looked for in DIR and then beside the masks.

An image without a mask, or with a broken one or one of another size, is left out, up to the limit
of `faults`. Without splits a fifth of the images is held out.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from kerascnn.errors import InputError
from training.common.reading import NOW
from training.datasets import class_files
from training.datasets.class_files import ClassFile
from training.datasets.detection_table import ALL, FOLDERS, TRAIN
from training.datasets.elsewhere import Use
from training.datasets.faults import Faults
from training.datasets.mask_table import Pair, assemble_maps
from training.datasets.notes import Note
from training.datasets.paths import Listings, is_hidden, listing, suffix_of
from training.datasets.pictures import SUFFIXES
from training.datasets.segmentation import SegmentationDataset

_PICTURES = ("images", "image", "imgs", "img", "jpegimages")
_MASKS = (
    *("masks", "mask", "labels", "label"),
    *("annotations", "annotation", "segmentationclass"),
)
_PARTS = {part: (*names, "training") if part == TRAIN else names for part, names in FOLDERS.items()}
# Of a folder of masks beside that of images: train, trainannot.
_BESIDE = ("annot", "_annot", "_labels", "_masks", "_mask")
# Of a mask's name: a.jpg, a_mask.png.
_ENDINGS = ("", "_mask", "_L", "_P", "_label", "_labels", "_gt", "_seg", "_segmentation")
_MARK = "_mask"  # tells masks from the images beside them
_LOSSLESS = (".png", ".bmp")

# Where images and masks of a part lie; the same folder twice where they are mixed.
_Places = tuple[pathlib.Path, pathlib.Path]


def recognises(path: pathlib.Path) -> bool:
    """Whether `scan` is what should read it."""
    return path.is_dir() and bool(_places(path, []))


def scan(
    path: pathlib.Path,
    *,
    seed: int,
    strict: bool = False,
    use: Use = Use.SPLIT,
    reading: int = NOW,
    named: ClassFile | None = None,
) -> SegmentationDataset:
    """Find images and their masks; few are decoded yet (see `mask_table`).

    Args:
        reading: the rules to list folders by, see `training.common.reading`.
        named: what masks mean where no file in DIR says so.

    Raises:
        InputError: too many images without a sound mask; the classes cannot be determined.
    """
    notes: list[Note] = []
    places = _places(path, notes)
    listings = Listings(SUFFIXES, reading)
    parts = {
        part: _pairs(part, *folders, notes, listings, strict) for part, folders in places.items()
    }
    notes += listings.notes()
    found = _class_file(path, places) or named
    return assemble_maps(path, parts, found, seed=seed, use=use, strict=strict, notes=notes)


def classes_of(path: pathlib.Path) -> ClassFile | None:
    """What a file in DIR says that masks mean."""
    return _class_file(path, _places(path, []))


def _class_file(path: pathlib.Path, places: Mapping[str, _Places]) -> ClassFile | None:
    folders = [path, *(masks for _images, masks in places.values())]
    above = [folder.parent for folder in folders[1:]]
    return class_files.find([*folders, *above])


def _places(root: pathlib.Path, notes: list[Note]) -> dict[str, _Places]:
    """The folders of each part; ALL for what is to be split."""
    if found := _above(root, notes):
        return found
    found = _below(root) or _beside(root) or _mixed(root)
    if found:
        left = [folder for part, folder in _of_parts(root).items() if part not in found]
        notes += [_left_out(f"{folder} has no masks", folder) for folder in left]
    return found


def _above(root: pathlib.Path, notes: list[Note]) -> dict[str, _Places]:
    """DIR/images and DIR/masks, with or without parts in them."""
    pair = _two(root)
    if pair is None:
        return {}
    found = {}
    parts = _of_parts(pair[0])
    for part, pictures in parts.items():
        masks = _child(pair[1], _PARTS[part])
        if masks is not None:
            found[part] = pictures, masks
        elif part == TRAIN:
            raise InputError(f"{pair[1]} has no folder {pictures.name} as {pair[0]} has; add it")
        else:
            notes.append(_left_out(f"{pair[1]} has no folder {pictures.name}", pictures))
    return found if parts else {ALL: pair}


def _left_out(why: str, pictures: pathlib.Path) -> Note:
    names = listing(pictures, SUFFIXES).files
    return Note.of("absent-split", f"{why}: its images were left out", names)


def _below(root: pathlib.Path) -> dict[str, _Places]:
    """DIR/train/images and DIR/train/masks."""
    found = {part: _two(folder) for part, folder in _of_parts(root).items()}
    return {part: pair for part, pair in found.items() if pair is not None}


def _beside(root: pathlib.Path) -> dict[str, _Places]:
    """DIR/train and DIR/trainannot."""
    found = {}
    for part, pictures in _of_parts(root).items():
        masks = _child(root, [pictures.name.lower() + ending for ending in _BESIDE])
        if masks is not None and _holds_masks(masks):
            found[part] = pictures, masks
    return found


def _mixed(root: pathlib.Path) -> dict[str, _Places]:
    """DIR/train/a.jpg and DIR/train/a_mask.png."""
    parts = _of_parts(root)
    found = {part: (folder, folder) for part, folder in parts.items() if _holds_marked(folder)}
    return found or ({ALL: (root, root)} if _holds_marked(root) else {})


def _two(folder: pathlib.Path) -> _Places | None:
    pictures, masks = _child(folder, _PICTURES), _child(folder, _MASKS, holds_masks=True)
    return None if pictures is None or masks is None else (pictures, masks)


def _of_parts(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    found = {part: _child(folder, names) for part, names in _PARTS.items()}
    return {part: child for part, child in found.items() if child is not None}


def _child(
    folder: pathlib.Path, names: Sequence[str], *, holds_masks: bool = False
) -> pathlib.Path | None:
    """The sub-folder with the first of these names, in small letters or large ones."""
    children = {child.name.lower(): child for child in folder.iterdir() if child.is_dir()}
    found = (children[name] for name in names if name in children)
    return next((child for child in found if not holds_masks or _holds_masks(child)), None)


def _holds_masks(folder: pathlib.Path) -> bool:
    """Not so a folder of YOLO's labels or of COCO's annotations."""
    near = (file.name for file in folder.iterdir())
    if any(suffix_of(name) in SUFFIXES and not is_hidden(name) for name in near):
        return True
    return bool(listing(folder, SUFFIXES).files)


def _holds_marked(folder: pathlib.Path) -> bool:
    files = (file for file in folder.iterdir() if file.suffix.lower() in _LOSSLESS)
    return any(file.stem.endswith(_MARK) for file in files)


def _pairs(
    part: str,
    pictures: pathlib.Path,
    masks: pathlib.Path,
    notes: list[Note],
    listings: Listings,
    strict: bool,
) -> list[Pair]:
    """Each image with its mask, by name; what has none is left out."""
    there = listings.of(masks)
    files = listings.of(pictures)
    if pictures == masks:
        files = [file for file in files if not file.stem.endswith(_MARK)]
        there = [file for file in there if file.stem.endswith(_MARK)]
    if not files:
        raise InputError(f"{pictures} has no images ({' '.join(sorted(SUFFIXES))}); add some")
    by_key = {_key(masks, file): file for file in there if file.suffix.lower() in _LOSSLESS}
    keys = {_key(masks, file): file for file in there}
    faults = Faults("missing-masks", "images have no mask of their own", strict=strict)
    found: dict[str, Pair] = {}
    for file in files:
        key = _key(pictures, file)
        mask = next((by_key[key + end] for end in _ENDINGS if key + end in by_key), None)
        if mask is None:
            faults.add(*_missing(file, pictures, masks, keys))
        elif key in found:
            faults.add(f"{found[key][0]} and {file} have one mask, {mask}", "remove an image")
        else:
            found[key] = file, mask
    notes += faults.settle(str(masks) if part == ALL else part, len(files))
    used = {mask for _file, mask in found.values()}
    if left := [str(mask) for mask in there if mask not in used]:
        where = masks if part == ALL else part
        text = f"{where}: {len(left):,} masks belong to no image: left out"
        notes.append(Note.of("masks-without-image", text, left))
    return list(found.values())


def _key(folder: pathlib.Path, file: pathlib.Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _missing(
    file: pathlib.Path,
    pictures: pathlib.Path,
    masks: pathlib.Path,
    there: Mapping[str, pathlib.Path],
) -> tuple[str, str]:
    """Why an image has no mask, and what to do about it; `there` is what lies there, by key."""
    key = _key(pictures, file)
    names = (key + ending for ending in _ENDINGS)
    if blurred := next((there[name] for name in names if name in there), None):
        return (
            f"{blurred} is not a lossless mask",
            "masks must be PNG (black and white: magick mogrify -format png -threshold 50% FILE)",
        )
    name = key + (_MARK if pictures == masks else "") + ".png"
    return f"{file}: the mask {masks / name} is missing", "restore it or remove the image"
