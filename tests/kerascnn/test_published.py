"""The table of published weights against the installed sources, the name tables, the catalogue."""

from __future__ import annotations

import collections
import importlib
import inspect
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from file_server import serving
from keras.src.applications import (
    efficientnet,
    efficientnet_v2,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    vgg16,
    vgg19,
)
from marks import IN_CI

import kerascnn
from kerascnn import weights, zoo
from kerascnn.catalogue import ENTRIES
from kerascnn.errors import InputError
from kerascnn.weights import cache, published
from kerascnn.weights.published import ROWS, Published
from kerascnn.weights.published.timm import PACKAGE

OF_KERAS = [row for row in ROWS if row.source == "keras.applications"]
# Nobody publishes a set for the whole of these, as far as is known here.
NONE = {
    "lenet5", "unet", "ssdlite_mobilenet_v2", "ssdlite_mobilenet_v3_small",
    "faster_rcnn_efficientnet_lite0_fpn", "mask_rcnn_efficientnet_lite0_fpn",
    "mask_rcnn_mobilenet_v3_large_fpn", "unet_resnet50", "unet_mobilenet_v2",
    "unet_efficientnet_lite0", "ssdlite_mobileone_s0",
    "ssdlite_mobilenet_v4_conv_small", "ssdlite_mobilenet_v4_conv_medium", "unet_mobileone_s0",
    "unet_mobilenet_v4_conv_small", "unet_mobilenet_v4_conv_medium",
    "rtmdet_mobilenet_v4_conv_small",
}  # fmt: skip


def label(row: Published) -> str:
    return "-".join((row.model, row.name, *map(str, row.options.values())))


def test_every_network_with_public_weights_has_a_name_for_them() -> None:
    assert {name for name in ENTRIES if not published.names(name)} == NONE
    for name, entry in ENTRIES.items():
        first = "coco" if entry.task == "detection" else "imagenet"
        assert name in NONE or published.names(name)[0] == first
        if entry.backbone:
            assert "imagenet" in published.names(name, entry.backbone)
    assert {row.model for row in ROWS} <= set(ENTRIES)


def test_a_row_is_one_file_and_a_name_one_meaning() -> None:
    keys = [(row.model, row.name, tuple(sorted(row.options.items()))) for row in ROWS]
    assert len(set(keys)) == len(keys)
    files = [(row.source, row.file) for row in ROWS]
    assert len(set(files)) == len(files)
    by_name = collections.defaultdict(list)
    for row in ROWS:
        by_name[row.model, row.name].append(row)
    # `zoo.preprocessing` knows no options.
    for rows in by_name.values():
        assert len({str(row.preprocessing) for row in rows}) == 1


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_a_row_is_complete_and_its_file_has_a_layout(row: Published) -> None:
    if row.source == PACKAGE:
        assert row.url is None
    else:
        assert re.fullmatch(r"https://[a-z.]+/[\w./-]+\.(pth|h5|safetensors)", row.url or "")
    if "huggingface.co" in (row.url or ""):
        moves = not re.search(r"/resolve/[0-9a-f]{40}/", row.url or "")  # no commit, but a branch
        assert not moves or len(row.digest or "") == len("sha256:") + 64
    elif row.digest is None:
        assert row.model in ("mobilenet_v1", "mobilenet_v2")  # the bucket sends its own
    assert row.digest is None or re.fullmatch(
        "sha256:([0-9a-f]{8}|[0-9a-f]{64})|md5:[0-9a-f]{32}", row.digest
    )
    assert row.evaluation.resized is None or row.evaluation.resized >= row.evaluation.size
    assert row.licence
    origin = {PACKAGE: "efficientnet-lite-pytorch"}.get(row.source, row.source)
    layouts = [one for one in weights._layouts(row.model) if one.origin == origin]
    assert layouts
    options = inspect.signature(_builder(row.model)).parameters
    assert set(row.options) <= set(options)
    if row.name != "ra4":  # timm's other MobileNetV3s expect ImageNet's mean
        assert any(one.normalisation == row.normalisation for one in layouts)


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.backbone])
def test_a_builder_takes_what_the_weights_of_its_backbone_need(name: str) -> None:
    entry = ENTRIES[name]
    parameters = inspect.signature(_builder(name)).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        parameters = {**parameters, **inspect.signature(_builder(entry.backbone)).parameters}
    sources = {row.source for row in published.rows(name, entry.backbone)}
    for layout in weights._layouts(entry.backbone):
        if layout.origin in sources:
            assert {*layout.options, *entry.backbone_options} <= set(parameters)


