"""Rows of results.csv, and which of them are the best choices."""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from export.runtime.benchmark import tied
from export.runtime.verify import YES
from kerascnn.errors import InputError
from training.common import atomic
from training.common.wording import SizeUnit, unit_of

# A file this near (in points of the metric) to the best one counts as still right.
TOLERANCE = 1.0
# With fewer held-out images an interval tells too little to be printed.
FEW = 50
VALIDATION, HELD_OUT = "validation", "held-out"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The figures that a file is chosen by where a split was set aside for choices.

    Attributes:
        pictures: of that split.
        value, float_value: the file's figure and the Keras model's, in percent.
        split: its name.
    """

    pictures: int
    value: float
    float_value: float
    split: str = VALIDATION


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
        drop_low, drop_high: its 95% interval, see `export.artefacts.significance`.
        pictures: how many are held out; `None` where unknown.
        balanced_accuracy: of a classifier, the mean recall of its classes, in percent; else `None`.
        choice: what the file is chosen by; `None` for its figure on the held-out pictures.
        latency_ms, latency_p95_ms: median and 95th percentile for one picture; `None` untimed.
        latency_low_ms, latency_high_ms: 95% interval of the median, by bootstrap over rounds.
        rounds_ms: the median of each round; the rows of one report were timed in the same rounds.
        threads: of the runtime while timed.
        peak_arena_bytes: `None` where the runtime does not tell.
        sparsity: share of exact zeros among the file's weights, 0 to 1.
        seconds: what making this file cost beyond the training of the run: further training,
            calibration, search and conversion.
        verified: "yes": the file ran in its runtime and agreed with Keras as its variant demands;
            "no": it did not; "not verified": the held-out pictures do not tell.
        below_floor: why nothing is recommended of its network (`Kind.below_floor`); else
            empty.
        agreement: share of pictures with Keras' top-1 answer, in percent; of a detector, share of
            the detections that are Keras' too; of a segmentation network, share of the pixels.
        max_logit_diff: largest difference of a logit from Keras'; of a detector, of a score; of a
            segmentation network, of a class's IoU, in points.
        partitions: of the graph that the XNNPACK delegate took; 1 is the whole; `None` for ONNX.
        sha256: of the file.
        gpu: "whole" where a GPU takes all operations of the file, else those that it does not and
            why (`export.runtime.accelerators.text`); `None` for ONNX, and where it is not known.
        npu: the same of NPUs.
        float_layers: of an int8 file, layers that are float after all
            (`export.compress.reconstruct.keep_float`); `None` where none is.
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
    pictures: int | None = None
    balanced_accuracy: float | None = None
    choice: Choice | None = None
    latency_ms: float | None
    latency_p95_ms: float | None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    rounds_ms: tuple[float, ...] = ()
    threads: int
    peak_arena_bytes: int | None
    sparsity: float
    seconds: float
    verified: str
    below_floor: str = ""
    agreement: float
    max_logit_diff: float
    partitions: int | None
    sha256: str
    gpu: str | None = None
    npu: str | None = None
    float_layers: str | None = None

    @property
    def is_verified(self) -> bool:
        """Whether its runtime ran the file and agreed with Keras."""
        return self.verified == YES

    @property
    def fits(self) -> bool:
        """`is_verified`, by the name of its column."""
        return self.is_verified

    @property
    def raw(self) -> bool:
        """Whether decoding, suppression or the choice of a class is left to the app."""
        return self.variant.endswith("_raw")

    @property
    def choice_value(self) -> float:
        """What choices are made by, in percent."""
        return self.value if self.choice is None else self.choice.value

    @property
    def choice_float_value(self) -> float:
        """The same of the Keras model."""
        return self.float_value if self.choice is None else self.choice.float_value

    @property
    def chosen_on(self) -> str:
        """The split of `choice_value`."""
        return HELD_OUT if self.choice is None else self.choice.split

    @property
    def choice_pictures(self) -> int | None:
        """How many images that split has."""
        return self.pictures if self.choice is None else self.choice.pictures

    @property
    def label(self) -> str:
        """What a person calls the artefact."""
        return f"{self.run} {self.variant}" + (" (onnx)" if self.format == "onnx" else "")

    @property
    def figure(self) -> str:
        """The metric's figure for a person."""
        return f"{self.value:.1f}%"

    @property
    def within_noise(self) -> bool:
        """Whether the pictures leave open that nothing was lost, or gained.

        A drop that is written as 0.0 is no more than that, whatever its interval.
        """
        return self.drop_low <= 0 <= self.drop_high or abs(self.drop) < 0.05

    @property
    def same_answers(self) -> bool:
        """Whether the file answered every held-out picture as the Keras model does."""
        return self.agreement == 100 and self.drop == self.drop_low == self.drop_high == 0

    @property
    def few_pictures(self) -> bool:
        """Whether an interval from so few held-out pictures would tell nothing."""
        return self.pictures is not None and self.pictures < FEW

    @property
    def has_interval(self) -> bool:
        """Whether the interval of the drop is worth printing."""
        known = math.isfinite(self.drop_low) and math.isfinite(self.drop_high)
        return known and not self.few_pictures and not self.same_answers

    @property
    def drop_text(self) -> str:
        """The drop in words: "same answers", "drop 0.1", "gain 0.1" or "no drop"."""
        return "same answers" if self.same_answers else drop_words(self.drop)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by column."""
        return {name: getattr(self, name) for name in COLUMNS}


class NotWritten(OSError):
    """A file of the report could not be written; the figures are there all the same.

    Attributes:
        rows: one row an artefact, as `export.report.compare.compare` returns them.
    """

    def __init__(self, error: OSError, rows: list[Result]) -> None:
        super().__init__(error.errno, error.strerror or str(error), error.filename)
        self.rows = rows


# Of results.csv, in order.
COLUMNS = (
    *("run", "model", "variant", "format", "parameters", "nonzero_parameters", "macs", "bytes"),
    *("download_bytes", "metric", "value", "float_value", "drop", "drop_low", "drop_high"),
    *("balanced_accuracy", "choice_value", "choice_float_value", "chosen_on", "latency_ms"),
    *("latency_p95_ms", "latency_low_ms", "latency_high_ms", "threads", "peak_arena_bytes"),
    *("sparsity", "seconds", "fits", "verified", "agreement", "max_logit_diff", "partitions"),
    *("sha256", "pictures", "gpu", "npu", "float_layers"),
)


def drop_words(points: float) -> str:
    """A drop in points for a person: a loss is positive, "drop 0.1"; a gain negative."""
    rounded = round(points, 1)
    if not rounded:
        return "no drop"
    return f"{'drop' if points > 0 else 'gain'} {abs(rounded):.1f}"


def signed(points: float) -> str:
    """Points with their sign and one decimal; adding zero turns minus zero into zero."""
    return f"{round(points, 1) + 0.0:+.1f}"


def milliseconds(value: float | None) -> str:
    """Three digits or so: "0.061", "1.24", "15.3"; a dash where nothing was timed."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1}f}"


