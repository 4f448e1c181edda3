"""What the project's drawings share: colours, a style, and small pieces.

Colours are those that colour-blind people tell apart (Okabe and Ito). No setting of the user's
changes the style, so that the same figures give the same bytes.
"""

from __future__ import annotations

import contextlib
import logging
import math
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from training.common import atomic, fonts

BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
# The rest of Okabe and Ito's palette, and its order: neighbours differ in brightness too.
_ORANGE, _SKY, _YELLOW, _PURPLE = "#e69f00", "#56b4e9", "#f0e442", "#cc79a7"
CLASS_COLOURS = (VERMILION, _SKY, _YELLOW, BLUE, _ORANGE, GREEN, _PURPLE)
INK, MUTED, GRID, CARD, BAND = "#1d2430", "#5b6675", "#e2e6ec", "#fffffe", "#f1f3f6"
# What all drawings share; titles come from folder names, so none is read as mathematics.
_STYLE = {
    "font.size": 10.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
}
ON_CARD = {"figure.facecolor": CARD, "axes.facecolor": CARD, "axes.axisbelow": True}


@contextlib.contextmanager
def drawing(style: Mapping[str, Any] = ON_CARD, *, names: Iterable[str] = ()) -> Iterator[None]:
    """Our style whatever the user's settings; a glyph that no font has is drawn as a box.

    Args:
        style: matplotlib settings beside those that all drawings share.
        names: texts of the user's, whose letters `training.common.fonts` finds further fonts for.
    """
    if further := fonts.families(names):
        style = {**style, "font.family": ["sans-serif", *further]}
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    with (
        matplotlib.style.context({**_STYLE, **style}, after_reset=True),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        log.setLevel(logging.ERROR)  # a further font may have no bold letters
        try:
            yield
        finally:
            log.setLevel(level)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Write a .png at twice the screen's density, without dates or versions."""
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=200, metadata={"Software": None})


def shorten(text: str, letters: int) -> str:
    """At most so many letters in one line; the middle goes, since both ends tell names apart."""
    text = " ".join(text.split())
    if len(text) <= letters:
        return text
    tail = (letters - 1) // 2
    return f"{text[: letters - 1 - tail]}…{text[len(text) - tail :]}"


def title_above(axes: Any, text: str) -> None:
    """What an axis shows, above its left end."""
    axes.set_title(text, loc="left", fontsize=10.5, color=INK, pad=7)


def log_axis(axis: Any, limits: tuple[float, float]) -> None:
    """A logarithmic axis with ticks at 1, 2, 5 within few decades, else at powers of ten."""
    # Limits first: a change of scale looks for positive data where there are none yet.
    axis.axes.set(**{f"{axis.axis_name}lim": limits})
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = (math.log10(limit) for limit in limits)
    steps = (1, 2, 5) if high - low <= 1.5 else (1, 3) if high - low <= 2.5 else (1,)
    every = max(1, math.ceil((high - low) / 10))
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**power for power in powers if power % every == 0 for step in steps]
    axis.set_major_locator(FixedLocator([t for t in ticks if limits[0] <= t <= limits[1]]))
    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def legend_row(figure: Figure, axes: Any, height: float) -> None:
    """The legend of one axes in a row at the figure's left, at a share of its height."""
    entries, texts = axes.get_legend_handles_labels()
    figure.legend(
        *(entries, texts),
        loc="center left",
        bbox_to_anchor=(0.008, height),
        ncols=len(entries),
        frameon=False,
    )
