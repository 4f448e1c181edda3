"""Mixed precision: trials tell the truth, the search keeps its promise."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import keras
import numpy as np
import pytest
from marks import IN_CI
from networks import converted

from export.artefacts.variants import Settings, parse_variant
from export.compress.mixed import (
    Sensitivity,
    Trial,
    mixed,
    sampled,
    search,
    search_within,
    sensitivities,
)
from export.compress.reconstruct.network import with_bare_layers
from export.graph.fold_norm import fold_batch_norms
from export.runtime import load as runtimes
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

BITS = (4, 8, 16)


def setting(name: str) -> tuple[bytes, Preprocessing, np.ndarray]:
    preprocessing = zoo.entry(name).preprocessing(28, 28, resize="pad")
    shape = (24, *preprocessing.input_shape)
    pictures = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    return converted(name)[1], preprocessing, pictures


@pytest.fixture(scope="module")
def lenet() -> tuple[bytes, Preprocessing, np.ndarray]:
    return setting("lenet5")


@IN_CI
def test_trials_answer_as_the_written_file(tmp_path) -> None:
    file, preprocessing, pictures = setting("mobilenet_v2")
    trial = Trial(TFLiteModel.open(file), pictures, preprocessing, BITS)
    # Each width on every kind of layer that may have it.
    chosen = {
        layer: trial.widths(layer)[i // 3 % len(trial.widths(layer))]
        for i, layer in enumerate(trial.kernels)
    }
    kinds = {(trial.kernels[layer].op, bits) for layer, bits in chosen.items()}
    assert kinds >= {("CONV_2D", b) for b in BITS} | {("DEPTHWISE_CONV_2D", b) for b in (8, 16)}
    assert ("DEPTHWISE_CONV_2D", 4) not in kinds
    path = tmp_path / "mixed.tflite"
    path.write_bytes(trial.write(chosen).packed())
    written = runtimes.load(path, preprocessing).predict(pictures)
    simulated = trial.answers(chosen)
    np.testing.assert_allclose(simulated, written, atol=1e-5 * np.abs(written).max())
    assert np.abs(simulated - trial.answers({})).max() > 1e-3 * np.abs(written).max()
    assert sum(k.weights for k in trial.kernels.values()) * 4 < len(file)


def test_error_grows_with_fewer_bits(lenet) -> None:
    file, preprocessing, pictures = lenet
    trial = Trial(TFLiteModel.open(file), pictures, preprocessing, BITS)
    found = sensitivities(trial)
    assert [s.bits for s in found] == [8, 4] * 5
    assert sum(s.weights for s in found[::2]) == 61_470  # LeNet-5 without its 236 biases
    for eight, four in zip(found[::2], found[1::2], strict=True):
        assert eight.layer == four.layer
        assert 0 < trial.alone(eight.layer, 16).error < eight.error < four.error


@pytest.mark.parametrize("allowed", [0.0, 5.0, 99.0])
def test_no_more_answers_change_than_allowed(lenet, allowed: float, tmp_path) -> None:
    file, preprocessing, pictures = lenet
    variant = parse_variant("mixed", Settings(max_change=allowed))
    opened, report = mixed(TFLiteModel.open(file), variant, preprocessing, pictures)
    written = opened.packed()
    path = tmp_path / "x.tflite"
    for data, name in ((file, "float"), (written, "mixed")):
        (tmp_path / f"{name}.tflite").write_bytes(data)
    before, after = (
        runtimes.load(path.with_stem(name), preprocessing).predict(pictures).argmax(-1)
        for name in ("float", "mixed")
    )
    assert 100 * np.mean(before != after) == report.changed <= allowed
    assert report.pictures == len(pictures)
    if allowed == 99:
        assert {layer.bits for layer in report.layers} == {4}
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    again, same = mixed(TFLiteModel.open(file), variant, preprocessing, pictures)
    assert again.packed() == written
    assert same == report


class Additive:
    """A network whose layers' errors add up."""

    costs: Mapping[str, Mapping[int, float]]
    kernels: Mapping[str, None]

    def __init__(self, costs: Mapping[str, Mapping[int, float]]) -> None:
        self.costs, self.kernels, self.asked = costs, dict.fromkeys(costs), 0

    def widths(self, layer: str) -> list[int]:
        return [16, *sorted(self.costs[layer], reverse=True)]

    def together(self, bits: Mapping[str, int]) -> tuple[float, float]:
        self.asked += 1
        error = sum(self.costs[layer].get(b, 0.0) for layer, b in bits.items())
        return error, error

    def sensitivities(self) -> list[Sensitivity]:
        return [
            Sensitivity(layer=name, op="CONV_2D", weights=1000, bits=bits, error=cost, changed=cost)
            for name, costs in self.costs.items()
            for bits, cost in sorted(costs.items(), reverse=True)
        ]


