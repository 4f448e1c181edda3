"""Layers of an int8 file that go back to float: those that int8 ruins, and no others."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tiny_detectors
import tiny_segmenters
from dead_channels import SIDE, every_kind, pictures_of
from keras import layers
from marks import IN_CI

from export.artefacts.variants import Settings, parse_variant
from export.compress.compress import compress
from export.compress.reconstruct import keep_float, sensitivity
from export.compress.reconstruct.files import reconstructed
from export.compress.reconstruct.keep_float import ENOUGH, LEAST_GAIN, MOST_GROWTH, MOST_PARTITIONS
from export.compress.reconstruct.measure import answers, comparable, noise, weights_of
from export.compress.reconstruct.network import with_bare_layers
from export.compress.reconstruct.ranges import fake_quantised, whole_range
from export.compress.reconstruct.sensitivity import Change, Rounding, noises
from export.graph.detection import with_scores
from export.graph.fold_norm import fold_batch_norms
from export.graph.lower import lower_for_int8
from export.report.compare import compare
from export.report.results import read_rows
from export.runtime import info
from export.runtime.load import partitions
from export.tflite.convert import to_tflite
from export.tflite.kernel_ranges import kernels
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.engine.run import Run

PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.0, std=128.0)
PICTURES = 100


@functools.cache
def network(ruined: str = "") -> keras.Model:
    """A small network in which one place may be such that int8 ruins it.

    Args:
        ruined: "activation": a channel between `expand` and `depthwise` is three thousand times as
            large as its neighbours, and is made small again behind; "kernel": `project` has large
            weights for a channel that is always 0.
    """
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", name="stem")(image)
    x = layers.ReLU(name="stem_act")(x)
    x = layers.Conv2D(16, 1, name="expand")(x)
    x = layers.ReLU(name="expand_act")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(name="depthwise_act")(x)
    x = layers.Conv2D(24, 1, name="project")(x)
    x = layers.ReLU(name="project_act")(x)
    x = layers.Conv2D(64, 3, strides=2, padding="same", name="wide")(x)
    x = layers.ReLU(name="wide_act")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(image, layers.Dense(40, name="logits")(x))
    if ruined == "activation":
        _scale(model, "expand", (..., 0), 3000.0)
        _scale(model, "depthwise", (..., 0, slice(None)), 1 / 3000)
    if ruined == "kernel":
        kernel, bias = model.get_layer("depthwise").get_weights()
        kernel[..., 0, :], bias[0] = 0.0, -1.0  # behind its ReLU is nothing
        model.get_layer("depthwise").set_weights([kernel, bias])
        _scale(model, "project", (0, 0, 0), 3000.0)
    return with_bare_layers(model)


def _scale(model: keras.Model, name: str, place: Any, factor: float) -> None:
    kernel, bias = model.get_layer(name).get_weights()
    kernel[place] *= factor
    model.get_layer(name).set_weights([kernel, bias])


@functools.cache
def small(ruined: str = "", keep: int = 2) -> tuple[TFLiteModel, TFLiteModel, dict[str, Any]]:
    """Of `network`, as of `int8`."""
    return int8(network(ruined), keep)


def int8(
    model: keras.Model,
    keep: int = 2,
    preprocessing: Preprocessing = PREPROCESSING,
    pictures: np.ndarray | None = None,
) -> tuple[TFLiteModel, TFLiteModel, dict[str, Any]]:
    """The float file, the int8 file, and what its .json says."""
    variant = parse_variant("int8", Settings(keep_float=keep))
    float_file = TFLiteModel.open(to_tflite(model))
    pictures = pictures_of(2, PICTURES, SIDE) if pictures is None else pictures
    plain = quantise(float_file, variant, preprocessing, pictures)
    file, told = reconstructed(
        model, variant, preprocessing, pictures, float_file=float_file, plain=plain
    )
    assert told is not None
    return float_file, file, told


@IN_CI
def test_no_file_is_weighed_on_images_that_it_was_calibrated_with() -> None:
    model, variant = network(), parse_variant("int8", Settings(keep_float=0))
    images = pictures_of(2, PICTURES, SIDE)
    back = np.arange(PICTURES) % 5 == 4
    images[back] = 255 * (images[back] > 127)  # louder than all others
    float_file, _, told = int8(model, 0, pictures=images)
    plain = quantise(float_file, variant, PREPROCESSING, images[~back])
    files = (float_file, plain, quantise(float_file, variant, PREPROCESSING, images))
    wanted, fair, seen = (answers(one.packed(), PREPROCESSING, images[back]) for one in files)
    assert told["plain_db"] == pytest.approx(noise(fair, wanted))
    assert noise(seen, wanted) > noise(fair, wanted) + 3


@IN_CI
@pytest.mark.parametrize(
    ("ruined", "chosen"),
    [("activation", ["expand", "depthwise"]), ("kernel", ["project"])],
)
def test_exactly_what_int8_ruins_stays_float(ruined: str, chosen: list[str]) -> None:
    float_file, whole, before = small(ruined, 0)
    assert "float_layers" not in before
    _, file, told = small(ruined)
    kept = told["float_layers"]
    assert kept["layers"] == chosen
    int8_db = max(before["plain_db"], before["reconstructed_db"])
    assert kept["int8_db"] == int8_db < ENOUGH
    assert kept["db"] - int8_db > 2 * LEAST_GAIN
    # On other images than those that chose, by the runtime.
    pictures = pictures_of(1, 24, SIDE)
    wanted, *found = (
        answers(one.packed(), PREPROCESSING, pictures) for one in (float_file, whole, file)
    )
    assert noise(found[1], wanted) > noise(found[0], wanted) + 2 * LEAST_GAIN
    assert partitions(file.packed()) <= MOST_PARTITIONS
    assert len(file.packed()) <= (1 + MOST_GROWTH) * len(whole.packed()) + 1000
    assert _float_kernels(file) == set(chosen)


def _float_kernels(file: TFLiteModel) -> set[str]:
    """Layers of `network` whose kernels a file has as floats."""
    known = {layer.name for layer in network().layers}
    return {one.layer for one in kernels(file) if one.layer in known}


@IN_CI
def test_a_network_that_loses_nothing_keeps_its_int8_file() -> None:
    _, file, told = small()
    assert max(told["plain_db"], told["reconstructed_db"]) > 25
    assert "float_layers" not in told
    assert not _float_kernels(file)
    assert file.packed() == small("", 0)[1].packed()


@IN_CI
def test_one_layer_does_not_do_what_two_do() -> None:
    _, _, told = small("activation", 1)
    assert "float_layers" not in told


@IN_CI
@pytest.mark.parametrize(
    "bound", ["pieces", "bytes", pytest.param("gain", marks=pytest.mark.slow(ci=True))]
)
def test_the_bounds_are_kept(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small("kernel", 0)[1].packed()
    if bound == "pieces":
        monkeypatch.setattr(keep_float, "partitions", lambda file: 1 if file == whole else 4)
    elif bound == "bytes":
        monkeypatch.setattr(keep_float, "MOST_GROWTH", 0.001)
    else:
        monkeypatch.setattr(keep_float, "LEAST_GAIN", 60.0)
    _, file, told = int8(network("kernel"))
    assert "float_layers" not in told
    assert file.packed() == whole


@IN_CI
@pytest.mark.parametrize(
    "task",
    [
        "detector",
        *(
            pytest.param(
                one, marks=pytest.mark.slow(ci=True)
            )  # of the detector there are all paths
            for one in ("segmenter", "every kind")
        ),
    ],
)
def test_networks_of_all_tasks_have_files_with_float_layers(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is bought: the file is whole, and runs."""
    for name, value in (("ENOUGH", 200.0), ("LEAST_GAIN", 0.01), ("MOST_GROWTH", 9.0)):
        monkeypatch.setattr(keep_float, name, value)
    monkeypatch.setattr(keep_float, "_WORTH", 0.01)
    model, preprocessing = {
        "detector": lambda: (
            with_scores(tiny_detectors.network(dropout=0), tiny_detectors.spec()),
            tiny_detectors.PREPROCESSING,
        ),
        "segmenter": lambda: (tiny_segmenters.network(dropout=0), tiny_segmenters.PREPROCESSING),
        "every kind": lambda: (every_kind(0.3), PREPROCESSING),
    }[task]()
    model = lower_for_int8(fold_batch_norms(model))
    shape = (preprocessing.height, preprocessing.width, 3)
    colours = np.random.default_rng(0).uniform(0, 255, (20, 1, 1, 3))
    grain = np.random.default_rng(1).normal(0, 60, (20, *shape))
    pictures = (colours + grain).clip(0, 255).astype(np.uint8)
    _, file, told = int8(model, 6, preprocessing, pictures)
    kept = told["float_layers"]
    assert kept["db"] > kept["int8_db"]
    assert {layer.name for layer in model.layers} >= {*kept["layers"]}
    assert partitions(file.packed()) == 1


