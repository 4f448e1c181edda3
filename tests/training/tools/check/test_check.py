"""`kerascnn check`: each kind of finding with its count, exit codes, JSON, the page."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import alone
import numpy as np
import pytest
import small_sets
from commands import COMMAND, assert_refused, here
from marks import IN_CI
from PIL import Image

from kerascnn.errors import InputError
from training.datasets.detection import Objects
from training.detection import inspection
from training.tools.check import report
from training.tools.check.check import Checked, check
from training.tools.check.page import write_page
from training.tools.check.task import guessed, request

FRAMEWORKS = {"tensorflow", "keras", "torch", "jax"}

SIDE = 128  # of images, whose network sees 128 x 128


def scene(seed: int, height: int = SIDE, width: int = SIDE) -> Image.Image:
    """Smooth blobs of colour, unlike those of other seeds."""
    rng = np.random.default_rng([9, seed])
    cells = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
    return cells.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; 24 training images of each and 12 held-out ones."""
    root = tmp_path_factory.mktemp("check") / "pets"
    seed = 0
    for split, count in (("train", 24), ("val", 12)):
        for name in ("cats", "dogs"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                scene(seed := seed + 1).save(folder / f"{number}.png", compress_level=1)
    return root


@pytest.fixture
def clean(pets: Path, tmp_path: Path) -> Path:
    """A copy of its own."""
    shutil.copytree(pets, tmp_path / "pets")
    return tmp_path / "pets"


def checked(data: Path, **asked: object) -> Checked:
    wanted, guess = request(str(data), **{"image_size": (SIDE, SIDE), **asked})
    return check(wanted, guessed=guess)


def counted(data: Path, **asked: object) -> dict[str, int]:
    """How often each kind was found."""
    found: dict[str, int] = {}
    for one in checked(data, **asked).findings:
        found[one.note.kind] = found.get(one.note.kind, 0) + one.note.count
    return found


def test_nothing_is_wrong_with_a_clean_set(clean: Path) -> None:
    found = checked(clean)
    assert not found.findings
    assert report.verdict(found) == "nothing found that is wrong"
    assert report.of_splits(found) == "2 classes; 44 training, 4 validation and 24 held-out images"


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.asarray(scene(570).convert("L"), np.uint16) * 257).save(path)


def animated(path: Path) -> None:
    scene(571).save(path, "WEBP", save_all=True, append_images=[scene(572), scene(573)])


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(574, 60, 90).save(path, "JPEG", exif=exif)


def cut_short(path: Path) -> None:
    scene(575).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:600])


def see_through(path: Path) -> None:
    image = scene(576).convert("RGBA")
    image.putalpha(scene(577).convert("L"))
    image.save(path)


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "broken-images": ("x.jpg", cut_short),
    "blank-images": ("x.png", lambda path: Image.new("RGB", (SIDE, SIDE), "navy").save(path)),
    "wrong-extension": ("x.jpg", lambda path: scene(580).save(path, "PNG")),
    "animated": ("x.webp", animated),
    "16-bit": ("x.png", sixteen_bits),
    "cmyk": ("x.jpg", lambda path: scene(581).convert("CMYK").save(path)),
    "transparent": ("x.png", see_through),
    "small-images": ("x.png", lambda path: scene(582, 60, 50).save(path)),
    "long-images": ("x.png", lambda path: scene(583, 100, 310).save(path)),
}


@pytest.mark.parametrize("kind", FILES)
def test_unusual_files_are_found_one_by_one(kind: str, clean: Path) -> None:
    name, write = FILES[kind]
    write(clean / "val" / "cats" / name)
    found = checked(clean).findings
    assert [(one.note.kind, one.note.count) for one in found] == [(kind, 1)]
    assert name in found[0].note.examples[0]
    assert found[0].remedy


