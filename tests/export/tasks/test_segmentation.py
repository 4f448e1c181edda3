"""From a segmentation run to files that give Keras' maps; and what `compare`, `predict` tell."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf_keras
from click.testing import CliRunner
from keras import layers
from marks import IN_CI
from networks import with_random_norms
from PIL import Image
from scans import scans_of_commands

import kerascnn
from export.artefacts.artefact import Artefact
from export.artefacts.description import read_description
from export.artefacts.variants import Prune, parse_variant
from export.compress import prune
from export.compress.compress import compress
from export.onnx import argmax as onnx_argmax
from export.onnx.convert import to_onnx
from export.onnx.model import ONNXModel
from export.report import compare
from export.report.table import table
from export.runtime.model_facts import facts
from export.runtime.predict import Order, answers
from export.runtime.segmenters import load_segmenter, palette
from export.tasks import base as tasks
from export.tasks.segmentation import (
    PackedMaps,
    Segmentation,
    SegmentationAnswers,
    SegmentationFineTuningData,
    agreement,
)
from export.tflite import flatbuffer
from export.tflite.argmax import append_argmax
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_file
from kerascnn.cli import commands
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.datasets import segmentation_sets
from training.datasets.segmentation import VOID
from training.datasets.segmentation_sets import scan_maps
from training.engine.request import request
from training.engine.run import Run, write_info
from training.segmentation.losses import SegmentationLoss
from training.segmentation.metrics import of_counts, pack_counts
from training.segmentation.train import SegmenterTraining

VARIANTS = ("float32", "int8", "float32_raw", "int8_raw")
DATA = "scenes:64@12+6"
CLASSES = 11


def lively(model: keras.Model, seed: int = 0) -> keras.Model:
    """The network with kernels by fan-in, and so logits that several classes win somewhere."""
    rng = np.random.default_rng(seed)
    for layer in with_random_norms(model, seed).layers:
        kernel, *bias = layer.get_weights() or [None]
        if kernel is not None and kernel.ndim == 4:
            transposed = isinstance(layer, layers.Conv2DTranspose)
            inputs = kernel.shape[-1] if transposed else np.prod(kernel.shape[:-1])
            kernel = rng.normal(0, np.sqrt(2 / inputs), kernel.shape)
            layer.set_weights([kernel, *(rng.normal(0, 0.1, b.shape) for b in bias)])
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a small U-Net that finds several classes, without a training."""
    asked = request(
        "unet",
        data=DATA,
        image_size=(64, 64),
        model_options={"width": 4, "depth": 2, "norm": True},
        epochs=1,
    )
    training = SegmenterTraining(asked)
    folder = tmp_path_factory.mktemp("runs") / "maps"
    folder.mkdir()
    lively(training.model).save(folder / "model.keras")
    write_info(folder, {
        "request": asked.to_dict(), "task": "segmentation", "created": "2026-01-01T00:00:00+00:00",
        "versions": {"keras": keras.__version__}, "machine": {"processor": "a processor"},
        "preprocessing": training.preprocessing.to_dict(), "labels": list(training.classes),
        "dataset": {"name": DATA, "fingerprint": training.fingerprint, **training.counts()},
        "parameters": 1, "macs": 1, "complete": True, **training.facts(),
        "results": {"metric": "mIoU", "held_out": 1.5, "best_epoch": 1, "seconds": 1.0},
    })  # fmt: skip
    return Run.open(folder)


@pytest.fixture(scope="module")
def made(run: Run) -> dict[str, Artefact]:
    return {artefact.path.name: artefact for artefact in compress(run, VARIANTS)[0]}


@pytest.fixture(scope="module")
def task(run: Run) -> Segmentation:
    found = tasks.of(run)
    assert isinstance(found, Segmentation)
    return found


@IN_CI
def test_files_give_keras_maps(task: Segmentation, made: dict[str, Artefact]) -> None:
    assert set(made) == {*(f"{name}.tflite" for name in VARIANTS), "float32.onnx"}
    assert_maps(made)
    # Several classes are found, so that this was no comparison of background with background.
    found, _segmenter = task.file_answers(made["float32.tflite"].path)
    assert (found.evaluation.counts[..., 2].sum(axis=0) > 5000).sum() >= 3


