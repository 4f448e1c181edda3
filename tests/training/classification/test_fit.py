"""The training loop: the same seed, the same weights; broken off, the same weights."""

from __future__ import annotations

import csv
import dataclasses
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from interruptions import Stop, assert_same_weights, break_off_after, stop_at_step
from marks import IN_CI

from kerascnn import blocks
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.batches import TrainingData
from training.classification.evaluate import evaluate, keras_predict_fn
from training.classification.fit import Fitted, fit
from training.datasets.splits import Split
from training.engine import checkpoint, loop
from training.engine.config import TrainConfig
from training.engine.stopping import Stopped

CONFIG = TrainConfig(epochs=4, batch_size=8, augmentation="pictures", validation_fraction=0.0)
SOURCE = Preprocessing(height=36, width=36, channels=3, resize="stretch")
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


def run(
    folder: Path,
    config: TrainConfig = CONFIG,
    validation: Split | None = None,
    model=None,
    train: Split | None = None,
):
    model = model or network(config)
    fitted: Fitted = fit(
        model,
        train=train or pictures(24, 36),
        validation=validation,
        source=SOURCE,
        preprocessing=TARGET,
        config=config,
        folder=folder,
        history_file=folder / "history.csv",
    )
    return model, fitted


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


@IN_CI
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


@IN_CI
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


@IN_CI
@pytest.mark.parametrize("part", ["shape", "count", "metrics"])
def test_the_state_of_another_training_is_refused(part: str, tmp_path: Path, monkeypatch) -> None:
    """Of the same network, so that its variables fit, and of another optimiser or metric."""
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(2, patch, signal.SIGTERM)
        with pytest.raises(Stopped):
            run(tmp_path)
    for path in checkpoint.latest_first(tmp_path):
        arrays, state = checkpoint.read(path)
        if part == "shape":
            arrays[-1] = np.zeros((3, 3))
        elif part == "count":
            arrays = arrays[:-1]
        else:
            state["metrics"] = [*state.get("metrics", []), 1.0]
        checkpoint.save(path, arrays, state)
    with pytest.raises(InputError, match=r"holds the state of another training .*delete the fol"):
        run(tmp_path)


def test_frozen_epochs_move_the_head_alone(tmp_path: Path, monkeypatch) -> None:
    config = dataclasses.replace(CONFIG, epochs=3, freeze_epochs=1, augmentation="none")
    model = network(config)
    before = {
        layer.name: [np.array(v) for v in layer.trainable_variables] for layer in model.layers
    }
    break_off_after(1, monkeypatch)
    with pytest.raises(Stop):
        fit(
            model, train=pictures(24, 32), validation=None, source=TARGET, preprocessing=TARGET,
            config=config, folder=tmp_path, history_file=tmp_path / "history.csv",
        )  # fmt: skip
    arrays, _state = checkpoint.read(checkpoint.latest_first(tmp_path)[0])
    after = network(config)
    checkpoint.assign(after.variables, arrays[: len(after.variables)])
    moved = {
        layer.name
        for layer in after.layers
        for old, new in zip(before[layer.name], layer.trainable_variables, strict=True)
        if not np.array_equal(old, new)
    }
    assert moved == {"logits"}


def test_unfreezing_goes_on_where_the_head_is(tmp_path: Path) -> None:
    """One batch an epoch, always the same, on a network whose norms know other pictures."""
    config = dataclasses.replace(
        CONFIG, epochs=7, freeze_epochs=5, batch_size=24, augmentation="none", schedule="constant",
        learning_rate=1e-3, freeze_learning_rate=1e-3,
    )  # fmt: skip
    x = inputs = blocks.picture_input((32, 32, 3))
    keras.utils.set_random_seed(0)
    x = blocks.Conventions(activation="relu6", norm_momentum=0.5).conv(x, 8, 3, name="stem")
    model = keras.Model(inputs, blocks.classifier(x, 2, dropout=0.0), name="small")
    (norm,) = (each for each in model.layers if isinstance(each, keras.layers.BatchNormalization))
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma, beta, mean + 2, variance * 20])
    _model, fitted = run(tmp_path, config, model=model, train=pictures(24, 36))
    losses = [epoch["loss"] for epoch in fitted.history]
    steps = np.abs(np.diff(losses))
    assert steps[4] < 1.5 * steps[:4].max(), losses
    assert losses[-1] < losses[4] < losses[0]
    trained = next(e for e in _model.layers if isinstance(e, keras.layers.BatchNormalization))
    assert not np.allclose(trained.get_weights()[0], gamma)  # it learns in the end


