"""The line that a training ends with."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.classification.closing import recalls
from training.classification.evaluate import class_report
from training.engine.closing import below_floor, closing_line


def info(labels: list[int], predictions: list[int], names: list[str]) -> dict[str, Any]:
    found = class_report(np.array(labels), np.array(predictions), len(names))
    right = 100 * float(np.mean(np.array(labels) == np.array(predictions)))
    return {
        "results": {"metric": "accuracy", "held_out": right, **found.to_dict(names)},
        "dataset": {"held_out": len(labels)},
    }


def test_unequal_classes_are_told_of_by_class():
    labels = [0] * 4 + [1] * 12
    predictions = [0, 1, 1, 1, *[1] * 11, 0]
    assert closing_line(info(labels, predictions, ["defect", "ok"])) == (
        "75.0% of 16 held-out images are right (always answering 'ok': 75.0%); "
        "balanced accuracy 58.3%; recall: defect 25.0%, ok 91.7%"
    )


def test_equal_classes_need_one_figure():
    told = closing_line(info([0, 1, 0, 1], [0, 1, 1, 1], ["a", "b"]))
    assert told == "75.0% of 4 held-out images are right"


def test_of_many_classes_the_worst_are_named():
    labels = [0, 0, 0, 1, 2, 3, 4, 5]
    predictions = [0, 0, 1, 1, 0, 3, 0, 5]
    told = closing_line(info(labels, predictions, list("abcdefg")))
    assert told.endswith("lowest recall: c 0.0%, e 0.0%, a 66.7%")


def test_the_epoch_that_validation_chose():
    told = info([0, 1], [0, 1], ["a", "b"])
    told["results"]["best_epoch"] = 2
    told["request"] = {"config": {"epochs": 6}}
    assert "epoch" not in closing_line(told)  # nothing chose: the last one was kept
    told["dataset"]["validation"] = 5
    assert closing_line(told).endswith("; best epoch 2 of 6")
    told["results"]["epochs"] = 4  # stopped early
    assert closing_line(told).endswith("; best epoch 2 of 4")


def test_runs_of_earlier_versions_say_less():
    old = {"results": {"metric": "accuracy", "held_out": 97.12}}
    assert closing_line(old) == "97.1% of the held-out images are right"
    detector = {"metric": "AP", "held_out": 31.0, "ap50": 50.0, "ap75": None}
    told = closing_line({"task": "detection", "results": detector})
    assert told == "AP 31.0%, AP50 50.0% on the held-out images"
    nothing = {"metric": "AP", "held_out": float("nan")}
    told = closing_line({"task": "detection", "results": nothing})
    assert told == "no AP on the held-out images"


def test_the_epoch_has_its_figure_where_the_run_knows_what_chose():
    told = info([0, 1], [0, 1], ["a", "b"])
    told["dataset"]["validation"] = 5
    told["results"] |= {
        **{"best_epoch": 2, "epochs": 6},
        **{"chosen_by": "val_accuracy", "validation": 84.3},
    }
    assert closing_line(told).endswith("; best epoch 2 of 6 (val accuracy 84.3%)")


def test_a_run_at_chance_is_called_so():
    labels, names = [0] * 100 + [1] * 200, ["defect", "ok"]
    always = info(labels, [1] * 300, names) | {"labels": names}
    told = below_floor(always)
    assert told is not None
    assert told.startswith("this network finds nothing yet: accuracy 66.7%")
    assert below_floor(info(labels, labels, names) | {"labels": names}) is None


def test_detectors_and_runs_of_earlier_versions_have_a_floor():
    results = {"metric": "AP", "held_out": 0.04}
    detector = {"task": "detection", "results": results, "labels": ["car"]}
    assert "AP 0.0%, less than 1%" in (below_floor(detector) or "")
    assert below_floor({**detector, "results": {"metric": "AP", "held_out": 12.0}}) is None
    nothing = {**detector, "results": {"metric": "AP", "held_out": None}}
    assert "nothing to find" in (below_floor(nothing) or "")
    old = {"results": {"metric": "accuracy", "held_out": 9.0}, "labels": list("0123456789")}
    assert below_floor(old) is not None
    assert below_floor({**old, "results": {"metric": "accuracy", "held_out": 97.0}}) is None


def test_a_segmentation_network_of_one_class_finds_nothing() -> None:
    """Background on 89.2% of the pixels: the mean over two classes is 44.6."""
    results = {
        "metric": "mIoU", "held_out": 44.6, "classes_there": 2, "majority_baseline": 89.2,
    }  # fmt: skip
    labels = ["ground", "disc", "square"]
    run = {"task": "segmentation", "labels": labels, "results": results}
    assert "one class for every pixel has 44.6%" in (below_floor(run) or "")
    assert below_floor({**run, "results": results | {"held_out": 60.0}}) is None


def test_labels_from_right_to_left_are_isolated() -> None:
    told = recalls(
        [
            {"label": "\u0639\u064a\u0628", "recall": 50.0, "pictures": 2},
            {"label": "ok", "recall": 100.0, "pictures": 4},
        ]
    )
    assert told == "recall: \u2068\u0639\u064a\u0628\u2069 50.0%, ok 100.0%"
