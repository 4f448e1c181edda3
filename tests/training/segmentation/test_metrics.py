"""Mean IoU, dice and boundary F1: numbers worked by hand, slow formulas, and the bootstrap."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kerascnn.errors import InputError
from training.datasets.segmentation import VOID, SegmentationSplit
from training.segmentation.metrics import (
    TOLERANCE,
    SegmentationEvaluation,
    boundary_scores,
    count,
    evaluate_maps,
    miou_interval,
    of_counts,
    pack_counts,
    unpack_counts,
    without_void,
    write_per_class,
)

CLASSES = ("background", "ring", "bar", "dot")
V = VOID


def split_of(maps: Sequence[np.ndarray]) -> SegmentationSplit:
    def unread(_place: int) -> np.ndarray:
        raise AssertionError("pictures are not read")

    return SegmentationSplit(
        names=tuple(f"p{i}" for i in range(len(maps))), places=np.arange(len(maps)),
        sizes=np.array([each.shape for each in maps], np.int32).reshape(-1, 2),
        read=unread, annotate=lambda place: maps[place],
    )  # fmt: skip


def evaluate(
    truth: Sequence[np.ndarray], found: Sequence[np.ndarray], **options: bool
) -> SegmentationEvaluation:
    return evaluate_maps(iter(found), split_of(truth), CLASSES, **options)


TRUTH = [np.uint8([[0, 0, 1], [0, 1, 1]]), np.uint8([[2, 2], [0, V]])]
FOUND = [np.uint8([[0, 1, 1], [0, 0, 1]]), np.uint8([[2, 0], [0, 1]])]


def test_figures_by_hand() -> None:
    measured = evaluate(TRUTH, FOUND)
    # Background: 2 + 1 right, 4 there, 3 + 2 found. Ring: 2, 3, 3. Bar: 1, 2, 1. No dot anywhere.
    np.testing.assert_allclose(
        measured.per_class, [100 * 3 / 6, 100 * 2 / 4, 100 * 1 / 2, math.nan]
    )
    np.testing.assert_allclose(measured.dice, [200 * 3 / 9, 200 * 2 / 6, 200 * 1 / 3, math.nan])
    assert measured.miou == measured.value == pytest.approx(50)
    assert measured.mean_dice == pytest.approx(200 / 3)
    assert measured.pixel_accuracy == pytest.approx(100 * 6 / 9)
    assert measured.pixels.tolist() == [4, 3, 2, 0]
    assert measured.counts.shape == (2, 4, 3)
    assert measured.counts[1].tolist() == [[1, 1, 2], [0, 0, 0], [1, 2, 1], [0, 0, 0]]


def test_what_is_found_as_it_is_has_100_percent() -> None:
    measured = evaluate(TRUTH, [np.where(each == V, 3, each) for each in TRUTH])
    for name in ("miou", "mean_dice", "pixel_accuracy", "boundary_f1"):
        assert getattr(measured, name) == pytest.approx(100)
    assert np.isnan(measured.per_class[3])


def test_a_class_that_is_found_and_not_there_counts() -> None:
    measured = evaluate([np.zeros((2, 2), np.uint8)], [np.uint8([[0, 0], [0, 3]])])
    np.testing.assert_allclose(measured.per_class, [75, math.nan, math.nan, 0])
    assert measured.miou == pytest.approx(37.5)


def test_void_of_either_map_does_not_count() -> None:
    truth, found = np.uint8([[0, 1, V, 1]]), np.uint8([[0, 1, 0, V]])
    measured = evaluate([truth], [found])
    assert measured.counts[0, :2].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert measured.miou == pytest.approx(100)


def test_nothing_that_counts_has_no_figures() -> None:
    void = np.full((3, 4), V, np.uint8)
    measured = evaluate([void, void], [void, np.zeros((3, 4), np.uint8)])
    for name in ("miou", "mean_dice", "pixel_accuracy", "boundary_f1"):
        assert math.isnan(getattr(measured, name))
    assert miou_interval(measured.counts, measured.counts) == pytest.approx(
        (math.nan, math.nan), nan_ok=True
    )


def test_one_pixel_of_an_object_found_or_lost() -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[20, 30] = 2
    assert evaluate([truth], [truth]).miou == pytest.approx(100)
    lost = evaluate([truth], [np.zeros_like(truth)])
    assert lost.per_class[2] == 0
    assert lost.boundary[2] == 0
    assert lost.per_class[0] == pytest.approx(100 * 4095 / 4096)


def drawn(seed: int, size: tuple[int, int] = (19, 23)) -> tuple[np.ndarray, np.ndarray]:
    """A map of blocks with some void, and one that is mostly the same."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice(np.uint8([0, 1, 2, 3, V]), (5, 6), p=[0.5, 0.15, 0.15, 0.1, 0.1])
    truth = np.kron(blocks, np.ones((4, 4), np.uint8))[: size[0], : size[1]]
    moved = np.roll(truth, rng.integers(-1, 2, 2), axis=(0, 1))
    moved[moved == V] = 0
    noise = rng.choice(np.uint8([0, 1, 2, 3]), size)
    return truth, np.where(rng.random(size) < 0.05, noise, moved)


