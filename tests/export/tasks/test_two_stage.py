"""Two-stage detectors as files: suppression of builtins alone, and the same objects as Keras."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tiny_detectors
import web_golden
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from commands import here
from keras import layers
from marks import IN_CI
from PIL import Image
from pycocotools import mask as rle
from scene_detectors import CLASSES, DATA, PREPROCESSING, SIDE, network_of, spec_of

from export.artefacts.variants import parse_variant
from export.compress.compress import compress
from export.compress.int8_tensors import float_layers
from export.compress.reconstruct.keep_float import layer_of_operator
from export.graph.fold_norm import fold_batch_norms
from export.graph.two_stage import (
    FiledDetections,
    FiledMasks,
    FiledProposals,
    with_suppression,
)
from export.onnx.convert import to_onnx
from export.runtime.answers import Instance
from export.runtime.detectors import load_detector
from export.runtime.load import partitions
from export.runtime.predict import Order
from export.runtime.predict import answers as predicted
from export.tasks import base as tasks
from export.tasks.agreement import agreement, soft_iou, sure_found
from export.tasks.detectors import Found
from export.tasks.two_stage import TwoStageDetection
from export.tflite import quantise as quantising
from export.tflite.convert import to_tflite
from export.tflite.float_counts import give_float_counts
from export.tflite.kernel_operations import KERNEL_OPERATIONS
from export.tflite.metadata import describe
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise
from export.tflite.regions import without_regions
from export.tools.debug import layer_errors
from kerascnn.detection import two_stage
from kerascnn.detection.nms import nms
from kerascnn.detection.roi_align import RoIAlign, assigned_level
from kerascnn.detection.roi_heads import Detections as DetectionsLayer
from kerascnn.detection.roi_heads import Masks
from kerascnn.detection.rpn import Proposals
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.errors import InputError
from training.datasets import scenes
from training.detection.evaluate import detections
from training.detection.metrics import Detections
from training.engine.foldable_norms import LINEAR
from training.engine.request import request
from training.engine.run import Run, write_info

OUTPUTS = ["boxes", "labels", "scores", "count", "masks"]


@pytest.fixture(scope="module")
def spec() -> TwoStageSpec:
    return spec_of()


@pytest.fixture(scope="module")
def network(spec: TwoStageSpec) -> keras.Model:
    return network_of(spec)


@pytest.fixture(scope="module")
def filed(network: keras.Model) -> keras.Model:
    return with_suppression(network)


@pytest.fixture(scope="module")
def file(filed: keras.Model) -> bytes:
    bare = TFLiteModel.edited(to_tflite(filed), give_float_counts)
    labels = tuple(str(i) for i in range(CLASSES))
    told = web_golden.description("detection", PREPROCESSING, labels, {"kind": "detections"})
    outputs = [{"name": name, "meaning": ""} for name in OUTPUTS]
    return TFLiteModel.edited(bare, describe, metadata=told | {"outputs": outputs})


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return scenes.scan(DATA).held_out.picture(0)[None].repeat(3, 0) // np.array(
        [1, 2, 3], np.uint8
    ).reshape(-1, 1, 1, 1)


def answers(model: keras.Model, picture: np.ndarray) -> dict[str, np.ndarray]:
    found = model(PREPROCESSING.normalise(picture[None]), training=False)
    named = found if isinstance(found, dict) else dict(zip(model.output_names, found, strict=True))
    return {name: np.asarray(value) for name, value in named.items()}


# --- The network that files hold ------------------------------------------------------------------


def test_outputs_are_those_of_keras(network, filed, pictures) -> None:
    assert filed.output_names == OUTPUTS
    assert filed.input_shape == (1, SIDE, SIDE, 3)
    counts = []
    for picture in pictures[:2]:
        wanted, found = answers(network, picture), answers(filed, picture)
        for name in OUTPUTS:
            assert found[name].dtype == wanted[name].dtype
            np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-5)
        counts.append(int(wanted["count"][0]))
    # Many, but not as many as there is room for.
    assert 10 < min(counts) < 40
    assert len(set(counts)) > 1


def test_what_is_no_two_stage_detector_is_refused() -> None:
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(InputError, match="is not a two-stage detector: it gives no detections"):
        with_suppression(keras.Model(inputs, keras.layers.Flatten()(inputs)))


def tflite(call: Any, *arguments: np.ndarray) -> list[np.ndarray]:
    """What a function gives as a TFLite file."""
    signature = [tf.TensorSpec(a.shape, a.dtype, f"a{i}") for i, a in enumerate(arguments)]
    function = tf.function(
        lambda *values: {f"r{i}": tf.identity(v) for i, v in enumerate(call(*values))},
        input_signature=signature,
        autograph=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        module = tf.Module()
        module.call = function
        tf.saved_model.save(module, folder, signatures=function)
        work = Interpreter(model_content=tf.lite.TFLiteConverter.from_saved_model(folder).convert())
    runner = work.get_signature_runner()
    found = runner(**{f"a{i}": a for i, a in enumerate(arguments)})
    return [found[f"r{i}"] for i in range(len(found))]


def test_proposals_of_a_file_with_ties_and_what_is_no_number() -> None:
    spec = spec_of(proposals=50, rpn_iou_threshold=0.3)
    draw = np.random.default_rng(0)
    count = spec.anchors.count
    # Halves: most logits have equals.
    logits = np.round(2 * draw.normal(0, 1, (1, count))).astype(np.float32) / 2
    codes = draw.normal(0, 0.3, (1, count, 4)).astype(np.float32)
    logits[0, 1::31] = -np.inf
    codes[0, ::19], codes[0, 5::23, 2:] = np.nan, -40  # no number, and no area
    boxes, valid = map(np.asarray, Proposals(spec)(codes, logits))
    found, there = tflite(FiledProposals(spec), codes, logits)
    assert np.array_equal(there, valid)
    assert valid.sum() > 20
    np.testing.assert_allclose(found, boxes, atol=1e-6)


def test_fewer_candidates_than_proposals() -> None:
    spec = spec_of(proposals=2000)
    codes = np.zeros((1, spec.anchors.count, 4), np.float32)
    logits = np.random.default_rng(0).normal(0, 1, codes.shape[:2]).astype(np.float32)
    boxes, valid = map(np.asarray, Proposals(spec)(codes, logits))
    found, there = FiledProposals(spec)(codes, logits)
    assert boxes.shape == (1, 2000, 4)
    np.testing.assert_array_equal(there, valid)
    np.testing.assert_array_equal(found, boxes)


def detected(spec: TwoStageSpec, *inputs: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Of Keras, and of a file."""
    wanted = {name: np.asarray(v) for name, v in DetectionsLayer(spec)(*inputs).items()}
    found = tflite(lambda *values: FiledDetections(spec)(*values).values(), *inputs)
    return [wanted, dict(zip(wanted, found, strict=True))]


