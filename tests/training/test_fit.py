"""The training loop: the same seed, the same weights; broken off, the same weights."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from kerascnn import blocks
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import checkpoint
from training.config import TrainConfig
from training.datasets.splits import Split
from training.fit import Fitted, fit

CONFIG = TrainConfig(epochs=4, batch_size=8, augmentation="pictures", validation_fraction=0.0)
SOURCE = Preprocessing(height=36, width=36, channels=3, crop_fraction=1.0)
TARGET = Preprocessing(height=32, width=32, channels=3)


def pictures(count: int, side: int, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.int32)
    noise = rng.integers(0, 120, (count, side, side, 3))
    bright = (noise + 120 * labels[:, None, None, None]).astype(np.uint8)
    return Split(labels=labels, names=tuple(map(str, range(count))), pictures=bright)


def network(config: TrainConfig = CONFIG) -> keras.Model:
    keras.utils.set_random_seed(config.seed)
    # Has what a training can forget to keep: moving averages and dropout.
    x = inputs = blocks.picture_input((32, 32, 3))
    x = blocks.Conventions(activation="relu6", norm_momentum=0.5).conv(x, 8, 3, name="stem")
    return keras.Model(inputs, blocks.classifier(x, 2, dropout=0.5), name="small")


def run(folder: Path, config: TrainConfig = CONFIG, validation: Split | None = None, model=None):
    model = model or network(config)
    fitted: Fitted = fit(
        model,
        train=pictures(20, 36),
        validation=validation,
        source=SOURCE,
        preprocessing=TARGET,
        config=config,
        folder=folder,
        history_file=folder / "history.csv",
    )
    return model, fitted


def assert_same_weights(one: keras.Model, two: keras.Model) -> None:
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Stop(Exception):
    pass


def break_off_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the save of the next epoch fail, as a kill in the middle of it would."""
    save = checkpoint.save

    def failing(path, variables, state) -> None:
        if len(state["history"]) > epochs:
            raise Stop
        save(path, variables, state)

    monkeypatch.setattr(checkpoint, "save", failing)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory):
    return run(tmp_path_factory.mktemp("unbroken"))


def test_it_learns(unbroken) -> None:
    _model, fitted = unbroken
    assert len(fitted.history) == fitted.best_epoch == 4
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


def test_the_same_seed_gives_the_same_weights(unbroken, tmp_path: Path) -> None:
    assert_same_weights(unbroken[0], run(tmp_path)[0])
    other = run(tmp_path / "other", dataclasses.replace(CONFIG, seed=1))[0]
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(unbroken[0].get_weights(), other.get_weights(), strict=True)
    )


def test_broken_off_and_gone_on_gives_the_same_weights(
    unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_off_after(2, patch)
        with pytest.raises(Stop):
            run(tmp_path)
    model, fitted = run(tmp_path)
    assert_same_weights(unbroken[0], model)
    assert [e["loss"] for e in fitted.history] == [e["loss"] for e in unbroken[1].history]


def test_a_damaged_checkpoint_is_passed_over(
    unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_off_after(3, patch)
        with pytest.raises(Stop):
            run(tmp_path)
    newest = checkpoint.latest_first(tmp_path)[0]
    newest.write_bytes(newest.read_bytes()[:-500])
    assert_same_weights(unbroken[0], run(tmp_path)[0])


def test_frozen_epochs_move_the_head_alone(tmp_path: Path, monkeypatch) -> None:
    config = dataclasses.replace(CONFIG, epochs=3, freeze_epochs=1, augmentation="none")
    model = network(config)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    break_off_after(1, monkeypatch)
    with pytest.raises(Stop):
        fit(
            model, train=pictures(20, 32), validation=None, source=TARGET, preprocessing=TARGET,
            config=config, folder=tmp_path, history_file=tmp_path / "history.csv",
        )  # fmt: skip
    arrays, _state = checkpoint.read(checkpoint.latest_first(tmp_path)[0])
    after = network(config)
    checkpoint.assign(after.variables, arrays[: len(after.variables)])
    moved = {
        layer.name
        for layer in after.layers
        for old, new in zip(before[layer.name], layer.get_weights(), strict=True)
        if not np.array_equal(old, new)
    }
    assert moved == {"logits"}


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    model, fitted = run(tmp_path, validation=pictures(12, 32, seed=1))
    scores = [(e["val_accuracy"], -e["val_loss"]) for e in fitted.history]
    assert fitted.best_epoch == 1 + scores.index(max(scores))
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(r["val_accuracy"]) for r in rows] == pytest.approx([s for s, _ in scores], 1e-5)
    if fitted.best_epoch != len(scores):
        arrays, _ = checkpoint.read(tmp_path / "best.npz")
        for variable, array in zip(model.variables, arrays, strict=True):
            np.testing.assert_array_equal(variable.numpy(), array)


def test_a_loss_that_is_no_number_stops_with_the_step(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, optimizer="sgd", learning_rate=1e30, warmup_epochs=0, augmentation="none"
    )
    with pytest.raises(InputError, match=r"epoch \d+, step \d+, at learning rate"):
        fit(
            network(), train=pictures(20, 32), validation=None, source=TARGET,
            preprocessing=TARGET, config=config, folder=tmp_path,
            history_file=tmp_path / "history.csv",
        )  # fmt: skip
