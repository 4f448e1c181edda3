"""The table that the command line prints."""

from __future__ import annotations

from collections.abc import Sequence

from export.report.results import (
    FEW,
    TOLERANCE,
    Result,
    best_choices,
    chosen_text,
    metric_of,
    milliseconds,
    nothing_recommended,
    pareto,
    signed,
    size_unit,
)
from training.common.wording import SizeUnit

_HEADERS = (
    "",
    "run",
    "variant",
    "format",
    "{metric}",
    "drop",
    "{unit}",
    "zipped {unit}",
    "ms",
    "verified",
)
THIS_COMPUTER = "latency: median of one image on this computer, not on a phone"


def table(results: Sequence[Result]) -> str:
    """Lines of text: every artefact, `*` on the accuracy-size front, and the best choices below."""
    front = pareto(results, "bytes")
    unit = size_unit(results)
    headers = tuple(h.format(metric=metric_of(results), unit=unit.name) for h in _HEADERS)
    cells = [headers, *(_cells(result, unit, result in front) for result in results)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEADERS))]
    lines = []
    for row in cells:
        texts = [
            cell.ljust(width) if 0 < i < 4 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(texts).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_notes(results, bool(front)), *_choices(results)])


def _notes(results: Sequence[Result], starred: bool) -> list[str]:
    """What the columns mean."""
    notes = ["* Pareto-optimal in size"] if starred else []
    notes += [
        f"drop: points of {metric_of(results)} lost against the Keras model; negative is a gain",
    ]
    if any(r.has_interval for r in results):
        notes.append(
            "[] 95% interval of the drop on other images of the same kind; too narrow where images "
            "are alike, as tiles of one image are"
        )
    if any(r.has_interval and r.within_noise for r in results):
        notes.append("~ within noise: the images are too few to tell that drop from none")
    if few := {r.pictures or 0 for r in results if r.few_pictures}:
        counts = " or ".join(map(str, sorted(few)))
        notes.append(f"no interval: {counts} held-out images are too few (below {FEW})")
    if any(r.latency_ms is not None for r in results):
        threads = sorted({r.threads for r in results})
        counts = " or ".join(map(str, threads))
        notes.append(f"{THIS_COMPUTER}; {counts} thread{'s' if threads != [1] else ''}")
    return notes


def _choices(results: Sequence[Result]) -> list[str]:
    """The recommended files, or why there are none."""
    choices = best_choices(results)
    if not choices:
        return [nothing_recommended(results) or ""]
    width, unit = max(map(len, choices)), size_unit(results)
    lines = []
    mixed = len({r.format for r in results}) > 1
    kind = f".{next(iter(choices.values())).format} " if mixed else ""
    for reason, choice in choices.items():
        figures = f"{choice.figure}, {unit.text(choice.bytes)}"
        if choice.latency_ms is not None:
            figures += f", {milliseconds(choice.latency_ms)} ms"
        lines.append(f"{reason.ljust(width)}  {choice.label}: {figures}")
    lines.append(
        f"(smallest and fastest among the {kind}files within {TOLERANCE:g} point of the most "
        "accurate; of equally fast ones the smallest)"
    )
    return [*lines, f"({chosen_text(results)})"]


def _cells(result: Result, unit: SizeUnit, on_front: bool) -> tuple[str, ...]:
    return (
        "*" if on_front else "",
        result.run,
        result.variant,
        result.format,
        result.figure,
        _drop(result),
        unit.figure(result.bytes),
        unit.figure(result.download_bytes),
        "" if result.latency_ms is None else milliseconds(result.latency_ms),
        result.verified,
    )


def _drop(result: Result) -> str:
    """As in `~+0.2 [-0.3, +0.7]`, `same answers`, or `+0.2` without an interval."""
    if result.same_answers:
        return result.drop_text
    if not result.has_interval:
        return signed(result.drop)
    interval = f"[{signed(result.drop_low)}, {signed(result.drop_high)}]"
    return f"{'~' if result.within_noise else ''}{signed(result.drop)} {interval}"
