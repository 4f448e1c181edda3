"""Run folders as commands read them before they load a framework; their networks are empty."""

from __future__ import annotations

import json
from pathlib import Path

from kerascnn import zoo
from training.engine.request import request


def a_run(
    folder: Path, *, task: str = "classification", model: str = "lenet5", **changes: object
) -> Path:
    """A finished run.

    Args:
        **changes: of its request.
    """
    asked = request(model, data="mnist" if task == "classification" else "scenes", **changes)
    info = {"request": asked.to_dict(), "task": task, "complete": True}
    if task == "detection":
        info["detector"] = zoo.detector_spec(model).to_dict()
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "model.keras").write_text("")
    return folder


def measured_run(folder: Path, fingerprint: str, metric: str = "accuracy") -> Path:
    """A finished classifier's with a file, measured on the images of a fingerprint."""
    path = a_run(folder) / "run.json"
    info = json.loads(path.read_text())
    info |= {"dataset": {"name": "pets", "fingerprint": fingerprint}, "results": {"metric": metric}}
    path.write_text(json.dumps(info))
    (folder / "artefacts").mkdir()
    (folder / "artefacts" / "int8.tflite").touch()
    return folder
