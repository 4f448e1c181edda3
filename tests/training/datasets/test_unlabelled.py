"""Folders of images of which nothing is known, and data sets of single images."""

from __future__ import annotations

import shutil
from pathlib import Path

import colours
import numpy as np
import pytest

from kerascnn.errors import InputError
from training import datasets
from training.datasets import unlabelled


def test_half_of_few_images_are_held_out_and_a_fifth_of_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = unlabelled.scan(str(colours.flat(tmp_path / "photos", 11)), seed=0)
    assert (len(found.train), len(found.held_out)) == (6, 5)
    assert not set(found.train.names) & set(found.held_out.names)
    assert set(found.train.labels) == set(found.held_out.labels) == {unlabelled.UNKNOWN}
    monkeypatch.setattr(unlabelled, "_FEW", 1)
    assert len(unlabelled.scan(str(tmp_path / "photos"), seed=0).held_out) == 2


def test_the_same_images_have_one_fingerprint_wherever_they_lie(tmp_path: Path) -> None:
    one = unlabelled.scan(str(colours.flat(tmp_path / "photos", 4)), seed=0)
    shutil.move(tmp_path / "photos", tmp_path / "moved")
    two = unlabelled.scan(str(tmp_path / "moved"), seed=0)
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != unlabelled.scan(str(tmp_path / "moved"), seed=1).fingerprint
    (tmp_path / "moved" / "0.png").unlink()
    assert one.fingerprint != unlabelled.scan(str(tmp_path / "moved"), seed=0).fingerprint


def test_others_may_be_held_out(tmp_path: Path) -> None:
    train, val = colours.flat(tmp_path / "a", 3), colours.flat(tmp_path / "b", 4)
    found = unlabelled.scan(str(train), seed=0, val_data=str(val))
    assert (len(found.train), len(found.held_out)) == (3, 4)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "has no images"), (1, "has 1 image; one is measured on")]
)
def test_too_few_are_refused(tmp_path: Path, count: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        unlabelled.scan(str(colours.flat(tmp_path / "photos", count)), seed=0)


def test_a_folder_without_folders_of_classes_is_known(tmp_path: Path) -> None:
    assert unlabelled.looks_so(colours.flat(tmp_path / "flat", 2))
    classes = colours.folders(tmp_path / "classes", 3)
    assert not unlabelled.looks_so(classes)
    colours.flat(tmp_path / "more", 1)
    shutil.copy(tmp_path / "more" / "0.png", classes)
    assert not unlabelled.looks_so(classes)
    (tmp_path / "empty").mkdir()
    assert not unlabelled.looks_so(tmp_path / "empty")


def test_labels_that_are_unknown_stay_so() -> None:
    split = datasets.Split(labels=np.array([1, -1, 0], np.int32), names=("a", "b", "c"))
    assert split.relabelled(np.array([7, 5], np.int32)).labels.tolist() == [5, -1, 7]


@pytest.mark.parametrize(("count", "held_out"), [(3, 1), (4, 2), (60, 12)])
def test_classes_of_single_images_are_split_together(
    tmp_path: Path, count: int, held_out: int
) -> None:
    root = colours.folders(tmp_path / "pets", count)
    found = datasets.scan(str(root), seed=0, sparse=True)
    assert (len(found.held_out), len(found.train)) == (held_out, count - held_out)


def test_where_none_is_alone_the_split_is_that_of_a_training(tmp_path: Path) -> None:
    root = str(colours.folders(tmp_path / "pets", 12))
    sparse, plain = datasets.scan(root, seed=3, sparse=True), datasets.scan(root, seed=3)
    assert sparse.fingerprint == plain.fingerprint
    assert sparse.held_out.names == plain.held_out.names


def test_one_class_is_enough_and_one_image_is_not(tmp_path: Path) -> None:
    root = colours.folders(tmp_path / "pets", 6)
    for name in ("green", "blue"):
        shutil.rmtree(root / name)
    assert datasets.scan(str(root), seed=0, sparse=True).classes == ("red",)
    with pytest.raises(InputError, match="at least two class folders"):
        datasets.scan(str(root), seed=0)
    next((root / "red").iterdir()).unlink()
    with pytest.raises(InputError, match="single image"):
        datasets.scan(str(root), seed=0, sparse=True)
