"""Mask images: which value or colour is which class.

    palette PNG       numbers of its palette; its colours, where a file of classes has all of them
    8-bit grey        numbers; or levels, where a file of classes has nothing but greys
    16-bit grey       numbers below 255; 65535 counts nowhere, as 255
    black and white   0 and 255 alone in all masks, of 1 bit, 8 bits or in colour: two classes
    colour            colours of a file of classes (`class_files`)

255 is `VOID`, and so is a class that is called so ("void", "unlabelled" ...). Masks are PNG or BMP:
what a JPEG changes would be other classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NoReturn

import numpy as np
from PIL import Image

from kerascnn.errors import InputError
from training.datasets.class_files import ClassFile, is_void
from training.datasets.notes import Note
from training.datasets.pictures import read_stored
from training.datasets.segmentation import VOID, Palette

FORMATS = ("PNG", "BMP")
_NONE = -1  # in tables: no class
_WHITE = 255
_LEVELS = 256
_GREY_CODE = 0x010101  # times a level is the code of a grey


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """A mask as its file has it, upright.

    Attributes:
        kind: "palette", "grey", "bits" or "colour".
        values: (h, w) integers: numbers or levels, 0 and 255 of bits; of colours,
            65,536 red + 256 green + blue.
        palette: (k, 3) uint8 of "palette", else None.
    """

    kind: str
    values: np.ndarray
    palette: np.ndarray | None = None


def read_mask(path: str) -> Stored:
    """Decode a mask.

    Raises:
        InputError: it cannot be read, is no PNG or BMP, is transparent or has more than 16 bits.
    """
    image, found = read_stored(path)
    if found not in FORMATS:
        raise InputError(
            f"{path} is {found}, which blurs classes; masks must be PNG (black and white: magick "
            "mogrify -format png -threshold 50% FILE)"
        )
    if image.mode in ("RGBA", "LA"):
        alpha = np.asarray(image.getchannel("A"))
        if alpha.min() < _WHITE:
            raise InputError(f"{path} is transparent in places; save the mask without transparency")
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    return _stored(path, image)


def _stored(path: str, image: Image.Image) -> Stored:
    values = np.asarray(image)
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return Stored(kind="palette", values=values, palette=palette)
    if image.mode == "1":
        return Stored(kind="bits", values=np.where(values, np.uint8(_WHITE), np.uint8(0)))
    if image.mode == "L" or image.mode.startswith("I;16"):
        return Stored(kind="grey", values=values)
    if image.mode == "RGB":
        return Stored(kind="colour", values=_codes(values))
    raise InputError(f"{path} is of Pillow's mode {image.mode}; save the mask as an 8-bit PNG")


def levels(path: str, stored: Stored) -> np.ndarray:
    """(h, w) numbers or levels from 0 to 255, where no file says what colours are.

    Raises:
        InputError: it is in colour, or a number of 16 bits is no class's.
    """
    values = stored.values
    if stored.kind == "colour":
        red = values >> 16
        if (values != red * _GREY_CODE).any():
            raise InputError(
                f"{path} is in colour, and no file says which is which class; add classes.txt with "
                "lines of a name and its colour (road 128 64 128)"
            )
        return red.astype(np.uint8)
    if values.dtype != np.uint8:
        values = np.where(values == 0xFFFF, VOID, values)
        if values.max(initial=0) > VOID:
            raise InputError(
                f"{path}: the value {values.max()} is not a class; classes go from 0 to {VOID - 1}"
            )
        values = values.astype(np.uint8)
    return values


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Colours:
    """Which colour is which class.

    Attributes:
        codes: (k,) int32 65,536 red + 256 green + blue, sorted.
        classes: (k,) uint8 theirs, or `VOID`.
        grey: whether all are greys, so that a grey mask's levels are colours.
    """

    codes: np.ndarray
    classes: np.ndarray
    grey: bool

    def find(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Classes of colours, uint8, and which are none's, bool; of the same shape."""
        places = np.searchsorted(self.codes, codes).clip(0, len(self.codes) - 1)
        return self.classes[places], self.codes[places] != codes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Meaning:
    """What masks of a data set mean.

    Attributes:
        classes: names, in index order.
        numbers: (256,) int16 classes of numbers, `VOID` or -1.
        source: the file of classes, for messages; empty where there is none.
        colours: where that file has any.
        two: whether 0 and 255 are two classes.
    """

    classes: tuple[str, ...]
    numbers: np.ndarray
    source: str = ""
    colours: Colours | None = None
    two: bool = False

    def label_map(self, path: str, stored: Stored) -> np.ndarray:
        """The (h, w) uint8 classes of a mask.

        Raises:
            InputError: it has what no class is.
        """
        if self.colours is not None:
            if stored.kind == "colour":
                return self._of_colours(path, self.colours, stored.values)
            if self.colours.grey and stored.palette is None:
                codes = levels(path, stored).astype(np.int32) * _GREY_CODE
                return self._of_colours(path, self.colours, codes)
            if (table := _of_palette(self.colours, stored)) is not None:
                return table[stored.values]
        if stored.kind == "bits" and not self.two:
            raise InputError(
                f"{path} is black and white, and other masks have numbers; save it as 8-bit grey "
                "with the numbers of its classes"
            )
        return self._of_numbers(path, levels(path, stored))

    def first_numbers(self) -> list[int]:
        """The number of each class; the first of those that a class has."""
        return [int(np.argmax(self.numbers == label)) for label in range(len(self.classes))]

    def to_bytes(self) -> bytes:
        """Everything that decides on classes, for a fingerprint."""
        parts = ["\0".join(self.classes).encode(), self.numbers.tobytes(), bytes([self.two])]
        if self.colours is not None:
            parts += [self.colours.codes.tobytes(), self.colours.classes.tobytes()]
        return b"\0".join(parts)

    def _of_numbers(self, path: str, values: np.ndarray) -> np.ndarray:
        found = self.numbers[values]
        strange = found == _NONE
        if strange.any():
            value = values[strange][0]
            self._refuse(path, f"the value {value}", int(np.count_nonzero(values == value)))
        return found.astype(np.uint8)

    def _of_colours(self, path: str, colours: Colours, codes: np.ndarray) -> np.ndarray:
        found, strange = colours.find(codes)
        if strange.any():
            code = int(codes[strange][0])
            colour = f"the colour {code >> 16} {code >> 8 & 255} {code & 255}"
            self._refuse(path, colour, int(np.count_nonzero(codes == code)))
        return found

    def _refuse(self, path: str, what: str, pixels: int) -> NoReturn:
        listed = f"the {len(self.classes)} classes" + (f" of {self.source}" if self.source else "")
        raise InputError(
            f"{path}: {what} ({pixels:,} pixels) is not one of {listed}; "
            "correct the mask or the classes"
        )


