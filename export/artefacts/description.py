"""kerascnn.json: what a client has to know of a file, which it may have alone.

    {"format": 1, "task", "model", "variant", "name", "description", "author", "license", "version",
     "labels": [...],
     "input": {"name", "height", "width", "channels", "type": "float32" | "uint8",
               "values": "(byte - mean) / std" | "raw bytes", "mean": [...], "std": [...],
               "colour": "RGB" | "grey", "order", "resize", "crop_fraction",
               "interpolation": "bicubic" where it is not "bilinear",
               "tiles", "overlap": where larger images are seen in tiles},
     "outputs": [{"name", "shape", "type", "meaning"}, ...],
     "decoding": {"kind": "logits" | "detections" | "codes" | "map" | "map_logits" | "sigmoid" |
                          "probabilities" | "scores", ...},
     "selftest": what it answered to a test image, see `export.artefacts.selftest`; may be missing}

The kinds of decoding are those of the task (`export.artefacts.kinds.base.Kind.decodings`).
`kerascnn.preprocessing.Preprocessing` says what its words of the input mean. Inputs and outputs go
by the names of the signature; those of .tflite files also have the name of their "tensor", and
outputs are in the file's order. "version" tells networks apart: it is a hash of the file's.
"""

from __future__ import annotations

import io
import json
import math
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from export.artefacts import selftest
from export.artefacts.extent import has_zip_entry, is_cut_short
from export.artefacts.kinds import base as kinds
from export.artefacts.protobuf import byte_fields
from kerascnn.errors import InputError
from kerascnn.preprocessing import INTERPOLATIONS, RESIZES, Preprocessing
from training.common import atomic

DESCRIPTION = "kerascnn.json"
FORMAT = 1
RAW, NORMALISED = "raw bytes", "(byte - mean) / std"
PROPERTY = "kerascnn"  # of an .onnx file
# Numbers of fields in onnx.proto: of a ModelProto, and of a StringStringEntryProto in it.
_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2
TEXTS = ("model", "variant", "name", "description", "author", "license", "version")
# A stranger's file is not read beyond these. Neither format has larger files, and a description of
# 20,000 labels takes half a megabyte.
_LARGEST_FILE, _LARGEST_DESCRIPTION = 2**31, 2**23  # bytes
_LARGEST_END = 2 * _LARGEST_DESCRIPTION  # of a file, where its zip is
_LARGEST_SIDE = 4096  # pixels


def check_labels(labels: Sequence[str]) -> None:
    """Raise InputError for labels that a list of one label a line cannot hold."""
    for label in labels:
        if len(label.splitlines()) != 1 or not _is_encodable(label):
            raise InputError(
                f"the label {label!r} is not one line of text, which labels.txt of exported files "
                "has of each; rename the class and train again"
            )


def input_metadata(name: str, preprocessing: Preprocessing, *, raw: bool) -> dict[str, Any]:
    """How a file wants its pictures.

    Args:
        name: of the input.
        preprocessing: of the network.
        raw: whether the file takes uint8 bytes, red first, and does the rest by itself.
    """
    channels = preprocessing.channels
    mean, std = (
        np.broadcast_to(np.asarray(numbers, float), channels).tolist()
        for numbers in (preprocessing.mean, preprocessing.std)
    )
    order = preprocessing.order
    if raw and order == "bgr":
        # What the numbers are of is said in the order in which the file takes them.
        order, mean, std = "rgb", mean[::-1], std[::-1]
    return {
        "name": name,
        **preprocessing.to_dict(),
        "type": "uint8" if raw else "float32",
        "values": RAW if raw else NORMALISED,
        "mean": mean,
        "std": std,
        "colour": "RGB" if channels == 3 else "grey",
        "order": order,
    }


def to_json(metadata: Mapping[str, Any]) -> str:
    """A description as text, equal for equal ones."""
    return json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def properties(metadata: Mapping[str, Any]) -> dict[str, str]:
    """A description for an .onnx file: the whole description, and what others look for by name."""
    single = ("task", *TEXTS)
    return {
        PROPERTY: to_json(metadata),
        "labels": lines(metadata["labels"]),
        **{name: metadata[name] for name in single},
    }


def lines(labels: Sequence[str]) -> str:
    """One label a line."""
    return "".join(f"{label}\n" for label in labels)


def read_description(path: pathlib.Path) -> dict[str, Any]:
    """What a file says of itself; it may come from anywhere, and nothing of it is run.

    Args:
        path: of a .tflite or .onnx file.

    Returns:
        A description in which all that this module's docstring lists is there and sound.

    Raises:
        InputError: another file, a broken one, or one that does not describe itself.
    """
    found = inside(path)
    if found is None:
        raise InputError(
            f"{path} does not describe itself: another program made it, or an earlier "
            "version, and then kerascnn compress makes it again"
        )
    return found


def require_file(path: pathlib.Path) -> None:
    """Raise InputError for what is no file; of a folder with model files the message names one."""
    if path.is_file():
        return
    if not path.is_dir():
        raise InputError(f"{path}: no such file")
    files = [
        file
        for pattern in ("artefacts/int8.tflite", "artefacts/*.tflite", "*.tflite", "artefacts/*")
        for file in sorted(path.glob(pattern))
        if file.suffix in _READERS and not file.name.startswith(atomic.TEMPORARY)
    ]
    what = "a run folder" if (path / "run.json").is_file() else "a folder"
    remedy = "name a model file"
    if files:
        remedy = f"name one of its files, as {files[0]}"
    elif (path / "model.keras").is_file():
        remedy = f"name {path / 'model.keras'}, or make files: kerascnn compress {path}"
    raise InputError(f"{path} is {what}; {remedy}")


