"""Weights of a file in a run: their path, their normalisation, mixed precision and its end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_safetensors

import kerascnn
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import datasets, tasks
from training.classification.prepare import Prepare
from training.classification.tf_data import evaluation_stream
from training.datasets.splits import Split
from training.engine.network import build, in_single_precision
from training.engine.request import request


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file that only its signature tells as torchvision's."""
    tensors = {"layer1.0.conv1.weight": np.zeros((64, 64, 3, 3), np.float32)}
    return write_safetensors(tmp_path / "resnet18.safetensors", tensors)


def test_a_file_brings_its_normalisation(weights: Path, monkeypatch) -> None:
    monkeypatch.chdir(weights.parent)
    asked = request("resnet18", data="mnist", weights=weights.name)
    assert asked.weights == str(weights)
    assert asked.recipe == "finetune"
    preprocessing = tasks.of("classification").preprocessing(asked, datasets.scan("mnist", seed=0))
    assert preprocessing.mean == (123.675, 116.28, 103.53)
    stored = json.loads(json.dumps(preprocessing.to_dict()))
    assert Preprocessing.from_dict(stored) == preprocessing


@pytest.mark.parametrize(
    "values",
    [
        {"mean": 127.0, "std": 128.0},
        {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
        {"mean": (103.939, 116.779, 123.68), "std": 1.0, "order": "bgr"},
    ],
    ids=["lite", "imagenet", "caffe"],
)
def test_streams_and_arrays_are_normalised_alike(values) -> None:
    preprocessing = Preprocessing(height=4, width=4, channels=3, **values)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    split = Split(labels=np.zeros(3, np.int32), names=("a", "b", "c"), pictures=pictures)
    stream = evaluation_stream(split, preprocessing, classes=2, batch_size=3)
    prepare = Prepare(preprocessing=preprocessing, policy="none")
    got = prepare.for_evaluation(next(iter(stream))[0]).numpy()
    np.testing.assert_allclose(got, preprocessing.normalise(pictures), rtol=1e-6, atol=1e-6)
    red = np.zeros((1, 1, 3))
    red[..., 0] = 255
    moved = preprocessing.normalise(red) - preprocessing.normalise(np.zeros((1, 1, 3)))
    assert np.flatnonzero(moved).tolist() == [2 if preprocessing.order == "bgr" else 0]


def test_impossible_normalisations_are_refused() -> None:
    for values in ({"mean": (1.0, 2.0)}, {"std": (1.0, 0.0, 1.0)}, {"order": "gbr"}):
        with pytest.raises(ValueError, match=r"impossible|order"):
            Preprocessing(height=4, width=4, channels=3, **values)


def test_mixed_precision_ends_with_the_training() -> None:
    options = {"dtype": "mixed_bfloat16", "activation": "relu"}
    asked = request("mobilenet_v3_small", data="mnist", model_options=options)
    preprocessing = Preprocessing(height=28, width=28, channels=3)
    trained = build(asked, preprocessing, classes=10)
    assert trained.get_layer("stem").compute_dtype == "bfloat16"
    saved = in_single_precision(asked, preprocessing, trained, classes=10)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    for kept, value in zip(saved.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, value)


def test_auxiliary_heads_are_refused_by_name() -> None:
    asked = request("googlenet", data="mnist", model_options={"auxiliary": True})
    with pytest.raises(InputError, match="3 outputs"):
        build(asked, Preprocessing(height=96, width=96, channels=3), classes=10)
    assert len(kerascnn.build("googlenet", auxiliary=True).outputs) == 3
