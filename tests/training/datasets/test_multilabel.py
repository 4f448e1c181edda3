"""Tables that give an image any number of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from training import datasets
from training.datasets import multilabel
from training.datasets.splits import Dataset
from training.engine.request import TrainRequest, request

SETS = [("cat",), ("cat", "red"), ("dog", "red"), (), ("cat", "dog", "red")] * 4
NAMES = [f"{number:02}.png" for number in range(len(SETS))]


def table(folder: Path, *rows: str) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (9 * number, 0, 0)).save(folder / "images" / name)
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


def whole(found: Dataset) -> dict[str, tuple[str, ...]]:
    return {
        Path(name).name: tuple(np.array(found.classes)[row])
        for split in found.splits
        for name, row in zip(split.names, split.labels, strict=True)
    }


PAIRS = list(zip(NAMES, SETS, strict=True))
FORMS = {
    "semicolons": ["file,labels", *(f"{n},{';'.join(s)}" for n, s in PAIRS)],
    "bars": ["file,tags", *(f"{n},{' | '.join(s)}" for n, s in PAIRS)],
    "columns": [
        "image,cat,dog,red",
        *(
            f"{n},{','.join(str(int(c in s)) for c in ('cat', 'dog', 'red'))}"
            for n, s in PAIRS
        ),
    ],
    "a row for each label": [
        "file,label", *(f"{n},{c}" for n, s in PAIRS for c in s or ("",))
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_say_the_same(form: str, tmp_path: Path) -> None:
    path = table(tmp_path, *FORMS[form])
    found = multilabel.scan(str(path), seed=0)
    assert found.classes == ("cat", "dog", "red")
    assert whole(found) == dict(zip(NAMES, SETS, strict=True))
    assert [len(split) for split in found.splits] == [16, 4]
    assert found.notes == ()
    assert multilabel.recognises(str(path))
    assert found.fingerprint == multilabel.scan(str(path), seed=0).fingerprint


def test_the_data_decides_the_task_unless_it_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, *FORMS["semicolons"])
    asked = request("mobilenet_v2", data=str(path))
    assert (asked.task, asked.recipe) == ("multilabel", "multilabel")
    assert TrainRequest.from_dict(asked.to_dict()) == asked
    assert request("mobilenet_v2", data=str(path), task="classification").task is None
    single = table(tmp_path / "one", "file,label", *(f"{n},{n[1]}" for n in NAMES))
    assert request("mobilenet_v2", data=str(single)).task is None
    assert request("mobilenet_v2", data=str(single), task="multilabel").task == "multilabel"
    with pytest.raises(InputError, match="unet is for segmentation, not for multilabel"):
        request("unet", data=str(single), task="multilabel")
    with pytest.raises(InputError, match="label_smoothing: for classification only"):
        request("mobilenet_v2", data=str(path), label_smoothing=0.1)
    with pytest.raises(InputError, match="12 of 16 images have several labels"):
        datasets.scan(str(path), seed=0)


def test_a_slip_in_a_table_of_one_label_is_none_of_several(tmp_path: Path) -> None:
    rows = [f"{n},{n[0]}" for n in NAMES]
    path = table(tmp_path, "file,label", *rows, "00.png,7")
    assert not multilabel.recognises(str(path))
    assert "00.png" not in {Path(n).name for n in datasets.scan(str(path), seed=0).train.names}


def test_images_set_aside_and_images_that_stand_in(tmp_path: Path) -> None:
    found = multilabel.scan(str(table(tmp_path, *FORMS["bars"])), seed=0)
    chosen = found.with_validation(0.25, 0)
    assert [len(split) for split in chosen.splits] == [12, 4, 4]
    assert whole(chosen) == whole(found)
    assert len(found.train.alike(3)) == 16


def test_another_table_is_held_out(tmp_path: Path) -> None:
    path = table(tmp_path / "a", *FORMS["bars"])
    other = table(tmp_path / "b", "file,label", "00.png,red", "01.png,dog;red", "02.png,")
    found = multilabel.scan(str(path), seed=0, val_data=str(other))
    assert len(found.train) == 20
    truth = [[False, False, True], [False, True, True], [False] * 3]
    assert found.held_out.labels.tolist() == truth
    assert found.held_out.counts(3).tolist() == [0, 1, 2]


def test_what_is_no_such_table_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, *FORMS["bars"])
    for place, words in (
        (path.parent / "nowhere.csv", "no such file or folder"),
        (path.parent / "images", "is not a table of images and their labels"),
    ):
        with pytest.raises(InputError, match=words):
            multilabel.scan(str(place), seed=0)
        assert not multilabel.recognises(str(place))
