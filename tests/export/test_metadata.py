"""What a file says of itself, and that MediaPipe understands it."""

from __future__ import annotations

import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from networks import lively
from PIL import Image
from test_detection_tflite import PREPROCESSING, run, spec_of, written
from test_unshare import SIDE

from export import flatbuffer
from export.convert_tflite import to_tflite
from export.detection_tflite import append_postprocess
from export.detectors import load_detector
from export.metadata import with_metadata
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

LABELS = ("cat", "dog", "Känguru")
SPEC = spec_of(6, 3, score_threshold=0.58)


def described(file: bytes, **changes) -> bytes:
    told = {
        "name": "toy",
        "description": "Finds animals.",
        "preprocessing": PREPROCESSING,
        "labels": LABELS,
    }
    return with_metadata(file, **told | changes)


def detector(precision: str = "float32") -> bytes:
    return append_postprocess(written(precision), SPEC)


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
        return self._table.Pos + self._table.Offset(4 + 2 * field)

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


def test_it_says_what_goes_in_and_what_comes_out() -> None:
    preprocessing = Preprocessing(
        height=SIDE, width=SIDE, channels=3, mean=(1.0, 2.0, 3.0), std=4.0
    )
    root = metadata_of(described(detector(), preprocessing=preprocessing))
    assert (root.text(0), root.text(1)) == ("toy", "Finds animals.")
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
    (labels,) = outputs[1].tables(6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 3)  # of values


def test_labels_lie_behind_the_model_uncompressed() -> None:
    with zipfile.ZipFile(io.BytesIO(described(detector()))) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)
        # MediaPipe reads them where they lie.
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED


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
    assert len(told) - len(file) < 1500


def test_what_metadata_cannot_say_is_refused() -> None:
    blue = Preprocessing(height=SIDE, width=SIDE, channels=3, order="bgr")
    with pytest.raises(InputError, match="red first"):
        described(detector(), preprocessing=blue)
    for label in ("", "two\nlines"):
        with pytest.raises(InputError, match="one line"):
            described(detector(), labels=("cat", label, "dog"))


CLIENT = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision

picture = mediapipe.Image.create_from_file(sys.argv[2])
base = BaseOptions(model_asset_path=sys.argv[3])
if sys.argv[1] == "detector":
    options = vision.ObjectDetectorOptions(base_options=base, max_results=-1)
    with vision.ObjectDetector.create_from_options(options) as detector:
        found = detector.detect(picture).detections
    rows = [
        [d.categories[0].category_name, d.categories[0].score, d.bounding_box.origin_y,
         d.bounding_box.origin_x, d.bounding_box.height, d.bounding_box.width]
        for d in found
    ]
else:
    options = vision.ImageClassifierOptions(base_options=base)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        (head,) = classifier.classify(picture).classifications
    rows = [[c.category_name, c.score] for c in head.categories]
print(json.dumps(rows))
"""


@pytest.fixture(scope="session")
def mediapipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with MediaPipe: KERASCNN_MEDIAPIPE_PYTHON, or one made for the session."""
    if given := os.environ.get("KERASCNN_MEDIAPIPE_PYTHON"):
        return given
    folder = tmp_path_factory.mktemp("mediapipe") / "venv"
    python = str(folder / "bin" / "python")
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        install = [python, "-m", "pip", "install", "--quiet", "mediapipe==1.2.2"]
        subprocess.run(install, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"MediaPipe 1.2.2 cannot be installed here: {error}")
    return python


def asked(python: str, kind: str, picture: np.ndarray, file: bytes, folder: pathlib.Path) -> list:
    Image.fromarray(picture).save(folder / "picture.png")
    (folder / "model.tflite").write_bytes(file)
    command = [python, "-c", CLIENT, kind, folder / "picture.png", folder / "model.tflite"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic_int8", "int8"])
def test_mediapipe_detects_what_we_detect(precision: str, mediapipe, tmp_path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    file = described(detector(precision))
    rows = asked(mediapipe, "detector", picture, file, tmp_path)
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


@pytest.mark.slow
def test_mediapipe_classifies_as_we_do(mediapipe, tmp_path) -> None:
    model = lively("mobilenet_v2")
    preprocessing = zoo.preprocessing("mobilenet_v2", 28, 28)
    picture = np.random.default_rng(1).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    labels = [f"digit {i}" for i in range(10)]
    file = described(to_tflite(model), preprocessing=preprocessing, labels=labels)
    rows = asked(mediapipe, "classifier", picture, file, tmp_path)
    logits = np.asarray(model(preprocessing.normalise(picture[None]), training=False))[0]
    assert [row[0] for row in rows] == [labels[i] for i in np.argsort(-logits)]
    np.testing.assert_allclose([row[1] for row in rows], np.sort(logits)[::-1], atol=1e-3)
