"""A network from elsewhere goes the whole way: import, compress, compare, evaluate, web, Android.

The network tells colours apart by weights that were set by hand (`tests/helpers/colours.py`).
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import colours
import keras
import networks
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.schema_py_generated import TensorType
from checkpoints import golden_values, goldens, write_safetensors
from commands import assert_refused, here
from file_server import serving
from keras import layers
from marks import IN_CI
from PIL import Image

import kerascnn
from export.artefacts.artefact import Artefact
from export.compress import left_out
from export.deploy import web
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError
from kerascnn.weights import cache, published
from training.engine import dataset_of_request as of_request
from training.engine.request import TrainRequest
from training.engine.run import Run

COUNT, VARIANTS = 60, ["float32", "int8", "prune50_int8"]
QUIET = {"progress": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data by class, images without classes, and the network as its owner saved it."""
    folder = tmp_path_factory.mktemp("imported")
    colours.folders(folder / "pets", COUNT)
    colours.flat(folder / "photos", 20)
    colours.network().save(folder / "colours.keras")
    (folder / "labels.txt").write_text("blue\ngreen\nred\n")
    return folder


@pytest.fixture(scope="module")
def run(root: Path) -> kerascnn.Run:
    return kerascnn.import_model(
        root / "colours.keras", data=root / "pets", out=root / "run", **QUIET
    )


@pytest.fixture(scope="module")
def rows(run: kerascnn.Run) -> kerascnn.Results:
    return run.compress(VARIANTS, fine_tune_epochs=1, **QUIET)


@pytest.fixture(scope="module")
def unlabelled(root: Path) -> kerascnn.Run:
    return kerascnn.import_model(
        root / "colours.keras",
        data=root / "photos",
        labels=root / "labels.txt",
        preprocessing="-1-1",
        out=root / "unlabelled",
        **QUIET,
    )


def test_a_run_is_made_without_a_training(run: kerascnn.Run, root: Path) -> None:
    info = run.info
    assert (run.model, run.task, run.labels) == ("colours", "classification", colours.CLASSES)
    assert run.metrics["held_out"] == 100.0
    told = info["dataset"]
    assert (told["train"], told["validation"], told["held_out"]) == (42, 6, 12)
    imported = info["request"]["imported"]
    assert imported["source"] == str(root / "colours.keras")
    assert imported["places"] == {"blue": 0, "green": 1, "red": 2}
    assert imported["labelled"]
    assert {path.name for path in run.folder.iterdir()} >= {
        "run.json", "model.keras", "labels.txt", "confusion.csv",
    }  # fmt: skip
    assert not (run.folder / "history.csv").exists()
    assert not list(root.glob(".partial*"))


def test_its_network_answers_as_the_owners(run: kerascnn.Run) -> None:
    """Logits, whose softmax is what the owner's network ends in."""
    ours, theirs = run.load(), colours.network()
    pictures = np.stack([colours.picture(number, 16)[1] for number in range(5)])
    wanted = theirs(pictures / 127.5 - 1.0)
    found = keras.ops.softmax(ours(run.preprocessing.normalise(pictures)))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert [layer.name for layer in ours.layers if layer.weights][:: len(ours.layers)] == ["stem"]
    assert ours.layers[-1].name == "logits"


