"""Which classes are taken for which: a table of true classes against predicted ones, drawn.

Rows are true classes, columns predicted ones. Colour is the share of a row, so that rare classes
show as well as common ones. It goes by a root of the share: a mistake of one in a hundred would be
as good as white beside the diagonal otherwise.

A table and a drawing of all classes grow with their square: 4,000 classes took 70 s and 6.7 GB. So
counts are sparse, and above 1,000 classes the table lists the pairs that occur and the drawing has
the classes that are confused most.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from scipy.sparse import csr_array

from training.classification.confused import (
    Confused,
    Counts,
    cells_of,
    checked,
    confusion_matrix,
    mistakes_of,
    most_confused,
)
from training.common import atomic
from training.common.drawing import (
    BAND,
    BLUE,
    CARD,
    GRID,
    INK,
    MUTED,
    drawing,
    save,
    shorten,
)
from training.common.fonts import columns

__all__ = ["Confused", "confusion_matrix", "draw_confusion", "most_confused", "write_confusion"]

_SQUARE = 1000  # classes, up to which table and drawing have a row and a column of each
_COUNTED = 20  # classes, up to which cells hold their counts
_NAMED = 60  # classes, up to which every class has its name
_LETTERS = 22  # of a name
_DENSITY = 200  # pixels an inch
_SIDE = 1300  # pixels of the square, more or less
_CELL = (2, 180)  # pixels, at least and at most
_SMALLEST = 2.4  # inches of the square
_SHARES = (0, 1, 5, 10, 25, 50, 75, 100)  # percent, beside the colours
_COLOURS = LinearSegmentedColormap.from_list("share", [CARD, "#b9d5e8", BLUE, "#06304d"])


def write_confusion(
    matrix: Counts, class_names: Sequence[str], png: pathlib.Path, csv: pathlib.Path
) -> None:
    """Write the counts as a table and as a heat map.

    Args:
        matrix: (classes, classes) counts, rows are true classes.
        class_names: in index order.
        png: the heat map; counts stand in its cells up to 20 classes, some names are left out
            above 60. Above 1,000 classes it shows the 60 that are confused most.
        csv: the table, predicted classes in the first row, true ones in the first column. Above
            1,000 classes one line for each pair that occurs: true, predicted, images.

    Raises:
        InputError: the matrix is not square, or has another number of classes than names.
    """
    counts = checked(matrix, class_names)
    if len(class_names) <= _SQUARE:
        dense = counts.toarray()
        rows = ([name, *map(int, row)] for name, row in zip(class_names, dense, strict=True))
        atomic.write_csv(csv, ["true \\ predicted", *class_names], rows)
    else:
        cells = zip(*cells_of(counts), strict=True)
        pairs = ([class_names[i], class_names[j], int(count)] for i, j, count in cells)
        atomic.write_csv(csv, ["true", "predicted", "images"], pairs)
    with drawing(names=[class_names[i] for i in _shown(counts)]):
        save(draw_confusion(counts, class_names), png)


def draw_confusion(matrix: Counts, class_names: Sequence[str]) -> Figure:
    """The heat map of `write_confusion`; its first axes hold the matrix, or what is shown of it."""
    counts = csr_array(matrix)
    shown = _shown(counts)
    part, shares = counts[shown][:, shown].toarray(), _shares(counts, shown)
    classes = len(shown)
    # Whole pixels a cell: a drawing that is resampled would lose single mistakes.
    pixels = min(max(_SIDE // classes, _CELL[0]), _CELL[1])
    side = max(pixels * classes / _DENSITY, _SMALLEST)
    cell = side / classes
    figure = Figure(figsize=(side, side))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    # Small cells must differ more from white to be seen.
    norm = PowerNorm(0.5 if classes <= _NAMED else 0.25, vmin=0, vmax=100)
    axes.set_facecolor(BAND)  # what a class without images has for a row
    axes.imshow(shares, cmap=_COLOURS, norm=norm, interpolation="nearest", aspect="equal")
    _names(axes, [class_names[i] for i in shown], cell)
    if classes <= _COUNTED:
        _counts(axes, part, shares, cell)
    if classes <= _NAMED:
        edges = np.arange(1, classes) - 0.5
        axes.hlines(edges, -0.5, classes - 0.5, color=GRID, linewidth=0.6)
        axes.vlines(edges, -0.5, classes - 0.5, color=GRID, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set(visible=True, color=MUTED)
    axes.set_xlabel("predicted class", labelpad=8, fontsize=10.5)
    axes.set_ylabel("true class", labelpad=8, fontsize=10.5)
    axes.set_title(_title(counts, classes), loc="left", fontsize=10.5, color=INK, pad=9)
    _framed(figure, axes, norm, side)
    return figure


def _shown(counts: csr_array) -> np.ndarray:
    """Places of the classes in the drawing, in their order: all, or those confused most."""
    classes = counts.shape[0]
    if classes <= _SQUARE:
        return np.arange(classes)
    rows, columns = mistakes_of(counts)[:2]
    # Pairs stay together; where there are few mistakes, the commonest classes fill the rest.
    common = np.argsort(-counts.sum(axis=1), kind="stable")[:_NAMED]
    wanted = np.concatenate([np.stack([rows, columns], axis=1).ravel(), common])
    found, first = np.unique(wanted, return_index=True)
    return np.sort(found[np.argsort(first)][:_NAMED])


def _shares(counts: csr_array, shown: np.ndarray) -> np.ma.MaskedArray:
    """Percent of each whole row, of the classes that are shown; masked without images."""
    pictures = counts.sum(axis=1)[shown][:, None]
    shares = np.full((len(shown), len(shown)), math.nan)
    np.divide(100 * counts[shown][:, shown].toarray(), pictures, out=shares, where=pictures > 0)
    return np.ma.masked_invalid(shares)


def _title(counts: csr_array, shown: int) -> str:
    right, total = int(counts.diagonal().sum()), int(counts.sum())
    share = f", {100 * right / total:.4g}%" if total else ""
    some = f"; the {shown} most confused of {counts.shape[0]:,} classes"
    return f"{right:,} of {total:,} right{share}" + (some if shown < counts.shape[0] else "")


def _names(axes: Any, names: Sequence[str], cell: float) -> None:
    """Beside rows and below columns; of many classes every second, fifth, tenth ..."""
    room = max(1, math.ceil(len(names) / _NAMED))
    every = next(n for power in range(9) for n in (10**power * s for s in (1, 2, 5)) if n >= room)
    ticks = range(0, len(names), every)
    texts = [shorten(names[i], _LETTERS) for i in ticks]
    size = min(9.5, 0.8 * 72 * cell * every)
    # A letter is some 0.6 of its size wide.
    flat = max(map(columns, texts)) * 0.62 * size <= 72 * cell * every
    axes.set_yticks(ticks, texts, fontsize=size)
    upright = {} if flat else {"rotation": 90}
    axes.set_xticks(ticks, texts, fontsize=size, **upright)
    axes.tick_params(length=2 if every == 1 else 4, pad=3)


def _counts(axes: Any, matrix: np.ndarray, shares: np.ma.MaskedArray, cell: float) -> None:
    digits = len(str(matrix.max()))
    size = min(10.5, 72 * cell / (0.62 * digits + 0.8))
    for (row, column), count in np.ndenumerate(matrix):
        if count or row == column:
            dark = not np.ma.is_masked(shares[row, column]) and shares[row, column] >= 25
            axes.text(
                *(column, row, str(count)),
                ha="center",
                va="center",
                fontsize=size,
                color=CARD if dark else INK,
            )


def _framed(figure: Figure, axes: Any, norm: PowerNorm, side: float) -> None:
    """Give names and colours the room that they need around a square of `side` inches."""
    inches = figure.dpi_scale_trans.inverted()
    box = axes.get_tightbbox(figure.canvas.get_renderer()).transformed(inches)  # type: ignore[attr-defined]
    # Whole pixels, so that cells keep theirs.
    left, below, above = (
        math.ceil(_DENSITY * (gap + 0.12)) / _DENSITY for gap in (-box.x0, -box.y0, box.y1 - side)
    )
    after = max(0.85, box.x1 - side + 0.12)
    wide, high = left + side + after, below + side + above
    figure.set_size_inches(wide, high)
    axes.set_position((left / wide, below / high, side / wide, side / high))
    tall = min(side, 4.5)
    bar = figure.add_axes(((left + side + 0.16) / wide, below / high, 0.14 / wide, tall / high))
    colours = figure.colorbar(ScalarMappable(norm, _COLOURS), cax=bar, ticks=_SHARES)
    colours.outline.set_edgecolor(MUTED)
    bar.tick_params(labelsize=9, length=2, pad=3)
    bar.set_yticklabels([f"{share}%" for share in _SHARES])
    bar.set_title("of row", fontsize=9, color=INK, pad=10, loc="left")
