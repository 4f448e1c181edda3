"""`mixed`, reconstructed: its kernels, each in the bits that the search gave it."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Container, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from export.artefacts.variants import Variant
from export.compress.mixed import Report
from export.compress.reconstruct.files import reconstructed
from export.tasks.comparison import Comparison
from export.tflite.kernel_ranges import Kernel, kernels
from export.tflite.model import TFLiteModel
from kerascnn.preprocessing import Preprocessing
from training.common import atomic


def reconstructed_widths(
    model: keras.Model,
    variant: Variant,
    preprocessing: Preprocessing,
    pictures: np.ndarray,
    *,
    float_file: TFLiteModel,
    plain: TFLiteModel,
    report: Report,
    comparison: Comparison,
    name: str = "",
) -> tuple[TFLiteModel, Report, dict[str, Any] | None]:
    """Reconstruct a file of `export.compress.mixed.mixed`.

    Args:
        model: as of `reconstructed`.
        variant: its `max_change` is kept.
        pictures: that the search looked at.
        float_file: that it began with.
        plain, report: what it gave.
        comparison: what it told answers apart by.

    Returns:
        The file, the report of that file, and what `reconstructed` tells. The plain one where the
        other is no nearer to the float network, or changes more answers than it may.
    """
    bits = layer_bits(float_file, report, {layer.name for layer in model.layers})
    file, noises = reconstructed(
        model,
        variant,
        preprocessing,
        pictures,
        float_file=float_file,
        plain=plain,
        name=name,
        bits=bits,
    )
    if noises is None or not noises["written"]:
        return plain, report, noises
    few = np.array(pictures[: comparison.most])
    own, found = (_answers(one, comparison, few) for one in (float_file, file))
    error, changed = comparison.differences(own, found)
    if changed > max(variant.max_change, report.changed):
        return plain, report, {**noises, "written": False, "changed": changed}
    return file, dataclasses.replace(report, error=error, changed=changed), noises


def layer_bits(float_file: TFLiteModel, report: Report, known: Container[str]) -> dict[str, int]:
    """Bits by Keras layer, of those by output tensor that a search chose.

    Args:
        float_file: that they were chosen for.
        known: names of layers.
    """
    chosen = {one.layer: one.bits for one in report.layers}
    all_kernels = list(kernels(float_file))
    searched = [one for one in all_kernels if one.output in chosen]
    found = {}
    for kernel in all_kernels:
        layer = kernel.layer_among(known)
        bits = chosen.get(kernel.output) or _of_its_like(kernel, searched, chosen)
        if layer is not None and bits is not None:
            found[layer] = bits
    return found


def _of_its_like(
    kernel: Kernel, searched: Sequence[Kernel], chosen: Mapping[str, int]
) -> int | None:
    """Those of an equal kernel, which the search knows by one name."""
    for one in searched:
        if one.operation == kernel.operation and np.array_equal(one.values, kernel.values):
            return chosen[one.output]
    return None


def _answers(file: TFLiteModel, comparison: Comparison, pictures: np.ndarray) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mixed.tflite"  # the runtime wants a file
        atomic.write_bytes(path, file.packed())
        return comparison.answers(path, pictures)
