"""Channels removed equal channels that are zero, and the right ones go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from marks import IN_CI, marks_of
from networks import with_random_weights

import kerascnn
from export.compress.channel_prune import prune_channels, widths
from export.graph.join_branches import deployed
from kerascnn.complexity import count_macs, count_parameters
from kerascnn.detection import fpn
from kerascnn.errors import InputError

CLASSES = 5

# Every kind, narrow and shallow: stride, squeeze-excite, sum, concatenation, flattening.
NETWORKS: dict[str, dict] = {
    "lenet5": {"input_shape": (32, 32, 1)},
    "googlenet": {"batch_norm": False},
    "resnet18": {"width": 0.5},
    "mobilenet_v1": {"alpha": 0.5},
    "mobilenet_v3_small": {"padding": "symmetric"},
    "efficientnet_lite0": {"width": 0.5, "depth": 0.5},
    "efficientnet_v2_b0": {"width": 0.5, "depth": 0.5},
    "mobilenet_v4_conv_small": {"alpha": 0.5},
}
CI_ALONE = {"googlenet", "efficientnet_v2_b0", "mobilenet_v4_conv_small"}
# Longer, and like the others to what is tested here.
LONG: dict[str, dict] = {
    "alexnet": {},
    "vgg16": {"batch_norm": True},
    "vgg19": {},
    "mobilenet_v2": {"alpha": 0.5, "drop_path": 0.1},
    "efficientnet_b0": {"width": 0.5, "depth": 0.7},
    "googlenet": {},
    "resnet50": {"width": 0.25, "drop_path": 0.1},
    "se_resnet50": {"width": 0.25},
    "mobilenet_v3_large": {"alpha": 0.5},
    "efficientnet_lite4": {"width": 0.5},
    "mobilenet_v4_conv_medium": {"alpha": 0.5},
    "mobileone_s1": {"alpha": 0.25},
    "repvit_m0_9": {"alpha": 0.5},
}
# A share that removes something of nearly every layer.
SHARE = 0.4


def pictures_for(model: keras.Model, count: int = 2) -> np.ndarray:
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(1).normal(0, 1, shape).astype("float32")


def silence(model: keras.Model, narrower: keras.Model) -> None:
    """Make all channels zero that the slim model lacks.

    A channel is known by a value that no other of its layer has: a norm's mean, or a bias.
    """
    for layer in model.layers:
        weights = layer.get_weights()
        is_norm = isinstance(layer, layers.BatchNormalization)
        if is_norm or (weights and layer.use_bias):
            mark = 2 if is_norm else -1
            remaining = narrower.get_layer(layer.name).get_weights()
            removed = ~np.isin(weights[mark], remaining[mark])
            for weight in weights[:2]:  # scale and offset, or kernel and bias
                by_channel = weight[..., 0] if weight.shape[-1] == 1 else weight  # depthwise
                if weight.ndim > 1 and isinstance(layer, layers.Conv2DTranspose):
                    by_channel = np.swapaxes(weight, -1, -2)
                by_channel[..., removed] = 0
            layer.set_weights(weights)


def built(name: str, options: dict) -> keras.Model:
    options = {"input_shape": (32, 32, 3), "classes": CLASSES} | options
    return deployed(with_random_weights(kerascnn.build(name, **options)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(pytest.param(*item, marks=marks_of(item[0], ci=CI_ALONE)) for item in NETWORKS.items()),
        *(pytest.param(*item, marks=pytest.mark.slow) for item in LONG.items()),
    ],
)
def test_removed_channels_are_as_good_as_zero(name: str, options: dict) -> None:
    model = built(name, options)
    divisor = 2 if name == "lenet5" else 8  # which has 6 and 16 channels
    narrower = prune_channels(model, macs=SHARE, score="norm", divisor=divisor)
    assert_smaller(model, narrower, divisor)
    pictures = pictures_for(model)
    whole = model(pictures, training=False).numpy()
    silence(model, narrower)
    expected = model(pictures, training=False).numpy()
    answers = narrower(pictures, training=False).numpy()
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 5e-3 * scale
    assert np.abs(whole - expected).max() > 5e-3 * scale
    np.testing.assert_allclose(answers, expected, rtol=0, atol=2e-5 * scale)


def assert_smaller(model: keras.Model, narrower: keras.Model, divisor: int) -> None:
    share = count_macs(narrower) / count_macs(model)
    assert 0.9 * SHARE < share <= SHARE
    assert count_parameters(narrower) < count_parameters(model)
    assert [layer.name for layer in narrower.layers] == [layer.name for layer in model.layers]
    assert narrower.input_shape == model.input_shape
    assert narrower.output_shape == (None, CLASSES)
    before, after = widths(model), widths(narrower)
    for layer, width in after.items():
        assert width in (before[layer], width // divisor * divisor) or before[layer] < 16, layer
        assert width >= min(before[layer], max(divisor, before[layer] / 8)), layer


@IN_CI
def test_a_slim_model_is_saved_trained_and_narrower_again(tmp_path: Path) -> None:
    model = built("mobilenet_v1", {"alpha": 0.5})
    model.get_layer("stem").trainable = False
    narrower = prune_channels(model, macs=0.6, score="l1")
    assert not narrower.get_layer("stem").trainable
    narrower.save(tmp_path / "slim.keras")
    loaded = keras.models.load_model(tmp_path / "slim.keras", compile=False)
    pictures = pictures_for(model)
    np.testing.assert_array_equal(loaded(pictures), narrower(pictures))
    again = prune_channels(loaded, macs=0.5, score="l1")
    assert count_macs(again) <= 0.5 * count_macs(loaded)


def test_the_model_stays_as_it_is_and_results_repeat() -> None:
    model = conv_net(32, 32, norm=True)
    before = [w.copy() for w in model.get_weights()]
    batches = [(pictures_for(model, 4), np.eye(2, dtype="float32")[[0, 1, 1, 0]])]
    first = prune_channels(model, macs=0.5, score="taylor", batches=batches)
    second = prune_channels(model, macs=0.5, score="taylor", batches=iter(batches))
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    first.set_weights([w + 1 for w in first.get_weights()])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def conv_net(*filters: int, norm: bool) -> keras.Model:
    """Convolutions of 3x3 with ReLU, pooled, into two logits."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    for number, width in enumerate(filters, 1):
        x = layers.Conv2D(width, 3, padding="same", name=f"conv{number}")(x)
        x = layers.BatchNormalization(name=f"norm{number}")(x) if norm else x
        x = layers.ReLU(name=f"act{number}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return with_random_weights(keras.Model(inputs, layers.Dense(2, name="logits")(x), name="tiny"))


def kept_channels(model: keras.Model, narrower: keras.Model, layer: str) -> list[int]:
    """Which of a layer's channels are left, by their biases."""
    before, after = (m.get_layer(layer).get_weights()[1] for m in (model, narrower))
    return np.flatnonzero(np.isin(before, after)).tolist()


def scaled_channels(model: keras.Model, layer: str, weight: int, scales: list[float]) -> None:
    weights = model.get_layer(layer).get_weights()
    weights[weight] = weights[weight] * np.array(scales)
    model.get_layer(layer).set_weights(weights)


def even(model: keras.Model, layer: str) -> None:
    """Give all channels of a kernel the same L1 norm, 1."""
    kernel, bias = model.get_layer(layer).get_weights()
    model.get_layer(layer).set_weights([kernel / np.abs(kernel).sum((0, 1, 2)), bias])


def test_l1_removes_the_smallest_kernels() -> None:
    model = conv_net(4, norm=False)
    even(model, "conv1")
    scaled_channels(model, "conv1", 0, [3.0, 0.2, 2.0, 0.1])
    narrower = prune_channels(model, macs=0.5, score="l1", divisor=2)
    assert kept_channels(model, narrower, "conv1") == [0, 2]


def test_norm_removes_the_smallest_scales_whatever_the_kernels() -> None:
    model = conv_net(4, norm=True)
    even(model, "conv1")
    scaled_channels(model, "conv1", 0, [0.1, 3.0, 0.1, 3.0])
    gamma = np.array([0.9, -0.1, -0.8, 0.2])
    model.get_layer("norm1").set_weights([gamma, np.ones(4), np.zeros(4), np.ones(4)])
    narrower = prune_channels(model, macs=0.5, score="norm", divisor=2)
    assert kept_channels(model, narrower, "conv1") == [0, 2]


def test_norm_falls_back_to_kernels_where_no_norm_is() -> None:
    model = conv_net(4, norm=False)
    even(model, "conv1")
    scaled_channels(model, "conv1", 0, [0.1, 3.0, 0.2, 2.0])
    narrower = prune_channels(model, macs=0.5, score="norm", divisor=2)
    assert kept_channels(model, narrower, "conv1") == [1, 3]


@pytest.mark.parametrize("norm", [True, False])
def test_taylor_removes_what_the_logits_do_not_hear(norm: bool) -> None:
    """Large channels that the loss does not depend on go before small ones that it does."""
    model = conv_net(4, norm=norm)
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[[1, 2]] *= 1e-3
    model.get_layer("logits").set_weights([kernel, bias])
    scaled_channels(model, "norm1" if norm else "conv1", 0, [1.0, 5.0, 5.0, 1.0])
    batches = [(pictures_for(model, 16), np.eye(2, dtype="float32")[np.arange(16) % 2])]
    narrower = prune_channels(model, macs=0.5, score="taylor", batches=batches, divisor=2)
    assert kept_channels(model, narrower, "conv1") == [0, 3]
    by_size = prune_channels(model, macs=0.5, score="norm" if norm else "l1", divisor=2)
    assert kept_channels(model, by_size, "conv1") == [1, 2]


def test_taylor_is_parameter_times_gradient_picture_by_picture() -> None:
    """Hand-worked: mean channels m into logits W m; dL/dm = W (softmax - labels)."""
    x = inputs = keras.Input((4, 4, 4), name="image")
    x = layers.Conv2D(4, 1, use_bias=True, name="conv1")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(2, use_bias=False, name="logits")(x))
    # The first two channels' changes cancel between the pictures, but not within one.
    kernel = np.array([[1.0, -1.0], [1.0, -1.0], [0.1, -0.1], [0.1, -0.1]])
    bias = np.array([1e-6, 2e-6, 3e-6, 4e-6])
    model.get_layer("conv1").set_weights([np.eye(4)[None, None], bias])
    model.get_layer("logits").set_weights([kernel])
    pictures = np.ones((2, 4, 4, 4), "float32")
    labels = np.eye(2, dtype="float32")
    narrower = prune_channels(
        model, macs=0.5, score="taylor", batches=[(pictures, labels)], divisor=2
    )
    assert kept_channels(model, narrower, "conv1") == [0, 1]


