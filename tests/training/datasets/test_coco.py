"""COCO's JSON: layouts, oddities, and the same boxes, areas, crowds and masks as pycocotools."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_sets
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from said import said

from kerascnn.errors import InputError
from training.datasets import coco, coco_file
from training.datasets.detection import DetectionDataset

HEIGHT, WIDTH = 20, 30
CATEGORIES = [{"id": 90, "name": "zebra"}, {"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]


def images(count: int, first: int = 1) -> list[dict]:
    numbers = range(first, first + count)
    return [
        {"id": i, "file_name": f"{i:03}.png", "height": HEIGHT, "width": WIDTH} for i in numbers
    ]


def annotation(number: int, image: int, bbox: list, category: int = 1, **fields: Any) -> dict:
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **fields}


def save(path: Path, content: dict, pictures: Path | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    for image in content.get("images", ()) if pictures else ():
        place = pictures / image["file_name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (image["id"], 0, 0)).save(place)
    return path


def plain(count: int = 4, first: int = 1) -> dict:
    """A picture's object each."""
    annotations = [
        annotation(i, i, [2, 3, 10, 5], area=50, iscrowd=0) for i in range(first, first + count)
    ]
    return {
        "images": images(count, first),
        "annotations": annotations,
        "categories": copy.deepcopy(CATEGORIES),
    }


def uncompressed(mask: np.ndarray) -> dict:
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, flat.size]).tolist()}


def compressed(mask: np.ndarray) -> dict:
    encoded = rle.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def odd() -> dict:
    """All that is not plain and is taken."""
    blob = (np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.5).astype(np.uint8)
    content = plain(6)
    content["annotations"] = [
        annotation(7, 2, [1.5, 2.25, 10.1, 5.3], 90, area=40.5, iscrowd=0,
                   segmentation=[[1.5, 2.3, 11.6, 2.3, 11.6, 7.5], [20.1, 10, 25, 10, 25, 15.5]]),
        annotation(3, 1, [-4, -2, 10, 8], 3, area=12, iscrowd=0,
                   segmentation=[[-4, -2, 6, -2, 6, 6]]),
        annotation(9, 2, [0, 0, 30, 20], 1, area=300, iscrowd=1, segmentation=uncompressed(blob)),
        annotation(4, 4, [5, 5, 10, 10], 1, iscrowd=0, segmentation=compressed(blob)),
        annotation(5, 4, [5, 5, 10, 10], 1, area=None, segmentation=[]),
        annotation(6, 4, [25, 15, 50, 50], 1, area=1e-3, iscrowd=False),
        annotation(8, 5, [40, 0, 5, 5], 1, area=25, iscrowd=0),
        annotation(10, 5, [4, 4, 0, 5], 1, area=0, iscrowd=0),
        annotation(2, 6, [0.1, 0.1, 29.9, 19.9], 1, area=5, iscrowd=0),
    ]  # fmt: skip
    return content


def everything(dataset: DetectionDataset) -> dict:
    """Name to (picture's size, objects) over both splits."""
    return {
        Path(split.names[i]).name: (split.sizes[i].tolist(), split.objects(i))
        for split in (dataset.train, dataset.held_out)
        for i in range(len(split))
    }


def refused(content: Any, path: Path, match: str) -> None:
    save(path, content)
    with pytest.raises(InputError, match=match) as caught:
        coco.scan(path, seed=0, strict=True)
    assert "\n" not in str(caught.value)


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return save(tmp_path / "instances_val2017.json", plain(10), tmp_path / "val2017")