@IN_CI
def test_files_of_other_precisions_give_keras_maps(run: Run) -> None:
    made, _new = compress(run, ("float16", "dynamic_int8"), onnx=False)
    assert_maps({artefact.path.name: artefact for artefact in made})


def assert_maps(made: dict[str, Artefact]) -> None:
    for name, artefact in made.items():
        measured = artefact.info["evaluation"]
        assert measured["metric"] == "mIoU"
        assert measured["pictures"] == 6
        assert measured["partitions"] == (None if name.endswith(".onnx") else 1)
        if name.startswith("float"):
            assert measured["fits"], (name, measured["rule"])
            assert measured["agreement"] >= 99.9
        else:
            assert measured["agreement"] >= 85, (name, measured["rule"])


@IN_CI
def test_both_forms_say_the_same(task: Segmentation, made: dict[str, Artefact]) -> None:
    pictures = task.sample(4)[0]
    assert pictures.shape == (4, 64, 64, 3)
    for precision in ("float32", "int8"):
        inside, raw = (
            task.load(made[f"{name}.tflite"].path) for name in (precision, f"{precision}_raw")
        )
        # Where int8 logits are equal, both take the first.
        np.testing.assert_array_equal(inside.segment(pictures), raw.segment(pictures))
        assert set(inside.operations) - set(raw.operations) == {"ARG_MAX"}


def test_a_sample_goes_round_broken_images(task: Segmentation, monkeypatch) -> None:
    whole, bad = task.train, {int(task.train.places[3])}

    def read(place: int) -> np.ndarray:
        if place in bad:
            raise InputError("4.png is cut off")
        return whole.read(place)

    all_of_them = task.sample(len(whole))[0]
    broken = dataclasses.replace(task.dataset, train=dataclasses.replace(whole, read=read))
    monkeypatch.setitem(task.__dict__, "dataset", broken)
    np.testing.assert_array_equal(task.sample(len(whole))[0], np.delete(all_of_them, 3, 0))
    bad.update(whole.places.tolist())
    with pytest.raises(InputError, match=r"4\.png is cut off"):
        task.sample(len(whole))


@IN_CI
def test_a_file_is_described(made: dict[str, Artefact]) -> None:
    inside, raw, other = (
        made[name].info for name in ("int8.tflite", "int8_raw.tflite", "float32.onnx")
    )
    assert inside["output"] == {
        "name": "map", "shape": [1, 64, 64], "type": "int32", "meaning": "index into labels",
    }  # fmt: skip
    assert raw["output"] == {
        "name": "logits", "shape": [1, 64, 64, CLASSES], "type": "float32", "meaning": "logits",
    }  # fmt: skip
    assert other["output"]["shape"] == [None, 64, 64]
    for info in (inside, raw, other):
        assert info["task"] == "segmentation"
        assert info["labels"][0] == "background"
        assert info["segmenter"] == {"output_size": [64, 64], "palette": None}
    assert (inside["input"]["type"], other["input"]["type"]) == ("uint8", "float32")
    for name, kind in (("int8", "map"), ("int8_raw", "map_logits"), ("float32", "map")):
        # The file alone says the same as the .json beside it.
        artefact = made[f"{name}.tflite"]
        told = read_description(artefact.path)
        assert told["decoding"] == {"kind": kind}
        assert told["labels"] == artefact.info["labels"]
        (output,) = told["outputs"]
        assert artefact.info["output"].items() <= output.items()
    assert inside["nonzero_parameters"] == raw["nonzero_parameters"]
    measured = inside["evaluation"]
    assert set(measured["per_class"]) == set(inside["labels"])
    assert measured["mean_dice"] > 0


@IN_CI
def test_what_is_there_is_not_made_again(run: Run, made: dict[str, Artefact]) -> None:
    assert compress(run, VARIANTS)[1] is False


def test_other_data_is_refused(run: Run) -> None:
    changed = {**run.info, "dataset": {**run.info["dataset"], "fingerprint": "beef"}}
    with pytest.raises(InputError, match="not the data"):
        tasks.of(Run(run.folder, changed)).pictures()


