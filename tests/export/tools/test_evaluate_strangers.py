"""`kerascnn evaluate` of files of other programs, held against another file, and as a page."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import alone
import grey_images
import numpy as np
import pytest
import stranger_files
from commands import assert_refused, here
from PIL import Image

from export.runtime.strangers import FileOptions
from export.tools.evaluate import Asked, Evaluated, evaluate
from export.tools.evaluation_page import write_page
from export.tools.reference import mcnemar
from kerascnn.errors import InputError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten images, of which three look like the other class."""
    root = tmp_path / "photos"
    return grey_images.class_folders(
        root, bright=(250, 240, 230, 200, 180, 20), dark=(5, 10, 250, 245)
    )


@pytest.fixture
def options(tmp_path: Path) -> FileOptions:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(stranger_files.LABELS))
    return FileOptions(labels=path, preprocessing="0-1", resize="stretch")


def test_figures_confusion_and_worst_mistakes(
    photos: Path, options: FileOptions, tmp_path: Path
) -> None:
    path = stranger_files.tflite(tmp_path / "net.tflite")
    evaluated = evaluate(path, data=str(photos), asked=Asked(file_options=options))
    found = evaluated.to_dict()
    assert (found["images"], found["value"]) == (10, 70)
    # Places of labels: dark, bright, striped.
    assert found["confusion"] == [[0, 0, 2], [0, 1, 2], [1, 0, 1], [1, 1, 5]]
    first, second = found["confused"]
    assert first == {"true": "dark", "predicted": "bright", "images": 2, "share": 50.0}
    assert (second["true"], second["images"]) == ("bright", 1)
    assert second["share"] == pytest.approx(100 / 6)
    # The surest first: 250, then 245, then 20.
    assert [Path(row["image"]).relative_to(photos).as_posix() for row in found["worst"]] == [
        "dark/2.png", "dark/3.png", "bright/5.png",
    ]  # fmt: skip
    assert found["worst"][0]["true"] == "dark"
    assert found["worst"][0]["predicted"] == "bright"
    assert found["worst"][0]["probability"] > found["worst"][2]["probability"] > 99
    text = evaluated.as_text()
    assert "dark for bright: 2 images, 50.0%" in text
    # Told where it says something: of three classes all are among five.
    assert (found["top5"], "top-5" in text) == (100, False)
    assert [row["label"] for row in found["per_class"]] == ["dark", "bright", "striped"]
    assert not any(line.startswith("striped") for line in text.splitlines())
    assert "1 class without images left out; --csv has all" in text
    assert "dark, taken for bright (100.0%)" in text
    json.dumps(found)


def test_quantised_and_float_files_agree(
    photos: Path, options: FileOptions, tmp_path: Path
) -> None:
    """A file of 8 bits against its float twin, whose softmax is left out."""
    path = stranger_files.tflite(tmp_path / "int8.tflite", "int8", softmax=False)
    other = stranger_files.tflite(tmp_path / "float.tflite", softmax=True)
    asked = Asked(file_options=options, reference=other)
    evaluated = evaluate(path, data=str(photos), asked=asked)
    found = evaluated.to_dict()["reference"]
    assert found["same_top1"] == 100
    assert 20 < found["snr_db"] < 60  # a constant of each image does not count
    assert 0 < found["largest_difference"] < 0.3
    assert (found["difference"], found["low"], found["high"]) == (0, 0, 0)
    assert (found["lost"], found["gained"], found["p_value"]) == (0, 0, 1)
    assert "same top-1 100.00%" in evaluated.as_text()
    same = evaluate(other, data=str(photos), asked=asked).to_dict()["reference"]
    assert (same["snr_db"], same["largest_difference"]) == (None, 0)


def test_a_difference_has_a_paired_interval(
    photos: Path, options: FileOptions, tmp_path: Path
) -> None:
    path = stranger_files.tflite(tmp_path / "net.tflite")
    # As if bytes were half as large: all that is below 255 counts as dark.
    worse = FileOptions(labels=options.labels, preprocessing="0,510", resize="stretch")
    asked = Asked(file_options=options, reference=path, reference_options=worse)
    found = evaluate(path, data=str(photos), asked=asked).to_dict()["reference"]
    assert found["same_top1"] == 30
    assert (found["value"], found["difference"]) == (40, pytest.approx(30))
    # All dark ones are right by it, of which two are lost, and five bright ones are gained.
    assert (found["lost"], found["gained"]) == (2, 5)
    assert found["low"] < found["difference"] < found["high"]
    assert found["p_value"] == pytest.approx(mcnemar(2, 5))


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 2**6)


