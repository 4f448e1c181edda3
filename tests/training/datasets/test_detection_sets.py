"""Data sets of objects: each form is recognised, and what all of them share."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from training.datasets import detection_table
from training.datasets.detection_sets import scan_objects
from training.datasets.detection_table import (
    ALL,
    TEST,
    TRAIN,
    Annotations,
    assemble,
    tabulate,
)
from training.datasets.faults import HANDFUL, MOST_SHARE, Faults, present, weigh
from training.datasets.pictures import read_pixels, read_size

XML = (
    "<annotation><object><name>cat</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>5</xmax>"
    "<ymax>6</ymax></bndbox></object></annotation>"
)


def pictures(folder: Path, count: int = 5) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.png" for number in range(count)]
    for file in files:
        Image.new("RGB", (10, 8)).save(file)
    return files


def as_coco(root: Path, name: str = "labels.json") -> None:
    files = pictures(root / "images")
    content = {
        "images": [
            {"id": i, "file_name": file.name, "height": 8, "width": 10}
            for i, file in enumerate(files)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 4, 4]} for i in range(5)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (root / name).write_text(json.dumps(content))


def as_voc(root: Path) -> None:
    for file in pictures(root / "JPEGImages"):
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{file.stem}.xml").write_text(XML)


def as_yolo(root: Path) -> None:
    for file in pictures(root / "images"):
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{file.stem}.txt").write_text("0 0.3 0.5 0.4 0.5")
    (root / "classes.txt").write_text("cat")


@pytest.mark.parametrize("make", [as_coco, as_voc, as_yolo])
def test_the_same_objects_in_each_form(make, tmp_path: Path) -> None:
    make(tmp_path)
    dataset = scan_objects(str(tmp_path), seed=0)
    assert (dataset.name, dataset.classes) == (str(tmp_path), ("cat",))
    assert (len(dataset.train), len(dataset.held_out)) == (4, 1)
    for split in (dataset.train, dataset.held_out):
        for i in range(len(split)):
            objects = split.objects(i)
            np.testing.assert_allclose(objects.boxes, [[0.25, 0.1, 0.75, 0.5]], rtol=1e-6)
            assert objects.areas.tolist() == [pytest.approx(16)]
            assert split.sizes[i].tolist() == [8, 10]
            assert split.picture(i).shape == (8, 10, 3)
    swapped = dataset.train.take([2, 0])
    assert swapped.names == (dataset.train.names[2], dataset.train.names[0])
    assert swapped.objects(0).ids.tolist() == dataset.train.objects(2).ids.tolist()


@pytest.mark.parametrize("make", [as_coco, as_voc, as_yolo])
def test_a_set_may_move(make, tmp_path: Path) -> None:
    make(tmp_path / "one")
    before = scan_objects(str(tmp_path / "one"), seed=0)
    (tmp_path / "one").rename(tmp_path / "two")
    assert scan_objects(str(tmp_path / "two"), seed=0).fingerprint == before.fingerprint


def test_scenes_are_embedded() -> None:
    dataset = scan_objects("scenes@3+2", seed=0)
    assert (len(dataset.train), len(dataset.held_out)) == (3, 2)


def test_files_are_recognised_by_their_ending(tmp_path: Path) -> None:
    as_coco(tmp_path)
    assert len(scan_objects(str(tmp_path / "labels.json"), seed=0).train) == 4
    (tmp_path / "unrelated.yaml").write_text("services: {}")
    assert len(scan_objects(str(tmp_path), seed=0).train) == 4


def test_what_is_none_of_them_is_refused(tmp_path: Path) -> None:
    def refused(path: Path, match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            scan_objects(str(path), seed=0)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "none", "no such file or folder")
    refused(tmp_path, "is not a data set of objects; give a COCO .json file, .*YOLO")
    pictures(tmp_path)
    refused(tmp_path, "is not a data set of objects")
    refused(tmp_path / "0.png", "is not a data set of objects")


def annotations(picture_numbers: list[int], labels: list[int]) -> Annotations:
    count = len(labels)
    return Annotations(
        pictures=np.array(picture_numbers, np.int64),
        boxes=np.array([[i, 0, i + 2, 4] for i in range(count)], np.float64).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        crowd=np.zeros(count, bool),
        areas=np.full(count, np.nan),
        ids=np.arange(count) + 10,
    )


def test_a_table_is_sorted_by_picture_and_keeps_the_order_within(tmp_path: Path) -> None:
    files = pictures(tmp_path, 4)
    sizes = np.full((4, 2), (8, 10))
    table = tabulate(
        "x", files, [f.name for f in files], sizes, weigh(files), annotations([2, 0, 2, 0], [0] * 4)
    )
    found = [table.annotate(place).ids.tolist() for place in range(4)]
    assert found == [[11, 13], [], [10, 12], []]
    wanted = [[0, 0, 0.25, 0.4], [0.25, 0, 0.5, 0.4]]
    np.testing.assert_allclose(table.annotate(2).boxes, wanted, rtol=1e-6)


def test_splits_without_objects_are_refused(tmp_path: Path) -> None:
    files = pictures(tmp_path, 2)
    sizes = np.full((2, 2), (8, 10))
    names = [file.name for file in files]
    full = tabulate("x", files, names, sizes, weigh(files), annotations([0, 1], [0, 0]))
    empty = tabulate("x", files, names, sizes, weigh(files), annotations([], []))
    for parts, match in (
        ({TRAIN: empty, TEST: full}, "no training image has an object to learn from"),
        ({TRAIN: full, TEST: empty}, "no held-out image has an object to measure on"),
    ):
        with pytest.raises(InputError, match=match):
            assemble("x", ["cat"], [1], parts, seed=0)
    one = files[:1], names[:1], sizes[:1], weigh(files[:1])
    single = tabulate("x", *one, annotations([0], [0]))
    with pytest.raises(InputError, match="fewer than two images"):
        assemble("x", ["cat"], [1], {ALL: single}, seed=0)


def test_only_files_are_pictures(tmp_path: Path) -> None:
    files = pictures(tmp_path, 2)
    files[0].unlink()
    os.mkfifo(files[0])
    files[1].unlink()
    files[1].mkdir()
    with pytest.raises(InputError, match=r"2 of 2 images are missing.*0.png: no such image"):
        present("x", files, strict=False)


@pytest.mark.parametrize(
    ("broken", "total", "refused"),
    [
        (1, 1, True),  # nothing would be left
        (HANDFUL, HANDFUL, True),
        (HANDFUL, HANDFUL + 1, False),
        (HANDFUL + 1, 10 * HANDFUL, True),
        (HANDFUL + 1, 10 * HANDFUL + 10, False),
        (101, 1000, True),
        (100, 1000, False),
    ],
)
def test_a_few_may_be_broken(broken: int, total: int, refused: bool) -> None:
    assert MOST_SHARE == 0.1
    faults = Faults("broken-lines", "lines are broken", strict=False)
    for number in range(broken):
        faults.add(f"a.txt, line {number}: no number", "correct it")
    if refused:
        with pytest.raises(
            InputError,
            match=rf"^train: {broken:,} of {total:,} lines are broken, which is more than may be "
            r"left out \(10%\); a.txt, line 0: no number; correct it$",
        ):
            faults.settle("train", total)
        return
    (note,) = faults.settle("train", total)
    assert (note.kind, note.count, note.finding) == ("broken-lines", broken, True)
    assert note.examples == tuple(f"a.txt, line {number}: no number" for number in range(5))
    assert str(note) == (
        f"train: {broken:,} of {total:,} lines are broken and were left out: "
        "a.txt, line 0: no number ..."
    )


def test_none_may_be_broken_if_strict() -> None:
    faults = Faults("broken-lines", "lines are broken", strict=True)
    assert faults.settle("train", 10) == []
    with pytest.raises(InputError, match=r"^a.txt, line 3: no number; correct it$"):
        faults.add("a.txt, line 3: no number", "correct it")


def test_sizes_are_read_where_they_are_not_known(tmp_path: Path) -> None:
    files = pictures(tmp_path, 8)
    files[2].unlink()
    files[4].write_bytes(b"none")
    known = np.zeros((8, 2), np.int64)
    known[1] = (80, 100)
    found = present("train", files, known, strict=False)
    assert found.places.tolist() == [0, 1, 3, 5, 6, 7]
    assert found.sizes.tolist() == [[8, 10], [80, 100], *[[8, 10]] * 4]
    assert found.weights.tolist() == [files[place].stat().st_size for place in found.places]
    assert [(note.kind, note.count) for note in found.notes] == [
        ("missing-images", 1),
        ("unreadable-images", 1),
    ]
    assert str(files[4]) in str(found.notes[1])
    with pytest.raises(InputError, match=r"2.png: no such image; restore it"):
        present("train", files, known, strict=True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_sizes_and_pixels_are_upright(orientation: int, ending: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    place = tmp_path / f"a.{ending}"
    Image.new("L", (12, 8), 200).save(place, exif=exif)
    wanted = (8, 12) if orientation < 5 else (12, 8)
    assert read_size(place) == wanted
    pixels = read_pixels(place)
    assert pixels.shape == (*wanted, 3)
    assert pixels.dtype == np.uint8
    assert abs(pixels.astype(int) - 200).max() <= 2
    place.write_bytes(b"none")
    for read in (read_size, read_pixels):
        with pytest.raises(InputError, match="not a readable"):
            read(place)
    place.unlink()
    with pytest.raises(InputError, match="no such image"):
        read_size(place)


def test_rows_that_are_there_twice_are_found_among_many() -> None:
    rng = np.random.default_rng(0)
    pictures, boxes = rng.integers(0, 50, 400), rng.integers(0, 9, (400, 2)).astype(np.float64)
    boxes[7], boxes[300] = (0.0, 1.0), (-0.0, 1.0)
    pictures[7] = pictures[300] = 60
    rows = detection_table._perhaps_repeated([pictures, *boxes.T])
    every = [tuple(row) for row in np.column_stack([pictures, boxes]).tolist()]
    assert rows.tolist() == [i for i, row in enumerate(every) if every.count(row) > 1]
    assert {7, 300} <= set(rows.tolist())
    none = [np.zeros(0, np.int64), np.zeros(0)]
    assert detection_table._perhaps_repeated(none).tolist() == []
