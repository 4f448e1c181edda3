"""What a request for a training can be refused for before a framework is loaded."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

from kerascnn import weights as weight_files
from kerascnn.errors import InputError
from kerascnn.zoo import entry
from training import datasets
from training.common.reading import DEEPEST
from training.datasets import detection_sets as object_sets
from training.datasets import segmentation_sets as map_sets
from training.engine import options
from training.engine.request import TrainRequest, request
from training.engine.resume import begun
from training.engine.run import Run, read_info

_REQUIRE = {
    "classification": datasets.require,
    "detection": object_sets.require,
    "segmentation": map_sets.require,
}


def checked(
    model: str, *, folder: pathlib.Path | None = None, task: str | None = None, **asked: Any
) -> TrainRequest:
    """The request, with its options, its data's place and its weights looked at.

    Args:
        model, **asked: as of `training.engine.request.request`.
        folder: of the run that is to be trained or gone on with.
        task: of the models that the command is for; None: all.

    Raises:
        InputError: anything that is wrong and needs neither a network nor a picture to be told.
    """
    found = request(model, **asked)
    row = entry(model)
    if task is not None and row.task != task:
        raise InputError(f"{model} is for {row.task}, and this command takes models for {task}")
    boxes: Mapping[str, Any] = asked.get("detector_options") or {}
    if boxes and row.task != "detection":
        raise InputError(f"--detector is for detectors, and {model} is not a detector")
    options.check(model, found.model_options, found.detector_options)
    if found.weights is not None:
        weight_files.require(
            model, found.weights, backbone=row.backbone, options=found.model_options
        )
        _refuse_detectors(found.weights, model, row.task)
    if found.teacher is not None:
        Run.open(found.teacher)
    if folder is not None:
        begun(found, folder)
    _REQUIRE[row.task](asked["data"])
    if asked.get("val_data") is not None:
        _REQUIRE[row.task](asked["val_data"])
    return found


def _refuse_detectors(weights: str, model: str, task: str) -> None:
    """Refuse a detector's run, or a file of one, as initial weights of another kind of network."""
    path = pathlib.Path(weights).absolute()
    if task == "detection" or not path.exists():
        return
    near = [path, *path.parents][: DEEPEST + 1]
    folder = next((one for one in near if (one / "run.json").is_file()), None)
    info: Mapping[str, Any] = {}
    with contextlib.suppress(InputError):  # a damaged one says nothing of its weights
        info = (folder and read_info(folder)) or {}
    if info.get("task") == "detection":
        raise InputError(
            f"{weights} has weights of a detector, and {model} is not one; give weights of another "
            "network"
        )
