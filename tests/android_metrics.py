"""AP, mIoU and masks as Python has them, for the Android demo's own tests to be held against.

    python tests/android_metrics.py

writes android_demo/app/src/test/resources/metrics.json; tests/test_android.py fails where that file
is out of date. AP is COCOeval's of pycocotools, on a COCO .json that the app reads too.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # tests/kerascnn would be found first
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from training.datasets.mask_files import levels, read_mask
from training.segmentation.metrics import count, of_counts, without_void

COMMITTED = Path(__file__).parents[1] / "android_demo/app/src/test/resources/metrics.json"
_CLASSES = ("bär", "고양이", "c", "never there")
_SIZE = 60, 80  # of images


def golden() -> dict[str, Any]:
    """All that is compared."""
    return {
        "average_precision": [_average_precision(seed) for seed in range(3)],
        "miou": [_miou(seed) for seed in range(2)],
        "masks": _masks(),
    }


def _average_precision(seed: int) -> dict[str, Any]:
    """Images with objects, crowds and none; boxes near them with equal scores among them."""
    rng = np.random.default_rng([11, seed])
    objects, found = [], []
    for image in range(7):
        for _ in range(int(rng.integers(0, 6))):
            size = rng.integers(6, 40, 2)
            corner = (np.array(_SIZE)[::-1] - size) * rng.random(2)
            box = [*corner.round(2).tolist(), *size.tolist()]
            objects.append({
                "id": len(objects) + 1, "image_id": image, "category_id": 10 + int(rng.integers(3)),
                "bbox": box, "area": float(size.prod()), "iscrowd": int(rng.random() < 0.2),
            })  # fmt: skip
    for one in objects:
        for _ in range(int(rng.integers(0, 3 + 40 * one["iscrowd"]))):
            box = np.array(one["bbox"]) + rng.normal(0, 2, 4).round(2)
            found.append(_found(rng, one["image_id"], one["category_id"], box))
    for _ in range(12):
        found.append(
            _found(rng, int(rng.integers(7)), 10 + int(rng.integers(4)), rng.random(4) * 40)
        )
    data = {
        "info": {"seed": seed},
        "annotations": objects,
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": _SIZE[0], "width": _SIZE[1]}
            for i in range(7)
        ],
        "categories": [{"id": 10 + i, "name": name} for i, name in enumerate(_CLASSES)],
    }
    return {"labels": _CLASSES, "coco": data, "found": found, "wanted": _judged(data, found)}


def _found(rng: np.random.Generator, image: int, label: int, box: np.ndarray) -> dict[str, Any]:
    box = [*box[:2].round(2).tolist(), *np.maximum(box[2:], 1).round(2).tolist()]
    # Tenths, that many are equal.
    score = float(np.float32(round(float(rng.random()), 1)))
    return {"image_id": image, "category_id": label, "bbox": box, "score": score}


def _judged(data: dict[str, Any], found: list[dict[str, Any]]) -> float:
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coco.json"
        path.write_text(json.dumps(data))
        library = COCO(str(path))
        judge = COCOeval(library, library.loadRes([dict(one) for one in found]), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return 100 * float(judge.stats[0])


def _miou(seed: int) -> dict[str, Any]:
    """Maps with pixels that do not count, and a class that is nowhere."""
    rng = np.random.default_rng([12, seed])
    cases, counts = [], []
    for height, width in ((7, 9), (1, 5), (6, 4)):
        truth, found = (
            rng.choice([0, 0, 1, 2, 255], (height, width)).astype(np.uint8) for _ in range(2)
        )
        cases.append({
            "height": height, "width": width, "truth": truth.ravel().tolist(),
            "found": found.ravel().tolist(),
        })  # fmt: skip
        counts.append(count(*without_void(truth, found), 4))
    return {"classes": 4, "cases": cases, "wanted": of_counts(np.stack(counts)).miou}


def _masks() -> list[dict[str, Any]]:
    """PNG files of every kind that masks come in, each row with another filter."""
    rng, found = np.random.default_rng(13), []
    for colour, depth in ((3, 1), (3, 2), (3, 4), (3, 8), (0, 1), (0, 8)):
        values = rng.integers(0, 1 << depth, (11, 13)).astype(np.uint8)
        file = _png(values, colour, depth)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mask.png"
            path.write_bytes(file)
            wanted = levels(str(path), read_mask(str(path)))
        white = 255 if (colour, depth) == (0, 1) else 1
        np.testing.assert_array_equal(wanted, values * white)
        found.append({
            "file": base64.b64encode(file).decode(), "height": 11, "width": 13,
            "wanted": wanted.ravel().tolist(),
        })  # fmt: skip
    photo = io.BytesIO()
    Image.new("RGB", (3, 2)).save(photo, "PNG")
    found.append({"file": base64.b64encode(photo.getvalue()).decode(), "wanted": None})
    return found


def _png(values: np.ndarray, colour: int, depth: int) -> bytes:
    """With all five filters, and pixels in several chunks (PNG specification, 9 and 11)."""
    height, width = values.shape
    bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(bits.reshape(height, width * depth), axis=1).astype(int)
    left = np.pad(rows, ((0, 0), (1, 0)))[:, :-1]
    up = np.pad(rows, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(rows, ((1, 0), (1, 0)))[:-1, :-1]
    guess = left + up - corner
    far = np.abs(np.stack([left, up, corner]) - guess)
    paeth = np.choose(far.argmin(axis=0), [left, up, corner])
    guesses = [np.zeros_like(rows), left, up, (left + up) // 2, paeth]
    raw = b"".join(
        bytes([y % 5, *((rows[y] - guesses[y % 5][y]) % 256).tolist()]) for y in range(height)
    )
    data = zlib.compress(raw)
    parts = [data[:5], b"", data[5:11], data[11:]]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = [(b"PLTE", bytes(range(3 << depth)) if depth < 8 else bytes(768))] * (colour == 3)
    chunks = [(b"IHDR", header), *palette, (b"tEXt", b"a\0b"), *((b"IDAT", one) for one in parts)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in (*chunks, (b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


if __name__ == "__main__":
    COMMITTED.write_text(json.dumps(golden()) + "\n")
    print(f"{COMMITTED}: {COMMITTED.stat().st_size:,} bytes", file=sys.stderr)
