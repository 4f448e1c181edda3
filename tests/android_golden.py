"""What Python answers, for the Android demo's own tests to be held against.

    python tests/android_golden.py

writes the small share of it that is committed, android_demo/app/src/test/resources/golden.json, so
that `mvn test` needs no Python; tests/test_android.py fails where that file is out of date, and has
the app's tests run on the whole.
"""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if __name__ == "__main__":  # tests/kerascnn would be found first
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "helpers")]

import numpy as np
import web_golden
from PIL import Image

from kerascnn.detection.anchors import ssd_anchors
from kerascnn.detection.postprocess import DetectorSpec, of_picture, select
from kerascnn.preprocessing import Preprocessing
from training.classification.evaluate import softmax
from training.datasets.instance_masks import paste
from training.datasets.pictures import read_pixels
from training.detection.evaluate import on_picture
from training.detection.metrics import Detections
from training.multilabel.evaluate import sigmoid
from training.segmentation.evaluate import on_picture as map_on_picture

COMMITTED = Path(__file__).parents[1] / "android_demo/app/src/test/resources/golden.json"
TOP = 5  # classes of an answer
# Of the cases of a kind, these are committed: so many, and no longer ones.
_MOST, _LONGEST = 12, 3000
_WHOLE = ("answers", "normalised")  # kinds of which all are
_LABELS = ("bär", "고양이", "c", "d", "e", "f", "g")


def write_golden(folder: Path) -> None:
    """Write golden.json."""
    (folder / "golden.json").write_text(json.dumps(golden()))


def golden() -> dict[str, Any]:
    """All that is compared: what the page in a browser has to answer too, and whole answers."""
    with tempfile.TemporaryDirectory() as folder:
        web_golden.write_golden(Path(folder))
        told: dict[str, Any] = json.loads((Path(folder) / "golden.json").read_text())
    whole = [*_labels(), *_scores(), *_detections(), *_codes(), *_maps()]
    return {**told, "display_p3": _display_p3(), "answers": json.loads(json.dumps(whole))}


def committed(told: Mapping[str, Any]) -> dict[str, Any]:
    """Some of the short cases of each kind, or all."""
    return {
        name: _some(cases) if isinstance(cases, list) and name not in _WHOLE else cases
        for name, cases in told.items()
    }


def _display_p3() -> dict[str, Any]:
    """A PNG file in the colours of many phones' photos, and what a network sees: its own bytes."""
    pixels = _rng(4).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    pixels[0, :3] = np.eye(3, dtype=np.uint8) * 255  # of full red, green and blue most is lost
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", icc_profile=_profile())
    return {
        "file": base64.b64encode(file.getvalue()).decode(),
        "wanted": web_golden.coded(read_pixels(file.getvalue())),
    }


def _profile() -> bytes:
    """Display P3 as an ICC profile (ICC.1:2010, 7 and 9.2), with a plain gamma of 2.2."""

    def fixed(*numbers: float) -> bytes:
        return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))

    def xyz(*numbers: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*numbers)

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(2.2 * 256), 0)
    name = b"Display P3\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(79),
        b"cprt": b"text\0\0\0\0CC0\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.5151, 0.2412, -0.0011),
        b"gXYZ": xyz(0.2920, 0.6922, 0.0419),
        b"bXYZ": xyz(0.1571, 0.0666, 0.7841),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, data = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        at = 128 + 4 + 12 * len(tags) + len(data)
        table += tag + struct.pack(">II", at, len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4sIIIIQI12s48x",
        *(128 + len(table) + len(data), b"    ", 0x02400000, b"mntr", b"RGB ", b"XYZ "),
        *(bytes(12), b"acsp", 0, 0, 0, 0, 0, 0, fixed(0.9642, 1.0, 0.8249)),
    )
    return head + table + data


