"""A teacher's answers as labels: the loss by hand, the stream, and a training that goes on."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import assert_refused, here
from interruptions import Stop, assert_same_weights, break_off_after
from marks import IN_CI

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import datasets
from training.classification.distillation import DistillationLoss, Teacher, accuracy
from training.classification.tf_data import train_stream, with_teacher
from training.datasets.splits import Dataset
from training.engine import checkpoint
from training.engine.config import TrainConfig
from training.engine.request import TrainRequest, request
from training.engine.run import Run, read_info, write_info
from training.engine.train import train

STUDENT = np.array([[2.0, -1.0, 0.5], [0.0, 0.3, -2.0]], np.float32)
TEACHER = np.array([[1.0, 1.5, -3.0], [-1.0, 4.0, 0.0]], np.float32)
LABELS = np.eye(3, dtype=np.float32)[[1, 1]]
SMALL = Preprocessing(height=28, width=28, channels=1, resize="pad")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def loss(weight: float, temperature: float, smoothing: float = 0.0, teacher=TEACHER) -> float:
    function = DistillationLoss(weight=weight, temperature=temperature, label_smoothing=smoothing)
    return float(function(np.concatenate([LABELS, teacher], axis=1), STUDENT))


def divergence(temperature: float) -> float:
    p, q = log_softmax(TEACHER / temperature), log_softmax(STUDENT / temperature)
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def test_the_loss_is_the_papers() -> None:
    smooth = LABELS * 0.9 + 0.1 / 3
    entropy = -(smooth * log_softmax(STUDENT)).sum(axis=-1).mean()
    expected = 0.3 * entropy + 0.7 * 16 * divergence(4.0)
    assert loss(0.7, 4.0, smoothing=0.1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weight_it_is_cross_entropy(smoothing: float) -> None:
    plain = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = float(plain(LABELS, STUDENT))
    assert loss(0.0, 3.0, smoothing) == pytest.approx(expected, rel=1e-6)
    function = DistillationLoss(weight=0.7, temperature=3.0, label_smoothing=smoothing)
    assert float(function(LABELS, STUDENT)) == pytest.approx(expected, rel=1e-6)


def test_with_all_weight_labels_do_not_count() -> None:
    assert loss(1.0, 1.0) == pytest.approx(divergence(1.0), rel=1e-5)
    assert loss(1.0, 3.0, teacher=STUDENT) == pytest.approx(0, abs=1e-6)


def test_hot_softmaxes_compare_logits() -> None:
    """Equation 4: at a high T the loss goes to half the mean square of the centred logits."""
    centred = [x - x.mean(axis=-1, keepdims=True) for x in (TEACHER, STUDENT)]
    expected = ((centred[0] - centred[1]) ** 2).sum(axis=-1).mean() / 3 / 2
    assert loss(1.0, 100.0) == pytest.approx(expected, rel=0.03)
    assert np.isfinite(loss(1.0, 1e-3))


def test_accuracy_of_both_forms() -> None:
    expected = [0.0, 1.0]
    both = (LABELS, np.concatenate([LABELS, TEACHER], axis=1))
    assert [accuracy(labels, STUDENT).numpy().tolist() for labels in both] == [expected] * 2
    assert accuracy.__name__ == "accuracy"


def test_the_stream_carries_answers_behind_labels() -> None:
    split = datasets.scan("mnist", seed=0).train.take(range(8))
    given = {"source": SMALL, "preprocessing": SMALL, "classes": 10, "first_epoch": 0}
    config = TrainConfig(epochs=1, batch_size=4, augmentation="none")
    plain = train_stream(split, config=config, **given)
    taught = with_teacher(plain, lambda x: tf.reduce_sum(x, axis=(1, 2)) * tf.ones((1, 10)))
    assert taught.options().autotune.enabled is False
    for (x, y), (same, both) in zip(plain, taught, strict=True):
        np.testing.assert_array_equal(x, same)
        np.testing.assert_array_equal(both[:, :10], y)
        sums = np.broadcast_to(x.numpy().sum(axis=(1, 2)), y.shape)
        np.testing.assert_allclose(both[:, 10:], sums, rtol=1e-4)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """A few of mnist's digits."""
    whole = datasets.scan("mnist", seed=0)
    few = range(0, 4000, 25)
    return dataclasses.replace(
        whole, train=whole.train.take(few), held_out=whole.held_out.take(range(0, 1000, 25))
    )


@pytest.fixture(scope="module")
def teacher_run(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "scan", lambda *_args, **_options: digits)
        train(request("lenet5", data="mnist", epochs=1), folder)
    return folder


@pytest.fixture
def few_digits(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "scan", lambda *_args, **_options: digits)


def taught(teacher: Path, **changes) -> TrainRequest:
    return request("lenet5", data="mnist", epochs=2, seed=1, teacher=str(teacher), **changes)


