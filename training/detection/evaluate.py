"""Detections of anything that maps images to boxes: Keras, TFLite and ONNX share the metric."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kerascnn.detection.specs import DetectorSpec, Suppression, TwoStageSpec
from kerascnn.preprocessing import Preprocessing
from training.augment.boxes import boxes_from_network
from training.datasets.detection import DetectionSplit
from training.datasets.instance_masks import reframed
from training.detection.metrics import (
    DetectionEvaluation,
    Detections,
    evaluate_detections,
    evaluate_together,
)
from training.detection.tiles import merging
from training.detection.truth import Truth
from training.engine.evaluation import IMAGES_AT_ONCE, answers, compiled

if TYPE_CHECKING:  # files are evaluated without a framework
    import keras

# Of a detector of which nothing is said.
HARD = Suppression()
# (n, height, width, 3) uint8 at the network's geometry -> n Detections, in shares of that.
DetectFn = Callable[[np.ndarray], list[Detections]]


def each_found(
    detect: DetectFn,
    split: DetectionSplit,
    preprocessing: Preprocessing,
    *,
    rule: Suppression = HARD,
    title: str = "",
) -> Iterator[Detections]:
    """What is found in each image of a split, in shares of it, clipped to it.

    Args:
        rule: of the detector's suppression, which joins what is found in tiles, where
            `preprocessing` has some (`training.detection.tiles`).
        title: of a progress bar; none is shown without.

    Raises:
        InputError: an image that cannot be read.
    """
    merge = merging(rule)
    return answers(detect, split, preprocessing, on_picture, merge=merge, title=title)


def detections(
    detect: DetectFn, split: DetectionSplit, preprocessing: Preprocessing, *, title: str = ""
) -> list[Detections]:
    """`each_found` of all images, at once."""
    return list(each_found(detect, split, preprocessing, title=title))


def on_picture(
    found: Detections, size: Sequence[int] | np.ndarray, preprocessing: Preprocessing
) -> Detections:
    """Detections in shares of the network's input, as shares of the image, clipped to it.

    Masks are those of what is left of their boxes. A network with masks clips its boxes to its
    input before it looks at them, so that nothing is left to clip where the image is stretched.

    Args:
        size: (height, width) of the image.
    """
    whole = boxes_from_network(found.boxes, size, preprocessing)
    boxes, masks = np.clip(whole, 0.0, 1.0), found.masks
    if masks is not None and (over := (boxes != whole).any(axis=-1)).any():
        masks = masks.copy()
        for index in np.flatnonzero(over & np.isfinite(whole).all(axis=-1)):
            masks[index] = reframed(masks[index], whole[index], boxes[index])
    return dataclasses.replace(found, boxes=boxes, masks=masks)


def evaluate_detector(
    detect: DetectFn,
    split: DetectionSplit,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    kind: str = "bbox",
    rule: Suppression = HARD,
    title: str = "",
    truth: Truth | None = None,
) -> DetectionEvaluation:
    """COCO's figures of a detector on a split; see `each_found` and `evaluate_detections`.

    What was found in an image is forgotten when it is compared.

    Args:
        truth: of the split and `kind`, where it was made before.
    """
    found = each_found(detect, split, preprocessing, rule=rule, title=title)
    return evaluate_detections(found, truth or split, classes, kind=kind)


def evaluate_keeping(
    detect: DetectFn,
    split: DetectionSplit,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    kinds: Sequence[str],
    kept: Collection[int],
    rule: Suppression = HARD,
    title: str = "",
) -> tuple[list[DetectionEvaluation], dict[int, Detections]]:
    """`evaluate_detector` of several kinds in one pass, and what was found in a few images.

    All else is forgotten as it is compared: masks of 5,000 images would take 1.6 GB.

    Args:
        kinds: of "bbox" and "segm".
        kept: indices of images.

    Returns:
        An evaluation for each kind, and the detections in the images of `kept`.
    """
    found: dict[int, Detections] = {}

    def passing() -> Iterator[Detections]:
        each = each_found(detect, split, preprocessing, rule=rule, title=title)
        for index, one in enumerate(each):
            if index in kept:
                found[index] = one
            yield one

    truths = [Truth.of(split, classes, kind) for kind in kinds]
    return evaluate_together(passing(), truths), found


def keras_detect_fn(
    model: keras.Model, preprocessing: Preprocessing, spec: DetectorSpec | TwoStageSpec
) -> DetectFn:
    """`detect` of a Keras model, normalisation and suppression included."""
    from keras import ops

    from kerascnn.detection.postprocess import detections

    run = compiled(model, functools.partial(detections, spec))

    def found(pictures: np.ndarray) -> list[Detections]:
        parts: list[Detections] = []
        for start in range(0, len(pictures), IMAGES_AT_ONCE):
            block = preprocessing.normalise(pictures[start : start + IMAGES_AT_ONCE])
            result = {k: ops.convert_to_numpy(v) for k, v in run(block).items()}
            parts += [_of_image(result, i) for i in range(len(block))]
        return parts

    return found


def _of_image(result: dict[str, np.ndarray], index: int) -> Detections:
    count = int(result["count"][index])
    # Copies: a view of few detections would keep a whole batch.
    return Detections(**{k: v[index][:count].copy() for k, v in result.items() if k != "count"})
