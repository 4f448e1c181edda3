"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from training.common.wording import counted


@pytest.mark.parametrize(
    ("count", "noun", "told"),
    [
        (0, "image", "0 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (1_000, "box", "1,000 boxes"),
        (3, "category", "3 categories"),
        (2, "day", "2 days"),
        (2, "batch", "2 batches"),
    ],
)
def test_counted(count: int, noun: str, told: str) -> None:
    assert counted(count, noun) == told
    assert counted(2, "pixel that counts", "pixels that count") == "2 pixels that count"
