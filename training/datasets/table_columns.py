"""Which column of a table of labels is what: by its heading, and by what its cells name.

A column names the images if its cells are files; of several that are, a usual heading decides. The
label is in the column with a usual heading, or in the only one that is left. Columns of 0 and 1
alone are classes, one a column. What could be read in two ways is refused.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

from kerascnn.errors import InputError
from training.datasets.delimited import Delimited
from training.datasets.detection_table import TEST, TRAIN, VALIDATION
from training.datasets.paths import suffix_of
from training.datasets.pictures import SUFFIXES

FILE_WORDS = frozenset({
    "file", "files", "filename", "filenames", "file_name", "filepath", "file_path", "path", "paths",
    "image", "images", "img", "picture", "photo", "image_path", "img_path", "image_name",
    "img_name", "image_file", "image_id", "imageid", "img_id", "id", "name", "fname", "fn",
})  # fmt: skip
LABEL_WORDS = frozenset({
    "label", "labels", "class", "classes", "class_name", "classname", "class_id", "category",
    "categories", "category_id", "category_name", "target", "targets", "tag", "tags", "label_name",
})  # fmt: skip
_SPLIT_WORDS = frozenset({
    "split", "set", "subset", "partition", "part", "phase", "usage", "data_set", "dataset",
})  # fmt: skip
PARTS = {
    **dict.fromkeys(("train", "training", "trn", "tr"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst", "held-out", "held_out", "heldout", "holdout"), TEST),
}
_YES_NO = {
    **dict.fromkeys(("true", "1", "1.0", "yes", "y", "t"), True),
    **dict.fromkeys(("false", "0", "0.0", "no", "n", "f", ""), False),
}
# What a column of yes and no says of an image.
_FLAGS = {
    **dict.fromkeys(("is_valid", "is_val", "is_validation"), (VALIDATION, TRAIN)),
    "is_test": (TEST, TRAIN),
    **dict.fromkeys(
        ("is_train", "is_training", "is_training_img", "is_training_image"), (TRAIN, TEST)
    ),
}
_PROBED = 50  # rows
_MOSTLY = 0.9  # of the cells of a column of splits, others being slips
_FLAG = frozenset({"0", "1", "0.0", "1.0", "true", "false"})
_INDEX = re.compile(r"(unnamed:_\d+|index|row|#)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """Where in a row things are.

    Attributes:
        names: headings, or "column 1" ... of a table without.
        first: the row that the images begin with: 1 behind a heading.
        file, label: columns; no label where there are columns of 0 and 1.
        flags: columns of 0 and 1, one a class.
        split: a column, or None.
        parts: the part that a cell of it in small letters means.
    """

    names: tuple[str, ...]
    first: int
    file: int
    label: int | None
    flags: tuple[int, ...]
    split: int | None
    parts: dict[str, str]

    @property
    def width(self) -> int:
        """Cells that a row must have."""
        return 1 + max(at for at in (self.file, self.label, *self.flags) if at is not None)


def columns(table: Delimited, found: Callable[[str], object], places: str) -> Columns:
    """Find out which column is what.

    Args:
        found: whether a cell names an image file that is there.
        places: where `found` looks, for messages.

    Raises:
        InputError: no column names images, or something could be read in two ways.
    """
    return _Columns(table, found, places).run()


class _Columns:
    def __init__(self, table: Delimited, found: Callable[[str], object], places: str) -> None:
        self._table, self._found, self._places = table, found, places
        self._width = table.width
        first, *others = table.rows
        self._head = (first + [""] * self._width)[: self._width]
        self._rows = [self._head, *(row for row in others if len(row) >= self._width)]
        self._words = [_word(cell) for cell in self._head]
        body = self._rows[1:] or self._rows
        self._probes = body[:: max(1, len(body) // _PROBED)][:_PROBED]

    def run(self) -> Columns:
        file = self._file()
        headed = self._headed(file)
        if not headed:
            self._words = [""] * self._width
        names = self._head if headed else [f"column {at + 1}" for at in range(self._width)]
        self._names = tuple(name or f"column {at + 1}" for at, name in enumerate(names))
        self._body = self._rows[1:] if headed else self._rows
        if not self._body:
            raise InputError(f"{self._table.path} has a heading and no images; add them")
        split, parts = self._split(file, headed)
        label, flags = self._label([at for at in range(self._width) if at not in (file, split)])
        return Columns(
            names=self._names, first=int(headed), file=file, label=label, flags=flags,
            split=split, parts=parts,
        )  # fmt: skip

    def _refused(self, what: str, remedy: str) -> InputError:
        return InputError(f"{self._table.path}: {what}; {remedy}")

    def _listed(self, those: Sequence[int]) -> str:
        return ", ".join(repr(self._names[at]) for at in those)

    def _file(self) -> int:
        """The column that names most files."""
        hits = [
            sum(bool(row[at] and self._found(row[at])) for row in self._probes)
            for at in range(self._width)
        ]
        most = max(hits)
        named = [at for at, word in enumerate(self._words) if word in FILE_WORDS]
        if not most:
            if not self._rows[1:] and any(word in FILE_WORDS for word in self._words):
                raise self._refused("it has a heading and no rows", "add images")
            shown = self._probes[0][named[0] if named else 0]
            raise self._refused(
                f"none of its images is there, such as {shown!r:.80}",
                f"looked in {self._places}",
            )
        best = [at for at, count in enumerate(hits) if count == most]
        if not (chosen := [at for at in best if at in named] or best)[1:]:
            return chosen[0]
        if any(len({str(self._found(row[at])) for at in chosen}) > 1 for row in self._probes):
            both = ", ".join(repr(self._head[at]) for at in chosen)
            raise self._refused(f"columns {both} all name images", "leave one of them")
        return chosen[0]

    def _headed(self, file: int) -> bool:
        """Whether the first row is a heading: it names no image."""
        cell = self._head[file]
        if self._words[file] in FILE_WORDS:
            words = [word for at, word in enumerate(self._words) if at != file]
            known = LABEL_WORDS | _SPLIT_WORDS | set(_FLAGS)
            return not self._found(cell) or any(word in known for word in words)
        if suffix_of(cell) in SUFFIXES or self._found(cell):
            return False
        # An image that is missing has a label that others have, too.
        others = [at for at in range(self._width) if at != file]
        return not any(self._head[at] in {row[at] for row in self._rows[1:]} for at in others)

    def _split(self, file: int, headed: bool) -> tuple[int | None, dict[str, str]]:
        """The column that says what images are for."""
        flags = [at for at, word in enumerate(self._words) if word in _FLAGS]
        named = [at for at, word in enumerate(self._words) if word in _SPLIT_WORDS]
        if not headed and self._width > 2:
            others = [at for at in range(self._width) if at != file]
            named = [at for at in others if all(r[at].lower() in PARTS for r in self._probes)]
        # A class may be called "set"; what has other words in it is none.
        sound = [at for at in named if self._known(at) >= _MOSTLY]
        if len(both := [*sound, *flags]) > 1:
            raise self._refused(
                f"columns {self._listed(both)} all say what images are for", "leave one of them"
            )
        if flags:
            yes, no = _FLAGS[self._words[flags[0]]]
            return flags[0], {word: yes if on else no for word, on in _YES_NO.items()}
        if named and not sound:
            self._refuse_words(named[0])
        return (sound[0], PARTS) if sound else (None, {})

    def _known(self, at: int) -> float:
        """Which share of a column's cells says what an image is for."""
        return sum(row[at].lower() in PARTS for row in self._body) / len(self._body)

    def _refuse_words(self, at: int) -> None:
        """Refuse a column of splits with words that are none, unless none of its words is one."""
        if self._known(at):
            odd = min({row[at].lower() for row in self._body} - set(PARTS))
            raise self._refused(
                f"{odd!r:.60} in column {self._names[at]!r} says not what an image is for",
                "write train, val or test",
            )

    def _label(self, others: Sequence[int]) -> tuple[int | None, tuple[int, ...]]:
        """The column of labels, or those of 0 and 1."""
        named = [at for at in others if self._words[at] in LABEL_WORDS]
        if len(named) == 1:
            return named[0], ()
        if named:
            return self._one_of(named), ()
        left = [at for at in others if not self._is_index(at)]
        if len(left) == 1:
            return left[0], ()
        if len(left) > 1 and all(row[at].lower() in _FLAG for row in self._body for at in left):
            return None, tuple(left)
        shown = self._listed(left) or "none beside the images'"
        raise self._refused(
            f"which column has the classes is not clear (there are: {shown})",
            "call it 'label'",
        )

    def _one_of(self, named: Sequence[int]) -> int:
        """Of columns that say the same, one with names instead of numbers."""
        for other in named[1:]:
            pairs = {(row[named[0]], row[other]) for row in self._body}
            if not len(pairs) == len({a for a, _b in pairs}) == len({b for _a, b in pairs}):
                raise self._refused(
                    f"columns {self._listed(named)} all have classes, and not the same",
                    "leave one of them",
                )
        worded = [at for at in named if not all(is_number(row[at]) for row in self._body)]
        return (worded or list(named))[0]

    def _is_index(self, at: int) -> bool:
        """Whether a column only counts the rows."""
        if not _INDEX.fullmatch(self._words[at]):
            return False
        cells = [row[at] for row in self._body]
        return all(cell.isdecimal() for cell in cells) and len(set(cells)) == len(cells)


def is_number(text: str) -> bool:
    """Whether a label is a whole number, as programs write them: 3 or 3.0."""
    return re.fullmatch(r"\d{1,9}(\.0+)?", text) is not None


def _word(cell: str) -> str:
    return re.sub(r"[\s-]+", "_", cell.strip().lower())
