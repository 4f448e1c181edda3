"""Data sets: layouts, splits, conversions, and what is refused."""

from __future__ import annotations

import dataclasses
import errno
import re
from pathlib import Path

import alone
import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import datasets
from training.common import atomic
from training.common.parallel import in_order
from training.datasets import decode, decode_memory
from training.datasets.decode import decode_dataset, decode_split, decoded
from training.datasets.pictures import read_picture
from training.datasets.splits import Split, few, stratified

STRETCH = Preprocessing(height=8, width=8, channels=3, resize="stretch")


def fill(folder: Path, count: int, ending: str = ".png", seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}{ending}")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("dogs", "cats"):
        fill(tmp_path / "pets" / name, 10)
    return tmp_path / "pets"


def test_mnist_is_fixed_and_balanced() -> None:
    mnist = datasets.scan("mnist", seed=0)
    assert (len(mnist.train), len(mnist.held_out)) == (4000, 1000)
    assert np.bincount(mnist.train.labels).tolist() == [400] * 10
    assert np.bincount(mnist.held_out.labels).tolist() == [100] * 10
    assert not set(mnist.train.names) & set(mnist.held_out.names)
    assert mnist.fingerprint == datasets.scan("mnist", seed=7).fingerprint == "bdb3fe7bc523fd48"


def test_plain_folder_is_split_by_seed(pets: Path) -> None:
    one, same, other = (datasets.scan(str(pets), seed=s) for s in (0, 0, 1))
    assert one.classes == ("cats", "dogs")
    assert (len(one.train), len(one.held_out)) == (16, 4)
    assert np.bincount(one.held_out.labels).tolist() == [2, 2]
    assert one.held_out.names == same.held_out.names != other.held_out.names
    assert not set(one.train.names) & set(one.held_out.names)


def test_given_splits_are_kept(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        for name in ("a", "b"):
            fill(tmp_path / split / name, count)
    whole = datasets.scan(str(tmp_path), seed=0)
    assert whole.validation is not None
    assert [len(s) for s in (whole.train, whole.validation, whole.held_out)] == [8, 6, 4]
    assert all("/test/" in name for name in whole.held_out.names)
    (tmp_path / "test").rename(tmp_path / ".test")
    two = datasets.scan(str(tmp_path), seed=0)
    assert two.validation is None
    assert all("/val/" in name for name in two.held_out.names)


def test_what_is_no_picture_is_ignored(pets: Path) -> None:
    (pets / ".hidden").mkdir()
    (pets / "notes.txt").write_text("x")
    (pets / "__MACOSX").mkdir()
    (pets / "cats" / "notes.txt").write_text("x")
    (pets / "dogs" / "1.HEIC").write_text("x")
    (pets / "dogs" / "._1.png").write_text("x")
    fill(pets / "cats" / "deeper", 1)
    (pets / "cats" / "loop").symlink_to(pets / "cats", target_is_directory=True)
    whole = datasets.scan(str(pets), seed=0)
    assert len(whole.train) + len(whole.held_out) == 21
    assert whole.ignored == {".txt": 1, ".heic": 1}


def test_refused_folders(pets: Path, tmp_path: Path) -> None:
    def refused(match: str, folder: Path = pets) -> None:
        with pytest.raises(InputError, match=match) as caught:
            datasets.scan(str(folder), seed=0)
        assert "\n" not in str(caught.value)

    refused("no such folder", tmp_path / "none")
    (pets / "empty").mkdir()
    refused("empty has no images")
    (pets / "empty").rmdir()
    fill(pets / "single", 1)
    refused("'single' has a single training image")
    (pets / "train").mkdir()
    refused("neither val/ nor test/")
    (pets / "val").mkdir()
    refused("at least two class folders")
    for name in ("a", "b"):
        fill(pets / "train" / name, 1)
        fill(pets / "val" / f"{name}x", 1)
    refused("different classes: a, ax, b, bx")


def test_stratified_never_empties_a_class() -> None:
    labels = np.array([0, 0, 1, 1, 1] + [2] * 100)
    kept, aside = stratified(labels, ("a", "b", "c"), fraction=0.2, seed=0)
    assert sorted([*kept, *aside]) == list(range(105))
    assert np.bincount(labels[aside]).tolist() == [1, 1, 20]
    assert set(labels[kept]) == {0, 1, 2}


def picture(mode: str) -> Image.Image:
    ramp = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    grey = Image.fromarray(ramp)
    if mode == "I;16":
        return Image.fromarray(ramp.astype(np.uint16) * 257)
    if mode == "P":
        return grey.quantize(256)
    return grey.convert("RGB").convert(mode) if mode != "L" else grey


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("L", ".png"), ("RGB", ".bmp"), ("RGBA", ".png"), ("RGBA", ".webp"), ("P", ".png"),
     ("CMYK", ".jpg"), ("L", ".jpg"), ("I;16", ".png"), ("1", ".png")],
)  # fmt: skip
def test_every_kind_of_picture_becomes_rgb_and_grey(mode, ending, tmp_path: Path) -> None:
    path = tmp_path / f"Ünï cödé {mode[0]}{ending}"
    picture(mode).save(path, **({"lossless": True} if ending == ".webp" else {}))
    rgb = read_picture(path, STRETCH)
    assert rgb.shape == (8, 8, 3)
    wanted = np.asarray(picture("L" if mode != "1" else "1").convert("L"))
    tolerance = 12 if ending == ".jpg" else 1
    np.testing.assert_allclose(rgb.mean(axis=-1), wanted, atol=tolerance)
    grey = Preprocessing(height=8, width=8, channels=1, resize="stretch")
    np.testing.assert_allclose(read_picture(path, grey)[..., 0], wanted, atol=tolerance)


