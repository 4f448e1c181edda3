"""How many objects and crowds images have, told by a table without drawing any of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import tiny_detectors

from training.datasets.detection import DetectionSplit, Objects
from training.datasets.detection_table import Annotations, tabulate
from training.detection.train import _has_objects, _most_objects
from training.engine.config import TrainConfig

OBJECTS, CROWDS = [3, 0, 1, 2], [1, 0, 1, 0]


def table_split() -> DetectionSplit:
    """Four images with the objects above, the first of them crowds."""
    files = [Path(f"{number}.png") for number in range(4)]
    pictures = np.repeat(np.arange(4), OBJECTS)
    crowd = np.concatenate([np.arange(n) < c for n, c in zip(OBJECTS, CROWDS, strict=True)])
    count = len(pictures)
    annotations = Annotations(
        pictures=pictures, boxes=np.tile([1.0, 1.0, 5.0, 5.0], (count, 1)),
        labels=np.zeros(count, np.int64), crowd=crowd, areas=np.full(count, 16.0),
        ids=np.arange(count),
    )  # fmt: skip
    names = [file.name for file in files]
    table = tabulate("a table", files, names, np.full((4, 2), 9), np.ones(4, int), annotations)
    return table.split(np.arange(4))


def test_counts_need_no_annotation() -> None:
    def unasked(place: int) -> Objects:
        raise AssertionError(f"image {place} is annotated")

    split = dataclasses.replace(table_split(), annotate=unasked)
    assert split.counts().tolist() == [[3, 1], [0, 0], [1, 1], [2, 0]]
    assert split.take([2, 0]).counts().tolist() == [[1, 1], [3, 1]]
    assert _most_objects(split, TrainConfig(augmentation="flip")) == 3
    assert _most_objects(split, TrainConfig(augmentation="mosaic")) == 12
    assert _has_objects(split)
    assert not _has_objects(split.take([1, 2]))


def test_counts_of_what_only_annotations_tell() -> None:
    split = tiny_detectors.split(8)
    expected = [[len(split.objects(i)), int(split.objects(i).crowd.sum())] for i in range(8)]
    assert split.counts().tolist() == expected
    assert split.take([]).counts().shape == (0, 2)
