"""Stages are made once, kept while they fit, and go on after kill -9."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from commands import assert_refused, here, kerascnn, kill_when
from marks import IN_CI

from export.artefacts.variants import FineTuning, Settings, parse_variant
from export.compress import stages
from export.compress.channel_prune import prune_channels
from export.compress.compress import VariantBuilder, compress
from export.tasks.trained import Trained
from export.tools.debug import debug
from kerascnn.errors import InputError
from training.common import atomic
from training.engine.run import Run

SHORT = Settings(calibration_pictures=20, fine_tuning=FineTuning(epochs=1))


def copied(run: Run, folder: Path) -> Run:
    """The run alone, without what was made of it."""
    folder.mkdir(parents=True)
    for name in ("run.json", "model.keras", "labels.txt"):
        shutil.copy(run.folder / name, folder)
    return Run.open(folder)


@pytest.fixture(scope="module")
def run(lenet_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return copied(lenet_run, tmp_path_factory.mktemp("stages") / "lenet5")


def trained(run: Run, name: str, settings: Settings = SHORT) -> Trained:
    """The network of a variant, as another process would find it."""
    return VariantBuilder(run).network(parse_variant(name, settings)).trained


def made(run: Run) -> dict[str, int]:
    """When each stage was made."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in (run.folder / "stages").glob("*/stage.json")
    }


def assert_same(one: Trained, other: Trained) -> None:
    assert one.key == other.key
    pairs = zip(one.model.get_weights(), other.model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


@IN_CI
def test_variants_share_their_first_stages(run: Run) -> None:
    first = trained(run, "prune75_int8")
    before = made(run)
    assert before.keys() == {"prune75"}
    assert not list((run.folder / "stages").rglob("epoch-*"))
    files = {path.name for path in (run.folder / "stages" / "prune75").iterdir()}
    assert files == {"model.keras", "stage.json"}
    assert_same(trained(run, "prune75_float16"), first)
    later = trained(run, "prune75_cluster16_int8")
    assert made(run).keys() == {"prune75", "prune75_cluster16"}
    assert made(run)["prune75"] == before["prune75"]
    assert later.key != first.key
    assert later.seconds > first.seconds > 0
    assert (later.parameters, later.macs) == (run.info["parameters"], run.info["macs"])
    assert set(later.shared_scale) == {"stage2_block1_conv", "stage3_block1_conv", "head"}
    zero = np.asarray(first.model.get_layer("head").kernel) == 0
    assert zero.mean() == pytest.approx(0.75, abs=1e-4)
    assert np.all(np.asarray(later.model.get_layer("head").kernel)[zero] == 0)


@IN_CI
def test_what_was_trained_for_int8_is_read_as_it_was(run: Run) -> None:
    name = "prune75_cluster16_qat_int8"
    fresh = trained(run, name)
    again = trained(run, name)
    assert_same(again, fresh)
    assert fresh.ranges is not None
    assert again.ranges == fresh.ranges
    assert fresh.answers is not None
    assert fresh.answers["logits"].shape == (1000, 10)
    assert again.answers.keys() == fresh.answers.keys()
    for key, values in fresh.answers.items():
        assert np.array_equal(again.answers[key], values)
    assert again.preprocessing == fresh.preprocessing
    assert fresh.validation is not None
    assert again.validation == fresh.validation
    assert fresh.bounds is not None
    assert again.bounds is not None
    assert all(np.array_equal(bound, again.bounds[name]) for name, bound in fresh.bounds.items())
    assert set(again.shared_scale) == {"stage2_block1_conv", "stage3_block1_conv", "head"}
    # The mean of a pooling is no weight.
    assert np.all(np.asarray(again.model.get_layer("stage1_pool").kernel) == 0.25)


@IN_CI
def test_a_quarter_is_reached_in_two_rounds_that_go_on(run: Run, tmp_path: Path) -> None:
    """Where norms keep statistics, as those of a network that was fine-tuned."""
    run = copied(run, tmp_path / "whole")
    told = json.loads((run.folder / "run.json").read_text("utf-8"))
    told["request"]["config"]["norms"] = "stored"
    (run.folder / "run.json").write_text(json.dumps(told))
    run = Run.open(run.folder)
    unbroken = trained(run, "slim25_float32")
    assert 0.2 < unbroken.macs / run.info["macs"] <= 0.25
    stage = run.folder / "stages" / "slim25"
    assert {path.name for path in stage.iterdir()} == {"model.keras", "stage.json", "history.csv"}
    broken = copied(run, tmp_path / "run")
    shares: list[float] = []

    def pruned(model: keras.Model, **given: Any) -> keras.Model:
        narrower = prune_channels(model, **given)
        shares.append(given["macs"])
        if len(shares) == 2:
            raise KeyboardInterrupt
        return narrower

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "prune_channels", pruned)
        with pytest.raises(KeyboardInterrupt):
            trained(broken, "slim25_float32")
        assert_same(trained(broken, "slim25_float32"), unbroken)
    # The first round is not made again, and the second begins with what it left.
    assert shares == [0.5, shares[1], shares[1]]
    assert shares[1] == pytest.approx(0.5, rel=0.1)