def test_dear_channels_go_first() -> None:
    """Of two layers that are alike to the score, the one with more MACs a channel gives way."""
    model = conv_net(16, 16, 64, norm=True)
    for number, width in enumerate((16, 16, 64), 1):
        weights = [np.ones(width), *model.get_layer(f"norm{number}").get_weights()[1:]]
        model.get_layer(f"norm{number}").set_weights(weights)
    after = widths(prune_channels(model, macs=0.7, score="norm"))
    assert after["conv1"] == 16
    assert after["conv3"] < 64 or after["conv2"] < 16


def around(body: Callable) -> keras.Model:
    """A network of `body` between two convolutions."""
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(32, 3, padding="same", name="first")(inputs)
    x = body(x)
    if len(x.shape) == 4:
        x = layers.Conv2D(64, 3, padding="same", activation="relu", name="last")(x)
        x = layers.GlobalAveragePooling2D(name="pool")(x)
    return with_random_weights(keras.Model(inputs, layers.Dense(2, name="logits")(x), name="odd"))


def beside_itself(x):
    """The same channels twice, added to others: two of those hang on one of these."""
    wide = layers.Conv2D(64, 1, name="wide")(x)
    return layers.Add(name="sum")([wide, layers.Concatenate(name="twice")([x, x])])


