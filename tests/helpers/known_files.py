"""Files whose answers can be worked out by hand, and images for them.

The classifier and the segmentation network say "bright" where red, green and blue are above half on
average, else "dark"; never "striped".
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tiny_detectors
from grey_images import SIDE, class_folders, masks
from keras import layers
from web_golden import description

from export.graph.detection import with_scores
from export.onnx import metadata as onnx_metadata
from export.onnx.convert import to_onnx
from export.onnx.model import ONNXModel
from export.tflite import metadata as tflite_metadata
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from kerascnn.preprocessing import Preprocessing

__all__ = ["LABELS", "PREPROCESSING", "SIDE", "class_folders", "classifier", "files", "masks"]

LABELS = ("dark", "bright", "striped")
PREPROCESSING = Preprocessing(
    height=SIDE, width=SIDE, channels=3, mean=0.0, std=255.0, resize="stretch"
)


def classifier() -> keras.Model:
    """From (n, 8, 8, 3) in 0..1 to three logits."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    logits = layers.Dense(3, name="logits")
    model = keras.Model(image, logits(layers.GlobalAveragePooling2D()(image)))
    logits.set_weights(_weights((3, 3)))
    return model


def segmenter() -> keras.Model:
    """From (n, 8, 8, 3) in 0..1 to three logits of each pixel."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    logits = layers.Conv2D(3, 1, name="logits")
    model = keras.Model(image, logits(image))
    logits.set_weights(_weights((1, 1, 3, 3)))
    return model


def _weights(shape: tuple[int, ...]) -> list[np.ndarray]:
    kernel = np.broadcast_to(np.array([-4.0, 4.0, 0.0]), shape)
    return [kernel, np.array([6.0, -6.0, -99.0])]


def files(folder: Path, task: str, labels: tuple[str, ...] = LABELS) -> tuple[Path, Path]:
    """A .tflite and an .onnx file of one network, which describe themselves."""
    paths = folder / "model.tflite", folder / "model.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in zip(paths, _described(task, labels), strict=True):
        path.write_bytes(data)
    return paths


@functools.cache
def _described(task: str, labels: tuple[str, ...]) -> tuple[bytes, bytes]:
    preprocessing = PREPROCESSING
    decoding: dict[str, Any] = {"kind": "logits"}
    if task == "classification":
        model = classifier()
    elif task == "multilabel":
        model, decoding = classifier(), {"kind": "sigmoid", "threshold": 0.5}
    elif task == "segmentation":
        model, decoding = segmenter(), {"kind": "map_logits"}
    else:
        spec = tiny_detectors.spec(score_threshold=0.05)
        model = with_scores(tiny_detectors.network(), spec)
        preprocessing, decoding = tiny_detectors.PREPROCESSING, {"kind": "codes", **spec.to_dict()}
    told = description(task, preprocessing, labels, decoding)
    return (
        TFLiteModel.edited(to_tflite(model), tflite_metadata.describe, metadata=told),
        ONNXModel.edited(to_onnx(model), onnx_metadata.describe, metadata=told),
    )
