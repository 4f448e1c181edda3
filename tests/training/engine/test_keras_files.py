"""A .keras file gets no more memory for its layers than it has weights."""

from __future__ import annotations

import io
import json
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tiny_detectors
from keras import layers

import kerascnn
from kerascnn.errors import InputError
from training.engine import keras_files
from training.engine.run import load_keras


def saved(path: Path) -> Path:
    inputs = keras.Input((8, 8, 3))
    x = layers.Activation("relu")(layers.Conv2D(4, 3, name="conv")(inputs))
    outputs = layers.Dense(5, name="logits")(layers.Dropout(0.5)(layers.Flatten()(x)))
    keras.Model(inputs, outputs).save(path)
    return path


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """With another configuration, as a stranger may write it."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    change({layer["name"]: layer["config"] for layer in config["config"]["layers"]})
    entries["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda of: of["logits"].update(units=10**12),
        lambda of: of["logits"].update(units=10**6, dtype="float16"),
        lambda of: of["conv"].update(filters=10**9),
        lambda of: of["conv"].update(kernel_size=[8, 8], filters=10**7, padding="same"),
    ],
)
def test_layers_larger_than_the_file_are_refused(change, tmp_path: Path) -> None:
    path = changed(saved(tmp_path / "model.keras"), change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        InputError, match=r"asks for [\d,.]+ MB of weights and holds 0\.|not a readable Keras"
    ):
        load_keras(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # KB; the smallest of these asks for 288 MB


@keras.saving.register_keras_serializable(package="keras_hub")
class HubTask(keras.Model):
    """As KerasHub's classifiers are made: of a backbone, and compiled at once."""

    def __init__(self, backbone: keras.Model, compile: bool = True, **kwargs: Any) -> None:
        outputs = layers.Dense(3, name="answers")(backbone.output)
        super().__init__(inputs=backbone.input, outputs=outputs, **kwargs)
        self.backbone = backbone
        if compile:
            self.compile(keras.optimizers.Adam(), "mse")

    def get_config(self) -> dict[str, Any]:
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> HubTask:
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**{**config, "backbone": backbone})


def test_a_task_of_kerashub_is_measured_without_its_optimiser(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inputs, layers.Flatten()(layers.Conv2D(4, 3)(inputs)))
    HubTask(backbone).save(tmp_path / "model.keras")
    read = load_keras(tmp_path / "model.keras")
    assert isinstance(read, HubTask)
    assert read.count_params() == 4 * 28 + 3 * (4 * 36 + 1)


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(10**8))
    with pytest.raises(InputError, match=r"unpacks to 100\.0 MB"):
        load_keras(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: kerascnn.build("lenet5"),
        lambda: kerascnn.build("mobilenet_v3_small", input_shape=(32, 32, 3), alpha=0.35),
        lambda: kerascnn.build("mobilenet_v2", alpha=0.35, dtype="mixed_bfloat16"),
        lambda: kerascnn.build("unet", input_shape=(16, 16, 3), classes=2, width=4, depth=2),
        tiny_detectors.two_stage_network,
    ],
    ids=["classifier", "shared norms", "mixed precision", "segmentation", "two stages"],
)
def test_networks_of_the_zoo_ask_for_what_they_hold(make, tmp_path: Path) -> None:
    network = make()
    network.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert keras_files.bytes_of(config) == sum(
        int(keras.ops.size(v)) * keras_files.size(v.dtype) for v in network.variables
    )
    again = load_keras(tmp_path / "model.keras")
    assert [v.shape for v in again.variables] == [v.shape for v in network.variables]


def test_a_compressed_archive_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.keras")
    stored = io.BytesIO(path.read_bytes())
    with (
        zipfile.ZipFile(stored) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    assert load_keras(path).count_params() == 837