def test_the_same_import_is_made_once(
    run: kerascnn.Run, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run.folder / "run.json").stat().st_mtime_ns
    again = kerascnn.import_model(root / "colours.keras", data=root / "pets", out=run.folder)
    assert "is imported already" in capsys.readouterr().err
    assert again.info == run.info
    assert (run.folder / "run.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"holds another import \(resize differs\)"):
        kerascnn.import_model(
            root / "colours.keras", data=root / "pets", out=run.folder, resize="crop"
        )


def test_a_model_in_memory_is_taken_as_its_file_is(
    run: kerascnn.Run, root: Path, tmp_path: Path
) -> None:
    model = colours.network()
    before = [value.copy() for value in model.get_weights()]
    given = {"data": root / "pets", "out": tmp_path / "run", **QUIET}
    found = kerascnn.import_model(model, **given)
    imported = found.info["request"]["imported"]
    assert (found.model, imported["source"]) == ("colours", "a model in memory")
    assert len(imported["sha256"]) == 64
    assert found.metrics["held_out"] == run.metrics["held_out"]
    for one, other in zip(found.load().get_weights(), run.load().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.name == "colours"
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert kerascnn.import_model(model, **given).info == found.info  # known again
    model.set_weights([value + 1 for value in before])
    with pytest.raises(InputError, match=r"another import \(.*content differs"):
        kerascnn.import_model(model, **given)
    with pytest.raises(InputError, match=r"^weights is for a network of the zoo"):
        kerascnn.import_model(model, weights="imagenet", **given)
    twice = keras.Sequential([keras.Input((16, 16, 3)), layers.Lambda(abs, name="own")])
    with pytest.raises(InputError, match=r"^a model in memory: layer 'own' \(Lambda\) is code"):
        kerascnn.import_model(twice, data=root / "pets", out=tmp_path / "other", **QUIET)


def test_one_output_with_a_sigmoid_answers_as_before(tmp_path: Path) -> None:
    """Images have the network's size already: nothing lies between but the rewriting."""
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((24, 24, 3))
    x = layers.Rescaling(1 / 255)(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    binary = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x), name="binary")
    data = colours.folders(tmp_path / "pets", 24)
    shutil.rmtree(data / "green")
    run = kerascnn.import_model(binary, data=data, out=tmp_path / "run", **QUIET)
    files = sorted(data.glob("*/*.png"))
    answers = kerascnn.predict(run.folder / "model.keras", files)
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).astype(np.float32)
    wanted = np.asarray(binary(pixels))[:, 0]
    found = [
        next(one["probability"] for one in answer["labels"] if one["label"] == run.labels[1])
        for answer in answers
    ]
    assert np.abs(np.array(found) - wanted).max() < 1e-6
    assert wanted.std() > 1e-3


@IN_CI
def test_files_answer_as_the_network_does(rows: kerascnn.Results) -> None:
    found = {(row["variant"], row["format"]): row for row in rows}
    assert set(found) == {("float32", "onnx"), *((name, "tflite") for name in VARIANTS)}
    for row in rows:
        assert (row["model"], row["metric"], row["fits"]) == ("colours", "accuracy", True)
    assert found["float32", "tflite"]["value"] == 100.0
    assert found["prune50_int8", "tflite"]["sparsity"] > 0


@IN_CI
def test_the_report_says_where_it_is_from(rows: kerascnn.Results, run: kerascnn.Run) -> None:
    page = (run.folder / "report.html").read_text("utf-8")
    digest = run.info["request"]["imported"]["sha256"]
    for words in ("Imported from", "colours.keras", digest[:12], "for calibration and fine-tuning"):
        assert words in page, words
    assert "best epoch" not in page


@IN_CI
def test_other_commands_take_it(rows: kerascnn.Results, run: kerascnn.Run, root: Path) -> None:
    file = run.artefacts["int8.tflite"]
    done = here("info", file, "--json")
    assert done.returncode == 0, done.stderr
    assert "colours" in done.stdout
    (answer, *_rest) = kerascnn.predict(file, root / "pets" / "red")
    assert answer["labels"][0]["label"] == "red"
    assert kerascnn.evaluate(run, **QUIET)["value"] == run.metrics["held_out"]
    assert kerascnn.evaluate(file, root / "pets", **QUIET)["images"] == COUNT
    assert len(kerascnn.compare([run], **QUIET)) == len(rows)
    done = here("debug", run.folder, "int8", "--json")
    assert json.loads(done.stdout)["layers"], done.stderr


@pytest.mark.parametrize("command", ["web", "android"])
def test_it_is_packed_for_clients(
    rows: kerascnn.Results, run: kerascnn.Run, tmp_path: Path, command: str
) -> None:
    if command == "web" and not (web.SOURCES / "node_modules").is_dir():
        packed = tmp_path / "packed"
        assert_refused(here("web", run.folder, "-o", packed), "npm ci --prefix")
        assert not packed.exists()
        pytest.skip("the page's runtime is not installed")
    done = here(command, run.folder, "-o", tmp_path / "packed")
    assert done.returncode == 0, done.stderr
    packed = {path.name for path in (tmp_path / "packed").rglob("*.tflite")}
    assert any("int8" in name for name in packed)


