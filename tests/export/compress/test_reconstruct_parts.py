"""Parts of reconstruction whose right answer is known, and networks of several outputs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import shared_heads
import tiny_detectors
import tiny_segmenters
from keras import layers
from marks import IN_CI, all_but

from export.artefacts.variants import parse_variant
from export.compress.reconstruct import Format, Parts, inputs, reconstruct, rounding
from export.compress.reconstruct.files import file_format, reconstructed
from export.compress.reconstruct.inputs import (
    Moments,
    covariances,
    groups_of,
    kernel_of,
    matrix,
    moments,
)
from export.compress.reconstruct.measure import heads_noise, noise
from export.compress.reconstruct.network import NEAREST, with_bare_layers
from export.compress.reconstruct.targets import aimed
from export.compress.reconstruct.tied import tied_kernels
from export.compress.reconstruct.walk import floats_at_once, has_regions
from export.graph.detection import with_scores
from export.graph.fold_norm import fold_batch_norms
from export.graph.lower import lower_for_int8
from export.graph.two_stage import with_suppression
from export.tflite.convert import to_tflite
from export.tflite.kernel_ranges import kernels
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise
from kerascnn.preprocessing import Preprocessing
from training.engine.foldable_norms import LINEAR

# --- Kernels --------------------------------------------------------------------------------------


def grouped(given: np.ndarray, now: np.ndarray) -> Moments:
    """Of (groups, places, k) inputs of a float network's layer, and of what they have become."""
    layer = layers.Dense(1)
    layer.build((None, given.shape[-1]))
    return moments(layer, now, 0, given, np.arange(len(given)))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_kernel_makes_up_for_what_was_done_to_its_inputs(bits: int) -> None:
    """Inputs of all groups that were mixed by a matrix A are unmixed again: the aim is W A^-1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 1000, 12))
    mixing = np.eye(12) + 0.1 * rng.normal(size=(12, 12))
    now = x @ mixing.T
    kernel = rng.normal(size=(1, 5, 12))
    met = grouped(x, now)
    aim = aimed(kernel, met, bits)
    assert aim is not None
    np.testing.assert_allclose(aim[0], kernel[0] @ np.linalg.inv(mixing), rtol=0.15, atol=0.06)
    errors = []
    for target in (None, aim):
        found = rounding.compensated(kernel, met.inputs, bits, target=target)
        errors.append(np.mean((x @ kernel[0].T - now @ found.values[0].T) ** 2))
    assert errors[1] < 0.5 * errors[0]


def test_noise_of_the_inputs_is_damped_where_all_groups_have_it() -> None:
    """One input, of variance 1, has noise of variance 1/4: its weight of 2 is best at 8/5."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 20_000, 2))
    noise = rng.normal(size=x.shape) * [0.5, 0]
    aim = aimed(np.array([[[2.0, 3.0]]]), grouped(x, x + noise))
    assert aim is not None
    np.testing.assert_allclose(aim, [[[1.6, 3.0]]], atol=0.03)


