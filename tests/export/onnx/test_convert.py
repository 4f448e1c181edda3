"""Keras networks as ONNX files: what the exporter leaves that ONNX has no operation for."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from networks import outputs_of
from tf2onnx.optimizer import EinsumOptimizer

from export.onnx.convert import to_onnx
from export.runtime import load as runtimes
from kerascnn.preprocessing import Preprocessing


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu(approximate: bool, tmp_path: Path) -> None:
    """TensorFlow computes the exact one by erfc."""
    given = keras.Input((4, 4, 3))
    x = layers.Conv2D(8, 3)(given)
    x = keras.ops.gelu(x, approximate=approximate)
    x = layers.Activation("gelu")(layers.Flatten()(x))
    model = keras.Model(given, layers.Dense(2)(x))
    preprocessing = Preprocessing(height=4, width=4, channels=3)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    (tmp_path / "net.onnx").write_bytes(to_onnx(model))
    found = runtimes.load(tmp_path / "net.onnx", preprocessing).predict(images)
    wanted = outputs_of(model, preprocessing.normalise(images))
    assert np.ptp(wanted, axis=0).min() > 1e-3
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_pass_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes change the graph itself, in the place of a copy each, until one fails."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    wanted = to_onnx(model)
    failed = []

    def broken(_self: object, _graph: object, _iteration: int) -> None:
        failed.append(1)
        raise ValueError

    monkeypatch.setattr(EinsumOptimizer, "optimize", broken)
    assert to_onnx(model) == wanted
    assert len(failed) > 1
