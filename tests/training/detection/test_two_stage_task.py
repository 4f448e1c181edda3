"""Runs of two-stage detectors: figures of masks, what is refused, broken off, learnt by heart."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tiny_detectors
from backends import Backends
from marks import IN_CI
from tiny_detectors import CLASSES, PREPROCESSING

import kerascnn
from export.artefacts.variants import parse_variant
from export.compress.reconstruct.files import reconstructed
from export.graph.fold_norm import fold_batch_norms
from export.graph.lower import lower_for_int8
from export.graph.two_stage import with_suppression
from export.runtime.detectors import load_detector
from export.tflite.convert import to_tflite
from export.tflite.float_counts import give_float_counts
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise
from kerascnn import blocks, zoo
from kerascnn.detection.anchors import rpn_anchors
from kerascnn.detection.faster_rcnn import two_stage_detector
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.datasets import detection_sets, scenes
from training.datasets.detection import DetectionDataset, DetectionSplit
from training.detection import fit as fit_detector
from training.detection import train as train_detector
from training.detection.batches import DetectionTrainingData
from training.detection.evaluate import evaluate_detector, keras_detect_fn
from training.detection.train import opened as open_detector
from training.engine import network
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.engine.loop import Fitted
from training.engine.request import TrainRequest, request
from training.engine.run import Run
from training.engine.train import train

MODEL = "mask_rcnn_efficientnet_lite0_fpn"
CONFIG = TrainConfig(
    epochs=2, batch_size=4, augmentation="flip", learning_rate=1e-2, warmup_epochs=0.5,
    clip_norm=10.0, ema=0.8, label_smoothing=0.0, validation_fraction=0.0,
)  # fmt: skip
LOSSES = ("rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss")
FIGURES = ("ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")


def rectangles(*_arguments: Any, **_options: Any) -> DetectionDataset:
    """Nine pictures and odd ones to learn from, five and odd ones held out."""
    plain, odd = tiny_detectors.split(14), tiny_detectors.odd_split()

    def split(first: int, last: int) -> DetectionSplit:
        own = plain.take(range(first, last))
        return DetectionSplit(
            names=own.names + odd.names, places=np.concatenate([own.places, 100 + odd.places]),
            sizes=np.concatenate([own.sizes, odd.sizes]),
            read=lambda place: (odd if place >= 100 else plain).read(place % 100),
            annotate=lambda place: (odd if place >= 100 else plain).annotate(place % 100),
        )  # fmt: skip

    return DetectionDataset(
        name="rectangles", classes=CLASSES, category_ids=(0, 1), train=split(0, 9),
        validation=plain.take([5, 6]), held_out=split(9, 14), fingerprint="0", generated=True,
    )  # fmt: skip


def asked(data: str = "scenes", **changes: Any) -> TrainRequest:
    given = {"epochs": 2, "batch_size": 7, "image_size": (32, 48)}
    return request(MODEL, data=data, **{**given, **changes})


def trained(folder: Path, **changes: Any) -> Run:
    """A run of a network that is traced within seconds, in the place of the zoo's."""

    def build(_asked: TrainRequest, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
        return tiny_detectors.two_stage_network(preprocessing.input_shape, classes)

    def spec(_name: str, input_shape: tuple[int, ...], **_options: Any) -> TwoStageSpec:
        return tiny_detectors.two_stage_spec(input_shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "build", build)
        patch.setattr(zoo, "detector_spec", spec)
        patch.setattr(detection_sets, "scan_objects", rectangles)
        return train(asked(**changes), folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("rcnn") / "run")


@IN_CI
def test_a_run_has_figures_of_masks_and_of_boxes(run: Run) -> None:
    results = run.info["results"]
    assert results["metric"] == "mask AP"
    assert {"held_out", "box_ap", *FIGURES, *(f"box_{name}" for name in FIGURES)} <= set(results)
    assert 0 <= results["held_out"] <= results["ap50"] <= 100
    assert 0 <= results["box_ap"] <= results["box_ap50"] <= 100
    assert results["box_ap_large"] is None  # nothing there has 96² pixels
    assert TwoStageSpec.from_dict(run.info["detector"]) == tiny_detectors.two_stage_spec()
    files = {path.name for path in run.folder.iterdir()}
    assert files == {
        "run.json", "model.keras", "labels.txt", "history.csv", "curves.png", "tensorboard",
        "precision_recall.png", "per_class.csv", "examples.png",
    }  # fmt: skip


@IN_CI
def test_the_history_has_every_loss(run: Run) -> None:
    with (run.folder / "history.csv").open() as stream:
        rows = [
            {name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)
        ]
    assert len(rows) == 2
    for row in rows:
        assert set(row) == {"epoch", "learning_rate", "loss", *LOSSES, "val_ap", "val_ap50"}
        assert row["loss"] == pytest.approx(sum(row[name] for name in LOSSES), rel=1e-4)
    assert rows[1]["loss"] < rows[0]["loss"]


@pytest.mark.slow
def test_the_model_of_a_run_has_its_figures(run: Run) -> None:
    model, held_out = run.load_model(), rectangles().held_out
    find = keras_detect_fn(model, run.preprocessing, model.get_layer("detections").spec)
    results = run.info["results"]
    for kind, name in (("segm", "held_out"), ("bbox", "box_ap")):
        measured = evaluate_detector(find, held_out, run.preprocessing, CLASSES, kind=kind)
        assert measured.ap == pytest.approx(results[name])


SEEN = {"resize": "letterbox", "tiles": 40, "overlap": 0.25}


def test_masks_of_tiles_fill_their_boxes() -> None:
    """Of images of some 43 x 58 pixels, in tiles of 32 on 32 x 48."""
    seen = dataclasses.replace(PREPROCESSING, resize="letterbox", tiles=32)
    data = dataclasses.replace(
        training_data(dataclasses.replace(CONFIG, augmentation="none", batch_size=9)),
        preprocessing=seen,
        masks=True,
    )
    batch, found = data.batch(0, 0), 0
    for row, place in np.argwhere((batch["gt_labels"] >= 0) & ~batch["gt_crowd"]):
        bits = np.unpackbits(batch["gt_masks"][row, place], axis=-1)[:, : seen.width]
        top, left, bottom, right = batch["gt_boxes"][row, place] * [32, 48, 32, 48]
        rows, columns = np.nonzero(bits)
        edges = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        np.testing.assert_allclose(edges, (top, left, bottom, right), atol=1.01)
        found += 1
    assert found > 3


@pytest.mark.slow
def test_a_run_sees_letterboxed_tiles(tmp_path: Path) -> None:
    """Figures of masks and of boxes are those of whole images, joined of what is in tiles."""
    run = trained(tmp_path / "run", **SEEN)
    assert {name: run.info["request"][name] for name in SEEN} == SEEN
    assert (run.preprocessing.resize, run.preprocessing.tiles) == ("letterbox", 40)
    model, held_out = run.load_model(), rectangles().held_out
    spec = model.get_layer("detections").spec
    find = keras_detect_fn(model, run.preprocessing, spec)
    for kind, name in (("segm", "held_out"), ("bbox", "box_ap")):
        measured = evaluate_detector(
            find, held_out, run.preprocessing, CLASSES, kind=kind, rule=spec.rule
        )
        assert measured.ap == pytest.approx(run.info["results"][name])


def test_options_of_boxes_reach_the_network_and_the_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def build(_name: str, *, classes: int, **options: Any) -> keras.Model:
        given.update(options)
        return tiny_detectors.two_stage_network(classes=classes, proposals=options["proposals"])

    monkeypatch.setattr(kerascnn, "build", build)
    options = {"proposals": 7, "score_threshold": 0.2}
    opened = open_detector(asked("scenes:64@2+1", detector_options=options))
    assert given.items() >= options.items()
    # Those that are not given are the recipe's.
    assert (given["rpn_samples"], given["head_units"], given["frozen_norm"]) == (128, 256, False)
    assert opened.facts()["detector"]["stages"] == 2
    for name in ("proposals", "detections"):  # what the network was built with
        assert opened.spec == opened.model.get_layer(name).spec
    assert opened.spec.proposals == 7


def test_heads_are_what_no_classifier_has() -> None:
    layers = [layer for layer in tiny_detectors.two_stage_network().layers if layer.weights]
    backbone = {
        layer.name for layer in layers if not layer.name.startswith(tasks.of("detection").head)
    }
    assert backbone == {
        f"{name}{norm}"
        for name in ("stem", "stage1_block1_expand", "stage2_block1_expand")
        for norm in ("", "_norm")
    }


def test_rows_of_masks_are_as_many_as_there_can_be_objects() -> None:
    some = tiny_detectors.split(5)  # with two at most
    assert train_detector._most_objects(some, CONFIG) == 2
    put_together = dataclasses.replace(CONFIG, augmentation="scenes")
    assert train_detector._most_objects(some, put_together) == 8
    assert train_detector._most_objects(some.take([4]), CONFIG) == 1  # without any
    many = dataclasses.replace(some, count_at=lambda places: np.tile([200, 0], (len(places), 1)))
    assert train_detector._most_objects(many, CONFIG) == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposal": 9}, "no option --detector proposal; did you mean 'proposals'"),
        ({"proposals": 9.5}, r"proposals must be a whole number, not 9\.5"),
        ({"samples": 0}, "samples must be at least 1, not 0"),
        ({"masks": True}, "its own masks; leave --detector masks out"),
        ({"input_size": 5}, "its own input_size"),
        ({"rpn_positive_iou": 0.1}, "rpn_negative_iou <= rpn_positive_iou"),
        ({"loss": "focal"}, "no option --detector loss"),
        ({"positive_share": "half"}, "positive_share must be a number, not 'half'"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_detector(asked(data="scenes:64@2+1", detector_options=options))
    assert "\n" not in str(caught.value)


def test_the_papers_schedule() -> None:
    config = request("faster_rcnn_resnet50_fpn", data="data", recipe="rcnn").config
    assert (config.optimizer, config.momentum, config.nesterov) == ("sgd", 0.9, False)
    assert config.peak_learning_rate == pytest.approx(0.02 * config.batch_size / 16)
    assert config.milestones == ((16, 0.1), (22, 0.01))


def training_data(config: TrainConfig = CONFIG) -> DetectionTrainingData:
    return DetectionTrainingData(
        split=tiny_detectors.split(9), preprocessing=PREPROCESSING, classes=2, config=config,
        most_objects=4,
    )  # fmt: skip


def fit(
    folder: Path, config: TrainConfig = CONFIG, validation: DetectionSplit | None = None
) -> tuple[keras.Model, Fitted]:
    model = tiny_detectors.two_stage_network()
    fitted = fit_detector.fit_detector(
        model, tiny_detectors.two_stage_spec(), training_data(config), validation, classes=CLASSES,
        folder=folder / "checkpoints", history_file=folder / "history.csv", placement=SINGLE,
    )  # fmt: skip
    return model, fitted


@pytest.mark.slow
@pytest.mark.usefixtures("half_precision")
def test_half_precision_trains(tmp_path: Path) -> None:
    model, fitted = fit(tmp_path, dataclasses.replace(CONFIG, epochs=3), tiny_detectors.split(3))
    assert "float16" not in {v.dtype for v in model.variables}
    assert {output.dtype for output in model.output.values()} == {"float32", "int32"}
    assert all(np.isfinite(list(epoch.values())).all() for epoch in fitted.history)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


@pytest.mark.slow
def test_frozen_epochs_move_all_but_the_backbone(tmp_path: Path) -> None:
    before = tiny_detectors.two_stage_network()
    after, _fitted = fit(tmp_path, dataclasses.replace(CONFIG, epochs=1, freeze_epochs=1))
    for old in before.layers:
        if old.weights:
            new = after.get_layer(old.name)
            pairs = zip(old.trainable_variables, new.trainable_variables, strict=True)
            moved = any(not np.array_equal(a, b) for a, b in pairs)
            assert moved == (not old.name.startswith(("stem", "stage"))), old.name


JAX = """
import json, pathlib, sys
import keras, numpy as np, tiny_detectors
from tiny_detectors import CLASSES, PREPROCESSING
from training.detection import fit as fit_detector
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.detection.batches import DetectionTrainingData
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
config, weights, folder = json.loads(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
model, spec = tiny_detectors.two_stage_network(), tiny_detectors.two_stage_spec()
model.load_weights(weights)
course = DetectionTrainingData(
    split=tiny_detectors.split(9), preprocessing=PREPROCESSING, classes=2,
    config=TrainConfig(**config), most_objects=4,
)
fitted = fit_detector.fit_detector(
    model, spec, course, tiny_detectors.split(5), classes=CLASSES, folder=folder / "checkpoints",
    history_file=folder / "history.csv", placement=SINGLE,
)
print(json.dumps(fitted.history))
"""


@pytest.mark.slow
def test_jax_trains_as_tensorflow_does(on_backend: Backends, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=3, ema=0.0, learning_rate=1e-3)
    tiny_detectors.two_stage_network().save_weights(tmp_path / "initial.weights.h5")
    (tmp_path / "tensorflow").mkdir()
    _model, fitted = fit(tmp_path / "tensorflow", config)
    arguments = (json.dumps(dataclasses.asdict(config)), tmp_path / "initial.weights.h5", tmp_path)
    printed = on_backend("jax", JAX, *arguments)
    history = json.loads(printed.splitlines()[-1])
    # Two steps each; what is sampled of proposals may be others once weights differ by rounding.
    for name in LOSSES:
        assert history[0][name] == pytest.approx(fitted.history[0][name], rel=2e-2)
    assert history[-1]["loss"] < history[0]["loss"]
    assert 0 <= history[-1]["val_ap"] <= history[-1]["val_ap50"] <= 100


SIDE = 256
DIGITS = dataclasses.replace(
    CONFIG, epochs=90, augmentation="none", learning_rate=3e-3, weight_decay=0.0, warmup_epochs=1.0,
    ema=0.0,
)  # fmt: skip


def small(spec: TwoStageSpec) -> keras.Model:
    """A stack of five strided convolutions with a pyramid from stride 4 on, and narrow heads."""
    keras.utils.set_random_seed(0)
    conventions = blocks.Conventions(activation="relu", norm_momentum=0.8)
    inputs = blocks.picture_input((SIDE, SIDE, 3))
    x = conventions.conv(inputs, 16, 3, strides=2, name="stem")
    for stage, filters in enumerate((24, 48, 64, 96), 1):
        x = conventions.conv(x, filters, 3, strides=2, name=f"stage{stage}_block1_expand")
    features = [f"stage{stage}" for stage in range(1, 5)]
    return two_stage_detector(
        keras.Model(inputs, x), features, spec, 10, name="small", frozen_norm=False,
        fpn_filters=32, head_units=128, mask_filters=32,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True], ids=["faster", "mask"])
def test_twenty_scenes_are_learnt_by_heart(masks: bool, tmp_path: Path) -> None:
    """Digits of 20 to 128 pixels; a minute or two of a processor."""
    data = scenes.scan(f"scenes:{SIDE}@20+1")
    pictures = Preprocessing(height=SIDE, width=SIDE, channels=3, resize="stretch")
    anchors = rpn_anchors(
        (SIDE, SIDE), strides=(4, 8, 16, 32, 64), sizes=((20,), (28,), (56,), (112,), (224,)),
        aspect_ratios=(0.7, 1.4),
    )  # fmt: skip
    spec = TwoStageSpec(
        anchors=anchors, input_size=(SIDE, SIDE), masks=masks, rpn_positive_iou=0.5,
        rpn_samples=64, candidates_a_level=80, proposals=40, samples=32, positive_share=0.5,
        max_detections=20,
    )  # fmt: skip
    model = small(spec)
    training_data = DetectionTrainingData(
        split=data.train, preprocessing=pictures, classes=10, config=DIGITS, most_objects=8
    )
    fit_detector.fit_detector(
        model, spec, training_data, None, classes=data.classes, folder=tmp_path / "checkpoints",
        history_file=tmp_path / "history.csv", placement=SINGLE,
    )  # fmt: skip
    find = keras_detect_fn(model, pictures, spec)
    files = files_of(model, np.stack([data.train.picture(index) for index in range(20)]), pictures)
    for kind in ("bbox", "segm") if masks else ("bbox",):
        found = evaluate_detector(find, data.train, pictures, data.classes, kind=kind)
        assert found.ap50 >= 95
        for name, file in files.items():
            path = tmp_path / f"{name}.tflite"
            path.write_bytes(file)
            detect = load_detector(path, pictures, spec).detect
            of_file = evaluate_detector(detect, data.train, pictures, data.classes, kind=kind)
            assert of_file.ap50 >= 95
            assert of_file.ap >= found.ap - 3


def files_of(
    model: keras.Model, images: np.ndarray, preprocessing: Preprocessing
) -> dict[str, bytes]:
    """Its int8 files by variant, calibrated on some images."""
    bare = lower_for_int8(fold_batch_norms(with_suppression(model)))
    float32, int8 = TFLiteModel.open(to_tflite(bare)), parse_variant("int8")
    plain = quantise(float32, int8, preprocessing, images)
    fitted, told = reconstructed(bare, int8, preprocessing, images, float_file=float32, plain=plain)
    assert told is not None
    assert min(told["plain_db"], told["reconstructed_db"]) > 25
    files = {"plain_int8": plain, "int8": fitted}
    for file in files.values():
        file.apply(give_float_counts)
    return {name: file.packed() for name, file in files.items()}
