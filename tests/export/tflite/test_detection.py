"""The file's detections are those of an independent NumPy version, and of Keras."""

from __future__ import annotations

import functools
import pathlib

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from marks import all_but
from shared_heads import CLASSES, SIDE, pictures, toy
from suppression import (
    PREPROCESSING,
    assert_equal,
    assert_in_order,
    by_numpy,
    clipping_case,
    drawn,
    float_file,
    passing_on,
    picture_of,
    run,
    scores_of,
    spec_of,
    tied_case,
    written,
)

from export.artefacts.variants import parse_variant
from export.graph.detection import with_scores
from export.graph.lower import lower_for_int8
from export.runtime import load as runtimes
from export.tflite import flatbuffer
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.postprocess import append_postprocess
from export.tflite.quantise import quantise_file
from kerascnn.detection.postprocess import DetectorSpec, detect, of_picture
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing


@functools.cache
def passing_file(spec: DetectorSpec, columns: int) -> bytes:
    return to_tflite(with_scores(passing_on(spec, columns), spec))


def fed(
    spec: DetectorSpec, codes: np.ndarray, logits: np.ndarray, threads: int = 1
) -> dict[str, np.ndarray]:
    file = TFLiteModel.edited(passing_file(spec, logits.shape[-1]), append_postprocess, spec=spec)
    return run(file, picture_of(codes, logits), threads)


@pytest.mark.parametrize("ties", [False, True], ids=["plain", "ties"])
@pytest.mark.parametrize("background", [False, True], ids=["sigmoid", "softmax"])
def test_the_operation_equals_numpy(background: bool, ties: bool) -> None:
    spec = spec_of(5, 3, background=background, score_threshold=0.3, max_detections=40)
    for seed in range(4):
        codes, logits = drawn(spec, CLASSES + background, seed, ties)
        raw = run(passing_file(spec, logits.shape[-1]), picture_of(codes, logits))
        np.testing.assert_array_equal(raw["boxes"], codes)
        np.testing.assert_allclose(
            raw["scores"][0, :, int(background) :], scores_of(spec, logits), atol=1e-6
        )
        # Of its own scores: which of them are equal is a matter of the last bit.
        assert_equal(fed(spec, codes, logits), by_numpy(spec, codes, raw["scores"]))


def test_no_more_than_the_most_and_the_best_of_all_classes() -> None:
    spec = spec_of(5, 3, score_threshold=0.05, max_detections=7)
    codes, logits = drawn(spec, CLASSES, 0, False)
    found = fed(spec, codes, logits)
    assert found["count"][0] == 7
    assert_equal(found, by_numpy(spec, codes, scores_of(spec, logits)[None]))


@pytest.mark.parametrize("background", all_but({False}, (False, True)), ids=["sigmoid", "softmax"])
def test_the_operation_equals_keras(background: bool) -> None:
    spec = spec_of(5, 3, background=background, score_threshold=0.3, max_detections=40)
    for seed in range(4):
        codes, logits = drawn(spec, CLASSES + background, seed, False)
        wanted = of_picture(detect(spec, codes, logits), 0)
        rows = zip(wanted["scores"], wanted["labels"], wanted["boxes"], strict=True)
        assert_equal(fed(spec, codes, logits), list(rows))


@pytest.mark.parametrize("background", [False, True], ids=["sigmoid", "softmax"])
def test_no_class_is_lost_to_threads(background: bool) -> None:
    """The runtime skips class t with t threads: tensorflow issue 56058."""
    classes = 6
    spec = spec_of(5, 3, background=background, score_threshold=0.2, max_detections=200)
    codes, logits = drawn(spec, classes + background, 0, False)
    one = fed(spec, codes, logits)
    count = int(one["count"][0])
    assert set(one["labels"][0, :count]) == set(range(classes))
    for threads in (2, 3, 4, 5, 16):
        other = fed(spec, codes, logits, threads)
        for name in one:
            assert np.array_equal(other[name], one[name])