@IN_CI
def test_compare_speaks_of_miou(run: Run, made: dict[str, Artefact], tmp_path: Path) -> None:
    rows = compare.compare([run], tmp_path)
    assert {row.metric for row in rows} == {"mIoU"}
    assert all(row.drop_low <= row.drop <= row.drop_high for row in rows)
    text = table(rows)
    assert " mIoU " in text.splitlines()[0]
    assert f"{rows[0].value:.1f}%" in text.splitlines()[2]
    page = (tmp_path / "report.html").read_text("utf-8")
    wanted = ("mIoU against size", "held-out mIoU", "Same pixels, %", "worst: ", "On the left")
    assert [word for word in wanted if word not in page] == []
    assert 'class="mistakes pairs"' in page
    assert "ccuracy" not in page
    with (tmp_path / "results.csv").open(newline="") as stream:
        assert {row["metric"] for row in csv.DictReader(stream)} == {"mIoU"}


@IN_CI
def test_the_data_is_scanned_once_a_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scans_of_commands(run, tmp_path, monkeypatch, segmentation_sets, "scan_maps") == [1, 1]


def test_runs_of_two_metrics_do_not_compare(run: Run, tmp_path: Path) -> None:
    detector = Run(tmp_path, {**run.info, "results": {"metric": "AP"}})
    with pytest.raises(InputError, match=r"by mIoU and .* by AP"):
        compare.compare([run, detector], tmp_path)


@IN_CI
def test_files_that_saw_other_pixels_do_not_compare(made: dict[str, Artefact]) -> None:
    first = made["float32.tflite"]
    assert compare.difference(first, made["int8.tflite"]).points == pytest.approx(
        first.info["evaluation"]["value"] - made["int8.tflite"].info["evaluation"]["value"]
    )
    fewer = np.minimum(first.answers[1], first.answers[1][..., :1])  # only what was right
    changed = {**first.info["evaluation"], "counts": pack_counts(fewer)}
    other = Artefact(first.path, {**first.info, "evaluation": changed})
    with pytest.raises(InputError, match="do not compare"):
        compare.difference(first, other)


@IN_CI
def test_the_worst_pictures_come_first(task: Segmentation, made: dict[str, Artefact]) -> None:
    found, _segmenter = task.file_answers(made["float32.tflite"].path)
    total, told = task.mistakes(found)
    assert total == len(told) == 6
    single = [of_counts(found.evaluation.counts[i : i + 1]).miou for i in range(6)]
    assert [one["index"] for one in told] == np.argsort(single, kind="stable").tolist()
    assert [one["miou"] for one in told] == pytest.approx(sorted(single), abs=0.05)
    told = json.loads(json.dumps(told))
    shown = task.shown(told[:1])[0]
    assert shown["pair"]
    # Two maps of 240 pixels with a gap, and the legend below.
    assert shown["picture"].shape[1] == 2 * 240 + 8
    assert 240 < shown["picture"].shape[0] < 480
    # A file that makes no mistake has none to show.
    truth = [task.held_out.label_map(i) for i in range(6)]
    assert task.mistakes(answers_of(task, truth)) == (0, [])


def answers_of(task: Segmentation, maps: list[np.ndarray]) -> SegmentationAnswers:
    found = iter(maps)

    def given(block: np.ndarray) -> np.ndarray:
        return np.stack([next(found) for _ in block])

    return task._found(given, "")


