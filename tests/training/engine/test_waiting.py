"""What steps wait for, on a clock that is set by hand; and that batches stay as they are."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_detectors
from marks import IN_CI
from tiny_detectors import CLASSES, PREPROCESSING

from training.datasets import streams
from training.detection.batches import DetectionTrainingData
from training.detection.fit import fit_detector
from training.engine import hardware
from training.engine.config import TrainConfig
from training.engine.devices import SINGLE
from training.engine.hardware import Choices
from training.engine.waiting import Waiting

GPU = Choices(precision="float32", jit=False, deterministic=True, ahead=2)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_step_waits_from_its_begin_until_its_batch_is_ready() -> None:
    clock = Clock()
    waiting = Waiting(clock)
    waiting.begin_epoch()
    assert waiting.share() == {}
    # Ready, begin and end of three steps: 0 + 3 + 1 of 20 seconds are waited for.
    for ready, begin, end in ((1, 2, 5), (8, 5, 9), (12, 11, 20)):
        for now, what in sorted(((ready, "ready"), (begin, "begin"), (end, "end"))):
            clock.now = now
            {"ready": waiting.note_ready, "begin": waiting.begin_step, "end": waiting.end_step}[
                what
            ]()
    assert waiting.share() == {"waited": pytest.approx(100 * 4 / 20)}
    waiting.begin_epoch()
    clock.now = 30
    assert waiting.share() == {"waited": 0}


def test_who_asks_an_iterator_waits_for_it() -> None:
    clock = Clock()
    waiting = Waiting(clock)

    def batches():
        for batch in range(3):
            clock.now += 2
            yield batch

    waiting.begin_epoch()
    seen = []
    for batch in waiting.asked(batches()):
        seen.append(batch)
        clock.now += 6  # a step
    assert seen == [0, 1, 2]
    assert waiting.share() == {"waited": pytest.approx(25)}


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_says_when_batches_are_ready(whole: bool) -> None:
    pictures, labels = np.arange(12, dtype=np.uint8).reshape(6, 2), np.arange(6)
    parts = ({"pictures": pictures},) if not whole else ({"pictures": pictures}, labels)
    stream = streams.ready(tf.data.Dataset.from_tensor_slices(parts).batch(2))
    clock, noted = Clock(), []
    waiting = Waiting(clock)
    told = streams.noted(stream, lambda: noted.append(waiting.note_ready()))
    on_device = streams.on_device(told, "/CPU:0", 2)
    assert on_device.element_spec == stream.element_spec
    for one, same in zip(on_device, stream, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, same)
    assert len(noted) == 3


def test_nothing_is_between_the_batches_and_a_step_on_a_processor() -> None:
    stream = tf.data.Dataset.range(3)
    cpu = dataclasses.replace(GPU, ahead=0)
    assert hardware.prefetched(stream, cpu, Waiting()) is stream


@IN_CI
def test_a_training_on_a_device_tells_what_its_steps_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is a processor here, of which it is said that it is none."""
    copied: list[tuple[str, int]] = []
    on_device = streams.on_device

    def here(stream: tf.data.Dataset, device: str, ahead: int) -> tf.data.Dataset:
        copied.append((device, ahead))
        return on_device(stream, "/CPU:0", ahead)

    def weights(folder: Path) -> list[np.ndarray]:
        config = TrainConfig(
            epochs=2, batch_size=4, augmentation="flip", label_smoothing=0.0, validation_fraction=0
        )
        model = tiny_detectors.network()
        data = DetectionTrainingData(
            split=tiny_detectors.split(8), preprocessing=PREPROCESSING, classes=2, config=config,
            most_objects=4,
        )  # fmt: skip
        fit_detector(
            model, tiny_detectors.spec(), data, None, classes=CLASSES, folder=folder / "kept",
            history_file=folder / "history.csv", placement=SINGLE,
        )  # fmt: skip
        return model.get_weights()

    plain = weights(tmp_path / "plain")
    monkeypatch.setattr(streams, "on_device", here)
    monkeypatch.setattr(hardware, "chosen", lambda _config: GPU)
    fed = weights(tmp_path / "fed")
    assert copied == [("/GPU:0", 2)]
    for one, other in zip(plain, fed, strict=True):
        np.testing.assert_array_equal(one, other)
    heads = {}
    for name in ("plain", "fed"):
        with (tmp_path / name / "history.csv").open() as file:
            heads[name] = list(csv.DictReader(file))
    assert set(heads["fed"][0]) - set(heads["plain"][0]) == {"waited"}
    assert all(0 <= float(row["waited"]) <= 100 for row in heads["fed"])