def test_which_files_may_have_float_layers() -> None:
    for name in ("int8", "prune50_int8", "cluster16_int8", "int8_raw", "int8_probabilities"):
        assert parse_variant(name).keep_float == 2
        assert parse_variant(name).to_dict()["keep_float"] == 2
    for name in ("plain_int8", "qat_int8", "int8_converter", "int16x8", "weight_int8", "mixed"):
        assert parse_variant(name).keep_float == 0
        assert "keep_float" not in parse_variant(name).to_dict()
    assert parse_variant("int8", Settings(keep_float=0)).keep_float == 0
    for wrong in (-1, 99):
        with pytest.raises(InputError, match="--keep-float must be between 0 and 8"):
            Settings(keep_float=wrong)


# --- The noise that is weighed --------------------------------------------------------------------


def test_noise_is_what_small_roundings_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against the network with each rounding done, and with two together."""
    monkeypatch.setattr(sensitivity, "_DRAWS", 64)
    model = network()
    x = PREPROCESSING.normalise(pictures_of(3, 12, SIDE))
    rng = np.random.default_rng(0)
    changes = {}
    for name in ("stem", "depthwise", "logits"):
        kernel, bias = model.get_layer(name).get_weights()
        changes[name, "kernel"] = Change(
            kernel=rng.normal(0, 1e-3, kernel.shape).astype(np.float32),
            bias=rng.normal(0, 1e-4, bias.shape).astype(np.float32),
        )
    given = keras.Model(model.inputs, model.get_layer("expand_act").output)([x])
    ends = whole_range(np.asarray(given))
    roundings = {("expand_act", "activation"): Rounding(range=ends)}
    found = noises(model, changes, roundings, x)
    assert found.samples.shape == (64, 12, 4)
    wanted = _logits(model, x)
    for source in found.sources:
        got = _logits(model, x, changes.get(source), source[0])
        true = 10 ** (-noise({"logits": got}, {"logits": wanted}) / 10)
        assert found.share([source]) == pytest.approx(true, rel=0.2)
    assert found.left(found.sources) == 0
    assert found.left(()) == pytest.approx(found.share(found.sources))


def _logits(
    model: keras.Model, x: np.ndarray, change: Change | None = None, name: str = ""
) -> np.ndarray:
    """Answers with one layer's weights changed, or what it gives rounded."""
    if change is not None:
        model = with_bare_layers(model)
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel + change.kernel, bias + change.bias])
    elif name:
        first = keras.Model(model.inputs, model.get_layer(name).output)
        rest = keras.Model(model.get_layer(name).output, model.outputs)
        value = np.asarray(first([x]))
        found = rest(fake_quantised(value, *whole_range(value)))
        return np.asarray(keras.tree.flatten(found)[0])
    found = keras.Model(model.inputs, model.outputs)([x], training=False)
    return np.asarray(keras.tree.flatten(found)[0])


