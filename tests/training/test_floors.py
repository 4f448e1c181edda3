"""What a network reaches without looking, by hand."""

from __future__ import annotations

import math

import pytest

from training.classification.floor import below_floor, floor_of
from training.detection import floor as detection
from training.engine.floor import class_facts
from training.segmentation import floor as segmentation


def test_accuracy_has_to_exceed_the_commonest_class_and_its_luck() -> None:
    facts = class_facts([113, 0, 51])
    assert (facts["classes"], facts["pictures"], facts["smallest"]) == (2, 164, 51)
    assert facts["majority"] == pytest.approx(68.9, abs=0.01)
    # 68.9 and 1.645 standard errors of 3.61 points.
    assert floor_of(classes=2, majority=facts["majority"], pictures=164) == (
        pytest.approx(74.85, abs=0.01)
    )
    assert floor_of(classes=10) == 10
    assert below_floor(81.9, **facts) is None
    for chance in (68.9, 74.8, 50.0, math.nan):
        told = below_floor(chance, **facts)
        assert told is not None
        assert told.startswith(f"this network finds nothing yet: accuracy {chance:.1f}%")
        assert "one class for every image has 68.9% (on 164 images up to 74.8% by luck)" in told
        assert "epochs" in told
        assert "objects" not in told


def test_a_network_that_misses_no_rare_class_may_be_right_less_often() -> None:
    """960 of 1,000 are of one class."""
    facts = class_facts([960, 40])
    assert below_floor(90.0, **facts)
    assert below_floor(90.0, **facts, balanced=88.0) is None
    # 50 and 1.645 * sqrt(0.5 / 40) / 2 = 59.2
    assert below_floor(50.0, **facts, balanced=59.0)
    assert below_floor(50.0, **facts, balanced=59.4) is None
    # The constant answer.
    told = below_floor(96.0, **facts, balanced=50.0)
    assert told is not None
    assert "Likely causes: one class is far more common (class_weights=balanced)" in told
    even = below_floor(50.0, **class_facts([20, 20]))
    assert even is not None
    assert "far more common" not in even


def test_few_images_do_not_say_that_a_network_finds_nothing() -> None:
    """Three of four are right, where luck reaches 50 + 1.645 * 25 = 91.1."""
    for imported in (False, True):
        told = below_floor(75.0, **class_facts([2, 1, 1]), imported=imported)
        assert told == (
            "too few held-out images to tell what this network finds: accuracy 75.0%, and one "
            "class for every image has 50.0% (on 4 images up to 91.1% by luck)"
        )
    assert below_floor(100.0, **class_facts([2, 1, 1])) is None
    # Of ten luck adds 1.645 * 15.8 points, more than half of 50; of 16, 1.645 * 12.5.
    few = below_floor(50.0, **class_facts([5, 5]))
    assert few is not None
    assert "too few held-out images to tell" in few
    assert "this network finds nothing yet" in (below_floor(50.0, **class_facts([8, 8])) or "")


def test_an_imported_network_has_causes_of_its_own() -> None:
    for value, few in ((20.0, False), (40.0, True)):  # luck reaches 33.3 + 1.645 * 7.9 = 46.2
        told = below_floor(value, **class_facts([12, 12, 12]), imported=True)
        assert told is not None
        causes = told.partition("Likely causes: ")[2]
        for flag in ("--labels", "--preprocessing", "--resize", "--image-size"):
            assert flag in causes
        assert ("too few held-out images (--data" in causes) == few
        for word in ("epochs", "learning rate", "ema"):
            assert word not in told


def test_one_class_tells_nothing() -> None:
    told = below_floor(100.0, **class_facts([0, 20]))
    assert told is not None
    assert told.startswith("all held-out images are of one class")


@pytest.mark.parametrize("metric", ["AP", "mask AP"])
def test_an_ap_of_nothing(metric: str) -> None:
    told = detection.below_floor(metric, 0.0)
    assert told is not None
    assert told.startswith(f"this network finds nothing yet: {metric} 0.0%, less than 1%.")
    assert "objects too small" in told
    assert detection.below_floor(metric, 3.0) is None
    nothing = detection.below_floor(metric, math.nan)
    assert nothing is not None
    assert "nothing to find" in nothing


def test_one_class_for_every_pixel() -> None:
    """Two classes, 88.8% background: 44.4% without any object, seen as a network's figure."""
    assert segmentation.floor_of(classes=2, majority=88.8) == pytest.approx(45.4)
    told = segmentation.below_floor(44.4, classes=2, majority=88.8)
    assert told is not None
    assert "mIoU 44.4%, and one class for every pixel has 44.4%" in told
    assert segmentation.below_floor(46.0, classes=2, majority=88.8) is None
