"""What a check says: text for a terminal, JSON for programs."""

from __future__ import annotations

import collections
import itertools
from typing import Any

import numpy as np

from training.common.wording import counted
from training.engine.inspection import Reach
from training.tools.check.census import Census
from training.tools.check.check import Checked
from training.tools.check.findings import Finding, printable
from training.tools.check.look import FILE_FORMATS, MODES

_EXAMPLES = 3
# Shorter sides of objects at the network's input, in pixels: below each, from the one before.
SIDES = (2, 4, 8, 16, 32, 64, 128)


def verdict(checked: Checked) -> str:
    """The first line."""
    if not checked.findings:
        return "nothing found that is wrong"
    return f"{counted(len(checked.findings), 'finding')}: look at {_them(checked)} before training"


def _them(checked: Checked) -> str:
    return "it" if len(checked.findings) == 1 else "them"


def as_text(checked: Checked) -> str:
    """A short summary: what the data is, then what was found and what to do about it."""
    lines = [f"{checked.dataset.name}: {what_for(checked)}", f"  {of_splits(checked)}"]
    lines += [f"  {line}" for line in facts(checked).values()]
    lines += [f"  {fact.note.text}" for fact in checked.facts]
    lines += ["", verdict(checked)]
    for found in checked.findings:
        lines += _lines_of(found)
    return "\n".join(map(printable, lines))


def _lines_of(found: Finding) -> list[str]:
    lines = ["", f"- {found.note.text}"]
    lines += [f"    {example}" for example in found.further[:_EXAMPLES]]
    if found.remedy:
        lines.append(f"  -> {found.remedy}")
    return lines


_HOW = {
    "crop": "cropped",
    "centre": "cropped",
    "stretch": "stretched",
    "pad": "padded",
    "letterbox": "letterboxed",
}


def what_for(checked: Checked) -> str:
    """The task, and the network whose input is meant."""
    guess = " (guessed; --task says otherwise)" if checked.guessed else ""
    size = f"{checked.preprocessing.width} x {checked.preprocessing.height}"
    how = _HOW[checked.preprocessing.resize]
    return f"{checked.task}{guess}, seen as by {checked.asked.model}: {size} pixels, {how}"


def of_splits(checked: Checked) -> str:
    """ "2 classes; 540 training, 60 validation and 150 held-out images"."""
    census = checked.census
    parts = [f"{n:,} {name}" for name, n in zip(census.names, census.counts, strict=True)]
    classes = counted(len(checked.counts.classes), "class")
    return f"{classes}; {', '.join(parts[:-1])} and {parts[-1]} images"


def facts(checked: Checked) -> dict[str, str]:
    """How things are, by a word for each."""
    found = of_files(checked.census)
    if checked.counts.unit == "object" and found:
        found["Objects"] = _objects(checked)
        if checked.counts.reach is not None:
            found["Maps"] = _maps(checked.counts.reach)
    elif checked.counts.unit == "pixel" and checked.counts.empty.any() and found:
        empty = counted(int(checked.counts.empty.sum()), "image")
        found["Masks"] = f"{empty} with nothing but {checked.counts.classes[0]}"
    return found


def of_files(census: Census) -> dict[str, str]:
    """How the files are that can be read, by a word for each; empty where there is none."""
    rows = census.rows[census.rows["read"]]
    if not len(rows):
        return {}
    found = {"Sizes": _sizes(rows)}
    if rows["format"].any():
        found["Files"] = _files(rows)
    if turned := int((rows["turned"] > 1).sum()):
        found["EXIF"] = (
            f"{counted(turned, 'image')} of {len(rows):,} turned upright by EXIF, as in training "
            "and on the phone"
        )
    return found


