"""Float .tflite files and SavedModels become Keras networks that answer as they do."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from marks import IN_CI

from export.tflite.convert import to_tflite
from kerascnn.complexity import count_macs, count_parameters
from kerascnn.errors import InputError
from kerascnn.layers import LocalResponseNormalization
from training.common import file_child
from training.engine import file_network
from training.engine.run import load_keras
from training.importing import network_file, tflite_graph, tflite_layers
from training.importing.plain import plain

SIDE = 16


def randomised(model: keras.Model) -> keras.Model:
    """With weights of which no two are the same."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers(include_self=False):
        if not hasattr(layer, "layers"):
            layer.set_weights([
                rng.uniform(0.5, 1.5, one.shape)
                if isinstance(layer, layers.BatchNormalization)
                else rng.normal(0, 1 / np.sqrt(max(1, one[..., 0].size)), one.shape)
                for one in layer.get_weights()
            ])  # fmt: skip
    return model


def classic() -> keras.Model:
    """What the older networks are made of."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = layers.ZeroPadding2D(((0, 1), (2, 0)))(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = LocalResponseNormalization()(x)
    x = layers.MaxPooling2D(3, 1, padding="same")(x)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, dilation_rate=2, activation="tanh")(x))
    y = layers.Conv2D(12, (1, 3), groups=4, padding="same")(x)
    y = layers.LeakyReLU(0.3)(y)
    z = layers.PReLU(shared_axes=[1, 2])(layers.Conv2DTranspose(6, 3, padding="same")(x))
    z = layers.AveragePooling2D(2, 1, padding="same")(z)
    x = layers.Concatenate()([x, y, z])
    x = layers.Dense(10, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(layers.Dropout(0.5)(x)))


def mobile() -> keras.Model:
    """What those for phones are made of."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.Multiply()([x, layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)])
    y = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    y = layers.Activation("hard_silu")(layers.BatchNormalization()(y))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(16, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="silu")(gate))
    y = layers.Multiply()([y, gate])
    one, other = ops.split(y, 2, axis=-1)
    x = layers.Add()([one, ops.relu6(other)])
    x = layers.DepthwiseConv2D((1, 3), padding="same")(x)
    x = layers.GlobalMaxPooling2D()(layers.ELU()(x - 0.5))
    return keras.Model(inputs, layers.Dense(4)(x))


def attentive() -> keras.Model:
    """What came after them."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(x))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    x = layers.Add()([x, layers.Dense(8)(ops.gelu(layers.Dense(16)(x), approximate=True))])
    x = layers.GlobalAveragePooling1D()(layers.Permute((2, 1))(layers.Permute((2, 1))(x)))
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize("made", [classic, mobile, attentive])
def test_a_network_is_built_again(made: Callable[[], keras.Model], tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = randomised(made())
    (tmp_path / "net.tflite").write_bytes(to_tflite(model))

    found = network_file.read(tmp_path / "net.tflite")

    low, high = (0, 255) if made is classic else (-1, 1)
    images = np.random.default_rng(3).uniform(low, high, (4, SIDE, SIDE, 3)).astype(np.float32)
    wanted, ours = (np.asarray(one(images, training=False)) for one in (model, found.model))
    assert np.ptp(wanted, axis=0).max() > 1e-2
    np.testing.assert_allclose(ours, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))
    assert "answers as the file does" in found.notes[0]


def test_its_parts_are_those_that_it_was_made_of(tmp_path: Path) -> None:
    """So that steps of compression take them; the front and the end go as of any network."""
    (tmp_path / "net.tflite").write_bytes(to_tflite(randomised(classic())))
    found = plain(network_file.read(tmp_path / "net.tflite").model)
    assert found.activation == "softmax"
    told = found.preprocessing
    assert told is not None
    assert (told.mean, told.std) == (127.5, 127.5)
    kinds = [type(one).__name__ for one in found.model.layers if one.weights]
    assert sorted(kinds) == sorted([
        "Conv2D", "Conv2D", "BatchNormalization", "Conv2D", "Conv2DTranspose", "PReLU", "Dense",
        "Dense",
    ])  # fmt: skip


FAMILIES = ("MobileNetV3Small", "EfficientNetB0", "ResNet50V2", "DenseNet121", "NASNetMobile",
            "ConvNeXtTiny", "Xception")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_whole_networks_come_back_from_their_files(name: str, tmp_path: Path) -> None:
    """With weights under which images get different answers; `read` compares."""
    path = Path(__file__).parents[3] / "benchmarks" / "bring_your_own.py"
    spec = importlib.util.spec_from_file_location("bring_your_own", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    model = script.network(name, max(32, script.SMALLEST.get(name, 0)))
    (tmp_path / "net.tflite").write_bytes(to_tflite(model))
    found = plain(network_file.read(tmp_path / "net.tflite").model)
    assert found.activation == "softmax"


def converted(function: Any, *shape: int, dtype: Any = tf.float32) -> bytes:
    """A .tflite file of a function of TensorFlow."""
    spec = tf.TensorSpec(shape, dtype, name="x")
    concrete = tf.function(function, input_signature=[spec]).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()


def first(images: tf.Tensor) -> tf.Tensor:
    """Channels first, as PyTorch's networks are converted."""
    kernel = tf.constant(np.random.default_rng(0).normal(0, 0.3, (3, 3, 3, 4)), tf.float32)
    x = tf.nn.conv2d(tf.transpose(images, (0, 2, 3, 1)), kernel, 2, "SAME")
    return tf.reduce_mean(tf.transpose(x, (0, 3, 1, 2)), (2, 3))


