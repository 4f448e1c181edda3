"""What holds for the reader of every form of data; a new reader is one more row of READERS."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from marks import IN_CI
from PIL import Image

from kerascnn.errors import InputError
from training import datasets
from training.datasets.detection_sets import scan_objects
from training.datasets.header import read_header
from training.datasets.pack import pack
from training.datasets.segmentation_sets import scan_maps

COUNT, HEIGHT, WIDTH = 24, 20, 30
CLASSES = ("cat", "dog")
BOX = (4, 3, 14, 12)  # top, left, bottom, right


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reader:
    """A form of data, and what of the contract it leaves to others.

    Attributes:
        scan: the task's door: of a place, the seed and `val_data`.
        write: puts COUNT images with their truth into a folder, and gives the place to scan.
        listed: annotations name the images, so that one can be missing.
        splits: the data has splits of its own, which keep their use.
        decoded_later: a scan opens no image, so that broken ones are found where they are decoded.
    """

    scan: Callable[..., Any]
    write: Callable[[Path], Path]
    listed: bool = True
    splits: bool = False
    decoded_later: bool = False


def image(path: Path, number: int) -> None:
    """Pixels of their own in each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def class_folders(root: Path) -> Path:
    for number in range(COUNT):
        image(root / CLASSES[number % 2] / f"{number:02}.png", number)
    return root


