"""`kerascnn phone`: files are timed on a phone that hangs on a cable, and the figures come back.

Files go to a folder of the phone's where the demo may read them, each under its digest. The demo's
`RunActivity`, which debug builds alone have, measures all files of a setup (threads, CPU or GPU),
writes a row per file as soon as it is whole, and says how far it is in a file of its own. What it
measured stays on the phone and is fetched row by row into a table here, by digest, threads and
accelerator: whatever goes away meanwhile, the same command goes on.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from export.artefacts.description import read_description
from export.deploy import adb, labelled_zip, native_benchmark
from export.deploy.labelled_zip import LabelledFolder
from export.deploy.phone_files import PhoneFile, choose
from export.report.device_results import BY_TOOL, COLUMNS
from kerascnn.errors import InputError
from training.common import atomic
from training.common.progress import Progress, say
from training.common.wording import counted

APP = "org.kerascnn.demo"
_ACTIVITY = "org.kerascnn.demo.ui.RunActivity"
# In the app's own folder; RunActivity.kt has the same names.
_PLACE, _STATUS = "files/phone", "files/phone/status.json"
# Of the table here, beside those of the app's: what a row was measured with.
_JOB = "job"
# A look at the phone costs it a moment of a core: rarely.
_SECONDS_BETWEEN_LOOKS = 2.0
_LOOKS_FOR_THE_START = 30
_SECONDS_FOR_THE_CABLE = 60

_T = TypeVar("_T")


class Unfinished(Exception):
    """Measuring broke off; what was measured is kept, and the same command goes on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be measured.

    Attributes:
        sources: run folders, and .tflite files.
        out: folder of the table.
        variants: of the runs; none: all that they have.
        device: serial number; None: the only phone there is.
        threads: of the CPU, one setup each.
        gpu: whether the GPU is a setup too.
        seconds: for which a file is timed.
        labelled: folder of labelled pictures, by which the app measures accuracy too.
        benchmark_model: Google's tool for the phone, which measures in the app's place.
        app: the application's id.
        again: whether what is kept is thrown away first.
    """

    sources: Sequence[str]
    out: pathlib.Path
    variants: Sequence[str] = ()
    device: str | None = None
    threads: tuple[int, ...] = (1, 4)
    gpu: bool = False
    seconds: int = 5
    labelled: pathlib.Path | None = None
    benchmark_model: pathlib.Path | None = None
    app: str = APP
    again: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What there is now.

    Attributes:
        table: path of the rows, for `kerascnn compare --device`.
        rows: all of them, by the table's columns.
        new: how many of these this call brought.
        left_out: what could not be measured, a line each.
    """

    table: str
    rows: list[dict[str, str]]
    new: int
    left_out: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """How files are run."""

    threads: int
    gpu: bool

    @property
    def accelerator(self) -> str:
        return "GPU" if self.gpu else "CPU"

    @property
    def label(self) -> str:
        return "GPU" if self.gpu else counted(self.threads, "thread")

    def key(self, sha256: str) -> tuple[str, str, str]:
        """Of a row."""
        return sha256, str(self.threads), self.accelerator


def setups(asked: Asked) -> list[Setup]:
    """In the order in which they are measured; a GPU has the CPU's threads for what it leaves."""
    found = [Setup(threads=threads, gpu=False) for threads in asked.threads]
    return found + [Setup(threads=asked.threads[0], gpu=True)] * asked.gpu


