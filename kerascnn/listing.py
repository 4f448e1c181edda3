"""What `kerascnn models` shows: the catalogue as a table, as one model's page, or as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from kerascnn import weights
from kerascnn.catalogue import TASK_FACTS, Entry, Result
from kerascnn.weights import published
from kerascnn.zoo import entry

_TO_THE_RIGHT = {"parameters", "MACs", "top-1", "top-5", "AP", "mIoU", "input"}
_FILES = (
    "weights: names for --weights (+2: two more; `kerascnn weights NAME` has them all), and whose "
    "files `--weights FILE` takes: k keras.applications, v torchvision, t timm, "
    "e efficientnet-lite-pytorch, d effdet, m mmdetection, p plain Keras; in brackets for the "
    "backbone alone"
)
_INITIALS = {
    "keras.applications": "k",
    "torchvision": "v",
    "timm": "t",
    "efficientnet-lite-pytorch": "e",
    "effdet": "d",
    "mmdetection": "m",
    "plain Keras": "p",
}


def as_json(names: Sequence[str]) -> list[dict[str, Any]]:
    """The catalogue's rows as plain data; results of classifiers as errors and as accuracies."""
    rows = []
    for name in names:
        row = entry(name)
        results = [
            {
                **dataclasses.asdict(result),
                "top1_accuracy": _accuracy(result.top1),
                "top5_accuracy": _accuracy(result.top5),
            }
            for result in row.results
        ]
        rows.append({
            "name": name,
            **dataclasses.asdict(row),
            "results": results,
            "weights": published.names(name, row.backbone),
            "weight_files": weights.origins(name),
        })  # fmt: skip
    return rows


def table(names: Sequence[str]) -> str:
    """One line per model."""
    tasks = [task for task in TASK_FACTS if any(entry(name).task == task for name in names)]
    rows = [_cells(name, entry(name), tasks) for name in names]
    columns = list(rows[0]) if rows else []
    rows.insert(0, {column: column for column in columns})
    widths = {column: max(len(row[column]) for row in rows) for column in columns}
    lines = []
    for row in rows:
        cells = (
            row[c].rjust(widths[c]) if c in _TO_THE_RIGHT else row[c].ljust(widths[c])
            for c in columns
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join((*lines, "", *(TASK_FACTS[task].note for task in tasks), _FILES))


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
        f"weights     {_named(name, row)}; files of: {files}",
    ]
    if row.fused:
        macs = f"{row.fused.macs:,.0f} M MACs"
        lines.insert(
            3, f"in files    {row.fused.parameters:,} parameters, {macs} ({row.fused.source})"
        )
    if row.backbone:
        origins = ", ".join(weights.origins(row.backbone))
        lines.append(f"backbone    {row.backbone}, alone from files of: {origins}")
    lines.append(f"published {row.facts.published}:{'' if row.results else ' none'}")
    return "\n".join((*lines, *(f"  {_result(result)}" for result in row.results)))


def _cells(name: str, row: Entry, tasks: Sequence[str]) -> dict[str, str]:
    single = next((r for r in row.results if r.networks == 1), None)
    mark = "*" if single and single.data == "MNIST" else ""
    measures = {
        "top-1": _percent(_accuracy(single.top1) if single else None) + mark,
        "top-5": _percent(_accuracy(single.top5) if single else None),
        "AP": _percent(single.ap if single else None),
        "mIoU": _percent(single.iou if single else None),
    }
    return {
        "name": name,
        "task": row.task,
        "year": str(row.year),
        "parameters": f"{row.parameters:,}",
        "MACs": _macs(row),
        **{column: measures[column] for task in tasks for column in TASK_FACTS[task].measures},
        "input": f"{row.input_shape[0]}x{row.input_shape[1]}",
        "weights": f"{_short(name, row)} {_initials(name, row.backbone)}".strip() or "-",
        "paper": row.paper,
    }


def _named(name: str, row: Entry) -> str:
    """Names of published weights, those of the backbone alone behind the model's own."""
    own = published.names(name)
    others = [one for one in published.names(name, row.backbone) if one not in own]
    names = [*own, *(f"{one} (backbone alone)" for one in others)]
    return ", ".join(names) or "no named ones"


def _short(name: str, row: Entry) -> str:
    """The first name of each benchmark, and how many more there are: "imagenet+2"."""
    names = published.names(name, row.backbone)
    shown = [one for one in ("coco", "imagenet") if one in names]
    more = len(names) - len(shown)
    return " ".join(shown) + (f"+{more}" if more else "")


def _initials(name: str, backbone: str | None) -> str:
    files = "".join(_INITIALS[origin] for origin in weights.origins(name))
    if backbone is None:
        return files
    return f"{files}({''.join(_INITIALS[origin] for origin in weights.origins(backbone))})"


def _result(result: Result) -> str:
    several = {0: ", ensemble", 1: ""}.get(result.networks, f", {result.networks} networks")
    top1, top5 = _percent(_accuracy(result.top1)), _percent(_accuracy(result.top5))
    measured = f"top-1 {top1:>6}  top-5 {top5:>6}"
    if result.ap is not None:
        measured = f"AP {_percent(result.ap):>6}"
    if result.iou is not None:
        measured = f"IoU {_percent(result.iou):>6}"
    return f"{measured}  {result.data} {result.setting}{several} ({result.source})"


def _macs(row: Entry) -> str:
    return "-" if row.macs is None else f"{row.macs:,.0f} M"


def _accuracy(error: float | None) -> float | None:
    """The accuracy of an error, both in percent, at the source's own rounding."""
    return None if error is None else round(100 - error, 3)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