def _builder(model: str):
    module, _, function = ENTRIES[model].builder.partition(":")
    found = getattr(importlib.import_module(module), function)
    return getattr(found, "func", found)


HASHES = {
    "efficientnet_b": (efficientnet, lambda row: f"b{row.model[-1]}"),
    "efficientnet_v2": (
        efficientnet_v2,
        lambda row: row.model[-2:] if row.model[-2] == "b" else f"-{row.model[-1]}",
    ),
    "mobilenet_v3": (mobilenet_v3, lambda row: row.file[len("weights_mobilenet_v3_") : -3]),
    "resnet": (resnet, lambda row: row.model),
}


@pytest.mark.parametrize("row", OF_KERAS, ids=label)
def test_digests_are_those_of_the_installed_keras(row: Published) -> None:
    for beginning, (module, key) in HASHES.items():
        if row.model.startswith(beginning):
            assert row.digest == f"md5:{module.WEIGHTS_HASHES[key(row)][0]}"
            base = getattr(module, "BASE_WEIGHTS_PATH", None) or module.BASE_WEIGHT_PATH
            assert row.url == base + row.file
            return
    if row.model.startswith("vgg"):
        module = {"vgg16": vgg16, "vgg19": vgg19}[row.model]
        assert row.url == module.WEIGHTS_PATH
        digests = re.findall(r'file_hash="(\w+)"', inspect.getsource(module))
        assert row.digest == f"md5:{digests[0]}"
    else:
        assert "file_hash" not in inspect.getsource({
            "mobilenet_v1": mobilenet, "mobilenet_v2": mobilenet_v2,
        }[row.model])  # fmt: skip


# One of each place where the sources put the address of a MobileNet together.
ADDRESSES = [
    ("mobilenet_v1", {}, "imagenet", "MobileNet"),
    ("mobilenet_v1", {"alpha": 0.75}, "imagenet-160", "MobileNet"),
    ("mobilenet_v1", {"alpha": 0.5}, "imagenet-128", "MobileNet"),
    ("mobilenet_v1", {"alpha": 0.25}, "imagenet-192", "MobileNet"),
    ("mobilenet_v2", {"alpha": 0.35}, "imagenet-96", "MobileNetV2"),
    ("mobilenet_v2", {"alpha": 1.4}, "imagenet", "MobileNetV2"),
    ("mobilenet_v3_small", {"minimalistic": True}, "imagenet", "MobileNetV3Small"),
]


