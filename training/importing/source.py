"""From a source to a network that the engine takes: plain, named, and ending in logits."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np

import kerascnn
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.progress import busy
from training.engine.run import Run, load_keras
from training.importing import labels
from training.importing.asked import ImportRequest
from training.importing.plain import PlainNetwork, plain


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A network from elsewhere.

    Attributes:
        model: see `PlainNetwork`.
        preprocessing: what is known of it: what stood inside of the network, or what is published
            of its weights; None: nothing is.
        inside: whether that stood inside of it.
        labels: what its outputs are called, where that came along.
        said: what a person should know of it.
    """

    model: keras.Model
    preprocessing: Preprocessing | None = None
    inside: bool = False
    labels: tuple[str, ...] | None = None
    said: tuple[str, ...] = ()


def open_source(asked: ImportRequest) -> Opened:
    """The network of a request; one of the zoo has a class for each label that was given.

    Raises:
        InputError: no readable network, or one that cannot be taken; the layer is named.
    """
    opened = _of_zoo(asked) if asked.in_zoo else _of_file(asked)
    _require_classifier(asked, opened.model)
    return dataclasses.replace(opened, model=_as_ours(opened.model, asked.called))


def _of_zoo(asked: ImportRequest) -> Opened:
    row = zoo.entry(asked.source)
    height, width = asked.image_size or row.input_shape[:2]
    shape = (height, width, row.input_shape[2])
    with busy(f"building {asked.source}"):
        model = kerascnn.build(
            asked.source,
            input_shape=shape,
            classes=len(labels.read(pathlib.Path(asked.labels))) if asked.labels else None,
            weights=asked.weights,
            **asked.options,
        )
    if len(model.outputs) > 1:
        raise InputError(f"{asked.source} has auxiliary outputs with these options; leave them out")
    known = zoo.preprocessing(asked.source, height, width, weights=asked.weights)
    return Opened(model=model, preprocessing=known)


def _of_file(asked: ImportRequest) -> Opened:
    path = pathlib.Path(asked.source)
    with busy(f"reading {path.name}"):
        found = plain(_read(path), image_size=asked.image_size)
    run = Run.open(path.parent) if _is_of_run(path) else None
    preprocessing, said = found.preprocessing, []
    if preprocessing is None and run is not None:
        preprocessing = run.preprocessing
        said.append(f"preprocessing and labels of the run {path.parent}")
    if found.activation == "sigmoid" and int(found.model.output_shape[-1]) > 1:
        said.append("the outputs end in a sigmoid; an image has one label here: the likeliest")
    return Opened(
        model=_with_two_logits(found),
        preprocessing=preprocessing,
        inside=found.preprocessing is not None,
        labels=run.labels if run else None,
        said=tuple(said),
    )


def _read(path: pathlib.Path) -> keras.Model:
    if path.suffix == ".keras":
        return load_keras(path)
    from training.importing.legacy_h5 import read_legacy

    return read_legacy(path)


def _is_of_run(path: pathlib.Path) -> bool:
    return path.name == "model.keras" and (path.parent / "run.json").is_file()


def _with_two_logits(found: PlainNetwork) -> keras.Model:
    """A logit that tells two classes apart, as two: half of it for one, and against the other."""
    model = found.model
    if model.output_shape[-1] != 1:
        return model
    if found.activation != "sigmoid":
        raise InputError(
            f"{model.name} has one output without a sigmoid: a number, not a class; kerascnn "
            "import takes classifiers"
        )
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense):
        raise InputError(
            f"{model.name}: its only output is made by {last.name!r}, a {type(last).__name__}; a "
            "dense layer or a convolution can be made two outputs"
        )
    two = keras.layers.Dense(2, name=f"{last.name}_two", dtype="float32")
    twin = keras.Model(model.inputs, two(last.input), name=model.name)
    kernel, *bias = last.get_weights()
    halves = [np.concatenate([-part / 2, part / 2], axis=-1) for part in (kernel, *bias)]
    two.set_weights([*halves, *([] if bias else [np.zeros(2)])])
    return twin


def _require_classifier(asked: ImportRequest, model: keras.Model) -> None:
    shape = model.output_shape
    if len(model.outputs) != 1 or not isinstance(shape, tuple) or len(shape) != 2:
        raise InputError(
            f"{asked.source} has outputs of shape {shape}; kerascnn import takes classifiers, "
            "whose output is (images, classes)"
        )


def _as_ours(model: keras.Model, name: str) -> keras.Model:
    """The same network, whose first convolution is the stem and whose last layer is the logits.

    Pruning, clustering and files of few bits spare these two by their names.
    """
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    weighty = [layer for layer in model.layers if isinstance(layer, kinds)]
    if not weighty:
        return model
    names = {layer.name for layer in model.layers}
    new: dict[str, str] = {}
    for layer, wanted in ((weighty[0], "stem"), (weighty[-1], "logits")):
        if wanted not in names and layer.name not in new:
            new[layer.name] = wanted

    def clone(layer: keras.Layer) -> keras.Layer:
        config: dict[str, Any] = layer.get_config()
        config["name"] = new.get(layer.name, layer.name)
        return type(layer).from_config(config)

    twin = keras.models.clone_model(model, clone_function=clone)
    twin.set_weights(model.get_weights())
    twin.name = name
    return twin
