"""A network of a .tflite file or a SavedModel folder, as a Keras network of the same answers.

A SavedModel is made into a .tflite file by TensorFlow first, in a process of its own. Then both go
one way: each operation becomes a layer, and the network is held against what the source itself
answers, in its own runtime, on images of noise.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib
import zipfile
from collections.abc import Mapping

import keras
import numpy as np

from kerascnn.errors import InputError, reason
from kerascnn.preprocessing import Preprocessing
from training.common import bounded
from training.importing import tflite_graph, tflite_layers, tflite_metadata
from training.importing.tflite_metadata import Metadata

CHILD = pathlib.Path(__file__).with_name("file_child.py")
# Of the largest answer: two runtimes add up in another order.
_TOLERANCE = 1e-4
_LEAST_MEMORY = 2**33  # of address space, which TensorFlow takes without using it
_MOST_MEMORY = 2**35


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NetworkFile:
    """What was read.

    Attributes:
        model: functional, float32, images with the channels last.
        metadata: what the file says of itself; nothing of a SavedModel.
        notes: sentences to say about it.
    """

    model: keras.Model
    metadata: Metadata
    notes: tuple[str, ...]

    def normalisation(self, model: keras.Model) -> Preprocessing | None:
        """What the metadata says of the images of a network of this one; None: nothing."""
        told, (height, width, channels) = self.metadata.normalisation, model.input_shape[1:]
        if told is None or {*map(len, told)} - {1, channels} or not min(told[1]) > 0:
            return None
        mean, std = (one[0] if len({*one}) == 1 else one for one in told)
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
    found = _tried(path, image_size)
    file = found["network"].tobytes() if "network" in found else path.read_bytes()
    try:
        graph = tflite_graph.read(file)
        model = tflite_layers.rebuilt(graph, name="network")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        raise InputError(f"{path} is not readable as a .tflite file ({reason(error)})") from error
    _check_same(path, model, found["given"], found["answers"])
    saved = path.is_dir()
    layers = sum(1 for one in model.layers if one.weights)
    return NetworkFile(
        model=model,
        metadata=tflite_metadata.Nothing if saved else tflite_metadata.read(path),
        notes=(
            f"{path.name} is built again in Keras, {layers} layers with weights; on images of "
            f"noise it answers as the {'SavedModel' if saved else 'file'} does",
        ),
    )


def _tried(path: pathlib.Path, image_size: tuple[int, int] | None) -> Mapping[str, np.ndarray]:
    """What the child says; see its module."""
    room = bounded.half_of_memory(least=_LEAST_MEMORY, most=_MOST_MEMORY)
    done = bounded.run(CHILD, path.resolve(), *(image_size or ()), memory=room)
    try:
        with np.load(io.BytesIO(done.stdout), allow_pickle=False) as read_:
            found = dict(read_)
    except (ValueError, OSError, zipfile.BadZipFile, EOFError):
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
        raise InputError(
            f"{path} ends its runtime, or takes too long or too much memory (exit code "
            f"{done.returncode}{f': {last}' if last else ''})"
        ) from None
    if "error" in found:
        raise InputError(f"{path} {found['error']}")
    return found


def _check_same(
    path: pathlib.Path, model: keras.Model, given: np.ndarray, wanted: np.ndarray
) -> None:
    if given.shape[1:] != model.input_shape[1:]:
        given = given.transpose(0, 2, 3, 1)  # its channels are first
    ours = np.asarray(model(given, training=False)).reshape(wanted.shape)
    difference = float(np.abs(ours - wanted).max()) / max(1.0, float(np.abs(wanted).max()))
    if not difference <= _TOLERANCE:
        raise InputError(
            f"{path} and the network that was built of it in Keras differ by {difference:.2g} of "
            f"the largest answer on images of noise, where {_TOLERANCE:g} may be"
        )
