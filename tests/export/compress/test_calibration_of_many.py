"""Calibration and simulation where there are more classes, or pictures, than fit into memory."""

from __future__ import annotations

import dataclasses
import io
import tracemalloc

import numpy as np
import pytest
from marks import IN_CI
from networks import with_random_norms
from PIL import Image

from export.artefacts.variants import parse_variant
from export.tasks import classification
from export.tasks.classification import Classification
from export.tflite import quantise
from export.tflite.convert import to_tflite
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.datasets.decode import Broken
from training.datasets.splits import Dataset, Split
from training.engine import dataset_of_request as of_request
from training.engine.run import Run

CLASSES = 5_000


@pytest.fixture
def task(lenet_run: Run, monkeypatch: pytest.MonkeyPatch) -> Classification:
    """Of a run with two pictures of each of many classes, whose values say which class."""
    labels = np.repeat(np.arange(CLASSES), 2).astype(np.int32)
    pictures = np.zeros((len(labels), 28, 28, 1), np.uint8)
    pictures[..., 0] = (labels[:, None, None] >> np.arange(28)[:, None]) & 1
    split = Split(
        labels=labels, names=tuple(f"a[{i}]" for i in range(len(labels))), pictures=pictures
    )
    dataset = Dataset(
        name="many",
        classes=tuple(map(str, range(CLASSES))),
        train=split,
        validation=split.take([0]),
        held_out=split.take(range(20)),
        resize="stretch",
        fingerprint=lenet_run.info["dataset"]["fingerprint"],
    )
    monkeypatch.setattr(of_request, "dataset_of", lambda _asked: dataset)
    return Classification(lenet_run)


@IN_CI
def test_calibration_takes_as_many_as_asked_for(task: Classification) -> None:
    pictures, labels = task.sample(200)
    assert pictures.shape == (200, 28, 28, 1)
    assert pictures.dtype == np.uint8
    assert len(np.unique(labels)) == 200
    # From all of them, by the seed.
    assert labels.min() < 250
    assert labels.max() > CLASSES - 250
    again, same = task.sample(200)
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_array_equal(again, pictures)
    task.config = dataclasses.replace(task.config, seed=9)
    assert task.sample(200)[1].tolist() != labels.tolist()
    bits = pictures[:, :, 0, 0].astype(int) << np.arange(28)
    np.testing.assert_array_equal(bits.sum(axis=1), labels)


@IN_CI
def test_few_classes_are_sampled_as_ever(lenet_run: Run) -> None:
    """The sample of a run of before is the same, so that its files are."""
    task = Classification(lenet_run)
    train = task.dataset.train
    rng = np.random.default_rng(task.config.seed)
    chosen = [rng.permutation(np.flatnonzero(train.labels == c))[:3] for c in range(10)]
    wanted = train.take(np.sort(np.concatenate(chosen)))
    pictures, labels = task.sample(35)
    np.testing.assert_array_equal(labels, wanted.labels)
    np.testing.assert_array_equal(pictures, wanted.pictures)


@IN_CI
def test_more_than_fit_are_refused(task: Classification, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_kept(split: Split, _preprocessing: Preprocessing) -> tuple[Split, list[Broken]]:
        return dataclasses.replace(split, pictures=None), []

    monkeypatch.setattr(classification, "decode_split", not_kept)
    with pytest.raises(InputError, match="300 calibration images do not fit into memory"):
        task.sample(300)


@IN_CI
def test_pictures_are_floats_one_at_a_time_while_ranges_are_found() -> None:
    """200 pictures at 64x64 are 2.3 MiB of bytes, 9.4 MiB of floats."""
    model = with_random_norms(zoo.build("lenet5", input_shape=(64, 64, 3), classes=3))
    float_file = to_tflite(model)
    plain = Preprocessing(height=64, width=64, channels=3)
    rng = np.random.default_rng(0)

    def peak(count: int) -> float:
        pictures = (rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(count))
        tracemalloc.start()
        try:
            quantise.quantise_file(float_file, parse_variant("int8"), plain, pictures)
            return tracemalloc.get_traced_memory()[1] / (1 << 20)
        finally:
            tracemalloc.stop()

    peak(2)  # what is imported at first
    assert peak(200) - peak(2) < 2, "floats of all pictures"


def png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture[..., 0]).save(stream, "PNG")
    return stream.getvalue()


def encoded(split: Split) -> Split:
    """The same pictures, not in memory."""
    assert split.pictures is not None
    files = [png(picture) for picture in split.pictures]
    return dataclasses.replace(
        split, pictures=None, read=files.__getitem__, places=np.arange(len(split))
    )


def test_mistakes_are_shown_and_nothing_else_is_read(task: Classification) -> None:
    split, dataset = task.dataset.held_out, task.dataset
    assert split.pictures is not None
    read: list[int] = []
    files = encoded(split)

    def reading(place: int) -> bytes:
        read.append(place)
        if place == 5:
            return b"no picture"
        return files.encoded(place)

    task.__dict__["dataset"] = dataclasses.replace(
        dataset, held_out=dataclasses.replace(files, read=reading)
    )
    of = {"truth": "1", "predicted": "0", "probability": 0.5}
    (shown, other) = task.shown([{"index": i, "name": f"a[{i}]", **of} for i in (13, 3)])
    np.testing.assert_array_equal(shown["picture"], split.pictures[13])
    np.testing.assert_array_equal(other["picture"], split.pictures[3])
    assert shown["name"] == "a[13]"
    assert "index" not in shown
    assert sorted(read) == [3, 13]
    assert task.shown([]) == []
    with pytest.raises(InputError, match="not all can be read any more"):
        task.shown([{"index": 5, "name": "a[5]", **of}])
    # Files that were made when one before it was broken: places are those of the others.
    (shown,) = task.shown([{"index": 9, "name": "a[10]", **of}])
    np.testing.assert_array_equal(shown["picture"], split.pictures[10])


def test_the_simulation_answers_held_out_pictures_that_do_not_fit(task: Classification) -> None:
    """They are read as they are asked about, and the network sees bytes, some at a time."""
    unread = encoded(task.dataset.held_out.take(np.arange(300) % 20))
    task.__dict__["held_out"] = unread
    asked: list[np.ndarray] = []

    def predict(pictures: np.ndarray) -> np.ndarray:
        asked.append(pictures)
        bits = pictures[:, :, 0, 0].astype(int) << np.arange(28)
        logits = np.zeros((len(pictures), CLASSES), np.float32)
        logits[np.arange(len(pictures)), bits.sum(axis=1)] = 1
        return logits

    found = task.simulated_answers(predict)
    assert found.accuracy == 100
    assert {block.dtype for block in asked} == {np.dtype(np.uint8)}
    assert [len(block) for block in asked] == [256, 44]
