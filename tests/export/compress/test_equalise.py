"""Channels that are brought to one size, and images that are made of others."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import keras
import numpy as np
from dead_channels import SIDE, every_kind, pictures_of
from keras import layers
from marks import IN_CI

from export.artefacts.variants import parse_variant
from export.compress.reconstruct import Format, Parts, network, reconstruct
from export.compress.reconstruct.equalise import better, equalised, with_even_columns
from export.compress.reconstruct.files import reconstructed
from export.compress.reconstruct.groups import alike
from export.compress.reconstruct.measure import answers, noise
from export.compress.reconstruct.network import NEAREST, with_bare_layers
from export.compress.reconstruct.ranges import fake_quantised
from export.compress.reconstruct.varied import crops, half_varied, varied
from export.compress.reconstruct.walk import Walk, steps
from export.tflite.convert import to_tflite
from kerascnn.preprocessing import Preprocessing
from training.engine.foldable_norms import LINEAR

PREPROCESSING = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.0, std=128.0)


@functools.cache
def every() -> keras.Model:
    return with_bare_layers(every_kind(0.3))


# --- Channels of one size -------------------------------------------------------------------------


def residual() -> keras.Model:
    """Sums whose channels differ by a factor of up to 40."""
    rng = np.random.default_rng(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(image)
    for block in range(2):
        y = layers.ReLU(6.0)(layers.Conv2D(24, 1, name=f"expand{block}")(x))
        y = layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{block}")(y)
        y = layers.Conv2D(8, 1, name=f"project{block}")(layers.ReLU(6.0)(y))
        x = layers.Add(name=f"add{block}")([x, y])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 1, name="head")(x))
    model = keras.Model(image, layers.Dense(5, name="logits")(x))
    sizes = np.geomspace(1, 40, 8)
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel, bias = layer.get_weights()
        kernel = rng.normal(0, 0.4, kernel.shape)
        if layer.name.startswith(("stem", "project")):
            kernel *= sizes
        if layer.name.startswith(("expand", "head")):
            kernel /= sizes[:, None]
        layer.set_weights([kernel, rng.normal(0, 0.1, bias.shape)])
    return model


def test_weights_of_four_bits_that_read_a_channel_are_brought_to_one_size() -> None:
    model = with_bare_layers(residual())
    x = PREPROCESSING.normalise(pictures_of(2, 20, SIDE))
    four = {layer.name: 4 for layer in model.layers if layer.name.startswith(("expand", "head"))}
    format_ = Format(bits=lambda layer: four.get(layer.name), activations="float32")
    twin = with_even_columns(model, format_)
    np.testing.assert_allclose(np.asarray(twin(x)), np.asarray(model(x)), rtol=1e-3, atol=1e-4)
    for name in four:
        ratios = []
        for one in (model, twin):
            columns = np.square(np.asarray(one.get_layer(name).kernel)).mean(axis=(0, 1, 3))
            ratios.append(np.sqrt(columns.max() / columns.min()))
        assert ratios[0] > 20
        assert ratios[1] < 5
    before, after = (reconstruct(one, format_, x, parts=NEAREST).decibels for one in (model, twin))
    assert after > before + 6
    # Of eight bits there is nothing to win, and kernels that are to stay as they are hold a chain.
    eight = dataclasses.replace(format_, bits=lambda _layer: 8)
    held = dataclasses.replace(format_, kept={"project1"})
    assert with_even_columns(model, eight) is model
    assert with_even_columns(model, held) is model


def test_the_file_of_four_bits_has_them() -> None:
    model, variant = residual(), parse_variant("weight_int4")
    calibration, test = (pictures_of(seed, 24, SIDE) for seed in (2, 3))
    wanted = answers(to_tflite(model), PREPROCESSING, test)
    decibels = []
    for parts in (Parts(equalising=False), Parts()):
        file, _ = reconstructed(
            with_bare_layers(model), variant, PREPROCESSING, calibration, parts=parts
        )
        decibels.append(noise(answers(file.packed(), PREPROCESSING, test), wanted))
    assert decibels[1] > decibels[0] + 3


def test_a_head_that_looks_at_two_levels_stays_one_kernel() -> None:
    rng = np.random.default_rng(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(image)
    fine = layers.Conv2D(8, 1, name="neck")(x)
    coarse = layers.AveragePooling2D(2)(layers.ReLU(6.0)(fine))
    outputs = []
    for level, given in enumerate((fine, coarse)):
        y = layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{level}")(given)
        outputs.append(layers.Conv2D(6, 1, name=f"pointwise{level}")(y))
    model = keras.Model(image, outputs)
    for kind in ("stem", "neck", "depthwise", "pointwise"):
        for layer in (one for one in model.layers if one.name.startswith(kind)):
            drawn = np.random.default_rng(len(kind))
            kernel, bias = layer.get_weights()
            layer.set_weights([drawn.normal(0, 1, kernel.shape), rng.normal(0, 0.1, bias.shape)])
    twin = equalised(model, PREPROCESSING.normalise(pictures_of(2, 20, SIDE)))
    assert twin is not None
    assert not np.array_equal(twin.get_layer("stem").kernel, model.get_layer("stem").kernel)
    for kind in ("depthwise", "pointwise"):
        first, second = (twin.get_layer(f"{kind}{level}").kernel for level in (0, 1))
        np.testing.assert_array_equal(first, second)


def test_channels_of_a_chain_of_sums_are_brought_to_one_size() -> None:
    model = residual()
    x = PREPROCESSING.normalise(pictures_of(2, 20, SIDE))
    twin = equalised(model, x)
    assert twin is not None
    np.testing.assert_allclose(np.asarray(twin(x)), np.asarray(model(x)), rtol=1e-3, atol=1e-4)
    ratios = []
    for one in (model, twin):
        inside = keras.Model(one.inputs[0], one.get_layer("add1").output)
        loudest = np.abs(np.asarray(inside(x))).max(axis=(0, 1, 2))
        ratios.append(loudest.max() / loudest.min())
    assert ratios[1] < ratios[0] / 5
    # Nothing is moved through a cap.
    own, made = (one.get_layer("depthwise0").get_weights() for one in (model, twin))
    assert all(map(np.array_equal, own, made))
    eight = Format(
        bits=lambda _layer: 8,
        activations="int8",
        has_scale=lambda layer: isinstance(layer, (layers.Add, layers.ReLU, *LINEAR)),
    )
    made = better(model, eight, x, np.arange(20) % 4)
    assert made is not model
    found = [reconstruct(one, eight, x, parts=NEAREST).decibels for one in (model, made)]
    assert found[1] > found[0] + 3


def test_channels_stay_as_they_are_where_other_images_have_others_loud() -> None:
    """Half of the images have one colour, half another: each is quiet where the other is loud."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(2, 1, name="stem")(image)
    x = layers.Conv2D(4, 1, name="head")(layers.AveragePooling2D(2)(x))
    model = keras.Model(image, layers.Dense(3, name="logits")(layers.GlobalMaxPooling2D()(x)))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.4, kernel.shape), bias])
    kernel = np.zeros((1, 1, 3, 2))
    kernel[0, 0, 0, 0] = kernel[0, 0, 1, 1] = 1
    model.get_layer("stem").set_weights([kernel, np.zeros(2)])
    x = rng.uniform(0.8, 1, (20, SIDE, SIDE, 3)).astype(np.float32)
    groups = np.arange(20) % 2
    for group in (0, 1):
        x[groups == group, ..., 1 - group] *= 0.02
    eight = Format(
        bits=lambda _layer: 8,
        activations="int8",
        has_scale=lambda layer: isinstance(layer, (layers.AveragePooling2D, *LINEAR)),
    )
    assert better(model, eight, x, groups) is model
    assert better(model, eight, x, np.zeros(20, int)) is model


