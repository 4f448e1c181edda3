"""How many pixels each class has in each mask of a data set, and which maps are broken.

Every map is read once for that, and again only when the data changes: a
    `SegmentationDataset.fingerprint`
has all of its masks in it (`training.datasets.kept`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from kerascnn.errors import InputError
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets import kept
from training.datasets.segmentation import VOID, SegmentationDataset, SegmentationSplit

_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MaskCounts:
    """Of n masks, m of all their classes together that have a pixel.

    Attributes:
        names: n of the images.
        maps, classes, pixels: (m,) number of a map, a class in it, how many pixels it has.
        reasons: why a map is broken, by its number.
        firsts: the number of each split's first map, by the split's identity.
    """

    names: tuple[str, ...]
    maps: np.ndarray
    classes: np.ndarray
    pixels: np.ndarray
    reasons: dict[int, str]
    firsts: dict[int, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, dataset: SegmentationDataset) -> MaskCounts:
        """Count, or take what is kept of an earlier count."""
        splits = [s for s in (dataset.train, dataset.validation, dataset.held_out) if s is not None]
        names = tuple(name for split in splits for name in split.names)
        key = f"label maps {_VERSION} of {dataset.fingerprint}"
        ends = itertools.accumulate((len(split) for split in splits), initial=0)
        firsts = {id(split): first for split, first in zip(splits, ends, strict=False)}
        if (found := _kept(key, names)) is not None:
            return dataclasses.replace(found, firsts=firsts)
        counted = dataclasses.replace(_count(splits, names), firsts=firsts)
        where = sorted(counted.reasons)
        arrays = {
            "names": kept.blob(names),
            "broken": np.array(where, np.int64),
            "reasons": kept.blob(counted.reasons[number] for number in where),
            **{name: getattr(counted, name) for name in ("maps", "classes", "pixels")},
        }
        kept.save(key, arrays)
        return counted

    def total(self, split: SegmentationSplit, names: Sequence[str], classes: int) -> np.ndarray:
        """(classes,) int64 pixels in the maps of some images of a split.

        Args:
            split: of the data set that was counted.
            names: of its images.
        """
        first = self.firsts[id(split)]
        wanted, asked = np.zeros(len(self.names), bool), set(names)
        wanted[first : first + len(split)] = [name in asked for name in split.names]
        chosen = wanted[self.maps]
        sums = np.bincount(self.classes[chosen], self.pixels[chosen], minlength=classes)
        return sums.astype(np.int64)


def _kept(key: str, names: tuple[str, ...]) -> MaskCounts | None:
    found = kept.load(key)
    try:
        if found is None or kept.texts(found["names"]) != names:
            return None
        columns = {name: found[name] for name in ("maps", "classes", "pixels")}
        lengths = {values.shape for values in columns.values()}
        if len(lengths) > 1 or columns["maps"].max(initial=0) >= max(1, len(names)):
            return None
        reasons = dict(zip(found["broken"].tolist(), kept.texts(found["reasons"]), strict=True))
        return MaskCounts(
            names=names,
            maps=columns["maps"],
            classes=columns["classes"],
            pixels=columns["pixels"],
            reasons=reasons,
        )
    except (KeyError, ValueError, TypeError):
        return None


def _count(splits: Sequence[SegmentationSplit], names: tuple[str, ...]) -> MaskCounts:
    places = [(split, index) for split in splits for index in range(len(split))]

    def count(number: int) -> np.ndarray | str:
        split, index = places[number]
        try:
            return np.bincount(split.label_map(index).ravel(), minlength=VOID + 1)[:VOID]
        except InputError as error:
            return str(error)

    maps, classes, pixels, reasons = [], [], [], {}
    with Progress("counting pixels", len(places), unit="mask") as progress:
        for number, found in enumerate(in_order(count, len(places))):
            progress.step()
            if isinstance(found, str):
                reasons[number] = found
                continue
            there = np.flatnonzero(found)
            maps.append(np.full(len(there), number, np.int32))
            classes.append(there.astype(np.uint8))
            pixels.append(found[there].astype(np.int64))
    return MaskCounts(
        names=names,
        maps=np.concatenate([np.empty(0, np.int32), *maps]),
        classes=np.concatenate([np.empty(0, np.uint8), *classes]),
        pixels=np.concatenate([np.empty(0, np.int64), *pixels]),
        reasons=reasons,
    )