def test_verdicts(task: Segmentation) -> None:
    float32, float16, int8 = (parse_variant(name) for name in ("float32", "float16", "int8"))
    truth = [task.held_out.label_map(i) for i in range(6)]
    exact = answers_of(task, truth)
    verdict = task.verify(float32, exact, exact, None)
    assert verdict.is_verified
    assert (verdict.agreement, verdict.max_logit_diff) == (100, 0)
    # 30 of 24,576 pixels are 0.12%.
    few = [one.copy() for one in truth]
    few[0][0, :30] = (few[0][0, :30] + 1) % CLASSES
    nearly = answers_of(task, few)
    verdict = task.verify(float32, nearly, exact, None)
    assert not verdict.is_verified
    assert verdict.agreement == pytest.approx(100 * (1 - 30 / 24_576))
    assert task.verify(int8, nearly, exact, None).is_verified
    # A float16 file is held against rounded kernels.
    assert task.verify(float16, nearly, exact, nearly).is_verified
    # Five pixels of a class are all that was found of it: mIoU is far off without them.
    rare = int(np.argmin(exact.evaluation.pixels))
    lost = [np.where(one == rare, 0, one).astype(np.uint8) for one in truth]
    found = [one.copy() for one in lost]
    index = next(i for i, one in enumerate(truth) if (one == rare).sum() >= 5)
    found[index].flat[np.flatnonzero(truth[index] == rare)[:5]] = rare
    verdict = task.verify(float32, answers_of(task, lost), answers_of(task, found), None)
    assert verdict.agreement > 99.97
    assert not verdict.is_verified
    # Background everywhere has most pixels right.
    empty = answers_of(task, [np.zeros_like(one) for one in truth])
    mostly = [np.where(np.arange(64 * 64).reshape(64, 64) < 120, 3, 0) for _ in truth]
    objects = answers_of(task, [one.astype(np.uint8) for one in mostly])  # 2.9% of the pixels
    verdict = task.verify(int8, empty, objects, None)
    assert verdict.agreement > 97
    assert verdict.verified == "no"
    # All that is there is found, and as much again: 97.1% of the pixels are the same.
    more = [np.where(np.arange(64 * 64).reshape(64, 64) < 240, 3, 0) for _ in truth]
    verdict = task.verify(int8, answers_of(task, [m.astype(np.uint8) for m in more]), objects, None)
    assert verdict.agreement > 97
    assert verdict.verified == "no"
    assert "IoU with Keras' maps 73.49" in verdict.rule
    # Where Keras finds nothing there is nothing to compare.
    for variant in (float32, int8):
        verdict = task.verify(variant, empty, empty, None)
        assert (verdict.verified, verdict.is_verified) == ("not verified", False)
    assert task.verify(int8, objects, empty, None).verified == "not verified"
    assert task.verify(float32, objects, empty, None).verified == "no"


def test_a_drop_of_miou_is_never_verified(task: Segmentation) -> None:
    """The pixels that two maps differ in are few, and are those that were right of a class."""
    truth = [task.held_out.label_map(i) for i in range(6)]
    worse = [one.copy() for one in truth]
    for one in worse:  # a fiftieth of the pixels: from background to a class that has few
        one.flat[np.flatnonzero(one == 0)[:80]] = 1 + (CLASSES > 2)
    verdict = task.verify(
        parse_variant("int8"), answers_of(task, worse), answers_of(task, truth), None
    )
    assert verdict.agreement > 97
    assert verdict.verified != "yes"
    assert "mIoU is" in verdict.rule or "IoU with" in verdict.rule


@IN_CI
def test_predict_draws_maps(run: Run, made: dict[str, Artefact], tmp_path: Path) -> None:
    picture = scan_maps(DATA, seed=0).held_out.picture(0)
    wide = np.asarray(Image.fromarray(picture).resize((192, 96)))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    path, images = made["float32.tflite"].path, [str(tmp_path / "wide.png")]
    assert facts(path).task == facts(run.model_path).task == "segmentation"
    (found,) = answers(path, images, order=Order(out=tmp_path / "drawn"))
    assert found.drawn == str(tmp_path / "drawn" / "wide.png")
    with Image.open(found.drawn) as drawn:
        assert drawn.width == 192
        assert drawn.height > 96  # the legend
        assert (np.asarray(drawn)[:96] != wide).any()
    assert sum(area.pixels for area in found.classes) == 192 * 96
    assert sum(area.share for area in found.classes) == pytest.approx(1)
    shares = [area.share for area in found.classes]
    assert shares == sorted(shares, reverse=True)
    first = found.classes[0]
    assert f"wide.png: {first.label} {first.share:.1%}, " in found.as_text()
    for file in (run.model_path, made["float32.onnx"].path, made["float32_raw.tflite"].path):
        (other,) = answers(file, images)
        assert other.classes == found.classes
    for name, one in made.items():  # without their .json
        alone = shutil.copy(one.path, tmp_path / name)
        (found,), (beside,) = answers(alone, images), answers(one.path, images)
        assert found == beside
    (tmp_path / "other").mkdir()
    Image.fromarray(wide).save(tmp_path / "other" / "wide.png")
    images.append(str(tmp_path / "other" / "wide.png"))
    with pytest.raises(InputError, match=r"both be drawn as wide\.png"):
        list(answers(path, images, order=Order(out=tmp_path / "drawn")))


