"""`kerascnn predict`: the images it takes, how it skips a broken one, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import here
from PIL import Image

from export.artefacts import artefact
from export.runtime import load as runtimes
from export.runtime import predict as predicting
from export.runtime.model_facts import ModelFacts
from export.runtime.picture_args import named
from export.runtime.predict import Box, Boxes
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 128, np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.png", "sub/a.png", ".hidden/c.png"):
        picture(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def test_folders_give_their_pictures_by_their_path_within(photos: Path) -> None:
    alone = str(picture(photos.parent / "alone.png"))
    assert named([str(photos), alone, "gone.png"]) == {
        str(photos / "b.png"): "b.png",
        str(photos / "sub" / "a.png"): "sub/a.png",
        alone: alone,
        "gone.png": "gone.png",
    }


def test_nothing_to_look_at_is_refused(photos: Path) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no images \(.bmp .jpeg .jpg .png .webp\)"):
        named([str(photos / "empty")])
    with pytest.raises(InputError, match=r"gone.png: no such image"):
        named(["gone.png", "gone too.png"])


def test_a_broken_picture_is_skipped_and_the_exit_code_is_2(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sure:
        def predict(self, pictures: np.ndarray) -> np.ndarray:
            return np.array([[0.0, 9.0]] * len(pictures), np.float32)

    described = ModelFacts(
        task="classification",
        preprocessing=Preprocessing(height=8, width=8, channels=3, mean=0.0, std=1.0),
        labels=("cat", "dog"),
    )
    monkeypatch.setattr(artefact, "require_description", lambda _path: None)
    for name in ("facts", "declared"):
        monkeypatch.setattr(predicting, name, lambda _path: described)
    monkeypatch.setattr(runtimes, "load", lambda *_arguments: Sure())
    (photos / "a.png").write_text("no picture")
    file = photos.parent / "model.tflite"
    file.write_text("")
    done = here("predict", file, photos)
    assert done.returncode == 2
    paths = [str(photos / "b.png"), str(photos / "sub" / "a.png")]
    assert done.stdout.splitlines() == [f"{path}: dog 100.0%" for path in paths]
    warning, last = done.stderr.splitlines()
    assert warning.startswith(f"kerascnn: warning: {photos / 'a.png'} is not a readable")
    assert last == "kerascnn: 1 image of 3 could not be read, see above"
    alone = here("predict", file, photos / "a.png").stderr.splitlines()
    assert len(alone) == 1
    assert alone[0].startswith(f"kerascnn: {photos / 'a.png'} is not a readable")
    found = json.loads(here("predict", file, photos, "--json").stdout)
    assert [row["image"] for row in found] == paths
    assert here("predict", file, photos / "b.png").returncode == 0


def test_drawings_do_not_go_into_a_file(photos: Path) -> None:
    file, taken = photos.parent / "model.tflite", photos.parent / "mk.py"
    taken.write_text("")
    for folder in (taken, taken / "drawn"):
        with pytest.raises(InputError, match=r"mk\.py is a file; give a folder"):
            predicting.answers(file, [str(photos / "b.png")], folder=folder)


def boxes(count: int) -> Boxes:
    return Boxes(
        image="street.jpg",
        objects=tuple(
            Box(label="car", score=0.9 - 0.005 * i, top=1, left=2, bottom=3, right=4.4)
            for i in range(count)
        ),
        drawn="out/street.png",
    )


def test_objects_are_listed_line_by_line_and_the_rest_counted() -> None:
    assert boxes(0).as_text() == "street.jpg: nothing found -> out/street.png"
    assert boxes(1).as_text().splitlines() == [
        "street.jpg: 1 object -> out/street.png",
        "  car 90% (2, 1)-(4, 3)",
    ]
    lines = boxes(100).as_text().splitlines()
    assert lines[0] == "street.jpg: 100 objects -> out/street.png"
    assert len(lines) == 12
    assert lines[-1] == "  and 90 more (scores 40% to 85%); --json lists them all"
    assert len(boxes(100).as_json()["objects"]) == 100
