"""Decode pictures in parallel, once, into memory; name what is broken.

Pillow lets go of the interpreter while it decodes and resizes, so that threads are enough.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.cores import WORKERS
from training.datasets.splits import Dataset, Split
from training.preprocessing import (
    Checked,
    Decoded,
    check_picture,
    convert_channels,
    fit_array,
    read_decoded,
    read_picture,
)
from training.wording import skipped

# Above this, pictures are decoded again in every epoch instead of kept.
CACHE_BYTES = 4 << 30
# What a thread takes at once, and how many of these wait for it: small pictures are decoded in less
# time than it takes to hand them over.
_CHUNK = 8
_CHUNKS_AHEAD = 3

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken:
    """A picture that could not be read, and why, in one line."""

    name: str
    reason: str


def decode_split(
    split: Split, preprocessing: Preprocessing, *, cache_bytes: int = CACHE_BYTES
) -> tuple[Split, list[Broken]]:
    """Read every picture of a split at the given geometry.

    Args:
        split: encoded pictures, or an array (which is converted and resized).
        preprocessing: the geometry; `mean` and `std` are not applied.
        cache_bytes: keep the decoded pictures if they fit, else only check that they decode; nor
            that where `sizes` and `kinds` say that it has been done.

    Returns:
        The split without its broken pictures, with `sizes` and `kinds`, with `pictures` if they
        fit; and the broken ones.
    """
    if split.pictures is not None:
        return _convert(split, preprocessing), []
    shape = preprocessing.input_shape
    keep = len(split) * int(np.prod(shape)) <= cache_bytes
    if not keep and split.sizes is not None and split.kinds is not None:
        return split, []
    pictures = np.empty((len(split) if keep else 0, *shape), np.uint8)
    sizes = np.empty((len(split), 2), np.int32)
    kinds = np.empty(len(split), np.uint8)
    broken: list[Broken] = []
    good: list[int] = []
    progress = tqdm(
        _look_at_all(split, preprocessing if keep else None),
        total=len(split), desc="reading pictures", unit="", leave=False, disable=None,
    )  # fmt: skip
    for index, found in enumerate(progress):
        if isinstance(found, InputError):
            broken.append(Broken(name=split.names[index], reason=str(found)))
            continue
        if isinstance(found, Decoded):
            pictures[len(good)] = found.pixels
        sizes[index], kinds[index] = found.size, found.kind
        good.append(index)
    whole = dataclasses.replace(split, sizes=sizes, kinds=kinds).take(good)
    if keep:  # memory has no places that are far from each other
        whole = dataclasses.replace(whole, pictures=pictures[: len(good)], blocks=None)
    return whole, broken


def decoded(split: Split, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """(height, width, channels) uint8 of each encoded picture, in order, some ahead in threads.

    Raises:
        InputError: a picture that cannot be read.
    """

    def read(index: int) -> np.ndarray:
        return read_picture(split.encoded(index), preprocessing, split.names[index])

    return in_order(read, len(split))


def in_order(work: Callable[[int], _Result], count: int) -> Iterator[_Result]:
    """`work` of 0, 1, ... `count` - 1, done in threads not far ahead of who asks."""
    pool = ThreadPoolExecutor(WORKERS)
    ahead: collections.deque[Future[list[_Result]]] = collections.deque()
    try:
        for first in range(0, count, _CHUNK):
            numbers = range(first, min(first + _CHUNK, count))
            ahead.append(pool.submit(lambda some: [work(number) for number in some], numbers))
            if len(ahead) > _CHUNKS_AHEAD * WORKERS:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at_all(
    split: Split, preprocessing: Preprocessing | None
) -> Iterator[Checked | InputError]:
    """Each picture at that geometry, or checked alone; or why not."""

    def look(index: int) -> Checked | InputError:
        name = split.names[index]
        try:
            # A file is opened by its path, whose messages tell a folder from a missing one.
            source = name if split.read is None else split.encoded(index)
            if preprocessing is None:
                return check_picture(source, name)
            return read_decoded(source, preprocessing, name)
        except InputError as error:
            return error

    return in_order(look, len(split))


def _convert(split: Split, preprocessing: Preprocessing) -> Split:
    assert split.pictures is not None
    pictures = convert_channels(split.pictures, preprocessing.channels)
    if pictures.shape[1:] != preprocessing.input_shape:
        fitted = [fit_array(picture, preprocessing) for picture in pictures]
        pictures = np.array(fitted, np.uint8).reshape(-1, *preprocessing.input_shape)
    sizes = split.sizes
    if sizes is None:
        sizes = np.full((len(split), 2), split.pictures.shape[1:3], np.int32)
    return dataclasses.replace(split, pictures=pictures, sizes=sizes)


def decode_dataset(
    dataset: Dataset,
    *,
    train: Preprocessing,
    evaluation: Preprocessing,
    strict: bool,
    report: Callable[[str], None],
    cache_bytes: int = CACHE_BYTES,
    set_aside: bool = False,
) -> tuple[Dataset, list[Broken]]:
    """Decode all splits; broken pictures are reported by name and left out.

    Args:
        train, evaluation: geometry of the training split and of the others.
        strict: raise at the first broken picture instead.
        report: takes one line of text a broken picture, and one with their count.
        set_aside: the validation pictures come from the training split; a class that loses its
            last one among them has others to learn from.

    Raises:
        InputError: `strict`, or a class that lost its last picture.
    """
    broken: list[Broken] = []

    def decode(split: Split, geometry: Preprocessing, *, whole: bool = True) -> Split:
        decoded, errors = decode_split(split, geometry, cache_bytes=cache_bytes)
        broken.extend(errors)
        for error in errors:
            if strict:
                raise InputError(error.reason)
            report(f"skipped: {error.reason}")
        if whole:
            reasons = [error.reason for error in errors]
            refuse_lost_classes(dataset, split.labels, decoded.labels, reasons)
        return decoded

    decoded = dataclasses.replace(
        dataset,
        train=decode(dataset.train, train),
        validation=dataset.validation
        and decode(dataset.validation, evaluation, whole=not set_aside),
        held_out=decode(dataset.held_out, evaluation),
    )
    if broken:
        report(skipped(len(broken)))
    return decoded, broken


def refuse_lost_classes(
    dataset: Dataset, labels: np.ndarray, left: np.ndarray, reasons: Sequence[str]
) -> None:
    """Raise InputError if a class lost its last picture.

    Args:
        labels: (n,) of a split.
        left: (m,) of its pictures that could be read.
        reasons: why the others could not.
    """
    if lost := set(labels.tolist()) - set(left.tolist()):
        raise InputError(
            f"class {dataset.classes[min(lost)]!r} of {dataset.name} has no readable image left; "
            f"for one: {reasons[0]}"
        )