def test_what_exif_turns_has_its_upright_size(clean: Path) -> None:
    turned(clean / "val" / "cats" / "x.jpg")
    found = checked(clean)
    assert not found.findings
    assert report.as_json(found, None)["turned_by_exif"] == 1
    last = found.census.rows[found.census.rows["turned"] == 6][0]
    assert (last["height"], last["width"]) == (90, 60)


def test_the_same_image_across_splits_and_classes(clean: Path) -> None:
    shutil.copy(clean / "train" / "cats" / "0.png", clean / "val" / "cats" / "other.png")
    shutil.copy(clean / "train" / "dogs" / "3.png", clean / "val" / "dogs" / "other.png")
    shutil.copy(clean / "val" / "dogs" / "5.png", clean / "val" / "cats" / "dog.png")
    found = counted(clean)
    assert found == {
        "same-across-splits": 2,
        "same-image-two-classes": 2,
        "same-images": 1,
    }


def test_nearly_the_same_image_across_splits(clean: Path) -> None:
    for number in range(3):
        small = Image.open(clean / "train" / "cats" / f"{number}.png").resize((100, 100))
        small.save(clean / "val" / "cats" / f"small{number}.jpg", quality=70)
    one, two = (Image.open(clean / "val" / "dogs" / "0.png") for _ in range(2))
    one.save(clean / "val" / "dogs" / "again.jpg", quality=80)
    two.save(clean / "val" / "cats" / "dog.jpg", quality=60)
    found = counted(clean)
    assert found.pop("alike-image-two-classes") == 3
    assert found == {"alike-across-splits": 3, "alike-images": 2}


def test_many_images_of_one_colour_are_one_group(clean: Path) -> None:
    for number in range(40):
        shade = (number % 3,) * 3
        Image.new("RGB", (SIDE, SIDE), shade).save(clean / "train" / "dogs" / f"x{number}.bmp")
    found = counted(clean)
    assert found["blank-images"] == 40
    assert "alike-images" not in found  # they are not compared by hashes of noise
    assert found["same-images"] + found["same-across-splits"] == 37


def test_rare_missing_and_alike_classes(tmp_path: Path) -> None:
    for name, count in (("Cat", 60), ("cat", 5), ("dog", 40)):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for number in range(count):
            scene(1000 * len(name) + 100 * (name == "dog") + number + 200 * (name == "cat")).save(
                folder / f"{number}.png"
            )
    assert counted(tmp_path / "pets") == {
        "alike-class-names": 1,
        "few-images": 1,
        "unbalanced-classes": 1,
    }


def boxes(root: Path, changes: dict[str, object] | None = None) -> Path:
    """A COCO set of 40 images of two classes, a box of 40 x 40 pixels each."""
    root.mkdir()
    for split, first, count in (("train", 0, 28), ("val", 28, 12)):
        (root / split).mkdir()
        images, annotations = [], []
        for number in range(first, first + count):
            scene(number).save(root / split / f"{number}.png")
            images.append(
                {"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE}
            )
            annotations.append(
                {"id": number + 1, "image_id": number, "category_id": 1 + number % 2}
                | {"bbox": [20, 30, 40, 40], "area": 1600, "iscrowd": 0}
            )
        told = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(told))
    return root


def annotations(root: Path, split: str) -> tuple[Path, dict]:
    path = root / "annotations" / f"instances_{split}.json"
    return path, json.loads(path.read_text())


def test_a_clean_set_of_objects(tmp_path: Path) -> None:
    root = boxes(tmp_path / "set")
    found = checked(root)
    assert guessed(str(root)) == "detection"
    assert not found.findings
    told = report.as_json(found, None)
    assert told["object_sides"]["32 to 64"] == 40
    assert told["splits"]["held-out"] == {"images": 12, "broken": 0, "objects": 12}


