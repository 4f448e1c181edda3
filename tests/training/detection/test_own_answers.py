"""What a detector is sure of, as the objects of its images: written, read, judged by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from training.datasets import unlabelled
from training.datasets.detection import DetectionDataset
from training.detection import own_answers
from training.detection.metrics import Detections, evaluate_detections
from training.engine import own_answers as of_runs

CLASSES = ("red", "blue")
SIDES = (40, 60)
NO_MORE = np.empty(0)


def detections(*rows: tuple[float, ...], masks: bool = False) -> Detections:
    """Of rows of top, left, bottom, right, label and score; a mask covers its box's left half."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    half = np.zeros((len(table), 4, 4), np.float32)
    half[:, :, :2] = 1
    return Detections.of(table[:, :4], table[:, 4], table[:, 5], half if masks else None)


FIRST = ((0.1, 0.1, 0.6, 0.6, 0, 0.9), (0.5, 0.5, 1, 1, 1, 0.31), (0.2, 0.2, 0.4, 0.4, 1, 0.29))
SECOND = ((0.0, 0.0, 0.5, 0.25, 1, 0.5),)


@pytest.fixture
def dataset(tmp_path: Path) -> DetectionDataset:
    import dataclasses

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", SIDES[::-1], (number, 0, 0)).save(folder / f"{number}.png")
    found = unlabelled.scan_objects(str(folder), seed=0)
    return dataclasses.replace(found, classes=CLASSES)


def written(
    dataset: DetectionDataset, folder: Path, *, masks: bool = False
) -> tuple[DetectionDataset, list[Detections]]:
    found = [detections(*rows, masks=masks) for rows in (FIRST, SECOND)]
    sure = [own_answers.sure(one) for one in found]
    own_answers.write(folder, dataset.name, [(dataset.held_out, sure)])
    return own_answers.with_answers(dataset, folder), found


def test_images_of_which_nothing_is_known(dataset: DetectionDataset) -> None:
    assert (len(dataset.train), len(dataset.held_out)) == (3, 2)
    assert dataset.held_out.sizes.tolist() == [[40, 60]] * 2
    assert dataset.held_out.counts().tolist() == [[0, 0]] * 2
    assert dataset.train.picture(0).shape == (40, 60, 3)


def test_what_is_sure_are_objects(dataset: DetectionDataset, tmp_path: Path) -> None:
    answered, _found = written(dataset, tmp_path)
    first, second = (answered.held_out.objects(index) for index in range(2))
    np.testing.assert_array_equal(first.boxes, np.array(FIRST, np.float32)[:2, :4])
    assert (first.labels.tolist(), second.labels.tolist()) == ([0, 1], [1])
    assert first.areas.tolist() == pytest.approx([0.25 * 2400] * 2)
    assert second.areas.tolist() == pytest.approx([0.125 * 2400])
    assert second.masks is None
    assert answered.train.counts().tolist() == [[0, 0]] * 3


def test_the_network_itself_agrees_wholly_and_a_lost_box_costs(
    dataset: DetectionDataset, tmp_path: Path
) -> None:
    """Blue has two objects; with one found and nothing wrong, precision is 1 up to a recall of
    0.5: 51 of COCO's 101 points. Red is whole."""
    answered, found = written(dataset, tmp_path)
    own = evaluate_detections(iter(found), answered.held_out, CLASSES)
    assert own.ap == pytest.approx(100.0)
    lost = [found[0], detections()]
    measured = evaluate_detections(iter(lost), answered.held_out, CLASSES)
    assert measured.ap == pytest.approx(100 * (1 + 51 / 101) / 2)


def test_masks_are_the_objects_too(dataset: DetectionDataset, tmp_path: Path) -> None:
    answered, found = written(dataset, tmp_path, masks=True)
    objects = answered.held_out.objects(1)
    assert objects.masks
    mask = objects.masks[0]()
    assert mask.shape == SIDES
    assert mask.sum() == objects.areas[0]
    # A quarter of the box's width, half of its height; its outline is bilinear.
    assert 0 < mask.sum() < 0.125 * 2400
    own = evaluate_detections(iter(found), answered.held_out, CLASSES, kind="segm")
    assert own.ap == pytest.approx(100.0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(b"PK"),
        lambda path: np.savez(path, names=np.array(["a"])),
        lambda path: np.savez(path, **{**np.load(path), "labels": np.array([0, 7, 1])}),
        lambda path: np.savez(path, **{**np.load(path), "starts": np.array([0, 9])}),
    ],
)
def test_answers_that_are_gone_or_damaged_are_refused(
    damage: object, dataset: DetectionDataset, tmp_path: Path
) -> None:
    written(dataset, tmp_path)
    damage(tmp_path / of_runs.FILE)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"answers\.npz is gone or damaged .* import again"):
        own_answers.with_answers(dataset, tmp_path)


def test_an_image_without_an_answer_is_left_out(dataset: DetectionDataset, tmp_path: Path) -> None:
    """It could not be read when the network was imported."""
    one = own_answers.sure(detections(*FIRST))
    own_answers.write(tmp_path, dataset.name, [(dataset.held_out.take([1]), [one])])
    answered = own_answers.with_answers(dataset, tmp_path)
    assert answered.held_out.names == dataset.held_out.names[1:]
    assert len(answered.held_out.objects(0)) == 2
