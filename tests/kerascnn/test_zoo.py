"""Contract tests over the whole registry."""

from __future__ import annotations

import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import zoo
from kerascnn.complexity import count_macs, count_parameters
from kerascnn.errors import InputError

LAYER_NAME = re.compile(
    r"image|flatten|pool|dropout|"
    r"(stem|head|last|logits|stage\d+_(pool|block\d+(_[a-z]+)+))(_norm|_act)?"
)


@pytest.mark.parametrize("name", kerascnn.list_models())
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


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # Of the papers: V2 table 4, V3 tables 3 and 4 (rounded there to whole millions).
        ("mobilenet_v2", 300),
        ("mobilenet_v3_large", 219),
        ("mobilenet_v3_small", 56),
    ],
)
def test_multiply_adds_of_the_papers(name: str, millions: int) -> None:
    assert count_macs(kerascnn.build(name)) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(
    ("name", "reference", "options"),
    [
        ("mobilenet_v2", keras.applications.MobileNetV2, {"alpha": 0.35}),
        ("mobilenet_v3_small", keras.applications.MobileNetV3Small, {}),
        ("mobilenet_v3_large", keras.applications.MobileNetV3Large, {}),
    ],
)
def test_outputs_equal_keras_applications(name: str, reference, options) -> None:
    shape = (64, 64, 3)
    arguments = {"weights": None, "input_shape": shape, "classes": 7, **options}
    arguments["classifier_activation"] = None
    if "v3" in name:
        arguments |= {"include_preprocessing": False, "minimalistic": False}
    theirs = reference(**arguments)
    ours = kerascnn.build(name, input_shape=shape, classes=7, **options)
    rng = np.random.default_rng(0)
    values = [w + rng.normal(0, 0.02, w.shape).astype("float32") for w in theirs.get_weights()]
    theirs.set_weights([np.abs(v) if v.ndim == 1 else v for v in values])
    # The same layers in the same order; only convolutions that stand for dense layers differ.
    pairs = zip(ours.weights, theirs.get_weights(), strict=True)
    ours.set_weights([value.reshape(weight.shape) for weight, value in pairs])
    x = rng.uniform(-1, 1, (2, *shape)).astype("float32")
    np.testing.assert_allclose(
        ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=2e-4, atol=1e-5
    )


def test_lenet_at_28_and_32_is_one_network() -> None:
    small, large = (kerascnn.build("lenet5", input_shape=(s, s, 1)) for s in (28, 32))
    large.set_weights(small.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (2, 28, 28, 1)).astype("float32")
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(
        small.predict(x, verbose=0), large.predict(padded, verbose=0), atol=1e-6
    )
    with pytest.raises(InputError, match="20x20"):
        kerascnn.build("lenet5", input_shape=(20, 20, 1))


@pytest.mark.parametrize("name", [n for n in kerascnn.list_models() if n != "lenet5"])
@pytest.mark.parametrize("option", ["stem_strides", "early_strides"])
def test_small_pictures_keep_twice_the_detail(name: str, option: str) -> None:
    last = "last" if "v3" in name else "head"
    shape = (64, 64, 3)
    published = kerascnn.build(name, input_shape=shape)
    small = kerascnn.build(name, input_shape=shape, **{option: 1})
    assert published.get_layer(last).output.shape[1:3] == (2, 2)
    assert small.get_layer(last).output.shape[1:3] == (4, 4)
    new = {layer.name for layer in small.layers} - {layer.name for layer in published.layers}
    # V3-Small's first block has the shape of its input then, and is added to it.
    assert new <= {"stage1_block1_add"}
    assert count_parameters(small) == count_parameters(published)


def test_saved_and_loaded_is_equal(tmp_path) -> None:
    model = kerascnn.build("efficientnet_lite0", input_shape=(32, 32, 3), classes=3, width=0.35)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))


def test_misspelt_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="alhpa"):
        kerascnn.build("mobilenet_v2", alhpa=0.5)


def test_unknown_names() -> None:
    with pytest.raises(zoo.UnknownModelError, match="'mobilenet_v2'"):
        kerascnn.build("mobilnet_v2")
    with pytest.raises(InputError, match="no weights 'imagenet'"):
        kerascnn.build("lenet5", weights="imagenet")


def test_listing_by_task() -> None:
    assert kerascnn.list_models("classification") == kerascnn.list_models()
    assert kerascnn.list_models("detection") == []


def test_importing_the_registry_imports_no_framework() -> None:
    code = (
        "import sys, kerascnn; kerascnn.list_models();"
        "print({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
