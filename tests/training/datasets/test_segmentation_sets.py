"""Label maps: of mask pictures in every layout and form, of Pascal VOC, of objects, of scenes."""

from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from said import said

from kerascnn.errors import InputError
from training.datasets import (
    class_files,
    mask_files,
    scenes,
)
from training.datasets import (
    segmentation_sets as map_sets,
)
from training.datasets import (
    voc_masks as voc_maps,
)
from training.datasets.detection import Objects
from training.datasets.masks_of_objects import paint
from training.datasets.pictures import read_pixels
from training.datasets.segmentation import VOID, SegmentationDataset, SegmentationSplit
from training.datasets.segmentation_sets import scan_maps

SIZE = (6, 8)


def picture(file: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.new("RGB", size[::-1], "blue").save(file, exif=exif)
    return file


def values(number: int, classes: int = 3) -> np.ndarray:
    """A map of the classes, another one for each number."""
    return np.random.default_rng(number).integers(0, classes, SIZE).astype(np.uint8)


def mask(file: Path, numbers: np.ndarray, palette: Any = None) -> Path:
    """Grey, of 16 bits, of one bit or in colour, as the array is; or with a palette."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(numbers))
    if palette is not None:
        colours = np.zeros((256, 3), np.uint8)  # of fewer, Pillow keeps fewer bits of a number
        colours[: len(palette)] = palette
        image.putpalette(colours.ravel().tolist())
    image.save(file)
    return file


def folder(root: Path, maps: Iterable[np.ndarray], **form: Any) -> Path:
    """DIR/images/i.png and DIR/masks/i.png."""
    for number, numbers in enumerate(maps):
        picture(root / "images" / f"{number}.jpg", numbers.shape[:2])
        mask(root / "masks" / f"{number}.png", numbers, **form)
    return root


def maps_of(split: SegmentationSplit) -> dict[str, np.ndarray]:
    """By the stem of the picture's file."""
    return {Path(name).stem: split.label_map(i) for i, name in enumerate(split.names)}


def all_maps(dataset: SegmentationDataset) -> dict[str, np.ndarray]:
    return maps_of(dataset.train) | maps_of(dataset.held_out)


def counts(dataset: SegmentationDataset) -> list[int | None]:
    splits = (dataset.train, dataset.validation, dataset.held_out)
    return [None if split is None else len(split) for split in splits]


def refused(root: Path, match: str, *, when_read: bool = False) -> None:
    """By a scan, or when all of it is read."""
    if when_read:
        scan_maps(str(root), seed=0)
    with pytest.raises(InputError, match=match) as caught:
        all_maps(scan_maps(str(root), seed=0, strict=True))
    assert "\n" not in str(caught.value)


# --- Scenes ---------------------------------------------------------------------------------------


def test_a_scenes_map_is_its_objects_masks() -> None:
    found, objects = scan_maps("scenes:96@40+6", seed=0), scenes.scan("scenes:96@40+6")
    assert found.classes == ("background", *"0123456789")
    assert counts(found) == [40, None, 6]
    assert found.generated
    assert found.fingerprint != objects.fingerprint
    met = set()
    for maps, boxed in ((found.train, objects.train), (found.held_out, objects.held_out)):
        for index in range(len(boxed)):
            expected = np.zeros((96, 96), np.uint8)
            some = boxed.objects(index)
            assert some.masks is not None
            for label, own in zip(some.labels, some.masks, strict=True):
                expected[own()] = 1 + label
            label_map = maps.label_map(index)
            assert label_map.dtype == np.uint8
            np.testing.assert_array_equal(label_map, expected)
            met |= set(np.unique(label_map).tolist())
    assert met == set(range(11))
    np.testing.assert_array_equal(found.train.picture(3), objects.train.picture(3))
    assert scan_maps("scenes:96@40+6", seed=9) is found


def test_odd_scenes_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a set of scenes"):
        scan_maps("scenes:huge", seed=0)
    with pytest.raises(InputError, match="no such file or folder"):
        scan_maps(str(tmp_path / "none"), seed=0)
    refused(tmp_path, "is not a data set of label maps")


# --- Layouts --------------------------------------------------------------------------------------

LAYOUTS = {
    "above": ("images/{part}/{n}.jpg", "masks/{part}/{n}.png"),
    "above, other names": ("JPEGImages/{part}/{n}.jpg", "SegmentationClass/{part}/{n}.png"),
    "below": ("{part}/images/{n}.jpg", "{part}/masks/{n}.png"),
    "below, other names": ("{part}/Imgs/{n}.jpg", "{part}/Labels/{n}.png"),
    "beside": ("{part}/{n}.png", "{part}annot/{n}.png"),
    "beside, marked": ("{part}/{n}.png", "{part}_labels/{n}_L.png"),
    "mixed": ("{part}/{n}.jpg", "{part}/{n}_mask.png"),
    "nested": ("images/{part}/town/{n}.jpg", "masks/{part}/town/{n}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("parts", [("train", "val", "test"), ("train", "valid")])
def test_parts_are_found(tmp_path: Path, layout: str, parts: tuple[str, ...]) -> None:
    expected = {}
    for number in range(2 * len(parts)):
        names = {"part": parts[number // 2], "n": f"p{number}"}
        pictures, masks = (text.format(**names) for text in LAYOUTS[layout])
        picture(tmp_path / pictures)
        mask(tmp_path / masks, values(number))
        expected[f"p{number}"] = values(number)
    dataset = scan_maps(str(tmp_path), seed=0)
    assert counts(dataset) == ([2, 2, 2] if len(parts) == 3 else [2, None, 2])
    assert dataset.classes == ("class_0", "class_1", "class_2")
    splits = filter(None, (dataset.train, dataset.validation, dataset.held_out))
    found = {name: one for split in splits for name, one in maps_of(split).items()}
    assert found.keys() == expected.keys()
    for name, label_map in found.items():
        np.testing.assert_array_equal(label_map, expected[name])
    assert "class_0 to class_2" in " ".join(said(dataset))


@pytest.mark.parametrize("layout", ["above", "mixed"])
def test_without_parts_a_fifth_is_held_out_by_seed(tmp_path: Path, layout: str) -> None:
    for number in range(10):
        pictures, masks = (text.replace("{part}/", "") for text in LAYOUTS[layout])
        picture(tmp_path / pictures.format(n=number))
        mask(tmp_path / masks.format(n=number), values(number))
    one, other = (scan_maps(str(tmp_path), seed=seed) for seed in (0, 1))
    assert counts(one) == [8, None, 2]
    assert set(one.held_out.names) != set(other.held_out.names)
    assert one.fingerprint != other.fingerprint
    assert one.held_out.names == scan_maps(str(tmp_path), seed=0).held_out.names
    assert not set(one.train.names) & set(one.held_out.names)
    for name, label_map in all_maps(one).items():
        np.testing.assert_array_equal(label_map, values(int(name)))


def test_a_split_is_taken_and_changed(tmp_path: Path) -> None:
    dataset = scan_maps(str(folder(tmp_path, map(values, range(10)))), seed=0)
    some = dataset.train.take([5, 2])
    assert some.names == (dataset.train.names[5], dataset.train.names[2])
    np.testing.assert_array_equal(some.label_map(1), dataset.train.label_map(2))
    assert some.sizes.tolist() == [list(SIZE)] * 2
    assert some.picture(0).shape == (*SIZE, 3)
    first = dataset.each(lambda split: split.take([0]))
    assert counts(first) == [1, None, 1]


def test_a_fingerprint_is_of_names_sizes_masks_and_classes(tmp_path: Path) -> None:
    def fingerprint() -> str:
        return scan_maps(str(tmp_path), seed=0).fingerprint

    folder(tmp_path, [values(i) for i in range(4)])
    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    changed = values(0)
    changed[0, 0] = (changed[0, 0] + 1) % 3
    mask(tmp_path / "masks/0.png", changed)
    seen.append(fingerprint())
    (tmp_path / "classes.txt").write_text("one\ntwo\nthree\n")
    seen.append(fingerprint())
    (tmp_path / "classes.txt").write_text("one\nthree\ntwo\n")
    seen.append(fingerprint())
    (tmp_path / "images/0.jpg").rename(tmp_path / "images/9.jpg")
    (tmp_path / "masks/0.png").rename(tmp_path / "masks/9.png")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


def test_what_lies_about_is_left_out_and_counted(tmp_path: Path) -> None:
    folder(tmp_path, [values(i) for i in range(4)])
    mask(tmp_path / "masks/old.png", values(9))
    mask(tmp_path / "masks/._0.png", values(9))
    (tmp_path / "images/notes.txt").write_text("cats")
    dataset = scan_maps(str(tmp_path), seed=0)
    assert counts(dataset) == [3, None, 1]
    assert "1 masks belong to no image" in said(dataset)[0]


def test_test_pictures_without_masks_are_left_out(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "train", "val", "test")):
        picture(tmp_path / f"images/{part}/{number}.jpg")
        if part != "test":
            mask(tmp_path / f"masks/{part}/{number}.png", values(number))
    dataset = scan_maps(str(tmp_path), seed=0)
    assert counts(dataset) == [2, None, 1]
    assert "has no folder test: its images were left out" in said(dataset)[0]
    (tmp_path / "masks/train").rename(tmp_path / "masks/other")
    refused(tmp_path, "masks has no folder train as ")
    other = tmp_path / "other"
    for number, part in enumerate(("train", "train", "val", "test")):
        picture(other / f"{part}/{number}.jpg")
        if part != "test":
            mask(other / f"{part}/{number}_mask.png", values(number))
    dataset = scan_maps(str(other), seed=0)
    assert counts(dataset) == [2, None, 1]
    assert "other/test has no masks: its images were left out" in said(dataset)[0]


# --- Forms of masks -------------------------------------------------------------------------------

COLOURS = np.array([[0, 0, 0], [128, 64, 128], [10, 200, 30]], np.uint8)
NAMES = ("sky", "road", "tree top")
COLOURED = {
    "classes.txt": "sky 0 0 0\nroad 128 64 128\ntree top 10 200 30\n",
    "classes.csv": "name,r,g,b\nsky,0,0,0\nroad, 128, 64, 128\ntree top,10,200,30\n",
    "class_dict.csv": "name,r,g,b\r\nsky,0,0,0\r\nroad,128,64,128\r\ntree top,10,200,30\r\n",
    "label_colors.txt": "0 0 0\tsky\n128 64 128\t\troad\n10 200 30\ttree top\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:128,64,128::\n"
    "tree top:10,200,30::\n",
}


def forms() -> dict[str, tuple[dict[str, Any], Any]]:
    """How `mask` writes a map in each form, and what of it."""
    shuffled = COLOURS[[1, 2, 0]]
    back = np.array([2, 0, 1], np.uint8)  # the place of each colour in the shuffled palette
    return {
        "grey": ({}, lambda v: v),
        "16 bits": ({}, lambda v: v.astype(np.uint16)),
        "palette of other colours": ({"palette": COLOURS + 1}, lambda v: v),
        "palette of these colours": ({"palette": COLOURS}, lambda v: v),
        "palette in another order": ({"palette": shuffled}, lambda v: back[v]),
        "colour": ({}, lambda v: COLOURS[v]),
        "opaque colour": ({}, lambda v: np.dstack([COLOURS[v], np.full(SIZE, 255, np.uint8)])),
    }


@pytest.mark.parametrize("form", forms())
def test_forms_of_masks_with_a_file_of_colours(tmp_path: Path, form: str) -> None:
    how, written = forms()[form]
    folder(tmp_path, [written(values(i)) for i in range(5)], **how)
    (tmp_path / "classes.csv").write_text(COLOURED["classes.csv"])
    dataset = scan_maps(str(tmp_path), seed=0)
    assert dataset.classes == NAMES
    assert dataset.palette == tuple(map(tuple, COLOURS.tolist()))
    for name, label_map in all_maps(dataset).items():
        assert label_map.dtype == np.uint8
        np.testing.assert_array_equal(label_map, values(int(name)))


@pytest.mark.parametrize("form", ["grey", "16 bits", "palette of other colours", "grey in colour"])
@pytest.mark.parametrize("names", ["", "sky\nroad\ntree top\n"])
def test_forms_of_masks_without_colours(tmp_path: Path, form: str, names: str) -> None:
    if form == "grey in colour":
        how, written = {}, lambda v: np.dstack([v, v, v])
    else:
        how, written = forms()[form]
    some = [values(i) for i in range(5)]
    some[0][0, 0] = VOID
    wide = form == "16 bits"
    folder(tmp_path, [written(v) for v in some], **how)
    if wide:
        mask(tmp_path / "masks/0.png", np.where(some[0] == VOID, 0xFFFF, some[0].astype(np.uint16)))
    if names:
        (tmp_path / "labels.txt").write_text(names)
    dataset = scan_maps(str(tmp_path), seed=0)
    assert dataset.classes == (NAMES if names else ("class_0", "class_1", "class_2"))
    for name, label_map in all_maps(dataset).items():
        np.testing.assert_array_equal(label_map, some[int(name)])
    assert (dataset.palette is not None) == form.startswith("palette")
    if dataset.palette is not None:
        assert dataset.palette == tuple(map(tuple, (COLOURS + 1).tolist()))


@pytest.mark.parametrize("file", COLOURED)
def test_files_of_colours(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(COLOURED[file])
    found = class_files.find([tmp_path / "none", tmp_path])
    assert found is not None
    assert found.path == tmp_path / file
    assert found.names == NAMES
    assert found.colours == tuple(map(tuple, COLOURS.tolist()))


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("classes.txt", "sky\n\n tree top \nclass 7\n", ("sky", "tree top", "class 7")),
        ("_classes.csv", "Pixel Value, Class\n0, sky\n1, road\n", ("sky", "road")),
        ("classes.csv", "name\nsky\nroad\n", ("sky", "road")),
        ("codes.txt", "\ufeffsky\nVoid\n", ("sky", "Void")),
    ],
)
def test_files_of_names(tmp_path: Path, file: str, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / file).write_text(text, "utf-8")
    found = class_files.find([tmp_path])
    assert found is not None
    assert found.names == names
    assert found.colours is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "names 0 classes"),
        ("a\nb\na\n", "two classes are called 'a'"),
        ("a 1 2 3\nb 1 2 3\n", r"two colours are \(1, 2, 3\)"),
        ("a 1 2 300\n", "1 2 300 is not a colour"),
        ("\n".join(f"c{i}" for i in range(256)), "names 256 classes"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        ("void\nunlabelled\n", "names no class"),
    ],
)
def test_odd_files_of_classes_are_refused(tmp_path: Path, text: str | bytes, match: str) -> None:
    folder(tmp_path, [values(i) for i in range(4)])
    (tmp_path / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(tmp_path, match)


def test_values_of_a_csv_are_in_order(tmp_path: Path) -> None:
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\n0, sky\n2, road\n")
    with pytest.raises(InputError, match="values are not 0, 1, 2"):
        class_files.find([tmp_path])


def test_a_class_called_void_counts_nowhere(tmp_path: Path) -> None:
    folder(tmp_path, [values(i) for i in range(5)])
    (tmp_path / "classes.txt").write_text("sky\nVoid\nroad\n")
    dataset = scan_maps(str(tmp_path), seed=0)
    assert dataset.classes == ("sky", "road")
    assert said(dataset) == ("pixels of class 'Void' count nowhere",)
    meaning = np.array([0, VOID, 1])
    for name, label_map in all_maps(dataset).items():
        np.testing.assert_array_equal(label_map, meaning[values(int(name))])


@pytest.mark.parametrize("form", ["L", "1", "RGB", "16 bits"])
@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("", ("background", "foreground")),
        ("polyp\n", ("background", "polyp")),
        ("dry\nwet\n", ("dry", "wet")),
    ],
)
def test_black_and_white_is_two_classes(
    tmp_path: Path, form: str, text: str, classes: tuple[str, str]
) -> None:
    written = {
        "L": lambda v: v * 255,
        "1": lambda v: v == 1,
        "RGB": lambda v: np.dstack([v * 255] * 3),
        "16 bits": lambda v: v.astype(np.uint16) * 0xFFFF,
    }[form]
    folder(tmp_path, [written(values(i, 2)) for i in range(5)])
    if text:
        (tmp_path / "classes.txt").write_text(text)
    dataset = scan_maps(str(tmp_path), seed=0)
    assert dataset.classes == classes
    assert f"0 is {classes[0]!r}, 255 is {classes[1]!r}" in said(dataset)[0]
    for name, label_map in all_maps(dataset).items():
        np.testing.assert_array_equal(label_map, values(int(name), 2))


