"""How far apart a file's answers to the test image may be: behind the tolerances of self-tests.

    python benchmarks/selftest.py runs/RUN/artefacts/*.tflite runs/RUN/artefacts/*.onnx

Each file is held against itself (`export/artefacts/selftest.py`): .tflite files in XNNPACK on one
and four threads, in LiteRT's built-in and in its reference kernels; .onnx files in ONNX Runtime on
four threads, without optimisation, and with weights and the result of every operation rounded to
half precision. What came of it is told in `export/runtime/selftest.py`.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from export.artefacts import selftest
from export.artefacts.description import read_description, to_json
from export.runtime.selftest import input_of

_FLOOR = 0.05  # of scores, which is every recipe's
Run = Callable[[], dict[str, np.ndarray]]


def main(*paths: str) -> None:
    """Print a line a file."""
    for path in map(pathlib.Path, paths):
        metadata = read_description(path)
        names = [one["name"] for one in metadata["outputs"]]
        image = input_of(metadata["input"])
        runs = dict((_onnx if path.suffix == ".onnx" else _tflite)(path, image, names))
        kind = metadata["decoding"]["kind"]
        first = next(iter(runs))
        answered = selftest.of_outputs(runs.pop(first)(), kind, floor=_FLOOR)
        test = {"tolerance": 1.0, "half": 1.0, **answered}
        apart = {name: selftest.compare(test, run()).difference for name, run in runs.items()}
        shown = "  ".join(f"{name} {difference:.1e}" for name, difference in apart.items())
        print(f"{path.parent.parent.name}/{path.name}  {kind}  {len(to_json(test))} bytes  {shown}")


def _tflite(path: pathlib.Path, image: np.ndarray, names: list[str]) -> Iterator[tuple[str, Run]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def run(threads: int, kernels: OpResolverType) -> dict[str, np.ndarray]:
        interpreter = Interpreter(
            str(path), num_threads=threads, experimental_op_resolver_type=kernels
        )
        found = interpreter.get_signature_runner()(image=image)
        return {name: np.array(found[name]) for name in names}

    built_in = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    yield "first", lambda: run(1, OpResolverType.AUTO)
    yield "four threads", lambda: run(4, OpResolverType.AUTO)
    yield "built-in", lambda: run(1, built_in)
    yield "reference", lambda: run(1, OpResolverType.BUILTIN_REF)


def _onnx(path: pathlib.Path, image: np.ndarray, names: list[str]) -> Iterator[tuple[str, Run]]:
    import onnx
    import onnxruntime
    from onnxruntime.transformers.float16 import convert_float_to_float16

    def run(file: bytes, threads: int, *, optimised: bool = True) -> dict[str, np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        if not optimised:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, {"image": image}), strict=True))

    file = path.read_bytes()
    halved = convert_float_to_float16(onnx.load_from_string(file), keep_io_types=True)
    yield "first", lambda: run(file, 1)
    yield "four threads", lambda: run(file, 4)
    yield "not optimised", lambda: run(file, 1, optimised=False)
    yield "half precision", lambda: run(halved.SerializeToString(), 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
