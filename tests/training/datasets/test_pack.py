"""Packs: the same pictures as their source's, in files that TensorFlow reads too."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import assert_refused, here, kill_when
from PIL import Image

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import datasets
from training.common import atomic
from training.datasets import pack as packing
from training.datasets.decode import decode_split, decoded
from training.datasets.pack import Packed, pack, shard_bytes

SHAPE = Preprocessing(height=16, width=16, channels=3, resize="stretch")
FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "image/class/text": tf.io.FixedLenFeature([], tf.string),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
}


def save(path: Path, seed: int, size: tuple[int, int] = (20, 26), orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """10 + 10 pictures: PNG, and JPEG lying on its side."""
    for kind in ("cats", "dogs"):
        for number in range(5):
            save(tmp_path / "photos" / kind / f"{number}.png", number)
            save(tmp_path / "photos" / kind / f"ü{number}.jpg", number, orientation=6)
    return tmp_path / "photos"


def packed(
    source: Path | str, folder: Path, *, seed: int = 0, split_seed: int = 0, **options
) -> Packed:
    dataset = datasets.scan(str(source), seed=split_seed, to_pack=True)
    return pack(
        dataset, folder, seed=seed, split_seed=split_seed, report=lambda _line: None, **options
    )


def examples(folder: Path, split: str) -> list[dict]:
    files = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
    options = tf.data.Options()
    options.autotune.enabled = False
    records = tf.data.TFRecordDataset(files).with_options(options)
    return [
        {key: value.numpy() for key, value in tf.io.parse_single_example(r, FEATURES).items()}
        for r in records
    ]


def test_a_pack_has_the_pictures_of_its_folder(photos: Path, tmp_path: Path) -> None:
    made = packed(photos, tmp_path / "pack", seed=1, split_seed=3, shard_bytes=4000)
    assert made.counts == {"train": 16, "test": 4}
    one, other = datasets.scan(str(photos), seed=3), datasets.scan(str(tmp_path / "pack"), seed=9)
    assert one.classes == other.classes
    assert one.resize == other.resize
    for one_part, other_part in ((one.train, other.train), (one.held_out, other.held_out)):
        np.testing.assert_array_equal(one_part.labels, other_part.labels)
        assert [str(Path(n).relative_to(photos)) for n in one_part.names] == list(other_part.names)
        for index in range(len(one_part)):
            assert (
                other_part.encoded(index)
                == one_part.encoded(index)
                == Path(one_part.names[index]).read_bytes()
            )
        (a, _), (b, _) = decode_split(one_part, SHAPE), decode_split(other_part, SHAPE)
        np.testing.assert_array_equal(a.pictures, b.pictures)
        np.testing.assert_array_equal(a.sizes, other_part.sizes)
        np.testing.assert_array_equal(a.kinds, other_part.kinds)
        assert {tuple(size) for size in a.sizes} == {(20, 26), (26, 20)}
        assert set(a.kinds) == {0, 6}


def test_tensorflow_reads_the_records(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "pack", shard_bytes=4000)
    found = examples(tmp_path / "pack", "train") + examples(tmp_path / "pack", "test")
    assert len(found) == 20
    for example in found:
        path = photos / example["image/filename"].decode()
        assert example["image/encoded"] == path.read_bytes()
        assert example["image/class/text"].decode() == path.parent.name
        assert ("cats", "dogs")[example["image/class/label"]] == path.parent.name
        assert example["image/format"] == (b"JPEG" if path.suffix == ".jpg" else b"PNG")
        shape = tf.io.decode_image(example["image/encoded"]).shape
        assert shape[:2] == (example["image/height"], example["image/width"])


def test_files_are_of_the_asked_size_and_mix_the_classes(photos: Path, tmp_path: Path) -> None:
    made = packed(photos, tmp_path / "pack", shard_bytes=8000)
    train = datasets.scan(str(tmp_path / "pack"), seed=0).train
    files = sorted((tmp_path / "pack").glob("train-*.tfrecord"))
    assert [f.name for f in files] == [
        f"train-{i:05d}-of-{len(files):05d}.tfrecord" for i in range(len(files))
    ]
    assert 1 < len(files) < 16
    assert made.bytes == sum(f.stat().st_size for f in (tmp_path / "pack").glob("*.tfrecord"))
    assert sorted(set(train.blocks)) == list(range(len(files)))
    sizes = [
        sum(len(train.encoded(i)) for i in np.flatnonzero(train.blocks == b))
        for b in set(train.blocks)
    ]
    assert max(sizes) <= 8000
    # In the order of the folder, the first half of the files would hold cats alone.
    assert set(train.labels[train.blocks < len(files) // 2]) == {0, 1}
    part = train.take([5, 2])
    assert part.encoded(0) == train.encoded(5)
    np.testing.assert_array_equal(part.blocks, train.blocks[[5, 2]])


def test_a_picture_larger_than_a_file_has_one_of_its_own(photos: Path, tmp_path: Path) -> None:
    assert packed(photos, tmp_path / "pack", shard_bytes=1).shards == 20


def test_larger_pictures_are_made_smaller(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    for kind in ("a", "b"):
        for number in range(2):
            save(source / kind / f"{number}.jpg", number, size=(30, 60), orientation=6)
        save(source / kind / "small.png", 9, size=(10, 24))
    grey = Image.fromarray(np.arange(0, 240, 6, dtype=np.uint8).repeat(30).reshape(40, 30))
    grey.save(source / "a" / "0.png")
    packed(source, tmp_path / "pack", max_side=24)
    whole = datasets.scan(str(tmp_path / "pack"), seed=0)
    for split in (whole.train, whole.held_out):
        for index, name in enumerate(split.names):
            data = split.encoded(index)
            opened = Image.open(io.BytesIO(data))
            assert tuple(split.sizes[index]) == opened.size[::-1]
            if name.endswith("small.png"):
                assert data == (source / name).read_bytes()
            elif name.endswith(".png"):
                assert (opened.mode, opened.size, opened.format) == ("L", (18, 24), "JPEG")
            else:  # upright now
                assert (opened.size, opened.format, opened.getexif().get(0x0112, 1)) == (
                    (12, 24), "JPEG", 1,
                )  # fmt: skip
                assert split.kinds[index] == 1


def test_broken_pictures_are_skipped_with_a_count_or_refused(photos: Path, tmp_path: Path) -> None:
    for name in ("cats/bad.png", "dogs/worse.jpg"):
        (photos / name).write_text("x")
    made = packed(photos, tmp_path / "pack", shard_bytes=3000)
    assert sorted(broken.name for broken in made.skipped) == ["cats/bad.png", "dogs/worse.jpg"]
    assert sum(made.counts.values()) == 20
    again = packed(photos, tmp_path / "pack", shard_bytes=3000)
    assert again == made
    with pytest.raises(InputError, match=r"(bad\.png|worse\.jpg) is not a readable"):
        packed(photos, tmp_path / "strict", strict=True)
    for path in (photos / "cats").iterdir():
        path.write_text("x")
    with pytest.raises(InputError, match=r"class 'cats'.*no readable image left"):
        packed(photos, tmp_path / "lost")


@pytest.mark.parametrize("at", [1, 7, 13, 19])
def test_a_pack_that_broke_off_is_gone_on_with(at: int, photos, tmp_path, monkeypatch) -> None:
    packed(photos, tmp_path / "unbroken", shard_bytes=4000)
    prepared: list[int] = []
    check = packing.check_picture

    def breaks_off(data: bytes, name: str):
        prepared.append(1)
        if len(prepared) > at:
            raise KeyboardInterrupt
        return check(data, name)

    monkeypatch.setattr(packing, "check_picture", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        packed(photos, tmp_path / "pack", shard_bytes=4000)
    monkeypatch.undo()
    assert not (tmp_path / "pack" / "pack.json").exists()
    with pytest.raises(InputError, match="unfinished pack"):
        datasets.scan(str(tmp_path / "pack"), seed=0)
    with pytest.raises(InputError, match="another pack"):
        packed(photos, tmp_path / "pack", shard_bytes=4001)
    whole = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "pack").rglob("[!.]*.tfrecord")}
    packed(photos, tmp_path / "pack", shard_bytes=4000)
    kept = {p.stat().st_mtime_ns for p in (tmp_path / "pack").glob("*.tfrecord")}
    assert set(whole.values()) <= kept
    one, other = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
        for name in ("unbroken", "pack")
    )
    assert one == other


def test_one_that_broke_off_at_the_end_is_gone_on_with(photos, tmp_path, monkeypatch) -> None:
    packed(photos, tmp_path / "unbroken", shard_bytes=4000)
    monkeypatch.setattr(packing.np, "savez", lambda *_given, **_arrays: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        packed(photos, tmp_path / "pack", shard_bytes=4000)
    monkeypatch.undo()
    first = sorted((tmp_path / "pack").glob("train*"))[0]
    first.write_bytes(first.read_bytes()[:-5])  # and a file lost its end
    packed(photos, tmp_path / "pack", shard_bytes=4000)
    for path in (tmp_path / "unbroken").iterdir():
        assert path.read_bytes() == (tmp_path / "pack" / path.name).read_bytes()


@pytest.mark.slow
def test_a_killed_pack_is_gone_on_with(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    for kind in ("a", "b"):
        for number in range(40):
            save(source / kind / f"{number}.png", number, size=(300, 400))
    folder = tmp_path / "pack"
    command = ("pack", source, "-o", folder, "--shard-size", "2MB")

    def begun() -> bool:
        return len(list(folder.rglob("*.json"))) > 3  # the plan, and three files

    kill_when(begun, *command)
    assert not (folder / "pack.json").exists()
    done = here(*command, "--json")
    assert json.loads(done.stdout)["counts"] == {"train": 64, "test": 16}
    packed(source, tmp_path / "unbroken", shard_bytes=2_000_000)
    for path in (tmp_path / "unbroken").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_changed_packs_are_refused_by_file(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "pack", shard_bytes=4000)

    def refused(name: str, change: str) -> None:
        shutil.copytree(tmp_path / "pack", tmp_path / "copy")
        path = tmp_path / "copy" / name
        if change == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        elif change == "missing":
            path.unlink()
        else:
            path.write_text(change)
        with pytest.raises(InputError, match=path.name) as caught:
            datasets.scan(str(tmp_path / "copy"), seed=0)
        assert "\n" not in str(caught.value)
        shutil.rmtree(tmp_path / "copy")

    shard = sorted((tmp_path / "pack").glob("train*"))[1].name
    for name in (shard, "index.npz"):
        refused(name, "cut")
        refused(name, "missing")
    for text in ("", "[]", "{}", '{"version": 1, "splits": {}}', '{"version": 2, "splits": {}}'):
        refused("pack.json", text)
    train = datasets.scan(str(tmp_path / "pack"), seed=0).train
    (tmp_path / "pack" / shard).write_bytes(b"")  # while it is in use
    with pytest.raises(InputError, match=shard):
        list(decoded(train, SHAPE))


INFO = {
    "version": "1", "classes": "ab", "resize": "squash", "fingerprint": 1, "skipped": [1],
    "index_sha256": None, "splits": [], "splits.train.pictures": -1, "splits.train.shards": {},
    "splits.train.shards.0.file": "../../etc/passwd", "splits.train.shards.0.bytes": "1",
    "splits.more": {},
}  # fmt: skip


@pytest.mark.parametrize("field", INFO)
def test_descriptions_of_strangers_are_refused(field: str, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    packed(photos, folder)
    path = folder / "pack.json"
    place = told = json.loads(path.read_text())
    *parents, last = [int(part) if part.isdecimal() else part for part in field.split(".")]
    for parent in parents:
        place = place[parent]
    place[last] = INFO[field]
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"pack\.json (is not the description|has version)"):
        datasets.scan(str(folder), seed=0)
    del place[last]
    path.write_text(json.dumps(told))
    if field != "splits.more":
        with pytest.raises(InputError, match=r"pack\.json (lacks|is not)"):
            datasets.scan(str(folder), seed=0)


ROWS = {
    "offset": -1, "length": 2**40, "shard": 7, "label": 2, "height": 0, "width": -5, "kind": 9,
}  # fmt: skip


@pytest.mark.parametrize("column", ROWS)
def test_indices_that_lead_elsewhere_are_refused(column: str, photos: Path, tmp_path: Path) -> None:
    """The hash of the index is in pack.json, which is a stranger's too."""
    folder = tmp_path / "pack"
    packed(photos, folder)
    with np.load(folder / "index.npz") as arrays:
        index = dict(arrays)
    index[column] = index[column].astype(np.int64)
    index[column][0] = ROWS[column]
    np.savez(folder / "index.npz", **index)
    told = json.loads((folder / "pack.json").read_text())
    told["index_sha256"] = atomic.sha256(folder / "index.npz")
    (folder / "pack.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"index\.npz is damaged"):
        datasets.scan(str(folder), seed=0)


def test_other_folders_are_not_written_into(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lies in"):
        packed(photos, photos / "pack")
    with pytest.raises(InputError, match="not empty"):
        packed(photos, tmp_path)
    packed(photos, tmp_path / "pack")
    with pytest.raises(InputError, match=r"another pack .seed 0 there, 1 asked for"):
        packed(photos, tmp_path / "pack", seed=1)
    with pytest.raises(InputError, match=r"another pack .split_seed 0 there, 2 asked for"):
        packed(photos, tmp_path / "pack", split_seed=2)


def test_an_unfinished_pack_of_before_was_split_by_its_only_seed(
    photos: Path, tmp_path: Path
) -> None:
    packed(photos, tmp_path / "pack", seed=3, split_seed=3)
    info = tmp_path / "pack" / "pack.json"
    told = json.loads(info.read_text())
    del told["split_seed"]
    info.write_text(json.dumps(told))
    assert packed(photos, tmp_path / "pack", seed=3, split_seed=3).counts["train"] == 16
    with pytest.raises(InputError, match=r"split_seed 3 there, 0 asked for"):
        packed(photos, tmp_path / "pack", seed=3)


def test_the_seed_of_the_order_leaves_the_split(photos: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        done = here("pack", photos, "-o", tmp_path / str(seed), "--seed", seed)
        assert done.returncode == 0, done.stderr
    plain = datasets.scan(str(photos), seed=0)
    held_out = {Path(name).relative_to(photos).as_posix() for name in plain.held_out.names}
    for seed in (0, 1):
        split = datasets.scan(str(tmp_path / str(seed)), seed=0).held_out
        assert {str(name) for name in split.names} == held_out


def test_packs_can_be_packed_and_so_can_arrays(photos: Path, tmp_path: Path, monkeypatch) -> None:
    packed(photos, tmp_path / "one", seed=1)
    packed(tmp_path / "one", tmp_path / "two", seed=1, shard_bytes=3000)
    one, two = (datasets.scan(str(tmp_path / name), seed=0).train for name in ("one", "two"))
    assert one.names == two.names
    assert [one.encoded(i) for i in range(16)] == [two.encoded(i) for i in range(16)]
    mnist = datasets.scan("mnist", seed=0)
    few = dataclasses.replace(
        mnist, train=mnist.train.take(range(0, 4000, 100)),
        held_out=mnist.held_out.take(range(0, 1000, 50)),
    )  # fmt: skip
    pack(few, tmp_path / "digits", seed=0, split_seed=0, report=lambda _line: None)
    digits = datasets.scan(str(tmp_path / "digits"), seed=0)
    assert digits.resize == "pad"
    grey = Preprocessing(height=28, width=28, channels=1, resize="pad")
    np.testing.assert_array_equal(decode_split(digits.train, grey)[0].pictures, few.train.pictures)


def test_checked_pictures_are_not_read_again(photos: Path, tmp_path: Path, monkeypatch) -> None:
    packed(photos, tmp_path / "pack")
    train = datasets.scan(str(tmp_path / "pack"), seed=0).train
    monkeypatch.setattr(type(train), "encoded", lambda *_given: 1 / 0)
    whole, broken = decode_split(train, SHAPE, cache_bytes=0)
    assert (len(whole), broken) == (16, [])
    assert whole.blocks is not None


def test_sizes_of_files() -> None:
    assert [shard_bytes(text) for text in ("128MB", "1.5 GB", "500kb")] == [
        128 * 10**6, 1_500_000_000, 500_000,
    ]  # fmt: skip
    for text in ("", "MB", "-1MB", "128", "1TB", "nanMB", "1..5MB"):
        with pytest.raises(InputError, match="--shard-size"):
            shard_bytes(text)


def test_the_command_answers_before_tensorflow_is_loaded(tmp_path: Path) -> None:
    shown = here("pack", "--help")
    assert "Example: kerascnn pack" in " ".join(shown.stdout.split())
    assert_refused(here("pack", tmp_path, "-o", tmp_path / "p", "--shard-size", "5"), "5", "1GB")
    assert_refused(here("pack", tmp_path), "--out")
