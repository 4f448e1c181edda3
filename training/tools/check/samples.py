"""Images as a network sees them, in evaluation and in training, with the truth drawn on them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment import boxes as box_augmentation
from training.augment import masks as map_augmentation
from training.augment.box_policies import BOX_POLICIES, draw
from training.augment.boxes import rectangles
from training.datasets.decode import decode_split
from training.datasets.detection import DetectionDataset
from training.datasets.pictures import read_pixels
from training.datasets.segmentation import SegmentationDataset
from training.datasets.splits import Dataset
from training.detection.drawing import draw_boxes
from training.engine.config import TrainConfig
from training.segmentation.drawing import draw_map

SAMPLES = 12
_THUMB = 240  # pixels of a longer side


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """An image of the training split.

    Attributes:
        name: of the image.
        label: its class, or what it holds.
        seen: (height, width, 3) uint8, as an evaluation sees it.
        augmented: (height, width, 3) uint8, as one epoch of training does.
    """

    name: str
    label: str
    seen: np.ndarray
    augmented: np.ndarray


def take(
    dataset: Dataset | DetectionDataset | SegmentationDataset,
    preprocessing: Preprocessing,
    config: TrainConfig,
    readable: Sequence[int] | np.ndarray,
) -> list[Sample]:
    """Some images of the training split.

    Args:
        readable: places of those that can be read.
    """
    if isinstance(dataset, Dataset):
        return _of_classes(dataset, preprocessing, config, readable)
    rng = np.random.default_rng(config.seed)
    chosen = np.sort(rng.permutation(np.asarray(readable))[:SAMPLES])
    if isinstance(dataset, DetectionDataset):
        return _of_objects(dataset, preprocessing, config, chosen)
    return _of_maps(dataset, preprocessing, config, chosen)


def thumbnail(split: Any, index: int, classes: Sequence[str]) -> np.ndarray | None:
    """(h, w, 3) uint8 of any image, small, with its boxes; None if it cannot be read."""
    try:
        if hasattr(split, "picture"):
            pixels = split.picture(index)
        elif split.pictures is not None:
            pixels = np.broadcast_to(split.pictures[index], (*split.pictures.shape[1:3], 3))
        else:
            pixels = read_pixels(split.encoded(index), split.names[index])
    except InputError:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_THUMB, _THUMB), reducing_gap=2.0)
    small = np.asarray(image, np.uint8)
    if hasattr(split, "objects"):
        objects = split.objects(index)
        return draw_boxes(small, objects.boxes, objects.labels, classes=classes)
    return small


def _of_classes(
    dataset: Dataset,
    preprocessing: Preprocessing,
    config: TrainConfig,
    readable: Sequence[int] | np.ndarray,
) -> list[Sample]:
    """One of each class in turn; grey images are shown in three equal channels."""
    chosen = _of_each_class(dataset.train.labels, readable, config.seed)
    part = dataset.train.take(chosen)
    seen = decode_split(part, preprocessing)[0].pictures
    assert seen is not None
    augmented = _augmented(dataset, chosen, preprocessing, config)
    return [
        Sample(
            name=part.names[i],
            label=dataset.classes[part.labels[i]],
            seen=_three(seen[i]),
            augmented=_three(augmented[i]),
        )
        for i in range(len(part))
    ]


def _of_each_class(
    labels: np.ndarray, readable: Sequence[int] | np.ndarray, seed: int
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.asarray(readable, np.int64))
    taken: dict[int, int] = {}
    turns = []
    for place in order:
        label = int(labels[place])
        turns.append(taken.get(label, 0))
        taken[label] = turns[-1] + 1
    first = order[np.argsort(turns, kind="stable")][:SAMPLES]
    return first[np.argsort(labels[first], kind="stable")]


def _augmented(
    dataset: Dataset, chosen: np.ndarray, preprocessing: Preprocessing, config: TrainConfig
) -> np.ndarray:
    """(n, height, width, channels) uint8; the one place of a check that needs a framework."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from training.common.quiet import native_quiet

    with native_quiet():
        from keras import ops

        from training.augment.images import augment
        from training.augment.policies import POLICIES
        from training.classification.batches import TrainingData, train_batches
        from training.classification.task import source_for

    plain = dataclasses.replace(config, batch_size=len(chosen), min_steps=0, mixup=0.0, cutmix=0.0)
    source = source_for(preprocessing, plain)
    split = decode_split(dataset.train.take(chosen), source)[0]
    training_data = TrainingData(
        split=split,
        source=source,
        preprocessing=preprocessing,
        classes=len(dataset.classes),
        config=plain,
    )
    order = training_data.epoch(0)["index"][0]
    batch = next(train_batches(training_data, first_epoch=0, last_epoch=1))[0]
    pictures = np.asarray(batch["pictures"], np.float32)
    size = preprocessing.height, preprocessing.width
    changed = ops.convert_to_numpy(
        augment(POLICIES[config.augmentation], pictures, batch["drawn"], size)
    )
    found = np.empty(changed.shape, np.uint8)
    found[order] = np.clip(np.round(changed), 0, 255)
    return found