def test_the_same_as_pycocotools(tmp_path: Path) -> None:
    path = save(tmp_path / "odd.json", odd(), tmp_path)
    dataset = coco.scan(path, seed=0)
    assert dataset.classes == ("cat", "dog", "zebra")
    assert dataset.category_ids == (1, 3, 90)
    found = everything(dataset)
    assert len(found) == 6
    peer = COCO(str(path))
    for image_id, image in peer.imgs.items():
        size, objects = found[image["file_name"]]
        assert size == [HEIGHT, WIDTH]
        wanted = [a for a in peer.imgToAnns[image_id] if a["id"] not in (8, 10)]
        assert objects.ids.tolist() == [a["id"] for a in wanted]
        numbers = [dataset.category_ids[label] for label in objects.labels]
        assert numbers == [a["category_id"] for a in wanted]
        assert objects.crowd.tolist() == [bool(a.get("iscrowd")) for a in wanted]
        for i, a in enumerate(wanted):
            left, top, width, height = a["bbox"]
            box = np.clip([top, left, top + height, left + width], 0, [HEIGHT, WIDTH] * 2)
            np.testing.assert_allclose(objects.boxes[i], box / ([HEIGHT, WIDTH] * 2), rtol=1e-6)
            assert objects.masks is not None
            mask = objects.masks[i]()
            assert mask.dtype == bool
            assert mask.shape == (HEIGHT, WIDTH)
            if a.get("segmentation"):
                np.testing.assert_array_equal(mask, peer.annToMask(a))
            area = a.get("area")
            if area is None:
                area = peer.annToMask(a).sum() if a["segmentation"] else 100
            assert objects.areas[i] == pytest.approx(area)
    for _, objects in found.values():
        kinds = [getattr(objects, name).dtype for name in ("boxes", "labels", "areas", "ids")]
        assert kinds == [np.float32, np.int32, np.float32, np.int64]


def test_what_was_changed_is_told(tmp_path: Path) -> None:
    dataset = coco.scan(save(tmp_path / "odd.json", odd(), tmp_path), seed=0)
    assert said(dataset)[:2] == (
        "odd.json: 2 of 9 boxes were clipped to their images",
        "odd.json: 2 of 9 boxes without an area inside their images were dropped, in training "
        "and in evaluation",
    )
    assert len(everything(dataset)["005.png"][1]) == 0


def test_a_box_is_a_mask_where_others_have_outlines(tmp_path: Path) -> None:
    dataset = coco.scan(save(tmp_path / "odd.json", odd(), tmp_path), seed=0)
    objects = everything(dataset)["004.png"][1]
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[5:15, 5:15] = True
    np.testing.assert_array_equal(objects.masks[1](), wanted)


def test_without_outlines_there_are_no_masks(single: Path) -> None:
    dataset = coco.scan(single, seed=0)
    assert all(objects.masks is None for _, objects in everything(dataset).values())
    content = plain(10)
    for record in content["annotations"]:
        record |= {"segmentation": [[1, 1, 5, 5]], "area": None}
    dataset = coco.scan(save(single, content), seed=0)
    assert all(objects.masks is None for _, objects in everything(dataset).values())
    assert dataset.train.objects(0).areas.tolist() == [50]
    assert "10 polygons of fewer than three points were left out" in said(dataset)[0]


def test_a_single_file_is_split_by_seed(single: Path) -> None:
    one, same, other = (coco.scan(single, seed=s) for s in (0, 0, 1))
    assert (len(one.train), len(one.held_out), one.validation) == (8, 2, None)
    assert one.held_out.names == same.held_out.names != other.held_out.names
    assert not set(one.train.names) & set(one.held_out.names)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.train.picture(0)[0, 0].tolist() == [int(Path(one.train.names[0]).stem), 0, 0]
    assert "2 classes have no training object: dog, zebra" in said(one)


@pytest.mark.parametrize(
    "folder", [".", "images", "instances", "../images/instances", "..", "data"]
)
def test_pictures_lie_near_the_file(folder: str, tmp_path: Path) -> None:
    content = plain(4)
    for image in content["images"]:
        image["file_name"] = f"deep\\{image['id']}/é.png"
    path = save(tmp_path / "sets" / "instances.json", content)
    for image in content["images"]:
        place = path.parent / folder / f"deep/{image['id']}" / "é.png"
        place.parent.mkdir(parents=True)
        Image.new("L", (WIDTH, HEIGHT), 7).save(place)
    dataset = coco.scan(path, seed=0)
    assert dataset.train.picture(0).tolist() == np.full((HEIGHT, WIDTH, 3), 7).tolist()