def test_channels_may_be_first(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(converted(first, 1, 3, SIDE, SIDE))
    model = network_file.read(tmp_path / "net.tflite").model
    assert model.input_shape == (None, SIDE, SIDE, 3)
    assert not [one for one in model.layers[:2] if isinstance(one, layers.Permute)]
    images = np.random.default_rng(3).uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    wanted = first(tf.transpose(images, (0, 3, 1, 2)))
    np.testing.assert_allclose(model(images), wanted, atol=1e-5)


def test_weights_may_be_of_half_precision(tmp_path: Path) -> None:
    model = randomised(mobile())
    work = tf.lite.TFLiteConverter.from_keras_model(model)
    work.optimizations = [tf.lite.Optimize.DEFAULT]
    work.target_spec.supported_types = [tf.float16]
    (tmp_path / "net.tflite").write_bytes(work.convert())
    found = network_file.read(tmp_path / "net.tflite").model
    kernel = next(one for one in found.layers if one.weights).get_weights()[0]
    assert (kernel == kernel.astype(np.float16)).all()


def refused(file: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(file)
    with pytest.raises(InputError, match=words):
        network_file.read(path)


def test_what_cannot_be_taken_is_named(tmp_path: Path) -> None:
    refused(
        converted(lambda x: tf.cumsum(tf.reduce_mean(x, (2, 3)), 1), 1, 3, SIDE, SIDE),
        r"operation CUMSUM \(which makes '.*'\) is not known here; as it is, it takes 1x3x",
        tmp_path,
    )
    refused(
        converted(lambda x: tf.reduce_mean(x, (0, 1, 2)), 1, SIDE, SIDE, 3),
        "operation MEAN .* over the batch cannot be taken",
        tmp_path,
    )
    refused(
        converted(lambda x: {"a": x + 1, "b": x * 2}, 1, 8, 8, 3), r"has 2 outputs \(", tmp_path
    )
    refused(converted(lambda x: x * 2, 1, 8), "it takes 1x8, not one image", tmp_path)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")
def test_a_quantised_file_is_no_source(tmp_path: Path) -> None:
    work = tf.lite.TFLiteConverter.from_keras_model(randomised(mobile()))
    work.optimizations = [tf.lite.Optimize.DEFAULT]
    work.representative_dataset = lambda: [[np.zeros((1, SIDE, SIDE, 3), np.float32)]]
    refused(work.convert(), "is quantised already .* kerascnn evaluate", tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_damaged_file_is_refused(share: float, tmp_path: Path) -> None:
    file = converted(first, 1, 3, SIDE, SIDE)
    refused(file[: int(share * len(file))], r"net\.tflite", tmp_path)


def test_another_network_than_the_files_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tflite_layers.rebuilt

    def wrong(graph: tflite_graph.FileGraph, *, name: str) -> keras.Model:
        model = whole(graph, name=name)
        model.layers[1].set_weights([1.01 * one for one in model.layers[1].get_weights()])
        return model

    monkeypatch.setattr(tflite_layers, "rebuilt", wrong)
    refused(converted(first, 1, 3, SIDE, SIDE), "differs by 0.0", tmp_path)


KERNEL = np.random.default_rng(0).normal(0, 0.3, (3, 3, 3, 4)).astype(np.float32)


def strange(images: tf.Tensor) -> tf.Tensor:
    """With an operation that no layer is known for."""
    x = tf.nn.relu(tf.nn.conv2d(images, tf.constant(KERNEL), 2, "SAME"))
    return tf.nn.softmax(tf.cumsum(tf.reduce_mean(x, (1, 2)), 1))


def test_what_cannot_be_built_again_stays_the_file_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(converted(strange, 1, SIDE, SIDE, 3))
    found = network_file.read(tmp_path / "net.tflite")
    assert found.whole
    assert found.activation == "softmax"
    assert "operation CUMSUM" in found.notes[0]
    images = np.random.default_rng(3).uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    logits = found.model(images)
    np.testing.assert_allclose(tf.nn.softmax(logits), strange(images), atol=1e-5)
    assert np.abs(np.asarray(logits).sum(-1) - 1).min() > 1e-3
    assert count_parameters(found.model) == KERNEL.size + 4  # the converter's bias
    assert count_macs(found.model) == (SIDE // 2) ** 2 * KERNEL.size


def test_a_network_that_is_a_file_is_saved_and_loaded(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(converted(strange, 1, SIDE, SIDE, 3))
    model = network_file.read(tmp_path / "net.tflite").model
    model.save(tmp_path / "model.keras")
    again = load_keras(tmp_path / "model.keras")
    images = np.random.default_rng(3).uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    np.testing.assert_array_equal(again(images), model(images))


def test_a_damaged_file_in_a_model_is_refused_before_it_is_run(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(converted(strange, 1, SIDE, SIDE, 3))
    model = network_file.read(tmp_path / "net.tflite").model
    layer = file_network.inside(model)
    layer.file.assign(np.zeros(layer.size, np.uint8))
    model.save(tmp_path / "model.keras")
    again = load_keras(tmp_path / "model.keras")
    with pytest.raises(InputError, match="is not a model that its runtime can run"):
        again(np.zeros((1, SIDE, SIDE, 3), np.float32))


def test_a_failure_of_keras_is_a_reason_not_to_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_given: object, **_named: object) -> keras.Model:
        raise ValueError("no such thing")

    monkeypatch.setattr(tflite_layers, "rebuilt", failing)
    (tmp_path / "net.tflite").write_bytes(converted(strange, 1, SIDE, SIDE, 3))
    assert "no such thing" in network_file.read(tmp_path / "net.tflite").notes[0]
    refused(converted(first, 1, 3, SIDE, SIDE), "no such thing; as it is, it takes 1x3", tmp_path)


def test_half_precision_in_a_file_that_stays_is_widened(tmp_path: Path) -> None:
    spec = tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32)
    concrete = tf.function(strange, input_signature=[spec]).get_concrete_function()
    work = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    work.optimizations = [tf.lite.Optimize.DEFAULT]
    work.target_spec.supported_types = [tf.float16]
    (tmp_path / "net.tflite").write_bytes(work.convert())
    model = network_file.read(tmp_path / "net.tflite").model
    graph = tflite_graph.read(file_network.inside(model).bytes())
    assert {one.dtype for one in graph.constants.values()} <= {np.dtype("f4"), np.dtype("i4")}
    assert "DEQUANTIZE" not in {one.kind for one in graph.operations}


class Module(tf.Module):
    """A network as TensorFlow alone saves it."""

    def __init__(self, *, side: int | None = SIDE) -> None:
        super().__init__()
        self.kernel = tf.Variable(
            np.random.default_rng(0).normal(0, 0.3, (3, 3, 3, 4)), dtype=tf.float32
        )
        spec = tf.TensorSpec((None, side, side, 3), tf.float32, name="pixels")
        self.serve = tf.function(self.answers, input_signature=[spec])

    def answers(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        made = tf.nn.relu(tf.nn.conv2d(pixels, self.kernel, 2, "SAME"))
        return {"scores": tf.reduce_mean(made, (1, 2))}


def saved(module: Any, folder: Path, signature: Any = None) -> Path:
    tf.saved_model.save(module, str(folder), signatures=signature or module.serve)
    return folder


@IN_CI
def test_a_saved_model_answers_as_tensorflow_does(tmp_path: Path) -> None:
    module = Module()
    found = network_file.read(saved(module, tmp_path / "net"))
    images = np.random.default_rng(3).uniform(-1, 1, (4, SIDE, SIDE, 3)).astype(np.float32)
    wanted = module.serve(images)["scores"]
    np.testing.assert_allclose(found.model(images), wanted, atol=1e-5)
    assert "answers as the SavedModel does" in found.notes[0]


def test_a_saved_model_of_any_size_wants_to_be_told(tmp_path: Path) -> None:
    folder = str(saved(Module(side=None), tmp_path / "net"))
    with pytest.raises(file_child.Refused, match="--image-size 224"):
        file_child._saved_model(folder, None)
    found = file_child._saved_model(folder, (8, 12))
    assert found["given"].shape == (2, 8, 12, 3)


class Reading(tf.Module):
    """A SavedModel that would look at a file of whoever runs it."""

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32)])
    def serve(self, pixels: tf.Tensor) -> tf.Tensor:
        letters = tf.strings.length(tf.io.read_file("/etc/hostname"))
        return tf.reduce_mean(pixels, (1, 2)) + tf.cast(letters, tf.float32)


def test_a_saved_model_that_does_more_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(saved(Reading(), tmp_path / "net"))
    monkeypatch.setattr(tf.saved_model, "load", None)
    with pytest.raises(file_child.Refused, match=r"has the operation ReadFile \("):
        file_child._saved_model(folder, None)


class Several(tf.Module):
    """Two answers."""

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32)])
    def serve(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"near": pixels, "far": pixels}


def test_a_saved_model_of_two_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(file_child.Refused, match=r"2 outputs .*\((near, far|far, near)\)"):
        file_child._saved_model(str(saved(Several(), tmp_path / "net")), None)
