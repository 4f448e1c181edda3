"""Files that name the classes of masks, and that may say which colour is which class.

    background                       classes.txt, labels.txt, codes.txt: a name a line
    0, background                    _classes.csv (Roboflow): the value and the name
    background 0 0 0                 name and colour, by spaces, tabs or commas: classes.csv,
    background,0,0,0                 class_dict.csv (CamVid at Kaggle), classes.txt, ...
    64 128 64    Animal              colour and name: label_colors.txt (CamVid)
    background:0,0,0::               labelmap.txt (CVAT)

The first class is number 0. Empty lines and those that begin with # say nothing, nor does the first
line of a .csv file that has words where others have numbers. A name may have spaces.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from kerascnn.errors import InputError
from training.common.text import read_text
from training.datasets.segmentation import MOST_CLASSES

Colour = tuple[int, int, int]

# In the order in which they are looked for.
NAMES = (
    *("classes.txt", "labels.txt", "classes.csv", "class_dict.csv", "_classes.csv"),
    *("label_colors.txt", "labelmap.txt", "codes.txt"),
)
# What data sets call the pixels that count nowhere.
VOID_NAMES = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored", "ignore_label"})

_MOST_BYTES = 1 << 20
_BETWEEN = r"[\s,;]+"
_NUMBER = r"(\d{1,3})"
_COLOUR = _BETWEEN.join([_NUMBER] * 3)
_NAME_FIRST = re.compile(rf"(.*?\S)(?:{_BETWEEN}|:\s*){_COLOUR}\s*(?::.*)?")
_COLOUR_FIRST = re.compile(rf"{_COLOUR}{_BETWEEN}(\S.*)")
_VALUED = re.compile(r"(\d{1,3})\s*[,;]\s*(\S.*)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassFile:
    """What a file says.

    Attributes:
        path: of it.
        names: of the values 0, 1, 2 ... of masks, those of `VOID_NAMES` among them.
        colours: of the same, or None where it has none.
    """

    path: pathlib.Path
    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None


def find(folders: Sequence[pathlib.Path]) -> ClassFile | None:
    """What the first such file says; None if no folder has one.

    Raises:
        InputError: it is no such file.
    """
    for folder in folders:
        for name in NAMES:
            if (folder / name).is_file():
                return read(folder / name)
    return None


def read(path: pathlib.Path) -> ClassFile:
    """Read a file of classes.

    Raises:
        InputError: it is none, or names a class or a colour twice.
    """
    lines = _lines(path)
    colours: list[Colour] | None = None
    if found := _all(_NAME_FIRST, lines):
        names = [name for name, *_ in found]
        colours = [_colour(path, values) for _name, *values in found]
    elif found := _all(_COLOUR_FIRST, lines):
        names = [name for *_, name in found]
        colours = [_colour(path, values) for *values, _name in found]
    elif path.suffix.lower() == ".csv" and (found := _all(_VALUED, lines)):
        if [int(value) for value, _name in found] != list(range(len(found))):
            raise InputError(f"{path}: values are not 0, 1, 2 ... in order; renumber them")
        names = [name for _value, name in found]
    else:
        names = lines
    names = [name.strip().strip('"').strip() for name in names]
    for what, values in (("classes are called", names), ("colours are", colours or [])):
        if twice := [value for i, value in enumerate(values) if value in values[:i]]:
            raise InputError(f"{path}: two {what} {twice[0]!r}; change one")
    if not names or len(names) > MOST_CLASSES:
        raise InputError(f"{path} names {len(names)} classes; name 1 to {MOST_CLASSES}, one a line")
    return ClassFile(path=path, names=tuple(names), colours=tuple(colours) if colours else None)


def is_void(name: str) -> bool:
    """Whether a class is what counts nowhere."""
    return name.lower() in VOID_NAMES


def _lines(path: pathlib.Path) -> list[str]:
    """What is to be read of a file, without a heading."""
    text = read_text(path, most_bytes=_MOST_BYTES, what="a list of classes")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if path.suffix.lower() != ".csv" or len(lines) < 2:
        return lines
    forms = (_NAME_FIRST, _COLOUR_FIRST, _VALUED)
    heading = any(form.fullmatch(lines[1]) and not form.fullmatch(lines[0]) for form in forms)
    return lines[1:] if heading or lines[0].lower() in ("name", "class", "label") else lines


def _all(form: re.Pattern[str], lines: Sequence[str]) -> list[tuple[str, ...]]:
    """The parts of every line; nothing unless each has that form."""
    found = [form.fullmatch(line) for line in lines]
    return [match.groups() for match in found if match] if all(found) else []


def _colour(path: pathlib.Path, values: Sequence[str]) -> Colour:
    red, green, blue = map(int, values)
    if max(red, green, blue) > 255:
        raise InputError(
            f"{path}: {red} {green} {blue} is not a colour; its parts must be from 0 to 255"
        )
    return red, green, blue
