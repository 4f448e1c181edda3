"""The networks of keras.applications, as they come: each becomes a plain network of equal answers.

`plain` itself compares the answers and raises; here it is held what went and what stayed.
"""

from __future__ import annotations

import keras
import pytest
from keras import layers
from marks import marks_of

from training.importing.plain import plain

# Networks that take no smaller images, and those which ask for their own.
SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
# What a family has of its own: bytes inside, a head of convolutions, thousands of operations.
FAST = ("MobileNet", "MobileNetV3Small", "EfficientNetB0")
BYTES = {"mean": 0.0, "std": 255.0}
HALF = {"mean": 127.5, "std": 127.5}
CENTRED = {"mean": 128.0, "std": 128.0}
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
# Of each family what stands in front, and how many layers that are.
FRONTS = {
    "MobileNetV3": (HALF, 1),
    "EfficientNetV2S": (CENTRED, 1), "EfficientNetV2M": (CENTRED, 1),
    "EfficientNetV2L": (CENTRED, 1),
    "EfficientNetV2B": (IMAGENET, 2),
    "EfficientNetB": (BYTES, 2),
    "ConvNeXt": (IMAGENET, 1),
}  # fmt: skip
# Heads whose activation is a layer of its own.
LAYER_BEHIND = ("MobileNet", "MobileNetV3Small", "MobileNetV3Large")
# Twice the weights of these are more than a small machine has.
HUGE = ("ConvNeXtXLarge", "ConvNeXtLarge")

NAMES = sorted(
    name for name, made in vars(keras.applications).items() if name[0].isupper() and callable(made)
)


def leaves(model: keras.Model) -> int:
    """Layers without inputs, those of models inside as well: ConvNeXt has some."""
    return sum(
        leaves(one) if isinstance(one, keras.Model) else not isinstance(one, layers.InputLayer)
        for one in model.layers
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=marks_of(n, ci={"EfficientNetB0"}, slow={*NAMES} - {*FAST}))
        for n in NAMES
    ],
)
def test_every_network_is_plain_and_answers_alike(name):
    if name in HUGE:
        pytest.skip("the same layers as ConvNeXtBase, in more memory than a small machine has")
    side = SMALLEST.get(name, 32)
    given = {} if name == "MobileNetV3Small" else {"input_shape": (side, side, 3)}
    model = getattr(keras.applications, name)(weights=None, classes=7, **given)

    found = plain(model, image_size=(side, side))

    family = next((one for one in FRONTS if name.startswith(one)), None)
    front, taken = FRONTS[family] if family else ({}, 0)
    behind = name in LAYER_BEHIND
    assert len(found.model.layers) == 1 + leaves(model) - taken - behind
    assert (found.activation, found.model.output_shape) == ("softmax", (None, 7))
    if front:
        told = found.preprocessing
        assert (told.mean, told.std) == (front["mean"], front["std"])
    else:
        assert found.preprocessing is None
    norms = [one for one in model.layers if isinstance(one, layers.Normalization)]
    assert found.model.count_params() == model.count_params() - sum(
        one.count_params() for one in norms
    )


def test_all_of_the_installed_version_are_looked_at():
    assert len(NAMES) == 40
    assert set(FAST) <= set(NAMES)
