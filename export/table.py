"""The table that the command line prints."""

from __future__ import annotations

from collections.abc import Sequence

from export.results import Result, best_choices, metric_of, pareto

_HEADERS = ("", "run", "variant", "format", "{metric}", "drop", "KB", "zipped KB", "ms", "fits")


def table(results: Sequence[Result]) -> str:
    """Lines of text: every artefact, `*` on the accuracy-size front, and the best choices below."""
    front = pareto(results, "bytes")
    headers = tuple(h.format(metric=metric_of(results)) for h in _HEADERS)
    cells = [headers, *(_cells(result, result in front) for result in results)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEADERS))]
    lines = []
    for row in cells:
        texts = [
            cell.ljust(width) if 0 < i < 4 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(texts).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += ["", "* no smaller file is as accurate"]
    lines += ["[] 95% interval of the drop, on other pictures of the same kind"]
    if any(r.within_noise for r in results):
        lines += ["~ within noise: the pictures are too few to tell that drop from none"]
    choices = best_choices(results)
    width = max(map(len, choices), default=0)
    for reason, choice in choices.items():
        figures = f"{choice.figure}, {choice.bytes / 1000:.1f} KB"
        if choice.latency_ms is not None:
            figures += f", {choice.latency_ms:.3f} ms"
        lines.append(f"{reason.ljust(width)}  {choice.label}: {figures}")
    if choices:
        lines.append("(smallest and fastest among the files within 1 point of the most accurate)")
    return "\n".join(lines)


def _cells(result: Result, on_front: bool) -> tuple[str, ...]:
    return (
        "*" if on_front else "",
        result.run,
        result.variant,
        result.format,
        result.figure,
        _drop(result),
        f"{result.bytes / 1000:.1f}",
        f"{result.download_bytes / 1000:.1f}",
        "" if result.latency_ms is None else f"{result.latency_ms:.3f}",
        "yes" if result.fits else "NO",
    )


def _drop(result: Result) -> str:
    """As in `~+0.2 [-0.3, +0.7]`."""
    # Adding zero turns minus zero into zero.
    figures = (result.drop, result.drop_low, result.drop_high)
    drop, low, high = (f"{round(figure, 1) + 0.0:+.1f}" for figure in figures)
    return f"{'~' if result.within_noise else ''}{drop} [{low}, {high}]"