@IN_CI
@pytest.mark.usefixtures("few_digits")
def test_a_taught_training_broken_off_goes_on(
    teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(taught(teacher_run), tmp_path / "whole")
    with monkeypatch.context() as patch:
        break_off_after(1, patch)
        with pytest.raises(Stop):
            train(taught(teacher_run), tmp_path / "broken")
    assert checkpoint.latest_first(tmp_path / "broken" / "checkpoints")
    broken = train(taught(teacher_run), tmp_path / "broken")
    assert_same_weights(whole.load_model(), broken.load_model())

    digest = hashlib.sha256((teacher_run / "model.keras").read_bytes()).hexdigest()
    assert whole.info["teacher"] == {"run": "run", "sha256": digest}
    assert whole.info["request"]["teacher"] == str(teacher_run.resolve())
    assert whole.info["request"]["config"]["distil_weight"] == 0.7
    with (tmp_path / "whole" / "history.csv").open() as stream:
        assert next(csv.DictReader(stream)).keys() == {
            "epoch", "learning_rate", "loss", "accuracy",
            "val_accuracy", "val_balanced_accuracy", "val_loss",
        }  # fmt: skip
    plain = train(request("lenet5", data="mnist", epochs=2, seed=1), tmp_path / "plain")
    assert not np.array_equal(
        plain.load_model().get_weights()[0], whole.load_model().get_weights()[0]
    )


@IN_CI
@pytest.mark.usefixtures("few_digits")
def test_another_teacher_makes_another_run(
    teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off_after(0, monkeypatch)
    with pytest.raises(Stop):
        train(taught(teacher_run), tmp_path)
    with pytest.raises(InputError, match=f"teacher: {teacher_run.resolve()} there, none asked for"):
        train(request("lenet5", data="mnist", epochs=2, seed=1), tmp_path)
    with pytest.raises(InputError, match=r"distil_weight: 0\.7 there, 0\.5 asked for"):
        train(taught(teacher_run, distil_weight=0.5), tmp_path)
    info = dict(read_info(tmp_path) or {})
    write_info(tmp_path, info | {"teacher": {"run": "run", "sha256": "0"}})
    with pytest.raises(InputError, match="has changed since"):
        train(taught(teacher_run), tmp_path)


@pytest.mark.usefixtures("few_digits")
def test_runs_from_before_a_setting_are_still_complete(teacher_run: Path) -> None:
    """What an older version did not ask is what it did without asking."""
    asked = request("lenet5", data="mnist", epochs=1)
    info = json.loads((teacher_run / "run.json").read_text("utf-8"))
    assert info["request"] == asked.to_dict()
    older = {key: value for key, value in info["request"].items() if key != "teacher"}
    older["config"] = {
        key: info["request"]["config"][key]
        for key in ("epochs", "batch_size", "optimizer", "learning_rate", "weight_decay",
                    "warmup_epochs", "label_smoothing", "augmentation", "validation_fraction",
                    "freeze_epochs", "freeze_learning_rate", "seed")
    }  # fmt: skip
    write_info(teacher_run, info | {"request": older})
    before = (teacher_run / "model.keras").stat().st_mtime_ns
    assert train(asked, teacher_run).info["complete"]
    assert (teacher_run / "model.keras").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"mixup: 0\.0 there, 0\.2 asked for"):
        train(request("lenet5", data="mnist", epochs=1, mixup=0.2), teacher_run)
    half = request("lenet5", data="mnist", epochs=1, precision="mixed_bfloat16")
    with pytest.raises(InputError, match=r"precision: float32 there, mixed_bfloat16 asked for"):
        train(half, teacher_run)
    write_info(teacher_run, info)


@pytest.mark.parametrize(
    ("student", "largest"),
    [
        (SMALL, 0.0),
        (dataclasses.replace(SMALL, mean=0.0, std=255.0), 1e-4),
        (dataclasses.replace(SMALL, channels=3, order="bgr", mean=(1.0, 2.0, 3.0)), 1e-3),
        (dataclasses.replace(SMALL, height=32, width=32), None),
    ],
)
def test_a_teacher_sees_pictures_as_its_own(
    teacher_run: Path, digits: Dataset, student: Preprocessing, largest: float | None
) -> None:
    run = Run.open(teacher_run)
    teacher = Teacher.open(run, classes=digits.classes, student=student)
    pictures = digits.held_out.pictures
    assert pictures is not None
    grown = np.pad(pictures, ((0, 0), *[((student.height - 28) // 2,) * 2] * 2, (0, 0)))
    given = student.normalise(np.repeat(grown, student.channels, axis=-1))
    found = teacher.teacher_logits(tf.constant(given)).numpy()
    own = run.load_model()(run.preprocessing.normalise(pictures), training=False).numpy()
    assert found.shape == (40, 10)
    if largest is None:
        assert np.isfinite(found).all()
    else:
        np.testing.assert_allclose(found, own, atol=largest)


def test_what_cannot_teach_is_refused(teacher_run: Path, digits: Dataset) -> None:
    run = Run.open(teacher_run)
    with pytest.raises(InputError, match=r"has the classes 0, 1, 2, 3, \.\.\. \(10 classes\)"):
        Teacher.open(run, classes=("cats", "dogs"), student=SMALL)
    flat = dataclasses.replace(SMALL, width=56)
    with pytest.raises(InputError, match=r"takes images of 28x28, to which 28x56"):
        Teacher.open(run, classes=digits.classes, student=flat)


def test_impossible_settings() -> None:
    for wrong in ({"distil_weight": 1.1}, {"distil_weight": -0.1}, {"temperature": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            TrainConfig(**wrong)
    with pytest.raises(InputError, match="temperature without a teacher"):
        request("lenet5", data="mnist", temperature=2.0)


def test_the_command_refuses_in_one_line(teacher_run: Path, tmp_path: Path) -> None:
    command = ("train", "lenet5", "--data", "mnist", "--out", tmp_path / "run", "--teacher")
    assert_refused(here(*command, tmp_path / "none"), str(tmp_path / "none"), "not a run folder")
    weighty = here(*command, teacher_run, "--distil-weight", 2)
    assert_refused(weighty, "distil_weight must be between 0 and 1, not 2")
    assert not (tmp_path / "run").exists()
