"""Detectors and segmentation networks of the zoo, by their name and with weights that are there.

What the outputs mean is known of weights by name (COCO's classes); of a file it is said by
`--labels`, or by the run that a model.keras lies in, or else they are the data's own classes.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import kerascnn
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import NORMALISATIONS, Preprocessing
from kerascnn.weights import published
from training import tasks
from training.common.progress import busy, say
from training.engine.imported import Imported
from training.engine.request import TrainRequest, configure
from training.engine.run import Run
from training.engine.task import Task
from training.engine.training import Ready
from training.importing import labels as naming
from training.importing.asked import ImportRequest, says_nothing
from training.importing.finite import require_finite

_REMEDY = (
    "correct their names or take them out, say what the outputs mean with --labels FILE, or train "
    "on these classes: kerascnn train NAME --weights ..."
)


def takes(asked: ImportRequest) -> bool:
    """Whether the source is a network of the zoo that sorts no images into classes."""
    return asked.in_zoo and zoo.entry(asked.source).task != "classification"


def opened(asked: ImportRequest) -> tuple[TrainRequest, Any, Ready]:
    """What run.json keeps, the data with the network's classes, and the network.

    Raises:
        InputError: classes that the network does not know, weights of other sizes, or an argument
            that is for classifiers.
    """
    task: Task = tasks.of_model(asked.source)
    row = published.choose(asked.source, asked.weights or "", asked.options)
    labelled = not _without_labels(asked, task)
    imported = Imported(source=asked.source, asked=asked.to_dict(), labelled=labelled)
    first = _request(asked, task, imported, row)
    data = task.scan(first)
    labels = _labels(asked, data, row, labelled=labelled)
    say(labels.said)
    places = naming.places(
        labels, data.classes, data=asked.shown_data, source=asked.source, remedy=_REMEDY
    )
    imported = dataclasses.replace(imported, labels=labels.names, places=places)
    request = dataclasses.replace(first, imported=imported)
    dataset = task.scan(request)
    preprocessing = _preprocessing(asked, task, request, dataset)
    with busy(f"building {asked.source}"):
        model = kerascnn.build(
            asked.source,
            input_shape=preprocessing.input_shape,
            classes=None if row else len(labels.names),
            weights=asked.weights,
            **{**asked.options, **task.network_options(request, preprocessing)},
        )
    require_finite(model)
    model.trainable = True
    return request, dataset, Ready(model=model, preprocessing=preprocessing)


def _without_labels(asked: ImportRequest, task: Task) -> bool:
    """Whether nothing is known of the images: it was said, or nothing lies beside them."""
    if asked.unlabelled:
        return True
    if not says_nothing(asked.data, task):
        return False
    say(
        f"{asked.shown_data} has images alone: nothing says what is in them, and files are held "
        "against the network's own answers"
    )
    return True


def _request(
    asked: ImportRequest, task: Task, imported: Imported, row: published.Published | None
) -> TrainRequest:
    recipe = asked.recipe or task.default_recipe(asked.data, asked.weights)
    settings = dict(asked.settings)
    config = configure(asked.source, data=asked.data, recipe=recipe, settings=settings, task=task)
    size = asked.image_size
    if size is None and row is not None:
        size = (row.evaluation.size, row.evaluation.size)
    return TrainRequest(
        model=asked.source,
        data=asked.data,
        val_data=asked.val_data,
        config=config,
        recipe=recipe,
        model_options=asked.options,
        image_size=size or zoo.entry(asked.source).input_shape[:2],
        weights=asked.weights,
        task=task.name,
        imported=imported,
    )


def _labels(
    asked: ImportRequest, data: Any, row: published.Published | None, *, labelled: bool
) -> naming.Labels:
    if asked.labels is not None:
        path = pathlib.Path(asked.labels)
        count = zoo.entry(asked.source).classes if row else len(naming.read(path))
        return naming.from_file(path, count)
    if row is not None:
        return naming.of_weights(
            zoo.entry(asked.source).classes,
            published=True,
            classes=data.classes,
            data=asked.shown_data,
            source=asked.source,
        )
    weights = pathlib.Path(asked.weights or "")
    if weights.name == "model.keras" and (weights.parent / "run.json").is_file():
        run = Run.open(weights.parent)
        return naming.Labels(names=run.labels, said=f"labels of the run {weights.parent}")
    if not labelled:
        raise InputError(
            f"{asked.weights} does not say what its outputs mean, nor does {asked.shown_data}; "
            "give --labels FILE, a label a line"
        )
    classes = tuple(data.classes)
    return naming.Labels(names=classes, said=f"labels are {asked.shown_data}'s own classes")


def _preprocessing(
    asked: ImportRequest, task: Task, request: TrainRequest, dataset: Any
) -> Preprocessing:
    found: Preprocessing = task.preprocessing(request, dataset)
    if asked.preprocessing is not None:
        values = {"order": "rgb", **NORMALISATIONS[asked.preprocessing]}
        found = dataclasses.replace(found, **values)
    if asked.resize is not None:
        found = dataclasses.replace(found, resize=asked.resize)
    return found
