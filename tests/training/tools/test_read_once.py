"""Commands that ask of a table what it is read it no second time for its images."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import small_sets
from commands import assert_refused, here

from kerascnn.errors import InputError
from training.datasets import delimited
from training.engine import dataset_of_request as of_request
from training.engine.request import TrainRequest


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve images with a label each."""
    root = small_sets.class_folders(tmp_path / "data", 12)
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    return root / "labels.csv"


@pytest.mark.parametrize("name", ["find-lr", "bench-data"])
def test_a_table_is_read_once(name: str, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = delimited.read, []

    def counted(path: Path) -> delimited.Delimited:
        seen.append(path)
        return read(path)

    def work(request: TrainRequest, *_arguments: Any, **_how: Any) -> None:
        raise InputError(f"{len(of_request.dataset_of(request).train)} images")

    monkeypatch.setattr(delimited, "read", counted)
    function = {"find-lr": "range_test", "bench-data": "bench_data"}[name]
    module = importlib.import_module(f"training.tools.{function}")
    monkeypatch.setattr(module, function, work)
    assert_refused(here(name, "mobilenet_v2", "--data", table), " images")
    assert len(seen) == 1
