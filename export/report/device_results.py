"""What the Android demo measured: its CSV, read and joined with the files of a report."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import math
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from export.report.results import COLUMNS as COMPUTER_COLUMNS
from export.report.results import Result
from kerascnn.errors import InputError
from training.common.drawing import shorten

# What the app does not know of, and has no column for.
_READ_HERE = ("gpu", "npu", "float_layers")
_COMPUTER = tuple(name for name in COMPUTER_COLUMNS if name not in ("pictures", *_READ_HERE))
# The table that the app shares has the columns of results.csv, so that both stand in one sheet, and
# a few of its own; what a phone cannot know is empty there.
COLUMNS = (
    *(*_COMPUTER, "device", "android", "accelerator", "pictures", "file"),
    *("latency_p90_ms", "latency_p99_ms", "init_ms", "runs", "rounds", "ended"),
    *("accelerator_used", "nodes", "plan_nodes", "runtime", "soc"),
    *("thermal_before", "thermal_after", "selftest"),
)
# The table that is written here.
WRITTEN = (*COLUMNS, *_READ_HERE)
_NEEDED = (
    *("model", "variant", "bytes", "metric", "value", "latency_ms", "latency_p95_ms"),
    *("threads", "sha256", "device", "accelerator", "pictures"),
)
_OF_FILES = (
    *("run", "model", "variant", "format", "parameters", "nonzero_parameters", "macs"),
    *("bytes", "download_bytes", "sparsity", "sha256", *_READ_HERE),
)
BY_TOOL = "benchmark_model"  # in the column `runtime`
_TIMES = ("latency_p90_ms", "latency_p99_ms", "init_ms")
_COUNTS = ("runs", "nodes", "plan_nodes")
_WORDS = (
    "rounds",
    "ended",
    "accelerator_used",
    "runtime",
    "soc",
    "thermal_before",
    "thermal_after",
    "selftest",
)
_OF_PHONES = (
    *("metric", "value", "pictures", "latency_ms", "latency_p95_ms"),
    *(*_TIMES, *_COUNTS, *_WORDS),
)
_LONGEST = 80  # letters of a name
_FORMULAS = ("=", "+", "-", "@")  # a sheet takes a cell that begins so for a formula


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """Where a file was timed: columns of a report, and a chart.

    Attributes:
        device: maker and model.
        android: version; empty where the table does not tell.
        accelerator: "CPU", "GPU".
        threads: of the runtime.
    """

    device: str
    android: str
    accelerator: str
    threads: int

    @property
    def label(self) -> str:
        """As in "Pixel 7 (Android 14), CPU, 4 threads"."""
        android = f" (Android {self.android})" if self.android else ""
        threads = f"{self.threads} thread" + ("" if self.threads == 1 else "s")
        return f"{self.device}{android}, {self.accelerator}, {threads}"

    @property
    def short(self) -> str:
        """As in "Pixel 7 CPU x 4", in fewer letters."""
        return f"{shorten(self.device, 20)} {self.accelerator}\N{MULTIPLICATION SIGN}{self.threads}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """One line of the table: a file on a phone.

    Attributes:
        line: in the table, from 1.
        setup: where it ran.
        run: name of the run folder; empty where the phone does not know.
        model, variant, bytes, sha256: of the file; words may be empty, as a phone opens any file.
        latency_ms, latency_p95_ms: median and 95th percentile for one picture; `None` untimed. Of
            Google's benchmark_model whichever of mean and median it prints, and no percentile.
        metric, value, pictures: what the phone measured on a folder of its own, in percent, and on
            how many pictures; empty and `None` where it did not.
        latency_p90_ms, latency_p99_ms, init_ms: further times; the last until the file was open.
        runs: that were timed.
        rounds, ended: how many of how many rounds there were, as in "2/3", and why no more:
            "stopped", "background" (the app left the screen), "failed"; empty where it was measured
            to the end.
        accelerator_used: what it really ran on, where that is known: "CPU", "GPU", "GPU in part".
        nodes, plan_nodes: operations of the file, and what was left of them behind a delegate.
        runtime, soc, thermal_before, thermal_after: version, processor, and how hot the phone was.
        selftest: "verified", or "differs by 3.2%" from what the file says that it answers.

    Further times and what follows them are `None` or empty in tables of earlier apps.
    """

    line: int
    setup: Setup
    run: str
    model: str
    variant: str
    bytes: int
    sha256: str
    latency_ms: float | None
    latency_p95_ms: float | None
    metric: str
    value: float | None
    pictures: int | None
    latency_p90_ms: float | None = None
    latency_p99_ms: float | None = None
    init_ms: float | None = None
    runs: int | None = None
    nodes: int | None = None
    plan_nodes: int | None = None
    rounds: str = ""
    ended: str = ""
    accelerator_used: str = ""
    runtime: str = ""
    soc: str = ""
    thermal_before: str = ""
    thermal_after: str = ""
    selftest: str = ""

    @property
    def label(self) -> str:
        """What a person calls the file."""
        name = f"{self.run or self.model} {self.variant}".strip() or "a file without a name"
        return f"{name} ({self.bytes:,} bytes)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phone:
    """What was measured in one place, by the number of the file in the report."""

    setup: Setup
    results: dict[int, DeviceResult]


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A file in the report, with what identifies it in a line of a table."""

    run: str
    model: str
    variant: str
    bytes: int
    metric: str
    sha256: str


