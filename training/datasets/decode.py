"""Decode images in parallel, once, into memory, or look at their headers; name what is broken.

Pillow lets go of the interpreter while it decodes and resizes, so that threads are enough.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.parallel import in_order
from training.common.progress import Progress
from training.common.wording import skipped
from training.datasets.header import Headers, look, look_at_encoded
from training.datasets.pictures import (
    Decoded,
    convert_channels,
    fit_array,
    read_decoded,
    read_picture,
)
from training.datasets.splits import Dataset, Split

# Above this, images are decoded again in every epoch instead of kept.
CACHE_BYTES = 4 << 30
# More images than this that are only evaluated are not decoded before the first step: an epoch
# decodes those that choose it when it ends, and held-out ones are decoded behind the last one.
MOST_AT_START = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken:
    """An image that could not be read, and why, in one line."""

    name: str
    reason: str


def decode_split(
    split: Split,
    preprocessing: Preprocessing,
    *,
    cache_bytes: int = CACHE_BYTES,
    headers: Headers | None = None,
    root: str | None = None,
) -> tuple[Split, list[Broken]]:
    """Read every image of a split at the given geometry.

    Args:
        split: encoded images, or an array (which is converted and resized).
        preprocessing: the geometry; `mean` and `std` are not applied.
        cache_bytes: keep the decoded images if they fit, else only look at their headers; nor
            that where `sizes` and `kinds` say that it has been done.
        headers: of the split's files, where they were looked at already.
        root: of the data set, under which looks at headers are kept; None: nowhere.

    Returns:
        The split without its broken images, with `sizes` and `kinds`, with `pictures` if they
        fit; and the broken ones.
    """
    if split.pictures is not None:
        return _convert(split, preprocessing), []
    if not _fits(split, preprocessing, cache_bytes):
        return _with_headers(split, headers, root)
    pictures = np.empty((len(split), *preprocessing.input_shape), np.uint8)
    sizes = np.empty((len(split), 2), np.int32)
    kinds = np.empty(len(split), np.uint8)
    broken: list[Broken] = []
    good: list[int] = []
    with Progress("reading images", len(split), unit="image") as progress:
        for index, found in enumerate(_read_all(split, preprocessing)):
            progress.step()
            if isinstance(found, InputError):
                broken.append(Broken(name=split.names[index], reason=str(found)))
                continue
            pictures[len(good)] = found.pixels
            sizes[index], kinds[index] = found.size, found.kind
            good.append(index)
    whole = dataclasses.replace(split, sizes=sizes, kinds=kinds).take(good)
    # Memory has no places that are far from each other.
    whole = dataclasses.replace(whole, pictures=pictures[: len(good)], blocks=None)
    return whole, broken


def _lies_on_disk(split: Split, preprocessing: Preprocessing, cache_bytes: int) -> bool:
    """Whether a split stays as files that are yet to be looked at."""
    looked_at = split.pictures is not None or (split.sizes is not None and split.kinds is not None)
    return not looked_at and not _fits(split, preprocessing, cache_bytes)


def _fits(split: Split, preprocessing: Preprocessing, cache_bytes: int) -> bool:
    return len(split) * int(np.prod(preprocessing.input_shape)) <= cache_bytes


def _look(splits: Sequence[Split], root: str | None) -> list[Headers]:
    """The headers of some splits; files are looked at together, so that they are kept together."""
    of_files = look([n for s in splits if s.read is None for n in s.names], root=root)
    found, first = [], 0
    for split in splits:
        if split.read is None:
            found.append(of_files[first : first + len(split)])
            first += len(split)
        else:
            found.append(look_at_encoded(split.names, split.encoded))
    return found


def _with_headers(
    split: Split, headers: Headers | None, root: str | None
) -> tuple[Split, list[Broken]]:
    """The images that have a sound header, with `sizes` and `kinds`; and the others."""
    if split.sizes is not None and split.kinds is not None:
        return split, []
    found = headers or _look([split], root)[0]
    reasons = found.reasons
    broken = [Broken(name=split.names[i], reason=reasons[i]) for i in sorted(reasons)]
    whole = dataclasses.replace(split, sizes=found.sizes, kinds=found.kinds)
    return whole.take([i for i in range(len(split)) if i not in reasons]), broken


def decoded(split: Split, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """(height, width, channels) uint8 of each encoded image, in order, some ahead in threads.

    Raises:
        InputError: an image that cannot be read.
    """

    def read(index: int) -> np.ndarray:
        return read_picture(split.encoded(index), preprocessing, split.names[index])

    return in_order(read, len(split))


def _read_all(split: Split, preprocessing: Preprocessing) -> Iterator[Decoded | InputError]:
    """Each image at that geometry; or why not."""

    def look(index: int) -> Decoded | InputError:
        name = split.names[index]
        try:
            # A file is opened by its path, whose messages tell a folder from a missing one.
            source = name if split.read is None else split.encoded(index)
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
    """Decode all splits; broken images are reported by name and left out.

    Args:
        train, evaluation: geometry of the training split and of the others.
        strict: raise at the first broken image instead.
        report: takes one line of text a broken image, and one with their count.
        set_aside: the validation images come from the training split; a class that loses its
            last one among them has others to learn from.

    Raises:
        InputError: `strict`, or a class that lost its last image.
    """
    broken: list[Broken] = []

    def cache_of(split: Split) -> int:
        waits = split is not dataset.train and len(split) > MOST_AT_START
        return 0 if waits else cache_bytes

    others = [split for split in (dataset.validation, dataset.held_out) if split is not None]
    geometries = [(dataset.train, train), *((split, evaluation) for split in others)]
    large = [
        split for split, geometry in geometries if _lies_on_disk(split, geometry, cache_of(split))
    ]
    headers = dict(zip(map(id, large), _look(large, dataset.name), strict=True))

    def decode(split: Split, geometry: Preprocessing, *, whole: bool = True) -> Split:
        decoded, errors = decode_split(
            split, geometry, cache_bytes=cache_of(split), headers=headers.get(id(split))
        )
        broken.extend(errors)
        for error in errors:
            if strict:
                raise InputError(error.reason)
            report(f"skipped: {error.reason}")
        if whole:
            reasons = [error.reason for error in errors]
            refuse_lost_classes(dataset, split, decoded, reasons)
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
    dataset: Dataset, split: Split, left: Split, reasons: Sequence[str]
) -> None:
    """Raise InputError if a class lost its last image.

    Args:
        left: those of the split that could be read.
        reasons: why the others could not.
    """
    if len(split) > len(left) and (lost := split.there() - left.there()):
        raise InputError(
            f"class {dataset.classes[min(lost)]!r} of {dataset.name} has no readable image left; "
            f"for one: {reasons[0]}"
        )


def picture_batches(
    split: Split, preprocessing: Preprocessing, batch_size: int = 256
) -> Iterator[np.ndarray]:
    """(n, height, width, channels) uint8 blocks of a split, in order."""
    for start in range(0, len(split), batch_size):
        yield _block(split, start, start + batch_size, preprocessing)


def _block(split: Split, start: int, stop: int, preprocessing: Preprocessing) -> np.ndarray:
    """(n, height, width, channels) uint8, the images from `start` to `stop` or the end."""
    if split.pictures is not None:
        return split.pictures[start:stop]
    part = split.take(range(start, min(stop, len(split))))
    return np.stack(list(decoded(part, preprocessing)))
