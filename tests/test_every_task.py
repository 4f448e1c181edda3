"""From a folder to an answer, the same for every task; a new task is one more row of CASES.

The networks learn next to nothing, on a few images: what is tested is the way, not the figures.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_sets
import tiny_detectors
import tiny_segmenters
from commands import assert_refused, here
from interruptions import assert_same_weights, stop_at_step
from marks import IN_CI, all_but

from export.artefacts.artefact import Artefact
from export.artefacts.description import read_description
from export.artefacts.variants import FineTuning, Settings, parse_variant
from export.compress.compress import compress
from export.report.compare import compare
from export.runtime.selftest import verify
from export.tasks import agreement as tasks_agreement
from export.tasks import base as tasks
from export.tasks import comparison
from export.tools.budget import Budget
from export.tools.debug import debug
from export.tools.evaluate import evaluate
from export.tools.shrink import as_text, shrink
from kerascnn import blocks, zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks as registry
from training.engine import checkpoint, network
from training.engine.request import TrainRequest, request
from training.engine.run import Run
from training.engine.stopping import Stopped
from training.engine.train import train
from training.tools import range_test
from training.tools.bench_data import bench_data
from training.tools.find_rate import suggest

COUNT, SIDE, EPOCHS, SHAPE = 12, 64, 4, (32, 48, 3)


def classifier(input_shape: tuple[int, ...], classes: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = inputs = blocks.picture_input(input_shape)
    x = blocks.Conventions(activation="relu6", norm_momentum=0.5).conv(x, 8, 3, name="stem")
    return keras.Model(inputs, blocks.classifier(x, classes, dropout=0.2), name="tiny")


def two_stage(input_shape: tuple[int, ...], classes: int) -> keras.Model:
    return tiny_detectors.two_stage_network(input_shape, classes, masks=False)


def two_stage_spec(input_shape: tuple[int, ...]) -> Any:
    return tiny_detectors.two_stage_spec(input_shape, masks=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A task as a user meets it.

    Attributes:
        task, metric: as run.json has them.
        model: of the zoo; `network` stands for it, as it is built and traced within a second.
        data: writes COUNT images with their truth, and gives the place.
        spec: what a detector's outputs mean.
        answer: a key that every answer of `predict --json` has, beside "image".
        variants: of its files.
        changes: of the request, where a constant answer would be no proof of equality.
    """

    task: str
    metric: str
    model: str
    data: Callable[..., Path]
    network: Callable[[tuple[int, ...], int], keras.Model]
    spec: Callable[[tuple[int, ...]], Any] | None = None
    answer: str
    variants: tuple[str, ...] = ("float32", "int8")
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


CASES = {
    "classification": Case(
        task="classification", metric="accuracy", model="mobilenet_v2",
        data=small_sets.class_folders, network=classifier, answer="labels",
        changes={"augmentation": "pictures"},  # RandAugment is half of what a step takes to trace
    ),
    "multilabel": Case(
        task="multilabel", metric="mAP", model="mobilenet_v2",
        data=small_sets.label_table, network=classifier, answer="labels",
        changes={"learning_rate": 0.02, "warmup_epochs": 0, "augmentation": "none"},
    ),
    "detection": Case(
        task="detection", metric="AP", model="ssdlite_mobilenet_v3_small",
        data=small_sets.coco, network=tiny_detectors.network, spec=tiny_detectors.spec,
        answer="objects", variants=("float32", "int8", "int8_raw"),
    ),
    "detection without anchors": Case(
        task="detection", metric="AP", model="rtmdet_tiny",
        data=small_sets.coco, network=tiny_detectors.point_network,
        spec=tiny_detectors.point_spec, answer="objects",
        variants=("float32", "int8", "int8_raw"),
    ),
    "two-stage detection": Case(
        task="detection", metric="AP", model="faster_rcnn_efficientnet_lite0_fpn",
        data=small_sets.coco, network=two_stage, spec=two_stage_spec, answer="objects",
        variants=("float32", "dynamic_int8", "int8"),
    ),
    "segmentation": Case(
        task="segmentation", metric="mIoU", model="unet",
        data=small_sets.masks, network=tiny_segmenters.network, answer="classes",
        changes={
            "learning_rate": 0.05, "warmup_epochs": 0, "augmentation": "none",
            "settings": {"ema": 0.5, "class_weights": "balanced"},
        },
    ),
}  # fmt: skip
# Its graphs are ten times as large; tests/training/detection has a fast test of each part.
SLOW = {"two-stage detection", "detection without anchors"}


