"""`tfds:NAME`: what tensorflow-datasets has prepared on this machine (https://www.tensorflow.org/datasets).

Nothing is downloaded and nothing is decoded: the files' records are gone through once, for labels
and for the place of each image's bytes, which are read from there when they are needed.

| the data set has            | train       | validation          | held out            |
|-----------------------------|-------------|---------------------|---------------------|
| train, validation, test     | train       | validation          | test                |
| train and one of them       | train       | set aside by `fit`  | the other           |
| train alone                 | four fifths | set aside by `fit`  | a stratified fifth  |

A test split without labels counts as none.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from training.datasets.records import Reader, records
from training.datasets.splits import (
    HELD_OUT_FRACTION,
    VALIDATION_NAMES,
    Dataset,
    Split,
    digest,
    stratified,
)

PREFIX = "tfds:"
# More than this is not gone through at the start of every training.
MOST_BYTES = 4 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Name:
    """tfds:NAME[:VERSION][@DATA_DIR]; no version is the newest, no folder tfds' own."""

    name: str
    version: str | None
    data_dir: str | None

    @classmethod
    def parse(cls, spec: str) -> _Name:
        words, _at, data_dir = spec.removeprefix(PREFIX).partition("@")
        name, _colon, version = words.partition(":")
        if not name:
            raise InputError(
                f"{spec}names no data set; write it like tfds:cifar10 or tfds:cifar10:3.0.2"
            )
        return cls(name=name, version=version or None, data_dir=data_dir or None)


def canonical(spec: str) -> str:
    """The same with an absolute folder."""
    words, at, data_dir = spec.partition("@")
    return f"{words}@{pathlib.Path(data_dir).resolve()}" if at else spec


def scan(spec: str, *, seed: int, most_bytes: int | None = MOST_BYTES) -> Dataset:
    """Find the images and labels of a prepared data set.

    Args:
        spec: "tfds:NAME[:VERSION][@DATA_DIR]", NAME with its config where it has several.
        seed: chooses the held-out images where it has a training split alone.
        most_bytes: refuse a larger one; None: any.

    Raises:
        InputError: tensorflow-datasets is not installed, the set is not prepared, is too large,
            or is not one of 8-bit images with one class each.
    """
    info = _info(spec, _Name.parse(spec))
    image, label = _features(spec, info)
    validation = next((name for name in VALIDATION_NAMES if name in info.splits), "validation")
    chosen = [name for name in ("train", validation, "test") if name in info.splits]
    if "train" not in chosen:
        raise InputError(f"{spec} has no split 'train' (there are: {', '.join(info.splits)})")
    total = sum(info.splits[name].num_bytes for name in chosen)
    if most_bytes is not None and total > most_bytes:
        raise InputError(
            f"{spec} has {total / 1e9:.1f} GB, too much to read at every start; pack it "
            f"once (kerascnn pack {spec} -o DIR), then --data DIR"
        )
    splits = {name: _split(info, name, image, label) for name in chosen}
    if "test" in splits and (splits["test"].labels < 0).any():
        del splits["test"]
    for name, split in splits.items():
        if not len(split) or (split.labels < 0).any():
            raise InputError(f"{spec} has images without a class in its split {name!r}, or none")
    return _dataset(spec, info, splits, tuple(info.features[label].names), seed)


def _dataset(
    spec: str, info: Any, splits: dict[str, Split], classes: tuple[str, ...], seed: int
) -> Dataset:
    parts = [info.full_name.encode()]
    for name, split in splits.items():
        assert isinstance(split.read, Reader)
        parts += [name.encode(), split.labels.tobytes(), split.read.lengths.tobytes()]
    train, *others = splits.values()
    if not others:
        kept, aside = stratified(train.labels, classes, fraction=HELD_OUT_FRACTION, seed=seed)
        parts.append(aside.tobytes())
        train, others = train.take(kept), [train.take(aside)]
    return Dataset(
        name=spec,
        classes=classes,
        train=train,
        validation=others[0] if len(others) > 1 else None,
        held_out=others[-1],
        resize="crop",
        fingerprint=digest(parts),
    )