def _of_objects(
    dataset: DetectionDataset, preprocessing: Preprocessing, config: TrainConfig, chosen: np.ndarray
) -> list[Sample]:
    split, policy = dataset.train, BOX_POLICIES[config.augmentation]
    samples = []
    for row, index in enumerate(map(int, chosen)):
        picture, objects = split.picture(index), split.objects(index)
        boxes = box_augmentation.boxes_to_network(objects.boxes, picture.shape[:2], preprocessing)
        seen = draw_boxes(
            box_augmentation.to_network(picture, preprocessing),
            boxes,
            objects.labels,
            classes=dataset.classes,
        )
        changed = box_augmentation.augment(
            policy,
            draw(policy, chosen, row, seed=config.seed, epoch=0),
            lambda i: (split.picture(i), split.objects(i)),
            preprocessing,
        )
        held = [dataset.classes[label] for label in np.unique(objects.labels)]
        samples.append(
            Sample(
                name=split.names[index],
                label=", ".join(held) or "no object",
                seen=seen,
                augmented=draw_boxes(
                    changed.pixels,
                    changed.boxes[~changed.crowd],
                    changed.labels[~changed.crowd],
                    classes=dataset.classes,
                    truth=changed.boxes[changed.crowd],
                ),
            )
        )
    return samples


def _of_maps(
    dataset: SegmentationDataset,
    preprocessing: Preprocessing,
    config: TrainConfig,
    chosen: np.ndarray,
) -> list[Sample]:
    split, policy = dataset.train, BOX_POLICIES[config.augmentation]
    samples = []
    for row, index in enumerate(map(int, chosen)):
        try:
            picture, label_map = split.picture(index), split.label_map(index)
        except InputError:
            continue  # told as broken
        seen = draw_map(
            box_augmentation.to_network(picture, preprocessing),
            map_augmentation.map_to_network(label_map, preprocessing),
            dataset.classes,
            dataset.palette,
        )
        drawn = draw(policy, chosen, row, seed=config.seed, epoch=0)
        areas = rectangles(drawn, preprocessing)
        changed = map_augmentation.assembled_map(
            [
                map_augmentation.make_map_tile(
                    part,
                    area,
                    split.picture(part.picture),
                    split.label_map(part.picture),
                    preprocessing,
                )
                for part, area in zip(drawn.parts, areas, strict=True)
            ],
            preprocessing,
        )
        samples.append(
            Sample(
                name=split.names[index],
                label="",
                seen=seen,
                augmented=draw_map(
                    changed.pixels, changed.label_map, dataset.classes, dataset.palette
                ),
            )
        )
    return samples


def _three(pixels: np.ndarray) -> np.ndarray:
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()
