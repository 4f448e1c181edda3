"""What an import is refused for before a framework is loaded, and when two are the same."""

from __future__ import annotations

import json
from pathlib import Path

import colours
import known_runs
import pytest
from commands import assert_refused, here

from kerascnn.errors import InputError
from training import tasks
from training.importing import preprocessing
from training.importing.asked import (
    NORMALISATIONS,
    ImportRequest,
    begun,
    import_request,
    says_nothing,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return colours.folders(tmp_path / "pets", 6)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "Mein Netz.keras"
    path.write_bytes(b"PK")
    return path


def test_names_of_preprocessing_are_those_that_there_are() -> None:
    assert set(NORMALISATIONS) == set(preprocessing.NORMALISATIONS)


def test_a_request_means_the_same_from_anywhere(
    file: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.txt").write_text("a\n")
    monkeypatch.chdir(tmp_path)
    asked = import_request(file.name, data="pets", labels="labels.txt")
    assert (asked.source, asked.data) == (str(file), str(data))
    assert asked.labels == str(tmp_path / "labels.txt")
    assert asked.to_dict() == json.loads(json.dumps(asked.to_dict()))


@pytest.mark.parametrize(
    ("source", "name", "called"),
    [
        ("efficientnet_lite0", None, "efficientnet_lite0"),
        ("/nets/Mein Netz.keras", None, "Mein-Netz"),
        ("/nets/flowers/model.keras", None, "flowers"),
        ("/nets/flowers/best.h5", None, "flowers"),
        ("/model.h5", None, "network"),
        ("/nets/mobile.net-3.keras", None, "mobile.net-3"),
        ("/nets/a.keras", "roses", "roses"),
        ("/nets/flowers.tflite", None, "flowers"),
    ],
)
def test_a_network_is_called_by_its_source(source: str, name: str | None, called: str) -> None:
    assert ImportRequest(source=source, data="mnist", name=name).called == called


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("efficientnet_lite", {}), "did you mean"),
        (("efficientnet_lite0", {}), "random weights without --weights; give --weights imagenet"),
        (("efficientnet_lite0", {"weights": "imagenett"}), "no weights 'imagenett'"),
        (("ssdlite_mobilenet_v2", {"weights": "imagenet"}), "no weights 'imagenet'"),
        (("unet", {"weights": "net.keras", "data": "mnist", "unlabelled": True}), "not for mnist"),
        (("unet", {"weights": "net.keras", "resize": "crop"}), "must be stretch, letterbox or pad"),
        (("unet", {"weights": "net.keras", "data": "mnist"}), "mnist"),
        (("gone.keras", {}), "gone.keras: no such file"),
        ((".", {}), "is a folder without saved_model.pb, so no SavedModel; give that, or"),
        (("run", {}), "run is a run already, .*on other data: kerascnn import run/model.keras"),
        (("notes.txt", {}), "must end in .keras, .h5, .hdf5"),
        (("net.keras", {"weights": "imagenet"}), "--weights is for a network of the zoo"),
        (("net.keras", {"options": {"alpha": 1}}), "--option is for a network of the zoo"),
        (("net.keras", {"preprocessing": "0-2"}), "--preprocessing must be one of 0-1, -1-1"),
        (("net.keras", {"resize": "squash"}), "--resize must be one of .*, not 'squash'"),
        (("net.keras", {"labels": "gone.txt"}), "--labels gone.txt: no such file"),
        (("net.keras", {"name": "a/b"}), "--name must be letters, .* not 'a/b'"),
        (("net.keras", {"data": "mnist", "unlabelled": True}), "folder of images, not for mnist"),
        (("net.keras", {"data": "nowhere"}), "nowhere: no such folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    asked: tuple[str, dict], words: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.keras", "notes.txt"):
        (tmp_path / name).write_bytes(b"PK")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    source, changes = asked
    with pytest.raises(InputError, match=words):
        import_request(source, **{"data": str(data), **changes})


def test_a_detector_takes_a_folder_of_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where anything beside the images may say what is in them, it is read, or has to be."""
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "net.keras").write_bytes(b"PK")
    for number in range(2):
        (photos / f"{number}.png").write_bytes(b"")
    given = {"weights": "net.keras", "data": str(photos)}
    assert not import_request("unet", **given).unlabelled  # nobody said so
    assert says_nothing(str(photos), tasks.of("segmentation"))
    (photos / "labels.json").write_text("{}")
    assert not says_nothing(str(photos), tasks.of("segmentation"))
    asked = import_request("unet", **given, unlabelled=True, name="mine")
    assert (asked.unlabelled, asked.called, asked.source) == (True, "mine", "unet")


def test_a_folder_is_not_the_weights_that_are_called_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `--weights coco --data coco`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KERASCNN_OFFLINE")
    (tmp_path / "imagenet").mkdir()
    asked = import_request("mobilenet_v2", data=str(data), weights="imagenet")
    assert asked.weights == "imagenet"


def test_the_folder_of_something_else_is_refused(file: Path, data: Path, tmp_path: Path) -> None:
    asked = import_request(str(file), data=str(data))
    assert begun(asked, tmp_path / "new") is None
    (tmp_path / "empty").mkdir()
    assert begun(asked, tmp_path / "empty") is None
    with pytest.raises(InputError, match="is not empty, and not a run"):
        begun(asked, file.parent)
    with pytest.raises(InputError, match="lies inside --data"):
        begun(asked, data / "run")
    trained = known_runs.a_run(tmp_path / "trained")
    with pytest.raises(InputError, match="holds a run that was trained here"):
        begun(asked, trained)


def test_an_import_is_known_by_what_was_asked_and_the_files_content(
    file: Path, data: Path, tmp_path: Path
) -> None:
    asked = import_request(str(file), data=str(data))
    run = known_runs.a_run(tmp_path / "run")
    info = json.loads((run / "run.json").read_text())
    told = {"source": asked.source, "sha256": asked.digest(), "asked": asked.to_dict()}
    info["request"] |= {"imported": {**told, "labels": ["a", "b"], "labelled": True}}
    (run / "run.json").write_text(json.dumps(info))
    found = begun(asked, run)
    assert found is not None
    other = import_request(str(file), data=str(data), resize="crop", name="other")
    with pytest.raises(InputError, match=r"another import \(resize, name differs\)"):
        begun(other, run)
    file.write_bytes(b"PK, changed")
    with pytest.raises(InputError, match="the file's content differs"):
        begun(asked, run)


def test_the_help_says_how_images_are_resized() -> None:
    """As the command itself says it: a file's are stretched."""
    told = " ".join(here("import", "--help").stdout.split())
    assert "of a file, stretch, and crop where its classes are ImageNet's" in told
    assert "[default: crop]" not in told


def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    assert_refused(here("import", "lenet6", "--data", "mnist"), "lenet6", "lenet5")
    done = here("import", "lenet5", "--data", "mnist", "--out", tmp_path / "run")
    assert_refused(done, "lenet5", "--weights")
    assert not (tmp_path / "run").exists()
    assert_refused(here("import", "x.keras", "--data", "mnist"), "x.keras: no such file")
    done = here("import", "x.keras", "--data", "mnist", "--image-size", "a")
    assert_refused(done, "--image-size")
