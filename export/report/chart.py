"""Accuracy against size and against latency: one drawing for documents (.png) and the page (.svg).

Colour tells the run, the marker's shape the precision; a dot in it says that it was fine-tuned
first (slim, prune, cluster, qat), and files on the front are named by what. A hollow marker is
ONNX, a crossed one is not verified. Texts come from folder names, so none is read as mathematics.
"""

from __future__ import annotations

import dataclasses
import html
import io
import itertools
import math
import pathlib
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from export.artefacts.variants import parse_variant
from export.report.results import (
    Result,
    best_choices,
    metric_of,
    milliseconds,
    pareto,
    size_unit,
)
from export.runtime.verify import NO
from kerascnn.errors import InputError
from training.common.drawing import (
    BAND,
    CARD,
    GRID,
    INK,
    MUTED,
    drawing,
    save,
)
from training.common.wording import SizeUnit

# Okabe and Ito's colours without the yellow, which white paper swallows; then some of Paul Tol's.
SERIES = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d"),
    *("#332288", "#999933", "#882255", "#44aa99", "#117733", "#ddcc77", "#aa4499"),
)
_MARKERS = {
    "float32": "o",
    "float16": "s",
    "dynamic_int8": "D",
    "weight_int8": "v",
    "weight_int4": "^",
    "mixed": "*",
    "int8": "P",
    "int16x8": "p",
    "float16_converter": "<",
    "dynamic_int8_converter": "h",
    "int8_converter": ">",
    "int16x8_converter": "d",
}
_OTHER_MARKER = "8"
# With more points than this, those that are beaten step back behind the front.
_CROWD = 30
_LINE = 34  # letters, at most, beside a point
_COVERED = 60  # what covering a point costs, see `_Writer`
_DOT = 2.6  # across, in points
_SIZES = {"*": 12, "D": 7.5, "P": 9.5, "d": 9, "p": 9.5, "h": 9.5}
_BAD = "#b3261e"
# The page owns these colours, so that they follow its light and dark schemes.
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    CARD: "card",
    BAND: "band",
    _BAD: "bad",
    **{colour: f"series-{i}" for i, colour in enumerate(SERIES)},
}
_POINT = 1 / 72  # of an inch
_LETTER = 5.8  # points, of a text below an axis


@dataclasses.dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """One line of the legend: what it belongs to ("run", "precision" or "sign"), glyph and text."""

    kind: str
    svg: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Panel:
    """What an x axis shows: a field of `Result`, divided into the unit of the label.

    `place` tells the panel of one phone from that of another and of this machine.
    """

    cost: str
    unit: float
    label: str
    place: str = ""

    def known(self, results: Sequence[Result]) -> list[Result]:
        return [r for r in results if getattr(r, self.cost) is not None]

    def x(self, result: Result) -> float:
        return getattr(result, self.cost) / self.unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scale:
    """Limits of the accuracy axis; what lies below `floor` is drawn in a band at the bottom."""

    floor: float
    bottom: float
    top: float
    band: float

    def y(self, result: Result) -> float:
        return result.value if result.value >= self.floor else (self.bottom + self.band) / 2


