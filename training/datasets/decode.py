"""Decode files in parallel, once, into memory; name what is broken."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.datasets import streams
from training.datasets.splits import Dataset, Split
from training.preprocessing import convert_channels, fit_array, read_picture

# Above this, pictures are decoded again in every epoch instead of kept.
CACHE_BYTES = 4 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken:
    """A picture that could not be read, and why, in one line."""

    name: str
    reason: str


def decode_split(
    split: Split, preprocessing: Preprocessing, *, cache_bytes: int = CACHE_BYTES
) -> tuple[Split, list[Broken]]:
    """Read every picture of a split at the given geometry.

    Args:
        split: files, or an array (which is converted and resized).
        preprocessing: the geometry; `mean` and `std` are not applied.
        cache_bytes: keep the decoded pictures if they fit, else only check that they decode.

    Returns:
        The split without its broken pictures, with `pictures` set if they fit, and the broken ones.
    """
    if split.pictures is not None:
        pictures = convert_channels(split.pictures, preprocessing.channels)
        if pictures.shape[1:] != preprocessing.input_shape:
            pictures = np.stack([fit_array(p, preprocessing) for p in pictures])
        return dataclasses.replace(split, pictures=pictures), []
    shape = preprocessing.input_shape
    keep = len(split) * int(np.prod(shape)) <= cache_bytes
    pictures = np.empty((len(split) if keep else 0, *shape), np.uint8)
    broken: list[Broken] = []
    good: list[int] = []
    stream = decoded_stream(split.names, preprocessing)
    progress = tqdm(
        stream, total=len(split), desc="reading pictures", unit="", leave=False, disable=None
    )
    for index, (picture, error) in enumerate(progress):
        if reason := error.numpy().decode():
            broken.append(Broken(name=split.names[index], reason=reason))
            continue
        if keep:
            pictures[len(good)] = picture.numpy()
        good.append(index)
    whole = split.take(good)
    return dataclasses.replace(whole, pictures=pictures[: len(good)]) if keep else whole, broken


def decoded_stream(names: tuple[str, ...], preprocessing: Preprocessing) -> tf.data.Dataset:
    """(picture, error text) for each file, decoded in parallel, in order."""

    def read(path: bytes) -> tuple[np.ndarray, bytes]:
        try:
            return read_picture(os.fsdecode(path), preprocessing), b""
        except InputError as error:
            return np.zeros(preprocessing.input_shape, np.uint8), str(error).encode()

    def load(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        picture, error = tf.numpy_function(read, [path], (tf.uint8, tf.string), stateful=False)
        return tf.ensure_shape(picture, preprocessing.input_shape), error

    files = tf.data.Dataset.from_tensor_slices(list(names))
    return streams.ready(files.map(load, num_parallel_calls=streams.WORKERS))


def decode_dataset(
    dataset: Dataset,
    *,
    train: Preprocessing,
    evaluation: Preprocessing,
    strict: bool,
    report: Callable[[str], None],
    cache_bytes: int = CACHE_BYTES,
) -> tuple[Dataset, list[Broken]]:
    """Decode all splits; broken pictures are reported by name and left out.

    Args:
        train, evaluation: geometry of the training split and of the others.
        strict: raise at the first broken picture instead.
        report: takes one line of text a broken picture, and one with their count.

    Raises:
        InputError: `strict`, or a class that lost its last picture.
    """
    broken: list[Broken] = []

    def decode(split: Split, geometry: Preprocessing) -> Split:
        decoded, errors = decode_split(split, geometry, cache_bytes=cache_bytes)
        broken.extend(errors)
        for error in errors:
            if strict:
                raise InputError(error.reason)
            report(f"skipped: {error.reason}")
        for label in sorted(set(split.labels.tolist()) - set(decoded.labels.tolist())):
            raise InputError(
                f"class {dataset.classes[label]!r} of {dataset.name} has no readable picture left; "
                f"for one: {errors[0].reason}"
            )
        return decoded

    decoded = dataclasses.replace(
        dataset,
        train=decode(dataset.train, train),
        validation=dataset.validation and decode(dataset.validation, evaluation),
        held_out=decode(dataset.held_out, evaluation),
    )
    if broken:
        report(f"{len(broken)} broken pictures skipped; --strict makes them an error")
    return decoded, broken
