"""Images of which the last stages would see a pixel are refused, with the size that is enough."""

from __future__ import annotations

import pytest

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.engine import network
from training.engine.keras_files import without_values
from training.engine.request import request


@pytest.mark.parametrize(
    ("model", "options", "least"),
    [
        # Stems leave no pixels out of small images: four halvings, of 9, 5, 3 and 2 pixels.
        ("mobilenet_v1", {"alpha": 0.25}, 9),
        ("mobilenet_v1", {"alpha": 0.25, "stem_strides": 2}, 17),
        # Zeros around an image are none of its pixels.
        ("resnet18", {"width": 0.25}, 5),
        # Pools without padding: Keras refuses the graph.
        ("vgg16", {}, 32),
    ],
)
def test_the_least_size_is_stated(model: str, options: dict, least: int) -> None:
    asked = request(model, data="folder", model_options=options)

    def build(side: int) -> None:
        size = Preprocessing(height=side, width=side + 7, channels=3)
        with without_values():
            network.build(asked, size, classes=3)

    with pytest.raises(InputError, match=f"{model} takes images of at least {least} pixels"):
        build(least - 1)
    build(least)
