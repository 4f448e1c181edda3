"""The notebooks of docs/notebooks run from front to end, at a tiny size.

A cell tagged "parameters" holds what a reader may change; the test puts one of its own behind it.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from marks import IN_CI

FOLDER = Path(__file__).parents[1] / "docs/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TINY = {
    "classifier_to_phone": {
        "MODEL": "lenet5",
        "EPOCHS": 1,
        "VARIANTS": ["float32", "int8"],
    },
    "detector_to_phone": {
        "MODEL": "ssdlite_mobilenet_v3_small",
        "WEIGHTS": None,
        "DATA": "scenes:96@32+8",
        "IMAGE_SIZE": 96,
        "EPOCHS": 1,
        "OPTIONS": {"alpha": 0.25},
        "VARIANTS": ["int8"],
    },
}

nbformat = pytest.importorskip("nbformat", reason="the extra `docs` is not installed")


def read(path: Path):
    return nbformat.read(path, as_version=4)


def test_every_notebook_has_a_tiny_size() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(TINY)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells if cell.outputs or cell.execution_count] == []


def with_parameters(path: Path, values: Mapping[str, Any]):
    """The notebook, with a cell of other parameters behind its own."""
    notebook = read(path)
    [place] = [
        i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])
    ]
    written = ast.walk(ast.parse(notebook.cells[place].source))
    known = {node.id for node in written if isinstance(node, ast.Name)}
    assert set(values) <= known  # or a parameter of another name would keep its full size
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_their_parameters_are_known(path: Path) -> None:
    assert with_parameters(path, TINY[path.stem])


@IN_CI
def test_cells_of_the_classifiers_are_python_that_runs(
    trained_lenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within this process, and on a run that is trained: `train` returns it."""
    pytest.importorskip("IPython", reason="the extra `docs` is not installed")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained_lenet, tmp_path / "run")
    values = {**TINY["classifier_to_phone"], "EPOCHS": 3, "OUT": "run"}
    there: dict[str, Any] = {}
    for cell in with_parameters(FOLDER / "classifier_to_phone.ipynb", values).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "<cell>", "exec"), there)  # noqa: S102  (our own)
    assert there["run"].metrics["held_out"] > 80
    assert {row["variant"] for row in there["rows"]} == {"float32", "int8"}


@IN_CI  # minutes: a kernel of its own, a training, and an SSDLite's conversion
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the extra `docs` is not installed")
    notebook = with_parameters(path, TINY[path.stem])
    # Commands of this environment, of whatever the kernel was started by.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]), prepend=os.pathsep)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=None, resources=resources).execute()
