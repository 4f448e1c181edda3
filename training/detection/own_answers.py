"""What an imported detector is sure of, as the objects of images of which nothing is known."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from training.datasets.detection import DetectionDataset, DetectionSplit, Objects
from training.datasets.instance_masks import paste
from training.detection.metrics import SHOWN_SCORE, Detections
from training.engine import own_answers


def sure(found: Detections) -> Detections:
    """Those from a score of 0.3 on: what a person would be shown."""
    return found.take(found.scores >= SHOWN_SCORE)


def write(
    folder: pathlib.Path, root: str, measured: Sequence[tuple[DetectionSplit, list[Detections]]]
) -> None:
    """Put what was found in the images of some splits into the folder of a run.

    Args:
        root: of the data set.
        measured: splits with what is sure of each of their images.
    """
    found = [one for _split, each in measured for one in each]
    names = [own_answers.key_of(n, root) for split, _found in measured for n in split.names]
    arrays = {
        "names": np.array(names, str),
        "starts": np.cumsum([0, *map(len, found)]),
        "sizes": np.concatenate([split.sizes for split, _found in measured]),
        "boxes": _joined([one.boxes for one in found], (0, 4), np.float32),
        "labels": _joined([one.labels for one in found], (0,), np.int32),
    }
    masks = [one.masks for one in found if one.masks is not None]
    if masks:
        arrays["masks"] = _joined(masks, (0, 1, 1), np.float16)
    own_answers.write(folder, arrays)


def with_answers(dataset: DetectionDataset, folder: pathlib.Path) -> DetectionDataset:
    """A data set with these as the objects of its held-out and validation images.

    Raises:
        InputError: the answers are gone or damaged.
    """
    stored = own_answers.read(folder)
    try:
        objects = _objects(stored, len(dataset.classes))
        known = {str(name): number for number, name in enumerate(stored["names"])}
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise own_answers.gone(folder / own_answers.FILE, error) from None

    def annotate_of(places: Mapping[int, int]) -> Callable[[int], Objects]:
        return lambda place: objects(places[place])

    return own_answers.with_known(dataset, known, annotate_of)


def _objects(stored: Mapping[str, np.ndarray], classes: int) -> Callable[[int], Objects]:
    """Gives the objects of an image by its number; raises ValueError for what cannot be."""
    starts, sizes, boxes, labels = (stored[key] for key in ("starts", "sizes", "boxes", "labels"))
    masks = stored.get("masks")
    count = len(labels)
    if len(starts) != len(stored["names"]) + 1 or int(starts[-1]) != count:
        raise ValueError("other numbers of images and objects")
    if boxes.shape != (count, 4) or sizes.shape != (len(starts) - 1, 2):
        raise ValueError("other shapes")
    if count and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError("labels of no class")

    def objects(number: int) -> Objects:
        rows = slice(int(starts[number]), int(starts[number + 1]))
        size = sizes[number]
        own = boxes[rows].astype(np.float32)
        lazy_masks = None if masks is None else _lazy_masks(masks[rows], own, size)
        areas = (own[:, 2:] - own[:, :2]).prod(axis=-1) * size.prod()
        if lazy_masks is not None:
            areas = np.array([np.count_nonzero(draw()) for draw in lazy_masks], np.float32)
        return Objects(
            boxes=own,
            labels=labels[rows].astype(np.int32),
            crowd=np.zeros(len(own), bool),
            areas=areas.astype(np.float32),
            ids=np.arange(rows.start + 1, rows.stop + 1),
            masks=lazy_masks,
        )

    return objects


def _lazy_masks(
    masks: np.ndarray, boxes: np.ndarray, size: np.ndarray
) -> tuple[Callable[[], np.ndarray], ...]:
    return tuple(
        functools.partial(paste, mask.astype(np.float32), box, size)
        for mask, box in zip(masks, boxes, strict=True)
    )


def _joined(parts: Sequence[np.ndarray], empty: tuple[int, ...], kind: type) -> np.ndarray:
    return np.concatenate(parts).astype(kind) if parts else np.empty(empty, kind)
