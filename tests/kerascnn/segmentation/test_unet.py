"""U-Net against its figure, against NumPy, and on the zoo's classifiers."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
from backends import Backends
from marks import IN_CI
from networks import with_random_norms

import kerascnn
from kerascnn import zoo
from kerascnn.complexity import count_parameters
from kerascnn.errors import InputError
from kerascnn.segmentation.unet import unet_on

BACKBONES = {
    "unet_mobilenet_v2": ["stage1", "stage2", "stage3", "stage5"],
    "unet_efficientnet_lite0": ["stage1", "stage2", "stage3", "stage5"],
    "unet_resnet50": ["stem", "stage1", "stage2", "stage3"],
    "unet_mobileone_s0": ["stem", "stage1", "stage2", "stage3"],
    "unet_mobilenet_v4_conv_small": ["stem", "stage1", "stage2", "stage3"],
    "unet_mobilenet_v4_conv_medium": ["stem", "stage1", "stage2", "stage3"],
}
SMALL = {
    "unet_mobilenet_v2": {"alpha": 0.35},
    "unet_efficientnet_lite0": {"width": 0.25},
    "unet_mobileone_s0": {"alpha": 0.25, "branches": 1},
    "unet_mobilenet_v4_conv_small": {"alpha": 0.25},
    "unet_mobilenet_v4_conv_medium": {"alpha": 0.25},
}


def tiny(**options) -> keras.Model:
    """A U-Net with weights of every kind, small enough for NumPy."""
    keras.utils.set_random_seed(1)
    model = kerascnn.build("unet", **{"depth": 2, "width": 2, "classes": 3, **options})
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if hasattr(layer, "bias") and layer.bias is not None:
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape))
    return model


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


# The network of figure 1 in NumPy: loops over the kernel, no framework.


def convolved(x: np.ndarray, layer: keras.Layer, padding: str) -> np.ndarray:
    kernel, bias = (w.astype(np.float64) for w in layer.get_weights())
    side = len(kernel)
    if padding == "same":  # an even kernel has its centre left of the middle
        before = (side - 1) // 2
        x = np.pad(x, [(before, side - 1 - before)] * 2 + [(0, 0)])
    height, width = (n - side + 1 for n in x.shape[:2])
    return bias + sum(
        x[i : i + height, j : j + width] @ kernel[i, j] for i in range(side) for j in range(side)
    )


def transposed(x: np.ndarray, layer: keras.Layer) -> np.ndarray:
    kernel, bias = (w.astype(np.float64) for w in layer.get_weights())
    height, width, _ = x.shape
    side, before = len(kernel), (len(kernel) - 2) // 2
    canvas = np.zeros((2 * height + side, 2 * width + side, kernel.shape[2]))
    for i in range(side):
        for j in range(side):
            ends = i + 2 * height, j + 2 * width
            canvas[i : ends[0] : 2, j : ends[1] : 2] += x @ kernel[i, j].T
    return bias + canvas[before : before + 2 * height, before : before + 2 * width]


def halved(x: np.ndarray) -> np.ndarray:
    odd = [(0, n % 2) for n in x.shape[:2]]
    x = np.pad(x, [*odd, (0, 0)], constant_values=-np.inf)
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max((1, 3))


def between(size: int) -> np.ndarray:
    """(2 * size, size) shares of pixels: pixel centres are at halves."""
    shares = np.zeros((2 * size, size))
    for i in range(2 * size):
        place = np.clip((i + 0.5) / 2 - 0.5, 0, size - 1)
        low = min(int(place), size - 2) if size > 1 else 0
        shares[i, low] += 1 - (place - low)
        if size > 1:
            shares[i, low + 1] += place - low
    return shares


def resized(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "nearest":
        return x.repeat(2, axis=0).repeat(2, axis=1)
    return np.einsum("ai,bj,ijc->abc", between(x.shape[0]), between(x.shape[1]), x)


def by_hand(
    model: keras.Model,
    x: np.ndarray,
    *,
    padding="same",
    upsample="transposed",
    up_kernel=2,
    up_activation=False,
    kept_first=True,
    head=0,
) -> np.ndarray:
    def pair(x, name):
        for number in (1, 2):
            layer = model.get_layer(f"{name}_conv{number}")
            x = np.maximum(convolved(x, layer, padding), 0)
        return x

    kept = []
    for level in (1, 2, 3):
        x = pair(halved(x) if level > 1 else x, f"enc{level}")
        kept.append(x)
    for level in (2, 1):
        if upsample == "transposed":
            x = transposed(x, model.get_layer(f"dec{level}_up"))
        else:
            x = resized(x, upsample)
            if up_kernel:
                x = convolved(x, model.get_layer(f"dec{level}_up"), "same")
        x = np.maximum(x, 0) if up_activation else x
        old = kept[level - 1]
        x = x[: old.shape[0], : old.shape[1]]
        rows, columns = ((a - b) // 2 for a, b in zip(old.shape[:2], x.shape[:2], strict=True))
        old = old[rows : rows + x.shape[0], columns : columns + x.shape[1]]
        x = np.concatenate([old, x] if kept_first else [x, old], axis=-1)
        x = pair(x, f"dec{level}")
    if head:
        x = np.maximum(convolved(x, model.get_layer("head"), padding), 0)
    return convolved(x, model.get_layer("logits"), "valid")


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((44, 48, 1), {"padding": "valid"}),
        ((12, 16, 3), {}),
        # Odd twice, and odd on one level alone.
        pytest.param((11, 13, 3), {}, marks=IN_CI),
        ((11, 14, 3), {"upsample": "bilinear"}),
        pytest.param((8, 12, 3), {"upsample": "bilinear", "up_kernel": 0}, marks=IN_CI),
        ((10, 13, 1), {"upsample": "nearest", "up_activation": True, "head": 2}),
        ((8, 8, 3), {"up_kernel": 3, "kept_first": False}),
        ((44, 44, 3), {"padding": "valid", "upsample": "nearest", "up_kernel": 3}),
    ],
)
def test_logits_are_those_of_figure_1_in_numpy(shape, options) -> None:
    model = tiny(input_shape=shape, **options)
    x = noise(2, *shape)
    got = model.predict_on_batch(x)
    wanted = np.stack([by_hand(model, picture.astype(np.float64), **options) for picture in x])
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1 * np.abs(wanted).max()


@pytest.mark.usefixtures("sized_alone")
def test_the_papers_network() -> None:
    model = kerascnn.build("unet", input_shape=(572, 572, 1), padding="valid")
    assert count_parameters(model) == 31_030_658
    sides = {
        "enc1": 568, "enc2": 280, "enc3": 136, "enc4": 64, "enc5": 28,
        "dec4": 52, "dec3": 100, "dec2": 196, "dec1": 388,
    }  # fmt: skip
    levels = kerascnn.features(model, list(sides)).outputs
    assert [x.shape[1] for x in levels] == list(sides.values())
    assert [x.shape[-1] for x in levels] == [64, 128, 256, 512, 1024, 512, 256, 128, 64]
    assert model.output_shape == (None, 388, 388, 2)
    cuts = {n: model.get_layer(f"dec{n}_crop").cropping for n in (4, 3, 2, 1)}
    assert {n: {*cut[0], *cut[1]} for n, cut in cuts.items()} == {4: {4}, 3: {16}, 2: {40}, 1: {88}}


@pytest.mark.parametrize(
    ("options", "published"),
    [
        # milesial/Pytorch-UNet, whose form has batch norms and no biases.
        ({"norm": True}, 31_037_698),
        # zhixuhao/unet and Kaggle's starter of width 16, which have one logit where ours have two.
        pytest.param(
            {"input_shape": (256, 256, 1), "upsample": "nearest", "head": 2},
            31_031_685 + 3,
            marks=pytest.mark.slow,
        ),
        ({"input_shape": (128, 128, 3), "width": 16}, 1_941_105 + 17),
        ({"input_shape": (128, 128, 3), "width": 16, "upsample": "bilinear"}, 1_941_105 + 17),
    ],
)
@pytest.mark.usefixtures("sized_alone")
def test_counts_of_other_forms(options, published: int) -> None:
    assert count_parameters(kerascnn.build("unet", **options)) == published


def test_kernels_are_drawn_by_what_a_neuron_sums() -> None:
    keras.utils.set_random_seed(0)
    model = kerascnn.build("unet", input_shape=(64, 64, 3), width=32, depth=2, up_kernel=2)
    sums = {"enc2_conv2": 9 * 64, "dec2_conv1": 9 * 128, "dec2_up": 128, "dec1_up": 64}
    for name, incoming in sums.items():
        kernel = np.asarray(model.get_layer(name).kernel)
        assert kernel.std() == pytest.approx(np.sqrt(2 / incoming), rel=0.05)
        assert np.abs(kernel).max() > 3 * kernel.std()  # a Gaussian, not cut at two deviations
    resized = kerascnn.build("unet", input_shape=(64, 64, 3), width=32, depth=2, upsample="nearest")
    kernel = np.asarray(resized.get_layer("dec2_up").kernel)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (4 * 128)), rel=0.05)


def test_dropout_is_at_the_end_of_the_contracting_path() -> None:
    model = tiny(input_shape=(16, 16, 3), depth=3)
    dropped = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
    assert [x.name for x in dropped] == ["enc3_dropout", "enc4_dropout"]
    assert [x.rate for x in dropped] == [0.5, 0.5]
    concatenated = model.get_layer("dec3_concat").input[0]._keras_history.operation.name
    assert concatenated == "enc3_dropout"
    without = tiny(input_shape=(16, 16, 3), depth=3, dropout=0)
    assert not [x for x in without.layers if isinstance(x, keras.layers.Dropout)]


def test_norms_stand_between_convolutions_without_bias_and_activations() -> None:
    options = {"norm": True, "norm_momentum": 0.9, "norm_epsilon": 1e-5, "activation": "elu"}
    model = tiny(input_shape=(16, 16, 3), **options)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 10
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-5)}
    assert not model.get_layer("dec1_conv2").use_bias
    assert model.get_layer("dec1_up").use_bias
    layers = [x.name for x in model.layers if x.name.startswith("enc2_")]
    roles = ["conv1", "conv1_norm", "conv1_act", "conv2", "conv2_norm", "conv2_act"]
    assert layers == [f"enc2_{role}" for role in ["pool", *roles, "dropout"]]
    assert model.get_layer("enc2_conv1_act").activation is keras.activations.elu


def test_tiles_make_up_the_whole() -> None:
    """The overlap-tile strategy of figure 2: with padding "valid" seams cannot be seen."""
    whole = tiny(input_shape=(48, 48, 3), padding="valid")
    tile = tiny(input_shape=(44, 44, 3), padding="valid")
    tile.set_weights(whole.get_weights())
    x = noise(1, 48, 48, 3)
    wanted = whole.predict_on_batch(x)
    for top in (0, 4):
        for left in (0, 4):
            found = tile.predict_on_batch(x[:, top : top + 44, left : left + 44])
            np.testing.assert_allclose(found, wanted[:, top : top + 4, left : left + 4], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "symmetric"}, "'same' or 'valid', not 'symmetric'"),
        ({"upsample": "bicubic"}, "'transposed', 'bilinear' or 'nearest', not 'bicubic'"),
        ({"up_kernel": 1}, "up_kernel must be at least 2 with upsample='transposed', not 1"),
        ({"upsample": "nearest", "up_kernel": -1}, "up_kernel must be at least 0"),
        ({"depth": 0}, "at least once, not 0 times"),
        ({"classes": 1}, "at least 2 (a mask and its background), not 1"),
        ({"input_shape": (15, 64, 3)}, "15x64 pixels cannot be halved 4 times; take 16 or more"),
        (
            {"input_shape": (600, 572, 1), "padding": "valid"},
            "600x572 pixels cannot be halved evenly; take 588x572 or 604x572, or padding='same'",
        ),
        ({"input_shape": (100, 100, 1), "padding": "valid"}, "take 188x188, or padding"),
        ({"input_shape": (48, 46, 1), "padding": "valid", "depth": 2}, "take 48x44 or 48x48, or"),
    ],
)
def test_what_cannot_be_is_refused(options, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        kerascnn.build("unet", **{"width": 2, **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("side", "left", "options"),
    [
        (204, 20, {}),
        (44, 4, {"depth": 2}),
        (18, 2, {"depth": 1}),
        (20, 2, {"depth": 1, "head": 2}),
    ],
)
def test_the_smallest_sizes_are_taken_and_smaller_ones_are_not(side, left, options) -> None:
    options = {"padding": "valid", "width": 1, **options}
    model = kerascnn.build("unet", input_shape=(side, side, 1), **options)
    assert model.output_shape == (None, left, left, 2)
    if options.get("depth"):
        smaller = side - 2 ** options["depth"]
        with pytest.raises(InputError, match=f"take {side}x{side}, or padding"):
            kerascnn.build("unet", input_shape=(smaller, smaller, 1), **options)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.usefixtures("sized_alone")
def test_backbones_give_the_last_tensor_of_each_stride(name: str) -> None:
    options = {} if name in SMALL else {"width": 0.25}
    model = kerascnn.build(name, input_shape=(96, 64, 3), classes=5, **SMALL.get(name, options))
    assert model.output_shape == (None, 96, 64, 5)
    assert model.name == name
    parts = kerascnn.features(model, BACKBONES[name]).outputs
    for level, part in zip((2, 3, 4, 5), parts, strict=True):
        kept, x = model.get_layer(f"dec{level}_concat").input
        assert kept is part
        assert x.shape[1:3] == kept.shape[1:3] == (96 // 2 ** (level - 1), 64 // 2 ** (level - 1))
        assert model.get_layer(f"dec{level}_conv2").filters == 16 * 2 ** (level - 1)
    # No map of the picture's own size is kept, and what stands behind the last stage is cut off.
    names = {x.name for x in model.layers}
    assert not {n for n in names if "drop" in n}
    assert "dec1_concat" not in names
    assert not {n for n in names if n.startswith(("head", "pool"))}
    assert model.get_layer("dec1_conv1").kernel.shape == (3, 3, 32, 16)


@pytest.mark.usefixtures("sized_alone")
def test_any_size_will_do_on_a_backbone() -> None:
    model = unet_on("resnet18", input_shape=(75, 101, 3), width=0.1)
    assert model.output_shape == (None, 75, 101, 2)
    cut = {x.name: x.cropping for x in model.layers if isinstance(x, keras.layers.Cropping2D)}
    # 75 is 38, 19, 10, 5, 3 and 101 is 51, 26, 13, 7, 4.
    assert cut == {
        "dec5_up_crop": ((0, 1), (0, 1)),
        "dec4_up_crop": ((0, 0), (0, 1)),
        "dec3_up_crop": ((0, 1), (0, 0)),
        "dec2_up_crop": ((0, 0), (0, 1)),
        "dec1_up_crop": ((0, 1), (0, 1)),
    }


def test_the_stem_of_small_pictures_leaves_a_map_of_their_size() -> None:
    model = unet_on("resnet18", input_shape=(32, 32, 3), width=0.1, upsample="nearest")
    assert [x.shape[1] for x in model.get_layer("dec1_concat").input] == [32, 32]
    assert "dec4_conv1" not in {x.name for x in model.layers}


def test_options_of_backbones_and_decoders() -> None:
    model = kerascnn.build(
        "unet_mobilenet_v2",
        input_shape=(64, 64, 3),
        alpha=0.35,
        padding="symmetric",
        norm_momentum=0.9,
        norm_epsilon=1e-5,
        decoder_width=4,
        dropout=0.3,
        drop_path=0.2,
    )
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-5)}
    assert model.get_layer("stem_pad")
    assert [model.get_layer(f"dec{n}_conv1").filters for n in (1, 2, 5)] == [4, 8, 64]
    assert model.get_layer("dropout").rate == 0.3
    assert model.get_layer("stage3_block2_drop_path").rate > 0
    with pytest.raises(TypeError, match="alhpa"):
        kerascnn.build("unet_mobilenet_v2", alhpa=0.5)


@pytest.mark.parametrize(
    ("backbone", "shape", "message"),
    [
        ("vgg16", (50, 70, 3), "vgg16 do not halve 50x70 pixels evenly; take 48x64 or 64x80, or"),
        ("lenet5", (64, 64, 1), "lenet5 do not halve 64x64 pixels evenly; take another backbone"),
    ],
)
def test_backbones_that_do_not_halve_are_refused(backbone, shape, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        unet_on(backbone, input_shape=shape)


@pytest.mark.parametrize("name", [n for n in zoo.list_models("classification") if n[-1] in "0l8"])
@pytest.mark.slow
def test_classifiers_serve_as_backbones(name: str) -> None:
    if name in ("lenet5", "alexnet"):
        pytest.skip("does not halve the picture")
    model = unet_on(name, input_shape=(96, 64, 3), classes=3)
    assert model.output_shape == (None, 96, 64, 3)
    # RepViT's stem halves twice: nothing of half the size is handed on.
    levels = (3, 4) if name.startswith("repvit") else (2, 3, 4)
    assert {f"dec{n}_concat" for n in levels} <= {x.name for x in model.layers}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("unet", (64, 64, 3), {"width": 8}),
        ("unet", (64, 64, 3), {"width": 8, "upsample": "bilinear", "norm": True}),
        ("unet", (50, 70, 3), {"width": 8, "upsample": "nearest"}),
        ("unet", (188, 204, 3), {"width": 4, "padding": "valid"}),
        ("unet_mobilenet_v2", (50, 70, 3), {"alpha": 0.35}),
        ("unet_efficientnet_lite0", (64, 64, 3), {"width": 0.25}),
        ("unet_efficientnet_lite0", (64, 64, 3), {"width": 0.25, "upsample": "transposed"}),
    ],
)
def test_files_are_one_piece_for_the_delegate(name, shape, options, tmp_path) -> None:
    from export.artefacts.variants import parse_variant
    from export.runtime import load as runtimes
    from export.tflite.convert import to_tflite
    from export.tflite.quantise import quantise_file

    keras.utils.set_random_seed(0)
    model = with_random_norms(kerascnn.build(name, input_shape=shape, classes=5, **options))
    preprocessing = zoo.entry(name).preprocessing(*shape[:2])
    pictures = np.random.default_rng(1).integers(0, 256, (4, *shape), dtype=np.uint8)
    wanted = model.predict_on_batch(preprocessing.normalise(pictures))
    converted = to_tflite(model)
    (tmp_path / "float32.tflite").write_bytes(converted)
    runtime = runtimes.load(tmp_path / "float32.tflite", preprocessing)
    assert runtime.operations == ("DELEGATE",)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(runtime.predict(pictures) / scale, wanted / scale, atol=1e-4)
    int8 = quantise_file(converted, parse_variant("int8"), preprocessing, pictures)
    (tmp_path / "int8.tflite").write_bytes(int8)
    runtime = runtimes.load(tmp_path / "int8.tflite", preprocessing)
    assert runtime.operations == ("QUANTIZE", "DELEGATE")
    right = runtime.predict(pictures).argmax(-1) == wanted.argmax(-1)
    assert right.mean() > 0.9


JAX = """
import sys
import keras, numpy as np, kerascnn
weights, pictures, logits, name = sys.argv[1:5]
assert keras.backend.backend() == "jax"
x, wanted = np.load(pictures), np.load(logits)
options = {"width": 4, "depth": 3, "upsample": name} if name != "unet_mobilenet_v2" else {}
built = "unet" if options else name
model = kerascnn.build(built, input_shape=x.shape[1:], weights=weights, **options)
got = np.asarray(model.predict_on_batch(x))
assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max(), np.abs(got - wanted).max()
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["transposed", "bilinear", "nearest", "unet_mobilenet_v2"])
def test_jax_says_the_same(on_backend: Backends, form: str, tmp_path) -> None:
    shape = (37, 50, 3)
    options = {"width": 4, "depth": 3, "upsample": form}
    name, options = ("unet", options) if form != "unet_mobilenet_v2" else (form, {})
    model = with_random_norms(kerascnn.build(name, input_shape=shape, **options))
    x = noise(2, *shape)
    model.save_weights(tmp_path / "model.weights.h5")
    np.save(tmp_path / "pictures.npy", x)
    np.save(tmp_path / "logits.npy", model.predict_on_batch(x))
    files = [str(tmp_path / f) for f in ("model.weights.h5", "pictures.npy", "logits.npy")]
    on_backend("jax", JAX, *files, form)
