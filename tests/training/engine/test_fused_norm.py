"""The fused batch norm: Keras' values, gradients and moving averages, and its very variables."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerascnn import blocks
from training.engine.fused_norm import FusedBatchNormalization, with_fused_norms


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = inputs = blocks.picture_input((12, 12, 3))
    relu6 = blocks.Conventions(activation="relu6", norm_momentum=0.6)
    x = relu6.conv(x, 8, 3, name="stem")
    x = blocks.inverted_residual(x, relu6, expanded=24, filters=8, strides=2, name="stage1_block1")
    return keras.Model(inputs, blocks.classifier(x, 4, dropout=0.0), name="small")


def trained(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 2.0, (6, 12, 12, 3)).astype(np.float32)
    y = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 6)]
    optimizer = keras.optimizers.SGD(0.5)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    for _ in range(3):
        model.train_on_batch(x, y)
    return model


def test_a_twin_learns_what_the_model_learns() -> None:
    model = network()
    twin = with_fused_norms(model)
    kinds = [type(layer) for layer in twin.layers]
    assert kinds.count(FusedBatchNormalization) == 4
    assert layers.BatchNormalization not in kinds
    before = model.get_weights()
    trained(twin)
    for kept, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, old)
    trained(model)
    names = [weight.path.split("/", 1)[-1] for weight in model.weights]
    for name, one, two, old in zip(
        names, model.get_weights(), twin.get_weights(), before, strict=True
    ):
        moved = np.abs(one - old).max()
        assert moved > 1e-3, name
        np.testing.assert_allclose(two, one, rtol=0, atol=0.01 * moved, err_msg=name)


def test_half_precision_is_fused_too() -> None:
    inputs = keras.Input((6, 5, 3))
    half = keras.DTypePolicy("mixed_bfloat16")
    model = keras.Model(inputs, layers.BatchNormalization(momentum=0.5, dtype=half)(inputs))
    twin = with_fused_norms(model)
    x = np.random.default_rng(0).normal(2.0, 3.0, (4, 6, 5, 3)).astype(np.float32)
    with tf.GradientTape(persistent=True) as tape:
        own, fused = model(x, training=True), twin(x, training=True)
        losses = [tf.reduce_sum(tf.cast(one, tf.float32) ** 3) for one in (own, fused)]
    assert fused.dtype == tf.bfloat16
    # Of a number below 4 the next in bfloat16 is up to 2^-6 away.
    np.testing.assert_allclose(_floats(fused), _floats(own), rtol=0, atol=2**-6)
    for one, two in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(two, one, rtol=0.01)
    for loss, network in zip(losses, (model, twin), strict=True):
        assert all(grad is not None for grad in tape.gradient(loss, network.trainable_weights))
    # Normalised, the gradient of the scale is the sum of 3 y³, so 3 times the loss.
    gamma = tape.gradient(losses[1], twin.trainable_weights)[0]
    np.testing.assert_allclose(np.sum(gamma), 3 * losses[1], rtol=0.02)


def _floats(tensor: tf.Tensor) -> np.ndarray:
    return tf.cast(tensor, tf.float32).numpy()


def test_inference_is_keras_own_to_rounding() -> None:
    model = trained(network())
    twin = with_fused_norms(model)
    x = np.random.default_rng(1).normal(size=(2, 12, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(model(x, training=False), twin(x, training=False), atol=1e-6)


def test_where_norms_are_frozen_the_layers_in_front_do_their_work() -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="biased")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm_1")(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(name="norm_2")(x)
    x = layers.Conv2D(6, 1, activation="relu", name="active")(x)
    x = layers.BatchNormalization(name="norm_3")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.2, 1.2, w.shape).astype(np.float32) for w in model.weights])
    twin = with_fused_norms(model)
    pictures = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
    found = []
    for network in (model, twin):
        for number in (1, 2, 3):
            norm = network.get_layer(f"norm_{number}")
            norm.trainable = False
            norm.gamma.trainable = norm.beta.trainable = number != 2
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(pictures, training=True) ** 2)
        grads = tape.gradient(loss, network.trainable_weights)
        found.append({w.path: g for w, g in zip(network.trainable_weights, grads, strict=True)})
    own, folded = found
    assert [weight.path for weight in twin.weights] == [weight.path for weight in model.weights]
    assert own.keys() == folded.keys()
    assert len(own) == 11
    for path, grad in own.items():
        np.testing.assert_allclose(folded[path], grad, rtol=1e-4, err_msg=path)
    # What comes out of the layer in front is normalised already.
    for front, norm in (("biased", "norm_1"), ("depthwise", "norm_2")):
        ends = [
            keras.Model(network.inputs[0], network.get_layer(name).output)(pictures)
            for network, name in ((model, norm), (twin, front), (twin, norm))
        ]
        np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(ends[1], ends[2])
    active = [
        keras.Model(n.inputs[0], n.get_layer("active").output)(pictures) for n in (model, twin)
    ]
    np.testing.assert_allclose(active[1], active[0], rtol=1e-5)


def test_a_frozen_norm_follows_nothing() -> None:
    twin = with_fused_norms(network())
    norm = twin.get_layer("stem_norm")
    norm.trainable = False
    before = norm.get_weights()
    twin(np.ones((2, 12, 12, 3), np.float32), training=True)
    for now, old in zip(norm.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, old)
    assert np.any(twin.get_layer("stage1_block1_expand_norm").moving_mean.numpy() != 0)


def test_a_norm_of_vectors_is_keras_own() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.BatchNormalization()(inputs))
    twin = with_fused_norms(model)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(x, training=True), twin(x, training=True))
    for one, two in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"axis": 1}])
def test_other_norms_are_left_to_keras(options) -> None:
    inputs = keras.Input((4, 4, 3))
    twin = with_fused_norms(keras.Model(inputs, layers.BatchNormalization(**options)(inputs)))
    assert type(twin.layers[-1]) is layers.BatchNormalization
