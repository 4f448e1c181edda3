"""Areas, overlaps and codes: hand-worked, and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from kerascnn.detection import boxes

SSD = (10.0, 10.0, 5.0, 5.0)


def _plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two boxes on a grid of 1 / 16, by counting the grid's squares."""
    squares = [
        {(y, x) for y in range(int(box[0]), int(box[2])) for x in range(int(box[1]), int(box[3]))}
        for box in (a * 16, b * 16)
    ]
    return len(squares[0] & squares[1]) / max(1, len(squares[0] | squares[1]))


def _on_the_grid(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Boxes on a grid of 1 / 16, some without area and some inside out."""
    return rng.integers(0, 17, (*shape, 4)).astype(np.float32) / 16


def test_hand_worked_overlaps() -> None:
    first = np.array([[0, 0, 0.5, 0.5]], np.float32)
    others = np.array(
        [[0.25, 0.25, 0.75, 0.75], [0, 0, 0.5, 0.5], [0, 0, 1, 0.25], [0.5, 0, 1, 1]], np.float32
    )
    np.testing.assert_array_equal(boxes.area(others), [0.25, 0.25, 0.25, 0.5])
    np.testing.assert_array_equal(boxes.intersection(first, others), [[1 / 16, 0.25, 0.125, 0]])
    np.testing.assert_allclose(boxes.iou(first, others), [[1 / 7, 1, 1 / 3, 0]], rtol=1e-6)
    np.testing.assert_array_equal(boxes.coverage(others, first)[:, 0], [0.25, 1, 0.5, 0])


@pytest.mark.parametrize(
    "box", [[0.5, 0.5, 0.5, 0.5], [0.2, 0.3, 0.2, 0.9], [0.6, 0.6, 0.4, 0.4], [0, 0.6, 1, 0.4]]
)
def test_a_box_without_area_overlaps_with_nothing(box: list[float]) -> None:
    both = np.array([box, [0, 0, 1, 1]], np.float32)
    np.testing.assert_array_equal(boxes.area(both), [0, 1])
    np.testing.assert_array_equal(boxes.iou(both, both), [[0, 0], [0, 1]])
    np.testing.assert_array_equal(boxes.coverage(both, both), [[0, 0], [0, 1]])


def test_overlaps_equal_counted_squares() -> None:
    rng = np.random.default_rng(0)
    mine, others = _on_the_grid(rng, 2, 30), _on_the_grid(rng, 2, 20)
    wanted = [[[_plain_iou(a, b) for b in o] for a in m] for m, o in zip(mine, others, strict=True)]
    np.testing.assert_allclose(boxes.iou(mine, others), wanted, rtol=1e-6)
    np.testing.assert_array_equal(boxes.iou(mine, others[0])[0], boxes.iou(mine, others)[0])


def test_hand_worked_codes() -> None:
    anchors = np.array([[0.25, 0.25, 0.75, 0.75], [0, 0, 0.5, 1]], np.float32)
    mine = np.array([[0.25, 0.5, 0.75, 1.0], [0.25, 0.25, 0.5, 0.75]], np.float32)
    half = 5 * np.log(0.5)
    wanted = [[0, 5, 0, 0], [2.5, 0, half, half]]
    np.testing.assert_allclose(boxes.encode(mine, anchors, SSD), wanted, atol=1e-6)
    np.testing.assert_allclose(boxes.decode(wanted, anchors, SSD), mine, atol=1e-6)
    plain = boxes.encode(mine, anchors, (1, 1, 1, 1))
    np.testing.assert_allclose(plain, np.array(wanted) / SSD, atol=1e-6)


def test_codes_equal_plain_loops_and_decode_to_the_boxes() -> None:
    rng = np.random.default_rng(1)
    corner, size = rng.random((2, 3, 40, 2)), rng.uniform(1e-4, 1, (2, 3, 40, 2))
    mine, anchors = np.concatenate([corner, corner + size], axis=-1).astype(np.float32)
    codes = ops.convert_to_numpy(boxes.encode(mine, anchors, SSD))
    for i in np.ndindex(3, 40):
        (t, le, b, r), (at, al, ab, ar) = mine[i].astype(float), anchors[i].astype(float)
        dy = (t + b - at - ab) / 2 / (ab - at) * 10
        dx = (le + r - al - ar) / 2 / (ar - al) * 10
        dh, dw = np.log([(b - t) / (ab - at), (r - le) / (ar - al)]) * 5
        np.testing.assert_allclose(codes[i], [dy, dx, dh, dw], rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(boxes.decode(codes, anchors, SSD), mine, atol=2e-6)


def test_boxes_without_area_have_finite_codes() -> None:
    anchors = np.array([[0, 0, 0.5, 0.5]] * 2, np.float32)
    mine = np.array([[0.25, 0.25, 0.25, 0.25], [0.3, 0.3, 0.2, 0.2]], np.float32)
    codes = ops.convert_to_numpy(boxes.encode(mine, anchors, SSD))
    assert np.isfinite(codes).all()
    np.testing.assert_allclose(codes[:, 2:], 5 * np.log(2e-6), rtol=1e-5)
    np.testing.assert_allclose(boxes.decode(codes, anchors, SSD), [[0.25] * 4] * 2, atol=1e-5)


def test_half_precision_is_computed_in_float32() -> None:
    codes = np.full((1, 4), 0.1, np.float16)
    decoded = ops.convert_to_numpy(boxes.decode(codes, np.array([[0, 0, 1, 1]]), SSD))
    assert decoded.dtype == np.float32


def test_clip_keeps_what_is_inside() -> None:
    outside = np.array([[-0.5, 0.25, 0.5, 1.5], [1.25, 0, 1.5, 1]], np.float32)
    clipped = boxes.clip(outside)
    np.testing.assert_array_equal(clipped, [[0, 0.25, 0.5, 1], [1, 0, 1, 1]])
    np.testing.assert_array_equal(boxes.area(clipped), [0.375, 0])
