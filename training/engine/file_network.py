"""A network that stays the .tflite file that it came as, in a layer of Keras.

Its graph could not be built again, so that nothing here knows its layers. It answers, and files of
other precisions are made of it; what trains it, or needs its graph, is refused.
"""

from __future__ import annotations

import functools
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np

from training.common import first_answers

LAYER = "network_of_a_file"


@keras.saving.register_keras_serializable(package="kerascnn")
class FileNetwork(keras.Layer):
    """From (images, height, width, channels) float32 to (images, classes), by LiteRT.

    The file is the layer's only weight, so that a .keras file holds it as it holds others.

    Args:
        size: bytes of the file.
        classes: numbers that it answers with.
        told_parameters, told_macs: of its network, called as in saved models; see
            `kerascnn.complexity`.
        reason: why the graph could not be built again.
    """

    def __init__(
        self,
        size: int,
        *,
        classes: int,
        told_parameters: int,
        told_macs: int,
        reason: str,
        **options: Any,
    ) -> None:
        super().__init__(**{"name": LAYER, "dtype": "float32", "trainable": False, **options})
        self.supports_jit = False
        self.size, self.classes, self.reason = size, classes, reason
        self.told_parameters, self.told_macs = told_parameters, told_macs

    def build(self, _input_shape: Any) -> None:
        """Make room for the file."""
        self.file = self.add_weight(
            name="file", shape=(self.size,), dtype="uint8", initializer="zeros", trainable=False
        )

    def call(self, images: Any) -> Any:
        """Answers to images, one after the other; raises ValueError in a traced function."""
        given = keras.ops.convert_to_numpy(images)
        if not len(given):
            return keras.ops.zeros((0, self.classes))
        return keras.ops.convert_to_tensor(np.concatenate([self._answer(one) for one in given]))

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        """(images, classes); no call is traced."""
        return keras.KerasTensor((images.shape[0], self.classes), "float32")

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        own = ("size", "classes", "told_parameters", "told_macs", "reason")
        return super().get_config() | {name: getattr(self, name) for name in own}

    def bytes(self) -> bytes:
        """The file."""
        whole: bytes = keras.ops.convert_to_numpy(self.file).tobytes()
        return whole

    def _answer(self, image: np.ndarray) -> np.ndarray:
        runtime = self._runtime
        (given,), (answer,) = runtime.get_input_details(), runtime.get_output_details()
        runtime.set_tensor(given["index"], image[None])
        runtime.invoke()
        found: np.ndarray = runtime.get_tensor(answer["index"])
        return found

    @functools.cached_property
    def _runtime(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        # A .keras file may be anybody's, and runtimes trust the files that they are given.
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "network.tflite")
            path.write_bytes(self.bytes())
            first_answers.of(path)
        runtime = Interpreter(model_content=self.bytes())
        runtime.allocate_tensors()
        return runtime


def model_of(file: bytes, shape: tuple[int, int, int], *, name: str, **facts: Any) -> keras.Model:
    """The model of a file.

    Args:
        shape: (height, width, channels) of an image.
        facts: of `FileNetwork`.
    """
    image = keras.Input(shape, name="image")
    layer = FileNetwork(len(file), **facts)
    model = keras.Model(image, layer(image), name=name)
    layer.file.assign(np.frombuffer(file, np.uint8))
    return model


def inside(model: keras.Model) -> FileNetwork | None:
    """The layer of a model of `model_of`; None of another model."""
    found = [layer for layer in model.layers if isinstance(layer, FileNetwork)]
    return found[0] if found else None