def _sizes(rows: np.ndarray) -> str:
    pixels = rows["height"].astype(np.int64) * rows["width"]
    order = np.argsort(pixels, kind="stable")
    texts = [f"{rows['width'][i]} x {rows['height'][i]}" for i in order[[0, len(order) // 2, -1]]]
    if len(np.unique(rows[["height", "width"]])) == 1:
        return f"all images are {texts[0]} pixels"
    return f"images from {texts[0]} to {texts[2]} pixels, the middle one {texts[1]}"


def _files(rows: np.ndarray) -> str:
    formats = _most_first(rows["format"], FILE_FORMATS)
    modes = _most_first(rows["mode"], MODES)
    return f"{_shares(formats)}; {_shares(modes)}"


def _most_first(values: np.ndarray, names: tuple[str, ...]) -> dict[str, int]:
    there = collections.Counter(values.tolist())
    return {names[value]: count for value, count in there.most_common()}


def _shares(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return f"all {next(iter(counts))}"
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _objects(checked: Checked) -> str:
    counts = checked.counts
    parts = [f"{int(of.sum()):,} {name}" for name, of in zip(counts.splits, counts.of, strict=True)]
    text = f"{', '.join(parts[:-1])} and {parts[-1]} objects, at most {counts.most:,} in an image"
    if empty := int(counts.empty.sum()):
        text += f"; {counted(empty, 'image')} without one"
    return text


def _maps(reach: Reach) -> str:
    """ "by the best anchor: 40 objects of 10 to 31 pixels on cells of 8; none on cells of 16"."""
    parts = []
    for level in reach.levels:
        cell = f"cells of {max(level.cell):.0f}"
        sides = f"{level.smallest:.0f} to {level.largest:.0f} pixels"
        some = f"{counted(level.objects, 'object')} of {sides} on {cell}"
        parts.append(some if level.objects else f"none on {cell}")
    how = "by points in their boxes" if reach.iou is None else "by the best anchor"
    return f"{how}: {'; '.join(parts)}"


def _levels(reach: Reach | None) -> list[dict[str, Any]]:
    if reach is None:
        return []
    return [
        {
            "cell": [round(side, 2) for side in level.cell],
            "objects": level.objects,
            "smallest": round(level.smallest, 2),
            "largest": round(level.largest, 2),
        }
        for level in reach.levels
    ]


def sides(checked: Checked) -> list[tuple[str, int]]:
    """How many objects have a shorter side in each range at the network's input."""
    if checked.counts.sides is None or not len(checked.counts.sides):
        return []
    shorter = checked.counts.sides.min(axis=1)
    found = np.bincount(np.searchsorted(SIDES, shorter, side="right"), minlength=len(SIDES) + 1)
    names = [f"below {SIDES[0]}"]
    names += [f"{low} to {high}" for low, high in itertools.pairwise(SIDES)]
    return list(zip([*names, f"{SIDES[-1]} and more"], found.tolist(), strict=True))


def as_json(checked: Checked, report: str | None) -> dict[str, Any]:
    """For programs; `report` is the page's path."""
    census, counts, preprocessing = checked.census, checked.counts, checked.preprocessing
    rows = census.rows[census.rows["read"]]
    height, width = (
        np.quantile(rows[side], (0, 0.5, 1)).astype(int).tolist() if len(rows) else None
        for side in ("height", "width")
    )
    return {
        "data": checked.dataset.name,
        "task": checked.task,
        "task_guessed": checked.guessed,
        "model": checked.asked.model,
        "image_size": [preprocessing.height, preprocessing.width],
        "resize": preprocessing.resize,
        "fingerprint": checked.dataset.fingerprint,
        "splits": {
            name: {
                "images": census.counts[i],
                "broken": int((~census.rows["read"][census.splits == i]).sum()),
                f"{counts.unit}s": int(counts.of[i].sum()),
            }
            for i, name in enumerate(census.names)
        },
        "classes": [
            {
                "name": printable(name),
                **dict(zip(counts.splits, counts.of[:, i].tolist(), strict=True)),
            }
            for i, name in enumerate(counts.classes)
        ],
        "counted": f"{counts.unit}s",
        "sizes": {"height": height, "width": width},
        "formats": _most_first(rows["format"], FILE_FORMATS),
        "modes": _most_first(rows["mode"], MODES),
        "turned_by_exif": int((rows["turned"] > 1).sum()),
        "object_sides": dict(sides(checked)),
        "object_maps": _levels(counts.reach),
        "findings": [found.as_json() for found in checked.findings],
        "notes": [found.as_json() for found in checked.facts],
        "report": report,
    }
