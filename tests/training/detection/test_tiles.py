"""What is found in tiles becomes what is found in the image."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerascnn.detection.specs import Suppression
from kerascnn.preprocessing import Preprocessing
from training.datasets.detection import DetectionSplit, Objects
from training.detection.evaluate import each_found, evaluate_detector
from training.detection.metrics import Detections
from training.detection.tiles import merging

# Two tiles side by side, of which 20 columns are both's, and the image.
SIZE = (100, 180)
WINDOWS = np.array([[0, 0, 100, 100], [0, 80, 100, 180], [0, 0, 100, 180]])


def _found(*rows: tuple[tuple[float, ...], int, float], window: int = 0) -> Detections:
    """Of boxes in the image's pixels, as a tile has them."""
    top, left, bottom, right = WINDOWS[window]
    sides = (bottom - top, right - left) * 2
    boxes = [(np.array(box) - (top, left, top, left)) / sides for box, _label, _score in rows]
    return Detections.of(
        np.array(boxes).reshape(-1, 4), [row[1] for row in rows], [row[2] for row in rows]
    )


def _merged(*tiles: Detections, **rule: Any) -> list[tuple[list[float], int, float]]:
    found = merging(Suppression(**rule)).join(tiles, WINDOWS[: len(tiles)], SIZE)
    pixels = (found.boxes * np.tile(SIZE, 2)).round(3).tolist()
    return list(
        zip(
            pixels,
            found.labels.tolist(),
            [round(float(one), 3) for one in found.scores],
            strict=True,
        )
    )


def test_a_box_that_a_border_cuts_is_one_with_its_other_part() -> None:
    left = _found(((10, 70, 40, 100), 1, 0.6))  # ends at the first tile's right border
    right = _found(((11, 80, 40, 110), 1, 0.9), window=1)  # begins at the second one's left
    assert _merged(left, right) == [([10, 70, 40, 110], 1, 0.9)]


def test_a_part_of_what_another_tile_has_whole_goes() -> None:
    part = _found(((10, 95, 40, 100), 0, 0.95))
    whole = _found(((10, 92, 40, 130), 0, 0.7), window=1)
    assert _merged(part, whole) == [([10, 92, 40, 130], 0, 0.95)]


def test_other_classes_and_small_overlaps_stay() -> None:
    left = _found(((10, 70, 40, 100), 1, 0.6), ((50, 10, 60, 20), 0, 0.5))
    right = _found(((10, 80, 40, 110), 0, 0.9), ((38, 85, 90, 120), 1, 0.8), window=1)
    assert len(_merged(left, right)) == 4


def test_whole_boxes_are_suppressed_as_the_detector_does() -> None:
    left = _found(((10, 84, 30, 94), 0, 0.6))
    right = _found(((10, 85, 30, 95), 0, 0.8), ((14, 86, 18, 90), 0, 0.7), window=1)
    # The small one in front of the large one lies in it wholly; none of them is cut.
    assert _merged(left, right) == [([10, 85, 30, 95], 0, 0.8), ([14, 86, 18, 90], 0, 0.7)]
    assert len(_merged(left, right, iou_threshold=0.9)) == 3


def test_classes_suppress_one_another_where_the_detector_has_them_do_so() -> None:
    left = _found(((60, 84, 80, 94), 0, 0.6), ((10, 70, 40, 100), 1, 0.5))
    right = _found(((60, 85, 80, 95), 1, 0.8), ((10, 80, 40, 110), 0, 0.9), window=1)
    apart = _merged(left, right)
    assert [row[1:] for row in apart] == [(0, 0.9), (1, 0.8), (0, 0.6), (1, 0.5)]
    found = _merged(left, right, class_agnostic=True)
    # The second pair is one object that the border has cut; the first's surer box stays.
    assert found == [([10, 70, 40, 110], 0, 0.9), ([60, 85, 80, 95], 1, 0.8)]


def test_scores_of_other_tiles_boxes_fall_where_suppression_is_soft() -> None:
    left = _found(((10, 84, 30, 94), 0, 0.6))
    right = _found(((10, 85, 30, 95), 0, 0.8), ((14, 86, 18, 90), 0, 0.5), window=1)
    # The small one is of the first one's tile: its score has fallen there. The last one's falls by
    # both, of IoU 9/11 and 16/200: 0.6 * exp(-(9/11)^2 / 0.5) * exp(-0.08^2 / 0.5) = 0.1553.
    soft = {"soft_nms_sigma": 0.5}
    boxes = ([10, 85, 30, 95], 0, 0.8), ([14, 86, 18, 90], 0, 0.5), ([10, 84, 30, 94], 0, 0.155)
    assert _merged(left, right, **soft) == list(boxes)
    assert _merged(left, right, **soft, score_threshold=0.2) == list(boxes[:2])


def test_objects_larger_than_a_tile_are_found_in_the_image() -> None:
    left = _found(((10, 20, 90, 100), 0, 0.6))
    right = _found(((10, 80, 90, 160), 0, 0.5), window=1)
    whole = _found(((10, 20, 90, 160), 0, 0.9), window=2)
    assert _merged(left, right, whole) == [([10, 20, 90, 160], 0, 0.9)]


def test_masks_are_united_in_the_frame_around_both() -> None:
    ones = np.ones((1, 8, 8), np.float32)
    left, right = _found(((0, 60, 40, 100), 0, 0.9)), _found(((0, 80, 40, 100), 0, 0.6), window=1)
    found = merging(Suppression()).join(
        [Detections.of(one.boxes, one.labels, one.scores, ones) for one in (left, right)],
        WINDOWS[:2],
        SIZE,
    )
    assert found.masks is not None
    np.testing.assert_allclose(found.boxes * np.tile(SIZE, 2), [[0, 60, 40, 100]], atol=1e-4)
    np.testing.assert_allclose(found.masks, ones, atol=1e-6)


def _bright(pictures: np.ndarray) -> list[Detections]:
    """One box around what is bright in each image; a detector that sees what is 8 pixels high."""
    found = []
    for picture in pictures:
        rows, columns = np.nonzero(picture[..., 0] > 200)
        if not len(rows) or np.ptp(rows) + 1 < 8:
            found.append(Detections.of(np.zeros((0, 4)), [], []))
            continue
        sides = np.tile(picture.shape[:2], 2)
        box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1] / sides
        found.append(Detections.of([box], [0], [0.9]))
    return found


def test_small_objects_of_a_large_image_are_found_in_tiles() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    image[100:110, 120:132] = 255  # of a network of 64 pixels 2.5 pixels high
    objects = Objects(
        boxes=np.array([[100 / 256, 120 / 256, 110 / 256, 132 / 256]], np.float32),
        labels=np.zeros(1, np.int32),
        crowd=np.zeros(1, bool),
        areas=np.array([120], np.float32),
        ids=np.arange(1),
    )
    split = DetectionSplit(
        names=("a.png",),
        places=np.arange(1),
        sizes=np.array([[256, 256]], np.int32),
        read=lambda _place: image,
        annotate=lambda _place: objects,
    )
    whole = Preprocessing(height=64, width=64, channels=3, resize="letterbox")
    assert not len(next(each_found(_bright, split, whole)))
    tiled = Preprocessing(height=64, width=64, channels=3, resize="letterbox", tiles=64)
    (found,) = each_found(_bright, split, tiled)
    np.testing.assert_allclose(found.boxes, objects.boxes, atol=1e-6)
    assert evaluate_detector(_bright, split, tiled, ("a",)).ap > 99