def test_a_score_at_the_threshold_counts() -> None:
    spec = spec_of(2, score_threshold=0.5)
    codes, logits = np.zeros((1, 8, 4), np.float32), np.full((1, 8, 1), -9, np.float32)
    logits[0, 3] = 0.0
    found = fed(spec, codes, logits)
    assert found["count"].tolist() == [1]
    assert found["scores"][0, 0] == 0.5


def test_nothing_above_the_threshold_is_no_detection() -> None:
    spec = spec_of(2)
    found = fed(spec, np.zeros((1, 8, 4), np.float32), np.full((1, 8, 1), -9, np.float32))
    assert found["count"].tolist() == [0]
    for name in ("scores", "boxes", "labels"):
        assert not found[name].any()


def test_boxes_are_clipped_after_suppression() -> None:
    spec, codes, logits, wanted = clipping_case()
    found = fed(spec, codes, logits)
    np.testing.assert_allclose(found["boxes"][0, :4], wanted, atol=1e-6)
    assert found["boxes"].min() == 0
    assert found["boxes"].max() == 1
    # What is no number stays no number, so that clients see it.
    codes[0, 0, 0] = np.nan
    assert np.isnan(fed(spec, codes, logits)["boxes"][0, 0]).any()


def test_equal_scores_go_by_label_and_anchor() -> None:
    spec, codes, logits = tied_case()
    assert_in_order(fed(spec, codes, logits), spec, 2)


def test_threads_leave_equal_scores_of_a_label_in_the_order_of_anchors() -> None:
    """Which label comes first is that whose thread ended first, but none is torn apart."""
    spec, codes, logits = tied_case()
    found = fed(spec, codes, logits, threads=4)
    if found["labels"][0, 0] == 1:
        found["labels"] = 1 - found["labels"]
    assert_in_order(found, spec, 2)


def test_names_shapes_and_order_are_what_clients_expect() -> None:
    spec = spec_of(2, max_detections=5)
    interpreter = Interpreter(
        model_content=TFLiteModel.edited(passing_file(spec, 1), append_postprocess, spec=spec)
    )
    details = interpreter.get_output_details()
    assert [tuple(detail["shape"]) for detail in details] == [(1, 5, 4), (1, 5), (1, 5), (1,)]
    assert {detail["dtype"] for detail in details} == {np.float32}
    signature = interpreter.get_signature_list()["serving_default"]
    assert sorted(signature["outputs"]) == ["boxes", "count", "labels", "scores"]
    named = interpreter.get_signature_runner().get_output_details()
    by_index = {detail["index"]: name for name, detail in named.items()}
    order = [by_index[detail["index"]] for detail in details]
    assert order == ["boxes", "labels", "scores", "count"]


def test_files_hold_scores() -> None:
    model, spec = toy(), spec_of(6, 3)
    written = with_scores(model, spec)
    assert written.output_names == ["boxes", "scores"]
    codes, logits = model(pictures(), training=False)
    new_codes, scores = written(pictures(), training=False)
    assert np.array_equal(new_codes, codes)
    np.testing.assert_allclose(scores[:1], scores_of(spec, np.asarray(logits))[None], atol=1e-6)


def test_many_levels_are_concatenated_in_groups(tmp_path) -> None:
    """XNNPACK takes five at once; SSD has six levels."""
    inputs = keras.Input((8, 8, 3), name="image")
    outputs = []
    for name, values in (("boxes", 4), ("logits", CLASSES)):
        maps = [layers.Conv2D(2 * values, 3)(inputs) for _ in range(11)]
        rows = [layers.Reshape((72, values))(x) for x in maps]
        outputs.append(layers.Concatenate(axis=1, name=name)(rows))
    model = keras.Model(inputs, outputs)
    one = with_scores(model, spec_of(6))
    assert len(one.get_layer("boxes").input) == 3
    x = np.random.default_rng(0).normal(0, 1, (1, 8, 8, 3)).astype(np.float32)
    assert np.array_equal(one(x, training=False)[0], model(x, training=False)[0])
    assert operations(to_tflite(one), tmp_path, side=8) == ["DELEGATE"]


