"""`kerascnn import`: from a network that was trained elsewhere to a run folder, without training.

    source ──> plain network ──> labels ──> the data, its classes by the network's order ──>
    preprocessing ──> figures on held-out images ──> run.json, model.keras, labels.txt

What is written is what a training writes, but for its history, so that all that takes a run takes
this one. A folder is made under a temporary name, and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import keras

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.classification.task import ClassificationTask
from training.common import atomic, once
from training.common.progress import say
from training.datasets import unlabelled
from training.datasets.splits import Dataset, places_by_class
from training.engine.first_look import require_writable
from training.engine.imported import Imported
from training.engine.leaks import refuse_leaks
from training.engine.request import TrainRequest, configure
from training.engine.run import Run, write_info
from training.engine.train import first_info
from training.engine.training import Ready
from training.importing import labels as naming
from training.importing import named
from training.importing import preprocessing as normalising
from training.importing.asked import ImportRequest, begun
from training.importing.guess import guessed
from training.importing.source import Opened, open_source

# Of the steps of compression that train, where nobody says.
_RECIPES = {"classification": "finetune", "multilabel": "multilabel_finetune"}
_DEEPEST = 4  # of a file in the folder of a run: stages/<steps>/model.keras
_RESIZED = {
    "stretch": "stretched",
    "letterbox": "resized, and padded with grey,",
    "pad": "padded, or stretched,",
    "crop": "resized and cut",
    "centre": "resized and cut",
}


@once.scope()
def import_network(
    asked: ImportRequest, folder: pathlib.Path, model: keras.Model | None = None
) -> Run:
    """Make a run folder of a network that is trained already.

    Args:
        folder: where there is nothing yet, or a run of the same request, which is left as it is.
        model: of a request for a model in memory.

    Raises:
        InputError: a network that cannot be taken, data that does not fit it, or a folder that
            holds something else.
        OSError: the folder cannot be written.
    """
    if begun(asked, folder) is not None:
        say(f"{folder} is imported already")
        return Run.open(folder)
    require_writable(folder)
    began = time.monotonic()
    if named.takes(asked):
        request, dataset, ready = named.opened(asked)
    else:
        request, dataset, ready = _classifier(asked, model)
    _refuse_leaks(request, dataset)
    with _becoming(folder) as place:
        _write(place, request, dataset, ready)
        info = dict(Run.open(place).info)
        info["results"] |= {"seconds": round(time.monotonic() - began, 1)}
        write_info(place, info)
    return Run.open(folder)


def _classifier(
    asked: ImportRequest, model: keras.Model | None
) -> tuple[TrainRequest, Dataset, Ready]:
    """What run.json keeps, the data with the network's classes, and the network."""
    opened = open_source(asked, model)
    for line in opened.said:
        say(line)
    task = _task(asked, opened)
    request, dataset = _request(asked, opened, task)
    assert request.imported is not None
    labelled = request.imported.labelled and task.name == "classification"  # one each to be right
    preprocessing = _preprocessing(asked, opened, dataset, labelled=labelled)
    request = dataclasses.replace(request, image_size=preprocessing.input_shape[:2])
    return request, dataset, Ready(model=opened.model, preprocessing=preprocessing)


def _task(asked: ImportRequest, opened: Opened) -> ClassificationTask:
    """Whether images of the data have one label or several; the network has to go with that."""
    several = not asked.unlabelled and tasks.of("multilabel").claims(asked.data)
    if several and opened.activation == "softmax":
        raise InputError(
            f"{asked.source} says one of its classes (softmax), and images of {asked.shown_data} "
            "have several labels; give data with one label per image, or a network that ends in a "
            "sigmoid for each label"
        )
    if opened.activation == "sigmoid" and not several:
        say("the outputs end in a sigmoid; an image has one label here: the likeliest")
    found: Any = tasks.of("multilabel" if several else "classification")
    return found


def _request(
    asked: ImportRequest, opened: Opened, task: ClassificationTask
) -> tuple[TrainRequest, Dataset]:
    """What run.json keeps, and the data with the network's classes."""
    imported = Imported(
        source=asked.source,
        sha256=asked.digest(),
        asked=asked.to_dict(),
        labelled=not _without_labels(asked),
    )
    settings = dict(asked.settings)
    first = _train_request(asked, imported, settings, task)
    data = task.as_it_is(first)
    labels = _labels(asked, opened, data)
    say(labels.said)
    imported = dataclasses.replace(imported, labels=labels.names)
    if imported.labelled:
        places = naming.places(labels, data.classes, data=asked.shown_data, source=asked.called)
        imported = dataclasses.replace(imported, places=places)
        several = task.name == "multilabel"  # whose images choose whatever they show
        few = not several and min(map(len, places_by_class(data.train.labels)), default=0) < 2
        if few and data.validation is None and "validation_fraction" not in settings:
            settings["validation_fraction"] = 0.0
            say("a class has a single image that is not held out: no images choose among files")
    request = _train_request(asked, imported, settings, task)
    return request, task.aligned(data, imported)


