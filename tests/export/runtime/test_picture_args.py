"""The pictures that a command line names."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.runtime.picture_args import named
from kerascnn.errors import InputError


def test_folders_are_read_as_data_sets_are(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    for place in (
        root / "b.jpg", root / "a" / "c.PNG", root / "notes.txt", elsewhere / "d.webp",
        root / "@eaDir" / "b.jpg", root / ".thumbs" / "b.jpg", root / "._b.jpg",
    ):  # fmt: skip
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    (root / "linked").symlink_to(elsewhere)
    (root / "linked again").symlink_to(elsewhere)
    found = named([str(root)])
    assert list(found.values()) == ["a/c.PNG", "b.jpg", "linked/d.webp"]
    assert all(Path(path).is_file() for path in found)
    with pytest.raises(InputError, match="has no images"):
        named([str(root / "@eaDir" / "empty"), str(_empty(tmp_path))])


def _empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"
