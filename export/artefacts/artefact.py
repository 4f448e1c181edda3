"""An exported file and the .json beside it, which says all that a client has to know.

The .json is written last: a file without one, or with another hash than its .json says, is not
taken for whole and is made again.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

from export.artefacts import half_precision
from export.artefacts.description import inside
from export.artefacts.kinds import base as kinds
from export.artefacts.kinds.base import Kind
from kerascnn import outside_json
from kerascnn.detection import spec_from_dict
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common import atomic

FORMATS = (".tflite", ".onnx")
# What `compare` needs to know of a file, and earlier versions did not write.
_FIGURES = ("parameters", "macs", "nonzero_parameters", "seconds")
_REMEDY = "it is of an earlier version, or damaged; run kerascnn compress"
FLOAT_LAYERS = "float_layers"
"""Of an int8 file, layers that stay float: see `export.compress.reconstruct.keep_float`."""

_SHAPE: outside_json.Shape = {
    "task": lambda task: task in kinds.names(),
    "model": outside_json.text,
    "variant": {"name": outside_json.text},
    "labels": outside_json.items(outside_json.text, least=1),
    "preprocessing": outside_json.values(outside_json.anything),
    "detector": outside_json.values(outside_json.anything),
    "segmenter": {
        "palette": outside_json.maybe(
            outside_json.items(outside_json.items(outside_json.byte, least=3, most=3))
        ),
    },
    "sha256": outside_json.text,
    "source": outside_json.text,
    "key": outside_json.text,
    **dict.fromkeys(("bytes", "download_bytes", "parameters", "macs"), outside_json.whole),
    **dict.fromkeys(("nonzero_parameters", "wrong_pictures"), outside_json.whole),
    "seconds": outside_json.number,
    "mistakes": outside_json.items(outside_json.values(outside_json.anything)),
    "half_precision": {
        **dict.fromkeys(("activation", "sum", "limit"), outside_json.number),
        **dict.fromkeys(("activation_layer", "sum_layer"), outside_json.text),
        "two_steps": outside_json.maybe(outside_json.number),
        "images": outside_json.whole,
    },
    FLOAT_LAYERS: {
        "layers": outside_json.items(outside_json.text),
        **dict.fromkeys(("int8_db", "db", "least_gain_db"), outside_json.number),
    },
    "calibration": {
        **dict.fromkeys(("data", "fingerprint"), outside_json.text),
        **dict.fromkeys(("distance", "by_chance", "limit"), outside_json.number),
        **dict.fromkeys(("labelled", "unlike"), outside_json.flag),
    },
    "evaluation": {
        "metric": outside_json.text,
        **dict.fromkeys(("value", "float_value", "keras_value"), outside_json.number),
        **dict.fromkeys(("sparsity", "agreement"), outside_json.number),
        "max_logit_diff": outside_json.real,
        "pictures": outside_json.whole,
        "data_fingerprint": outside_json.text,
        "fits": outside_json.flag,
        "verified": outside_json.one_of("yes", "no", "not verified"),
        "partitions": outside_json.maybe(outside_json.whole),
        "rule": outside_json.text,
        "choice": {
            "split": outside_json.text,
            "pictures": outside_json.whole,
            "value": outside_json.number,
            "float_value": outside_json.number,
        },
        **dict.fromkeys(("right", "float_right"), outside_json.text),
        **dict.fromkeys(("matches", "float_matches"), outside_json.values(outside_json.anything)),
        **dict.fromkeys(("counts", "float_counts"), outside_json.values(outside_json.anything)),
    },
}


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A file and the contents of its .json."""

    path: pathlib.Path
    info: Mapping[str, Any]

    @classmethod
    def open(cls, path: pathlib.Path) -> Artefact:
        """Open an exported file by its own path.

        Raises:
            InputError: no such file, no .json beside it, or one that belongs to another file.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        described = sidecar(path)
        try:
            info = outside_json.read_object(described, _REMEDY)
            outside_json.check(info, _SHAPE)
            artefact = cls(path, info)
            artefact.check()
        except FileNotFoundError:
            raise InputError(
                f"{described} is missing; it says how {path.name} wants its images. "
                "Keep both together, or make them again: kerascnn compress"
            ) from None
        except InputError as error:
            if str(described) in str(error):
                raise
            raise InputError(f"{described} is damaged ({error}); run kerascnn compress") from None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise InputError(f"{described} is damaged ({error}); run kerascnn compress") from None
        if info.get("sha256") != atomic.sha256(path):
            raise other_content(path)
        return artefact

    def check(self) -> None:
        """Look at what is made of the fields; raises anything that a wrong value may raise."""
        _ = self.preprocessing, self.labels, self.answers
        _ = [self.info[name] for name in (*_FIGURES, "wrong_pictures")]
        if (reached := self.info.get("half_precision")) is not None:
            _ = half_precision.warnings(reached), half_precision.summary(reached)
        if (chosen := self.info.get("calibration")) is not None:
            _ = [chosen[name] for name in ("data", "fingerprint", "distance", "by_chance")]
        if "detector" in self.info:
            spec_from_dict(self.info["detector"])

    @property
    def preprocessing(self) -> Preprocessing:
        """What the file expects of a picture."""
        return Preprocessing.from_dict(self.info["preprocessing"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(str(label) for label in self.info["labels"])

    @property
    def kind(self) -> Kind:
        """What is particular of its task's files."""
        return kinds.of_metric(self.info["evaluation"]["metric"])

    @property
    def answers(self) -> tuple[Any, Any]:
        """The Keras model's and the file's on the held-out images, see `Kind.answers`."""
        return self.kind.answers(self.info["evaluation"])


def sidecar(path: pathlib.Path) -> pathlib.Path:
    """The .json of an exported file: int8.json, float32.onnx.json."""
    return path.with_suffix(".json" if path.suffix == ".tflite" else f"{path.suffix}.json")


def other_content(path: pathlib.Path) -> InputError:
    """What to raise for a file with another hash than the .json beside it says."""
    return InputError(
        f"{path} does not have the SHA-256 that {sidecar(path).name} says: it is damaged, or was "
        "replaced alone; copy both again, or make them again: kerascnn compress"
    )


def sizes(data: bytes) -> dict[str, int]:
    """Bytes on the phone, and what a store delivers."""
    return {"bytes": len(data), "download_bytes": len(zlib.compress(data, 9))}


def write_info(path: pathlib.Path, info: Mapping[str, Any]) -> None:
    """Write the .json of the exported file at `path`."""
    atomic.write_text(sidecar(path), json.dumps(info, indent=1, ensure_ascii=False) + "\n")


def require_description(path: pathlib.Path) -> None:
    """Raise InputError for a model file that nothing describes, neither in it nor beside it."""
    if path.suffix in FORMATS and inside(path) is None:
        Artefact.open(path)