def read(path: pathlib.Path) -> list[DeviceResult]:
    """Read the table that the Android demo shares.

    The order of its columns is free, and further ones are left alone.

    Raises:
        InputError: no such file, no such table, or a line that cannot be; it names line and column.
    """
    try:
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the Android demo shares it") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 text, so not results of a phone"
        ) from None
    lines = _lines(path, text)
    _number, head = next(lines, (1, []))
    missing = [name for name in _NEEDED if name not in head]
    if missing:
        raise InputError(
            f"{path}, line 1: no column {missing[0]!r}, so not results of a phone; "
            "give the file that the Android demo shares"
        )
    if twice := [name for name in COLUMNS if head.count(name) > 1]:
        raise InputError(f"{path}, line 1: column {twice[0]!r} stands there twice")
    found = []
    for number, cells in lines:
        if len(cells) != len(head):
            short = len(cells) < len(head)
            where = (
                f"ends before column {head[len(cells)]!r}"
                if short
                else (f"goes on after the last column, {head[-1]!r}")
            )
            raise InputError(f"{path}, line {number}: {where}; share the table again")
        found.append(_result(_Line(path, number, dict(zip(head, cells, strict=True)))))
    if not found:
        raise InputError(f"{path}, line 2: nothing was measured")
    return found


def join(results: Sequence[DeviceResult], files: Sequence[File]) -> tuple[list[Phone], list[str]]:
    """Find the files that the lines are of; the last of several on the same file counts.

    A line that tells a hash is of the file with that hash alone; another one is of the file with
    its run, where it has one, model, variant and size.

    Returns:
        Places in the order of the table, and what is to be said of lines without a file, and of
        those that were not measured to the end.
    """
    phones: dict[Setup, Phone] = {}
    left_out = []
    for one in results:
        places = [i for i, file in enumerate(files) if _is_of(one, file)]
        # The same bytes may be in several runs; then one figure is true of all.
        if not places or len({files[i].sha256 for i in places}) > 1:
            how = "several files here may be" if places else "no file here is"
            left_out.append(f"line {one.line}: {how} {one.label}; it is left out")
            continue
        metric = files[places[0]].metric
        if one.value is not None and one.metric != metric:
            left_out.append(
                f"line {one.line}: {one.label} is measured by {metric}, not by {one.metric}; "
                "it is left out"
            )
            continue
        if one.ended:
            rounds = f", after {one.rounds} rounds" if one.rounds else ""
            left_out.append(
                f"line {one.line}: {one.label} was not measured to the end ({one.ended}{rounds})"
            )
        if one.selftest.startswith("differs"):
            left_out.append(
                f"line {one.line}: {one.label} does not answer there as the file says that it does "
                f"({one.selftest}): look at its accuracy there before its time"
            )
        phone = phones.setdefault(one.setup, Phone(setup=one.setup, results={}))
        phone.results.update(dict.fromkeys(places, one))
    return list(phones.values()), left_out


def _is_of(line: DeviceResult, file: File) -> bool:
    if line.sha256:
        return line.sha256 == file.sha256
    return (line.model, line.variant, line.bytes) == (file.model, file.variant, file.bytes) and (
        line.run in ("", file.run)
    )


def on_phone(rows: Sequence[Result], phone: Phone) -> list[Result]:
    """Rows with the phone's latencies in place of this machine's."""
    untimed = {"latency_ms": None, "latency_p95_ms": None}
    timed = {
        i: {name: getattr(result, name) for name in untimed} for i, result in phone.results.items()
    }
    return [
        dataclasses.replace(
            row,
            **timed.get(i, untimed),
            # What the rounds on this machine showed is not true there.
            latency_low_ms=None,
            latency_high_ms=None,
            rounds_ms=(),
            threads=phone.setup.threads,
        )
        for i, row in enumerate(rows)
    ]


