"""Work in threads: Pillow lets go of the interpreter while it decodes and resizes."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from training.common.cores import WORKERS

# What a thread takes at once, and how many of these wait for it: small pictures are decoded in less
# time than it takes to hand them over.
_CHUNK = 8
_CHUNKS_AHEAD = 3

_Result = TypeVar("_Result")


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