@pytest.mark.parametrize(("model", "options", "name", "theirs"), ADDRESSES)
def test_addresses_are_those_of_the_installed_keras(
    model: str, options: dict, name: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = published.choose(model, name, options)
    assert row is not None
    asked: list[tuple] = []

    def get_file(file, origin, **given):
        asked.append((file, origin, given.get("file_hash")))
        raise ConnectionError

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    size = row.evaluation.size
    with pytest.raises(ConnectionError):
        getattr(keras.applications, theirs)(input_shape=(size, size, 3), **options)
    assert asked == [(row.file, row.url, row.digest and row.digest.removeprefix("md5:"))]


def test_accuracies_of_mobilenet_v3_are_those_of_the_installed_keras() -> None:
    told = dict(
        re.findall(r"mobilenet_(v3_\w+_[\d.]+_224) +\|[^|]*\|[^|]*\| +([\d.]+)",
                   mobilenet_v3.BASE_DOCSTRING)
    )  # fmt: skip
    rows = [row for row in OF_KERAS if "_v3_" in row.model]
    assert len(rows) == len(told) == 6
    for row in rows:
        kind = "_minimalistic" if row.options.get("minimalistic") else ""
        name = f"{row.model.removeprefix('mobilenet_')}{kind}_{row.options.get('alpha', 1.0)}_224"
        assert row.top1 == float(told[name])


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_figures_are_those_of_the_catalogue(row: Published) -> None:
    """Where both have some of one source, network and crop."""
    entry = ENTRIES[row.model]
    same = [
        result
        for result in entry.results
        if result.source == row.figures
        and not row.options
        and str(row.evaluation.size) in result.setting
        and not re.search("minimalistic|int8|masks", result.setting)
    ]
    for result in same:
        assert row.ap == result.ap
        for ours, error in ((row.top1, result.top1), (row.top5, result.top5)):
            if ours is not None and error is not None:
                assert ours == pytest.approx(100 - error)
    if row.figures == "torchvision IMAGENET1K_V1" and not row.options:
        assert same  # the catalogue has these of every network


def test_names_are_chosen_by_the_builder_s_options() -> None:
    narrow = published.choose("mobilenet_v2", "imagenet", {"alpha": 0.35, "dropout": 0.1})
    assert narrow is not None
    assert narrow.file.endswith("_0.35_224.h5")
    bn = published.choose("vgg16", "imagenet", {"batch_norm": True})
    assert bn is not None
    assert bn.file == "vgg16_bn-6c64b313.pth"
    of_backbone = published.choose(
        "ssdlite_mobilenet_v2", "imagenet", {"alpha": 0.5}, backbone="mobilenet_v2"
    )
    assert of_backbone is not None
    assert of_backbone.options == {"alpha": 0.5}
    assert published.choose("mobilenet_v2", "imagenet21k") is None
    with pytest.raises(
        InputError, match=r"no weights 'imagenet' with alpha=0\.6; there are: .*0\.5"
    ):
        published.choose("mobilenet_v2", "imagenet", {"alpha": 0.6})
    with pytest.raises(InputError, match=r"'imagenet-v2' with alpha=0\.5; there are: without opt"):
        published.choose("mobilenet_v2", "imagenet-v2", {"alpha": 0.5})


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        ("resnet50", "imagnet", "it has imagenet, imagenet-v2, imagenet-keras; did you mean 'imag"),
        ("resnet50", "coco", "it has imagenet, imagenet-v2, imagenet-keras; or give the path"),
        ("lenet5", "imagenet", "nobody publishes weights of it by name; or give the path"),
        ("efficientdet_lite0", "cocoo", "it has coco, imagenet, imagenet-timm; did you mean 'coco"),
    ],
)
def test_an_unknown_name_is_told_what_there_is(model: str, asked: str, told: str) -> None:
    with pytest.raises(InputError) as raised:
        kerascnn.build(model, weights=asked)
    assert str(raised.value).startswith(f"no weights {asked!r} for {model}; {told}")


