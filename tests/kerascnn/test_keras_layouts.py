"""Files of keras.applications (and of tf.keras' form of it) give keras.applications' logits."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from marks import IN_CI, marks_of
from networks import outputs_of, zeros_at_first

import kerascnn

REFERENCES = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    **{f"efficientnet_b{n}": f"EfficientNetB{n}" for n in range(8)},
    **{f"efficientnet_v2_{n}": f"EfficientNetV2{n.upper()}" for n in ("b0", "b1", "b2", "b3")},
    **{f"efficientnet_v2_{n}": f"EfficientNetV2{n.upper()}" for n in ("s", "m", "l")},
}
# One of each layout; each suffix is among them.
FAST = {
    "vgg16": ".keras",
    "resnet50": ".h5",
    "mobilenet_v1": ".weights.h5",
    "mobilenet_v2": ".h5",
    "mobilenet_v3_small": ".keras",
    "efficientnet_b0": ".h5",
}
CI_ALONE = {"vgg16", "resnet50", "mobilenet_v1", "mobilenet_v2", "efficientnet_b0"}
SHAPE = (64, 64, 3)


@pytest.fixture(autouse=True)
def _all_values_come_from_files() -> Iterator[None]:
    """What a file does not fill is zero, and no time is spent on drawing it."""
    with zeros_at_first():
        yield


def with_random_norms(model, gain: float):
    """Random weights of every kind, batch norm's statistics and biases among them.

    Kernels have the variance gain / fan-in: with Keras' own initial ones depthwise networks forget
    their input, and any two agree.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        kind, weights = layer.__class__.__name__, layer.get_weights()
        if kind == "BatchNormalization":
            n = len(weights[0])
            scale, variance = rng.uniform(0.5, 1.5, (2, n))
            layer.set_weights([scale, rng.normal(0, 0.1, n), rng.normal(0, 0.1, n), variance])
        elif weights and kind != "Normalization":
            fan_in = np.prod(weights[0].shape[: 2 if kind == "DepthwiseConv2D" else -1])
            kernel = rng.standard_normal(weights[0].shape, np.float32) * np.sqrt(gain / fan_in)
            layer.set_weights([kernel, *(rng.normal(0, 0.1, w.shape) for w in weights[1:])])
    return model


def gain_of(name: str) -> float:
    """Large enough that two pictures differ, small enough that the deep ones are no chaos."""
    gains = {
        "resnet": 1.0, "mobilenet_v3": 2.0, "efficientnet_v2": 1.1, "efficientnet_b7": 1.6,
        "efficientnet_b": 1.8,
    }  # fmt: skip
    return next((gain for prefix, gain in gains.items() if name.startswith(prefix)), 1.4)


def reference(name: str, applications=keras.applications, **options):
    options |= {"weights": None, "classifier_activation": None, "input_shape": SHAPE}
    if "v3" in name or "efficientnet_v2" in name:
        options["include_preprocessing"] = False
    return with_random_norms(getattr(applications, REFERENCES[name])(**options), gain_of(name))


def assert_equal_logits(name: str, theirs, path, classes: int, **options) -> None:
    ours = kerascnn.build(name, weights=path, input_shape=SHAPE, classes=classes, **options)
    pictures = np.random.default_rng(1).uniform(-1, 1, (2, *SHAPE)).astype("float32")
    # EfficientNet's own first layers divide bytes by 255; its normalisation has learnt nothing.
    scale = 255 if name.startswith("efficientnet_b") else 1
    wanted = outputs_of(theirs, scale * pictures)
    got = outputs_of(ours, pictures)
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=marks_of(n, ci=CI_ALONE, slow=REFERENCES.keys() - FAST.keys()))
        for n in REFERENCES
    ],
)
def test_logits_of_keras_applications(name: str, tmp_path) -> None:
    theirs = reference(name, classes=7)
    path = tmp_path / f"reference{FAST.get(name, '.h5')}"
    if path.name.endswith(".weights.h5"):
        theirs.save_weights(path)
    else:
        theirs.save(path)
    assert_equal_logits(name, theirs, path, classes=7)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"alpha": 0.75}, id="alpha", marks=pytest.mark.slow),
        pytest.param({"minimalistic": True}, id="minimalistic"),
    ],
)
def test_other_forms_of_mobilenet_v3(options, tmp_path) -> None:
    theirs = reference("mobilenet_v3_small", classes=7, **options)
    theirs.save(tmp_path / "x.h5")
    assert_equal_logits("mobilenet_v3_small", theirs, tmp_path / "x.h5", classes=7, **options)


@pytest.mark.filterwarnings("ignore")  # tf_keras' own, on this NumPy
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mobilenet_v3_large", marks=IN_CI),
        pytest.param("resnet50", marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", marks=pytest.mark.slow),
    ],
)
def test_files_of_tf_keras(name: str, tmp_path) -> None:
    """The files that keras.applications downloads were written by it, with its names."""
    import tf_keras

    theirs = reference(name, tf_keras.applications, classes=7)
    path = tmp_path / "reference.h5"
    theirs.save_weights(path)
    assert_equal_logits(name, theirs, path, classes=7)


@IN_CI
def test_files_without_a_head(tmp_path) -> None:
    theirs = reference("mobilenet_v3_small", include_top=False)
    path = tmp_path / "notop.h5"
    theirs.save_weights(tmp_path / "notop.weights.h5")
    theirs.save(path)
    for file in (path, tmp_path / "notop.weights.h5"):
        model = kerascnn.build("mobilenet_v3_small", weights=file, classes=5)
        kernel = theirs.get_layer("conv_1").get_weights()[0]
        np.testing.assert_array_equal(model.get_layer("last").get_weights()[0], kernel)
    with pytest.raises(kerascnn.zoo.InputError, match="conv_2/kernel"):
        kerascnn.build("mobilenet_v3_small", weights=path)