def table(rows: Sequence[Result], phones: Sequence[Phone]) -> list[list[Any]]:
    """Lines below `WRITTEN`: every file here, then on each phone.

    Figures of this machine are empty in a phone's line, and the other way round.
    """
    lines = [[getattr(row, name, None) for name in WRITTEN] for row in rows]
    for phone in phones:
        for i, result in phone.results.items():
            cells = {name: getattr(rows[i], name) for name in _OF_FILES}
            cells |= {name: getattr(result, name) for name in _OF_PHONES}
            cells |= dataclasses.asdict(result.setup)
            lines.append([cells.get(name) for name in WRITTEN])
    return lines


def _lines(path: pathlib.Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Numbers and cells of the lines that are not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not a line of CSV ({error})") from None


class _Line:
    """Cells of a line by column, read as what they must be."""

    def __init__(self, path: pathlib.Path, number: int, cells: dict[str, str]) -> None:
        self.number = number
        self._path, self._cells = path, cells

    def name(self, column: str, *, empty: bool = False) -> str:
        """Words in one line."""
        text = " ".join(self._cells.get(column, "").split())
        if text[:1] == "'" and text[1:2] in _FORMULAS:
            text = text[1:]  # by which the app keeps a sheet from working it out
        if (not text and not empty) or len(text) > _LONGEST or not text.isprintable():
            self.fail(column, f"is a name of at most {_LONGEST} letters")
        return text

    def count(self, column: str) -> int:
        """A whole number from 1."""
        return self._number(column, int, lambda n: 0 < n < 2**53, "a whole number above 0")

    def share(self, column: str) -> float:
        """A percentage."""
        return self._number(column, float, lambda x: 0 <= x <= 100, "a percentage, 0 to 100")

    def milliseconds(self, column: str) -> float:
        """A time."""
        wanted = "milliseconds, above 0"
        return self._number(column, float, lambda x: 0 < x < math.inf, wanted)

    def digest(self, column: str) -> str:
        """A SHA-256 in hex, or nothing."""
        text = self._cells[column].strip().lower()
        if text and not re.fullmatch("[0-9a-f]{64}", text):
            self.fail(column, "is a SHA-256 of 64 hex digits, or empty")
        return text

    def empty(self, *columns: str) -> bool:
        """Whether nothing stands there."""
        return not any(self._cells.get(column, "").strip() for column in columns)

    def fail(self, column: str, what: str) -> NoReturn:
        """Say what the cell of a column must be."""
        text = " ".join(self._cells.get(column, "").split())
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise InputError(
            f"{self._path}, line {self.number}: column {column!r} {what}, not {shown!r}"
        )

    def _number(self, column: str, kind: type, possible: Callable[[Any], bool], wanted: str) -> Any:
        text = self._cells[column].strip()
        # Other digits and underscores are numbers to Python alone.
        number = kind(text) if re.fullmatch(_NUMBERS[kind], text) else None
        if number is None or not possible(number):
            self.fail(column, f"is {wanted}")
        return number


_NUMBERS = {int: "[0-9]{1,18}", float: r"[0-9]{1,18}(\.[0-9]{1,18})?([eE][-+]?[0-9]{1,3})?"}


def _result(line: _Line) -> DeviceResult:
    timed = not line.empty("latency_ms", "latency_p95_ms")
    # Earlier versions of Google's tool print no percentile.
    by_tool = line.name("runtime", empty=True) == BY_TOOL and line.empty("latency_p95_ms")
    judged = not line.empty("value", "pictures")
    more: dict[str, Any] = {
        **{name: None if line.empty(name) else line.milliseconds(name) for name in _TIMES},
        **{name: None if line.empty(name) else line.count(name) for name in _COUNTS},
        **{name: line.name(name, empty=True) for name in _WORDS},
    }
    if not timed and not judged:
        line.fail("latency_ms", "is milliseconds, above 0, where no accuracy was measured")
    return DeviceResult(
        line=line.number,
        setup=Setup(
            device=line.name("device"),
            android=line.name("android", empty=True),
            accelerator=line.name("accelerator"),
            threads=line.count("threads"),
        ),
        run=line.name("run", empty=True),
        model=line.name("model", empty=True),
        variant=line.name("variant", empty=True),
        bytes=line.count("bytes"),
        sha256=line.digest("sha256"),
        latency_ms=line.milliseconds("latency_ms") if timed else None,
        latency_p95_ms=line.milliseconds("latency_p95_ms") if timed and not by_tool else None,
        metric=line.name("metric") if judged else "",
        value=line.share("value") if judged else None,
        pictures=line.count("pictures") if judged else None,
        **more,
    )
