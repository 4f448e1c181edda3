"""Packs: a data set in a few large files instead of many small ones (`kerascnn pack`).

    DIR/train-00000-of-00004.tfrecord ...   tf.train.Example records for any TensorFlow program
    DIR/index.npz                           where in them each image's bytes lie, and its label
    DIR/pack.json                           classes, splits, counts, fingerprint; written last

Labelled images are packed here, boxes, object masks and label maps by `placed_pack`.

Training reads an image's bytes at their place by the index, without TensorFlow and without parsing
records. Files are filled in an order shuffled by the seed, so that a few of them hold all classes;
the index keeps the order of the source. Fields are named as in TensorFlow's own ImageNet records
(models/research/slim/datasets/build_imagenet_data.py), but labels begin at 0.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import itertools
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from kerascnn import outside_json
from kerascnn.errors import InputError
from training.common import atomic
from training.common.arrays import read_npz
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets.decode import Broken, refuse_lost_classes
from training.datasets.decode_memory import open_image
from training.datasets.pictures import Checked, check_picture, shrunk
from training.datasets.records import FRAME, FRONT, Reader
from training.datasets.splits import Dataset, Split, digest

PACK_FILE = "pack.json"
SHARD_BYTES = 128 * 10**6
_INDEX_FILE = "index.npz"
_UNFINISHED = ".unfinished"  # a folder inside the pack's
_VERSION = 1
_SPLITS = ("train", "validation", "test")
_COLUMNS = ("offset", "length", "height", "width", "kind")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packed:
    """What `pack` wrote.

    Attributes:
        counts: images by split.
        shards: number of record files.
        bytes: of them all.
        skipped: images that could not be read, and why.
    """

    folder: pathlib.Path
    counts: dict[str, int]
    shards: int
    bytes: int
    skipped: tuple[Broken, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """An image that is ready to be written.

    Attributes:
        position: its place in the source's split.
        data: the encoded image.
        truth: what is written beside it, if anything is.
        counts: numbers of it that the index keeps.
    """

    position: int
    data: bytes
    checked: Checked
    truth: bytes = b""
    counts: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shard:
    """A file that is complete.

    Attributes:
        next: how many entries of its split it and those before it took.
        rows: (images, 1 + columns) int64, the position in the source's split and `Work.columns`.
        skipped: broken images by name and reason.
    """

    number: int
    next: int
    bytes: int
    sha256: str
    rows: np.ndarray
    skipped: list[dict[str, str]]

    def to_json(self) -> str:
        return json.dumps(self.__dict__ | {"rows": self.rows.tolist()})

    @classmethod
    def from_json(cls, text: str, columns: int) -> _Shard:
        plain = json.loads(text)
        rows = np.array(plain["rows"], np.int64).reshape(-1, 1 + columns)
        return cls(**plain | {"rows": rows})


def pack(
    dataset: Any,
    folder: pathlib.Path,
    *,
    seed: int,
    split_seed: int,
    shard_bytes: int = SHARD_BYTES,
    max_side: int | None = None,
    strict: bool = False,
    report: Callable[[str], None],
    kind: type[Work] | None = None,
) -> Packed:
    """Write a data set as a pack, going on with an unfinished one of the same.

    Images are copied byte for byte, except those that `max_side` makes smaller.

    Args:
        dataset: a `Dataset`, or what `kind` packs, as scanned with `split_seed`.
        folder: empty, new, or with an unfinished pack of the same.
        seed: shuffles the training images over the files.
        split_seed: what is held out was chosen by, where the data did not say.
        shard_bytes: of images in a file, at most (but at least one image).
        max_side: pixels; larger images are resized to it and written as JPEG of quality 95.
        strict: a broken image is an error.
        report: takes a line of text a broken image.
        kind: how its images are written; of labelled ones by default.

    Raises:
        InputError: another pack is there, a broken image if `strict`, or a class that lost all.
        OSError: the folder cannot be written.
    """
    kind = kind or Work
    asked: dict[str, Any] = {
        "version": _VERSION,
        "seed": seed,
        "split_seed": split_seed,
        "shard_bytes": shard_bytes,
        "max_side": max_side,
        "source_fingerprint": dataset.fingerprint,
    } | ({"task": kind.task} if kind.task != Work.task else {})
    if (folder / PACK_FILE).is_file():
        info = read_info(folder, kind.task, kind.shape)
        _refuse_another(folder, info, asked)
    else:
        _begin(folder, asked, dataset.name)
        work = kind(
            dataset=dataset,
            folder=folder,
            seed=seed,
            shard_bytes=shard_bytes,
            max_side=max_side,
            strict=strict,
            report=report,
        )
        info = asked | work.finish(work.splits())
        text = json.dumps(info, indent=1, ensure_ascii=False)
        atomic.write_text(folder / PACK_FILE, text + "\n")
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
    shards = [shard for split in info["splits"].values() for shard in split["shards"]]
    return Packed(
        folder=folder,
        counts={name: split["pictures"] for name, split in info["splits"].items()},
        shards=len(shards),
        bytes=sum(shard["bytes"] for shard in shards),
        skipped=tuple(Broken(**broken) for broken in info["skipped"]),
    )


def shard_bytes(text: str) -> int:
    """Bytes of `128MB`, `1GB`, `500KB`; KB is 1,000 bytes.

    Raises:
        InputError: anything else.
    """
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
    number, unit = text.strip()[:-2], text.strip()[-2:].upper()
    if unit not in units or not number.strip().replace(".", "", 1).isdecimal():
        raise InputError(f"--shard-size must be like 128MB, 1GB or 500KB, not {text!r}")
    return max(1, round(float(number) * units[unit]))


def is_pack(folder: pathlib.Path) -> bool:
    """Whether a folder is a pack; raises InputError for one that is not finished."""
    if (folder / PACK_FILE).is_file():
        return True
    if (folder / _UNFINISHED / PACK_FILE).is_file():
        raise InputError(f"{folder} is an unfinished pack; repeat its `kerascnn pack` command")
    return False


def scan(folder: pathlib.Path) -> Dataset:
    """Open a pack; its splits read by place, and nothing is decoded yet.

    Raises:
        InputError: a file is missing, has another size than was written, or is not ours.
    """
    info = read_info(folder, Work.task, Work.shape)
    index, names = read_index(folder, info, ("label", *Work.columns))
    splits: dict[str, Split] = {}
    start = 0
    for name, described in info["splits"].items():
        stop = start + described["pictures"]
        rows = {key: index[key][start:stop] for key in ("shard", "label", *_COLUMNS)}
        files = tuple(folder / shard["file"] for shard in described["shards"])
        splits[name] = Split(
            labels=rows["label"],
            names=names[start:stop],
            read=Reader(files, rows["shard"], rows["offset"], rows["length"]),
            places=np.arange(stop - start),
            sizes=np.stack([rows["height"], rows["width"]], axis=-1),
            kinds=rows["kind"],
            blocks=rows["shard"],
        )
        start = stop
    return Dataset(
        name=str(folder),
        classes=tuple(info["classes"]),
        train=splits["train"],
        validation=splits.get("validation"),
        held_out=splits["test"],
        resize=info["resize"],
        fingerprint=info["fingerprint"],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """One run of `pack`, of labelled images; others differ in what is written beside an image.

    Attributes:
        task: what the pack is for.
        shape: of what `description` adds to pack.json.
        columns: of the index, beside the file and the truth's own; `_COLUMNS` first.
    """

    task: ClassVar[str] = "classification"
    shape: ClassVar[Mapping[str, Any]] = {
        "classes": outside_json.items(outside_json.text, least=2),
        "resize": outside_json.one_of("stretch", "crop", "pad"),
    }
    columns: ClassVar[tuple[str, ...]] = _COLUMNS

    dataset: Any
    folder: pathlib.Path
    seed: int
    shard_bytes: int
    max_side: int | None
    strict: bool
    report: Callable[[str], None]

    def splits(self) -> dict[str, tuple[Any, list[_Shard]]]:
        """Each split with its shards, all of which are written then."""
        parts = (self.dataset.train, self.dataset.validation, self.dataset.held_out)
        given = {name: part for name, part in zip(_SPLITS, parts, strict=True) if part is not None}
        written = {}
        total = sum(map(len, given.values()))
        with Progress("packing", total, unit="image") as progress:
            for name, split in given.items():
                order = np.arange(len(split))
                if name == "train":
                    order = np.random.default_rng(self.seed).permutation(len(split))
                shards = list(self._shards(name, split, order, progress))
                self._refuse_lost_classes(split, shards)
                written[name] = (split, shards)
        return written

    def finish(self, written: dict[str, tuple[Any, list[_Shard]]]) -> dict[str, Any]:
        """Bring all files to their places; pack.json last."""
        splits: dict[str, Any] = {}
        for name, (split, shards) in written.items():
            files = [self._place(name, shard, len(shards)) for shard in shards]
            pictures = len(split) - sum(len(shard.skipped) for shard in shards)
            splits[name] = {"pictures": pictures, "shards": files}
        index = self._index(written)
        stream = io.BytesIO()
        np.savez(stream, **index)  # type: ignore[arg-type]
        atomic.write_bytes(self.folder / _INDEX_FILE, stream.getvalue())
        contents = [values.tobytes() for _key, values in sorted(index.items())]
        hashes = [shard.sha256 for _split, shards in written.values() for shard in shards]
        return {
            "name": pathlib.Path(self.dataset.name).name,
            "classes": list(self.dataset.classes),
            **self.description(),
            "fingerprint": digest([*contents, *map(str.encode, (*hashes, *self.dataset.classes))]),
            "index_sha256": atomic.sha256(self.folder / _INDEX_FILE),
            "splits": splits,
            "skipped": [
                broken
                for _split, shards in written.values()
                for shard in shards
                for broken in shard.skipped
            ],
        }

    def _place(self, name: str, shard: _Shard, count: int) -> dict[str, Any]:
        final = self.folder / f"{name}-{shard.number:05d}-of-{count:05d}.tfrecord"
        if (made := self._unfinished(name, shard.number)).is_file():  # or it is there already
            made.replace(final)
        return {"file": final.name, "bytes": shard.bytes, "sha256": shard.sha256}

    def description(self) -> dict[str, Any]:
        """What pack.json says of the data beside classes and splits."""
        return {"resize": self.dataset.resize}

    def truth_columns(self, split: Any, positions: np.ndarray) -> dict[str, np.ndarray]:
        """What the index says of some images' truth, beside `columns`."""
        return {"label": split.labels[positions].astype(np.int32)}

    def _index(self, written: dict[str, tuple[Any, list[_Shard]]]) -> dict[str, np.ndarray]:
        columns: list[dict[str, np.ndarray]] = []
        names: list[str] = []
        for split, shards in written.values():
            columns.append(rows := self._index_rows(split, shards))
            names += [self.name(split.names[i]) for i in rows.pop("position")]
        index = {key: np.concatenate([rows[key] for rows in columns]) for key in columns[0]}
        text = "\0".join(names).encode("utf-8", "surrogateescape")
        return index | {"names": np.frombuffer(text, np.uint8)}

    def _shards(
        self, name: str, split: Any, order: np.ndarray, progress: Progress
    ) -> Iterator[_Shard]:
        """Those of an earlier run, then new ones as they are written."""
        done = 0
        for number in itertools.count():
            if (shard := self._finished(name, number)) is None:
                break
            progress.step(shard.next - done)
            done = shard.next
            yield shard
        left = order[done:]

        def prepare(place: int) -> Entry | Broken:
            return self.prepare(split, int(left[place]))

        def counted() -> Iterator[Entry | Broken]:
            for entry in in_order(prepare, len(left)):
                progress.step()
                progress.note(f"shard {number} of {name}")
                yield entry

        entries = counted()
        entry = next(entries, None)
        while entry is not None:
            path = self._unfinished(name, number)
            rows, skipped, entry = self._fill(path, split, entry, entries)
            done += len(rows) + len(skipped)
            shard = _Shard(
                number=number,
                next=done,
                bytes=path.stat().st_size,
                sha256=atomic.sha256(path),
                rows=np.array(rows, np.int64).reshape(-1, 1 + len(self.columns)),
                skipped=[
                    {"name": self.name(broken.name), "reason": self.name(broken.reason)}
                    for broken in skipped
                ],
            )
            atomic.write_text(path.with_suffix(".json"), shard.to_json())
            yield shard
            number += 1

    def _finished(self, name: str, number: int) -> _Shard | None:
        """A shard that an earlier run has completed."""
        path = self._unfinished(name, number)
        try:
            text = path.with_suffix(".json").read_text()
            shard = _Shard.from_json(text, len(self.columns))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        finals = self.folder.glob(f"{name}-{number:05d}-of-*.tfrecord")
        there = path if path.is_file() else next(finals, None)
        return shard if there and there.stat().st_size == shard.bytes else None

    def _unfinished(self, name: str, number: int) -> pathlib.Path:
        return self.folder / _UNFINISHED / f"{name}-{number:05d}.tfrecord"

    def prepare(self, split: Any, position: int) -> Entry | Broken:
        """What is written of an image, or why it is left out."""
        name = split.names[position]
        try:
            data = png(split.pictures[position]) if split.pictures is not None else None
            data = split.encoded(position) if data is None else data
            smaller = self.max_side and shrunk(data, self.max_side, name)
            data, checked = smaller or (data, check_picture(data, name))
        except InputError as error:
            return Broken(name=name, reason=str(error))
        return Entry(position=position, data=data, checked=checked)

    def _fill(
        self,
        path: pathlib.Path,
        split: Any,
        entry: Entry | Broken | None,
        entries: Iterator[Entry | Broken],
    ) -> tuple[list[list[int]], list[Broken], Entry | Broken | None]:
        """Write one file; its rows, what was left out, and the entry that did not fit."""
        import tensorflow as tf

        rows: list[list[int]] = []
        skipped: list[Broken] = []
        size = at = 0
        try:
            with atomic.replacing(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as out:
                while entry is not None:
                    if isinstance(entry, Broken):
                        self._skip(entry)
                        skipped.append(entry)
                    elif rows and size + len(entry.data) + len(entry.truth) > self.shard_bytes:
                        break
                    else:
                        record = self._record(split, entry)
                        out.write(record)
                        rows.append(self.row(entry, at + FRONT, record))
                        at += len(record) + FRAME
                        size += len(entry.data) + len(entry.truth)
                    entry = next(entries, None)
        except tf.errors.OpError as error:  # which a full disk is to TensorFlow
            raise OSError(errno.EIO, error.message, str(path)) from error
        return rows, skipped, entry

    def _skip(self, broken: Broken) -> None:
        if self.strict:
            raise InputError(broken.reason)
        self.report(f"skipped: {broken.reason}")

    def truth_features(self, split: Any, entry: Entry) -> dict[str, list[Any]]:
        """Fields of an image's record beside those of the image: bytes, whole numbers or others."""
        label = int(split.labels[entry.position])
        text = self.dataset.classes[label].encode()
        return {"image/class/text": [text], "image/class/label": [label]}

    def row(self, entry: Entry, at: int, record: bytes) -> list[int]:
        """Its position and `columns`; `at` is where its record begins."""
        offset = at + record.index(entry.data)
        return [entry.position, offset, len(entry.data), *entry.checked.size, entry.checked.kind]

    def _record(self, split: Any, entry: Entry) -> bytes:
        """A tf.train.Example with the names that TensorFlow's own records have."""
        import tensorflow as tf

        with open_image(io.BytesIO(entry.data)) as opened:
            form, (width, height) = opened.format or "", opened.size
        name = self.name(split.names[entry.position])
        values: dict[str, list[Any]] = {
            "image/encoded": [entry.data],
            "image/format": [form.encode()],
            "image/filename": [name.encode("utf-8", "surrogateescape")],
            "image/height": [height],
            "image/width": [width],
            **self.truth_features(split, entry),
        }
        feature = {key: _feature(tf, of_key) for key, of_key in values.items()}
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        record: bytes = example.SerializeToString(deterministic=True)
        return record

    def name(self, name: str) -> str:
        """Relative to the source, where it is a folder."""
        root = self.dataset.name + os.sep
        return name.removeprefix(root)

    def _refuse_lost_classes(self, split: Any, shards: list[_Shard]) -> None:
        rows = [shard.rows[:, 0] for shard in shards]
        positions = np.concatenate([np.zeros(0, np.int64), *rows])
        reasons = [broken["reason"] for shard in shards for broken in shard.skipped]
        self.refuse_lost(split, positions, reasons)

    def refuse_lost(self, split: Any, positions: np.ndarray, reasons: list[str]) -> None:
        """Raise InputError where what is left of a split is not enough.

        Args:
            positions: of the images that are left.
            reasons: why others are not.
        """
        refuse_lost_classes(self.dataset, split, split.take(positions), reasons)

    def _index_rows(self, split: Any, shards: list[_Shard]) -> dict[str, np.ndarray]:
        """Columns of the index, in the order of the source."""
        empty = np.zeros((0, 1 + len(self.columns)), np.int64)
        table = np.concatenate([empty, *(shard.rows for shard in shards)])
        numbers = np.repeat([s.number for s in shards], [len(s.rows) for s in shards])
        order = np.argsort(table[:, 0])
        position, *columns = table[order].T
        small = {"height": np.int32, "width": np.int32, "kind": np.uint8}
        found = dict(zip(self.columns, columns, strict=True))
        return {
            "position": position,
            "shard": numbers[order].astype(np.int32),
            **self.truth_columns(split, position),
            **{key: values.astype(small.get(key, np.int64)) for key, values in found.items()},
        }


def _feature(tf: Any, values: list[Any]) -> Any:
    """A field of a tf.train.Example, of the kind that its values are of."""
    if all(isinstance(value, bytes) for value in values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if all(isinstance(value, int) for value in values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def png(pixels: np.ndarray) -> bytes:
    """(h, w, 1 or 3) uint8 as the bytes of a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def _begin(folder: pathlib.Path, asked: dict[str, Any], source: str) -> None:
    """Make the folder, or find the unfinished pack in it to be of the same."""
    if folder.resolve().is_relative_to(pathlib.Path(source).resolve()):
        raise InputError(f"{folder} lies in {source}, whose images it is to hold; name another")
    begun = folder / _UNFINISHED / PACK_FILE
    if begun.is_file():
        try:
            _refuse_another(folder, outside_json.read_object(begun, "delete the folder"), asked)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{begun} is damaged ({error}); delete {folder}") from None
        return
    if folder.is_dir() and any(p.name != _UNFINISHED for p in folder.iterdir()):
        raise InputError(f"{folder} is not empty; name another folder for the pack")
    atomic.write_text(begun, json.dumps(asked))


def _refuse_another(folder: pathlib.Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    # Packs of before were split by their only seed.
    found = {"split_seed": there.get("seed"), **there}
    for key, value in asked.items():
        if found.get(key) != value:
            raise InputError(
                f"{folder} holds another pack ({key} {found.get(key)} there, {value} asked for); "
                "name another folder, or delete it"
            )


_LAST_KIND = 8  # see `Split.kinds`
_ONE_FOLDER = re.compile(r"[^/\\\0]+")
_SHAPE: dict[str, Any] = {
    "classes": outside_json.items(outside_json.text, least=1),
    "fingerprint": outside_json.text,
    "index_sha256": outside_json.text,
    "skipped": outside_json.items(outside_json.values(outside_json.text)),
    "splits": outside_json.values(outside_json.values(outside_json.anything)),
}
_SPLIT: outside_json.Shape = {
    "pictures": outside_json.whole,
    "shards": outside_json.items(outside_json.values(outside_json.anything)),
}
_SHARD: outside_json.Shape = {
    "file": lambda name: outside_json.text(name) and bool(_ONE_FOLDER.fullmatch(name)),
    "bytes": outside_json.whole,
}
_AGAIN = "pack its source again"


def task_of(folder: pathlib.Path) -> str | None:
    """What a pack is for; None of what is no pack, or says nothing that can be read."""
    try:
        found = outside_json.read_object(folder / PACK_FILE, _AGAIN).get("task", Work.task)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None


def read_info(folder: pathlib.Path, task: str, shape: Mapping[str, Any]) -> dict[str, Any]:
    """What pack.json says, of files that are there.

    Args:
        task: what the pack must be for.
        shape: of what it says of its truth.

    Raises:
        InputError: of another task, damaged, or a file is missing or has another size.
    """
    path = folder / PACK_FILE
    try:
        info = outside_json.read_object(path, _AGAIN)
        version = info["version"]
        if version == _VERSION:
            _check_task(folder, info.get("task", Work.task), task)
            _check_info(info, shape)
    except InputError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not the description of a pack ({error}); {_AGAIN}") from error
    if version != _VERSION:
        raise InputError(f"{path} has version {version}, not {_VERSION}; {_AGAIN}")
    for split in info["splits"].values():
        for shard in split["shards"]:
            file, size = folder / shard["file"], shard["bytes"]
            there = file.stat().st_size if file.is_file() else None
            if there != size:
                found = "is missing" if there is None else f"has {there} bytes, not {size}"
                raise InputError(f"{file} {found}; restore it, or {_AGAIN}")
    return info


def _check_task(folder: pathlib.Path, there: Any, wanted: str) -> None:
    if there != wanted:
        raise InputError(
            f"{folder} is a pack for {there}, not for {wanted}; train a network of that task, or "
            f"pack its source again: kerascnn pack --task {wanted}"
        )


def _check_info(info: dict[str, Any], shape: Mapping[str, Any]) -> None:
    """Raise ValueError for what is not as it should be; what is missing raises it too."""
    whole = {**_SHAPE, **shape}
    outside_json.check(info, whole)
    _ = [info[name] for name in whole], [info["splits"][name] for name in ("train", "test")]
    for name, split in info["splits"].items():
        if name not in _SPLITS:
            raise ValueError(f"a split {name!r}")
        outside_json.check(split, _SPLIT, name)
        for shard in split["shards"]:
            outside_json.check(shard, _SHARD, f"{name}.shards")
            _ = shard["file"], shard["bytes"], split["pictures"]


def read_index(
    folder: pathlib.Path, info: dict[str, Any], columns: Sequence[str]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The index of a pack and the names of its images, split by split.

    Args:
        info: of `read_info`.
        columns: beside "shard", what is to be there.

    Raises:
        InputError: it is missing or damaged, or points elsewhere than into the files.
    """
    path = folder / _INDEX_FILE
    if not path.is_file() or atomic.sha256(path) != info["index_sha256"]:
        raise InputError(f"{path} is missing or not as it was written; {_AGAIN}")
    try:
        index = read_npz(path)
        _check_index(index, info, ("shard", *columns))
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}); {_AGAIN}") from error
    text = index["names"].tobytes().decode("utf-8", "surrogateescape")
    return index, tuple(text.split("\0"))


def _check_index(
    index: dict[str, np.ndarray], info: dict[str, Any], columns: Sequence[str]
) -> None:
    """Raise ValueError or KeyError for rows that point elsewhere than into the files."""
    count = sum(split["pictures"] for split in info["splits"].values())
    for name in columns:
        if index[name].shape != (count,) or index[name].dtype.kind not in "iu":
            raise ValueError(f"{name} of {index[name].shape} for {count} images")
    names = index["names"]
    if names.dtype != np.uint8 or names.tobytes().count(0) != max(count - 1, 0):
        raise ValueError(f"names are not those of {count} images")
    start = 0
    for split in info["splits"].values():
        stop = start + split["pictures"]
        rows = {key: index[key][start:stop].astype(np.int64) for key in columns}
        start = stop
        sizes = np.array([shard["bytes"] for shard in split["shards"]], np.int64)
        _check_rows(rows, sizes, len(info["classes"]))


def _check_rows(rows: dict[str, np.ndarray], sizes: np.ndarray, classes: int) -> None:
    if not len(rows["shard"]):
        return
    within = {"shard": len(sizes), "label": classes}
    for name, values in rows.items():
        if values.min() < 0 or values.max() >= within.get(name, 2**53):
            raise ValueError(f"{name} from {values.min()} to {values.max()}")
    for kind in ("", "truth_"):
        reach = rows.get(f"{kind}offset", 0) + rows.get(f"{kind}length", np.int64(0))
        if (reach > sizes[rows["shard"]]).any():
            raise ValueError("an image behind the end of its file")
    if min(rows["height"].min(), rows["width"].min()) < 1 or rows["kind"].max() > _LAST_KIND:
        raise ValueError("an image of no size or of an unknown kind")