def multiplied(x):
    return layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="depthwise")(x)


def reshaped(x):
    x = layers.Reshape((4, 16, 32), name="reshape")(layers.ReLU(name="act")(x))
    return layers.Dense(16, name="inner")(layers.Flatten(name="flatten")(x))


def stacked(x):
    return layers.Concatenate(axis=1, name="stack")([x, layers.Conv2D(32, 1, name="other")(x)])


@pytest.mark.parametrize(
    ("body", "macs"), [(beside_itself, 0.25), (multiplied, 0.25), (reshaped, 0.25), (stacked, 0.12)]
)
def test_unusual_ways_of_channels_are_followed(body: Callable, macs: float) -> None:
    model = around(body)
    narrower = prune_channels(model, macs=macs, score="l1")
    assert widths(narrower)["first"] < 32
    pictures = pictures_for(model)
    silence(model, narrower)
    np.testing.assert_allclose(narrower(pictures), model(pictures), rtol=0, atol=1e-5)


def grouped(x):
    return layers.Conv2D(32, 3, groups=4, name="grouped")(x)


def moved(x):
    return layers.Reshape((8, 16, 16), name="moved")(x)


def permuted(x):
    return layers.Permute((1, 3, 2), name="permuted")(x)


def across(x):
    return layers.Activation("softmax", name="across")(x)


