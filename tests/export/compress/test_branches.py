"""Of a network with branches, files and compression steps have the one without."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import small_sets
from keras import layers
from networks import with_measured_norms, with_random_weights

import kerascnn
from export.artefacts.variants import FineTuning, Settings, parse_variant
from export.compress.compress import VariantBuilder
from export.graph.join_branches import deployed
from kerascnn.complexity import count_macs, count_parameters
from training.engine.run import Run

SHORT = Settings(calibration_pictures=20, fine_tuning=FineTuning(epochs=1))


@pytest.fixture
def run(lenet_run: Run, tmp_path: Path) -> Run:
    """A run's data, with a network of branches that has learnt nothing."""
    for name in ("run.json", "labels.txt"):
        shutil.copy(lenet_run.folder / name, tmp_path)
    mobileone(lenet_run.preprocessing.input_shape).save(tmp_path / "model.keras")
    return Run.open(tmp_path)


def mobileone(shape: tuple[int, int, int]) -> keras.Model:
    """With activations of one size at every depth: random sums of branches grow and grow."""
    options = {"alpha": 0.125, "branches": 2}
    model = with_random_weights(
        kerascnn.build("mobileone_s0", input_shape=shape, classes=10, **options)
    )
    pictures = np.random.default_rng(0).uniform(-1, 1, (8, *shape)).astype("float32")
    return with_measured_norms(model, pictures)


def small() -> keras.Model:
    """Two blocks with branches, by hand."""
    x = inputs = keras.Input((32, 32, 3))
    for filters in (8, 12):
        branches = [
            layers.BatchNormalization()(layers.Conv2D(filters, side, padding="same")(x))
            for side in (1, 3, 3)
        ]
        x = layers.MaxPooling2D()(layers.ReLU()(layers.Add()(branches)))
    logits = layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x))
    return with_random_weights(keras.Model(inputs, logits))


@pytest.mark.parametrize("end", [".tflite", ".onnx"])
def test_files_have_the_joined_network(tmp_path: Path, end: str) -> None:
    data = small_sets.textures(tmp_path / "data", 36, side=32)
    model = small()
    kerascnn.import_model(model, data=data, preprocessing="-1-1", out=tmp_path / "run")
    run = Run.open(tmp_path / "run")
    joined = deployed(model)
    assert count_macs(joined) < 0.6 * count_macs(model)
    made = VariantBuilder(run).make(parse_variant("float32"), end)
    assert made.info["parameters"] == count_parameters(joined)
    assert made.info["macs"] == count_macs(joined)
    assert made.info["bytes"] < 4 * 1.2 * count_parameters(joined) + 60_000
    # What it is verified against is the network with branches.
    assert made.info["evaluation"]["verified"] == "yes"
    if end == ".tflite":
        assert made.info["evaluation"]["operations"] == ["DELEGATE"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prune50_int8", "slim75_int8", "qat_int8"])
def test_steps_train_the_joined_network(run: Run, name: str) -> None:
    trained = VariantBuilder(run).network(parse_variant(name, SHORT)).trained
    kinds = {type(layer) for layer in trained.model.layers}
    assert layers.Add not in kinds
    joined = deployed(run.load_model())
    if name == "qat_int8":
        assert layers.BatchNormalization not in kinds
        return
    assert trained.model.get_layer("stage2_block1_depthwise_norm").momentum == 0.99
    kernel = np.asarray(trained.model.get_layer("stage3_block2_pointwise").kernel)
    if name == "prune50_int8":
        assert trained.parameters == count_parameters(joined)
        assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.01)
    else:
        assert trained.macs <= 0.75 * count_macs(joined)
