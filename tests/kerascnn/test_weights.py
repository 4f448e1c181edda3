"""Reference checkpoints: complete, right, and never executed."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

import kerascnn
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.weights.efficientnet_lite import _checkpoint_path, copy_by_name
from kerascnn.weights.torch_checkpoint import _LEGACY_MAGIC, read_checkpoint
from training.preprocessing import fit_array


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, np.ndarray]:
    return read_checkpoint(_checkpoint_path())


def test_the_checkpoint_is_whole(checkpoint) -> None:
    assert len(checkpoint) == 296
    learnt = [v for k, v in checkpoint.items() if "running" not in k and "num_batches" not in k]
    assert sum(v.size for v in learnt) == zoo.entry("efficientnet_lite0").parameters


def test_every_weight_is_filled() -> None:
    model = kerascnn.build("efficientnet_lite0")
    marked = [np.full(w.shape, 1234.5, np.float32) for w in model.weights]
    model.set_weights(marked)
    copy_by_name(model, read_checkpoint(_checkpoint_path()))
    assert not [w.path for w in model.weights if np.any(w.numpy() == 1234.5)]


def test_photos_get_their_imagenet_classes() -> None:
    from sklearn.datasets import load_sample_image

    model = kerascnn.build("efficientnet_lite0", weights="imagenet")
    preprocessing = zoo.entry("efficientnet_lite0").preprocessing(224, 224)
    flower = fit_array(load_sample_image("flower.jpg"), preprocessing)
    logits = model.predict(preprocessing.normalise(flower[None]), verbose=0)[0]
    # The photo shows a dahlia; of the 1,000 classes the daisy (985) is the nearest plant.
    assert 985 in logits.argsort()[-5:]


def test_another_head_stays_random() -> None:
    model = kerascnn.build(
        "efficientnet_lite0", input_shape=(64, 64, 3), classes=5, weights="imagenet"
    )
    whole = kerascnn.build("efficientnet_lite0", weights="imagenet")
    for layer in model.layers[:-1]:
        for a, b in zip(
            layer.get_weights(), whole.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    assert model.get_layer("logits").kernel.shape == (1280, 5)


def test_another_width_is_refused() -> None:
    with pytest.raises(InputError, match="layer stem"):
        kerascnn.build("efficientnet_lite0", width=0.5, weights="imagenet")


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_code_in_a_checkpoint_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    legacy = tmp_path / "legacy.pth"
    legacy.write_bytes(pickle.dumps(_LEGACY_MAGIC) + pickle.dumps(Bomb()))
    zipped = tmp_path / "zipped.pth"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"w": Bomb()}))
    for path in (legacy, zipped):
        with pytest.raises(InputError, match="refused"):
            read_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


class FloatStorage:
    """Stands for torch's class of that name."""

    __module__ = "torch"


class TorchPickler(pickle.Pickler):
    def persistent_id(self, value):
        return ("storage", FloatStorage, "0", "cpu", 6) if value == "STORAGE" else None


class Tensor:
    def __init__(self, offset: int, shape: tuple, strides: tuple) -> None:
        self.arguments = ("STORAGE", offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture
def state(monkeypatch):
    """Pickled state dicts as torch writes them, without torch."""
    torch, utilities = types.ModuleType("torch"), types.ModuleType("torch._utils")
    utilities._rebuild_tensor_v2 = lambda *arguments: arguments
    rebuild = utilities._rebuild_tensor_v2
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    torch.FloatStorage = FloatStorage
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utilities)

    def dump(*tensor) -> bytes:
        stream = io.BytesIO()
        TorchPickler(stream, protocol=2).dump(collections.OrderedDict(w=Tensor(*tensor)))
        return stream.getvalue()

    return dump


VALUES = np.arange(6, dtype="<f4")


def legacy_file(path: Path, pickled: bytes) -> Path:
    head = b"".join(pickle.dumps(v, 2) for v in (_LEGACY_MAGIC, 1001, {"little_endian": True}))
    tail = pickle.dumps(["0"], 2) + struct.pack("<q", 6) + VALUES.tobytes()
    path.write_bytes(head + pickled + tail)
    return path


def zip_file(path: Path, pickled: bytes, values: bytes = VALUES.tobytes()) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled)
        archive.writestr("model/data/0", values)
    return path


@pytest.mark.parametrize("write", [legacy_file, zip_file])
def test_both_containers_are_read(write, state, tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", state(1, (2, 2), (2, 1)))
    np.testing.assert_array_equal(read_checkpoint(path)["w"], [[1, 2], [3, 4]])
    path = write(tmp_path / "x.pth", state(0, (3, 2), (1, 3)))
    np.testing.assert_array_equal(read_checkpoint(path)["w"], VALUES.reshape(2, 3).T)


@pytest.mark.parametrize("write", [legacy_file, zip_file])
@pytest.mark.parametrize("tensor", [(4, (3,), (1,)), (0, (2, 2), (1000, 1)), (-1, (2,), (1,))])
def test_tensors_outside_their_storage_are_refused(write, tensor, state, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outside its storage"):
        read_checkpoint(write(tmp_path / "x.pth", state(*tensor)))


def test_damaged_files_are_refused(state, tmp_path: Path) -> None:
    path = legacy_file(tmp_path / "x.pth", state(0, (6,), (1,)))
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"x\.pth"):
            read_checkpoint(path)
    with pytest.raises(InputError):
        read_checkpoint(zip_file(path, state(0, (6,), (1,)), VALUES.tobytes()[:-4]))
    with pytest.raises(InputError, match="No such file"):
        read_checkpoint(tmp_path / "none.pth")