def _info(spec: str, name: _Name) -> Any:
    """The DatasetInfo, from the prepared files alone: no code of the data set is run."""
    try:
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core import read_only_builder
    except ImportError as error:
        raise InputError(
            f"{spec} needs tensorflow-datasets; pip install 'kerascnn[tfds]'"
        ) from error
    data_dir = name.data_dir or str(tfds.core.constants.DATA_DIR)
    try:
        builder = read_only_builder.builder_from_files(
            name.name, version=name.version, data_dir=data_dir
        )
    except ValueError as error:
        command = "tfds build " + " ".join(
            [name.name, *([f"--data_dir={name.data_dir}"] if name.data_dir else [])]
        )
        raise InputError(
            f"{spec} is not prepared in {data_dir} (there is: {_prepared(data_dir)}); prepare it: "
            f"{command}"
        ) from error
    if (form := builder.info.file_format.value) != "tfrecord":
        raise InputError(
            f"{spec} is prepared as {form}, which kerascnn does not read; prepare it again: "
            f"tfds build {name.name} --file_format=tfrecord"
        )
    return builder.info


def _prepared(data_dir: str) -> str:
    """Names, with versions, of what lies there."""
    root = pathlib.Path(data_dir)
    found = sorted({
        str(p.parent.relative_to(root)) for depth in (2, 3)
        for p in root.glob("*/" * depth + "dataset_info.json")
    }) if root.is_dir() else []  # fmt: skip
    return ", ".join(found) or "nothing"


def _features(spec: str, info: Any) -> tuple[str, str]:
    """Names of the image and of its class."""
    import tensorflow_datasets as tfds

    features = dict(info.features) if isinstance(info.features, tfds.features.FeaturesDict) else {}
    images = [n for n, f in features.items() if type(f) is tfds.features.Image]
    labels = [n for n, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    pair = info.supervised_keys
    if pair and len(pair) == 2 and pair[0] in images and pair[1] in labels:
        images, labels = [pair[0]], [pair[1]]
    if len(images) != 1 or len(labels) != 1:
        there = ", ".join(f"{name} ({type(f).__name__})" for name, f in features.items())
        raise InputError(
            f"{spec} is not a data set of one image and one class per example; "
            f"it has: {there or 'no names'}"
        )
    if np.dtype(features[images[0]].np_dtype) != np.uint8:
        raise InputError(f"{spec} has images that are not 8-bit, which kerascnn does not read")
    return images[0], labels[0]


def _split(info: Any, name: str, image: str, label: str) -> Split:
    """Go through the records of a split."""
    import tensorflow_datasets as tfds
    from tqdm import tqdm

    fields = tfds.features.FeaturesDict({key: info.features[key] for key in (image, label)})
    decoders = {image: tfds.decode.SkipDecoding()}
    files = tuple(pathlib.Path(str(path)) for path in info.splits[name].filepaths)
    rows: list[tuple[int, int, int, int]] = []
    progress = tqdm(
        total=info.splits[name].num_examples, desc=f"finding the images of {name}", unit="",
        leave=False, disable=None,
    )  # fmt: skip
    with progress:
        for number, path in enumerate(files):
            for at, record in _records(path):
                found = fields.deserialize_example_np(record, decoders=decoders)
                data = found[image]
                rows.append((int(found[label]), number, at + record.index(data), len(data)))
                progress.update()
    labels, shards, offsets, lengths = np.array(rows, np.int64).reshape(-1, 4).T
    return Split(
        labels=labels.astype(np.int32),
        names=tuple(f"{info.name}/{name}[{i}]" for i in range(len(rows))),
        read=Reader(files, shards, offsets, lengths),
        places=np.arange(len(rows)),
        blocks=shards.astype(np.int32),
    )


def _records(path: pathlib.Path) -> Any:
    try:
        yield from records(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; prepare its data set again") from None
