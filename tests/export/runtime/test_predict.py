"""`kerascnn predict`: the images it takes, how it skips a broken one, and what it prints."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from commands import here
from PIL import Image
from pycocotools import mask as rle

from export.artefacts import artefact
from export.runtime import predict as predicting
from export.runtime import strangers, subjects
from export.runtime.answers import Area, Areas, Box, Boxes, Instance, Prediction, clock
from export.runtime.model_facts import ModelFacts
from export.runtime.picture_args import sources
from export.runtime.predictor import Found, Seen
from export.runtime.predictors import Classifier
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
    found = sources([str(photos), alone, "gone.png"])
    assert {one.path: one.name for one in found} == {
        str(photos / "b.png"): "b.png",
        str(photos / "sub" / "a.png"): "sub/a.png",
        alone: "alone.png",
        "gone.png": "gone.png",
    }


def test_nothing_to_look_at_is_refused(photos: Path) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no images \(.bmp .jpeg .jpg .png .webp\)"):
        sources([str(photos / "empty")])
    with pytest.raises(InputError, match=r"gone.png: no such image"):
        sources(["gone.png", "gone too.png"])


@pytest.fixture
def dogs(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says "dog" of every image."""

    class Sure:
        def predict(self, pictures: np.ndarray) -> np.ndarray:
            return np.array([[0.0, 9.0]] * len(pictures), np.float32)

    described = ModelFacts(
        task="classification",
        preprocessing=Preprocessing(height=8, width=8, channels=3, mean=0.0, std=1.0),
        labels=("cat", "dog"),
    )
    monkeypatch.setattr(artefact, "require_description", lambda _path: None)
    monkeypatch.setattr(strangers, "describes_itself", lambda _path: True)
    for name in ("facts", "declared"):
        monkeypatch.setattr(predicting, name, lambda _path: described)
    monkeypatch.setattr(subjects, "load", lambda *_arguments, **_options: Sure())
    file = photos.parent / "model.tflite"
    file.write_text("")
    return file


@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv"])
def test_ctrl_c_leaves_whole_output(
    form: str, dogs: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        picture(photos / f"{number:02d}.png")
    found, find = [], Classifier.find

    def interrupted(self: Classifier, seen: Seen) -> Found:
        found.append(seen)
        if len(found) == 3:
            signal.raise_signal(signal.SIGINT)
        return find(self, seen)

    monkeypatch.setattr(Classifier, "find", interrupted)
    table = photos.parent / "t.csv"
    done = here("predict", dogs, photos, form, *([table] if form == "--csv" else []))
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].startswith("kerascnn: interrupted; what was answered")
    whole = {
        "--json": lambda: json.loads(done.stdout),
        "--jsonl": lambda: [json.loads(line) for line in done.stdout.splitlines()],
        "--csv": lambda: table.read_text().splitlines()[1:],
    }
    assert len(whole[form]()) == 3


def test_a_broken_picture_is_skipped_and_the_exit_code_is_2(dogs: Path, photos: Path) -> None:
    file = dogs
    (photos / "a.png").write_text("no picture")
    done = here("predict", file, photos)
    assert done.returncode == 2
    paths = [str(photos / "b.png"), str(photos / "sub" / "a.png")]
    assert done.stdout.splitlines() == [f"{path}: dog 100.0%" for path in paths]
    warning, speed, last = done.stderr.splitlines()
    assert warning.startswith(f"kerascnn: warning: {photos / 'a.png'} is not a readable")
    assert speed.startswith("2 images in ")
    assert "images/s (each: reading " in speed
    assert last == "kerascnn: 1 image of 3 could not be read, see above"
    alone = here("predict", file, photos / "a.png").stderr.splitlines()
    assert len(alone) == 1
    assert alone[0].startswith(f"kerascnn: {photos / 'a.png'} is not a readable")
    found = json.loads(here("predict", file, photos, "--json").stdout)
    assert [row["image"] for row in found] == paths
    assert json.dumps(found, indent=1) + "\n" == here("predict", file, photos, "--json").stdout
    lines = here("predict", file, photos, "--jsonl").stdout.splitlines()
    assert list(map(json.loads, lines)) == found
    assert here("predict", file, photos / "a.png", "--json").stdout == "[]\n"
    table = photos.parent / "t.csv"
    here("predict", file, photos, "--top", 2, "--csv", table)
    assert table.read_text().splitlines() == [
        "image,label,score",
        *(f"{path},{row}" for path in paths for row in ("dog,0.999877", "cat,0.000123")),
    ]
    assert here("predict", file, photos / "b.png").returncode == 0


def test_drawings_do_not_go_into_a_file(photos: Path) -> None:
    file, taken = photos.parent / "model.tflite", photos.parent / "mk.py"
    taken.write_text("")
    for folder in (taken, taken / "drawn"):
        with pytest.raises(InputError, match=r"mk\.py is a file; give a folder"):
            predicting.answers(file, [str(photos / "b.png")], order=predicting.Order(out=folder))
    alone = str(photos / "b.png")
    with pytest.raises(InputError, match=r"b\.png would be replaced by its own drawing"):
        predicting.answers(file, [alone], order=predicting.Order(out=photos))


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


def test_a_row_is_an_object_and_an_image_without_any_has_one() -> None:
    box = {"label": "car", "score": 0.9, "top": 1.0, "left": 2.0, "bottom": 3.0, "right": 4.4}
    covered = rle.encode(np.asfortranarray(np.eye(5, dtype=np.uint8)))
    mask = {**covered, "counts": covered["counts"].decode("ascii")}
    found = Boxes(image="a", objects=(Box(**box), Instance(**box, mask=mask)))
    assert found.columns == ("label", "score", "left", "top", "right", "bottom", "mask_pixels")
    edges = ("2.00", "1.00", "4.40", "3.00")
    assert found.rows() == [("car", "0.900000", *edges, None), ("car", "0.900000", *edges, 5)]
    areas = Areas(image="a", classes=(Area(label="sky", pixels=3, share=0.75),))
    assert areas.rows() == [("sky", 3, "0.750000")]


def test_a_frame_says_which_it_is() -> None:
    found = Prediction(image="a.mp4", frame=3, time=62.5, labels=(("cat", 0.5),), drawn="b.mp4")
    assert found.as_text() == "a.mp4 at 1:02.50: cat 50.0%"
    labels = [{"label": "cat", "probability": 0.5}]
    place = {"image": "a.mp4", "frame": 3, "time": 62.5}
    assert found.as_json() == {**place, "labels": labels, "drawn": "b.mp4"}
    assert [clock(time) for time in (0, 59.999, 3600)] == ["0:00.00", "1:00.00", "1:00:00.00"]
