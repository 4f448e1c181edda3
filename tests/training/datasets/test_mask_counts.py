"""Pixels of label maps are counted once for a data set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_segmenters

from kerascnn.errors import InputError
from training.datasets.mask_counts import MaskCounts
from training.datasets.segmentation import SegmentationDataset
from training.segmentation.losses import count_pixels

CLASSES = len(tiny_segmenters.CLASSES)


def dataset(
    reads: list[int], broken: tuple[int, ...] = (), fingerprint: str = "f"
) -> SegmentationDataset:
    split = tiny_segmenters.split(10)

    def annotate(place: int) -> np.ndarray:
        reads.append(place)
        if place in broken:
            raise InputError(f"mask {place} is broken; remove it")
        return split.annotate(place)

    told = dataclasses.replace(split, annotate=annotate)
    return SegmentationDataset(
        name="tiny", classes=tiny_segmenters.CLASSES, train=told.take(range(7)), validation=None,
        held_out=told.take(range(7, 10)), fingerprint=fingerprint,
    )  # fmt: skip


def test_counts_are_those_of_the_maps_and_are_kept() -> None:
    reads: list[int] = []
    given = dataset(reads, broken=(3, 8))
    found = MaskCounts.of(given)
    assert sorted(reads) == list(range(10))
    again = MaskCounts.of(given)
    assert len(reads) == 10
    for counts in (found, again):
        assert counts.reasons == {n: f"mask {n} is broken; remove it" for n in (3, 8)}
        for split, places in ((given.train, [0, 1, 5]), (given.held_out, [9]), (given.train, [])):
            part = tiny_segmenters.split(10).take(places)
            np.testing.assert_array_equal(
                counts.total(split, part.names, CLASSES), count_pixels(part, CLASSES)
            )
    # Other masks have another fingerprint.
    assert MaskCounts.of(dataset(reads, fingerprint="g")).reasons == {}
    assert len(reads) == 20


def test_an_image_in_two_splits_is_counted_in_each() -> None:
    given = dataset([])
    empty = dataclasses.replace(given.train, annotate=lambda _place: np.full((2, 3), 1, np.uint8))
    twice = dataclasses.replace(given, held_out=empty)
    counts = MaskCounts.of(twice)
    names = given.train.names
    np.testing.assert_array_equal(
        counts.total(twice.train, names, CLASSES), count_pixels(given.train, CLASSES)
    )
    assert counts.total(twice.held_out, names, CLASSES).tolist() == [0, 6 * 7, 0]


@pytest.mark.parametrize("column", ["maps", "classes", "reasons", "names"])
def test_damaged_counts_are_counted_anew(column: str) -> None:
    from training.datasets import kept

    reads: list[int] = []
    given = dataset(reads, broken=(3,))
    MaskCounts.of(given)
    key = "label maps 1 of f"
    arrays = kept.load(key)
    assert arrays is not None
    kept.save(key, {**arrays, column: arrays[column][:-1]})
    assert MaskCounts.of(given).reasons.keys() == {3}
    assert len(reads) == 20
