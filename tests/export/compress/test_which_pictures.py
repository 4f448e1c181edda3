"""Fine-tuning, calibration and choices use the run's own pictures, and its own loss.

Every field of TrainConfig has its place here: what a fine-tuning learns from and by follows the
run's, or the field is refused by name, or it is said why fine-tuning has its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from marks import IN_CI, all_but
from PIL import Image

from export.artefacts.artefact import Artefact
from export.artefacts.variants import FineTuning, Settings, parse_variant
from export.compress import finetune
from export.compress.compress import VariantBuilder, compress
from export.compress.finetune import share_of
from export.tasks import base as tasks
from export.tasks import classification
from export.tasks.classification import ClassificationFineTuningData
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.engine import dataset_of_request as of_request
from training.engine.config import TrainConfig
from training.engine.request import TrainRequest, request
from training.engine.run import Run
from training.engine.train import train

# Fields that shape what is learnt, and by which loss; with another value than the default.
SHAPING: dict[str, Any] = {
    "batch_size": 3,
    "min_steps": 8,
    "label_smoothing": 0.3,
    "map_loss": "focal",
    "border_weight": 10.0,
    "augmentation": "none",
    "mixup": 0.4,
    "cutmix": 0.4,
    "class_weights": "balanced",
    "pictures_per_class": 3,
    "validation_fraction": 0.4,
    "seed": 1,
    "split_seed": 1,
}
# Refused by name of what is trained for another task.
REFUSED = {
    "classification": ("map_loss", "border_weight"),
    "detection": (
        *("map_loss", "border_weight", "mixup", "cutmix", "class_weights", "pictures_per_class"),
        "label_smoothing",
    ),
    "segmentation": ("mixup", "cutmix", "pictures_per_class", "label_smoothing"),
}
_OPTIMISER = "a step of fine-tuning has Adam, without decay and clipping"
_SCHEDULE = "a step of fine-tuning has one cosine decay to zero"
_EPOCH = "a step of fine-tuning keeps its last epoch"
OWN: dict[str, str] = {
    "epochs": "a share of the run's, by the kind of step",
    "learning_rate": "a share of the run's, by the kind of step",
    "reference_batch": "counted into that share, by the batches that the run had",
    "accumulate": "one batch an update",
    "min_updates": "epochs are a share of those that the run had",
    "probe": "the head has learnt already",
    "first_layer_rate": "a step of fine-tuning has one rate for all layers",
    "norms": "kept: norms do as they did in the run (test_prune)",
    **dict.fromkeys(("optimizer", "momentum", "nesterov", "rho", "epsilon"), _OPTIMISER),
    **dict.fromkeys(("weight_decay", "decay", "clip_norm"), _OPTIMISER),
    **dict.fromkeys(("schedule", "milestones", "decay_rate", "decay_epochs", "decays"), _SCHEDULE),
    **dict.fromkeys(("warmup_epochs", "freeze_epochs", "freeze_updates"), _SCHEDULE),
    "freeze_learning_rate": _SCHEDULE,
    "ema": "few epochs at a low rate have nothing to be averaged",
    "monitor": _EPOCH,
    "patience": _EPOCH,
    "precision": "a step of fine-tuning computes in float32",
    "deterministic": "fine-tuning is always repeatable",
    "watch_images": _EPOCH,
    "distil_weight": "of the variant: --distil-weight",
    "temperature": "of the variant: --temperature",
}
CLASSES = {"cup": 20, "hat": 9, "pen": 5}


def test_every_setting_has_its_place() -> None:
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert not SHAPING.keys() & OWN.keys()
    placed = SHAPING.keys() | OWN.keys()
    assert not fields - placed, "does it shape what a fine-tuning learns from, or by?"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three classes, one of them rare; one picture is broken."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, count in CLASSES.items():
        (folder / name).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "cup" / "broken.png").write_bytes(b"\x89PNG of nothing")
    return folder


def asked_for(task: str, photos: Path, **settings: Any) -> TrainRequest:
    if task == "classification":
        plain = {"augmentation": "digits", "label_smoothing": 0.1, "validation_fraction": 0.2}
        return request(
            "lenet5", data=str(photos), recipe="digits", epochs=2, batch_size=8,
            settings=plain | settings,
        )  # fmt: skip
    model = {"detection": "ssdlite_mobilenet_v3_small", "segmentation": "unet"}[task]
    return request(
        model, data="scenes:96@12+4", image_size=(96, 96), epochs=2, batch_size=8,
        validation_fraction=0.2, settings=settings,
    )  # fmt: skip


def described(asked: TrainRequest) -> Run:
    """A run as far as its data and its loss go."""
    preprocessing = Preprocessing(height=28, width=28, channels=1, resize="crop")
    info: dict[str, Any] = {"request": asked.to_dict(), "task": zoo.entry(asked.model).task}
    if info["task"] == "classification":
        found: Any = of_request.dataset_of(asked)
    else:
        preprocessing = zoo.preprocessing(asked.model, 96, 96, weights=None, resize="stretch")
        detects = info["task"] == "detection"
        found = of_request.dataset_of(asked)
        spec = zoo.detector_spec(asked.model, (96, 96, 3)) if detects else None
        info["detector"] = spec and spec.to_dict()
        info["segmenter"] = {"output_size": [96, 96]}
    info |= {"labels": list(found.classes), "preprocessing": preprocessing.to_dict()}
    info["dataset"] = {"fingerprint": found.fingerprint, "skipped": []}
    return Run(Path("nowhere"), info)


def learnt(asked: TrainRequest) -> str:
    """What the first batch of a fine-tuning is, and what its loss says of fixed answers."""
    task = tasks.of(described(asked))
    config = share_of(task.config, epochs=0.5, learning_rate=0.5)
    fine_tuning_data = task.fine_tuning_data()
    pictures, wanted, *weights = next(iter(fine_tuning_data.stream(config)))
    losses = fine_tuning_data.compiled(config)["loss"]
    parts = [np.asarray(pictures), *map(np.asarray, tf.nest.flatten(wanted)), *weights]
    if task.run.task != "detection":
        length = len(task.run.labels)
        shape = (*np.shape(wanted)[:-1], length)
        answers = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
        parts.append(np.asarray(losses(wanted, tf.constant(answers))))
    found = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts))
    return found.hexdigest()


@IN_CI
@pytest.mark.parametrize("task", all_but(REFUSED.keys() - {"detection"}, REFUSED))
def test_what_shapes_a_training_shapes_its_fine_tuning(task: str, photos: Path) -> None:
    plain = learnt(asked_for(task, photos))
    assert learnt(asked_for(task, photos)) == plain
    for name, value in SHAPING.items():
        if name in REFUSED[task]:
            with pytest.raises(InputError, match=name):
                asked_for(task, photos, **{name: value})
        else:
            assert learnt(asked_for(task, photos, **{name: value})) != plain, name


def test_rare_classes_weigh_as_in_the_training(photos: Path) -> None:
    asked = asked_for("classification", photos, class_weights="balanced", augmentation="none")
    fine_tuning_data = tasks.of(described(asked)).fine_tuning_data()
    config = share_of(asked.config, epochs=0.5, learning_rate=0.5)
    assert isinstance(fine_tuning_data, ClassificationFineTuningData)
    counts = np.bincount(fine_tuning_data.train.labels)
    for _pictures, labels, weights in fine_tuning_data.stream(config):
        which = np.asarray(labels).argmax(axis=-1)
        expected = counts.sum() / (len(CLASSES) * counts[which])
        np.testing.assert_allclose(weights, expected, rtol=1e-6)


STEPS = ("prune50_int8", "cluster16_int8", "qat_int8", "slim50_int8", "distil_prune50_int8")


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on a hundred digits, ten of them set aside."""
    asked = request(
        "lenet5", data="mnist", recipe="digits", epochs=1, batch_size=32, validation_fraction=0.1,
        settings={"pictures_per_class": 10},
    )  # fmt: skip
    return train(asked, tmp_path_factory.mktemp("runs") / "few")