def inside(path: pathlib.Path) -> dict[str, Any] | None:
    """As `read_description`; None of a file that does not describe itself."""
    require_file(path)
    if path.suffix not in _READERS:
        raise InputError(f"{path} is not an exported file; it should end in .tflite or .onnx")
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path} is longer than any {path.suffix} file can be")
    text = _READERS[path.suffix](path)
    if text is None:
        return None
    try:
        if len(text) > _LARGEST_DESCRIPTION:
            raise ValueError("too long")
        return _checked(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} has a wrong description ({error}); get it again, or make it "
            "again: kerascnn compress"
        ) from None


def _in_tflite(path: pathlib.Path) -> bytes | None:
    with path.open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise InputError(f"{path} is not a TFLite model, or is damaged; get it again")
        file.seek(max(0, path.stat().st_size - _LARGEST_END))
        end = io.BytesIO(file.read())
    if not zipfile.is_zipfile(end):
        if is_cut_short(path) or has_zip_entry(end.getvalue()):
            raise InputError(f"{path} is damaged: it is cut short; get it again")
        return None
    try:
        with zipfile.ZipFile(end) as archive:
            entry = archive.getinfo(DESCRIPTION)
            # Uncompressed as it must be, it is no longer than the file.
            if entry.compress_type != zipfile.ZIP_STORED:
                raise zipfile.BadZipFile("compressed")
            with archive.open(entry) as stored:
                return stored.read(_LARGEST_DESCRIPTION + 1)
    except KeyError:
        return None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged at its end ({error}); get it again") from None


def _in_onnx(path: pathlib.Path) -> bytes | None:
    data = memoryview(path.read_bytes())
    try:
        # Parsed alone: the graph is passed over, and what it refers to outside of itself.
        properties = [dict(byte_fields(f)) for n, f in byte_fields(data) if n == _METADATA_PROPS]
    except ValueError as error:
        raise InputError(
            f"{path} is not an ONNX model, or is damaged ({error}); get it again"
        ) from None
    texts = [
        one[_VALUE] for one in properties if one.get(_KEY) == PROPERTY.encode() and _VALUE in one
    ]
    return bytes(texts[0]) if texts else None


_READERS: dict[str, Callable[[pathlib.Path], bytes | None]] = {
    ".tflite": _in_tflite,
    ".onnx": _in_onnx,
}


def _checked(metadata: Any) -> dict[str, Any]:
    """The description itself; raises ValueError with the field that makes no sense."""
    _demand(isinstance(metadata, dict), "no object")
    if _is_whole(metadata.get("format")) and metadata["format"] > FORMAT:
        raise ValueError(f"format {metadata['format']} of a newer version")
    _demand(_is_whole(metadata.get("format")) and metadata["format"] == FORMAT, "format")
    for field in TEXTS:
        _demand(isinstance(metadata.get(field), str), field)
    _demand(metadata.get("task") in kinds.names(), "task")
    _demand(_is_list(metadata.get("labels"), lambda one: isinstance(one, str)), "labels")
    decoding, known = metadata.get("decoding"), tuple(kinds.of(metadata["task"]).decodings)
    _demand(isinstance(decoding, dict) and decoding.get("kind") in known, "decoding")
    outputs = metadata.get("outputs")
    _demand(isinstance(outputs, list) and all(map(_is_output, outputs)), "outputs")
    _check_input(metadata.get("input"))
    if metadata.get(selftest.FIELD) is not None:
        selftest.check(metadata[selftest.FIELD])
    return metadata


def _check_input(given: Any) -> None:
    _demand(isinstance(given, dict), "input")
    channels = given.get("channels")
    fine: dict[str, bool] = {
        "name": isinstance(given.get("name"), str),
        "height": _is_whole(given.get("height")) and 0 < given["height"] <= _LARGEST_SIDE,
        "width": _is_whole(given.get("width")) and 0 < given["width"] <= _LARGEST_SIDE,
        "channels": _is_whole(channels) and channels in (1, 3),
        "type": given.get("type") in ("float32", "uint8"),
        "values": given.get("values") in (RAW, NORMALISED),
        "colour": given.get("colour") == ("RGB" if channels == 3 else "grey"),
        "order": given.get("order") in ("rgb", "bgr"),
        "resize": given.get("resize") in RESIZES,
        "interpolation": given.get("interpolation", "bilinear") in INTERPOLATIONS,
        "tiles": _is_whole(given.get("tiles", 0)) and given.get("tiles", 0) >= 0,
        "overlap": _is_number(given.get("overlap", 0)) and given.get("overlap", 0) >= 0,
        "crop_fraction": _is_number(given.get("crop_fraction")) and 0 < given["crop_fraction"] <= 1,
    }
    for field in ("mean", "std"):
        numbers = given.get(field)
        fine[field] = _is_list(numbers, _is_number) and len(numbers) == channels
    fine["std"] = fine["std"] and min(given["std"]) > 0
    for field, right in fine.items():
        _demand(right, f"input.{field}")
    _demand((given["values"] == RAW) == (given["type"] == "uint8"), "input.values")


def _is_output(one: Any) -> bool:
    texts = isinstance(one, dict) and all(
        isinstance(one.get(field), str) for field in ("name", "type", "meaning")
    )
    sides = texts and one.get("shape")
    return isinstance(sides, list) and all(side is None or _is_whole(side) for side in sides)


def _is_list(values: Any, fine: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and bool(values) and all(map(fine, values))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and math.isfinite(value)


def _demand(fine: bool, field: str) -> None:
    if not fine:
        raise ValueError(field)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