@IN_CI
def test_the_linear_rule_goes_by_the_batches_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 pictures where batches of 256 are asked for: a rate of 0.0156, not of 0.1."""
    config = dataclasses.replace(
        CONFIG, epochs=2, batch_size=256, optimizer="sgd", learning_rate=0.1, reference_batch=256,
        schedule="constant", warmup_epochs=0, augmentation="none",
    )  # fmt: skip
    totals: list[int] = []
    begin = loop.Progress.__init__

    def noting(self, description: str, total: int, **options) -> None:
        totals.append(total)
        begin(self, description, total, **options)

    monkeypatch.setattr(loop.Progress, "__init__", noting)
    _model, fitted = run(tmp_path, config, train=pictures(40, 36))
    rates = [epoch["learning_rate"] for epoch in fitted.history]
    assert rates == pytest.approx([0.1 * 40 / 256] * 2)
    frozen = dataclasses.replace(config, freeze_epochs=1)
    run(tmp_path / "frozen", frozen, train=pictures(40, 36))
    assert totals == [2, 2]  # of all epochs, whatever is frozen


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


def test_balanced_accuracy_is_validated_and_chooses_the_epoch_on_demand(tmp_path: Path) -> None:
    aside = pictures(13, 32, seed=1)
    config = dataclasses.replace(CONFIG, monitor="balanced_accuracy")
    model, fitted = run(tmp_path, config, validation=aside)
    assert all("balanced_accuracy" not in epoch for epoch in fitted.history)
    kept = fitted.history[fitted.best_epoch - 1]["val_balanced_accuracy"]
    assert kept == max(epoch["val_balanced_accuracy"] for epoch in fitted.history)
    predict = keras_predict_fn(model, TARGET)
    answers = evaluate(predict, aside, TARGET).predictions
    recalls = [np.mean(answers[aside.labels == label] == label) for label in set(aside.labels)]
    assert kept == pytest.approx(100 * np.mean(recalls))


@IN_CI
def test_history_of_an_older_checkpoint_goes_on_in_percent(tmp_path: Path, monkeypatch) -> None:
    aside = pictures(12, 32, seed=1)
    _model, whole = run(tmp_path / "whole", validation=aside)
    with monkeypatch.context() as patch:
        break_off_after(2, patch)
        with pytest.raises(Stop):
            run(tmp_path / "old", validation=aside)
    path = checkpoint.latest_first(tmp_path / "old")[0]
    arrays, state = checkpoint.read(path)
    assert state.pop("unit") == "percent"
    for row in state["history"]:  # as versions before had it
        row.pop("val_balanced_accuracy")
        row |= {name: row[name] / 100 for name in ("accuracy", "val_accuracy")}
    checkpoint.save(path, arrays, state)
    _model, fitted = run(tmp_path / "old", validation=aside)
    for before, now in zip(whole.history, fitted.history, strict=True):
        assert now == pytest.approx({name: before[name] for name in now})
    assert fitted.best_epoch == whole.best_epoch
    with (tmp_path / "old" / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["accuracy"]) for row in rows] == pytest.approx(
        [row["accuracy"] for row in whole.history], 1e-4
    )


EVERYTHING = dataclasses.replace(
    CONFIG, ema=0.9, mixup=0.2, cutmix=1.0, clip_norm=1.0, accumulate=2, class_weights="balanced"
)


@pytest.fixture(scope="module")
def unbroken_with_everything(tmp_path_factory: pytest.TempPathFactory):
    return run(tmp_path_factory.mktemp("everything"), EVERYTHING)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        pytest.param(1, signal.SIGTERM, marks=IN_CI),
        (5, signal.SIGINT),
        pytest.param(6, signal.SIGTERM, marks=IN_CI),
    ],
)
def test_a_signal_keeps_the_step_and_it_goes_on_to_the_same_weights(
    number: int, step: int, unbroken_with_everything, tmp_path: Path, monkeypatch
) -> None:
    whole, fitted = unbroken_with_everything
    broken = tmp_path / "broken" / "checkpoints"
    with monkeypatch.context() as patch:
        stop_at_step(step, patch, number)
        with pytest.raises(Stopped, match="same command goes on") as stopped:
            run(broken, EVERYTHING)
    assert stopped.value.signal == number
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    where = (step // 3, step % 3)
    assert checkpoint.latest_first(broken)[0] == checkpoint.epoch_path(broken, *where)
    model, gone_on = run(broken, EVERYTHING)
    assert_same_weights(whole, model)
    assert gone_on.history == fitted.history  # the begun epoch's means, too


def test_long_epochs_are_kept_in_their_middle(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    saved: list[str] = []
    save = checkpoint.save

    def noting(path, variables, state) -> None:
        saved.append(path.name)
        save(path, variables, state)

    monkeypatch.setattr(checkpoint, "save", noting)
    run(tmp_path, dataclasses.replace(CONFIG, epochs=1))
    assert saved == ["epoch-00000.0000001.npz", "epoch-00000.0000002.npz", "epoch-00001.npz"]
    assert len(list(tmp_path.glob("epoch-*.npz"))) == 2


def test_a_loss_that_is_no_number_names_step_rate_and_pictures(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, optimizer="sgd", learning_rate=1e30, schedule="constant", warmup_epochs=0,
        augmentation="none",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"epoch 1, step \d, at learning rate 1e\+30") as raised:
        run(tmp_path / "checkpoints", config, train=pictures(24, 32))
    step = int(str(raised.value).partition("step ")[2][0])
    training_data = TrainingData(
        split=pictures(24, 32), source=TARGET, preprocessing=TARGET, classes=2, config=config
    )
    names = (tmp_path / "bad_batch.txt").read_text().split()
    assert names == training_data.names(0, step - 1)
    assert names[0] in str(raised.value)


def test_averaged_weights_are_validated_and_kept(tmp_path: Path) -> None:
    """By hand: at the n-th update an average of min(0.9, (1 + n) / (10 + n)) of itself, from 0."""
    config = dataclasses.replace(CONFIG, epochs=2, ema=0.9, optimizer="sgd", learning_rate=0.5)
    plain = dataclasses.replace(config, ema=0.0)
    trace: list[list[np.ndarray]] = []

    class Trace(loop._Watch):
        def on_train_batch_end(self, batch: int, logs=None) -> None:
            trace.append([np.array(v) for v in self.model.trainable_variables])
            super().on_train_batch_end(batch, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_Watch", Trace)
        run(tmp_path / "plain", plain)
    averages = trace[0]
    for n, weights in enumerate(trace[1:], 1):
        decay = min(0.9, (1 + n) / (10 + n))
        averages = [decay * a + (1 - decay) * w for a, w in zip(averages, weights, strict=True)]
    held = pictures(12, 32, seed=1)
    model, fitted = run(tmp_path / "averaged", config, validation=held)
    if fitted.best_epoch == 2:
        for kept, average in zip(model.trainable_variables, averages, strict=True):
            np.testing.assert_allclose(kept.numpy(), average, rtol=1e-4, atol=1e-6)
    logits = model(TARGET.normalise(held.pictures), training=False).numpy()
    right = 100 * float((logits.argmax(axis=1) == held.labels).mean())
    assert fitted.history[fitted.best_epoch - 1]["val_accuracy"] == pytest.approx(right)


@IN_CI
def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, epochs=9, learning_rate=1e-12, patience=2, validation_fraction=0.1
    )
    _model, fitted = run(tmp_path, config, validation=pictures(12, 32, seed=1))
    assert len(fitted.history) < 9
    assert len(fitted.history) - fitted.best_epoch == 2
    _again, same = run(tmp_path, config, validation=pictures(12, 32, seed=1))
    assert same.history == fitted.history


def test_plateaus_lower_the_rate(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, epochs=8, learning_rate=1e-9, schedule="plateau", decay_epochs=2, decays=2,
        decay_rate=0.1, validation_fraction=0.1, optimizer="sgd", warmup_epochs=0,
    )  # fmt: skip
    _model, fitted = run(tmp_path, config, validation=pictures(12, 32, seed=1))
    rates = [epoch["learning_rate"] for epoch in fitted.history]
    assert rates[0] == pytest.approx(1e-9)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1e-11)
    assert len(rates) < 8


def test_balanced_classes_weigh_the_same(tmp_path: Path) -> None:
    from training.classification.training_model import balanced

    labels = np.array([0] * 6 + [1] * 2)
    np.testing.assert_allclose(balanced(labels, 2), [8 / 12, 8 / 4])
    assert balanced(labels, 2)[labels].mean() == pytest.approx(1)
