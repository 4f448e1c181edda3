"""Tables of images and labels, as people, spreadsheets and contests write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import here
from PIL import Image

import kerascnn
from kerascnn.errors import InputError
from training import datasets
from training.common import framework
from training.datasets import delimited
from training.datasets.splits import Dataset

NAMES = [f"{number:02}.png" for number in range(12)]
LABELS = [("cat", "dog")[number % 2] for number in range(12)]


def images(folder: Path, names: Sequence[str] = NAMES) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(path)
    return folder


def table(folder: Path, *rows: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    images(folder / "images")
    (folder / name).write_text("\n".join(rows) + "\n", encoding)
    return folder / name


def whole(found: Dataset) -> dict[str, str]:
    """The class of each image by its name, whatever it is for."""
    return {
        Path(name).name: found.classes[label]
        for split in found.splits
        for name, label in zip(split.names, split.labels, strict=True)
    }


def scan(path: Path, **how: Any) -> Dataset:
    return datasets.scan(str(path), seed=0, **how)


def kinds(found: Dataset) -> dict[str, int]:
    return {note.kind: note.count for note in found.notes}


ALL = dict(zip(NAMES, LABELS, strict=True))
PAIRS = list(zip(NAMES, LABELS, strict=True))
READ = {
    "no heading": [f"{n},{c}" for n, c in PAIRS],
    "a heading": ["filename,class", *(f"{n},{c}" for n, c in PAIRS)],
    "turned round": ["breed,id", *(f"{c},{n}" for n, c in PAIRS)],
    "no extensions": ["id,breed", *(f"{n[:2]},{c}" for n, c in PAIRS)],
    "capitals": ["Image ID,Label", *(f"{n.upper()},{c}" for n, c in PAIRS)],
    "with folders": ["path,target", *(f"images/{n},{c}" for n, c in PAIRS)],
    "from Windows": ["path,target", *(f".\\images\\{n},{c}" for n, c in PAIRS)],
    "semicolons": ["file;label", *(f"{n};{c}" for n, c in PAIRS)],
    "tabs": ["file\tlabel", *(f"{n}\t{c}" for n, c in PAIRS)],
    "quoted": ['"file","label"', *(f'"{n}", "{c}"' for n, c in PAIRS)],
    "an index by pandas": [",image,label", *(f"{i},{n},{c}" for i, (n, c) in enumerate(PAIRS))],
    "number and name": [
        "image,label,class_name", *(f"{n},{'cat dog'.index(c) // 4},{c}" for n, c in PAIRS)
    ],
    "one column a class": [
        "image,cat,dog", *(f"{n},{c == 'cat':d}.0,{c == 'dog':d}.0" for n, c in PAIRS)
    ],
    "more columns": ["file,label,width", *(f"{n},{c},8" for n, c in PAIRS)],
    "empty lines": ["", "file,label", *(f"{n},{c}\n" for n, c in PAIRS)],
}  # fmt: skip


@pytest.mark.parametrize("form", READ)
def test_forms_that_say_the_same(form: str, tmp_path: Path) -> None:
    found = scan(table(tmp_path, *READ[form]))
    assert whole(found) == ALL
    assert found.classes == ("cat", "dog")
    assert found.notes == ()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    rows = [f"{n},{'Käse' if c == 'cat' else c}" for n, c in PAIRS]
    found = scan(table(tmp_path, "file,label", *rows, encoding=encoding))
    assert found.classes == ("Käse", "dog")
    assert set(kinds(found)) == ({"encoding"} if encoding == "cp1252" else set())


def test_a_table_of_tabs_may_have_commas_in_names(tmp_path: Path) -> None:
    rows = [f"{n}\ttench, {c}" for n, c in PAIRS]
    found = scan(table(tmp_path, "file\tlabel", *rows, name="labels.tsv"))
    assert found.classes == ("tench, cat", "tench, dog")


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("split", ["train", "train", "val", "test"]),
        ("Set", ["Training", "training", "Valid", "held-out"]),
        ("subset", ["trn", "trn", "dev", "testing"]),
    ],
)
def test_splits_by_words(heading: str, words: list[str], tmp_path: Path) -> None:
    rows = [f"{n},{c},{words[at // 2 % 4]}" for at, (n, c) in enumerate(PAIRS)]
    found = scan(table(tmp_path, f"file,label,{heading}", *rows))
    assert [len(split) for split in found.splits] == [8, 2, 2]
    assert [Path(name).name for name in found.held_out.names] == ["06.png", "07.png"]
    # Without a heading the words alone say it.
    assert whole(scan(table(tmp_path, *rows))) == ALL


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("1", "0")])
def test_splits_by_yes_and_no(yes: str, no: str, tmp_path: Path) -> None:
    rows = [f"{n},{c},{yes if at > 7 else no}" for at, (n, c) in enumerate(PAIRS)]
    found = scan(table(tmp_path, "name,label,is_valid", *rows))
    assert found.validation is None
    assert [Path(name).name for name in found.held_out.names] == NAMES[8:]


def test_train_alone_is_split_by_chance(tmp_path: Path) -> None:
    found = scan(table(tmp_path, "file,label,split", *(f"{n},{c},train" for n, c in PAIRS)))
    assert len(found.held_out) == 2
    assert whole(found) == ALL


def test_a_test_split_without_labels_is_none(tmp_path: Path) -> None:
    rows = [f"{n},{c if at < 8 else ''},{'train' if at < 8 else 'test'}"
            for at, (n, c) in enumerate(PAIRS)]  # fmt: skip
    found = scan(table(tmp_path, "file,label,split", *rows))
    assert set(whole(found)) == set(NAMES[:8])
    assert kinds(found) == {"unlabelled-split": 4}


def test_numbers_are_in_natural_order_and_named_by_a_file(tmp_path: Path) -> None:
    rows = [f"{n},{10 if c == 'cat' else 2}.0" for n, c in PAIRS]
    path = table(tmp_path, "file,label", *rows)
    assert scan(path).classes == ("2", "10")
    (tmp_path / "classes.txt").write_text("\n".join(f"name {at}" for at in range(11)))
    found = scan(path)
    assert found.classes == ("name 2", "name 10")
    assert whole(found)["00.png"] == "name 10"
    assert kinds(found) == {"class-names": 9}
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"names 2 classes, and none for label 2;"):
        scan(path)


@pytest.mark.parametrize("name", ["labels.csv", "classes.csv"])
def test_a_table_of_numbers_does_not_name_them_itself(name: str, tmp_path: Path) -> None:
    path = table(tmp_path, *(f"{n},{at // 4}" for at, n in enumerate(NAMES)), name=name)
    assert scan(path).classes == ("0", "1", "2")


def test_names_may_count_from_one(tmp_path: Path) -> None:
    path = table(tmp_path, "file,label", *(f"{n},{1 + (c == 'dog')}" for n, c in PAIRS))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert whole(scan(path)) == ALL


def test_rows_that_are_bad_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [f"{n},{c}" for n, c in PAIRS]
    path = table(tmp_path, "file,label", *rows, "00.png,cat", "01.png,cat", "nowhere.png,dog", "x",
                 "02.png,")  # fmt: skip
    found = scan(path)
    assert set(whole(found)) == set(NAMES) - {"01.png"}
    assert kinds(found) == {
        "broken-rows": 1, "rows-without-label": 1, "missing-images": 1, "contradictory-rows": 1,
        "repeated-rows": 2,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"labels.csv, line 16: 'nowhere.png' is not there"):
        scan(path, strict=True)


def test_one_image_in_two_splits(tmp_path: Path) -> None:
    rows = [f"{n},{c},{'train' if at < 8 else 'test'}" for at, (n, c) in enumerate(PAIRS)]
    found = scan(table(tmp_path, "file,label,split", *rows, "00.png,cat,test"))
    assert "00.png" not in whole(found)
    assert kinds(found)["contradictory-rows"] == 1


def test_too_much_that_is_missing_is_refused(tmp_path: Path) -> None:
    rows = [f"{n},{c}" for n, c in PAIRS] + [f"gone{at}.png,cat" for at in range(6)]
    with pytest.raises(InputError, match="6 of 18 images are missing, which is more than may be"):
        scan(table(tmp_path, "file,label", *rows))


def test_folders_that_are_called_as_labels_are_no_images(tmp_path: Path) -> None:
    """One image is missing, so that more labels are folders than names are files."""
    below = [f"{label}/{name}" for name, label in PAIRS]
    images(tmp_path / "photos", below)
    rows = [f"photos/{name},{label}" for name, label in zip(below, LABELS, strict=True)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["file,label", *rows, "photos/cat/gone.png,cat"]) + "\n")
    found = scan(path)
    assert whole(found) == ALL
    assert kinds(found) == {"missing-images": 1}


REFUSED = {
    "two of files": (
        ["file,image,label", *(f"{n},{NAMES[-1 - at]},{c}" for at, (n, c) in enumerate(PAIRS))],
        "columns 'file', 'image' all name images",
    ),
    "two of labels": (
        ["file,label,category", *(f"{n},{c},{n[1]}" for n, c in PAIRS)],
        "columns 'label', 'category' all have classes, and not the same",
    ),
    "none of labels": (
        ["file,height,width", *(f"{n},{8 + at % 3},9" for at, n in enumerate(NAMES))],
        "which column has the classes is not clear",
    ),
    "odd splits": (
        ["file,label,split", *(f"{n},{c},{('train', 'fold2')[at % 2]}"
                               for at, (n, c) in enumerate(PAIRS))],
        "'fold2' in column 'split' says not what an image is for",
    ),
    "several labels": (
        ["file,label", *(f"{n},{c};red" for n, c in PAIRS)],
        "12 of 12 images have several labels, such as 00.png with cat and red",
    ),
    "one class": (["file,label", *(f"{n},cat" for n in NAMES)], "needs two classes at least"),
    "one column": (list(NAMES), "has one column"),
    "no images": (["file,label", "a.png,cat", "b.png,dog"], "none of its images is there"),
    "nothing": ([], "is empty"),
    "a heading": (["file,label"], "it has a heading and no rows"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_clear_is_refused(what: str, tmp_path: Path) -> None:
    rows, words = REFUSED[what]
    with pytest.raises(InputError) as refused:
        scan(table(tmp_path, *rows))
    assert words in str(refused.value)
    assert "labels.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_label_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    rows = [f"{n},{c},{'train' if at < 8 else 'test'}" for at, (n, c) in enumerate(PAIRS)]
    one = scan(table(tmp_path, "file,label,split", *rows))
    rows[0] = rows[0].replace("cat", "dog")
    assert scan(table(tmp_path, "file,label,split", *rows)).fingerprint != one.fingerprint


def test_the_same_name_with_two_endings_is_not_guessed(tmp_path: Path) -> None:
    path = table(tmp_path, "file,label", *(f"{n[:2]},{c}" for n, c in PAIRS))
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "03.jpg")
    found = scan(path)
    assert "03.png" not in whole(found)
    assert kinds(found) == {"missing-images": 1}


def test_a_folder_of_hugging_face(tmp_path: Path) -> None:
    """The column `file_name` is below the table's own folder; folders say what images are for."""
    parts = ("train", "train", "train", "test")
    rows = [f"{parts[at // 2 % 4]}/{n},{c}" for at, (n, c) in enumerate(PAIRS)]
    images(tmp_path, [row.partition(",")[0] for row in rows])
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    found = scan(tmp_path)
    assert whole(found) == ALL
    assert [Path(name).name for name in found.held_out.names] == ["06.png", "07.png"]
    assert scan(tmp_path / "metadata.csv").fingerprint == found.fingerprint


