"""Data sets that tensorflow-datasets has prepared."""

from __future__ import annotations

import sys
from pathlib import Path

import alone
import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import datasets
from training.datasets import tfds as ours
from training.datasets.decode import decode_split
from training.datasets.pack import pack
from training.datasets.records import records

SHAPE = Preprocessing(height=8, width=9, channels=3, resize="stretch")


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 9, 3), dtype=np.uint8)


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch):
    """Prepares a data set of the given splits and counts, whose features may be changed."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def build(name: str, splits: dict[str, int], *, unlabelled: str = "", **features) -> str:
        fields = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "id": tfds.features.Scalar(dtype=np.int64),
        } | features

        def generate(self, split: str):
            for number in range(splits[split]):
                label = -1 if split == unlabelled else number % 2
                yield (
                    number,
                    {"image": pixels(number), "label": label, "id": number}
                    | {key: pixels(0) for key in features if key not in ("image", "label")},
                )

        members = {
            "VERSION": tfds.core.Version("1.2.0"),
            "_info": lambda self: tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(fields)
            ),
            "_split_generators": lambda self, _manager: {s: generate(self, s) for s in splits},
            "_generate_examples": generate,
        }
        with tfds.core.registered.skip_registration():
            builder = type(name, (tfds.core.GeneratorBasedBuilder,), members)
        builder(data_dir=str(tmp_path / "data")).download_and_prepare()
        return f"tfds:{builder.name}@{tmp_path / 'data'}"

    return build


def numbers(split) -> list[int]:
    """Which of `pixels` a split has."""
    known = {pixels(number).tobytes(): number for number in range(20)}
    pictures = decode_split(split, SHAPE)[0].pictures
    assert pictures is not None
    return [known[picture.tobytes()] for picture in pictures]


def test_splits_labels_and_pictures(prepare) -> None:
    spec = prepare("Tiny", {"train": 8, "validation": 6, "test": 4, "extra": 2})
    whole = datasets.scan(spec, seed=0)
    assert whole.classes == ("cat", "dog")
    assert whole.resize == "crop"
    assert whole.validation is not None
    for split, count in ((whole.train, 8), (whole.validation, 6), (whole.held_out, 4)):
        found = numbers(split)
        assert sorted(found) == list(range(count))
        assert split.labels.tolist() == [number % 2 for number in found]
    assert whole.train.names[3] == "tiny/train[3]"
    assert datasets.scan(spec.replace("@", ":1.2.0@"), seed=1).fingerprint == whole.fingerprint
    assert datasets.canonical(spec) == spec


def test_fewer_splits(prepare) -> None:
    two = datasets.scan(prepare("Two", {"train": 8, "test": 4}), seed=0)
    assert (len(two.train), two.validation, len(two.held_out)) == (8, None, 4)
    spec = prepare("Unlabelled", {"train": 8, "validation": 4, "test": 6}, unlabelled="test")
    blind = datasets.scan(spec, seed=0)
    assert (blind.validation, len(blind.held_out)) == (None, 4)
    spec = prepare("One", {"train": 20})
    one, same, other = (datasets.scan(spec, seed=seed) for seed in (0, 0, 1))
    assert (len(one.train), len(one.held_out)) == (16, 4)
    assert np.bincount(one.held_out.labels).tolist() == [2, 2]
    assert sorted(numbers(one.train) + numbers(one.held_out)) == list(range(20))
    assert one.held_out.names == same.held_out.names != other.held_out.names
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_large_ones_are_packed(prepare, tmp_path: Path, monkeypatch) -> None:
    spec = prepare("Large", {"train": 8, "test": 4})
    monkeypatch.setattr(ours, "MOST_BYTES", 100)
    with pytest.raises(InputError, match=f"kerascnn pack {spec} -o DIR"):
        datasets.scan(spec, seed=0)
    dataset = datasets.scan(spec, seed=0, to_pack=True)
    pack(dataset, tmp_path / "pack", seed=0, split_seed=0, report=lambda _line: None)
    packed = datasets.scan(str(tmp_path / "pack"), seed=0)
    assert numbers(packed.train) == numbers(dataset.train)
    np.testing.assert_array_equal(packed.train.labels, dataset.train.labels)
    assert packed.train.names == dataset.train.names


def test_what_is_refused(prepare, tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")

    def refused(spec: str, match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            datasets.scan(spec, seed=0)
        assert "\n" not in str(caught.value)

    spec = prepare("Refused", {"train": 4, "test": 4})
    refused("tfds:", "names no data set")
    refused(spec.replace(":refused", ":absent"), r"there is: refused/1\.2\.0\).*tfds build absent")
    refused(spec.replace("@", ":9.9.9@"), r"there is: refused/1\.2\.0")
    refused(f"tfds:absent@{tmp_path / 'none'}", "there is: nothing")
    refused(prepare("Trainless", {"test": 4}), "no split 'train'")
    refused(prepare("Blind", {"train": 4, "test": 4}, unlabelled="train"), "without a class")
    masks = {"mask": tfds.features.Image(shape=(None, None, 3))}
    refused(prepare("Pairs", {"train": 4, "test": 4}, **masks), "one image and one class")
    (shard,) = (tmp_path / "data" / "refused").rglob("*train*")
    shard.write_bytes(shard.read_bytes()[:-3])
    refused(spec, f"{shard.name} is cut short")
    shard.unlink()
    refused(spec, f"{shard.name} is missing")


def test_without_the_package_it_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"pip install 'kerascnn\[tfds\]'"):
        datasets.scan("tfds:mnist", seed=0)


def test_scanning_needs_no_tensorflow(prepare) -> None:
    spec = prepare("Plain", {"train": 4, "test": 4})
    code = (
        "import sys; from training import datasets; found = datasets.scan(sys.argv[1], seed=0)\n"
        "print(len(found.train.encoded(0)) > 50)"
    )
    done, imported = alone.script(code, spec)
    assert done.stdout.splitlines()[-1:] == ["True"], done.stderr
    assert "tensorflow" not in imported


def test_records_are_found_without_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    path = tmp_path / "some.tfrecord"
    written = [b"one", b"", b"three" * 100]
    with tf.io.TFRecordWriter(str(path)) as out:
        for record in written:
            out.write(record)
    found = list(records(path))
    assert [data for _at, data in found] == written
    assert [path.read_bytes()[at : at + len(data)] for at, data in found] == written
    Image.fromarray(pixels(0)).save(tmp_path / "no.png")
    with pytest.raises(InputError, match=r"no\.png is cut short"):
        list(records(tmp_path / "no.png"))