class Caught(Exception):
    """What a fine-tuning was given."""


@pytest.mark.parametrize("name", STEPS)
def test_each_step_learns_from_what_the_run_learnt_from(
    few_digits: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def caught(_model: Any, fine_tuning_data: Any, config: TrainConfig, *_: Any, **__: Any) -> None:
        given.update(train=fine_tuning_data.train, config=config)
        raise Caught

    def fitted(_model: Any, **fit: Any) -> None:
        assert fit["validation"] is None
        given.update(fit)
        raise Caught

    monkeypatch.setattr(finetune, "fine_tune", caught)
    monkeypatch.setattr(classification, "fit", fitted)
    settings = Settings(calibration_pictures=200, fine_tuning=FineTuning(epochs=1))
    variant = parse_variant(name, settings)
    builder = VariantBuilder(few_digits)
    with pytest.raises(Caught):
        builder.network(variant)
    pictures = of_request.with_validation(
        of_request.dataset_of(builder._task.asked), builder._task.config
    )
    assert pictures.validation is not None
    aside = {*pictures.validation.names, *pictures.held_out.names}
    assert given["train"].names == pictures.train.names
    assert len(given["train"]) == few_digits.info["dataset"]["train"] == 90
    assert not aside & set(given["train"].names)
    calibration, labels = builder._sample(200)
    assert len(calibration) == len(labels) == 90
    known = {picture.tobytes() for picture in given["train"].pictures}
    assert {picture.tobytes() for picture in calibration} == known


def test_broken_pictures_are_left_out_as_in_the_training(photos: Path) -> None:
    task = tasks.of(described(asked_for("classification", photos)))
    names = {Path(name).name for name in task.fine_tuning_data().train.names}
    assert "broken.png" not in names


@pytest.fixture(scope="module")
def files(few_digits: Run) -> list[Artefact]:
    return compress(few_digits, ["float32", "int8"], onnx=False)[0]


@IN_CI
def test_files_keep_their_figure_on_the_pictures_that_choose(
    few_digits: Run, files: list[Artefact]
) -> None:
    kept = few_digits.info["results"]["validation"]
    for file in files:
        choice = file.info["evaluation"]["choice"]
        assert choice["split"] == "validation"
        assert choice["pictures"] == 10
        assert choice["float_value"] == pytest.approx(kept)
        assert 0 <= choice["value"] <= 100
        if file.info["variant"]["name"] == "float32":
            assert choice["value"] == pytest.approx(kept)


def test_without_pictures_set_aside_there_is_no_such_figure(
    few_digits: Run, tmp_path: Path
) -> None:
    info = {**few_digits.info, "request": {**few_digits.info["request"]}}
    info["request"]["config"] = {**info["request"]["config"], "validation_fraction": 0.0}
    (tmp_path / "model.keras").write_bytes(few_digits.model_path.read_bytes())
    (file,) = compress(Run(tmp_path, info), ["float32"], onnx=False)[0]
    assert "choice" not in file.info["evaluation"]


def test_balanced_accuracy_chooses_where_the_run_asks_for_it() -> None:
    from training.classification.evaluate import Evaluation

    logits = np.eye(2)[[0, 0, 0, 0]]
    found = Evaluation.of(logits, np.array([0, 0, 0, 1]))
    assert found.figure("auto") == 75
    assert found.figure("balanced_accuracy") == 50


@pytest.fixture(scope="module")
def taught(photos: Path) -> Run:
    """A run on files, and a second one that may teach it."""
    for name in ("teacher", "pupil"):
        asked = request(
            "lenet5", data=str(photos), recipe="digits", epochs=1, batch_size=8,
            image_size=(28, 28), validation_fraction=0.2,
        )  # fmt: skip
        run = train(asked, photos.parent / "runs" / name)
    return run


@IN_CI
def test_no_file_says_where_it_was_made(taught: Run, photos: Path) -> None:
    tuning = FineTuning(epochs=1, teacher=str(taught.folder.parent / "teacher"))
    settings = Settings(calibration_pictures=9, fine_tuning=tuning)
    compress(taught, ["int8", "distil_prune50_float32"], settings=settings)
    made = [*taught.artefacts.iterdir(), *(taught.folder / "stages").rglob("*.json")]
    assert {file.name for file in made} >= {"int8.json", "float32.onnx", "stage.json"}
    for file in made:
        assert str(photos.parent).encode() not in file.read_bytes(), file.name
    told = Artefact.open(taught.artefacts / "distil_prune50_float32.tflite").info
    assert told["variant"]["fine_tuning"]["teacher"] == "teacher"
    assert told["mistakes"][0]["name"].split("/")[0] in CLASSES


@IN_CI
def test_a_teacher_that_knows_the_held_out_pictures_is_refused(taught: Run, photos: Path) -> None:
    asked = dataclasses.replace(
        TrainRequest.from_dict(taught.info["request"]),
        config=dataclasses.replace(VariantBuilder(taught)._task.config, split_seed=1),
    )
    other = train(asked, photos.parent / "runs" / "other")
    settings = Settings(fine_tuning=FineTuning(epochs=1, teacher=str(other.folder)))
    with pytest.raises(InputError, match="would be the teacher, learnt from"):
        compress(taught, ["distil_qat_int8"], onnx=False, settings=settings)