def _train_request(
    asked: ImportRequest,
    imported: Imported,
    settings: dict[str, object],
    task: ClassificationTask,
) -> TrainRequest:
    recipe = asked.recipe or _RECIPES[task.name]
    config = configure(
        asked.called,
        data=asked.data,
        recipe=recipe,
        settings=settings,
        task=task,
    )
    return TrainRequest(
        model=asked.called,
        data=asked.data,
        val_data=asked.val_data,
        config=config,
        recipe=recipe,
        model_options=asked.options,
        weights=asked.weights,
        task=task.name,
        imported=imported,
    )


def _without_labels(asked: ImportRequest) -> bool:
    """Whether nothing is known of the images: it was said, or there are no folders of classes."""
    if asked.unlabelled:
        return True
    path = pathlib.Path(asked.data)
    if not (path.is_absolute() and path.is_dir() and unlabelled.looks_so(path)):
        return False
    say(
        f"{asked.shown_data} has no folders of classes: its images have no labels, and files "
        "are held against the network's own answers"
    )
    return True


def _labels(asked: ImportRequest, opened: Opened, data: Dataset) -> naming.Labels:
    outputs = int(opened.model.output_shape[-1])
    if asked.labels is not None:
        return naming.from_file(pathlib.Path(asked.labels), outputs)
    own = opened.labels or ()
    if len({*own}) == len(own) == outputs:
        found = naming.of_names(own, data.classes)
        return dataclasses.replace(found, said=f"labels of {opened.labels_from}")
    return naming.choose(outputs, source=asked.called, classes=data.classes, data=asked.shown_data)


def _preprocessing(
    asked: ImportRequest, opened: Opened, dataset: Dataset, *, labelled: bool
) -> Preprocessing:
    """What images go through: what is known of the network, else what was said, else a guess."""
    height, width, channels = opened.model.input_shape[1:]
    known = opened.preprocessing
    resize = asked.resize or _resize(opened, dataset)
    if asked.resize is None and not (known and known.crops):
        say(f"images are {_RESIZED[resize]} to {height}x{width} (another way: --resize)")
    if opened.inside and asked.preprocessing not in (None, "none"):
        raise InputError(
            f"{asked.source} normalises images itself, by what stands in its graph; leave out "
            "--preprocessing"
        )
    if asked.preprocessing is not None and not opened.inside:
        known = normalising.named(asked.preprocessing, height, width, channels)
    if known is None:
        known, sentence = guessed(opened.model, dataset.train, labelled=labelled, resize=resize)
        say(sentence)
    return dataclasses.replace(known, height=height, width=width, resize=resize)


def _refuse_leaks(request: TrainRequest, dataset: Any) -> None:
    """Raise InputError for a network of a run here that learnt from the images to be held out."""
    assert request.imported is not None
    source = pathlib.Path(request.weights or request.imported.source)
    near = [source, *source.parents][:_DEEPEST]
    if source.is_absolute() and any((folder / "run.json").is_file() for folder in near):
        of_run = dataclasses.replace(request, weights=str(source))
        refuse_leaks(of_run, dataset.held_out, dataset.fingerprint, warn=say)


def _resize(opened: Opened, dataset: Dataset) -> str:
    """How images meet the network's size where nobody says: as Keras' own loaders do it.

    Those of ImageNet's classes are cut; drawings of digits, and such, are as their data has them.
    """
    if opened.published and opened.preprocessing is not None:
        return opened.preprocessing.resize
    if dataset.resize != "crop" or (opened.preprocessing and opened.preprocessing.crops):
        return dataset.resize
    return "crop" if naming.imagenet(int(opened.model.output_shape[-1])) else "stretch"


def _write(place: pathlib.Path, request: TrainRequest, dataset: Any, ready: Ready) -> None:
    """All of the run."""
    training = tasks.of_request(request).open(request, dataset, ready)
    training.look(place)
    info = first_info(request, training)
    with atomic.replacing(place / "model.keras") as temporary:
        ready.model.save(temporary)
    atomic.write_text(place / "labels.txt", "".join(f"{c}\n" for c in training.classes))
    info["results"] = training.results(place, ready.model)
    info["dataset"] |= training.counts()
    info["complete"] = True
    write_info(place, info)


@contextlib.contextmanager
def _becoming(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary folder beside a folder, which takes its name when the block succeeds."""
    folder = folder.absolute()
    place = folder.with_name(atomic.TEMPORARY + folder.name)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield place
        if folder.is_dir():
            folder.rmdir()  # it is empty: `begun` has looked
        place.rename(folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
