"""What a census of image files tells: broken and unusual ones, sizes, and those there twice."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerascnn.preprocessing import Preprocessing
from training.common.wording import counted
from training.tools.check.census import Census
from training.tools.check.duplicates import DHASH_BITS, PHASH_BITS, Duplicates
from training.tools.check.findings import Finding, Place, finding
from training.tools.check.look import FILE_FORMATS, MODES

_SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}
# Images of formats that are not read.
OTHERS = frozenset({
    ".avif", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".raw", ".tif", ".tiff",
})  # fmt: skip
_LONG = 3  # times as long as wide, against the network's input
_SHOWN, _SHOWN_PAIRS = 4, 3
_NAMED = 5


def findings_of(census: Census, preprocessing: Preprocessing) -> list[Finding]:
    """What is wrong with single files, for a network."""
    found = [*of_files(census), *_sizes(census, preprocessing)]
    return [one for one in found if one.note.count]


def of_files(census: Census) -> list[Finding]:
    """What is wrong with single files, whatever they are for."""
    return [one for one in (*_broken(census), *_unusual(census)) if one.note.count]


def unread(ignored: Mapping[str, int]) -> list[Finding]:
    """Files among the images that are not read.

    Args:
        ignored: how many there are, by their ending.
    """
    if not ignored:
        return []
    count = sum(ignored.values())
    endings = [f"{number:,} {ending}" for ending, number in sorted(ignored.items())]
    text = f"{counted(count, 'file is', 'files are')} not read, by the ending: {', '.join(endings)}"
    remedy = "convert them to JPEG or PNG" if (images := OTHERS & set(ignored)) else ""
    return [finding("unread-files", text, count, remedy=remedy, serious=bool(images))]


def other_sizes(census: Census, splits: Mapping[str, Any]) -> list[Finding]:
    """Images that are not as large as their annotations are for.

    Args:
        splits: of objects or of masks, which know.
    """
    wanted = np.concatenate([split.sizes for split in splits.values()])
    found = np.column_stack([census.rows["height"], census.rows["width"]])
    places = np.flatnonzero(census.rows["read"] & (wanted != found).any(axis=1))
    if not len(places):
        return []
    names = [
        f"{census.images(i)}: {wanted[i][1]} x {wanted[i][0]} annotated, it has "
        f"{found[i][1]} x {found[i][0]}"
        for i in places[:_NAMED]
    ]
    text = f"{counted(len(places), 'image')} of another size than the annotations are for"
    return [
        finding(
            "other-size",
            text,
            len(places),
            names,
            remedy="training skips them; bring the annotated images back, or annotate these",
        )
    ]


def findings_of_duplicates(
    census: Census, twice: Duplicates, labels: np.ndarray | None
) -> list[Finding]:
    """What is there twice: first across splits, then of two classes, then within splits.

    Args:
        labels: (n,) class of each image, where an image has one.
    """
    found = []
    for kind, across, how in (
        ("same-across-splits", twice.across, "byte for byte among the"),
        ("alike-across-splits", twice.alike_across, "nearly the same as some of the"),
    ):
        for (later, earlier), partners in sorted(across.items(), reverse=True):
            found.append(_across(kind, how, census, partners, later, earlier))
    if labels is not None:
        found += _of_two_classes(census, twice, labels)
    found += [_within(census, twice.same, "same-images"), _near(census, twice)]
    return [one for one in found if one.note.count]


def _across(
    kind: str, how: str, census: Census, partners: np.ndarray, later: int, earlier: int
) -> Finding:
    places = np.flatnonzero(partners >= 0)
    one, other = census.names[later], census.names[earlier]
    count = f"{len(places):,} of the {census.counts[later]:,} {one} images"
    text = f"{count} {'is' if len(places) == 1 else 'are'} {how} {other} images"
    effect = (
        "figures will flatter" if one == census.names[-1] else "the best epoch is chosen by them"
    )
    return finding(
        kind,
        f"{text}: {effect}",
        len(places),
        [f"{census.images(i)} = {census.images(partners[i])}" for i in places[:_NAMED]],
        remedy="remove them from one of the two, or move all images of one scene into one split",
        shown=[(census.place(i), census.place(partners[i])) for i in places[:_SHOWN_PAIRS]],
    )


def _of_two_classes(census: Census, twice: Duplicates, labels: np.ndarray) -> list[Finding]:
    found = []
    same = _mixed(twice.same, labels)
    alike = _mixed(twice.alike, labels) & ~same
    for kind, members, groups, how in (
        ("same-image-two-classes", same, twice.same, "the same image has"),
        ("alike-image-two-classes", alike, twice.alike, "nearly the same image has"),
    ):
        places = np.flatnonzero(members)
        pairs = _pairs(places, groups, labels)
        text = f"{counted(len(places), 'image')} of more than one class: {how} several labels"
        found.append(
            finding(
                kind,
                text,
                len(places),
                [f"{census.images(i)} = {census.images(j)}" for i, j in pairs],
                remedy="keep the right one of each",
                shown=[(census.place(i), census.place(j)) for i, j in pairs[:_SHOWN_PAIRS]],
            )
        )
    return found


def _mixed(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) whether another image of the group has another label."""
    least = np.full(int(groups.max(initial=-1)) + 2, labels.max(initial=0) + 1)
    most = np.full(len(least), -1)
    np.minimum.at(least, groups, labels)  # -1, of no group, is the last one
    np.maximum.at(most, groups, labels)
    return (groups >= 0) & (least[groups] != most[groups])