def test_preprocessing_of_a_name_needs_no_file() -> None:
    second = zoo.preprocessing("resnet50", 224, 224, weights="imagenet-v2")
    assert second.mean == (123.675, 116.28, 103.53)
    assert second.crop_fraction == pytest.approx(224 / 232)
    assert second.interpolation == "bilinear"
    timm = zoo.preprocessing("efficientnet_lite1", 240, 240, weights="imagenet")
    assert timm.interpolation == "bicubic"
    caffe = zoo.preprocessing("resnet50", 224, 224, weights="imagenet-keras")
    assert (caffe.order, caffe.crop_fraction) == ("bgr", 0.875)
    box = zoo.preprocessing("ssdlite_mobilenet_v3_large", 320, 320, weights="imagenet-v2")
    assert (box.resize, box.crop_fraction) == ("stretch", 0.875)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of MobileNet 0.25 as keras.applications has it, of random weights."""
    path = tmp_path_factory.mktemp("theirs") / "theirs.h5"
    keras.applications.MobileNet(alpha=0.25, input_shape=(128, 128, 3), weights=None).save(path)
    return path.read_bytes()


def test_a_model_is_built_with_weights_by_name(
    narrow: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = published.choose("mobilenet_v1", "imagenet-128", {"alpha": 0.25})
    assert row is not None
    monkeypatch.delenv("KERASCNN_OFFLINE")
    monkeypatch.setenv("KERASCNN_HOME", str(tmp_path))
    options = {"alpha": 0.25, "input_shape": (64, 64, 3), "weights": "imagenet-128"}
    address = f"/keras.applications/{row.file}"
    with serving({address: narrow}) as server:
        server.digest = "google"
        monkeypatch.setenv("KERASCNN_MIRROR", server.url)
        model = kerascnn.build("mobilenet_v1", **options)
        again = kerascnn.build("mobilenet_v1", classes=5, **options)
        assert server.asked == [f"GET {address}"]
    by_path = kerascnn.build(
        "mobilenet_v1", alpha=0.25, input_shape=(64, 64, 3), weights=cache.path_of(row)
    )
    for one, other in zip(model.get_weights(), by_path.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        again.get_layer("stem").get_weights()[0], model.get_layer("stem").get_weights()[0]
    )
    assert again.output_shape == (None, 5)


@pytest.mark.parametrize(
    ("model", "name", "theirs", "options"),
    [
        pytest.param("mobilenet_v2", "imagenet-96", "MobileNetV2", {"alpha": 0.35}, marks=IN_CI),
        pytest.param("mobilenet_v1", "imagenet-128", "MobileNet", {"alpha": 0.25},
                     marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", "imagenet", "MobileNetV3Small", {"minimalistic": True},
                     marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", "imagenet-keras", "EfficientNetB0", {},
                     marks=pytest.mark.slow),
        pytest.param("efficientnet_v2_b0", "imagenet", "EfficientNetV2B0", {},
                     marks=pytest.mark.slow),
        pytest.param("resnet50", "imagenet-keras", "ResNet50", {}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_files_whose_layers_have_older_names_are_read_as_keras_reads_them(
    model: str, name: str, theirs: str, options: dict, tmp_path: Path
) -> None:
    row = published.choose(model, name, options)
    assert row is not None
    size = row.evaluation.size
    reference = getattr(keras.applications, theirs)(
        weights=None, input_shape=(size, size, 3), **options
    )
    plain, older = tmp_path / "plain.h5", tmp_path / row.file
    reference.save(plain)
    _write_with_older_names(plain, older)
    ours = {"input_shape": (64, 64, 3), **options}
    by_name = kerascnn.build(model, weights=plain, **ours)
    by_order = kerascnn.build(model, weights=older, **ours)
    for one, other in zip(by_name.get_weights(), by_order.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # Not by chance: under a name that nobody publishes, it is refused.
    older.rename(tmp_path / "own.h5")
    with pytest.raises(InputError, match=r"own\.h5 holds no weights of"):
        kerascnn.build(model, weights=tmp_path / "own.h5", **ours)


@pytest.mark.parametrize("classes", [None, 5])
def test_one_layer_with_an_older_name_is_found(
    narrow: bytes, tmp_path: Path, classes: int | None
) -> None:
    row = published.choose("mobilenet_v1", "imagenet-128", {"alpha": 0.25})
    assert row is not None
    (tmp_path / "plain.h5").write_bytes(narrow)
    _write_with_older_names(tmp_path / "plain.h5", tmp_path / row.file, {"conv_preds": "probs"})
    options = {"alpha": 0.25, "input_shape": (64, 64, 3), "classes": classes}
    model = kerascnn.build("mobilenet_v1", weights=tmp_path / row.file, **options)
    plain = kerascnn.build("mobilenet_v1", weights=tmp_path / "plain.h5", **options)
    for layer in model.layers[: -1 if classes else None]:
        for one, other in zip(
            layer.get_weights(), plain.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def _write_with_older_names(path: Path, older: Path, renamed: dict[str, str] | None = None) -> None:
    """The same weights in a file like the published ones, with other names of all layers, or some.

    The lists of names are in two attributes, as Keras writes long ones.
    """
    with h5py.File(path) as file, h5py.File(older, "w") as written:
        layers = list(map(str, file["model_weights"].attrs["layer_names"]))
        new = [f"old_{number}" for number in range(len(layers))]
        if renamed is not None:
            new = [renamed.get(layer, layer) for layer in layers]
        for layer, name in zip(layers, new, strict=True):
            group = file["model_weights"][layer]
            names = list(map(str, group.attrs["weight_names"]))
            copy = written.create_group(name)
            ends = [f"{name}/{one.rpartition('/')[2]}:0" for one in names]
            for one, end in zip(names, ends, strict=True):
                copy.create_dataset(end, data=group[one][()])
            copy.attrs["weight_names"] = [end.encode() for end in ends]
        encoded = [name.encode() for name in new]
        written.attrs["layer_names0"], written.attrs["layer_names1"] = encoded[:5], encoded[5:]


def test_a_file_of_another_width_is_not_read_by_order(tmp_path: Path) -> None:
    row = published.choose("mobilenet_v1", "imagenet-128")
    assert row is not None
    path = tmp_path / "plain.h5"
    reference = keras.applications.MobileNet(alpha=0.25, weights=None, input_shape=(128, 128, 3))
    reference.save(path)
    _write_with_older_names(path, tmp_path / row.file)
    with pytest.raises(InputError, match=r"its old_\d+/kernel has shape .*, where conv1 wants"):
        kerascnn.build("mobilenet_v1", weights=tmp_path / row.file)
