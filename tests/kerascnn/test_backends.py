"""The builders under Keras' other backends, each in a process of its own."""

from __future__ import annotations

import numpy as np
import pytest
from backends import Backends
from networks import with_random_norms

import kerascnn

# Builds, loads weights that tensorflow wrote, predicts, and trains a step.
SCRIPT = """
import sys
import keras, numpy as np, kerascnn
backend, name, weights, pictures, logits = sys.argv[1:]
assert keras.backend.backend() == backend
assert "tensorflow" not in sys.modules
x = np.load(pictures)
model = kerascnn.build(name, weights=weights, input_shape=x.shape[1:], classes=3)
got = np.asarray(model.predict_on_batch(x))
wanted = np.load(logits)
assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max(), np.abs(got - wanted).max()
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(1e-3), loss)
before = model.get_layer("logits").get_weights()[0]
assert np.isfinite(float(model.train_on_batch(x, np.arange(len(x)) % 3)))
assert np.abs(model.get_layer("logits").get_weights()[0] - before).max() > 0
"""
DETECTOR_SCRIPT = """
import sys
import keras, numpy as np, kerascnn
backend, name, weights, pictures, *wanted = sys.argv[1:]
assert keras.backend.backend() == backend
assert "tensorflow" not in sys.modules
x = np.load(pictures)
model = kerascnn.build(name, weights=weights, input_shape=x.shape[1:], classes=3)
for got, path in zip(model.predict_on_batch(x), wanted, strict=True):
    wanted = np.load(path)
    assert np.abs(np.asarray(got) - wanted).max() < 1e-4 * np.abs(wanted).max()
"""
# jax compiles the others, of Keras' layers as this one, for up to a minute each.
FAST = {"lenet5"}
NAMES = [
    "lenet5", "alexnet", "googlenet", "vgg16", "resnet18", "resnext50_32x4d", "se_resnet50",
    "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_lite0",
    "efficientnet_v2_b0",
]  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NAMES]
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_one_step_and_the_same_logits(
    on_backend: Backends, backend: str, name: str, tmp_path
) -> None:
    on_backend.require(backend)
    shape = (32, 32, 1 if name == "lenet5" else 3)
    model = kerascnn.build(name, input_shape=shape, classes=3)
    model.save(tmp_path / "model.keras")
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, *shape)).astype("float32")
    np.save(tmp_path / "pictures.npy", pictures)
    np.save(tmp_path / "logits.npy", model.predict_on_batch(pictures))
    files = [str(tmp_path / f) for f in ("model.keras", "pictures.npy", "logits.npy")]
    on_backend(backend, SCRIPT, backend, name, *files)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssdlite_mobilenet_v3_small", "efficientdet_lite0"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_detectors_say_the_same(on_backend: Backends, backend: str, name: str, tmp_path) -> None:
    on_backend.require(backend)
    # An odd size, at which pyramids crop.
    model = with_random_norms(kerascnn.build(name, input_shape=(75, 64, 3), classes=3))
    model.save(tmp_path / "model.keras")
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 75, 64, 3)).astype("float32")
    np.save(tmp_path / "pictures.npy", pictures)
    boxes, logits = model.predict_on_batch(pictures)
    np.save(tmp_path / "boxes.npy", boxes)
    np.save(tmp_path / "logits.npy", logits)
    files = ("model.keras", "pictures.npy", "boxes.npy", "logits.npy")
    on_backend(backend, DETECTOR_SCRIPT, backend, name, *(tmp_path / file for file in files))
