from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from training.engine.request import request
from training.engine.run import Run
from training.engine.train import train


@pytest.fixture(scope="session")
def lenet_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A real, short training: three epochs of LeNet-5 on the embedded digits.

    The first worker that asks for it trains it; each has a copy, as files are put beside it.
    """
    root = tmp_path_factory.getbasetemp()
    shared = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with (shared / "lenet5.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = train(request("lenet5", data="mnist", epochs=3), shared / "lenet5")
    folder: Path = tmp_path_factory.mktemp("runs") / "lenet5"
    shutil.copytree(whole.folder, folder)
    return Run.open(folder)
