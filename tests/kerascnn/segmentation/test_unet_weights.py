"""Weights of U-Nets: what others wrote in plain Keras, our runs', and those of a backbone alone."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from checkpoints import differing, golden_values, goldens, write_safetensors
from keras import layers
from marks import IN_CI
from networks import outputs_of, with_random_norms

import kerascnn
from kerascnn import weights, zoo
from kerascnn.errors import InputError


def plain(
    *,
    shape=(16, 16, 3),
    width=4,
    depth=2,
    up="transposed",
    up_kernel=2,
    up_activation=None,
    kept_first=False,
    norm=False,
    head=0,
    classes=1,
    padding="same",
    activation="relu",
) -> keras.Model:
    """A U-Net as in public notebooks, with the names that Keras gives, and lively weights."""

    def pair(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding=padding)(x)
            x = layers.BatchNormalization()(x) if norm else x
            x = layers.Activation(activation)(x)
        return x

    x = inputs = keras.Input(shape)
    kept = []
    for level in range(depth):
        kept.append(pair(x, width * 2**level))
        x = layers.MaxPooling2D()(kept[-1])
    x = pair(x, width * 2**depth)
    for level in reversed(range(depth)):
        filters = width * 2**level
        if up == "transposed":
            x = layers.Conv2DTranspose(filters, up_kernel, strides=2, padding="same")(x)
        else:
            x = layers.UpSampling2D(interpolation=up)(x)
            if up_kernel:
                conv = layers.Conv2D(filters, up_kernel, activation=up_activation, padding="same")
                x = conv(x)
        old = kept[level]
        if padding == "valid":
            old = layers.Cropping2D((old.shape[1] - x.shape[1]) // 2)(old)
        x = pair(layers.concatenate([old, x] if kept_first else [x, old]), filters)
    if head:
        x = layers.Conv2D(head, 3, activation="relu", padding="same")(x)
    x = layers.Conv2D(classes, 1, activation="sigmoid" if classes == 1 else "softmax")(x)
    return lively(keras.Model(inputs, x))


def lively(model: keras.Model) -> keras.Model:
    """Random weights of every kind, with which probabilities differ from pixel to pixel."""
    rng = np.random.default_rng(0)
    for layer in with_random_norms(model).layers:
        if hasattr(layer, "kernel"):
            kernel, bias = layer.get_weights()
            incoming = kernel.size / kernel.shape[-1]
            gain = 2 if layer is not model.layers[-1] else 10
            kernel = rng.normal(0, np.sqrt(gain / incoming), kernel.shape)
            layer.set_weights([kernel, rng.normal(0, 0.2, bias.shape)])
    return model


def same(theirs: keras.Model, ours: keras.Model) -> None:
    shape = theirs.input_shape[1:]
    x = np.random.default_rng(1).normal(0, 1, (2, *shape)).astype(np.float32)
    wanted = outputs_of(theirs, x)
    got = np.asarray(keras.ops.softmax(outputs_of(ours, x)))
    if wanted.shape[-1] == 1:
        wanted = np.concatenate([1 - wanted, wanted], axis=-1)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert wanted[..., 1].std() > 0.05


RESIZED = {"up": "nearest", "kept_first": True}
FORMS = {
    "transposed": ({}, {"upsample": "transposed", "kept_first": False, "norm": False}),
    "salt": (
        {"up_kernel": 3, "norm": True, "width": 6, "depth": 1},
        {"up_kernel": 3, "norm": True, "width": 6, "depth": 1},
    ),
    "membrane": (
        {**RESIZED, "up_activation": "relu", "head": 2, "shape": (16, 16, 1)},
        {"upsample": "nearest", "up_activation": True, "head": 2, "up_kernel": 2},
    ),
    "resized alone": ({**RESIZED, "up_kernel": 0, "classes": 2}, {"up_kernel": 0, "head": 0}),
}


@pytest.mark.parametrize("form", FORMS)
def test_plain_files_give_their_networks_probabilities(form: str, tmp_path: Path) -> None:
    written, options = FORMS[form]
    suffix = {"salt": ".keras", "membrane": ".weights.h5"}.get(form, ".h5")
    theirs = plain(**written)
    path = tmp_path / f"model{suffix}"
    (theirs.save_weights if suffix == ".weights.h5" else theirs.save)(path)
    found = weights.find("unet", path).layout.options
    assert {name: found[name] for name in options} == options
    ours = kerascnn.build("unet", input_shape=theirs.input_shape[1:], weights=path)
    same(theirs, ours)
    normalised = zoo.preprocessing("unet", 16, 16, weights=path)
    assert (normalised.mean, normalised.std, normalised.resize) == (0.0, 255.0, "stretch")


def test_numbers_begin_anywhere(tmp_path: Path) -> None:
    """At conv2d_1 in old versions, and where a notebook's last network ended."""
    keras.utils.clear_session()
    plain(depth=1)
    theirs = plain(depth=1)
    names = [x.name for x in theirs.layers if x.weights]
    assert names[0] == "conv2d_7"
    assert "conv2d_transpose_1" in names
    theirs.save(tmp_path / "again.h5")
    ours = kerascnn.build("unet", input_shape=(16, 16, 3), weights=tmp_path / "again.h5")
    same(theirs, ours)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ({"kept_first": True}, {"kept_first": True}),
        (
            {**RESIZED, "up": "bilinear", "up_activation": None},
            {"upsample": "bilinear", "up_activation": False},
        ),
        (
            {"padding": "valid", "activation": "elu", "depth": 1, "shape": (20, 22, 1)},
            {"padding": "valid", "activation": "elu"},
        ),
    ],
)
def test_what_weights_do_not_say_is_asked_of_the_user(written, options, tmp_path: Path) -> None:
    theirs = plain(**written)
    theirs.save_weights(tmp_path / "model.weights.h5")
    build = {"input_shape": theirs.input_shape[1:], "weights": tmp_path / "model.weights.h5"}
    same(theirs, kerascnn.build("unet", **build, **options))
    with pytest.raises(AssertionError):
        same(theirs, kerascnn.build("unet", **build))


