"""The page of `kerascnn evaluate`: an HTML file that opens offline and asks nobody for anything."""

from __future__ import annotations

import base64
import io
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from export.tools.evaluate import (
    Evaluated,
    agreement_lines,
    informative_figures,
    mistake,
    with_images,
    words,
)
from export.tools.scorers import Score
from kerascnn.errors import InputError
from training.common import html_page
from training.common.wording import counted

_TEMPLATE = "evaluation.html.j2"
_CLASSES = 200  # in the table; of more, those with the lowest first figure
_THUMB = 320  # pixels of the longer side
_FIRST = {"classification": "recall", "detection": "ap", "segmentation": "iou"}
_HOW = {
    "classification": "The surest wrong answers first.",
    "detection": "Solid boxes were found, dashed ones are there; those with most errors first.",
    "segmentation": "To the left what is there, to the right what was found; the worst first.",
}
_NETWORKS = {"classification": "classifier", "detection": "detector"}


def require_page(path: pathlib.Path) -> None:
    """Raise InputError for a page that cannot be written, before anything is measured."""
    if path.is_dir() or not path.suffix.lower().startswith(".htm"):
        raise InputError(f"-o {path} must be a file that ends in .html")
    if not path.absolute().parent.is_dir():
        raise InputError(f"-o {path}: {path.parent} is no folder; make it, or choose another")


def write_page(found: Evaluated, path: pathlib.Path) -> None:
    """Write the page.

    Raises:
        OSError: it cannot be written.
    """
    html_page.write(path, "export.tools", _TEMPLATE, _values(found))


def _values(found: Evaluated) -> dict[str, Any]:
    score = found.score
    agreement = found.agreement
    lines = [] if agreement is None else agreement_lines(agreement, score)
    if lines and agreement is not None:  # a page goes to other people
        name = pathlib.PurePath(agreement.reference).name
        lines = [line.replace(agreement.reference, name) for line in lines]
    return {
        "name": _end(found.file),
        "data": _end(found.data),
        "network": _NETWORKS.get(found.task, "segmentation network"),
        "verdict": _verdict(found),
        "warning": found.warning,
        "images": counted(
            found.images, "image" if found.split == "all" else f"{found.split} image"
        ),
        "broken": counted(len(found.broken), "broken image") if found.broken else "",
        "absent": found.absent,
        "figures": [] if score is None else _figures(score),
        "held": None if found.held is None else found.held.as_text().splitlines(),
        "agreement": lines,
        "columns": _columns(score),
        "classes": _rows(found),
        "left": _left(score),
        "confused": [] if score is None else score.confused,
        "confusion": _drawn(found),
        "worst": _worst(found),
        "how": _HOW.get(found.task, ""),
        "pixelated": html_page.PIXELATED,
    }


def _columns(score: Score | None) -> list[str]:
    rows = () if score is None else score.per_class
    return [words(name) for name in rows[0]] if rows else []


def _end(path: str) -> str:
    """The last two parts of a path: names of homes stay at home."""
    return "/".join(pathlib.PurePath(path).parts[-2:])


def _verdict(found: Evaluated) -> str:
    score = found.score
    if score is None:
        assert found.agreement is not None
        return agreement_lines(found.agreement, None)[0].partition(": ")[2]
    if score.value is None:
        return f"no {score.metric}: nothing was to be found"
    metric = score.metric.capitalize() if score.metric.islower() else score.metric
    text = f"{metric} {score.value:.1f}%"
    if score.low is not None and score.high is not None:
        text += f", 95% interval {score.low:.1f} to {score.high:.1f}"
    return text


def _figures(score: Score) -> list[tuple[str, str]]:
    return [
        (
            words(name),
            "-" if value is None else f"{value:.3f}" if name == "loss" else f"{value:.1f}%",
        )
        for name, value in informative_figures(score).items()
    ]


def _rows(found: Evaluated) -> list[dict[str, Any]]:
    """A row per class, the lowest first figure first."""
    score = found.score
    if score is None:
        return []
    key = _FIRST.get(found.task, "")

    def place(row: Mapping[str, Any]) -> float:
        value = row.get(key)
        return math.inf if value is None else float(value)

    ordered = sorted(with_images(score)[0], key=place)[:_CLASSES]
    return [
        {
            "label": row["label"],
            "cells": [_cell(value) for name, value in row.items() if name != "label"],
            "part": row.get(key),
        }
        for row in ordered
    ]


def _left(score: Score | None) -> int:
    return 0 if score is None else max(0, len(with_images(score)[0]) - _CLASSES)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}%" if isinstance(value, float) else f"{value:,}"


def _drawn(found: Evaluated) -> str | None:
    """The confusion matrix as the address of an image."""
    score = found.score
    if score is None or not score.confusion:
        return None
    from scipy.sparse import csr_array

    from training.classification.confusion import draw_confusion
    from training.common.drawing import drawing

    true, predicted, count = np.array(score.confusion).T
    size = (len(found.labels), len(found.labels))
    matrix = csr_array((count, (true, predicted)), shape=size)
    stream = io.BytesIO()
    with drawing(names=list(found.labels)):
        draw_confusion(matrix, found.labels).savefig(stream, format="png", dpi=130)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _worst(found: Evaluated) -> list[dict[str, Any]]:
    scored, score = found.scored, found.score
    if scored is None or score is None or scored.show is None:
        return []
    rows = []
    for place, one in zip(scored.places, score.worst, strict=True):
        pixels = _small(scored.show(place))
        rows.append({"pixels": pixels, "name": _end(one["image"]), "mistake": mistake(one)})
    return rows


def _small(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    longest = _THUMB * (2 if pixels.shape[1] > 1.8 * pixels.shape[0] else 1)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8)
