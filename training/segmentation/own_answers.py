"""The maps of an imported segmentation network, as the masks of images that have none."""

from __future__ import annotations

import pathlib
import zlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from training.datasets.segmentation import VOID, SegmentationDataset
from training.engine import own_answers


class Answers:
    """Maps on their way into a file, each deflated: thousands would not fit into memory.

    Args:
        root: of the data set.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._names: list[str] = []
        self._shapes: list[tuple[int, ...]] = []
        self._parts: list[bytes] = []

    def add(self, names: Iterable[str], maps: Iterable[np.ndarray]) -> None:
        """Keep the (h, w) uint8 map of each of some images."""
        for name, one in zip(names, maps, strict=True):
            self._names.append(own_answers.key_of(name, self._root))
            self._shapes.append(one.shape)
            self._parts.append(zlib.compress(np.ascontiguousarray(one, np.uint8).tobytes(), 6))

    def extend(self, others: Answers) -> None:
        """Keep those of other images, too."""
        self._names += others._names
        self._shapes += others._shapes
        self._parts += others._parts

    def write(self, folder: pathlib.Path) -> None:
        """Put them into the folder of a run."""
        data = np.frombuffer(b"".join(self._parts), np.uint8)
        arrays = {
            "names": np.array(self._names, str),
            "starts": np.cumsum([0, *map(len, self._parts)]),
            "sizes": np.array(self._shapes, np.int32).reshape(-1, 2),
            "maps": data,
        }
        own_answers.write(folder, arrays)


def with_answers(dataset: SegmentationDataset, folder: pathlib.Path) -> SegmentationDataset:
    """A data set with these as the masks of its held-out and validation images.

    Raises:
        InputError: the answers are gone or damaged.
    """
    stored, path = own_answers.read(folder), folder / own_answers.FILE
    try:
        names, starts, sizes = (stored[key] for key in ("names", "starts", "sizes"))
        packed = stored["maps"].tobytes()
        if len(starts) != len(names) + 1 or int(starts[-1]) != len(packed):
            raise ValueError("other numbers of images and maps")
        if sizes.shape != (len(names), 2):
            raise ValueError("other shapes")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise own_answers.gone(path, error) from None
    classes = len(dataset.classes)

    def label_map(number: int) -> np.ndarray:
        height, width = sizes[number].tolist()
        data = packed[int(starts[number]) : int(starts[number + 1])]
        try:
            # No more than is due: a small text can inflate to gigabytes.
            flat = zlib.decompressobj().decompress(data, height * width + 1)
            found = np.frombuffer(flat, np.uint8).reshape(height, width)
        except (ValueError, zlib.error) as error:
            raise own_answers.gone(path, error) from None
        if ((found >= classes) & (found != VOID)).any():
            raise own_answers.gone(path, "pixels of no class")
        return found

    def annotate_of(places: Mapping[int, int]) -> Callable[[int], np.ndarray]:
        return lambda place: label_map(places[place])

    known = {str(name): number for number, name in enumerate(names)}
    return own_answers.with_known(dataset, known, annotate_of)
