"""What a COCO file says, and how it is kept between two looks at it.

Reading half a gigabyte of JSON takes most of a minute, and what it says is some arrays. They are
kept in the cache (`kept`) for as long as the file is the same, and its image files are of the
same sizes in bytes; a file that is soon read is not kept.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from training.datasets import kept
from training.datasets.detection_table import Annotations, Shapes
from training.datasets.faults import weigh
from training.datasets.notes import Note

# To be raised when another version reads something else from the same file.
_FORM = 1
_SMALLEST = 4 << 20  # bytes of a file that is kept
_COLUMNS = ("pictures", "boxes", "labels", "crowd", "areas", "ids")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CocoFile:
    """What a file says; its annotations' labels are still the file's own category ids.

    Attributes:
        listed: all names that the file has.
        present: (n,) int64, which of them there are images of.
        files: n images that are there.
        sizes, weights: (n, 2) int64 heights and widths, and (n,) bytes.
        categories: names by id.
        group: id of a category that is but the name of all the others, or None.
    """

    path: pathlib.Path
    listed: Sequence[str]
    present: np.ndarray
    files: Sequence[str]
    sizes: np.ndarray
    weights: np.ndarray
    categories: Mapping[int, str]
    group: int | None
    annotations: Annotations
    notes: Sequence[Note]

    @property
    def names(self) -> list[str]:
        """Of the n images, as the file has them."""
        return [self.listed[place] for place in self.present]


def keeping(
    path: pathlib.Path,
    read: Callable[[], CocoFile],
    find: Callable[[Sequence[str]], list[str]],
    *,
    strict: bool,
) -> CocoFile:
    """What the file says, from the cache if it and its images are as they were.

    Args:
        read: reads the file.
        find: gives the paths of its images by their names.
        strict: what is broken is an error; then nothing was left out.
    """
    try:
        found = path.stat()
    except OSError:
        return read()  # which says what is wrong
    if found.st_size < _SMALLEST:
        return read()
    key = f"coco {_FORM} {path.absolute()} {found.st_size} {found.st_mtime_ns} {strict}"
    if arrays := kept.load(key):
        try:
            if (known := _opened(path, arrays, find)) is not None:
                return known
        except (KeyError, ValueError, IndexError, TypeError):
            pass  # damaged: read anew
    file = read()
    kept.save(key, _packed(file))
    return file


def _packed(file: CocoFile) -> dict[str, np.ndarray]:
    about = {
        "listed": list(file.listed),
        "categories": list(file.categories.items()),
        "group": file.group,
        "notes": [dataclasses.asdict(note) for note in file.notes],
    }
    arrays = {
        "about": _bytes(json.dumps(about).encode("ascii")),
        "present": file.present,
        "sizes": file.sizes,
        "weights": file.weights,
    }
    arrays |= {name: getattr(file.annotations, name) for name in _COLUMNS}
    if (shapes := file.annotations.shapes) is not None:
        rows = sorted(shapes.runs)
        arrays |= {"points": shapes.points, "parts": shapes.parts, "polygons": shapes.polygons}
        arrays["run_rows"] = np.array(rows, np.int64)
        arrays["run_ends"] = np.cumsum([len(shapes.runs[row]) for row in rows], dtype=np.int64)
        arrays["runs"] = _bytes(b"".join(shapes.runs[row] for row in rows))
    return arrays


def _opened(
    path: pathlib.Path,
    arrays: Mapping[str, np.ndarray],
    find: Callable[[Sequence[str]], list[str]],
) -> CocoFile | None:
    """The file as it was kept; None if its images have changed since."""
    about = json.loads(arrays["about"].tobytes())
    present, weights = arrays["present"], arrays["weights"]
    files = find(about["listed"])
    before = np.full(len(files), -1, np.int64)
    before[present] = weights
    if not np.array_equal(weigh(files), before):
        return None
    return CocoFile(
        path=path,
        listed=about["listed"],
        present=present,
        files=[files[place] for place in present],
        sizes=arrays["sizes"],
        weights=weights,
        categories=dict(about["categories"]),
        group=about["group"],
        annotations=Annotations(
            **{name: arrays[name] for name in _COLUMNS}, shapes=_shapes(arrays)
        ),
        notes=[Note(**note | {"examples": tuple(note["examples"])}) for note in about["notes"]],
    )


def _shapes(arrays: Mapping[str, np.ndarray]) -> Shapes | None:
    if "points" not in arrays:
        return None
    runs, ends = arrays["runs"].tobytes(), arrays["run_ends"].tolist()
    starts = [0, *ends][:-1]
    rows = arrays["run_rows"].tolist()
    return Shapes(
        points=arrays["points"],
        parts=arrays["parts"],
        polygons=arrays["polygons"],
        runs={row: runs[a:b] for row, a, b in zip(rows, starts, ends, strict=True)},
    )


def _bytes(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8)
