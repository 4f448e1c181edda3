"""Rounding that answers like the float network, and finds its way into the file as it is."""

from __future__ import annotations

import dataclasses
import functools
import tracemalloc

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from dead_channels import SIDE, every_kind, pictures_of
from keras import layers
from marks import IN_CI

from export.artefacts.variants import parse_variant
from export.compress.mixed import Report, Sensitivity
from export.compress.reconstruct import (
    Format,
    Parts,
    Reconstruction,
    reconstruct,
    rounding,
    work,
)
from export.compress.reconstruct.files import reconstructed
from export.compress.reconstruct.inputs import (
    covariances,
    kernel_of,
    matrix,
)
from export.compress.reconstruct.loud import weights_of_images
from export.compress.reconstruct.measure import answers, noise
from export.compress.reconstruct.mixed_widths import layer_bits, reconstructed_widths
from export.compress.reconstruct.network import with_bare_layers
from export.compress.reconstruct.ranges import fake_quantised, range_by_error
from export.compress.reconstruct.walk import floats_at_once
from export.tasks.comparison import OfLogits
from export.tflite import flatbuffer
from export.tflite.convert import layer_of, to_tflite
from export.tflite.kernel_ranges import kernels
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_file, quantise_weights
from export.tflite.weights import int4_halves
from kerascnn.preprocessing import Preprocessing
from training.engine.foldable_norms import LINEAR

PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.0, std=128.0)


def correlated(groups: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(groups, 400, width)) @ rng.normal(size=(groups, width, width))
    return mixed.transpose(0, 2, 1) @ mixed / 400


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(1, 12, 100), (30, 1, 9), (4, 6, 8)])
def test_each_way_of_rounding_errs_less_than_the_one_before(shape, bits: int) -> None:
    kernel = np.random.default_rng(1).normal(size=shape)
    inputs = correlated(shape[0], shape[2])
    tied = shape[0] == 4
    found = [
        rounding.by_range(kernel, bits, tied=tied),
        rounding.by_error(kernel, inputs, bits, tied=tied),
        rounding.compensated(kernel, inputs, bits, tied=tied),
    ]
    errors = [rounding.error_of(kernel, one, rounding.damped(inputs)) for one in found]
    assert errors[0] >= errors[1] > 1.1 * errors[2]
    low, top = rounding.limits(bits)
    for one in found:
        assert np.all(one.integers == np.rint(one.integers))
        assert low <= one.integers.min() < 0 < one.integers.max() <= top
        assert not tied or np.all(one.scales == one.scales[0])


def test_zeros_stay_zeros() -> None:
    kernel = np.random.default_rng(1).normal(size=(1, 8, 40))
    kernel[np.random.default_rng(2).random(kernel.shape) < 0.5] = 0
    found = rounding.compensated(kernel, correlated(1, 40), 8)
    assert np.all(found.integers[kernel == 0] == 0)
    assert np.mean(found.integers[kernel != 0] == 0) < 0.1