def second_stage(spec: TwoStageSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Regions, which there are, scores and codes; many scores are equal to the last bit."""
    draw = np.random.default_rng(1)
    corner, side = draw.uniform(0, 0.6, (1, 40, 2)), draw.uniform(0.1, 0.4, (1, 40, 2))
    regions = np.concatenate([corner, corner + side], axis=-1).astype(np.float32)
    scores = draw.integers(0, 17, (1, 40, CLASSES)).astype(np.float32) / 16
    codes = draw.normal(0, 1, (1, 40, 1 + CLASSES, 4)).astype(np.float32)
    return regions, np.arange(40)[None] < 35, scores, codes


class Selected(keras.layers.Layer):
    """The end of `FiledDetections`, of a picture (1, r, values, 1) that holds all that is given."""

    def __init__(self, spec: TwoStageSpec) -> None:
        super().__init__(autocast=False)
        suppress = functools.partial(FiledDetections(spec)._suppress_classes, CLASSES)
        self.select = functools.partial(two_stage.select, spec, suppress=suppress)

    def call(self, picture: Any) -> dict[str, Any]:
        regions, valid, scores, codes = tf.split(
            picture[..., 0], [4, 1, CLASSES, 4 * (1 + CLASSES)], axis=-1
        )
        codes = tf.reshape(codes, [1, 40, 1 + CLASSES, 4])
        return self.select(regions, valid[..., 0] > 0, scores, codes)


@pytest.mark.parametrize("end", [".tflite", pytest.param(".onnx", marks=IN_CI)])
def test_equal_scores_of_a_file_go_by_label_and_region(end: str) -> None:
    spec = spec_of(score_threshold=0.15, max_detections=60)
    regions, valid, scores, codes = second_stage(spec)
    wanted = two_stage.select(spec, regions, valid, scores, codes)
    assert len(np.unique(wanted["scores"])) < 20
    found = of_file(end, spec, regions, valid, scores, codes)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    ("end", "options"),
    [
        (".tflite", {"class_agnostic": True}),
        (".onnx", {"class_agnostic": True}),
        pytest.param(".tflite", {"suppression": "soft"}, marks=IN_CI),
        (".tflite", {"suppression": "soft", "class_agnostic": True, "soft_nms_sigma": 0.2}),
    ],
)
def test_other_suppression_of_a_file_is_that_of_keras(end: str, options: dict) -> None:
    spec = spec_of(score_threshold=0.15, max_detections=200, **options)
    regions, valid, scores, codes = second_stage(spec)
    scores = np.random.default_rng(5).permutation(np.linspace(0.01, 0.9, scores.size, "float32"))
    scores = scores.reshape(1, 40, CLASSES)
    wanted = two_stage.select(spec, regions, valid, scores, codes)
    assert wanted["count"][0] > 5
    found = of_file(end, spec, regions, valid, scores, codes)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5, err_msg=name)


def of_file(
    end: str,
    spec: TwoStageSpec,
    regions: np.ndarray,
    valid: np.ndarray,
    scores: np.ndarray,
    codes: np.ndarray,
) -> dict[str, np.ndarray]:
    """Detections of a file that has the end of a detector alone."""
    parts = (regions, valid[..., None], scores, codes.reshape(1, 40, -1))
    picture = np.concatenate(parts, axis=-1, dtype=np.float32)[..., None]
    inputs = keras.Input(batch_shape=picture.shape, name="image")
    outputs = [
        layers.Identity(dtype=value.dtype, name=name)(value)
        for name, value in Selected(spec)(inputs).items()
    ]
    model = keras.Model(inputs, outputs)
    if end == ".tflite":
        return Interpreter(model_content=to_tflite(model)).get_signature_runner()(image=picture)
    session = onnxruntime.InferenceSession(to_onnx(model))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": picture}), strict=True))


def test_detections_of_a_file_with_what_is_no_number() -> None:
    spec, draw = spec_of(score_threshold=0.15, max_detections=60), np.random.default_rng(1)
    regions, valid, _scores, codes = second_stage(spec)
    logits = draw.normal(0, 2, (1, 40, 1 + CLASSES)).astype(np.float32)
    logits[0, 3], codes[0, 5], codes[0, 7, :, 2:], regions[0, 9] = np.nan, np.nan, -200, 0
    wanted, found = detected(spec, regions, valid, logits, codes)
    assert 20 < wanted["count"][0] < 60
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=2e-6, err_msg=name)


def test_an_overlap_of_just_the_threshold_is_kept_by_files_too() -> None:
    # The second is half of the first: as much as the threshold, not above it. The third is more.
    regions = np.array([[[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 1, 0.5625]]], np.float32)
    logits = np.array([[[0, 3, 0], [0, 2, 0], [0, 1, 0]]], np.float32)
    codes = np.zeros((1, 3, 3, 4), np.float32)
    for answer in detected(spec_of(iou_threshold=0.5), regions, regions[..., 2] > 0, logits, codes):
        assert answer["count"].tolist() == [2]
        np.testing.assert_array_equal(answer["boxes"][0, :2], regions[0, :2])
    assert nms(regions, logits[..., 1], np.zeros((1, 3)), iou_threshold=0.5, max_detections=3)[
        1
    ].numpy().tolist() == [[True, True, False]]


def test_masks_of_a_file_are_the_classs_own() -> None:
    draw = np.random.default_rng(2)
    logits = draw.normal(0, 2, (1, 5, 4, 4, 3)).astype(np.float32)
    labels = np.array([[1, 0, 1, -1, 0]], np.int32)
    (found,) = tflite(lambda *values: [FiledMasks()(*values)], logits, labels)
    for index, label in enumerate(labels[0]):
        own = 1 / (1 + np.exp(-logits[0, index, :, :, label + 1])) if label >= 0 else 0
        np.testing.assert_allclose(found[0, index], np.broadcast_to(own, (4, 4)), atol=1e-6)
    np.testing.assert_allclose(found, np.asarray(Masks()(logits, labels)), atol=1e-6)


# --- The file -------------------------------------------------------------------------------------


def test_a_file_is_of_builtins_with_known_shapes(file: bytes) -> None:
    work = Interpreter(model_content=file)
    work.allocate_tensors()
    kinds = {one["op_name"] for one in work._get_ops_details()} - {"DELEGATE"}
    assert "NON_MAX_SUPPRESSION_V4" in kinds
    assert not kinds & {"WHILE", "IF", "CUSTOM"}
    known = {name for name in dir(schema.BuiltinOperator) if not name.startswith("_")}
    assert kinds <= known
    for tensor in work.get_tensor_details():
        assert (tensor["shape_signature"] >= 0).all(), tensor["name"]
    outputs = [(tuple(one["shape"]), one["dtype"]) for one in work.get_output_details()]
    shapes = [(1, 40, 4), (1, 40), (1, 40), (1,), (1, 40, 28, 28)]
    assert outputs == [(shape, np.float32) for shape in shapes]
    assert set(work.get_signature_list()["serving_default"]["outputs"]) == set(OUTPUTS)


def test_a_file_finds_what_keras_finds(file, network, spec, pictures, tmp_path) -> None:
    (tmp_path / "x.tflite").write_bytes(file)
    network.save(tmp_path / "model.keras")
    found, wanted = (
        load_detector(tmp_path / name, PREPROCESSING, spec).detect(pictures)
        for name in ("x.tflite", "model.keras")
    )
    for one, other in zip(found, wanted, strict=True):
        assert 10 < len(one) < 40
        assert one.labels.tolist() == other.labels.tolist()
        for name in ("boxes", "scores", "masks"):
            values = getattr(one, name)
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, getattr(other, name), rtol=0, atol=1e-3)
    assert agreement(found, wanted, (SIDE, SIDE), spec)[0] == 100
    # Another detector's description.
    for other in (spec_of(masks=False), tiny_detectors.spec()):
        with pytest.raises(InputError, match="does not fit its description"):
            load_detector(tmp_path / "x.tflite", PREPROCESSING, other)
    with pytest.raises(InputError, match="does not fit its description"):
        load_detector(tmp_path / "model.keras", PREPROCESSING, tiny_detectors.spec())


# --- In int8 --------------------------------------------------------------------------------------

FLOAT_PARTS = ("rpn_codes", "rpn_logits", "class_logits", "box_", "mask_")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantised:
    """A float file, and others of it."""

    float32: TFLiteModel
    dynamic: TFLiteModel
    int8: TFLiteModel
    model: keras.Model

    @property
    def layers(self) -> set[str]:
        """Their names."""
        return {layer.name for layer in self.model.layers}


@pytest.fixture(scope="module")
def quantised(filed: keras.Model) -> Quantised:
    return quantised_of(filed)


def quantised_of(filed: keras.Model) -> Quantised:
    """Files of 12 images' ranges."""
    bare = fold_batch_norms(filed)
    float32 = TFLiteModel.open(to_tflite(bare))
    train = scenes.scan(DATA).train
    seen = [train.picture(index) for index in range(12)]
    dynamic, int8 = (
        quantise(float32, parse_variant(name), PREPROCESSING, seen)
        for name in ("plain_dynamic_int8", "plain_int8")
    )
    return Quantised(float32=float32, dynamic=dynamic, int8=int8, model=bare)


@IN_CI
def test_int8_ends_where_regions_are_chosen(quantised: Quantised) -> None:
    int8 = quantised.int8
    tensors, kinds = int8.graph.tensors, schema.TensorType
    assert tensors[int8.graph.inputs[0]].type == kinds.UINT8
    given: dict[bool, set[str]] = {True: set(), False: set()}
    for operator in int8.graph.operators:
        code = int8.unpacked.operatorCodes[operator.opcodeIndex].builtinCode
        if code in KERNEL_OPERATIONS:
            places = KERNEL_OPERATIONS[code]
            read, kernel = (tensors[operator.inputs[i]] for i in (places.source, places.kernel))
            assert kernel.type == kinds.INT8
            layer = layer_of_operator(int8, operator, quantised.layers)
            assert layer is not None
            given[read.type == kinds.INT8].add(layer)
    kernels = {layer.name for layer in quantised.model.layers if isinstance(layer, LINEAR)}
    floats = {layer for layer in kernels if layer.startswith(FLOAT_PARTS)}
    assert given == {True: kernels - floats, False: floats}
    assert {"stem", "fpn_p3_output", "fpn_p5_lateral", "rpn_conv", "rpn_conv_call4"} <= given[True]
    assert {"rpn_codes", "box_head1", "box_codes", "mask_conv1", "mask_logits"} <= given[False]
    assert kernels & float_layers(quantised.model) == floats  # which reconstruction goes by
    # No piece more than in float; biases of 32 bits, and scales of activations.
    assert partitions(int8.packed()) == partitions(quantised.float32.packed())
    assert len(int8.packed()) < 1.03 * len(quantised.dynamic.packed())


@IN_CI
def test_ranges_need_no_regions(quantised: Quantised, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration runs a part of the file alone, and finds what the whole one would."""
    seen = [scenes.scan(DATA).train.picture(index) for index in range(2)]
    given = (quantised.float32, parse_variant("plain_int8"), PREPROCESSING, seen)
    part = without_regions(quantised.float32)
    assert len(part.graph.operators) < len(quantised.float32.graph.operators) / 10
    assert set(part.outputs()) == {f"end{number}" for number in range(7)}  # 3 maps, 4 of the RPN
    found = quantise(*given).packed()
    monkeypatch.setattr(quantising, "without_regions", lambda file: file)
    assert quantise(*given).packed() == found


@IN_CI
def test_an_int8_file_finds_what_the_float_one_finds(tmp_path: pathlib.Path) -> None:
    """Of random weights: of regions and boxes that are equally good, either may be kept.

    All anchors are regions, so that no region is missing.
    """
    spec = spec_of(masks=False, candidates_a_level=1000, proposals=680, rpn_iou_threshold=0.99)
    quantised = quantised_of(with_suppression(network_of(spec)))
    held_out = scenes.scan(DATA).held_out
    images = np.stack([held_out.picture(index) for index in range(4)])
    files = [quantised.float32.packed(), quantised.int8.packed()]
    errors = {one.layer: one.snr_db for one in layer_errors(*files, PREPROCESSING, images)}
    assert min(errors[f"fpn_p{level}_output"] for level in (3, 4, 5)) > 25
    assert min(errors["rpn_codes_rows"], errors["rpn_logits_rows"]) > 25
    found = []
    for file in files:
        path = tmp_path / "one.tflite"
        path.write_bytes(TFLiteModel.edited(file, give_float_counts))
        found.append(load_detector(path, PREPROCESSING, spec).detect(images))
    for one, other in (found, found[::-1]):
        agreed = sure_found(one, other, CLASSES)
        assert agreed.count > 100
        assert agreed.overall > 80


# --- The task -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(network, spec, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the network, without a training."""
    return run_of(network, spec, "mask AP", tmp_path_factory.mktemp("runs") / "masks")


def run_of(network: keras.Model, spec: TwoStageSpec, metric: str, folder: pathlib.Path) -> Run:
    data = scenes.scan(DATA)
    name = f"{'mask' if spec.masks else 'faster'}_rcnn_efficientnet_lite0_fpn"
    asked = request(name, data=DATA, image_size=(SIDE, SIDE), epochs=1)
    folder.mkdir()
    network.save(folder / "model.keras")
    write_info(folder, {
        "request": asked.to_dict(), "task": "detection", "created": "2026-01-01T00:00:00+00:00",
        "versions": {"keras": keras.__version__}, "machine": {"processor": "a processor"},
        "preprocessing": PREPROCESSING.to_dict(), "labels": list(data.classes),
        "dataset": {"name": DATA, "fingerprint": data.fingerprint, "skipped": []},
        "parameters": 1, "macs": 1, "complete": True, "detector": spec.to_dict(),
        "category_ids": list(data.category_ids),
        "results": {"metric": metric, "held_out": 0.0, "ap50": 0.0, "best_epoch": 1, "seconds": 1},
    })  # fmt: skip
    return Run.open(folder)


@pytest.fixture(scope="module")
def task(run: Run) -> TwoStageDetection:
    task = tasks.of(run)
    assert isinstance(task, TwoStageDetection)
    return task


@pytest.fixture(scope="module")
def found(run: Run, task: TwoStageDetection) -> Found:
    """As `keras_answers`, without a compilation."""
    keras_file = task.load(run.model_path)
    return task.measured(detections(keras_file.detect, task.held_out, PREPROCESSING))


def test_what_is_made_and_what_is_refused(task: TwoStageDetection) -> None:
    for name in (*task.default, "plain_int8", "plain_dynamic_int8", "plain_weight_int8"):
        task.check(parse_variant(name))
    for name, reason in (
        ("int16x8", "accelerators with 16-bit activations want them throughout"),
        ("plain_int16x8", "accelerators with 16-bit activations want them throughout"),
        ("int8_raw", "without suppression inside, their second stage has no regions"),
        ("float32_raw", "without suppression inside, their second stage has no regions"),
        ("prune50_float32", "steps that train have the losses of one-stage detectors alone"),
        ("qat_int8", "steps that train have the losses of one-stage detectors alone"),
        ("qat_weight_int4", "steps that train have the losses of one-stage detectors alone"),
        ("weight_int4", "weights of 4 bits move boxes"),
        ("slim50_int8", "steps that train have the losses of one-stage detectors alone"),
        ("distil_cluster16_int8", "steps that train have the losses of one-stage detectors alone"),
        ("mixed", "moves the regions that the second one is judged on"),
        ("int8_converter", "converter rounds the whole graph"),
        ("float16_converter", "second opinions are for classifiers only"),
    ):
        with pytest.raises(InputError, match=f"^{name}: two-stage detectors .*{reason}"):
            task.check(parse_variant(name))
        with pytest.raises(InputError, match=f"^{name}: "):
            compress(task.run, [name])


def test_a_file_is_described(task: TwoStageDetection) -> None:
    variant = parse_variant("float32")
    for end, label, count in ((".tflite", "float32", "float32"), (".onnx", "int32", "int32")):
        told = task.description(variant, end)
        assert [(o["name"], o["shape"], o["type"]) for o in told["outputs"]] == [
            ("boxes", [1, 40, 4], "float32"),
            ("labels", [1, 40], label),
            ("scores", [1, 40], "float32"),
            ("count", [1], count),
            ("masks", [1, 40, 28, 28], "float32"),
        ]
        alone = task.metadata(variant, end)
        assert alone["outputs"] == told["outputs"]
        assert alone["decoding"] == {"kind": "detections"}
        assert "and their masks" in alone["description"]
        assert told["detector"]["stages"] == 2
        assert TwoStageSpec.from_dict(json.loads(json.dumps(told["detector"]))) == task.spec


def test_masks_are_the_metric_and_boxes_stand_beside_them(task, found: Found) -> None:
    assert task.metric == "mask AP"
    assert found.evaluation.kind == "segm"
    assert found.boxes is not None
    kept = task.kept(found, found, found)
    assert kept["box_ap"] == found.boxes.ap
    assert kept["box_ap50"] == found.boxes.ap50
    assert kept["ap50"] == found.evaluation.ap50
    assert found.value == found.evaluation.ap
    assert json.loads(json.dumps(kept)) == kept


def test_verdicts_look_at_masks(task: TwoStageDetection, found: Found) -> None:
    def verdict(name: str, answers: Found) -> Any:
        return task.verify(parse_variant(name), answers, found, None)

    assert verdict("float32", found).is_verified
    assert verdict("float32", found).agreement == 100
    assert "a mask to IoU 0.99" in verdict("float32", found).rule
    other = dataclasses.replace(
        found,
        pictures=[dataclasses.replace(one, masks=one.masks[:, ::-1]) for one in found.pictures],
    )
    assert not verdict("float32", other).is_verified
    assert verdict("float32", other).agreement < 20
    assert verdict("weight_int8", found).is_verified
    assert "at mask IoU 0.5" in verdict("weight_int8", found).rule
    empty = dataclasses.replace(
        found,
        pictures=[dataclasses.replace(one, masks=0 * one.masks) for one in found.pictures],
    )
    assert not verdict("weight_int8", empty).is_verified
    gone = task.measured([one.take(one.scores > 2) for one in found.pictures])
    for name in ("float32", "weight_int8"):
        assert verdict(name, gone).verified == "no"
        assert task.verify(parse_variant(name), gone, gone, None).verified == "not verified"


def test_mistakes_are_kept_with_masks_and_drawn(task: TwoStageDetection, found: Found) -> None:
    count, mistakes = task.mistakes(found)
    assert count == len(mistakes) == 4
    shown = task.shown(json.loads(json.dumps(mistakes)))
    without = [
        {k: v for k, v in one.items() if k not in ("masks", "mask_side")} for one in mistakes
    ]
    pairs = list(zip(shown, task.shown(without), strict=True))
    for one, _plain in pairs:
        assert one["picture"].shape == (SIDE, SIDE, 3)
        assert "missed" in one["counted"]
    assert any((one["picture"] != plain["picture"]).any() for one, plain in pairs)


def test_predict_gives_and_draws_masks(run: Run, spec, tmp_path: pathlib.Path) -> None:
    small = Image.fromarray(scenes.scan(DATA).held_out.picture(0))
    wide = np.asarray(small.resize((2 * SIDE, SIDE)))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image = str(tmp_path / "wide.png")
    (told,) = predicted(run.model_path, [image], score=0.5, order=Order(out=tmp_path / "drawn"))
    assert len(told.objects) > 3
    whole = load_detector(run.model_path, PREPROCESSING, spec)
    found = whole.detect(np.asarray(Image.fromarray(wide).resize((SIDE, SIDE)))[None])[0]
    assert len(found)
    for one in told.objects:
        assert isinstance(one, Instance)
        assert one.mask["size"] == [SIDE, 2 * SIDE]
        covered = rle.decode(json.loads(json.dumps(one.mask)))
        rows, columns = np.nonzero(covered)
        if len(rows):  # torchvision's pixels reach a pixel over the box
            assert one.top - 2 <= rows.min()
            assert rows.max() <= one.bottom + 2
            assert one.left - 2 <= columns.min()
            assert columns.max() <= one.right + 2
    assert sum(rle.area(one.mask) for one in told.objects) > 50
    with Image.open(told.drawn) as drawn:
        assert (np.asarray(drawn) != wide).any()


# --- By hand --------------------------------------------------------------------------------------


def test_soft_iou_by_hand() -> None:
    one, other = np.array([[1.0, 1], [0, 0]]), np.array([[1.0, 0], [1, 0]])
    assert soft_iou(one, one) == 1
    assert soft_iou(one, other) == pytest.approx(1 / 3)
    assert soft_iou(one, 0.5 * one) == pytest.approx(0.5)
    assert soft_iou(0 * one, 0 * one) == 1
    assert soft_iou(0 * one, one) == 0
    assert soft_iou(np.nan * one, one) == 0


def test_sure_found_by_masks() -> None:
    def half(side: slice) -> Detections:
        mask = np.zeros((1, 28, 28), np.float32)
        mask[:, :, side] = 1
        box = np.array([[0.1, 0.1, 0.9, 0.9]], np.float32)
        labels, scores = np.array([1], np.int32), np.array([0.9], np.float32)
        return Detections(boxes=box, labels=labels, scores=scores, masks=mask)

    left, right, most = half(slice(14)), half(slice(14, 28)), half(slice(20))
    assert sure_found([left], [left], 2).overall == 100
    assert sure_found([right], [left], 2).overall == 0
    assert sure_found([most], [left], 2).overall == 100
    nothing = left.take(np.array([], np.int64))
    assert sure_found([nothing], [left], 2).overall == 0
    assert sure_found([left], [nothing], 2).count == 0


# --- Whole, slowly --------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_files_of_a_run(network, spec, tmp_path: pathlib.Path) -> None:
    run = run_of(network, spec, "mask AP", tmp_path / "masks")
    made = {one.path.name: one for one in compress(run)[0]}
    names = [f"{name}.tflite" for name in TwoStageDetection(run).default]
    assert list(made) == [*names, "float32.onnx"]
    for name, artefact in made.items():
        measured = artefact.info["evaluation"]
        assert measured["metric"] == "mask AP"
        if name.startswith("float"):
            assert measured["fits"], measured["rule"]
            assert measured["agreement"] >= 99.5
    sizes = {name: made[name].path.stat().st_size for name in names}
    assert sizes["weight_int8.tflite"] < sizes["float16.tflite"] < sizes["float32.tflite"]
    file = str(made["float32.tflite"].path)
    Image.fromarray(scenes.scan(DATA).held_out.picture(1)).save(tmp_path / "one.png")
    done = here("predict", file, str(tmp_path / "one.png"), "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)
    assert set(told["objects"][0]["mask"]) == {"size", "counts"}
    for name, artefact in made.items():  # without their .json
        alone = tmp_path / name
        alone.write_bytes(artefact.path.read_bytes())
        image = str(tmp_path / "one.png")
        assert list(predicted(alone, [image])) == list(predicted(artefact.path, [image]))


@pytest.mark.slow
def test_a_faster_rcnn_has_boxes_alone(tmp_path: pathlib.Path) -> None:
    spec = spec_of(masks=False)
    run = run_of(network_of(spec), spec, "AP", tmp_path / "boxes")
    for artefact in compress(run, ["float32"])[0]:
        assert artefact.info["evaluation"]["metric"] == "AP"
        assert artefact.info["evaluation"]["fits"], artefact.info["evaluation"]["rule"]
        assert [one["name"] for one in artefact.info["outputs"]] == OUTPUTS[:4]


def test_regions_of_two_levels_are_converted() -> None:
    """The converter takes a sum of one comparison, in whole numbers, for booleans."""
    inputs = keras.Input((8, 8, 4), batch_size=1)
    coarse = layers.AveragePooling2D(2)(inputs)
    boxes = layers.Reshape((5, 4))(layers.Cropping2D(((0, 3), (0, 7)))(inputs))
    network = keras.Model(inputs, RoIAlign((64, 64), (3, 3))([inputs, coarse], boxes))
    x = np.random.default_rng(0).uniform(size=(1, 8, 8, 4)).astype(np.float32)
    x[0, :5, 0] = [[0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], [0, 0, 9, 9], [0, 0, 30, 30], [0, 0, 7, 8]]
    levels = assigned_level(x[0, :5, 0], (64, 64), (8, 16)).numpy()
    assert set(levels.tolist()) == {0, 1}
    runner = Interpreter(model_content=to_tflite(network)).get_signature_runner()
    (name,) = runner.get_input_details()
    (found,) = runner(**{name: x}).values()
    np.testing.assert_allclose(found, network(x), atol=1e-5)
