"""What every task's kind of file says before a framework is loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from export.artefacts.kinds import base as kinds
from export.artefacts.variants import parse_variant
from kerascnn.errors import InputError
from training import tasks

INFO: Mapping[str, Any] = {"request": {}, "detector": {"stages": 1}}


@pytest.mark.parametrize("task", tasks.names())
def test_every_task_has_a_kind_of_file(task: str) -> None:
    kind = kinds.of(task)
    assert tasks.of(task).metric.name in kind.metrics
    assert all(kinds.of_metric(metric) is kind for metric in kind.metrics)
    for name in kind.default(INFO):
        kind.check(parse_variant(name), INFO)


def test_two_stage_detectors_have_fewer_files() -> None:
    kind, info = kinds.of("detection"), {"detector": {"stages": 2}, "request": {}}
    assert set(kind.default(info)) < set(kind.default(INFO)) | {"weight_int8"}
    kind.check(parse_variant("int8"), INFO)
    kind.check(parse_variant("int8"), info)
    with pytest.raises(InputError, match="moves the regions"):
        kind.check(parse_variant("mixed"), info)


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(InputError, match="no files are made for regression yet"):
        kinds.of("regression")
    with pytest.raises(InputError, match="no file is judged by 'bleu'"):
        kinds.of_metric("bleu")


class Regression(kinds.Kind):
    """Of a task that a test adds."""

    metrics = ("error",)

    def check(self, variant: Any, info: Mapping[str, Any]) -> None:
        """All."""

    def answers(self, evaluation: Mapping[str, Any]) -> tuple[Any, Any]:
        """Two numbers."""
        return evaluation["float_value"], evaluation["value"]

    def drop_interval(self, before: Any, after: Any) -> tuple[float, float]:
        """A point."""
        return before - after, before - after

    def below_floor(self, evaluation: Mapping[str, Any], classes: int) -> None:
        """Never."""

    def keras_figure(self, results: Mapping[str, Any]) -> str:
        """The error."""
        return f"error {results['held_out']:.1f}%"


def test_a_new_task_brings_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_new_task", sys.modules[__name__])
    kinds.register("regression", "a_new_task:Regression")
    try:
        assert isinstance(kinds.of_metric("error"), Regression)
        assert kinds.of("regression").drop_interval(5.0, 4.0) == (1.0, 1.0)
    finally:
        kinds.unregister("regression")
