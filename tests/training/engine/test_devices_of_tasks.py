"""Detectors and segmentation networks train on two devices as they do on one, at the same batch.

Their losses are divided by counts of the whole batch, which its halves differ in. This file is a
program, too: a process makes two devices of its processor before TensorFlow counts them.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from marks import IN_CI

ROOT = pathlib.Path(__file__).parents[3]
KINDS = ("focal", "multibox", "maps", "two_stage")
SLOW = {"two_stage"}  # its graph is ten times as large


def cases() -> list[Any]:
    return [pytest.param(k, marks=pytest.mark.slow if k in SLOW else IN_CI) for k in KINDS]


@pytest.fixture(scope="module")
def on_two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What two devices give, all quick kinds by one process."""
    found: dict[str, Any] = {}

    def get(kind: str) -> dict[str, Any]:
        if kind not in found:
            kinds = [kind] if kind in SLOW else [k for k in KINDS if k not in SLOW]
            out = tmp_path_factory.mktemp("two") / "two.json"
            done = subprocess.run(
                [sys.executable, "-Werror", "-Wignore:__array__", __file__, str(out), *kinds],
                env=os.environ | {
                    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}",
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                },
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-4000:]
            found.update(json.loads(out.read_text()))
        return found[kind]

    return get


@pytest.mark.parametrize("kind", cases())
def test_two_devices_train_as_one_does(kind: str, on_two: Any, tmp_path: pathlib.Path) -> None:
    from training.engine.devices import SINGLE

    one, two = trained(kind, SINGLE, tmp_path), on_two(kind)
    assert two["replicas"] == 2
    assert one["history"][1]["loss"] != one["history"][0]["loss"]  # it learns
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(theirs[name], value, rtol=2e-3, atol=1e-4, err_msg=name)
    for ours, theirs in zip(one["variables"], two["variables"], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=5e-3, atol=1e-3)


def trained(kind: str, placement: Any, folder: pathlib.Path) -> dict[str, Any]:
    """Two epochs: figures of both, and the variables behind them."""
    import tiny_detectors
    import tiny_segmenters

    from training.detection.batches import DetectionTrainingData
    from training.detection.fit import fit_detector
    from training.engine.config import TrainConfig
    from training.segmentation.batches import SegmentationTrainingData
    from training.segmentation.fit import fit_segmenter

    config = TrainConfig(
        epochs=2, batch_size=4, augmentation="flip", learning_rate=3e-3, warmup_epochs=0.0,
        clip_norm=1.0, ema=0.5, label_smoothing=0.0, map_loss="cross_entropy_dice",
        optimizer="sgd", validation_fraction=0.0,
    )  # fmt: skip
    files = {
        "folder": folder / kind,
        "history_file": folder / f"{kind}.csv",
        "placement": placement,
    }
    if kind == "maps":
        model = tiny_segmenters.network(dropout=0.0)
        maps = SegmentationTrainingData(
            split=tiny_segmenters.split(12),
            preprocessing=tiny_segmenters.PREPROCESSING, classes=3, config=config,
        )  # fmt: skip
        fitted = fit_segmenter(
            model, maps, tiny_segmenters.split(3), classes=tiny_segmenters.CLASSES,
            pixels=np.array([300, 50, 50]), **files,
        )  # fmt: skip
    else:
        boxes = DetectionTrainingData(
            split=tiny_detectors.split(12), preprocessing=tiny_detectors.PREPROCESSING, classes=2,
            config=config, most_objects=4,
        )  # fmt: skip
        if kind == "two_stage":
            model, spec = tiny_detectors.two_stage_network(), tiny_detectors.two_stage_spec()
        else:
            model, spec = tiny_detectors.network(dropout=0.0), tiny_detectors.spec(loss=kind)
        fitted = fit_detector(
            model, spec, boxes, tiny_detectors.split(3), classes=tiny_detectors.CLASSES, **files
        )
    return {
        "replicas": placement.replicas,
        "history": [{k: float(v) for k, v in row.items()} for row in fitted.history],
        "variables": [np.asarray(v).tolist() for v in model.trainable_variables],
    }


def main(out: str, kinds: list[str]) -> None:
    import tensorflow as tf

    from training.engine.devices import Devices

    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, parts)
    placement = Devices.parse("all").open()
    folder = pathlib.Path(out).parent
    found = {kind: trained(kind, placement, folder) for kind in kinds}
    pathlib.Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
