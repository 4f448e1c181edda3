"""What a .tflite file or a SavedModel folder answers, in a process of its own.

    python -I file_child.py SOURCE [HEIGHT WIDTH]

Runtimes are C++ that trusts the files it is given, and the graph of a SavedModel is a program. So
both are run here, within bounds (`training.common.bounded`), and no file can be written. To stdout
goes an .npz: `given` and `answers`, two images of noise and what becomes of them, and of a
SavedModel `network`, the bytes of the .tflite file that TensorFlow makes of it; or `error`, a
sentence. Nothing of the project is imported.
"""

from __future__ import annotations

import io
import os
import pathlib
import resource
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

# Operations that read or write files, call Python, or load code: no network has them.
_FORBIDDEN = (
    "ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc",
    "LoadAndRemapMatrix", "LoadLibrary", "LoadDataset", "SaveDataset", "PrintV2", "RemoteCall",
)  # fmt: skip
_FORBIDDEN_PARTS = ("Reader", "SummaryWriter", "Dataset", "TextFile", "Rpc", "Lookup")


class Refused(Exception):
    """What is to be said of a source."""


def main(source: str, *sides: str) -> None:
    """Write the .npz."""
    stdout = os.dup(1)
    os.dup2(2, 1)  # what TensorFlow prints is no answer
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    size = tuple(map(int, sides)) or None
    try:
        found = (_saved_model if pathlib.Path(source).is_dir() else _tflite)(source, size)
    except Refused as error:
        found = {"error": np.array(str(error))}
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        found = {"error": np.array(f"is not a model that its runtime can run ({line})")}
    packed = io.BytesIO()
    np.savez(packed, **found)  # type: ignore[arg-type]
    with os.fdopen(stdout, "wb") as stream:
        stream.write(packed.getbuffer())
    # Not the destructors of runtimes that have read what they should not have.
    os._exit(0)


def _noise(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Two images, the first of bytes; the second of small numbers where the type has them."""
    images = np.random.default_rng(2).integers(0, 256, (2, *shape)).astype(np.float32)
    if np.dtype(dtype).kind == "f":
        images[1] = images[1] / 127.5 - 1
    return images


def _tflite(source: str, _size: tuple[int, ...] | None) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(source, num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    for what, found in (("input", inputs), ("output", outputs)):
        if len(found) != 1:
            names = ", ".join(one["name"] for one in found)
            raise Refused(f"has {len(found)} {what}s ({names}), and not one")
    (given,), (answer,) = inputs, outputs
    images = _noise(given["shape"][1:], given["dtype"])
    answers = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None].astype(given["dtype"]))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(answer["index"])[0])
    return {"given": images, "answers": np.stack(answers)}


def _saved_model(source: str, size: tuple[int, ...] | None) -> dict[str, np.ndarray]:
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    tempfile.tempdir = os.environ.get("TMPDIR", "/tmp")  # which is tried by writing, else
    import tensorflow as tf

    _refuse_operations(source)
    loaded = tf.saved_model.load(source)
    serve, spec, output = _signature(loaded)
    shape = _shape(spec, size)

    @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.float32)], autograph=False)
    def network(image):
        return serve(**{spec.name: tf.cast(image, spec.dtype)})[output]

    images = _noise(shape, spec.dtype.as_numpy_dtype)
    answers = [network(tf.constant(image[None])).numpy()[0] for image in images]
    concrete = network.get_concrete_function()
    work = tf.lite.TFLiteConverter.from_concrete_functions([concrete], loaded)
    work.experimental_lower_to_saved_model = False  # which would be written to a file
    return {
        "given": images,
        "answers": np.stack(answers),
        "network": np.frombuffer(work.convert(), np.uint8),
    }


def _refuse_operations(source: str) -> None:
    """Refuse a graph that is more than a network, before any of it is run."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = pathlib.Path(source, "saved_model.pb")
    if not path.is_file():
        raise Refused("has no saved_model.pb")
    read = saved_model_pb2.SavedModel()
    read.ParseFromString(path.read_bytes())
    for meta in read.meta_graphs:
        nodes = [*meta.graph_def.node]
        for function in meta.graph_def.library.function:
            nodes += function.node_def
        for node in nodes:
            if node.op in _FORBIDDEN or any(part in node.op for part in _FORBIDDEN_PARTS):
                raise Refused(
                    f"has the operation {node.op} ({node.name}), which is none of a network's: it "
                    "is not run"
                )


def _signature(loaded: Any) -> tuple[Any, Any, str]:
    """The function from an image to the answer, what it takes, and the name of what it gives."""
    names = list(loaded.signatures)
    if not names:
        raise Refused("has no signature: save it with one, as model.export() and tf.saved_model do")
    name = "serving_default" if "serving_default" in names else names[0]
    serve = loaded.signatures[name]
    given, outputs = serve.structured_input_signature[1], serve.structured_outputs
    for what, found in (("input", given), ("output", outputs)):
        if len(found) != 1:
            raise Refused(
                f"has {len(found)} {what}s in its signature {name!r} ({', '.join(found)}), and not "
                "one: save it with a signature from one image to one answer"
            )
    ((key, spec),) = given.items()
    import tensorflow as tf

    return serve, tf.TensorSpec(spec.shape, spec.dtype, name=key), next(iter(outputs))


def _shape(spec: Any, size: tuple[int, ...] | None) -> tuple[int, ...]:
    """(height, width, channels) of an image, or with the channels first as the function has it."""
    if spec.shape.rank != 4:
        raise Refused(f"takes {spec.shape}, not images of height x width x channels")
    shape = list(spec.shape)[1:]
    first = shape[0] in (1, 3) and shape[2] not in (1, 3)
    sides = (1, 2) if first else (0, 1)
    if any(shape[one] is None for one in sides):
        if size is None:
            raise Refused(
                "takes images of any size; say which it was trained on, as in --image-size 224"
            )
        for place, side in zip(sides, size, strict=True):
            shape[place] = shape[place] or side
    if None in shape:
        raise Refused(f"takes {spec.shape}: how many channels is not said")
    return tuple(map(int, shape))


if __name__ == "__main__":
    main(*sys.argv[1:])