def test_transparency_is_white_and_rotation_is_applied(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_picture(tmp_path / "clear.png", STRETCH).min() == 255
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    turned = read_picture(tmp_path / "turned.png", STRETCH)
    assert turned[:, 4:].min() == 255
    assert turned[:, :4].max() == 0


def test_geometry(tmp_path: Path) -> None:
    pixels = np.zeros((10, 40, 3), np.uint8)
    pixels[:, 15:25] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    crop = Preprocessing(height=8, width=8, channels=3, crop_fraction=1.0)
    assert read_picture(tmp_path / "wide.png", crop)[:, 1:7].min() > 200
    pad = Preprocessing(height=12, width=60, channels=3, resize="pad")
    padded = read_picture(tmp_path / "wide.png", pad)
    np.testing.assert_array_equal(padded[1:11, 10:50], pixels)
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    assert read_picture(tmp_path / "dot.png", crop).shape == (8, 8, 3)


def test_files_that_are_no_pictures_are_named(tmp_path: Path, monkeypatch) -> None:
    def refused(path: Path) -> None:
        with pytest.raises(InputError, match=path.name.split("\n")[0]) as caught:
            read_picture(path, STRETCH)
        assert "\n" not in str(caught.value).replace(str(path), "")

    fill(tmp_path, 1, ".jpg")
    cut = tmp_path / "0.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    refused(cut)
    for name, content in (("text.png", b"hello"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name)
    Image.new("L", (4, 4)).save(tmp_path / "x.gif")
    (tmp_path / "x.gif").rename(tmp_path / "gif.jpg")
    refused(tmp_path / "gif.jpg")
    refused(tmp_path / "missing.png")
    refused(tmp_path)
    Image.new("L", (60, 60)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(decode_memory, "MOST_BYTES", 1000)
    refused(tmp_path / "bomb.png")


def test_broken_pictures_are_skipped_with_a_count_or_refused(pets: Path) -> None:
    (pets / "cats" / "bad.png").write_text("x")
    whole = datasets.scan(str(pets), seed=0)
    said: list[str] = []
    arguments = {"train": STRETCH, "evaluation": STRETCH, "report": said.append}
    whole_again, broken = decode_dataset(whole, strict=False, **arguments)
    assert [Path(b.name).name for b in broken] == ["bad.png"]
    assert "bad.png" in said[0]
    assert said[1].startswith("1 broken image skipped")
    assert len(whole_again.train) + len(whole_again.held_out) == 20
    with pytest.raises(InputError, match=r"bad\.png"):
        decode_dataset(whole, strict=True, **arguments)


def test_a_class_that_lost_all_pictures_is_refused(pets: Path) -> None:
    for path in (pets / "cats").iterdir():
        path.write_text("x")
    whole = datasets.scan(str(pets), seed=0)
    with pytest.raises(InputError, match="'cats'"):
        decode_dataset(
            whole, train=STRETCH, evaluation=STRETCH, strict=False, report=lambda _line: None
        )


def test_many_images_that_are_only_evaluated_wait_until_they_are(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their headers are looked at; a later pass over them takes them from memory."""
    from training.classification import batches
    from training.classification.batches import EvaluationBatches

    (pets / "cats" / "bad.png").write_text("x")
    whole = datasets.scan(str(pets), seed=0)
    given = {"train": STRETCH, "evaluation": STRETCH, "strict": False}
    now, _broken = decode_dataset(whole, **given, report=lambda _line: None)
    monkeypatch.setattr(decode, "MOST_AT_START", 1)
    later, broken = decode_dataset(whole, **given, report=lambda _line: None)
    assert [Path(one.name).name for one in broken] == ["bad.png"]
    assert later.train.pictures is not None
    assert later.held_out.pictures is None
    assert later.held_out.names == now.held_out.names
    opened: list[str] = []
    read = batches.read_picture
    monkeypatch.setattr(
        batches, "read_picture", lambda *given: opened.append(given[2]) or read(*given)
    )

    def passes(times: int) -> list[np.ndarray]:
        opened.clear()
        found = EvaluationBatches(later.held_out, STRETCH, classes=2, batch_size=3)
        every = [[found[i][0]["pictures"] for i in range(len(found))] for _ in range(times)]
        return [np.concatenate(one) for one in every]

    assert all(np.array_equal(one, now.held_out.pictures) for one in passes(3))
    assert sorted(opened) == sorted(later.held_out.names)
    monkeypatch.setattr(batches, "CACHE_BYTES", 0)  # more than memory may hold
    assert all(np.array_equal(one, now.held_out.pictures) for one in passes(2))
    assert len(opened) == 2 * len(later.held_out)


def test_cached_and_streamed_pictures_are_equal(pets: Path) -> None:
    from training.datasets.decode import picture_batches

    split = datasets.scan(str(pets), seed=0).train
    cached, _ = decode_split(split, STRETCH)
    streamed, _ = decode_split(split, STRETCH, cache_bytes=0)
    assert cached.pictures is not None
    assert streamed.pictures is None
    again = np.concatenate(list(picture_batches(streamed, STRETCH, batch_size=3)))
    np.testing.assert_array_equal(cached.pictures, again)


def test_pictures_that_do_not_fit_are_checked_alone(pets: Path) -> None:
    from training.datasets.pictures import check_picture

    fill(pets / "cats", 3, ".jpg")
    whole = (pets / "cats" / "0.jpg").read_bytes()
    (pets / "cats" / "cut.jpg").write_bytes(whole[:-20])
    train = datasets.scan(str(pets), seed=0).train
    kept, broken = decode_split(train, STRETCH)
    checked, same = decode_split(train, STRETCH, cache_bytes=0)
    assert broken == same
    assert [Path(one.name).name for one in broken] in (["cut.jpg"], [])  # or it is held out
    assert checked.names == kept.names
    assert checked.pictures is None
    np.testing.assert_array_equal(kept.sizes, np.full((len(kept), 2), (10, 12)))
    np.testing.assert_array_equal(checked.sizes, kept.sizes)
    np.testing.assert_array_equal(checked.kinds, kept.kinds)
    assert sorted(set(kept.kinds)) == [0, 1]
    with pytest.raises(InputError, match=r"cut\.jpg is not a readable"):
        check_picture(pets / "cats" / "cut.jpg")


def test_decoded_pictures_come_in_order_and_name_what_is_broken(pets: Path) -> None:
    split = datasets.scan(str(pets), seed=0).train
    found = list(decoded(split, STRETCH))
    for name, one in zip(split.names, found, strict=True):
        np.testing.assert_array_equal(one, read_picture(name, STRETCH))
    Path(split.names[9]).write_text("x")
    with pytest.raises(InputError, match=re.escape(split.names[9])):
        list(decoded(split, STRETCH))
    Path(split.names[9]).unlink()
    with pytest.raises(InputError, match=f"{re.escape(split.names[9])} cannot be read"):
        split.encoded(9)
    stopped = decoded(split, STRETCH)
    np.testing.assert_array_equal(next(stopped), found[0])
    stopped.close()


def test_threads_stay_not_far_ahead() -> None:
    begun: list[int] = []
    numbers = in_order(lambda number: begun.append(number) or number, 10_000)
    assert [next(numbers) for _ in range(20)] == list(range(20))
    numbers.close()
    assert len(begun) < 9_000
    assert list(in_order(str, 19)) == [str(number) for number in range(19)]
    assert list(in_order(str, 0)) == []


def test_few_pictures_a_class(pets: Path) -> None:
    whole = datasets.scan(str(pets), seed=0)
    three, same, other = (few(whole, 3, seed=s) for s in (0, 0, 1))
    assert np.bincount(three.train.labels).tolist() == [3, 3]
    assert three.train.names == same.train.names != other.train.names
    assert set(three.train.names) <= set(whole.train.names)
    assert three.held_out is whole.held_out
    assert few(whole, 100, seed=0).train.names == whole.train.names


def test_rows_of_a_split_stay_together() -> None:
    split = Split(
        labels=np.arange(4, dtype=np.int32), names=tuple("abcd"),
        read=lambda place: bytes([place]), places=np.array([10, 11, 12, 13]),
        sizes=np.arange(8, dtype=np.int32).reshape(4, 2), kinds=np.uint8([1, 2, 3, 4]),
        blocks=np.int32([0, 0, 1, 1]),
    )  # fmt: skip
    part = split.take([3, 1, 0]).take([0, 2])
    assert (part.names, part.labels.tolist()) == (("d", "a"), [3, 0])
    assert [part.encoded(0), part.encoded(1)] == [b"\r", b"\n"]
    assert part.sizes is not None
    assert part.sizes.tolist() == [[6, 7], [0, 1]]
    assert (part.kinds.tolist(), part.blocks.tolist()) == ([4, 1], [1, 0])


def test_data_sets_are_named_from_anywhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert datasets.canonical("mnist") == "mnist"
    assert datasets.canonical("pets") == str(tmp_path / "pets")
    assert datasets.canonical("tfds:cifar10:3.0.2") == "tfds:cifar10:3.0.2"
    assert datasets.canonical("tfds:cifar10@data") == f"tfds:cifar10@{tmp_path / 'data'}"
    with pytest.raises(InputError, match=r"cifar: no such folder.*, scenes-digits, tfds:"):
        datasets.scan("cifar", seed=0)


def test_reading_pictures_needs_no_tensorflow(pets: Path) -> None:
    code = (
        "import sys\n"
        "from training import datasets\n"
        "from training.datasets.decode import decode_split\n"
        "from kerascnn.preprocessing import Preprocessing\n"
        "found = datasets.scan(sys.argv[1], seed=0)\n"
        "decode_split(found.train, Preprocessing(height=8, width=8, channels=3))\n"
        "print(len(found.train))"
    )
    done, imported = alone.script(code, pets)
    assert done.stdout.split() == ["16"], done.stderr
    assert not {"tensorflow", "jax", "torch"} & imported


def test_arrays_change_size_and_channels() -> None:
    split = Split(
        labels=np.zeros(2, np.int32), names=("a", "b"),
        pictures=np.full((2, 4, 4, 1), 9, np.uint8),
    )  # fmt: skip
    grown, _ = decode_split(split, STRETCH)
    np.testing.assert_array_equal(grown.pictures, np.full((2, 8, 8, 3), 9))
    np.testing.assert_array_equal(grown.sizes, [[4, 4], [4, 4]])
    empty, _ = decode_split(split.take([]), STRETCH)
    assert empty.pictures is not None
    assert empty.pictures.shape == (0, 8, 8, 3)


def test_a_full_disk_is_named_by_the_file(tmp_path: Path) -> None:
    def full() -> None:
        with atomic.replacing(tmp_path / "x.json"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"x\.json"):
        full()
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    atomic.write_text(path, "old")

    def crash() -> None:
        with atomic.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "wrong", [{"channels": 2}, {"resize": "zoom"}, {"height": 0}, {"crop_fraction": 0}, {"std": 0}]
)
def test_impossible_preprocessing(wrong) -> None:
    with pytest.raises(ValueError, match=r"."):
        Preprocessing(**({"height": 8, "width": 8, "channels": 3} | wrong))


def test_preprocessing_travels() -> None:
    assert Preprocessing.from_dict(STRETCH.to_dict()) == STRETCH
    np.testing.assert_array_equal(
        STRETCH.normalise(np.array([127, 255, 0], np.uint8)), np.float32([0, 1, -127 / 128])
    )


@pytest.mark.parametrize("set_aside", [False, True])
def test_a_validation_split_of_its_own_keeps_its_classes(pets: Path, set_aside: bool) -> None:
    whole = datasets.scan(str(pets), seed=0)
    alone = whole.train.take([int(np.flatnonzero(whole.train.labels == c)[0]) for c in (0, 1)])
    whole = dataclasses.replace(whole, validation=alone)
    Path(alone.names[1]).write_text("x")
    others = [i for i, name in enumerate(whole.train.names) if name not in alone.names]
    given = {"train": STRETCH, "evaluation": STRETCH, "strict": False, "report": lambda _line: None}
    whole = dataclasses.replace(whole, train=whole.train.take(others))
    if set_aside:
        decoded, broken = decode_dataset(whole, set_aside=True, **given)
        assert decoded.validation is not None
        assert (len(decoded.validation), len(broken)) == (1, 1)
    else:
        with pytest.raises(InputError, match="'dogs'"):
            decode_dataset(whole, **given)