def test_images_without_labels_serve_what_needs_none(unlabelled: kerascnn.Run) -> None:
    assert unlabelled.metrics["metric"] == "agreement"
    assert unlabelled.metrics["held_out"] == 100.0
    assert not unlabelled.info["request"]["imported"]["labelled"]
    with (unlabelled.folder / "answers.csv").open(newline="") as stream:
        answers = {row["image"]: row["label"] for row in csv.DictReader(stream)}
    told = unlabelled.info["dataset"]
    assert len(answers) == told["held_out"] + told["validation"] == 11
    for image, label in answers.items():
        assert label == colours.picture(int(Path(image).stem))[0]
    rows = unlabelled.compress(["float32", "int8"], onnx=False, **QUIET)
    assert {row["metric"] for row in rows} == {"agreement"}
    assert all(row["fits"] for row in rows)
    assert rows.best
    page = (unlabelled.folder / "report.html").read_text("utf-8")
    assert "its own answers are the truth" in page


def test_it_is_evaluated_by_agreement(unlabelled: kerascnn.Run) -> None:
    found = kerascnn.evaluate(unlabelled, **QUIET)
    assert (found["metric"], found["value"], found["images"]) == ("agreement", 100.0, 10)
    with pytest.raises(InputError, match="have no labels, and what the network answers is kept"):
        kerascnn.evaluate(unlabelled, split="train", **QUIET)


def test_what_needs_labels_is_refused_without_them(unlabelled: kerascnn.Run) -> None:
    for name in ("prune50_int8", "slim50_int8", "qat_int8", "distil_qat_int8"):
        with pytest.raises(InputError, match=f"{name} trains, which needs labels"):
            unlabelled.compress([name], **QUIET)


def test_answers_that_are_gone_are_missed(
    unlabelled: kerascnn.Run, root: Path, tmp_path: Path
) -> None:
    shutil.copytree(unlabelled.folder, tmp_path / "run")
    (tmp_path / "run" / "answers.csv").write_text("image,label\n0.png,mauve\n")
    with pytest.raises(InputError, match=r"answers\.csv is gone or damaged .*import again"):
        kerascnn.open_run(tmp_path / "run").compress(["float16"], **QUIET)


@IN_CI
def test_a_network_of_more_classes_is_measured_over_all_of_them(root: Path, tmp_path: Path) -> None:
    """Folders of two of five classes, in another order than the outputs'."""
    names = ("red", "mauve", "blue", "grey", "green")
    colours.network(outputs=names, activation=None).save(tmp_path / "five.keras")
    data = colours.folders(tmp_path / "pets", 30, names={"red": "Red"})
    shutil.rmtree(data / "green")
    (tmp_path / "labels.txt").write_text("\n".join(names))
    run = kerascnn.import_model(
        tmp_path / "five.keras", data=data, labels=tmp_path / "labels.txt",
        preprocessing="-1-1", out=tmp_path / "run", **QUIET,
    )  # fmt: skip
    assert run.labels == names
    assert run.info["request"]["imported"]["places"] == {"blue": 2, "Red": 0}
    assert run.metrics["held_out"] == 100.0
    rows = run.compress(["int8"], onnx=False, **QUIET)
    assert rows[0]["value"] == 100.0