def operations(file: bytes, folder: pathlib.Path, side: int = SIDE) -> list[str]:
    """What runs; a delegated piece is one."""
    path = folder / "x.tflite"
    path.write_bytes(file)
    preprocessing = Preprocessing(height=side, width=side, channels=3)
    return sorted(runtimes.load(path, preprocessing).operations)


PRECISIONS = ("float32", "float16", "dynamic_int8", "int8", "int16x8")


@pytest.mark.parametrize("background", [False, True], ids=["sigmoid", "softmax"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_gives_named_floats_and_takes_the_operation(
    precision: str, background: bool
) -> None:
    spec = spec_of(6, 3, background=background, score_threshold=0.2)
    file = written(precision, background)
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    fed_with = picture if precision == "int8" else PREPROCESSING.normalise(picture)
    raw = run(file, fed_with)
    assert raw.keys() == {"boxes", "scores"}
    reference = run(float_file(background), PREPROCESSING.normalise(picture))
    for name in ("boxes", "scores"):
        assert raw[name].dtype == np.float32
        assert np.corrcoef(raw[name].ravel(), reference[name].ravel())[0, 1] > 0.98
    found = run(TFLiteModel.edited(file, append_postprocess, spec=spec), fed_with)
    assert_equal(found, by_numpy(spec, raw["boxes"], raw["scores"]))


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic_int8", "int8"])
def test_a_file_is_one_piece_and_the_operation_stands_behind_it(precision: str, tmp_path) -> None:
    file = written(precision)
    whole = ["DELEGATE"] + ["QUANTIZE"] * (precision == "int8")
    assert operations(file, tmp_path) == whole
    found = operations(TFLiteModel.edited(file, append_postprocess, spec=spec_of(6, 3)), tmp_path)
    # The further piece shifts labels and clips boxes.
    assert found == sorted([*whole, "TFLite_Detection_PostProcess", "DELEGATE"])


def test_no_scale_is_shared_behind_the_last_convolutions_of_int8() -> None:
    model = flatbuffer.read(written("int8"))
    graph = model.subgraphs[0]
    for tensor in (graph.tensors[index] for index in graph.outputs):
        assert tensor.quantization is None or not len(tensor.quantization.scale or ())
    last = [t for t in graph.tensors if b"_predict" in t.name and t.shape[0] == 1 and t.type == 9]
    scales = {float(t.quantization.scale[0]) for t in last if len(t.shape) == 4}
    assert len(scales) == 4  # a level and an output each its own


def test_trained_ranges_go_through_up_sampling_without_an_operation() -> None:
    lowered = to_tflite(with_scores(lower_for_int8(toy()), spec_of(6, 3)))
    some = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    ranges = {"p3_act": (0.0, 5.0)}  # which is pooled, and doubled again
    file = quantise_file(lowered, parse_variant("int8"), PREPROCESSING, some, trained=ranges)
    graph = flatbuffer.read(file).subgraphs[0]
    names = (b"/p3_act", b"/p4_", b"/coarse_")
    same = [t for t in graph.tensors if t.type == 9 and any(name in t.name for name in names)]
    assert len(same) >= 6
    np.testing.assert_allclose([t.quantization.scale[0] for t in same], 5 / 255, rtol=1e-6)


def test_anchors_stay_one_constant_and_the_file_grows_by_little_else() -> None:
    file, spec = written("float32"), spec_of(6, 3)
    grown = len(TFLiteModel.edited(file, append_postprocess, spec=spec)) - len(file)
    assert 0 < grown - 16 * spec.anchors.count < 1500


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InputError, match=r"convert the network that they belong to"):
        TFLiteModel.edited(written("float32"), append_postprocess, spec=spec_of(5, 3))
    with pytest.raises(InputError, match="float boxes"):
        TFLiteModel.edited(
            TFLiteModel.edited(written("float32"), append_postprocess, spec=spec_of(6, 3)),
            append_postprocess,
            spec=spec_of(6, 3),
        )
    inputs = keras.Input((4,))
    classifier = keras.Model(inputs, layers.Dense(3, name="logits")(inputs))
    with pytest.raises(InputError, match="is not a detector"):
        with_scores(classifier, spec_of(6, 3))
