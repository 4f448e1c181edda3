from __future__ import annotations

import threading

import pytest

from training.common import progress
from training.common.progress import Progress, busy
from training.engine.opening import opening_line


def test_work_that_only_counts_breaks_its_silence_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("checking", 3, unit="file") as some:
        some.step()
    assert capsys.readouterr().err == ""  # there was no silence yet
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", -1.0)
    with Progress("checking", 3, unit="file") as some:
        some.step()
        some.step(2)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("checking: 1/3 files")
    assert second == "checking: 3/3 files"


def test_nobody_needs_to_know_how_much_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", -1.0)
    with Progress("listing", None, unit="file") as some:
        some.step(12)
        some.note("a/")
    assert capsys.readouterr().err == "listing: 12 files\n"
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    with Progress("listing", None, unit="file") as some:
        some.note("a/")
    assert capsys.readouterr().err == "listing: 0 files, a/\n"


def test_what_cannot_be_counted_says_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = threading.Event()
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", 0.0)
    monkeypatch.setattr(progress, "say", lambda text: (print(text), said.set()))
    with busy("reading coco.json"):
        assert said.wait(60)
    assert capsys.readouterr().out.startswith("reading coco.json: 00:00 so far\n")


def test_the_opening_line() -> None:
    assert opening_line(train=540, validation=60, held_out=1500, classes=12) == (
        "540 images to learn from, 60 to choose the epoch, 1,500 held out; 12 classes"
    )
    assert opening_line(train=1, validation=0, held_out=1, classes=1) == (
        "1 image to learn from, none to choose the epoch, 1 held out; 1 class"
    )
