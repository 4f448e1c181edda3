"""A small network to fine-tune, what it is fine-tuned with, and the kernels in its files."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Container

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers
from networks import with_random_weights

from export.compress import finetune
from export.compress.qat import QATResult
from export.tasks.classification import ClassificationFineTuningData
from export.tflite import flatbuffer
from export.tflite.convert import layer_of
from export.tflite.kernel_operations import KERNEL_OPERATIONS
from export.tflite.model import TFLiteModel
from kerascnn.preprocessing import Preprocessing
from training import datasets
from training.datasets.decode import decode_split
from training.engine.config import TrainConfig

PICTURE = Preprocessing(height=28, width=28, channels=1, resize="pad")

CONFIG = TrainConfig(
    epochs=2, batch_size=32, augmentation="digits", validation_fraction=0, warmup_epochs=0
)


@functools.cache
def fine_tuning_data(count: int = 256) -> ClassificationFineTuningData:
    """A few of the embedded digits."""
    train = datasets.scan("mnist", seed=0).train
    chosen = np.random.default_rng(0).permutation(len(train))[:count]
    split, _broken = decode_split(train.take(np.sort(chosen)), PICTURE)
    return ClassificationFineTuningData(
        train=split, source=PICTURE, preprocessing=PICTURE, classes=10
    )


def small() -> keras.Model:
    """A network with all that matters here, and channels that 4 does not divide."""
    x = inputs = keras.Input(PICTURE.input_shape, name="image")
    for name, width, strides in (("stem", 6, 2), ("wide", 16, 1), ("odd", 10, 2)):
        x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        x = layers.Activation("relu", name=f"{name}_act")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="odd_depthwise")(x)
    x = layers.Dropout(0.2, name="dropped")(x)
    x = layers.Conv2D(12, 1, activation="hard_silu", name="point")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(20, activation="relu", name="head")(x)
    return with_random_weights(
        keras.Model(inputs, layers.Dense(10, name="logits")(x), name="small")
    )


CHOSEN = {"wide", "odd", "point", "head"}


def kernel_of(model: keras.Model, name: str) -> np.ndarray:
    """As it lies in a TFLite file: the output's channels first, the input's last."""
    return np.moveaxis(np.asarray(model.get_layer(name).kernel), -1, 0)


def kernels_in(file: bytes) -> list[np.ndarray]:
    """Float kernels of convolutions and dense layers, the input's channels last."""
    model = flatbuffer.read(file)
    found = []
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data) and len(tensor.shape) in (2, 4):
            found.append(np.asarray(data).view(np.float32).reshape(tensor.shape))
    return found


class Stop(Exception):
    pass


def stop_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Let the next training end as by a kill, when so many checkpoints are written."""
    real, count = finetune.Watch.on_epoch_end, itertools.count(1)

    def on_epoch_end(self, *arguments) -> None:
        real(self, *arguments)
        if next(count) == epochs:
            raise Stop

    monkeypatch.setattr(finetune.Watch, "on_epoch_end", on_epoch_end)


def assert_same(one: keras.Model, other: keras.Model) -> None:
    for a, b in zip(one.layers, other.layers, strict=True):
        assert all(map(np.array_equal, a.get_weights(), b.get_weights())), a.name


def int8_kernels(file: bytes) -> dict[tuple[int, ...], tuple[np.ndarray, int]]:
    """By shape: kernels, each with the number of its scales."""
    model = flatbuffer.read(file)
    return {
        tuple(tensor.shape): (
            np.asarray(model.buffers[tensor.buffer].data).view(np.int8).reshape(tensor.shape),
            len(tensor.quantization.scale),
        )
        for tensor in model.subgraphs[0].tensors
        if model.buffers[tensor.buffer].data is not None
        and tensor.type == flatbuffer.schema.TensorType.INT8
        and len(tensor.shape) in (2, 4)
    }


def assert_trained_integers(data: bytes, aware: QATResult, four: Container[str]) -> None:
    """A file holds the integers and the steps of the training, and nothing rounded anew.

    Args:
        four: layers of 4 bits; all others have 8.
    """
    file, seen = TFLiteModel.open(data), set()
    for operator in file.graph.operators:
        code = file.unpacked.operatorCodes[operator.opcodeIndex].builtinCode
        places = KERNEL_OPERATIONS.get(code)
        if places is None:
            continue
        index = int(operator.inputs[places.kernel])
        while file.unpacked.buffers[file.graph.tensors[index].buffer].data is None:  # widened first
            index = int(file.maker(index).inputs[0])
        tensor = file.graph.tensors[index]
        constant = file.unpacked.buffers[tensor.buffer].data
        output = file.graph.tensors[operator.outputs[0]].name.decode()
        names = [tensor.name.decode(), *reversed(output.split(";"))]
        found = [layer_of(name, aware.bounds) for name in names]
        name = next(filter(None, found), None)
        if name is None:
            assert tensor.type == schema.TensorType.FLOAT32, names
            continue
        seen.add(name)
        few = tensor.type == schema.TensorType.INT4
        assert few == (name in four), name
        axis = tensor.quantization.quantizedDimension
        shape = [-1 if place == axis else 1 for place in range(len(tensor.shape))]
        scales = np.array(tensor.quantization.scale)
        np.testing.assert_allclose(scales, aware.bounds[name] / (7 if few else 127), rtol=1e-6)
        integers = _integers(np.asarray(constant, np.uint8), few, tuple(tensor.shape))
        layer = aware.model.get_layer(name)
        kernel = np.asarray(layer.kernel)
        if isinstance(layer, layers.DepthwiseConv2D):
            kernel = kernel.reshape(1, *kernel.shape[:2], -1)
        elif isinstance(layer, layers.Conv2DTranspose):
            kernel = np.moveaxis(kernel, 2, 0)
        else:
            kernel = np.moveaxis(kernel, -1, 0)
        np.testing.assert_allclose(integers * scales.reshape(shape), kernel, rtol=2e-6, atol=1e-12)
    assert seen == set(aware.bounds)


def _integers(data: np.ndarray, few: bool, shape: tuple[int, ...]) -> np.ndarray:
    """Of a constant of 4 bits, if `few`, or of 8."""
    if not few:
        return data.view(np.int8).reshape(shape).astype(int)
    halves = np.stack([data & 15, data >> 4], axis=-1).reshape(-1).astype(int)
    return np.where(halves > 7, halves - 16, halves)[: int(np.prod(shape))].reshape(shape)
