"""Hugging Face's .parquet files: splits by their names, labels by their schema, bytes on demand."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import datasets
from training.datasets import multilabel
from training.datasets.decode import decode_split
from training.datasets.pack import pack

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

CLASSES = ["10", "cat", "2"]  # the numbers' order is kept


def encoded(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write(
    path: Path, labels: Sequence[Any], *, first: int = 0, told: bool = True, whole: bool = True
) -> None:
    """A file of images whose red is `first`, `first` + 1 ...; `whole`: with paths beside bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for at, label in enumerate(labels, first):
        image = {"bytes": encoded(at), "path": f"{at}.png"} if whole else encoded(at)
        rows.append({"id": f"x{at}", "image": image, "label": label})
    found = pa.Table.from_pylist(rows)
    if told:
        features = {"label": {"_type": "ClassLabel", "names": CLASSES}}
        info = json.dumps({"info": {"features": features}})
        found = found.replace_schema_metadata({"huggingface": info})
    pq.write_table(found, path, row_group_size=4)


def reds(split: datasets.Dataset | Any) -> list[int]:
    """What is in each image, as its bytes are read."""
    images = [Image.open(io.BytesIO(split.encoded(at))) for at in range(len(split))]
    return [image.getpixel((0, 0))[0] for image in images]


def test_splits_and_classes_are_those_of_the_files(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1, 2, 0, 1, 2])
    write(tmp_path / "data" / "train-00001-of-00002.parquet", [2, 1, 0], first=6)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", [0, 1, 2], first=9)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", [1, 2, 0], first=12)
    found = datasets.scan(str(tmp_path), seed=0)
    assert found.classes == tuple(CLASSES)
    assert [reds(split) for split in found.splits] == [[*range(9)], [9, 10, 11], [12, 13, 14]]
    assert found.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 2, 1, 0]
    assert found.train.names[7] == "data/train-00001-of-00002.parquet[1]/7.png"
    # Images of one row group share a block: they are read together in an epoch.
    assert found.train.blocks is not None
    assert np.diff(found.train.blocks).tolist() == [0, 0, 0, 1, 0, 1, 0, 0]
    assert found.train.contents().sizes.tolist() == [len(encoded(at)) for at in range(9)]


def test_any_thread_reads_any_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "all.parquet", [at % 3 for at in range(60)])
    monkeypatch.setattr("training.datasets.parquet._KEPT_BYTES", 1)  # of one group at a time
    train = datasets.scan(str(tmp_path / "all.parquet"), seed=0).train
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(train)), 3))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(train.encoded, order.tolist()))
    assert found == [train.encoded(at) for at in order]