def test_images_that_are_alike_are_in_one_group() -> None:
    """Eight pictures of each of five colours, in turn."""
    rng = np.random.default_rng(0)
    colours = rng.uniform(-1, 1, (5, 1, 1, 3))
    x = np.tile(colours, (8, 1, 1, 1)) + rng.normal(0, 0.02, (40, SIDE, SIDE, 3))
    found = alike(every(), x.astype(np.float32))
    for colour in range(5):
        assert len(set(found[colour::5].tolist())) == 1
    assert sorted(np.bincount(found).tolist()) == [8, 8, 8, 16]
    assert alike(every(), x[:1].astype(np.float32)).tolist() == [0]
    assert len(set(alike(every(), x[:4].astype(np.float32)).tolist())) == 4


def test_kernels_that_are_kept_are_not_scaled() -> None:
    model = residual()
    x = PREPROCESSING.normalise(pictures_of(2, 4, SIDE))
    twin = equalised(model, x, kept=("expand1",))
    assert twin is not None  # from the head on
    own, made = (one.get_layer("stem").get_weights() for one in (model, twin))
    assert all(map(np.array_equal, own, made))


def test_every_kind_of_layer_may_be_scaled() -> None:
    x = PREPROCESSING.normalise(pictures_of(2, 8, SIDE))
    twin = equalised(every(), x)
    assert twin is not None
    np.testing.assert_allclose(np.asarray(twin(x)), np.asarray(every()(x)), atol=1e-4)
    changed = {
        layer.name
        for layer in twin.layers
        if layer.weights
        and not np.allclose(layer.get_weights()[0], every().get_layer(layer.name).get_weights()[0])
    }
    assert changed == {"stem", "depthwise", "up", "project", "dense", "logits"}


