"""Zeros as many and where they should be, in the network and in its file; and again the same."""

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
    Stop,
    assert_same,
    fine_tuning_data,
    kernel_of,
    kernels_in,
    small,
    stop_after,
)
from marks import IN_CI

from export.artefacts.variants import SPARED, Prune
from export.compress import finetune
from export.compress.prune import prune, weighty_layers
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError

Pruned = Callable[[Prune], keras.Model]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    folder = tmp_path_factory.mktemp("pruned")

    @functools.cache
    def get(step: Prune) -> keras.Model:
        before = small()
        found = prune(before, step, fine_tuning_data(), CONFIG, folder / step.name)
        # The network itself is left as it is.
        assert all(map(np.array_equal, before.get_weights(), small().get_weights()))
        return found

    return get


PLAIN, FOURS, BLOCKS = (
    Prune(sparsity=75),
    Prune(sparsity=50, pattern="2of4"),
    Prune(sparsity=60, pattern="1x4"),
)


def groups(kernel: np.ndarray) -> np.ndarray:
    """(n, 4) neighbours along the last axis; channels that are missing are infinite."""
    spare = -kernel.shape[-1] % 4
    padding = [(0, 0)] * (kernel.ndim - 1) + [(0, spare)]
    return np.pad(kernel, padding, constant_values=np.inf).reshape(-1, 4)


def test_what_is_pruned() -> None:
    assert weighty_layers(small(), SPARED) == CHOSEN
    assert weighty_layers(small(), ()) == CHOSEN | {"stem", "logits"}
    assert weighty_layers(small(), ("o",)) == {"wide", "stem", "head"}


def test_as_many_zeros_as_asked_and_none_elsewhere(pruned: Pruned) -> None:
    before, after = small(), pruned(PLAIN)
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]
    for layer in after.layers:
        if layer.name in CHOSEN:
            kernel = np.asarray(layer.kernel)
            assert abs((kernel == 0).mean() - 0.75) <= 1 / kernel.size, layer.name
        else:
            assert all(np.count_nonzero(w) == w.size for w in layer.get_weights()), layer.name
        old = before.get_layer(layer.name).get_weights()  # all was trained, norms too
        assert not any(map(np.array_equal, layer.get_weights(), old)), layer.name


@IN_CI
def test_two_of_four_neighbours_are_zero(pruned: Pruned) -> None:
    model = pruned(FOURS)
    for name in CHOSEN:
        assert two_of_four(kernel_of(model, name)), name
    assert_in_file(model, two_of_four)


def two_of_four(kernel: np.ndarray) -> bool:
    fours = groups(kernel)
    zeros = (fours == 0).sum(axis=1)
    return set(zeros[np.isfinite(fours).all(axis=1)]) == {2}


@IN_CI
def test_blocks_of_four_are_zero_or_not(pruned: Pruned) -> None:
    model = pruned(BLOCKS)
    for name in CHOSEN:
        assert in_blocks(kernel_of(model, name)), name
    assert_in_file(model, in_blocks)


def in_blocks(kernel: np.ndarray) -> bool:
    blocks = groups(kernel)
    zeros, there = (blocks == 0).sum(axis=1), np.isfinite(blocks).sum(axis=1)
    right = abs((zeros > 0).mean() - 0.6) <= 1 / len(blocks)
    return right and bool(np.all((zeros == 0) | (zeros == there)))


def assert_in_file(model: keras.Model, holds: Callable[[np.ndarray], bool]) -> None:
    """Of a float32 file: what holds for kernels, and their share of zeros."""
    file = to_tflite(model)
    kernels = kernels_in(file)
    by_shape = {kernel.shape: kernel for kernel in kernels}
    for name in CHOSEN:
        kernel = kernel_of(model, name)
        stored = by_shape[kernel.shape]
        assert np.array_equal(stored == 0, kernel == 0), name
        assert not np.signbit(stored[stored == 0]).any(), name
        assert holds(stored), name
    zeros = sum(np.count_nonzero(kernel == 0) for kernel in kernels)
    assert TFLiteModel.open(file).weight_sparsity() == zeros / sum(
        kernel.size for kernel in kernels
    )


