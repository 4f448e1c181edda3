"""Masks are pasted by torchvision's arithmetic, and written as COCO's run lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pycocotools import mask as rle

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.datasets.instance_masks import (
    checked,
    encode,
    paste,
    paste_all,
    run_lengths,
    windows,
)
from training.detection.evaluate import on_picture
from training.detection.metrics import Detections

CROSS = {(2, 3), (3, 2), (3, 3), (3, 4), (4, 3)}


def pixels(covered: np.ndarray) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in np.argwhere(covered)}


def paste_by_loops(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel by pixel: probabilities, from the definition of bilinear resizing."""
    cells = len(mask)
    padded = np.pad(mask, 1)
    edges = []
    for begin, end, side in zip(box[:2], box[2:], size, strict=True):
        first, last = float(begin) * side, float(end) * side
        middle, half = (first + last) / 2, (last - first) / 2 * (cells + 2) / cells
        edges.append((math.trunc(middle - half), math.trunc(middle + half)))
    values = np.zeros(size)
    for row, column in np.ndindex(*size):
        near = []
        for pixel, (first, last) in zip((row, column), edges, strict=True):
            length = last - first + 1
            place = max((pixel - first + 0.5) * (cells + 2) / length - 0.5, 0)
            low = min(int(place), cells + 1)
            near.append((low, min(low + 1, cells + 1), place - low, first <= pixel <= last))
        (top, bottom, down, inside), (left, right, across, within) = near
        if inside and within:
            upper = (1 - across) * padded[top, left] + across * padded[top, right]
            lower = (1 - across) * padded[bottom, left] + across * padded[bottom, right]
            values[row, column] = (1 - down) * upper + down * lower
    return values


def test_pasting_worked_by_hand() -> None:
    # Rows and columns 2 to 4 of 8, grown from their middle 3 by 4 cells for 2: from 1 to 5, five
    # pixels for four cells. Their centres are at cells 0, 0.7, 1.5, 2.3 and 3 of border, one, one,
    # border: full masks weigh 0, 0.7, 1, 0.7, 0, and corners 0.49.
    box = np.array([0.25, 0.25, 0.5, 0.5], np.float32)
    assert pixels(paste(np.ones((2, 2), np.float32), box, (8, 8))) == CROSS
    # The left half weighs 0.7 and 0.5 in columns 2 and 3, and half is not enough.
    left = np.array([[1, 0], [1, 0]], np.float32)
    assert pixels(paste(left, box, (8, 8))) == {(3, 2)}
    assert pixels(paste(left.T, box, (8, 8))) == {(2, 3)}


@pytest.mark.parametrize("cells", [1, 3, 14])
def test_pasting_is_bilinear_resizing(cells: int) -> None:
    draw = np.random.default_rng(cells)
    size, seen = (23, 31), 0
    for _ in range(12):
        mask = draw.random((cells, cells)).astype(np.float32)
        middle, side = draw.uniform(-0.1, 1.1, 2), draw.uniform(0, 1.2, 2)
        box = np.concatenate([middle - side / 2, middle + side / 2]).astype(np.float32)
        values = paste_by_loops(mask, box, size)
        close = np.abs(values - 0.5) < 1e-5
        covered = paste(mask, box, size)
        assert (covered == (values > 0.5))[~close].all()
        seen += int(covered.sum())
    assert seen > 100


def test_boxes_over_the_edge_are_cut() -> None:
    full = np.ones((28, 28), np.float32)
    for box, expected in (
        ([-0.5, -0.5, 1.5, 1.5], 100),
        ([0.0, 0.5, 1.0, 1.5], 60),  # from column 4.64 on, cut to 4
        ([1.5, 0.0, 2.0, 1.0], 0),
        ([-2.0, -2.0, -1.0, -1.0], 0),
        ([-1e30, -1e30, 1e30, 1e30], 100),
        ([np.nan, 0, 1, 1], 0),
        ([0, 0, np.inf, 1], 0),
    ):
        covered = paste(full, np.array(box, np.float32), (10, 10))
        assert (covered.shape, covered.dtype) == ((10, 10), bool)
        assert covered.sum() == expected


def test_box_of_less_than_a_pixel_covers_one() -> None:
    full = np.ones((28, 28), np.float32)
    for side in (0.0, 1e-6, 0.02):
        box = np.array([0.55, 0.35, 0.55 + side, 0.35 + side], np.float32)
        assert pixels(paste(full, box, (10, 10))) == {(5, 3)}


def test_run_lengths_are_those_of_the_pixels() -> None:
    draw = np.random.default_rng(0)
    masks = draw.random((6, 7, 7)).astype(np.float32)
    masks[2] = 0
    corners = draw.uniform(-0.1, 0.7, (6, 2))
    boxes = np.concatenate([corners, corners + 0.3], axis=1).astype(np.float32)
    size = (40, 17)
    whole = paste_all(masks, boxes, size)
    encoded = list(run_lengths(masks, boxes, np.array(size, np.int32)))
    assert len(encoded) == 6
    for one, expected in zip(encoded, whole, strict=True):
        assert one["size"] == [40, 17]
        assert np.array_equal(rle.decode(one), expected)
        assert one == encode(expected)
    assert rle.area(encoded[2]) == 0 < rle.area(encoded[0])


def test_overlap_of_windows_is_that_of_the_pixels() -> None:
    draw = np.random.default_rng(2)
    masks = (0.3 + draw.random((9, 5, 5))).astype(np.float32)
    masks[0] = masks[1] = 0
    corners = draw.uniform(-0.3, 0.7, (9, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(0.4, 0.9, (9, 2))], axis=1)
    size = (31, 22)
    pasted = list(windows(masks, boxes.astype(np.float32), size))
    met = 0
    for one in pasted:
        for other in pasted:
            either = (one.whole() | other.whole()).sum()
            expected = (one.whole() & other.whole()).sum() / either if either else 1.0
            assert one.iou(other) == expected
            met += 0 < expected < 1
    assert met > 10
    assert pasted[0].iou(pasted[1]) == 1.0


def test_masks_that_do_not_fit_are_refused() -> None:
    assert len(checked(None, 0, "here")) == 0
    with pytest.raises(InputError, match="here have no masks; evaluate boxes alone"):
        checked(None, 2, "here")
    for shape in ((1, 4, 4), (2, 4, 5), (2, 4)):
        with pytest.raises(InputError, match=r"here: masks are \(2, side, side\), not"):
            checked(np.zeros(shape, np.float32), 2, "here")


def test_masks_stay_with_boxes_that_are_mapped_to_their_picture() -> None:
    preprocessing = Preprocessing(height=64, width=64, channels=3, resize="stretch")
    masks = np.random.default_rng(0).random((2, 28, 28)).astype(np.float32)
    boxes = np.array([[0, 0, 0.5, 0.5], [0.2, 0.3, 0.9, 1.0]], np.float32)
    found = Detections(
        boxes=boxes, labels=np.array([0, 1]), scores=np.array([0.9, 0.8], np.float32), masks=masks
    )
    mapped = on_picture(found, (100, 50), preprocessing)
    assert mapped.masks is masks
    np.testing.assert_allclose(mapped.boxes, boxes, atol=1e-6)
