"""TensorBoard's log has every epoch once, whatever was killed before."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.tensorflow_stub import errors
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from training.engine.tensorboard_log import TensorBoardLog

Series = dict[str, list[tuple[int, float]]]


def row(epoch: int, *, validation: bool = True) -> dict[str, float]:
    figures = {"epoch": float(epoch), "learning_rate": 0.5**epoch, "loss": 1 / epoch}
    figures["accuracy"] = epoch / 16
    if validation:
        figures |= {"val_loss": 2 / epoch, "val_accuracy": epoch / 32}
    return figures


def files(folder: Path, run: str) -> list[Path]:
    return sorted((folder / run).iterdir()) if (folder / run).exists() else []


def events(folder: Path, run: str) -> list[Event]:
    """Of all files, in order; torn ends are passed over."""
    found = []
    for path in files(folder, run):
        reader = PyRecordReader_New(str(path))
        while True:
            try:
                reader.GetNext()
            except (errors.OutOfRangeError, errors.DataLossError):
                break
            found.append(Event.FromString(reader.record()))
    return found


def series(folder: Path, run: str) -> Series:
    found: Series = {}
    for event in events(folder, run):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def steps(folder: Path, run: str = "train") -> list[int]:
    return [step for step, _value in series(folder, run).get("epoch_loss", [])]


def test_tags_and_runs_are_those_of_keras(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.epoch(row(1))
    log.epoch(row(2))
    assert series(tmp_path, "train") == {
        "epoch_learning_rate": [(1, 0.5), (2, 0.25)],
        "epoch_loss": [(1, 1.0), (2, 0.5)],
        "epoch_accuracy": [(1, 0.0625), (2, 0.125)],
    }
    assert series(tmp_path, "validation") == {
        "epoch_loss": [(1, 2.0), (2, 1.0)],
        "epoch_accuracy": [(1, 0.03125), (2, 0.0625)],
    }


def test_tensorboard_itself_reads_it(tmp_path: Path) -> None:
    TensorBoardLog(tmp_path, [row(1), row(2)]).epoch(row(3))
    reader = EventAccumulator(str(tmp_path / "validation"))
    reader.Reload()
    assert reader.Tags()["scalars"] == ["epoch_loss", "epoch_accuracy"]
    read = [(point.step, point.value) for point in reader.Scalars("epoch_loss")]
    assert read == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="TensorBoard's slow reader stops at a deleted file where there is no TensorFlow",
)
def test_tensorboard_that_looks_on_sees_every_epoch_once(tmp_path: Path) -> None:
    TensorBoardLog(tmp_path).epoch(row(1))
    reader = EventAccumulator(str(tmp_path / "train"))
    reader.Reload()
    # The process was killed after two epochs, and the checkpoint has one.
    log = TensorBoardLog(tmp_path, [row(1)])
    log.epoch(row(2))
    reader.Reload()
    assert [point.step for point in reader.Scalars("epoch_loss")] == [1, 2]
    log.epoch(row(3))
    reader.Reload()
    assert [point.step for point in reader.Scalars("epoch_loss")] == [1, 2, 3]


def test_epochs_after_the_checkpoint_are_gone(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    for epoch in (1, 2, 3):
        log.epoch(row(epoch))
    log = TensorBoardLog(tmp_path, [row(1)])
    assert steps(tmp_path) == steps(tmp_path, "validation") == [1]
    log.epoch(row(2))
    assert steps(tmp_path) == [1, 2]
    assert len(files(tmp_path, "train")) == len(files(tmp_path, "validation")) == 1


def test_epochs_that_the_log_missed_are_written(tmp_path: Path) -> None:
    TensorBoardLog(tmp_path).epoch(row(1))
    TensorBoardLog(tmp_path, [row(1), row(2)])
    assert steps(tmp_path) == [1, 2]
    TensorBoardLog(tmp_path)
    assert steps(tmp_path) == []


@pytest.mark.parametrize("kept", [1, 9, 40, -1])
def test_torn_end_is_replaced(tmp_path: Path, kept: int) -> None:
    log = TensorBoardLog(tmp_path)
    log.epoch(row(1))
    (path,) = files(tmp_path, "train")
    whole = path.stat().st_size
    log.epoch(row(2))
    data = path.read_bytes()
    torn = data[: whole + kept] if kept > 0 else data[:kept]
    path.write_bytes(torn)
    assert steps(tmp_path) == [1]
    TensorBoardLog(tmp_path, [row(1)]).epoch(row(2))
    assert steps(tmp_path) == [1, 2]


def test_killed_between_new_file_and_old_ones(tmp_path: Path) -> None:
    TensorBoardLog(tmp_path).epoch(row(1))
    (path,) = files(tmp_path, "train")
    path.with_name("events.out.tfevents.0000000001.kerascnn").write_bytes(path.read_bytes())
    path.with_name(".partial-" + path.name).write_bytes(path.read_bytes()[:50])
    TensorBoardLog(tmp_path, [row(1)]).epoch(row(2))
    assert steps(tmp_path) == [1, 2]
    assert len(files(tmp_path, "train")) == 1


def test_killed_process_leaves_its_epochs(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys\n"
        "from training.engine.tensorboard_log import TensorBoardLog\n"
        "log = TensorBoardLog(pathlib.Path(sys.argv[1]))\n"
        "log.epoch({'epoch': 1.0, 'loss': 1.0})\n"
        "log.epoch({'epoch': 2.0, 'loss': 0.5})\n"
        "assert 'tensorflow' not in sys.modules\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    TensorBoardLog(tmp_path, [row(1), row(2)]).epoch(row(3))
    assert steps(tmp_path) == [1, 2, 3]


def test_new_file_comes_last_and_begins_a_session(tmp_path: Path) -> None:
    TensorBoardLog(tmp_path).epoch(row(1))
    (path,) = files(tmp_path, "train")
    later = path.with_name("events.out.tfevents.4000000000.host.1")  # of a clock that was wrong
    path.rename(later)
    TensorBoardLog(tmp_path, [row(1)])
    (new,) = files(tmp_path, "train")
    assert new.name > later.name
    assert [e.session_log.status for e in events(tmp_path, "train")][1] == SessionLog.START


def test_epochs_keep_the_time_at_which_they_were_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1_000, 100_000, 1_000))
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    log = TensorBoardLog(tmp_path)
    log.epoch(row(1))
    log.epoch(row(2))
    before = [e.wall_time for e in events(tmp_path, "train") if e.summary.value]
    assert before[0] < before[1]
    TensorBoardLog(tmp_path, [row(1), row(2)])
    assert [e.wall_time for e in events(tmp_path, "train") if e.summary.value] == before


def test_no_validation_no_run_for_it(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, [row(1, validation=False)])
    log.epoch(row(2, validation=False))
    assert steps(tmp_path) == [1, 2]
    assert not (tmp_path / "validation").exists()
