"""`kerascnn train`: from a request to a run folder."""

from __future__ import annotations

import dataclasses
import datetime
import math
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any

import keras

import kerascnn
from kerascnn import zoo
from kerascnn.complexity import count_macs, count_parameters
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from kerascnn.zoo import entry
from training import atomic, datasets
from training.batches import Course
from training.config import TrainConfig
from training.confusion import confusion_matrix, write_confusion
from training.curves import write_curves
from training.datasets.decode import CACHE_BYTES, Broken, decode_dataset
from training.datasets.splits import Dataset, few, stratified
from training.devices import SINGLE, Placement
from training.distillation import Teacher
from training.evaluate import evaluate, keras_predict_fn
from training.fit import fit
from training.history import History
from training.policies import POLICIES
from training.progress import say
from training.request import TrainRequest
from training.run import Run, machine, read_info, versions, write_info
from training.tensorboard_log import TensorBoardLog

# Stored pictures have so many times the pixels a side that a window of them is cut to: windows
# are cut from the whole picture, whatever its shape.
_MORE_PIXELS = 1.25
_SECONDS_BETWEEN_DRAWINGS = 10.0


def train(asked: TrainRequest, folder: pathlib.Path, placement: Placement = SINGLE) -> Run:
    """Train into `folder`, going on with an interrupted run of the same request.

    Args:
        placement: the devices and hosts to train on; hosts other than the first write nothing.

    Raises:
        InputError: bad data, an impossible model, a folder that holds another run, or a teacher
            that cannot teach this.
        OSError: the folder cannot be written.
        Stopped: a signal asked to stop; what was trained is kept.
    """
    info = read_info(folder)
    if info:
        before = TrainRequest.from_dict(info["request"]).to_dict()
        if before != asked.to_dict():
            raise InputError(
                f"{folder} holds another run ({_difference(before, asked.to_dict())}); "
                "name another folder with --out, or delete it"
            )
    if info and info.get("complete"):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # killed just before that
        say(f"{folder} is complete")
        return Run.open(folder)
    dataset = scan_for(asked)
    preprocessing = preprocessing_for(asked, dataset)
    model = _build(asked, preprocessing, classes=len(dataset.classes))
    teacher = _teacher(asked, dataset, preprocessing)
    if info is None:
        info = _first_info(asked, dataset, preprocessing, model)
        info["devices"] = placement.replicas
        if teacher:
            info["teacher"] = {"run": teacher.name, "sha256": teacher.sha256}
        if placement.is_chief:
            write_info(folder, info)  # also finds out now whether the folder can be written
    elif info["dataset"]["fingerprint"] != dataset.fingerprint:
        raise InputError(f"{asked.data} has changed since {folder} began; delete {folder}")
    elif teacher and info["teacher"]["sha256"] != teacher.sha256:
        raise InputError(f"{asked.teacher} has changed since {folder} began; delete {folder}")
    return _run(asked, folder, dict(info), dataset, preprocessing, model, teacher, placement)


def scan_for(asked: TrainRequest) -> Dataset:
    """The data of a request, not read yet."""
    dataset = datasets.scan(asked.data, seed=asked.config.seed)
    if dataset.ignored:
        endings = ", ".join(f"{n} {ending}" for ending, n in sorted(dataset.ignored.items()))
        say(f"no pictures that are read here, left out: {endings}")
    if asked.config.pictures_per_class:
        dataset = few(dataset, asked.config.pictures_per_class, seed=asked.config.seed)
    return dataset


