"""What stands for the truth of images where nobody knows it: an imported network's own answers.

They are in the run's folder, and files are held against them. What such a figure is called says
so: `AGREEMENT`, or "AP agreement" of a task whose metric is AP.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from kerascnn.errors import InputError
from training import tasks
from training.common import atomic
from training.datasets.splits import SplitDataset
from training.engine.run import Run

# How many images a file answers as the network does that was imported, in percent.
AGREEMENT = "agreement"
HELD_AGAINST = "files are held against the network's own answers on {}, which have no labels"
# Of tasks whose images have places; classifiers have a table (`training.classification.imported`).
FILE = "answers.npz"

_AnyDataset = TypeVar("_AnyDataset", bound=SplitDataset[Any])


def agreement_of(metric: str) -> str:
    """What a metric is called where the network's own answers are the truth."""
    return f"{metric} {AGREEMENT}"


def is_agreement(metric: object) -> bool:
    """Whether a figure is called so."""
    return isinstance(metric, str) and metric.split(" ")[-1] == AGREEMENT


def is_unlabelled(run: Run) -> bool:
    """Whether the network's own answers stand for the labels of a run's images."""
    imported = run.info["request"].get("imported")
    return imported is not None and not imported["labelled"]


def truth_of(run: Run, dataset: Any) -> Any:
    """The data of a run with what its files are held against; as it is, where it has labels.

    Raises:
        InputError: the answers are gone or damaged.
    """
    if not is_unlabelled(run):
        return dataset
    return tasks.of(run.task).with_answers(dataset, run.folder)


def key_of(name: str, root: str) -> str:
    """What an image is called among the answers: its path below the data, wherever that lies."""
    path = pathlib.Path(name)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else name


def gone(path: pathlib.Path, why: object) -> InputError:
    """What to raise where the answers cannot be read."""
    return InputError(
        f"{path} is gone or damaged ({why}): it has the answers that files are held against; "
        "import again"
    )


def write(folder: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Put arrays into the folder of a run."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    atomic.write_bytes(folder / FILE, buffer.getvalue())


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """What `write` was given.

    Raises:
        InputError: it is gone or damaged.
    """
    path = folder / FILE
    try:
        # Opened here: NumPy leaves a file open that is not what it takes.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise gone(path, error) from None


def with_known(
    dataset: _AnyDataset,
    known: Mapping[str, int],
    annotate_of: Callable[[Mapping[int, int]], Callable[[int], Any]],
) -> _AnyDataset:
    """A data set whose held-out and validation images have their answers as their truth.

    Images without an answer, which could not be read, are left out.

    Args:
        dataset: of images that have places, as it was scanned.
        known: the number of each image's answer by its key.
        annotate_of: takes {place: number}, and gives `PlacedSplit.annotate` of these places.
    """

    def annotated(split: Any) -> Any:
        keys = [key_of(name, dataset.name) for name in split.names]
        there = [index for index, key in enumerate(keys) if key in known]
        places = {int(split.places[index]): known[keys[index]] for index in there}
        return dataclasses.replace(split.take(there), annotate=annotate_of(places))

    return dataclasses.replace(
        dataset,
        validation=None if dataset.validation is None else annotated(dataset.validation),
        held_out=annotated(dataset.held_out),
    )