def test_they_are_decoded_and_packed_as_others(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", [at % 3 for at in range(12)], whole=False)
    dataset = datasets.scan(str(tmp_path / "all.parquet"), seed=0, to_pack=True)
    decoded, broken = decode_split(
        dataset.train, Preprocessing(height=8, width=8, channels=3, resize="crop")
    )
    assert not broken
    assert decoded.pictures is not None
    assert decoded.pictures[:, 0, 0, 0].tolist() == reds(dataset.train)
    pack(dataset, tmp_path / "pack", seed=0, split_seed=0, report=lambda _line: None)
    packed = datasets.scan(str(tmp_path / "pack"), seed=0)
    assert packed.classes == dataset.classes
    assert reds(packed.train) == reds(dataset.train)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([10, 2, 10, 2], ("2", "10")), (["cat", "dog", "dog", "cat"], ("cat", "dog"))],
)
def test_labels_without_names(labels: list[Any], classes: tuple[str, ...], tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", labels, told=False)
    found = datasets.scan(str(tmp_path), seed=0)
    assert found.classes == classes
    assert len(found.train) + len(found.held_out) == 4


def test_lists_of_labels_are_several_labels(tmp_path: Path) -> None:
    labels = [[0], [0, 2], [1, 2], [], [0, 1, 2]] * 4
    path = tmp_path / "all.parquet"
    write(path, [*labels, None], told=False)
    features = {"label": {"feature": {"_type": "ClassLabel", "names": CLASSES}}}
    info = json.dumps({"info": {"features": features}})
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": info}), path)
    assert multilabel.recognises(str(path))
    found = multilabel.scan(str(path), seed=0)
    assert found.classes == tuple(CLASSES)
    told = {
        red: tuple(np.flatnonzero(row))
        for split in found.splits
        for red, row in zip(reds(split), split.labels, strict=True)
    }
    assert told == {at: tuple(wanted) for at, wanted in enumerate(labels)}
    assert [len(split) for split in found.splits] == [16, 4]
    assert "1 of 21 rows have no label" in " ".join(note.text for note in found.notes)
    with pytest.raises(InputError, match="images have several labels, such as"):
        datasets.scan(str(path), seed=0)


def test_words_of_several_labels(tmp_path: Path) -> None:
    write(tmp_path / "one.parquet", ["cat", "dog"] * 5, told=False)
    assert not multilabel.recognises(str(tmp_path / "one.parquet"))
    write(tmp_path / "two.parquet", ["cat;red", "dog"] * 5, told=False)
    assert multilabel.recognises(str(tmp_path / "two.parquet"))
    assert multilabel.scan(str(tmp_path / "two.parquet"), seed=0).classes == ("cat", "dog", "red")


def test_another_label_or_image_is_another_fingerprint(tmp_path: Path) -> None:
    found = set()
    for labels, first in (([0, 1] * 4, 0), ([1, 0] + [0, 1] * 3, 0), ([0, 1] * 4, 90)):
        write(tmp_path / "a.parquet", labels, first=first, told=False)
        found.add(datasets.scan(str(tmp_path), seed=0).fingerprint)
    assert len(found) == 3


def test_rows_without_a_label_or_an_image(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1, 2, 0, 1, 2, None])
    write(tmp_path / "test.parquet", [-1, -1, -1])
    write(tmp_path / "val.parquet", [0, 1, 2])
    found = datasets.scan(str(tmp_path), seed=0)
    assert found.validation is None
    assert [len(split) for split in found.splits] == [6, 3]
    assert {note.kind: note.count for note in found.notes} == {
        "rows-without-label": 1, "unlabelled-split": 1,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"train.parquet\[6\]/6.png has no label"):
        datasets.scan(str(tmp_path), seed=0, strict=True)


def test_what_is_no_such_set_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "a.parquet"
    for content, words in ((b"", "cannot be read as parquet"), (b"PAR1" * 9, "cannot be read")):
        place.write_bytes(content)
        with pytest.raises(InputError, match=words) as refused:
            datasets.scan(str(place), seed=0)
        assert "\n" not in str(refused.value)
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), place)
    with pytest.raises(InputError, match=r"no columns of images \(there are: text, label\)"):
        datasets.scan(str(place), seed=0)
    write(place, [7, 7])
    with pytest.raises(InputError, match="label 7 is none of the 3 classes"):
        datasets.scan(str(place), seed=0)
    write(place, [0, 1])
    write(tmp_path / "b.parquet", ["cat", "dog"], told=False)
    with pytest.raises(InputError, match=r"other columns or classes than"):
        datasets.scan(str(tmp_path), seed=0)


def test_a_file_that_changes_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [0, 1, 2] * 4)
    train = datasets.scan(str(tmp_path), seed=0).train
    pq.write_table(pa.table({"image": [b"x"], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="restore it"):
        train.encoded(0)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", [0, 1, 2])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"needs pyarrow to be read; pip install 'kerascnn\[parq"):
        datasets.scan(str(tmp_path), seed=0)


def test_more_than_is_read_at_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", [0, 1, 2] * 3)
    monkeypatch.setattr("training.datasets.parquet.MOST_BYTES", 100)
    with pytest.raises(InputError, match="pack it once"):
        datasets.scan(str(tmp_path), seed=0)
    assert len(datasets.scan(str(tmp_path), seed=0, to_pack=True).train) == 6
