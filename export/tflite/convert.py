"""Keras -> TFLite, by LiteRT's own converter, with a fixed batch of one and named tensors."""

from __future__ import annotations

import contextlib
import pathlib
import re
import tempfile
from collections.abc import Container, Iterator

import keras
import tensorflow as tf

from export.graph.signature import INPUT_NAME, OUTPUT_NAME, output_names
from export.tflite.one_piece import in_one_piece
from training.common.quiet import quiet
from training.engine import file_network


def to_tflite(model: keras.Model) -> bytes:
    """Convert a functional network.

    Args:
        model: from (batch, height, width, channels) to one output or a list of them.

    Returns:
        A TFLite file of builtin operations alone, signature `image` (1, height, width, channels)
        float32 -> float32, by the names of `output_names`; see `export.tflite.one_piece`.

    Raises:
        OSError: the folder for temporary files has no room.
    """
    whole = file_network.inside(model)
    if whole is not None:
        return in_one_piece(whole.bytes())
    with converter(model) as work:
        converted: bytes = work.convert()
    return in_one_piece(converted)


@contextlib.contextmanager
def converter(model: keras.Model) -> Iterator[tf.lite.TFLiteConverter]:
    """LiteRT's converter of a functional network, silent, for as long as the block lasts.

    Raises:
        OSError: as of `to_tflite`.
    """
    # A dynamic batch makes files that the delegate refuses.
    picture = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name=INPUT_NAME)

    @tf.function(input_signature=[picture], autograph=False)
    def serve(image):
        outputs = keras.tree.flatten(model(image, training=False))
        return dict(zip(output_names(model), outputs, strict=True))

    with quiet(), tempfile.TemporaryDirectory() as folder:
        saved = str(pathlib.Path(folder) / "saved_model")
        # The same file as by way of `keras.export`, which takes three times as long to write the
        # objects of Keras that no converter reads.
        archive = tf.Module()
        archive.variables_of_the_model = [variable.value for variable in model.variables]
        archive.serve = serve
        try:
            tf.saved_model.save(archive, saved, signatures=serve)
            yield tf.lite.TFLiteConverter.from_saved_model(saved)
        except tf.errors.OpError as error:
            # TensorFlow writes the intermediate form, and has errors of its own for a full disk.
            raise OSError(f"cannot write the intermediate model: {error.message}") from error


def layer_of(tensor: str, known: Container[str]) -> str | None:
    """The Keras layer that makes a tensor of a converted file, or None.

    Args:
        tensor: its name, as `net_1/stem_act_1/Relu6;net_1/stem_1/convolution`: of fused layers the
            last is named first. The last tensor of a network is called StatefulPartitionedCall.
        known: names to choose from.
    """
    if tensor.startswith("StatefulPartitionedCall"):
        return OUTPUT_NAME if OUTPUT_NAME in known else None
    for part in tensor.partition(";")[0].split("/")[1:]:
        # The second call of a layer, which a conversion is, has a number behind its name.
        for name in (re.sub(r"_\d+$", "", part), part):
            if name in known:
                return name
    return None
