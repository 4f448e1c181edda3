"""A network without shared layers answers as the one with them, and every tool takes it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from networks import with_random_norms

from export.graph.fold_norm import fold_batch_norms
from export.graph.legacy_keras import to_tf_keras
from export.graph.lower import lower_for_int8, with_raw_input
from export.graph.unshare import unshared
from kerascnn.detection import fpn
from kerascnn.preprocessing import Preprocessing

SIDE, CLASSES, ANCHORS = 48, 3, 2


def toy(*, background: bool = False, activation: str = "relu6", seed: int = 0) -> keras.Model:
    """A detector of two levels with EfficientDet's parts: shared heads, norms of each level."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = _normed(layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(inputs), activation)
    depthwise = layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")
    x = _normed(depthwise(x), activation)
    fine = _normed(layers.Conv2D(16, 3, strides=2, padding="same", name="p3")(x), activation)
    # Of 6 and 3 cells a side.
    coarse = layers.MaxPooling2D(3, strides=2, padding="same", name="p4")(fine)
    fine = layers.Add(name="add")([fine, fpn.doubled(coarse, fine.shape[1:3], name="coarse")])
    boxes = _head([fine, coarse], 4, activation, "boxes")
    logits = _head([fine, coarse], CLASSES + background, activation, "logits")
    return with_random_norms(keras.Model(inputs, [boxes, logits], name="toy"), seed)


def _head(maps, values: int, activation: str, name: str):
    shared = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"{name}_conv")
    last = layers.Conv2D(ANCHORS * values, 1, name=f"{name}_predict")
    rows = []
    for level, x in zip(("p3", "p4"), maps, strict=True):
        y = last(_normed(shared(x), activation, f"{name}_{level}"))
        rows.append(layers.Reshape((-1, values), name=f"{name}_{level}_rows")(y))
    return layers.Concatenate(axis=1, name=name)(rows)


def _normed(x, activation: str, name: str | None = None):
    name = name or x._keras_history.operation.name
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.Activation(activation, name=f"{name}_act")(x)


def pictures(count: int = 2) -> np.ndarray:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


def answers(model, x: np.ndarray) -> list[np.ndarray]:
    outputs = model(x, training=False)
    assert isinstance(outputs, list)
    return [np.asarray(output) for output in outputs]


def assert_close(model, twin, x: np.ndarray) -> None:
    for wanted, got in zip(answers(model, x), answers(twin, x), strict=True):
        assert np.abs(wanted[0] - wanted[1]).max() > 1e-2 * np.abs(wanted).max()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


def test_every_call_has_a_layer_and_the_bits_are_equal() -> None:
    model = toy()
    before = [np.array(weight) for weight in model.get_weights()]
    twin = unshared(model)
    assert twin.output_names == ["boxes", "logits"]
    for wanted, got in zip(answers(model, pictures()), answers(twin, pictures()), strict=True):
        assert np.array_equal(got, wanted)
    names = [layer.name for layer in twin.layers]
    assert len(set(names)) == len(names)
    assert {layer.name for layer in model.layers} < set(names)
    later = [name for name in names if "_call" in name]
    assert sorted(later) == sorted(
        f"{head}_{role}_call2" for head in ("boxes", "logits") for role in ("conv", "predict")
    )
    # By the order of the calls, not of the run: the second level is the second call.
    assert twin.get_layer("boxes_conv_call2").output.shape[1] == 3
    # Nothing is shared with the model.
    twin.set_weights([0 * weight for weight in twin.get_weights()])
    assert all(map(np.array_equal, model.get_weights(), before))


def test_a_network_without_shared_layers_is_returned_as_it_is() -> None:
    twin = unshared(toy())
    assert unshared(twin) is twin


def test_calls_by_another_model_do_not_count() -> None:
    model = unshared(toy())
    keras.Model(model.input, model(model.input))
    keras.Model(model.input, layers.Activation("sigmoid")(model.get_layer("p4")(model.input)))
    assert unshared(model) is model


@pytest.mark.parametrize("activation", ["relu6", "hard_silu"])
def test_folding_and_lowering_keep_two_outputs(activation: str) -> None:
    model = unshared(toy(activation=activation))
    folded = fold_batch_norms(model)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)
    assert_close(model, folded, pictures())
    lowered = lower_for_int8(folded)
    assert lowered.output_names == ["boxes", "logits"]
    assert_close(model, lowered, pictures())


def test_raw_input_keeps_two_outputs() -> None:
    model = unshared(toy())
    preprocessing = Preprocessing(
        height=SIDE, width=SIDE, channels=3, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0)
    )
    twin, raw = with_raw_input(model, preprocessing)
    some = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    wanted = answers(model, preprocessing.normalise(some))
    for one, other in zip(answers(twin, raw.normalise(some)), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("activation", ["relu6", "hard_silu"])
def test_the_tf_keras_twin_answers_to_the_last_bit(activation: str) -> None:
    model = lower_for_int8(unshared(toy(activation=activation)))
    for wanted, got in zip(
        answers(model, pictures()), answers(to_tf_keras(model), pictures()), strict=True
    ):
        assert np.array_equal(got, wanted)