def test_what_makes_up_for_another_rounding_counts_so() -> None:
    """A bias that takes back what another layer's did: both together are nothing."""
    model = network()
    kernel = np.zeros(model.get_layer("logits").kernel.shape, np.float32)
    step = np.linspace(-1e-2, 1e-2, 40, dtype=np.float32)
    changes = {
        ("logits", "there"): Change(kernel=kernel, bias=step),
        ("logits", "back"): Change(kernel=kernel, bias=-step),
    }
    x = PREPROCESSING.normalise(pictures_of(3, 8, SIDE))
    found = noises(model, changes, {}, x)
    assert found.share([("logits", "there")]) > 0
    assert found.left(()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("form", ["logits", "maps", "softmax", "sigmoid"])
def test_weights_count_as_the_measure_does(form: str) -> None:
    rng = np.random.default_rng(0)
    if form in ("logits", "maps"):
        shape = (6, 10) if form == "logits" else (6, 4, 5, 3)
        wanted = {"logits": rng.normal(0, 3, shape)}
    else:
        scores = rng.uniform(0.001, 0.9, (6, 12, 4))
        if form == "softmax":
            scores /= scores.sum(axis=-1, keepdims=True)
        wanted = {"boxes": rng.normal(0, 2, (6, 12, 4)), "scores": scores}
    got = {key: one + rng.normal(0, 1e-4, one.shape) for key, one in wanted.items()}
    weights = weights_of(wanted)
    share = 0.0
    for key, one in wanted.items():
        made = comparable(key, wanted)
        error = np.asarray(made(np.float64(got[key]))) - np.asarray(made(np.float64(one)))
        share += float(np.sum(weights[key] * error**2))
    assert -10 * np.log10(share) == pytest.approx(noise(got, wanted), abs=0.1)


# --- What is said of it ---------------------------------------------------------------------------


@IN_CI
def test_a_run_says_which_layers_are_float(
    lenet_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ENOUGH", 200.0), ("LEAST_GAIN", 0.01), ("MOST_GROWTH", 9.0)):
        monkeypatch.setattr(keep_float, name, value)
    monkeypatch.setattr(keep_float, "_WORTH", 0.01)
    shutil.copytree(lenet_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("artefacts"))
    run = Run.open(tmp_path / "run")
    settings = Settings(calibration_pictures=20)
    ((made,), _new) = compress(run, ["int8"], onnx=False, settings=settings)
    kept = made.info["float_layers"]
    assert kept["db"] > kept["int8_db"]
    assert "float_layers" not in made.info["reconstruction"]
    assert made.info["evaluation"]["partitions"] == 1
    assert made.info["evaluation"]["verified"] == "yes"
    assert Settings.of(made.info["variant"]) == settings
    text = info.as_text(info.info(made.path))
    assert f"float       {', '.join(kept['layers'])}; all other layers int8" in text
    (row,) = compare([run], output=tmp_path / "report.html")
    assert row.float_layers == ", ".join(kept["layers"])
    assert "computes in float32" in str(row.npu)
    (written,) = read_rows(tmp_path / "report.csv")
    assert written["float_layers"] == row.float_layers
    page = (tmp_path / "report.html").read_text()
    assert "Float layers" in page
    assert row.float_layers in page