def test_the_standard_layout(tmp_path: Path) -> None:
    for number, part in enumerate(("train2017", "val2017", "test2017")):
        path = tmp_path / "annotations" / f"instances_{part}.json"
        save(path, plain(3 + number, 1 + 10 * number), tmp_path / part)
    (tmp_path / "annotations" / "captions_val2017.json").write_text("{}")
    whole = coco.scan(tmp_path, seed=0)
    assert whole.validation is not None
    assert [len(s) for s in (whole.train, whole.validation, whole.held_out)] == [3, 4, 5]
    (tmp_path / "annotations" / "instances_test2017.json").unlink()
    two = coco.scan(tmp_path, seed=0)
    assert two.validation is None
    assert [Path(name).stem for name in two.held_out.names] == ["011", "012", "013", "014"]
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(InputError, match="a split train but no validation or test one"):
        coco.scan(tmp_path, seed=0)
    save(tmp_path / "annotations" / "instances_train2014.json", plain(3))
    with pytest.raises(InputError, match=r"2014.json and .*2017.json are of one split"):
        coco.scan(tmp_path, seed=0)


def test_roboflow_s_layout_and_group(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        content = plain(3, first=1 if part == "train" else 4)
        content["categories"] = [
            {"id": 0, "name": "cat", "supercategory": "none"},
            {"id": 1, "name": "cat", "supercategory": "cat"},
        ]
        save(tmp_path / part / "_annotations.coco.json", content, tmp_path / part)
    dataset = coco.scan(tmp_path, seed=0)
    assert (dataset.classes, dataset.category_ids) == (("cat",), (1,))
    assert [Path(name).parent.name for name in dataset.held_out.names] == ["valid"] * 3
    assert dataset.train.objects(0).labels.tolist() == [0]
    assert said(dataset) == ("category 0 is the group of all others and no object's: left out",)
    content["annotations"][0]["category_id"] = 0
    save(tmp_path / "valid" / "_annotations.coco.json", content)
    with pytest.raises(InputError, match="two categories are called 'cat'"):
        coco.scan(tmp_path, seed=0)


def test_pictures_of_both_splits_are_told(tmp_path: Path) -> None:
    for part in ("train", "val"):
        save(tmp_path / "annotations" / f"instances_{part}.json", plain(3), tmp_path / "images")
    dataset = coco.scan(tmp_path, seed=0)
    assert "3 held-out images are training images too: figures will flatter" in said(dataset)


def test_categories_are_those_of_the_training_file(tmp_path: Path) -> None:
    files = [tmp_path / "annotations" / f"instances_{part}.json" for part in ("train", "val")]
    save(files[0], plain(3), tmp_path / "train")
    content = plain(3, first=4)
    content["categories"] = [{"id": 1, "name": "cat"}]
    save(files[1], content, tmp_path / "val")
    assert coco.scan(tmp_path, seed=0).classes == ("cat", "dog", "zebra")
    for strange in ({"id": 1, "name": "dog"}, {"id": 2, "name": "bird"}):
        content["categories"] = [{"id": 1, "name": "cat"}, strange]
        content["categories"] = list({c["id"]: c for c in content["categories"]}.values())
        save(files[1], content)
        with pytest.raises(
            InputError, match=f"category {strange['id']} '{strange['name']}', which"
        ):
            coco.scan(tmp_path, seed=0)


@pytest.mark.parametrize("broken", ["twice", "none", "text"])
def test_annotation_ids_are_renumbered(broken: str, single: Path) -> None:
    content = plain(10)
    for record in content["annotations"][:2]:
        record["id"] = {"twice": 9, "none": None, "text": "a"}[broken]
    dataset = coco.scan(save(single, content), seed=0)
    ids = [int(objects.ids[0]) for _, objects in everything(dataset).values()]
    assert sorted(ids) == list(range(1, 11))
    assert "2 annotation ids are not numbers, or occur twice" in said(dataset)[0]


def test_a_change_changes_the_fingerprint(single: Path) -> None:
    seen = {coco.scan(single, seed=0).fingerprint}
    assert coco.scan(single, seed=0).fingerprint in seen
    changes: list[dict] = [
        {"bbox": [2, 3, 10, 5.5]},
        {"area": 49},
        {"iscrowd": 1},
        {"category_id": 3},
        {"segmentation": [[1, 1, 5, 1, 5, 5]]},
        {"segmentation": [[1, 1, 5, 1, 5, 6]]},
        {"image_id": 2},
    ]
    for change in changes:
        content = plain(10)
        content["annotations"][0] |= change
        seen.add(coco.scan(save(single, content), seed=0).fingerprint)
    content = plain(10)
    content["categories"][0]["name"] = "horse"
    seen.add(coco.scan(save(single, content), seed=0).fingerprint)
    save(single, plain(10))
    Image.new("RGB", (WIDTH, HEIGHT), "white").save(single.parent / "val2017" / "001.png", "BMP")
    seen.add(coco.scan(single, seed=0).fingerprint)
    assert len(seen) == len(changes) + 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"bbox": [0, 0, float("nan"), 5]}, "annotation 1 has the bbox"),
        ({"bbox": [0, float("inf"), 5, 5]}, "annotation 1 has the bbox"),
        ({"bbox": [0, 0, -1, 5]}, "annotation 1 has the bbox"),
        ({"bbox": [0, 0, 5]}, "annotation 1 has the bbox"),
        ({"bbox": "1234"}, "annotation 1 has the bbox '1234'"),
        ({"bbox": None}, "annotation 1 has the bbox None"),
        ({"bbox": [0, 0, 10**400, 1]}, "annotation 1 has the bbox"),
        ({"area": -1}, "annotation 1 has the area -1"),
        ({"area": float("nan")}, "annotation 1 has the area nan"),
        ({"image_id": 99}, r"annotation 1 has the image_id 99, which is not in the file"),
        ({"image_id": [1]}, "annotation 1 has the image_id"),
        ({"category_id": 2}, "annotation 1 has the category_id 2, which"),
        ({"category_id": "cat"}, "annotation 1 has the category_id 'cat'"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "segmentation that is not a list of polygons"),
        ({"segmentation": [["a"] * 6]}, "segmentation that is not a list of polygons"),
        ({"segmentation": "x"}, "segmentation that is not a list of polygons"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "an odd number of coordinates"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e9]]}, "annotation 1 has a polygon far outside"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "a polygon far outside"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, r"is \[30, 20\] in size"),
        ({"segmentation": {"size": [20, 30], "counts": [601]}}, "has runs of 601 pixels in all"),
        ({"segmentation": {"size": [20, 30], "counts": [-1, 601]}}, "has runs of -1 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": ""}}, "has runs of -1 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": "0000"}}, "has runs of 0 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": "é"}}, "is neither polygons nor runs"),
        ({"segmentation": {"size": [20, 30]}}, "is neither polygons nor runs"),
        ({"segmentation": {"size": [20, 30], "counts": None}}, "has runs of -1 pixels"),
        ({"segmentation": {"size": 20, "counts": [600]}}, "is neither polygons nor runs"),
        ({"segmentation": 5}, "is neither polygons nor runs"),
    ],
)
def test_broken_annotations_are_refused(change: dict, match: str, single: Path) -> None:
    content = plain(10)
    content["annotations"][0] |= change
    refused(content, single, match)


