"""What is wrong with how much of each class there is, and with the objects' sizes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from training.common.wording import counted
from training.engine.inspection import Counts
from training.tools.check.findings import Finding, finding, listed

FEW = 10  # training images or objects of a class, below which it is hardly learnt
UNBALANCED = 10  # times as many of one class as of another
UNREACHED = 0.1  # share of the objects that no anchor reaches
_SHOWN = 4


def findings_of(counts: Counts) -> list[Finding]:
    """What is wrong with the classes and objects."""
    return [
        *_of_names(counts.classes),
        *_of_balance(counts),
        *_of_boxes(counts),
        *_of_masks(counts),
    ]


def _of_names(classes: Sequence[str]) -> list[Finding]:
    """Classes that differ in what nobody sees: capitals, spaces, the form of an accent."""
    seen: dict[str, str] = {}
    pairs = []
    for name in classes:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())
        if plain in seen:
            pairs.append(f"{seen[plain]!r} and {name!r}")
        seen.setdefault(plain, name)
    if not pairs:
        return []
    text = f"{counted(len(pairs), 'class has', 'classes have')} the name of another one but for "
    return [
        finding(
            "alike-class-names",
            f"{text}capitals, spaces or accents: {listed(pairs)}",
            len(pairs),
            pairs,
            remedy="make them one class, or rename one",
        )
    ]


def _of_balance(counts: Counts) -> list[Finding]:
    train, held_out = counts.of[0], counts.of[-1]
    found = []
    unit = counts.unit
    for kind, lacking, where, remedy in (
        (
            "class-without-training",
            np.flatnonzero(train == 0),
            "training",
            "add some, or remove the class",
        ),
        (
            "class-without-measure",
            np.flatnonzero((held_out == 0) & (train > 0)),
            "held-out",
            "nobody will know how well it is found: hold some of it out",
        ),
    ):
        if len(lacking):
            names = [counts.classes[i] for i in lacking]
            text = f"{counted(len(names), 'class has', 'classes have')} no {where} {unit}"
            found.append(
                finding(kind, f"{text}: {listed(names)}", len(names), names, remedy=remedy)
            )
    return [*found, *_of_few(counts), *_of_unbalanced(counts)]


def _of_few(counts: Counts) -> list[Finding]:
    there = counts.images[0] if counts.unit == "pixel" else counts.of[0]
    few = np.flatnonzero((there > 0) & (there < FEW))
    if not len(few):
        return []
    names = [f"{counts.classes[i]} ({there[i]})" for i in few[np.argsort(there[few])]]
    unit = "image" if counts.unit == "pixel" else counts.unit
    text = f"{counted(len(names), 'class has', 'classes have')} fewer than {FEW} training {unit}s"
    remedy = "add some; until then, what is said of them is chance"
    return [finding("few-images", f"{text}: {listed(names)}", len(names), names, remedy=remedy)]


def _of_unbalanced(counts: Counts) -> list[Finding]:
    train = counts.of[0]
    there = np.flatnonzero(train)
    if len(there) < 2:
        return []
    most, least = there[np.argmax(train[there])], there[np.argmin(train[there])]
    ratio = train[most] / train[least]
    if ratio < UNBALANCED:
        return []
    rare = there[train[there] * UNBALANCED <= train[most]]
    names = [counts.classes[i] for i in rare[np.argsort(train[rare])]]
    text = (
        f"{counts.classes[most]} has {ratio:,.0f} times as many training {counts.unit}s as "
        f"{counts.classes[least]} ({train[most]:,} and {train[least]:,})"
    )
    return [finding("unbalanced-classes", text, len(names), names, remedy=counts.remedy)]


def _of_boxes(counts: Counts) -> list[Finding]:
    if counts.sides is None:
        return []
    found = []
    tiny = int((counts.sides.min(axis=1) < counts.cell).sum()) if len(counts.sides) else 0
    if tiny:
        total = len(counts.sides)
        text = (
            f"{tiny:,} of {counted(total, 'object')} ({100 * tiny / total:.1f}%) are narrower than "
            f"{counts.cell} pixels at the network's input, a cell of its finest grid: it hardly "
            "sees them"
        )
        found.append(
            finding(
                "tiny-objects",
                text,
                tiny,
                remedy="a larger --image-size, images cut into parts, or leave them out",
                shown=[(place,) for place in counts.tiny[:_SHOWN]],
            )
        )
    found += _of_anchors(counts)
    if counts.repeats:
        text = f"{counted(counts.repeats, 'box lies', 'boxes lie')} where another of its class is"
        found.append(
            finding(
                "repeated-boxes",
                f"{text}, in {counted(len(counts.repeated), 'image')}",
                counts.repeats,
                remedy="remove one of each: the second one can only be missed",
                shown=[(place,) for place in counts.repeated[:_SHOWN]],
            )
        )
    return found


def _of_anchors(counts: Counts) -> list[Finding]:
    """Objects that a detector learns badly or not at all; few of them are no fault."""
    reach, total = counts.reach, len(counts.sides if counts.sides is not None else ())
    if reach is None or not reach.unreached:
        return []
    share = reach.unreached / total
    several = f"{reach.unreached:,} of {counted(total, 'object')} ({100 * share:.1f}%)"
    if reach.iou is None:
        text = f"{several} lie between the network's points: none is in their box to learn them"
        remedy = "a larger --image-size, or --tiles"
    else:
        text = (
            f"{several} overlap with no anchor of the network by an IoU of {reach.iou:g}: each "
            "learns from its best one alone"
        )
        remedy = "another --image-size, or other anchors"
    if reach.fitting:
        remedy = "--detector anchors=auto fits the sizes of anchors to the data"
    return [
        finding(
            "unreached-objects",
            text,
            reach.unreached,
            remedy=remedy,
            serious=share >= UNREACHED,
        )
    ]


def _of_masks(counts: Counts) -> list[Finding]:
    if not counts.broken:
        return []
    reasons = [reason for _place, reason in counts.broken]
    text = f"{counted(len(reasons), 'mask')} cannot be used"
    remedy = "restore or remove them; training skips their images"
    return [finding("broken-masks", text, len(reasons), reasons, remedy=remedy)]
