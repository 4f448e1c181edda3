"""Proposals and detections: hand-worked, as torchvision's, and where there is nothing to find.

tests/kerascnn/data/make_rcnn_op_goldens.py made torchvision's.
"""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from checkpoints import golden_operations
from keras import ops

from kerascnn import detection, zoo
from kerascnn.detection import two_stage
from kerascnn.detection.anchors import Anchors, Level
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.errors import InputError

# Two levels: four cells of a picture of 100 x 100, then one; an anchor of a quarter, then of all.
LEVELS = (
    Level(rows=2, columns=2, sizes=((0.5, 0.5),)),
    Level(rows=1, columns=1, sizes=((1.0, 1.0),)),
)
SMALL = TwoStageSpec(
    anchors=Anchors(levels=LEVELS), input_size=(100, 100), proposals=4, max_detections=3
)
QUARTERS = [[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.5, 0.5, 1, 1]]
WHOLE = [0, 0, 1, 1]


def ours(boxes: np.ndarray) -> np.ndarray:
    """Boxes (left, top, right, bottom) in pixels as ours."""
    return (boxes[..., [1, 0, 3, 2]] / np.tile(golden_operations()["size"], 2)).astype(np.float32)


def proposed(spec: TwoStageSpec, codes, logits) -> list[np.ndarray]:
    """Proposals of each picture, without the padding."""
    boxes, valid = two_stage.propose(
        spec, np.array(codes, np.float32), np.array(logits, np.float32)
    )
    boxes, valid = ops.convert_to_numpy(boxes), ops.convert_to_numpy(valid)
    assert boxes.shape == (len(logits), spec.proposals, 4)
    assert valid.dtype == bool
    assert (boxes[~valid] == 0).all()
    assert (np.diff(valid.astype(int)) <= 0).all(), "real ones come first"
    return [b[v] for b, v in zip(boxes, valid, strict=True)]


def detected(spec: TwoStageSpec, regions, logits, codes, valid=None) -> list[dict]:
    """Detections of each picture, without the padding."""
    regions, logits = np.array(regions, np.float32), np.array(logits, np.float32)
    if valid is None:
        valid = np.ones(regions.shape[:2], bool)
    found = two_stage.detect(spec, regions, valid, logits, np.array(codes, np.float32))
    found = {key: ops.convert_to_numpy(value) for key, value in found.items()}
    real = np.arange(spec.max_detections) < found["count"][:, None]
    assert (found["labels"][~real] == -1).all()
    assert (found["scores"][~real] == 0).all()
    assert (found["boxes"][~real] == 0).all()
    assert (found["scores"][real] > spec.score_threshold).all()
    return [
        {key: found[key][i][real[i]] for key in ("boxes", "labels", "scores")}
        for i in range(len(regions))
    ]


def test_the_best_anchors_are_proposed() -> None:
    nothing = np.zeros((1, 5, 4))
    logits = [[-1, 3, -2, 0, 1]]
    wanted = [QUARTERS[1], WHOLE, QUARTERS[3], QUARTERS[0]]
    np.testing.assert_array_equal(proposed(SMALL, nothing, logits)[0], wanted)
    # Two candidates of a level, then of both the best.
    few = dataclasses.replace(SMALL, candidates_a_level=2)
    np.testing.assert_array_equal(proposed(few, nothing, logits)[0], wanted[:3])
    one = dataclasses.replace(few, proposals=1)
    np.testing.assert_array_equal(proposed(one, nothing, logits)[0], wanted[:1])
    # The highest sigmoids of 0.5 and more.
    strict = dataclasses.replace(SMALL, rpn_score_threshold=0.5)
    np.testing.assert_array_equal(proposed(strict, nothing, logits)[0], wanted[:3])


def test_anchors_are_corrected_and_cut() -> None:
    codes = np.zeros((1, 5, 4))
    codes[0, 3] = [0.5, -0.5, 0, math.log(2)]  # a quarter of the picture down and to the left
    codes[0, 4] = [0, 0, math.log(0.5), 100]  # half as high; as wide as can be
    logits = [[-9, -9, -9, 2, 1]]
    two = dataclasses.replace(SMALL, proposals=2)
    np.testing.assert_allclose(
        proposed(two, codes, logits)[0], [[0.75, 0, 1, 1], [0.25, 0, 0.75, 1]], atol=1e-6
    )


