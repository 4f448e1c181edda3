"""What images hold, byte for byte, as far as it can be compared."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

FILES, PIXELS = "files", "pixels"
# Bytes at the beginning, in the middle and at the end that are compared first.
BLOCK = 4096
# The size of a file that is gone.
GONE = -1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What n images hold, as far as it can be compared.

    Attributes:
        kind: `FILES` or `PIXELS`; those of two kinds are not compared.
        sizes: (n,) int64 bytes; -1: gone.
        read: gives the bytes of the image at an index.
        paths: n files that hold one image each, or none.
    """

    kind: str
    sizes: np.ndarray
    read: Callable[[int], bytes]
    paths: tuple[str, ...] = ()

    @classmethod
    def of_files(cls, names: Sequence[str], sizes: np.ndarray | None = None) -> Contents:
        """Of files that hold one image each.

        Args:
            sizes: (n,) bytes, where they are known.
        """
        paths = tuple(names)
        if sizes is None:
            sizes = np.array([_size(name) for name in paths], np.int64)

        def read(index: int) -> bytes:
            return pathlib.Path(paths[index]).read_bytes()

        return cls(kind=FILES, sizes=sizes, read=read, paths=paths)

    def __len__(self) -> int:
        return len(self.sizes)

    def blocks(self, index: int) -> bytes:
        """The beginning, the middle and the end of an image; all of a small one.

        Raises:
            OSError, InputError: it is gone.
        """
        size = int(self.sizes[index])
        places = (0, (size - BLOCK) // 2, size - BLOCK)
        if size <= 3 * BLOCK or not self.paths:
            whole = self.read(index)
            if size <= 3 * BLOCK:
                return whole
            return b"".join(whole[place : place + BLOCK] for place in places)
        file = os.open(self.paths[index], os.O_RDONLY)
        try:
            return b"".join(os.pread(file, BLOCK, place) for place in places)
        finally:
            os.close(file)


def _size(name: str) -> int:
    try:
        return os.stat(name).st_size  # noqa: PTH116 - of a million files
    except (OSError, ValueError):
        return GONE
