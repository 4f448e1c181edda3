"""YOLO's text files: layouts, outlines, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from said import said

from kerascnn.errors import InputError
from training.datasets import yolo
from training.datasets.detection import DetectionDataset

HEIGHT, WIDTH = 20, 40
BOX = "0 0.5 0.5 0.25 0.5\n"


def fill(folder: Path, count: int, lines: str | None = BOX, first: int = 0) -> None:
    """Pictures, and labels where a user of the format looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = Path(str(folder).replace("/images", "/labels"))
    labels.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(folder / f"{number}.png")
        if lines is not None:
            (labels / f"{number}.txt").write_text(lines)


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """Four pictures to learn from and two held out."""
    fill(tmp_path / "images" / "train", 4)
    fill(tmp_path / "images" / "val", 2, first=4)
    (tmp_path / "data.yaml").write_text(
        "path: /nowhere/here\ntrain: images/train  # four\nval: images/val\ntest:\n"
        "nc: 2\nnames:\n  0: cat\n  1: hot dog\ndownload: https://example.org/x.zip\n"
    )
    return tmp_path


def counts(dataset: DetectionDataset) -> list[int | None]:
    splits = (dataset.train, dataset.validation, dataset.held_out)
    return [None if split is None else len(split) for split in splits]


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        yolo.scan(path, seed=0, strict=True)
    assert "\n" not in str(caught.value)


def labels_of(root: Path, number: int = 0) -> Path:
    return root / "labels" / "train" / f"{number}.txt"


def test_boxes_are_shares(described: Path) -> None:
    labels_of(described).write_text("1 0.25 0.5 0.5 1\n\n  0 0.5 0.5 0.25 0.5  \n")
    dataset = yolo.scan(described, seed=0)
    assert dataset.classes == ("cat", "hot dog")
    assert dataset.category_ids == (0, 1)
    assert counts(dataset) == [4, None, 2]
    objects = dataset.train.objects(0)
    assert objects.boxes.tolist() == [[0, 0, 1, 0.5], [0.25, 0.375, 0.75, 0.625]]
    assert objects.labels.tolist() == [1, 0]
    assert objects.crowd.tolist() == [False, False]
    assert objects.areas.tolist() == [HEIGHT * WIDTH / 2, HEIGHT * WIDTH / 8]
    assert objects.masks is None
    assert dataset.train.sizes.tolist() == [[HEIGHT, WIDTH]] * 4
    assert dataset.held_out.picture(1)[0, 0].tolist() == [5, 0, 0]
    assert said(dataset) == ()
    same = yolo.scan(described / "data.yaml", seed=0)
    assert (same.train.names, same.fingerprint) == (dataset.train.names, dataset.fingerprint)


def test_outlines_are_masks_as_pycocotools_draws_them(described: Path) -> None:
    points = np.array([0.1, 0.1, 0.7, 0.2, 0.65, 0.9, 0.15, 0.8])
    outline = " ".join(map(str, points))
    labels_of(described).write_text(f"1 {outline}\n{BOX}")
    objects = yolo.scan(described, seed=0).train.objects(0)
    pixels = (points.reshape(-1, 2) * [WIDTH, HEIGHT]).ravel().tolist()
    wanted = rle.decode(rle.frPyObjects([pixels], HEIGHT, WIDTH))[..., 0]
    assert objects.masks is not None
    np.testing.assert_array_equal(objects.masks[0](), wanted)
    np.testing.assert_allclose(objects.boxes[0], [0.1, 0.1, 0.9, 0.7], rtol=1e-6)
    assert objects.areas.tolist() == [wanted.sum(), HEIGHT * WIDTH / 8]
    assert objects.masks[1]().sum() == HEIGHT * WIDTH / 8


def test_pictures_are_measured_upright(described: Path) -> None:
    place = described / "images" / "train" / "0.jpg"
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(place, exif=turned)
    (described / "images" / "train" / "0.png").unlink()
    train = yolo.scan(described, seed=0).train
    assert train.sizes[0].tolist() == [WIDTH, HEIGHT]
    assert train.picture(0).shape == (WIDTH, HEIGHT, 3)


def test_pictures_without_labels_have_no_object(described: Path) -> None:
    labels_of(described, 1).unlink()
    labels_of(described, 2).write_text("")
    dataset = yolo.scan(described, seed=0)
    assert [len(dataset.train.objects(i)) for i in range(4)] == [1, 0, 0, 1]
    assert dataset.train.objects(1).boxes.shape == (0, 4)
    assert said(dataset)[0] == "train: 1 of 4 images have no labels: no object"
    for number in (0, 2, 3):
        labels_of(described, number).unlink()
    refused(described, r"labels/train/0.txt: no such file, nor any other")