def test_what_each_group_would_have_otherwise_is_no_target() -> None:
    """Rounding turned the second input into the first, the other way round in every other group."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 1000, 2))
    turned = np.array([1, -1, 1, -1])[:, None] * x[..., 0]
    now = x + 0.3 * np.stack([0 * turned, turned], axis=-1)
    kernel = np.array([[[1.0, 1.0]]])
    assert aimed(kernel, grouped(x, now)) is None
    # Two groups alone that agree would have one.
    agreed = aimed(kernel, grouped(x[::2], now[::2]))
    assert agreed is not None
    np.testing.assert_allclose(agreed, [[[0.7, 1.0]]], atol=0.03)


def test_a_few_places_of_many_weights_say_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 25, 60))
    now = x + 0.1 * rng.normal(size=x.shape) / np.sqrt(60)
    kernel = rng.normal(size=(1, 5, 60))
    aim = aimed(kernel, grouped(x, now))
    assert aim is None or np.abs(aim - kernel).max() < 0.02


def test_one_group_has_no_target() -> None:
    x = np.random.default_rng(0).normal(size=(1, 500, 3))
    assert aimed(np.ones((1, 2, 3)), grouped(x, 2 * x)) is None


@pytest.mark.parametrize("told_apart", [2, 12])
def test_moments_of_groups_are_those_of_all_together(told_apart: int, monkeypatch) -> None:
    monkeypatch.setattr(inputs, "_TOLD_APART", told_apart)
    layer = layers.Conv2D(2, 2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 5, 5, 3)).astype(np.float32)
    layer(x)
    numbers = np.array([0, 1, 2] * 3)
    met = moments(layer, x, 0, 2 * x, numbers)
    whole = moments(layer, x, 0, 2 * x)
    assert whole.crossed is not None
    assert met.crossed is not None
    assert [one.places for one in met.by_group] == {2: [96, 48], 12: [48, 48, 48]}[told_apart]
    assert met.places == whole.places == 144
    np.testing.assert_allclose(met.inputs, whole.inputs, atol=1e-5)
    np.testing.assert_allclose(met.crossed, whole.crossed, atol=1e-5)
    rest = met.without(met.by_group[0])
    others = met.by_group[1:]
    np.testing.assert_allclose(rest.inputs, np.mean([one.inputs for one in others], 0), atol=1e-5)
    assert rest.crossed is not None
    np.testing.assert_allclose(rest.crossed, 2 * rest.inputs, atol=1e-5)
    assert rest.places == sum(one.places for one in others)


def test_a_target_keeps_the_zeros_of_the_kernel() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(1, 4, 20)) * (rng.random((1, 4, 20)) < 0.5)
    found = rounding.compensated(kernel, np.eye(20)[None], 8, target=kernel + 0.3)
    assert np.all(found.integers[kernel == 0] == 0)
    np.testing.assert_allclose(found.values[kernel != 0], (kernel + 0.3)[kernel != 0], atol=0.02)


WIDE = {
    "dense": (layers.Dense(5), (40,)),
    "regions": (layers.Dense(5), (7, 40)),
    "conv": (layers.Conv2D(6, 3, padding="same"), (6, 6, 8)),
}


@pytest.mark.parametrize("kind", WIDE)
def test_a_wide_layer_is_rounded_in_parts_of_one_scale(kind: str, monkeypatch) -> None:
    layer, shape = WIDE[kind]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, *shape)).astype(np.float32)
    before = np.asarray(layer(x))
    whole = covariances(layer, x, 0)[0]
    monkeypatch.setattr(inputs, "_WIDEST", 20)
    groups = groups_of(layer)
    assert groups == {"conv": 4}.get(kind, 2)
    kernel, bias = layer.get_weights()
    parts = matrix(layer, kernel)
    assert np.array_equal(kernel_of(layer, parts), kernel)
    found = covariances(layer, x, 0)
    size = found.shape[-1]
    for number, part in enumerate(found):  # blocks of the diagonal
        place = slice(number * size, (number + 1) * size)
        np.testing.assert_allclose(part, whole[place, place], rtol=1e-4, atol=1e-5)
    rounded = rounding.compensated(parts, found, 8, tied=True)
    assert np.all(rounded.scales == rounded.scales[0])
    layer.set_weights([kernel_of(layer, rounded.values), bias])
    assert np.mean((np.asarray(layer(x)) - before) ** 2) < 1e-4 * np.var(before)


def test_what_a_layer_is_given_as_it_was_has_nothing_to_make_up_for() -> None:
    layer = layers.Dense(3)
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    layer(x)
    assert moments(layer, x, 0, x).crossed is None
    crossed = moments(layer, x, 0, 2 * x).crossed
    np.testing.assert_allclose(crossed, 2 * covariances(layer, x, 0), rtol=1e-5)


# --- Heads that are shared ------------------------------------------------------------------------


def heads() -> keras.Model:
    return with_bare_layers(
        fold_batch_norms(with_scores(shared_heads.toy(), tiny_detectors.spec(background=False)))
    )


def test_a_head_of_all_levels_is_rounded_once() -> None:
    model = heads()
    linear = [layer for layer in model.layers if isinstance(layer, LINEAR)]
    tied = tied_kernels(linear)
    assert set(tied) == {
        f"{output}_{role}{call}"
        for output in ("boxes", "logits")
        for role in ("conv", "predict")
        for call in ("", "_call2")
    }
    form = Format(bits=lambda _layer: 8, activations="float32")
    found = reconstruct(model, form, shared_heads.pictures(12))
    for output in ("boxes", "logits"):
        for role in ("conv", "predict"):
            integers = [
                found.model.get_layer(name).get_weights()[0] / (found.bounds[name] / 127)
                for name in (f"{output}_{role}", f"{output}_{role}_call2")
            ]
            np.testing.assert_allclose(*integers, atol=1e-2)
            own = model.get_layer(f"{output}_{role}").get_weights()[0]
            nearest = rounding.by_range(matrix(model.get_layer(f"{output}_{role}"), own), 8)
            got = np.rint(matrix(model.get_layer(f"{output}_{role}"), integers[0]))
            assert np.any(got != nearest.integers)


def test_equal_kernels_are_known_by_what_reads_them() -> None:
    """Of equal ones the converter keeps one constant, whose name is no layer's."""
    model = heads()
    file = TFLiteModel.open(to_tflite(model))
    read = [kernel.name for kernel in kernels(file)]
    assert len(set(read)) < len(read)
    form = file_format(model, file, parse_variant("weight_int8"), ())
    linear = [layer for layer in model.layers if isinstance(layer, LINEAR)]
    assert [form.bits(layer) for layer in linear] == [8] * len(linear)
    names = {layer.name for layer in linear}
    assert {kernel.layer_among(names) for kernel in kernels(file)} == names


# --- Whole networks -------------------------------------------------------------------------------