def _pairs(
    places: np.ndarray, groups: np.ndarray, labels: np.ndarray | None = None
) -> list[tuple[int, int]]:
    """Two of a group, of two labels; one pair of each of several groups before more of one."""
    last: dict[int, int] = {}
    first: dict[int, tuple[int, int]] = {}
    more = []
    for i in map(int, places):
        group = int(groups[i])
        j = last.setdefault(group, i)
        if j == i or (labels is not None and labels[i] == labels[j]):
            continue
        last[group] = i
        if group in first:
            more.append((j, i))
        else:
            first[group] = (j, i)
        if len(first) == _NAMED:
            break
    return [*first.values(), *more][:_NAMED]


def _within(census: Census, groups: np.ndarray, kind: str) -> Finding:
    """Images that are there more than once within a split, counted without the first of each."""
    count = int(census.splits.max(initial=0)) + 1
    keys = np.where(census.rows["read"] & (groups >= 0), groups * count + census.splits, -1)
    unique, size = np.unique(keys, return_counts=True)
    several = unique[(size > 1) & (unique >= 0)]
    places = np.flatnonzero(np.isin(keys, several))
    extra = len(places) - len(several)
    pairs = _pairs(places, keys)
    text = f"{counted(extra, 'image is', 'images are')} in its split more than once, byte for byte"
    text = text if extra == 1 else text.replace("its split", "their split")
    return finding(
        kind,
        text,
        extra,
        [f"{census.images(j)} = {census.images(i)}" for i, j in pairs],
        remedy="remove the copies: they count more than others",
        shown=[(census.place(i), census.place(j)) for i, j in pairs[:_SHOWN_PAIRS]],
    )


def _near(census: Census, twice: Duplicates) -> Finding:
    """The same of alike images, of which copies byte for byte are one."""
    splits = int(census.splits.max(initial=0)) + 1
    there = np.flatnonzero(twice.alike >= 0)
    keys = twice.alike[there] * splits + census.splits[there]
    # One of each content in a split.
    content = np.unique(np.stack([keys, twice.same[there]], axis=1), axis=0, return_index=True)[1]
    unique, size = np.unique(keys[content], return_counts=True)
    several = unique[size > 1]
    chosen = content[np.isin(keys[content], several)]
    extra = len(chosen) - len(several)
    places = np.sort(there[chosen])
    groups = twice.alike * splits + census.splits
    pairs = _pairs(places, groups)
    text = (
        f"{counted(extra, 'image is', 'images are')} nearly the same as another of the split "
        f"(hashes within {PHASH_BITS} and {DHASH_BITS} of 64 bits), in "
        f"{counted(len(several), 'group')}"
    )
    if len(several):
        text += f", the largest of {int(size.max()):,}"
    return finding(
        "alike-images",
        text,
        extra,
        [f"{census.images(i)} = {census.images(j)}" for i, j in pairs],
        remedy="frames of one film or copies in another size: keep few of each group, in one split",
        shown=[(census.place(i), census.place(j)) for i, j in pairs[:_SHOWN_PAIRS]],
    )


