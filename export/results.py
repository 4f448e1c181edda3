"""Rows of results.csv, and which of them are the best choices."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from training import atomic

ACCURACY, MIOU = "accuracy", "mIoU"
# Written as percentages; AP, which is in percent too, by custom is not.
_SHARES = (ACCURACY, MIOU)
# A file this near (in points of the metric) to the best one counts as still right.
TOLERANCE = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One artefact, as its real runtime showed it; fields are the columns of results.csv.

    Attributes:
        run: name of the run folder.
        model, variant, format: zoo name, compression variant, "tflite" or "onnx".
        parameters, macs: of the network inside the file, which structured pruning makes smaller
            than the run's (trainable scalars; multiply-adds for one picture).
        nonzero_parameters: numbers in the file that are not zero, among its weights and biases;
            batch norms are folded into them.
        bytes, download_bytes: file size, and after zlib -9, which is what a store delivers.
        metric, value, float_value: name, the artefact's figure and the Keras model's, in percent.
        drop: float_value - value, in points.
        drop_low, drop_high: its 95% interval, see `export.significance`.
        latency_ms, latency_p95_ms: median and 95th percentile for one picture; `None` untimed.
        threads: of the runtime while timed.
        peak_arena_bytes: `None` where the runtime does not tell.
        sparsity: share of exact zeros among the file's weights, 0 to 1.
        seconds: what making this file cost beyond the training of the run: further training,
            calibration, search and conversion.
        fits: the file ran in its runtime and agreed with Keras as its variant demands.
        agreement: share of pictures with Keras' top-1 answer, in percent; of a detector, share of
            the detections that are Keras' too; of a segmentation network, share of the pixels.
        max_logit_diff: largest difference of a logit from Keras'; of a detector, of a score; of a
            segmentation network, of a class's IoU, in points.
        partitions: pieces that the XNNPACK delegate took; 1 is a graph run whole; `None` for ONNX.
        sha256: of the file.
    """

    run: str
    model: str
    variant: str
    format: str
    parameters: int
    nonzero_parameters: int
    macs: int
    bytes: int
    download_bytes: int
    metric: str
    value: float
    float_value: float
    drop: float
    drop_low: float
    drop_high: float
    latency_ms: float | None
    latency_p95_ms: float | None
    threads: int
    peak_arena_bytes: int | None
    sparsity: float
    seconds: float
    fits: bool
    agreement: float
    max_logit_diff: float
    partitions: int | None
    sha256: str

    @property
    def label(self) -> str:
        """What a person calls the artefact."""
        return f"{self.run} {self.variant}" + (" (onnx)" if self.format == "onnx" else "")

    @property
    def figure(self) -> str:
        """The metric's figure for a person."""
        return f"{self.value:.1f}" + ("%" if self.metric in _SHARES else "")

    @property
    def within_noise(self) -> bool:
        """Whether the pictures leave open that nothing was lost, or gained."""
        return self.drop_low <= 0 <= self.drop_high


def metric_of(results: Sequence[Result], *, unit: bool = False) -> str:
    """What the figures of one report are: they are all of one data set, and so of one metric.

    Args:
        unit: say of what is written as a percentage that it is one.
    """
    metric = results[0].metric if results else ACCURACY
    return f"{metric} (%)" if unit and metric in _SHARES else metric


def write_csv(path: pathlib.Path, results: Sequence[Result]) -> None:
    """Write results.csv, whole or not at all."""
    names = [field.name for field in dataclasses.fields(Result)]
    write_table(path, names, [[getattr(result, name) for name in names] for result in results])


def write_table(path: pathlib.Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write figures in the form of results.csv, whole or not at all."""
    atomic.write_csv(path, names, ([_cell(value) for value in row] for row in rows))


def pareto(results: Sequence[Result], cost: str) -> list[Result]:
    """Fitting results that no cheaper one equals or beats, cheapest first.

    Args:
        cost: a field to keep small: "bytes", "download_bytes" or "latency_ms".
    """
    front: list[Result] = []
    known = [r for r in results if r.fits and getattr(r, cost) is not None]
    for result in sorted(known, key=lambda r: (getattr(r, cost), -r.value)):
        if not front or result.value > front[-1].value:
            front.append(result)
    return front


def best_choices(results: Sequence[Result]) -> dict[str, Result]:
    """The files to take, by reason: "smallest", "fastest" and "most accurate".

    The first two are chosen among the fitting files within `TOLERANCE` points of the most accurate
    one. Empty where nothing fits; "fastest" is missing where nothing was timed.

    Noise plays no part: figures are taken as measured, so the most accurate file may owe its place
    to luck, and within the tolerance a loss that is certain counts no less than one that is not.
    """
    fitting = [r for r in results if r.fits]
    if not fitting:
        return {}
    most_accurate = max(fitting, key=lambda r: (r.value, -r.bytes))
    # The slack keeps a file that is exactly TOLERANCE below, which binary fractions may miss.
    near = [r for r in fitting if r.value >= most_accurate.value - TOLERANCE - 1e-9]
    choices = {"smallest": min(near, key=lambda r: (r.bytes, -r.value))}
    if timed := [r for r in near if r.latency_ms is not None]:
        choices["fastest"] = min(timed, key=lambda r: (r.latency_ms or 0.0, -r.value))
    choices["most accurate"] = most_accurate
    return choices


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