def test_agreement_needs_no_labels(photos: Path, options: FileOptions, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        shutil.copy(path, flat / f"{number}.png")
    path = stranger_files.tflite(tmp_path / "int8.tflite", "int8")
    other = stranger_files.onnx_file(tmp_path / "net.onnx", fixed=True)
    nameless = FileOptions(preprocessing="0-1", resize="stretch")
    evaluated = evaluate(path, data=str(flat), asked=Asked(file_options=nameless, reference=other))
    found = evaluated.to_dict()
    assert "value" not in found
    assert found["images"] == 10
    assert found["reference"]["same_top1"] == 100
    assert found["reference"]["difference"] is None
    assert "same top-1 100.00%" in evaluated.as_text()
    with pytest.raises(InputError, match="needs at least one class folder,"):
        evaluate(path, data=str(flat), asked=Asked(file_options=options))


def test_maps_and_boxes_agree(options: FileOptions, tmp_path: Path) -> None:
    images = grey_images.masks(tmp_path / "data") / "images"
    options = FileOptions(labels=options.labels, preprocessing="0-1")
    first = stranger_files.onnx_maps(tmp_path / "a.onnx")
    second = stranger_files.onnx_maps(tmp_path / "b.onnx", channels_first=False)
    asked = Asked(file_options=options, reference=second)
    found = evaluate(first, data=str(images), asked=asked).to_dict()["reference"]
    assert (found["same_pixels"], found["iou_between"]) == (100, 100)
    labelled = evaluate(first, data=str(tmp_path / "data"), asked=asked).to_dict()
    assert labelled["reference"]["difference"] == 0
    assert labelled["value"] == pytest.approx(100 / 3)
    (worst,) = labelled["worst"]
    assert Path(worst["image"]).name == "1.png"
    assert (worst["miou"], worst["class"], worst["iou"]) == (0, "dark", 0)
    boxes = [
        stranger_files.postprocessed(tmp_path / f"{name}.tflite", shuffled=name == "d")
        for name in "cd"
    ]
    asked = Asked(file_options=options, reference=boxes[1])
    found = evaluate(boxes[0], data=str(images), asked=asked).to_dict()["reference"]
    assert (found["found_again"], found["in_reference"]) == (100, 100)


def test_detectors_name_the_images_with_most_misses(options: FileOptions, tmp_path: Path) -> None:
    root = tmp_path / "val2017"
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    for number in range(3):
        pixels = np.full((20, 20, 3), 90, np.uint8)
        Image.fromarray(pixels).save(root / "val2017" / f"{number:012}.jpg")
    left, right = [0, 0, 10, 20], [10, 0, 10, 20]
    objects = [(0, left), (1, right), (1, [12, 0, 8, 20]), (2, left)]
    instances = {
        "images": [
            {"id": i, "file_name": f"{i:012}.jpg", "height": 20, "width": 20} for i in range(3)
        ],
        "categories": [{"id": 1, "name": "dark"}, {"id": 2, "name": "bright"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": 2, "bbox": box, "iscrowd": 0}
            | {"area": box[2] * box[3]}
            for i, (image, box) in enumerate(objects)
        ],
    }
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(instances))
    # As COCO's archive of annotations comes, of images that are not there.
    gone = {
        **instances,
        "images": [{**one, "file_name": "gone.jpg"} for one in instances["images"]],
    }
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(gone))
    path = stranger_files.postprocessed(tmp_path / "net.tflite")
    asked = Asked(file_options=FileOptions(labels=options.labels, preprocessing="0-1"))
    evaluated = evaluate(path, data=str(root), asked=asked)
    found = evaluated.to_dict()
    assert found["images"] == 3
    # Hit, miss, hit, of four: a precision of 1 to a recall of 0.25, and of 2/3 to one of 0.5.
    assert found["ap50"] == pytest.approx(100 * (26 + 25 * 2 / 3) / 101)
    assert found["worst"] == [
        {"image": str(root / "val2017" / f"{1:012}.jpg"), "missed": 2, "wrong": 1}
    ]
    assert "2 objects missed, 1 found wrongly" in evaluated.as_text()
    write_page(evaluated, tmp_path / "page.html")
    assert len(_Page.of(tmp_path / "page.html").images) == 1


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.outside: list[str] = []
        self.text: list[str] = []

    @classmethod
    def of(cls, path: Path) -> _Page:
        page = cls()
        page.feed(path.read_text())
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href"):
                kept = self.images if str(value).startswith("data:") else self.outside
                kept.append(str(value))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_holds_it_all(photos: Path, options: FileOptions, tmp_path: Path) -> None:
    path = stranger_files.tflite(tmp_path / "secret-home" / "x" / "net.tflite")
    asked = Asked(
        file_options=options, reference=stranger_files.tflite(tmp_path / "int8.tflite", "int8")
    )
    found: Evaluated = evaluate(path, data=str(photos), asked=asked)
    write_page(found, tmp_path / "page.html")
    page, text = _Page.of(tmp_path / "page.html"), (tmp_path / "page.html").read_text()
    assert page.outside == []
    assert len(page.images) == 3 + 1  # mistakes, and the confusion
    words = " ".join(page.text)
    for wanted in (
        "Accuracy 70.0%, 95% interval", "dark, taken for bright",
        "No images of 1 of its classes",
        "with int8.tflite: same top-1", "of probabilities", "A classifier on 10 held-out images of",
    ):  # fmt: skip
        assert wanted in words
    assert "secret-home" not in text
    assert str(tmp_path) not in text


