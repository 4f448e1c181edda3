"""What `kerascnn check` finds of images with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment import boxes as box_augmentation
from training.augment import masks as map_augmentation
from training.augment.box_policies import BOX_POLICIES, draw
from training.augment.boxes import rectangles
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets import tiling
from training.datasets.segmentation import VOID, SegmentationDataset, SegmentationSplit
from training.engine.config import TrainConfig
from training.engine.inspection import Counts, Place, Sample, chosen
from training.segmentation.drawing import draw_map


def counts(dataset: SegmentationDataset, splits: Mapping[str, SegmentationSplit]) -> Counts:
    """Pixels of each class; all masks are decoded."""
    shape = len(splits), len(dataset.classes)
    of, images = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    empty, broken = np.zeros(len(splits), np.int64), list[tuple[Place, str]]()
    background = np.arange(shape[1]) == 0
    with Progress("reading masks", sum(map(len, splits.values())), unit="mask") as progress:
        for number, split in enumerate(splits.values()):

            def pixels(index: int, split: SegmentationSplit = split) -> np.ndarray | str:
                try:
                    label_map = split.label_map(index)
                except InputError as error:
                    return str(error)
                return np.bincount(label_map.ravel(), minlength=VOID + 1)

            for index, found in enumerate(in_order(pixels, len(split))):
                progress.step()
                progress.note(f"{len(broken):,} cannot be read")
                if isinstance(found, str):
                    broken.append(((number, index), found))
                    continue
                own = found[: shape[1]]
                of[number] += own
                images[number] += own > 0
                empty[number] += not own[~background].any()
    return Counts(
        unit="pixel",
        remedy="train with --set class_weights=balanced, or --set map_loss=dice",
        classes=dataset.classes,
        splits=tuple(splits),
        of=of,
        images=images,
        empty=empty,
        broken=tuple(broken),
    )


def samples(
    dataset: SegmentationDataset,
    preprocessing: Preprocessing,
    config: TrainConfig,
    readable: Sequence[int] | np.ndarray,
) -> list[Sample]:
    """Some images, or their fullest tiles, with their masks.

    Those whose mask is broken are left out.
    """
    places = chosen(readable, config.seed)
    split, policy = dataset.train, BOX_POLICIES[config.augmentation]
    found = []
    for row, index in enumerate(map(int, places)):
        try:
            picture, label_map = _read(split, index, preprocessing)
        except InputError:
            continue  # counted as broken
        seen = draw_map(
            box_augmentation.to_network(picture, preprocessing),
            map_augmentation.map_to_network(label_map, preprocessing),
            dataset.classes,
            dataset.palette,
        )
        params = draw(policy, places, row, seed=config.seed, epoch=0)
        areas = rectangles(params, preprocessing)
        changed = map_augmentation.assembled_map(
            [
                map_augmentation.make_map_tile(
                    part, area, *_read(split, part.picture, preprocessing), preprocessing
                )
                for part, area in zip(params.parts, areas, strict=True)
            ],
            preprocessing,
        )
        found.append(
            Sample(
                name=split.names[index],
                label="",
                seen=seen,
                augmented=draw_map(
                    changed.pixels, changed.label_map, dataset.classes, dataset.palette
                ),
            )
        )
    return found


def _read(
    split: SegmentationSplit, index: int, preprocessing: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """An image and its mask; of one with tiles, that with most pixels of other classes than 0."""
    picture, label_map = split.picture(index), split.label_map(index)
    windows = tiling.windows(picture.shape[:2], preprocessing)
    there = (label_map > 0) & (label_map != VOID)
    window = max(windows, key=lambda one: int(tiling.cut(there, one).sum()))
    return tiling.cut(picture, window), tiling.cut(label_map, window)