def _of_palette(colours: Colours, stored: Stored) -> np.ndarray | None:
    """(256,) uint8 classes of a palette's numbers, if all that are used have a class's colour."""
    if stored.palette is None:
        return None
    used = np.flatnonzero(np.bincount(stored.values.ravel(), minlength=_LEVELS))
    used = used[used != VOID]
    if used.max(initial=0) >= len(stored.palette):
        return None
    found, strange = colours.find(_codes(stored.palette[used]))
    if strange.any():
        return None
    table = np.full(_LEVELS, VOID, np.uint8)
    table[used] = found
    return table


def named(found: ClassFile) -> tuple[Meaning, Palette | None, list[Note]]:
    """What a file of classes says: the meaning of masks, the classes' colours, and notes.

    Raises:
        InputError: it has no class but those that count nowhere.
    """
    kept = [value for value, name in enumerate(found.names) if not is_void(name)]
    if not kept:
        raise InputError(f"{found.path} names no class; add those of the masks")
    classes = np.full(len(found.names), VOID, np.uint8)
    classes[kept] = np.arange(len(kept))
    notes = [
        Note.of("void-class", f"pixels of class {name!r} count nowhere", [name], finding=False)
        for name in found.names
        if is_void(name)
    ]
    meaning = Meaning(
        classes=tuple(found.names[value] for value in kept),
        numbers=_numbers(dict(enumerate(classes.tolist()))),
        source=str(found.path),
    )
    if found.colours is None:
        return meaning, None, notes
    codes = _codes(np.array(found.colours, np.uint8))
    order = np.argsort(codes)
    colours = Colours(
        codes=codes[order],
        classes=classes[order],
        grey=all(len(set(colour)) == 1 for colour in found.colours),
    )
    palette = tuple(found.colours[value] for value in kept)
    return dataclasses.replace(meaning, colours=colours), palette, notes


def numbered(count: int) -> Meaning:
    """Masks of so many classes that nobody named."""
    classes = tuple(f"class_{number}" for number in range(count))
    return Meaning(classes=classes, numbers=_numbers({number: number for number in range(count)}))


def black_and_white(classes: tuple[str, str], colours: Colours | None) -> Meaning:
    """Masks of 0 and 255, and perhaps others of these colours."""
    numbers = _numbers({0: 0, _WHITE: 1})
    return Meaning(classes=classes, numbers=numbers, colours=colours, two=True)


def _numbers(classes: Mapping[int, int]) -> np.ndarray:
    numbers = np.full(_LEVELS, _NONE, np.int16)
    numbers[VOID] = VOID
    for number, label in classes.items():
        numbers[number] = label
    return numbers


def _codes(colours: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 to (...) int32."""
    parts = colours.astype(np.int32)
    return parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]
