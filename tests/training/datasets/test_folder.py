"""Folders of classes as people have them: names, links, hidden parts, splits; and old runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import unicodedata

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from training import datasets
from training.common.reading import BEFORE, NOW, of_run
from training.datasets import folder
from training.datasets.splits import Dataset, digest, places_by_class, stratified
from training.engine import dataset_of_request as of_request
from training.engine.request import TrainRequest, request
from training.engine.resume import as_begun, begun
from training.engine.run import write_info

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def fill(place: pathlib.Path, count: int = 5, *, first: int = 0) -> None:
    """Small pictures, each with bytes of its own."""
    place.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        digest_ = hashlib.sha256(os.fsencode(f"{place}{number}")).digest()
        Image.frombytes("RGB", (5, 2), digest_[:30]).save(place / f"{number}.png")


def scan(root: pathlib.Path, **how) -> Dataset:
    return folder.scan(root, seed=0, **how)


def kinds(found: Dataset) -> dict[str, int]:
    return {note.kind: note.count for note in found.notes}


def paths(found: Dataset, root: pathlib.Path) -> list[str]:
    names = (*found.train.names, *found.held_out.names)
    return sorted(os.path.relpath(name, root) for name in names)


def refused(root: pathlib.Path, match: str, **how) -> None:
    with pytest.raises(InputError, match=match) as caught:
        scan(root, **how)
    assert "\n" not in str(caught.value)


def test_numbers_sort_as_numbers(tmp_path: pathlib.Path) -> None:
    for name in ("1", "2", "10", "class 2", "class 10"):
        fill(tmp_path / name)
    found = scan(tmp_path)
    assert found.classes == ("1", "2", "10", "class 2", "class 10")
    places = [pathlib.Path(name).parent.name for name in found.train.names]
    assert [found.classes[label] for label in found.train.labels] == places
    assert scan(tmp_path, reading=BEFORE).classes == ("1", "10", "2", "class 10", "class 2")


def test_names_with_accents_are_one_class_however_they_are_stored(tmp_path: pathlib.Path) -> None:
    for split, name in (("train", NFC), ("val", NFD)):
        fill(tmp_path / split / name)
        fill(tmp_path / split / "tea")
    found = scan(tmp_path)
    assert found.classes == (NFC, "tea")
    assert len(found.train) == len(found.held_out) == 10
    assert f"/{NFD}/" in found.held_out.names[0]  # paths stay as they are on the disk
    assert pathlib.Path(found.held_out.names[0]).is_file()
    assert found.held_out.labels.tolist() == [0] * 5 + [1] * 5


def test_two_spellings_in_one_folder_are_one_class_and_noted(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / NFC, 4)
    fill(tmp_path / NFD, 6)
    fill(tmp_path / "tea", 10)
    found = scan(tmp_path)
    assert found.classes == (NFC, "tea")
    assert np.bincount(found.train.labels).tolist() == [8, 8]
    assert kinds(found) == {"classes-spelt-twice": 1}


def test_linked_folders_of_a_class_are_read(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "pets"
    fill(root / "cats", 2)
    fill(root / "dogs")
    fill(tmp_path / "more", 3)
    fill(tmp_path / "birds")
    (root / "cats" / "more").symlink_to(tmp_path / "more")
    (root / "birds").symlink_to(tmp_path / "birds")
    found = scan(root)
    assert found.classes == ("birds", "cats", "dogs")
    assert "cats/more/2.png" in paths(found, root)
    assert len(found.train) + len(found.held_out) == 15
    assert found.notes == ()


@pytest.mark.parametrize("hidden", ["@eaDir", ".ipynb_checkpoints", "__MACOSX", ".thumbs/deep"])
def test_hidden_parts_are_not_trained_on(tmp_path: pathlib.Path, hidden: str) -> None:
    for name in ("cats", "dogs"):
        fill(tmp_path / name)
    fill(tmp_path / hidden)
    fill(tmp_path / "cats" / hidden)
    found = scan(tmp_path)
    assert found.classes == ("cats", "dogs")
    assert len(found.train) + len(found.held_out) == 10
    assert kinds(found) == {"hidden": 1}
    assert not found.notes[0].finding


def test_pictures_of_no_class_are_noted(tmp_path: pathlib.Path) -> None:
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            fill(tmp_path / split / name)
    fill(tmp_path / "train", 3)
    assert kinds(scan(tmp_path)) == {"images-of-no-class": 3}


def test_folders_beside_the_splits_are_noted(tmp_path: pathlib.Path) -> None:
    for split in ("train", "test", "extra"):
        for name in ("cats", "dogs"):
            fill(tmp_path / split / name)
    (note,) = scan(tmp_path).notes
    assert (note.kind, note.examples) == ("unread-folders", ("extra",))


def test_splits_may_be_written_in_other_ways(tmp_path: pathlib.Path) -> None:
    for split in ("Training", "Test"):
        for name in ("cats", "dogs"):
            fill(tmp_path / split / name)
    found = scan(tmp_path)
    assert found.classes == ("cats", "dogs")
    assert all("/Test/" in name for name in found.held_out.names)
    assert scan(tmp_path, reading=BEFORE).classes == ("Test", "Training")


@pytest.mark.parametrize("name", ["train", "Train", "training"])
def test_a_train_is_a_vehicle_too(tmp_path: pathlib.Path, name: str) -> None:
    for one in ("bus", "car", name):
        fill(tmp_path / one)
    assert set(scan(tmp_path).classes) == {"bus", "car", name}


def test_files_that_are_not_named_in_utf_8_are_read(tmp_path: pathlib.Path) -> None:
    for name in ("cats", "dogs"):
        fill(tmp_path / name)
    (tmp_path / "cats" / "0.png").rename(tmp_path / "cats" / os.fsdecode(b"\xff.png"))
    found = scan(tmp_path)
    assert len(found.train) + len(found.held_out) == 10


def test_names_of_classes_are_lines_of_text(tmp_path: pathlib.Path) -> None:
    """They are written into labels.txt when training is over."""
    for name in ("cats", "dogs", os.fsdecode(b"caf\xe9")):
        fill(tmp_path / "latin" / name)
    refused(tmp_path / "latin", r"the class 'caf\\udce9' is not a line of text; rename it")
    for name in ("cats", "dogs\nand wolves"):
        fill(tmp_path / "lines" / name)
    refused(tmp_path / "lines", "is not a line of text")


# A held-out folder that lies elsewhere.


@pytest.fixture
def elsewhere(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in ("1", "2", "10"):
        fill(tmp_path / "data" / name)
    for name in ("10", "2"):
        fill(tmp_path / "held" / name, 2)
    return tmp_path / "held"


def test_a_held_out_folder_elsewhere(elsewhere: pathlib.Path) -> None:
    root = elsewhere.parent / "data"
    found = scan(root, val_root=elsewhere)
    assert found.classes == ("1", "2", "10")
    assert len(found.train) == 15
    assert found.validation is None
    assert found.held_out.labels.tolist() == [1, 1, 2, 2]
    assert all(name.startswith(str(elsewhere)) for name in found.held_out.names)
    assert kinds(found) == {"classes-not-held-out": 1}
    assert found.fingerprint == scan(root, val_root=elsewhere).fingerprint
    os.truncate(elsewhere / "2" / "0.png", 20)
    assert found.fingerprint != scan(root, val_root=elsewhere).fingerprint


def test_splits_keep_their_use_beside_a_held_out_folder(elsewhere: pathlib.Path) -> None:
    root = elsewhere.parent / "split"
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        for name in ("2", "10"):
            fill(root / split / name, count)
    found = scan(root, val_root=elsewhere)
    assert (len(found.train), len(found.validation or ()), len(found.held_out)) == (8, 6, 4)
    assert kinds(found) == {"unused-split": 1}
    (root / "val").rename(root / ".val")
    found = scan(root, val_root=elsewhere)
    assert (len(found.train), len(found.validation or ()), len(found.held_out)) == (8, 4, 4)
    assert found.notes == ()
    (root / "test").rename(root / ".test")
    found = scan(root, val_root=elsewhere)
    assert (len(found.train), found.validation, len(found.held_out)) == (8, None, 4)


def test_a_held_out_folder_inside_is_no_class(elsewhere: pathlib.Path) -> None:
    root = elsewhere.parent / "data"
    elsewhere.rename(root / "held")
    found = scan(root, val_root=root / "held")
    assert found.classes == ("1", "2", "10")
    assert len(found.train) == 15


def test_refused_held_out_folders(elsewhere: pathlib.Path) -> None:
    root = elsewhere.parent / "data"
    refused(root, "cannot be learnt from and be held out", val_root=root)
    fill(elsewhere / "11")
    fill(elsewhere / "12")
    refused(root, r"held has classes that .*data has not: 11, 12;", val_root=elsewhere)
    refused(root, "cannot be read", val_root=elsewhere / "nowhere")


def test_of_a_held_out_folder_with_splits_one_is_measured(elsewhere: pathlib.Path) -> None:
    root, both = elsewhere.parent / "data", elsewhere.parent / "both"
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        for name in ("2", "10"):
            fill(both / split / name, count)
    assert len(scan(root, val_root=both).held_out) == 4
    (both / "test").rename(both / ".test")
    assert len(scan(root, val_root=both).held_out) == 6


# Folders for other tasks.


@pytest.mark.parametrize("names", [("images", "masks"), ("JPEGImages", "SegmentationClass")])
def test_images_and_masks_are_no_classes(tmp_path: pathlib.Path, names: tuple[str, str]) -> None:
    for name in names:
        fill(tmp_path / name)
    (note,) = scan(tmp_path).notes
    assert (note.kind, note.finding) == ("other-task", True)
    assert "kerascnn models --task segmentation" in note.text


def test_splits_are_no_classes(tmp_path: pathlib.Path) -> None:
    for name in ("train2017", "val2017"):
        fill(tmp_path / name)
    assert kinds(scan(tmp_path)) == {"splits-as-classes": 2}


def test_ordinary_classes_are_no_data_set_of_another_task(tmp_path: pathlib.Path) -> None:
    for name in ("image", "label printer", "mask"):
        fill(tmp_path / name)
    assert scan(tmp_path).notes == ()


def test_other_formats_are_named_where_a_classifier_refuses_them(tmp_path: pathlib.Path) -> None:
    coco, yolo, voc = (tmp_path / name for name in ("coco", "yolo", "voc"))
    fill(coco / "train2017")
    fill(coco / "val2017")
    (coco / "annotations").mkdir()
    (coco / "annotations" / "instances_train2017.json").write_text("{}")
    refused(coco, r"annotations has no images .*detection or segmentation \(COCO\)")
    for split in ("train", "val"):
        fill(yolo / split / "images")
        (yolo / split / "labels").mkdir()
    (yolo / "data.yaml").write_text("names: [a]\ntrain: train/images\nval: val/images\n")
    refused(yolo, r"labels has no images .*\(YOLO\): train such a model")
    fill(voc / "JPEGImages")
    (voc / "Annotations").mkdir()
    (voc / "Annotations" / "0.xml").write_text("<annotation/>")
    refused(voc, r"Annotations has no images .*detection \(Pascal VOC\)")
    for name in ("cats", "empty"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    refused(tmp_path / "pets", r"remove the folder$")


# Runs of before.


def old_fingerprint(root: pathlib.Path, classes: tuple[str, ...]) -> str:
    """As versions before `reading` had it, of a folder with train/ and test/."""
    parts = []
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            files = [p for p in (root / split / name).rglob("*") if p.suffix == ".png"]
            for file in sorted(map(str, files)):
                path = pathlib.Path(file)
                key = f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0{label}"
                parts.append(key.encode())
    return digest(parts)


@pytest.fixture
def old(tmp_path: pathlib.Path) -> pathlib.Path:
    """A data set that the rules of before and of now read differently."""
    root = tmp_path / "data"
    for split in ("train", "test"):
        for name in ("1", "2", "10"):
            fill(root / split / name)
    fill(root / "train" / "1" / "@eaDir", 1)
    return root


def asked(root: pathlib.Path) -> TrainRequest:
    return request("lenet5", data=str(root), recipe="digits", epochs=1, batch_size=8)


def as_of_before(found: TrainRequest) -> dict:
    """What run.json had of a request."""
    plain = found.to_dict()
    del plain["reading"]
    return json.loads(json.dumps(plain))


def test_an_old_request_reads_by_the_old_rules(old: pathlib.Path) -> None:
    new = asked(old)
    assert new.reading == NOW
    before = TrainRequest.from_dict(as_of_before(new))
    assert before.reading == BEFORE
    found = of_request.dataset_of(before)
    assert found.classes == ("1", "10", "2")
    assert len(found.train) == 16  # with the thumbnail that was trained on
    assert found.fingerprint == old_fingerprint(old, found.classes)
    now = of_request.dataset_of(new)
    assert (now.classes, len(now.train)) == (("1", "2", "10"), 15)
    assert now.fingerprint != found.fingerprint


def test_where_the_rules_agree_the_fingerprint_stays(tmp_path: pathlib.Path) -> None:
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            fill(tmp_path / split / name)
    (one, other) = (scan(tmp_path, reading=rules) for rules in (BEFORE, NOW))
    assert one.fingerprint == other.fingerprint == old_fingerprint(tmp_path, ("cats", "dogs"))
    assert one.train.names == other.train.names


def a_run_of_before(root: pathlib.Path, where: pathlib.Path) -> pathlib.Path:
    where.mkdir()
    write_info(where, {
        "request": as_of_before(asked(root)), "labels": ["1", "10", "2"], "complete": False,
        "dataset": {"name": str(root), "fingerprint": old_fingerprint(root, ("1", "10", "2"))},
    })  # fmt: skip
    return where


def test_a_run_of_before_is_gone_on_with(old: pathlib.Path, tmp_path: pathlib.Path) -> None:
    where = a_run_of_before(old, tmp_path / "run")
    info = begun(asked(old), where)
    assert info is not None
    assert (
        of_request.dataset_of(as_begun(asked(old), info)).fingerprint
        == (info["dataset"]["fingerprint"])
    )


def test_what_starts_from_a_run_of_before_has_its_order(
    old: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    where = a_run_of_before(old, tmp_path / "run")
    model = where / "stages" / "prune50" / "model.keras"
    model.parent.mkdir(parents=True)
    model.touch()
    assert [of_run(str(path)) for path in (where, model)] == [BEFORE, BEFORE]
    assert [of_run(given) for given in (None, "imagenet", str(tmp_path))] == [NOW] * 3
    again = request("lenet5", data=str(old), recipe="digits", teacher=str(where))
    assert again.reading == BEFORE
    info = json.loads((where / "run.json").read_text())
    info["request"]["reading"] = NOW
    write_info(where, info)
    assert of_run(str(model)) == NOW


def test_files_of_a_run_of_before_are_measured_on_its_data(
    old: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    from export.tasks.classification import Classification
    from training.engine.run import Run
    from training.engine.train import train

    before = dataclasses.replace(asked(old), reading=BEFORE)
    train(before, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["request"] = as_of_before(before)
    write_info(tmp_path / "run", info)
    run = Run.open(tmp_path / "run")
    assert run.labels == ("1", "10", "2")
    assert run.info["dataset"]["fingerprint"] == old_fingerprint(old, run.labels)
    measured = Classification(run).dataset  # which refuses data that has changed
    assert measured.classes == run.labels
    train(asked(old), tmp_path / "run")  # is complete


# Splits of many classes.


def test_places_by_class_are_those_that_a_comparison_finds() -> None:
    labels = np.random.default_rng(0).integers(0, 7, 100) * 3
    found = dict(zip(np.unique(labels).tolist(), places_by_class(labels), strict=True))
    assert list(found) == np.unique(labels).tolist()
    for label, places in found.items():
        np.testing.assert_array_equal(places, np.flatnonzero(labels == label))
    assert places_by_class(np.zeros(0, np.int32)) == []


def test_the_split_of_a_seed_stays() -> None:
    """A run of before finds the pictures that it held out."""
    labels = np.repeat(np.arange(3), 5)
    _kept, aside = stratified(labels, ("a", "b", "c"), fraction=0.2, seed=0)
    rng = np.random.default_rng(0)
    wanted = [rng.permutation(np.flatnonzero(labels == c))[0] for c in range(3)]
    np.testing.assert_array_equal(aside, np.sort(wanted))


def test_the_default_of_a_scan_is_the_rules_of_now(old: pathlib.Path) -> None:
    assert datasets.scan(str(old), seed=0).classes == ("1", "2", "10")


def test_one_class_folder_is_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="needs at least one class folder, and has none"):
        datasets.measured(str(tmp_path / "photos"))
