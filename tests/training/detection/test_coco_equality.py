"""COCO's figures are pycocotools' own, to the last digit, on random cases of every kind."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerascnn.errors import InputError
from training.datasets.detection import DetectionSplit, Objects
from training.datasets.instance_masks import paste
from training.detection import matching
from training.detection.metrics import (
    DetectionEvaluation,
    Detections,
    Evaluator,
    evaluate_detections,
)
from training.detection.truth import Truth

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
CLASSES = ("a", "b", "c", "d")  # no object and no detection is of the last
SIDES = (300, 400)
CELLS = 6


def objects_of(draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 4) shares, of a few pixels to most of the image, and labels; some boxes are equal."""
    sides = np.exp(draw.uniform(np.log(0.02), np.log(0.9), (count, 2)))
    first = draw.random((count, 2)) * (1 - sides)
    boxes = np.concatenate([first, first + sides], axis=1).astype(np.float32)
    if count > 2:
        boxes[1] = boxes[0]
    return boxes, draw.integers(0, 3, count)


def case(seed: int, images: int, most: int) -> tuple[DetectionSplit, list[Detections]]:
    """Objects with masks, crowds among them, and detections near them and by chance.

    Scores have one digit. Some images have no object, some no detection, one has `most` detections.
    """
    draw = np.random.default_rng(seed)
    truth, answers = [], []
    for index in range(images):
        count = int(draw.integers(0, 7)) * (index % 5 != 1)
        boxes, labels = objects_of(draw, count)
        cells = np.clip(draw.normal(0.7, 0.3, (count, CELLS, CELLS)), 0, 1).astype(np.float32)
        pasted = [paste(mask, box, SIDES) for mask, box in zip(cells, boxes, strict=True)]
        truth.append(
            Objects(
                boxes=boxes,
                labels=labels.astype(np.int32),
                crowd=draw.random(count) < 0.2,
                areas=np.array([mask.sum() for mask in pasted], np.float32),
                ids=np.arange(count),
                masks=tuple(lambda mask=mask: mask for mask in pasted),  # type: ignore[misc]
            )
        )
        wrong = most if index == 0 else int(draw.integers(0, 8)) * (index % 4 != 2)
        near = draw.integers(0, max(count, 1), 3 * count * (index % 4 != 2))
        some, other = objects_of(draw, wrong)
        moved = boxes[near] + draw.normal(0, 0.02, (len(near), 4)) * (draw.random() < 0.7)
        masks = np.clip(draw.normal(0.7, 0.3, (wrong, CELLS, CELLS)), 0, 1)
        answers.append(
            Detections(
                boxes=np.concatenate([moved, some]).astype(np.float32),
                labels=np.concatenate([labels[near], other // 3]).astype(np.int32),
                scores=np.round(draw.random(len(near) + wrong), 1).astype(np.float32),
                masks=np.concatenate([cells[near], masks]).astype(np.float32),
            )
        )
    split = DetectionSplit(
        names=tuple(f"image {i}" for i in range(images)),
        places=np.arange(images),
        sizes=np.tile(np.array(SIDES, np.int32), (images, 1)),
        read=lambda place: np.zeros((0, 0, 3), np.uint8),
        annotate=lambda place: truth[place],
    )
    return split, answers


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    encoded: dict[str, Any] = rle.encode(np.asfortranarray(mask, np.uint8))
    return encoded


def in_pixels(boxes: np.ndarray) -> list[list[float]]:
    top, left, bottom, right = (boxes.astype(np.float64) * np.tile(SIDES, 2)).T
    sides = (np.maximum(right - left, 0), np.maximum(bottom - top, 0))
    return np.stack([left, top, *sides], axis=1).tolist()


def library(split: DetectionSplit, answers: Sequence[Detections], kind: str) -> COCOeval:
    """pycocotools, run on the same."""
    images = [{"id": i, "height": SIDES[0], "width": SIDES[1]} for i in range(len(split))]
    both: list[list[dict[str, Any]]] = [[], []]
    for index, found in enumerate(answers):
        there = split.objects(index)
        for row, box in enumerate(in_pixels(there.boxes)):
            about = {"id": len(both[0]) + 1, "image_id": index, "bbox": box}
            about |= {"category_id": int(there.labels[row]), "area": float(there.areas[row])}
            about |= {"segmentation": run_lengths(there.masks[row]())}  # type: ignore[index]
            both[0].append(about | {"iscrowd": int(there.crowd[row])})
        for row, box in enumerate(in_pixels(found.boxes)):
            about = {"id": len(both[1]) + 1, "image_id": index, "bbox": box, "iscrowd": 0}
            about |= {"category_id": int(found.labels[row]), "score": float(found.scores[row])}
            mask = run_lengths(paste(found.masks[row], found.boxes[row], SIDES))  # type: ignore[index]
            area = box[2] * box[3] if kind == "bbox" else float(rle.area(mask))
            both[1].append(about | {"segmentation": mask, "area": area})
    with contextlib.redirect_stdout(io.StringIO()):
        sides = [COCO(), COCO()]
        for one, annotations in zip(sides, both, strict=True):
            one.dataset = {"images": images, "annotations": annotations}
            one.dataset["categories"] = [{"id": i} for i in range(len(CLASSES))]
            one.createIndex()
        judge = COCOeval(*sides, kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def same_to_the_last_digit(ours: DetectionEvaluation, judge: COCOeval) -> None:
    wanted = np.where(judge.stats[:9] < 0, np.nan, 100 * judge.stats[:9])
    assert np.array_equal([getattr(ours, name) for name in NAMES], wanted, equal_nan=True)
    precision = judge.eval["precision"][:, :, :, 0, 2]
    shown = np.where(np.isnan(ours.precision), -1, ours.precision)
    assert np.array_equal(shown, precision[0].T)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_figures_are_the_librarys(kind: str, seed: int) -> None:
    split, answers = case(seed, 14, most=(250 if seed % 2 else 4))
    judge = library(split, answers, kind)
    ours = evaluate_detections(answers, split, CLASSES, kind=kind)
    same_to_the_last_digit(ours, judge)
    assert 0 < ours.ap < 100
    assert np.isnan(ours.per_class[3])
    assert ours.matches.ignored.any()


def test_every_match_is_the_librarys() -> None:
    split, answers = case(11, 10, most=250)
    judge = library(split, answers, "bbox")
    truth, ledger = Truth.of(split, CLASSES), matching.Ledger(len(CLASSES))
    evaluator = Evaluator(truth)
    evaluator._ledger = ledger
    for found in answers:
        evaluator.add(found)
    judged = ledger.closed()
    precision, recall = matching.accumulate(judged)
    assert np.array_equal(precision, judge.eval["precision"][..., 2])
    assert np.array_equal(recall, judge.eval["recall"][:, :, 0])
    assert (judged.ranks == 99).any()
    for label in range(len(CLASSES)):
        for area in range(4):
            first = (label * 4 + area) * len(split)
            wanted = [one for one in judge.evalImgs[first : first + len(split)] if one]
            own = judged.of_class(label)
            for one in wanted:
                here = np.flatnonzero(judged.images[own] == one["image_id"]) + own.start
                here = here[np.argsort(judged.ranks[here])]
                ignored = matching.bits(judged.ignored[here, area])
                hits = matching.bits(judged.hits[here, area])
                assert np.array_equal(ignored, one["dtIgnore"])
                assert np.array_equal(hits, (one["dtMatches"] > 0) & ~ignored)


def test_images_come_one_by_one() -> None:
    split, answers = case(5, 8, most=4)
    whole = evaluate_detections(answers, split, CLASSES, kind="segm")
    truth = Truth.of(split, CLASSES, "segm")
    for _ in range(2):  # the truth is for many evaluations
        streamed = evaluate_detections(iter(answers), truth, CLASSES)
        assert (streamed.ap, streamed.kind) == (whole.ap, "segm")
    evaluator = Evaluator(truth)
    evaluator.add(answers[0])
    with pytest.raises(InputError, match="detections of 1 images do not fit 8 images"):
        evaluator.evaluation()
    with pytest.raises(InputError, match="detections of more images than the 8 there are"):
        evaluate_detections(iter([*answers, answers[0]]), truth, CLASSES)
