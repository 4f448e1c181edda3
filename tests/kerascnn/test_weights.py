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

import h5py
import keras
import numpy as np
import pytest
from checkpoints import goldens, write_safetensors
from networks import outputs_of

import kerascnn
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.weights import find
from kerascnn.weights.efficientnet_pytorch import packaged_checkpoint
from kerascnn.weights.fill import fill
from kerascnn.weights.safetensors import read_safetensors
from kerascnn.weights.torch_checkpoint import LEGACY_MAGIC, read_checkpoint
from training.datasets.pictures import fit_array


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, np.ndarray]:
    return read_checkpoint(packaged_checkpoint())


def test_the_checkpoint_is_whole(checkpoint) -> None:
    assert len(checkpoint) == 296
    learnt = [v for k, v in checkpoint.items() if "running" not in k and "num_batches" not in k]
    assert sum(v.size for v in learnt) == zoo.entry("efficientnet_lite0").parameters


def test_every_weight_is_filled() -> None:
    model = kerascnn.build("efficientnet_lite0")
    marked = [np.full(w.shape, 1234.5, np.float32) for w in model.weights]
    model.set_weights(marked)
    fill(model, find("efficientnet_lite0", packaged_checkpoint()))
    assert not [w.path for w in model.weights if np.any(w.numpy() == 1234.5)]


@pytest.fixture(scope="module")
def lite0():
    return kerascnn.build("efficientnet_lite0", weights="imagenet")


@pytest.mark.parametrize(
    ("photo", "classes"),
    [
        ("chelsea", {281, 282, 285}),  # tabby, tiger cat, Egyptian cat
        ("coffee", {967}),  # espresso
        # A dahlia; of the 1,000 classes the daisy is the nearest plant.
        ("flower", {985}),
    ],
)
def test_photos_get_their_imagenet_classes(lite0, photo: str, classes: set[int]) -> None:
    if photo == "flower":
        picture = pytest.importorskip("sklearn.datasets").load_sample_image("flower.jpg")
    else:
        picture = getattr(pytest.importorskip("skimage.data"), photo)()
    preprocessing = zoo.preprocessing("efficientnet_lite0", 224, 224, weights="imagenet")
    fitted = fit_array(picture, preprocessing)
    logits = outputs_of(lite0, preprocessing.normalise(fitted[None]))[0]
    top = logits.argsort()[::-1]
    if photo == "flower":
        assert 985 in top[:5]
    else:
        assert set(top[: len(classes)].tolist()) == classes


