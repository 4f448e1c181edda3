"""What a classifier of KerasHub says of its images, as it stands in its .keras files."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from training.engine.run import load_keras
from training.importing import keras_hub, source
from training.importing.asked import ImportRequest

SIDE = 16


def classifier(**converter: Any) -> keras.Model:
    """A small network with the preprocessor that `keras_hub.models.ImageClassifier` has."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(x), name="hub")
    own = {"scale": None, "offset": None, "crop_to_aspect_ratio": True, "interpolation": "bilinear"}
    model.preprocessor = SimpleNamespace(image_converter=SimpleNamespace(**own | converter))
    return model


def test_scale_and_offset_become_mean_and_deviation() -> None:
    """`ImageConverter` gives the network image * scale + offset."""
    scale, offset = (1 / 58.395, 1 / 57.12, 1 / 57.375), (-2.1179, -2.0357, -1.8044)
    model = classifier(scale=scale, offset=offset)
    found = keras_hub.preprocessing(model, (SIDE, SIDE, 3))
    assert found is not None
    byte = np.array([[0, 100, 255]], np.uint8)
    wanted = byte * np.array(scale) + np.array(offset)
    np.testing.assert_allclose(found.normalise(byte), wanted, rtol=1e-4)
    assert (found.resize, found.crop_fraction, found.input_shape) == ("crop", 1.0, (SIDE, SIDE, 3))


@pytest.mark.parametrize(
    ("converter", "mean", "std", "resize"),
    [
        ({"scale": 1 / 127.5, "offset": -1}, 127.5, 127.5, "crop"),
        ({"scale": 1 / 255, "crop_to_aspect_ratio": False}, 0.0, 255.0, "stretch"),
        ({}, 0.0, 1.0, "crop"),
    ],
)
def test_what_is_one_number_stays_one(
    converter: dict[str, Any], mean: float, std: float, resize: str
) -> None:
    found = keras_hub.preprocessing(classifier(**converter), (SIDE, SIDE, 3))
    assert found is not None
    assert (found.mean, found.std, found.resize) == (mean, std, resize)


@pytest.mark.parametrize("converter", [{"scale": -1.0}, {"scale": (1.0, 2.0)}, {"scale": "a"}])
def test_what_cannot_be_said_is_left_to_a_guess(converter: dict[str, Any]) -> None:
    assert keras_hub.preprocessing(classifier(**converter), (SIDE, SIDE, 3)) is None


def test_a_classifier_without_a_preprocessor_says_nothing() -> None:
    model = classifier()
    model.preprocessor = None
    assert keras_hub.preprocessing(model, (SIDE, SIDE, 3)) is None


def test_the_import_takes_it_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = classifier(scale=1 / 255, offset=0)
    monkeypatch.setattr(source, "_read", lambda _path: model)
    asked = ImportRequest(source=str(tmp_path / "hub.keras"), data=str(tmp_path))
    opened = source.open_source(asked)
    assert opened.preprocessing is not None
    assert (opened.preprocessing.std, opened.published, opened.inside) == (255.0, True, False)
    assert "preprocessing by the image converter of KerasHub in hub.keras" in opened.said


def test_anothers_optimizer_is_not_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """KerasHub compiles what it reads: Keras says then that the optimizer's state does not fit."""

    def loaded(_path: Path, **_options: Any) -> str:
        warnings.warn("Skipping variable loading for optimizer 'adam', because", stacklevel=2)
        return "read"

    path = tmp_path / "net.keras"
    keras.Sequential([keras.Input((3,)), layers.Dense(2)]).save(path)
    monkeypatch.setattr(keras.models, "load_model", loaded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_keras(path) == "read"
