"""A network without shared layers answers as the one with them, and every tool takes it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from shared_heads import SIDE, answers, pictures, toy

from export.compress.reconstruct.network import with_bare_layers
from export.graph.fold_norm import fold_batch_norms
from export.graph.legacy_keras import to_tf_keras
from export.graph.lower import lower_for_int8, with_raw_input
from export.graph.unshare import unshared
from kerascnn.preprocessing import Preprocessing


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


def test_operations_of_an_imported_network_stay() -> None:
    """As hard-swish of keras.applications' MobileNetV3: x * relu6(x + 3) / 6."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(x)
    x = layers.Multiply(name="swish")([x, layers.ReLU(6.0, name="gate")(x + 3.0) * (1.0 / 6.0)])
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x), name="operations")
    preprocessing = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.5, std=127.5)
    twin, raw = with_raw_input(lower_for_int8(model), preprocessing)
    some = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    wanted = np.asarray(model(preprocessing.normalise(some)))
    for one in (twin, with_bare_layers(twin)):
        found = np.asarray(one(raw.normalise(some)))
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
