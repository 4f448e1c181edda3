"""The training of segmentation networks: repeatable, broken off and gone on, frozen, under jax."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_segmenters
from backends import Backends
from interruptions import stop_at_step
from tiny_segmenters import CLASSES, PREPROCESSING, SHAPE

from kerascnn import zoo
from kerascnn.errors import InputError
from training import tasks
from training.datasets import scenes
from training.datasets.segmentation import VOID, SegmentationSplit
from training.engine import loop
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE, Placement
from training.engine.loop import Fitted
from training.engine.stopping import Stopped
from training.segmentation import fit as fit_segmenter
from training.segmentation.batches import SegmentationTrainingData
from training.segmentation.evaluate import evaluate_segmenter, keras_segment_fn
from training.segmentation.losses import (
    LOSSES,
    SegmentationLoss,
    balanced,
    class_prior_biases,
    count_pixels,
)
from training.segmentation.training_model import SegmentationTrainingModel

CONFIG = TrainConfig(
    epochs=6, batch_size=4, augmentation="flip", learning_rate=2e-2, warmup_epochs=0.5,
    clip_norm=10.0, ema=0.8, label_smoothing=0.0, map_loss="cross_entropy_dice",
    validation_fraction=0.0,
)  # fmt: skip


def training_data(
    config: TrainConfig = CONFIG, split: SegmentationSplit | None = None
) -> SegmentationTrainingData:
    return SegmentationTrainingData(
        split=tiny_segmenters.split(14) if split is None else split, preprocessing=PREPROCESSING,
        classes=3, config=config,
    )  # fmt: skip


def run(
    folder: Path,
    config: TrainConfig = CONFIG,
    validation: SegmentationSplit | None = None,
    *,
    split: SegmentationSplit | None = None,
    placement: Placement = SINGLE,
    pixels: Sequence[int] = (300, 50, 50),
) -> tuple[keras.Model, Fitted]:
    model = tiny_segmenters.network()
    fitted = fit_segmenter.fit_segmenter(
        model, training_data(config, split), validation, classes=CLASSES, pixels=np.array(pixels),
        folder=folder / "checkpoints", history_file=folder / "history.csv", placement=placement,
    )  # fmt: skip
    return model, fitted


@pytest.fixture(scope="module")
def validation() -> SegmentationSplit:
    return tiny_segmenters.split(20).take(range(14, 20))


@pytest.fixture(scope="module")
def unbroken(
    validation: SegmentationSplit, tmp_path_factory: pytest.TempPathFactory
) -> tuple[keras.Model, Fitted, Path]:
    folder = tmp_path_factory.mktemp("unbroken")
    return *run(folder, validation=validation), folder


def test_the_history_has_loss_iou_and_dice(unbroken) -> None:
    _model, fitted, folder = unbroken
    with (folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert set(rows[0]) == {"epoch", "learning_rate", "loss", "val_miou", "val_dice"}
    for row, kept in zip(rows, fitted.history, strict=True):
        assert 0 <= kept["val_miou"] <= kept["val_dice"] <= 100
        assert {name: float(value) for name, value in row.items()} == pytest.approx(kept, rel=1e-5)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"] / 2


def test_the_network_that_is_kept_has_the_iou_of_its_epoch(unbroken, validation) -> None:
    model, fitted, _folder = unbroken
    segment = keras_segment_fn(model, PREPROCESSING)
    measured = evaluate_segmenter(segment, validation, PREPROCESSING, CLASSES)
    figures = [epoch["val_miou"] for epoch in fitted.history]
    assert max(figures) == pytest.approx(measured.miou)
    assert fitted.best_epoch == 1 + figures.index(max(figures))
    assert measured.miou > 70
    assert len(set(figures)) > 3


def training_model(name: str = "cross_entropy_dice") -> SegmentationTrainingModel:
    loss = SegmentationLoss(name=name, classes=3)
    return SegmentationTrainingModel(tiny_segmenters.network(), PREPROCESSING, loss)


def test_void_alone_chooses_no_epoch(validation: SegmentationSplit) -> None:
    void = dataclasses.replace(
        validation, annotate=lambda place: np.full_like(validation.annotate(place), VOID)
    )
    for given, names in ((validation, {"val_miou", "val_dice"}), (void, set()), (None, set())):
        work = fit_segmenter.Segmentation(training_model(), training_data(), given, CLASSES)
        assert set(work.validate()) == names


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_step_is_that_of_its_batch(name: str) -> None:
    batch = training_data().batch(0, 0)
    batch["gt_weights"] = np.where(batch["gt_map"] == 1, 9, 1).astype(np.float32)
    learning = training_model(name)
    logits = learning(batch)
    inside = learning.network(PREPROCESSING.normalise(batch["pictures"]))
    np.testing.assert_allclose(logits, inside, rtol=1e-4, atol=1e-5)
    loss = SegmentationLoss(name=name, classes=3)
    weighed, plain = (
        float(loss(batch["gt_map"], logits, weights)) for weights in (batch["gt_weights"], None)
    )
    assert float(learning.compute_loss(batch, None, logits)) == pytest.approx(weighed)
    assert weighed != pytest.approx(plain, rel=1e-3)
    del batch["gt_weights"]
    assert float(learning.compute_loss(batch, None, logits)) == pytest.approx(plain)


def test_odd_pictures_train_without_nan(tmp_path: Path) -> None:
    """Without objects, with a pixel of one, with objects cut by the border, with nothing to count.

    Each is a batch of its own.
    """
    maps = np.zeros((4, *SHAPE[:2]), np.uint8)
    maps[1, 7, 9] = 1
    maps[2, :5, :4] = 2
    maps[2, -3:, -9:] = 1
    maps[3] = VOID
    pictures = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)
    split = tiny_segmenters.split_of(list(pictures), list(maps))
    config = dataclasses.replace(
        CONFIG, epochs=2, border_weight=10.0, augmentation="detection", batch_size=1,
        class_weights="balanced",
    )  # fmt: skip
    model, fitted = run(tmp_path, config, split, split=split, pixels=(1200, 28, 0))
    assert all(math.isfinite(value) for epoch in fitted.history for value in epoch.values())
    assert all(np.isfinite(variable).all() for variable in model.variables)
    assert 0 < fitted.history[-1]["val_miou"] < 100


def test_logits_begin_at_the_classes_shares_unless_they_have_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[np.ndarray] = []

    def untrained(work: loop.TrainingTask, **_options: object) -> None:
        begun.append(np.array(work.network.get_layer("logits").bias))

    monkeypatch.setattr(loop, "train", untrained)
    run(tmp_path, pixels=(6, 1, 0))
    run(tmp_path, dataclasses.replace(CONFIG, class_weights="balanced"), pixels=(599, 299, 99))
    np.testing.assert_allclose(np.exp(begun[0]), [0.7, 0.2, 0.1], rtol=1e-5)
    np.testing.assert_allclose(np.exp(begun[1]), [1 / 3] * 3, rtol=1e-2)
    learnt = tiny_segmenters.network()
    learnt.get_layer("logits").bias.assign([0.0, 0.5, 0.0])
    fit_segmenter.begin_at_shares(learnt, class_prior_biases(np.array([6, 1, 0])))
    assert np.array(learnt.get_layer("logits").bias).tolist() == [0.0, 0.5, 0.0]


def test_frozen_epochs_move_the_decoder_alone(tmp_path: Path) -> None:
    before = tiny_segmenters.network()
    after, _fitted = run(tmp_path, dataclasses.replace(CONFIG, epochs=1, freeze_epochs=1))
    moved = {
        layer.name
        for layer in after.layers
        for old, new in zip(
            *(before.get_layer(layer.name).trainable_variables, layer.trainable_variables),
            strict=True,
        )
        if not np.array_equal(old, new)
    }
    assert moved == {"dec1_up", "dec1", "dec1_norm", "logits"}
    assert all(layer.trainable for layer in after.layers)


def test_what_a_classifier_has_is_frozen_in_the_zoos_own() -> None:
    model = zoo.build("unet_mobilenet_v2", input_shape=(64, 64, 3), alpha=0.35)
    own = [layer for layer in model.layers if layer.weights]
    heads = [layer for layer in own if layer.name.startswith(tasks.of("segmentation").head)]
    backbone = {layer.name.partition("_")[0].rstrip("0123456789") for layer in own} - {"dec"}
    assert {layer.name.partition("_")[0].rstrip("0123456789") for layer in heads} == {
        "dec", "logits",
    }  # fmt: skip
    assert backbone == {"stem", "stage", "logits"}


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


def test_a_batch_that_devices_cannot_share_is_refused(tmp_path: Path) -> None:
    class Three(Placement):
        replicas = 3

    with pytest.raises(InputError, match="4 images cannot be split over 3 devices"):
        run(tmp_path, placement=Three())


# All losses of a batch; then two epochs of a step each, and what is found after either.
JAX = """
import json, pathlib, sys
import jax, keras, numpy as np, tiny_segmenters
from tiny_segmenters import CLASSES, PREPROCESSING
from training.segmentation import fit as fit_segmenter
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.segmentation.batches import SegmentationTrainingData
from training.segmentation.losses import (
    LOSSES,
    SegmentationLoss,
    balanced,
    count_pixels,
    class_prior_biases,
)
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
folder = pathlib.Path(sys.argv[1])
given = np.load(folder / "given.npz")
factors = np.float32([0.5, 2.0, 3.0])
made = [SegmentationLoss(name=name, classes=3, class_weights=factors) for name in LOSSES]
losses = jax.jit(lambda *batch: [loss(*batch) for loss in made])(
    given["gt_map"], given["logits"], given["gt_weights"]
)
model = tiny_segmenters.network(dropout=0.0)
model.load_weights(folder / "initial.weights.h5")
course = SegmentationTrainingData(
    split=tiny_segmenters.split(12), preprocessing=PREPROCESSING, classes=3,
    config=TrainConfig(**json.loads((folder / "config.json").read_text())),
)
validation, found = tiny_segmenters.split(6), []
evaluate = fit_segmenter.evaluate_segmenter
def evaluated(segment, *arguments, **options):
    found.append(segment(given["pictures"]))
    return evaluate(segment, *arguments, **options)
