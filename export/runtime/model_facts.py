"""What a model file takes and gives, from wherever it is written: in the file, or beside it.

A .tflite or .onnx file carries its own description (`export.artefacts.description`), so that it may
travel alone. Files of versions that wrote none have it in the .json beside them, and a model.keras
in its run's run.json.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

from export.artefacts import artefact
from export.artefacts.artefact import Artefact
from export.artefacts.description import inside
from export.runtime import first_run
from export.runtime.foreign import Form
from export.runtime.segmenters import palette
from kerascnn import outside_json
from kerascnn import weights as weight_files
from kerascnn.detection import spec_from_dict
from kerascnn.detection.specs import (
    IOU_THRESHOLD,
    SOFT_NMS_SIGMA,
    SUPPRESSIONS,
    DetectorSpec,
    Suppression,
    TwoStageSpec,
)
from kerascnn.errors import InputError
from kerascnn.preprocessing import OVERLAP, Preprocessing, refuse_tiles
from training import tasks
from training.common import atomic
from training.datasets.segmentation import Palette
from training.engine import h5_files
from training.engine.run import Run

_PALETTE = outside_json.items(outside_json.items(outside_json.byte, least=3, most=3))
_PREPROCESSING = tuple(field.name for field in dataclasses.fields(Preprocessing))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model file takes and gives.

    Attributes:
        task: "classification", "detection" or "segmentation".
        preprocessing: of its images.
        labels: class names in the order of its outputs.
        spec: what a detector's outputs mean; None of other networks, and of a file that says of
            itself that decoding and suppression are inside.
        inside: the suppression inside of such a file, where it says so.
        palette: the data's own colours of a segmentation network's classes, if it has some.
        form: how a file of another program takes and gives numbers; None of ours.
    """

    task: str
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    spec: DetectorSpec | TwoStageSpec | None = None
    inside: Suppression = dataclasses.field(default_factory=Suppression)
    palette: Palette | None = None
    form: Form | None = None

    @property
    def suppression(self) -> Suppression:
        """What becomes of detections that overlap."""
        return self.inside if self.spec is None else self.spec.rule

    def in_tiles(self, tiles: int | None, overlap: float | None) -> ModelFacts:
        """The same of images that are cut into tiles, or not (0); None: as the file says.

        Raises:
            InputError: tiles that there cannot be, or a network that sees whole images alone.
        """
        if tiles is None and overlap is None:
            return self
        own = self.preprocessing
        wanted = own.tiles if tiles is None else tiles
        if not tasks.of(self.task).tiled:
            raise InputError(
                f"tiles: {tasks.of(self.task).network} sees whole images; leave it out"
            )
        refuse_tiles(wanted, overlap)
        share = (own.overlap if own.tiles else OVERLAP) if overlap is None else overlap
        seen = dataclasses.replace(own, tiles=wanted, overlap=share)
        return dataclasses.replace(self, preprocessing=seen)


def facts(path: pathlib.Path) -> ModelFacts:
    """Read them, and run a file from elsewhere once in a child process (`runtime.first_run`).

    Args:
        path: a .tflite or .onnx file, or the model.keras of a run.

    Raises:
        InputError: a file that is not a model, that nothing describes, or that is not the one that
            the .json beside it describes.
    """
    found = declared(path)
    if path.suffix != ".keras":
        first_run.require([path])
    return found


def declared(path: pathlib.Path) -> ModelFacts:
    """As `facts`, of a file that is not run."""
    require_run(path)
    if path.suffix == ".keras" and path.is_file():
        run = Run.open(path.parent)
        return _of_info(run.info, run.task, run.preprocessing, run.labels)
    if path.is_file() and path.suffix not in artefact.FORMATS:
        raise InputError(f"{path} is not a model file; it should end in .keras, .tflite or .onnx")
    own = inside(path) if path.is_file() else None
    if own is None:
        beside = Artefact.open(path)
        task = beside.info.get("task", "classification")
        return _of_info(beside.info, task, beside.preprocessing, beside.labels)
    _require_same(path)
    return _of_description(path, own)


def require_run(path: pathlib.Path) -> None:
    """Raise InputError for a Keras file that is in no run, with the command that makes one.

    What no command makes a run of (a file that is cut short, or has weights alone) is said at once.
    """
    if not path.is_file() or path.suffix not in (".keras", *h5_files.ENDINGS):
        return
    if path.suffix != ".keras" or not (path.parent / "run.json").is_file():
        if path.suffix != ".keras":
            h5_files.read(path)
        elif not zipfile.is_zipfile(path):
            raise weight_files.no_archive(path)
        raise InputError(
            f"{path} is in no run folder; make a run of it: kerascnn import {path} --data DATA"
        )


def _of_info(
    info: Mapping[str, Any], task: str, preprocessing: Preprocessing, labels: tuple[str, ...]
) -> ModelFacts:
    spec = info.get("detector")
    return ModelFacts(
        task=task,
        preprocessing=preprocessing,
        labels=labels,
        spec=None if spec is None else spec_from_dict(spec),
        palette=palette(info),
    )


def _of_description(path: pathlib.Path, own: Mapping[str, Any]) -> ModelFacts:
    decoding = dict(own["decoding"])
    kind = decoding.pop("kind")
    try:
        if (colours := decoding.get("palette")) is not None and not _PALETTE(colours):
            raise ValueError("palette")
        taken = {name: own["input"][name] for name in _PREPROCESSING if name in own["input"]}
        return ModelFacts(
            task=own["task"],
            preprocessing=Preprocessing.from_dict(taken),
            labels=tuple(own["labels"]),
            spec=spec_from_dict(decoding) if kind == "codes" else None,
            inside=_suppression(decoding),
            palette=palette({"segmenter": {"palette": colours}}),
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} has a wrong description ({error}); get it again, or make it again: "
            "kerascnn compress"
        ) from None


def _suppression(decoding: Mapping[str, Any]) -> Suppression:
    """What a file with suppression inside says of it; raises ValueError for what cannot be."""
    soft = decoding.get("suppression", SUPPRESSIONS[0])
    agnostic = decoding.get("class_agnostic", False)
    if soft not in SUPPRESSIONS or not isinstance(agnostic, bool):
        raise ValueError("suppression")
    sigma = _number(decoding, "soft_nms_sigma", SOFT_NMS_SIGMA, math.inf)
    return Suppression(
        iou_threshold=_number(decoding, "iou_threshold", IOU_THRESHOLD),
        class_agnostic=agnostic,
        soft_nms_sigma=sigma if soft == "soft" else None,
        score_threshold=_number(decoding, "score_threshold", 0.0),
    )


def _number(decoding: Mapping[str, Any], name: str, missing: float, most: float = 1) -> float:
    if name not in decoding:
        return missing
    value = decoding[name]
    if not outside_json.number(value) or not 0 < value <= most or value == math.inf:
        raise ValueError(name)
    return float(value)


def _require_same(path: pathlib.Path) -> None:
    """Refuse a file with another hash than a readable .json beside it says: bytes were damaged."""
    beside, digest = artefact.sidecar(path), None
    with contextlib.suppress(OSError, ValueError):
        digest = outside_json.read_object(beside, "").get("sha256")
    if outside_json.text(digest) and digest != atomic.sha256(path):
        raise artefact.other_content(path)
