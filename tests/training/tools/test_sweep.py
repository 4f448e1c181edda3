"""A sweep's grid, and the same results from Ray's workers as from a serial run."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from commands import assert_refused, here

from kerascnn.errors import InputError
from training.engine.request import request
from training.engine.run import Run
from training.tools import sweep

SMALL = {"pictures_per_class": 12, "batch_size": 32}


def grid(**changes) -> list[sweep.Job]:
    asked = {
        "models": ["lenet5"], "recipes": ["digits", "scratch"], "seeds": [0], "data": "mnist",
        "settings": SMALL, "epochs": 1,
    }  # fmt: skip
    return sweep.jobs(**asked | changes)


def test_a_grid_has_every_combination_in_order() -> None:
    work = grid(models=["lenet5", "resnet18"], seeds=[0, 1])
    assert [job.run for job in work] == [
        f"{model}-{recipe}-{seed}"
        for model in ("lenet5", "resnet18")
        for recipe in ("digits", "scratch")
        for seed in (0, 1)
    ]
    assert work[3].request["seed"] == 1
    assert work[3].request["settings"] == SMALL


@pytest.mark.parametrize("wrong", [{"models": []}, {"recipes": ["a", "a"]}, {"seeds": [1, 1]}])
def test_a_grid_takes_each_once(wrong) -> None:
    with pytest.raises(InputError, match="each"):
        grid(**wrong)


@pytest.mark.parametrize(
    "others",
    [
        ("lenet5", "efficientdet_lite0"),
        ("unet", "efficientdet_lite0"),
        ("faster_rcnn_resnet50_fpn", "mask_rcnn_resnet50_fpn"),  # AP of boxes, and of masks
    ],
)
def test_networks_of_several_metrics_are_not_ranked(others: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=f"{others[0]} by .* and {others[1]} by .* judged"):
        grid(models=list(others), recipes=["a"], data="scenes")


def test_detectors_and_segmentation_networks_have_a_grid() -> None:
    pair = ["efficientdet_lite0", "ssdlite_mobilenet_v2"]
    assert len(grid(models=pair, recipes=["scenes"], data="scenes")) == 2
    assert len(grid(models=["unet"], recipes=["scenes_maps"], data="scenes")) == 1


def test_all_runs_of_a_grid_see_images_the_same_way(tmp_path: Path) -> None:
    (job,) = grid(
        models=["ssdlite_mobilenet_v2"], recipes=["scenes"], data="scenes", resize="letterbox",
        tiles=160, settings={},
    )  # fmt: skip
    found = request(**job.request)
    assert (found.resize, found.tiles) == ("letterbox", 160)
    asked = ("sweep", "--data", "mnist", "--out", tmp_path / "out", "--recipes", "digits")
    refused = here(*asked, "--models", "lenet5", "--tiles", "64")
    assert_refused(refused, "tiles", "sees whole images")
    refused = here(*asked, "--models", "lenet5", "--resize", "letterboxes")
    assert_refused(refused, "letterboxes", "there are")


def test_a_table_has_the_figures_that_there_are() -> None:
    row = {
        "run": "a", "error": "", "metric": "AP", "validation": 31.0, "held_out": 30.0,
        "top5": None, "calibration_error": None, "best_epoch": 3, "seconds": 1.5,
        "below_floor": "",
    }  # fmt: skip
    heading, line, _ranked = sweep.table([row]).splitlines()
    assert "top-5" not in heading
    assert line.split() == ["a", "31.0%", "30.0%", "3", "1.5"]
    assert sweep._summary(row) == "31.0% on the validation images, AP 30.0% on the held-out images"


def test_misspelt_words_are_found_before_anything_runs(tmp_path: Path) -> None:
    asked = ("sweep", "--data", "mnist", "--out", tmp_path / "out", "--recipes", "digits")
    assert_refused(here(*asked, "--models", "lenet6"), "lenet6", "lenet5")
    refused = here(*asked, "--models", "lenet5", "--set", "emma=0.9")
    assert_refused(refused, "emma", "ema")
    assert not (tmp_path / "out").exists()


def test_a_table_has_the_best_first_and_failures_last() -> None:
    rows = [
        {"run": "a", "error": "no such image", "validation": None, "held_out": None},
        {"run": "b", "error": "", "validation": 91.0, "held_out": 80.0, "top5": 99.0,
         "calibration_error": 2.0, "best_epoch": 3, "seconds": 1.5, "below_floor": "finds nothing"},
        {"run": "c", "error": "", "validation": 89.0, "held_out": 90.0, "top5": 99.5,
         "calibration_error": 1.0, "best_epoch": 4, "seconds": 2.5},
    ]  # fmt: skip
    lines = sweep.table(rows).splitlines()
    assert [line[0] for line in lines[1:-1]] == ["b", "c", "a"]
    assert lines[1].split()[1:3] == ["91.0%", "80.0%"]
    assert lines[1].endswith("no better than chance")
    assert lines[2].endswith("2.5")
    assert "no such image" in lines[-2]
    assert "ranked by the validation images" in lines[-1]


def test_runs_without_validation_pictures_are_ranked_by_what_is_shown() -> None:
    figures = {"error": "", "top5": 99.0, "calibration_error": 2.0, "best_epoch": 3, "seconds": 1.5}
    rows = [
        {"run": "a", "validation": 99.0, "held_out": 80.0, **figures},
        {"run": "b", "validation": None, "held_out": 90.0, **figures},
    ]
    lines = sweep.table(rows).splitlines()
    assert [line[0] for line in lines[1:-1]] == ["b", "a"]
    assert "ranked by the held-out images" in lines[-1]


def weights(folder: Path) -> str:
    arrays = Run.open(folder).load_model().get_weights()
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


@pytest.mark.slow
def test_two_workers_of_ray_give_what_a_serial_run_gives(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    # The last one fails: a rate at which nothing stays a number.
    work = grid() + grid(recipes=["finetune"], settings=SMALL | {"learning_rate": 1e30})
    serial = sweep.sweep(work, tmp_path / "serial", cores=1)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        spread = sweep.sweep(work, tmp_path / "ray", cores=1, ray_address=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert [row["error"][:12] for row in serial] == ["", "", "the loss is "]
    for one, other in zip(serial, spread, strict=True):
        assert {**one, "seconds": None, "error": bool(one["error"])} == {
            **other, "seconds": None, "error": bool(other["error"])
        }  # fmt: skip
    for job in work[:2]:
        assert weights(tmp_path / "serial" / job.run) == weights(tmp_path / "ray" / job.run)
    with (tmp_path / "ray" / "sweep.csv").open() as stream:
        assert [row["run"] for row in csv.DictReader(stream)] == [job.run for job in work]
    again = sweep.sweep(work[:1], tmp_path / "serial", cores=1)
    assert again[0]["held_out"] == serial[0]["held_out"]  # complete: not trained again
