"""A network's own maps, as the masks of images that have none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from training.datasets import unlabelled
from training.datasets.segmentation import VOID, SegmentationDataset
from training.engine import own_answers as of_runs
from training.segmentation import own_answers
from training.segmentation.metrics import evaluate_maps


@pytest.fixture
def dataset(tmp_path: Path) -> SegmentationDataset:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (6, 4 + number), (number, 0, 0)).save(folder / f"{number}.png")
    found = unlabelled.scan_maps(str(folder), seed=0)
    return dataclasses.replace(found, classes=("ground", "thing"))


def written(dataset: SegmentationDataset, folder: Path) -> list[np.ndarray]:
    """Halves of each image; the outermost row is no class."""
    maps = []
    for height, width in dataset.held_out.sizes.tolist():
        one = np.zeros((height, width), np.uint8)
        one[:, width // 2 :] = 1
        one[0] = VOID
        maps.append(one)
    answers = own_answers.Answers(dataset.name)
    for name, one in zip(dataset.held_out.names, maps, strict=True):
        more = own_answers.Answers(dataset.name)
        more.add([name], [one])
        answers.extend(more)
    answers.write(folder)
    return maps


def test_nothing_is_known_of_any_pixel(dataset: SegmentationDataset) -> None:
    for index, size in enumerate(dataset.train.sizes.tolist()):
        assert dataset.train.label_map(index).tolist() == np.full(size, VOID).tolist()


def test_its_maps_are_the_masks(dataset: SegmentationDataset, tmp_path: Path) -> None:
    maps = written(dataset, tmp_path)
    answered = own_answers.with_answers(dataset, tmp_path)
    for index, one in enumerate(maps):
        np.testing.assert_array_equal(answered.held_out.label_map(index), one)
    assert evaluate_maps(maps, answered.held_out, dataset.classes).miou == 100.0
    ground = [np.where(one == VOID, VOID, 0).astype(np.uint8) for one in maps]
    assert evaluate_maps(ground, answered.held_out, dataset.classes).miou == 25.0  # 1/2 and 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: np.savez(path, **{**np.load(path), "starts": np.array([0, 9])}),
        lambda path: np.savez(path, **{**np.load(path), "sizes": np.array([[9, 9], [9, 9]])}),
        lambda path: np.savez(path, **{**np.load(path), "maps": np.load(path)["maps"][::-1]}),
    ],
)
def test_answers_that_are_damaged_are_refused(
    damage: object, dataset: SegmentationDataset, tmp_path: Path
) -> None:
    written(dataset, tmp_path)
    damage(tmp_path / of_runs.FILE)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"answers\.npz is gone or damaged .* import again"):
        own_answers.with_answers(dataset, tmp_path).held_out.label_map(0)


def test_classes_that_the_network_does_not_have_are_damage(
    dataset: SegmentationDataset, tmp_path: Path
) -> None:
    written(dataset, tmp_path)
    fewer = dataclasses.replace(dataset, classes=("ground",))
    with pytest.raises(InputError, match="pixels of no class"):
        own_answers.with_answers(fewer, tmp_path).held_out.label_map(0)
