"""How often a data set is scanned while files are made and compared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from export.compress.compress import compress
from export.report.compare import compare
from training.common import once
from training.engine.run import Run


def scans_of_commands(
    run: Run, folder: Path, patch: pytest.MonkeyPatch, owner: Any, scan: str
) -> list[int]:
    """Scans of a compression with its report, and of a comparison of two runs.

    Args:
        owner, scan: where the function that scans is looked up.
    """
    first, second = (folder / name / run.folder.name for name in "ab")
    shutil.copytree(run.folder, first, ignore=shutil.ignore_patterns("artefacts"))
    original, scanned = getattr(owner, scan), []

    def counting(*args: Any, **named: Any) -> Any:
        scanned.append(args)
        return original(*args, **named)

    patch.setattr(owner, scan, counting)
    with once.scope():  # as the command
        compress(Run.open(first), ["float32"])  # and the ONNX file
        compare([Run.open(first)], folder)
    of_compress = len(scanned)
    shutil.copytree(first, second)
    compare([Run.open(first), Run.open(second)], folder)
    return [of_compress, len(scanned) - of_compress]