def _some(cases: list[Any]) -> list[Any]:
    lengths = [len(json.dumps(case)) for case in cases]
    longest = max(_LONGEST, min(lengths))  # one at least
    short = [case for case, length in zip(cases, lengths, strict=True) if length <= longest]
    return short[:: max(1, -(-len(short) // _MOST))]


def _case(
    description: Mapping[str, Any],
    outputs: Mapping[str, np.ndarray],
    size: Sequence[int],
    wanted: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "description": description,
        "outputs": {name: web_golden.coded(values) for name, values in outputs.items()},
        "size": size,
        "wanted": wanted,
    }


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng((20, *seed))


def _preprocessing(resize: str = "stretch") -> Preprocessing:
    return Preprocessing(height=30, width=40, channels=3, resize=resize)


def _labels() -> list[dict[str, Any]]:
    told = web_golden.description(
        "classification", _preprocessing("crop"), _LABELS, {"kind": "logits"}
    )
    cases = []
    for row in (_rng(0).normal(0, 3, 7), np.array([0, 2, 2, 2, 2, 2, 2]), np.array([1e3] * 7)):
        logits = row.astype(np.float32)[None]
        shares = softmax(logits)[0]
        top = np.argsort(-shares, kind="stable")[:TOP]
        wanted = {"labels": top.tolist(), "scores": shares[top].tolist()}
        cases.append(_case(told, {"logits": logits}, (9, 11), wanted))
    return cases


def _scores() -> list[dict[str, Any]]:
    cases = []
    for threshold in (0.5, 0.2):
        decoding = {"kind": "sigmoid", "threshold": threshold}
        told = web_golden.description("multilabel", _preprocessing("crop"), _LABELS, decoding)
        for row in (_rng(8).normal(0, 3, 7), np.full(7, -9.0), np.array([1, 0, 2, 0, 2, -5, 80])):
            logits = row.astype(np.float32)[None]
            found = sigmoid(logits)[0]
            order = [int(k) for k in np.argsort(-found, kind="stable") if found[k] >= threshold]
            wanted = {"labels": order, "scores": found[order].tolist()}
            cases.append(_case(told, {"logits": logits}, (9, 11), wanted))
    return cases


def _boxes_wanted(
    found: Detections, size: Sequence[int], preprocessing: Preprocessing
) -> dict[str, Any]:
    there = on_picture(found, size, preprocessing)
    wanted = {
        "labels": there.labels.tolist(),
        "scores": there.scores.tolist(),
        "boxes": there.boxes.tolist(),
    }
    if there.masks is not None:
        pasted = [
            paste(mask, box, size) for mask, box in zip(there.masks, there.boxes, strict=True)
        ]
        wanted["covered"] = web_golden.coded(np.array(pasted, np.uint8))
    return wanted


def _detections() -> list[dict[str, Any]]:
    """Of files with post-processing inside, in one of which nothing was found."""
    cases = []
    for number, (resize, size, count) in enumerate(
        (
            ("stretch", (20, 33), 3),
            ("pad", (20, 33), 4),
            ("stretch", (61, 45), 0),
            ("letterbox", (61, 45), 4),
        )
    ):
        rng = _rng(1, number)
        corners = rng.uniform(0, 0.6, (1, 4, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.7, (1, 4, 2))], axis=-1)
        outputs = {
            "boxes": np.clip(boxes, 0, 1).astype(np.float32),
            "labels": np.float32([[2, 0, 6, 1]]),
            "scores": np.float32([[0.9, 0.75, 0.5, 0.125]]),
            "count": np.float32([count]),
        }
        if resize != "pad":  # letterboxed boxes hang over the image's edges, and their masks too
            outputs["masks"] = rng.uniform(0, 1, (1, 4, 5, 5)).astype(np.float32)
        preprocessing = _preprocessing(resize)
        told = web_golden.description(
            "detection", preprocessing, _LABELS, {"kind": "detections"}, kind="uint8"
        )
        found = Detections(
            boxes=outputs["boxes"][0, :count],
            labels=outputs["labels"][0, :count].astype(np.int32),
            scores=outputs["scores"][0, :count],
            masks=outputs["masks"][0, :count] if "masks" in outputs else None,
        )
        cases.append(_case(told, outputs, size, _boxes_wanted(found, size, preprocessing)))
    return cases


def _codes() -> list[dict[str, Any]]:
    cases = []
    for number, (resize, background) in enumerate(
        (("stretch", True), ("pad", False), ("letterbox", True))
    ):
        spec = DetectorSpec(
            anchors=ssd_anchors([(2, 3), (1, 1)], min_scale=0.3, max_scale=0.6),
            box_scales=(10.0, 10.0, 5.0, 5.0),
            background=background,
            positive_iou=0.5,
            negative_iou=0.4,
            loss="multibox",
            score_threshold=0.3,
            iou_threshold=0.45,
            max_detections=20,
        )
        rng, count = _rng(2, number), spec.anchors.count
        codes = rng.normal(0, 1, (1, count, 4)).astype(np.float32)
        scores = rng.uniform(0, 1, (1, count, 2 + background)).astype(np.float32)
        found = Detections(**of_picture(select(spec, codes, scores[..., int(background) :]), 0))
        preprocessing, size = _preprocessing(resize), (25, 31)
        told = web_golden.description(
            "detection", preprocessing, _LABELS[:2], {"kind": "codes", **spec.to_dict()}
        )
        wanted = _boxes_wanted(found, size, preprocessing)
        cases.append(_case(told, {"boxes": codes, "scores": scores}, size, wanted))
    return cases


def _maps() -> list[dict[str, Any]]:
    """Classes and logits; of the input's size, and of its middle alone."""
    cases = []
    for number, (kind, resize, shape) in enumerate(
        (
            ("map", "stretch", (30, 40)),
            ("map", "pad", (22, 31)),
            ("map_logits", "stretch", (7, 9)),
            ("map_logits", "pad", (7, 9)),
            ("map", "letterbox", (30, 40)),
            ("map_logits", "letterbox", (22, 31)),
        )
    ):
        rng, preprocessing, size = _rng(3, number), _preprocessing(resize), (17, 23)
        classes = 5
        if kind == "map":
            found = rng.integers(0, classes, shape)
            outputs = {"map": found.astype(np.int32)[None]}
        else:
            logits = rng.integers(-4, 4, (1, *shape, classes)).astype(np.float32)  # many are equal
            found, outputs = logits[0].argmax(-1), {"logits": logits}
        told = web_golden.description(
            "segmentation", preprocessing, _LABELS[:classes], {"kind": kind}
        )
        there = map_on_picture(found.astype(np.uint8), size, preprocessing)
        cases.append(_case(told, outputs, size, {"map": web_golden.coded(there)}))
    return cases


if __name__ == "__main__":
    COMMITTED.parent.mkdir(parents=True, exist_ok=True)
    COMMITTED.write_text(json.dumps(committed(golden())) + "\n")
    print(f"{COMMITTED}: {COMMITTED.stat().st_size:,} bytes", file=sys.stderr)