def test_objects_that_are_too_small_twice_or_missing(tmp_path: Path) -> None:
    root = boxes(tmp_path / "set")
    path, told = annotations(root, "train")
    for number, one in enumerate(told["annotations"][:5]):
        one["bbox"] = [20, 30, 7.9, 50] if number else [20, 30, 8, 50]
    told["annotations"] += [
        {**one, "id": 900 + one["id"], "bbox": [20, 30, 40, 40.5]}
        for one in told["annotations"][6:9]
    ]
    told["annotations"].append({**told["annotations"][9], "id": 990, "category_id": 3})
    told["categories"] += [{"id": 3, "name": "star"}, {"id": 4, "name": "moon"}]
    path.write_text(json.dumps(told))
    path, held_out = annotations(root, "val")
    held_out["categories"] = told["categories"]
    path.write_text(json.dumps(held_out))
    found = counted(root)
    assert found == {
        "tiny-objects": 4,
        "unreached-objects": 5,  # six times as high as wide
        "repeated-boxes": 3,
        "class-without-training": 1,
        "class-without-measure": 1,
        "few-images": 1,
        "unbalanced-classes": 1,
    }
    # Half as large again at a larger input.
    assert "tiny-objects" not in counted(root, image_size=(256, 256))
    # A cell of SSDLite's finest grid has 16 pixels.
    assert counted(root, model="ssdlite_mobilenet_v2")["tiny-objects"] == 5


def test_points_and_their_maps(tmp_path: Path) -> None:
    """Of RTMDet's points, 8, 16 and 32 pixels apart: objects of 40 pixels hold one of each."""
    root = boxes(tmp_path / "set")
    path, told = annotations(root, "train")
    for one in told["annotations"][:5]:
        one["bbox"] = [17, 33, 6, 6]  # between those at 16 and 24, and at 32 and 40
    path.write_text(json.dumps(told))
    found = checked(root, model="rtmdet_mobilenet_v4_conv_small")
    (missed,) = (one for one in found.findings if one.note.kind == "unreached-objects")
    assert missed.note.count == 5
    assert "between the network's points" in missed.note.text
    maps = report.as_json(found, None)["object_maps"]
    assert [one["cell"] for one in maps] == [[8, 8], [16, 16], [32, 32]]
    assert [one["objects"] for one in maps] == [35, 35, 35]
    assert {(one["smallest"], one["largest"]) for one in maps} == {(40, 40)}
    line = report.facts(found)["Maps"]
    assert line.startswith("by points in their boxes: 35 objects of 40 to 40 pixels on cells of 8;")


def test_objects_as_tiles_show_them(tmp_path: Path) -> None:
    """An image of 128 pixels in tiles of 80, which the network sees at 128."""
    root = boxes(tmp_path / "set")
    whole, tiled = checked(root), checked(root, tiles=80, overlap=0.25)
    for found, side in ((whole, 40), (tiled, 64)):
        assert found.counts.sides is not None
        np.testing.assert_allclose(found.counts.sides, side)
    (row,) = (one for one in report.as_json(tiled, None)["object_maps"] if one["objects"])
    assert (row["smallest"], row["largest"]) == (64, 64)
    page = tmp_path / "check.html"
    write_page(tiled, page)
    assert page.stat().st_size > 10_000
    letterbox = checked(root, resize="letterbox", image_size=(SIDE, 2 * SIDE))
    assert letterbox.counts.sides is not None
    np.testing.assert_allclose(letterbox.counts.sides, 40)
    assert "letterboxed" in report.what_for(letterbox)


def test_boxes_that_a_reader_sees_twice_are_told_once(tmp_path: Path) -> None:
    root = boxes(tmp_path / "set")
    path, told = annotations(root, "train")
    told["annotations"] += [{**one, "id": 900 + one["id"]} for one in told["annotations"][6:9]]
    path.write_text(json.dumps(told))
    kinds = [one.note.kind for one in checked(root).findings]
    assert kinds == ["repeated-boxes"]


def test_an_image_that_its_annotations_do_not_fit(tmp_path: Path) -> None:
    root = boxes(tmp_path / "set")
    scene(30, 100, 90).save(root / "val" / "30.png")
    assert counted(root) == {"other-size": 1}


