"""Files of Keras 2 become networks of Keras 3 with the same answers, and never run code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from kerascnn.errors import InputError
from training.engine.run import load_keras
from training.importing.legacy_h5 import read_legacy
from training.importing.plain import plain

old = tf_keras.layers
SIDE = 32


def randomised(model: tf_keras.Model) -> tf_keras.Model:
    """With norms, kernels and biases of which no two are the same."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if not layer.weights or hasattr(layer, "layers"):
            continue
        held = layer.get_weights()
        kernels = [rng.normal(0, np.sqrt(2 / max(1, one[..., 0].size)), one.shape) for one in held]
        if isinstance(layer, old.BatchNormalization):
            kernels[-1] = rng.uniform(0.5, 1.5, held[-1].shape)
        layer.set_weights(kernels)
    return model


def backbone() -> tf_keras.Model:
    """What networks of Keras 2 are made of: norms, hard-swish of operations, residuals."""
    inputs = tf_keras.Input((SIDE, SIDE, 3))
    x = old.ZeroPadding2D(((0, 1), (0, 1)))(inputs)
    x = old.Conv2D(8, 3, strides=2, use_bias=False, name="stem/conv")(x)
    x = old.BatchNormalization(name="norm")(x)
    x = old.Multiply()([x, old.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)])
    y = old.DepthwiseConv2D(3, padding="same", dilation_rate=2)(x)
    y = old.SeparableConv2D(8, 3, padding="same", activation="swish")(y)
    y = old.LeakyReLU(alpha=0.2)(old.LayerNormalization()(y))
    gate = old.GlobalAveragePooling2D(keepdims=True)(y)
    gate = old.Conv2D(8, 1, activation="hard_sigmoid", name="gate")(gate)
    outputs = old.Add()([x, y * gate])
    return tf_keras.Model(inputs, outputs, name="backbone")


def transfer(path: Path) -> tf_keras.Model:
    base = backbone()
    base.trainable = False
    inputs = tf_keras.Input((SIDE, SIDE, 3))
    x = tf_keras.Sequential([old.RandomFlip(), old.RandomRotation(0.1)], name="augment")(inputs)
    x = base(tf_keras.applications.mobilenet_v2.preprocess_input(x), training=False)
    x = old.Dropout(0.2)(old.GlobalAveragePooling2D()(x))
    outputs = old.Dense(4, activation="softmax", name="answers")(x)
    model = randomised(tf_keras.Model(inputs, outputs, name="transfer"))
    model.save(path)
    return model


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_transfer_learning_model_of_keras_2(tmp_path: Path) -> None:
    legacy = transfer(tmp_path / "model.h5")

    model = read_legacy(tmp_path / "model.h5")

    assert isinstance(model, keras.Model)
    images = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    wanted = legacy(images, training=False).numpy()
    assert np.ptp(wanted, axis=0).max() > 1e-3  # the images are told apart
    np.testing.assert_allclose(np.asarray(model(images, training=False)), wanted, atol=1e-6)
    base = model.get_layer("backbone")
    assert not base.get_layer("norm").trainable
    for name in ("stem/conv", "norm", "gate"):
        ours = base.get_layer(name.replace("/", "_")).get_weights()
        theirs = legacy.get_layer("backbone").get_layer(name).get_weights()
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    found = plain(model)
    assert (found.preprocessing.mean, found.preprocessing.std) == (127.5, 127.5)
    logits = found.model(found.preprocessing.normalise(images), training=False)
    np.testing.assert_allclose(np.asarray(keras.ops.softmax(logits)), wanted, atol=1e-5)


def changed(path: Path, change) -> Path:
    """The file with another config."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change({one["config"]["name"]: one for one in config["config"]["layers"]})
        file.attrs["model_config"] = json.dumps(config).encode()
    return path


def small(path: Path) -> Path:
    model = tf_keras.Sequential([
        tf_keras.Input((8, 8, 3)), old.Conv2D(4, 3, name="conv"), old.Flatten(name="flat"),
        old.Dense(3, name="answers"),
    ])  # fmt: skip
    model.save(path)
    return path


LAMBDA = {"class_name": "Lambda", "config": {"name": "flat", "function": ["4wE=", None, None]}}


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda of: of["flat"].update(LAMBDA), r"layer 'flat' \(Lambda\) is code"),
        (lambda of: of["conv"].update(module="os"), "'conv' is of the class Conv2D, which is code"),
        (lambda of: of["conv"].update(class_name="Swirl"), "Swirl"),
        (
            lambda of: of["flat"].update(
                class_name="TFOpLambda", config={"name": "flat", "function": "io.write_file"}
            ),
            r"layer 'flat' \(TFOpLambda\) calls tf.io.write_file",
        ),
        (lambda of: of["answers"]["config"].update(units=10**10), r"asks for [\d,.]+ MB"),
    ],
)
def test_what_is_refused_by_name(change, message: str, tmp_path: Path) -> None:
    path = changed(small(tmp_path / "model.h5"), change)
    with pytest.raises(InputError, match=message):
        read_legacy(path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_other_files_are_refused(tmp_path: Path) -> None:
    path = small(tmp_path / "model.h5")
    with pytest.raises(InputError, match="was saved by Keras 2"):
        load_keras(path)
    with h5py.File(path, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/hosts", "/")
    with pytest.raises(InputError, match="points to 'elsewhere' in another place"):
        read_legacy(path)
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        read_legacy(tmp_path / "text.h5")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(
        tmp_path / "a.weights.h5"
    )
    with pytest.raises(InputError, match="holds weights alone"):
        read_legacy(tmp_path / "a.weights.h5")


@pytest.mark.filterwarnings("ignore:.*legacy")
def test_a_file_of_keras_3_is_read_as_it_is(tmp_path: Path) -> None:
    def saved(units: int) -> Path:
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, name="conv")(inputs))
        model = keras.Model(inputs, keras.layers.Dense(units, name="answers")(x))
        model.save(tmp_path / "model.h5")
        wanted.update(model=model)
        return tmp_path / "model.h5"

    wanted: dict[str, Any] = {}
    read = read_legacy(saved(3))
    for one, other in zip(read.weights, wanted["model"].weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    changed(saved(3), lambda of: of["answers"]["config"].update(units=10**9))
    with pytest.raises(InputError, match=r"asks for [\d,.]+ MB of weights and holds 0"):
        read_legacy(tmp_path / "model.h5")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_model_is_read_where_a_training_ran(tmp_path: Path) -> None:
    """With deterministic operations TensorFlow draws no numbers without a seed."""
    path = small(tmp_path / "model.h5")
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()  # for good, as a training does
    assert read_legacy(path).count_params()
