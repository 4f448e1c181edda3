"""TensorBoard's scalars, an epoch at a time, in a log that an interrupted run goes on with.

Runs and tags are those of Keras' own callback: `train` and `validation`, epoch_loss,
epoch_accuracy, epoch_learning_rate; a step is an epoch, counted from 1, and metrics are in percent,
as in history.csv. Event files are written by those parts of the tensorboard package that need no
TensorFlow: `tensorboard.summary.Writer` imports it where it is installed, which a run under another
backend should not wait for.
"""

from __future__ import annotations

import io
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub import errors
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.summary.writer.record_writer import RecordWriter

from training.common import atomic

_RUNS = ("train", "validation")
_SIGN = "tfevents"  # what TensorBoard knows event files by
_VALIDATION = "val_"


class TensorBoardLog:
    """Scalars of every epoch, each once, whatever was killed before.

    A folder that holds a log already is brought to what `history` says: epochs that it lacks are
    written, those that it has beyond (of a checkpoint that was lost) are gone. TensorBoard may be
    looking on.
    """

    def __init__(self, folder: pathlib.Path, history: Sequence[Mapping[str, float]] = ()) -> None:
        """Open a log, and put the epochs so far into it.

        Args:
            folder: for this log alone; holds `train/` and `validation/`.
            history: a row an epoch, as `epoch` takes them.
        """
        self._folder = folder
        # TensorBoard reads files in the order of their names, and a new one must be the last.
        self._number = max([int(time.time()), *(_number(old) + 1 for old in self._files())])
        for run in _RUNS:
            old = self._files(run)
            times = dict(item for path in old for item in _times(path).items())
            rows = [(int(row["epoch"]), scalars) for row in history if (scalars := _of(run, row))]
            if rows:
                self._begin(run, [_event(n, scalars, times.get(n)) for n, scalars in rows])
            for path in old:
                path.unlink()

    def epoch(self, row: Mapping[str, float]) -> None:
        """Add an epoch.

        Args:
            row: "epoch", which is the step, and figures by name, those of validation images
                with "val_" before it.
        """
        for run in _RUNS:
            if not (scalars := _of(run, row)):
                continue
            event = _event(int(row["epoch"]), scalars)
            if not self._path(run).exists():
                self._begin(run, [event])
                continue
            # Not a new file: TensorBoard goes on reading where it was. A killed process leaves a
            # torn end at worst, which readers pass over and the next process replaces.
            with self._path(run).open("ab") as stream:
                stream.write(_records([event]))

    def _begin(self, run: str, events: Sequence[Event]) -> None:
        # At the start of a session a TensorBoard that looks on forgets what it knew of the run.
        start = SessionLog(status=SessionLog.START)
        head = [
            Event(wall_time=time.time(), file_version="brain.Event:2"),
            Event(wall_time=time.time(), step=0, session_log=start),
        ]
        atomic.write_bytes(self._path(run), _records([*head, *events]))

    def _path(self, run: str) -> pathlib.Path:
        return self._folder / run / f"events.out.{_SIGN}.{self._number:010d}.kerascnn"

    def _files(self, *runs: str) -> list[pathlib.Path]:
        """Event files in the order of their names, left-over temporary ones too."""
        return [
            path
            for run in runs or _RUNS
            for path in sorted((self._folder / run).glob(f"*{_SIGN}*"))
        ]


def _of(run: str, row: Mapping[str, float]) -> dict[str, float]:
    """A run's share of a row, by tag."""
    validation = run == "validation"
    return {
        f"epoch_{name.removeprefix(_VALIDATION)}": value
        for name, value in row.items()
        if name != "epoch" and name.startswith(_VALIDATION) == validation
    }


def _event(step: int, scalars: Mapping[str, float], when: float | None = None) -> Event:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
    when = time.time() if when is None else when
    return Event(wall_time=when, step=step, summary=Summary(value=values))


def _records(events: Iterable[Event]) -> bytes:
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for event in events:
        writer.write(event.SerializeToString())
    return stream.getvalue()


def _times(path: pathlib.Path) -> dict[int, float]:
    """When each step of a file was logged, as far as the file is whole."""
    times: dict[int, float] = {}
    reader = PyRecordReader_New(str(path))
    try:
        while True:
            reader.GetNext()
            event = Event.FromString(reader.record())
            if event.HasField("summary"):
                times.setdefault(event.step, event.wall_time)
    except (errors.OutOfRangeError, errors.DataLossError):
        return times


def _number(path: pathlib.Path) -> int:
    """What an event file's name counts by, 0 where it is none of ours."""
    part = path.name.partition(f"{_SIGN}.")[2].split(".")[0]
    return int(part) if part.isdecimal() else 0
