"""What becomes of the networks of keras.applications: imported, converted, verified, quantised.

    python benchmarks/bring_your_own.py [-o build/bring_your_own.jsonl] [--size 64] [NAME ...]

Each network has random weights, with batch norms as if it had been trained, and small images, since
only what its layers are made into is asked: not speed, and not how good it is. It is saved by its
own `save`, and goes the way of anybody's file: `kerascnn.import_model`, then the float32 and int8
files of `compress`, without their times and the report. One process for each, and one line in the
file of results: what is there is not done again. A table in Markdown is printed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

# Networks that take no images smaller than these, whatever `--size` says.
SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
VARIANTS = ("float32", "int8")
_IMAGES, _CLASSES = 24, 10
# For what stands in the way of a run and is nothing about the network.
_LIMIT_S = 3600


def names() -> list[str]:
    """Of all networks in the installed keras.applications."""
    import keras

    found = vars(keras.applications).items()
    return sorted(name for name, made in found if name[0].isupper() and callable(made))


def network(name: str, side: int) -> Any:
    """A network with random weights that tell images apart, for images of one size."""
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(side, side, 3), classes=_CLASSES
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.moving_mean.shape[0]
            layer.moving_mean.assign(rng.normal(0, 0.1, n))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, n))
        # Keras' own kernels are so small that all images get one answer: drawn by fan-in here.
        for weight in layer.weights:
            if weight.name.endswith("kernel"):
                depthwise = weight.name.startswith("depthwise") or isinstance(
                    layer, keras.layers.DepthwiseConv2D
                )
                fan_in = np.prod(weight.shape[: 2 if depthwise else -1])
                weight.assign(rng.normal(0, np.sqrt(2 / fan_in), weight.shape))
    return model


def one(name: str, side: int) -> dict[str, Any]:
    """What came of a network: a row for each file, or the words with which it was refused."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from PIL import Image

    import kerascnn

    side = max(side, SMALLEST.get(name, 0))
    row: dict[str, Any] = {"name": name, "side": side}
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "images").mkdir()
        for number in range(_IMAGES):
            coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(
                place / "images" / f"{number}.png"
            )
        (place / "labels.txt").write_text("".join(f"class {n}\n" for n in range(_CLASSES)))
        model = network(name, side)
        row |= {"parameters": model.count_params(), "layers": len(model.layers)}
        model.save(place / "network.keras")
        del model
        try:
            run = kerascnn.import_model(
                place / "network.keras", data=place / "images", out=place / "run",
                labels=place / "labels.txt", unlabelled=True,
                preprocessing=None if _says(name) else "-1-1", progress=False,
            )  # fmt: skip
            row["imported"] = {
                key: run.info["preprocessing"][key] for key in ("mean", "std", "order")
            }  # fmt: skip
        except kerascnn.InputError as error:
            return row | {"refused": str(error).replace(folder, "")}
        row |= _files(run.folder, folder)
    row["processor_seconds"] = round(time.process_time(), 1)
    return row


def _files(folder: pathlib.Path, place: str) -> dict[str, Any]:
    """What came of each variant of a run: made together, as they share much, else one by one."""
    from export.compress.compress import compress
    from training.engine.run import Run

    def made(asked: Sequence[str]) -> dict[str, Any]:
        artefacts, _new = compress(Run.open(folder), asked, onnx=False)
        keys = ("verified", "agreement", "max_logit_diff", "partitions")
        return {
            one.info["variant"]["name"]: {"bytes": one.info["bytes"]}
            | {key: one.info["evaluation"][key] for key in keys}
            for one in artefacts
        }

    with contextlib.suppress(Exception):  # which of them it was is asked below
        return made(VARIANTS)
    found: dict[str, Any] = {}
    for variant in VARIANTS:
        try:
            found |= made([variant])
        except Exception as error:
            found[variant] = {"refused": str(error).splitlines()[0].replace(place, "")}
    return found


def _says(name: str) -> bool:
    """Whether a network has its preprocessing inside."""
    return name.startswith(("EfficientNet", "MobileNetV3", "ConvNeXt"))


def table(rows: list[dict[str, Any]]) -> str:
    """Rows in Markdown."""
    head = (
        "| network | imported | float32 agrees | XNNPACK parts | int8 answers as float "
        "| XNNPACK parts | seconds |\n|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_line(row) for row in sorted(rows, key=lambda row: row["name"]))])


def _line(row: dict[str, Any]) -> str:
    cells = [row["name"], "yes" if "imported" in row else f"no: {row.get('refused')}"]
    for variant in VARIANTS:
        made = row.get(variant, {})
        if "bytes" not in made:
            cells += [made.get("refused", ""), ""]
            continue
        agreement = f"{made['agreement']:.0f}%"
        figure = agreement if variant == "int8" else f"{made['max_logit_diff']:.1e}"
        doubt = "" if made["verified"] == "yes" else f" ({made['verified']})"
        cells += [f"{figure}{doubt}", str(made["partitions"])]
    seconds = row.get("processor_seconds")
    cells.append("" if seconds is None else f"{seconds:.0f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Do what is not done, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("-o", "--out", default="build/bring_your_own.jsonl", type=pathlib.Path)
    parser.add_argument("--size", default=64, type=int)
    parser.add_argument("--one", action="store_true", help="in this process, as JSON")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.names[0], asked.size)))
        return
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    lines = asked.out.read_text().splitlines() if asked.out.exists() else []
    done = {row["name"]: row for row in map(json.loads, lines)}
    for name in asked.names or names():
        if name in done:
            continue
        command = [sys.executable, __file__, name, "--one", "--size", str(asked.size)]
        made = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)  # noqa: PLW1510
        last = (made.stdout.strip().splitlines() or [""])[-1]
        row = json.loads(last) if last.startswith("{") else {
            "name": name, "refused": f"ended with {made.returncode}: {made.stderr[-300:]}"
        }  # fmt: skip
        done[name] = row
        with asked.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    print(table(list(done.values())))


if __name__ == "__main__":
    main()