def with_tiny_network(case: Case, patch: pytest.MonkeyPatch) -> None:
    def build(asked: TrainRequest, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
        keras.config.set_dtype_policy(network.with_precision(asked).get("dtype", "float32"))
        try:
            return case.network(preprocessing.input_shape, classes)
        finally:
            keras.config.set_dtype_policy("float32")

    patch.setattr(network, "build", build)
    if case.spec is not None:
        spec = case.spec

        def spec_of(_name: str, input_shape: tuple[int, ...] = SHAPE, **_options: Any) -> Any:
            return spec(input_shape)

        patch.setattr(zoo, "detector_spec", spec_of)


def asked(case: Case, data: Path, **changes: Any) -> TrainRequest:
    given = {
        "epochs": EPOCHS, "batch_size": 4, "image_size": (32, 48), "validation_fraction": 0.2,
        "settings": {"ema": 0.5},
    }  # fmt: skip
    return request(case.model, data=str(data), **{**given, **case.changes, **changes})


def fast_for(*names: str) -> pytest.MarkDecorator:
    """Of a test whose other tasks would tell the same: those that `make test` has."""
    marks = {n: pytest.mark.slow if n in SLOW else () if n in names else IN_CI for n in CASES}
    cases = [pytest.param(name, marks=mark) for name, mark in marks.items()]
    return pytest.mark.parametrize("case", cases, indirect=True)


@pytest.fixture(scope="module", params=all_but(CASES.keys() - SLOW, CASES, pytest.mark.slow))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def data(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.data(tmp_path_factory.mktemp("data") / "data", COUNT, side=SIDE)


@pytest.fixture(scope="module")
def run(case: Case, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        with_tiny_network(case, patch)
        return train(asked(case, data), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def made(case: Case, run: Run) -> list[Artefact]:
    artefacts, written = compress(run, case.variants)
    assert written
    return artefacts


def image_of(data: Path) -> Path:
    return min((data if data.is_dir() else data.parent).rglob("*.png"))


def test_a_run_says_what_was_asked_and_found(case: Case, run: Run, data: Path) -> None:
    info = run.info
    assert (info["task"], info["complete"]) == (case.task, True)
    assert TrainRequest.from_dict(info["request"]) == asked(case, data)
    counted = [info["dataset"][part] for part in ("train", "validation", "held_out")]
    assert sum(counted) == COUNT
    assert min(counted) > 0
    results = info["results"]
    assert (results["metric"], results["best_epoch"] in range(1, EPOCHS + 1)) == (
        case.metric,
        True,
    )
    assert 0 <= results["held_out"] <= 100
    assert run.labels == tuple((run.folder / "labels.txt").read_text().split())


def test_a_run_has_its_files(run: Run) -> None:
    there = {path.name for path in run.folder.iterdir()}
    assert there >= {"run.json", "model.keras", "labels.txt", "history.csv", "curves.png"}
    assert "checkpoints" not in there
    with (run.folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rows] == [*range(1, EPOCHS + 1)]
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert run.load_model().input_shape == (None, 32, 48, 3)


@fast_for("multilabel")
def test_a_stopped_training_goes_on_to_the_same_weights(
    case: Case, run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tiny_network(case, monkeypatch)
    checkpoints = tmp_path / "run" / "checkpoints"
    # Within the first epoch, and at its end, which is the same for all tasks.
    for kept in ((0, 1), (1, 0)) if case.task == "classification" else ((0, 1),):
        with pytest.MonkeyPatch.context() as patch:
            stop_at_step(1, patch)
            with pytest.raises(Stopped, match="same command goes on"):
                train(asked(case, data), tmp_path / "run")
        newest = checkpoint.latest_first(checkpoints)[0]
        assert newest == checkpoint.epoch_path(checkpoints, *kept)
    assert not (tmp_path / "run" / "model.keras").exists()
    gone_on = train(asked(case, data), tmp_path / "run")
    assert_same_weights(gone_on.load_model(), run.load_model())
    assert gone_on.info["results"]["held_out"] == run.info["results"]["held_out"]
    assert (gone_on.folder / "history.csv").read_text() == (run.folder / "history.csv").read_text()


def test_a_complete_run_is_not_trained_again(
    case: Case, run: Run, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run.folder / "run.json").read_bytes()
    train(asked(case, data), run.folder)
    assert "is complete" in capsys.readouterr().err
    with pytest.raises(InputError, match="seed: 0 there, 1 asked for"):
        train(asked(case, data, seed=1), run.folder)
    assert (run.folder / "run.json").read_bytes() == before


@fast_for("classification")
def test_figures_are_of_the_network_that_is_saved(
    case: Case, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training in half precision saves float32, whose answers are others."""
    with_tiny_network(case, monkeypatch)
    precisions = []

    def noting(opened: Any, folder: Path, saved: keras.Model) -> dict[str, Any]:
        precisions.append(
            [{one.compute_dtype for one in model.layers} for model in (opened.model, saved)]
        )
        return results(opened, folder, saved)

    kind = type(registry.of_request(request := asked(case, data)).open(request, None))
    results = kind.results
    monkeypatch.setattr(kind, "results", noting)
    trained = train(asked(case, data, epochs=1, precision="mixed_bfloat16"), tmp_path / "run")
    ((in_training, in_file),) = precisions
    assert "bfloat16" in in_training
    assert in_file == {"float32"}
    told = trained.info["results"]
    found = evaluate(tmp_path / "run").to_dict()
    assert found["value"] == pytest.approx(told["held_out"], abs=1e-9)
    for name in {"loss", "calibration_error", "mean_dice", "ap50", "ar100"} & found.keys():
        assert found[name] == pytest.approx(told[name], rel=1e-5), name


@fast_for("classification", "multilabel")
def test_files_are_made_once_and_answer_as_keras_does(
    case: Case, run: Run, made: list[Artefact]
) -> None:
    assert {one.path.name for one in made} == {
        *(f"{name}.tflite" for name in case.variants), "float32.onnx",
    }  # fmt: skip
    for one in made:
        measured = one.info["evaluation"]
        assert measured["metric"] == case.metric
        assert measured["pictures"] == run.info["dataset"]["held_out"]
        if one.path.stem == "float32":
            assert measured["fits"], (one.path.name, measured["rule"])
            assert measured["value"] == pytest.approx(run.info["results"]["held_out"], abs=0.1)
    assert compress(run, case.variants)[1] is False
    assert tasks.of(run).metric == case.metric


@fast_for("classification")
def test_files_are_calibrated_on_images_of_ones_own_choice(
    case: Case, run: Run, data: Path, tmp_path: Path
) -> None:
    """A data set of the task, of which no truth is asked, or any folder of images."""
    shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("artefacts"))
    copy, variant = Run.open(tmp_path / "run"), case.variants[1]
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, path in enumerate(sorted(image_of(data).parent.rglob("*.png"))):
        shutil.copyfile(path, folder / f"{number}.png")
    labelled = {True: data, False: folder}
    for known, chosen in labelled.items():
        settings = Settings(calibration=str(chosen), calibration_pictures=3)
        ((one,), _new) = compress(copy, [variant], onnx=False, settings=settings)
        assert one.info["calibration_pictures"] == 3
        found = one.info["calibration"]
        assert (found["data"], found["labelled"]) == (chosen.name, known)
        assert 0 <= found["distance"] <= 1


@fast_for("classification", "multilabel")
def test_a_comparison_has_a_row_a_file(
    case: Case, run: Run, made: list[Artefact], tmp_path: Path
) -> None:
    rows = compare([run], tmp_path)
    assert {(row.metric, row.model, row.verified) for row in rows if row.variant == "float32"} == {
        (case.metric, case.model, "yes")
    }
    with (tmp_path / "results.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(rows) == len(made)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert case.metric.lower() in page.lower()


@fast_for("classification", "multilabel")
def test_a_file_says_what_it_is(case: Case, run: Run, made: list[Artefact]) -> None:
    for one in made:
        told = read_description(one.path)
        assert (told["task"], told["variant"]) == (case.task, one.path.stem)
        assert told["labels"] == list(run.labels) == one.info["labels"]
        assert told["description"]
        assert told["input"]["name"]
        assert all(output["name"] and output["meaning"] for output in told["outputs"])
        selftest = verify(one.path, told)
        assert selftest is not None
        assert selftest.difference < 1e-4, one.path.name
        assert len(json.dumps(told["selftest"], separators=(",", ":"))) < 1000


@fast_for("classification", "multilabel")
def test_a_file_answers_images(
    case: Case, made: list[Artefact], data: Path, tmp_path: Path
) -> None:
    image = image_of(data)
    for one in made:
        done = here("predict", one.path, image, "--json")
        assert done.returncode == 0, done.stderr
        (answer,) = json.loads(done.stdout)
        assert Path(answer["image"]).name == image.name
        assert case.answer in answer
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert_refused(here("predict", made[0].path, broken), "broken.png")


@fast_for("classification", "multilabel")
def test_classifiers_files_may_end_in_probabilities(
    case: Case, run: Run, made: list[Artefact], data: Path, tmp_path: Path
) -> None:
    """Verified as others are, and the same answers to whoever reads them."""
    shutil.copytree(run.folder, tmp_path / "run")
    copy = Run.open(tmp_path / "run")
    if case.task not in ("classification", "multilabel"):
        with pytest.raises(InputError, match="only classifiers' files end in probabilities"):
            compress(copy, case.variants, outputs="probabilities")
        return
    found, _new = compress(copy, case.variants, outputs="probabilities")
    names = [f"{name}_probabilities.tflite" for name in case.variants]
    assert [one.path.name for one in found] == [*names, "float32_probabilities.onnx"]
    assert compress(copy, case.variants)[1] is False  # those of logits are as they were
    one_of_all = case.task == "classification"
    for one, other in zip(found, made, strict=True):
        measured, before = one.info["evaluation"], other.info["evaluation"]
        assert measured["verified"] == before["verified"], measured["rule"]
        assert measured["value"] == pytest.approx(before["value"], abs=1e-9)
        assert measured["partitions"] == before["partitions"]
        told = read_description(one.path)
        kind = "probabilities" if one_of_all else "scores"
        assert (told["decoding"]["kind"], told["outputs"][0]["name"]) == (kind, kind)
        answers = [
            json.loads(here("predict", path.path, image_of(data), "--json").stdout)[0]["labels"]
            for path in (one, other)
        ]
        for mine, theirs in zip(*answers, strict=True):
            assert (
                mine == {name: pytest.approx(value, abs=1e-5) for name, value in theirs.items()}
                or mine == theirs
            )
    told_of_all = [evaluate(one.path).to_dict()["value"] for one in (found[0], made[0])]
    assert told_of_all[0] == pytest.approx(told_of_all[1])


STEPS = ("slim50_dynamic_int8", "distil_prune50_dynamic_int8", "mixed")
REFUSED = {CASES["two-stage detection"].model: STEPS}


@fast_for()
def test_steps_are_taken_or_refused_with_a_reason(
    case: Case, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels removed, a teacher, each layer's own bits; the rows of test_every_tool are these."""
    monkeypatch.setattr(comparison, "SURE", 0.01)  # four epochs on ten images
    monkeypatch.setattr(tasks_agreement, "SURE", 0.01)
    shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("artefacts"))
    copy = Run.open(tmp_path / "run")
    settings = Settings(
        calibration_pictures=4,
        fine_tuning=FineTuning(epochs=1),
        max_change=20.0,
        spared=("depthwise",),  # of one network the stem is all that there is
    )
    for name in STEPS:
        if name in REFUSED.get(case.model, ()):
            with pytest.raises(InputError, match=name):
                tasks.of(copy).check(parse_variant(name))
            continue
        ((one,), _new) = compress(copy, [name], onnx=False, settings=settings)
        assert one.info["evaluation"]["metric"] == case.metric
        share = one.info["macs"] / run.info["macs"]
        assert (0.3 < share <= 0.5) == name.startswith("slim50")
        if name == "mixed":
            assert {layer["bits"] for layer in one.info["layers"]["layers"]} <= {4, 8, 16}
        if name.startswith("distil"):
            teaching = one.info["variant"]["fine_tuning"]["teacher"]
            assert teaching == "self"


@fast_for()
def test_a_teacher_is_of_the_same_task(
    case: Case, run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tiny_network(case, monkeypatch)
    if case.model in REFUSED:
        with pytest.raises(InputError, match="two-stage"):
            train(asked(case, data, epochs=1, teacher=str(run.folder)), tmp_path / "taught")
        return
    wanted = asked(case, data, epochs=1, teacher=str(run.folder))
    taught = train(wanted, tmp_path / "taught")
    assert taught.info["teacher"]["run"] == run.folder.name
    alone = train(asked(case, data, epochs=1), tmp_path / "alone")
    assert taught.load_model().count_params() == alone.load_model().count_params()
    with pytest.raises(AssertionError):
        assert_same_weights(taught.load_model(), alone.load_model())


@fast_for("classification")
def test_debug_compares_layers(case: Case, run: Run, made: list[Artefact], tmp_path: Path) -> None:
    """Up to what the network ends in, whatever stands behind it in the file."""
    ends = {
        "classification": {"logits"},
        "multilabel": {"logits"},
        "detection": {"boxes", "scores"},
        "detection without anchors": {"boxes", "scores"},
        "two-stage detection": set(),  # its second stage looks at other regions
        "segmentation": {"logits"},
    }
    (name,) = (one for one, other in CASES.items() if other is case)
    variants = [one.path.stem for one in made if one.path.suffix == ".tflite"]
    for variant in variants:
        found = debug(run, variant, tmp_path, pictures=4)
        layers = {layer.layer for layer in found.layers}
        assert layers >= ends[name]
        assert any(layer.startswith(("stem", "enc1")) for layer in layers)
        exact = [layer for layer in found.layers if layer.snr_db < 60]
        assert bool(exact) == (variant != "float32"), exact
        assert (tmp_path / f"{variant}_layers.csv").is_file()


@fast_for("multilabel")
def test_shrink_judges_by_the_metric(
    case: Case, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.task == "classification":
        pytest.skip("tests/export/tools/test_shrink.py has it, of a run with more than one answer")
    shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("artefacts"))
    copy = Run.open(tmp_path / "run")
    budget = Budget(size=10_000_000, drop=100.0)
    kind = type(tasks.of(copy).kind)  # a network of four epochs on ten images finds nothing
    monkeypatch.setattr(kind, "below_floor", lambda *_rest, **_options: None)
    found = shrink(copy, budget, ladder=("dynamic_int8",))
    assert found.chosen is not None
    assert (found.chosen.metric, found.tried) == (case.metric, ("dynamic_int8",))
    assert found.chosen.choice is not None
    assert found.chosen.choice.split == "validation"
    assert case.metric in as_text(found, budget) or case.metric == "accuracy"


@fast_for("classification")
def test_a_rate_is_searched_for(
    case: Case, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tiny_network(case, monkeypatch)
    losses: list[float] = []

    def curve(tried: np.ndarray, found: list[float]) -> Any:
        losses.extend(found)
        return suggest(tried, [2.3 - 0.05 * step for step in range(len(tried))])

    monkeypatch.setattr(range_test, "suggest", curve)  # on ten images a curve is noise
    monkeypatch.setattr(range_test, "write_plot", lambda *_arguments: None)
    found = range_test.range_test(asked(case, data), tmp_path / "rate.png", steps=20)
    assert found.rate > 0
    assert 1 < len(losses) <= 20
    assert math.isfinite(losses[0])


@fast_for("classification")
def test_a_pipeline_is_timed(case: Case, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_tiny_network(case, monkeypatch)
    found = bench_data(asked(case, data), seconds=0.01, rounds=1)
    assert min(found.pipeline, found.step, found.epoch) > 0


def test_it_is_the_same_in_batches_of_any_size(run: Run) -> None:
    """As files take images one by one, and Keras many at once."""
    model = run.load_model()
    pixels = np.random.default_rng(0).uniform(-1, 1, (3, 32, 48, 3)).astype(np.float32)
    for whole, alone in zip(
        keras.tree.flatten(model(pixels, training=False)),
        keras.tree.flatten(model(pixels[:1], training=False)),
        strict=True,
    ):
        if "float" in str(whole.dtype):
            np.testing.assert_allclose(whole[:1], alone, atol=1e-4)


def test_every_task_has_its_row() -> None:
    assert {case.task for case in CASES.values()} == set(registry.names())