def test_search_goes_on_behind_the_first_layer_that_cannot() -> None:
    trial = Additive({
        "easy": {8: 0.1, 4: 0.5},
        "fragile": {8: 9.0, 4: 20.0},
        "depthwise": {8: 0.1},
        "large_step": {8: 0.2, 4: 1.6},
        "small_step": {8: 0.2, 4: 1.7},
    })  # fmt: skip
    chosen = search(trial, trial.sensitivities(), 2.7)
    assert chosen == {
        "easy": 4, "fragile": 16, "depthwise": 8, "large_step": 4, "small_step": 8,
    }  # fmt: skip
    assert search(trial, trial.sensitivities(), 0.0) == dict.fromkeys(trial.costs, 16)


def test_search_bisects() -> None:
    trial = Additive({f"layer{i}": {8: 0.01 * i, 4: i} for i in range(1, 129)})
    found = trial.sensitivities()
    everything = sum(trial.costs[f"layer{i}"][4] for i in range(1, 129))
    assert set(search(trial, found, everything).values()) == {4}
    assert trial.asked < 10


def test_layers_that_share_a_kernel_have_the_same_bits(tmp_path) -> None:
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 1, name="widen")(x)
    shared = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="shared")
    x = keras.layers.ReLU(name="between")(shared(x))
    x = keras.layers.GlobalAveragePooling2D()(shared(x))
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    preprocessing = Preprocessing(height=8, width=8, channels=3)
    pictures = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    trial = Trial(TFLiteModel.open(to_tflite(model)), pictures, preprocessing, BITS)
    assert sorted(len(k.layers) for k in trial.kernels.values()) == [1, 1, 2]
    (layer,) = (layer for layer, k in trial.kernels.items() if len(k.layers) == 2)
    path = tmp_path / "x.tflite"
    path.write_bytes(trial.write({layer: 4}).packed())
    got = runtimes.load(path, preprocessing).predict(pictures)
    np.testing.assert_allclose(got, trial.answers({layer: 4}), atol=1e-5)


def test_no_pictures_is_said(lenet) -> None:
    file, preprocessing, _pictures = lenet
    with pytest.raises(InputError, match="needs calibration images"):
        mixed(TFLiteModel.open(file), parse_variant("mixed"), preprocessing, [])


