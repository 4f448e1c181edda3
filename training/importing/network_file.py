"""A network of a .tflite file or a SavedModel folder, as a Keras network of the same answers.

A SavedModel is made into a .tflite file by TensorFlow first, in a process of its own. Then both go
one way: each operation becomes a layer, and the network is held against what the source itself
answers, in its own runtime, on images of noise. Where an operation has no layer, the network stays
the file that it is (`whole_file`).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

import keras
import numpy as np

from kerascnn.errors import InputError, reason
from kerascnn.preprocessing import Preprocessing
from training.common import first_answers
from training.importing import tflite_graph, tflite_layers, tflite_metadata, whole_file
from training.importing.tflite_metadata import Metadata

# Of the largest answer: two runtimes add up in another order.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NetworkFile:
    """What was read.

    Attributes:
        model: functional, float32, images with the channels last.
        whole: whether it is the file itself, in one layer (see `FileNetwork`).
        activation: what was taken off behind its logits then, "softmax" or "sigmoid".
        metadata: what the file says of itself; nothing of a SavedModel.
        notes: sentences to say about it.
    """

    model: keras.Model
    metadata: Metadata
    notes: tuple[str, ...]
    whole: bool = False
    activation: str | None = None

    def normalisation(self, model: keras.Model) -> Preprocessing | None:
        """What the metadata says of the images of a network of this one; None: nothing."""
        both, (height, width, channels) = self.metadata.normalisation, model.input_shape[1:]
        if both is None or {*map(len, both)} - {1, channels} or not min(both[1]) > 0:
            return None
        mean, std = (one[0] if len({*one}) == 1 else one for one in both)
        return Preprocessing(
            height=height, width=width, channels=channels, mean=mean, std=std, resize="stretch"
        )


def read(path: pathlib.Path, *, image_size: tuple[int, int] | None = None) -> NetworkFile:
    """Read a network that Keras has not written.

    Args:
        path: a float .tflite file, or the folder of a SavedModel.
        image_size: (height, width), for a SavedModel that takes any.

    Raises:
        InputError: no such network, one whose runtime refuses it, or an operation that cannot be
            taken; it is named.
    """
    found = first_answers.of(path, image_size)
    file = found["network"].tobytes() if "network" in found else path.read_bytes()
    try:
        graph = tflite_graph.read(file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        raise InputError(f"{path} is not readable as a .tflite file ({reason(error)})") from error
    saved = path.is_dir()
    metadata = tflite_metadata.Nothing if saved else tflite_metadata.read(path)
    try:
        model = tflite_layers.rebuilt(graph, name="network")
        _check_same(model, found)
    except Exception as error:  # what Keras makes of what the file says
        return _as_it_is(path, file, reason(error), found, metadata)
    layers = sum(1 for one in model.layers if one.weights)
    return NetworkFile(
        model=model,
        metadata=metadata,
        notes=(
            f"{path.name} is built again in Keras, {layers} layers with weights; on images of "
            f"noise it answers as the {'SavedModel' if saved else 'file'} does",
        ),
    )


def _as_it_is(
    path: pathlib.Path, file: bytes, why: str, found: Mapping[str, np.ndarray], metadata: Metadata
) -> NetworkFile:
    """A network whose graph cannot be built again; raises InputError where a file does not do."""
    try:
        model, activation = whole_file.network(file, why, name="network")
        _check_same(model, found, activation)
    except Exception as error:
        raise InputError(
            f"{path} cannot be built again in Keras: {why}; as it is, {reason(error)}"
        ) from error
    return NetworkFile(
        model=model,
        metadata=metadata,
        notes=(
            f"{path.name} cannot be built again in Keras: {why}",
            "it stays as it is: files of other precisions are made of it, and measured; ONNX and "
            "steps that train it need its graph",
        ),
        whole=True,
        activation=activation,
    )


def _check_same(
    model: keras.Model, found: Mapping[str, np.ndarray], activation: str | None = None
) -> None:
    given, wanted = found["given"], found["answers"]
    if given.shape[1:] != model.input_shape[1:]:
        given = given.transpose(0, 2, 3, 1)  # its channels are first
    ours = model(given, training=False)
    function = {"softmax": keras.ops.softmax, "sigmoid": keras.ops.sigmoid}.get(activation or "")
    ours = np.asarray(function(ours) if function else ours).reshape(wanted.shape)
    difference = float(np.abs(ours - wanted).max()) / max(1.0, float(np.abs(wanted).max()))
    if not difference <= _TOLERANCE:
        raise InputError(
            f"the network that was built of it differs by {difference:.2g} of the largest answer "
            f"on images of noise, where {_TOLERANCE:g} may be"
        )
