"""Files of other programs: by what they say themselves, by TFLite Metadata, and by options."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import stranger_files

from export.runtime import strangers
from export.runtime.foreign import Tensor, are_probabilities
from export.runtime.model_facts import facts
from export.runtime.strangers import FileOptions, normalisation
from export.runtime.subjects import Subject
from kerascnn.errors import InputError
from training.importing import tflite_metadata

PICTURES = np.stack([np.full((8, 8, 3), grey, np.uint8) for grey in (5, 120, 140, 250)])
# Of the classifier by hand: 6 - 12 * grey, -6 + 12 * grey, and -12.
WANTED = [[s * (6 - 12 * g / 255) for s in (1, -1)] for g in (5, 120, 140, 250)]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(stranger_files.LABELS) + "\n\n")
    return path


def logits(path: Path, options: FileOptions | None = None) -> np.ndarray:
    known = strangers.known(path, options)
    assert known.labels == stranger_files.LABELS
    return Subject(path=path, known=known).classifier().predict(PICTURES)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(
    ("kind", "preprocessing"),
    [("float32", "0-1"), ("int8", "0-1"), ("uint8", "0-1"), ("uint8", None)],
)
def test_types_of_tflite_files(
    kind: str, preprocessing: str | None, softmax: bool, labels: Path, tmp_path: Path
) -> None:
    path = stranger_files.tflite(tmp_path / "net.tflite", kind, softmax=softmax)
    found = logits(path, FileOptions(labels=labels, preprocessing=preprocessing))
    assert found.argmax(axis=-1).tolist() == [0, 0, 1, 1]
    if not softmax:
        np.testing.assert_allclose(found[:, :2], WANTED, atol=0.01 if kind == "float32" else 0.15)
    else:  # logarithms of probabilities, of which 8 bits have no small ones
        gaps = found[1:3, 0] - found[1:3, 1]
        assert gaps == pytest.approx([0.71, -1.18], abs=0.02 if kind == "float32" else 0.15)


def test_a_raw_byte_and_a_normalised_one_are_the_same(labels: Path, tmp_path: Path) -> None:
    path = stranger_files.tflite(tmp_path / "net.tflite", "uint8")
    raw, scaled = (FileOptions(labels=labels, preprocessing=name) for name in (None, "0-1"))
    np.testing.assert_array_equal(logits(path, raw), logits(path, scaled))


def test_metadata_say_it_all(tmp_path: Path) -> None:
    path = stranger_files.tflite(tmp_path / "net.tflite")
    stranger_files.with_metadata(path, [127.5], [127.5])
    known = strangers.known(path)
    assert (known.labels, known.preprocessing.mean) == (stranger_files.LABELS, 127.5)
    stranger_files.with_metadata(path, [1, 2, 3], [4, 5, 6])
    assert strangers.known(path).preprocessing.std == (4, 5, 6)
    # A person knows better than the file.
    assert strangers.known(path, FileOptions(preprocessing="0-1")).preprocessing.std == 255


def test_broken_metadata_are_none(tmp_path: Path) -> None:
    path = stranger_files.tflite(tmp_path / "net.tflite")
    whole = stranger_files.with_metadata(path, [0], [255]).read_bytes()
    place = whole.index(b"M001")
    rng = np.random.default_rng(0)
    for at in rng.integers(place, place + 120, 60).tolist():
        path.write_bytes(whole[:at] + bytes(rng.integers(0, 256, 4).tolist()) + whole[at + 4 :])
        assert isinstance(tflite_metadata.read(path), tflite_metadata.Metadata)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("channels_first", [False, True])
def test_layouts_of_onnx_files(
    channels_first: bool, softmax: bool, labels: Path, tmp_path: Path
) -> None:
    path = stranger_files.onnx_file(
        tmp_path / "net.onnx", channels_first=channels_first, softmax=softmax
    )
    options = FileOptions(labels=labels, preprocessing="0-1", image_size=(8, 8))
    assert logits(path, options).argmax(axis=-1).tolist() == [0, 0, 1, 1]
    layout = "nchw" if channels_first else "nhwc"
    known = strangers.known(path, FileOptions(**vars(options) | {"layout": layout}))
    assert known.form is not None
    assert known.form.channels_first == channels_first


def test_maps_of_either_layout(labels: Path, tmp_path: Path) -> None:
    for first in (False, True):
        path = stranger_files.onnx_maps(tmp_path / "net.onnx", channels_first=first)
        known = strangers.known(path, FileOptions(labels=labels, preprocessing="0-1"))
        assert (known.task, known.preprocessing.resize) == ("segmentation", "stretch")
        found = Subject(path=path, known=known).segmenter().segment(PICTURES)
        assert found.shape == (4, 8, 8)
        assert found[:, 3, 4].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("shuffled", [False, True])
def test_detectors_by_their_operation(shuffled: bool, labels: Path, tmp_path: Path) -> None:
    path = stranger_files.postprocessed(tmp_path / "net.tflite", shuffled=shuffled)
    known = strangers.known(path, FileOptions(labels=labels, preprocessing="-1-1"))
    assert known.task == "detection"
    (found,) = Subject(path=path, known=known).detector().detect(PICTURES[:1])
    np.testing.assert_allclose(found.boxes, [[0, 0, 1, 0.5]], atol=1e-6)
    assert (found.labels.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.9)])


def changed(**changes: object) -> FileOptions:
    return FileOptions(**{"preprocessing": "0-1", **changes})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "tflite",
            FileOptions(),
            "does not say how it wants the bytes .* --preprocessing 0-1, -1-1",
        ),
        ("tflite", changed(), "does not name the classes of its 3 outputs; give --labels FILE"),
        ("tflite", changed(labels=Path("two.txt")), "two.txt has 2 labels and .* 3 outputs"),
        ("tflite", changed(image_size=(9, 8)), "takes 1x8x8x3; leave out --image-size"),
        ("onnx", changed(), "takes images of any height; say which: --image-size"),
        ("onnx", changed(image_size=(8, 8), layout="nhwc"), "images have 1 or 3"),
        (
            "maps",
            changed(resize="crop"),
            "sees whole images: --resize must be stretch, letterbox or pad",
        ),
    ],
)
def test_what_is_missing_is_named_by_its_flag(
    name: str, options: FileOptions, words: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.txt").write_text("a\nb\n")
    path = tmp_path / f"net.{'tflite' if name == 'tflite' else 'onnx'}"
    make = {
        "tflite": stranger_files.tflite,
        "onnx": stranger_files.onnx_file,
        "maps": stranger_files.onnx_maps,
    }[name]
    with pytest.raises(InputError, match=words):
        strangers.known(make(path), options)


def test_flags_that_make_no_sense() -> None:
    for changes, words in (
        ({"layout": "hwcn"}, "--layout must be one of nhwc, nchw"),
        ({"resize": "fit"}, "--resize must be one of stretch, crop, pad, centre"),
        ({"interpolation": "area"}, "--interpolation must be one of bilinear, bicubic"),
        ({"crop_fraction": 1.5}, "--crop-fraction must be above 0 and at most 1"),
        ({"preprocessing": "tf"}, "--preprocessing must be one of 0-1, -1-1, imagenet, caffe"),
        ({"preprocessing": "1,2,3"}, "one number each, or three and three"),
        ({"preprocessing": "1,0"}, "one number each, or three and three"),
    ):
        with pytest.raises(InputError, match=words):
            FileOptions(**changes)


def test_numbers_of_pytorch_are_of_shares() -> None:
    found = normalisation("0.485,0.456,0.406,0.229,0.224,0.225")
    named = normalisation("imagenet")
    for field in ("mean", "std"):
        np.testing.assert_allclose(found[field], named[field], rtol=1e-6)
    assert normalisation("127,128") == {"mean": 127.0, "std": 128.0}
    assert normalisation("0.5,0.5") == {"mean": 127.5, "std": 127.5}


def test_quantised_numbers_there_and_back() -> None:
    tensor = Tensor(name="x", shape=(1,), dtype=np.dtype(np.int8), scale=0.5, zero=-3)
    values = np.array([-100.0, -1.0, 0.0, 0.24, 0.26, 100.0])
    numbers = tensor.quantised(values)
    assert numbers.tolist() == [-128, -5, -3, -3, -2, 127]
    assert tensor.real(numbers).tolist() == [-62.5, -1.0, 0.0, 0.0, 0.5, 65.0]


def test_probabilities_are_told_from_logits() -> None:
    assert are_probabilities(np.float32([[0.2, 0.8], [1.0, 0.0]]))
    assert not are_probabilities(np.float32([[0.2, 0.9], [1.0, 0.0]]))
    assert not are_probabilities(np.float32([[-0.2, 1.2]]))


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_keras_file_of_no_run_is_sent_to_import(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"small{ending}"
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(InputError, match=rf"make a run of it: kerascnn import .*small\{ending}"):
        facts(path)
