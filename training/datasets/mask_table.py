"""Images and their mask files: looked at once, decoded when they are asked for.

A look at a mask takes its bytes, for the fingerprint, and its size. Pixels are decoded then only
where they decide what masks mean: where no file names more than two classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from kerascnn.errors import InputError
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets import mask_files
from training.datasets.class_files import ClassFile
from training.datasets.detection_table import (
    TEST,
    TRAIN,
    VALIDATION,
    divided,
    left_out,
    refuse_other_size,
)
from training.datasets.elsewhere import Use, doubled, unused
from training.datasets.faults import Faults, present
from training.datasets.mask_files import Meaning
from training.datasets.notes import Note
from training.datasets.pictures import read_pixels, read_size
from training.datasets.segmentation import (
    BACKGROUND,
    VOID,
    Palette,
    SegmentationDataset,
    SegmentationSplit,
)
from training.datasets.splits import digest, refuse_odd_names

FOREGROUND = "foreground"
_LEVELS = 256
_TWO = 2
_KINDS = ("palette", "grey", "bits", "colour")
_KINDS_BESIDE_COLOURS = ("grey", "bits")
# Soft edges: so many values between black and white, up to light ones, of few pixels.
_SOFT = 16
_MIDDLE = 128
_HARD = 9  # times as many pixels are black or white

# An image and its mask.
Pair = tuple[pathlib.Path, pathlib.Path]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Looked:
    """What a look at a pair found.

    Attributes:
        pair: the image and the mask.
        weight: bytes of the image.
        size: (height, width) of both.
        digest: of the mask's file.
        pixels: (256,) uint32 of each value, if they matter.
    """

    pair: Pair
    weight: int
    size: tuple[int, int]
    digest: bytes
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MaskTable:
    """Images and masks.

    Attributes:
        pictures, masks: n files each.
        sizes: (n, 2) int32 heights and widths, upright.
        meaning: of the masks.
        fingerprint: of names, sizes, masks and their meaning.
    """

    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    sizes: np.ndarray
    meaning: Meaning
    fingerprint: str

    def __len__(self) -> int:
        return len(self.pictures)

    def split(self, places: np.ndarray) -> SegmentationSplit:
        """Some of the images."""
        return SegmentationSplit(
            names=tuple(self.pictures[place] for place in places),
            places=places.astype(np.int64),
            sizes=self.sizes[places],
            read=self.read,
            annotate=self.annotate,
        )

    def read(self, place: int) -> np.ndarray:
        """(h, w, 3) uint8, upright.

        Raises:
            InputError: it is broken, or of another size than its mask.
        """
        name = self.pictures[place]
        pixels = read_pixels(name)
        refuse_other_size(name, pixels.shape[:2], self.sizes[place].tolist(), "mask is")
        return pixels

    def annotate(self, place: int) -> np.ndarray:
        """(h, w) uint8.

        Raises:
            InputError: it is broken, has become of another size, or has what no class is.
        """
        path = self.masks[place]
        label_map = self.meaning.label_map(path, mask_files.read_mask(path))
        size = tuple(self.sizes[place].tolist())
        if label_map.shape != size:
            raise InputError(f"{path} no longer has {size[1]} x {size[0]} pixels; restore it")
        return label_map


def assemble_maps(
    root: pathlib.Path,
    parts: Mapping[str, Sequence[Pair]],
    classes: ClassFile | None,
    *,
    seed: int,
    use: Use = Use.SPLIT,
    strict: bool = False,
    notes: Sequence[Note] = (),
) -> SegmentationDataset:
    """A data set of pairs named TRAIN, VALIDATION and TEST, or of some named ALL.

    Args:
        root: its folder.
        classes: a file that names them, if there is any.
        seed: splits ALL.
        use: what the images are for.
        strict: an image or a mask that is missing, broken or of another size than the other one
            is an error; else both are left out.
        notes: what there is to say beside what is seen here.

    Raises:
        InputError: too many files are broken, no classes can be determined, or a split is missing.
    """
    meaning, palette, said = None, None, [*notes]
    if classes is not None:
        meaning, palette, more = mask_files.named(classes)
        said += more
    telling = _telling(meaning)
    looked = {part: _look(part, pairs, telling, said, strict) for part, pairs in parts.items()}
    if telling:
        meaning, more = _meaning_of(root, looked, meaning)
        said += more
    assert meaning is not None
    refuse_odd_names(str(root), meaning.classes)
    tables = {part: _table(root, looked[part], meaning) for part in parts}
    shares = divided(str(root), tables, seed, use)
    splits = {split: table.split(places) for split, (table, places) in shares.items()}
    said += doubled(splits[TRAIN].names, splits[TEST].names)
    said += unused({part: tables[part].pictures for part in left_out(parts, use)}, use)
    identity = [places.tobytes() for _table, places in shares.values()]
    identity += [table.fingerprint.encode() for table in tables.values()]
    return SegmentationDataset(
        name=str(root),
        classes=meaning.classes,
        train=splits[TRAIN],
        validation=splits.get(VALIDATION),
        held_out=splits[TEST],
        fingerprint=digest(identity),
        notes=tuple(said),
        palette=palette or _palette(next(iter(tables.values()))),
    )


def _telling(named: Meaning | None) -> tuple[str, ...]:
    """Kinds of masks whose values are looked at to find out what 0 and 255 mean."""
    if named is None:
        return _KINDS
    if len(named.classes) > _TWO:
        return ()
    if named.colours is None:
        return _KINDS
    return () if named.colours.grey else _KINDS_BESIDE_COLOURS


def _look(
    part: str, pairs: Sequence[Pair], telling: Sequence[str], notes: list[Note], strict: bool
) -> list[_Looked]:
    """Look at masks, and count the values of those of the kinds that tell what they mean."""
    there = present(part, [picture for picture, _mask in pairs], strict=strict)
    notes += there.notes

    def look(index: int) -> _Looked | str:
        picture, mask = pairs[there.places[index]]
        height, width = there.sizes[index].tolist()
        pixels = np.zeros(_LEVELS, np.uint32)
        try:
            refuse_other_size(str(picture), (height, width), read_size(mask), "mask is")
            if telling and (stored := mask_files.read_mask(str(mask))).kind in telling:
                values = mask_files.levels(str(mask), stored)
                pixels += np.bincount(values.ravel(), minlength=_LEVELS).astype(np.uint32)
            content = mask.read_bytes()
        except InputError as error:
            return str(error)
        return _Looked(
            pair=(picture, mask),
            weight=int(there.weights[index]),
            size=(height, width),
            digest=hashlib.sha256(content).digest(),
            pixels=pixels,
        )

    broken = Faults("broken-masks", "masks are broken, or of another size", strict=strict)
    found = []
    with Progress("reading masks", len(there.places), unit="mask") as progress:
        for one in in_order(look, len(there.places)):
            progress.step()
            if isinstance(one, str):
                reason, _, remedy = one.partition("; ")
                broken.add(reason, remedy or "replace it")
            else:
                found.append(one)
    notes += broken.settle(part, len(pairs))
    return found


def _meaning_of(
    root: pathlib.Path,
    looked: Mapping[str, Sequence[_Looked]],
    named: Meaning | None,
) -> tuple[Meaning, list[Note]]:
    """What the values of all masks mean, and notes."""
    pairs = [one.pair for some in looked.values() for one in some]
    pixels = np.array([one.pixels for some in looked.values() for one in some])
    values = np.flatnonzero(pixels.any(axis=0)).tolist()
    if VOID in values and set(values) <= {0, VOID}:
        *others, white = named.classes if named else (FOREGROUND,)
        zero = others[0] if others else BACKGROUND
        text = f"masks are black and white: 0 is {zero!r}, 255 is {white!r}"
        note = Note(kind="black-and-white-masks", text=text, count=len(pairs), finding=False)
        colours = named.colours if named else None
        return mask_files.black_and_white((zero, white), colours), [note]
    if named is not None:
        return named, []
    between = [value for value in values if 0 < value < VOID]
    edges = pixels[:, between].sum(dtype=np.int64)
    hard = pixels[:, [0, VOID]].sum(dtype=np.int64)
    if VOID in values and len(between) > _SOFT and between[-1] >= _MIDDLE and hard > _HARD * edges:
        culprit = pairs[int(pixels[:, between].any(axis=1).argmax())][1]
        raise InputError(
            f"{culprit} is black and white with soft edges, of values from {between[0]} to "
            f"{between[-1]}; make the edges hard (magick mogrify -threshold 50% FILE)"
        )
    count = max(between, default=0) + 1
    if count < _TWO:
        raise InputError(
            f"{root}: no mask has any value but {values}; there are not two classes in them"
        )
    text = f"no file names the classes (classes.txt, a name a line): class_0 to class_{count - 1}"
    meaning = mask_files.numbered(count)
    return meaning, [Note.of("unnamed-classes", text, meaning.classes)]


def _table(root: pathlib.Path, looked: Sequence[_Looked], meaning: Meaning) -> MaskTable:
    pairs = [one.pair for one in looked]
    pictures = [picture for picture, _mask in pairs]
    weights = np.array([one.weight for one in looked], np.int64)
    sizes = np.array([one.size for one in looked], np.int32).reshape(-1, 2)
    names = [
        file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
        for file in pictures
    ]
    parts = ["\0".join(names).encode("utf-8", "surrogatepass"), weights.tobytes()]
    parts += [sizes.tobytes(), b"".join(one.digest for one in looked), meaning.to_bytes()]
    return MaskTable(
        pictures=tuple(map(str, pictures)),
        masks=tuple(str(mask) for _image, mask in pairs),
        sizes=sizes,
        meaning=meaning,
        fingerprint=digest(parts),
    )


def _palette(table: MaskTable) -> Palette | None:
    """The colours that the first mask's palette has for the classes, if it has any but greys."""
    if not len(table) or table.meaning.colours is not None:
        return None
    palette = mask_files.read_mask(table.masks[0]).palette
    numbers = table.meaning.first_numbers()
    if palette is None or max(numbers) >= len(palette):
        return None
    colours = palette[numbers]
    if (colours == colours[:, :1]).all():
        return None
    return tuple((int(red), int(green), int(blue)) for red, green, blue in colours)
