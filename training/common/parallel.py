"""Work in threads: Pillow lets go of the interpreter while it decodes and resizes."""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from training.common.cores import WORKERS

# What a thread takes at once, and how many of these wait for it: small images are decoded in less
# time than it takes to hand them over.
_CHUNK = 8
_CHUNKS_AHEAD = 3

# Items that `ahead` makes before they are asked for.
_ITEMS_AHEAD = 2

_Result = TypeVar("_Result")
_Item = TypeVar("_Item")


def in_order(
    work: Callable[[int], _Result], count: int, *, chunk: int = _CHUNK, ahead: int = _CHUNKS_AHEAD
) -> Generator[_Result, None, None]:
    """`work` of 0, 1, ... `count` - 1, done in threads not far ahead of who asks.

    Args:
        chunk: how many a thread does at once; large results are held in chunks, too.
        ahead: chunks per thread that are done, or under way, before they are asked for.
    """
    pool = ThreadPoolExecutor(WORKERS)
    waiting: collections.deque[Future[list[_Result]]] = collections.deque()
    try:
        for first in range(0, count, chunk):
            numbers = range(first, min(first + chunk, count))
            waiting.append(pool.submit(lambda some: [work(number) for number in some], numbers))
            if len(waiting) > ahead * WORKERS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def ahead(items: Iterator[_Item]) -> Generator[_Item, None, None]:
    """The same, made in a thread while earlier ones are used."""
    ready: queue.Queue[Any] = queue.Queue(_ITEMS_AHEAD)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