@IN_CI
def test_where_norms_follow_their_batches_weights_are_copied(run: Run, tmp_path: Path) -> None:
    given: list[dict[str, Any]] = []

    def pruned(model: keras.Model, **asked: Any) -> keras.Model:
        narrower = prune_channels(model, **asked)
        given.append(asked)
        return narrower

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "prune_channels", pruned)
        trained(copied(run, tmp_path / "run"), "slim25_float32")
    ((macs, images),) = [(one["macs"], one["images"]) for one in given]
    assert (macs, images) == (0.25, None)


@IN_CI
def test_the_file_is_what_was_simulated(run: Run) -> None:
    (one,), new = compress(run, ["prune75_cluster16_qat_int8"], onnx=False, settings=SHORT)
    assert new
    figures = one.info["evaluation"]
    assert figures["fits"], figures["rule"]
    assert figures["agreement"] >= 99
    assert figures["keras_value"] > 85
    assert figures["sparsity"] > 0.6
    told = one.info["quantisation_aware"]
    assert told["kept"] == ("trained" if told["trained"] >= told["begun"] else "begun")
    assert one.info["variant"] == parse_variant(one.path.stem, SHORT).to_dict()
    assert one.info["seconds"] > trained(run, one.path.stem).seconds
    assert compress(run, [one.path.stem], onnx=False, settings=SHORT)[1] is False


@IN_CI
def test_debug_compares_with_what_the_file_was_made_of(run: Run, tmp_path: Path) -> None:
    """Whatever the settings were; and it makes nothing."""
    name, spared = "prune75_int8", ("stem", "logits", "head")
    settings = dataclasses.replace(SHORT, spared=spared)
    compress(run, [name], onnx=False, settings=settings)
    before = made(run)
    (end,) = (one for one in debug(run, name, tmp_path, 4).layers if one.layer == "logits")
    assert end.snr_db > 20  # what another training found answers otherwise
    assert made(run) == before
    info = run.folder / "stages" / "prune75" / "stage.json"
    told = json.loads(info.read_text("utf-8"))
    info.write_text(json.dumps({**told, "key": "of other settings"}))
    with pytest.raises(InputError, match=r"prune75_int8.tflite is of another network than what"):
        debug(run, name, tmp_path, 4)
    info.unlink()
    with pytest.raises(InputError, match=r"kerascnn compress .* --variants prune75_int8$"):
        debug(run, name, tmp_path, 4)


@pytest.mark.parametrize(
    "name", ["distil_slim50_prune75x4_cluster16_qat_int8", "mixed", "plain_int8", "float32"]
)
def test_settings_are_known_from_what_lies_beside_a_file(name: str) -> None:
    tuning = FineTuning(epochs=3, learning_rate=0.1, teacher="teacher", temperature=2.0)
    settings = Settings(
        calibration_pictures=7, calibration="photos", max_change=2.0, spared=("a",),
        slim_score="l1", fine_tuning=tuning,
    )  # fmt: skip
    variant = parse_variant(name, settings)
    plain = json.loads(json.dumps(variant.to_dict()))
    assert parse_variant(name, Settings.of(plain)) == variant


@IN_CI
def test_a_changed_setting_makes_a_stage_again(run: Run) -> None:
    old = trained(run, "prune75_int8")
    before = made(run)
    spared = Settings(fine_tuning=FineTuning(epochs=1), spared=("stem", "logits", "head"))
    new = trained(run, "prune75_int8", spared)
    assert new.key != old.key
    assert made(run)["prune75"] > before["prune75"]
    assert np.all(np.asarray(new.model.get_layer("head").kernel) != 0)
    # What does not shape the network makes nothing again.
    before = made(run)
    pictures = Settings(
        calibration_pictures=30, fine_tuning=FineTuning(epochs=1), spared=spared.spared
    )
    assert_same(trained(run, "prune75_int8", pictures), new)
    assert made(run) == before
    assert_same(trained(run, "prune75_int8"), old)