def test_no_side_grows_by_more_than_the_limit() -> None:
    box = np.array([[0.5, 0.5, 0.501, 0.501]], np.float32)
    for scale, code in ((1.0, 4.2), (5.0, 1e9)):
        grown = two_stage.decode([[0, 0, code, -code]], box, (1.0, 1.0, scale, scale))
        height = float(grown[0, 2] - grown[0, 0])
        assert height == pytest.approx(0.0625, rel=1e-3)
        assert 0 <= float(grown[0, 3] - grown[0, 1]) < 2e-5


def test_levels_do_not_suppress_one_another() -> None:
    codes = np.zeros((1, 5, 4))
    # The first and the second anchor become the whole picture, as the last one is.
    codes[0, :2, 2:] = math.log(2)
    codes[0, 0, :2], codes[0, 1, :2] = [0.5, 0.5], [0.5, -0.5]
    found = proposed(SMALL, codes, [[3, 2, 1, 0, 5]])[0]
    np.testing.assert_allclose(found, [WHOLE, WHOLE, QUARTERS[2], QUARTERS[3]], atol=1e-6)


def test_equal_logits_go_by_level_and_place() -> None:
    found = proposed(SMALL, np.zeros((1, 5, 4)), [[1, 1, 1, 1, 1]])[0]
    np.testing.assert_array_equal(found, QUARTERS)


def test_slivers_are_not_proposed() -> None:
    codes = np.zeros((1, 5, 4))
    codes[0, 0, :2] = -9  # outside of the picture, to which it is cut
    codes[0, 1, 2] = -11  # 50 pixels times 1.7e-5
    codes[0, 2, 3] = -10.7  # 50 pixels times 2.3e-5 is above a thousandth of a pixel
    found = proposed(SMALL, codes, [[5, 4, 3, 2, 1]])[0]
    assert len(found) == 3
    assert (found[0, 3] - found[0, 1]) * 100 == pytest.approx(0.00113, rel=0.02)


def test_nothing_to_propose_is_no_number_to_fear() -> None:
    spec = dataclasses.replace(SMALL, rpn_score_threshold=0.9)
    codes = np.zeros((4, 5, 4))
    codes[2] = np.nan
    logits = [[-5] * 5, [np.nan] * 5, [9] * 5, [-np.inf, np.inf, np.nan, 4, 0]]
    assert [len(found) for found in proposed(spec, codes, logits)] == [0, 0, 0, 1]


def test_proposals_as_torchvision() -> None:
    golden = golden_operations()
    size = tuple(golden["size"].tolist())
    spec = zoo.detector_spec("faster_rcnn_resnet50_fpn", size)
    codes = golden["rpn_codes"][..., [1, 0, 3, 2]]
    for name, options in (
        ("rpn_many", {"candidates_a_level": 200, "proposals": 100}),
        ("rpn_strict", {"candidates_a_level": 50, "proposals": 200, "rpn_score_threshold": 0.3}),
    ):
        changed = dataclasses.replace(spec, **options)
        found = proposed(changed, codes, golden["rpn_logits"])[0]
        np.testing.assert_allclose(found, ours(golden[name]), atol=2e-6)
    assert 0 < len(found) < changed.proposals


def test_detections_as_torchvision() -> None:
    golden = golden_operations()
    size = tuple(golden["size"].tolist())
    spec = zoo.detector_spec("faster_rcnn_resnet50_fpn", size)
    codes = golden["box_codes"].reshape(1, 40, 5, 4)[..., [1, 0, 3, 2]]
    found = detected(spec, ours(golden["box_regions"])[None], golden["box_logits"][None], codes)[0]
    np.testing.assert_allclose(found["boxes"], ours(golden["box_boxes"]), atol=2e-6)
    np.testing.assert_allclose(found["scores"], golden["box_scores"], rtol=1e-5)
    np.testing.assert_array_equal(found["labels"] + 1, golden["box_labels"])


def logits_of(shares) -> np.ndarray:
    return np.log(np.array(shares))


def test_hand_worked_detections() -> None:
    regions = [[WHOLE, [0, 0, 0.9, 1], QUARTERS[0]]]
    # The background, then two classes.
    logits = logits_of([[[0.1, 0.7, 0.2], [0.25, 0.6, 0.15], [0.5, 0.02, 0.48]]])
    codes = np.zeros((1, 3, 3, 4))
    codes[0, 2, 2, 1] = 10  # a width to the right, for the second class alone
    found = detected(SMALL, regions, logits, codes)[0]
    assert found["labels"].tolist() == [0, 1, 1]
    np.testing.assert_allclose(found["scores"], [0.7, 0.48, 0.2], rtol=1e-5)
    np.testing.assert_allclose(found["boxes"], [WHOLE, QUARTERS[1], WHOLE], atol=1e-6)
    # 0.6 overlaps with 0.7 by 0.9, but not for a threshold that is not below.
    mild = dataclasses.replace(SMALL, iou_threshold=0.95)
    assert detected(mild, regions, logits, codes)[0]["labels"].tolist() == [0, 0, 1]
    strict = dataclasses.replace(SMALL, score_threshold=0.5)
    assert detected(strict, regions, logits, codes)[0]["labels"].tolist() == [0]
    only = np.array([[False, True, False]])
    assert detected(SMALL, regions, logits, codes, only)[0]["scores"] == pytest.approx([0.6, 0.15])
    few = dataclasses.replace(SMALL, candidates=2)
    assert detected(few, regions, logits, codes)[0]["scores"] == pytest.approx([0.7])


