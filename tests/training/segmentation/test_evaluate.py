"""Label maps from networks' answers to pictures' own sizes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tiny_segmenters
from PIL import Image
from tiny_segmenters import CLASSES, PREPROCESSING, SHAPE

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.datasets.segmentation import VOID
from training.segmentation.evaluate import (
    evaluate_segmenter,
    keras_segment_fn,
    maps,
    middle,
    on_picture,
)

PAD = Preprocessing(height=10, width=12, channels=3, resize="pad")


def test_maps_go_to_the_pictures_size_by_the_nearest_pixel() -> None:
    found = np.uint8([[0, 1, 2], [3, 4, 5]])
    network = Preprocessing(height=2, width=3, channels=3, resize="stretch")
    larger = on_picture(found, (4, 9), network)
    np.testing.assert_array_equal(larger, np.kron(found, np.ones((2, 3), np.uint8)))
    finer = Preprocessing(height=10, width=15, channels=3, resize="stretch")
    smaller = on_picture(np.kron(found, np.ones((5, 5), int)), (2, 3), finer)
    np.testing.assert_array_equal(smaller, found)
    one = on_picture(found, (1, 1), network)
    assert (one.shape, one.dtype) == ((1, 1), np.uint8)
    assert on_picture(found.astype(np.int64), (2, 3), network).dtype == np.uint8


def test_what_lies_outside_of_a_smaller_answer_is_void() -> None:
    network = Preprocessing(height=6, width=8, channels=3, resize="stretch")
    found = on_picture(np.ones((2, 4), np.uint8), (12, 16), network)
    expected = np.full((12, 16), VOID)
    expected[4:8, 4:12] = 1
    np.testing.assert_array_equal(found, expected)
    assert middle((5, 6), (2, 3)) == (slice(1, 3), slice(1, 4))
    with pytest.raises(InputError, match=r"a label map of shape .* does not fit"):
        on_picture(np.ones((7, 8), np.uint8), (12, 16), network)
    with pytest.raises(InputError, match="does not fit"):
        on_picture(np.ones((2, 4, 3), np.uint8), (12, 16), network)


@pytest.mark.parametrize("size", [(4, 5), (10, 12), (20, 6), (1, 1)])
def test_a_padded_pictures_own_part_is_taken(size: tuple[int, int]) -> None:
    """Where the pixels of a picture lie, its answers lie."""
    rng = np.random.default_rng(0)
    picture = rng.integers(1, 200, (*size, 3), dtype=np.uint8)
    split = tiny_segmenters.split_of([picture], [np.zeros(size, np.uint8)])
    (found,) = maps(lambda block: block[..., 0], split, PAD)
    assert found.shape == size
    if size[0] <= 10 and size[1] <= 12:
        np.testing.assert_array_equal(found, picture[..., 0])


def test_maps_come_in_order_whatever_the_pictures_sizes() -> None:
    split = tiny_segmenters.split(37)
    blocks: list[int] = []

    def mean_colour(block: np.ndarray) -> np.ndarray:
        assert (block.dtype, block.shape[1:]) == (np.uint8, SHAPE)
        blocks.append(len(block))
        return np.broadcast_to(block.mean(axis=(1, 2, 3), keepdims=True)[..., 0], block.shape[:3])

    found = list(maps(mean_colour, split, PREPROCESSING, title="some"))
    assert blocks == [16, 16, 5]
    for index, one in enumerate(found):
        assert one.shape == tuple(split.sizes[index])
        resized = Image.fromarray(split.picture(index)).resize(
            SHAPE[1::-1], Image.Resampling.BILINEAR
        )
        assert (one == int(np.asarray(resized).mean())).all()


def test_the_truth_at_the_networks_size_has_nearly_100_percent() -> None:
    """And exactly that where a picture has the network's own size."""
    split = tiny_segmenters.split(8)
    size = SHAPE[1], SHAPE[0]
    images = [Image.fromarray(split.label_map(index)) for index in range(8)]
    answers = iter([np.asarray(one.resize(size, Image.Resampling.NEAREST)) for one in images])
    measured = evaluate_segmenter(
        lambda block: np.stack([next(answers) for _ in block]), split, PREPROCESSING, CLASSES
    )
    assert 85 < measured.miou < 100
    own = tiny_segmenters.split_of(
        [np.zeros(SHAPE, np.uint8)], [np.random.default_rng(0).integers(0, 3, SHAPE[:2], np.uint8)]
    )
    measured = evaluate_segmenter(
        lambda _block: own.label_map(0)[None], own, PREPROCESSING, CLASSES
    )
    assert measured.miou == measured.boundary_f1 == 100


def test_a_keras_model_answers_with_its_likeliest_class_and_present_weights() -> None:
    model = tiny_segmenters.network(dropout=0.5)
    pictures = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    segment = keras_segment_fn(model, PREPROCESSING)
    for _ in range(2):
        logits = model(PREPROCESSING.normalise(pictures), training=False)
        expected = np.argmax(keras.ops.convert_to_numpy(logits), axis=-1)
        found = segment(pictures)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
        assert len(np.unique(found)) > 1
        head = model.get_layer("logits")
        head.set_weights([weight[..., ::-1] for weight in head.get_weights()])


def test_cropped_pictures_are_refused() -> None:
    crop = Preprocessing(height=10, width=12, channels=3, resize="crop")
    with pytest.raises(InputError, match="not 'crop'"):
        list(maps(lambda block: block[..., 0], tiny_segmenters.split(2), crop))
