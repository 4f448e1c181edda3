"""A small network to fine-tune, what it is fine-tuned with, and the kernels in its files."""

from __future__ import annotations

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import layers
from networks import with_random_weights

from export.compress import finetune
from export.tasks.classification import ClassificationFineTuningData
from export.tflite import flatbuffer
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