@IN_CI
def test_predict_as_a_command(
    made: dict[str, Artefact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # or the command would begin again with it
    picture, file = tmp_path / "one.png", str(made["int8.tflite"].path)
    Image.fromarray(scan_maps(DATA, seed=0).held_out.picture(1)).save(picture)
    arguments = ["predict", file, str(picture), "-o", str(tmp_path / "drawn"), "--json"]
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.output)
    assert set(told) == {"image", "classes", "drawn"}
    assert set(told["classes"][0]) == {"label", "pixels", "share"}
    assert Path(told["drawn"]).is_file()


def test_palette() -> None:
    assert palette({}) is None
    assert palette({"segmenter": {"palette": None}}) is None
    assert palette({"segmenter": {"palette": [[0, 0, 0], [1, 2, 3]]}}) == ((0, 0, 0), (1, 2, 3))


# --- Small networks -------------------------------------------------------------------------------


def tiny(**options: Any) -> keras.Model:
    options = {"input_shape": (16, 16, 3), "classes": 4, "width": 4, "depth": 1} | options
    return lively(kerascnn.build("unet", **options))


def pictures_for(model: keras.Model, count: int = 3) -> np.ndarray:
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def plain(model: keras.Model) -> Preprocessing:
    height, width, channels = model.input_shape[1:]
    return Preprocessing(height=height, width=width, channels=channels, resize="stretch")


@pytest.mark.parametrize("options", [{"upsample": "bilinear"}, {"padding": "valid", "depth": 1}])
def test_other_forms_keep_one_piece(options: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(**{"input_shape": (20, 28, 3)} | options)
    preprocessing, pictures = plain(model), pictures_for(model)
    logits = np.asarray(model(preprocessing.normalise(pictures), training=False))
    float_file = to_tflite(model)
    (tmp_path / "a.onnx").write_bytes(
        ONNXModel.edited(to_onnx(model), onnx_argmax.append_argmax, name="map")
    )
    int8 = quantise_file(float_file, parse_variant("int8"), preprocessing, pictures)
    for name, data, least in (("f.tflite", float_file, 1.0), ("i.tflite", int8, 0.85)):
        path = tmp_path / name
        path.write_bytes(TFLiteModel.edited(data, append_argmax, name="map"))
        segmenter = load_segmenter(path, preprocessing)
        assert segmenter.partitions == 1, segmenter.operations
        found = segmenter.segment(pictures)
        assert found.dtype == np.uint8
        assert found.shape == logits.shape[:3]
        assert (found == logits.argmax(axis=-1)).mean() >= least
    found = load_segmenter(tmp_path / "a.onnx", preprocessing).segment(pictures)
    np.testing.assert_array_equal(found, logits.argmax(axis=-1))


def test_equal_logits_give_the_first_class(tmp_path: Path) -> None:
    inputs = keras.Input((2, 2, 3), name="image")
    last = layers.Conv2D(4, 1, name="logits")
    model = keras.Model(inputs, last(inputs), name="net")
    # Classes 1 and 3 are equal everywhere, and above 0 and 2 where the picture is red.
    kernel = np.zeros((1, 1, 3, 4), np.float32)
    kernel[0, 0, 0] = [0, 1, 0.5, 1]
    last.set_weights([kernel, np.zeros(4, np.float32)])
    preprocessing = Preprocessing(height=2, width=2, channels=3, resize="stretch")
    picture = np.zeros((1, 2, 2, 3), np.uint8)
    picture[0, 0, 0] = 255  # the others are below zero: 0 is the largest there
    float_file = to_tflite(model)
    int8 = quantise_file(float_file, parse_variant("int8"), preprocessing, picture)
    (tmp_path / "a.tflite").write_bytes(TFLiteModel.edited(float_file, append_argmax, name="map"))
    (tmp_path / "b.tflite").write_bytes(TFLiteModel.edited(int8, append_argmax, name="map"))
    (tmp_path / "c.onnx").write_bytes(
        ONNXModel.edited(to_onnx(model), onnx_argmax.append_argmax, name="map")
    )
    for path in sorted(tmp_path.iterdir()):
        found = load_segmenter(path, preprocessing).segment(picture)
        assert found.tolist() == [[[1, 0], [0, 0]]], path.name
    # The last convolution is float: int8 logits would be equal more often.
    assert operations(int8) == ["QUANTIZE", "DEQUANTIZE", "CONV_2D"]
    assert operations(TFLiteModel.edited(int8, append_argmax, name="map"))[-1] == "ARG_MAX"


def operations(file: bytes) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    model = flatbuffer.read(file)
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    return [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def test_an_onnx_file_takes_any_batch() -> None:
    data = ONNXModel.edited(to_onnx(tiny()), onnx_argmax.append_argmax, name="map")
    (output,) = onnx.load_from_string(data).graph.output
    sides = output.type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["batch", 16, 16]
    assert output.type.tensor_type.elem_type == onnx.TensorProto.INT32


def test_other_files_are_no_segmentation_networks(tmp_path: Path) -> None:
    inputs = keras.Input((16, 16, 3), name="image")
    pooled = layers.GlobalAveragePooling2D(name="pool")(inputs)
    model = keras.Model(inputs, layers.Dense(4, name="logits")(pooled), name="net")
    (tmp_path / "a.tflite").write_bytes(to_tflite(model))
    (tmp_path / "a.onnx").write_bytes(to_onnx(model))
    model.save(tmp_path / "a.keras")
    for end in ("tflite", "onnx", "keras"):
        with pytest.raises(InputError, match=rf"a\.{end} is not a segmentation network"):
            load_segmenter(tmp_path / f"a.{end}", plain(model))
    # Nor is one of another input.
    path = tmp_path / "b.tflite"
    path.write_bytes(to_tflite(tiny()))
    with pytest.raises(InputError, match="not a segmentation network"):
        load_segmenter(path, dataclasses.replace(plain(model), height=32))
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a model that its runtime can run"):
        load_segmenter(path, plain(model))
    with pytest.raises(InputError, match="should end in"):
        load_segmenter(tmp_path / "a.txt", plain(model))
    with pytest.raises(InputError, match="no such file"):
        load_segmenter(tmp_path / "gone.tflite", plain(model))


# --- By hand --------------------------------------------------------------------------------------


def test_agreement_by_hand() -> None:
    wanted = [np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0], [2, VOID]], np.uint8)]
    found = [np.array([[0, 1, 0, 1]], np.uint8), np.array([[0, 0], [0, 3]], np.uint8)]
    # Five of the seven that are wanted to have a class; of a 1 and a 2 the 1.
    same, iou = agreement(PackedMaps(found), PackedMaps(wanted), 4)
    assert same.overall == pytest.approx(100 * 5 / 7)
    assert same.outside == 50
    # Of class 0 four pixels of the five or six that either has, of 1 one of two, of 2 none.
    assert iou == pytest.approx(100 * (4 / 6 + 1 / 2 + 0) / 3)
    same, iou = agreement(PackedMaps(wanted), PackedMaps(wanted), 4)
    assert (same.overall, same.outside, iou) == (100, 100, 100)
    flat = PackedMaps([np.zeros((2, 3), np.uint8)])
    same, iou = agreement(flat, flat, 4)
    assert (same.overall, same.classes, iou) == (100, 1, 100)


