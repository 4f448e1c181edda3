"""Detections of a split: whose boxes they are, in which order, and with which weights."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_detectors
from tiny_detectors import CLASSES, PREPROCESSING, SHAPE

from kerascnn.detection.postprocess import detect, of_picture
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.boxes import boxes_to_network
from training.datasets.detection import DetectionSplit
from training.detection.evaluate import (
    DetectFn,
    detections,
    evaluate_detector,
    evaluate_keeping,
    keras_detect_fn,
    on_picture,
)
from training.detection.examples import chosen, example, write_examples
from training.detection.metrics import Detections
from training.engine.evaluation import IMAGES_AT_ONCE, image_blocks

Boxes = Callable[[np.ndarray], np.ndarray]


def perfect(
    split: DetectionSplit, preprocessing: Preprocessing, change: Boxes = lambda boxes: boxes
) -> DetectFn:
    """Finds what is there, in shares of the network's input; `change` says how wrongly."""
    places = iter(range(len(split)))

    def found(pictures: np.ndarray) -> list[Detections]:
        assert pictures.shape[1:] == preprocessing.input_shape
        assert pictures.dtype == np.uint8
        every = []
        for _picture in pictures:
            place = next(places)
            objects = split.objects(place)
            boxes = boxes_to_network(objects.boxes, split.sizes[place], preprocessing)
            scores = np.linspace(0.9, 0.5, len(objects), dtype=np.float32)
            every.append(Detections(boxes=change(boxes), labels=objects.labels, scores=scores))
        return every

    return found


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("sides", [(32, 48), (96, 64)])
def test_perfect_detections_have_an_ap_of_100(sides: tuple[int, int], resize: str) -> None:
    # Pictures are from 40x56 to 46x60 pixels: wider than high, larger and smaller than the input.
    held_out = tiny_detectors.split(19)
    network = Preprocessing(height=sides[0], width=sides[1], channels=3, resize=resize)
    measured = evaluate_detector(perfect(held_out, network), held_out, network, CLASSES)
    assert measured.ap == pytest.approx(100)
    assert measured.ar100 == pytest.approx(100)
    assert measured.detections.tolist() == measured.objects.tolist()


@pytest.mark.parametrize(
    "change",
    [lambda boxes: boxes[:, [1, 0, 3, 2]], lambda boxes: boxes + np.float32(0.1)],
    ids=["turned", "moved"],
)
def test_boxes_in_the_wrong_place_have_none(change: Boxes) -> None:
    held_out = tiny_detectors.split(10)
    wrong = perfect(held_out, PREPROCESSING, change)
    assert evaluate_detector(wrong, held_out, PREPROCESSING, CLASSES).ap < 50


def test_detections_are_shares_of_the_picture_and_cut_at_its_edge() -> None:
    # A picture of 20x60 in the middle of 32x64 black pixels: 6 above and below, 2 on either side.
    padded = Preprocessing(height=32, width=64, channels=3, resize="pad")
    boxes = np.array([(6 / 32, 2 / 64, 26 / 32, 62 / 64), (0, 32 / 64, 16 / 32, 1)], np.float32)
    found = Detections(
        boxes=boxes, labels=np.array([1, 0], np.int32), scores=np.array([0.9, 0.2], np.float32)
    )
    on_it = on_picture(found, (20, 60), padded)
    np.testing.assert_allclose(on_it.boxes, [(0, 0, 1, 1), (0, 0.5, 0.5, 1)], atol=1e-6)
    assert on_it.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(on_it.scores, found.scores)


def test_only_what_is_shown_is_kept_of_masks() -> None:
    held_out = tiny_detectors.split(96)
    alive: list[weakref.ref] = []
    together = []
    find = perfect(held_out, PREPROCESSING)

    def masked(pictures: np.ndarray) -> list[Detections]:
        together.append(sum(one() is not None for one in alive))
        whole = []
        for one in find(pictures):
            masks = np.ones((len(one), 14, 14), np.float32)
            alive.append(weakref.ref(masks))
            whole.append(dataclasses.replace(one, masks=masks))
        return whole

    evaluations, found = evaluate_keeping(
        *(masked, held_out, PREPROCESSING, CLASSES),
        kinds=("segm", "bbox"), kept=chosen(96).tolist(),
    )  # fmt: skip
    assert [one.kind for one in evaluations] == ["segm", "bbox"]
    assert evaluations[1].ap == pytest.approx(100)
    assert list(found) == chosen(96).tolist()
    # Those that are shown, and the block that is being compared.
    assert len(together) == 96 / IMAGES_AT_ONCE
    assert max(together) <= len(found) + IMAGES_AT_ONCE


def test_a_broken_picture_is_named() -> None:
    def read(place: int) -> np.ndarray:
        raise InputError(f"p{place} is not a readable picture; replace or remove it")

    broken = dataclasses.replace(tiny_detectors.split(3), read=read)
    with pytest.raises(InputError, match="p0"):
        detections(perfect(broken, PREPROCESSING), broken, PREPROCESSING)


def assert_same(one: Detections, two: Detections) -> None:
    np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-5)
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)


def test_a_keras_model_detects_block_by_block_with_the_weights_of_the_moment() -> None:
    model = tiny_detectors.network()
    spec = tiny_detectors.spec(score_threshold=0.3)
    find = keras_detect_fn(model, PREPROCESSING, spec)
    (pictures,) = image_blocks(tiny_detectors.split(19), PREPROCESSING, 19)
    assert pictures.shape == (19, *SHAPE)
    before = find(pictures)
    kernel = model.get_layer("class_map2_predict").kernel
    kernel.assign(-4 * kernel)
    after = find(pictures)
    whole = detect(spec, *model(PREPROCESSING.normalise(pictures), training=False))
    assert len(before) == len(after) == 19
    for index, one in enumerate(after):
        assert_same(one, Detections(**of_picture(whole, index)))
        assert one.scores.min() >= 0.3
        assert (np.diff(one.scores) <= 0).all()
    assert [one.scores.tolist() for one in before] != [one.scores.tolist() for one in after]


def test_examples_show_what_was_found_from_a_score_on(tmp_path: Path) -> None:
    held_out = tiny_detectors.split(30)
    assert chosen(30).tolist() == [0, 3, 5, 8, 11, 13, 16, 18, 21, 24, 26, 29]
    assert chosen(2).tolist() == [0, 1]
    nothing = Detections.of(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    box = np.array([[0.6, 0.6, 0.9, 0.9]])
    shown = {
        score: example(held_out, 0, Detections.of(box, np.zeros(1), np.array([score])), CLASSES)
        for score in (0.2, 0.4)
    }
    plain = example(held_out, 0, nothing, CLASSES)
    np.testing.assert_array_equal(shown[0.2], plain)
    assert not np.array_equal(shown[0.4], plain)
    write_examples(tmp_path / "a.png", held_out.take(range(5)), 5 * [nothing], CLASSES)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
