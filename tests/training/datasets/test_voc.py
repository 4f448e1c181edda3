"""Pascal VOC's XML: layouts, boxes that count from one, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from said import said

from kerascnn.errors import InputError
from training.datasets import voc
from training.datasets.detection import DetectionDataset

HEIGHT, WIDTH = 20, 40


def element(name: str, box: tuple, fields: str = "") -> str:
    left, top, right, bottom = box
    return (
        f"<object><name>{name}</name>{fields}<bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
    )


def write(file: Path, *objects: str, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    file.write_text(
        f"<annotation><filename>{file.stem}.png</filename><size><width>{width}</width>"
        f"<height>{height}</height><depth>3</depth></size>{''.join(objects)}</annotation>"
    )
    return file


def draw(place: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], "blue").save(place)
    return place


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """Ten pictures with a cat each, and dogs in the even ones."""
    root = tmp_path / "VOC2012"
    for number in range(10):
        dogs = [element("dog", (1, 1, 1, 1))] if number % 2 == 0 else []
        write(root / "Annotations" / f"a {number}.xml", element("cat", (11, 6, 20, 15)), *dogs)
        draw(root / "JPEGImages" / f"a {number}.png")
    return root


def lists(root: Path, **names: str) -> None:
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    for name, numbers in names.items():
        (folder / f"{name}.txt").write_text("".join(f"a {number} \n" for number in numbers))


def counts(dataset: DetectionDataset) -> list[int | None]:
    splits = (dataset.train, dataset.validation, dataset.held_out)
    return [None if split is None else len(split) for split in splits]


def refused(root: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        voc.scan(root, seed=0, strict=True)
    assert "\n" not in str(caught.value)


def test_boxes_count_from_one(devkit: Path) -> None:
    lists(devkit, train="048", val="12")
    dataset = voc.scan(devkit, seed=0)
    assert dataset.classes == ("cat", "dog")
    assert dataset.category_ids == (1, 2)
    objects = dataset.train.objects(0)
    sides = [HEIGHT, WIDTH, HEIGHT, WIDTH]
    np.testing.assert_allclose(objects.boxes * sides, [[5, 10, 15, 20], [0, 0, 1, 1]], rtol=1e-6)
    assert objects.labels.tolist() == [0, 1]
    assert objects.areas.tolist() == [100, 1]
    assert objects.ids.tolist() == [0, 1]
    assert objects.masks is None
    assert dataset.train.sizes.tolist() == [[HEIGHT, WIDTH]] * 3
    assert dataset.train.picture(0).shape == (HEIGHT, WIDTH, 3)
    assert said(dataset) == ()


def test_lists_are_the_splits(devkit: Path) -> None:
    lists(devkit, train="0123", val="456", test="789")
    assert counts(voc.scan(devkit, seed=0)) == [4, 3, 3]
    lists(devkit, test="", trainval="0123456")
    two = voc.scan(devkit, seed=0)
    assert counts(two) == [4, None, 3]
    assert [Path(name).name for name in two.held_out.names] == ["a 4.png", "a 5.png", "a 6.png"]
    lists(devkit, train="", val="", test="78")
    assert counts(voc.scan(devkit, seed=0)) == [7, None, 2]
    lists(devkit, test="")
    assert counts(voc.scan(devkit, seed=0)) == [6, None, 1]
    lists(devkit, trainval="")
    assert counts(voc.scan(devkit, seed=0)) == [8, None, 2]
    lists(devkit, train="01")
    refused(devkit, "a split train but no validation or test one")
    (devkit / "Annotations" / "a 1.xml").unlink()
    refused(devkit, r"a 1.xml cannot be read \(No such file or directory\); restore it")


def test_files_beside_pictures(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"{number}.xml", element("cat", (1, 1, 9, 9)))
        draw(tmp_path / f"{number}.PNG")
    write(tmp_path / "._1.xml", "<")
    draw(tmp_path / "spare.bmp")
    assert voc.recognises(tmp_path)
    one, same, other = (voc.scan(tmp_path, seed=s) for s in (0, 0, 1))
    assert counts(one) == [4, None, 1]
    assert one.held_out.names == same.held_out.names != other.held_out.names
    assert said(one) == ("1 images without an .xml file were left out",)
    for part in ("train", "valid"):
        write(tmp_path / part / f"{part}.xml", element("dog", (1, 1, 9, 9)))
        draw(tmp_path / part / f"{part}.png")
    two = voc.scan(tmp_path, seed=0)
    assert (counts(two), two.classes) == ([1, None, 1], ("dog",))
    assert not voc.recognises(tmp_path / "train" / "train.xml")


def test_the_picture_is_called_as_the_file_or_in_it(devkit: Path) -> None:
    (devkit / "JPEGImages" / "a 3.png").rename(devkit / "JPEGImages" / "other.png")
    file = devkit / "Annotations" / "a 3.xml"
    refused(devkit, "a 3.xml: no image has its name")
    file.write_text(file.read_text().replace("a 3.png", "C:\\pictures\\other.png"))
    dataset = voc.scan(devkit, seed=0)
    names = [Path(name).name for name in dataset.train.names + dataset.held_out.names]
    assert sorted(names) == [*(f"a {n}.png" for n in range(10) if n != 3), "other.png"]
    draw(devkit / "JPEGImages" / "a 4.bmp")
    dataset = voc.scan(devkit, seed=0)
    assert str(devkit / "JPEGImages" / "a 4.png") in dataset.train.names + dataset.held_out.names


def test_sizes_that_a_tool_left_out_are_the_picture_s(devkit: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 8
    Image.new("RGB", (WIDTH, HEIGHT)).save(devkit / "JPEGImages" / "a 0.png", exif=turned)
    lists(devkit, train="0", val="2")
    write(devkit / "Annotations" / "a 0.xml", element("dog", (1, 1, 20, 20)), size=(0, 0))
    write(devkit / "Annotations" / "a 2.xml", element("dog", (1, 1, 20, 20)), size=(40, 80))
    dataset = voc.scan(devkit, seed=0)
    assert dataset.train.sizes.tolist() == [[WIDTH, HEIGHT]]
    assert dataset.train.objects(0).boxes.tolist() == [[0, 0, 0.5, 1]]
    with pytest.raises(InputError, match=r"a 2.png: its annotations are for 80 x 40 pixels"):
        dataset.held_out.picture(0)


def test_difficult_ones_are_crowds_and_boxes_are_clipped(devkit: Path) -> None:
    write(
        devkit / "Annotations" / "a 0.xml",
        element("cat", (1, 1, 5, 5), "<difficult>1</difficult><truncated>1</truncated>"),
        element("cat", (0, 1, 41, 20), "<difficult>0</difficult><truncated>1</truncated>"),
        element("cat", (50, 1, 60, 20)),
        element("dog", (1.5, 1.5, 5.25, 5), "<part><name>head</name></part>"),
    )
    lists(devkit, train="0", val="2")
    dataset = voc.scan(devkit, seed=0)
    objects = dataset.train.objects(0)
    assert objects.crowd.tolist() == [True, False, False]
    assert objects.boxes[1].tolist() == [0, 0, 1, 1]
    assert objects.areas[2] == 4.75 * 4.5
    assert said(dataset) == (
        "1 difficult objects are neither to be found nor mistakes",
        "train: 1 of 4 boxes were clipped to their images",
        "train: 1 of 4 boxes without an area inside their images were dropped, in training and "
        "in evaluation",
    )


def test_a_class_that_training_lacks_is_refused(devkit: Path) -> None:
    write(devkit / "Annotations" / "a 1.xml", element("bird", (1, 1, 5, 5)))
    lists(devkit, train="02", val="1")
    refused(devkit, "a 1.png: no training image has an object of class 'bird'; add")
    lists(devkit, train="", val="")
    assert voc.scan(devkit, seed=0).classes == ("bird", "cat", "dog")


def test_a_change_changes_the_fingerprint(devkit: Path) -> None:
    seen = {voc.scan(devkit, seed=0).fingerprint}
    assert voc.scan(devkit, seed=0).fingerprint in seen
    for changed in (
        element("cat", (11, 6, 20, 16)),
        element("dog", (11, 6, 20, 15)),
        element("cat", (11, 6, 20, 15), "<difficult>1</difficult>"),
    ):
        write(devkit / "Annotations" / "a 1.xml", changed)
        seen.add(voc.scan(devkit, seed=0).fingerprint)
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>', "declares a document type"),
        ('<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "file:///x"><annotation/>', "declares"),
        ("<annotation>", "is not XML"),
        ("<annotation>&unknown;</annotation>", "is not XML"),
        ("", "is not XML"),
        ("<html/>", "has no <annotation>"),
        (f"<annotation>{element('', (1, 1, 2, 2))}</annotation>", "object 1 has no <name>"),
        (f"<annotation>{element('a', (1, 1, 2, 'x'))}</annotation>", r"object 1 \(a\) has no <bnd"),
        (
            "<annotation><object><name>a</name></object></annotation>",
            "no <bndbox> with four",
        ),
        (f"<annotation>{element('a', (5, 1, 3, 2))}</annotation>", "ends before it begins"),
        (f"<annotation>{element('a', (1, 1, 'nan', 2))}</annotation>", "ends before it begins"),
        (f"<annotation>{element('a', (1, '-inf', 3, 2))}</annotation>", "ends before it begins"),
    ],
)
def test_broken_files_are_refused(text: str, match: str, devkit: Path) -> None:
    (devkit / "Annotations" / "a 5.xml").write_text(text)
    refused(devkit, f"a 5.xml.*{match}")


def test_other_encodings_and_large_files_are_refused(
    devkit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = devkit / "Annotations" / "a 5.xml"
    hidden = '<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>'
    file.write_bytes(hidden.encode("utf-16"))
    refused(devkit, "a 5.xml is not UTF-8; save it so")
    file.write_bytes(b'<?xml version="1.0" encoding="cp037"?>' + hidden.encode("cp037"))
    refused(devkit, "a 5.xml is not UTF-8; save it so|is not XML")
    write(file)
    monkeypatch.setattr(voc, "_MOST_BYTES", 30)
    refused(devkit, "has more than 0 MB; it is not an annotation")
