"""The training of detectors: repeatable, broken off and gone on, averaged, frozen, under jax."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import types
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_detectors
from backends import Backends
from interruptions import stop_at_step
from marks import IN_CI
from tiny_detectors import CLASSES, PREPROCESSING

import kerascnn
from kerascnn import zoo
from kerascnn.errors import InputError
from training.datasets import scenes
from training.datasets.detection import DetectionSplit
from training.detection import fit as fit_detector
from training.detection.batches import DetectionTrainingData
from training.detection.evaluate import evaluate_detector, keras_detect_fn
from training.detection.losses import DetectionLoss
from training.detection.training_model import DetectionTrainingModel
from training.engine import loop
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE, Placement
from training.engine.history import best_epoch
from training.engine.loop import Fitted
from training.engine.stopping import Stopped

CONFIG = TrainConfig(
    epochs=8, batch_size=4, augmentation="flip", learning_rate=2e-2, warmup_epochs=0.5,
    clip_norm=10.0, ema=0.8, label_smoothing=0.0, validation_fraction=0.0,
)  # fmt: skip
STEPS = 3


def training_data(config: TrainConfig = CONFIG, count: int = 14) -> DetectionTrainingData:
    return DetectionTrainingData(
        split=tiny_detectors.split(count), preprocessing=PREPROCESSING, classes=2, config=config,
        most_objects=4,
    )  # fmt: skip


def run(
    folder: Path,
    config: TrainConfig = CONFIG,
    validation: DetectionSplit | None = None,
    placement: Placement = SINGLE,
) -> tuple[keras.Model, Fitted]:
    model = tiny_detectors.network()
    fitted = fit_detector.fit_detector(
        model, tiny_detectors.spec(), training_data(config), validation, classes=CLASSES,
        folder=folder / "checkpoints", history_file=folder / "history.csv", placement=placement,
    )  # fmt: skip
    return model, fitted


@pytest.fixture(scope="module")
def validation() -> DetectionSplit:
    return tiny_detectors.split(20).take(range(14, 20))


@pytest.fixture(scope="module")
def unbroken(
    validation: DetectionSplit, tmp_path_factory: pytest.TempPathFactory
) -> tuple[keras.Model, Fitted, Path]:
    folder = tmp_path_factory.mktemp("unbroken")
    return *run(folder, validation=validation), folder


def test_the_history_has_both_losses_and_ap(unbroken) -> None:
    _model, fitted, folder = unbroken
    with (folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    names = {"epoch", "learning_rate", "loss", "box_loss", "class_loss", "val_ap", "val_ap50"}
    assert set(rows[0]) == names
    for row, kept in zip(rows, fitted.history, strict=True):
        assert kept["loss"] == pytest.approx(kept["box_loss"] + kept["class_loss"], rel=1e-5)
        assert 0 <= kept["val_ap"] <= kept["val_ap50"] <= 100
        assert {name: float(value) for name, value in row.items()} == pytest.approx(kept, rel=1e-5)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"] / 2


def test_the_network_that_is_kept_has_the_ap_of_its_epoch(unbroken, validation) -> None:
    model, fitted, _folder = unbroken
    find = keras_detect_fn(model, PREPROCESSING, tiny_detectors.spec())
    measured = evaluate_detector(find, validation, PREPROCESSING, CLASSES)
    figures = [epoch["val_ap"] for epoch in fitted.history]
    assert max(figures) == pytest.approx(measured.ap)
    assert measured.ap > 1
    assert len(set(figures)) > 3


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """Validations, whose AP is 50% and then falls: the weights that each of them saw."""
    seen: list[list[np.ndarray]] = []

    def evaluate(network: keras.Model, *_rest: object, **_kind: object) -> types.SimpleNamespace:
        seen.append([np.array(v) for v in network.variables])
        return types.SimpleNamespace(ap=60.0 - 10 * len(seen), ap50=90.0)

    monkeypatch.setattr(fit_detector, "keras_detect_fn", lambda network, *_: network)
    monkeypatch.setattr(fit_detector, "evaluate_detector", evaluate)
    return seen


@IN_CI
def test_averaged_weights_are_validated_and_those_of_the_best_epoch_kept(
    judged: list, validation: DetectionSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace: list[list[np.ndarray]] = []

    class Trace(loop._Watch):
        def on_train_batch_end(self, batch: int, logs=None) -> None:
            trace.append([np.array(v) for v in self.model.trainable_variables])
            super().on_train_batch_end(batch, logs)

    monkeypatch.setattr(loop, "_Watch", Trace)
    model, fitted = run(tmp_path, dataclasses.replace(CONFIG, epochs=2), validation)
    assert [epoch["val_ap"] for epoch in fitted.history] == [50, 40]
    assert fitted.best_epoch == 1
    for kept, first in zip(model.variables, judged[0], strict=True):
        np.testing.assert_array_equal(kept, first)
    # By hand, after the n-th update from 0.
    averages = trace[0]
    for n, weights in enumerate(trace[1:STEPS], 1):
        decay = min(0.8, (1 + n) / (10 + n))
        averages = [decay * a + (1 - decay) * w for a, w in zip(averages, weights, strict=True)]
    moved = 0.0
    for kept, average, weight in zip(
        model.trainable_variables, averages, trace[STEPS - 1], strict=True
    ):
        np.testing.assert_allclose(kept, average, rtol=1e-4, atol=1e-6)
        moved = max(moved, np.abs(average - weight).max())
    assert moved > 1e-3


def test_pictures_without_objects_choose_no_epoch() -> None:
    spec, every = tiny_detectors.spec(), tiny_detectors.split(10)
    training_model = DetectionTrainingModel(
        tiny_detectors.network(), PREPROCESSING, DetectionLoss(spec=spec)
    )
    for places, names in ((range(10), {"val_ap", "val_ap50"}), ([4, 9], set())):
        validation = every.take(places)
        work = fit_detector.Detection(training_model, spec, training_data(), validation, CLASSES)
        assert set(work.validate()) == names
    assert sum(len(validation.objects(i)) for i in range(2)) == 0


def test_while_nothing_is_found_the_epoch_with_the_lowest_loss_is_best() -> None:
    rows = [{"val_ap": 0.0, "loss": loss} for loss in (3.0, 1.0, 2.0)]
    assert best_epoch(rows) == 2
    assert best_epoch([*rows, {"val_ap": 0.1, "loss": 4.0}]) == 4


def test_frozen_epochs_move_the_heads_alone(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, freeze_epochs=1)
    before = tiny_detectors.network()
    after, _fitted = run(tmp_path, config)
    moved = {
        layer.name
        for layer in after.layers
        for old, new in zip(
            *(before.get_layer(layer.name).trainable_variables, layer.trainable_variables),
            strict=True,
        )
        if not np.array_equal(old, new)
    }
    heads = {f"{role}_map{number}_predict" for role in ("box", "class") for number in (1, 2)}
    assert moved == heads | {"extra1_expand", "extra1_expand_norm"}
    assert all(layer.trainable for layer in after.layers)


@IN_CI
def test_norms_of_the_backbone_keep_their_statistics_and_those_of_the_heads_follow(
    tmp_path: Path,
) -> None:
    before = tiny_detectors.network()
    after, _fitted = run(
        tmp_path, dataclasses.replace(CONFIG, epochs=2, freeze_epochs=1, norms="backbone")
    )
    for name, follows in (("stage1_block1_expand_norm", False), ("extra1_expand_norm", True)):
        old, new = before.get_layer(name), after.get_layer(name)
        same = np.array_equal(old.moving_mean, new.moving_mean)
        assert same != follows
        assert not np.array_equal(old.gamma, new.gamma)  # learnt in the second epoch


def test_a_loss_that_is_no_number_names_step_rate_and_pictures(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, optimizer="sgd", learning_rate=1e30, schedule="constant", warmup_epochs=0,
        clip_norm=0.0,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"epoch 1, step \d, at learning rate 1e\+30") as raised:
        run(tmp_path, config)
    step = int(str(raised.value).partition("step ")[2][0])
    names = (tmp_path / "bad_batch.txt").read_text().split()
    assert names == training_data(config).names(0, step - 1)
    assert ", ".join(names) in str(raised.value)


def test_a_batch_that_devices_cannot_share_is_refused(tmp_path: Path) -> None:
    class Three(Placement):
        replicas = 3

    with pytest.raises(InputError, match="4 images cannot be split over 3 devices"):
        run(tmp_path, placement=Three())


# Two epochs of a step each, and what is found in the validation pictures after either.
JAX = """
import json, pathlib, sys
import keras, numpy as np, tiny_detectors
from tiny_detectors import CLASSES, PREPROCESSING
from training.detection import fit as fit_detector
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.detection.batches import DetectionTrainingData
from training.engine.evaluation import image_blocks
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
config, weights, folder = json.loads(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
model, spec = tiny_detectors.network(dropout=0.0), tiny_detectors.spec()
model.load_weights(weights)
course = DetectionTrainingData(
    split=tiny_detectors.split(12), preprocessing=PREPROCESSING, classes=2,
    config=TrainConfig(**config), most_objects=4,
)
validation, found = tiny_detectors.split(6), []
evaluate = fit_detector.evaluate_detector
def evaluated(find, *arguments, **kind):
    found.append(find(pictures)[0].boxes)
    return evaluate(find, *arguments, **kind)
fit_detector.evaluate_detector = evaluated
(pictures,) = image_blocks(validation, PREPROCESSING, 6)
fitted = fit_detector.fit_detector(
    model, spec, course, validation, classes=CLASSES, folder=folder / "checkpoints",
    history_file=folder / "history.csv", placement=SINGLE,
)
assert not np.array_equal(*found)  # weights are looked at anew
print(json.dumps(fitted.history))
"""


# A classifier's training under jax is in engine/test_training_backends.py, this loss in
# test_losses.py, and what is detected in kerascnn/detection/test_postprocess.py.
@pytest.mark.slow
def test_jax_trains_and_its_first_loss_is_tensorflows(on_backend: Backends, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=2, batch_size=12)
    model = tiny_detectors.network(dropout=0.0)
    model.save_weights(tmp_path / "initial.weights.h5")
    loss = DetectionLoss(spec=tiny_detectors.spec())
    both = DetectionTrainingModel(model, PREPROCESSING, loss)(
        training_data(config, 12).batch(0, 0), training=True
    )
    arguments = (json.dumps(dataclasses.asdict(config)), tmp_path / "initial.weights.h5", tmp_path)
    printed = on_backend("jax", JAX, *arguments)
    first, second = json.loads(printed.splitlines()[-1])
    assert first["box_loss"] == pytest.approx(float(both["box_loss"]), rel=1e-4)
    assert first["class_loss"] == pytest.approx(float(both["class_loss"]), rel=1e-4)
    assert second["loss"] < first["loss"]
    assert 0 <= second["val_ap"] <= 100


@pytest.mark.slow
@pytest.mark.usefixtures("half_precision")
def test_half_precision_trains_and_goes_on(validation: DetectionSplit, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=3)
    whole, fitted = run(tmp_path / "whole", config, validation)
    assert "float16" not in {v.dtype for v in whole.variables}
    assert [output.dtype for output in whole.outputs] == ["float32", "float32"]
    assert all(math.isfinite(value) for epoch in fitted.history for value in epoch.values())
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(4, patch)
        with pytest.raises(Stopped):
            run(tmp_path / "broken", config, validation)
    model, gone_on = run(tmp_path / "broken", config, validation)
    for a, b in zip(whole.variables, model.variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    assert gone_on.history == fitted.history


@pytest.mark.slow
def test_eight_scenes_are_learnt_by_heart(tmp_path: Path) -> None:
    data = scenes.scan("scenes:160@8+1")
    network = zoo.preprocessing("ssdlite_mobilenet_v2", 160, 160, resize="stretch")
    spec = zoo.detector_spec(
        "ssdlite_mobilenet_v2", network.input_shape, min_scale=0.1, max_scale=0.6, loss="focal",
        positive_iou=0.4, negative_iou=0.4,
    )  # fmt: skip
    config = dataclasses.replace(
        CONFIG, epochs=80, batch_size=8, learning_rate=5e-3, augmentation="none", ema=0.0
    )
    keras.utils.set_random_seed(0)
    model = kerascnn.build(
        "ssdlite_mobilenet_v2", input_shape=network.input_shape, classes=10, norm_momentum=0.9
    )
    fit_detector.fit_detector(
        model, spec,
        DetectionTrainingData(split=data.train, preprocessing=network, classes=10, config=config),
        None, classes=data.classes, folder=tmp_path / "checkpoints",
        history_file=tmp_path / "history.csv", placement=SINGLE,
    )  # fmt: skip
    find = keras_detect_fn(model, network, spec)
    assert evaluate_detector(find, data.train, network, data.classes).ap50 > 90