def test_zeros_are_in_the_file(pruned: Pruned) -> None:
    assert_in_file(pruned(PLAIN), lambda kernel: (kernel == 0).mean() > 0.74)


@IN_CI
@pytest.mark.parametrize("step", [PLAIN, pytest.param(BLOCKS, marks=pytest.mark.slow)])
def test_a_broken_training_goes_on_to_the_same_weights(
    step: Prune, pruned: Pruned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    whole = pruned(step)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            prune(small(), step, fine_tuning_data(), CONFIG, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00001.npz"]
    keras.utils.set_random_seed(5)  # another process would have other states of chance
    trained: list[int] = []
    with monkeypatch.context() as patch:
        real = finetune.Watch.on_epoch_end
        patch.setattr(
            finetune.Watch,
            "on_epoch_end",
            lambda self, epoch, logs=None: (trained.append(epoch), real(self, epoch, logs)),
        )
        assert_same(prune(small(), step, fine_tuning_data(), CONFIG, tmp_path), whole)
        assert trained == list(range(1, CONFIG.epochs))  # and not the first one again
        # Once more: all is read.
        assert_same(prune(small(), step, fine_tuning_data(), CONFIG, tmp_path), whole)
        assert trained == list(range(1, CONFIG.epochs))
    assert "going back" not in capsys.readouterr().err


@IN_CI
def test_a_damaged_checkpoint_is_said_and_begun_anew(
    pruned: Pruned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the same seed gives the same weights."""
    (tmp_path / "epoch-00001.npz").write_bytes(b"no archive")
    assert_same(prune(small(), PLAIN, fine_tuning_data(), CONFIG, tmp_path), pruned(PLAIN))
    assert "is damaged" in capsys.readouterr().err


@IN_CI
def test_a_training_of_one_step_reaches_the_sparsity(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, batch_size=64)
    model = prune(small(), Prune(sparsity=75), fine_tuning_data(64), config, tmp_path)
    kernel = np.asarray(model.get_layer("wide").kernel)
    assert abs((kernel == 0).mean() - 0.75) <= 1 / kernel.size


@IN_CI
def test_norms_keep_their_statistics_where_those_of_the_run_did(tmp_path: Path) -> None:
    model = small()
    config = dataclasses.replace(CONFIG, epochs=1, norms="stored")
    pruned = prune(model, Prune(sparsity=50), fine_tuning_data(32), config, tmp_path)
    before, after = (one.get_layer("wide_norm") for one in (model, pruned))
    np.testing.assert_array_equal(after.moving_mean, before.moving_mean)
    assert (np.asarray(after.gamma) != np.asarray(before.gamma)).any()
    config = dataclasses.replace(config, norms="batches")
    pruned = prune(model, Prune(sparsity=50), fine_tuning_data(32), config, tmp_path / "batches")
    moved = np.asarray(pruned.get_layer("wide_norm").moving_mean)
    assert (moved != np.asarray(before.moving_mean)).any()


def test_nothing_to_prune_is_said(tmp_path: Path) -> None:
    step = Prune(sparsity=50, spared=("o", "wide", "head", "stem", "logits"))
    with pytest.raises(InputError, match="small has no layer to prune besides o, wide, head"):
        prune(small(), step, fine_tuning_data(64), CONFIG, tmp_path)


@IN_CI
def test_a_loss_that_is_no_number_is_said(tmp_path: Path) -> None:
    model = small()
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * np.nan, bias])
    with pytest.raises(InputError, match=r"small prune50: the loss is nan at step 1"):
        prune(model, Prune(sparsity=50), fine_tuning_data(64), CONFIG, tmp_path)
