"""The page answers as Python does, in a real browser; its modules, against golden vectors."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import keras
import numpy as np
import pytest
import scene_detectors
import skimage.data
import sklearn.datasets
import tiny_detectors
import tiny_segmenters
import web_golden
from commands import assert_refused, here
from keras import layers
from marks import IN_CI
from networks import with_random_norms
from PIL import Image
from web_page import PROBLEM, Page, needs_browser

from export.artefacts.description import DESCRIPTION, read_description
from export.artefacts.variants import parse_variant
from export.compress.compress import compress
from export.deploy import web
from export.graph.detection import with_scores
from export.graph.two_stage import with_suppression
from export.runtime import load as runtimes
from export.runtime.detectors import load_detector
from export.runtime.predict import answers
from export.runtime.segmenters import load_segmenter
from export.runtime.selftest import of_file
from export.tasks.classification import Classification
from export.tflite.argmax import append_argmax
from export.tflite.convert import to_tflite
from export.tflite.float_counts import give_float_counts
from export.tflite.metadata import describe
from export.tflite.model import TFLiteModel
from export.tflite.postprocess import append_postprocess
from export.tflite.quantise import quantise_file
from kerascnn import blocks
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification.evaluate import softmax
from training.datasets.pictures import fit_array, read_picture, read_pixels
from training.detection.evaluate import on_picture
from training.engine.run import Run
from training.segmentation.evaluate import on_picture as map_on_picture

NODE = shutil.which("node")
PACKAGES = web.SOURCES / "node_modules"
LABELS = ("cat", "고양이", "<b>bär</b>", "a name of many, many words", "5")
PREPROCESSING = Preprocessing(
    height=48, width=40, channels=3, mean=(123.0, 116.0, 103.0), std=(58.0, 57.0, 57.0)
)
# (byte - 127) / 128 is what an int8 file's input can say by itself.
BYTES = dataclasses.replace(PREPROCESSING, mean=127.0, std=128.0, resize="stretch")
SHOWN = 0.3  # the lowest score that the page begins with

needs_node = pytest.mark.skipif(NODE is None, reason="there is no node")
# ---------------------------------------------------------------- modules, in node


@IN_CI
@needs_node
def test_modules_answer_as_python_does(tmp_path: Path) -> None:
    web_golden.write_golden(tmp_path)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [str(NODE), "--test", "tests/web"],
        cwd=root,
        env={**os.environ, "GOLDEN": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


# ---------------------------------------------------------------- the folder


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """What npm would install, as small as it can be."""
    folder = tmp_path / "node_modules"
    script = 'import { createWasmLib } from "@litertjs/wasm-utils";\n//# sourceMappingURL=x.map\n'
    for name, data in {
        "core/dist/index.js": script,
        "wasm-utils/dist/index.js": "export const createWasmLib = 1;\n",
        **{
            f"core/wasm/litert_wasm_{kind}.{end}": f"{kind} {end}" * 100
            for kind in ("internal", "compat_internal", "threaded_internal")
            for end in ("js", "wasm")
        },
    }.items():
        path = folder / "@litertjs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two files that say what they are, and one of another form."""
    folder = tmp_path / "my run"
    (folder / "artefacts").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    told = web_golden.description("classification", PREPROCESSING, LABELS, {"kind": "logits"})
    for name, size in (("float32", 3000), ("int8", 1000)):
        data = web_golden.described(b"\0" * 4 + b"TFL3" + b"\1" * size, told)
        (folder / "artefacts" / f"{name}.tflite").write_bytes(data)
    (folder / "artefacts" / "float32.onnx").write_bytes(b"no")
    return folder