@IN_CI
@pytest.mark.parametrize(
    "damage", ["cut", *(pytest.param(d, marks=pytest.mark.slow) for d in ("missing", "info"))]
)
def test_a_damaged_stage_is_made_again_and_is_the_same(run: Run, damage: str) -> None:
    old = trained(run, "prune75_int8")
    before = made(run)
    folder = run.folder / "stages" / "prune75"
    match damage:
        case "cut":
            (folder / "model.keras").write_bytes((folder / "model.keras").read_bytes()[:1000])
        case "missing":
            (folder / "model.keras").unlink()
        case "info":
            (folder / "stage.json").write_text('{"key": ')
    assert_same(trained(run, "prune75_int8"), old)
    assert made(run)["prune75"] > before["prune75"]
    info = json.loads((folder / "stage.json").read_text("utf-8"))
    assert info["files"] == {"model.keras": atomic.sha256(folder / "model.keras")}


@pytest.mark.slow
def test_another_network_makes_all_stages_again(run: Run, tmp_path: Path) -> None:
    old = trained(run, "prune75_int8")
    other = copied(run, tmp_path / "other")
    shutil.copytree(run.folder / "stages", other.folder / "stages")
    assert_same(trained(other, "prune75_int8"), old)
    model = other.load_model()
    model.get_layer("logits").set_weights([w + 1 for w in model.get_layer("logits").get_weights()])
    model.save(other.model_path)
    assert trained(other, "prune75_int8").key != old.key


@IN_CI
def test_the_run_itself_teaches(run: Run) -> None:
    taught = trained(run, "distil_prune75_int8")
    alone = trained(run, "prune75_int8")
    assert "distil_prune75" in made(run)
    assert taught.key != alone.key
    kernels = [np.asarray(t.model.get_layer("head").kernel) for t in (taught, alone)]
    assert not np.array_equal(*kernels)
    assert (kernels[0] == 0).mean() == pytest.approx(0.75, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["distil_qat_int8", "distil_slim50_cluster16_qat_int8"])
def test_the_run_itself_teaches_every_step(run: Run, name: str) -> None:
    (one,), _ = compress(run, [name], onnx=False, settings=SHORT)
    assert one.info["evaluation"]["fits"], one.info["evaluation"]["rule"]
    assert one.info["evaluation"]["value"] > 85


NONSENSE = {
    "prune120_int8": "between 1 and 99, not 120",
    "cluster0_int8": "3 to 256 clusters, not 0",
    "prune1.2_int8": "prune takes a whole number, as in prune50, not 1.2",
    "qat_float16": "qat is for int8 and weight_int4; did you mean qat_int8?",
    "cluster16": "unknown variant 'cluster16'",
    "slim0_int8": "between 1 and 99% of the MACs, not 0",
    "cluster16_prune75_int8": "in the order slim, prune, cluster, qat",
    "qat_qat_int8": "each step comes once",
    "distil_int8": "distil needs a step that trains",
    "prune-5_int8": "a whole number",
}


@pytest.mark.parametrize(("name", "complaint"), NONSENSE.items())
def test_nonsense_is_refused(run: Run, name: str, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        compress(run, ["float32", name], onnx=False)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(run.artefacts.glob("float32*"))


@pytest.mark.parametrize("name", ["prune120_int8", "qat_float16"])
def test_nonsense_is_refused_by_the_command(run: Run, name: str) -> None:
    refused = here("compress", run.folder, "--variants", name)
    assert_refused(refused, NONSENSE[name])


@pytest.mark.slow
def test_a_killed_compression_goes_on_to_the_same_file(lenet_run: Run, tmp_path: Path) -> None:
    whole, broken = (copied(lenet_run, tmp_path / name) for name in ("whole", "broken"))
    arguments = ("--variants", "prune75_int8", "--no-onnx")
    done = kerascnn("compress", whole.folder, *arguments)
    assert done.returncode == 0, done.stderr
    stages = broken.folder / "stages"
    kill_when(
        lambda: any(stages.glob("prune75/checkpoints-*/epoch-00001.npz")),
        *("compress", broken.folder, *arguments),
    )
    assert not (stages / "prune75" / "stage.json").exists()
    done = kerascnn("compress", broken.folder, *arguments)
    assert done.returncode == 0, done.stderr
    files = [one.artefacts / "prune75_int8.tflite" for one in (whole, broken)]
    assert atomic.sha256(files[0]) == atomic.sha256(files[1])
    assert not list(stages.rglob("epoch-*"))