def test_what_reaches_beyond_is_clipped_and_told(described: Path) -> None:
    labels_of(described).write_text("0 0.1 0.5 0.5 0.5\n0 0.5 0.5 1.0005 1\n0 0.5 0.5 0 0.5\n")
    dataset = yolo.scan(described, seed=0)
    objects = dataset.train.objects(0)
    np.testing.assert_allclose(objects.boxes[0], [0.25, 0, 0.75, 0.35], rtol=1e-6)
    assert len(objects) == 2
    assert said(dataset) == (
        "train: 1 of 6 boxes were clipped to their images",
        "train: 1 of 6 boxes without an area inside their images were dropped, in training and "
        "in evaluation",
        "1 classes have no training object: hot dog",
    )


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("0 0.5 0.5 0.5", "4 numbers are neither"),
        ("0 0.5 0.5 0.5 0.5 0.9", "6 numbers are neither"),
        ("0 0.5 0.5 0.5 0.5 0.9 1 1", "8 numbers are neither"),
        ("cat 0.5 0.5 0.5 0.5", "not everything is a number"),
        ("0 0.5 0.5 0.5 1.002", "1.002 is not a number from 0 to 1"),
        ("0 20 10 5 5", "20 is not a number from 0 to 1"),
        ("0 -0.01 0.5 0.5 0.5", "-0.01 is not a number from 0 to 1"),
        ("0 nan 0.5 0.5 0.5", "nan is not a number from 0 to 1"),
        ("0 0.1 0.1 0.2 0.2 0.3 inf", "inf is not a number from 0 to 1"),
        ("2 0.5 0.5 0.5 0.5", "class 2 does not exist; there are 2 classes"),
        ("-1 0.5 0.5 0.5 0.5", "class -1 does not exist"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5 does not exist"),
    ],
)
def test_broken_lines_are_refused(line: str, match: str, described: Path) -> None:
    labels_of(described, 3).write_text(f"{BOX}\n{line}\n")
    refused(described, f"3.txt, line 3: {match}")


def test_roboflow_s_paths_and_lists_of_pictures(tmp_path: Path) -> None:
    for first, part in enumerate(("train", "valid", "test")):
        fill(tmp_path / part / "images", 2, first=2 * first)
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: ['a', 1]\n"
    )
    dataset = yolo.scan(tmp_path, seed=0)
    assert (counts(dataset), dataset.classes) == ([2, 2, 2], ("a", "1"))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.txt").write_text("valid/images/2.png\n\n./../test/images/5.png\n")
    (tmp_path / "data.yaml").write_text(
        "train: [train/images, test/images]\nval: lists/val.txt\nnames: [a]\n"
    )
    dataset = yolo.scan(tmp_path, seed=0)
    assert counts(dataset) == [4, None, 2]
    assert dataset.held_out.picture(1)[0, 0].tolist() == [5, 0, 0]
    (tmp_path / "lists" / "val.txt").write_text("valid/images/2.png\nvalid/images/9.png\n")
    refused(tmp_path, "9.png: no such image; restore it")


def test_folders_without_yaml(tmp_path: Path) -> None:
    fill(tmp_path / "mixed" / "images", 5)
    (tmp_path / "mixed" / "classes.txt").write_text("cat\n\ndog\n")
    one, same, other = (yolo.scan(tmp_path / "mixed", seed=s) for s in (0, 0, 1))
    assert (counts(one), one.classes) == ([4, None, 1], ("cat", "dog"))
    assert one.held_out.names == same.held_out.names != other.held_out.names
    fill(tmp_path / "beside", 5)
    (tmp_path / "beside" / "obj.names").write_text("cat\n")
    assert counts(yolo.scan(tmp_path / "beside", seed=0)) == [4, None, 1]
    for first, part in enumerate(("train", "val", "test")):
        fill(tmp_path / "split" / "images" / part, 2, first=2 * first)
    (tmp_path / "split" / "classes.txt").write_text("cat\n")
    assert counts(yolo.scan(tmp_path / "split", seed=0)) == [2, 2, 2]
    (tmp_path / "split" / "classes.txt").write_text("cat\ncat\n")
    refused(tmp_path / "split", "two classes are called 'cat'")
    (tmp_path / "split" / "classes.txt").write_text("\n")
    refused(tmp_path / "split", "names no class")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("names: [a, b]", "names neither train nor val"),
        ("train: images/train\nval: images/val", "has no names"),
        ("train: images/train\nval: images/val\nnames: {x: a, 2: b}", "not numbered 0, 1, 2"),
        ("train: images/train\nval: images/val\nnames: [a, a]", "two classes are called 'a'"),
        ("train: images/train\nval: images/val\nnames: [a, no]", "name of class 1 is not text"),
        ("train: images/train\nval: images/val\nnames: [a]\nnc: 2", "nc is not 1"),
        ("train: images/train\nval: images/test\nnames: [a]", "images/test: no such folder"),
        ("train: 5\nnames: [a]", "train is not a folder"),
        ("train: images/train\nval: labels/val\nnames: [a]", "has no images"),
        ("train: images/train\nnames: [a]", "a split train but no validation or test one"),
        ("path: [1]\ntrain: images/train\nnames: [a]", "path is not text"),
        ("train: images/train\nnames: [a]\nkpt_shape: [17, 3]", "describes key points"),
        ("names: &a [b]\nother: *a", "has an alias"),
        ("names: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("{", "is not YAML"),
        ("[" * 1000, "is not YAML"),  # deeper than Python's stack; PyYAML takes squares of time
        ("- a", "is not a YAML file with train"),
        ("\x00", "is not YAML"),
    ],
)
def test_broken_descriptions_are_refused(text: str, match: str, described: Path) -> None:
    (described / "data.yaml").write_text(text)
    refused(described, match)


def test_a_change_changes_the_fingerprint(described: Path) -> None:
    seen = {yolo.scan(described, seed=0).fingerprint}
    for line in ("0 0.5 0.5 0.25 0.75", "1 0.5 0.5 0.25 0.5", "0 0.1 0.1 0.2 0.2 0.1 0.2", ""):
        labels_of(described).write_text(line)
        seen.add(yolo.scan(described, seed=0).fingerprint)
    (described / "data.yaml").write_text(
        (described / "data.yaml").read_text().replace("cat", "horse")
    )
    seen.add(yolo.scan(described, seed=0).fingerprint)
    assert len(seen) == 6
