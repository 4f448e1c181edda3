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
import numpy as np
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


def test_what_was_refused_asks_for_no_memory_later(tmp_path: Path) -> None:
    """Keras gives values to all variables without them where any of its scopes ends."""
    path = changed(saved(tmp_path / "model.keras"), lambda of: of["conv"].update(filters=10**12))
    with pytest.raises(InputError):
        load_keras(path)
    with keras.StatelessScope():
        layers.Dense(2).build((None, 3))


class Doubled(layers.Layer):
    """A stranger's layer, whose class is not in the file."""

    def call(self, x: Any) -> Any:
        return x * 2


class Own(keras.Model):
    """A stranger's model, whose graph is in its code."""

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        self.flat, self.answers = layers.Flatten(), layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.answers(self.flat(x))


def own() -> keras.Model:
    model = Own()
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


def with_layer(layer: keras.layers.Layer) -> keras.Model:
    """The layer stands in a model within a model."""
    inputs = keras.Input((8, 8, 3))
    inner = keras.Model(inputs, layer(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inner(inputs))))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: with_layer(Doubled(name="twice")),
         "layer 'twice' is of the class Doubled, which is code that no file may bring along"),
        (lambda: with_layer(layers.Lambda(lambda x: x / 255, name="scaled")),
         r"layer 'scaled' \(Lambda\) is code, which is never run from a file"),
        (own, "the model is of the class Own, which is code .*make it of layers of Keras"),
    ],
    ids=["class", "Lambda", "model"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_code_is_refused_by_its_layers_name(
    make: Callable[[], keras.Model], words: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    if make is own and suffix == ".h5":
        pytest.skip("Keras saves no such model as .h5")
    make().save(path)
    with pytest.raises(InputError, match=words) as refused:
        load_keras(path)
    told = str(refused.value)
    assert told.startswith(f"{path}: ")
    assert len(told) < len(str(path)) + 300
    assert "safe_mode" not in told
    assert "train it again" not in told


def test_a_class_that_keras_was_told_of_is_read(tmp_path: Path) -> None:
    with_layer(Doubled(name="twice")).save(tmp_path / "model.keras")
    with keras.saving.custom_object_scope({"Doubled": Doubled}):
        assert load_keras(tmp_path / "model.keras").count_params() == 2 * (192 + 1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda whole: whole[: len(whole) // 2],
            r"is not a \.keras file \(a zip\), or is cut short",
        ),
        (lambda _: b"hello\n", r"is not a \.keras file \(a zip\), or is cut short; copy it again"),
        (lambda _: b"", r"is not a \.keras file .*, or is cut short"),
        (lambda _: b"\x89HDF\r\n\x1a\n" + bytes(99), r"is an HDF5 file, .* call it \.h5"),
    ],
)
def test_what_is_no_archive_is_said_to_be_none(
    damage: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "model.keras")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=words):
        load_keras(path)
    with pytest.raises(InputError, match=words if b"HDF" not in path.read_bytes() else "model"):
        kerascnn.build("lenet5", weights=path)


def test_an_archive_without_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    for name, text, words in (
        ("notes.txt", "hello", r"is a zip without the config\.json of a model"),
        ("config.json", "[]", r"is a zip without the config\.json of a model"),
        ("config.json", "{", r"is damaged \(config\.json in it: .*copy it again"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, text)
        with pytest.raises(InputError, match=words):
            load_keras(path)
    with pytest.raises(InputError, match=r"gone\.keras: No such file"):
        load_keras(tmp_path / "gone.keras")


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
        lambda: kerascnn.build(
            "mobilenet_v1", input_shape=(32, 32, 3), alpha=0.25, dtype="mixed_bfloat16"
        ),
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
