"""From a source to a network that the engine takes: plain, named, and ending in logits."""

from __future__ import annotations

import dataclasses
import pathlib

import keras

import kerascnn
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.progress import busy
from training.engine.run import Run, load_keras
from training.importing import keras_hub, labels, memory, network_file
from training.importing.asked import ImportRequest
from training.importing.finite import require_finite
from training.importing.plain import PlainNetwork, plain


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A network from elsewhere.

    Attributes:
        model: see `PlainNetwork`.
        preprocessing: what is known of it: what stood inside of the network, or what is published
            of its weights; None: nothing is.
        inside: whether that stood inside of it.
        published: whether it is of published weights, of a run or KerasHub's: all of it is known.
        labels: what its outputs are called, where that came along.
        labels_from: where they stood, for a person.
        said: what a person should know of it.
        activation: what stood behind its logits, see `PlainNetwork`; None where nothing did.
    """

    model: keras.Model
    preprocessing: Preprocessing | None = None
    inside: bool = False
    published: bool = False
    labels: tuple[str, ...] | None = None
    labels_from: str = ""
    said: tuple[str, ...] = ()
    activation: str | None = None


def open_source(asked: ImportRequest, model: keras.Model | None = None) -> Opened:
    """The network of a request; one of the zoo has a class for each label that was given.

    Args:
        model: of a request for a model in memory.

    Raises:
        InputError: no readable network, or one that cannot be taken; the layer is named.
    """
    opened = _of_zoo(asked) if asked.in_zoo else _of_keras(asked, model)
    _require_classifier(asked, opened.model)
    if asked.in_zoo:  # of others `plain` has looked
        require_finite(opened.model)
    opened.model.name = asked.called
    opened.model.trainable = True  # steps of compression train all of it, whatever was frozen
    return opened


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
    return Opened(model=model, preprocessing=known, published=True)


def _of_keras(asked: ImportRequest, model: keras.Model | None) -> Opened:
    path = pathlib.Path(asked.source)
    if model is None and (path.is_dir() or path.suffix == ".tflite"):
        return _of_file(asked, path)
    with busy(f"reading {path.name}"):
        whole = _read(path) if model is None else memory.copied(model)
        found = plain(whole, image_size=asked.image_size)
    run = Run.open(path.parent) if _is_of_run(path) else None
    preprocessing, said = found.preprocessing, list(found.notes)
    if preprocessing is None and run is not None:
        preprocessing = run.preprocessing
        said.append(f"preprocessing and labels of the run {path.parent}")
    hub = keras_hub.preprocessing(whole, found.model.input_shape[1:])
    if preprocessing is None and hub is not None:
        preprocessing = hub
        said.append(f"preprocessing by the image converter of KerasHub in {path.name}")
    return Opened(
        model=found.model,
        preprocessing=preprocessing,
        inside=found.preprocessing is not None,
        published=found.preprocessing is None and preprocessing is not None,
        labels=run.labels if run else None,
        labels_from=f"the run of {asked.source}",
        said=tuple(said),
        activation=found.activation,
    )


def _of_file(asked: ImportRequest, path: pathlib.Path) -> Opened:
    """Of a .tflite file or a SavedModel; what TFLite Metadata says counts."""
    with busy(f"reading {path.name}"):
        read = network_file.read(path, image_size=asked.image_size)
        read.model.name = asked.called
        found = _as_file(asked, read) or plain(read.model, image_size=asked.image_size)
    preprocessing, said = found.preprocessing, [*read.notes, *found.notes]
    if preprocessing is None and (own := read.normalisation(found.model)) is not None:
        preprocessing = own
        said.append(f"preprocessing by the metadata of {path.name}")
    return Opened(
        model=found.model,
        preprocessing=preprocessing,
        inside=found.preprocessing is not None,
        labels=read.metadata.labels,
        labels_from=f"the metadata of {path.name}",
        said=tuple(said),
        activation=found.activation,
    )


def _as_file(asked: ImportRequest, read: network_file.NetworkFile) -> PlainNetwork | None:
    """A network that stays its file; None of one that was built again."""
    if not read.whole:
        return None
    own = tuple(read.model.input_shape[1:3])
    if asked.image_size not in (None, own):
        raise InputError(
            f"{asked.source} takes images of {own[0]}x{own[1]}, and its graph cannot be built "
            "again for others"
        )
    return PlainNetwork(model=read.model, preprocessing=None, activation=read.activation)


def _read(path: pathlib.Path) -> keras.Model:
    if path.suffix == ".keras":
        return load_keras(path)
    from training.importing.legacy_h5 import read_legacy

    return read_legacy(path)


def _is_of_run(path: pathlib.Path) -> bool:
    return path.name == "model.keras" and (path.parent / "run.json").is_file()


def _require_classifier(asked: ImportRequest, model: keras.Model) -> None:
    shape = model.output_shape
    if len(model.outputs) != 1 or not isinstance(shape, tuple) or len(shape) != 2:
        raise InputError(
            f"{asked.source} has outputs of shape {shape}; kerascnn import takes classifiers, "
            "whose output is (images, classes)"
        )
