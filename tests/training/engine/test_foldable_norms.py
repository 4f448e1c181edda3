"""Norms behind linear layers: which they are, and that no channel is amplified more than others."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from training.engine.foldable_norms import even_gains, foldable_norms


def network() -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(5, 3, name="biased")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm_1")(x))
    x = layers.DepthwiseConv2D(2, depth_multiplier=2, use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(name="norm_2")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2, name="transposed")(x)
    x = layers.BatchNormalization(scale=False, name="norm_3")(x)
    x = layers.Conv2D(4, 1, activation="relu", name="active")(x)
    x = layers.BatchNormalization(name="norm_4")(x)
    x = layers.Dense(3, name="dense")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.BatchNormalization(name="norm_5")(x))


def test_no_channel_is_amplified_more_than_the_median_and_answers_stay() -> None:
    model = network()
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.2, 1.2, w.shape).astype(np.float32) for w in model.weights])
    pairs = foldable_norms(model)
    fronts = {norm: linear.name for norm, (_, linear) in pairs.items()}
    assert fronts == {
        "norm_1": "biased",
        "norm_2": "depthwise",
        "norm_3": "transposed",
        "norm_5": "dense",
    }
    for norm, _ in pairs.values():
        dead = np.array(norm.moving_variance)
        dead[0] = 0.0
        norm.moving_variance.assign(dead)
    pictures = rng.normal(size=(4, 6, 6, 3)).astype(np.float32)
    before, gains_before = (
        keras.ops.convert_to_numpy(model(pictures)),
        [gains(norm) for norm, _ in pairs.values()],
    )
    others = model.get_layer("norm_4").get_weights()
    even_gains(model, but=("norm_3",))
    np.testing.assert_array_equal(gains(model.get_layer("norm_3")), gains_before.pop(2))
    del pairs["norm_3"]
    for (norm, _), old in zip(pairs.values(), gains_before, strict=True):
        middle = np.median(old)
        assert old.max() > 5 * middle
        np.testing.assert_allclose(gains(norm), np.minimum(old, middle), rtol=1e-4)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(pictures)), before, rtol=1e-3, atol=1e-4
    )
    for now, old in zip(model.get_layer("norm_4").get_weights(), others, strict=True):
        np.testing.assert_array_equal(now, old)


def test_a_norm_behind_two_layers_is_nobodys_alone() -> None:
    inputs = keras.Input((6, 6, 3))
    norm = layers.BatchNormalization()
    ends = [norm(layers.Conv2D(4, 3)(inputs)) for _ in range(2)]
    model = keras.Model(inputs, layers.Add()(ends))
    assert foldable_norms(model) == {}


def test_a_layer_whose_output_is_the_models_too_keeps_it() -> None:
    inputs = keras.Input((6, 6, 3))
    before = layers.Conv2D(4, 3)(inputs)
    behind = layers.BatchNormalization(name="norm")(before)
    assert foldable_norms(keras.Model(inputs, behind)).keys() == {"norm"}
    assert foldable_norms(keras.Model(inputs, [before, behind])) == {}


def gains(norm: layers.BatchNormalization) -> np.ndarray:
    gamma = np.abs(np.asarray(norm.gamma)) if norm.scale else 1.0
    return gamma / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