class Trials:
    """Of 42 layers at two widths below the widest; each trial takes eight seconds of a clock."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.kernels = {f"layer{number}": None for number in range(42)}

    def widths(self, _layer: str) -> list[int]:
        return [16, 8, 4]

    def alone(self, layer: str, bits: int) -> tuple[str, int]:
        self.seconds += 8
        return layer, bits


def test_progress_is_told_in_plain_words_and_seldom(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = Trials()
    monkeypatch.setattr("training.common.progress.time.monotonic", lambda: trials.seconds)
    assert len(sensitivities(trials)) == 84  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("mixed: 2/42 layers, ")
    assert 10 < len(lines) <= 84 * 8 / 30
    assert "nats" not in "".join(lines)


# --- Noise that is sampled, and a budget ----------------------------------------------------------


def bare(name: str) -> keras.Model:
    return with_bare_layers(fold_batch_norms(converted(name)[0]))


def test_sampled_noise_orders_layers_as_trials_do(lenet) -> None:
    file, preprocessing, pictures = lenet
    trial = Trial(TFLiteModel.open(file), pictures, preprocessing, BITS)
    measured = {(s.layer, s.bits): s.error for s in sensitivities(trial)}
    found = {(s.layer, s.bits): s for s in sampled(trial, bare("lenet5"))}
    assert {key for key in found if key[1] != 16} == set(measured)
    assert all(one.changed is None for one in found.values())
    assert sum(one.weights for key, one in found.items() if key[1] == 8) == 61_470
    for layer in trial.kernels:
        assert 0 < found[layer, 16].error < found[layer, 8].error < found[layer, 4].error
    # One is a divergence and the other a share of noise: what they say of layers is the same.
    fours = [key for key in measured if key[1] == 4]
    ranks = [
        np.argsort(np.argsort([of(key) for key in fours]))
        for of in (measured.__getitem__, lambda key: found[key].error)
    ]
    assert np.corrcoef(ranks)[0, 1] > 0.6


def test_mixed_by_sampled_noise_keeps_its_promise(lenet) -> None:
    file, preprocessing, pictures = lenet
    variant = parse_variant("mixed", Settings(max_change=5.0))
    _, report = mixed(
        TFLiteModel.open(file), variant, preprocessing, pictures, model=bare("lenet5")
    )
    assert report.changed <= 5
    assert {layer.bits for layer in report.layers} != {16}
    assert report.budget is None
    assert "budget" not in report.to_dict()
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


def test_a_budget_is_kept_and_more_room_never_takes_bits_away(lenet) -> None:
    file, preprocessing, pictures = lenet
    network = bare("lenet5")
    whole = Trial(TFLiteModel.open(file), pictures, preprocessing, BITS)
    sizes = [len(whole.write(dict.fromkeys(whole.kernels, bits)).packed()) for bits in (4, 8, 16)]
    before: dict[str, int] = {}
    errors = []
    for budget in (sizes[0], (sizes[0] + sizes[1]) // 2, sizes[1] + 5000, sizes[2] + 1000):
        variant = parse_variant("mixed", Settings(max_bytes=budget))
        made, report = mixed(
            TFLiteModel.open(file), variant, preprocessing, pictures, model=network
        )
        assert len(made.packed()) <= budget
        assert report.to_dict()["budget"] == budget
        bits = {layer.layer: layer.bits for layer in report.layers}
        assert all(bits[layer] >= before.get(layer, 0) for layer in bits)
        before = bits
        errors.append(report.error)
    assert set(before.values()) == {16}
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(InputError, match=r"mixed cannot have 9,000 bytes.* it has \d\d,\d\d\d"):
        search_within(whole, sampled(whole, network), 9000)


def test_a_budget_counts_what_stands_behind_the_network(lenet) -> None:
    file, preprocessing, pictures = lenet
    trial = Trial(TFLiteModel.open(file), pictures, preprocessing, BITS)
    found = sensitivities(trial)
    budget = len(trial.write(dict.fromkeys(trial.kernels, 8)).packed())
    assert len(trial.write(search_within(trial, found, budget, 3000)).packed()) <= budget - 3000


def test_few_trials_find_what_goes_together() -> None:
    """Two of sixty layers cannot be lowered: all others are, in a dozen trials behind the first."""
    costs = {f"layer{i:02}": {8: 0.001} for i in range(60)}
    costs["layer20"], costs["layer40"] = {8: 5.0}, {8: 6.0}
    trial = Additive(costs)
    steps = [dataclasses.replace(one, error=0.001) for one in trial.sensitivities()]
    chosen = search(trial, steps, 1.0)  # type: ignore[arg-type]
    assert [name for name, bits in chosen.items() if bits == 16] == ["layer20", "layer40"]
    assert trial.asked <= 7 + 12


def test_a_budget_is_part_of_the_recipe() -> None:
    variant = parse_variant("mixed", Settings(max_bytes=2_000_000))
    assert variant.to_dict()["max_bytes"] == 2_000_000
    assert Settings.of(variant.to_dict()).max_bytes == 2_000_000
    assert "max_bytes" not in parse_variant("mixed").to_dict()
    assert parse_variant("int8", Settings(max_bytes=2_000_000)).max_bytes is None
    with pytest.raises(InputError, match="--budget must be above 0, not 0"):
        Settings(max_bytes=0)
