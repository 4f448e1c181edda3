"""The self-test of a file (`export.artefacts.selftest`): run when it is written, and by `info`.

Tolerances are set by what `benchmarks/selftest.py` found, files of all tasks on the test image:

- The same file in XNNPACK, in LiteRT's built-in and in its reference kernels, on one and on four
  threads, in ONNX Runtime with and without optimisation, and .tflite against .onnx: 4.5e-5 of the
  outputs' span at most where arithmetic is in single precision, of which 2e-5 are the rounding of
  what is stored. 1e-3 leaves room for deeper networks and other orders of sums.
- dynamic_int8: 0.023, as kernels round activations differently. int8: 0.060; a step of a late
  layer's integers is a percent of its range, and kernels differ by one here and there. Twice that.
- int16x8 has one set of kernels here, which gave the same on all threads; 0.01 is for others, whose
  integers are 256 times as fine as those of int8.
- A map of classes is looked at in a hundred places, and two of them may fall the other way.
- Half precision: operations rounded to it one by one came to 2.8e-3; GPUs also add up in it.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from export.artefacts import selftest
from export.artefacts.description import RAW
from export.artefacts.selftest import Comparison, Outputs
from export.artefacts.selftest_image import EDITION, image_of
from export.artefacts.variants import Variant
from export.runtime import first_run
from kerascnn.errors import InputError, reason
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet

_FLOAT, _DYNAMIC, _INT16, _INT8, _MAP, _HALF = 0.001, 0.05, 0.01, 0.12, 0.02, 0.02
_TOLERANCES = {"float32": _FLOAT, "dynamic": _DYNAMIC, "int16": _INT16, "int8": _INT8}
_SIGNATURE = "serving_default"
_PREPROCESSING = tuple(field.name for field in dataclasses.fields(Preprocessing))


def tolerance(variant: Variant, decoding: str) -> float:
    """How far a variant's answers may be apart on two devices, see this module.

    Args:
        decoding: its kind.
    """
    found = _TOLERANCES[variant.activations]
    return max(found, _MAP) if decoding == "map" else found


def of_file(
    file: bytes,
    end: str,
    metadata: Mapping[str, Any],
    variant: Variant,
    *,
    floor: float | None = None,
    float_outputs: Callable[[], Outputs] | None = None,
) -> dict[str, Any]:
    """The self-test that goes into a file: its answers to the test image, here and now.

    Args:
        file: whole, but for its description.
        end: ".tflite" or ".onnx".
        metadata: its description.
        floor: the lowest score of a detection, where there are some.
        float_outputs: gives those of the float network for the same image; asked for where the
            file has the network's own outputs.

    Raises:
        Exception: of any kind, where its runtime does not run it.
    """
    outputs, decoding = answers(file, end, metadata), metadata["decoding"]["kind"]
    test = {
        "edition": EDITION,
        "runtime": runtime_name(end),
        "tolerance": tolerance(variant, decoding),
        "half": max(tolerance(variant, decoding), _HALF),
        **selftest.of_outputs(outputs, decoding, floor=floor),
    }
    selftest.check(test)
    if float_outputs is not None and "numbers" in test:
        wanted = selftest.of_outputs(float_outputs(), decoding)
        apart = selftest.compare({**test, **wanted}, outputs).difference
        if math.isfinite(apart):
            test["float"] = float(f"{apart:.2g}")
    return test


def verify(path: pathlib.Path, metadata: Mapping[str, Any]) -> Comparison | None:
    """Run a file's self-test in its runtime here; None of a file without one that is known.

    Args:
        metadata: its description.

    Raises:
        InputError: its runtime refuses it.
    """
    expected = selftest.known(metadata)
    if expected is None:
        return None
    first_run.require([path])
    try:
        outputs = answers(path.read_bytes(), path.suffix, metadata)
    except Exception as error:
        raise InputError(
            f"{path} is not a model that its runtime can run ({reason(error)})"
        ) from error
    return selftest.compare(expected, outputs)


def answers(file: bytes, end: str, metadata: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a file gives for the test image, by name and in the order of its description.

    Args:
        end: ".tflite" or ".onnx".
        metadata: its description, of which "input" and "outputs" are looked at.
    """
    taken = metadata["input"]
    given = input_of(taken)
    names = [one["name"] for one in metadata["outputs"]]
    found = _RUN[end](file, taken["name"], given, names)
    return {name: np.asarray(found[name]) for name in names}


def runtime_name(end: str) -> str:
    """Runtime and version, as in "LiteRT 2.3.0"."""
    name, package = _RUNTIMES[end]
    return f"{name} {importlib.metadata.version(package)}"


def input_of(taken: Mapping[str, Any]) -> np.ndarray:
    """(1, height, width, channels) of the test image, as a file takes it."""
    image = image_of(taken["height"], taken["width"], taken["channels"])[None]
    if taken["values"] == RAW:
        return image if taken["type"] == "uint8" else image.astype(np.float32)
    fields = {name: taken[name] for name in _PREPROCESSING if name in taken}
    return Preprocessing.from_dict(fields).normalise(image)


def _run_tflite(
    file: bytes, name: str, given: np.ndarray, _outputs: list[str]
) -> Mapping[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    with native_quiet():  # the delegate announces itself once a process
        runner = Interpreter(model_content=file, num_threads=1).get_signature_runner(_SIGNATURE)
        found: dict[str, np.ndarray] = runner(**{name: given})
    return found


def _run_onnx(
    file: bytes, name: str, given: np.ndarray, outputs: list[str]
) -> Mapping[str, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(outputs, {name: given}), strict=True))


_RUN: dict[str, Callable[..., Mapping[str, np.ndarray]]] = {
    ".tflite": _run_tflite,
    ".onnx": _run_onnx,
}
_RUNTIMES = {".tflite": ("LiteRT", "ai-edge-litert"), ".onnx": ("ONNX Runtime", "onnxruntime")}
