"""Which files a run of each task can have; asked before a framework is loaded."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from export.artefacts.variants import (
    Cluster,
    Prune,
    Qat,
    Variant,
    variant,
)
from kerascnn.errors import InputError

if TYPE_CHECKING:
    from training.engine.run import Run

TWO_STAGE_PRECISIONS = ("float32", "float16", "dynamic_int8", "weight_int8")
NO_LOSSES = "steps that train have the losses of one-stage detectors alone"
_HELD = {"detection": "a detector", "segmentation": "a segmentation network"}


def require_classifier(run: Run, command: str) -> None:
    """Raise InputError for a run that a command has no measure for."""
    if run.task != "classification":
        held = _HELD[run.task]
        raise InputError(f"{run.folder} holds {held}, and kerascnn {command} takes classifiers")


def require_files(run: Run) -> None:
    """Raise InputError for a run without exported files."""
    if not any(run.artefacts.glob("*.tflite")) and not any(run.artefacts.glob("*.onnx")):
        raise InputError(
            f"{run.folder} has no exported files; make them: kerascnn compress {run.folder}"
        )


def require_file(run: Run, name: str) -> pathlib.Path:
    """The .tflite file of a variant; raises InputError where there is none, or no such variant."""
    path = run.artefacts / f"{variant(name).name}.tflite"
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; make it: kerascnn compress {run.folder} --variants {name}"
        )
    return path


def check(run: Run, made: Variant) -> None:
    """Raise InputError for a variant that the networks of a run's task cannot have."""
    if run.task == "classification":
        classification(made)
    elif run.task == "segmentation":
        segmentation(made)
    elif run.info["detector"].get("stages") == 2:
        two_stage(made)
    else:
        detection(made)


def classification(made: Variant) -> None:
    """Of classifiers."""
    if made.raw_outputs:
        raise InputError(f"{made.name}: only detectors and segmentation networks have a raw form")


def detection(made: Variant) -> None:
    """Of one-stage detectors."""
    if not _shared_steps(made) or made.mixed_bits or made.tool == "converter":
        raise InputError(
            f"{made.name}: for classifiers only; detectors have float32, float16, "
            "dynamic_int8, weight_int8, weight_int4, int8 and int16x8, with prune, cluster and "
            "qat in front, and _raw behind"
        )


def segmentation(made: Variant) -> None:
    """Of segmentation networks."""
    if not _shared_steps(made) or made.mixed_bits:
        raise InputError(
            f"{made.name}: for classifiers only; segmentation networks have every variant but "
            "slim, distil and mixed, and _raw behind for their logits"
        )


def two_stage(made: Variant) -> None:
    """Of two-stage detectors."""
    if made.name in TWO_STAGE_PRECISIONS:
        return
    raise InputError(
        f"{made.name}: two-stage detectors have {', '.join(TWO_STAGE_PRECISIONS[:-1])} and "
        f"{TWO_STAGE_PRECISIONS[-1]}; {_reason(made)}"
    )


def _shared_steps(made: Variant) -> bool:
    """Whether all its steps are those that are for other tasks than classification, too."""
    taught = made.fine_tuning is not None and made.fine_tuning.teacher
    return not taught and all(isinstance(step, Prune | Cluster | Qat) for step in made.steps)


def _reason(made: Variant) -> str:
    """Why there is no such file of a two-stage detector."""
    if made.steps or made.fine_tuning:
        return NO_LOSSES
    if made.raw_outputs:
        return "without suppression inside, their second stage has no regions to look at"
    if made.calibrated:
        return (
            "its integers would round coordinates and scores between the stages, by which regions "
            "are chosen and read"
        )
    if made.weight_bits == 4:
        return "weights of 4 bits move boxes so far that a sixth of AP was lost where it was tried"
    return "the others are for classifiers only"