@pytest.mark.parametrize(
    ("key", "change", "match"),
    [
        ("images", {"id": 2}, "image 2 has the id of another image"),
        ("images", {"file_name": ""}, "image 1 has the file_name ''"),
        ("categories", {"id": 1}, "two categories have the id 1"),
        ("categories", {"name": "dog"}, "two categories are called 'dog'"),
        ("categories", {"name": 5}, "category 90 has the name 5"),
        ("categories", {"name": "a\nb"}, "category 90 has the name 'a.nb'"),
        ("categories", {"name": "\ud800"}, "the class '.ud800' is not a line of text"),
    ],
)
def test_broken_images_and_categories_are_refused(
    key: str, change: dict, match: str, single: Path
) -> None:
    content = plain(10)
    content[key][0] |= change
    refused(content, single, match)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_files_of_something_else_are_refused(key: str, single: Path) -> None:
    content = plain(10)
    del content[key]
    refused(content, single, f"no list of {key}")
    content[key] = [1]
    refused(content, single, f"no list of {key}")
    content[key] = []
    match = "has an object to learn from" if key == "annotations" else f"lists no {key}"
    refused(content, single, match)
    refused([], single, "no list of images")
    for text in ("{", "[" * 100_000, "\ufffe"):
        single.write_text(text)
        with pytest.raises(InputError, match="cannot be read as JSON"):
            coco.scan(single, seed=0)


def test_fields_that_are_missing_are_named(single: Path) -> None:
    content = plain(10)
    del content["annotations"][3]["bbox"], content["annotations"][3]["id"]
    refused(content, single, "annotation number 4 of the list has no bbox")