# --- Other images ---------------------------------------------------------------------------------


def test_varied_images_differ_and_the_seed_says_how() -> None:
    images = pictures_of(2, 30, SIDE)
    first, same, other = (varied(images, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert all(np.any(one != made) for one, made in zip(images, first, strict=True))
    half = half_varied(images, np.random.default_rng(0))
    assert np.array_equal(half[::2], images[::2])
    assert all(np.any(one != made) for one, made in zip(images[1::2], half[1::2], strict=True))
    assert np.array_equal(half_varied(images[:1], np.random.default_rng(0)), images[:1])
    grey = varied(images[..., :1], np.random.default_rng(0))
    assert grey.shape == (30, SIDE, SIDE, 1)


def test_crops_are_parts_of_their_images() -> None:
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None], (20, 100, 60, 3)).copy()
    made = crops(ramp, np.random.default_rng(0))
    assert np.all(np.diff(made.astype(int), axis=1) >= 0)  # no row before another
    shown = made[:, -1, 0, 0].astype(int) - made[:, 0, 0, 0]
    assert 58 <= shown.min() < 75
    assert shown.max() <= 99
    across = crops(ramp.transpose(0, 2, 1, 3).copy(), np.random.default_rng(0))
    mirrored = across[:, 0, 0, 0] > across[:, 0, -1, 0]
    assert 4 < mirrored.sum() < 16


def test_images_that_join_are_where_they_would_be_had_they_been_there(monkeypatch) -> None:
    """At every layer of an int8 network, from the place on at which there is room for them."""
    monkeypatch.setattr(network, "_LATE", 8)
    x = PREPROCESSING.normalise(pictures_of(2, 16, SIDE))
    eight = Format(
        bits=lambda _layer: 8,
        activations="int8",
        has_scale=lambda layer: isinstance(layer, layers.ReLU),
    )
    seen: list[int] = []
    plain_outputs = Walk.outputs

    def outputs(self, step):
        made = plain_outputs(self, step)
        if step.operation.name == "logits":
            seen.append(len(made))
            kept.append(made)
        return made

    def more(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield x[8 : 8 + count], np.arange(count) % 4

    kept: list[np.ndarray] = []
    monkeypatch.setattr(Walk, "outputs", outputs)
    found = reconstruct(every(), eight, x[:8], groups=np.arange(8) % 4, more=more)
    assert seen == [16, 16]
    whole = Walk(every(), x)
    for step in steps(every()):
        whole.keep(step, plain_outputs(whole, step))
    np.testing.assert_allclose(kept[0], whole.results()[0], atol=1e-4)
    # The rounded network is the one that the walk made, for those that joined too.
    after = Walk(found.model, x)
    for step in steps(found.model):
        made = plain_outputs(after, step)
        if (between := found.ranges.get(step.operation.name)) is not None:
            made = fake_quantised(made, *between)
        after.keep(step, made)
    last, wanted = kept[1], after.results()[0]
    gap = (wanted - last).mean(axis=0)  # by what the last bias was corrected afterwards
    np.testing.assert_allclose(last + gap, wanted, atol=2e-3)


@IN_CI
def test_varied_images_are_a_part_that_can_be_left_out() -> None:
    variant, images = parse_variant("weight_int4"), pictures_of(2, 40, SIDE)
    other = pictures_of(1, 40, SIDE)
    wanted = answers(to_tflite(every()), PREPROCESSING, other)
    files = [
        reconstructed(every(), variant, PREPROCESSING, images, parts=parts)[0].packed()
        for parts in (Parts(), Parts(), Parts(varied=False), NEAREST)
    ]
    assert files[0] == files[1]
    assert files[0] != files[2]
    decibels = [noise(answers(one, PREPROCESSING, other), wanted) for one in files]
    assert decibels[0] > decibels[3] + 2