def accuracy_size_svg(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Accuracy against file size as an <svg> element for an HTML page; `narrow` suits a phone."""
    return _svg(results, _size_panel(results), narrow=narrow)


def latency_accuracy_svg(results: Sequence[Result], *, narrow: bool = False) -> str:
    """Accuracy against latency as an <svg> element for an HTML page; `narrow` suits a phone."""
    return _svg(results, _latency_panel(results), narrow=narrow)


def phone_svg(results: Sequence[Result], place: str, *, narrow: bool = False) -> str:
    """The same of a phone, whose latencies the results have.

    Args:
        place: the phone and how it ran them.
    """
    label = "median latency on the phone, 1 image (ms)"
    panel = _Panel(cost="latency_ms", unit=1, label=label, place=place)
    return _svg(results, panel, narrow=narrow)


def write_png(path: pathlib.Path, results: Sequence[Result]) -> None:
    """Write both panels and the legend on white, at twice the screen's density."""
    with drawing(_style("png"), names=[result.label for result in results]):
        rows = _png_legend_rows(results)
        high = 4.9 + 0.29 * len(rows)
        figure = Figure(figsize=(12.4, high), facecolor=CARD)
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        bottom = (0.78 + 0.29 * len(rows)) / high
        figure.subplots_adjust(
            left=0.05, right=0.985, top=1 - 0.4 / high, bottom=bottom, wspace=0.13
        )
        _draw(left, results, _size_panel(results))
        _draw(right, results, _latency_panel(results))
        _png_legend(figure, rows)
        save(figure, path)


def legend(results: Sequence[Result]) -> list[LegendEntry]:
    """What the colours, shapes and signs of the charts mean, glyphs as <svg> elements."""
    entries = []
    for run in _unique(r.run for r in results):
        entries.append(LegendEntry(kind="run", svg=_glyph("s", _colour(results, run)), text=run))
    for name in _precisions(results):
        glyph = _glyph(_marker(name), MUTED)
        entries.append(LegendEntry(kind="precision", svg=glyph, text=name))
    for sign, text in _signs(results).items():
        glyphs = {
            "onnx": _glyph("o", MUTED, hollow=True),
            "trained": _glyph("s", MUTED, dotted=True),
            "unverified": _glyph("o", MUTED, crossed=True),
            "front": _wrap_glyph(f'<path d="M-7 4H0V-4H7" style="{_stroke(INK, 1.6)}"/>'),
            "choice": _wrap_glyph(f'<circle r="6.5" style="{_stroke(INK, 1.4)}"/>'),
        }
        entries.append(LegendEntry(kind="sign", svg=glyphs[sign], text=text))
    return entries


def glyph(results: Sequence[Result], result: Result) -> str:
    """The marker of one of the results, as an <svg> element of 18 by 18."""
    steps, precision = _parts(result.variant)
    return _glyph(
        _marker(precision),
        _colour(results, result.run),
        hollow=result.format == "onnx",
        dotted=bool(steps),
        crossed=not result.is_verified,
    )


def _size_panel(results: Sequence[Result]) -> _Panel:
    unit = size_unit(results)
    return _Panel(cost="bytes", unit=unit.bytes, label=f"file size ({unit.name})")


def _latency_panel(results: Sequence[Result]) -> _Panel:
    threads = " or ".join(map(str, sorted({r.threads for r in results})))
    noun = "thread" if threads == "1" else "threads"
    return _Panel(
        cost="latency_ms",
        unit=1,
        label=f"median latency on this computer, {threads} {noun}; not a phone (ms)",
    )


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _colour(results: Sequence[Result], run: str) -> str:
    return SERIES[_unique(r.run for r in results).index(run) % len(SERIES)]


def _marker(precision: str) -> str:
    return _MARKERS.get(precision, _OTHER_MARKER)


def _parts(variant: str) -> tuple[str, str]:
    """Steps and precision: `qat_int8` is "qat" and "int8"; an unknown name is a precision alone."""
    try:
        precision = parse_variant(variant).precision
    except InputError:
        return "", variant
    steps = variant.removesuffix("_raw").removesuffix(precision)
    return steps.replace("_", " ").strip(), precision


def _precisions(results: Sequence[Result]) -> list[str]:
    return _unique(_parts(r.variant)[1] for r in results)


def _signs(results: Sequence[Result]) -> dict[str, str]:
    """Texts of the signs that these results need."""
    signs = {
        "onnx": "hollow: ONNX file",
        "trained": "dotted: fine-tuned first (slim, prune, cluster, qat)",
        "unverified": "crossed: not verified to answer as the Keras model does",
        "front": "line: Pareto front",
        "choice": "ringed: recommended",
    }
    if all(r.format != "onnx" for r in results):
        del signs["onnx"]
    if not any(_parts(r.variant)[0] for r in results):
        del signs["trained"]
    if all(r.is_verified for r in results):
        del signs["unverified"]
    if not any(r.is_verified for r in results):
        del signs["front"]
    if not best_choices(results):
        del signs["choice"]
    return signs


def _style(salt: str) -> dict[str, str]:
    """Texts as texts, and names of an .svg's parts that differ from another's on the page."""
    return {"svg.fonttype": "none", "svg.hashsalt": salt}


def _draw(axes: Any, results: Sequence[Result], panel: _Panel) -> None:
    """Everything inside one pair of axes."""
    shown = panel.known(results)
    axes.set_title(
        f"held-out {metric_of(results, unit=True)}", loc="left", fontsize=10.5, color=INK, pad=9
    )
    axes.set_xlabel(_lines(axes, panel.label), labelpad=6)
    if not shown:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no file was timed", transform=axes.transAxes, ha="center")
        return
    scale = _scale([r.value for r in shown])
    _axis_x(axes, [panel.x(r) for r in shown])
    _axis_y(axes, scale)
    _below(axes, [r for r in shown if r.value < scale.floor], scale, panel)
    axes.grid(True)
    axes.set_axisbelow(True)
    leaders = pareto(shown, panel.cost)
    front = _front(axes, leaders, scale, panel)
    noted = {*leaders, *best_choices(results).values(), *(r for r in shown if not r.is_verified)}
    if len(shown) <= _CROWD:
        noted.update(shown)
    for number, result in enumerate(results):
        if result in shown:
            _point(axes, results, number, panel.x(result), scale.y(result), result in noted)
    _texts(axes, results, shown, leaders, front, scale, panel)


def _scale(values: Sequence[float]) -> _Scale:
    """The bulk of the values sets the scale, so that one failure does not squash the others."""
    best = max(values)
    bulk = sorted(values)[len(values) // 4]
    floor = min(v for v in values if v >= best - max(4 * (best - bulk), 3.0))
    span = max(best - floor, 0.5)
    if floor < 0.22 * span:  # no room for a band above zero
        floor = min(values)
    outside = min(values) < floor
    # Never less than a point: a smaller difference is a handful of images. No figure is below 0.
    bottom = max(min(floor - (0.22 if outside else 0.1) * span, best - 1), 0.0)
    # Room for what is below the scale; without it the band is empty.
    band = floor - 0.09 * span if outside else bottom
    # A label must fit above the best point.
    top = best + 0.2 * max(best - bottom, 1.0)
    return _Scale(floor=floor, bottom=bottom, top=max(top, bottom + 1.2), band=band)


def _axis_x(axes: Any, values: Sequence[float]) -> None:
    low, high = (math.log10(max(limit, 1e-6)) for limit in (min(values), max(values)))
    pad = max(0.07 * (high - low) + 0.03, (0.6 - (high - low)) / 2)
    axes.set_xscale("log")
    axes.set_xlim(10 ** (low - pad), 10 ** (high + pad))
    decade = _width(axes) / (high - low + 2 * pad)
    powers = range(math.floor(low - pad), math.ceil(high + pad) + 1)
    for steps in (range(1, 10), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [t for t in ticks if low - pad <= math.log10(t) <= high + pad]
        texts = [f"{tick:,.10g}" for tick in ticks]
        # A digit is some 7 points wide.
        rooms = [decade * math.log10(b / a) - 7 for a, b in itertools.pairwise(ticks)]
        needs = [3.5 * len(a + b) for a, b in itertools.pairwise(texts)]
        if all(room >= need for room, need in zip(rooms, needs, strict=True)):
            break
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter(texts))
    axes.xaxis.set_minor_locator(NullLocator())


def _width(axes: Any) -> float:
    """In points."""
    return axes.get_window_extent().width * 72 / axes.figure.dpi


def _axis_y(axes: Any, scale: _Scale) -> None:
    axes.set_ylim(scale.bottom, scale.top)
    # What is above a whole hundred is room for labels, no part of the axis.
    axes.spines["left"].set_bounds(scale.bottom, min(scale.top, 100.0))
    ticks = MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(scale.band, scale.top)
    ticks = [tick for tick in ticks if scale.band <= tick < min(scale.top, 100 + 1e-6)]
    digits = max(len(f"{tick:.6g}".partition(".")[2]) for tick in ticks)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{tick:.{digits}f}" for tick in ticks]))


def _below(axes: Any, results: Sequence[Result], scale: _Scale, panel: _Panel) -> None:
    """Name the figures of points that lie below the scale, and say so."""
    if not results:
        return
    axes.axhspan(scale.bottom, scale.band, color=BAND, linewidth=0, zorder=0)
    for result in results:
        text = f"↓ {result.figure}"
        if not result.is_verified:
            text = f"{_unverified(result)} {text}"
        _beside(axes, panel.x(result), scale.y(result), text, INK if result.is_verified else _BAD)
    noun = "file lies" if len(results) == 1 else "files lie"
    note = f"{len(results)} {noun} below the scale, in the grey band with {{}}."
    note = note.format("its figure" if len(results) == 1 else "their figures")
    axes.set_xlabel(f"{_lines(axes, panel.label)}\n{_lines(axes, note)}", labelpad=6)


def _lines(axes: Any, text: str) -> str:
    """Broken into lines that the axes have room for, a letter being some 5.8 points wide."""
    return textwrap.fill(text, int(_width(axes) / _LETTER))


def _beside(axes: Any, x: float, y: float, text: str, colour: str) -> None:
    """Small text on the roomier side of a point."""
    left = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[0] > 0.8
    axes.annotate(
        text,
        (x, y),
        (-8 if left else 8, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=9,
        color=colour,
    )


def _front(
    axes: Any, front: Sequence[Result], scale: _Scale, panel: _Panel
) -> list[tuple[float, float]]:
    """Draw the front as steps to the right edge; return its corners."""
    drawn = [r for r in front if r.value >= scale.floor]
    if not drawn:
        return []
    corners = [(panel.x(drawn[0]), drawn[0].value)]
    for result in drawn[1:]:
        corners += [(panel.x(result), corners[-1][1]), (panel.x(result), result.value)]
    corners.append((axes.get_xlim()[1], corners[-1][1]))
    axes.plot(*zip(*corners, strict=True), color=INK, linewidth=1.3, zorder=2)
    return corners


def _point(
    axes: Any, results: Sequence[Result], number: int, x: float, y: float, noted: bool
) -> None:
    """One file, pale unless it is `noted`; one that is not verified is crossed and says so."""
    result = results[number]
    look = {"clip_on": False, "zorder": 4.2 if noted else 4, "alpha": None if noted else 0.45}
    # SVG titles are put in where this name stands.
    (line,) = axes.plot([x], [y], **_line(results, result), **look)
    line.set_gid(f"point-{number}")
    if _parts(result.variant)[0]:
        colour = _colour(results, result.run) if result.format == "onnx" else CARD
        dot = {"marker": "o", "markersize": _DOT, "markeredgewidth": 0, "linestyle": "none"}
        axes.plot([x], [y], **dot, color=colour, clip_on=False, zorder=look["zorder"])
    if not result.is_verified:
        cross = {"marker": "x", "markersize": 11, "markeredgewidth": 2, "linestyle": "none"}
        axes.plot([x], [y], **cross, color=INK, clip_on=False, zorder=4.5)
        if y == result.value:  # elsewhere the accuracy and this word stand there already
            _beside(axes, x, y, _unverified(result), _BAD)


def _unverified(result: Result) -> str:
    """What is said of a file that is not verified."""
    return "failed" if result.verified == NO else "not verified"


def _line(results: Sequence[Result], result: Result) -> dict[str, Any]:
    """How matplotlib draws the marker."""
    marker = _marker(_parts(result.variant)[1])
    colour = _colour(results, result.run)
    hollow = result.format == "onnx"
    return {
        "marker": marker,
        # Wide enough to be seen around its TFLite twin of nearly the same size.
        "markersize": _SIZES.get(marker, 8.5) + (4 if hollow else 0),
        "markerfacecolor": "none" if hollow else colour,
        "markeredgecolor": colour if hollow else CARD,
        "markeredgewidth": 2 if hollow else 0.9,
        "linestyle": "none",
    }


def _texts(
    axes: Any,
    results: Sequence[Result],
    shown: Sequence[Result],
    leaders: Sequence[Result],
    front: Sequence[tuple[float, float]],
    scale: _Scale,
    panel: _Panel,
) -> None:
    """Ring and name the best choices, then say what the other leaders were trained by."""
    reasons: dict[Result, list[str]] = {}
    for reason, result in best_choices(results).items():
        if result in shown:
            reasons.setdefault(result, []).append(reason)
    places = {r: (panel.x(r), scale.y(r)) for r in shown}
    writer = _Writer(
        axes,
        taken=[_around(axes, point, 6) for point in places.values()],
        line=[_around(axes, point, 2) for point in _sampled(axes, front)],
    )
    for result, why in reasons.items():
        ring = {"marker": "o", "markersize": 15, "markeredgewidth": 1.3, "linestyle": "none"}
        axes.plot(*places[result], **ring, markerfacecolor="none", color=INK, zorder=3)
        name = _name(results, result, axes)
        writer.write(f"{' + '.join(why)}:\n{name}", places[result])
    for result in leaders:
        steps = _parts(result.variant)[0]
        if steps and result not in reasons and result.value >= scale.floor:
            writer.write(steps, places[result], modest=True)


def _name(results: Sequence[Result], result: Result, axes: Any) -> str:
    """The label in one line, or the run above the variant where that is too long.

    A single run needs no name.
    """
    rest = result.label[len(result.run) + 1 :]
    if len(_unique(r.run for r in results)) == 1:
        return _cut(rest)
    # Half the panel, a letter being some 5.8 points wide.
    if len(result.label) <= min(_LINE, _width(axes) / 2 / 5.8):
        return result.label
    return "\n".join(_cut(part) for part in (result.run, rest))


def _cut(name: str) -> str:
    """A name in one line: a variant has no blanks to be broken at."""
    line = " ".join(name.split())
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"


class _Writer:
    """Writes texts near points, each where it covers least of what is there already."""

    def __init__(self, axes: Any, taken: Sequence[Bbox], line: Sequence[Bbox]) -> None:
        """`taken` and `line` are what points and the front cover."""
        self._axes, self._taken, self._line = axes, taken, line
        self._texts: list[Bbox] = []

    def write(self, text: str, point: tuple[float, float], *, modest: bool = False) -> None:
        """Write near a point; a `modest` text is small, and left out where it would cover one.

        The leader to the point may cross points and front, but no text.
        """
        label = self._axes.annotate(
            text,
            point,
            (0, 0),
            textcoords="offset points",
            fontsize=8.5 if modest else 9.5,
            color=MUTED if modest else INK,
            linespacing=1.25,
            zorder=6,
            bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
            arrowprops={
                "arrowstyle": "-",
                "color": MUTED,
                "linewidth": 0.6 if modest else 0.9,
                "shrinkB": 5 if modest else 8,
            },
        )
        pixel = self._axes.figure.dpi / 72
        box = label.get_window_extent(self._axes.figure.canvas.get_renderer()).padded(2 * pixel)
        anchor = self._axes.transData.transform(point)
        wide, high = box.width / pixel, box.height / pixel
        across = [14, 34, 60, 90, 120, -wide / 2, -wide - 14, -wide - 34, -wide - 60]
        along = [-high / 2, 14, 34, 60, 90, *(-high - gap for gap in (14, 34, 60, 90))]
        moved = {
            offset: box.translated(offset[0] * pixel, offset[1] * pixel)
            for offset in itertools.product(across, along)
        }
        costs = {offset: self._cost(place, anchor) for offset, place in moved.items()}
        best = min(costs, key=costs.__getitem__)
        if modest and costs[best] >= _COVERED:
            label.remove()
            return
        label.set_position(best)
        self._texts.append(moved[best])

    def _cost(self, place: Bbox, anchor: Any) -> float:
        """Of a text there, in points of distance, more or less."""
        pixel = self._axes.figure.dpi / 72
        room = self._axes.get_window_extent().padded(4 * pixel)
        outside = place.x0 < room.x0 or place.x1 > room.x1
        outside = outside or place.y0 < room.y0 or place.y1 > room.y1
        centre = ((place.x0 + place.x1) / 2 - anchor[0], (place.y0 + place.y1) / 2 - anchor[1])
        return (
            1000 * outside
            + _COVERED * place.count_overlaps(self._taken)
            + 300 * place.count_overlaps(self._texts)
            + 100 * sum(_crosses(anchor, place, other) for other in self._texts)
            + 3 * place.count_overlaps(self._line)
            + 0.2 * math.hypot(*centre) / pixel
        )


def _crosses(start: Any, box: Bbox, other: Bbox) -> bool:
    """Whether a straight line from `start` to the middle of a box touches another box."""
    middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    across, along = middle[0] - start[0], middle[1] - start[1]
    steps = (part / 32 for part in range(33))
    return any(other.contains(start[0] + s * across, start[1] + s * along) for s in steps)


def _around(axes: Any, point: tuple[float, float], radius: float) -> Bbox:
    """The square around a data point, in pixels; the radius is in points."""
    x, y = axes.transData.transform(point)
    half = radius * axes.figure.dpi / 72
    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _sampled(axes: Any, corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Data points along a line of corners, near enough together to keep a text off it."""
    pixels = [axes.transData.transform(corner) for corner in corners]
    steps = [
        start + (end - start) * part / 16
        for start, end in itertools.pairwise(pixels)
        for part in range(17)
    ]
    return [tuple(axes.transData.inverted().transform(step)) for step in steps]


def _svg(results: Sequence[Result], panel: _Panel, *, narrow: bool) -> str:
    """Draw one panel and turn matplotlib's file into a themed element."""
    salt = f"{panel.cost}-{'narrow' if narrow else 'wide'}-{panel.place}"
    wide, high = (310, 300) if narrow else (480, 330)
    shown = panel.known(results)
    if shown and min(r.value for r in shown) < _scale([r.value for r in shown]).floor:
        note = 30 if narrow else 16
    else:
        note = 0
    note += 14 * (len(textwrap.wrap(panel.label, int((wide - 48) / _LETTER))) - 1)
    high += note
    with drawing(_style(salt)):
        figure = Figure(figsize=(wide * _POINT, high * _POINT))
        FigureCanvasAgg(figure)
        figure.subplots_adjust(
            left=38 / wide, right=1 - 10 / wide, bottom=(note + 38) / high, top=1 - 28 / high
        )
        _draw(figure.subplots(), results, panel)
        stream = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    unit = size_unit(results)
    titles = {f"point-{i}": _title(r, unit) for i, r in enumerate(results)}
    label = f"{panel.label}, {panel.place}" if panel.place else panel.label
    head = (
        f'<svg class="chart" viewBox="0 0 {wide} {high}" role="img" '
        f'aria-label="Held-out {metric_of(results)} against {html.escape(label)}; '
        'the table holds the same figures">'
    )
    return head + _themed(stream.getvalue(), titles)


def _title(result: Result, unit: SizeUnit) -> str:
    parts = [f"{result.label}: {result.figure}", unit.text(result.bytes)]
    if result.latency_ms is not None:
        parts.append(f"{milliseconds(result.latency_ms)} ms")
    parts += ["raw output"] * result.raw + [_unverified(result)] * (not result.is_verified)
    return ", ".join(parts)


def _themed(svg: str, titles: dict[str, str]) -> str:
    """Keep what a page needs: no prologue, ids or fonts; named colours; a title for each point."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<style.*?</style>", "", body, count=1, flags=re.S)

    def opened(match: re.Match[str]) -> str:
        title = titles.get(match[1])
        return "<g>" if title is None else f"<g><title>{html.escape(title)}</title>"

    def styled(match: re.Match[str]) -> str:
        style = re.sub(r"font-family: [^;\"]*;? ?", "", match[0])
        return re.sub(r"#[0-9a-f]{6}", lambda colour: _variable(colour[0]), style)

    body = re.sub(r'<g id="([^"]*)">', opened, body)
    body = re.sub(r'style="[^"]*"', styled, body)
    return re.sub(r"\n\s*", "\n", body).strip()


def _variable(colour: str) -> str:
    name = _VARIABLES.get(colour)
    return f"var(--{name}, {colour})" if name else colour


def _stroke(colour: str, width: float) -> str:
    return f"fill: none; stroke: {_variable(colour)}; stroke-width: {width:g}"


def _wrap_glyph(inside: str) -> str:
    return f'<svg class="glyph" viewBox="-9 -9 18 18" aria-hidden="true">{inside}</svg>'


def _glyph(
    marker: str, colour: str, *, hollow: bool = False, crossed: bool = False, dotted: bool = False
) -> str:
    """The marker as matplotlib draws it."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    size = _SIZES.get(marker, 8.5) * 1.15
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    data = ""
    for vertices, code in path.iter_segments():
        numbers = (f"{(-1) ** i * size * number:.2f}" for i, number in enumerate(vertices.tolist()))
        data += letters[int(code)] + ("" if code == 79 else " ".join(numbers))
    paint = _stroke(colour, 2) if hollow else f"fill: {_variable(colour)}"
    cross = f'<path d="M-6-6 6 6M-6 6 6-6" style="{_stroke(INK, 2)}"/>' if crossed else ""
    spot = _variable(colour if hollow else CARD)
    dot = f'<circle r="{1.15 * _DOT / 2:g}" style="fill: {spot}"/>' if dotted else ""
    return _wrap_glyph(f'<path d="{data}" style="{paint}"/>{dot}{cross}')


def _png_legend_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Runs, precisions and signs by text, in rows that are not wider than the picture."""
    grey = {"linestyle": "none", "color": MUTED, "markersize": 9}
    names = _unique(r.run for r in results)
    runs = {name: {"marker": "s", **grey, "color": _colour(results, name)} for name in names}
    precisions = {name: {"marker": _marker(name), **grey} for name in _precisions(results)}
    looks: dict[str, dict[str, Any]] = {
        "onnx": {"marker": "o", **grey, "markerfacecolor": "none", "markeredgewidth": 2},
        "trained": {"marker": "s", **grey},
        "unverified": {"marker": "x", **grey, "color": INK, "markeredgewidth": 2},
        "front": {"color": INK, "linewidth": 1.3},
        "choice": {"marker": "o", **grey, "color": INK, "markerfacecolor": "none"},
    }
    signs_by_name = _signs(results)
    signs = {text: looks[sign] for sign, text in signs_by_name.items()}
    rows: list[dict[str, Any]] = []
    for entries in (runs, precisions, signs):
        rows.append({})
        for text, look in entries.items():
            # A letter is some 5.4 points wide, a glyph with its gaps 40.
            if sum(5.4 * len(other) + 40 for other in (*rows[-1], text)) > 12.4 * 72:
                rows.append({})
            rows[-1][text] = Line2D([], [], **look)
            if text == signs_by_name.get("trained"):
                dot: dict[str, Any] = {**grey, "marker": "o", "color": CARD, "markersize": _DOT}
                rows[-1][text] = (rows[-1][text], Line2D([], [], **dot))
    return rows


def _png_legend(figure: Figure, rows: Sequence[dict[str, Any]]) -> None:
    """Below the panels."""
    for number, row in enumerate(reversed(rows)):
        figure.legend(
            list(row.values()),
            # A leading underscore would hide the entry.
            [f" {text}" for text in row],
            loc="center",
            bbox_to_anchor=(0.5, (0.2 + 0.29 * number) / figure.get_figheight()),
            ncols=len(row),
            frameon=False,
            handletextpad=0.1,
            columnspacing=1.8,
            fontsize=10,
        )
