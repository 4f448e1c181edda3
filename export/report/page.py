"""The report: one HTML page that opens offline and asks nobody for anything."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from export.artefacts.kinds import base as kinds
from export.artefacts.kinds.base import Kind
from export.artefacts.significance import Difference
from export.report import chart
from export.report.device_results import DeviceResult, Phone, on_phone
from export.report.results import (
    FEW,
    TOLERANCE,
    VALIDATION,
    Result,
    best_choices,
    capitalised,
    chosen_on,
    chosen_text,
    metric_of,
    milliseconds,
    nothing_recommended,
    pareto,
    same_figures,
    size_unit,
)
from export.runtime.accelerators import WHOLE
from export.runtime.verify import NO, NOT_VERIFIED
from training.common import atomic
from training.common.wording import SizeUnit

_TEMPLATE = "report.html.j2"
_WHY = {
    "smallest": f"the smallest file within {TOLERANCE:g} point of the most accurate",
    "fastest": f"the fastest file within {TOLERANCE:g} point of the most accurate; of "
    "files that tie, the smallest",
    "most accurate": "the best figure on the {split} images",
}
# Classes in the table by class; of more, those with the lowest figure.
_CLASSES = 200
# Below this many pixels a side, smoothing would blur what the network saw.
_PIXELATED = 96


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mistake:
    """One picture that the chosen file got wrong.

    Attributes:
        picture: (h, w, 1) or (h, w, 3) uint8, what the network saw.
        name: where the picture comes from: a path, or "mnist[17]".
        truth, predicted: class names.
        probability: of the predicted class, 0 to 1.
        counted: what is said instead of the three where a picture holds several objects.
        pair: two pictures lie side by side in this one.
    """

    picture: np.ndarray
    name: str
    truth: str = ""
    predicted: str = ""
    probability: float = 0.0
    counted: str = ""
    pair: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run was: label and text of each fact, in the order to show."""

    name: str
    facts: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mistakes:
    """What the chosen file got wrong.

    Attributes:
        label: of the file, as `Result.label`.
        total: how many of the `pictures` held-out pictures.
        shown: those to show.
        note: for example, why they cannot be shown.
        how: what the pictures say.
        graded: answers are better or worse, not right or wrong: the weakest are shown.
    """

    label: str
    total: int
    pictures: int
    shown: Sequence[Mistake]
    note: str = ""
    how: str = "Each says what it is, what the file took it for, and how sure the file was."
    graded: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedPhoto:
    """What files call a photo.

    Attributes:
        name: of the photo.
        picture: (h, w, 3) uint8, what the network saw.
        labels: of each file, with its probability, 0 to 1.
    """

    name: str
    picture: np.ndarray
    labels: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """Photos, as files of a network name them: a section of its own.

    Attributes:
        title: of the section.
        files: their variants, the network as it was first.
        sizes: of the files, with units.
        photos: at least one.
        notes: a few words on each file; none where empty.
        report: page with all figures of these files, beside this one; empty: none.
    """

    title: str
    files: tuple[str, ...]
    sizes: tuple[str, ...]
    photos: tuple[NamedPhoto, ...]
    notes: tuple[str, ...] = ()
    report: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByClass:
    """Figures of one file, class by class.

    Attributes:
        label: of the file.
        figures: names of the figures, in percent; the first one sorts the classes.
        rows: class, its held-out images if known, and its figures; None where there is none.
        majority: the commonest class, where the classes are unequal and always answering it would
            look good.
        baseline: percent of the images that would be right by that.
        summary: the file's figures in a line.
    """

    label: str
    figures: Sequence[str]
    rows: Sequence[tuple[str, int | None, Sequence[float | None]]]
    majority: str = ""
    baseline: float = math.nan
    summary: str = ""

    @property
    def lowest(self) -> list[tuple[str, int | None, Sequence[float | None]]]:
        """The rows to show, the lowest first figure first, those without one last."""

        def place(row: tuple[str, int | None, Sequence[float | None]]) -> float:
            return math.inf if row[2][0] is None else row[2][0]

        return sorted(self.rows, key=place)[:_CLASSES]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Column:
    """A column of the table: its cells' text, what they are sorted by, and what they mean.

    A remark stands below the text, in small letters; empty where there is nothing to say. A column
    with a name has cells that the page styles by that and their text.
    """

    title: str
    text: Callable[[Result], str]
    remark: Callable[[Result], str] = lambda _: ""
    key: Callable[[Result], Any] | None = None
    meaning: str = ""
    high_first: bool = False
    name: str = ""

    @property
    def numeric(self) -> bool:
        return self.key is not None

    def sort_key(self, result: Result) -> str:
        """Empty for what has no place in the order; the page puts that last."""
        if self.key is None:
            return self.text(result)
        value = self.key(result)
        return "" if value is None or not math.isfinite(value) else repr(float(value))