def test_another_head_stays_random(lite0) -> None:
    model = kerascnn.build(
        "efficientnet_lite0", input_shape=(64, 64, 3), classes=5, weights="imagenet"
    )
    for layer in model.layers[:-1]:
        for a, b in zip(
            layer.get_weights(), lite0.get_layer(layer.name).get_weights(), strict=True
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
    legacy.write_bytes(pickle.dumps(LEGACY_MAGIC) + pickle.dumps(Bomb()))
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
    head = b"".join(pickle.dumps(v, 2) for v in (LEGACY_MAGIC, 1001, {"little_endian": True}))
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


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """A resnet18 of four classes as torchvision names it."""
    golden = goldens()["resnet18"]["tensors"]
    rng = np.random.default_rng(0)
    sized = {name: [4, *shape[1:]] if name.startswith("fc") else shape for name, shape in golden}
    return {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in sized.items()}


def resnet(path: Path, **options) -> keras.Model:
    return kerascnn.build("resnet18", weights=path, input_shape=(64, 64, 3), **options)


def test_the_first_tensor_that_does_not_fit_is_named(tensors, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    changes = {
        "no tensor layer2.0.conv2.weight": lambda t: t.pop("layer2.0.conv2.weight"),
        r"layer1.1.bn1.running_var has shape \(63,\).*wants \(64,\)": lambda t: t.update(
            {"layer1.1.bn1.running_var": np.ones(63, np.float32)}
        ),
        "no layer wants its tensor layer1.2.conv1.weight": lambda t: t.update(
            {"layer1.2.conv1.weight": np.ones((64, 64, 3, 3), np.float32)}
        ),
        "begins with layer4": lambda t: [t.pop(n) for n in list(t) if not n.startswith("layer4")],
    }
    for message, change in changes.items():
        changed = dict(tensors)
        change(changed)
        write_safetensors(path, changed)
        with pytest.raises(InputError, match=message) as raised:
            resnet(path, classes=4)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_the_head_fits_or_stays_random_if_asked(tensors, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", tensors)
    kernel = resnet(path, classes=4).get_layer("logits").get_weights()[0]
    np.testing.assert_array_equal(kernel, tensors["fc.weight"].T)
    assert resnet(path, classes=9).output_shape == (None, 9)
    with pytest.raises(InputError, match=r"fc\.weight"):
        resnet(path)  # 1,000 classes were not asked for


def test_a_file_that_does_not_fit_changes_nothing(tensors, tmp_path: Path) -> None:
    changed = dict(tensors)
    changed.pop("fc.bias")
    source = find("resnet18", write_safetensors(tmp_path / "x.safetensors", changed))
    model = kerascnn.build("resnet18", input_shape=(64, 64, 3), classes=4, **source.layout.options)
    before = model.get_weights()
    with pytest.raises(InputError, match=r"fc\.bias"):
        fill(model, source)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_asked_options_win_over_those_of_the_weights(tensors, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", tensors)
    assert resnet(path, classes=4).get_layer("stem").padding == "valid"
    assert resnet(path, classes=4, padding="same").get_layer("stem").padding == "same"


def test_weights_bring_their_stem_to_small_pictures(tensors, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", tensors)
    model = kerascnn.build("resnet18", weights=path, input_shape=(32, 32, 3), classes=4)
    assert model.get_layer("stem").kernel.shape == (7, 7, 3, 64)


def test_normalisation_comes_with_the_weights(tensors, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", tensors)
    preprocessing = zoo.preprocessing("resnet18", 64, 64, weights=path)
    white = preprocessing.normalise(np.full((1, 1, 3), 255))
    # torchvision's transforms: (1 - mean) / std of each channel.
    np.testing.assert_allclose(white[0, 0], [2.2489, 2.4286, 2.64], atol=1e-3)


def test_safetensors_types_and_damage(tensors, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    values = np.array([1.5, -2.0, 3.140625], np.float32)  # exact in bfloat16
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    write_safetensors(path, {"a": halves, "b": values.astype(np.float16), "c": values})
    for array in read_safetensors(path).values():
        np.testing.assert_array_equal(np.asarray(array, np.float32), values)
    whole = write_safetensors(path, tensors).read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(
        InputError, match=r"x\.safetensors is not a safetensors file, or is cut short"
    ):
        resnet(path, classes=4)
    for damaged in (whole[:100], b"", b"\xff" * 64, (8).to_bytes(8, "little") + b"[1, 2] \n"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.safetensors"):
            resnet(path, classes=4)
    header = b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(InputError, match=r"x\.safetensors is not a safetensors file"):
        read_safetensors(path)


def test_keras_files_that_are_damaged_or_lead_elsewhere(tmp_path: Path) -> None:
    model = kerascnn.build("mobilenet_v2", input_shape=(32, 32, 3), classes=4, alpha=0.35)
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"cut{suffix}"
        model.save(path)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(InputError, match="cut"):
            kerascnn.build("mobilenet_v2", weights=path)
    secret, path = tmp_path / "secret.h5", tmp_path / "x.weights.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.ones(3)
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "logits"
        group["0"] = h5py.ExternalLink(str(secret), "/kernel")
    with pytest.raises(InputError, match="is a link, which is refused"):
        kerascnn.build("mobilenet_v2", weights=path)
    with h5py.File(path, "w") as file:
        file["something"] = np.ones(3)
    with pytest.raises(InputError, match="holds no Keras weights"):
        kerascnn.build("mobilenet_v2", weights=path)


def test_the_oldest_names_of_keras_are_read(tmp_path: Path) -> None:
    """As the published VGG files have them: block1_conv1_W_1:0."""
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        layers = [layer for layer in theirs.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{kind}_1:0" for kind in "Wb"]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value
    ours = kerascnn.build("vgg16", weights=path, input_shape=(32, 32, 3), classes=3)
    kernel = theirs.get_layer("block5_conv3").get_weights()[0]
    np.testing.assert_array_equal(ours.get_layer("stage5_block3_conv").get_weights()[0], kernel)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
def test_our_own_weights_are_loaded(suffix: str, tmp_path: Path) -> None:
    options = {"input_shape": (32, 32, 3), "classes": 4}
    model = kerascnn.build("mobilenet_v3_small", **options)
    path = tmp_path / f"ours{suffix}"
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    again = kerascnn.build("mobilenet_v3_small", weights=path, **options)
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_wrapped_state_dicts_are_read(state, tmp_path: Path) -> None:
    stream = io.BytesIO()
    whole = collections.OrderedDict(w=Tensor(0, (6,), (1,)))
    TorchPickler(stream, protocol=2).dump({"epoch": 3, "state_dict": whole})
    path = zip_file(tmp_path / "x.pth", stream.getvalue())
    np.testing.assert_array_equal(read_checkpoint(path)["w"], VALUES)


def test_files_that_are_not_there_or_not_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pth: no such file"):
        resnet(tmp_path / "none.pth")
    with pytest.raises(InputError, match="the path of a weights file of"):
        kerascnn.build("resnet18", weights="coco")
    with pytest.raises(InputError, match="it has imagenet, imagenet-timm; did you mean 'imagenet'"):
        kerascnn.build("efficientnet_lite0", weights="imagnet")
    path = tmp_path / "page.pth"
    path.write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(InputError, match=r"page\.pth is not a"):
        resnet(path)