_METRIC_OF_NONE = "accuracy"


def metric_of(results: Sequence[Result], *, unit: bool = False) -> str:
    """What the figures of one report are: they are all of one data set, and so of one metric.

    Args:
        unit: say that it is a percentage, as all metrics are.
    """
    metric = results[0].metric if results else _METRIC_OF_NONE
    return f"{metric} (%)" if unit else metric


def capitalised(metric: str) -> str:
    """At the beginning of a title: "Accuracy", "Mask AP"; "mIoU" has its capitals."""
    first = metric.split(maxsplit=1)[0]
    return metric if first != first.lower() else metric[0].upper() + metric[1:]


def size_unit(results: Sequence[Result]) -> SizeUnit:
    """MB where even the smallest download has one, else KB."""
    return unit_of([count for r in results for count in (r.bytes, r.download_bytes)])


def same_figures(results: Sequence[Result]) -> bool:
    """Whether several files have one figure as it is written, so that charts tell costs alone."""
    return len(results) > 1 and len({r.figure for r in results}) == 1


def write_csv(path: pathlib.Path, results: Sequence[Result]) -> None:
    """Write results.csv, whole or not at all."""
    write_table(path, COLUMNS, [list(result.to_dict().values()) for result in results])


def write_table(path: pathlib.Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write figures in the form of results.csv, whole or not at all."""
    atomic.write_csv(path, names, ([_cell(value) for value in row] for row in rows))


_TEXTS = {"run", "model", "variant", "format", "metric", "chosen_on", "verified", "sha256"} | {
    *("gpu", "npu", "float_layers"),
}
_COUNTS = {
    *("parameters", "nonzero_parameters", "macs", "bytes", "download_bytes", "threads"),
    *("peak_arena_bytes", "partitions", "pictures"),
}


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a results.csv with values of their types; None where a cell is empty.

    Raises:
        InputError: it is not what `write_csv` writes.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            return [{name: _value(name, cell) for name, cell in row.items()} for row in reader]
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error}); write it again: kerascnn compare") from None


def _value(name: str, cell: str) -> Any:
    """What `_cell` was given, to its six digits."""
    if cell == "":
        return None
    if name in _TEXTS:
        return cell
    if cell in ("true", "false"):
        return cell == "true"
    return int(cell) if name in _COUNTS else float(cell)


def pareto(results: Sequence[Result], cost: str, *, by_choice: bool = False) -> list[Result]:
    """Verified results that no cheaper one equals or beats, cheapest first.

    Files that leave decoding to the app have no place among the latencies of whole ones.

    Args:
        cost: a field to keep small: "bytes", "download_bytes" or "latency_ms".
        by_choice: compare what choices are made by, in place of the held-out figures.
    """
    worth = _worth(results) if by_choice else (lambda r: r.value)
    front: list[Result] = []
    known = [r for r in results if r.is_verified and getattr(r, cost) is not None]
    if cost == "latency_ms":
        known = _whole(known)
    for result in sorted(known, key=lambda r: (getattr(r, cost), -worth(r))):
        if not front or worth(result) > worth(front[-1]):
            front.append(result)
    return front


def usable(results: Sequence[Result]) -> bool:
    """Whether any network finds more than answers that ignore the image would."""
    return any(not r.below_floor for r in results)


def best_choices(results: Sequence[Result]) -> dict[str, Result]:
    """The files to take, by reason: "smallest", "fastest" and "most accurate".

    They are chosen among the verified files of networks that find something
    (`Kind.below_floor`), by `choice_value` where every file has one of a split set aside for
    that, else by the held-out figures (`chosen_on`). Files that leave decoding to the app
    (`..._raw`) are chosen only where there are no whole ones, and .onnx files only where there are
    no .tflite ones: the choices are for phones, and latencies in two runtimes do not compare. The
    first two are within `TOLERANCE` points of the most accurate one; the fastest is the smallest of
    those whose latencies tie with the lowest one (`tied`). Empty where there is no such file;
    "fastest" is missing where nothing was timed.

    Of equally accurate files the smaller counts as the most accurate. Else noise plays no part:
    figures are taken as measured, so the most accurate file may owe its place to luck, and within
    the tolerance a loss that is certain counts no less than one that is not.
    """
    worth = _worth(results)
    able = _for_phones(_whole([r for r in results if r.is_verified and not r.below_floor]))
    if not able:
        return {}
    most_accurate = max(able, key=lambda r: (worth(r), -r.bytes))
    # The slack keeps a file that is exactly TOLERANCE below, which binary fractions may miss.
    near = [r for r in able if worth(r) >= worth(most_accurate) - TOLERANCE - 1e-9]
    choices = {"smallest": min(near, key=lambda r: (r.bytes, -worth(r)))}
    if timed := [r for r in near if r.latency_ms is not None]:
        lowest = min(timed, key=lambda r: r.latency_ms or 0.0)
        fast = [r for r in timed if _tied(r, lowest)]
        choices["fastest"] = min(fast, key=lambda r: (r.bytes, -worth(r)))
    choices["most accurate"] = most_accurate
    return choices


def nothing_recommended(results: Sequence[Result]) -> str | None:
    """Why `best_choices` is empty, in a sentence; None where it is not."""
    if best_choices(results):
        return None
    if results and not usable(results):
        return max(results, key=lambda r: r.value).below_floor
    return "no file is recommended: none is verified to answer as the Keras model does"


def chosen_on(results: Sequence[Result]) -> str:
    """The split that `best_choices` compares files on: "validation" or "held-out"."""
    return VALIDATION if results and all(r.choice is not None for r in results) else HELD_OUT


def chosen_text(results: Sequence[Result]) -> str:
    """The same for a person, as in "chosen on the 120 validation images; ..."."""
    shown = _count({r.pictures for r in results}, "held-out")
    if chosen_on(results) == VALIDATION:
        aside = _count({r.choice_pictures for r in results}, "validation")
        return f"chosen on the {aside} images; the figures are of the {shown} ones"
    return f"chosen on the {shown} images that are shown: there was no validation split"


def _count(counts: set[int | None], kind: str) -> str:
    """As in "120 validation" where all agree on a number."""
    known = counts.pop() if len(counts) == 1 else None
    return kind if known is None else f"{known:,} {kind}"


def _worth(results: Sequence[Result]) -> Callable[[Result], float]:
    """What files are compared by; figures of two splits do not mix."""
    if chosen_on(results) == VALIDATION:
        return lambda r: r.choice_value
    return lambda r: r.value


def _whole(results: Sequence[Result]) -> list[Result]:
    """Those that need no decoding by the app; all where there are none."""
    return [r for r in results if not r.raw] or list(results)


def _for_phones(results: Sequence[Result]) -> list[Result]:
    """The .tflite files; all where there are none."""
    return [r for r in results if r.format == "tflite"] or list(results)


def _tied(result: Result, lowest: Result) -> bool:
    """Whether two timed rows are equally fast as far as was measured."""
    return tied(
        *(result.latency_ms or 0.0, lowest.latency_ms or 0.0), result.rounds_ms, lowest.rounds_ms
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
