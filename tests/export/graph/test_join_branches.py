"""A sum of linear branches is one convolution, and answers as the branches do."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers
from marks import IN_CI
from networks import with_random_weights
from zoo_networks import built, pictures_for

import kerascnn
from export.graph.fold_norm import fold_batch_norms
from export.graph.insert_norms import with_norms
from export.graph.join_branches import deployed, fold_leading_norms, join_branches
from training.engine.keras_files import without_values

# Branches of every kind, with each padding, at even and odd sizes.
NETWORKS = [
    pytest.param("mobileone_s1", {"alpha": 0.125, "input_shape": (75, 101, 3)}, marks=IN_CI),
    pytest.param("repvit_m0_9", {"alpha": 0.125, "input_shape": (32, 32, 3)}, marks=IN_CI),
    pytest.param(
        *("mobileone_s0", {"alpha": 0.125, "input_shape": (64, 64, 3)}), marks=pytest.mark.slow
    ),
    pytest.param(
        *("mobileone_s1", {"alpha": 0.125, "padding": "symmetric", "input_shape": (64, 64, 3)}),
        marks=pytest.mark.slow,
    ),
]


def answers(model: keras.Model, pictures: np.ndarray) -> np.ndarray:
    return np.asarray(model(pictures, training=False))


def assert_equal(
    model: keras.Model, other: keras.Model, pictures: np.ndarray | None = None
) -> None:
    pictures = pictures_for(model, 2) if pictures is None else pictures
    expected, got = answers(model, pictures), answers(other, pictures)
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 1e-3 * scale
    exact = expected.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=0, atol=(1e-11 if exact else 1e-5) * scale)


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_the_fused_form_is_the_builders_and_answers_alike(name: str, options: dict) -> None:
    # In double precision: deep networks of random kernels spread the rounding of single precision.
    model = built(name, dtype="float64", **options)
    weights = [np.array(weight) for weight in model.get_weights()]
    joined = deployed(model)
    assert not [x for x in joined.layers if "_conv1" in x.name and "stem" not in x.name]
    assert_equal(model, joined)
    if name == "repvit_m0_9":  # whose sums have norms behind them
        assert with_norms(joined, model, []) is joined
    folded = fold_batch_norms(joined)
    assert not [x for x in folded.layers if isinstance(x, layers.BatchNormalization)]
    fused = kerascnn.build(name, dtype="float64", classes=10, fused=True, **options)
    ours = {x.name: [w.shape for w in x.weights] for x in folded.layers if x.weights}
    assert ours == {x.name: [w.shape for w in x.weights] for x in fused.layers if x.weights}
    for layer in fused.layers:
        layer.set_weights(folded.get_layer(layer.name).get_weights() if layer.weights else [])
    assert_equal(model, fused)
    # Nothing is shared.
    folded.set_weights([0 * weight for weight in folded.get_weights()])
    assert all(map(np.array_equal, model.get_weights(), weights))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobileone_s1", "repvit_m0_9"])
def test_single_precision_is_near(name: str) -> None:
    model = built(name, alpha=0.125)
    assert_equal(model, deployed(model))


def convolution(x, size: int, name: str, *, strides: int = 1, padding: str = "same", filters=4):
    x = layers.Conv2D(filters, size, strides, padding=padding, name=name)(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def padded(x, name: str, strides: int):
    x = layers.ZeroPadding2D(((2, 1), (0, 3)), name=f"{name}_pad")(x)
    return layers.Conv2D(4, (4, 4), strides, name=name)(x)


def strided(x):
    return layers.Add(name="sum")([convolution(x, k, f"c{k}", strides=2) for k in (1, 3, 4, 5)])


def far_padding(x):
    # 9 x 12 pixels: both give 9 x 12.
    return layers.Add(name="sum")([padded(x, "a", 1), convolution(x, 2, "b")])


def far_strided_padding(x):
    return layers.Add(name="sum")([padded(x, "a", 2), convolution(x, 3, "b", strides=2)])


def oblong(x):
    return layers.Add(name="sum")([
        layers.Conv2D(4, (1, 5), padding="same", name="wide")(x),
        layers.Conv2D(4, (3, 1), padding="same", name="high")(x), x,
    ])  # fmt: skip


def nested(x):
    inner = layers.Add(name="inner")([convolution(x, 3, "a"), convolution(x, 1, "b")])
    return layers.Add(name="sum")([layers.BatchNormalization(name="c")(inner), x])


def normed(x):
    y = layers.BatchNormalization(name="first")(x)
    return layers.Add(name="sum")(
        [layers.BatchNormalization(name="again")(y), convolution(x, 3, "a")]
    )


def depthwise(x):
    return layers.Add(name="sum")([
        layers.DepthwiseConv2D(5, padding="same", name="five")(x),
        layers.DepthwiseConv2D(1, use_bias=False, name="one")(x),
        layers.BatchNormalization(name="norm")(x), x,
    ])  # fmt: skip


WHOLE: list[Callable] = [
    strided, far_padding, far_strided_padding, oblong, nested, normed, depthwise,
]  # fmt: skip


def network(body: Callable, side=(9, 12)) -> keras.Model:
    inputs = keras.Input((*side, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.Activation("tanh", name="end")(body(x))
    return with_random_weights(keras.Model(inputs, x, name="net"))


def kinds(model: keras.Model) -> list[str]:
    return [type(x).__name__ for x in model.layers if x.name not in ("image", "stem", "end")]


@pytest.mark.parametrize("body", WHOLE)
@pytest.mark.parametrize("side", [(9, 12), (8, 8)])
def test_a_sum_of_one_tensor_becomes_one_convolution(body: Callable, side) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        model = network(body, side)
    finally:
        keras.config.set_dtype_policy(before)
    joined = join_branches(model)
    found = [kind for kind in kinds(joined) if kind != "ZeroPadding2D"]
    assert found in (["Conv2D"], ["DepthwiseConv2D"])
    assert joined.get_layer("sum").use_bias
    assert_equal(model, joined)


def test_what_same_gives_needs_no_padding_of_its_own() -> None:
    assert kinds(join_branches(network(strided, (8, 8)))) == ["Conv2D"]


def test_terms_of_other_tensors_stay_in_the_sum() -> None:
    def body(x):
        y = layers.Conv2D(4, 1, activation="relu", name="other")(x)
        terms = [convolution(x, 3, "a"), y, convolution(x, 1, "b"), convolution(y, 3, "c"), y]
        return layers.Add(name="sum")(terms)

    model = network(body)
    joined = join_branches(model)
    assert_equal(model, joined)
    assert {"sum", "sum_branches", "sum_branches1", "other"} == {
        x.name for x in joined.layers
    } - {"image", "stem", "end"}  # fmt: skip


def watched(x):
    y = convolution(x, 3, "a")
    return layers.Multiply(name="m")([layers.Add(name="sum")([y, x]), y])


def bent(x):
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(x)
    return layers.Add(name="sum")([y, x])


def shared(x):
    conv = layers.Conv2D(4, 3, padding="same", name="a")
    return layers.Add(name="sum")([conv(x), conv(x)])


def grouped(x):
    return layers.Add(name="sum")([
        layers.Conv2D(4, 3, padding="same", groups=2, name="a")(x), x,
    ])  # fmt: skip


def dilated(x):
    y = layers.Conv2D(4, 3, padding="same", dilation_rate=2, name="a")(x)
    return layers.Add(name="sum")([y, x])


def unlike(x):
    y = layers.DepthwiseConv2D(3, padding="same", name="a")(x)
    return layers.Add(name="sum")([y, layers.Conv2D(4, 1, name="b")(x)])


def spread(x):
    y = layers.Conv2D(4, (9, 12), name="a")(x)
    return layers.Add(name="sum")([y, x])


@pytest.mark.parametrize("body", [watched, bent, shared, grouped, dilated, unlike, spread])
def test_what_is_no_single_convolution_is_left_as_it_is(body: Callable) -> None:
    model = network(body)
    assert join_branches(model) is model


def test_images_of_any_size_are_joined_where_windows_do_not_stride() -> None:
    model = network(oblong, (None, None))
    joined = join_branches(model)
    assert kinds(joined) == ["Conv2D"]
    pictures = np.random.default_rng(0).normal(0, 1, (2, 7, 11, 3)).astype("float32")
    assert_equal(model, joined, pictures)
    strides = network(strided, (None, None))
    assert join_branches(strides) is strides


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v2", {"alpha": 0.35}),
        ("mobilenet_v4_conv_small", {"alpha": 0.25}),
        ("resnet18", {"width": 0.25}),
        ("googlenet", {}),
        ("unet", {"width": 4, "depth": 2}),
    ],
)
def test_networks_without_branches_are_themselves(name: str, options: dict) -> None:
    with without_values():
        model = kerascnn.build(name, input_shape=(32, 32, 3), classes=10, **options)
    assert deployed(model) is model


def test_a_norm_before_dense_layers_goes_into_them() -> None:
    inputs = keras.Input((6,), name="image")
    x = layers.Activation("tanh", name="bent")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    heads = [layers.Dense(3, use_bias=bias, name=f"head{bias}")(x) for bias in (False, True)]
    x = layers.Concatenate(name="both")(heads)
    model = with_random_weights(keras.Model(inputs, x, name="net"))
    folded = fold_leading_norms(model)
    assert "norm" not in {x.name for x in folded.layers}
    assert_equal(model, folded)


def test_a_norm_that_others_read_stays() -> None:
    inputs = keras.Input((6,), name="image")
    x = layers.BatchNormalization(name="norm")(layers.Activation("tanh", name="bent")(inputs))
    model = keras.Model(inputs, layers.Add(name="sum")([layers.Dense(6, name="a")(x), x]))
    assert fold_leading_norms(model) is model


def test_norms_are_measured_where_branches_had_some() -> None:
    def body(x):
        x = layers.Activation("relu", name="act")(strided(x))
        terms = [convolution(x, 3, "first"), layers.BatchNormalization(name="second")(x)]
        return layers.Add(name="again")(terms)

    model = network(body, (8, 8))
    joined = join_branches(model)
    pictures = pictures_for(model, 4)
    normed = with_norms(joined, model, [pictures[:2], pictures[2:]])
    assert [x.name for x in normed.layers if isinstance(x, layers.BatchNormalization)] == [
        "sum_norm", "again_norm",
    ]  # fmt: skip
    assert not normed.get_layer("sum").use_bias
    assert_equal(model, normed)
    # The statistics of these images are those that were measured.
    training = np.asarray(normed(pictures, training=True))
    np.testing.assert_allclose(training, answers(model, pictures), atol=1e-4)


def test_a_convolution_that_has_its_norm_gets_no_other() -> None:
    model = network(lambda x: layers.BatchNormalization(name="behind")(oblong(x)))
    joined = join_branches(model)
    assert kinds(joined) == ["Conv2D", "BatchNormalization"]
    assert with_norms(joined, model, []) is joined