def test_the_command(photos: Path, options: FileOptions, tmp_path: Path) -> None:
    path = stranger_files.onnx_file(tmp_path / "net.onnx", fixed=True)
    given = ("--data", photos, "--labels", options.labels, "--preprocessing", "0-1")
    done = here(
        "evaluate", path, *given, "--resize", "stretch", "--json", "-o", "page.html", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["value"] == 70
    assert (tmp_path / "page.html").is_file()
    for arguments, words in (
        (given[:2], ("does not say how it wants the bytes", "--preprocessing")),
        ((*given, "--weights", "imagenet"), ("--weights is for a network of the zoo",)),
        ((*given, "--published"), ("--published is for a network of the zoo",)),
        ((*given, "-o", "page.txt"), ("-o page.txt must be a file that ends in .html",)),
        ((*given, "--crop-fraction", "2"), ("--crop-fraction must be above 0",)),
        ((*given, "--reference", "gone.onnx"), ("gone.onnx: no such file",)),
    ):
        assert_refused(here("evaluate", path, *arguments, cwd=tmp_path), *words)


def test_no_framework_is_needed(photos: Path, options: FileOptions, tmp_path: Path) -> None:
    path = stranger_files.tflite(tmp_path / "net.tflite")
    script = f"""
import pathlib
from export.runtime.strangers import FileOptions
from export.tools.evaluate import Asked, evaluate
from export.tools.evaluation_page import write_page
path = pathlib.Path({str(path)!r})
options = FileOptions(labels=pathlib.Path({str(options.labels)!r}), preprocessing="0-1")
found = evaluate(path, data={str(photos)!r}, asked=Asked(file_options=options, reference=path))
write_page(found, pathlib.Path({str(tmp_path / "page.html")!r}))
"""
    done, imported = alone.script(script)
    assert done.returncode == 0, done.stderr
    assert not {"tensorflow", "keras", "jax", "torch"} & imported


def test_predict_takes_the_same_flags(photos: Path, options: FileOptions, tmp_path: Path) -> None:
    path = stranger_files.onnx_file(tmp_path / "net.onnx", fixed=True)
    image = photos / "bright" / "0.png"
    given = ("--labels", options.labels, "--preprocessing", "0-1")
    done = here("predict", path, image, *given, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["labels"][0]["label"] == "bright"
    assert_refused(
        here("predict", path, image, cwd=tmp_path),
        *("net.onnx.json is missing", "--preprocessing, --labels"),
    )
    described = stranger_files.tflite(tmp_path / "net.tflite")
    stranger_files.with_metadata(described, [0], [255])
    done = here("predict", described, image, cwd=tmp_path)
    assert "bright" in done.stdout


def test_a_keras_file_of_no_run(photos: Path, options: FileOptions, tmp_path: Path) -> None:
    """Of keras.applications' kind: it normalises by itself, and ends in a softmax."""
    import keras
    from keras import layers

    image = keras.Input((None, None, 3))
    pixels = layers.Rescaling(1 / 255)(image)
    dense = layers.Dense(3, activation="softmax")
    model = keras.Model(image, dense(layers.GlobalAveragePooling2D()(pixels)))
    dense.set_weights([stranger_files.KERNEL, stranger_files.BIAS])
    path = tmp_path / "net.keras"
    model.save(path)
    asked = Asked(file_options=FileOptions(labels=options.labels, image_size=(8, 8)))
    found = evaluate(path, data=str(photos), asked=asked).to_dict()
    assert (found["images"], found["value"]) == (10, 70)


def test_answers_that_are_no_numbers_are_wrong(
    photos: Path, options: FileOptions, tmp_path: Path
) -> None:
    """Of the images 250, 240, 230, 200, 180, 20 and 5, 10, 250, 245, three are below 0.1."""
    path = stranger_files.onnx_file(
        tmp_path / "net.onnx", fixed=True, softmax=True, broken_below=0.1
    )
    sound = stranger_files.tflite(tmp_path / "net.tflite")
    evaluated = evaluate(path, data=str(photos), asked=Asked(file_options=options, reference=sound))
    found, line = evaluated.to_dict(), "3 of 10 answers are not numbers (NaN)"
    # 20 is wrong anyway; 5 and 10 are right by the other file.
    assert (found["value"], found["top5"], found["not_numbers"]) == (50, 70, 3)
    assert [row["recall"] for row in found["per_class"][:2]] == [0, pytest.approx(500 / 6)]
    assert found["confusion"] == [[0, 1, 2], [1, 1, 5]]
    assert found["worst"][0]["probability"] > 99  # probabilities are taken for such
    assert {row["predicted"] for row in found["worst"]} == {"bright", None}
    assert (found["reference"]["same_top1"], found["reference"]["lost"]) == (70, 2)
    assert found["reference"]["largest_difference"] < 1e-3
    assert evaluated.as_text().splitlines()[1] == f"{line}; these images count as wrong"
    assert "the answer is not a number" in evaluated.as_text()
    write_page(evaluated, tmp_path / "page.html")
    assert line in (tmp_path / "page.html").read_text()
    back = evaluate(sound, data=str(photos), asked=Asked(file_options=options, reference=path))
    assert f"of {path}, {line}" in back.as_text()
    json.dumps(found, allow_nan=False)


def test_no_answer_that_is_a_number_is_an_error(
    photos: Path, options: FileOptions, tmp_path: Path
) -> None:
    path = stranger_files.onnx_file(tmp_path / "net.onnx", fixed=True, broken_below=2)
    sound, line = stranger_files.tflite(tmp_path / "net.tflite"), "10 of 10 answers are not numbers"
    for asked in (Asked(file_options=options), Asked(file_options=options, reference=sound)):
        with pytest.raises(InputError, match=line):
            evaluate(path, data=str(photos), asked=asked)
    with pytest.raises(InputError, match=rf"net\.onnx: {line}"):
        evaluate(sound, data=str(photos), asked=Asked(file_options=options, reference=path))


def test_predict_names_images_without_an_answer(
    photos: Path, options: FileOptions, tmp_path: Path
) -> None:
    path = stranger_files.onnx_file(tmp_path / "net.onnx", fixed=True, broken_below=0.1)
    given = ("--labels", options.labels, "--preprocessing", "0-1", "--json")
    images = [photos / "bright" / "0.png", photos / "dark" / "0.png"]
    done = here("predict", path, *images, *given, cwd=tmp_path)
    assert done.returncode == 2
    assert [Path(one["image"]).parent.name for one in json.loads(done.stdout)] == ["bright"]
    assert "dark/0.png: what" in done.stderr
    assert "is not a number (NaN)" in done.stderr
    assert "1 image of 2 could not be read or answered" in done.stderr
    assert_refused(here("predict", path, images[1], *given, cwd=tmp_path), "not a number (NaN)")