def test_maps_are_kept_on_their_way() -> None:
    maps = [np.arange(6, dtype=np.uint8).reshape(2, 3), np.full((1, 1), VOID, np.uint8)]
    kept = PackedMaps()
    for one, same in zip(kept.keeping(iter(maps)), maps, strict=True):
        assert one is same
    assert len(kept) == 2
    for index, one in enumerate(maps):
        np.testing.assert_array_equal(kept[index], one)


def test_fine_tuning_data_by_hand(task: Segmentation) -> None:
    weighed = dataclasses.replace(task.config, border_weight=10.0, augmentation="none", epochs=1)
    loss = SegmentationLoss(name="cross_entropy", classes=CLASSES)
    fine_tuning_data = dataclasses.replace(task.fine_tuning_data(), loss=loss)
    assert fine_tuning_data.steps(weighed) == 1
    pictures, wanted = next(iter(fine_tuning_data.stream(weighed)))
    batch = fine_tuning_data.training_data(weighed).batch(0, 0)
    expected = fine_tuning_data.preprocessing.normalise(batch["pictures"])
    np.testing.assert_allclose(np.asarray(pictures), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(wanted[..., 0], batch["gt_map"])
    np.testing.assert_array_equal(wanted[..., 1], batch["gt_weights"])
    assert np.ptp(batch["gt_weights"]) > 0
    logits = np.random.default_rng(0).normal(0, 1, (*wanted.shape[:3], CLASSES)).astype(np.float32)
    found = float(fine_tuning_data.compiled(weighed)["loss"](wanted, tf.constant(logits)))
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    entropy = -np.take_along_axis(log_p, batch["gt_map"][..., None].astype(int), axis=-1)[..., 0]
    weights = batch["gt_weights"]
    assert found == pytest.approx((weights * entropy).sum() / weights.sum(), rel=1e-5)
    # Without border weights all weigh the same.
    alike = dataclasses.replace(weighed, border_weight=0.0)
    assert set(np.unique(next(iter(fine_tuning_data.stream(alike)))[1][..., 1])) == {1.0}


def test_fine_tuning_data_takes_the_runs_loss(run: Run) -> None:
    asked = json.loads(json.dumps(run.info["request"]))
    asked["config"] |= {"map_loss": "focal", "class_weights": "balanced"}
    fine_tuning_data = tasks.of(Run(run.folder, {**run.info, "request": asked})).fine_tuning_data()
    assert isinstance(fine_tuning_data, SegmentationFineTuningData)
    assert fine_tuning_data.loss.name == "focal"
    weights = fine_tuning_data.loss.class_weights
    assert weights is not None
    assert weights[0] < weights[1:].min()  # of the background there is most


def test_patterns_run_along_a_transposed_kernels_inputs() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 1, (2, 2, 6, 8)).astype(np.float32)  # 6 outputs, 8 inputs
    for pattern, zeros in (("2of4", {2}), ("1x4", {0, 4})):
        layer = tf_keras.layers.Conv2DTranspose(6, 2, strides=2, name="up")
        layer.build((None, 4, 4, 8))
        layer.set_weights([kernel, np.zeros(6, np.float32)])
        step = Prune(sparsity=50, pattern=pattern)
        wrapped = prune._wrapped(layer, step, 3, {"up"})
        wrapped.build((None, 4, 4, 8))
        wrapped.pruning_step.assign(10)
        _threshold, mask = wrapped.pruning_obj._maybe_update_block_mask(layer.kernel)
        fours = np.asarray(mask).reshape(-1, 4)
        assert fours.mean() == 0.5
        assert set((fours == 0).sum(axis=1)) == zeros
        if pattern == "2of4":  # the two smallest
            order = np.argsort(np.abs(kernel).reshape(-1, 4), axis=1)[:, :2]
            assert (np.take_along_axis(fours, order, axis=1) == 0).all()


