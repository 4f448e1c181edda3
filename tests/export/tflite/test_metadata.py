"""What a file says of itself, and that MediaPipe understands it."""

from __future__ import annotations

import io
import json
import pathlib
import subprocess
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers
import keras
import mediapipe_client
import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from PIL import Image
from shared_heads import SIDE
from suppression import PREPROCESSING, run, spec_of, written

from export.artefacts.description import input_metadata
from export.artefacts.variants import parse_variant
from export.onnx.metadata import describe as describe_onnx
from export.onnx.model import ONNXModel
from export.runtime import load as runtimes
from export.runtime.detectors import load_detector
from export.tflite import flatbuffer
from export.tflite.convert import to_tflite
from export.tflite.metadata import describe
from export.tflite.model import TFLiteModel
from export.tflite.postprocess import append_postprocess
from export.tflite.quantise import quantise_file
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

LABELS = ("cat", "dog", "Känguru")
SPEC = spec_of(6, 3, score_threshold=0.58)


def told_of(
    preprocessing: Preprocessing = PREPROCESSING,
    labels: Sequence[str] = LABELS,
    *,
    raw: bool = False,
    task: str = "detection",
) -> dict[str, Any]:
    """kerascnn.json of a detector with its post-processing, or of a classifier."""
    names = ("count", "scores", "labels", "boxes") if task == "detection" else ("logits",)
    return {
        "format": 1,
        "task": task,
        "model": "toy",
        "variant": "float32",
        "name": "toy",
        "description": "Finds animals.",
        "author": "Jo Doe",
        "license": "MIT",
        "version": "1",
        "labels": list(labels),
        "input": input_metadata("image", preprocessing, raw=raw),
        "outputs": [{"name": name, "meaning": f"{name} of it"} for name in names],
        "decoding": {"kind": "detections" if task == "detection" else "logits"},
    }


def described(file: bytes, *given: Any, **options: Any) -> bytes:
    return TFLiteModel.edited(file, describe, metadata=told_of(*given, **options))


def detector(precision: str = "float32") -> bytes:
    return TFLiteModel.edited(written(precision), append_postprocess, spec=SPEC)


class Reading:
    """A table of a flatbuffer, read without its schema."""

    def __init__(self, data: bytes, position: int) -> None:
        self._table = flatbuffers.table.Table(data, position)

    @classmethod
    def root(cls, data: bytes) -> Reading:
        """The table that the buffer begins with."""
        return cls(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))

    def place(self, field: int) -> int:
        """Where a field's value stands."""
        offset = self._table.Offset(4 + 2 * field)
        assert offset, f"field {field} is not there"
        return self._table.Pos + offset

    def table(self, field: int) -> Reading:
        return Reading(self._table.Bytes, self._table.Indirect(self.place(field)))

    def tables(self, field: int) -> list[Reading]:
        first = self._table.Vector(self.place(field) - self._table.Pos)
        count = self._table.VectorLen(self.place(field) - self._table.Pos)
        places = (self._table.Indirect(first + 4 * i) for i in range(count))
        return [Reading(self._table.Bytes, place) for place in places]

    def text(self, field: int) -> str:
        return self._table.String(self.place(field)).decode()

    def byte(self, field: int) -> int:
        return self._table.Get(flatbuffers.number_types.Uint8Flags, self.place(field))

    def numbers(self, field: int) -> list[float]:
        flags = flatbuffers.number_types.Float32Flags
        array = self._table.GetVectorAsNumpy(flags, self.place(field) - self._table.Pos)
        return array.tolist()


