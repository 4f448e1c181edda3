"""Does training wait for its pictures? Pipeline alone, step alone, and both, in turn.

Command:  python benchmarks/input_pipeline.py

Data are 400 JPEGs of 640x480 that this program cuts out of scikit-image's photos, mobilenet_v2 at
224, and the embedded digits at 32x32, mobilenet_v2 at width 0.35. The JPEGs are once decoded into
memory, as sets of up to 4 GB are, and once decoded anew for every batch (`inception` crops), as
larger sets are. What is timed is `kerascnn bench-data`.
"""

from __future__ import annotations

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import skimage.data
from PIL import Image

from training.common import atomic
from training.engine.request import request
from training.engine.run import machine
from training.tools.bench_data import bench_data

FOLDER = pathlib.Path("runs/input_pipeline")
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
EACH = 100


def main() -> None:
    """Print four lines a case."""
    _make(FOLDER)
    print(f"{machine()['processor']}, {machine()['cores']} cores")
    digits = request(
        "mobilenet_v2", data="mnist", image_size=(32, 32), model_options={"stem_strides": 2}
    )
    print("digits, 32x32, width 0.35\n" + bench_data(digits, seconds=10, rounds=5).as_text())
    photos = request(
        "mobilenet_v2", data=str(FOLDER), settings={"batch_size": 32, "augmentation": "inception"}
    )
    for what, cached in (("in memory", True), ("decoded for every batch", False)):
        found = bench_data(photos, seconds=20, rounds=3, cached=cached)
        print(f"JPEGs, 224x224, {what}\n{found.as_text()}")


def _make(folder: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    for name in PHOTOS:
        photo = Image.fromarray(getattr(skimage.data, name)())
        for number in range(EACH):
            path = folder / name / f"{number}.jpg"
            if path.exists():
                continue
            side = rng.uniform(0.5, 1.0)
            width, height = (round(side * length) for length in photo.size)
            left = rng.integers(0, photo.width - width + 1)
            top = rng.integers(0, photo.height - height + 1)
            box = (left, top, left + width, top + height)
            with atomic.replacing(path) as temporary:
                photo.resize((640, 480), box=box).save(temporary, quality=90)


if __name__ == "__main__":
    main()
