"""What a data set is for, by its form, where nobody says it."""

from __future__ import annotations

import pathlib
from typing import Any

from kerascnn import zoo
from kerascnn.catalogue import TASKS
from kerascnn.errors import InputError
from training.datasets import (
    EMBEDDED,
    coco,
    tfds,
    voc,
    yolo,
)
from training.datasets import (
    mask_folder as map_folder,
)
from training.datasets import (
    voc_masks as voc_maps,
)
from training.datasets.detection import is_scenes
from training.engine.refusals import checked
from training.engine.request import TrainRequest

# Whose input and recipe stand for a task's where no model is named: one family, small and common.
MODELS = {
    "classification": "efficientnet_lite0",
    "detection": "efficientdet_lite0",
    "segmentation": "unet_efficientnet_lite0",
}


def request(
    data: str, *, task: str | None = None, model: str | None = None, **asked: Any
) -> tuple[TrainRequest, bool]:
    """What a data set is to be looked at for; no image is read.

    Args:
        data: as of a training.
        task, model: as in `model_for`.
        **asked: as of `training.engine.refusals.checked`.

    Returns:
        The request, and whether the task was guessed.

    Raises:
        InputError: as of a training.
    """
    chosen, guessed = model_for(data, task, model)
    return checked(chosen, data=data, **asked), guessed


def model_for(data: str, task: str | None, model: str | None) -> tuple[str, bool]:
    """The model that a data set is checked for.

    Args:
        task: of the zoo's, or None.
        model: of the zoo's, or None.

    Returns:
        Its name, and whether the task was guessed.

    Raises:
        InputError: no such task or model, a model of another task, or no such data.
    """
    if task is not None and task not in TASKS:
        raise InputError(f"--task must be {', '.join(TASKS[:-1])} or {TASKS[-1]}, not {task!r}")
    if model is not None:
        own = zoo.entry(model).task
        if task not in (None, own):
            raise InputError(f"{model} is for {own}, not for {task}; leave out --task or --model")
        return model, False
    return MODELS[task or guessed(data)], task is None


def guessed(data: str) -> str:
    """The task of the data's form; what has boxes is for detection, outlines or not.

    Raises:
        InputError: there is no such data.
    """
    if is_scenes(data):
        return "detection"
    if data in EMBEDDED or data.startswith(tfds.PREFIX):
        return "classification"
    path = pathlib.Path(data)
    if not path.exists():
        known = ", ".join((*EMBEDDED, "scenes", "tfds:NAME"))
        raise InputError(
            f"{data}: no such file or folder, and no other data set (there are: {known})"
        )
    # Masks before YOLO, whose list of classes may lie beside them; Pascal VOC has boxes and masks.
    for reader, task in (
        (voc, "detection"),
        (voc_maps, "segmentation"),
        (map_folder, "segmentation"),
        (yolo, "detection"),
        (coco, "detection"),
    ):
        if (path.is_dir() or reader in (yolo, coco)) and reader.recognises(path):
            return task
    if path.is_dir():
        return "classification"
    raise InputError(
        f"{data} is not a data set; give a folder, a COCO .json or a YOLO .yaml (what each task "
        "takes: kerascnn train --help)"
    )
