"""A held-out set that lies elsewhere, for each task and each form."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from said import note_of, said
from small_sets import class_folders, coco, masks

from kerascnn.errors import InputError
from training import datasets
from training.datasets.detection_sets import scan_objects
from training.datasets.elsewhere import beside
from training.datasets.segmentation_sets import scan_maps
from training.engine import dataset_of_request as of_request
from training.engine.leaks import refuse_leaks
from training.engine.refusals import checked
from training.engine.request import TrainRequest, request
from training.engine.resume import begun
from training.engine.run import write_info
from training.tools.sweep import jobs


def sizes(dataset: Any) -> list[int]:
    splits = (dataset.train, dataset.validation, dataset.held_out)
    return [len(split or ()) for split in splits]


def yolo(root: Path, names: list[str], count: int, label: int) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number in range(count):
        Image.new("RGB", (40, 20), (number, 0, 0)).save(root / "images" / f"v{number}.png")
        (root / "labels" / f"v{number}.txt").write_text(f"{label} 0.5 0.5 0.25 0.5\n")
    (root / "classes.txt").write_text("\n".join(names))
    return root


def test_all_objects_are_learnt_from_and_others_measured(tmp_path: Path) -> None:
    learnt = coco(tmp_path / "a", 6)
    measured = yolo(tmp_path / "b", ["square", "disc"], 3, label=0)
    found = scan_objects(str(learnt), seed=0, val_data=str(measured))
    assert (found.classes, sizes(found)) == (("disc", "square"), [6, 0, 3])
    assert found.train.objects(1).labels.tolist() == [1]
    assert found.held_out.objects(0).labels.tolist() == [1]  # class 0 of its own file
    np.testing.assert_allclose(found.held_out.objects(0).boxes, [[0.25, 0.375, 0.75, 0.625]])
    alone, other = scan_objects(str(learnt), seed=0), yolo(tmp_path / "c", ["disc"], 3, label=0)
    prints = {found.fingerprint, alone.fingerprint}
    prints.add(scan_objects(str(learnt), seed=0, val_data=str(other)).fingerprint)
    assert len(prints) == 3
    # Nothing is drawn by chance.
    assert scan_objects(str(learnt), seed=1, val_data=str(measured)).train.names == (
        found.train.names
    )


def test_a_new_class_is_refused(tmp_path: Path) -> None:
    learnt, measured = coco(tmp_path / "a", 6), yolo(tmp_path / "b", ["disc", "cat"], 3, label=0)
    with pytest.raises(InputError, match=r"has classes that .* has not: cat; take them out"):
        scan_objects(str(learnt), seed=0, val_data=str(measured))


def test_names_that_are_spelled_in_two_ways_are_one_class(tmp_path: Path) -> None:
    one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert one != other
    learnt = yolo(tmp_path / "a", ["tea", one], 4, label=1)
    measured = yolo(tmp_path / "b", [other], 2, label=0)
    found = scan_objects(str(learnt), seed=0, val_data=str(measured))
    assert found.classes == ("tea", one)
    assert found.held_out.objects(0).labels.tolist() == [1]


def test_splits_of_both(tmp_path: Path) -> None:
    """The training split is learnt from, validation chooses; of the other one, test measures."""
    for name in ("a", "b"):
        for count, part in ((5, "train"), (3, "val"), (2, "test")):
            coco(tmp_path / name / part, count)
            (tmp_path / name / part / "all.json").rename(
                tmp_path / name / part / "_annotations.coco.json"
            )
    found = scan_objects(str(tmp_path / "a"), seed=0, val_data=str(tmp_path / "b"))
    assert sizes(found) == [5, 3, 2]
    assert {Path(name).parent.parent.name for name in found.held_out.names} == {"b"}
    assert [note.text for note in found.notes if note.kind == "unused-split"] == [
        "the 2 images of its test split are not used: --val-data is measured on",
        f"{tmp_path / 'b'}: the 5 images of its train split are not used: another split is "
        "measured on",
        f"{tmp_path / 'b'}: the 3 images of its validation split are not used: another split is "
        "measured on",
    ]


def test_pictures_in_both_are_told(tmp_path: Path) -> None:
    learnt = coco(tmp_path, 6)
    found = scan_objects(str(learnt), seed=0, val_data=str(learnt))
    assert sizes(found) == [6, 0, 6]
    assert note_of(found, "held-out-in-training").count == 6


def test_masks_mean_what_the_classes_of_data_say(tmp_path: Path) -> None:
    learnt, measured = masks(tmp_path / "a", 4), masks(tmp_path / "b", 3)
    (measured / "classes.txt").unlink()
    found = scan_maps(str(learnt), seed=0, val_data=str(measured))
    assert (found.classes, sizes(found)) == (("background", "object"), [4, 0, 3])
    stored = np.asarray(Image.open(measured / "masks" / "0.png"))
    np.testing.assert_array_equal(found.held_out.label_map(0), stored)
    (measured / "classes.txt").write_text("object\nbackground\n")
    turned = scan_maps(str(learnt), seed=0, val_data=str(measured))
    np.testing.assert_array_equal(turned.held_out.label_map(0), 1 - stored)


def test_masks_and_outlines_meet(tmp_path: Path) -> None:
    learnt = masks(tmp_path / "a", 4)
    (learnt / "classes.txt").write_text("background\nsquare\n")
    file = coco(tmp_path / "b", 2)
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        annotation["category_id"] = 1
    content["categories"] = content["categories"][1:]
    file.write_text(json.dumps(content))
    found = scan_maps(str(learnt), seed=0, val_data=str(file))
    x, y, w, h = content["annotations"][0]["bbox"]
    label_map = found.held_out.label_map(0)
    assert label_map[y : y + h, x : x + w].all()
    assert label_map.sum() == w * h


def test_all_images_of_class_folders_are_learnt_from(tmp_path: Path) -> None:
    learnt = class_folders(tmp_path / "a", 10)
    measured = class_folders(tmp_path / "b", 6)
    found = datasets.scan(str(learnt), seed=0, val_data=str(measured))
    assert sizes(found) == [10, 0, 6]
    assert len(set(found.train.names)) == 10
    for split in (found.train, found.held_out):
        names = [found.classes[label] for label in split.labels]
        assert names == [Path(name).parent.name for name in split.names]


def test_a_held_out_set_beside_what_was_given_is_told(tmp_path: Path) -> None:
    learnt, held_out = class_folders(tmp_path / "train", 10), class_folders(tmp_path / "valid", 6)
    note = note_of(datasets.scan(str(learnt), seed=0), "unused-beside")
    assert str(note) == (
        f"{held_out} beside it is not used, and images to measure on are held out of train; to "
        f"measure on it give --val-data {held_out}, or the folder: --data {tmp_path}"
    )
    maps = masks(tmp_path / "train" / "maps", 4)
    assert beside(str(maps)) == []
    masks(tmp_path / "test" / "maps", 4)
    assert note_of(scan_maps(str(maps), seed=0), "unused-beside").count == 1
    for data in ("mnist", "scenes", "tfds:flowers@/train"):
        assert beside(data) == []


def test_a_request_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt, measured = class_folders(tmp_path / "a", 10), class_folders(tmp_path / "b", 6)
    monkeypatch.chdir(tmp_path)
    asked = request("mobilenet_v2", data="a", val_data="b", epochs=1)
    assert (asked.data, asked.val_data) == (str(learnt), str(measured))
    assert TrainRequest.from_dict(json.loads(json.dumps(asked.to_dict()))) == asked
    assert sizes(of_request.dataset_of(asked)) == [10, 0, 6]
    plain = asked.to_dict()
    del plain["val_data"]  # as an older version wrote it
    old = TrainRequest.from_dict(plain)
    assert old.val_data is None
    info = {"request": plain, "dataset": {"fingerprint": "0"}, "complete": False}
    write_info(tmp_path / "run", info)
    assert begun(old, tmp_path / "run") == info
    with pytest.raises(InputError, match=r"val_data: none there, .*/b asked for"):
        begun(asked, tmp_path / "run")


def test_weights_that_learnt_from_the_held_out_set_are_refused(tmp_path: Path) -> None:
    learnt, measured = class_folders(tmp_path / "a", 10), class_folders(tmp_path / "b", 6)
    first = request("mobilenet_v2", data=str(measured), epochs=1)
    run = tmp_path / "run"
    fingerprint = of_request.dataset_of(first).fingerprint
    write_info(run, {"request": first.to_dict(), "dataset": {"fingerprint": fingerprint}})
    (run / "model.keras").write_bytes(b"")
    weights = str(run / "model.keras")
    asked = request(
        "mobilenet_v2", data=str(learnt), val_data=str(measured), weights=weights, epochs=1
    )
    found = of_request.dataset_of(asked)
    with pytest.raises(InputError, match="learnt from 4 of the 6 images"):
        refuse_leaks(asked, found.held_out, found.fingerprint, warn=pytest.fail)


def test_a_place_where_nothing_is_is_refused_early(tmp_path: Path) -> None:
    learnt = class_folders(tmp_path / "a", 10)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        checked("mobilenet_v2", data=str(learnt), val_data=str(tmp_path / "nowhere"))


def test_all_runs_of_a_sweep_have_it(tmp_path: Path) -> None:
    work = jobs(
        models=["mobilenet_v2"], recipes=["modern"], seeds=[0, 1],
        data="a", val_data="b", settings={},
    )  # fmt: skip
    assert [job.request["val_data"] for job in work] == ["b", "b"]
    assert request(**work[0].request).val_data == str(Path("b").resolve())


def test_notes_say_where_they_are_from(tmp_path: Path) -> None:
    learnt, measured = coco(tmp_path / "a", 6), yolo(tmp_path / "b", ["disc"], 3, label=0)
    (measured / "labels" / "v0.txt").unlink()
    found = scan_objects(str(learnt), seed=0, val_data=str(measured))
    assert said(found) == (f"{measured}: all: 1 of 3 images have no labels: no object",)


def test_data_does_not_measure_itself(tmp_path: Path) -> None:
    class_folders(tmp_path / "a", 3)
    with pytest.raises(InputError, match="which is learnt from; leave it out"):
        request("lenet5", data=str(tmp_path / "a"), val_data=str(tmp_path / "b" / ".." / "a"))
