"""Detectors of all three formats and both forms detect the same behind one interface."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest
from marks import all_but
from shared_heads import SIDE, toy
from suppression import PREPROCESSING, raw_file, spec_of, written

from export.onnx.model import ONNXModel
from export.onnx.postprocess import append_nms
from export.runtime.detectors import load_detector
from export.tflite.model import TFLiteModel
from export.tflite.postprocess import append_postprocess
from kerascnn.detection.specs import DetectorSpec
from kerascnn.errors import InputError
from training.detection.metrics import Detections

# The last piece shifts the labels.
POSTPROCESS = ("TFLite_Detection_PostProcess", "DELEGATE")


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


def stored(folder: pathlib.Path, name: str, data: bytes) -> pathlib.Path:
    (folder / name).write_bytes(data)
    return folder / name


def files(folder: pathlib.Path, spec: DetectorSpec) -> list[pathlib.Path]:
    """Float files: Keras first, then both formats, each raw and with its post-processing."""
    background = spec.background
    toy(background=background).save(folder / "model.keras")
    raw, onnx = written("float32", background), raw_file(background)
    return [
        folder / "model.keras",
        stored(folder, "raw.tflite", raw),
        stored(folder, "whole.tflite", TFLiteModel.edited(raw, append_postprocess, spec=spec)),
        stored(folder, "raw.onnx", onnx),
        stored(folder, "whole.onnx", ONNXModel.edited(onnx, append_nms, spec=spec)),
    ]


def assert_same(found, wanted) -> None:
    for one, reference in zip(found, wanted, strict=True):
        boxes, labels, scores = one.boxes, one.labels, one.scores
        assert one.masks is None
        assert boxes.dtype == scores.dtype == np.float32
        assert labels.dtype == np.int32
        assert boxes.shape == (len(labels), 4)
        assert (np.diff(scores) <= 0).all()
        mine, theirs = rows(one), rows(reference)
        assert mine.shape == theirs.shape
        # Each is there, once; the order of equal scores is each implementation's own.
        distances = np.abs(mine[:, None] - theirs[None]).max(axis=-1)
        assert distances.min(axis=1, initial=np.inf).max(initial=0) < 1e-4
        assert len(set(distances.argmin(axis=1))) == len(mine)


def rows(found: Detections) -> np.ndarray:
    return np.concatenate([found.boxes, found.labels[:, None], found.scores[:, None]], axis=1)


@pytest.mark.parametrize("background", all_but({True}, (False, True)), ids=["sigmoid", "softmax"])
def test_all_forms_detect_the_same(background: bool, tmp_path, pictures) -> None:
    spec = spec_of(6, 3, background=background, score_threshold=0.2, max_detections=20)
    keras_file, *others = files(tmp_path, spec)
    wanted = load_detector(keras_file, PREPROCESSING, spec).detect(pictures)
    assert len({len(one) for one in wanted} | {0}) > 1
    for path in others:
        assert_same(load_detector(path, PREPROCESSING, spec).detect(pictures), wanted)


def test_int8_takes_bytes_in_both_forms(tmp_path, pictures) -> None:
    # Int8 has many equal scores: where only some fit in, each form has its own.
    spec = spec_of(6, 3, score_threshold=0.5, max_detections=400)
    raw = stored(tmp_path, "raw.tflite", written("int8"))
    whole = stored(
        tmp_path, "whole.tflite", TFLiteModel.edited(written("int8"), append_postprocess, spec=spec)
    )
    one, other = (load_detector(path, PREPROCESSING, spec) for path in (raw, whole))
    assert_same(other.detect(pictures), one.detect(pictures))
    assert one.operations == ("QUANTIZE", "DELEGATE")
    assert sorted(other.operations) == sorted((*one.operations, *POSTPROCESS))


def test_a_file_with_the_operation_runs_with_several_threads(tmp_path, pictures) -> None:
    spec = spec_of(6, 3, score_threshold=0.2)
    path = stored(
        tmp_path, "x.tflite", TFLiteModel.edited(written("float32"), append_postprocess, spec=spec)
    )
    one, two = (load_detector(path, PREPROCESSING, spec, threads=n) for n in (1, 2))
    assert_same(two.detect(pictures), one.detect(pictures))
    assert sorted(two.operations) == sorted(("DELEGATE", *POSTPROCESS))


def test_once_runs_a_prepared_picture(tmp_path, pictures) -> None:
    spec = spec_of(6, 3)
    for path in files(tmp_path, spec):
        detector = load_detector(path, PREPROCESSING, spec)
        call = detector.once(pictures[0])
        call()
        call()
        whole = path.stem == "whole"
        assert detector.partitions == (1 + whole if path.suffix == ".tflite" else None)


def test_nothing_found_is_empty_arrays(tmp_path, pictures) -> None:
    spec = spec_of(6, 3, score_threshold=1.0)
    for path in files(tmp_path, spec):
        for one in load_detector(path, PREPROCESSING, spec).detect(pictures):
            assert one.boxes.shape == (0, 4)
            assert one.labels.shape == one.scores.shape == (0,)


def test_no_pictures_are_no_detections(tmp_path, pictures) -> None:
    spec = spec_of(6, 3)
    for path in files(tmp_path, spec):
        assert load_detector(path, PREPROCESSING, spec).detect(pictures[:0]) == []


def test_more_pictures_than_suppression_takes_at_once(tmp_path) -> None:
    many = np.random.default_rng(0).integers(0, 256, (19, SIDE, SIDE, 3), dtype=np.uint8)
    spec = spec_of(6, 3, score_threshold=0.2, max_detections=10)
    keras_file, raw, *_ = files(tmp_path, spec)
    wanted = load_detector(keras_file, PREPROCESSING, spec).detect(many)
    assert len(wanted) == 19
    assert_same(load_detector(raw, PREPROCESSING, spec).detect(many), wanted)


def test_what_is_no_number_is_handed_on(tmp_path, pictures) -> None:
    model, spec = toy(), spec_of(6, 3)
    layer = model.get_layer("logits_predict")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, np.full_like(bias, np.nan)])
    model.save(tmp_path / "model.keras")
    for one in load_detector(tmp_path / "model.keras", PREPROCESSING, spec).detect(pictures):
        assert np.isnan(one.boxes).all()
        assert np.isnan(one.scores).all()
        assert one.labels.tolist() == [0]


def test_what_is_no_detector_is_refused(tmp_path) -> None:
    spec = spec_of(6, 3)
    with pytest.raises(InputError, match="no such file"):
        load_detector(tmp_path / "x.tflite", PREPROCESSING, spec)
    with pytest.raises(InputError, match="should end in"):
        load_detector(tmp_path / "x.h5", PREPROCESSING, spec)
    with pytest.raises(InputError, match="runtime can run"):
        load_detector(stored(tmp_path, "x.tflite", b"nothing"), PREPROCESSING, spec)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    keras.Model(inputs, keras.layers.Dense(3, name="logits")(pooled)).save(tmp_path / "c.keras")
    with pytest.raises(InputError, match="does not fit its description"):
        load_detector(tmp_path / "c.keras", PREPROCESSING, spec)


def test_another_detectors_description_is_refused(tmp_path, pictures) -> None:
    path = stored(tmp_path, "raw.tflite", written("float32"))
    with pytest.raises(InputError, match="use the description that belongs to it"):
        load_detector(path, PREPROCESSING, spec_of(5, 3)).detect(pictures)
