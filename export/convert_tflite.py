"""Keras -> TFLite, by LiteRT's own converter, with a fixed batch of one and named tensors."""

from __future__ import annotations

import pathlib
import tempfile

import keras
import tensorflow as tf

from training.quiet import quiet

INPUT_NAME = "image"
OUTPUT_NAME = "logits"


def to_tflite(model: keras.Model) -> bytes:
    """Convert a functional classifier.

    Args:
        model: from (batch, height, width, channels) to (batch, classes).

    Returns:
        A TFLite file of builtin operations alone, signature `image` (1, height, width, channels)
        float32 -> `logits` (1, classes) float32.

    Raises:
        OSError: the folder for temporary files has no room.
    """
    try:
        return _convert(model)
    except tf.errors.OpError as error:
        # TensorFlow writes the intermediate form itself, and has errors of its own for a full disk.
        raise OSError(f"cannot write the intermediate model: {error.message}") from error


def _convert(model: keras.Model) -> bytes:
    # A dynamic batch makes files that the delegate refuses.
    picture = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name=INPUT_NAME)

    @tf.function(input_signature=[picture], autograph=False)
    def serve(image):
        return {OUTPUT_NAME: model(image, training=False)}

    with quiet(), tempfile.TemporaryDirectory() as folder:
        saved = str(pathlib.Path(folder) / "saved_model")
        # The same file as by way of `keras.export`, which takes three times as long to write the
        # objects of Keras that no converter reads.
        archive = tf.Module()
        archive.variables_of_the_model = [variable.value for variable in model.variables]
        archive.serve = serve
        tf.saved_model.save(archive, saved, signatures=serve)
        converted: bytes = tf.lite.TFLiteConverter.from_saved_model(saved).convert()
    return converted