def _broken(census: Census) -> list[Finding]:
    reasons = [reason for _place, reason in census.broken]
    text = f"{counted(len(reasons), 'image')} cannot be read"
    remedy = "restore or remove them; training skips them, --strict makes them an error"
    blank = np.flatnonzero(census.rows["read"] & census.rows["blank"])
    return [
        finding("broken-images", text, len(reasons), reasons, remedy=remedy),
        _some(
            census,
            "blank-images",
            blank,
            f"{counted(len(blank), 'image is', 'images are')} of one colour",
            "look whether the camera or a conversion failed, and remove them",
        ),
    ]


def _unusual(census: Census) -> Iterable[Finding]:
    rows, read = census.rows, census.rows["read"]
    for kind, chosen, what, remedy in (
        (
            "wrong-extension",
            _liars(census),
            "{} an extension of another format than the content is",
            "rename them: kerascnn goes by the content, other programs may not",
        ),
        (
            "animated",
            read & (rows["frames"] > 1),
            "{} several frames, of which only the first is seen",
            "save the frames that matter as images of their own",
        ),
        (
            "16-bit",
            read & (rows["depth"] == 16),
            "{} 16 bits a channel, of which the network sees 8",
            "fine where all have, and values of 10 and 12 bits are brightened; else save 8 bits",
        ),
        (
            "cmyk",
            read & (rows["mode"] == MODES.index("CMYK")),
            "{} colours for print (CMYK), which are converted without a profile",
            "convert them to RGB: magick FILE -colorspace sRGB FILE",
        ),
        (
            "transparent",
            read & rows["transparent"],
            "{} transparent pixels, which are seen as white",
            "put them on the ground that the phone will see",
        ),
    ):
        places = np.flatnonzero(chosen)
        text = what.format(counted(len(places), "image has", "images have"))
        yield _some(census, kind, places, text, remedy)


def _liars(census: Census) -> np.ndarray:
    """(n,) bool, whose extension is of another format than their content."""
    formats = census.rows["format"]
    found = np.zeros(len(formats), bool)
    for place in np.flatnonzero(formats).tolist():
        suffix = pathlib.PurePath(census.images(place)).suffix.lower()
        found[place] = _SUFFIXES.get(suffix, "") not in ("", FILE_FORMATS[formats[place]])
    return found


def _sizes(census: Census, preprocessing: Preprocessing) -> Iterable[Finding]:
    rows = census.rows
    height, width = rows["height"].astype(float), rows["width"].astype(float)
    scale = np.ones(len(rows))
    there = rows["read"] & (rows["format"] > 0)  # what is made for a network has its size
    np.divide(preprocessing.height, height, out=scale, where=there)
    scale = np.minimum(scale, np.divide(preprocessing.width, width, out=scale.copy(), where=there))
    small = np.flatnonzero(there & (scale > 2))
    size = f"{preprocessing.width} x {preprocessing.height}"
    yield _some(
        census,
        "small-images",
        small,
        f"{counted(len(small), 'image is', 'images are')} less than half as large as the network's "
        f"input ({size}), both ways",
        "enlarged they hold nothing more: a smaller --image-size is as good and faster",
    )
    ratio = np.ones(len(rows))
    np.divide(width * preprocessing.height, height * preprocessing.width, out=ratio, where=there)
    long = np.flatnonzero(np.maximum(ratio, 1 / ratio) > _LONG)
    fate = "most of each is cut off" if preprocessing.crops else "they are squeezed"
    if preprocessing.resize == "letterbox":
        fate = "little of the input is theirs"
    yield _some(
        census,
        "long-images",
        long,
        f"{counted(len(long), 'image is', 'images are')} more than {_LONG} times as long as the "
        f"network's input for its width: {fate}",
        "cut them into parts (`train --tiles` of detectors and segmentation networks), choose an "
        "--image-size of their shape, or keep their shape: --resize letterbox",
    )


def _some(
    census: Census, kind: str, places: Sequence[int] | np.ndarray, text: str, remedy: str
) -> Finding:
    """A finding of the images at some places."""
    names = [census.images(i) for i in places[:_NAMED]]
    shown: list[tuple[Place, ...]] = [(census.place(i),) for i in places[:_SHOWN]]
    return finding(kind, text, len(places), names, remedy=remedy, shown=shown)
