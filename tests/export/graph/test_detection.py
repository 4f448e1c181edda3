"""Files of detectors without anchors: distances in the network, box deltas in every file."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import tf_keras
import tiny_detectors
from networks import outputs_of, with_random_norms
from suppression import run

from export.artefacts.variants import parse_variant
from export.graph.detection import with_scores
from export.graph.legacy_keras import to_tf_keras
from export.graph.lower import lower_for_int8
from export.onnx.convert import to_onnx
from export.onnx.model import ONNXModel
from export.onnx.postprocess import append_nms
from export.runtime.detectors import load_detector
from export.tasks.packed_truth import Packed, joined_outputs
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.postprocess import append_postprocess
from export.tflite.quantise import quantise_file
from kerascnn.detection import boxes as box_ops
from kerascnn.detection.postprocess import detect, of_picture

SPEC = tiny_detectors.point_spec(score_threshold=0.1)


@pytest.fixture(scope="module")
def network():
    return with_random_norms(tiny_detectors.point_network())


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (1, *tiny_detectors.SHAPE), np.uint8)
    return tiny_detectors.PREPROCESSING.normalise(pixels)


@pytest.fixture(scope="module")
def float_file(network) -> bytes:
    return to_tflite(with_scores(network, SPEC))


def test_the_network_of_files_gives_deltas(network, picture) -> None:
    distances, logits = outputs_of(network, picture)
    written = with_scores(network, SPEC)
    assert written.output_names == ["boxes", "scores"]
    deltas, scores = outputs_of(written, picture)
    np.testing.assert_allclose(deltas, box_ops.deltas_of(distances), atol=1e-5)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_the_four_outputs_are_keras_detections(network, picture, float_file) -> None:
    (wanted,) = [of_picture(detect(SPEC, *outputs_of(network, picture)), 0)]
    assert len(wanted["scores"]) > 2
    tflite = TFLiteModel.edited(float_file, append_postprocess, spec=SPEC.in_files)
    onnx = ONNXModel.edited(to_onnx(with_scores(network, SPEC)), append_nms, spec=SPEC.in_files)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    names = ["boxes", "labels", "scores", "count"]
    by_onnx = dict(zip(names, session.run(names, {"image": picture}), strict=True))
    for found in (run(tflite, picture), by_onnx):
        count = int(found["count"][0])
        assert count == len(wanted["scores"])
        for name in ("boxes", "labels", "scores"):
            np.testing.assert_allclose(found[name][0, :count], wanted[name], atol=1e-5)


def test_a_box_without_sides_does_not_stop_tflites_operation(network, picture) -> None:
    """The operation refuses boxes whose two sides are one number."""
    broken = tiny_detectors.point_network()
    broken.set_weights(network.get_weights())
    for number in (1, 2):
        layer = broken.get_layer(f"box_map{number}_predict")
        kernel, _ = layer.get_weights()
        layer.set_weights([np.zeros_like(kernel), np.float32([-40, -40, 3, 3])])
    file = to_tflite(with_scores(broken, SPEC))
    found = run(TFLiteModel.edited(file, append_postprocess, spec=SPEC.in_files), picture)
    wanted = of_picture(detect(SPEC, *outputs_of(broken, picture)), 0)
    assert int(found["count"][0]) == len(wanted["scores"]) > 0


def test_integers_end_where_the_convolutions_do(network, tmp_path) -> None:
    lowered = to_tflite(lower_for_int8(with_scores(network, SPEC)))
    calibration = np.random.default_rng(1).integers(0, 256, (8, *tiny_detectors.SHAPE), np.uint8)
    file = quantise_file(
        lowered, parse_variant("int8_raw"), tiny_detectors.PREPROCESSING, list(calibration)
    )
    graph = TFLiteModel.open(file).graph
    types = {tensor.name.decode(): tensor.type for tensor in graph.tensors}
    joined = [name for name in types if "distances" in name or "boxes" in name]
    assert joined
    assert {types[name] for name in joined} == {0}  # float32
    (tmp_path / "raw.tflite").write_bytes(file)
    loaded = load_detector(
        tmp_path / "raw.tflite", tiny_detectors.PREPROCESSING, SPEC.in_files, threads=1
    )
    assert loaded.partitions == 1


def test_packed_truth_and_joined_outputs_come_back() -> None:
    rng = np.random.default_rng(0)
    truth = (
        rng.uniform(size=(2, 3, 4)).astype(np.float32),
        np.array([[1, 0, -1], [0, -1, -1]], np.int32),
        np.array([[True, False, False], [False, False, False]]),
    )
    taught = [rng.normal(size=(2, 5, n)).astype(np.float32) for n in (4, 2)]
    packed = Packed(objects=3, points=5, classes=2)
    for given in ([], taught):
        again, teacher = packed.unpack(packed.pack(truth, given))
        for one, other in zip((*truth, *given), (*again, *teacher), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_twin_with_joined_outputs_shares_its_weights(network, picture) -> None:
    twin = to_tf_keras(with_scores(network, tiny_detectors.point_spec().in_files))
    joined = joined_outputs(twin)
    assert isinstance(joined, tf_keras.Model)
    assert [w.ref() for w in joined.weights] == [w.ref() for w in twin.weights]
    wanted = np.concatenate([np.asarray(one) for one in twin(picture)], axis=-1)
    np.testing.assert_array_equal(joined(picture), wanted)