fit_segmenter.evaluate_segmenter = evaluated
fitted = fit_segmenter.fit_segmenter(
    model, course, validation, classes=CLASSES, pixels=np.array([300, 60, 40]),
    folder=folder / "checkpoints", history_file=folder / "history.csv", placement=SINGLE,
)
assert not np.array_equal(*found)  # weights are looked at anew
print(json.dumps([list(map(float, losses)), fitted.history]))
"""


@pytest.mark.slow
def test_jax_trains_and_its_losses_are_tensorflows(on_backend: Backends, tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, epochs=2, batch_size=12, border_weight=5.0, class_weights="balanced"
    )
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    model = tiny_segmenters.network(dropout=0.0)
    model.save_weights(tmp_path / "initial.weights.h5")
    batch = training_data(config, tiny_segmenters.split(12)).batch(0, 0)
    own = batch["gt_map"].copy()
    batch["gt_map"][0] = VOID
    logits = np.asarray(model(PREPROCESSING.normalise(batch["pictures"]), training=True))
    np.savez(tmp_path / "given.npz", logits=logits, **batch)
    printed = on_backend("jax", JAX, tmp_path)
    losses, (first, second) = json.loads(printed.splitlines()[-1])
    factors = np.float32([0.5, 2.0, 3.0])
    expected = [
        SegmentationLoss(name=name, classes=3, class_weights=factors)(
            batch["gt_map"], logits, batch["gt_weights"]
        )
        for name in LOSSES
    ]
    assert losses == pytest.approx([float(each) for each in expected], rel=1e-4)
    pixels = np.array([300, 60, 40])
    loss = SegmentationLoss(name=config.map_loss, classes=3, class_weights=balanced(pixels))
    begun = logits + class_prior_biases(pixels, balanced(pixels))
    assert first["loss"] == pytest.approx(float(loss(own, begun, batch["gt_weights"])), rel=1e-4)
    assert second["loss"] < first["loss"]
    assert 0 <= second["val_miou"] <= 100


@pytest.mark.slow
@pytest.mark.usefixtures("half_precision")
def test_half_precision_trains_and_goes_on(validation: SegmentationSplit, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=3)
    whole, fitted = run(tmp_path / "whole", config, validation)
    assert "float16" not in {v.dtype for v in whole.variables}
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
    data = scenes.scan_maps("scenes:64@8+1")
    preprocessing = zoo.preprocessing("unet", 64, 64)
    config = dataclasses.replace(
        CONFIG, epochs=80, batch_size=8, learning_rate=5e-3, augmentation="none", ema=0.0
    )
    keras.utils.set_random_seed(0)
    model = zoo.build(
        "unet", input_shape=(64, 64, 3), classes=11, width=8, depth=3, norm=True, dropout=0.0,
        norm_momentum=0.8,
    )  # fmt: skip
    fit_segmenter.fit_segmenter(
        model,
        SegmentationTrainingData(split=data.train, preprocessing=preprocessing, classes=11,
        config=config), None, classes=data.classes, pixels=count_pixels(data.train, 11),
        folder=tmp_path / "checkpoints", history_file=tmp_path / "history.csv", placement=SINGLE,
    )  # fmt: skip
    segment = keras_segment_fn(model, preprocessing)
    assert evaluate_segmenter(segment, data.train, preprocessing, data.classes).miou > 90