def test_a_class_that_it_does_not_know_is_named(root: Path, tmp_path: Path) -> None:
    data = colours.folders(tmp_path / "pets", 6, names={"red": "reed"})
    (tmp_path / "labels.txt").write_text("blue\ngreen\nred\n")
    done = here(
        "import", root / "colours.keras", "--data", data, "--labels", tmp_path / "labels.txt",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert_refused(done, "classes that colours does not know: reed", "'red'")
    assert not (tmp_path / "run").exists()


def test_data_that_has_changed_is_no_data_of_the_run(root: Path, tmp_path: Path) -> None:
    data = colours.folders(tmp_path / "pets", 12)
    run = kerascnn.import_model(root / "colours.keras", data=data, out=tmp_path / "run", **QUIET)
    shutil.copytree(data / "red", data / "mauve")
    with pytest.raises(InputError, match="has the class 'mauve', which it had not"):
        run.compress(["float32"], **QUIET)


def test_a_photo_of_each_class_is_enough_to_begin_with(root: Path, tmp_path: Path) -> None:
    data = colours.folders(tmp_path / "pets", 3)
    run = kerascnn.import_model(
        root / "colours.keras", data=data, out=tmp_path / "run", preprocessing="-1-1", **QUIET
    )
    told = run.info["dataset"]
    assert (told["train"], told["validation"], told["held_out"]) == (2, 0, 1)


def test_nothing_is_left_of_an_import_that_fails(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.classification.train import ClassifierTraining

    def interrupted(*_given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassifierTraining, "results", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kerascnn.import_model(
            root / "colours.keras", data=root / "pets", out=tmp_path / "run", **QUIET
        )
    assert not list(tmp_path.iterdir())


def attentive() -> keras.Model:
    """A network with a layer that the steps which train cannot take."""
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 4, strides=4, name="patches")(x)
    x = layers.Reshape((16, 8), name="tokens")(x)
    x = layers.MultiHeadAttention(2, 4, name="attend")(x, x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    outputs = layers.Dense(3, activation="softmax", name="head")(x)
    return keras.Model(inputs, outputs, name="attentive")


@IN_CI
def test_a_layer_that_a_step_cannot_take_is_named_and_the_rest_is_made(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keras.utils.set_random_seed(0)
    attentive().save(tmp_path / "net.keras")
    run = kerascnn.import_model(
        tmp_path / "net.keras", data=root / "photos", labels=root / "labels.txt",
        preprocessing="-1-1", out=tmp_path / "photos", **QUIET,
    )  # fmt: skip
    labelled = kerascnn.import_model(
        tmp_path / "net.keras", data=root / "pets", preprocessing="-1-1",
        out=tmp_path / "pets", **QUIET,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"prune50_int8: .*'attend' is a MultiHeadAttention"):
        labelled.compress(["float32", "prune50_int8"], **QUIET)
    assert not list(labelled.folder.glob("artefacts/*"))
    rows = run.compress(onnx=False)
    made = {row["variant"] for row in rows}
    assert "float32" in made
    reasons = left_out.of_run(Run.open(run.folder))
    assert made | {name.removesuffix(".tflite") for name in reasons} == {
        "float32", "float16", "dynamic_int8", "int8", "weight_int4",
    }  # fmt: skip
    said = capsys.readouterr().err
    for file, why in reasons.items():
        assert f"left out: {file}: {why}" in said
        assert why.startswith(file)


def several_labels(root: Path, count: int) -> Path:
    """A table of images of which any channel may be bright; no image is mauve."""
    root.mkdir()
    rows = ["file,labels"]
    for number in range(count):
        rng = np.random.default_rng([9, number])
        bright = rng.random(3) < 0.5
        pixels = rng.normal(np.where(bright, 180, 60), 20, (24, 24, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / f"{number}.png")
        names = [name for name, place in colours.CHANNEL.items() if bright[place]]
        rows.append(f"{number}.png,{';'.join(names)}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root / "labels.csv"


@IN_CI
def test_several_labels_of_an_image_are_measured(tmp_path: Path) -> None:
    names = ("red", "mauve", "blue", "green")
    model = colours.network(outputs=names, activation="sigmoid")
    dense, bias = model.get_layer("predictions").get_weights()
    model.get_layer("predictions").set_weights([dense, bias - 10.0])  # above 0 from a middle grey
    model.save(tmp_path / "net.keras")
    table = several_labels(tmp_path / "images", 60)
    (tmp_path / "labels.txt").write_text("\n".join(names))
    given = {
        "data": table, "labels": tmp_path / "labels.txt", "preprocessing": "-1-1", **QUIET
    }  # fmt: skip
    run = kerascnn.import_model(tmp_path / "net.keras", out=tmp_path / "run", **given)
    assert (run.task, run.labels, run.metrics["metric"]) == ("multilabel", names, "mAP")
    assert run.metrics["held_out"] == 100.0
    aps = {row["label"]: row["ap"] for row in run.metrics["per_class"]}
    assert aps == {"red": 100.0, "mauve": None, "blue": 100.0, "green": 100.0}
    assert run.info["request"]["imported"]["places"] == {"blue": 2, "green": 3, "red": 0}
    rows = run.compress(VARIANTS, onnx=False, fine_tune_epochs=1, **QUIET)
    assert [(row["metric"], row["fits"]) for row in rows] == [("mAP", True)] * 3
    assert all(row["value"] > 99 for row in rows)
    assert kerascnn.evaluate(run, **QUIET)["value"] == 100.0
    told = {
        row["variant"]: Artefact.open(run.artefacts[f"{row['variant']}.tflite"]) for row in rows
    }
    assert told["int8"].info["reconstruction"]["pictures"] > 0  # kernels are rounded by logits
    files = [run.artefacts[f"{name}.tflite"] for name in ("int8", "float32")]
    found = kerascnn.evaluate(files[0], data=table, reference=files[1], **QUIET)["reference"]
    assert (found["same_labels"], found["value"]) == (100.0, 100.0)
    assert found["snr_db"] > 20
    assert found["low"] <= found["difference"] <= found["high"]
    unlabelled = kerascnn.evaluate(files[1], data=table.parent, reference=files[1], **QUIET)
    assert unlabelled["reference"]["same_labels"] == 100.0
    assert "value" not in unlabelled
    colours.network(outputs=names).save(tmp_path / "softmax.keras")
    with pytest.raises(InputError, match=r"one of its classes \(softmax\).*have several labels"):
        kerascnn.import_model(tmp_path / "softmax.keras", out=tmp_path / "other", **given)


@IN_CI
def test_a_float_tflite_file_is_a_source(
    rows: kerascnn.Results, run: kerascnn.Run, root: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """What it says of itself counts: labels, and what images go through."""
    file = tmp_path / "unknown.tflite"
    shutil.copy(run.artefacts["float32.tflite"], file)
    found = kerascnn.import_model(file, data=root / "pets", out=tmp_path / "run")
    told = capsys.readouterr().err
    for words in ("unknown.tflite is built again", "preprocessing by the", "labels of the"):
        assert words in told, words
    assert (found.model, found.labels) == ("unknown", run.labels)
    assert found.preprocessing.mean == run.preprocessing.mean
    assert found.metrics["held_out"] == run.metrics["held_out"]
    made = found.compress(VARIANTS, fine_tune_epochs=1, **QUIET)
    assert {(row["variant"], row["format"]): row["fits"] for row in made} == dict.fromkeys(
        [("float32", "onnx"), *((name, "tflite") for name in VARIANTS)], True
    )
    done = here("import", run.artefacts["int8.tflite"], "--data", root / "pets", "--out", "x")
    assert_refused(done, "is quantised already", "kerascnn evaluate")


def strange_file(path: Path) -> Path:
    """The network that tells colours, with an operation for which there is no layer."""
    network = colours.network(activation=None)

    @tf.function(input_signature=[tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)])
    def serve(image):
        logits = network(image, training=False)
        return tf.nn.softmax(logits + 1e-3 * tf.cumsum(logits, 1))

    work = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])
    path.write_bytes(work.convert())
    return path


@IN_CI
def test_a_file_of_an_unknown_operation_is_quantised_and_measured(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"data": root / "pets", "preprocessing": "-1-1", "out": tmp_path / "run"}
    run = kerascnn.import_model(strange_file(tmp_path / "strange.tflite"), **given)
    assert "operation CUMSUM" in capsys.readouterr().err
    assert run.metrics["held_out"] == 100.0
    assert run.info["parameters"] > 0 < run.info["macs"]
    found = run.compress(["float32", "float16", "dynamic_int8", "weight_int8", "int8"], **QUIET)
    assert {row["format"] for row in found} == {"tflite"}
    assert {row["variant"]: row["fits"] for row in found} == dict.fromkeys(
        ("float32", "float16", "dynamic_int8", "weight_int8", "int8"), True
    )
    graph = TFLiteModel.open(run.artefacts["int8.tflite"].read_bytes()).graph
    assert graph.tensors[int(graph.inputs[0])].type == TensorType.UINT8
    kernels = [one for one in graph.tensors if one.type == TensorType.INT8 and len(one.shape) == 4]
    assert len(kernels) >= 4
    for name in ("prune50_int8", "slim50_int8", "qat_int8"):
        with pytest.raises(InputError, match=f"{name} has steps .* not known: .* CUMSUM"):
            run.compress([name], **QUIET)
    done = here("compress", run.folder)  # what it can have of what others have
    assert done.returncode == 0, done.stderr
    assert "left out: float32.onnx: the network's graph is not known" in done.stderr
    for command in (
        ("debug", run.folder, "int8"),
        ("compare", run.folder, "-o", tmp_path / "all.html"),
        ("evaluate", run.folder, "--data", root / "pets"),
    ):
        done = here(*command)
        assert done.returncode == 0, done.stderr


@IN_CI
def test_a_saved_model_is_a_source(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tones" / "saved_model"
    colours.network().export(folder, verbose=False)
    given = {"data": root / "pets", "preprocessing": "-1-1", "out": tmp_path / "run", **QUIET}
    run = kerascnn.import_model(folder, **given)
    assert (run.model, run.labels) == ("tones", colours.CLASSES)
    assert run.metrics["held_out"] == 100.0
    assert len(run.info["request"]["imported"]["sha256"]) == 64
    assert kerascnn.import_model(folder, **given).info == run.info
    (folder / "variables" / "more").write_bytes(b"1")
    with pytest.raises(InputError, match=r"another import \(the file's content differs"):
        kerascnn.import_model(folder, **given)
    with pytest.raises(InputError, match=r"is a folder without saved_model\.pb"):
        kerascnn.import_model(tmp_path / "tones", **given)


@pytest.mark.parametrize(
    ("name", "options", "metric", "classes"),
    [
        pytest.param(
            *("ssdlite_mobilenet_v3_small", {"alpha": 0.35}, "AP", 10), marks=pytest.mark.slow
        ),
        pytest.param("unet", {"width": 4, "depth": 2}, "mIoU", 11, marks=IN_CI),
    ],
)
def test_other_networks_of_the_zoo_come_by_name_with_weights(
    tmp_path: Path, name: str, options: dict, metric: str, classes: int
) -> None:
    """Their classes are the data's, or those of --labels, in whatever order."""
    keras.utils.set_random_seed(0)
    model = kerascnn.build(name, input_shape=(64, 64, 3), classes=classes, **options)
    model.save(tmp_path / "net.keras")
    given = {
        "data": "scenes:64@12+4", "weights": tmp_path / "net.keras", "options": options,
        "image_size": 64, **QUIET,
    }  # fmt: skip
    run = kerascnn.import_model(name, out=tmp_path / "run", **given)
    assert (run.model, run.metrics["metric"], len(run.labels)) == (name, metric, classes)
    for one, other in zip(run.load().get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not (run.folder / "history.csv").exists()
    assert kerascnn.evaluate(run, **QUIET)["value"] == run.metrics["held_out"]
    (row,) = run.compress(["float32"], onnx=False, **QUIET)
    assert (row["metric"], row["model"]) == (metric, name)
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(reversed(run.labels)))
    turned = kerascnn.import_model(name, out=tmp_path / "turned", labels=labels, **given)
    assert turned.labels == run.labels[::-1]
    assert turned.info["request"]["imported"]["places"] == {
        label: place for place, label in enumerate(turned.labels)
    }
    labels.write_text("\n".join(run.labels[:-1]))
    with pytest.raises(InputError, match=r"classes that .* does not know"):
        kerascnn.import_model(name, out=tmp_path / "fewer", labels=labels, **given)


@pytest.mark.parametrize(
    ("name", "options", "metric", "classes"),
    [
        pytest.param(
            *("ssdlite_mobilenet_v3_small", {"alpha": 0.35}, "AP agreement", 2),
            marks=pytest.mark.slow,
        ),
        pytest.param("unet", {"width": 4, "depth": 2}, "mIoU agreement", 3, marks=IN_CI),
    ],
)
def test_other_networks_need_no_labels_either(
    root: Path, tmp_path: Path, name: str, options: dict, metric: str, classes: int
) -> None:
    """Their own answers are held against; and files have the name that was asked for."""
    keras.utils.set_random_seed(0)
    model = kerascnn.build(name, input_shape=(64, 64, 3), classes=classes, **options)
    networks.with_random_weights(model)
    if name == "unet":  # else one of its classes is the likeliest everywhere
        photos = np.stack([colours.picture(number, 64)[1] for number in range(8)]) / 127.5 - 1
        bias = model.get_layer("logits").bias
        bias.assign(bias - np.median(model(photos), axis=(0, 1, 2)))
    model.save(tmp_path / "net.keras")
    (tmp_path / "labels.txt").write_text("".join(f"kind {n}\n" for n in range(classes)))
    given = {
        "data": root / "photos", "weights": tmp_path / "net.keras", "options": options,
        "image_size": 64, **QUIET,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"does not say what its outputs mean.* labels FILE"):
        kerascnn.import_model(name, out=tmp_path / "run", **given)
    given["labels"] = tmp_path / "labels.txt"
    run = kerascnn.import_model(name, out=tmp_path / "run", name="mine", **given)
    assert (run.model, run.metrics["metric"], run.metrics["held_out"]) == ("mine", metric, 100.0)
    assert (run.folder / "answers.npz").is_file()
    assert (run.folder / "examples.png").is_file()
    told = kerascnn.evaluate(run, **QUIET)
    assert (told["metric"], told["value"]) == (metric, pytest.approx(100.0))
    with pytest.raises(InputError, match="have no labels, and what the network answers is kept"):
        kerascnn.evaluate(run, split="all", **QUIET)
    with pytest.raises(InputError, match="qat_int8 trains, which needs labels"):
        run.compress(["qat_int8"], **QUIET)
    (row,) = run.compress(["float32"], onnx=False, **QUIET)
    assert (row["metric"], row["model"], row["fits"]) == (metric, "mine", True)
    assert row["value"] == pytest.approx(100.0, abs=0.5)
    page = (run.folder / "report.html").read_text("utf-8")
    assert "its own answers are the truth" in page
    assert f"{metric}, %" in page
    again = kerascnn.import_model(name, out=tmp_path / "run", name="mine", **given)
    assert again.info == run.info


def pets(root: Path, *names: str) -> Path:
    """Annotations of COCO's form, whose classes have numbers of their own."""
    root.mkdir()
    images = [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 64} for n in range(6)]
    for number in range(6):
        Image.fromarray(colours.picture(number, 64)[1]).save(root / f"{number}.png")
    told = {
        "images": images,
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1 + n % len(names)}
            | {"bbox": [8, 8, 40, 40], "area": 1600, "iscrowd": 0}
            for n in range(6)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, 1)],
    }
    (root / "pets.json").write_text(json.dumps(told))
    return root / "pets.json"


@pytest.mark.slow
def test_a_detector_comes_by_its_name_from_whoever_publishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights in torchvision's layout; the data's class 3 is COCO's 63rd."""
    golden = goldens("detector_goldens.json.gz")["ssdlite320_mobilenet_v3_large"]
    tensors = {n: golden_values(n, shape, golden["gain"]) for n, shape in golden["tensors"]}
    body = write_safetensors(tmp_path / "theirs", tensors).read_bytes()
    row = published.choose("ssdlite_mobilenet_v3_large", "coco")
    assert row is not None
    monkeypatch.setattr(cache.Digest, "of_row", lambda _row: None)  # the server tells it
    monkeypatch.delenv("KERASCNN_OFFLINE")
    monkeypatch.setenv("KERASCNN_HOME", str(tmp_path / "home"))
    given = {"weights": "coco", "image_size": 96, **QUIET}
    with serving({f"/{row.source}/{row.file}": body}) as server:
        server.digest = "hub"
        monkeypatch.setenv("KERASCNN_MIRROR", server.url)
        run = kerascnn.import_model(
            row.model, data=pets(tmp_path / "pets", "cat", "dog", "sofa"), out=tmp_path / "run",
            **given,
        )  # fmt: skip
    assert (len(run.labels), run.labels[62], run.labels[11]) == (90, "couch", "no class 12")
    assert run.info["request"]["imported"]["places"] == {"cat": 16, "dog": 17, "sofa": 62}
    dataset = of_request.dataset_of(TrainRequest.from_dict(run.info["request"]))
    there = {int(dataset.train.objects(i).labels[0]) for i in range(len(dataset.train))}
    assert there <= {16, 17, 62}
    with pytest.raises(InputError, match=r"does not know: forklift"):
        kerascnn.import_model(
            row.model, data=pets(tmp_path / "more", "cat", "forklift"), out=tmp_path / "no",
            **given,
        )  # fmt: skip