def normalised(x):
    return layers.LayerNormalization(name="across")(x)


def nested(x):
    inner_inputs = keras.Input(x.shape[1:])
    inner = layers.Conv2D(32, 1, name="inner")(inner_inputs)
    return keras.Model(inner_inputs, inner, name="nested")(x)


def operation(x):
    return keras.ops.flip(x, axis=-1)


def one_for_all(x):
    return layers.Add(name="sum")([x, layers.Conv2D(1, 1, name="one")(x)])


@pytest.mark.parametrize("body", [grouped, moved, permuted, across, normalised, nested, operation])
def test_what_cannot_be_followed_keeps_its_channels(body: Callable) -> None:
    model = around(body)
    score = "l1" if body is grouped else "taylor"  # grouped ones compile for a minute on a CPU
    batches = [(pictures_for(model), np.eye(2))]
    narrower = prune_channels(model, macs=0.8, score=score, batches=batches)
    after = widths(narrower)
    assert after.pop("last") < 64
    assert all(after[name] == widths(model)[name] for name in after)
    if body is not grouped:
        assert narrower(pictures_for(model)).shape == (2, 2)


def test_a_channel_that_all_share_stays() -> None:
    narrower = prune_channels(around(one_for_all), macs=0.5, score="l1")
    assert widths(narrower)["one"] == 1
    assert widths(narrower)["first"] < 32


def test_auxiliary_logits_stay() -> None:
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(64, 3, name="conv1")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    heads = [layers.Dense(16, name=name)(x) for name in ("logits", "aux_logits")]
    narrower = prune_channels(keras.Model(inputs, heads), macs=0.5, score="l1")
    assert widths(narrower) == {"conv1": 32, "logits": 16, "aux_logits": 16}


@IN_CI
def test_resnext_loses_channels_around_its_groups() -> None:
    model = kerascnn.build("resnext50_32x4d", input_shape=(32, 32, 3), classes=2, width=0.25)
    before, after = widths(model), widths(prune_channels(model, macs=0.7, score="norm"))
    assert all(after[name] == before[name] for name in before if name.endswith(("conv1", "conv2")))
    assert after["stage2_block1_conv3"] < before["stage2_block1_conv3"]


@pytest.mark.parametrize("macs", [0, 1, 1.5, -0.5, float("nan")])
def test_an_impossible_share_is_refused(macs: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        prune_channels(conv_net(16, norm=True), macs=macs, score="norm")


def test_an_unknown_score_is_refused() -> None:
    with pytest.raises(InputError, match="taylor, norm, l1, not 'l2'"):
        prune_channels(conv_net(16, norm=True), macs=0.5, score="l2")


def test_a_divisor_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="divisor"):
        prune_channels(conv_net(16, norm=True), macs=0.5, score="l1", divisor=0)


def test_taylor_without_pictures_is_refused() -> None:
    with pytest.raises(InputError, match="needs batches"):
        prune_channels(conv_net(16, norm=True), macs=0.5, score="taylor")


def test_a_share_below_the_floors_is_refused_with_the_least() -> None:
    model = conv_net(64, norm=True)
    with pytest.raises(InputError, match=r"0\.125 of the MACs") as refusal:
        prune_channels(model, macs=0.1, score="norm")
    assert "\n" not in str(refusal.value)
    assert widths(prune_channels(model, macs=0.125, score="norm"))["conv1"] == 8


def shared_pair(inputs):
    """A convolution on two maps, with a norm each, and one norm at two places."""
    fine = layers.Conv2D(32, 3, padding="same", name="fine")(inputs)
    coarse = layers.Conv2D(32, 3, strides=2, padding="same", name="coarse")(inputs)
    depthwise = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")
    shared, out = layers.Conv2D(48, 1, name="shared"), layers.Conv2D(4, 1, name="out")
    both = layers.BatchNormalization(name="both")
    found = []
    for level, seen in (("fine", fine), ("coarse", coarse)):
        x = layers.BatchNormalization(name=f"{level}_norm")(shared(depthwise(both(seen))))
        x = layers.ReLU(name=f"{level}_act")(x)
        found.append(layers.Reshape((-1, 4), name=f"{level}_rows")(out(x)))
    return layers.Concatenate(axis=1, name="rows")(found)