def measure(asked: Asked, *, pause: Callable[[float], None] = time.sleep) -> Measured:
    """Measure what is not measured yet.

    Args:
        pause: waits so many seconds.

    Raises:
        InputError: what is asked for makes no sense; or what is missing, with the command for it.
        Unfinished: the phone went away and did not come back, or the app left the screen.
    """
    _check(asked)
    files = choose(asked.sources, asked.variants)
    labelled = None if asked.labelled is None else labelled_zip.read(asked.labelled)
    tool = None if asked.benchmark_model is None else atomic.sha256(asked.benchmark_model)
    phone = adb.choose(adb.find_adb(), asked.device)
    kept = _Kept(asked.out / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', phone.serial)}.csv")
    session = _Session(
        asked=asked,
        phone=phone,
        files=files,
        kept=kept,
        job=_job(asked, labelled, tool),
        labelled=labelled,
        pause=pause,
    )
    try:
        left_out = session.by_tool() if tool is not None else session.by_app()
    except (adb.Lost, Unfinished) as gone:
        done = len(session.done())
        raise Unfinished(
            f"{gone}; {done} of {counted(session.total, 'measurement')} are kept in {kept.path}; "
            "the same command goes on"
        ) from None
    return Measured(table=str(kept.path), rows=kept.rows(), new=session.new, left_out=left_out)


def as_text(measured: Measured) -> str:
    """A line per measurement, and what is left out."""
    lines = []
    for row in measured.rows:
        time_ms = f"{float(row['latency_ms']):.3g} ms" if row["latency_ms"] else "not timed"
        figure = f", {row['metric']} {float(row['value']):.1f}%" if row["value"] else ""
        used = row["accelerator_used"] or row["accelerator"]
        threads = f" x {row['threads']}" if row["accelerator"] == "CPU" else ""
        lines.append(f"{row['file']}: {row['device']}, {used}{threads}: {time_ms}{figure}")
    lines += [f"left out: {line}" for line in measured.left_out]
    return "\n".join([*lines, f"table: {measured.table}"])


def _check(asked: Asked) -> None:
    if not asked.threads or any(threads < 1 for threads in asked.threads):
        raise InputError("--threads must be counts of threads, as in 1,4")
    if asked.benchmark_model is not None:
        if not asked.benchmark_model.is_file():
            raise InputError(
                f"{asked.benchmark_model}: no such file; Google's tool for 64-bit phones is "
                "android_aarch64_benchmark_model on "
                "https://ai.google.dev/edge/litert/models/measurement"
            )
        if asked.labelled is not None:
            raise InputError("--benchmark-model times only; leave out --labelled, or measure both")


def _job(asked: Asked, labelled: LabelledFolder | None, tool: str | None) -> str:
    """What rows must have been measured with to count as done."""
    data = labelled.digest if labelled else ""
    return hashlib.sha256(f"{data}|{tool or ''}|{asked.seconds}".encode()).hexdigest()[:16]


class _Kept:
    """The table here: a row per file, setup and device, the last one measured."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, str]]:
        """Raises InputError for a file that is no such table."""
        if not self.path.is_file():
            return []
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                found = list(csv.DictReader(file, strict=True))
        except (ValueError, csv.Error) as error:
            raise InputError(f"{self.path} is damaged ({error}); move it away") from None
        if any(None in row or not {*COLUMNS, _JOB} <= row.keys() for row in found):
            raise InputError(f"{self.path} is no table of this command; move it away")
        return [{name: value or "" for name, value in row.items()} for row in found]

    def done(self, job: str) -> set[tuple[str, str, str]]:
        """Keys of what was measured to the end."""
        return {_key(row) for row in self.rows() if row[_JOB] == job and not row["ended"]}

    def add(self, rows: Sequence[dict[str, str]]) -> None:
        """In place of earlier ones of the same file, setup and device."""
        new = {(*_key(row), row["device"]): row for row in rows}
        earlier = [row for row in self.rows() if (*_key(row), row["device"]) not in new]
        self._write([*earlier, *new.values()])

    def forget(self, job: str) -> None:
        """Rows of that job."""
        self._write([row for row in self.rows() if row[_JOB] != job])

    def _write(self, rows: Sequence[dict[str, str]]) -> None:
        names = (*COLUMNS, _JOB)
        atomic.write_csv(self.path, names, ([row.get(name, "") for name in names] for row in rows))


def _key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["sha256"], row["threads"], row["accelerator"]


@dataclasses.dataclass(kw_only=True)
class _Session:
    """One call of the command."""

    asked: Asked
    phone: adb.Phone
    files: Sequence[PhoneFile]
    kept: _Kept
    job: str
    labelled: LabelledFolder | None
    pause: Callable[[float], None]
    new: int = 0

    @property
    def total(self) -> int:
        return len(self.files) * len(setups(self.asked))

    def done(self) -> set[tuple[str, str, str]]:
        """Of what is asked for."""
        known = self.kept.done(self.job)
        return {
            key
            for setup in setups(self.asked)
            for key in (setup.key(file.sha256) for file in self.files)
            if key in known
        }

    def remaining(self, setup: Setup) -> list[PhoneFile]:
        known = self.done()
        return [file for file in self.files if setup.key(file.sha256) not in known]

    # With the app.

    def by_app(self) -> list[str]:
        """Returns what could not be measured."""
        self._patiently(self._require_app)
        if self.asked.again:
            self.kept.forget(self.job)
            self._patiently(lambda: self.phone.shell("run-as", self.asked.app, "rm", "-rf", _PLACE))
        left_out: list[str] = []
        with self._progress() as progress:
            self._fetch(progress)
            if len(self.done()) < self.total:
                data = self._push(progress)
                for setup in setups(self.asked):
                    left_out += self._measure(setup, data, progress)
        return left_out

    def _require_app(self) -> None:
        """Raises InputError with the command that mends it."""
        app, serial = self.asked.app, self.phone.serial
        install = (
            f"kerascnn android {shlex.quote(str(self.asked.sources[0]))} -o android_demo && "
            "cd android_demo && ./gradlew installDebug"
        )
        if "package:" not in self.phone.script(f"pm path {shlex.quote(app)} || true"):
            raise InputError(f"the app {app} is not on {serial}; install it: {install}")
        try:
            self.phone.shell("run-as", app, "true")
        except adb.Failed as refused:
            raise InputError(
                f"the app {app} on {serial} is not the debug build ({refused}), which alone is "
                f"measured by this command; install it: {install}"
            ) from None

    def _push(self, progress: Progress) -> str | None:
        """Send what the phone lacks; path of the labelled pictures there."""
        for file in self.files:
            progress.note(f"sending {file.name}")
            self._send(file.path, _on_phone(file))
        if self.labelled is None:
            return None
        target, folder = f"{adb.FOLDER}/{self.labelled.digest}.zip", self.labelled
        if self._patiently(lambda: self.phone.size(target)) is None:
            progress.note(f"sending {folder.folder}")
            with tempfile.TemporaryDirectory() as made:
                path = pathlib.Path(made) / "labelled.zip"
                folder.write(path)
                self._send(path, target)
        return target

    def _send(self, source: pathlib.Path, target: str) -> None:
        try:
            self._patiently(lambda: self.phone.push(source, target))
        except adb.Failed as refused:
            raise InputError(
                f"{self.phone.serial} does not take {source} ({refused}); make room there: "
                f"adb -s {self.phone.serial} shell rm -r {adb.FOLDER}"
            ) from None

    def _measure(self, setup: Setup, data: str | None, progress: Progress) -> list[str]:
        """All files of a setup that are left; one that ends the app is left out, the rest goes on.

        Returns what could not be measured, a line each.
        """
        problems: list[str] = []
        crashed: set[str] = set()
        while files := [one for one in self.remaining(setup) if one.sha256 not in crashed]:
            status = self._batch(setup, files, data, progress)
            if status["state"] == "done":
                return problems + self._problems(setup, status)
            if status["state"] != "running":
                raise Unfinished(f"the app left the screen of {self.phone.serial}")
            names = {file.sha256: file.name for file in files}
            culprit = str(status.get("file", ""))
            if culprit not in names:
                raise Unfinished(
                    f"the app ended on {self.phone.serial} before it measured: "
                    f"adb -s {self.phone.serial} logcat -d -s AndroidRuntime tflite says why"
                )
            crashed.add(culprit)
            problems.append(
                f"{names[culprit]} on {setup.label}: the app ended while it was measured"
            )
        return problems

    def _problems(self, setup: Setup, status: dict[str, Any]) -> list[str]:
        """What the app said of files, a line each; those that came damaged are sent again later."""
        notes, damaged = (_list(status.get(name)) for name in ("notes", "damaged"))
        lines = [f"{setup.label}: {' '.join(str(note).split())}" for note in notes]
        for file in self.files:
            if file.sha256 in damaged:
                self._patiently(functools.partial(self.phone.shell, "rm", "-f", _on_phone(file)))
                lines.append(f"{file.name} came to the phone damaged; repeat the command")
        return lines

    def _batch(
        self, setup: Setup, files: Sequence[PhoneFile], data: str | None, progress: Progress
    ) -> dict[str, Any]:
        """Start, or find at work, and follow to the end; what the app said last."""
        keys = "".join(sorted(file.sha256 for file in files))
        batch = f"{self.job}|{setup}|{keys}"
        name = hashlib.sha256(batch.encode()).hexdigest()[:16]
        status = self._status(name)
        # Two calls of the command are one: who is at work already goes on.
        if status is None or status["state"] != "running" or not self._is_alive():
            self._patiently(lambda: self._start(name, setup, files, data))
            status = self._begun(name)
        while status["state"] == "running":
            progress.note(f"{setup.label}: {status.get('text', '')}")
            self.pause(_SECONDS_BETWEEN_LOOKS)
            alive = self._is_alive()
            # Looked at after that: what ended in between is not taken for a crash.
            status = self._status(name) or status
            self._fetch(progress)
            if not alive and status["state"] == "running":
                return status
        self._fetch(progress)
        return status

    def _start(self, name: str, setup: Setup, files: Sequence[PhoneFile], data: str | None) -> None:
        extras = [
            *("--es", "batch", name, "--es", "job", self.job),
            *("--esa", "files", ",".join(_on_phone(file) for file in files)),
            *("--ei", "threads", str(setup.threads), "--ez", "gpu", str(setup.gpu).lower()),
            *("--ei", "seconds", str(self.asked.seconds)),
            *(("--es", "labelled", data) if data else ()),
        ]
        app = self.asked.app
        # What an earlier start said last must not be taken for this one's word.
        self.phone.shell("am", "force-stop", app)
        self.phone.shell("run-as", app, "rm", "-f", _STATUS)
        self.phone.script("input keyevent KEYCODE_WAKEUP || true")
        line = shlex.join(["am", "start", "-n", f"{app}/{_ACTIVITY}", *extras])
        said = self.phone.script(f"{line} 2>&1 || true")
        if "does not exist" in said:
            raise InputError(
                f"the app {app} on {self.phone.serial} is of an earlier version; make a "
                "new copy and install it: kerascnn android RUN -o NEW && cd NEW && "
                "./gradlew installDebug"
            )
        if "Error" in said:
            raise Unfinished(f"the app does not start: {' '.join(said.split())}")

    def _begun(self, name: str) -> dict[str, Any]:
        for _ in range(_LOOKS_FOR_THE_START):
            if status := self._status(name):
                return status
            self.pause(1)
        raise Unfinished(
            f"the app did not begin; unlock {self.phone.serial} and look at its screen"
        )

    def _status(self, batch: str) -> dict[str, Any] | None:
        """What the app said last of a batch; None where that was of another one."""
        try:
            text = self._patiently(
                lambda: self.phone.shell("run-as", self.asked.app, "cat", _STATUS)
            )
            status = json.loads(text)
        except (adb.Failed, ValueError):
            return None
        if not isinstance(status, dict) or status.get("batch") != batch or "state" not in status:
            return None
        return status

    def _is_alive(self) -> bool:
        line = f"pidof {shlex.quote(self.asked.app)} || true"
        return bool(self._patiently(lambda: self.phone.script(line)).strip())

    def _fetch(self, progress: Progress) -> None:
        """Take over the rows that the phone has of this job, and count them."""
        before = len(self.done())
        place = f"{_PLACE}/{self.job}"
        text = self._patiently(
            lambda: self.phone.shell(
                "run-as", self.asked.app, "sh", "-c", f"cat {place}/*.csv 2>/dev/null || true"
            )
        )
        known, names = self.done(), {file.sha256: file for file in self.files}
        rows = [row for row in _rows(text) if row["sha256"] in names and _key(row) not in known]
        for row in rows:
            row[_JOB] = self.job
            row["file"] = names[row["sha256"]].path.name
        if rows:
            self.kept.add(rows)
        if more := len(self.done()) - before:
            self.new += more
            progress.step(more)

    # With Google's tool.

    def by_tool(self) -> list[str]:
        """Returns what could not be measured."""
        path = self.asked.benchmark_model
        assert path is not None
        if self.asked.again:
            self.kept.forget(self.job)
        left_out: list[str] = []
        tool = f"{adb.FOLDER}/{atomic.sha256(path)}"
        with self._progress() as progress:
            if len(self.done()) < self.total:
                self._push(progress)
                self._send(path, tool)
                self._patiently(lambda: self.phone.shell("chmod", "755", tool))
            for setup in setups(self.asked):
                for file in self.remaining(setup):
                    progress.note(f"{setup.label}: {file.name}")
                    try:
                        self._by_tool(tool, file, setup)
                    except adb.Failed as failed:
                        left_out.append(f"{file.name} on {setup.label}: benchmark_model: {failed}")
                        continue
                    self.new += 1
                    progress.step()
        return left_out

    def _by_tool(self, tool: str, file: PhoneFile, setup: Setup) -> None:
        asked = self.asked
        timing = self._patiently(
            lambda: native_benchmark.run(
                self.phone, tool, _on_phone(file),
                threads=setup.threads, gpu=setup.gpu, seconds=asked.seconds,
            )
        )  # fmt: skip
        metadata = read_description(file.path)
        row = {
            "model": metadata["model"], "variant": metadata["variant"], "format": "tflite",
            "bytes": file.path.stat().st_size, "sha256": file.sha256, "file": file.path.name,
            "latency_ms": _number(timing.median_ms or timing.mean_ms),
            "latency_p95_ms": _number(timing.p95_ms), "init_ms": _number(timing.init_ms),
            "runs": timing.runs or "", "threads": setup.threads,
            "accelerator": setup.accelerator, "accelerator_used": timing.used,
            "runtime": BY_TOOL, _JOB: self.job, **self._patiently(self._of_phone),
        }  # fmt: skip
        self.kept.add([{name: str(row.get(name, "")) for name in (*COLUMNS, _JOB)}])

    def _of_phone(self) -> dict[str, str]:
        """What the app's rows say of a phone; its name tells them from these."""
        get = self.phone.property
        soc = f"{get('ro.soc.manufacturer')} {get('ro.soc.model')}".strip() or get("ro.hardware")
        device = f"{get('ro.product.manufacturer')} {get('ro.product.model')}"
        release = get("ro.build.version.release")
        return {"device": f"{device}, benchmark_model", "android": release, "soc": soc}

    # A cable.

    def _progress(self) -> Progress:
        done = len(self.done())
        return Progress("phone", self.total, done=done, unit="measurement")

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """Ask the phone; where it goes away, wait until it is back, and ask again.

        Raises:
            adb.Lost: it does not come back.
        """
        while True:
            try:
                return ask()
            except adb.Lost as lost:
                say(f"phone: {self.phone.serial} is gone ({lost}); waiting for it to come back")
                self._wait(lost)

    def _wait(self, lost: adb.Lost) -> None:
        for _ in range(_SECONDS_FOR_THE_CABLE):
            self.pause(1)
            if self.phone.is_there:
                return
        raise adb.Lost(f"{self.phone.serial} is gone ({lost}); plug it in again")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _on_phone(file: PhoneFile) -> str:
    return f"{adb.FOLDER}/{file.sha256}.tflite"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _rows(text: str) -> Iterator[dict[str, str]]:
    """Of several tables of the app, one behind the other; what is no whole row is left out."""
    head: list[str] = []
    for cells in csv.reader(io.StringIO(text, newline="")):
        if "sha256" in cells and "latency_ms" in cells:
            head = cells
        elif head and len(cells) == len(head):
            row = dict(zip(head, cells, strict=True))
            if re.fullmatch("[0-9a-f]{64}", row.get("sha256", "")):
                yield {name: row.get(name, "") for name in COLUMNS}