def test_counts_of_many_pictures_are_those_of_a_loop() -> None:
    pairs = [drawn(seed) for seed in range(6)]
    measured = evaluate([t for t, _f in pairs], [f for _t, f in pairs])
    for label in range(4):
        both = sum(int(((t == label) & (f == label)).sum()) for t, f in pairs)
        either = sum(int((((t == label) | (f == label)) & (t != V)).sum()) for t, f in pairs)
        assert measured.per_class[label] == pytest.approx(100 * both / either)
    right = sum(int((t == f).sum()) for t, f in pairs)
    assert measured.pixel_accuracy == pytest.approx(
        100 * right / sum(int((t != V).sum()) for t, _f in pairs)
    )
    assert measured.miou == pytest.approx(np.mean(measured.per_class))


def slow_contour(label_map: np.ndarray, label: int) -> np.ndarray:
    """(k, 2) rows and columns of pixels that have a neighbour of another class."""
    places = []
    for y, x in np.argwhere(label_map == label):
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= y + down < label_map.shape[0] and 0 <= x + right < label_map.shape[1]:
                other = label_map[y + down, x + right]
                if other not in (label, V):
                    places.append((y, x))
                    break
    return np.array(places, int).reshape(-1, 2)


def slow_score(truth: np.ndarray, found: np.ndarray, label: int) -> float:
    one, other = slow_contour(truth, label), slow_contour(found, label)
    if not len(one) + len(other):
        return math.nan
    if not len(one) or not len(other):
        return 0.0
    reach = TOLERANCE * math.hypot(*truth.shape)
    apart = np.hypot(*(one[:, None] - other).transpose(2, 0, 1))
    recall = (apart.min(axis=1) <= reach).mean()
    precision = (apart.min(axis=0) <= reach).mean()
    return 200 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize(("scale", "seeds"), [(1, 3), (7, 2), (14, 1)])
def test_boundaries_are_compared_as_by_all_pairs(scale: int, seeds: int) -> None:
    """With a tolerance of 0, 1 and 3 pixels."""
    for seed in range(seeds):
        pair = (np.kron(each, np.ones((scale, scale), np.uint8)) for each in drawn(seed))
        truth, found = without_void(*pair)
        expected = [slow_score(truth, found, label) for label in range(5)]
        np.testing.assert_allclose(boundary_scores(truth, found, 5), expected, rtol=1e-12)