def class_folders_with_splits(root: Path) -> Path:
    for number in range(COUNT):
        part = ("train", "train", "val", "test")[number // 2 % 4]
        image(root / part / CLASSES[number % 2] / f"{number:02}.png", number)
    return root


def table(root: Path) -> Path:
    rows = ["file,label"]
    for number in range(COUNT):
        image(root / "images" / f"{number:02}.png", number)
        rows.append(f"{number:02},{CLASSES[number % 2]}")
    (root / "labels.csv").write_text("\n".join(rows))
    return root / "labels.csv"


def table_with_splits(root: Path) -> Path:
    rows = []
    for number in range(COUNT):
        image(root / f"{number:02}.png", number)
        part = ("train", "train", "valid", "test")[number // 2 % 4]
        rows.append(f"{number:02}.png;{CLASSES[number % 2]};{part}")
    (root / "labels.csv").write_text("\n".join(rows))
    return root / "labels.csv"


def image_folder(root: Path) -> Path:
    """Hugging Face's form with splits."""
    for number in range(COUNT):
        part = ("train", "train", "validation", "test")[number // 2 % 4]
        image(root / part / f"{number:02}.png", number)
        with (root / part / "metadata.jsonl").open("a") as file:
            row = {"file_name": f"{number:02}.png", "label": CLASSES[number % 2]}
            file.write(json.dumps(row) + "\n")
    return root


def parquet_files(root: Path) -> Path:
    """As `datasets.Dataset.to_parquet` writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for number in range(COUNT):
        image(root.parent / "one.png", number)
        encoded = (root.parent / "one.png").read_bytes()
        rows.append({"image": {"bytes": encoded, "path": f"{number:02}.png"}, "label": number % 2})
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    (root / "data").mkdir(parents=True)
    for shard in range(2):
        part = pa.Table.from_pylist(rows[12 * shard : 12 * shard + 12])
        path = root / "data" / f"train-{shard:05}-of-00002.parquet"
        pq.write_table(part.replace_schema_metadata(told), path, row_group_size=5)
    return root


def packed(root: Path) -> Path:
    source = class_folders(root.parent / f"{root.name}-source")
    dataset = datasets.scan(str(source), seed=0, to_pack=True)
    pack(dataset, root, seed=0, split_seed=0, report=lambda _line: None)
    return root


def coco(root: Path) -> Path:
    images, annotations = [], []
    top, left, bottom, right = BOX
    outline = [left, top, right, top, right, bottom, left, bottom]
    for number in range(COUNT):
        image(root / f"{number:02}.png", number)
        size = {"width": WIDTH, "height": HEIGHT}
        images.append({"id": number, "file_name": f"{number:02}.png", **size})
        annotations.append({
            "id": number + 1, "image_id": number, "category_id": 1 + number % 2, "iscrowd": 0,
            "bbox": [left, top, right - left, bottom - top], "segmentation": [outline],
            "area": (right - left) * (bottom - top),
        })  # fmt: skip
    categories = [{"id": 1 + label, "name": name} for label, name in enumerate(CLASSES)]
    told = {"images": images, "annotations": annotations, "categories": categories}
    (root / "all.json").write_text(json.dumps(told))
    return root / "all.json"


def voc(root: Path) -> Path:
    top, left, bottom, right = BOX
    for number in range(COUNT):
        image(root / f"{number:02}.png", number)
        (root / f"{number:02}.xml").write_text(
            f"<annotation><filename>{number:02}.png</filename><size><width>{WIDTH}</width>"
            f"<height>{HEIGHT}</height><depth>3</depth></size><object>"
            f"<name>{CLASSES[number % 2]}</name><bndbox><xmin>{left + 1}</xmin>"
            f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            "</annotation>"
        )
    return root


def yolo(root: Path) -> Path:
    top, left, bottom, right = BOX
    row = np.array([left + right, top + bottom, 2 * (right - left), 2 * (bottom - top)]) / 2
    row = row / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    for number in range(COUNT):
        image(root / "images" / f"{number:02}.png", number)
        label = root / "labels" / f"{number:02}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text(" ".join(map(str, (number % 2, *row))))
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


def masks(root: Path) -> Path:
    top, left, bottom, right = BOX
    for number in range(COUNT):
        image(root / "images" / f"{number:02}.png", number)
        values = np.zeros((HEIGHT, WIDTH), np.uint8)
        values[top:bottom, left:right] = 1 + number % 2
        place = root / "masks" / f"{number:02}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(place)
    (root / "classes.txt").write_text("\n".join(("background", *CLASSES)))
    return root


READERS = {
    "class folders": Reader(
        scan=datasets.scan, write=class_folders, listed=False, decoded_later=True
    ),
    "class folders with splits": Reader(
        scan=datasets.scan,
        write=class_folders_with_splits,
        listed=False,
        splits=True,
        decoded_later=True,
    ),
    "table": Reader(scan=datasets.scan, write=table, decoded_later=True),
    "table with splits": Reader(
        scan=datasets.scan, write=table_with_splits, splits=True, decoded_later=True
    ),
    "image folder": Reader(scan=datasets.scan, write=image_folder, splits=True, decoded_later=True),
    "parquet": Reader(scan=datasets.scan, write=parquet_files, listed=False, decoded_later=True),
    "pack": Reader(scan=datasets.scan, write=packed, listed=False, splits=True, decoded_later=True),
    "COCO": Reader(scan=scan_objects, write=coco, decoded_later=True),
    "Pascal VOC": Reader(scan=scan_objects, write=voc, decoded_later=True),
    "YOLO": Reader(scan=scan_objects, write=yolo, listed=False),
    "masks": Reader(scan=scan_maps, write=masks, listed=False),
    "COCO as masks": Reader(scan=scan_maps, write=coco, decoded_later=True),
}
every = pytest.mark.parametrize("form", READERS)
# The images of others are no files.
of_files = pytest.mark.parametrize(
    "form", [form for form in READERS if form not in ("pack", "parquet")]
)


@pytest.fixture
def reader(form: str) -> Reader:
    return READERS[form]


@pytest.fixture
def place(reader: Reader, tmp_path: Path) -> Path:
    return reader.write(tmp_path / "data")


def splits(found: Any) -> list[Any]:
    return [split for split in (found.train, found.validation, found.held_out) if split is not None]


def images(found: Any) -> list[str]:
    """The names of all images, as they were written."""
    return sorted(Path(name).name for split in splits(found) for name in split.names)


def kinds(found: Any) -> set[str]:
    return {note.kind for note in found.notes if note.finding}


WHOLE = [f"{number:02}.png" for number in range(COUNT)]


@every
def test_each_image_is_in_one_split(reader: Reader, place: Path) -> None:
    found = reader.scan(str(place), seed=0)
    assert images(found) == WHOLE
    assert len(found.train) > len(found.held_out) > 0
    assert [name for name in found.classes if name != "background"] == list(CLASSES)
    assert kinds(found) == set()


@every
def test_a_seed_means_a_split_and_its_fingerprint(reader: Reader, place: Path) -> None:
    one, same, other = (reader.scan(str(place), seed=seed) for seed in (0, 0, 1))
    assert [split.names for split in splits(one)] == [split.names for split in splits(same)]
    assert one.fingerprint == same.fingerprint
    assert images(other) == WHOLE
    same_split = one.train.names == other.train.names
    assert same_split == (one.fingerprint == other.fingerprint)


@of_files
def test_another_image_is_another_fingerprint(reader: Reader, place: Path) -> None:
    before = reader.scan(str(place), seed=0)
    changed = Path(before.train.names[0])
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(changed)
    after = reader.scan(str(place), seed=0)
    assert images(after) == WHOLE
    assert after.fingerprint != before.fingerprint


@every
def test_a_place_that_is_not_there_is_refused(reader: Reader, place: Path) -> None:
    missing = place.parent / "nowhere" / place.name
    with pytest.raises(InputError) as refused:
        reader.scan(str(missing), seed=0)
    assert "nowhere" in str(refused.value)
    assert "\n" not in str(refused.value)


@every
def test_an_empty_place_is_refused(reader: Reader, place: Path) -> None:
    if place.is_file():
        place.write_text("{}")
    else:
        shutil.rmtree(place)
        place.mkdir()
    with pytest.raises(InputError) as refused:
        reader.scan(str(place), seed=0)
    assert place.parent.name in str(refused.value)
    assert "\n" not in str(refused.value)


@of_files
def test_hidden_parts_are_left_out(reader: Reader, place: Path) -> None:
    sound = reader.scan(str(place), seed=0)
    beside = Path(sound.train.names[0]).parent
    image(beside / "._00.png", 90)
    image(beside / ".thumbnails" / "91.png", 91)
    image(beside / "__MACOSX" / "92.png", 92)
    found = reader.scan(str(place), seed=0)
    assert [split.names for split in splits(found)] == [split.names for split in splits(sound)]
    assert found.fingerprint == sound.fingerprint


@of_files
def test_an_image_that_is_none_is_left_out_and_named(reader: Reader, place: Path) -> None:
    broken = Path(reader.scan(str(place), seed=0).train.names[3])
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match=broken.name):
        read_header(str(broken))
    if reader.decoded_later:
        assert images(reader.scan(str(place), seed=0)) == WHOLE
        return
    found = reader.scan(str(place), seed=0)
    assert images(found) == [name for name in WHOLE if name != broken.name]
    (note,) = [note for note in found.notes if note.kind == "unreadable-images"]
    assert note.count == 1
    assert broken.name in " ".join((note.text, *note.examples))
    with pytest.raises(InputError, match=broken.name):
        reader.scan(str(place), seed=0, strict=True)


@of_files
def test_an_image_that_is_missing(reader: Reader, place: Path) -> None:
    """It is told where something names it; else nobody knows of it."""
    missing = Path(reader.scan(str(place), seed=0).train.names[3])
    missing.unlink()
    found = reader.scan(str(place), seed=0)
    assert images(found) == [name for name in WHOLE if name != missing.name]
    if reader.listed:
        (note,) = [note for note in found.notes if note.kind == "missing-images"]
        assert note.count == 1
        assert missing.stem in " ".join((note.text, *note.examples))


@every
def test_a_held_out_set_of_its_own(reader: Reader, place: Path, tmp_path: Path) -> None:
    other = reader.write(tmp_path / "other")
    alone = reader.scan(str(place), seed=0)
    found = reader.scan(str(place), seed=0, val_data=str(other))
    assert found.classes == alone.classes
    assert found.fingerprint != alone.fingerprint
    learnt, measured = (
        {Path(name).name for name in split.names} for split in (found.train, found.held_out)
    )
    if reader.splits:  # they keep their use, in both
        assert learnt == {Path(name).name for name in alone.train.names}
        assert measured == {Path(name).name for name in alone.held_out.names}
    else:
        assert learnt == measured == set(WHOLE)
    # Nothing is drawn by chance.
    assert reader.scan(str(place), seed=1, val_data=str(other)).train.names == found.train.names


@every
def test_an_image_that_is_learnt_from_is_not_held_out_unsaid(reader: Reader, place: Path) -> None:
    if reader.write in (class_folders, class_folders_with_splits):
        with pytest.raises(InputError, match="cannot be learnt from and be held out"):
            reader.scan(str(place), seed=0, val_data=str(place))
        return
    found = reader.scan(str(place), seed=0, val_data=str(place))
    both = len(set(found.train.names) & set(found.held_out.names))
    told = [note.count for note in found.notes if note.kind == "held-out-in-training"]
    assert told == ([both] if both else [])


@pytest.mark.parametrize(
    ("scan", "spec"),
    [
        (datasets.scan, "mnist"),
        pytest.param(datasets.scan, "scenes-digits", marks=IN_CI),  # each one is drawn
        (scan_objects, "scenes:64@8+4"),
        (scan_maps, "scenes:64@8+4"),
    ],
)
def test_embedded_sets_come_whole_and_always_the_same(scan: Any, spec: str) -> None:
    one, other = scan(spec, seed=0), scan(spec, seed=1)
    names = [name for split in splits(one) for name in split.names]
    assert len(set(names)) == len(names)
    assert one.fingerprint == other.fingerprint
    assert [split.names for split in splits(one)] == [split.names for split in splits(other)]
