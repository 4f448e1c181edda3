"""The first inference of a model file, in a process that `export/runtime/first_run.py` starts.

    python -I first_run_child.py FILE...

Before each file its place among the arguments is written to stdout, and behind it what its runtime
said, if that refused it. A runtime that crashes takes this process with it, and no other. Nothing
of the project is imported: it is started for every file from outside, and has to be fast.
"""

from __future__ import annotations

import json
import os
import sys

SIDE = 224  # pixels, where a file takes any number


def main(*paths: str) -> None:
    """Run each file once on zeros."""
    for place, path in enumerate(paths):
        sys.stdout.write(f"{place} ")
        sys.stdout.flush()
        sys.stdout.write(json.dumps(_refused(path)) + "\n")
        sys.stdout.flush()
    # Not the destructors of runtimes that have read what they should not have.
    os._exit(0)


def _refused(path: str) -> str | None:
    try:
        (_run_onnx if path.endswith(".onnx") else _run_tflite)(path)
    except Exception as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None


def _run_tflite(path: str) -> None:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    for given in interpreter.get_input_details():
        interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
    interpreter.invoke()
    for answer in interpreter.get_output_details():
        interpreter.get_tensor(answer["index"])


def _run_onnx(path: str) -> None:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    kinds = {
        "tensor(float16)": np.float16,
        "tensor(double)": np.float64,
        "tensor(uint8)": np.uint8,
        "tensor(int8)": np.int8,
    }
    feed = {
        given.name: np.zeros(
            # A batch of any size is of one image, and images of any size are small ones.
            [
                side if isinstance(side, int) else (SIDE if place else 1)
                for place, side in enumerate(given.shape)
            ],
            kinds.get(given.type, np.float32),
        )
        for given in session.get_inputs()
    }
    session.run(None, feed)


if __name__ == "__main__":
    main(*sys.argv[1:])
