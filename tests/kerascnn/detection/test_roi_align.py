"""RoIAlign: hand-worked, against the same by plain loops, and torchvision's own results.

tests/kerascnn/data/make_rcnn_op_goldens.py made the latter.
"""

from __future__ import annotations

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from checkpoints import golden_operations
from keras import ops

from kerascnn.detection.roi_align import RoIAlign, assigned_level, roi_align
from kerascnn.errors import InputError


def shares(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (left, top, right, bottom) in pixels as ours."""
    return (boxes[..., [1, 0, 3, 2]] / np.array([*size, *size])).astype(np.float32)


def aligned_one(picture: np.ndarray, boxes, **options) -> np.ndarray:
    """Of a map (h, w) that is its own picture, and boxes (r, 4) in its pixels: (r, *size)."""
    height, width = picture.shape
    shares = np.array(boxes, np.float32) / [height, width, height, width]
    found = roi_align(
        [picture[None, :, :, None].astype(np.float32)],
        shares[None].astype(np.float32),
        picture_size=(height, width),
        **options,
    )
    return ops.convert_to_numpy(found)[0, ..., 0]


# 10 times the row and the column: what lies between pixels is the same plane.
PLANE = np.arange(8)[:, None] * 10.0 + np.arange(8)


def test_a_plane_is_itself_at_the_middle_of_every_bin() -> None:
    box = [[1, 1, 5, 5]]
    np.testing.assert_allclose(
        aligned_one(PLANE, box, size=(2, 2))[0], [[22, 24], [42, 44]], rtol=1e-6
    )
    # Half a pixel up and to the left, 5.5 less.
    np.testing.assert_allclose(
        aligned_one(PLANE, box, size=(2, 2), aligned=True)[0], [[16.5, 18.5], [36.5, 38.5]]
    )
    np.testing.assert_allclose(
        aligned_one(PLANE, [[2, 0, 6, 6]], size=(1, 3), sampling_ratio=1)[0], [[41, 43, 45]]
    )


def test_a_bin_is_the_mean_of_its_points() -> None:
    corner = np.zeros((4, 4))
    corner[1, 1] = 16
    # Points at 1 and 2 on both axes: of four one is the pixel itself.
    np.testing.assert_allclose(aligned_one(corner, [[0.5, 0.5, 2.5, 2.5]], size=(1, 1)), [[[4]]])
    # One point, at 1.5: a quarter of each of four pixels.
    box = [[0.5, 0.5, 2.5, 2.5]]
    np.testing.assert_allclose(aligned_one(corner, box, size=(1, 1), sampling_ratio=1), [[[4]]])
    # At 1.25 and 1.25: 3/4 of 3/4.
    box = [[1, 1, 1.5, 1.5]]
    options = {"size": (1, 1), "sampling_ratio": 1}
    assert aligned_one(corner, box, **options)[0, 0, 0] == 4.0  # a pixel wide: at 1.5
    box = [[1.5, 1.5, 2, 2]]
    assert aligned_one(corner, box, aligned=True, **options)[0, 0, 0] == 9.0


@pytest.mark.parametrize(
    ("top", "bottom", "wanted"),
    [
        (-4, 4, [0.5, 1.0]),  # points at -3 and -1, where a map still is; 1 and 3
        (-4.5, 3.5, [0.0, 1.0]),  # -3.5 and -1.5
        (1, 5, [1.0, 1.0]),  # 1.5, 2.5, 3.5 and 4.5: one beyond the last pixel there is none left
        (2, 6, [1.0, 0.5]),  # 2.5, 3.5, 4.5, 5.5: within a pixel behind the map it is 3
    ],
)
def test_a_map_goes_on_for_a_pixel(top: float, bottom: float, wanted: list[float]) -> None:
    ones = np.ones((5, 5))
    found = aligned_one(ones, [[top, 0, bottom, 4]], size=(2, 1))
    np.testing.assert_allclose(found[0, :, 0], wanted)


def test_what_lies_behind_the_last_pixel_is_the_last_pixel() -> None:
    found = aligned_one(PLANE, [[6.5, 6.5, 8.5, 8.5]], size=(1, 1), sampling_ratio=1)
    assert found[0, 0, 0] == 77.0  # at 7.5
    found = aligned_one(PLANE, [[-1.5, 0, 0.5, 2]], size=(1, 1), sampling_ratio=1)
    assert found[0, 0, 0] == 1.0  # at -0.5 and 1


def test_small_regions_are_a_pixel_unless_aligned() -> None:
    point = [[3, 3, 3, 3]]
    np.testing.assert_allclose(
        aligned_one(PLANE, point, size=(2, 2))[0], [[35.75, 36.25], [40.75, 41.25]]
    )
    np.testing.assert_allclose(
        aligned_one(PLANE, point, size=(2, 2), aligned=True)[0], np.full((2, 2), 27.5)
    )
    pixel = [[3, 3, 4, 4]]
    np.testing.assert_array_equal(
        aligned_one(PLANE, pixel, size=(2, 2)), aligned_one(PLANE, point, size=(2, 2))
    )


def plain_value(picture: np.ndarray, y: float, x: float) -> np.ndarray:
    height, width, channels = picture.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(channels)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, over = y - top, x - left
    upper = (1 - over) * picture[top, left] + over * picture[top, right]
    lower = (1 - over) * picture[bottom, left] + over * picture[bottom, right]
    return (1 - down) * upper + down * lower


def plain_align(picture: np.ndarray, box, size, ratio: int, aligned: bool) -> np.ndarray:
    """One region of one map in float64."""
    height, width, channels = picture.shape
    top, left, bottom, right = np.float64(box) * [height, width, height, width] - 0.5 * aligned
    tall, wide = bottom - top, right - left
    if not aligned:
        tall, wide = max(tall, 1.0), max(wide, 1.0)
    result = np.zeros((*size, channels))
    for i in range(size[0]):
        for j in range(size[1]):
            for a in range(ratio):
                for b in range(ratio):
                    y = top + (i + (a + 0.5) / ratio) * tall / size[0]
                    x = left + (j + (b + 0.5) / ratio) * wide / size[1]
                    result[i, j] += plain_value(picture, y, x) / ratio**2
    return result


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("size", "ratio"), [((3, 2), 1), ((2, 4), 3)])
def test_random_regions_are_those_of_plain_loops(size, ratio: int, aligned: bool) -> None:
    rng = np.random.default_rng(ratio)
    # Sizes that are no multiples of one another, as of a picture of 75 x 50.
    maps = [rng.normal(0, 1, (2, h, w, 2)).astype(np.float32) for h, w in ((19, 13), (10, 7))]
    corners = rng.uniform(-0.4, 1.1, (2, 8, 2))
    sides = rng.uniform(0, 1, (2, 8, 2)) ** 2
    sides[:, 0] = 0
    boxes = np.concatenate([corners, corners + sides], axis=-1).astype(np.float32)
    boxes[:, 1] = [-0.5, -0.5, 1.5, 1.5]
    picture_size = (750, 500)  # large enough for both levels
    found = roi_align(
        maps, boxes, picture_size=picture_size, size=size, sampling_ratio=ratio, aligned=aligned
    )
    levels = ops.convert_to_numpy(assigned_level(boxes, picture_size, (32, 64)))
    assert found.shape == (2, 8, *size, 2)
    for n in range(2):
        for r in range(8):
            wanted = plain_align(maps[levels[n, r]][n], boxes[n, r], size, ratio, aligned)
            np.testing.assert_allclose(found[n, r], wanted, atol=2e-5)
    assert {*levels.flat} == {0, 1}


@pytest.mark.parametrize("aligned", [False, True])
def test_one_map_as_torchvision(aligned: bool) -> None:
    golden = golden_operations()
    size = tuple(golden["size"].tolist())
    found = roi_align(
        [golden["align_map"].transpose(0, 2, 3, 1)],
        shares(golden["align_boxes"], size),
        picture_size=size,
        size=(3, 5),
        aligned=aligned,
    )
    wanted = golden[f"align_{aligned}".lower()].transpose(0, 1, 3, 4, 2)
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_levels_as_torchvision() -> None:
    golden = golden_operations()
    size = tuple((6 * golden["size"]).tolist())
    boxes = shares(golden["pyramid_boxes"], size)[None]
    maps = [golden[f"pyramid_map{i}"].transpose(0, 2, 3, 1) for i in range(4)]
    found = roi_align(maps, boxes, picture_size=size)
    wanted = golden["pyramid_result"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found[0], wanted, atol=2e-4)
    levels = ops.convert_to_numpy(assigned_level(boxes, size, (4, 8, 16, 32)))
    assert {*levels.flat} == {0, 1, 2, 3}


def test_levels_by_the_side_of_a_square() -> None:
    sides = np.array([0, 1, 111.9, 112, 223.9, 224, 447.9, 448, 1000]) / 1000
    boxes = np.stack([np.zeros(9), np.zeros(9), sides, sides], axis=-1)
    levels = assigned_level(boxes, (1000, 1000), (4, 8, 16, 32))
    assert ops.convert_to_numpy(levels).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    # The same area in another form, and other levels that there are.
    assert int(assigned_level([0, 0, 0.448, 0.112], (1000, 1000), (4, 8, 16, 32))) == 2
    levels = assigned_level(boxes, (1000, 1000), (16, 32))
    assert ops.convert_to_numpy(levels).tolist() == [0] * 7 + [1, 1]


def test_a_second_map_of_the_same_stride_is_nobodys() -> None:
    maps = [np.full((1, 4, 4, 1), value, np.float32) for value in (1, 2)]
    boxes = np.array([[[0, 0, 1, 1], [0.5, 0.5, 0.6, 0.6]]], np.float32)
    found = roi_align(maps, boxes, picture_size=(2000, 2000), size=(2, 2))
    np.testing.assert_array_equal(found, np.ones((1, 2, 2, 2, 1)))


def test_gradients_are_those_of_differences() -> None:
    """The result is linear in the maps, so that differences are exact but for rounding."""
    rng = np.random.default_rng(0)
    shapes = ((2, 32, 32, 1), (2, 16, 16, 1))
    maps = [tf.constant(rng.normal(0, 1, shape).astype(np.float32)) for shape in shapes]
    boxes = tf.constant(
        [
            [[0, 0, 1, 1], [0.2, 0.3, 0.5, 0.4], [-0.3, 0.5, 0.2, 1.4]],
            [[0.5, 0.5, 0.5, 0.5], [0.1, 0, 0.8, 0.9], [0.6, 0.6, 0.7, 0.7]],
        ],
        tf.float32,
    )
    weights = rng.normal(0, 1, (2, 3, 2, 3, 1)).astype(np.float32)

    def weighed(maps) -> tf.Tensor:
        found = roi_align(maps, boxes, picture_size=(128, 128), size=(2, 3))
        return tf.reduce_sum(found * weights)

    with tf.GradientTape() as tape:
        tape.watch([*maps, boxes])
        result = weighed(maps)
    *gradients, of_boxes = tape.gradient(result, [*maps, boxes])
    assert of_boxes is None
    for number, x in enumerate(maps):
        gradient = tf.convert_to_tensor(gradients[number]).numpy()
        steps = rng.normal(0, 0.1, (3, *gradient.shape)).astype(np.float32)  # in all directions
        steps[1:] = 0
        steps[1].flat[np.abs(gradient).argmax()] = steps[2].flat[np.argmin(gradient)] = 0.5
        for step in steps:
            others = [*maps[:number], x + step, *maps[number + 1 :]]
            difference = (weighed(others) - result).numpy()
            assert np.abs(difference) > 0.05
            assert difference == pytest.approx((step * gradient).sum(), abs=1e-4)


def test_half_precision_is_the_maps_alone() -> None:
    rng = np.random.default_rng(0)
    # Whole numbers, which float16 has; a region of 1/1000 of them, which it has not.
    maps = rng.integers(-9, 10, (1, 512, 2, 4)).astype(np.float32)
    boxes = np.array([[[0.9011, 0, 0.9021, 1]]], np.float32)
    layer = RoIAlign((512, 2), name="align", dtype="mixed_float16")
    found = layer([maps.astype(np.float16)], boxes)
    assert keras.backend.standardize_dtype(found.dtype) == "float16"
    np.testing.assert_allclose(
        ops.cast(found, "float32"), roi_align([maps], boxes, picture_size=(512, 2)), atol=5e-3
    )


def test_no_number_of_a_network_is_an_address() -> None:
    maps = np.ones((1, 4, 4, 1), np.float32)
    boxes = np.array([[[np.nan] * 4, [0, 0, np.inf, np.inf], [-1e30, 0, 1e30, 1], [0, 0, 1, 1]]])
    found = ops.convert_to_numpy(roi_align([maps], boxes, picture_size=(4, 4), size=(2, 2)))
    np.testing.assert_array_equal(found[0, 3], np.ones((2, 2, 1)))


def test_the_layer_is_plain_json_and_knows_its_shape() -> None:
    layer = RoIAlign((64, 96), (3, 5), 1, aligned=True, name="align")
    again = RoIAlign.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.get_config() == layer.get_config()
    maps = [keras.Input((16, 24, 3)), keras.Input((8, 12, 3))]
    assert layer(maps, keras.Input((None, 4))).shape == (None, None, 3, 5, 3)
    with pytest.raises(InputError, match="at least 1"):
        RoIAlign((64, 96), sampling_ratio=0)