def test_the_folder_has_page_runtime_and_models(run: Path, packages: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    made = web.write_page([str(run)], folder, packages=packages)

    assert [model.name for model in made.models] == ["my run int8", "my run float32"]
    listed = json.loads((folder / "models.json").read_text())["models"]
    assert listed == [dataclasses.asdict(model) for model in made.models]
    for model in made.models:
        source = run / "artefacts" / f"{model.name.split()[-1]}.tflite"
        assert (folder / model.file).read_bytes() == source.read_bytes()
        assert model.bytes == source.stat().st_size
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    there = {path.name for path in web.SOURCES.iterdir() if path.suffix in web.PAGE}
    assert {"index.html", "main.js", "style.css", "icon.svg", "page.webmanifest"} <= there <= files
    assert not [name for name in files if "package" in name]
    script = (folder / "litert" / "litert.js").read_text()
    assert '"./wasm-utils.js"' in script
    assert "sourceMappingURL" not in script
    assert made.bytes == sum((folder / name).stat().st_size for name in files)
    # One of three builds of the runtime.
    others = [name for name in files if "compat" in name or "threaded" in name]
    assert len(others) == 4
    left_out = sum((folder / name).stat().st_size for name in others)
    assert made.visit_bytes == made.bytes - left_out - made.models[1].bytes


def test_the_service_worker_knows_every_file_by_its_hash(
    run: Path, packages: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"

    def tables() -> tuple[dict[str, str], dict[str, str]]:
        script = (folder / "service_worker.js").read_text()
        found = [
            json.loads(script.partition(f"const {name} = ")[2].partition(";")[0])
            for name in ("PAGE", "LATER")
        ]
        return found[0], found[1]

    web.write_page([str(run)], folder, packages=packages)
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "service_worker.js"
    }
    at_once, later = first = tables()
    assert at_once | later == files
    assert {"index.html", "models.json", "litert/litert.js", "icon-192.png"} <= at_once.keys()
    assert {name.split("/")[0] for name in later} == {"litert", "models"}
    web.write_page([str(run)], folder, packages=packages)
    assert tables() == first
    web.write_page([str(run)], folder, variants=["int8"], packages=packages)
    assert tables() != first


def test_icons_are_those_of_the_manifest(run: Path, packages: Path, tmp_path: Path) -> None:
    web.write_page([str(run)], tmp_path / "page", packages=packages)
    manifest = json.loads((tmp_path / "page" / "page.webmanifest").read_text())
    sizes = set()
    for icon in manifest["icons"]:
        path = tmp_path / "page" / icon["src"]
        if path.suffix != ".png":
            continue
        with Image.open(path) as image:
            assert "{}x{}".format(*image.size) == icon["sizes"]
            corner, middle = image.getpixel((0, 0)), image.getpixel((image.width // 2,) * 2)
        assert middle == (0xF0, 0xE4, 0x42, 255)
        # Phones cut a maskable one themselves.
        assert (corner[3] == 255) == (icon.get("purpose") == "maskable")
        sizes.add(image.width)
    assert sizes == {192, 512}


def test_a_second_page_takes_the_place_of_the_first(
    run: Path, packages: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    web.write_page([str(run)], folder, packages=packages)
    made = web.write_page([str(run)], folder, variants=["float32"], packages=packages)
    assert [path.name for path in (folder / "models").iterdir()] == [Path(made.models[0].file).name]


def test_a_file_may_come_without_its_run(run: Path, packages: Path, tmp_path: Path) -> None:
    path = str(run / "artefacts" / "int8.tflite")
    made = web.write_page([path], tmp_path / "page", packages=packages)
    assert [model.name for model in made.models] == ["int8"]


def test_what_cannot_be_made_is_refused(run: Path, packages: Path, tmp_path: Path) -> None:
    write = functools.partial(web.write_page, folder=tmp_path / "page", packages=packages)
    with pytest.raises(InputError, match=r"no int4; it has float32, int8; make them: .* int4"):
        write([str(run)], variants=["int8", "int4"])
    with pytest.raises(InputError, match="is not a run folder"):
        write([str(tmp_path)])
    with pytest.raises(InputError, match=r"x\.tflite: no such file"):
        write([str(run / "x.tflite")])
    with pytest.raises(InputError, match="has other files in it"):
        write([str(run)], folder=run)
    with pytest.raises(InputError, match="npm ci --prefix"):
        write([str(run)], packages=tmp_path / "nothing")
    script = packages / "@litertjs" / "core" / "dist" / "index.js"
    script.write_text("export {};")
    with pytest.raises(InputError, match="another version"):
        write([str(run)])
    plain = run / "artefacts" / "plain.tflite"
    for data in (b"\0" * 4 + b"TFL3", _zip_of(b"not JSON")):
        plain.write_bytes(data)
        with pytest.raises(InputError, match=r"plain\.tflite (does not|has a wrong) descri"):
            write([str(run)])
    assert not (tmp_path / "page").exists()


def _zip_of(text: bytes) -> bytes:
    whole = io.BytesIO(b"\0" * 4 + b"TFL3")
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(DESCRIPTION, text)
    return whole.getvalue()


def test_the_command(run: Path, tmp_path: Path) -> None:
    assert_refused(here("web", tmp_path, "-o", tmp_path / "page"), str(tmp_path), "run.json")
    assert_refused(here("web", run, "-o", tmp_path / "page", "--variants", "int4"), "int4")
    if not PACKAGES.is_dir():
        assert_refused(here("web", run, "-o", tmp_path / "page"), "npm ci --prefix")
        return
    done = here("web", run, "-o", tmp_path / "page", "--variants", "int8")
    assert done.returncode == 0, done.stderr
    assert "my run int8" in done.stdout
    assert f"python -m http.server -d {tmp_path / 'page'}" in done.stdout


# ---------------------------------------------------------------- in the browser


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A model file of the page, and what it takes."""

    path: Path
    preprocessing: Preprocessing


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, File]:
    """Small networks of every task, as files that say what they are."""
    folder = tmp_path_factory.mktemp("files")
    made: dict[str, File] = {}

    def write(
        name: str, data: bytes, task: str, preprocessing: Preprocessing, labels: Any, decoding: Any
    ) -> None:
        kind = "uint8" if "int8" in name else "float32"
        told = web_golden.description(task, preprocessing, labels, decoding, kind=kind)
        path = folder / f"{name}.tflite"
        path.write_bytes(TFLiteModel.edited(data, describe, metadata=told))
        variant = parse_variant("int8" if "int8" in name else "float32")
        told["selftest"] = of_file(data, ".tflite", read_description(path), variant)
        path.write_bytes(TFLiteModel.edited(data, describe, metadata=told))
        made[name] = File(path=path, preprocessing=preprocessing)

    classifier = to_tflite(_classifier())
    write("class_float32", classifier, "classification", PREPROCESSING, LABELS, {"kind": "logits"})
    quantised = quantise_file(classifier, parse_variant("int8"), BYTES, _calibration(BYTES))
    write("class_int8", quantised, "classification", BYTES, LABELS, {"kind": "logits"})

    spec, seen = tiny_detectors.spec(score_threshold=0.2), tiny_detectors.PREPROCESSING
    raw = to_tflite(with_scores(with_random_norms(tiny_detectors.network()), spec))
    detector = functools.partial(
        write, task="detection", preprocessing=seen, labels=tiny_detectors.CLASSES
    )
    codes = {"kind": "codes", **spec.to_dict()}
    detector("detect_raw", raw, decoding=codes)
    detector(
        "detect_float32",
        TFLiteModel.edited(raw, append_postprocess, spec=spec),
        decoding={"kind": "detections"},
    )
    quantised = quantise_file(raw, parse_variant("int8"), seen, _calibration(seen))
    detector(
        "detect_int8",
        TFLiteModel.edited(quantised, append_postprocess, spec=spec),
        decoding={"kind": "detections"},
    )

    raw = to_tflite(_segmenter())
    segmenter = functools.partial(
        write, task="segmentation", preprocessing=tiny_segmenters.PREPROCESSING,
        labels=tiny_segmenters.CLASSES,
    )  # fmt: skip
    segmenter("map_raw", raw, decoding={"kind": "map_logits"})
    segmenter(
        "map_float32", TFLiteModel.edited(raw, append_argmax, name="map"), decoding={"kind": "map"}
    )
    return made


def _classifier() -> keras.Model:
    """Of a few layers, with logits that differ from picture to picture."""
    keras.utils.set_random_seed(0)
    conventions = blocks.Conventions(activation="relu6", norm_momentum=0.9)
    x = inputs = blocks.picture_input(PREPROCESSING.input_shape)
    x = conventions.conv(x, 8, 3, strides=2, name="stem")
    x = conventions.conv(x, 16, 3, strides=2, name="stage1_block1_expand")
    x = layers.Flatten()(layers.AveragePooling2D(4)(x))
    wide = keras.initializers.RandomNormal(stddev=0.3, seed=0)
    logits = layers.Dense(len(LABELS), kernel_initializer=wide, name="logits")(x)
    return with_random_norms(keras.Model(inputs, logits))


def _segmenter() -> keras.Model:
    """With all classes in every picture."""
    network = with_random_norms(tiny_segmenters.network())
    last = network.get_layer("logits")
    kernel, bias = last.get_weights()
    last.set_weights([kernel - kernel.mean(axis=-1, keepdims=True), bias])
    return network


def _calibration(preprocessing: Preprocessing) -> np.ndarray:
    picture = np.array(sklearn.datasets.load_sample_image("china.jpg"))
    return np.stack([fit_array(picture[i * 20 :], preprocessing) for i in range(8)])


@pytest.fixture(scope="module")
def page(
    files: dict[str, File], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[browser.Browser, str, list[str]]]:
    """A browser, the page's address, and the names in its list."""
    folder = tmp_path_factory.mktemp("web")
    made = web.write_page([str(file.path) for file in files.values()], folder / "page")
    running = browser.Browser(folder / "profile")
    try:
        with browser.served(folder / "page") as address:
            yield running, address, [model.name for model in made.models]
    finally:
        running.close()


@pytest.fixture
def opened(page: tuple[browser.Browser, str, list[str]]) -> Iterator[Page]:
    """The page, freshly loaded. It asks nobody but its own server, and no script fails."""
    running, address, names = page
    yield Page(running, address, names)
    assert running.errors == []
    assert running.requests
    assert [each for each in running.requests if not each.startswith(f"{address}/")] == []


def photos() -> list[Path]:
    """Ten: JPEG and PNG, large and small, grey, and with transparent parts."""
    shown = Path(sklearn.datasets.__file__).parent / "images"
    data = Path(skimage.data.__file__).parent
    return [shown / name for name in ("china.jpg", "flower.jpg")] + [
        data / name
        for name in ("rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "astronaut.png",
                     "chelsea.png", "coffee.png", "camera.png", "logo.png")
    ]  # fmt: skip


@needs_browser
@pytest.mark.parametrize("name", ["class_float32", "class_int8"])
def test_classifiers_give_pythons_labels_and_probabilities(
    name: str, files: dict[str, File], opened: Page
) -> None:
    file = files[name]
    runtime = runtimes.load(file.path, file.preprocessing)
    opened.choose(name)
    best = []
    for photo in photos():
        wanted = softmax(runtime.predict(read_picture(photo, file.preprocessing)[None]))[0]
        found = opened.answers(photo)
        assert len(found) == len(LABELS)
        assert found[0]["label"] == LABELS[wanted.argmax()], photo
        for row in found:
            assert row["share"] == pytest.approx(wanted[LABELS.index(row["label"])], abs=1e-3)
        best.append(found[0]["share"])
    assert np.ptp(best) > 0.1


@needs_browser
def test_files_answer_in_the_page_as_they_say(
    files: dict[str, File], opened: Page, tmp_path: Path
) -> None:
    """The runtime is another one than that which wrote the self-test."""
    for name in files:
        opened.choose(name)
        told = opened.self_test()
        assert told.startswith("Self-test: CPU: verified"), (name, told)
        assert "differ" not in told, (name, told)
    file = files["class_float32"].path
    description = read_description(file)
    (test,) = description["selftest"]["numbers"]
    test["top"][0][1] += 0.05 * test["span"]
    altered = tmp_path / "altered.tflite"
    altered.write_bytes(TFLiteModel.edited(file.read_bytes(), describe, metadata=description))
    opened.take(altered)
    told = "CPU: answers differ by 5% from those of the file (at most 0.1%)"
    assert told in opened.self_test()
    assert opened.answers(photos()[0])  # it is told, and not refused
    del description["selftest"]
    altered.write_bytes(TFLiteModel.edited(file.read_bytes(), describe, metadata=description))
    opened.take(altered)
    assert opened.self_test() == "Self-test: none inside"


@needs_browser
def test_a_run_goes_from_compress_to_the_browser(lenet_run: Run, tmp_path: Path) -> None:
    """Digits as they are, and photos made grey and padded, get what `predict` gives them."""
    variants = ("float32", "int8")
    files, _ = compress(lenet_run, variants, onnx=False)
    made = web.write_page([str(lenet_run.folder)], tmp_path / "page", variants=variants)
    digits = Classification(lenet_run).held_out.pictures
    assert digits is not None
    pictures = photos()[:4]
    for i, digit in enumerate(digits[:6]):
        pictures.append(tmp_path / f"{i}.png")
        Image.fromarray(digit[..., 0]).save(pictures[-1])
    running = browser.Browser(tmp_path / "profile")
    try:
        with browser.served(tmp_path / "page") as address:
            page = Page(running, address, [model.name for model in made.models])
            for file, variant in zip(files, variants, strict=True):
                page.choose(f"{lenet_run.folder.name} {variant}")
                for told in answers(file.path, [str(path) for path in pictures], top=5):
                    found = page.answers(Path(told.image))
                    assert found[0]["label"] == told.labels[0][0]
                    shares = {row["label"]: row["share"] for row in found}
                    for label, probability in told.labels:
                        if probability > 2e-3:  # below, the fifth may be another
                            assert shares[label] == pytest.approx(probability, abs=1e-3)
            assert running.errors == []
    finally:
        running.close()


@needs_browser
@pytest.mark.parametrize("name", ["detect_float32", "detect_int8", "detect_raw"])
def test_detectors_find_what_they_find_in_python(
    name: str, files: dict[str, File], opened: Page
) -> None:
    file = files[name]
    detector = load_detector(
        file.path, file.preprocessing, tiny_detectors.spec(score_threshold=0.2)
    )
    opened.choose(name)
    objects = 0
    for photo in photos()[: 3 if name == "detect_raw" else None]:  # Keras suppresses slowly
        picture = read_pixels(photo)
        (whole,) = detector.detect(fit_array(picture, file.preprocessing)[None])
        wanted = on_picture(whole, picture.shape[:2], file.preprocessing)
        sure = wanted.scores >= SHOWN
        found = opened.answers(photo)
        assert [row["label"] for row in found] == [
            tiny_detectors.CLASSES[label] for label in wanted.labels[sure]
        ]
        for row, score, box in zip(found, wanted.scores[sure], wanted.boxes[sure], strict=True):
            assert row["share"] == pytest.approx(score, abs=1e-3)
            assert row["box"] == pytest.approx(box, abs=1e-3)
        objects += len(found)
    assert objects > 10


@needs_browser
@pytest.mark.parametrize("precision", ["float32", pytest.param("int8", marks=IN_CI)])
def test_detectors_of_two_stages_with_masks(precision: str, tmp_path: Path) -> None:
    path, labels = tmp_path / "masks.tflite", tuple(str(digit) for digit in range(10))
    seen, spec = scene_detectors.PREPROCESSING, scene_detectors.spec_of()
    data = to_tflite(with_suppression(scene_detectors.network_of(spec)))
    kind = "float32"
    if precision == "int8":
        data, kind = quantise_file(data, parse_variant("int8"), seen, _calibration(seen)), "uint8"
    data = TFLiteModel.edited(data, give_float_counts)
    told = web_golden.description("detection", seen, labels, {"kind": "detections"}, kind=kind)
    path.write_bytes(TFLiteModel.edited(data, describe, metadata=told))
    detector = load_detector(path, seen, spec)
    web.write_page([str(path)], tmp_path / "page")
    running = browser.Browser(tmp_path / "profile")
    try:
        with browser.served(tmp_path / "page") as address:
            page = Page(running, address, ["masks"])
            for photo in photos()[:4]:
                (wanted,) = detector.detect(fit_array(read_pixels(photo), seen)[None])
                sure = wanted.scores >= SHOWN
                found = page.answers(photo)
                assert sure.sum() > 3
                assert [row["label"] for row in found] == [labels[i] for i in wanted.labels[sure]]
                boxes = [row["box"] for row in found]
                np.testing.assert_allclose(boxes, wanted.boxes[sure], atol=1e-3)
            assert running.errors == []
    finally:
        running.close()


@needs_browser
@pytest.mark.parametrize("name", ["map_float32", "map_raw"])
def test_maps_are_pythons(name: str, files: dict[str, File], opened: Page) -> None:
    file = files[name]
    segmenter = load_segmenter(file.path, file.preprocessing)
    opened.choose(name)
    several = 0
    for photo in photos()[:5]:
        picture = read_pixels(photo)
        found = segmenter.segment(fit_array(picture, file.preprocessing)[None])[0]
        label_map = map_on_picture(found, picture.shape[:2], file.preprocessing)
        shares = np.bincount(label_map.ravel(), minlength=3) / label_map.size
        wanted = {k: v for k, v in zip(tiny_segmenters.CLASSES, shares, strict=True) if v}
        assert {row["label"]: row["share"] for row in opened.answers(photo)} == wanted
        several += len(wanted) > 1
    assert several


@needs_browser
def test_lower_scores_are_shown_on_demand(opened: Page) -> None:
    opened.choose("detect_float32")
    first = len(opened.answers(photos()[0]))
    counts = []
    for lowest in (0, 1):
        opened.browser.evaluate(
            f"""(() => {{
              const score = document.querySelector("#score");
              score.value = {lowest};
              score.dispatchEvent(new Event("input"));
            }})()"""
        )
        counts.append(
            opened.browser.evaluate("document.querySelectorAll('#answers li[data-share]').length")
        )
    assert counts[0] >= first > 0
    assert counts[1] == 0
    assert opened.browser.evaluate("document.querySelector('#answers').textContent") == (
        "Nothing found."
    )


@needs_browser
def test_masks_bands_and_names_are_drawn(opened: Page) -> None:
    """A class's colour tints its mask and frames its box; nothing is drawn beside it."""
    pixels = opened.browser.evaluate(
        """(async () => {
          const { drawBoxes } = await import(new URL("draw.js", document.baseURI));
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [200, 100];
          const mask = { side: 2, data: [1, 1, 1, 1] };
          const box = [0.3, 0.5, 0.9, 0.9];
          drawBoxes(canvas, [{ box, label: 1, score: 0.5, mask }], ["a", "b"], 1);
          const at = (x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
          return { inside: at(140, 75), band: at(100, 75), name: at(102, 13), beside: at(50, 75) };
        })()"""
    )
    colour = [86, 180, 233]  # of the second class
    assert pixels["inside"][:3] == pytest.approx(colour, abs=2)  # premultiplied in between
    assert pixels["inside"][3] == pytest.approx(0.45 * 255, abs=1)
    assert pixels["band"] == [*colour, 255]
    assert pixels["name"] == [*colour, 255]
    assert pixels["beside"] == [0, 0, 0, 0]


@needs_browser
def test_photos_lie_upright(files: dict[str, File], opened: Page, tmp_path: Path) -> None:
    """EXIF says how; so does Python's reader."""
    file = files["class_float32"]
    runtime = runtimes.load(file.path, file.preprocessing)
    opened.choose("class_float32")
    answers = []
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        Image.open(photos()[0]).save(path, exif=exif, quality=95)
        wanted = softmax(runtime.predict(read_picture(path, file.preprocessing)[None]))[0]
        found = opened.answers(path, selector="#photo")
        shares = {row["label"]: row["share"] for row in found}
        assert shares == pytest.approx(dict(zip(LABELS, wanted, strict=True)), abs=1e-3)
        answers.append(shares)
    assert answers[0] != pytest.approx(answers[1], abs=1e-2)


@needs_browser
def test_the_camera_is_answered_frame_by_frame(opened: Page) -> None:
    opened.choose("class_int8")
    press = "document.querySelector('#camera').click()"
    opened.browser.evaluate(press)
    opened.browser.wait("document.querySelectorAll('#answers li').length === 5")
    assert not opened.browser.evaluate("document.querySelector('#video').hidden")
    assert "pictures a second" in opened.browser.evaluate(
        "document.querySelector('#status').textContent"
    )
    opened.choose("detect_int8")  # while the camera runs
    opened.browser.wait("/second/.test(document.querySelector('#status').textContent)")
    opened.browser.evaluate(press)
    assert opened.browser.evaluate("document.querySelector('#video').srcObject === null")
    assert opened.browser.evaluate("document.querySelector('#answers').children.length") == 0


@needs_browser
def test_who_is_faster_than_the_list_keeps_his_model(
    page: tuple[browser.Browser, str, list[str]], files: dict[str, File], tmp_path: Path
) -> None:
    """His answers too: the list comes late, and opens nothing then."""
    running, _address, _names = page
    listed = threading.Event()
    web.write_page([str(files["map_float32"].path)], tmp_path / "page")
    with browser.served(tmp_path / "page", held={"models.json": listed}) as address:
        try:
            running.open(f"{address}/index.html")
            running.choose("#file", files["class_float32"].path)
            running.wait("!document.querySelector('#about').hidden")
            running.choose("#picture", photos()[0])
            running.wait("document.querySelectorAll('#answers li').length === 5")
            running.evaluate("void (document.querySelector('#answers li').id = 'kept')")
        finally:
            listed.set()
        running.wait("document.querySelector('#model').options.length === 2")
        for _ in range(3):  # whatever the list sets going has begun by then
            running.evaluate("new Promise(requestAnimationFrame).then(() => undefined)")
        chosen = "document.querySelector('#model').selectedOptions[0].textContent"
        assert running.evaluate(chosen) == "class_float32.tflite"
        assert running.evaluate("document.querySelector('#answers li').id") == "kept"
        assert running.errors == []


@needs_browser
def test_broken_models_are_told_of_and_the_page_goes_on(
    files: dict[str, File], opened: Page, tmp_path: Path
) -> None:
    photo = photos()[0]
    opened.choose("class_float32")
    fine = opened.answers(photo)
    whole = files["class_float32"].path.read_bytes()
    told = web_golden.description("classification", BYTES, LABELS, {"kind": "logits"})
    half, zeros = whole[: len(whole) // 4], bytes(len(whole) // 2)
    broken = {
        "text": (b"<html>", "no .tflite file"),
        "cut": (whole[:-30], "does not say how"),
        "torn": (web_golden.described(half, told), "cannot run"),
        "zeros": (web_golden.described(whole[:64] + zeros, told), "cannot run"),
        "other": (
            web_golden.described(
                _model_of(whole), {**told, "input": {**told["input"], "height": 47}}
            ),
            "does not take 47x40x3",
        ),
        "labels": (web_golden.described(_model_of(whole), {**told, "labels": ["a"]}), "logits"),
    }
    for name, (data, complaint) in broken.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(data)
        opened.browser.choose("#file", path)
        opened.browser.wait(PROBLEM)
        assert complaint in opened.problem(), name
        opened.choose("class_float32")
        opened.browser.wait("document.querySelector('#answers li')")
    assert opened.answers(photo) == fine
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"\xff\xd8 no picture")
    opened.browser.choose("#picture", path)
    opened.browser.wait(PROBLEM)
    assert "no picture" in opened.problem()


def _model_of(file: bytes) -> bytes:
    """A file without what lies behind the model."""
    return file[: file.index(b"PK\x03\x04")]


@needs_browser
def test_it_speaks_korean(page: tuple[browser.Browser, str, list[str]]) -> None:
    running, address, _names = page
    agent = running.evaluate("navigator.userAgent")
    try:
        running.call("Network.setUserAgentOverride", userAgent=agent, acceptLanguage="ko-KR,en")
        running.open(f"{address}/index.html")
        running.wait("document.documentElement.lang === 'ko'")
        assert running.evaluate("document.querySelector('#camera').textContent").strip() == "카메라"
    finally:
        running.call("Network.setUserAgentOverride", userAgent=agent, acceptLanguage="en-GB,en")