def test_equal_scores_go_by_label_and_region() -> None:
    scores, codes = np.full((1, 4, 2), 0.5, np.float32), np.zeros((1, 4, 3, 4), np.float32)
    valid = np.ones((1, 4), bool)

    def kept(spec: TwoStageSpec, regions: list) -> tuple[list[int], np.ndarray]:
        found = two_stage.select(spec, np.array([regions], np.float32), valid, scores, codes)
        count = int(found["count"][0])
        return np.asarray(found["labels"])[0, :count].tolist(), np.asarray(found["boxes"])[0]

    for most, labels in ((3, [0, 0, 0]), (6, [0, 0, 0, 0, 1, 1]), (9, [0] * 4 + [1] * 4)):
        for candidates in (most, 100):
            spec = dataclasses.replace(SMALL, max_detections=most, candidates=candidates)
            found, boxes = kept(spec, QUARTERS)
            assert found == labels
            np.testing.assert_array_equal(boxes[: len(labels)], (QUARTERS * 2)[: len(labels)])
    # Of equal ones that overlap, the first stays.
    found, boxes = kept(SMALL, [QUARTERS[0], WHOLE, WHOLE, [0, 0, 1, 0.9]])
    assert found == [0, 0, 1]
    np.testing.assert_array_equal(boxes, [QUARTERS[0], WHOLE, QUARTERS[0]])


def test_slivers_and_what_is_no_number_are_not_detected() -> None:
    regions = [[[0, 0, 0.5, 9.9e-5], [0, 0, 0.5, 1.1e-4]], [WHOLE, WHOLE]]
    logits = logits_of([[[0.2, 0.8], [0.4, 0.6]], [[0.4, 0.6], [0.3, 0.7]]])
    codes = np.zeros((2, 2, 2, 4))
    logits[1, 0] = codes[1, 1] = np.nan
    found = detected(SMALL, regions, logits, codes)
    assert found[0]["scores"] == pytest.approx([0.6])
    assert len(found[1]["scores"]) == 0


def test_no_regions_no_detections() -> None:
    nothing = np.zeros((2, 4, 4))
    found = detected(SMALL, nothing, np.zeros((2, 4, 3)), np.zeros((2, 4, 3, 4)))
    assert [len(one["scores"]) for one in found] == [0, 0]
    absent = np.zeros((2, 4), bool)
    regions = np.tile(WHOLE, (2, 4, 1))
    found = detected(SMALL, regions, np.zeros((2, 4, 3)), np.zeros((2, 4, 3, 4)), absent)
    assert [len(one["scores"]) for one in found] == [0, 0]


def test_json_brings_back_the_same_spec() -> None:
    spec = zoo.detector_spec("mask_rcnn_resnet50_fpn", (64, 96, 3), score_threshold=0.3)
    plain = json.loads(json.dumps(spec.to_dict()))
    assert plain["stages"] == 2
    assert TwoStageSpec.from_dict(plain) == spec
    assert detection.spec_from_dict(plain) == spec
    other = zoo.detector_spec("efficientdet_lite0", (64, 96))
    assert detection.spec_from_dict(json.loads(json.dumps(other.to_dict()))) == other
    with pytest.raises(ValueError, match="unknown field 'iou'"):
        detection.spec_from_dict({**plain, "iou": 1})
    del plain["anchors"]
    with pytest.raises(ValueError, match="anchors"):
        detection.spec_from_dict(plain)


@pytest.mark.parametrize(
    "change",
    [
        {"box_scales": (1, 1, 1, 0)},
        {"rpn_negative_iou": 0.8},
        {"positive_iou": 0},
        {"iou_threshold": 1.1},
        {"rpn_positive_share": 1.5},
        {"score_threshold": 1},
        {"rpn_score_threshold": -0.1},
        {"proposals": 0},
        {"candidates": 0},
        {"input_size": (0, 5)},
    ],
)
def test_impossible_specs_are_refused(change: dict) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(SMALL, **change)
