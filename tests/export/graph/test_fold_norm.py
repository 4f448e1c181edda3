"""Folded batch norms change no answer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from marks import marks_of
from networks import with_random_weights
from zoo_networks import NETWORKS, built, pictures_for

from export.graph.fold_norm import fold_batch_norms


def norms(model: keras.Model) -> list[str]:
    return [x.name for x in model.layers if isinstance(x, layers.BatchNormalization)]


def answers(model: keras.Model, pictures: np.ndarray) -> np.ndarray:
    return np.asarray(model(pictures, training=False))


def assert_equal(model: keras.Model, folded: keras.Model) -> None:
    pictures = pictures_for(model)
    expected, got = answers(model, pictures), answers(folded, pictures)
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * scale
    exact = expected.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=0, atol=(1e-9 if exact else 2e-5) * scale)


SLOW = {"vgg16", "resnet50", "efficientnet_v2_b0", "mobilenet_v3_large", "unet_mobilenet_v2"}
CI_ALONE = {"googlenet", "efficientnet_b0", "mobilenet_v2"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(*item, marks=marks_of(item[0], ci=CI_ALONE, slow=SLOW))
        for item in NETWORKS.items()
    ],
)
def test_no_norm_is_left_and_answers_are_equal(name: str, options: dict) -> None:
    # In double precision: how far a deep network of random kernels spreads the rounding of single
    # precision depends on the processor.
    model = built(name, dtype="float64", **options)
    weights = [np.array(weight) for weight in model.get_weights()]
    folded = fold_batch_norms(model)
    assert not norms(folded)
    kept = [layer.name for layer in model.layers if layer.name not in norms(model)]
    assert [layer.name for layer in folded.layers] == kept
    assert_equal(model, folded)
    # Nothing is shared.
    folded.set_weights([0 * weight for weight in folded.get_weights()])
    assert all(map(np.array_equal, model.get_weights(), weights))


def network(body) -> keras.Model:
    inputs = keras.Input((8, 8, 4))
    x = layers.GlobalAveragePooling2D(name="pool")(body(inputs))
    return with_random_weights(keras.Model(inputs, layers.Dense(5, name="logits")(x), name="net"))


def norm(name: str = "norm", **options) -> layers.Layer:
    return layers.BatchNormalization(name=name, **options)


def conv(name: str = "conv", **options) -> layers.Layer:
    return layers.Conv2D(6, 3, name=name, **options)


@pytest.mark.parametrize(
    "body",
    [
        lambda x: norm(epsilon=0.1)(conv()(x)),
        lambda x: norm()(conv(use_bias=False)(x)),
        lambda x: norm()(layers.DepthwiseConv2D(3, depth_multiplier=3, name="multiplied")(x)),
        lambda x: norm()(layers.Conv2D(8, 3, groups=2, padding="same", name="grouped")(x)),
        lambda x: norm()(layers.Dense(6, name="dense")(x)),
        lambda x: norm()(layers.Conv2DTranspose(6, 2, strides=2, name="up")(x)),
        lambda x: layers.Add()([norm("a")(conv("one")(x)), norm("b")(conv("two")(x))]),
    ],
)
def test_it_goes_into_every_linear_layer(body) -> None:
    model = network(body)
    folded = fold_batch_norms(model)
    assert not norms(folded)
    assert all(x.use_bias for x in folded.layers if isinstance(x, layers.Conv2D | layers.Dense))
    assert_equal(model, folded)


@pytest.mark.parametrize(("scale", "center"), [(False, True), (True, False), (False, False)])
def test_without_scale_or_offset(scale: bool, center: bool) -> None:
    x = inputs = keras.Input((8, 8, 4))
    x = layers.Flatten()(norm(scale=scale, center=center)(conv()(x)))
    model = keras.Model(inputs, layers.Dense(5, name="logits")(x), name="net")
    rng = np.random.default_rng(0)
    *rest, mean, variance = model.get_layer("norm").get_weights()
    model.get_layer("norm").set_weights([
        *rest, rng.normal(0, 1, mean.shape), rng.uniform(0.5, 2, variance.shape)
    ])  # fmt: skip
    folded = fold_batch_norms(model)
    assert not norms(folded)
    assert_equal(model, folded)


def read_twice(x):
    x = conv()(x)
    return layers.Add()([norm()(x), x])


def called_twice(x):
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    return norm()(shared(shared(x)))


@pytest.mark.parametrize(
    "body",
    [
        norm(),
        lambda x: norm()(layers.MaxPooling2D()(x)),
        lambda x: norm()(conv(activation="relu")(x)),
        lambda x: norm()(layers.Add()([conv("one")(x), conv("two")(x)])),
        read_twice,
        called_twice,
    ],
)
def test_what_cannot_be_folded_stays(body) -> None:
    model = network(body)
    folded = fold_batch_norms(model)
    assert norms(folded) == ["norm"]
    assert_equal(model, folded)


def test_a_second_norm_stays() -> None:
    model = network(lambda x: norm("second")(norm("first")(conv()(x))))
    folded = fold_batch_norms(model)
    assert norms(folded) == ["second"]
    assert_equal(model, folded)