def test_classes_of_the_file_or_new_ones(tmp_path: Path) -> None:
    theirs = plain(classes=3)
    theirs.save(tmp_path / "model.h5")
    build = {"input_shape": (16, 16, 3), "weights": tmp_path / "model.h5"}
    same(theirs, kerascnn.build("unet", classes=3, **build))
    with pytest.raises(InputError, match=r"layer logits wants .*give `classes`"):
        kerascnn.build("unet", **build)
    other = kerascnn.build("unet", classes=5, **build)
    kernel = other.get_layer("dec1_conv2").get_weights()[0]
    np.testing.assert_array_equal(kernel, theirs.layers[-3].get_weights()[0])


def test_what_is_no_plain_unet_is_refused(tmp_path: Path) -> None:
    classifier = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3)])
    for _ in range(12):
        classifier.add(layers.Conv2D(4, 3, padding="same"))
    classifier.save(tmp_path / "classifier.h5")
    with pytest.raises(InputError, match=r"no weights of unet .*others of a U-Net \(plain Keras\)"):
        kerascnn.build("unet", weights=tmp_path / "classifier.h5")
    theirs = plain()
    theirs.save(tmp_path / "model.h5")
    for options, wanted in (
        ({"depth": 3}, "layer enc"),
        ({"width": 8}, "layer enc1_conv1 wants"),
        ({"head": 2}, "no tensor head/kernel, which layer head wants"),
        ({"norm": True}, "layer enc1_conv1_norm wants"),
        ({"input_shape": (16, 16, 1)}, "layer enc1_conv1 wants"),
    ):
        with pytest.raises(InputError, match=wanted) as raised:
            kerascnn.build("unet", weights=tmp_path / "model.h5", **options)
        assert "\n" not in str(raised.value)


@IN_CI
def test_runs_of_classifiers_and_of_unets_are_told_apart(tmp_path: Path) -> None:
    options = {"input_shape": (64, 64, 3), "alpha": 0.1}
    classifier = with_random_norms(kerascnn.build("mobilenet_v2", classes=7, **options))
    classifier.save(tmp_path / "classifier.keras")
    model = kerascnn.build("unet_mobilenet_v2", weights=tmp_path / "classifier.keras", **options)
    decoder = {x.name for x in model.layers if x.weights and x.name.startswith(("dec", "logits"))}
    assert len(decoder) == 21
    assert differing(model, classifier) == decoder
    model.save_weights(tmp_path / "unet.weights.h5")
    found = weights.find("unet_mobilenet_v2", tmp_path / "unet.weights.h5", backbone="mobilenet_v2")
    assert not found.backbone


def test_a_run_of_ours_is_loaded_but_for_other_classes(tmp_path: Path) -> None:
    options = {"input_shape": (16, 16, 3), "width": 2, "depth": 2, "norm": True}
    trained = with_random_norms(kerascnn.build("unet", classes=3, **options))
    trained.save(tmp_path / "model.keras")
    options["weights"] = tmp_path / "model.keras"
    assert not differing(kerascnn.build("unet", classes=3, **options), trained)
    assert differing(kerascnn.build("unet", classes=5, **options), trained) == {"logits"}


def test_a_references_classifier_gives_its_features(tmp_path: Path) -> None:
    golden = goldens()["mobilenet_v2"]
    tensors = {n: golden_values(n, shape, golden["gain"]) for n, shape in golden["tensors"]}
    path = write_safetensors(tmp_path / "reference.safetensors", tensors)
    model = kerascnn.build("unet_mobilenet_v2", input_shape=(75, 64, 3), weights=path)
    for ours, theirs in (("stem", "features.0.0"), ("stage7_block1_project", "features.17.conv.2")):
        kernel = model.get_layer(ours).get_weights()[0]
        np.testing.assert_array_equal(kernel, tensors[f"{theirs}.weight"].transpose(2, 3, 1, 0))
    assert model.get_layer("stem_pad")
    normalised = zoo.preprocessing("unet_mobilenet_v2", 75, 64, weights=path)
    assert normalised.mean == pytest.approx((123.675, 116.28, 103.53))


def test_imagenet_fills_the_backbone_of_lite0() -> None:
    shape = (64, 64, 3)
    model = kerascnn.build("unet_efficientnet_lite0", input_shape=shape, weights="imagenet")
    source = weights.find("efficientnet_lite0", "imagenet")
    theirs = source.tensors["_blocks.15._project_conv.weight"].transpose(2, 3, 1, 0)
    ours = model.get_layer("stage7_block1_project").get_weights()[0]
    np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(InputError, match="no weights 'imagenet' for unet; nobody publishes"):
        kerascnn.build("unet", weights="imagenet")


@pytest.mark.slow
def test_keras_applications_fill_the_backbone(tmp_path: Path) -> None:
    theirs = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3))
    theirs.save(tmp_path / "resnet50.h5")
    model = kerascnn.build(
        "unet_resnet50", input_shape=(64, 64, 3), weights=tmp_path / "resnet50.h5"
    )
    kernel = theirs.get_layer("conv5_block3_3_conv").get_weights()[0]
    ours = model.get_layer("stage4_block3_conv3").get_weights()[0]
    np.testing.assert_array_equal(ours, kernel)