def open_course(
    asked: TrainRequest, *, cache_bytes: int = CACHE_BYTES
) -> tuple[keras.Model, Course]:
    """The untrained network of a request and what it learns from, for a look at how it trains.

    Args:
        cache_bytes: decoded pictures are kept if they fit.

    Raises:
        InputError: bad data or an impossible model.
    """
    dataset = scan_for(asked)
    preprocessing = preprocessing_for(asked, dataset)
    model = _build(asked, preprocessing, classes=len(dataset.classes))
    source = source_for(preprocessing, asked.config)
    chosen = choosing(dataset, asked.config)
    alone = dataclasses.replace(chosen, validation=None, held_out=chosen.held_out.take([]))
    decoded, _broken = decode_dataset(
        alone,
        train=source,
        evaluation=preprocessing,
        strict=asked.strict,
        report=say,
        cache_bytes=cache_bytes,
    )
    return model, Course(
        split=decoded.train,
        source=source,
        preprocessing=preprocessing,
        classes=len(dataset.classes),
        config=asked.config,
    )


def preprocessing_for(asked: TrainRequest, dataset: Dataset) -> Preprocessing:
    """Geometry by the request, else the data set's own, else the model's; values by the model."""
    if asked.image_size:
        height, width = asked.image_size
    elif dataset.train.pictures is not None:
        height, width = dataset.train.pictures.shape[1:3]
    else:
        height, width = entry(asked.model).input_shape[:2]
    return zoo.preprocessing(
        asked.model, height, width, weights=asked.weights, resize=dataset.resize
    )


def _run(
    asked: TrainRequest,
    folder: pathlib.Path,
    info: dict[str, Any],
    dataset: Dataset,
    preprocessing: Preprocessing,
    model: keras.Model,
    teacher: Teacher | None,
    placement: Placement,
) -> Run:
    source = source_for(preprocessing, asked.config)
    dataset, broken = decode_dataset(
        choosing(dataset, asked.config),
        train=source,
        evaluation=preprocessing,
        strict=asked.strict,
        report=say,
        set_aside=dataset.validation is None,
    )
    pictures = _Pictures(folder, asked.model)
    fitted = fit(
        model,
        train=dataset.train,
        validation=dataset.validation,
        source=source,
        preprocessing=preprocessing,
        config=asked.config,
        folder=folder / "checkpoints",
        history_file=folder / "history.csv",
        teacher=teacher,
        placement=placement,
        after_epoch=pictures.after_epoch,
    )
    if not placement.is_chief:
        placement.barrier()  # whoever looks into the folder next finds a whole run
        return Run(folder, info)
    pictures.draw(fitted.history)
    with atomic.replacing(folder / "model.keras") as temporary:
        _in_single_precision(asked, preprocessing, model).save(temporary)
    atomic.write_text(folder / "labels.txt", "".join(f"{c}\n" for c in dataset.classes))
    info["dataset"] |= _counts(dataset, broken)
    info["results"] = _results(folder, model, dataset, preprocessing)
    info["results"] |= {"best_epoch": fitted.best_epoch, "seconds": round(fitted.seconds, 1)}
    info["complete"] = True
    write_info(folder, info)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    placement.barrier()
    return Run(folder, info)


class _Pictures:
    """What people look at while a run trains: the curves, and TensorBoard's log."""

    def __init__(self, folder: pathlib.Path, title: str) -> None:
        self._folder, self._title = folder, title
        self._log: TensorBoardLog | None = None
        self._drawn = -math.inf

    def after_epoch(self, history: History) -> None:
        """Log the epoch; draw the curves if the last drawing is some seconds old."""
        if self._log is None:
            self._log = TensorBoardLog(self._folder / "tensorboard", history)
        else:
            self._log.epoch(history[-1])
        # A drawing takes as long as an epoch of few small pictures.
        if time.monotonic() - self._drawn > _SECONDS_BETWEEN_DRAWINGS:
            self.draw(history)

    def draw(self, history: History) -> None:
        """Draw the curves anew."""
        write_curves(history, self._folder / "curves.png", title=self._title)
        self._drawn = time.monotonic()