def write_report(
    path: pathlib.Path,
    results: Sequence[Result],
    *,
    runs: Sequence[RunSummary],
    machine: Mapping[str, str],
    mistakes: Mistakes | None,
    title: str,
    behind: Mapping[Result, Difference] | None = None,
    phones: Sequence[Phone] = (),
    by_class: ByClass | None = None,
    named: Named | None = None,
) -> None:
    """Write the page, whole or not at all.

    Args:
        results: at least one.
        runs: what was trained, on what.
        machine: label and text of each fact on the machine that measured.
        mistakes: of the recommended file; `None` where they are unknown.
        behind: how much more accurate the most accurate file is than another recommended one.
        phones: what phones measured of the results, by their numbers.
        by_class: of the recommended file, class by class.
        named: photos, as files of another network name them.

    Raises:
        OSError: the page cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png_uri"] = _png_uri
    environment.filters["breakable"] = _breakable
    page = environment.get_template(_TEMPLATE).render(
        title=title,
        verdict=_verdict(results),
        reason=_sentence(why) if (why := _nothing(results)[1]) else "",
        causes=_causes(results),
        subtitle=_subtitle(results),
        cautions=_cautions(results, by_class),
        cards=_cards(results, behind or {}),
        several=_several(results),
        latency=_latency_note(results),
        charts=_charts(results, phones),
        level=_level(results),
        legend=_legend(results),
        columns=_columns(results, phones),
        metric=metric_of(results),
        metric_title=capitalised(metric_of(results)),
        intervals=any(r.has_interval for r in results),
        draws=f"{_kind(results).resamples:,}",
        rows=_rows(results, phones),
        by_class=by_class,
        named=named,
        runs=runs,
        machine=machine,
        phones=[phone.setup.label for phone in phones],
        mistakes=mistakes,
        pixelated=_PIXELATED,
    )
    atomic.write_text(path, page)


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def _points(value: float) -> str:
    """One decimal with a true minus sign; adding zero turns minus zero into zero."""
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


def _interval(low: float, high: float) -> str:
    return f"{_points(low)} to {_points(high)}"


def _drop_remark(result: Result) -> str:
    """What is said beside a drop: how far it can be trusted."""
    if result.same_answers:
        return result.drop_text
    return _interval(result.drop_low, result.drop_high) if result.has_interval else ""


def _latency_note(results: Sequence[Result]) -> str:
    """What every latency is; empty where there is none."""
    threads = sorted({r.threads for r in results if r.latency_ms is not None})
    counts = "one" if threads == [1] else " or ".join(map(str, threads))
    noun = "thread" if threads == [1] else "threads"
    return f"on this computer, {counts} {noun}; not a phone" if threads else ""


def _difference(value: float) -> str:
    if not math.isfinite(value):
        return "no number"
    return f"{value:.1e}" if 0 < value < 1e-3 else f"{value:.3f}"


def _drop_meaning(metric: str, draws: str) -> str:
    return (
        f"points of {metric} lost against the Keras model; negative is a gain. Below it, its 95% "
        f"interval on other images of the same kind: the middle 95% of the drops on {draws} random "
        "draws of the held-out images (with replacement; file and Keras model on the same draw). "
        "Where it holds zero, the drop is within noise: these images do not show that anything was "
        "lost or gained. It is too narrow where images are alike, as tiles of one image are, and "
        "where the two models differ on few images; it leaves out the luck of training, and is "
        "each file's own: of twenty, one may miss"
    )


_BALANCED = "Balanced, %"
_FLOAT_LAYERS = "Float layers"
_COLUMNS = (
    _Column(
        title="Accuracy, %",
        text=lambda r: f"{r.value:.1f}",
        key=lambda r: r.value,
        meaning="share of the held-out images that the file got right in its own runtime",
        high_first=True,
    ),
    _Column(
        title=_BALANCED,
        text=lambda r: (
            "\N{EN DASH}" if r.balanced_accuracy is None else f"{r.balanced_accuracy:.1f}"
        ),
        key=lambda r: r.balanced_accuracy,
        meaning="balanced accuracy: the mean over classes of the share of a class's "
        "held-out images that the file got right (recall), so that every class counts alike",
        high_first=True,
    ),
    _Column(
        title="Drop",
        text=lambda r: _points(r.drop),
        remark=_drop_remark,
        key=lambda r: r.drop,
        meaning="",  # by the metric
    ),
    _Column(
        title="Size",
        text=lambda r: str(r.bytes),
        key=lambda r: r.bytes,
        meaning="of the file; 1 KB is 1000 bytes, 1 MB is 1000 KB",
    ),
    _Column(
        title="Download",
        text=lambda r: str(r.download_bytes),
        key=lambda r: r.download_bytes,
        meaning="size after zlib -9, about what an app store delivers",
    ),
    _Column(
        title="Latency, ms",
        text=lambda r: milliseconds(r.latency_ms),
        key=lambda r: r.latency_ms,
        meaning="median time of one image on this computer, which is named below; not a phone. "
        "Differences within the spread of the rounds, or below 5%, count as none",
    ),
    _Column(
        title="Verified",
        text=lambda r: r.verified,
        meaning="yes: the file ran in its runtime and agreed with the Keras model as its variant "
        "must. no: it did not. not verified: the held-out images do not tell. Only verified files "
        "are recommended",
        name="verified",
    ),
    _Column(
        title="p95, ms",
        text=lambda r: milliseconds(r.latency_p95_ms),
        key=lambda r: r.latency_p95_ms,
        meaning="95 of 100 images took no longer on this computer",
    ),
    _Column(
        title="Threads",
        text=lambda r: str(r.threads),
        key=lambda r: r.threads,
        meaning="that the runtime was given while it was timed",
    ),
    _Column(
        title="Parameters",
        text=lambda r: f"{r.parameters:,}",
        key=lambda r: r.parameters,
        meaning="trainable numbers of the network inside the file",
    ),
    _Column(
        title="Non-zero",
        text=lambda r: f"{r.nonzero_parameters:,}",
        key=lambda r: r.nonzero_parameters,
        meaning="weights and biases in the file that are not zero, batch norms folded into them",
    ),
    _Column(
        title="MACs, M",
        text=lambda r: f"{r.macs / 1e6:,.2f}",
        key=lambda r: r.macs,
        meaning="million multiply-adds for one image",
    ),
    _Column(
        title="Sparsity, %",
        text=lambda r: f"{100 * r.sparsity:.1f}",
        key=lambda r: r.sparsity,
        meaning="share of the file's weights that are exactly zero",
        high_first=True,
    ),
    _Column(
        title="Cost, s",
        text=lambda r: _seconds(r.seconds),
        key=lambda r: r.seconds,
        meaning="seconds that making the file took, beyond the training of its run: further "
        "training, calibration, search and conversion",
    ),
    _Column(
        title="Same top-1, %",
        text=lambda r: f"{r.agreement:.1f}",
        key=lambda r: r.agreement,
        meaning="share of held-out images on which the file's likeliest class is the Keras model's",
        high_first=True,
    ),
    _Column(
        title="Logit difference",
        text=lambda r: _difference(r.max_logit_diff),
        key=lambda r: r.max_logit_diff,
        meaning="largest difference of a logit from the Keras model's",
    ),
    _Column(
        title="Partitions",
        text=lambda r: "\N{EN DASH}" if r.partitions is None else str(r.partitions),
        key=lambda r: r.partitions,
        meaning="parts of the graph that the XNNPACK delegate took; 1 is the whole graph at once; "
        "unknown for ONNX",
    ),
    _Column(
        title="GPU",
        text=lambda r: _taken(r.gpu),
        remark=lambda r: _why_not(r.gpu),
        meaning="whole: TensorFlow Lite's GPU delegate takes each of the file's operations. in "
        "part: those named stay on the processor, and the graph is cut there",
    ),
    _Column(
        title="NPU",
        text=lambda r: _taken(r.npu),
        remark=lambda r: _why_not(r.npu),
        meaning="whole: the file has what compilers for NPUs ask for: integers of 8 bits from end "
        "to end, kernels with scales, fixed shapes, no custom operation. in part: those named do "
        "not; a compiler for a chip may still take some",
    ),
    _Column(
        title=_FLOAT_LAYERS,
        text=lambda r: r.float_layers or "\N{EN DASH}",
        meaning="layers of an int8 file that stay float, because int8 loses most of what it loses "
        "there",
    ),
)


def _taken(verdict: str | None) -> str:
    return {None: "\N{EN DASH}", WHOLE: WHOLE}.get(verdict, "in part")


def _why_not(verdict: str | None) -> str:
    return "" if verdict in (None, WHOLE) else str(verdict)


def _columns(results: Sequence[Result], phones: Sequence[Phone]) -> tuple[_Column, ...]:
    """Those of the metric that the results have, phones' after this machine's latency."""
    kind, metric = _kind(results), metric_of(results)
    drop = {"meaning": _drop_meaning(metric, f"{kind.resamples:,}")}
    otherwise = {**kind.columns_of(metric), "Drop": drop}
    columns = [
        dataclasses.replace(c, **otherwise.get(c.title, {}))  # type: ignore[arg-type]
        for c in _COLUMNS
        if c.title != _BALANCED or _balances(results)
        if c.title != _FLOAT_LAYERS or any(r.float_layers for r in results)
    ]
    unit = size_unit(results)
    columns = [_in_unit(c, unit) if c.title in ("Size", "Download") else c for c in columns]
    place = [c.title for c in columns].index("Latency, ms") + 1
    short = [phone.setup.short for phone in phones]
    columns[place:place] = [
        column
        for phone, name in zip(phones, short, strict=True)
        for column in _phone_columns(
            results, phone, phone.setup.label if short.count(name) > 1 else name
        )
    ]
    return tuple(columns)


def _in_unit(column: _Column, unit: SizeUnit) -> _Column:
    """A column of bytes, in KB or MB."""
    count = column.key
    assert count is not None
    title = f"{column.title}, {unit.name}"
    return dataclasses.replace(column, title=title, text=lambda r: unit.figure(count(r)))


def _phone_columns(results: Sequence[Result], phone: Phone, name: str) -> list[_Column]:
    """Latency, and accuracy where the phone measured that; a dash for files it has not seen."""
    measured = {results[i]: one for i, one in phone.results.items()}

    def column(field: str, write: Callable[[Any], str], **given: Any) -> _Column:
        def figure(result: Result) -> Any:
            return getattr(measured.get(result), field, None)

        return _Column(text=lambda r: write(figure(r)), key=figure, **given)

    columns = []
    if any(one.latency_ms is not None for one in measured.values()):
        columns += [
            column(
                "latency_ms",
                milliseconds,
                title=f"{name}, ms",
                meaning=f"median time of one image on {phone.setup.label}",
            ),
            column(
                "latency_p95_ms",
                milliseconds,
                title=f"{name}, p95",
                meaning="95 of 100 images took no longer there",
            ),
        ]
    if judged := [one for one in measured.values() if one.value is not None]:
        columns.append(
            column(
                "value",
                lambda value: "\N{EN DASH}" if value is None else f"{value:.1f}",
                title=f"{name}, %",
                meaning=f"{judged[0].metric} on images of the phone's own, {_counts(judged)} of "
                "them: other images than the held-out ones",
                high_first=True,
            )
        )
    return columns


def _counts(judged: Sequence[DeviceResult]) -> str:
    """How many images they were measured on, as in "100 or 200"."""
    counts = sorted({one.pictures or 0 for one in judged})
    return " or ".join(f"{count:,}" for count in counts)


def _balances(results: Sequence[Result]) -> bool:
    """Whether balanced accuracy tells what accuracy does not."""
    known = [r for r in results if r.balanced_accuracy is not None]
    return any(round(r.balanced_accuracy or 0.0, 1) != round(r.value, 1) for r in known)


def _several(results: Sequence[Result]) -> bool:
    """Whether files have to be told apart by their runs."""
    return len({r.run for r in results}) > 1


def _path(results: Sequence[Result], result: Result) -> str:
    """Where the file lies: from its run folder, or from the folder of that."""
    run = f"{result.run}/" if _several(results) else ""
    return f"{run}artefacts/{result.variant}.{result.format}"


def _worth(result: Result) -> str:
    """The figure with its metric: "82.3% accuracy", "31.0% AP"."""
    return f"{result.figure} {result.metric}"


def _verdict(results: Sequence[Result]) -> str:
    """The one sentence that a hurried reader takes away."""
    chosen, unit = best_choices(results).get("smallest"), size_unit(results)
    if chosen is not None:
        return f"Take {_path(results, chosen)}: {_worth(chosen)}, {unit.text(chosen.bytes)}."
    return _sentence(_nothing(results)[0])


def _nothing(results: Sequence[Result]) -> tuple[str, str, str]:
    """What is said where nothing is recommended: in short, why, and its likely causes."""
    said, _, causes = (nothing_recommended(results) or "").partition(_LIKELY)
    short, _, why = said.partition(": ")
    return short, why, causes


def _causes(results: Sequence[Result]) -> list[str]:
    """Why a network may find nothing yet."""
    causes = _nothing(results)[2]
    return causes.split("; ") if causes else []


# Between the two parts of what `Kind.below_floor` says.
_LIKELY = ". Likely causes: "


def _level(results: Sequence[Result]) -> str:
    """What is said beside charts in which every file stands equally high; else empty."""
    if not same_figures(results):
        return ""
    return (
        f"All {len(results)} files have the same {metric_of(results)}, {results[0].figure}: they "
        "differ in size and latency alone."
    )


def _subtitle(results: Sequence[Result]) -> str:
    """What was measured, and how files were chosen."""
    counts = {r.pictures for r in results}
    known = counts.pop() if len(counts) == 1 else None
    files = "1 file" if len(results) == 1 else f"{len(results)} files, each"
    images = "held-out images" if known is None else f"{known:,} held-out images"
    if known == 1:
        images = "held-out image"
    said = f"{files} run in its own runtime on the same {images}."
    for verified, words in ((NO, "failed verification"), (NOT_VERIFIED, "could not be verified")):
        if count := sum(r.verified == verified for r in results):
            said += f" {count} of them {words}."
    if not best_choices(results):
        return said
    chosen = _sentence(chosen_text(results))
    if chosen_on(results) != VALIDATION:
        chosen += " On new images the chosen file may be a little less accurate."
    return f"{said} {chosen}"


def _cautions(results: Sequence[Result], by_class: ByClass | None) -> list[str]:
    """What a reader must know before trusting the figures."""
    said = []
    if by_class is not None and by_class.majority:
        said.append(
            f"Always answering \N{LEFT DOUBLE QUOTATION MARK}{by_class.majority}"
            f"\N{RIGHT DOUBLE QUOTATION MARK} would have {by_class.baseline:.1f}% accuracy. "
            f"{by_class.label}: {by_class.summary}."
        )
    if few := [r.pictures for r in results if r.few_pictures and r.pictures]:
        point = (
            f": one image is {100 / few[0]:.1f} points" if _kind(results).share_of_images else ""
        )
        said.append(
            f"Fewer than {FEW} held-out images{point}, so small differences may be luck; no "
            "intervals are given."
        )
    return said


def _kind(results: Sequence[Result]) -> Kind:
    """Whose files they are."""
    return kinds.of_metric(metric_of(results))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _cards(results: Sequence[Result], behind: Mapping[Result, Difference]) -> list[dict[str, Any]]:
    """One card a recommended file, with every reason for it; glyphs hold no given text."""
    reasons: dict[Result, list[str]] = {}
    for reason, result in best_choices(results).items():
        reasons.setdefault(result, []).append(reason)
    split = chosen_on(results)
    return [
        {
            "reasons": _joined(why),
            "why": "; ".join(_WHY[reason].format(split=split) for reason in why),
            "label": _path(results, result),
            "glyph": Markup(chart.glyph(results, result)),
            "remarks": remarks(result, behind.get(result)),
            "figures": _figures(results, result),
            "latency": _latency_note([result]),
        }
        for result, why in reasons.items()
    ]


def _figures(results: Sequence[Result], result: Result) -> dict[str, str]:
    figures = {result.metric: result.figure}
    if _balances(results) and result.balanced_accuracy is not None:
        figures["balanced"] = f"{result.balanced_accuracy:.1f}%"
    unit = size_unit(results)
    figures |= {"file": unit.text(result.bytes), "download": unit.text(result.download_bytes)}
    if result.latency_ms is not None:
        figures["latency"] = f"{milliseconds(result.latency_ms)} ms"
    return figures


def remarks(result: Result, behind: Difference | None) -> list[str]:
    """How certain a recommended file's loss is, in words."""
    said = []
    if result.same_answers:
        said.append("same answers as the Keras model on every held-out image")
    else:
        said.append(f"drop against the Keras model: {_points(result.drop)}")
        if result.has_interval:
            said[0] += _certainty(result.drop_low, result.drop_high)
    if behind is not None and behind.points == behind.low == behind.high == 0:
        said.append("as good as the most accurate on every held-out image")
    elif behind is not None:
        said.append(f"behind the most accurate: {_points(behind.points)}")
        if not result.few_pictures:
            said[-1] += _certainty(behind.low, behind.high)
    if result.raw:
        said.append("raw output: your app decodes it")
    return said