@pytest.mark.parametrize("score", ["taylor", "norm", "l1"])
def test_a_kernel_of_several_calls_loses_the_same_channels_everywhere(score: str) -> None:
    inputs = keras.Input((8, 8, 3), name="image")
    model = with_random_weights(keras.Model(inputs, shared_pair(inputs)))

    def loss(_truth, outputs):
        return keras.ops.sum(keras.ops.square(outputs[0]))

    pictures = pictures_for(model)
    asked = {"macs": 0.5, "score": score, "batches": [(pictures, np.zeros(2))], "loss": loss}
    narrower = prune_channels(model, **asked)
    assert count_macs(narrower) <= 0.5 * count_macs(model)
    after = widths(narrower)
    assert after["fine"] == after["coarse"] < 32  # what they share ties them
    assert after["shared"] < 48
    assert (after["out"], narrower.output_shape) == (4, model.output_shape)
    assert len(narrower.layers) == len(model.layers)
    silence(model, narrower)
    expected = model(pictures, training=False).numpy()
    np.testing.assert_allclose(
        narrower(pictures, training=False).numpy(), expected, atol=2e-5 * np.abs(expected).max()
    )


def test_rows_of_pixels_are_followed_there_and_back() -> None:
    """As BiFPN doubles a map: (h, w, c) to (h, w c) and to pixels again."""
    inputs = keras.Input((4, 4, 3), name="image")
    x = layers.Conv2D(32, 1, name="first")(inputs)
    x = fpn.doubled(x, (8, 7), name="up")
    model = with_random_weights(keras.Model(inputs, layers.Conv2D(2, 1, name="last")(x)))
    narrower = prune_channels(model, macs=0.6, score="l1")
    assert widths(narrower)["first"] == 16
    pictures = pictures_for(model)
    silence(model, narrower)
    np.testing.assert_allclose(narrower(pictures), model(pictures), atol=1e-5)


# Of other tasks than classification: with shared heads, skips, transposed convolutions.
PLACED = {
    "ssdlite_mobilenet_v2": {"alpha": 0.35},
    "unet": {"width": 16, "norm": True},
    "unet_mobilenet_v2": {"alpha": 0.35, "upsample": "transposed"},
    "efficientdet_lite0": {},
}


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(*item, marks=pytest.mark.slow if item[0] != "unet" else ()) for item in
     PLACED.items()],
)  # fmt: skip
def test_removed_channels_of_detectors_and_u_nets_are_as_good_as_zero(
    name: str, options: dict
) -> None:
    model = with_random_weights(
        kerascnn.build(name, input_shape=(64, 64, 3), classes=CLASSES, **options)
    )
    narrower = prune_channels(model, macs=0.5, score="norm")
    assert 0.45 < count_macs(narrower) / count_macs(model) <= 0.5
    pictures = pictures_for(model)
    whole = keras.tree.flatten(model(pictures, training=False))
    silence(model, narrower)
    expected = keras.tree.flatten(model(pictures, training=False))
    found = keras.tree.flatten(narrower(pictures, training=False))
    assert any(np.abs(one - other).max() > 1e-3 for one, other in zip(whole, expected, strict=True))
    for one, other in zip(found, expected, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=5e-5 * scale)


def test_models_without_graph_or_size_are_refused() -> None:
    with pytest.raises(InputError, match="functional"):
        prune_channels(keras.Sequential([layers.Dense(2)]), macs=0.5, score="l1")
    inputs = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 1)(inputs))
    with pytest.raises(InputError, match="no fixed image size"):
        prune_channels(keras.Model(inputs, layers.Dense(2)(x)), macs=0.5, score="l1")


def test_a_layer_that_another_model_shares_is_no_hindrance() -> None:
    model = conv_net(32, norm=True)
    other = keras.Input((16, 16, 3))
    model.get_layer("conv1")(other)
    narrower = prune_channels(model, macs=0.5, score="norm")
    assert narrower.get_layer("conv1").filters == 16
