"""Weights of detectors: references' own, our runs', and those of a backbone alone.

tests/kerascnn/data made the references' outputs; their weights are a function of the tensors'
names, so that neither they nor torch is needed here.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from checkpoints import differing, golden_values, goldens, write_safetensors
from marks import IN_CI, marks_of
from networks import outputs_of, with_random_norms

import kerascnn
from kerascnn import zoo
from kerascnn.errors import InputError

OURS = {
    "ssdlite320_mobilenet_v3_large": "ssdlite_mobilenet_v3_large",
    "ssdlite320_mobilenet_v3_small": "ssdlite_mobilenet_v3_small",
    **{f"tf_efficientdet_lite{n}": f"efficientdet_lite{n}" for n in range(5)},
}
FAST = {"ssdlite320_mobilenet_v3_large", "tf_efficientdet_lite0"}
SHAPE = (64, 64, 3)


def reference(path: Path, golden: dict, **others: np.ndarray) -> Path:
    tensors = {n: golden_values(n, shape, golden["gain"]) for n, shape in golden["tensors"]}
    return write_safetensors(path, tensors | others)


def picked(count: int) -> list[int]:
    """As make_detector_goldens.py has it."""
    return sorted({*np.linspace(0, count - 1, 16).astype(int).tolist(), *range(count - 8, count)})


def pictures(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (2, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param(n, marks=marks_of(n, ci={"tf_efficientdet_lite0"}, slow={*OURS} - {*FAST}))
        for n in OURS
    ],
)
def test_outputs_of_the_reference(theirs: str, tmp_path: Path) -> None:
    golden = goldens("detector_goldens.json.gz")[theirs]
    path = reference(tmp_path / "reference.safetensors", golden)
    assert zoo.entry(OURS[theirs]).parameters == golden["parameters"]
    for size, wanted in golden["outputs"].items():
        height, width = map(int, size.split("x"))
        shape = (height, width, 3)
        model = kerascnn.build(OURS[theirs], weights=path, input_shape=shape)
        boxes, logits = outputs_of(model, pictures(shape))
        if golden["package"] == "torchvision":  # codes dx, dy, dw, dh
            boxes = boxes[..., [1, 0, 3, 2]]
        for got, right in ((boxes, wanted["boxes"]), (logits, wanted["logits"])):
            kept = got[:, picked(got.shape[1]), :4]
            scale = np.abs(got).max()
            np.testing.assert_allclose(kept / scale, np.array(right) / scale, atol=1e-4)


def test_references_say_what_they_expect_of_pictures(tmp_path: Path) -> None:
    for theirs in FAST:
        path = reference(tmp_path / "x.safetensors", goldens("detector_goldens.json.gz")[theirs])
        preprocessing = zoo.preprocessing(OURS[theirs], 320, 320, weights=path)
        assert (preprocessing.mean, preprocessing.std) == (127.5, 127.5)


@pytest.mark.parametrize(
    ("name", "random"),
    [
        pytest.param(
            *("ssdlite_mobilenet_v2", {f"class_map{n}_predict" for n in range(1, 7)}), marks=IN_CI
        ),
        pytest.param("efficientdet_lite0", {"class_predict_pointwise"}, marks=pytest.mark.slow),
    ],
)
def test_a_run_of_ours_is_loaded_but_for_other_classes(name: str, random, tmp_path: Path) -> None:
    trained = with_random_norms(kerascnn.build(name, input_shape=SHAPE, classes=3))
    trained.save(tmp_path / "model.keras")
    again = kerascnn.build(name, input_shape=SHAPE, classes=3, weights=tmp_path / "model.keras")
    assert not differing(again, trained)
    other = kerascnn.build(name, input_shape=SHAPE, classes=5, weights=tmp_path / "model.keras")
    assert differing(other, trained) == random
    with pytest.raises(InputError, match=r"class_.*predict.*give `classes`"):
        kerascnn.build(name, input_shape=SHAPE, weights=tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("name", "backbone", "ends"),
    [
        pytest.param(
            *("ssdlite_mobilenet_v2", "mobilenet_v2", ("stem", "stage", "head")), marks=IN_CI
        ),
        pytest.param(
            *("ssdlite_mobilenet_v3_small", "mobilenet_v3_small", ("stem", "stage", "last")),
            marks=pytest.mark.slow,
        ),
        pytest.param("efficientdet_lite0", "efficientnet_lite0", ("stem", "stage"), marks=IN_CI),
    ],
)
def test_a_classifiers_run_fills_the_backbone(name, backbone, ends, tmp_path: Path) -> None:
    trained = with_random_norms(kerascnn.build(backbone, input_shape=(32, 32, 3), classes=7))
    trained.save(tmp_path / "model.keras")
    model = kerascnn.build(name, input_shape=SHAPE, classes=3, weights=tmp_path / "model.keras")
    filled = {x.name for x in model.layers if x.weights and x.name.startswith(ends)}
    assert filled
    shared = {x.name for x in trained.layers} & {x.name for x in model.layers if x.weights}
    assert filled == shared
    assert not differing(model, trained) & filled


@pytest.mark.parametrize(
    ("name", "backbone", "last"),
    [
        pytest.param("ssdlite_mobilenet_v2", "mobilenet_v2", "head_act", marks=IN_CI),
        pytest.param(
            *("ssdlite_mobilenet_v3_large", "mobilenet_v3_large", "last_act"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("ssdlite_mobilenet_v4_conv_small", "mobilenet_v4_conv_small", "last_act"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("ssdlite_mobileone_s0", "mobileone_s0", "stage4_block1_pointwise_act"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_references_classifier_gives_its_features(name, backbone, last, tmp_path: Path) -> None:
    key = backbone.replace("mobilenet_v4", "mobilenetv4")
    path = reference(tmp_path / "x.safetensors", goldens("torch_goldens.json.gz")[key])
    classifier = kerascnn.build(backbone, input_shape=(75, 64, 3), weights=path, stem_strides=2)
    model = kerascnn.build(name, input_shape=(75, 64, 3), weights=path)
    ours, theirs = (
        outputs_of(kerascnn.features(x, [last]), pictures((75, 64, 3)))[0]
        for x in (model, classifier)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    normalised = zoo.preprocessing(name, 64, 64, weights=path)
    assert (
        normalised.mean
        == zoo.preprocessing(backbone.removeprefix("tf_"), 64, 64, weights=path).mean
    )


@IN_CI
def test_a_backbone_inside_another_network_is_found(tmp_path: Path) -> None:
    """As `Sequential([MobileNetV2(include_top=False), ..., Dense(...)])` is saved."""
    backbone = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=SHAPE, alpha=0.35
    )
    with_random_norms(backbone)
    pool, dense = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, name="five_fruits")
    keras.Sequential([backbone, pool, dense]).save(tmp_path / "classifier.h5")
    model = kerascnn.build(
        "ssdlite_mobilenet_v2",
        input_shape=SHAPE,
        alpha=0.35,
        weights=tmp_path / "classifier.h5",
    )
    theirs = backbone.get_layer("block_5_depthwise").get_weights()
    # Their block 5 is the last of the stage of 32 channels.
    np.testing.assert_array_equal(model.get_layer("stage3_block3_depthwise").get_weights(), theirs)


@IN_CI
def test_imagenet_fills_the_backbone_of_lite0() -> None:
    model = kerascnn.build("efficientdet_lite0", input_shape=SHAPE, weights="imagenet")
    classifier = kerascnn.build("efficientnet_lite0", input_shape=SHAPE, weights="imagenet")
    left = differing(model, classifier)
    assert left
    assert not [name for name in left if name.startswith(("stem", "stage"))]
    preprocessing = zoo.preprocessing("efficientdet_lite0", 320, 320, weights="imagenet")
    assert (preprocessing.mean, preprocessing.std) == (127.0, 128.0)
    with pytest.raises(InputError, match="efficientnet_lite1's 'imagenet' weights are not in the"):
        kerascnn.build("efficientdet_lite1", weights="imagenet")


@IN_CI
def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    golden = goldens("torch_goldens.json.gz")["mobilenet_v2"]
    stray = {"features.19.0.weight": np.zeros((4, 4, 1, 1), np.float32)}
    path = reference(tmp_path / "stray.safetensors", golden, **stray)
    with pytest.raises(InputError, match=r"no layer wants its tensor features\.19\.0\.weight"):
        kerascnn.build("ssdlite_mobilenet_v2", input_shape=SHAPE, weights=path)
    with pytest.raises(InputError, match="no weights of ssdlite_mobilenet_v3_small in a known"):
        kerascnn.build("ssdlite_mobilenet_v3_small", input_shape=SHAPE, weights=path)
    path = reference(tmp_path / "whole.safetensors", golden)
    with pytest.raises(InputError, match="layer stem"):
        kerascnn.build("ssdlite_mobilenet_v2", input_shape=SHAPE, weights=path, alpha=0.35)
