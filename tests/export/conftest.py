from __future__ import annotations

from pathlib import Path

import pytest

from training.engine.request import request
from training.engine.run import Run
from training.engine.train import train


@pytest.fixture(scope="session")
def lenet_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A real, short training: three epochs of LeNet-5 on the embedded digits."""
    folder: Path = tmp_path_factory.mktemp("runs") / "lenet5"
    return train(request("lenet5", data="mnist", epochs=3), folder)