def test_masks(tmp_path: Path) -> None:
    root = small_sets.masks(tmp_path / "set", 60)
    assert guessed(str(root)) == "segmentation"
    found = checked(root, image_size=(64, 64))
    assert found.counts.unit == "pixel"
    assert found.counts.of.sum() == 60 * 64 * 64
    kinds = {one.note.kind for one in found.findings}
    assert not kinds & {"broken-masks", "other-size", "class-without-training"}


@pytest.mark.parametrize(
    ("data", "task"),
    [("mnist", "classification"), ("scenes:96@16+8", "detection"), ("tfds:x", "classification")],
)
def test_the_task_of_embedded_sets(data: str, task: str) -> None:
    assert guessed(data) == task


def test_what_is_there_is_told_where_a_guess_was_wrong(tmp_path: Path) -> None:
    root = boxes(tmp_path / "set")
    (root / "annotations" / "instances_train.json").write_text("{")
    with pytest.raises(InputError, match="for detection; --task says otherwise"):
        checked(root)


def test_held_out_images_that_lie_elsewhere(clean: Path) -> None:
    train, elsewhere = clean / "train", clean / "val"
    shutil.copy(train / "cats" / "0.png", elsewhere / "cats" / "other.png")
    found = checked(train, val_data=str(elsewhere))
    assert found.census.counts[-1] == 25
    assert sum(found.census.counts) == 48 + 25
    assert [(one.note.kind, one.note.count) for one in found.findings] == [
        ("same-across-splits", 1)
    ]


