from __future__ import annotations

import ctypes
import fcntl
import gc
import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from backends import Backends

if TYPE_CHECKING:
    from training.engine.run import Run

_NUMBERS = itertools.count()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Garbage is not looked for while tests and frameworks are imported, nor in what they hold."""
    gc.disable()
    try:
        return (yield)
    finally:
        _let_rest()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Nor, once a file of tests has ended, in what it left to caches."""
    yield
    if nextitem is None or nextitem.path != item.path:
        _let_rest(again=item.get_closest_marker("slow") is not None)


def _let_rest(*, again: bool = False) -> None:
    if again:  # networks of the zoo that were in use when another file of tests ended
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.collect()  # of nothing: the next one comes when there is a quarter more than this one left


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(_caches):
    """What is found in data sets is kept for the tests alone, and not in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASCNN_CACHE", str(_caches / "session"))
        patch.delenv("KERASCNN_HOME", raising=False)
        patch.delenv("KERASCNN_MIRROR", raising=False)
        patch.setenv("KERASCNN_OFFLINE", "1")  # no test downloads weights
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks() -> Iterator[None]:
    """No test ends in a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _file: None)
        yield


@pytest.fixture(autouse=True)
def _own_cache(_caches, _no_cache_of_the_user):
    """No test sees what another one kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASCNN_CACHE", str(_caches / str(next(_NUMBERS))))
        yield


@pytest.fixture(autouse=True)
def _free_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """The whole zoo passes through two processes: each network goes before the next one comes."""
    yield
    if request.node.get_closest_marker("slow"):
        gc.collect()  # a model and its traced functions refer to each other
        # What glibc keeps for the next network of this process is missing in the other one's.
        if sys.platform == "linux":
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture
def sized_alone() -> Iterator[None]:
    """Networks of a test have shapes and no values: to draw those takes most of the time."""
    from training.engine.keras_files import without_values

    with without_values():
        yield


@pytest.fixture
def half_precision() -> Iterator[None]:
    """Networks that the test builds compute in float16."""
    import keras  # not for the tests that need no framework

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture(scope="session")
def on_backend() -> Iterator[Backends]:
    """`on_backend("jax", script, *arguments)` runs a script under another backend of Keras."""
    backends = Backends()
    yield backends
    backends.close()


@pytest.fixture(scope="session")
def trained_lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, short training: three epochs of LeNet-5 on the embedded digits; to be copied.

    The first worker that asks for it trains it.
    """
    from training.engine.request import request
    from training.engine.train import train

    root = tmp_path_factory.getbasetemp()
    shared = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with (shared / "lenet5.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return train(request("lenet5", data="mnist", epochs=3), shared / "lenet5").folder


@pytest.fixture(scope="session")
def lenet_run(trained_lenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The worker's own copy, beside which its tests put files."""
    from training.engine.run import Run

    folder = tmp_path_factory.mktemp("runs") / "lenet5"
    return Run.open(shutil.copytree(trained_lenet, folder))
