"""All images of a data set, each looked at once: by processes, in chunks, in bounded memory."""

from __future__ import annotations

import collections
import dataclasses
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.common import parallel
from training.common.cores import WORKERS
from training.common.progress import Progress
from training.datasets.splits import SplitLike
from training.tools.check.look import (
    LOOK,
    look_at_bytes,
    look_at_files,
    look_at_pixels,
)

_CHUNK = 64  # images that a worker takes at once,
_AHEAD = 4  # and chunks that wait for it
_FEW = 1000  # files that are looked at sooner than processes start

_Looked = tuple[np.ndarray, list[tuple[int, str]]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Census:
    """What is known of n images, those of the first split first.

    Attributes:
        names: of the splits.
        counts: images of each split.
        rows: (n,) of `look.LOOK`.
        splits: (n,) int64, each image's split.
        broken: places of images that cannot be read, and why.
        images: gives the name of the image at a place.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    rows: np.ndarray
    splits: np.ndarray
    broken: tuple[tuple[int, str], ...]
    images: Callable[[int], str]

    def place(self, index: int) -> tuple[int, int]:
        """The split of an image and its number in it."""
        split = int(self.splits[index])
        return split, int(index) - sum(self.counts[:split])


def take(splits: Mapping[str, Any], *, generated: bool = False) -> Census:
    """Look at every image.

    Args:
        splits: by name, of labelled images, of objects or of masks.
        generated: these images are made, not read.
    """
    counts = tuple(map(len, splits.values()))
    starts = np.cumsum([0, *counts])
    rows, broken = np.zeros(starts[-1], LOOK), list[tuple[int, str]]()
    with (
        warnings.catch_warnings(),
        Progress("looking at images", int(starts[-1]), unit="image") as progress,
    ):
        warnings.filterwarnings("ignore", module="PIL")
        for split, start in zip(splits.values(), starts, strict=False):
            at = int(start)
            for found, errors in _looked_at(split, generated):
                rows[at : at + len(found)] = found
                broken += [(at + place, reason) for place, reason in errors]
                at += len(found)
                progress.step(len(found))
                progress.note(f"{len(broken):,} cannot be read")

    def image(index: int) -> str:
        split = int(np.searchsorted(starts, index, side="right")) - 1
        return str(list(splits.values())[split].names[index - int(starts[split])])

    return Census(
        names=tuple(splits),
        counts=counts,
        rows=rows,
        splits=np.repeat(np.arange(len(counts)), counts),
        broken=tuple(broken),
        images=image,
    )


def _looked_at(split: SplitLike, generated: bool) -> Iterator[_Looked]:
    """Rows of some images of a split after another, in order."""
    if split.in_files and not generated:
        yield from _files(split.names)
        return

    def look(index: int) -> np.ndarray:
        found = split.stored(index)
        if isinstance(found, bytes):
            return look_at_bytes(found, split.names[index])
        return look_at_pixels(found)

    yield from _one_by_one(len(split), look)


def _one_by_one(count: int, look: Callable[[int], np.ndarray]) -> Iterator[_Looked]:
    """By threads, of what another process cannot be given."""

    def safely(index: int) -> tuple[np.ndarray, str]:
        try:
            return look(index), ""
        except InputError as error:
            return np.zeros((), LOOK), str(error)

    for row, reason in parallel.in_order(safely, count):
        yield row.reshape(1), [(0, reason)] if reason else []


def _files(names: Sequence[str]) -> Iterator[_Looked]:
    chunks = [names[i : i + _CHUNK] for i in range(0, len(names), _CHUNK)]
    if len(names) < _FEW or WORKERS == 1:
        yield from parallel.in_order(lambda i: look_at_files(chunks[i]), len(chunks))
        return
    # Half of the time goes into Python itself, where threads wait for each other.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(WORKERS, mp_context=context, initializer=_end_with_parent)
    ahead: collections.deque[Future[_Looked]] = collections.deque()
    try:
        for chunk in chunks:
            ahead.append(pool.submit(look_at_files, chunk))
            if len(ahead) > _AHEAD * WORKERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Ctrl-C is the parent's to answer; a worker goes when it is gone, however that ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="PIL")
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for, args=(parent.sentinel,), daemon=True).start()


def _wait_for(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