@pytest.mark.slow
def test_a_trained_step_in_front(run: Run) -> None:
    """Quantisation-aware training, pruning and clustering end in files that run."""
    variants = [
        *("qat_int8", "qat_weight_int4", "prune50_float32", "prune50_cluster16_qat_int8"),
    ]
    found = {a.info["variant"]["name"]: a for a in compress(run, variants, onnx=False)[0]}
    assert set(found) == set(variants)
    pruned = found["prune50_float32"].info["evaluation"]
    assert pruned["fits"], pruned["rule"]
    assert pruned["sparsity"] > 0.35
    four = found["qat_weight_int4"].info
    assert four["evaluation"]["fits"], four["evaluation"]["rule"]
    for name in ("qat_int8", "prune50_cluster16_qat_int8"):
        info = found[name].info
        assert info["input"]["type"] == "uint8"
        assert info["output"]["name"] == "map"
        assert info["evaluation"]["agreement"] > 85, info["evaluation"]["rule"]
    model = flatbuffer.read(found["prune50_cluster16_qat_int8"].path.read_bytes())
    kernels = [
        (tensor, np.asarray(model.buffers[tensor.buffer].data).view(np.int8))
        for tensor in model.subgraphs[0].tensors
        if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is not None
    ]
    few = [values for _tensor, values in kernels if len(np.unique(values)) <= 16]
    # All but the first layer's and the logits'.
    assert len(few) == len(kernels) - 2
