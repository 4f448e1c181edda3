"""The demo's second act, without its long part: photos, and what files call them."""

from __future__ import annotations

from pathlib import Path

import known_files
import numpy as np
from PIL import Image

from export.tools import demo_photos


def test_photos_are_measured_that_no_file_was_made_with(tmp_path: Path) -> None:
    assert not set(demo_photos._MEASURED) & set(demo_photos._CALIBRATED)
    assert set(demo_photos._SHOWN) <= set(demo_photos._MEASURED)
    demo_photos.write_crops(demo_photos._MEASURED, tmp_path / "a", part=1, count=9)
    found = sorted((tmp_path / "a").iterdir())
    assert len(found) == 9
    for path in found:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((256, 256), "RGB")
    before = [path.read_bytes() for path in found]
    found[0].unlink()  # as after an interruption
    demo_photos.write_crops(demo_photos._MEASURED, tmp_path / "a", part=1, count=9)
    assert [path.read_bytes() for path in found] == before


def test_each_file_names_each_photo(tmp_path: Path) -> None:
    files = known_files.files(tmp_path / "files", "classification")
    for name, value in (("night", 0), ("noon", 250)):
        Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    found = demo_photos.named(files, [tmp_path / "night.png", tmp_path / "noon.png"])
    assert found.files == ("model", "model")
    assert [photo.name for photo in found.photos] == ["night", "noon"]
    for photo, label in zip(found.photos, ("dark", "bright"), strict=True):
        assert [each[0] for each in photo.labels] == [label, label]
        assert photo.picture.shape == (8, 8, 3)
    lines = demo_photos.as_text(found).splitlines()
    assert [*filter(None, lines[2].split("  "))] == [
        *("photo", f"model, {found.sizes[0]}", f"model, {found.sizes[1]}")
    ]
    assert lines[4].startswith("night  dark 100%")
    told = demo_photos.as_json(found)
    assert [one["photo"] for one in told] == ["night", "noon"]
    assert told[1]["labels"]["model"]["label"] == "bright"