def metadata_of(file: bytes) -> Reading:
    model = flatbuffer.read(file)
    (entry,) = [one for one in model.metadata if one.name == b"TFLITE_METADATA"]
    data = bytes(model.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    return Reading.root(data)


def stored_in(file: bytes) -> dict[str, str]:
    """The texts behind a model."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        # Clients read them where they lie.
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_it_says_what_goes_in_and_what_comes_out() -> None:
    preprocessing = Preprocessing(
        height=SIDE, width=SIDE, channels=3, mean=(1.0, 2.0, 3.0), std=4.0
    )
    root = metadata_of(described(detector(), preprocessing))
    assert [root.text(field) for field in (0, 1, 2)] == ["toy", "Finds animals.", "1"]
    assert [root.text(field) for field in (4, 5)] == ["Jo Doe", "MIT"]
    assert root.tables(6)[0].text(0) == "kerascnn.json"
    (graph,) = root.tables(3)
    (picture,) = graph.tables(2)
    assert picture.table(3).byte(0) == 2  # an image
    assert picture.table(3).table(1).byte(0) == 1  # RGB
    (unit,) = picture.tables(4)
    assert unit.byte(0) == 1  # normalisation
    assert unit.table(1).numbers(0) == [1.0, 2.0, 3.0]
    assert unit.table(1).numbers(1) == [4.0, 4.0, 4.0]
    outputs = graph.tables(3)
    assert [output.text(0) for output in outputs] == ["boxes", "labels", "scores", "count"]
    assert outputs[2].text(1) == "scores of it"
    (labels,) = outputs[1].tables(6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 3)  # of values


def test_the_rest_lies_behind_the_model_as_text() -> None:
    stored = stored_in(described(detector()))
    assert list(stored) == ["labels.txt", "kerascnn.json"]
    assert stored["labels.txt"].splitlines() == list(LABELS)
    told = json.loads(stored["kerascnn.json"])
    assert told["labels"] == list(LABELS)
    assert told["input"] == {
        "name": "image", "height": SIDE, "width": SIDE, "channels": 3,
        "mean": [127.0] * 3, "std": [128.0] * 3, "order": "rgb",
        "resize": "crop", "crop_fraction": 0.875,
        "type": "float32", "values": "(byte - mean) / std", "colour": "RGB",
        "tensor": told["input"]["tensor"],
    }  # fmt: skip
    most = SPEC.max_detections
    shapes = {"boxes": [1, most, 4], "labels": [1, most], "scores": [1, most], "count": [1]}
    # In the file's order, whatever the order they were given in.
    assert {one["name"]: one["shape"] for one in told["outputs"]} == shapes
    assert [one["name"] for one in told["outputs"]] == list(shapes)
    details = Interpreter(model_content=described(detector())).get_output_details()
    assert [one["tensor"] for one in told["outputs"]] == [one["name"] for one in details]
    assert {one["type"] for one in told["outputs"]} == {"float32"}


def test_the_file_runs_as_before_and_its_bytes_repeat() -> None:
    file = detector()
    told = described(file)
    picture = np.random.default_rng(0).normal(0, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    before, after = run(file, picture), run(told, picture)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert np.array_equal(after[name], value)
    order = [one["name"] for one in Interpreter(model_content=told).get_output_details()]
    assert order == [one["name"] for one in Interpreter(model_content=file).get_output_details()]
    assert described(file) == told
    assert len(told) - len(file) < 4000


def test_a_description_takes_the_place_of_an_earlier_one() -> None:
    file = detector()
    again = described(described(file, labels=("x", "y", "z")))
    assert stored_in(again) == stored_in(described(file))
    assert metadata_of(again).text(0) == "toy"
    assert len(flatbuffer.read(again).buffers) == len(flatbuffer.read(described(file)).buffers)


def test_what_the_schema_has_no_words_for() -> None:
    """Blue first: nobody may take the picture for one with red first."""
    blue = Preprocessing(
        height=SIDE, width=SIDE, channels=3, order="bgr", mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 2.0)
    )
    file = described(detector(), blue)
    (picture,) = metadata_of(file).tables(3)[0].tables(2)
    with pytest.raises(AssertionError):
        picture.table(3).table(1).place(0)  # no colour is told
    told = json.loads(stored_in(file)["kerascnn.json"])["input"]
    assert (told["order"], told["mean"], told["std"]) == ("bgr", [1, 2, 3], [1, 1, 2])
    # A file that takes bytes takes them with red first, and so are its numbers.
    told = input_metadata("image", blue, raw=True)
    assert (told["order"], told["mean"], told["std"]) == ("rgb", [3, 2, 1], [2, 1, 1])
    assert (told["type"], told["values"]) == ("uint8", "raw bytes")


def test_bytes_are_told_by_the_scale_of_their_tensor() -> None:
    """A client that normalises and then quantises has the bytes again, as they were."""
    (picture,) = metadata_of(described(detector("int8"), raw=True)).tables(3)[0].tables(2)
    (unit,) = picture.tables(4)
    assert unit.table(1).numbers(0) == [127.0] * 3
    np.testing.assert_allclose(unit.table(1).numbers(1), [128.0] * 3, rtol=1e-6)


def test_labels_of_several_lines_are_refused() -> None:
    for label in ("", "two\nlines", "\udcff"):
        with pytest.raises(InputError, match="one line"):
            described(detector(), labels=("cat", label, "dog"))


def test_onnx_files_have_the_same_as_properties() -> None:
    tensor = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["image"], ["logits"])
    graph = onnx.helper.make_graph([node], "toy", [tensor], [tensor])
    bare = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(bare, {"other": "stays", "author": "somebody else"})
    told = told_of(task="classification")
    file = ONNXModel.edited(bare.SerializeToString(), describe_onnx, metadata=told)
    found = {one.key: one.value for one in onnx.load_from_string(file).metadata_props}
    assert json.loads(found.pop("kerascnn")) == told
    assert found == {
        "other": "stays", "labels": "cat\ndog\nKänguru\n", "task": "classification",
        "model": "toy", "variant": "float32", "name": "toy", "description": "Finds animals.",
        "author": "Jo Doe", "license": "MIT", "version": "1",
    }  # fmt: skip
    assert ONNXModel.edited(file, describe_onnx, metadata=told) == file


@pytest.fixture(scope="session")
def mediapipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with MediaPipe."""
    try:
        return mediapipe_client.environment(tmp_path_factory.mktemp("mediapipe") / "venv")
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{mediapipe_client.PACKAGE} cannot be installed here: {error}")


def asked(python: str, task: str, picture: np.ndarray, file: bytes, folder: pathlib.Path) -> list:
    Image.fromarray(picture).save(folder / "picture.png")
    (folder / "model.tflite").write_bytes(file)
    paths = folder / "model.tflite", [folder / "picture.png"]
    (rows,) = mediapipe_client.ask(python, task, *paths)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic_int8", "int8"])
def test_mediapipe_detects_what_we_detect(precision: str, mediapipe, tmp_path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    file = described(detector(precision), raw=precision == "int8")
    rows = asked(mediapipe, "detection", picture, file, tmp_path)
    ours = load_detector(tmp_path / "model.tflite", PREPROCESSING, SPEC)
    found = ours.detect(picture[None])[0]
    boxes, labels, scores = found.boxes, found.labels, found.scores
    assert 3 < len(labels) < SPEC.max_detections
    assert len(rows) == len(labels)
    np.testing.assert_allclose([row[1] for row in rows], scores, atol=0.01)
    assert sorted(row[0] for row in rows) == sorted(LABELS[label] for label in labels)
    theirs = np.array([row[2:] for row in rows], np.float64)
    matched = 0
    for box, label in zip(boxes, labels, strict=True):
        if box.min() < 0 or box.max() > 1:
            continue  # MediaPipe moves a box that begins outside of the picture
        wanted = np.concatenate([box[:2], box[2:] - box[:2]]) * SIDE
        same = np.array([row[0] == LABELS[label] for row in rows])
        distances = np.abs(theirs - wanted).max(axis=1)
        assert distances[same].min() <= 1  # it gives whole pixels
        matched += 1
    assert matched > 1


def classifier() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, activation="relu6", name="stem")(inputs)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, layers.Dense(len(LABELS), name="logits")(x))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "dynamic_int8", "int8"])
def test_mediapipe_classifies_as_we_do(precision: str, mediapipe, tmp_path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    model, raw = classifier(), precision == "int8"
    file = to_tflite(model)
    if precision != "float32":
        file = quantise_file(file, parse_variant(precision), PREPROCESSING, pictures)
    file = described(file, raw=raw, task="classification")
    rows = asked(mediapipe, "classification", pictures[0], file, tmp_path)
    ours = runtimes.load(tmp_path / "model.tflite", PREPROCESSING).predict(pictures[:1])[0]
    theirs = dict(rows)
    assert len(theirs) == len(rows) == len(LABELS)
    # MediaPipe gives a file's own scores, and ours are logits.
    np.testing.assert_allclose([theirs[label] for label in LABELS], ours, atol=1e-4)
    assert rows[0][0] == LABELS[int(ours.argmax())]
    logits = np.asarray(model(PREPROCESSING.normalise(pictures), training=False))
    assert np.abs(logits[0] - logits[1]).max() > 0.5  # not every picture has this answer
    np.testing.assert_allclose(ours, logits[0], atol=1e-4 if precision == "float32" else 0.15)


@pytest.mark.slow
def test_mediapipe_takes_no_file_with_blue_first(mediapipe, tmp_path) -> None:
    """It could only answer to pictures with red and blue exchanged."""
    blue = Preprocessing(height=SIDE, width=SIDE, channels=3, order="bgr")
    file = described(to_tflite(classifier()), blue, task="classification")
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.raises(AssertionError, match="Only RGB color space is supported"):
        asked(mediapipe, "classification", picture, file, tmp_path)
