"""From labelled images, each with what it is for, to a data set of splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from kerascnn.errors import InputError
from training.datasets.detection_table import ALL, TEST, TRAIN, VALIDATION, divided, left_out
from training.datasets.elsewhere import Use, doubled, unused
from training.datasets.notes import Note
from training.datasets.splits import HELD_OUT_FRACTION, Dataset, Split, refuse_odd_names, stratified

# From the images, a seed, the names of the classes, and whether they may be few, to places: of
# those that are kept, and of those that are held out.
Draw = Callable[[Split, int, Sequence[str], bool], tuple[np.ndarray, np.ndarray]]


def stratified_fifth(
    whole: Split, seed: int, classes: Sequence[str], sparse: bool
) -> tuple[np.ndarray, np.ndarray]:
    """About a fifth of the images of each class is held out; see `splits.stratified`."""
    return stratified(whole.labels, classes, fraction=HELD_OUT_FRACTION, seed=seed, sparse=sparse)


_PARTS = (TRAIN, VALIDATION, TEST, ALL)


def assembled(
    name: str,
    classes: tuple[str, ...],
    whole: Split,
    parts: Sequence[str],
    keys: Sequence[str],
    *,
    seed: int,
    use: Use,
    sparse: bool = False,
    notes: Sequence[Note] = (),
    draw: Draw = stratified_fifth,
    kind: type[Dataset] = Dataset,
) -> Dataset:
    """A data set of n labelled images.

    Args:
        whole: all of them.
        parts: n of TRAIN, VALIDATION, TEST and ALL; the latter counts as TRAIN beside others.
        keys: n names for the fingerprint.
        seed: holds a fifth out where no image is VALIDATION or TEST.
        use: what the images are for.
        sparse: nothing is learnt: there may be one class, and any without a training image.
        draw: divides them where no image is VALIDATION or TEST.
        kind: of data set.

    Raises:
        InputError: fewer than two classes, a part is lacking, or a class has no training image.
    """
    refuse_odd_names(name, classes)
    if len(classes) < 2 and use is not Use.MEASURE and not (sparse and classes):
        there = f"only {classes[0]!r}" if classes else "none"
        raise InputError(f"{name} needs two classes at least, and has {there}; add rows of others")
    places = _by_part(parts)
    if use is Use.SPLIT and set(places) == {ALL}:
        kept, aside = draw(whole, seed, classes, sparse)
        shares = {TRAIN: kept, TEST: aside}
    else:
        shares = {p: at[chosen] for p, (at, chosen) in divided(name, places, seed, use).items()}
    splits = {part: whole.take(chosen) for part, chosen in shares.items()}
    said = [*notes, *([] if sparse else _lacking(name, classes, splits, use))]
    said += doubled(splits[TRAIN].names, splits[TEST].names)
    names = {part: [whole.names[at] for at in places[part]] for part in left_out(places, use)}
    return kind(
        name=name,
        classes=classes,
        train=splits[TRAIN],
        validation=splits.get(VALIDATION),
        held_out=splits[TEST],
        resize="crop",
        fingerprint=_fingerprint(classes, whole, keys, shares),
        notes=(*said, *unused(names, use)),
    )


def _by_part(parts: Sequence[str]) -> dict[str, np.ndarray]:
    """(m,) places of each part that there is; of TRAIN alone as ALL."""
    found: dict[str, list[int]] = {}
    for at, part in enumerate(parts):
        found.setdefault(part, []).append(at)
    if ALL in found and len(found) > 1:
        found[TRAIN] = sorted(found.pop(ALL) + found.get(TRAIN, []))
    if set(found) == {TRAIN}:
        found = {ALL: found[TRAIN]}
    return {part: np.array(found[part], np.int64) for part in _PARTS if found.get(part)}


def _lacking(name: str, classes: Sequence[str], splits: dict[str, Split], use: Use) -> list[Note]:
    """Refuse classes that nothing is learnt of; note those that nothing is measured on."""
    counts = {part: split.counts(len(classes)) for part, split in splits.items()}
    if use is Use.MEASURE:
        return []
    if unseen := [name for name, n in zip(classes, counts[TRAIN], strict=True) if not n]:
        raise InputError(
            f"{name}: no training image is {unseen[0]!r:.60}"
            + (f", nor are there of {len(unseen) - 1:,} more classes" if unseen[1:] else "")
            + "; add some, or remove the class's rows"
        )
    found = []
    for part, words in ((VALIDATION, "validation"), (TEST, "held-out")):
        if part not in splits or not len(splits[part]):
            continue
        if lost := [name for name, n in zip(classes, counts[part], strict=True) if not n]:
            some = ", ".join(lost[:5]) + (" ..." if len(lost) > 5 else "")
            text = f"{len(lost):,} classes have no {words} image: {some}"
            found.append(Note.of("classes-not-held-out", text, lost))
    return found


def _fingerprint(
    classes: Sequence[str], whole: Split, keys: Sequence[str], shares: dict[str, np.ndarray]
) -> str:
    """Of names, sizes and labels of the images of each part; of the classes too."""
    total = hashlib.sha256("\0".join(classes).encode("utf-8", "surrogateescape"))
    sizes = whole.contents().sizes
    for part, chosen in shares.items():
        total.update(f"\n{part}\n".encode())
        for at in chosen.tolist():
            text = f"{keys[at]}\0{sizes[at]}\0{whole.label_text(at)}\n"
            total.update(text.encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:16]
