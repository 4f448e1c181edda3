"""What people's tools write beside the standard: read, counted, or refused as a whole."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from said import note_of, said

from kerascnn.errors import InputError
from training.common.reading import BEFORE
from training.datasets import coco, same_bytes, yolo
from training.datasets.detection import DetectionDataset, require_masks
from training.datasets.detection_sets import scan_objects
from training.datasets.segmentation_sets import scan_maps

HEIGHT, WIDTH = 20, 40


def draw(place: Path, size: tuple[int, int] = (HEIGHT, WIDTH), **how: Any) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], "blue").save(place, **how)
    return place


def kinds(dataset: Any) -> list[str]:
    return [note.kind for note in dataset.notes]


def by_name(dataset: DetectionDataset) -> dict[str, Any]:
    """Objects by the name of the picture."""
    return {
        Path(split.names[i]).name: split.objects(i)
        for split in (dataset.train, dataset.held_out)
        for i in range(len(split))
    }


# --- COCO -----------------------------------------------------------------------------------------


def coco_set(root: Path, count: int = 20, name: str = "all.json") -> tuple[Path, dict[str, Any]]:
    """An object in each picture, with a box and a polygon."""
    content: dict[str, Any] = {
        "images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}],
    }  # fmt: skip
    for number in range(count):
        draw(root / f"{number}.png")
        content["images"].append(
            {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH}
        )
        content["annotations"].append({
            "id": 1 + number, "image_id": number, "category_id": 1, "bbox": [4, 2, 10, 8],
            "segmentation": [[4, 2, 14, 2, 14, 10, 4, 10]], "area": 80, "iscrowd": 0,
        })  # fmt: skip
    return root / name, content


def read(path: Path, content: Any, *, strict: bool = False) -> DetectionDataset:
    path.write_text(json.dumps(content))
    return coco.scan(path, seed=0, strict=strict)


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": 99},
        {"category_id": 7},
        {"category_id": None},
        {"segmentation": 5},
        {"segmentation": [[4, 2, 14, 2, 14, 1e9]]},
        {"bbox": [4, 2, -1, 8], "segmentation": []},
        {"bbox": None, "segmentation": None},
    ],
)
def test_one_broken_annotation_is_left_out(change: dict, tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    content["annotations"][3] |= change
    found = read(path, content)
    note = note_of(found, "broken-annotations")
    assert (note.count, note.finding) == (1, True)
    assert str(note).startswith("all.json: 1 of 20 annotations are broken and were left out: ")
    assert "annotation 4 " in note.examples[0]
    objects = by_name(found)
    assert len(objects["3.png"]) == 0
    assert all(len(objects[f"{i}.png"]) == 1 for i in range(20) if i != 3)
    assert objects["4.png"].ids.tolist() == [5]
    np.testing.assert_array_equal(objects["4.png"].masks[0]().sum(), 80)
    with pytest.raises(InputError, match="annotation 4 has"):
        read(path, content, strict=True)


def test_many_broken_annotations_are_no_accident(tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    for record in content["annotations"][:6]:
        record["category_id"] = 7
    with pytest.raises(InputError, match=r"6 of 20 annotations are broken, .*\(10%\); .*correct"):
        read(path, content)
    content["annotations"][0]["category_id"] = 1
    assert note_of(read(path, content), "broken-annotations").count == 5


@pytest.mark.parametrize("box", ["absent", None, [4, 2, -3, 8], "none"])
def test_a_box_comes_from_its_outline(box: Any, tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    record = content["annotations"][2]
    record["segmentation"] = [[6, 3, 12, 3, 12, 9], [20, 5, 30, 5, 30, 15.5]]
    record["bbox"] = box
    if box == "absent":
        del record["bbox"]
    found = read(path, content)
    boxes = by_name(found)["2.png"].boxes * [HEIGHT, WIDTH, HEIGHT, WIDTH]
    np.testing.assert_allclose(boxes, [[3, 6, 15.5, 30]], rtol=1e-6)
    note = note_of(found, "boxes-of-outlines")
    assert (note.count, note.examples) == (1, ("annotation 3",))
    # What is not there contradicts nothing; what is wrong does.
    if box in ("absent", None):
        assert by_name(read(path, content, strict=True))["2.png"].boxes.shape == (1, 4)
    else:
        with pytest.raises(InputError, match="annotation 3 has the bbox"):
            read(path, content, strict=True)


def test_a_box_comes_from_runs(tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:9, 7:13] = 1
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    content["annotations"][2] |= {
        "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}, "bbox": None,
    }  # fmt: skip
    objects = by_name(read(path, content))["2.png"]
    boxes = objects.boxes * [HEIGHT, WIDTH, HEIGHT, WIDTH]
    np.testing.assert_allclose(boxes, [[5, 7, 9, 13]], rtol=1e-6)
    np.testing.assert_array_equal(objects.masks[0](), mask.astype(bool))


@pytest.mark.parametrize("area", [-1, "large", float("nan")])
def test_an_impossible_area_is_measured(area: Any, tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    content["annotations"][2]["area"] = area
    found = read(path, content)
    assert by_name(found)["2.png"].areas.tolist() == [80]
    assert note_of(found, "measured-areas").examples == ("annotation 3",)
    with pytest.raises(InputError, match="annotation 3 has the area"):
        read(path, content, strict=True)


def test_sizes_that_a_file_does_not_have_are_read(tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    turned = Image.Exif()
    turned[0x0112] = 6
    draw(tmp_path / "1.png", (WIDTH, HEIGHT), exif=turned)
    whole = read(path, content)
    for image in content["images"]:
        del image["height"]
    content["images"][1]["width"] = 0
    found = read(path, content)
    assert (found.fingerprint, found.train.names) == (whole.fingerprint, whole.train.names)
    note = note_of(found, "unsized-images")
    assert (note.count, note.finding) == (20, False)
    held_out = "1.png" in (Path(name).name for name in found.held_out.names)
    split = found.held_out if held_out else found.train
    at = [Path(name).name for name in split.names].index("1.png")
    assert split.sizes[at].tolist() == [HEIGHT, WIDTH]
    assert split.picture(at).shape == (HEIGHT, WIDTH, 3)


def test_a_missing_image_is_left_out_with_its_annotations(tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    (tmp_path / "0.png").unlink()
    found = read(path, content)
    assert len(found.train) + len(found.held_out) == 19
    assert "0.png" not in by_name(found)
    assert said(found) == (
        f"all.json: 1 of 20 images are missing and were left out: {tmp_path}/0.png: no such image",
    )
    with pytest.raises(InputError, match=r"0.png: no such image; restore it"):
        read(path, content, strict=True)
    for number in range(6):
        (tmp_path / f"{number}.png").unlink(missing_ok=True)
    with pytest.raises(InputError, match="6 of 20 images are missing, which is more than may be"):
        read(path, content)


def test_images_that_are_listed_twice_are_joined(tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    content["images"].append({**content["images"][4], "id": 77})
    content["annotations"].append(
        {**content["annotations"][4], "id": 50, "image_id": 77, "bbox": [0, 0, 4, 4]}
    )
    found = read(path, content)
    assert sorted(by_name(found)["4.png"].ids.tolist()) == [5, 50]
    assert note_of(found, "repeated-images").examples == ("4.png",)


def test_an_id_of_two_images_is_no_image_s(tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    content["images"][4]["id"] = 3
    del content["annotations"][4]
    found = read(path, content)
    objects = by_name(found)
    assert (len(objects["3.png"]), len(objects["4.png"])) == (0, 0)
    assert note_of(found, "broken-images").count == 1


def test_objects_that_repeat_are_told_and_kept(tmp_path: Path) -> None:
    path, content = coco_set(tmp_path)
    content["annotations"].append({**content["annotations"][5], "id": 99})
    found = read(path, content)
    assert len(by_name(found)["5.png"]) == 2  # as pycocotools counts them
    note = note_of(found, "repeated-boxes")
    assert (note.count, note.examples) == (1, ("5.png",))


def test_two_spellings_of_a_name_are_one_class_of_coco(tmp_path: Path) -> None:
    for part, form in (("train", "NFC"), ("val", "NFD")):
        _path, content = coco_set(tmp_path / part, 6)
        content["categories"][0]["name"] = unicodedata.normalize(form, "café")  # type: ignore[arg-type]
        (tmp_path / f"{part}.json").write_text(json.dumps(content))
    found = scan_objects(str(tmp_path), seed=0)
    assert found.classes == (unicodedata.normalize("NFC", "café"),)
    assert found.held_out.objects(0).labels.tolist() == [0]


@pytest.mark.parametrize("where", [".", "annotations"])
def test_files_that_are_called_as_their_splits(where: str, tmp_path: Path) -> None:
    for part, count in (("train", 6), ("val", 3)):
        _path, content = coco_set(tmp_path / part, count)
        (tmp_path / where).mkdir(exist_ok=True)
        (tmp_path / where / f"{part}.json").write_text(json.dumps(content))
    found = scan_objects(str(tmp_path), seed=0)
    assert (len(found.train), len(found.held_out)) == (6, 3)
    assert {Path(name).parent.name for name in found.held_out.names} == {"val"}
    one = scan_objects(str(tmp_path / where / "train.json"), seed=0)
    assert (len(one.train), len(one.held_out)) == (5, 1)
    other = tmp_path / where / "val.json"
    assert said(one) == (
        f"{other} beside it is not used, and images to measure on are held out of train.json; to "
        f"measure on it give --val-data {other}, or the folder: --data {tmp_path}",
    )
    both = scan_objects(str(tmp_path / where / "train.json"), seed=0, val_data=str(other))
    assert (len(both.train), both.held_out.names) == (6, found.held_out.names)
    assert said(both) == ()


# --- YOLO -----------------------------------------------------------------------------------------

BOX = "0 0.5 0.5 0.25 0.5\n"


def fill(folder: Path, count: int, lines: str | None = BOX, first: int = 0) -> None:
    labels = Path(str(folder).replace("/images", "/labels"))
    labels.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        draw(folder / f"{number}.png")
        if lines is not None:
            (labels / f"{number}.txt").write_text(lines)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """As Roboflow exports it: no test split, but a line that names it."""
    fill(tmp_path / "train" / "images", 12)
    fill(tmp_path / "valid" / "images", 3, first=12)
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\n"
        "names: ['cat', 'dog']\n"
    )
    return tmp_path


def test_a_split_that_is_not_there_is_told(exported: Path) -> None:
    found = yolo.scan(exported, seed=0)
    assert (len(found.train), found.validation, len(found.held_out)) == (12, None, 3)
    assert said(found)[0] == (
        f"the test split was left out: {exported}/../test/images: no such folder, but "
        f"{exported}/data.yaml names it"
    )
    shutil.rmtree(exported / "valid")
    with pytest.raises(InputError, match=r"valid/images: no such folder, but .*; correct the path"):
        yolo.scan(exported, seed=0)
    fill(exported / "test" / "images", 2, lines=None, first=20)  # images without labels
    with pytest.raises(InputError, match="valid/images: no such folder"):
        yolo.scan(exported, seed=0)
    fill(exported / "valid" / "images", 2, first=12)
    two = yolo.scan(exported, seed=0)
    assert (len(two.held_out), kinds(two)[0]) == (2, "absent-split")
    assert "test/labels/20.txt: no such file, nor any other with labels" in said(two)[0]


def test_backslashes_are_folders(exported: Path) -> None:
    text = (exported / "data.yaml").read_text().replace("/", "\\")
    (exported / "data.yaml").write_text(f"path: .\\nowhere\n{text}")
    assert len(yolo.scan(exported, seed=0).held_out) == 3
    (exported / "list.txt").write_text("valid\\images\\12.png\n.\\valid\\images\\13.png\n")
    (exported / "data.yaml").write_text("train: train\\images\nval: list.txt\nnames: [cat]\n")
    assert len(yolo.scan(exported, seed=0).held_out) == 2


def test_classes_without_names(exported: Path) -> None:
    (exported / "data.yaml").write_text("train: train/images\nval: valid/images\nnc: 3\n")
    found = yolo.scan(exported, seed=0)
    assert found.classes == ("0", "1", "2")
    assert said(found)[0] == 'data.yaml has nc and no names: classes are called "0" to "2"'


@pytest.mark.parametrize(
    ("labels", "classes", "how"),
    [
        (("0", "1"), ["cat", "dog"], "and labels from 0 on"),
        (("1", "2"), ["cat", "dog"], "and so are the labels"),
        (("1", "1"), ["cat", "cat"], "and so are the labels"),
    ],
)
def test_names_that_are_numbered_from_one(
    labels: tuple[str, str], classes: list[str], how: str, exported: Path
) -> None:
    (exported / "data.yaml").write_text(
        "train: train/images\nval: valid/images\nnames: {1: cat, '2': dog}\n"
    )
    for number in range(15):
        part = "train" if number < 12 else "valid"
        file = exported / part / "labels" / f"{number}.txt"
        file.write_text(BOX.replace("0 ", f"{labels[number % 2]} ", 1))
    found = yolo.scan(exported, seed=0)
    assert found.classes == ("cat", "dog")
    assert how in str(note_of(found, "numbered-classes"))
    for number in (0, 1):
        (label,) = by_name(found)[f"{number}.png"].labels
        assert found.classes[label] == classes[number]


def test_a_wrong_count_of_classes_is_told(exported: Path) -> None:
    text = (exported / "data.yaml").read_text().replace("nc: 2", "nc: 5")
    (exported / "data.yaml").write_text(text)
    found = yolo.scan(exported, seed=0)
    assert found.classes == ("cat", "dog")
    assert "nc is 5, and there are 2 names: these count" in str(note_of(found, "class-count"))
    with pytest.raises(InputError, match="nc is not 2"):
        yolo.scan(exported, seed=0, strict=True)


def test_coordinates_a_little_outside_are_clipped(exported: Path) -> None:
    (exported / "train" / "labels" / "0.txt").write_text("0 0.5 0.5 1.0021 0.5\n")
    (exported / "train" / "labels" / "1.txt").write_text("0 0.9 0.1 1.0021 0.1 1.04 0.5\n")
    found = yolo.scan(exported, seed=0)
    objects = by_name(found)
    np.testing.assert_allclose(objects["0.png"].boxes, [[0.25, 0, 0.75, 1]], rtol=1e-6)
    np.testing.assert_allclose(objects["1.png"].boxes, [[0.1, 0.9, 0.5, 1]], rtol=1e-6)
    note = note_of(found, "clipped-boxes")
    assert (note.count, note.examples) == (2, ("train/images/0.png", "train/images/1.png"))
    with pytest.raises(InputError, match=r"0.txt, line 1: 1.0021 is not a number from 0 to 1"):
        yolo.scan(exported, seed=0, strict=True)
    (exported / "train" / "labels" / "0.txt").write_text(f"{BOX}0 0.5 0.5 1.051 0.5\n")
    found = yolo.scan(exported, seed=0)
    assert len(by_name(found)["0.png"]) == 1
    note = note_of(found, "broken-annotations")
    assert note.examples == (
        f"{exported}/train/labels/0.txt, line 2: 1.051 is not a number from 0 to 1",
    )


def test_many_broken_lines_are_no_accident(exported: Path) -> None:
    for number in range(6):  # in pixels
        (exported / "train" / "labels" / f"{number}.txt").write_text("0 20 10 8 4\n")
    with pytest.raises(InputError, match="6 of 12 lines of labels are broken, which is more"):
        yolo.scan(exported, seed=0)
    (exported / "train" / "labels" / "0.txt").write_text(BOX)
    assert note_of(yolo.scan(exported, seed=0), "broken-annotations").count == 5


def test_a_line_that_repeats_is_one_object(exported: Path) -> None:
    (exported / "train" / "labels" / "0.txt").write_text(f"{BOX}1 0.5 0.5 0.1 0.1\n{BOX}{BOX}")
    found = yolo.scan(exported, seed=0)
    assert by_name(found)["0.png"].labels.tolist() == [0, 1]
    note = note_of(found, "repeated-lines")
    assert (note.count, str(note)) == (
        2, "train: 2 lines of labels repeat another one of their file: left out",
    )  # fmt: skip
    # A run that learnt from all of them goes on so.
    before = yolo.scan(exported, seed=0, reading=BEFORE)
    assert by_name(before)["0.png"].labels.tolist() == [0, 1, 0, 0]
    assert before.fingerprint != found.fingerprint


def test_an_unreadable_file_of_labels_leaves_its_image_out(exported: Path) -> None:
    (exported / "train" / "labels" / "0.txt").write_bytes(b"\xff\xfe\x00")
    found = yolo.scan(exported, seed=0)
    assert len(found.train) == 11
    assert note_of(found, "unreadable-labels").count == 1


def test_an_unreadable_image_is_left_out(exported: Path) -> None:
    (exported / "train" / "images" / "0.png").write_bytes(b"none")
    found = yolo.scan(exported, seed=0)
    assert (len(found.train), note_of(found, "unreadable-images").count) == (11, 1)
    with pytest.raises(InputError, match=r"0.png is not a readable"):
        yolo.scan(exported, seed=0, strict=True)


def test_labels_may_lie_in_both_places(exported: Path) -> None:
    for number in range(4):
        labels = exported / "train" / "labels" / f"{number}.txt"
        labels.rename(exported / "train" / "images" / f"{number}.txt")
    found = yolo.scan(exported, seed=0)
    assert all(len(objects) == 1 for objects in by_name(found).values())
    assert note_of(found, "labels-in-two-places").count == 4
    before = by_name(yolo.scan(exported, seed=0, reading=BEFORE))
    assert sum(map(len, before.values())) == 11


def test_two_images_with_the_same_labels_are_named(exported: Path) -> None:
    draw(exported / "train" / "images" / "3.jpg")
    found = yolo.scan(exported, seed=0)
    note = note_of(found, "shared-labels")
    names = [str(exported / "train" / "images" / name) for name in ("3.jpg", "3.png")]
    assert (note.count, sorted(note.examples)) == (2, sorted(names))
    assert len(found.train) == 13


def test_hidden_folders_are_left_out_and_links_followed(exported: Path) -> None:
    images = exported / "train" / "images"
    draw(images / ".ipynb_checkpoints" / "0-checkpoint.png")
    draw(images / "@eaDir" / "0.png" / "thumb.png")
    draw(exported / "far" / "a.png")
    (images / "linked").symlink_to(exported / "far")
    found = yolo.scan(exported, seed=0)
    names = [Path(name).relative_to(images).as_posix() for name in found.train.names]
    assert sorted(names) == sorted([*(f"{i}.png" for i in range(12)), "linked/a.png"])
    assert note_of(found, "hidden").count == 2


# --- Pascal VOC -----------------------------------------------------------------------------------


def voc_set(root: Path, count: int = 12, name: str = "cat") -> Path:
    for number in range(count):
        draw(root / "JPEGImages" / f"{number}.png")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{number}.xml").write_text(xml(name, number))
    return root


def xml(name: str, number: int, box: tuple = (1, 1, 10, 10)) -> str:
    left, top, right, bottom = box
    return (
        f"<annotation><filename>{number}.png</filename><object><name>{name}</name><bndbox>"
        f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>"
        "</object></annotation>"
    )


@pytest.mark.parametrize("how", ["box", "name", "xml", "image"])
def test_what_is_broken_of_pascal_voc_is_left_out(how: str, tmp_path: Path) -> None:
    root = voc_set(tmp_path)
    file, kind = root / "Annotations" / "5.xml", "broken-annotations"
    if how == "box":
        file.write_text(xml("cat", 5, (8, 1, 3, 10)))
    elif how == "name":
        file.write_text(xml("", 5))
    elif how == "xml":
        file.write_text("<annotation>")
        kind = "unreadable-labels"
    else:
        (root / "JPEGImages" / "5.png").unlink()
        kind = "missing-images"
    found = scan_objects(str(root), seed=0)
    assert note_of(found, kind).count == 1
    assert "5.xml" in note_of(found, kind).examples[0]
    objects = by_name(found)
    if kind == "broken-annotations":
        assert len(objects.pop("5.png")) == 0
    assert len(objects) == 11
    assert all(len(one) == 1 for one in objects.values())
    with pytest.raises(InputError, match=r"5.xml"):
        scan_objects(str(root), seed=0, strict=True)


def test_a_class_that_only_a_held_out_object_has_is_left_out(tmp_path: Path) -> None:
    root = voc_set(tmp_path, 12)
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{i}\n" for i in range(6)))
    (lists / "val.txt").write_text("".join(f"{i}\n" for i in range(6, 12)))
    (root / "Annotations" / "7.xml").write_text(xml("catt", 7))
    found = scan_objects(str(root), seed=0)
    assert found.classes == ("cat",)
    assert note_of(found, "unknown-classes").count == 1
    assert len(by_name(found)["7.png"]) == 0
    with pytest.raises(InputError, match="no training image has an object of class 'catt'"):
        scan_objects(str(root), seed=0, strict=True)


def test_two_spellings_of_a_name_are_one_class_of_pascal_voc(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = voc_set(tmp_path, 12, name=composed)
    for number in range(4):
        (root / "Annotations" / f"{number}.xml").write_text(xml(apart, number))
    found = scan_objects(str(root), seed=0)
    assert len(found.classes) == 1
    assert all(one.labels.tolist() == [0] for one in by_name(found).values())


def test_a_held_out_folder_of_pascal_voc(tmp_path: Path) -> None:
    learnt, measured = voc_set(tmp_path / "a"), voc_set(tmp_path / "b", 3)
    found = scan_objects(str(learnt), seed=0, val_data=str(measured))
    assert (len(found.train), len(found.held_out)) == (12, 3)
    for number in range(3):
        (measured / "Annotations" / f"{number}.xml").write_text(xml("dog", number))
    with pytest.raises(InputError, match=r"has classes that .* has not: dog"):
        scan_objects(str(learnt), seed=0, val_data=str(measured))


# --- Masks ----------------------------------------------------------------------------------------


def mask_set(root: Path, count: int = 12, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    for number in range(count):
        draw(root / "images" / f"{number}.png")
        values = np.zeros(size, np.uint8)
        values[2:9, 3:7] = 1 + number % 2
        place = root / "masks" / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(place)
    return root


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("missing", "missing-masks"),
        ("size", "broken-masks"),
        ("none", "broken-masks"),
        ("transparent", "broken-masks"),
        ("image", "unreadable-images"),
    ],
)
def test_a_broken_mask_is_left_out(how: str, kind: str, tmp_path: Path) -> None:
    root = mask_set(tmp_path)
    mask = root / "masks" / "5.png"
    if how == "missing":
        mask.unlink()
    elif how == "size":
        Image.new("L", (WIDTH + 1, HEIGHT)).save(mask)
    elif how == "none":
        mask.write_bytes(b"none")
    elif how == "transparent":
        Image.new("RGBA", (WIDTH, HEIGHT)).save(mask)
    else:
        (root / "images" / "5.png").write_bytes(b"none")
    found = scan_maps(str(root), seed=0)
    assert found.classes == ("class_0", "class_1", "class_2")
    assert len(found.train) + len(found.held_out) == 11
    assert note_of(found, kind).count == 1
    assert "5.png" in note_of(found, kind).examples[0]
    for split in (found.train, found.held_out):
        for i, name in enumerate(split.names):
            assert split.label_map(i).max() == 1 + int(Path(name).stem) % 2
    with pytest.raises(InputError, match=r"5.png"):
        scan_maps(str(root), seed=0, strict=True)


def test_many_missing_masks_are_no_accident(tmp_path: Path) -> None:
    root = mask_set(tmp_path)
    for number in range(6):
        (root / "masks" / f"{number}.png").unlink()
    with pytest.raises(InputError, match="6 of 12 images have no mask of their own, which is more"):
        scan_maps(str(root), seed=0)


def test_two_images_with_one_mask(tmp_path: Path) -> None:
    root = mask_set(tmp_path)
    draw(root / "images" / "3.jpg")
    found = scan_maps(str(root), seed=0)
    assert len(found.train) + len(found.held_out) == 12
    assert "3.jpg and " in note_of(found, "missing-masks").examples[0]


def test_hidden_masks_are_left_out_and_links_followed(tmp_path: Path) -> None:
    root = mask_set(tmp_path / "set")
    other = mask_set(tmp_path / "far", 2)
    for name in ("images", "masks"):
        (root / name / "more").symlink_to(other / name)
        shutil.copytree(other / name, root / name / "@eaDir")
    found = scan_maps(str(root), seed=0)
    assert len(found.train) + len(found.held_out) == 14
    assert note_of(found, "hidden").count == 2
    assert len(scan_maps(str(root), seed=0, reading=BEFORE).train) == 11  # @eaDir and no link


def test_a_mask_of_pascal_voc_may_be_missing(tmp_path: Path) -> None:
    for number in range(12):
        draw(tmp_path / "JPEGImages" / f"{number}.jpg")
        values = np.zeros((HEIGHT, WIDTH), np.uint8)
        values[2:9, 3:7] = 1 + number % 20
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "SegmentationClass" / f"{number}.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("".join(f"{i}\n" for i in range(12)))
    (tmp_path / "SegmentationClass" / "5.png").unlink()
    (tmp_path / "JPEGImages" / "6.jpg").unlink()
    found = scan_maps(str(tmp_path), seed=0)
    assert len(found.train) + len(found.held_out) == 10
    assert note_of(found, "missing-masks").count == 2
    with pytest.raises(InputError, match=r"5.png: no such mask, and a list names it; restore it"):
        scan_maps(str(tmp_path), seed=0, strict=True)


# --- All ------------------------------------------------------------------------------------------


def test_masks_are_required_of_held_out_objects_too(tmp_path: Path) -> None:
    path, content = coco_set(tmp_path / "a")
    path.write_text(json.dumps(content))
    boxes = voc_set(tmp_path / "b")
    found = scan_objects(str(path), seed=0, val_data=str(boxes))
    require_masks(found.train, found.validation)
    with pytest.raises(InputError, match=r"b/.*.png: objects have boxes alone, and no masks; give"):
        require_masks(found.train, found.validation, found.held_out)


def test_the_same_bytes_under_other_names(exported: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "valid"):
        for file in (exported / part / "images").iterdir():
            Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(file)
    images = exported / "train" / "images"
    shutil.copy(images / "0.png", exported / "valid" / "images" / "13.png")
    found = same_bytes.noted(scan_objects(str(exported), seed=0))
    note = note_of(found, "same-bytes")
    assert (note.count, note.examples) == (1, (str(exported / "valid" / "images" / "13.png"),))
    maps = mask_set(exported / "maps")
    assert "same-bytes" in kinds(same_bytes.noted(scan_maps(str(maps), seed=0)))  # all are blue
    scenes = scan_objects("scenes:96@40+6", seed=0)
    assert same_bytes.noted(scenes) is scenes