def square(top: int, left: int, side: int = 30, size: int = 100) -> np.ndarray:
    made = np.zeros((size, size), np.uint8)
    made[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 1
    return made


def test_boundaries_within_the_tolerance_are_right() -> None:
    # 0.75% of a diagonal of 141 is 1.06 pixels.
    near = boundary_scores(square(20, 20), square(20, 21), 2)
    np.testing.assert_allclose(near, [100, 100])
    far = boundary_scores(square(20, 20), square(20, 23), 2)
    # Of the 116 pixels of either contour, 28 of the upper row and 28 of the lower are near, and of
    # the side that lies between those rows both ends.
    assert far[1] == pytest.approx(100 * 58 / 116)
    assert boundary_scores(square(0, 0), square(60, 60), 2).tolist() == [0, 0]


def test_the_edge_of_a_picture_is_no_boundary() -> None:
    full = np.ones((50, 50), np.uint8)
    assert np.isnan(boundary_scores(full, full, 2)).all()
    # An object cut by the border has the sides that can be seen.
    cut, whole = square(-10, -10), square(20, 20)
    assert len(slow_contour(cut, 1)) == 2 * 20 - 1
    assert len(slow_contour(whole, 1)) == 4 * 30 - 4
    assert boundary_scores(cut, cut, 2).tolist() == [100, 100]
    # Nor is what borders on void.
    half = np.full((50, 50), V, np.uint8)
    half[10:30, 10:30] = 1
    assert np.isnan(boundary_scores(half, half, 2)).all()


def test_boundary_f1_is_the_mean_over_pictures_of_the_mean_over_classes() -> None:
    truth = [square(20, 20), np.zeros((100, 100), np.uint8), square(50, 50)]
    found = [square(20, 20), np.zeros((100, 100), np.uint8), square(0, 0)]
    measured = evaluate(truth, found)
    assert measured.boundary_f1 == pytest.approx(50)
    np.testing.assert_allclose(measured.boundary, [50, 50, math.nan, math.nan])
    without = evaluate(truth, found, boundaries=False)
    assert math.isnan(without.boundary_f1)
    assert without.miou == measured.miou


def test_the_interval_is_that_of_a_loop_over_draws() -> None:
    truth, found = zip(*(drawn(seed) for seed in range(12)), strict=True)
    before = evaluate(truth, found, boundaries=False)
    worse = [np.where(np.arange(23) < 4, 0, each).astype(np.uint8) for each in found]
    after = evaluate(truth, worse, boundaries=False)
    chance = np.random.default_rng(7)
    drops = []
    for _ in range(150):
        (times,) = chance.multinomial(12, np.full(12, 1 / 12), size=1)
        rows = np.repeat(np.arange(12), times)
        one, other = (of_counts(each.counts[rows]).miou for each in (before, after))
        drops.append(one - other)
    low, high = miou_interval(before.counts, after.counts, seed=7, resamples=150, level=0.9)
    assert low == pytest.approx(np.quantile(drops, 0.05, method="lower"))
    assert high == pytest.approx(np.quantile(drops, 0.95, method="higher"))
    assert low < before.miou - after.miou < high
    assert miou_interval(before.counts, before.counts) == (0, 0)


def test_a_draw_without_a_class_has_the_mean_of_the_others() -> None:
    """Two pictures: the one that has the bar is in no draw, or in all."""
    truth, found = (
        [np.uint8([[0, 0]]), np.uint8([[2, 0]])],
        [np.uint8([[0, 0]]), np.uint8([[0, 0]])],
    )
    before = evaluate(truth, truth, boundaries=False)
    after = evaluate(truth, found, boundaries=False)
    # Nothing is lost without it; with it alone, 50 and 100 points of two classes.
    assert miou_interval(before.counts, after.counts) == pytest.approx((0, 75))


def test_an_interval_of_other_pictures_is_refused() -> None:
    counts = evaluate(TRUTH, FOUND).counts
    with pytest.raises(ValueError, match="of the same images"):
        miou_interval(counts, counts[::-1])
    with pytest.raises(ValueError, match="of the same images"):
        miou_interval(counts, counts[:1])


def test_counts_come_back_from_json() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 1 << 31, (2, 7, 4))
    counts = np.stack([np.minimum(truth, found), truth, found], axis=-1)
    packed = pack_counts(counts)
    np.testing.assert_array_equal(unpack_counts(packed), counts)
    assert unpack_counts(pack_counts(counts[:0])).shape == (0, 4, 3)
    for damaged in (
        {},
        packed | {"pictures": 8},
        packed | {"classes": -4},
        packed | {"pixels": "zzz"},
        packed | {"pixels": 5},
        pack_counts(counts[..., ::-1]),
    ):
        with pytest.raises(ValueError, match=r"packed counts|bytes|counts of"):
            unpack_counts(damaged)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="no images to evaluate"):
        evaluate([], [])
    with pytest.raises(InputError, match="fewer label maps than images"):
        evaluate(TRUTH, FOUND[:1])
    with pytest.raises(InputError, match="more label maps than images"):
        evaluate(TRUTH, [*FOUND, FOUND[0]])
    with pytest.raises(InputError, match=r"p1: a map of shape \(2, 3\).*own size"):
        evaluate(TRUTH, [FOUND[0], FOUND[0]])
    with pytest.raises(InputError, match="whole numbers"):
        evaluate(TRUTH, [each.astype(np.float32) for each in FOUND])
    with pytest.raises(InputError, match="p0: class 4 is found, and there are 4"):
        evaluate(TRUTH, [FOUND[0] + 3, FOUND[1]])
    with pytest.raises(InputError, match="class -1 is found"):
        evaluate(TRUTH, [FOUND[0].astype(np.int64) - 1, FOUND[1]])
    with pytest.raises(InputError, match="p0: class 9 is in its mask"):
        evaluate([np.uint8([[9]])], [np.uint8([[0]])])


def test_per_class_is_a_table(tmp_path: Path) -> None:
    measured = evaluate(TRUTH, FOUND)
    write_per_class(measured, CLASSES, tmp_path / "per_class.csv")
    with (tmp_path / "per_class.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == list(CLASSES)
    assert rows[1]["iou"] == "50.0000"
    assert rows[1]["dice"] == "66.6667"
    assert [row["pixels"] for row in rows] == ["4", "3", "2", "0"]
    assert (rows[3]["iou"], rows[3]["boundary_f1"]) == ("", "")
    with pytest.raises(InputError, match="4 classes does not fit 3 class names"):
        write_per_class(measured, CLASSES[:3], tmp_path / "other.csv")


def test_counts_of_255_classes() -> None:
    """As many as a byte has beside void."""
    truth = np.arange(256, dtype=np.uint8).reshape(16, 16)
    counts = count(truth, truth, 255)
    assert counts.tolist() == [[1, 1, 1]] * 255