def _certainty(low: float, high: float) -> str:
    return f" (95% interval {_interval(low, high)})" + (
        ", within noise" if low <= 0 <= high else ""
    )


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _charts(results: Sequence[Result], phones: Sequence[Phone]) -> list[dict[str, Any]]:
    """All charts, each drawn for a wide and for a narrow window; texts are escaped in there."""
    metric = capitalised(metric_of(results))
    bound = functools.partial
    drawings: dict[str, Callable[..., str]] = {
        f"{metric} against size": bound(chart.accuracy_size_svg, results)
    }
    if any(r.latency_ms is not None for r in results):
        drawings[f"{metric} against latency"] = bound(chart.latency_accuracy_svg, results)
    for phone in phones:
        place, timed = phone.setup.label, on_phone(results, phone)
        if any(r.latency_ms is not None for r in timed):
            drawings[f"{metric} against latency on {place}"] = bound(chart.phone_svg, timed, place)
    return [
        {"title": title, "wide": Markup(draw()), "narrow": Markup(draw(narrow=True))}
        for title, draw in drawings.items()
    ]


def _legend(results: Sequence[Result]) -> dict[str, list[tuple[Markup, str]]]:
    rows: dict[str, list[tuple[Markup, str]]] = {"run": [], "precision": [], "sign": []}
    for entry in chart.legend(results):
        rows[entry.kind].append((Markup(entry.svg), entry.text))
    return rows


def _rows(results: Sequence[Result], phones: Sequence[Phone]) -> list[dict[str, Any]]:
    choices, columns = best_choices(results), _columns(results, phones)
    fronts = {
        "Pareto: size": pareto(results, "bytes"),
        "Pareto: latency": pareto(results, "latency_ms"),
    }
    return [
        {
            "run": result.run,
            "variant": result.variant,
            "format": result.format,
            "verified": result.verified,
            "raw": result.raw,
            "glyph": Markup(chart.glyph(results, result)),
            "choices": [reason for reason, chosen in choices.items() if chosen is result],
            "fronts": [name for name, front in fronts.items() if result in front],
            "cells": [
                (c.numeric, c.sort_key(result), c.text(result), c.remark(result), c.name)
                for c in columns
            ],
        }
        for result in results
    ]


def _breakable(name: str) -> Markup:
    """A name or path that a narrow window may break behind its separators."""
    return Markup(re.sub(r"([/_])(?=.)", r"\1<wbr>", str(escape(name))))


def _png_uri(picture: np.ndarray) -> str:
    """A (h, w, 1 or 3) uint8 picture as a data URI."""
    stream = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
