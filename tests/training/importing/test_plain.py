"""Models that were built in any way, as plain networks with equal answers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from networks import with_random_norms

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.importing import graph as graphs
from training.importing.plain import PlainNetwork, plain

SIZE = 32
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
CAFFE = {"mean": (103.939, 116.779, 123.68), "std": 1.0, "order": "bgr"}


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def bytes_of_noise(height: int = SIZE, width: int = SIZE, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (2, height, width, channels), np.uint8)


def answers(found: PlainNetwork, images: np.ndarray) -> np.ndarray:
    """Of bytes, after the activation."""
    given = found.preprocessing.normalise(images) if found.preprocessing else images
    logits = found.model(given.astype(np.float32), training=False)
    function = getattr(keras.ops, found.activation) if found.activation else np.asarray
    return np.asarray(function(logits))


def require_plain(network: keras.Model) -> None:
    names = [layer.name for layer in network.layers]
    assert not [layer for layer in network.layers if isinstance(layer, keras.Model)]
    assert len(set(names)) == len(names)
    assert "logits" in names
    assert "stem" in names
    assert len(network.output_shape) == 2


def features(size: int | None = SIZE) -> keras.Model:
    """A small backbone with norms, dropout and a residual, of the depth two of nesting."""
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(6.0, name="relu")(x)
    inner = keras.Sequential([
        layers.Conv2D(8, 1, name="conv"), layers.BatchNormalization(name="norm"),
        layers.Dropout(0.2, noise_shape=(None, 1, 1, 1)),
    ], name="inner")  # fmt: skip
    x = layers.Add(name="add")([x, inner(x)])
    model = keras.Model(inputs, x, name="backbone")
    with_random_norms(inner)
    return with_random_norms(model)


def transfer(front, classes: int = 4, activation: str | None = "softmax") -> keras.Model:
    """As the guides of Keras make one."""
    base = features()
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)], name="augment")(inputs)
    x = base(front(x), training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    outputs = layers.Dense(classes, activation=activation, name="predictions")(x)
    return keras.Model(inputs, outputs, name="transfer")


FRONTS = {
    "mobilenet_v2": (keras.applications.mobilenet_v2.preprocess_input,
                     {"mean": 127.5, "std": 127.5}),
    "resnet": (keras.applications.resnet.preprocess_input, CAFFE),
    "densenet": (keras.applications.densenet.preprocess_input, IMAGENET),
    "rescaling": (layers.Rescaling(1 / 127.5, offset=-1), {"mean": 127.5, "std": 127.5}),
    "by_channel": (
        layers.Rescaling([1 / 51, 1 / 85, 1 / 255], [-1.0, 0.0, -0.5]),
        {"mean": (51.0, 0.0, 127.5), "std": (51.0, 85.0, 255.0)},
    ),
    "two": (
        lambda x: layers.Normalization(mean=[0.485, 0.456, 0.406],
                                       variance=[0.229**2, 0.224**2, 0.225**2])(
            layers.Rescaling(1 / 255)(x)),
        IMAGENET,
    ),
    # What makes small numbers larger was fed with small ones.
    "from_0_1": (
        layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2]),
        IMAGENET,
    ),
    "to_bytes": (layers.Rescaling(127.5, offset=127.5), {"mean": 0.0, "std": 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", FRONTS)
def test_a_transfer_learning_model_becomes_one_graph_from_bytes_to_logits(name):
    front, wanted = FRONTS[name]
    model = transfer(front)

    found = plain(model)

    require_plain(found.model)
    assert found.activation == "softmax"
    if name == "to_bytes":
        assert found.preprocessing is None
    else:
        assert found.preprocessing == Preprocessing(
            height=SIZE, width=SIZE, channels=3, resize="stretch", **wanted
        )
    images = bytes_of_noise()
    outside = {"from_0_1": lambda x: x / 255, "to_bytes": lambda x: x / 127.5 - 1}.get(name, float)
    given = images.astype(np.float32)
    given = given if outside is float else outside(given)
    difference = np.abs(answers(found, images) - np.asarray(model(given, training=False)))
    assert difference.max() < 1e-5
    kinds = {type(layer).__name__ for layer in found.model.layers}
    assert kinds == {
        "InputLayer", "Conv2D", "BatchNormalization", "ReLU", "Dropout", "Add",
        "GlobalAveragePooling2D", "Dense",
    }  # fmt: skip


def test_weights_names_and_flags_are_those_of_the_layers_inside():
    model = transfer(layers.Rescaling(1 / 127.5, offset=-1))
    found = plain(model).model
    base = model.get_layer("backbone")
    pairs = {
        "stem": base.get_layer("conv"),
        "norm": base.get_layer("norm"),
        "inner_conv": base.get_layer("inner").get_layer("conv"),
        "inner_norm": base.get_layer("inner").get_layer("norm"),
        "logits": model.get_layer("predictions"),
    }
    for name, layer in pairs.items():
        ours = found.get_layer(name)
        assert ours is not layer
        assert ours.trainable == layer.trainable
        for one, other in zip(ours.get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not found.get_layer("stem").trainable
    assert found.get_layer("logits").trainable


def test_a_wrong_weight_is_noticed(monkeypatch):
    model = transfer(layers.Rescaling(1 / 127.5, offset=-1))
    fill = graphs.fill

    def spoilt(step, operation, *change):
        fill(step, operation, *change)
        if operation.name == "inner_conv":
            operation.set_weights([one + 1e-2 for one in operation.get_weights()])

    monkeypatch.setattr(graphs, "fill", spoilt)
    with pytest.raises(InputError, match=r"differ by 0\.\d+ on an image of noise"):
        plain(model)
