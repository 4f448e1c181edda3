"""COCO's figures on examples that are worked by hand, and the interval of what is lost."""

from __future__ import annotations

import base64
import contextlib
import csv
import dataclasses
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerascnn.errors import InputError
from training.common.drawing import drawing
from training.datasets.detection import DetectionSplit, Objects
from training.datasets.instance_masks import paste
from training.detection.metrics import (
    DetectionEvaluation,
    Detections,
    Matches,
    ap_interval,
    average_precision,
    evaluate_detections,
    matches_interval,
    pack,
    unpack,
)
from training.detection.pr_curve import draw_pr_curve, write_per_class, write_pr_curve

SIDE = 100  # pixels of the hand-worked pictures
NO_BOXES = np.zeros((0, 4))


def objects(
    boxes: Any, labels: Any, *, crowd: Any = None, areas: Any = None, side: int = SIDE
) -> Objects:
    """From boxes in pixels."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return Objects(
        boxes=boxes / side,
        labels=np.asarray(labels, np.int32),
        crowd=np.zeros(len(boxes), bool) if crowd is None else np.asarray(crowd),
        areas=sides.prod(axis=1) if areas is None else np.asarray(areas, np.float32),
        ids=np.arange(len(boxes)),  # from 0, as some files number them
    )


def split_of(pictures: Sequence[Objects], side: int = SIDE) -> DetectionSplit:
    def read(_place: int) -> np.ndarray:
        raise AssertionError("no picture has to be read")

    return DetectionSplit(
        names=tuple(f"picture {i}" for i in range(len(pictures))),
        places=np.arange(len(pictures)),
        sizes=np.full((len(pictures), 2), side, np.int32),
        read=read,
        annotate=lambda place: pictures[place],
    )


def found(boxes: Any, labels: Any, scores: Any, side: int = SIDE) -> Detections:
    return Detections.of(np.asarray(boxes, np.float32).reshape(-1, 4) / side, labels, scores)


NOTHING = found(NO_BOXES, [], [])


def random_case(
    pictures: int, noise: float, *, ties: bool = True
) -> tuple[DetectionSplit, list[Detections]]:
    """Three classes, some crowds, scores with ties; `noise` moves boxes off their objects."""
    draw, shake = np.random.default_rng(0), np.random.default_rng(1)
    truth, answers = [], []
    for _ in range(pictures):
        count = draw.integers(0, 6)
        corner, sides = draw.uniform(0, 60, (count, 2)), draw.uniform(5, 40, (count, 2))
        boxes = np.concatenate([corner, corner + sides], axis=1)
        labels = draw.integers(0, 3, count)
        truth.append(objects(boxes, labels, crowd=draw.random(count) < 0.2))
        wrong = draw.uniform(0, 50, (4, 4)) + np.array([0, 0, 50, 50])
        scores = draw.beta(*np.array([[5, 2]] * count + [[2, 5]] * 4).T)
        scores = np.round(scores, 1) if ties else scores
        moved = boxes + noise * shake.normal(size=boxes.shape)
        every = np.concatenate([labels, draw.integers(0, 3, 4)])
        answers.append(found(np.concatenate([moved, wrong]), every, scores))
    return split_of(truth), answers


def by_hand() -> DetectionEvaluation:
    """Class "a" has two objects and three detections; "b" has neither.

    The first detection is an object. The second is nowhere near one. The third is 25 of 40 columns
    of the other object: its IoU is 0.625, a hit at 0.5, 0.55 and 0.6 alone.
    """
    truth = objects([[0, 0, 40, 40], [50, 50, 90, 90]], [0, 0])
    answers = found([[50, 0, 90, 40], [50, 50, 90, 75], [0, 0, 40, 40]], [0, 0, 0], [0.8, 0.7, 0.9])
    return evaluate_detections([answers], split_of([truth]), ["a", "b"])


def test_ap_worked_by_hand() -> None:
    # Up to IoU 0.6: right, wrong, right. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: of the 101
    # recalls 51 (0 to 0.5) have 1, the other 50 have 2/3. From 0.65 on the 50 have 0.
    figures = by_hand()
    assert figures.ap50 == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert figures.ap75 == pytest.approx(100 * 51 / 101)
    assert figures.ap == pytest.approx((3 * figures.ap50 + 7 * figures.ap75) / 10)
    # Objects have 1,600 pixels: more than 32², less than 96².
    assert figures.ap_medium == pytest.approx(figures.ap)
    assert np.isnan([figures.ap_small, figures.ap_large]).all()
    # One detection finds one of two objects, three find both at three of ten thresholds.
    assert figures.ar1 == pytest.approx(50)
    assert figures.ar10 == figures.ar100 == pytest.approx((3 * 100 + 7 * 50) / 10)


def test_figures_by_class_worked_by_hand() -> None:
    figures = by_hand()
    np.testing.assert_allclose(figures.per_class, [figures.ap, np.nan])
    np.testing.assert_allclose(figures.per_class50, [figures.ap50, np.nan])
    assert figures.objects.tolist() == [2, 0]
    assert figures.detections.tolist() == [3, 0]
    expected = np.repeat([1, 2 / 3], [51, 50])
    np.testing.assert_allclose(figures.precision[0], expected)
    assert np.isnan(figures.precision[1]).all()
    np.testing.assert_allclose(figures.mean_precision, expected)


def test_perfect_detections_have_everything() -> None:
    split, _ = random_case(8, 0)
    answers = [
        Detections.of(each.boxes, each.labels, np.ones(len(each)))
        for each in map(split.objects, range(8))
    ]
    figures = evaluate_detections(answers, split, ["a", "b", "c"])
    assert figures.ap == figures.ap50 == figures.ar100 == pytest.approx(100)


def test_detections_on_a_crowd_are_no_mistakes() -> None:
    boxes, labels = [[0, 0, 20, 20], [40, 40, 100, 100]], [0, 0]
    answers = found(
        [[50, 50, 60, 60], [70, 70, 90, 80], [0, 0, 20, 20]], [0, 0, 0], [0.9, 0.8, 0.7]
    )
    crowd, plain = (
        evaluate_detections([answers], split_of([objects(boxes, labels, crowd=flags)]), ["a"])
        for flags in ([False, True], [False, False])
    )
    assert crowd.ap == pytest.approx(100)
    assert crowd.objects.tolist() == [1]
    # Two mistakes before the one hit, of two objects: a third, up to recall 0.5.
    assert plain.ap == pytest.approx(100 * 51 / 101 / 3)
    for figures in (crowd, plain):
        assert average_precision(figures.matches) == pytest.approx(figures.ap)


def test_size_goes_by_the_annotations_area() -> None:
    boxes = [[0, 0, 10, 10], [100, 100, 150, 150], [200, 200, 400, 400], [0, 200, 200, 400]]
    # The last object's mask is thin: it counts as small, though its box is large.
    truth = objects(boxes, [0] * 4, areas=[100, 2500, 40_000, 500], side=400)
    answers = found(boxes[2:], [0, 0], [0.9, 0.8], side=400)
    figures = evaluate_detections([answers], split_of([truth], side=400), ["a"])
    assert figures.ap_small == pytest.approx(100 * 51 / 101)
    assert figures.ap_medium == 0
    assert figures.ap_large == pytest.approx(100)


def test_nothing_found_is_zero_and_nothing_to_find_is_no_number() -> None:
    here, nobody = objects([[0, 0, 20, 20]], [0]), objects(NO_BOXES, [])
    one = found([[0, 0, 20, 20]], [0], [0.9])
    missed = evaluate_detections([NOTHING, NOTHING], split_of([here, nobody]), ["a"])
    assert (missed.ap, missed.ar100, average_precision(missed.matches)) == (0, 0, 0)
    for answers in (one, NOTHING):
        figures = evaluate_detections([answers], split_of([nobody]), ["a"])
        assert np.isnan([figures.ap, figures.ap50, figures.ar1, figures.per_class[0]]).all()
        assert np.isnan(figures.mean_precision).all()
        assert np.isnan([average_precision(figures.matches), *ap_interval(figures, figures)]).all()
    assert figures.objects.tolist() == figures.detections.tolist() == [0]


def test_evaluation_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    by_hand()
    assert capfd.readouterr() == ("", "")


def test_detections_that_are_no_numbers_are_counted_and_left_out() -> None:
    truth = split_of([objects([[0, 0, 40, 40]], [0])])
    boxes = [[0, 0, 40, np.nan], [0, 0, np.inf, 40], [0, 0, 40, 40], [0, 0, 40, 40]]
    figures = evaluate_detections([found(boxes, [0] * 4, [0.9, 0.8, np.nan, 0.6])], truth, ["a"])
    assert figures.broken == 3
    assert figures.detections.tolist() == [1]
    assert figures.ap == pytest.approx(100)


def test_detections_are_sorted_and_padding_goes() -> None:
    each = Detections.of(np.arange(16).reshape(4, 4), [2, -1, 0, 1], [0.5, 0, 0.9, 0.5])
    assert each.labels.tolist() == [0, 2, 1]
    assert each.boxes[:, 0].tolist() == [8, 0, 12]
    assert len(each) == 3
    assert (each.boxes.dtype, each.labels.dtype, each.scores.dtype) == ("f4", "i4", "f4")


def test_box_inside_out_is_a_mistake() -> None:
    truth = split_of([objects([[0, 0, 40, 40]], [0])])
    figures = evaluate_detections([found([[40, 40, 0, 0]], [0], [0.9])], truth, ["a"])
    assert (figures.ap, figures.broken) == (0, 0)


def test_what_does_not_fit_is_refused_by_name() -> None:
    here = split_of([objects([[0, 0, 20, 20]], [1])])
    with pytest.raises(InputError, match="no images to evaluate"):
        evaluate_detections([], split_of([]), ["a"])
    with pytest.raises(InputError, match="detections of 2 images do not fit 1 images"):
        evaluate_detections([NOTHING] * 2, here, ["a", "b"])
    with pytest.raises(InputError, match="picture 0: objects have labels from 1 to 1 and there"):
        evaluate_detections([NOTHING], here, ["a"])
    answers = found([[0, 0, 9, 9]] * 2, [5, -2], [0.9, 0.8])
    with pytest.raises(InputError, match="picture 0: detections have labels from -2 to 5"):
        evaluate_detections([answers], here, ["a", "b"])


def test_matches_give_the_same_ap_as_the_library() -> None:
    for noise in (0, 3, 8):
        split, answers = random_case(30, noise)
        figures = evaluate_detections(answers, split, ["a", "b", "c"])
        assert 0 < figures.ap < 100
        assert average_precision(figures.matches) == pytest.approx(figures.ap, abs=1e-6)
        assert figures.matches.ignored.any()


def test_one_resample_is_the_evaluation_of_those_pictures() -> None:
    split, answers = random_case(25, 2, ties=False)
    _, worse = random_case(25, 4, ties=False)
    before, after = (evaluate_detections(each, split, ["a", "b", "c"]) for each in (answers, worse))
    times = np.random.default_rng(3).multinomial(25, np.full(25, 1 / 25), size=1)[0]
    drawn = np.repeat(np.arange(25), times)
    assert len(set(drawn)) < 20
    drop = [
        evaluate_detections([each[i] for i in drawn], split.take(drawn), ["a", "b", "c"]).ap
        for each in (answers, worse)
    ]
    expected = pytest.approx(drop[0] - drop[1], abs=1e-6)
    assert ap_interval(before, after, seed=3, resamples=1) == (expected, expected)


def test_interval_holds_zero_for_equal_files_alone() -> None:
    split, answers = random_case(40, 1)
    _, other = random_case(40, -1)  # moved the other way: as good, but not the same
    _, much = random_case(40, 5)
    same, close, worse = (
        evaluate_detections(each, split, ["a", "b", "c"]) for each in (answers, other, much)
    )
    assert ap_interval(same, same, resamples=50) == (0, 0)
    low, high = ap_interval(same, close, resamples=250)
    assert low <= 0 <= high
    assert low < high
    low, high = ap_interval(same, worse, resamples=250)
    assert 0 < low < same.ap - worse.ap < high
    assert ap_interval(same, worse, resamples=250) == (low, high)
    narrow = ap_interval(same, worse, resamples=250, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    mirrored = ap_interval(worse, same, resamples=250)
    assert mirrored == pytest.approx((-high, -low))


def test_interval_is_of_the_same_pictures() -> None:
    split, answers = random_case(6, 1)
    figures = evaluate_detections(answers, split, ["a", "b", "c"])
    fewer = evaluate_detections(answers[:5], split.take(range(5)), ["a", "b", "c"])
    with pytest.raises(ValueError, match="objects of the same images"):
        ap_interval(figures, fewer)


def same(one: Matches, other: Matches) -> bool:
    names = [field.name for field in dataclasses.fields(Matches)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


# --- Masks ----------------------------------------------------------------------------------------


def masked(boxes: Any, labels: Any, masks: Sequence[np.ndarray], **other: Any) -> Objects:
    """From boxes in pixels, and (SIDE, SIDE) bool each."""
    areas = [mask.sum() for mask in masks]
    made = objects(boxes, labels, areas=areas, **other)
    return dataclasses.replace(made, masks=tuple((lambda mask=mask: mask) for mask in masks))


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top:bottom, left:right] = True
    return mask


def segm(
    answers: Sequence[Detections], pictures: Sequence[Objects], classes: Sequence[str] = "a"
) -> DetectionEvaluation:
    return evaluate_detections(answers, split_of(pictures), classes, kind="segm")


FULL = np.ones((28, 28), np.float32)


def random_masks(pictures: int) -> tuple[list[Objects], list[Detections]]:
    """Three classes; detections near their objects and by chance, blots of a few cells as masks."""
    draw = np.random.default_rng(5)
    truth, answers = [], []
    for _ in range(pictures):
        count = int(draw.integers(0, 5))
        corner, sides = draw.uniform(0, 60, (count + 2, 2)), draw.uniform(5, 40, (count + 2, 2))
        boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
        blots = np.kron(draw.random((count + 2, 4, 4)), np.ones((7, 7))).astype(np.float32)
        blots = np.maximum(blots, 0.9 * np.pad(np.ones((14, 14)), 7)).astype(np.float32)
        pasted = [paste(m, b / SIDE, (SIDE, SIDE)) for m, b in zip(blots, boxes, strict=True)]
        labels = draw.integers(0, 3, count + 2)
        crowd = draw.random(count) < 0.2
        truth.append(masked(boxes[:count], labels[:count], pasted[:count], crowd=crowd))
        moved = boxes + draw.normal(size=boxes.shape)
        scores = draw.random(count + 2)
        answers.append(Detections.of(moved / SIDE, labels, scores, blots))
    return truth, answers


def test_mask_ap_is_that_of_the_library_run_by_hand() -> None:
    truth, answers = random_masks(25)
    images = [{"id": i, "height": SIDE, "width": SIDE} for i in range(25)]
    whole: dict[str, Any] = {"images": images, "categories": [{"id": i} for i in range(3)]}
    whole["annotations"], results = [], []
    for index, (each, one) in enumerate(zip(truth, answers, strict=True)):
        for label, mask, crowd in zip(each.labels, each.masks or (), each.crowd, strict=True):
            encoded = rle.encode(np.asfortranarray(mask().astype(np.uint8)))
            about = {"id": len(whole["annotations"]) + 1, "image_id": index, "iscrowd": int(crowd)}
            about |= {"category_id": int(label), "segmentation": encoded}
            whole["annotations"].append(about | {"area": float(mask().sum()), "bbox": [0, 0, 1, 1]})
        for label, score, box, mask in zip(
            one.labels, one.scores, one.boxes, one.masks, strict=True
        ):
            pasted = paste(mask, box, (SIDE, SIDE))
            encoded = rle.encode(np.asfortranarray(pasted.astype(np.uint8)))
            about = {"image_id": index, "category_id": int(label), "score": float(score)}
            results.append(about | {"segmentation": encoded})
    library = COCO()
    library.dataset = whole
    with contextlib.redirect_stdout(io.StringIO()):
        library.createIndex()
        judge = COCOeval(library, library.loadRes(results), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    figures = segm(answers, truth, "abc")
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
    ours = np.array([getattr(figures, name) for name in names])
    expected = np.where(judge.stats[:9] < 0, np.nan, 100 * judge.stats[:9])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)
    assert 20 < figures.ap < 95
    assert figures.kind == "segm"
    assert average_precision(figures.matches) == pytest.approx(figures.ap, abs=1e-6)
    assert same(unpack(pack(figures.matches)), figures.matches)
    assert figures.ap != evaluate_detections(answers, split_of(truth), "abc").ap


def test_perfect_masks_have_everything() -> None:
    _, answers = random_masks(8)
    truth = [
        masked(one.boxes * SIDE, one.labels, one.pasted((SIDE, SIDE)) or []) for one in answers
    ]
    figures = segm(answers, truth, "abc")
    assert figures.ap == figures.ap50 == figures.ar100 == pytest.approx(100)


def test_half_a_mask_is_a_hit_up_to_its_overlap() -> None:
    box = [[20, 20, 80, 80]]
    right = found(box, [0], [0.9])
    whole = paste(FULL, right.boxes[0], (SIDE, SIDE))
    truth = masked(box, [0], [whole])
    for kept, hits in ((28, 10), (20, 5), (18, 3), (14, 0)):
        mask = FULL.copy()
        mask[:, kept:] = 0
        part = paste(mask, right.boxes[0], (SIDE, SIDE))
        assert not (part & ~whole).any()
        overlap = part.sum() / whole.sum()
        assert np.count_nonzero(overlap >= np.arange(0.5, 0.96, 0.05)) == hits
        answers = dataclasses.replace(right, masks=mask[None])
        assert segm([answers], [truth]).ap == pytest.approx(10 * hits)
        # Boxes are right whatever the mask.
        assert evaluate_detections([answers], split_of([truth]), "a").ap == pytest.approx(100)


def test_masks_on_a_crowds_mask_are_no_mistakes() -> None:
    boxes = [[0, 0, 30, 30], [40, 40, 100, 100]]
    # The crowd is the lower half of its box.
    outlines = [rectangle(0, 0, 30, 30), rectangle(70, 40, 100, 100)]
    answers = found([[0, 0, 29, 29], [72, 50, 90, 80], [40, 40, 60, 80]], [0] * 3, [0.7, 0.9, 0.8])
    answers = dataclasses.replace(answers, masks=np.tile(FULL, (3, 1, 1)))
    truth = masked(boxes, [0, 0], outlines, crowd=[False, True])
    # The second is on the crowd, the third is beside it: a mistake before the only hit.
    assert segm([answers], [truth]).ap50 == pytest.approx(50)
    assert evaluate_detections([answers], split_of([truth]), "a").ap50 == pytest.approx(100)


def test_masks_of_small_area_are_small() -> None:
    stripe = FULL.copy()
    stripe[2:] = 0
    boxes = [[0, 0, 100, 100], [80, 0, 90, 40]]
    answers = found(boxes, [0, 0], [0.9, 0.5])
    answers = dataclasses.replace(answers, masks=np.stack([stripe, FULL]))
    thin, whole = answers.pasted((SIDE, SIDE)) or []
    assert 0 < thin.sum() < 32**2
    # The first is a mistake among small objects: its mask is small, though its box is large.
    truth = masked(boxes[1:], [0], [whole])
    assert segm([answers], [truth]).ap_small == pytest.approx(50)


def test_pictures_without_masks() -> None:
    nobody, truth = objects(NO_BOXES, []), masked([[0, 0, 9, 9]], [0], [rectangle(0, 0, 9, 9)])
    empty = Detections.of(NO_BOXES, [], [], np.zeros((0, 28, 28)))
    for nothing in (NOTHING, empty):
        figures = segm([nothing, nothing], [nobody, truth])
        assert (figures.ap, figures.broken, figures.objects.tolist()) == (0, 0, [1])
        assert np.isnan(segm([nothing], [nobody]).ap)


def test_masks_that_are_no_numbers_are_counted_for_masks_alone() -> None:
    box, mask = [[20, 20, 80, 80]], np.full((1, 28, 28), np.nan, np.float32)
    answers = dataclasses.replace(found(box, [0], [0.9]), masks=mask)
    truth = masked(box, [0], [rectangle(20, 20, 80, 80)])
    assert segm([answers], [truth]).broken == 1
    figures = evaluate_detections([answers], split_of([truth]), "a")
    assert (figures.broken, figures.ap) == (0, pytest.approx(100))


def test_masks_that_are_missing_or_do_not_fit_are_refused() -> None:
    box = [[0, 0, 20, 20]]
    boxed, truth = objects(box, [0]), masked(box, [0], [rectangle(0, 0, 20, 20)])
    answers = dataclasses.replace(found(box, [0], [0.9]), masks=FULL[None])
    with pytest.raises(InputError, match="picture 0: its objects have no masks; evaluate boxes"):
        segm([answers], [boxed])
    with pytest.raises(InputError, match="picture 0: detections have no masks; evaluate boxes"):
        segm([found(box, [0], [0.9])], [truth])
    small = masked(box, [0], [np.ones((4, 5), bool)])
    with pytest.raises(InputError, match=r"picture 0: a mask of \(4, 5\) pixels on an image of"):
        segm([answers], [small])
    with pytest.raises(InputError, match="kind must be 'bbox' or 'segm', not 'keypoints'"):
        evaluate_detections([answers], split_of([truth]), "a", kind="keypoints")


def test_masks_go_with_their_detections() -> None:
    masks = np.arange(4, dtype=np.float64)[:, None, None] * np.ones((4, 2, 2))
    each = Detections.of(np.zeros((4, 4)), [2, -1, 0, 1], [0.5, 0, 0.9, 0.5], masks)
    assert each.masks is not None
    assert each.masks[:, 0, 0].tolist() == [2, 0, 3]
    assert each.masks.dtype == np.float32
    some = each.take(each.scores > 0.6)
    assert (len(some), some.masks is not None and len(some.masks)) == (1, 1)
    assert NOTHING.pasted((5, 5)) is None


# --- For the .json --------------------------------------------------------------------------------


def test_packed_matches_come_back() -> None:
    for pictures, noise in ((1, 0), (30, 3)):
        split, answers = random_case(pictures, noise)
        matches = evaluate_detections(answers, split, ["a", "b", "c"]).matches
        again = unpack(json.loads(json.dumps(pack(matches))))
        assert same(matches, again)
        assert matches_interval(matches, again, resamples=5) == (0, 0)
    nothing = evaluate_detections([NOTHING], split_of([objects(NO_BOXES, [])]), ["a"]).matches
    assert same(nothing, unpack(pack(nothing)))


def test_packed_matches_of_500_pictures_are_below_100_kilobytes() -> None:
    draw = np.random.default_rng(0)
    found_in_all = 50_000  # as many as a phone's file gives: 100 a picture
    hits = np.repeat(draw.random((found_in_all, 1)) < 0.04, 10, axis=1)
    matches = Matches(
        objects=draw.integers(0, 3, (500, 10)),
        labels=np.sort(draw.integers(0, 10, found_in_all)),
        pictures=draw.integers(0, 500, found_in_all),
        hits=hits & (np.arange(10) < draw.integers(0, 11, (found_in_all, 1))),
        ignored=np.zeros((found_in_all, 10), bool),
    )
    assert len(json.dumps(pack(matches))) < 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"hits": "%"},
        {"hits": "é"},
        {"hits": 3},
        {"hits": base64.b64encode(b"no deflated bytes").decode()},
        {"objects": base64.b64encode(zlib.compress(bytes(10**6))).decode()},
        {"detections": 1},
        {"pictures": 2},
        {"classes": -1},
        {"pictures": None},
    ],
)
def test_what_is_no_packed_matches_is_refused(change: dict[str, Any]) -> None:
    split, answers = random_case(5, 1)
    packed = pack(evaluate_detections(answers, split, ["a", "b", "c"]).matches)
    with pytest.raises(ValueError, match=r"packed matches|bytes|detections|base64|ASCII|negative"):
        unpack(packed | change)
    with pytest.raises(ValueError, match="packed matches"):
        unpack({name: packed[name] for name in packed if name != "hits"})


def test_curve_has_a_line_a_class_and_their_mean() -> None:
    with drawing():
        figure = draw_pr_curve(by_hand(), ["a", "b"])
    (axes,) = figure.axes
    one, mean = axes.get_lines()  # "b" has no objects
    assert one.get_linewidth() < mean.get_linewidth()
    np.testing.assert_allclose(mean.get_ydata(), np.repeat([100, 200 / 3], [51, 50]))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["mean of 1  83.5", "a  83.5"]


def test_curve_and_table_of_masks(tmp_path: Path) -> None:
    truth, answers = random_masks(6)
    figures = segm(answers, truth, "abc")
    texts = [axes.get_title(loc="left") for axes in draw_pr_curve(figures, "abc").axes]
    assert texts == ["precision (%) at mask IoU 0.5"]
    boxes = evaluate_detections(answers, split_of(truth), "abc")
    write_per_class(figures, "abc", tmp_path / "classes.csv", boxes=boxes)
    with (tmp_path / "classes.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [*rows[0]] == ["class", "ap", "ap50", "objects", "detections", "box_ap", "box_ap50"]
    for label, row in enumerate(rows):
        assert float(row["ap"]) == pytest.approx(figures.per_class[label], abs=1e-4)
        assert float(row["box_ap50"]) == pytest.approx(boxes.per_class50[label], abs=1e-4)
    with pytest.raises(InputError, match="evaluation of 1 classes does not fit 3 class names"):
        write_per_class(figures, "abc", tmp_path / "other.csv", boxes=by_one_class())


def by_one_class() -> DetectionEvaluation:
    return evaluate_detections([NOTHING], split_of([objects(NO_BOXES, [])]), ["a"])


def test_curve_ends_where_recall_does() -> None:
    truth = objects([[0, 0, 40, 40], [50, 50, 90, 90]], [0, 0])
    answers = found([[0, 0, 40, 40]], [0], [0.9])
    figures = evaluate_detections([answers], split_of([truth]), ["a"])
    values = draw_pr_curve(figures, ["a"]).axes[0].get_lines()[0].get_ydata()
    assert values[50:52].tolist() == pytest.approx([100, 0])
    assert np.isnan(values[52:]).all()


def test_many_classes_share_one_grey_and_one_entry() -> None:
    names = [f"class {i}" for i in range(30)]
    truth = objects([[0, 0, 40, 40]] * 30, range(30))
    figures = evaluate_detections([NOTHING], split_of([truth]), names)
    figure = draw_pr_curve(figures, names)
    assert len({line.get_color() for line in figure.axes[0].get_lines()}) == 2
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["mean of 30  0.0", "each class"]


def test_curve_and_table_are_written(tmp_path: Path) -> None:
    write_pr_curve(by_hand(), tmp_path / "curve.png", ["a", "b"])
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (1680, 1240)
    write_per_class(by_hand(), ["a, comma", "b"], tmp_path / "classes.csv")
    with (tmp_path / "classes.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["class", "ap", "ap50", "objects", "detections"],
        ["a, comma", "60.3960", "83.4983", "2", "3"],
        ["b", "", "", "0", "0"],
    ]
    with pytest.raises(InputError, match="evaluation of 2 classes does not fit 1 class names"):
        write_per_class(by_hand(), ["a"], tmp_path / "other.csv")
    nobody = evaluate_detections([NOTHING], split_of([objects(NO_BOXES, [])]), ["a"])
    write_pr_curve(nobody, tmp_path / "empty.png", ["a"])
