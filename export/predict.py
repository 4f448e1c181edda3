"""`kerascnn predict`: labels for pictures, from any exported file, as the phone would do it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from export import runtimes
from export.artefact import Artefact
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.evaluate import softmax
from training.preprocessing import read_picture
from training.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """Labels with probabilities (0 to 1) for a picture, the likeliest first."""

    image: str
    labels: tuple[tuple[str, float], ...]


def predict(path: pathlib.Path, images: Sequence[str], *, top: int = 1) -> Iterator[Prediction]:
    """Yield a prediction for each picture.

    Args:
        path: a .tflite or .onnx file with its .json, or the model.keras of a run.
        images: picture files.
        top: how many labels for each.

    Raises:
        InputError: a file that is no model, lacks its description, or a picture that is broken.
    """
    preprocessing, labels = _description(path)
    runtime = runtimes.load(path, preprocessing)
    for image in images:
        picture = read_picture(image, preprocessing)
        probabilities = softmax(runtime.predict(picture[None])[0])
        if len(probabilities) != len(labels):
            raise InputError(
                f"{path} gives {len(probabilities)} logits and its description {len(labels)} labels"
            )
        order = probabilities.argsort()[::-1][:top]
        ranked = tuple((labels[i], float(probabilities[i])) for i in order)
        yield Prediction(image=image, labels=ranked)


def _description(path: pathlib.Path) -> tuple[Preprocessing, tuple[str, ...]]:
    if path.suffix == ".keras" and path.is_file():
        run = Run.open(path.parent)
        return run.preprocessing, run.labels
    if path.is_file() and path.suffix not in (".tflite", ".onnx"):
        raise InputError(f"{path} is no model; it should end in .keras, .tflite or .onnx")
    artefact = Artefact.open(path)
    return artefact.preprocessing, artefact.labels