def test_boxes_count_where_there_are_objects() -> None:
    scores = np.full((1, 4, 2), 1e-4)
    scores[0, 0, 1] = scores[0, 1, 0] = 0.9
    boxes = np.arange(16.0).reshape(1, 4, 4)
    wanted = {"boxes": boxes, "scores": scores}
    assert noise(wanted, wanted) == 120
    elsewhere, there = boxes.copy(), boxes.copy()
    elsewhere[0, 3] += 5
    there[0, 0] += 5
    # Half of the weight lies on each object, whose coordinates are 0 to 7: a variance of 5.25.
    shares = [0.5 * 25 / 5.25 / 2]
    assert noise({**wanted, "boxes": there}, wanted) == pytest.approx(
        -10 * np.log10(shares[0]), abs=0.01
    )
    assert noise({**wanted, "boxes": elsewhere}, wanted) > 30
    # A logit that is off by the same everywhere is off; of a softmax it is not.
    odds = scores / (1 - scores) * 2
    assert noise({**wanted, "scores": odds / (1 + odds)}, wanted) < 25


def compared(model: keras.Model, precision: str, preprocessing: Preprocessing, x: np.ndarray):
    """What the choice between the plain file and the reconstructed one was made by."""
    variant = parse_variant(precision)
    bare = fold_batch_norms(model)
    bare = lower_for_int8(bare) if variant.calibrated else with_bare_layers(bare)
    float_file = TFLiteModel.open(to_tflite(bare))
    plain = quantise(float_file, variant, preprocessing, x)
    file, told = reconstructed(bare, variant, preprocessing, x, plain=plain)
    assert told is not None
    return file, plain, told


PRECISIONS = ("weight_int4", "int8", "int16x8")


def images(preprocessing: Preprocessing, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (preprocessing.height, preprocessing.width, 3)
    colours = rng.uniform(0, 255, (count, 1, 1, 3)) + rng.normal(0, 60, (count, *shape))
    return colours.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("precision", all_but({"int8"}, PRECISIONS))
def test_a_detector_is_reconstructed(precision: str) -> None:
    model = with_scores(tiny_detectors.network(dropout=0), tiny_detectors.spec())
    pictures = images(tiny_detectors.PREPROCESSING, 50)
    file, plain, told = compared(model, precision, tiny_detectors.PREPROCESSING, pictures)
    assert told["pictures"] == 10
    assert told["written"] is (file is not plain)
    assert told["reconstructed_db"] > told["plain_db"] - (0.5 if precision == "int8" else 0)


@IN_CI
@pytest.mark.parametrize("precision", PRECISIONS[:2])
def test_a_segmentation_network_is_reconstructed(precision: str) -> None:
    pictures = images(tiny_segmenters.PREPROCESSING, 30)
    model = tiny_segmenters.network(dropout=0)
    _file, _plain, told = compared(model, precision, tiny_segmenters.PREPROCESSING, pictures)
    assert told["reconstructed_db"] > told["plain_db"]


@IN_CI
def test_rounded_activations_are_noise_of_both_stages() -> None:
    model = lower_for_int8(fold_batch_norms(with_suppression(tiny_detectors.two_stage_network())))
    x = tiny_detectors.PREPROCESSING.normalise(images(tiny_detectors.PREPROCESSING, 2))
    exact, fine, coarse = (
        heads_noise(model, model, x, {"stem_act": (0.0, high)} if high else {})
        for high in (None, 6.0, 60.0)
    )
    assert exact == 120
    assert exact > fine > coarse + 10  # of ten times the steps' width


@pytest.mark.slow
def test_int8_of_a_two_stage_detector_is_chosen_by_both_stages() -> None:
    model = with_suppression(tiny_detectors.two_stage_network())
    pictures = images(tiny_detectors.PREPROCESSING, 20)
    file, plain, told = compared(model, "int8", tiny_detectors.PREPROCESSING, pictures)
    assert told["pictures"] == 4
    assert told["written"] is (file is not plain)
    assert 15 < min(told["plain_db"], told["reconstructed_db"]) < 60


@pytest.mark.slow  # of a detector of one stage: above
def test_the_stages_of_a_detector_look_at_the_same_regions() -> None:
    model = with_suppression(tiny_detectors.two_stage_network())
    assert has_regions(model)
    assert not has_regions(heads())
    pictures = images(tiny_detectors.PREPROCESSING, 10)
    file, plain, told = compared(model, "weight_int8", tiny_detectors.PREPROCESSING, pictures)
    assert told["written"] is True
    assert file is not plain
    assert told["reconstructed_db"] > told["plain_db"]
    bare = with_bare_layers(fold_batch_norms(model))
    x = tiny_detectors.PREPROCESSING.normalise(pictures)
    coarse = Format(bits=lambda _layer: 4, activations="float32")
    found = [reconstruct(bare, coarse, x[:8], parts=each) for each in (NEAREST, Parts())]
    plain_db, whole_db = (heads_noise(bare, each.model, x[8:]) for each in found)
    assert whole_db > plain_db
    assert heads_noise(bare, bare, x[8:]) == 120
    # All kernels of both stages, the masks' too.
    assert {"rpn_conv", "box_head1", "mask_conv1", "mask_deconv"} <= set(found[1].bounds)
    # Twenty regions of 7x7x16 and six of 14x14x8 twice over take more than the picture.
    assert floats_at_once(bare) >= 20 * 7 * 7 * 16