def _results(
    folder: pathlib.Path, model: keras.Model, dataset: Dataset, preprocessing: Preprocessing
) -> dict[str, Any]:
    """Figures on the held-out pictures; and the confusion matrix as a file and a picture."""
    found = evaluate(keras_predict_fn(model, preprocessing), dataset.held_out, preprocessing)
    matrix = confusion_matrix(dataset.held_out.labels, found.predictions, len(dataset.classes))
    write_confusion(
        matrix, dataset.classes, png=folder / "confusion.png", csv=folder / "confusion.csv"
    )
    return {
        "metric": "accuracy",
        "held_out": found.accuracy,
        "top5": found.top5,
        "calibration_error": found.calibration_error,
        "loss": found.loss,
    }


def _build(asked: TrainRequest, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
    keras.utils.set_random_seed(asked.config.seed)
    try:
        model = kerascnn.build(
            asked.model,
            input_shape=preprocessing.input_shape,
            classes=classes,
            weights=asked.weights,
            **asked.model_options,
        )
    except TypeError as error:
        raise InputError(f"{asked.model} does not take these options: {error}") from error
    if len(model.outputs) > 1:
        raise InputError(
            f"{asked.model} has {len(model.outputs)} outputs with these options, and is trained "
            "here with one; leave out auxiliary"
        )
    return model


def _teacher(asked: TrainRequest, dataset: Dataset, preprocessing: Preprocessing) -> Teacher | None:
    if asked.teacher is None:
        return None
    run = Run.open(asked.teacher)
    return Teacher.open(run, classes=dataset.classes, student=preprocessing)


def source_for(preprocessing: Preprocessing, config: TrainConfig) -> Preprocessing:
    """How training pictures are stored: whole, where augmentation cuts windows out of them."""
    if preprocessing.resize != "crop" or not POLICIES[config.augmentation].crops:
        return preprocessing
    more = _MORE_PIXELS / preprocessing.crop_fraction
    return dataclasses.replace(
        preprocessing,
        height=round(preprocessing.height * more),
        width=round(preprocessing.width * more),
        resize="stretch",
    )


def choosing(dataset: Dataset, config: TrainConfig) -> Dataset:
    """With pictures that choose the epoch set aside, if it has none: never the held-out ones."""
    if dataset.validation is not None or not config.validation_fraction:
        return dataset
    kept, aside = stratified(
        dataset.train.labels,
        dataset.classes,
        fraction=config.validation_fraction,
        seed=config.seed,
    )
    train = dataset.train
    return dataclasses.replace(dataset, train=train.take(kept), validation=train.take(aside))


def _in_single_precision(
    asked: TrainRequest, preprocessing: Preprocessing, model: keras.Model
) -> keras.Model:
    """The model for export: one trained in mixed precision, rebuilt without it."""
    options = {key: value for key, value in asked.model_options.items() if key != "dtype"}
    if len(options) == len(asked.model_options):
        return model
    plain = dataclasses.replace(asked, model_options=options)
    rebuilt = _build(plain, preprocessing, classes=model.output_shape[-1])
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _first_info(
    asked: TrainRequest, dataset: Dataset, preprocessing: Preprocessing, model: keras.Model
) -> dict[str, Any]:
    return {
        "request": asked.to_dict(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
        "preprocessing": preprocessing.to_dict(),
        "labels": list(dataset.classes),
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "complete": False,
    }


def _counts(dataset: Dataset, broken: list[Broken]) -> dict[str, Any]:
    return {
        "train": len(dataset.train),
        "validation": len(dataset.validation) if dataset.validation else 0,
        "held_out": len(dataset.held_out),
        "skipped": [picture.name for picture in broken],
    }


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The first thing that two requests disagree on, for a message."""
    for key in sorted({**here, **there}, key=lambda key: isinstance(here.get(key), dict)):
        if (before := there.get(key)) != (now := here.get(key)):
            if isinstance(now, dict) and isinstance(before, dict):
                return _difference(before, now) or key
            return f"{key} {before} there, {now} asked for"
    return "with other settings"
