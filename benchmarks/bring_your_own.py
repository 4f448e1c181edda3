"""What becomes of the networks of keras.applications: imported, converted, verified, quantised.

    python benchmarks/bring_your_own.py [-o build/bring_your_own.jsonl] [--size 64] [NAME ...]

Each network has random weights that tell images apart (`network`), and small images, since only
what its layers are made into is asked: not speed, and not how good it is. It is saved by its own
`save`, and goes the way of anybody's file: `kerascnn.import_model`, then the float32 and plain_int8
files of `compress`, without their times and the report. One process for each, and one line in the
file of results: what is there is not done again. A table in Markdown is printed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

# Networks that take no images smaller than these, whatever `--size` says.
SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
VARIANTS = ("float32", "plain_int8")
# Of all images, those in the folder; kinds of them, which are classes.
_KNOWN, _IMAGES, _CLASSES = 100, 40, 10
# Of logits.
_DEVIATION = 3.0
# For what stands in the way of a run and is nothing about the network.
_LIMIT_S = 3600


def names() -> list[str]:
    """Of all networks in the installed keras.applications."""
    import keras

    found = vars(keras.applications).items()
    return sorted(name for name, made in found if name[0].isupper() and callable(made))


def network(name: str, side: int) -> Any:
    """A network with random weights, but for its head, that tells kinds of images apart.

    Norms have the statistics of `images`. With others a deep network is chaos, or gives all images
    one answer, and nobody can tell then whether a file of it is right.

    Args:
        name: in keras.applications.
        side: of images, in pixels.
    """
    import keras

    given = images(_KNOWN, side).astype(np.float32)
    given = given if _says(name) else given / 127.5 - 1

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=given.shape[1:], classes=_CLASSES
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers(include_self=False):
        # Keras' own kernels are so small that all images get one answer: drawn by fan-in here.
        for weight in layer.weights:
            if weight.name.endswith("kernel"):
                depthwise = weight.name.startswith("depthwise") or isinstance(
                    layer, keras.layers.DepthwiseConv2D
                )
                fan_in = np.prod(weight.shape[: 2 if depthwise else -1])
                weight.assign(rng.normal(0, np.sqrt(2 / fan_in), weight.shape))
            # Branches weigh less than what they are added to, as in networks that were trained.
            elif _is_layer_scale(layer) or (weight.name == "gamma" and _is_of_a_branch(layer)):
                weight.assign(rng.uniform(0.1, 0.4, weight.shape))
            # Most units are on: where half are, differences grow from layer to layer.
            elif weight.name == "beta" and isinstance(layer, keras.layers.BatchNormalization):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    _with_statistics(model, given)
    _with_head(model, given)
    return model


def _is_of_a_branch(layer: Any) -> bool:
    """Whether a layer is added to something else, and to nothing more."""
    import keras

    after = [type(node.operation) for node in layer._outbound_nodes]
    return after == [keras.layers.Add]


def _is_layer_scale(layer: Any) -> bool:
    """ConvNeXt's, which begins at 1e-6: its branches would add nothing. Its weight has no name."""
    return type(layer).__name__ == "LayerScale"


def _with_statistics(model: Any, given: np.ndarray) -> None:
    """Give batch norms the statistics of their inputs in one batch: a pass in training mode."""
    import keras

    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    dropped = [one for one in model.layers if isinstance(one, keras.layers.Dropout)]
    kept = [(one, "momentum", one.momentum) for one in norms]
    kept += [(one, "rate", one.rate) for one in dropped]
    for layer, field, _value in kept:
        setattr(layer, field, 0.0)
    model(given, training=True)
    for layer, field, value in kept:
        setattr(layer, field, value)


def _with_head(model: Any, given: np.ndarray) -> None:
    """Give the last layer, as kernel, the means of its inputs for each kind of images.

    Each class has logits of mean 0 and deviation `_DEVIATION` over all images.
    """
    import keras

    head = next(one for one in reversed(model.layers) if one.weights)
    features = np.asarray(keras.Model(model.input, head.input)(given), np.float64)
    features = features.reshape(len(given), -1)
    centred = features - features.mean(axis=0)
    means = [centred[kind::_CLASSES].mean(axis=0) for kind in range(_CLASSES)]
    kernel = np.stack(means, axis=-1)
    kernel *= _DEVIATION / (centred @ kernel).std(axis=0)
    head.kernel.assign(kernel.reshape(head.kernel.shape))
    head.bias.assign(-features.mean(axis=0) @ kernel)


def one(name: str, side: int) -> dict[str, Any]:
    """What came of a network: a row for each file, or the words with which it was refused."""
    from PIL import Image

    import kerascnn

    side = max(side, SMALLEST.get(name, 0))
    row: dict[str, Any] = {"name": name, "side": side}
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "images").mkdir()
        for number, image in enumerate(images(_IMAGES, side)):
            Image.fromarray(image).save(place / "images" / f"{number}.png")
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


def images(count: int, side: int) -> np.ndarray:
    """Images of `_CLASSES` kinds in turn: each a pattern of its kind, and as much of its own.

    Returns:
        (count, side, side, 3) uint8. There is noise of all sizes, from the whole image to pixels:
        in smooth images half of all random kernels see next to nothing.
    """
    from PIL import Image

    rng = np.random.default_rng(1)
    sizes = [*(2**n for n in range(1, 6) if 2**n < side), side]

    def drawn(many: int) -> np.ndarray:
        found = np.zeros((many * 3, side, side), np.float32)
        for at, size in itertools.product(range(many * 3), sizes):
            noise = Image.fromarray(rng.normal(0, 20, (size, size)).astype(np.float32))
            found[at] += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC))
        return np.moveaxis(found.reshape(many, 3, side, side), 1, -1)

    kinds = np.resize(np.arange(_CLASSES), count)
    return np.clip(128 + drawn(_CLASSES)[kinds] + drawn(count), 0, 255).astype(np.uint8)


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
        figure = agreement if "int8" in variant else f"{made['max_logit_diff']:.1e}"
        doubt = "" if made["verified"] == "yes" else f" ({made['verified']})"
        cells += [f"{figure}{doubt}", str(made["partitions"])]
    seconds = row.get("processor_seconds")
    cells.append("" if seconds is None else f"{seconds:.0f}")
    return f"| {' | '.join(cells)} |"


def _apart(name: str, side: int) -> dict[str, Any]:
    """`one` in a process of its own, which begins with what this one has imported."""
    import tensorflow  # noqa: F401

    import kerascnn  # noqa: F401

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(one(name, side)))
    process.start()
    sender.close()
    row: dict[str, Any] | None = None
    # Without an answer it has said on its stderr why it ended.
    with contextlib.suppress(EOFError):
        if receiver.poll(_LIMIT_S):
            row = receiver.recv()
        else:
            process.kill()
    process.join()
    return row or {"name": name, "refused": f"its process ended with {process.exitcode}"}


def main() -> None:
    """Do what is not done, then print the table."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("-o", "--out", default="build/bring_your_own.jsonl", type=pathlib.Path)
    parser.add_argument("--size", default=64, type=int)
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    lines = asked.out.read_text().splitlines() if asked.out.exists() else []
    done = {row["name"]: row for row in map(json.loads, lines)}
    for name in asked.names or names():
        if name in done:
            continue
        row = _apart(name, asked.size)
        done[name] = row
        with asked.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    print(table(list(done.values())))


if __name__ == "__main__":
    main()