KINDS = {
    "dense": (layers.Dense(5), (7,)),
    "1x1": (layers.Conv2D(5, 1, strides=2), (8, 8, 6)),
    "3x3": (layers.Conv2D(5, 3, strides=2, padding="same"), (8, 7, 6)),
    "dilated": (layers.Conv2D(4, 3, dilation_rate=2, padding="same"), (8, 8, 6)),
    "valid": (layers.Conv2D(4, (3, 2)), (8, 8, 6)),
    "grouped": (layers.Conv2D(8, 3, groups=2, padding="same"), (8, 8, 6)),
    "depthwise": (layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (8, 8, 6)),
    "transposed": (layers.Conv2DTranspose(5, 2, strides=2), (6, 6, 4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_a_kernel_is_weighed_by_what_it_changes(kind: str) -> None:
    """The quadratic form is the variance of the change of the layer's own outputs."""
    layer, shape = KINDS[kind]
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 1.0, (6, *shape)).astype(np.float32)
    before = np.asarray(layer(x))
    kernel, *bias = layer.get_weights()
    assert np.array_equal(kernel_of(layer, matrix(layer, kernel)), kernel)
    changed = kernel + rng.normal(0, 0.1, kernel.shape).astype(np.float32)
    layer.set_weights([changed, *bias])
    difference = np.asarray(layer(x)) - before
    inputs = covariances(layer, x, 0)
    step = matrix(layer, changed - kernel)
    predicted = np.sum((step @ inputs) * step, axis=-1)
    if kind == "transposed":  # each of the 2x2 taps makes a quarter of the pixels
        taps = difference.reshape(6, 6, 2, 6, 2, 5).transpose(2, 4, 5, 0, 1, 3).reshape(4, 5, -1)
        measured = taps.var(axis=-1)
    else:
        measured = difference.reshape(-1, difference.shape[-1]).var(axis=0)
    np.testing.assert_allclose(predicted.reshape(-1), measured.reshape(-1), rtol=1e-3)


@functools.cache
def network() -> keras.Model:
    return with_bare_layers(every_kind(0.3))


@functools.cache
def float_file() -> bytes:
    return to_tflite(network())


def integers_of(file: bytes) -> dict[str, np.ndarray]:
    """Kernels as a file holds them, times their scales, by layer; output channels last."""
    model = flatbuffer.read(file)
    found, known = {}, {layer.name for layer in network().layers if isinstance(layer, LINEAR)}
    for tensor in model.subgraphs[0].tensors:
        kinds = (schema.TensorType.INT8, schema.TensorType.INT4)
        layer = layer_of(tensor.name.decode(), known)
        data = model.buffers[tensor.buffer].data
        if tensor.type not in kinds or data is None or len(tensor.shape) < 2 or layer is None:
            continue
        packed = np.ascontiguousarray(data, np.uint8)
        values = packed.view(np.int8)
        if tensor.type == schema.TensorType.INT4:
            values = (int4_halves(tensor, packed).astype(np.int8) ^ 8) - 8
        axis = tensor.quantization.quantizedDimension
        scales = np.asarray(tensor.quantization.scale)
        found[layer] = np.moveaxis(values.reshape(tensor.shape), axis, -1) * scales
    return found


def as_stored(layer: keras.Layer) -> np.ndarray:
    """A layer's kernel as `integers_of` has it."""
    kernel = layer.get_weights()[0]
    if isinstance(layer, layers.DepthwiseConv2D):
        return kernel.reshape(1, *kernel.shape[:2], -1)
    if isinstance(layer, layers.Conv2DTranspose):
        return kernel.transpose(0, 1, 3, 2)
    return np.moveaxis(kernel, -2, 0) if kernel.ndim == 2 else kernel.transpose(0, 1, 2, 3)


def recorded(monkeypatch) -> list[Reconstruction]:
    """What files are written of, as it is made."""
    kept: list[Reconstruction] = []

    def record(own, *args, **kwargs):
        kept.append(own(*args, **kwargs))
        return kept[-1]

    monkeypatch.setattr(work, "reconstruct", functools.partial(record, reconstruct))
    return kept


@pytest.mark.parametrize(
    "precision",
    [
        "weight_int8",
        *(pytest.param(name, marks=IN_CI) for name in ("weight_int4", "int8")),
        pytest.param("dynamic_int8", marks=pytest.mark.slow),  # the kernels of weight_int8
    ],
)
def test_rounded_kernels_are_in_the_file_as_they_are(precision: str, monkeypatch) -> None:
    kept = recorded(monkeypatch)
    variant = parse_variant(precision)
    calibration, pictures = pictures_of(2, 40, SIDE), pictures_of(1, 24, SIDE)
    opened, _told = reconstructed(network(), variant, PREPROCESSING, calibration)
    file = opened.packed()
    found = integers_of(file)
    assert set(found) == set(kept[0].bounds) == set(KERNELS)
    for name, values in found.items():
        layer = kept[0].model.get_layer(name)
        np.testing.assert_allclose(values, as_stored(layer), rtol=1e-5, atol=1e-9)
        assert not np.allclose(values, as_stored(network().get_layer(name)), rtol=1e-5)
    plain = quantise_file(float_file(), variant, PREPROCESSING, calibration)
    wanted = answers(float_file(), PREPROCESSING, pictures)
    before, after = (noise(answers(f, PREPROCESSING, pictures), wanted) for f in (plain, file))
    assert after > before
    assert len(file) < 1.01 * len(plain)


KERNELS = ("stem", "depthwise", "up", "project", "dense", "logits")


@IN_CI
def test_a_mixed_file_has_the_kernels_that_were_rounded_at_its_widths(monkeypatch) -> None:
    kept = recorded(monkeypatch)
    float_form, pictures = TFLiteModel.open(float_file()), pictures_of(2, 60, SIDE)
    widths = {"stem": 8, "depthwise": 8, "project": 4, "dense": 8, "logits": 16}
    outputs = {one.layer: one.output for one in kernels(float_form)}
    chosen = {outputs[layer]: bits for layer, bits in widths.items()}
    report = Report(
        layers=tuple(
            Sensitivity(layer=output, op="", weights=1, bits=bits, error=0.0, changed=0.0)
            for output, bits in chosen.items()
        ),
        error=9.0,
        changed=100.0,
        pictures=60,
    )
    assert layer_bits(float_form, report, widths) == widths
    plain = quantise_weights(float_form, chosen)
    file, told_of_it, told = reconstructed_widths(
        network(),
        parse_variant("mixed"),
        PREPROCESSING,
        pictures,
        float_file=float_form,
        plain=plain,
        report=report,
        comparison=OfLogits(PREPROCESSING),
    )
    assert told is not None
    assert told["written"]
    assert told["reconstructed_db"] > told["plain_db"]
    found = integers_of(file.packed())
    assert set(found) == {layer for layer, bits in widths.items() if bits < 16}
    for name, values in found.items():
        layer = kept[0].model.get_layer(name)
        np.testing.assert_allclose(values, as_stored(layer), rtol=1e-5, atol=1e-9)
    assert len(file.packed()) == len(plain.packed())
    assert told_of_it.layers == report.layers
    assert told_of_it.error < report.error
    # What changes more answers than it may is not written.
    strict = dataclasses.replace(report, changed=-1.0)
    variant = dataclasses.replace(parse_variant("mixed"), max_change=-1.0)
    file, told_of_it, told = reconstructed_widths(
        network(),
        variant,
        PREPROCESSING,
        pictures,
        float_file=float_form,
        plain=plain,
        report=strict,
        comparison=OfLogits(PREPROCESSING),
    )
    assert file is plain
    assert told is not None
    assert told["written"] is False


def test_every_channel_has_the_mean_of_the_float_network() -> None:
    x = PREPROCESSING.normalise(pictures_of(2, 24, SIDE))
    coarse = Format(bits=lambda _layer: 4, activations="float32")
    means = []
    for biases in (False, True):
        found = reconstruct(network(), coarse, x, parts=Parts(rounding="range", biases=biases))
        gaps = []
        for name in KERNELS:
            old, new = (
                keras.Model(m.inputs, m.get_layer(name).output) for m in (network(), found.model)
            )
            wanted = np.asarray(old([x]))
            gap = (np.asarray(new([x])) - wanted).reshape(len(x), -1, wanted.shape[-1])
            weights = weights_of_images(wanted)
            gaps.append(np.abs(np.average(gap.mean(axis=1), axis=0, weights=weights)).max())
        means.append(max(gaps))
    assert means[0] > 0.02
    assert means[1] < 1e-4


def test_the_better_file_is_written() -> None:
    variant, calibration = parse_variant("weight_int8"), pictures_of(2, 40, SIDE)
    plain = TFLiteModel.open(float_file())
    file, told = reconstructed(network(), variant, PREPROCESSING, calibration, plain=plain)
    assert file is plain
    assert told is not None
    assert told["written"] is False
    assert told["plain_db"] > told["reconstructed_db"]
    assert told["pictures"] == 8


def test_ranges_leave_out_what_spares_the_others() -> None:
    rng = np.random.default_rng(0)
    values = np.append(np.abs(rng.normal(0, 1, 100_000)), 40.0).astype(np.float32)
    low, high = range_by_error(values, rng)
    assert low == 0
    assert 4 < high < 39
    chosen, whole = (np.mean((values - fake_quantised(values, 0, end)) ** 2) for end in (high, 40))
    assert chosen < 0.95 * whole
    # All of an even spread is worth its steps.
    even = np.linspace(-1, 3, 20_000).astype(np.float32)
    low, high = range_by_error(even, rng)
    assert low < -0.97
    assert high > 2.9


def test_ranges_have_room_for_what_other_groups_would_have() -> None:
    """Even spreads to 1, 2, 3 and 4: all but the last are within those of the others."""
    rng = np.random.default_rng(0)
    ends = np.array([1.0, 2.0, 3.0, 4.0])
    x = np.linspace(0, ends, 5000).T.astype(np.float32)
    high = range_by_error(x, rng, np.arange(4))[1]
    # The last is fitted best where 3 is raised by a third: 1.35 is the nearest share.
    np.testing.assert_allclose(high, 4 * 1.35, rtol=1e-5)
    # Where all groups are alike, nothing is raised.
    alike = np.linspace(0, np.full(4, 4.0), 5000).T.astype(np.float32)
    assert 3.8 < range_by_error(alike, rng, np.arange(4))[1] <= 4.0
    assert range_by_error(alike, rng, np.zeros(4, int)) == range_by_error(alike, rng)


def test_fake_quantised_is_what_the_runtime_computes() -> None:
    x = np.array([-9, -1, -0.004, 0, 0.004, 0.012, 1, 9], np.float32)
    found = fake_quantised(x, -1.0, 1.55)
    np.testing.assert_allclose(found, [-1, -1, 0, 0, 0, 0.01, 1, 1.55], atol=1e-6)


def test_which_variants_are_reconstructed() -> None:
    for name in (
        *("int8", "weight_int4", "prune50_int8", "cluster16_weight_int8", "dynamic_int8"),
        *("int16x8", "int8_raw"),
    ):
        assert parse_variant(name).reconstructed
        assert parse_variant(name).calibration_pictures == 200
    assert parse_variant("mixed").reconstructed
    for name in (
        *("plain_int8", "plain_weight_int4", "qat_int8", "int8_converter", "float16"),
        "qat_weight_int4",
        *("plain_mixed", "plain_int16x8"),
    ):
        assert not parse_variant(name).reconstructed
    assert parse_variant("prune50_plain_int8").steps == parse_variant("prune50_int8").steps


def test_activations_take_the_room_that_was_planned_for() -> None:
    """Arrays of NumPy, of both networks together: no copy of all pictures, and none in doubles."""
    inputs = x = keras.Input((64, 64, 3))
    x = layers.Conv2D(16, 1, name="wide")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="deep")(x)
    x = layers.ReLU(6.0)(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    pictures = np.random.default_rng(0).normal(size=(40, 64, 64, 3)).astype(np.float32)
    form = Format(bits=lambda _layer: 8, activations="int8", has_scale=lambda _layer: True)
    tracemalloc.start()
    try:
        reconstruct(model, form, pictures)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 4 * floats_at_once(model) * len(pictures)
