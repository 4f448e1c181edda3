from __future__ import annotations

import ctypes
import gc
import itertools
import sys
from collections.abc import Iterator

import pytest
from backends import Backends

_NUMBERS = itertools.count()


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