def test_folders_of_classes_are_read_as_before(tmp_path: Path) -> None:
    rows = [f"{c}/{n},other" for n, c in PAIRS]
    images(tmp_path, [row.partition(",")[0] for row in rows])
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    assert whole(scan(tmp_path)) == ALL


def test_lines_of_json(tmp_path: Path) -> None:
    rows = [json.dumps({"file_name": n, "label": [c], "size": 3}) for n, c in PAIRS]
    assert whole(scan(table(tmp_path, *rows, name="metadata.jsonl"))) == ALL
    with pytest.raises(InputError, match=r"line 13 is not a JSON object"):
        scan(table(tmp_path, *rows, "{", name="metadata.jsonl"))


def test_few_images_that_nothing_is_learnt_from(tmp_path: Path) -> None:
    """As `kerascnn import` reads them: one class, and classes of one image."""
    one = scan(table(tmp_path / "a", "file,label", "00.png,cat", "01.png,cat"), sparse=True)
    assert one.classes == ("cat",)
    rows = ("00.png,cat,test", "01.png,dog,test", "02.png,cat,train")
    few = scan(table(tmp_path / "b", "file,label,split", *rows), sparse=True)
    assert few.classes == ("cat", "dog")
    assert len(few.held_out) == 2


def test_held_out_rows_of_another_table(tmp_path: Path) -> None:
    path = table(tmp_path / "a", "file,label", *(f"{n},{c}" for n, c in PAIRS))
    other = table(tmp_path / "b", "file,label", "03.png,dog")
    found = scan(path, val_data=str(other))
    assert len(found.train) == 12
    assert [Path(name).name for name in found.held_out.names] == ["03.png"]
    assert found.classes[found.held_out.labels[0]] == "dog"
    assert np.array_equal(datasets.measured(str(other)).held_out.labels, [0])


class _Started(Exception):
    """Where a framework would be loaded."""


def test_a_table_is_read_once_at_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path, *READ["a heading"])
    read: list[Path] = []

    def counted(path: Path, of_file: Any = delimited.read) -> delimited.Delimited:
        read.append(path)
        return of_file(path)

    def load(**_how: Any) -> None:
        raise _Started

    monkeypatch.setattr(delimited, "read", counted)
    monkeypatch.setattr(framework, "load", load)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(_Started):
        kerascnn.train("lenet5", data="labels.csv", out=tmp_path / "run", progress=False)
    assert len(read) == 1
    assert here("check", "labels.csv").returncode == 1  # of twelve images much is to be said
    assert len(read) == 2
