"""TFRecord files read without TensorFlow: record by record, or an image's bytes at their place.

A record is a length of eight bytes, its checksum, the data and their checksum (checksums, of four
bytes each, are not looked at): https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

from __future__ import annotations

import abc
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from kerascnn.errors import InputError

FRONT = 12  # bytes before the data of a record
FRAME = 16  # bytes of a record beside its data


class Placed(abc.ABC):
    """`Split.read` of encoded images that lie in files of many.

    Attributes:
        lengths: (n,) int64 bytes of the image at each place.
    """

    lengths: np.ndarray

    @abc.abstractmethod
    def __call__(self, place: int) -> bytes:
        """The image at a place; raises InputError where it is gone. Any thread may call it."""


@dataclasses.dataclass(frozen=True)
class Reader(Placed):
    """`Split.read` of images in files that hold many; any thread may call it.

    Attributes:
        files: of one split.
        shards, offsets, lengths: (n,) where each image lies in them.
    """

    files: tuple[pathlib.Path, ...]
    shards: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray

    def __call__(self, place: int) -> bytes:
        # Opened anew each time: a large set has more files than a process may hold open.
        path, length = self.files[self.shards[place]], int(self.lengths[place])
        file = os.open(path, os.O_RDONLY)
        try:
            data = os.pread(file, length, int(self.offsets[place]))
        finally:
            os.close(file)
        if len(data) != length:
            raise InputError(f"{path} has become shorter; restore it")
        return data


def records(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """Each record's data, and where in the file they begin.

    Raises:
        InputError: the file ends within a record, or holds none.
    """
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left:
            length = int.from_bytes(file.read(FRONT)[:8], "little")
            left -= length + FRAME
            if left < 0:
                raise InputError(f"{path} is cut short, or not a TFRecord file; restore it")
            at = file.tell()
            yield at, file.read(length)
            file.seek(FRAME - FRONT, os.SEEK_CUR)
