"""What `kerascnn models` shows: the catalogue as a table, as one model's page, or as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from kerascnn import weights
from kerascnn.catalogue import Entry, Result
from kerascnn.zoo import entry

_COLUMNS = (
    "name", "task", "year", "parameters", "MACs", "top-1", "top-5", "input", "weights", "paper",
)  # fmt: skip
_TO_THE_RIGHT = {"parameters", "MACs", "top-1", "top-5", "input"}
_NOTES = (
    "top-1, top-5: published error in percent on ImageNet (*: on MNIST) of a single network; "
    "ensembles, settings and sources: kerascnn models NAME",
    "weights: names, and whose files `--weights FILE` takes: k keras.applications, v torchvision, "
    "t timm, e efficientnet-lite-pytorch",
)
_INITIALS = {
    "keras.applications": "k",
    "torchvision": "v",
    "timm": "t",
    "efficientnet-lite-pytorch": "e",
}


def as_json(names: Sequence[str]) -> list[dict[str, Any]]:
    """The catalogue's rows as plain data."""
    return [
        {"name": name, **dataclasses.asdict(entry(name)), "weight_files": weights.origins(name)}
        for name in names
    ]


def table(names: Sequence[str]) -> str:
    """One line a model."""
    rows = [dict(zip(_COLUMNS, _cells(name, entry(name)), strict=True)) for name in names]
    rows.insert(0, {column: column for column in _COLUMNS})
    widths = {column: max(len(row[column]) for row in rows) for column in _COLUMNS}
    lines = []
    for row in rows:
        cells = (
            row[c].rjust(widths[c]) if c in _TO_THE_RIGHT else row[c].ljust(widths[c])
            for c in _COLUMNS
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join((*lines, "", *_NOTES))


def page(name: str) -> str:
    """Everything that the catalogue holds of one model."""
    row = entry(name)
    files = ", ".join(weights.origins(name)) or "none"
    height, width, channels = row.input_shape
    lines = [
        f"{name}: {row.title}, {row.year}, {row.paper}",
        f"parameters  {row.parameters:,} trainable ({row.parameters_source})",
        f"MACs        {_macs(row)} ({row.macs_source})",
        f"input       {height}x{width}x{channels}, {row.classes} classes",
        f"weights     {', '.join(row.weights) or 'no named ones'}; files of: {files}",
        "published errors:",
        *(f"  {_result(result)}" for result in row.results),
    ]
    return "\n".join(lines)


def _cells(name: str, row: Entry) -> tuple[str, ...]:
    single = next((r for r in row.results if r.networks == 1), None)
    mark = "*" if single and single.data != "ImageNet" else ""
    files = "".join(_INITIALS[origin] for origin in weights.origins(name))
    return (
        name,
        row.task,
        str(row.year),
        f"{row.parameters:,}",
        _macs(row),
        _error(single.top1 if single else None) + mark,
        _error(single.top5 if single else None),
        f"{row.input_shape[0]}x{row.input_shape[1]}",
        " ".join((*row.weights, files)).strip() or "-",
        row.paper,
    )


def _result(result: Result) -> str:
    several = {0: ", ensemble", 1: ""}.get(result.networks, f", {result.networks} networks")
    return (
        f"top-1 {_error(result.top1):>6}  top-5 {_error(result.top5):>6}  "
        f"{result.data} {result.setting}{several} ({result.source})"
    )


def _macs(row: Entry) -> str:
    return "-" if row.macs is None else f"{row.macs:,.0f} M"


def _error(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:g}"
