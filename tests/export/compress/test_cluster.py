"""Few values a layer, in the network and in its files, and the zeros of pruning among them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from fine_tuned import (
    CHOSEN,
    CONFIG,
    PICTURE,
    Stop,
    assert_same,
    fine_tuning_data,
    int8_kernels,
    kernel_of,
    kernels_in,
    small,
    stop_after,
)
from marks import IN_CI, all_but

from export.artefacts.variants import Cluster, parse_variant
from export.compress.cluster import cluster
from export.compress.qat import clustered_layers
from export.graph.lower import lower_for_int8
from export.tflite.convert import to_tflite
from export.tflite.quantise import quantise_file
from kerascnn.errors import InputError

VALUES = 16


def half_pruned() -> keras.Model:
    """As pruning leaves a network: zeros, and no two other weights alike."""
    model = small()
    for name in CHOSEN:
        kernel, *rest = model.get_layer(name).get_weights()
        kernel[np.abs(kernel) < np.median(np.abs(kernel))] = 0
        model.get_layer(name).set_weights([kernel, *rest])
    return model


BEFORE: dict[str, Callable[[], keras.Model]] = {"dense": small, "pruned": half_pruned}
# In the other network all is as in this one, and its zeros stay as well.
kinds = pytest.mark.parametrize("kind", all_but({"pruned"}, BEFORE))


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], keras.Model]:
    folder = tmp_path_factory.mktemp("clustered")

    @functools.cache
    def get(kind: str) -> keras.Model:
        step = Cluster(clusters=VALUES)
        return cluster(BEFORE[kind](), step, fine_tuning_data(), CONFIG, folder / kind)

    return get


@IN_CI
@kinds
def test_a_clustered_layer_has_few_values_and_the_others_have_many(clustered, kind: str) -> None:
    model = clustered(kind)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    for name in CHOSEN:
        assert 8 <= len(np.unique(kernel_of(model, name))) <= VALUES, name
    for name in ("stem", "odd_depthwise", "logits"):
        kernel = np.asarray(model.get_layer(name).kernel)
        assert len(np.unique(kernel)) > 0.9 * kernel.size, name
    assert set(clustered_layers(model)) == CHOSEN


def test_a_network_that_is_not_clustered_is_not_taken_for_one() -> None:
    """Even where pruning leaves fewer weights than a clustered layer may have values."""
    assert clustered_layers(small()) == ()
    assert clustered_layers(half_pruned()) == ()


@IN_CI
def test_zeros_stay_zeros(clustered) -> None:
    for name in CHOSEN:
        zero = kernel_of(half_pruned(), name) == 0
        after = kernel_of(clustered("pruned"), name) == 0
        assert after[zero].all(), name
        # Weights next to zero may join them, but no more than a cluster's.
        assert after[~zero].mean() < 0.25, name


@IN_CI
def test_values_were_trained(clustered, tmp_path: Path) -> None:
    """The first assignment is not the last word: a training of one tiny step ends elsewhere."""
    still = dataclasses.replace(CONFIG, epochs=1, learning_rate=1e-12)
    step = Cluster(clusters=VALUES)
    unmoved = cluster(half_pruned(), step, fine_tuning_data(64), still, tmp_path)
    for name in CHOSEN:
        assert len(np.unique(kernel_of(unmoved, name))) <= VALUES
        values = [np.unique(kernel_of(model, name)) for model in (unmoved, clustered("pruned"))]
        assert not np.array_equal(*values)


@IN_CI
@kinds
def test_files_have_few_values_too(clustered, kind: str) -> None:
    model = clustered(kind)
    kernels = {kernel.shape: kernel for kernel in kernels_in(to_tflite(model))}
    for name in CHOSEN:
        kernel = kernel_of(model, name)
        assert np.array_equal(kernels[kernel.shape], kernel), name
    pictures = np.random.default_rng(0).integers(0, 256, (8, *PICTURE.input_shape), np.uint8)
    lowered = to_tflite(lower_for_int8(model))
    shared = clustered_layers(model)
    found = {}
    for precision, file in (("int8", lowered), ("weight_int8", to_tflite(model))):
        data = quantise_file(
            file, parse_variant(precision), PICTURE, pictures, shared_scale=sorted(shared)
        )
        found[precision] = int8_kernels(data)
        for name in CHOSEN:
            stored, scales = found[precision][kernel_of(model, name).shape]
            assert scales == 1, name
            assert len(np.unique(stored)) <= VALUES, name
            zero = kernel_of(model, name) == 0
            assert np.all(stored[zero] == 0), name
    assert sum(scales > 1 for _, scales in found["int8"].values()) >= 2  # stem and logits


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(clustered, tmp_path: Path) -> None:
    again = cluster(small(), Cluster(clusters=VALUES), fine_tuning_data(), CONFIG, tmp_path)
    assert_same(again, clustered("dense"))


@pytest.mark.parametrize(
    "kind", [pytest.param("dense", marks=pytest.mark.slow), pytest.param("pruned", marks=IN_CI)]
)
def test_a_broken_training_goes_on_to_the_same_weights(
    clustered, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, model, whole = Cluster(clusters=VALUES), BEFORE[kind], clustered(kind)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            cluster(model(), step, fine_tuning_data(), CONFIG, tmp_path)
    keras.utils.set_random_seed(5)  # another process would have other states of chance
    assert_same(cluster(model(), step, fine_tuning_data(), CONFIG, tmp_path), whole)
    assert_same(cluster(model(), step, fine_tuning_data(), CONFIG, tmp_path), whole)


@IN_CI
def test_a_layer_of_fewer_weights_than_values_is_left_alone(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    model = cluster(small(), Cluster(clusters=200), fine_tuning_data(64), config, tmp_path)
    assert len(np.unique(kernel_of(model, "point"))) == 120
    assert len(np.unique(kernel_of(model, "wide"))) <= 200


def test_nothing_to_cluster_is_said(tmp_path: Path) -> None:
    step = Cluster(clusters=VALUES, spared=("o", "wide", "head", "stem"))
    with pytest.raises(InputError, match="small has no layer to cluster besides o, wide"):
        cluster(small(), step, fine_tuning_data(64), CONFIG, tmp_path)