@pytest.mark.parametrize("form", ["grey", "bits", "colour"])
def test_black_and_white_beside_two_colours(tmp_path: Path, form: str) -> None:
    """What the colours are does not matter to a mask that has none of them."""
    colours = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)
    some = [values(i, 2) * 255 for i in range(5)]
    folder(tmp_path, [one == 255 for one in some] if form == "bits" else some)
    if form == "colour":
        for number in range(3):
            mask(tmp_path / f"masks/{number}.png", colours[some[number] // 255])
    (tmp_path / "classes.txt").write_text("dry 0 0 0\nwet 255 0 0\n")
    dataset = scan_maps(str(tmp_path), seed=0)
    assert dataset.classes == ("dry", "wet")
    for name, label_map in all_maps(dataset).items():
        np.testing.assert_array_equal(label_map, values(int(name), 2))


def test_255_is_void_where_there_are_three_names(tmp_path: Path) -> None:
    folder(tmp_path, [values(i, 2) * 255 for i in range(4)])
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    for name, label_map in all_maps(scan_maps(str(tmp_path), seed=0)).items():
        np.testing.assert_array_equal(label_map, values(int(name), 2) * 255)


def test_levels_are_classes_where_all_colours_are_grey(tmp_path: Path) -> None:
    greys = np.array([0, 100, 255], np.uint8)
    folder(tmp_path, [greys[values(i)] for i in range(4)])
    (tmp_path / "classes.txt").write_text("a 0 0 0\nb 100 100 100\nc 255 255 255\n")
    for name, label_map in all_maps(scan_maps(str(tmp_path), seed=0)).items():
        np.testing.assert_array_equal(label_map, values(int(name)))


# --- What is refused ------------------------------------------------------------------------------


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    folder(tmp_path, [values(i) for i in range(4)])
    (tmp_path / "masks/2.png").unlink()
    refused(tmp_path, r"images/2.jpg: the mask .*masks/2.png is missing; restore it")
    picture(tmp_path / "masks/2.jpg")
    refused(tmp_path, r"masks/2.jpg is not a lossless mask; .*-threshold 50%")


def test_two_pictures_of_one_mask_are_named(tmp_path: Path) -> None:
    folder(tmp_path, [values(i) for i in range(4)])
    picture(tmp_path / "images/2.bmp")
    refused(tmp_path, r"images/2.bmp and .*images/2.jpg have one mask, .*masks/2.png")


def test_another_size_is_named(tmp_path: Path) -> None:
    folder(tmp_path, [values(i) for i in range(4)])
    picture(tmp_path / "images/1.jpg", (6, 9))
    refused(tmp_path, r"images/1.jpg: its mask is for 8 x 6 pixels, upright it has 9 x 6")
    (tmp_path / "images/1.jpg").unlink()
    picture(tmp_path / "images/1.png", orientation=6)
    refused(tmp_path, r"images/1.png: its mask .* upright it has 6 x 8; .*EXIF orientation")


def test_a_mask_is_of_the_upright_picture(tmp_path: Path) -> None:
    """Stored lying, both: of the picture alone the orientation is told, the mask is upright."""
    folder(tmp_path, [values(i) for i in range(4)])
    lying = np.zeros((8, 6, 3), np.uint8)
    lying[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise: what is on top comes to the right
    Image.fromarray(lying).save(tmp_path / "images/1.jpg", exif=exif, quality=100)
    right = np.zeros(SIZE, np.uint8)
    right[:, 4:] = 2
    mask(tmp_path / "masks/1.png", right)
    dataset = scan_maps(str(tmp_path), seed=0)
    for split in (dataset.train, dataset.held_out):
        for index, name in enumerate(split.names):
            if Path(name).stem == "1":
                bright = split.picture(index)[..., 0] > 128
                np.testing.assert_array_equal(bright, split.label_map(index) == 2)
                return
    pytest.fail("there is no picture 1")


@pytest.mark.parametrize("text", ["", "a\nb\n"])
def test_soft_edges_and_lonely_values(tmp_path: Path, text: str) -> None:
    soft = np.where(values(0, 2) == 1, 255, 0).astype(np.uint8).repeat(20, 0).repeat(20, 1)
    soft[0] = np.linspace(0, 255, soft.shape[1])
    folder(tmp_path, [soft, soft // 255 * 255, soft])
    if text:
        (tmp_path / "classes.txt").write_text(text)
        refused(tmp_path, r"masks/[02].png: the value \d+ \(1 pixels\) is not one of the 2 classes")
        return
    refused(tmp_path, r"masks/0.png is black and white with soft edges, of values from 1 to 25\d")
    for number in range(3):
        mask(tmp_path / f"masks/{number}.png", np.zeros_like(soft))
    refused(tmp_path, r"no mask has any value but \[0\]")


def test_values_and_colours_of_no_class_are_named(tmp_path: Path) -> None:
    folder(tmp_path, [values(i) for i in range(4)])
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    strange = values(1)
    strange[2, :3] = 7
    mask(tmp_path / "masks/1.png", strange)
    refused(
        tmp_path,
        r"masks/1.png: the value 7 \(3 pixels\) is not one of the 3 classes of .*classes.txt",
        when_read=True,
    )
    mask(tmp_path / "masks/1.png", strange.astype(np.uint16) * 100)
    refused(tmp_path, r"masks/1.png: the value 700 is not a class", when_read=True)
    mask(tmp_path / "masks/1.png", np.dstack([strange, strange, values(2)]))
    refused(tmp_path, r"masks/1.png is in colour, and no file says which", when_read=True)
    mask(tmp_path / "masks/1.png", strange == 7)
    refused(tmp_path, r"masks/1.png is black and white, and other masks have", when_read=True)
    (tmp_path / "classes.txt").write_text(COLOURED["classes.txt"])
    mask(tmp_path / "masks/1.png", np.dstack([strange, strange, strange]))
    refused(
        tmp_path, r"masks/1.png: the colour \d \d \d .* is not one of the 3 classes", when_read=True
    )


def test_transparent_blurred_and_broken_masks_are_named(tmp_path: Path) -> None:
    folder(tmp_path, [values(i) for i in range(4)])
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    place = tmp_path / "masks/3.png"
    clear = np.dstack([values(3)] * 4)
    mask(place, clear)
    refused(tmp_path, r"masks/3.png is transparent in places", when_read=True)
    Image.fromarray(values(3)).save(place, "JPEG")
    refused(tmp_path, r"masks/3.png is JPEG, which blurs classes", when_read=True)
    mask(place, values(3))
    place.write_bytes(place.read_bytes()[:60])
    refused(tmp_path, r"masks/3.png is not a readable", when_read=True)
    place.write_bytes(b"mask")
    refused(tmp_path, r"masks/3.png is not a readable")


def test_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    folder(tmp_path, [values(i) for i in range(4)])
    front = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", front) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    (tmp_path / "masks/1.png").write_bytes(data)
    refused(tmp_path, r"images/1.jpg: its mask is for 60000 x 60000 pixels, upright it has 8 x 6")
    with pytest.raises(InputError, match=r"masks/1.png"):
        mask_files.read_mask(str(tmp_path / "masks/1.png"))


def test_too_few_pictures_and_parts_are_refused(tmp_path: Path) -> None:
    refused(folder(tmp_path / "one", [values(0)]), "has fewer than two images")
    picture(tmp_path / "two/images/train/0.jpg")
    mask(tmp_path / "two/masks/train/0.png", values(0))
    refused(tmp_path / "two", "has a split train but no validation or test one")
    (tmp_path / "three/images").mkdir(parents=True)
    mask(tmp_path / "three/masks/0.png", values(0))
    refused(tmp_path / "three", "images has no images")


# --- Pascal VOC -----------------------------------------------------------------------------------


def voc(root: Path, parts: dict[str, str]) -> Path:
    """Pictures named by digits, with masks of classes 0, 1 and 20 and a frame of 255."""
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for part, numbers in parts.items():
        (lists / f"{part}.txt").write_text("".join(f"v{number}\n" for number in numbers))
        for number in numbers:
            picture(root / "JPEGImages" / f"v{number}.jpg")
            mask(root / "SegmentationClass" / f"v{number}.png", voc_map(int(number)), PALETTE)
    return root


def voc_map(number: int) -> np.ndarray:
    found = np.array([0, 1, 20], np.uint8)[values(number)]
    found[0] = VOID
    return found


PALETTE = [voc_maps.colour(number) for number in range(256)]


def test_vocs_colours_are_the_development_kits() -> None:
    assert PALETTE[:9] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128),
        (0, 128, 128), (128, 128, 128), (64, 0, 0),
    ]  # fmt: skip
    assert (PALETTE[20], PALETTE[255]) == ((0, 64, 128), (224, 224, 192))


def test_voc(tmp_path: Path) -> None:
    dataset = scan_maps(str(voc(tmp_path, {"train": "0123", "val": "45"})), seed=0)
    assert counts(dataset) == [4, None, 2]
    assert len(dataset.classes) == 21
    assert (dataset.classes[0], dataset.classes[20]) == ("background", "tvmonitor")
    assert dataset.palette == tuple(PALETTE[:21])
    for name, label_map in all_maps(dataset).items():
        np.testing.assert_array_equal(label_map, voc_map(int(name[1:])))
    # The same in colour, as some keep it.
    for file in (tmp_path / "SegmentationClass").iterdir():
        Image.open(file).convert("RGB").save(file)
    for name, label_map in all_maps(scan_maps(str(tmp_path), seed=0)).items():
        np.testing.assert_array_equal(label_map, voc_map(int(name[1:])))


def test_vocs_lists(tmp_path: Path) -> None:
    root = voc(tmp_path / "a", {"trainval": "0123456789"})
    assert counts(scan_maps(str(root), seed=0)) == [8, None, 2]
    (root / "ImageSets/Segmentation/trainval.txt").unlink()
    assert counts(scan_maps(str(root), seed=0)) == [8, None, 2]
    root = voc(tmp_path / "b", {"train": "012", "val": "34", "test": "56"})
    assert counts(scan_maps(str(root), seed=0)) == [3, 2, 2]
    for number in "56":
        (root / f"SegmentationClass/v{number}.png").unlink()
    dataset = scan_maps(str(root), seed=0)
    assert counts(dataset) == [3, None, 2]
    assert "test: its 2 images have no masks: left out" in said(dataset)
    (root / "JPEGImages/v1.jpg").unlink()
    refused(root, r"SegmentationClass/v1.png: no image in .* has its name")
    (root / "SegmentationClass/v1.png").unlink()
    refused(root, r"SegmentationClass/v1.png: no such mask, and a list names it")


def test_cvats_voc_has_its_own_classes(tmp_path: Path) -> None:
    root = voc(tmp_path, {"default": "01234"})
    for number in range(5):
        mask(root / f"SegmentationClass/v{number}.png", COLOURS[values(number)])
    (root / "labelmap.txt").write_text(COLOURED["labelmap.txt"])
    dataset = scan_maps(str(root), seed=0)
    assert counts(dataset) == [4, None, 1]
    assert dataset.classes == NAMES
    for name, label_map in all_maps(dataset).items():
        np.testing.assert_array_equal(label_map, values(int(name[1:])))


# --- Objects --------------------------------------------------------------------------------------


def outlined(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def coco(root: Path, annotations: list[dict], categories: tuple[str, ...]) -> Path:
    for number in range(5):
        picture(root / f"{number}.png", (20, 30))
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in range(5)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(categories)],
        "annotations": [{"id": i + 1, **one} for i, one in enumerate(annotations)],
    }
    (root / "all.json").write_text(json.dumps(content))
    return root / "all.json"


def boxed(image: int, category: int, box: tuple[int, int, int, int], **more: Any) -> dict:
    left, top, right, bottom = box
    sides = right - left, bottom - top
    return {
        "image_id": image, "category_id": category, "bbox": [left, top, *sides],
        "area": sides[0] * sides[1], "segmentation": outlined(*box), "iscrowd": 0, **more,
    }  # fmt: skip


def test_coco_is_painted_the_largest_first_and_crowds_are_void(tmp_path: Path) -> None:
    runs = {"size": [20, 30], "counts": [0, 200, 400]}  # ten columns
    every = [
        annotation
        for image in range(4)  # the last picture has no object
        for annotation in (
            boxed(image, 2, (12, 5, 14, 7)),  # within the next, and smaller
            boxed(image, 1, (8, 4, 20, 12)),
            boxed(image, 2, (0, 0, 10, 20), segmentation=runs, iscrowd=1),
        )
    ]
    dataset = scan_maps(str(coco(tmp_path, every, ("cat", "dog"))), seed=0)
    assert dataset.classes == ("background", "cat", "dog")
    assert counts(dataset) == [4, None, 1]
    expected = np.zeros((20, 30), np.uint8)
    expected[:, :10] = VOID
    expected[4:12, 8:20] = 1
    expected[5:7, 12:14] = 2
    for name, label_map in all_maps(dataset).items():
        np.testing.assert_array_equal(label_map, expected if name != "4" else 0 * expected)


def test_a_category_called_background_is_the_background(tmp_path: Path) -> None:
    every = [
        annotation
        for image in range(5)
        for annotation in (boxed(image, 2, (12, 5, 14, 7)), boxed(image, 1, (8, 4, 20, 12)))
    ]
    dataset = scan_maps(str(coco(tmp_path, every, ("cat", "background"))), seed=0)
    assert dataset.classes == ("background", "cat")
    assert (dataset.train.label_map(0) == 1).sum() == 12 * 8 - 4


def test_objects_of_boxes_alone_are_refused_or_told(tmp_path: Path) -> None:
    every = [boxed(image, 1, (8, 4, 20, 12)) for image in range(5)]
    bare = [{**one, "segmentation": []} for one in every]
    file = coco(tmp_path, bare, ("cat",))
    refused(file, "objects have boxes alone, and no outlines")
    coco(tmp_path, [*every, {**bare[0], "bbox": [0, 0, 2, 3]}], ("cat",))
    dataset = scan_maps(str(file), seed=0)
    assert "all.json: 1 of 6 objects have no outline: their masks are their boxes" in said(dataset)
    assert (all_maps(dataset)["0"][:3, :2] == 1).all()


def test_yolos_outlines(tmp_path: Path) -> None:
    for number in range(5):
        picture(tmp_path / "images" / f"{number}.png", (20, 30))
        label = tmp_path / "labels" / f"{number}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("1 0.2 0.1 0.6 0.1 0.6 0.5 0.2 0.5\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    dataset = scan_maps(str(tmp_path), seed=0)
    assert dataset.classes == ("background", "cat", "dog")
    expected = np.zeros((20, 30), np.uint8)
    expected[2:10, 6:18] = 2
    np.testing.assert_array_equal(dataset.train.label_map(0), expected)


def test_painting_by_hand() -> None:
    planes = np.zeros((4, 3, 4), bool)
    planes[0, :, :2] = planes[1, 0] = planes[2, :, 3] = planes[3, 2, 2] = True
    objects = Objects(
        boxes=np.zeros((4, 4), np.float32),
        labels=np.array([0, 1, 1, 0], np.int32),
        crowd=np.array([False, False, True, False]),
        areas=np.array([6, 4, 100, 1], np.float32),
        ids=np.arange(4),
        masks=tuple(lambda plane=plane: plane for plane in planes),
    )
    found = paint(objects, np.array([5, 9], np.uint8), (3, 4))
    assert found.tolist() == [[9, 9, 9, 9], [5, 5, 0, 255], [5, 5, 5, 255]]
    nothing = dataclasses.replace(objects, labels=objects.labels[:0], crowd=objects.crowd[:0])
    nothing = dataclasses.replace(nothing, areas=objects.areas[:0], masks=())
    assert not paint(nothing, np.array([5, 9], np.uint8), (3, 4)).any()


def test_more_classes_than_a_byte_holds_are_refused(tmp_path: Path) -> None:
    names = tuple(f"c{i}" for i in range(255))
    file = coco(tmp_path, [boxed(image, 1, (8, 4, 20, 12)) for image in range(5)], names)
    refused(file, "has 255 classes; a label map has at most 254 beside the background")


def test_every_reader_is_asked(tmp_path: Path) -> None:
    """A folder of Pascal VOC's boxes is known, and says what it lacks."""
    file = tmp_path / "Annotations" / "0.xml"
    file.parent.mkdir()
    picture(tmp_path / "JPEGImages" / "0.png")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>"
    for number in range(2):
        picture(tmp_path / "JPEGImages" / f"{number}.png")
        file.with_stem(str(number)).write_text(
            f"<annotation><object><name>cat</name>{box}</object></annotation>"
        )
    refused(tmp_path, "objects have boxes alone")
    assert map_sets.scan_maps is scan_maps
    assert read_pixels(tmp_path / "JPEGImages" / "0.png").shape == (*SIZE, 3)
