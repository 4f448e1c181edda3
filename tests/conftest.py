from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """What is found in data sets is kept for the tests alone, and not in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASCNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
