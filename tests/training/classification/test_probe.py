"""A probe: features are those of an evaluation, the head is the best one, and it goes on."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_sets
from interruptions import assert_same_weights, stop_at_step
from keras import ops
from marks import IN_CI
from PIL import Image

from kerascnn import blocks
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification import probe
from training.classification.fit import Fitted, fit
from training.classification.linear_head import Samples, softmax_loss, solve
from training.datasets.broken import BrokenPictures
from training.datasets.decode import picture_batches
from training.datasets.pictures import read_picture
from training.datasets.splits import Split
from training.engine.config import TrainConfig
from training.engine.history import best_epoch
from training.engine.request import probe_alone, request
from training.engine.stopping import Stopped
from training.engine.train import train

CONFIG = TrainConfig(
    epochs=3, batch_size=8, augmentation="pictures", freeze_epochs=1, probe="yes", norms="stored",
    first_layer_rate=0.1, warmup_epochs=0, label_smoothing=0.0, validation_fraction=0.2,
)  # fmt: skip
ALONE = dataclasses.replace(CONFIG, epochs=1)
SOURCE = Preprocessing(height=46, width=46, channels=3, resize="stretch")
TARGET = Preprocessing(height=32, width=32, channels=3)


def pictures(count: int, side: int = 46, seed: int = 0) -> Split:
    """Bright and dark noise, which a head tells apart; one label of ten is wrong."""
    rng = np.random.default_rng(seed)
    shown = np.arange(count) % 2
    noise = rng.integers(0, 200, (count, side, side, 3))
    bright = (noise + 40 * shown[:, None, None, None]).astype(np.uint8)
    labels = np.where(np.arange(count) % 10 == 3, 1 - shown, shown).astype(np.int32)
    return Split(labels=labels, names=tuple(map(str, range(count))), pictures=bright)


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = inputs = blocks.picture_input((32, 32, 3))
    made = blocks.Conventions(activation="relu6", norm_momentum=0.5)
    x = made.conv(made.conv(x, 8, 3, name="stem"), 12, 3, name="stage1")
    return keras.Model(inputs, blocks.classifier(x, 2, dropout=0.5), name="small")


def run(folder: Path, config: TrainConfig = CONFIG, **given: Any) -> tuple[keras.Model, Fitted]:
    model = network()
    split = {"train": pictures(100), "validation": pictures(60, 32, seed=1), **given}
    fitted: Fitted = fit(
        model, source=SOURCE, preprocessing=TARGET, config=config, folder=folder,
        history_file=folder / "history.csv", **split,
    )  # fmt: skip
    return model, fitted


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Fitted]:
    return run(tmp_path_factory.mktemp("alone"), ALONE)


def test_the_head_alone_moves_and_is_the_best_one(alone: tuple[keras.Model, Fitted]) -> None:
    model, fitted = alone
    trunk = keras.Model(model.input, model.get_layer("logits").input)
    before = network()
    for layer, same in zip(model.layers, before.layers, strict=True):
        if layer.name != "logits":
            for one, other in zip(layer.get_weights(), same.get_weights(), strict=True):
                np.testing.assert_array_equal(one, other)
    split = pictures(100)
    seen = probe.Seen(split=split, source=SOURCE, preprocessing=TARGET, broken=BrokenPictures())
    inputs, there = seen.block(np.arange(100))
    assert there.all()
    features = ops.convert_to_numpy(trunk(inputs, training=False))
    targets = np.eye(2, dtype=np.float32)[split.labels]
    logits = ops.convert_to_numpy(model(inputs, training=False))
    losses = softmax_loss(logits, targets)[0]
    assert len(fitted.history) == fitted.best_epoch == 1
    row = fitted.history[0]
    assert row["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    right = logits.argmax(axis=1) == split.labels
    assert row["accuracy"] == pytest.approx(100 * right.mean())
    # No strength has a lower loss on the validation images.
    validation = pictures(60, 32, seed=1)
    judged = ops.convert_to_numpy(
        trunk(TARGET.normalise(validation.pictures), training=False)  # type: ignore[arg-type]
    )
    of_others = np.eye(2, dtype=np.float32)[validation.labels]
    for strength in (10.0, 1.0, 0.1, 0.01):
        head = solve(Samples(features=features, targets=targets), softmax_loss, strength)
        other = softmax_loss(head.logits(judged), of_others)[0].mean()
        assert row["val_loss"] <= other + 1e-3
    assert row["val_accuracy"] > 80


def test_what_keras_evaluates_is_what_the_probe_says(
    alone: tuple[keras.Model, Fitted],
) -> None:
    model, fitted = alone
    split = pictures(60, 32, seed=1)
    logits = ops.convert_to_numpy(model(TARGET.normalise(split.pictures), training=False))
    right = logits.argmax(axis=1) == split.labels
    assert fitted.history[0]["val_accuracy"] == pytest.approx(100 * right.mean())


def test_images_are_seen_as_in_an_evaluation(tmp_path: Path) -> None:
    """Central windows of what is stored whole; of wide, upright and square images."""
    for size in ((60, 90), (90, 60), (64, 64)):
        # Ramps to the right and down, which no resampling bends.
        rows, columns = np.mgrid[: size[1], : size[0]]
        ramps = (255 * columns / size[0], 255 * rows / size[1], 0 * rows)
        path = tmp_path / f"{size[0]}.png"
        Image.fromarray(np.stack(ramps, axis=-1).astype(np.uint8)).save(path)
        stored = Split(
            labels=np.zeros(1, np.int32),
            names=(str(path),),
            pictures=read_picture(path, SOURCE, "x")[None],
            sizes=np.array([size[::-1]], np.int32),
        )
        seen = probe.Seen(
            split=stored, source=SOURCE, preprocessing=TARGET, broken=BrokenPictures()
        )
        found, _there = seen.block(np.arange(1))
        (plain,) = picture_batches(dataclasses.replace(stored, pictures=None), TARGET)
        away = np.abs(found - TARGET.normalise(plain)).mean()
        whole = read_picture(path, dataclasses.replace(TARGET, resize="stretch"), "x")
        assert away < 0.02
        assert away < np.abs(TARGET.normalise(whole) - TARGET.normalise(plain)).mean() / 5


def test_unfreezing_keeps_the_statistics_and_never_ends_below_the_probe(
    alone: tuple[keras.Model, Fitted], tmp_path: Path
) -> None:
    model, fitted = run(tmp_path)
    assert len(fitted.history) == 3
    assert fitted.history[0] == alone[1].history[0]
    best = fitted.history[fitted.best_epoch - 1]
    assert fitted.best_epoch == best_epoch(fitted.history)
    assert best["val_accuracy"] >= fitted.history[0]["val_accuracy"]
    norm, same = (one.get_layer("stem_norm") for one in (model, network()))
    np.testing.assert_array_equal(norm.moving_mean, same.moving_mean)
    assert all(layer.trainable for layer in model.layers)


def test_layers_whose_share_of_the_rate_is_small_stay_as_they_are(tmp_path: Path) -> None:
    """Of five layers with weights the last two have a sixth of the rate, and all of it."""
    config = dataclasses.replace(CONFIG, first_layer_rate=1e-3)
    model, fitted = run(tmp_path, config, validation=None)
    assert fitted.best_epoch == 3
    moved = {
        layer.name: any(
            bool(np.any(one != other))
            for one, other in zip(layer.get_weights(), same.get_weights(), strict=True)
        )
        for layer, same in zip(model.layers, network().layers, strict=True)
        if layer.weights
    }
    assert moved == {
        "stem": False, "stem_norm": False, "stage1": False, "stage1_norm": True, "logits": True,
    }  # fmt: skip
    assert all(layer.trainable for layer in model.layers)


def test_a_channel_that_never_varied_moves_no_further_than_others(tmp_path: Path) -> None:
    model = network()
    norm = model.get_layer("stem_norm")
    variance = np.ones(8, np.float32)
    variance[3] = 0.0
    norm.moving_variance.assign(variance)
    before = model.get_weights()
    inputs = TARGET.normalise(pictures(8, 32).pictures)  # type: ignore[arg-type]
    logits = ops.convert_to_numpy(model(inputs, training=False))
    fit(
        model, source=SOURCE, preprocessing=TARGET, folder=tmp_path, train=pictures(100),
        validation=None, history_file=tmp_path / "history.csv",
        config=dataclasses.replace(CONFIG, learning_rate=1e-9, freeze_epochs=0, probe="no"),
    )  # fmt: skip
    np.testing.assert_allclose(norm.moving_variance[3], 1.0, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0][..., 3], 31.64 * before[0][..., 3], rtol=1e-3)
    after = ops.convert_to_numpy(model(inputs, training=False))
    np.testing.assert_allclose(after, logits, rtol=1e-3, atol=1e-4)


@IN_CI
def test_a_worse_training_gives_the_probe_back(
    alone: tuple[keras.Model, Fitted], tmp_path: Path
) -> None:
    config = dataclasses.replace(
        CONFIG, optimizer="sgd", learning_rate=30.0, clip_norm=1.0, first_layer_rate=1.0
    )
    model, fitted = run(tmp_path, config)
    assert fitted.best_epoch == 1
    assert max(row["val_accuracy"] for row in fitted.history[1:]) < 80
    assert_same_weights(model, alone[0])


def test_it_goes_on_in_the_middle_of_the_features(
    alone: tuple[keras.Model, Fitted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_AT_ONCE", 10)
    with monkeypatch.context() as patch:
        stop_at_step(3, patch, signal.SIGTERM)
        with pytest.raises(Stopped, match="features were gathered, which are kept"):
            run(tmp_path, ALONE)
    shape = (100, 12)
    assert len(probe._kept(tmp_path / "features.npz", shape)) == 30
    seen: list[int] = []
    block = probe.Seen.block

    def counting(self: probe.Seen, places: np.ndarray) -> Any:
        seen.extend(places)
        return block(self, places)

    monkeypatch.setattr(probe.Seen, "block", counting)
    model, fitted = run(tmp_path, ALONE)
    assert seen == [*range(30, 100), *range(60)]
    for one, other in zip(model.get_weights(), alone[0].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    assert fitted.history[0]["val_accuracy"] == alone[1].history[0]["val_accuracy"]


def test_damaged_features_are_gathered_anew(tmp_path: Path) -> None:
    (tmp_path / "features.npz").write_bytes(b"rubbish")
    assert run(tmp_path, ALONE)[1].best_epoch == 1


@pytest.mark.parametrize(
    ("count", "features", "classes", "expected"),
    [
        (60, 1280, 2, 60),
        (118_000, 1280, 80, 118_000),
        (1_000_000, 1280, 10, 209_715),  # of a gigabyte
        (1_281_167, 1280, 1000, 15_625),
        (14_000_000, 1280, 21_841, 0),
        (50, 1280, 21_841, 50),
    ],
)
def test_large_sets_are_probed_in_part_or_not_at_all(
    count: int, features: int, classes: int, expected: int
) -> None:
    assert probe.images_of_a_probe(count, features=features, classes=classes) == expected


def test_a_part_is_drawn_by_its_seed() -> None:
    places = probe.probed(1000, 50, seed=3)
    assert len(set(places)) == 50
    np.testing.assert_array_equal(places, probe.probed(1000, 50, seed=3))
    assert not np.array_equal(places, probe.probed(1000, 50, seed=4))
    np.testing.assert_array_equal(probe.probed(20, 50, seed=3), np.arange(20))


def test_without_a_probe_the_head_learns_by_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "_MOST_WORK", 1)
    _model, fitted = run(tmp_path, ALONE)
    assert fitted.history[0]["learning_rate"] == pytest.approx(CONFIG.freeze_learning_rate)
    assert "the head learns by steps" in capsys.readouterr().err


def test_a_probe_alone_has_no_epochs_and_needs_weights() -> None:
    with pytest.raises(InputError, match="give --weights"):
        probe_alone(None, weights=None)
    with pytest.raises(InputError, match="epochs: a probe is one epoch of its own"):
        probe_alone(None, weights="imagenet", epochs=3)
    with pytest.raises(InputError, match="freeze_epochs"):
        probe_alone({"freeze_epochs": 2}, weights="imagenet")
    assert probe_alone({"ema": 0.5}, weights="imagenet") == {
        "ema": 0.5, "epochs": 1, "freeze_epochs": 1, "probe": "yes",
    }  # fmt: skip


def test_detectors_have_no_probe() -> None:
    with pytest.raises(InputError, match="probe: for classification and multilabel only"):
        request("ssdlite_mobilenet_v2", data="scenes", settings={"probe": "yes"})


@pytest.mark.parametrize("several", [pytest.param(False, marks=IN_CI), True])
def test_a_run_folder_is_whole(several: bool, tmp_path: Path) -> None:
    kerascnn = pytest.importorskip("kerascnn")
    make = small_sets.label_table if several else small_sets.class_folders
    start = kerascnn.build("lenet5", input_shape=(28, 28, 1), classes=7)
    start.save(tmp_path / "start.keras")
    found = train(
        request(
            "lenet5",
            data=str(make(tmp_path / "data", 40)),
            weights=str(tmp_path / "start.keras"),
            image_size=(28, 28),
            settings=probe_alone(
                {"class_weights": "balanced"}, weights=str(tmp_path / "start.keras")
            ),
        ),
        tmp_path / "run",
    )
    results = found.info["results"]
    assert results["epochs"] == results["best_epoch"] == 1
    assert results["chosen_by"] == ("val_mAP" if several else "val_accuracy")
    assert not (tmp_path / "run" / "checkpoints").exists()
    (row,) = kerascnn.open_run(tmp_path / "run").compress(["float32"], onnx=False, progress=False)
    assert row["fits"] is True
    assert row["value"] == pytest.approx(results["held_out"], abs=1e-4)
