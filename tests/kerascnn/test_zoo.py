"""Contract tests over the whole registry."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest
from marks import IN_CI, all_but, marks_of
from networks import outputs_of

import kerascnn
from kerascnn import zoo
from kerascnn.complexity import count_macs, count_parameters
from kerascnn.errors import InputError
from training.engine.keras_files import without_values

# One of each family, the smallest: the others take minutes and are marked slow.
FAST = {
    "lenet5", "googlenet", "resnet18", "resnext50_32x4d", "se_resnet50", "mobilenet_v1",
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_lite0",
    "efficientnet_v2_b0", "mobileone_s0", "repvit_m0_9", "cspnext_tiny",
}  # fmt: skip


def test_a_network_that_is_only_sized_leaves_keras_its_draws() -> None:
    keras.utils.set_random_seed(0)  # the next draw makes the generator
    with without_values():
        keras.random.normal((2,))
    assert np.isfinite(keras.random.normal((2,))).all()


CLASSIFIERS = kerascnn.list_models("classification")


def marked(fast: set[str], mark: pytest.MarkDecorator = pytest.mark.slow) -> list:
    return all_but(fast, CLASSIFIERS, mark)


ROLE = r"(_[a-z]+\d?)+"
LAYER_NAME = re.compile(
    rf"image|flatten|pool|dropout|(stem|last|logits|head\d?|stage\d+(_block\d+)?)({ROLE})?"
)
DETECTORS = kerascnn.list_models("detection")
# Of two stages, with their detections inside; the others give codes and logits.
RCNNS = [name for name in DETECTORS if "_rcnn_" in name]
SMALL_DETECTORS = ["ssdlite_mobilenet_v2", "ssdlite_mobilenet_v3_small", "efficientdet_lite0"]
# The first has the second's heads.
SMALL = pytest.mark.parametrize(
    "name",
    [
        pytest.param(SMALL_DETECTORS[0], marks=pytest.mark.slow),
        *(pytest.param(name, marks=IN_CI) for name in SMALL_DETECTORS[1:]),
    ],
)
DETECTOR_LAYER_NAME = re.compile(
    r"image|boxes|logits|"
    rf"(stem|last|head|stage\d+(_block\d+)?|extra\d|fpn\d?_p\d|(box|class)(_[a-z]+\d?)+)({ROLE})?"
)
RCNN_LAYER_NAME = re.compile(
    r"image|proposals|detections|masks|(stem|last|stage\d+(_block\d+)?|fpn_p\d|rpn|"
    rf"(rpn_(codes|logits)(_p\d)?)|(box|class|mask)(_[a-z]+\d?)+)({ROLE})?"
)
SMALL_SEGMENTATION = {"unet": {"width": 4, "norm": True}, "unet_mobilenet_v2": {"alpha": 0.1}}
SEGMENTATION_LAYER_NAME = re.compile(
    rf"image|logits|(stem|stage\d+(_block\d+)?|enc\d|dec\d)({ROLE})?"
)


def options_of(name: str) -> set[str]:
    module, _, function = zoo.entry(name).builder.partition(":")
    return set(inspect.signature(getattr(import_module(module), function)).parameters)


@pytest.mark.parametrize("name", marked(FAST, IN_CI))
@pytest.mark.usefixtures("sized_alone")
def test_published_counts_names_and_outputs(name: str) -> None:
    entry = zoo.entry(name)
    model = kerascnn.build(name)
    assert count_parameters(model) == entry.parameters
    assert model.input_shape == (None, *entry.input_shape)
    assert model.output_shape == (None, entry.classes)
    assert isinstance(model.layers[-1], keras.layers.Dense)
    assert model.layers[-1].name == "logits"
    strange = [layer.name for layer in model.layers if not LAYER_NAME.fullmatch(layer.name)]
    assert strange == []
    if entry.macs:
        # Papers round to two digits; Google's figures for the Lite family are 4 to 6% above the
        # products of its own layers' shapes, those for B4 and B5 as much below.
        assert count_macs(model) / 1e6 == pytest.approx(entry.macs, rel=0.065)


FUSED = [name for name in kerascnn.list_models("classification") if zoo.entry(name).fused]


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.usefixtures("sized_alone")
def test_published_counts_of_the_form_in_files(name: str) -> None:
    entry = zoo.entry(name)
    assert entry.fused is not None
    model = kerascnn.build(name, fused=True)
    assert count_parameters(model) == entry.fused.parameters
    rounded = re.search(r"([\d.]+) million parameters", entry.fused.source)
    assert rounded is not None
    assert round(entry.fused.parameters / 1e6, 1) == float(rounded[1])
    assert count_macs(model) / 1e6 == pytest.approx(entry.fused.macs, rel=0.03)
    strange = [layer.name for layer in model.layers if not LAYER_NAME.fullmatch(layer.name)]
    assert strange == []


@pytest.mark.parametrize(
    "name", all_but(SMALL_DETECTORS, [name for name in DETECTORS if name not in RCNNS])
)
@pytest.mark.usefixtures("sized_alone")
def test_published_counts_names_and_outputs_of_detectors(name: str) -> None:
    entry, spec = zoo.entry(name), zoo.detector_spec(name)
    model = kerascnn.build(name)
    assert count_parameters(model) == entry.parameters
    assert model.input_shape == (None, *entry.input_shape)
    anchors, logits = spec.anchors.count, entry.classes + spec.background
    assert model.output_shape == [(None, anchors, 4), (None, anchors, logits)]
    assert [output._keras_history.operation.name for output in model.outputs] == ["boxes", "logits"]
    strange = [x.name for x in model.layers if not DETECTOR_LAYER_NAME.fullmatch(x.name)]
    assert strange == []
    if entry.macs:
        macs = count_macs(model)
        if (
            "ssdlite" in name and "torchvision" not in entry.macs_source
        ):  # the papers' first map has half the anchors
            for first in ("box_map1_predict", "class_map1_predict"):
                conv = model.get_layer(first)
                _, height, width, _ = conv.output.shape
                macs -= height * width * conv.kernel.shape[2] * conv.filters // 2
        assert macs / 1e6 == pytest.approx(entry.macs, rel=0.015)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n.endswith("resnet50_fpn") else pytest.mark.slow) for n in RCNNS],
)
@pytest.mark.usefixtures("sized_alone")
def test_published_counts_names_and_outputs_of_two_stage_detectors(name: str) -> None:
    entry, spec = zoo.entry(name), zoo.detector_spec(name)
    model = kerascnn.build(name)
    assert count_parameters(model) == entry.parameters
    assert model.input_shape == (None, *entry.input_shape)
    assert {key: (x.shape, x.dtype) for key, x in model.output.items()} == {
        "boxes": ((None, 100, 4), "float32"),
        "labels": ((None, 100), "int32"),
        "scores": ((None, 100), "float32"),
        "count": ((None,), "int32"),
    } | ({"masks": ((None, 100, 28, 28), "float32")} if spec.masks else {})
    assert spec.masks == name.startswith("mask_")
    assert model.get_layer("class_logits").output.shape == (None, spec.proposals, 91)
    assert model.get_layer("proposals").spec == model.get_layer("detections").spec == spec
    strange = [x.name for x in model.layers if not RCNN_LAYER_NAME.fullmatch(x.name)]
    assert strange == []
    if entry.macs:
        # ResNet's boxes are looked at, as proposals have no lowest score; no masks are.
        last = "detections" if "resnet50" in name else "proposals"
        seen = keras.Model(model.input, model.get_layer(last).output)
        assert count_macs(seen) / 1e6 == pytest.approx(entry.macs, rel=1e-4)
        assert (count_macs(seen) < count_macs(model)) == ("nothing" in entry.macs_source)


@pytest.mark.parametrize("name", kerascnn.list_models("segmentation"))
@pytest.mark.usefixtures("sized_alone")
def test_published_counts_names_and_outputs_of_segmentation(name: str) -> None:
    entry = zoo.entry(name)
    model = kerascnn.build(name)
    assert count_parameters(model) == entry.parameters
    assert model.input_shape == (None, *entry.input_shape)
    assert model.output_shape == (None, *entry.input_shape[:2], entry.classes)
    assert model.layers[-1].name == "logits"
    assert model.layers[-1].kernel_size == (1, 1)
    strange = [x.name for x in model.layers if not SEGMENTATION_LAYER_NAME.fullmatch(x.name)]
    assert strange == []


@pytest.mark.parametrize(
    "name", ["unet", pytest.param("unet_mobilenet_v2", marks=pytest.mark.slow)]
)
def test_segmentation_learns_and_is_saved(name: str, tmp_path) -> None:
    keras.utils.set_random_seed(0)
    options = SMALL_SEGMENTATION[name]
    model = kerascnn.build(name, input_shape=(32, 48, 3), classes=3, dropout=0.0, **options)
    model.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-1, 1, (4, 32, 48, 3)).astype("float32")
    labels = rng.integers(0, 3, (4, 32, 48))
    before = float(model.train_on_batch(pictures, labels))
    assert float(model.train_on_batch(pictures, labels)) < before
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    ours, loaded = (outputs_of(x, pictures) for x in (model, again))
    np.testing.assert_allclose(ours, loaded, atol=1e-6)  # one of them runs eagerly
    assert np.isfinite(ours).all()
    mixed = kerascnn.build(
        name, input_shape=(32, 48, 3), classes=3, dtype="mixed_float16", **options
    )
    assert mixed.output.dtype == mixed.get_layer("logits").compute_dtype == "float32"
    assert mixed.get_layer("dec1_conv2").compute_dtype == "float16"


@SMALL
def test_a_step_lowers_the_loss_of_detectors(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = kerascnn.build(name, input_shape=(64, 96, 3), classes=3)
    model.compile(keras.optimizers.SGD(1e-3), ["mse", "mse"], run_eagerly=True)
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-1, 1, (4, 64, 96, 3)).astype("float32")
    wanted = [rng.normal(0, 1, (4, *shape[1:])).astype("float32") for shape in model.output_shape]
    before = model.train_on_batch(pictures, wanted)[0]
    after = model.train_on_batch(pictures, wanted)[0]
    assert after < before
    assert all(np.isfinite(output).all() for output in outputs_of(model, pictures))


@SMALL
def test_saved_and_loaded_detectors_are_equal(name: str, tmp_path) -> None:
    model = kerascnn.build(name, input_shape=(64, 64, 3), classes=3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    pairs = zip(outputs_of(model, x), outputs_of(again, x), strict=True)
    for ours, loaded in pairs:
        np.testing.assert_array_equal(ours, loaded)
    assert count_macs(again) == count_macs(model)


@pytest.mark.usefixtures("sized_alone")
def test_mixed_precision_keeps_float32_detections() -> None:
    for name in SMALL_DETECTORS:
        model = kerascnn.build(name, input_shape=(64, 64, 3), classes=3, dtype="mixed_float16")
        assert model.get_layer("stem").compute_dtype == "float16"
        assert [output.dtype for output in model.outputs] == ["float32", "float32"]
        predicting = [x for x in model.layers if x.name.endswith(("predict", "predict_pointwise"))]
        assert {x.compute_dtype for x in predicting} == {"float32"}


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        # LeCun et al. 1998, section II.B.
        ("lenet5", {"original": True}, 60_000),
        # The layers of Krizhevsky et al. 2012 with the 6x6x256 of section 3.5.
        ("alexnet", {"towers": 2}, 60_965_224),
        # Table 1 of the paper without and with its heads; torchvision with its heads.
        ("googlenet", {"batch_norm": False}, 6_998_552),
        ("googlenet", {"batch_norm": False, "auxiliary": True}, 13_378_280),
        ("googlenet", {"auxiliary": True}, 13_004_888),
        # torchvision's vgg16_bn and vgg19_bn.
        ("vgg16", {"batch_norm": True}, 138_365_992),
        ("vgg19", {"batch_norm": True}, 143_678_248),
        ("mobilenet_v1", {"alpha": 0.25}, 470_072),
    ],
)
@pytest.mark.usefixtures("sized_alone")
def test_published_counts_of_other_forms(name: str, options, published: int) -> None:
    assert count_parameters(kerascnn.build(name, **options)) == published


@pytest.mark.parametrize(
    ("name", "reference", "options"),
    [
        *[("mobilenet_v1", "MobileNet", {"alpha": a}) for a in (0.25, 0.75)],
        *[("mobilenet_v2", "MobileNetV2", {"alpha": a}) for a in (0.35, 1.3)],
        *[
            pytest.param(f"mobilenet_{v}", name, {"alpha": a}, marks=pytest.mark.slow)
            for v, name, a in (
                *[("v1", "MobileNet", 0.5), ("v2", "MobileNetV2", 0.5)],
                *[("v2", "MobileNetV2", 0.75), ("v2", "MobileNetV2", 1.4)],
            )
        ],
        ("mobilenet_v3_small", "MobileNetV3Small", {"alpha": 0.75}),
        ("mobilenet_v3_small", "MobileNetV3Small", {"minimalistic": True}),
        ("mobilenet_v3_large", "MobileNetV3Large", {"alpha": 0.75}),
        ("mobilenet_v3_large", "MobileNetV3Large", {"minimalistic": True}),
    ],
)
@pytest.mark.usefixtures("sized_alone")
def test_widths_and_forms_of_keras_applications(name: str, reference: str, options) -> None:
    shape = (96, 96, 3)
    theirs = getattr(keras.applications, reference)(weights=None, input_shape=shape, **options)
    ours = kerascnn.build(name, input_shape=shape, **options)
    assert count_parameters(ours) == count_parameters(theirs)
    kernels = [
        [layer.kernel.shape for layer in model.layers if isinstance(layer, convolutions)]
        for model in (ours, theirs)
        for convolutions in [(keras.layers.Conv2D, keras.layers.DepthwiseConv2D)]
    ]
    dense = len(kernels[1]) - len(kernels[0])  # theirs has 1x1 convolutions for dense layers
    assert kernels[0] == kernels[1][: len(kernels[1]) - dense]


# Keras has XLA compile each grouped convolution on a CPU: minutes, and ResNeXt-101 is ResNeXt-50 of
# more blocks; SE-ResNeXt and SENet-154 are it and SE-ResNet. MobileNetV1's and V2's are among V3's
# and EfficientNet's.
STEP = {"lenet5", "resnet18", "mobilenet_v3_small"}
STEP_IN_CI = {"googlenet", "efficientnet_b0", "mobileone_s0", "repvit_m0_9", "cspnext_tiny"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=marks_of(n, ci=STEP_IN_CI, slow={*CLASSIFIERS} - STEP - STEP_IN_CI))
        for n in CLASSIFIERS
        if not n.startswith(("resnext101", "se_resnext", "senet154"))
    ],
)
def test_one_step_lowers_the_loss(name: str) -> None:
    keras.utils.set_random_seed(0)
    # Noise would hide what one step does.
    quiet = {o: 0.0 for o in ("dropout", "drop_path") if o in options_of(name)}
    shape = (32, 32, zoo.entry(name).input_shape[2])
    model = kerascnn.build(name, input_shape=shape, classes=4, **quiet)
    model.compile(
        # A step of one length: gradients of 152 layers on 32x32 are thousands of times longer.
        keras.optimizers.SGD(1.0, global_clipnorm=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    pictures = np.random.default_rng(0).uniform(-1, 1, (8, *shape)).astype("float32")
    labels = np.arange(8) % 4
    before = float(model.train_on_batch(pictures, labels))
    after = float(model.train_on_batch(pictures, labels))
    assert after < before
    assert np.isfinite(outputs_of(model, pictures)).all()


# Squeeze and excitation is in MobileNetV3, too.
SAVED = {"mobilenet_v3_small", "googlenet"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=marks_of(n, ci={"googlenet"}, slow={*CLASSIFIERS} - SAVED))
        for n in CLASSIFIERS
    ],
)
def test_saved_and_loaded_is_equal(name: str, tmp_path) -> None:
    shape = (32, 32, zoo.entry(name).input_shape[2])
    model = kerascnn.build(name, input_shape=shape, classes=3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    x = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype("float32")
    np.testing.assert_array_equal(outputs_of(model, x), outputs_of(again, x))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet5", {"original": True}),
        pytest.param("alexnet", {"towers": 2}, marks=pytest.mark.slow),  # its layers: below
        pytest.param("googlenet", {"batch_norm": False}, marks=pytest.mark.slow),
    ],
)
def test_historical_forms_are_saved_and_loaded(name: str, options, tmp_path) -> None:
    shape = (32, 32, 1 if name == "lenet5" else 3)
    model = kerascnn.build(name, input_shape=shape, **options)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    x = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype("float32")
    np.testing.assert_array_equal(outputs_of(model, x), outputs_of(again, x))


def test_layers_of_alexnet_are_saved_and_loaded(tmp_path: Path) -> None:
    from kerascnn.layers import LocalResponseNormalization

    inputs = keras.Input((9, 9, 4))
    x = keras.layers.Conv2D(8, 3, groups=2)(inputs)
    model = keras.Model(inputs, LocalResponseNormalization(size=3, k=1.0, alpha=0.1)(x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 9, 9, 4)).astype("float32")
    np.testing.assert_array_equal(outputs_of(model, x), outputs_of(again, x))


def test_local_response_normalisation_is_the_papers() -> None:
    from kerascnn.layers import LocalResponseNormalization

    x = np.random.default_rng(0).normal(0, 30, (2, 3, 3, 7)).astype("float32")
    wanted = np.empty_like(x)
    for channel in range(7):
        near = x[..., max(0, channel - 2) : channel + 3]
        energy = np.sum(near.astype("float64") ** 2, axis=-1)
        wanted[..., channel] = x[..., channel] / (2 + 1e-4 * energy) ** 0.75
    np.testing.assert_allclose(LocalResponseNormalization()(x), wanted, rtol=1e-5)


def test_original_lenet_ranks_by_distance_to_its_pictures() -> None:
    model = kerascnn.build("lenet5", original=True)
    logits = model.get_layer("logits")
    pictures = logits.get_weights()[0].T / 2
    assert set(np.unique(pictures)) == {-1.0, 1.0}
    assert not logits.trainable_weights
    code = np.random.default_rng(0).normal(0, 1, (5, 84)).astype("float32")
    distances = ((code[:, None] - pictures[None]) ** 2).sum(-1)
    shifted = np.asarray(logits(code)) + distances
    np.testing.assert_allclose(shifted, shifted[:, :1].repeat(10, 1), rtol=1e-5)


def test_lenet_at_28_and_32_is_one_network() -> None:
    small, large = (kerascnn.build("lenet5", input_shape=(s, s, 1)) for s in (28, 32))
    large.set_weights(small.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (2, 28, 28, 1)).astype("float32")
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(outputs_of(small, x), outputs_of(large, padded), atol=1e-6)
    with pytest.raises(InputError, match="20x20"):
        kerascnn.build("lenet5", input_shape=(20, 20, 1))


PHONE = ["mobilenet_v1", "mobilenet_v3_small", "efficientnet_lite0", "efficientnet_v2_b0"]


@pytest.mark.parametrize("name", PHONE)
@pytest.mark.parametrize("option", ["stem_strides", "early_strides"])
@pytest.mark.usefixtures("sized_alone")
def test_small_pictures_keep_twice_the_detail(name: str, option: str) -> None:
    def last_size(model):
        pooled = model.get_layer("pool").input
        return tuple(pooled.shape[1:3])

    shape = (64, 64, 3)
    published = kerascnn.build(name, input_shape=shape)
    small = kerascnn.build(name, input_shape=shape, **{option: 1})
    assert last_size(published) == (2, 2)
    assert last_size(small) == (4, 4)
    new = {layer.name for layer in small.layers} - {layer.name for layer in published.layers}
    # V3-Small's first block has the shape of its input then, and is added to it.
    assert new <= {"stage1_block1_add", "stage1_block1_drop_path"}
    assert count_parameters(small) == count_parameters(published)


@pytest.mark.usefixtures("sized_alone")
def test_stems_adapt_to_small_pictures() -> None:
    for name in (*PHONE, "resnet18", "googlenet", "alexnet"):
        model = kerascnn.build(name, input_shape=(32, 32, 3), classes=10)
        stem = model.get_layer("stem")
        assert stem.strides == (1, 1)
        assert kerascnn.build(name, input_shape=(64, 64, 3)).get_layer("stem").strides[0] > 1
    resnet = kerascnn.build("resnet18", input_shape=(32, 32, 3))
    assert resnet.get_layer("stem").kernel.shape == (3, 3, 3, 64)
    assert resnet.get_layer("stage1_block1_conv1").output.shape[1:3] == (32, 32)


@pytest.mark.usefixtures("sized_alone")
def test_options_for_phones_and_training() -> None:
    shape = (64, 64, 3)
    model = kerascnn.build("efficientnet_b0", input_shape=shape, activation="relu6")
    kinds = {x.activation.__name__ for x in model.layers if hasattr(x, "activation")}
    assert "silu" not in kinds
    assert "relu6" in kinds
    model = kerascnn.build("mobilenet_v3_large", input_shape=shape, activation="relu")
    kinds = {x.activation.__name__ for x in model.layers if hasattr(x, "activation")}
    assert "hard_silu" not in kinds
    model = kerascnn.build("resnet50", input_shape=shape, drop_path=0.2, dropout=0.3, width=0.5)
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_drop_path")]
    assert len(rates) == 15
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.2 * 15 / 16)
    assert model.get_layer("dropout").rate == 0.3
    assert model.get_layer("stem").filters == 32


def test_features_share_weights_and_come_in_order() -> None:
    model = kerascnn.build("resnet18", input_shape=(64, 64, 3))
    names = ["stage4", "stem", "stage2", "stage1_block1", "stage1_block1_conv1"]
    extractor = kerascnn.features(model, names)
    shapes = [tuple(output.shape[1:]) for output in extractor.outputs]
    assert shapes == [(2, 2, 512), (32, 32, 64), (8, 8, 128), (16, 16, 64), (16, 16, 64)]
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    before = outputs_of(extractor, x)
    assert len(before) == len(names)
    stem = model.get_layer("stem")
    stem.set_weights([2 * w for w in stem.get_weights()])
    assert not np.allclose(outputs_of(extractor, x)[1], before[1])
    with pytest.raises(InputError, match=r"no 'stage9'.*stage1, stage2, stage3, stage4"):
        kerascnn.features(model, ["stage9"])
    with pytest.raises(InputError, match="list"):
        kerascnn.features(model, "stage1")


@pytest.mark.parametrize(
    "name", ["googlenet", "resnet18", "mobilenet_v3_small", "efficientnet_v2_b0"]
)
@pytest.mark.usefixtures("sized_alone")
def test_every_stage_ends_in_its_last_tensor(name: str) -> None:
    model = kerascnn.build(name, input_shape=(64, 64, 3))
    stages = sorted({m[0] for x in model.layers if (m := re.match(r"stage\d+", x.name))})
    extractor = kerascnn.features(model, stages)
    sizes = [output.shape[1] for output in extractor.outputs]
    assert sizes == sorted(sizes, reverse=True)
    for stage, output in zip(stages, extractor.outputs, strict=True):
        operation = output._keras_history.operation
        readers = [n.operation.name for n in operation._outbound_nodes]
        assert not [r for r in readers if r.startswith(f"{stage}_")]


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_float32_logits(dtype: str) -> None:
    model = kerascnn.build("mobilenet_v2", input_shape=(32, 32, 3), classes=3, dtype=dtype)
    assert keras.config.dtype_policy().name == "float32"
    assert model.get_layer("stem").compute_dtype == dtype.removeprefix("mixed_")
    assert model.get_layer("stem").kernel.dtype == "float32"
    assert model.output.dtype == "float32"
    plain = kerascnn.build("mobilenet_v2", input_shape=(32, 32, 3), classes=3)
    plain.set_weights(model.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(outputs_of(model, x), outputs_of(plain, x), atol=0.02)
    with pytest.raises(InputError, match="float17"):
        kerascnn.build("mobilenet_v2", dtype="float17")


def test_impossible_options_are_named() -> None:
    for name, options, message in (
        ("resnet50", {"padding": "valid"}, "padding"),
        ("resnet50", {"downsample_in": "conv3"}, "downsample_in"),
        ("alexnet", {"towers": 3}, "towers"),
        ("alexnet", {"input_shape": (20, 20, 3)}, "32 pixels"),
        ("googlenet", {"input_shape": (32, 32, 3), "auxiliary": True}, "auxiliary"),
        ("lenet5", {"original": True, "classes": 7}, "10 digits"),
    ):
        with pytest.raises(InputError, match=message):
            kerascnn.build(name, **options)


def test_misspelt_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="alhpa"):
        kerascnn.build("mobilenet_v2", alhpa=0.5)


def test_unknown_names() -> None:
    with pytest.raises(zoo.UnknownModelError, match="'mobilenet_v2'"):
        kerascnn.build("mobilnet_v2")
    with pytest.raises(InputError, match="no weights 'imagenet'"):
        kerascnn.build("lenet5", weights="imagenet")


def test_listing_by_task() -> None:
    tasks = [zoo.entry(name).task for name in kerascnn.list_models()]
    assert tasks == sorted(tasks)
    assert DETECTORS[0] == "faster_rcnn_resnet50_fpn"
    assert DETECTORS[-1] == "ssdlite_mobilenet_v4_conv_medium"
    assert len(RCNNS) == 6
    assert not {*DETECTORS} & {*kerascnn.list_models("classification")}
    assert kerascnn.list_models("segmentation")[0] == "unet"
    assert kerascnn.list_models("poetry") == []


def test_only_detectors_have_a_spec() -> None:
    with pytest.raises(InputError, match="mobilenet_v2 is not a detector"):
        zoo.detector_spec("mobilenet_v2")
    with pytest.raises(zoo.UnknownModelError, match="'efficientdet_lite0'"):
        zoo.detector_spec("efficientdet_lit0")


def test_detectors_see_the_whole_picture() -> None:
    assert zoo.preprocessing("efficientdet_lite0", 320, 320).resize == "stretch"
    assert zoo.preprocessing("unet_mobilenet_v2", 224, 224).resize == "stretch"
    assert zoo.preprocessing("mobilenet_v2", 224, 224).resize == "crop"


def test_importing_the_package_imports_numpy_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import kerascnn; kerascnn.list_models();"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(roots - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['kerascnn', 'numpy']"
