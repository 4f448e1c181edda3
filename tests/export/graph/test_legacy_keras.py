"""The tf_keras twin answers as the Keras 3 model does, to the last bit."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers
from marks import marks_of
from zoo_networks import NETWORKS, built, pictures_for

import kerascnn
from export.graph.legacy_keras import bring_back, to_tf_keras
from export.graph.lower import lower_for_int8
from kerascnn.errors import InputError

LONG: dict[str, dict] = {f"efficientnet_lite{i}": {"width": 0.25} for i in range(1, 5)}
# Of the blocks that these have, others are here too.
SLOW = {"vgg16", "googlenet", "resnet50", "mobilenet_v1", "mobilenet_v3_large", *LONG}
SLOW |= {"efficientnet_b0", "efficientnet_lite0", "efficientnet_v2_b0", "unet_mobilenet_v2"}
CI_ALONE = {"mobilenet_v2", "mobilenet_v3_small"}


def answers(model, pictures: np.ndarray) -> np.ndarray:
    return np.asarray(model(pictures, training=False))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(*item, marks=marks_of(item[0], ci=CI_ALONE, slow=SLOW))
        for item in (NETWORKS | LONG).items()
    ],
)
def test_a_twin_answers_to_the_last_bit(name: str, options: dict) -> None:
    model = built(name, **options)
    twin = to_tf_keras(model)
    pictures = pictures_for(model)
    expected = answers(model, pictures)
    # A network that forgets its picture would be no test.
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * np.abs(expected).max()
    assert np.array_equal(answers(twin, pictures), expected)
    assert {layer.name for layer in model.layers} <= {layer.name for layer in twin.layers}
    assert twin.count_params() - draws(twin) == model.count_params()


def draws(twin: tf_keras.Model) -> int:
    """Counters of the twin's dropouts, which the model has not."""
    return sum(hasattr(layer, "draws") for layer in twin.layers)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=marks_of(n, ci={"mobilenet_v3_small"}, slow={"efficientnet_b0"}))
        for n in ("lenet5", "mobilenet_v3_small", "efficientnet_b0")
    ],
)
def test_a_lowered_network_has_a_twin(name: str) -> None:
    model = lower_for_int8(built(name, **NETWORKS[name]))
    pictures = pictures_for(model)
    assert np.array_equal(answers(to_tf_keras(model), pictures), answers(model, pictures))


def test_weights_come_back_and_are_no_others() -> None:
    model = built("mobilenet_v1", alpha=0.25)
    twin = to_tf_keras(model)
    before, pictures = answers(model, pictures_for(model)), pictures_for(model)
    twin.set_weights([1.25 * weight for weight in twin.get_weights()])
    assert np.array_equal(answers(model, pictures), before)
    expected = answers(twin, pictures)
    assert not np.array_equal(expected, before)
    bring_back(twin, model)
    assert np.array_equal(answers(model, pictures), expected)


def test_weights_of_another_network_do_not_come_back() -> None:
    model, inputs = built("lenet5", input_shape=(32, 32, 1)), keras.Input((4,))
    other = keras.Model(inputs, layers.Dense(2)(inputs))
    with pytest.raises(ValueError, match="No such layer"):
        bring_back(to_tf_keras(other), model)
    with pytest.raises(ValueError, match="shape"):
        bring_back(to_tf_keras(built("lenet5", input_shape=(32, 32, 1), classes=7)), model)


def test_frozen_layers_stay_frozen() -> None:
    model = built("lenet5", input_shape=(32, 32, 1))
    model.get_layer("head").trainable = False
    twin = to_tf_keras(model)
    learning = {layer.name for layer in twin.layers if layer.trainable_variables}
    assert learning == {"stem", "stage2_block1_conv", "stage3_block1_conv", "logits"}
    assert len(twin.trainable_variables) == 8


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (layers.GaussianNoise(0.1, name="odd"), "GaussianNoise"),
        (layers.LayerNormalization(name="odd"), "LayerNormalization"),
        (layers.PReLU(name="odd"), "PReLU"),
    ],
)
def test_a_layer_without_a_twin_is_named(layer: keras.Layer, kind: str) -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Flatten()(layer(inputs)), name="net")
    with pytest.raises(InputError, match=rf"net: layer 'odd' is a {kind}.*no twin"):
        to_tf_keras(model)


def test_the_original_alexnet_has_no_twin() -> None:
    model = kerascnn.build("alexnet", input_shape=(67, 67, 3), classes=10, towers=2)
    with pytest.raises(InputError, match=r"alexnet: layer '\w+' is a LocalResponseNormalization"):
        to_tf_keras(model)


def test_models_within_are_flattened() -> None:
    inputs = keras.Input((8, 8, 3))
    body = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu", name="inner"),
            layers.BatchNormalization(name="norm"),
        ],
        name="body",
    )
    x = layers.GlobalAveragePooling2D(name="pool")(body(inputs))
    model = keras.Model(inputs, layers.Dense(5, name="logits")(x), name="net")
    twin = to_tf_keras(model)
    names = ["inner", "inner_activation", "norm", "pool", "logits"]
    assert [layer.name for layer in twin.layers[1:]] == names
    pictures = pictures_for(model)
    assert np.array_equal(answers(twin, pictures), answers(model, pictures))


def test_a_layer_called_twice_is_one_layer() -> None:
    inputs = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", activation="tanh", name="shared")
    x = layers.Flatten(name="flat")(shared(shared(inputs)))
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x), name="net")
    twin = to_tf_keras(model)
    assert twin.count_params() == model.count_params()
    pictures = pictures_for(model)
    assert np.array_equal(answers(twin, pictures), answers(model, pictures))


def test_wrap_and_entrance_take_their_places() -> None:
    model = built("lenet5", input_shape=(32, 32, 1))
    seen = []

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        seen.append((layer.name, bool(layer.get_weights())))
        return layer

    entrance = tf_keras.layers.Rescaling(2.0, name="entrance")
    twin = to_tf_keras(model, wrap=wrap, entrance=entrance)
    assert dict(seen)["stage2_block1_conv"]
    assert [name for name, _ in seen] == [layer.name for layer in model.layers[1:]]
    pictures = pictures_for(model)
    assert np.array_equal(answers(twin, pictures), answers(model, 2 * pictures))


def test_dropout_draws_anew_each_time_and_goes_on_after_a_checkpoint() -> None:
    inputs = keras.Input((64, 64, 2))
    x = layers.Dropout(0.25, name="single")(inputs)
    x = layers.Dropout(0.5, noise_shape=(None, 1, 1, 1), name="path")(x)
    model = keras.Model(inputs, x, name="net")
    keras.utils.set_random_seed(0)
    twin = to_tf_keras(model)
    ones = np.ones((32, 64, 64, 2), np.float32)
    assert np.array_equal(answers(twin, ones), ones)
    first = np.asarray(twin(ones, training=True))
    state = twin.get_weights()
    second = np.asarray(twin(ones, training=True))
    assert not np.array_equal(first, second)
    # Whole pictures by the one, single values by the other; what is left makes up for them.
    shares = (first.reshape(32, -1) == 0).mean(axis=1)
    whole = shares == 1
    assert 4 < whole.sum() < 28
    assert np.allclose(shares[~whole], 0.25, atol=0.03)
    assert np.allclose(first[first > 0], 1 / 0.75 / 0.5)
    keras.utils.set_random_seed(0)
    other = to_tf_keras(model)
    other.set_weights(state)
    assert np.array_equal(np.asarray(other(ones, training=True)), second)