def test_missing_pictures_are_counted(single: Path) -> None:
    for number in (3, 5):
        (single.parent / "val2017" / f"{number:03}.png").unlink()
    refused(plain(10), single, "003.png: no such image; restore it")
    (single.parent / "val2017").rename(single.parent / "elsewhere")
    refused(plain(10), single, "no image such as 001.png is in any of .*val2017, ")


def test_a_picture_of_another_size_is_refused_when_it_is_read(single: Path) -> None:
    dataset = coco.scan(single, seed=0)
    place = Path(dataset.train.names[0])
    Image.new("RGB", (8, 9)).save(place)
    with pytest.raises(InputError, match="are for 30 x 20 pixels, upright it has 8 x 9; bring"):
        dataset.train.picture(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(place, exif=turned)
    with pytest.raises(InputError, match=r"upright it has 20 x 30; .*remove its EXIF orientation"):
        dataset.train.picture(0)
    Image.new("RGB", (HEIGHT, WIDTH)).save(place, exif=turned)
    assert dataset.train.picture(0).shape == (HEIGHT, WIDTH, 3)
    place.write_bytes(b"no picture")
    with pytest.raises(InputError, match="not a readable"):
        dataset.train.picture(0)


def test_runs_are_summed_as_pycocotools_writes_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = tuple(rng.integers(1, 90, 2))
        mask = (rng.random(shape) < rng.random() ** 2).astype(np.uint8)
        encoded = rle.encode(np.asfortranarray(mask))["counts"]
        assert coco.total_of_runs(encoded) == mask.size
        assert coco.total_of_runs(encoded[:-1]) != mask.size


# The cache of what a file says.


@pytest.mark.parametrize("outlines", ["none", "polygon", "runs"])
def test_a_file_that_was_read_is_kept_until_it_or_its_images_change(
    outlines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERASCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(coco_file, "_SMALLEST", 0)
    path = small_sets.coco(tmp_path / "data", 10)
    content = json.loads(path.read_text())
    if outlines == "polygon":
        content["annotations"][0]["segmentation"] = [[1.5, 2, 30, 2, 30, 40.25]]
    if outlines == "runs":
        mask = np.zeros((small_sets.SIDE, small_sets.SIDE), np.uint8, order="F")
        mask[3:9, 4:20] = 1
        runs = rle.encode(mask)
        segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
        content["annotations"][1]["segmentation"] = segmentation
    content["annotations"][2]["bbox"] = [0, 0, -3, 2]  # left out, and noted
    path.write_text(json.dumps(content))

    reads = []
    load = coco._load
    monkeypatch.setattr(coco, "_load", lambda p: reads.append(p) or load(p))
    first, again = coco.scan(path, seed=0), coco.scan(path, seed=0)
    assert len(reads) == 1
    assert again.fingerprint == first.fingerprint
    assert again.notes == first.notes != ()
    for split, same in ((first.train, again.train), (first.held_out, again.held_out)):
        assert split.names == same.names
        for index in range(len(split)):
            one, other = split.objects(index), same.objects(index)
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.areas, other.areas)
            for mask, kept_mask in zip(one.masks or (), other.masks or (), strict=True):
                np.testing.assert_array_equal(mask(), kept_mask())

    coco.scan(path, seed=0, strict=False)
    assert len(reads) == 1
    with pytest.raises(InputError, match="annotation 3"):
        coco.scan(path, seed=0, strict=True)
    assert len(reads) == 2
    (tmp_path / "data" / "0.png").unlink()
    assert any(note.kind == "missing-images" for note in coco.scan(path, seed=0).notes)
    assert len(reads) == 3
    coco.scan(path, seed=0)
    assert len(reads) == 3
    for entry in (tmp_path / "cache").glob("*.npz"):  # damaged: as if there were none
        entry.write_bytes(entry.read_bytes()[:-40])
    assert coco.scan(path, seed=0).classes == first.classes
    assert len(reads) == 4


def test_images_are_named_as_pathlib_names_them(tmp_path: Path) -> None:
    names = ["a.jpg", "b/a.jpg", "./c.jpg", "b//d.jpg", "b/./e.jpg", "../f.jpg", ".g.jpg", "/h.jpg"]
    (tmp_path / "a.jpg").touch()
    found = coco.image_files(tmp_path / "set.json", names)
    assert found == [str(tmp_path / name) for name in names]
