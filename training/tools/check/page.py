"""The page of a check: one HTML file that opens offline and asks nobody for anything."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np

from training import tasks
from training.common import html_page
from training.tools.check import refused as refused_data
from training.tools.check import report
from training.tools.check.census import Census
from training.tools.check.check import Checked
from training.tools.check.findings import Finding
from training.tools.check.refused import Refused
from training.tools.check.samples import thumbnail

_TEMPLATE = "check.html.j2"
_CLASSES = 40  # in the table; of more, the largest and the smallest halves
# Width over height, below each.
_SHAPES = (
    (1 / 3, "upright, beyond 1 : 3"),
    (2 / 3, "upright"),
    (0.95, "rather upright"),
    (1.05, "square"),
    (1.5, "rather lying"),
    (3.0, "lying"),
    (np.inf, "lying, beyond 3 : 1"),
)


def write_page(checked: Checked, path: pathlib.Path) -> None:
    """Write the page.

    Raises:
        OSError: it cannot be written.
    """
    html_page.write(path, "training.tools.check", _TEMPLATE, _values(checked))


def write_refusal(refused: Refused, path: pathlib.Path) -> None:
    """Write the page of data that a reader refuses.

    Raises:
        OSError: it cannot be written.
    """
    html_page.write(path, "training.tools.check", _TEMPLATE, _of_refused(refused))


def _of_refused(refused: Refused) -> dict[str, Any]:
    data, census = refused.asked.data, refused.census
    return {
        "name": pathlib.PurePath(data).name or data,
        "verdict": refused_data.verdict(refused),
        "what_for": f"{tasks.of_request(refused.asked).name}, as by {refused.asked.model}",
        "splits": refused_data.of_images(refused),
        "findings": [
            {**_text_of(found, data), "groups": [], "wide": False} for found in refused.findings
        ],
        "facts": report.of_files(census) if census else {},
        "notes": [],
        "classes": None,
        "shapes": _bars(_shapes(census)) if census else [],
        "sides": [],
        "samples": [],
        "pixelated": html_page.PIXELATED,
    }


def _values(checked: Checked) -> dict[str, Any]:
    census = checked.census
    first = census.splits == 0
    readable = np.flatnonzero(census.rows["read"][first])
    name = pathlib.PurePath(checked.dataset.name).name or checked.dataset.name
    return {
        "name": name,
        "verdict": report.verdict(checked),
        "what_for": report.what_for(checked),
        "splits": report.of_splits(checked),
        "findings": [_finding(checked, found) for found in checked.findings],
        "facts": report.facts(checked),
        "notes": [_short(checked.dataset.name, found.note.text) for found in checked.facts],
        "classes": _classes(checked),
        "unit": checked.counts.unit,
        "model": checked.asked.model,
        "shapes": _bars(_shapes(checked.census)),
        "sides": _bars(report.sides(checked)),
        "least": checked.counts.cell,
        "tiny": sum(side <= checked.counts.cell for side in report.SIDES),
        "samples": [
            dataclasses.replace(sample, name=_short(checked.dataset.name, sample.name))
            for sample in tasks.of(checked.task).samples(
                checked.dataset, checked.preprocessing, checked.asked.config, readable
            )
        ],
        "augmentation": checked.asked.config.augmentation,
        "pixelated": html_page.PIXELATED,
    }


def _finding(checked: Checked, found: Finding) -> dict[str, Any]:
    splits, task = list(checked.splits.values()), tasks.of(checked.task)

    @functools.cache
    def image(split: int, index: int) -> np.ndarray | None:
        return thumbnail(task, splits[split], index, checked.counts.classes)

    groups = []
    for group in found.shown:
        pictures = [{"pixels": image(*place), **_caption(checked, *place)} for place in group]
        if all(one["pixels"] is not None for one in pictures):
            groups.append(pictures)
    wide = any(len(group) > 1 for group in groups)
    return {**_text_of(found, checked.dataset.name), "groups": groups, "wide": wide}


def _text_of(found: Finding, data: str) -> dict[str, Any]:
    """A finding without images."""
    return {
        "text": _short(data, found.note.text),
        "remedy": found.remedy,
        "count": found.note.count,
        "examples": [_short(data, one) for one in found.further],
    }


def _caption(checked: Checked, split: int, index: int) -> dict[str, str]:
    """Below an image: what it is of, its file and its split."""
    part = list(checked.splits.values())[split]
    label = ""
    if checked.counts.unit == "image":
        label = checked.counts.classes[part.labels[index]]
    return {
        "label": label,
        "name": _short(checked.dataset.name, part.names[index]),
        "split": checked.census.names[split],
    }


def _short(data: str, text: str) -> str:
    """A page goes to other people: it names files from the data set's folder on."""
    root = pathlib.Path(data)
    folder = root if root.is_dir() else root.parent
    return text.replace(f"{folder}/", "")


def _classes(checked: Checked) -> dict[str, Any]:
    """Rows of the table, most training first, and how many are left out in the middle."""
    counts = checked.counts
    order = np.argsort(-counts.of[0], kind="stable")
    left = max(0, len(order) - _CLASSES)
    half = _CLASSES // 2
    chosen = [*order[:half], *order[half + left :]]
    most = max(1, int(counts.of[0].max(initial=0)))
    total = np.maximum(counts.of.sum(axis=1), 1)
    rows = [
        {
            "name": counts.classes[i],
            "of": [
                f"{100 * count / total[s]:.2f}%" if counts.unit == "pixel" else f"{count:,}"
                for s, count in enumerate(counts.of[:, i].tolist())
            ],
            "images": [f"{count:,}" for count in counts.images[:, i].tolist()],
            "share": 100 * int(counts.of[0, i]) / most,
        }
        for i in chosen
    ]
    return {"rows": rows, "left": left, "half": half, "splits": counts.splits}


def _shapes(census: Census) -> list[tuple[str, int]]:
    rows = census.rows[census.rows["read"]]
    limits = [limit for limit, _name in _SHAPES[:-1]]
    ratio = rows["width"] / np.maximum(rows["height"], 1)
    found = np.bincount(np.searchsorted(limits, ratio, side="right"), minlength=len(_SHAPES))
    return [(name, int(n)) for (_limit, name), n in zip(_SHAPES, found, strict=True)]


def _bars(counts: list[tuple[str, int]]) -> list[dict[str, Any]]:
    most = max([1, *(count for _name, count in counts)])
    total = max(1, sum(count for _name, count in counts))
    return [
        {"name": name, "count": count, "part": 100 * count / most, "share": 100 * count / total}
        for name, count in counts
    ]