def test_files_that_are_not_read(clean: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (clean / "train" / "cats" / name).write_text("")
    found = checked(clean)
    assert not found.findings
    assert [one.note.count for one in found.facts] == [2]
    (clean / "train" / "cats" / "c.heic").write_text("")
    (one,) = checked(clean).findings
    assert (one.note.kind, one.note.count) == ("unread-files", 3)
    assert "1 .heic" in one.note.text


def test_boxes_there_twice_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = np.stack(np.divmod(np.arange(40), 8), axis=1) / 10
    boxes = np.concatenate([corners, corners + 0.1], axis=1).astype(np.float32)
    boxes[[7, 21, 39]] = boxes[[3, 3, 30]]
    objects = Objects(
        boxes=boxes,
        labels=np.zeros(40, np.int32),
        crowd=np.zeros(40, bool),
        areas=np.ones(40, np.float32),
        ids=np.arange(40),
    )
    for rows in (256, 8):
        monkeypatch.setattr(inspection, "ROWS", rows)
        assert inspection.repeats_of(objects) == 3


# --- The command ----------------------------------------------------------------------------------


def test_the_command_tells_finds_and_writes(clean: Path, tmp_path: Path) -> None:
    size = ("--image-size", SIDE)
    done = here("check", clean, *size)
    assert done.returncode == 0
    assert "nothing found that is wrong" in done.stdout
    (clean / "val" / "dogs" / "x.jpg").write_text("no image")
    page = tmp_path / "check.html"
    done = here("check", clean, *size, "-o", page)
    assert done.returncode == 1
    assert "1 image cannot be read" in done.stdout
    assert "-> restore or remove them" in done.stdout
    text = page.read_text()
    assert text.count("<img") == 2 * 12  # each as in evaluation and as in training
    assert "http" not in text.replace("http-equiv", "")
    assert str(tmp_path) not in text


def test_pages_of_objects_and_masks(tmp_path: Path) -> None:
    for data in (boxes(tmp_path / "boxes"), small_sets.masks(tmp_path / "masks", 30)):
        page = tmp_path / f"{data.name}.html"
        here("check", data, "--image-size", 96, "-o", page)
        assert page.read_text().count("<figure>") >= 12


def test_json(clean: Path) -> None:
    cut_short(clean / "train" / "cats" / "x.jpg")
    done = here("check", clean, "--image-size", SIDE, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["task"] == "classification"
    assert told["task_guessed"] is True
    assert told["image_size"] == [SIDE, SIDE]
    assert told["splits"]["training"] == {"images": 45, "broken": 1}
    assert told["classes"][0] == {"name": "cats", "training": 23, "validation": 2, "held-out": 12}
    assert told["formats"] == {"PNG": 72}
    assert told["report"] is None
    (found,) = told["findings"]
    assert found["kind"] == "broken-images"
    assert found["count"] == len(found["examples"]) == 1
    assert set(found) == {"kind", "text", "count", "examples", "remedy"}


@pytest.mark.parametrize(
    ("arguments", "culprits"),
    [
        (["nowhere"], ("nowhere", "no such file or folder")),
        (["mnist", "--task", "colouring"], ("--task", "colouring", "segmentation")),
        (["mnist", "--task", "detection", "--model", "lenet5"], ("lenet5 is for classification",)),
        (["mnist", "--model", "lenet6"], ("lenet5",)),
        (["mnist", "-o", "check.pdf"], (".html",)),
        (["mnist", "--augmentation", "more"], ("more", "augmentation")),
        (["file.txt"], ("not a data set",)),
    ],
)
def test_what_is_refused(arguments: list[str], culprits: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("")
    assert_refused(here("check", *arguments, cwd=tmp_path), *culprits)


def test_the_page_of_a_refused_folder_tells_of_its_images(clean: Path, tmp_path: Path) -> None:
    root, page = clean / "train", tmp_path / "check.html"
    for image in sorted((root / "dogs").iterdir())[1:]:
        image.unlink()  # one is left, which cannot be learnt from and held out
    cut_short(root / "cats" / "x.jpg")
    (root / "cats" / "y.heic").write_bytes(b"an image of a telephone")
    for more in ((), ("-o", page)):
        assert not page.exists()
        done = here("check", root, *more)
        assert_refused(done, "dogs")
        assert not done.stdout
    text = page.read_text()
    assert "no training can read it; 2 more findings in its image files" in text
    assert "26 image files below it, 1 of which cannot be read" in text
    assert "1 image cannot be read" in text
    assert "convert them to JPEG or PNG" in text
    assert str(tmp_path) not in text


def test_the_page_of_a_refused_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text('{"images": []}')
    assert_refused(here("check", "set.json", "-o", "check.html", cwd=tmp_path), "set.json")
    text = (tmp_path / "check.html").read_text()
    assert "no training can read it" in text
    assert "its images were not looked for: it is not a folder" in text
    assert str(tmp_path) not in text


def test_refusals_need_no_framework(tmp_path: Path) -> None:
    done, imported = alone.command("check", "nowhere", cwd=tmp_path)
    assert_refused(done, "nowhere")
    assert not FRAMEWORKS & imported


def test_a_check_needs_no_framework(clean: Path, tmp_path: Path) -> None:
    done, imported = alone.command("check", "pets", "--image-size", SIDE, cwd=tmp_path)
    assert done.returncode == 0
    assert not FRAMEWORKS & imported
    root = boxes(tmp_path / "boxes")
    asked = ("check", root, "--image-size", SIDE, "-o", "page.html")
    done, imported = alone.command(*asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not FRAMEWORKS & imported
    assert (tmp_path / "page.html").is_file()


@IN_CI
def test_many_files_are_looked_at_by_processes(clean: Path, tmp_path: Path) -> None:
    """As many as it takes; the figures are those of threads."""
    for number in range(1100):
        (clean / "train" / "dogs" / f"x{number}.png").hardlink_to(clean / "train/dogs/0.png")
    (clean / "train" / "dogs" / "x500.jpg").write_text("no image")
    done = subprocess.run(
        [*COMMAND, "check", str(clean), "--image-size", str(SIDE), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    counts = {one["kind"]: one["count"] for one in told["findings"]}
    assert counts["broken-images"] == 1
    assert counts["same-images"] == 1101 - 2  # but one in training and one to choose the epoch
    assert "looking at images: 1173/1173" in done.stderr
