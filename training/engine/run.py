"""A run is a folder: run.json says what was asked and what came out; see DESIGN in CONTRIBUTING.md.

runs/<run>/run.json      request, seed, versions, machine, data fingerprint, results
runs/<run>/model.keras   the trained network; with labels.txt and history.csv
runs/<run>/checkpoints/  what an interrupted training goes on from
runs/<run>/artefacts/    what `kerascnn compress` makes
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kerascnn import outside_json
from kerascnn.detection import spec_from_dict
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.common import atomic
from training.common.cores import WORKERS
from training.engine import h5_files, keras_files
from training.engine.config import TrainConfig
from training.engine.imported import SHAPE as IMPORTED
from training.engine.imported import Imported

if TYPE_CHECKING:  # run.json is read before a framework is needed
    import keras

_PACKAGES = (
    "kerascnn", "keras", "tensorflow", "tensorflow-model-optimization", "tf_keras", "jax", "torch",
    "numpy", "pillow", "ai-edge-litert", "litert-quantizer", "onnxruntime", "tf2onnx",
)  # fmt: skip

_REMEDY = "delete the folder and train again"
# Where there is a model.keras, which a damaged run.json is no reason to throw away.
_KEEPING = (
    "put back a copy of it, or train in another folder with --weights {model}; the files in "
    "artefacts/ work without it"
)
_SIZE = outside_json.items(outside_json.whole, least=2, most=2)
# What is there of these is of these types; older versions wrote less, and newer ones write more.
_SHAPE: outside_json.Shape = {
    "request": {
        "model": outside_json.text,
        "data": outside_json.text,
        "recipe": outside_json.text,
        "config": outside_json.values(outside_json.anything),
        "model_options": outside_json.values(outside_json.anything),
        "detector_options": outside_json.values(outside_json.anything),
        "image_size": outside_json.maybe(_SIZE),
        "resize": outside_json.maybe(outside_json.text),
        "tiles": outside_json.whole,
        "overlap": outside_json.number,
        "weights": outside_json.maybe(outside_json.text),
        "strict": outside_json.flag,
        "teacher": outside_json.maybe(outside_json.text),
        "reading": outside_json.whole,
        "task": outside_json.maybe(outside_json.text),
        "val_data": outside_json.maybe(outside_json.text),
        "imported": outside_json.maybe(outside_json.values(outside_json.anything)),
    },
    "task": lambda value: value in tasks.names(),
    "created": outside_json.text,
    "versions": outside_json.values(outside_json.text),
    "machine": outside_json.values(outside_json.text),
    "preprocessing": outside_json.values(outside_json.anything),
    "labels": outside_json.items(outside_json.text, least=1),
    "dataset": {
        "name": outside_json.text,
        "fingerprint": outside_json.text,
        "train": outside_json.whole,
        "validation": outside_json.whole,
        "held_out": outside_json.whole,
        "skipped": outside_json.items(outside_json.text),
        "broken": outside_json.items(outside_json.text),
        "notes": outside_json.items(outside_json.text),
    },
    "parameters": outside_json.whole,
    "macs": outside_json.whole,
    "devices": outside_json.whole,
    "complete": outside_json.flag,
    "teacher": outside_json.maybe(outside_json.values(outside_json.text)),
    "category_ids": outside_json.items(outside_json.whole),
    "detector": outside_json.values(outside_json.anything),
    "segmenter": {
        "output_size": _SIZE,
        "palette": outside_json.maybe(
            outside_json.items(outside_json.items(outside_json.byte, least=3, most=3))
        ),
    },
    "results": {
        "metric": outside_json.text,
        "best_epoch": outside_json.whole,
        **dict.fromkeys(("held_out", "seconds"), outside_json.number),
        **dict.fromkeys(
            ("ap50", "ap75", "box_ap", "top5", "loss"), outside_json.maybe(outside_json.number)
        ),
        **dict.fromkeys(("mean_dice", "boundary_f1"), outside_json.maybe(outside_json.number)),
    },
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder and the contents of its run.json.

    Attributes:
        label: a name in place of the folder's own, where several folders are called the same.
    """

    folder: pathlib.Path
    info: Mapping[str, Any]
    label: str = ""

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Run:
        """Open a finished run.

        Raises:
            InputError: no run there, or one whose training has not finished.
        """
        folder = pathlib.Path(folder)
        info = read_info(folder)
        if info is None:
            raise InputError(
                f"{folder} is not a run folder (no run.json); make one: kerascnn train"
            )
        run = cls(folder, info)
        if not info.get("complete") or not run.model_path.is_file():
            raise InputError(
                f"{folder} has no trained model (model.keras); "
                "finish it: repeat its `kerascnn train` command"
            )
        return run

    @property
    def name(self) -> str:
        """The label, or the folder's own name."""
        return self.label or self.folder.resolve().name

    @property
    def called(self) -> str:
        """What files and reports call the network: as asked for, else its name in the zoo."""
        request = self.info["request"]
        imported = request.get("imported")
        asked = Imported.from_dict(imported).called if imported else None
        return asked or str(request["model"])

    @property
    def task(self) -> str:
        """ "classification", which runs of older versions do not say, or "detection"."""
        return str(self.info.get("task", "classification"))

    @property
    def model_path(self) -> pathlib.Path:
        """The trained network."""
        return self.folder / "model.keras"

    @property
    def artefacts(self) -> pathlib.Path:
        """Folder of exported files."""
        return self.folder / "artefacts"

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network expects of an image."""
        return Preprocessing.from_dict(self.info["preprocessing"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(self.info["labels"])

    def load_model(self) -> keras.Model:
        """Read model.keras without running code that a stranger may have put there."""
        return load_keras(self.model_path)


def load_keras(path: pathlib.Path) -> keras.Model:
    """Read a .keras or .h5 file of Keras 3.

    One that carries code or asks for more weights than it has is refused.

    Raises InputError.
    """
    import keras

    # Networks may have layers of ours, which are known once these are imported.
    import kerascnn.detection.faster_rcnn
    import kerascnn.layers  # noqa: F401
    import training.engine.file_network  # noqa: F401

    if path.suffix in h5_files.ENDINGS:
        return keras_files.load_h5(path)
    config = keras_files.check(path)
    try:
        with warnings.catch_warnings():
            # KerasHub compiles whatever it reads; nothing here takes up another's training.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise keras_files.unreadable(path, error, config) from error


def read_info(folder: pathlib.Path) -> dict[str, Any] | None:
    """Contents of run.json, or None where there is none; raises InputError if it is damaged."""
    path, model = folder / "run.json", folder / "model.keras"
    remedy = _KEEPING.format(model=model) if model.is_file() else _REMEDY
    try:
        info = outside_json.read_object(path, remedy)
        if "request" not in info:
            raise ValueError("no request in it")
        outside_json.check(info, _SHAPE)
        _check_parts(info)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if str(error).startswith(str(path)):  # it names the file and the remedy already
            raise InputError(str(error)) from None
        raise InputError(f"{path} is damaged ({error}); {remedy}") from None
    return info


def _check_parts(info: Mapping[str, Any]) -> None:
    """What has a type of its own can be made of it; raises all that a wrong value may raise."""
    TrainConfig.from_dict(info["request"]["config"])
    if imported := info["request"].get("imported"):
        outside_json.check(imported, IMPORTED, "request.imported")
        Imported.from_dict(imported)
    if "preprocessing" in info:
        Preprocessing.from_dict(info["preprocessing"])
    if "detector" in info:
        spec_from_dict(info["detector"])


def write_info(folder: pathlib.Path, info: Mapping[str, Any]) -> None:
    """Write run.json, whole or not at all."""
    atomic.write_text(folder / "run.json", json.dumps(info, indent=1, ensure_ascii=False) + "\n")


def versions() -> dict[str, str]:
    """Python and the packages that shape weights, files and figures."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Processor, usable cores, memory and system; nothing that names the owner."""
    return {
        "processor": _processor(),
        "cores": str(WORKERS),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown"
