"""What Python answers, for the page's own tests (tests/web) to be held against."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import selftest_cases
import suppression_cases
from PIL import Image

from export.artefacts.description import DESCRIPTION, input_metadata
from kerascnn.detection.anchors import pyramid_anchors, rpn_anchors, ssd_anchors
from kerascnn.detection.postprocess import DetectorSpec, of_picture, select
from kerascnn.preprocessing import INTERPOLATIONS, Preprocessing
from training.augment.boxes import boxes_from_network
from training.classification.evaluate import softmax
from training.common.drawing import CLASS_COLOURS
from training.datasets.instance_masks import paste, reframed
from training.datasets.pictures import fit_array
from training.datasets.segmentation import VOID
from training.multilabel.evaluate import sigmoid
from training.segmentation.drawing import overlay
from training.segmentation.evaluate import on_picture


def write_golden(folder: Path) -> None:
    """Write golden.json."""
    told = {
        "resizes": _resizes(),
        "reframed": _reframed(),
        "fits": _fits(),
        "normalised": _normalised(),
        "luma": _luma(),
        "softmax": _softmax(),
        "sigmoid": _sigmoid(),
        "anchors": _anchors(),
        "selections": [*_worked_by_hand(), *(_selection(seed) for seed in range(9))],
        "boxes": _boxes(),
        "maps": _maps(),
        "masks": _masks(),
        "overlays": _overlays(),
        "colours": list(CLASS_COLOURS),
        "zips": _zips(),
        "selftests": selftest_cases.golden(),
    }
    (folder / "golden.json").write_text(json.dumps(told))


def described(file: bytes, told: Mapping[str, Any]) -> bytes:
    """A file, whole or not, with a description and labels behind it, as exported files have."""
    whole = io.BytesIO(file)
    with zipfile.ZipFile(whole, "a") as archive:
        labels = "".join(f"{label}\n" for label in told["labels"])
        archive.writestr(zipfile.ZipInfo("labels.txt"), labels)
        archive.writestr(zipfile.ZipInfo(DESCRIPTION), json.dumps(told, ensure_ascii=False))
    return whole.getvalue()


def description(
    task: str,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    decoding: Mapping[str, Any],
    *,
    kind: str = "float32",
) -> dict[str, Any]:
    """kerascnn.json of a file; `export.tflite.metadata` fills in shapes."""
    outputs = {
        "logits": ("logits",),
        "sigmoid": ("logits",),
        "detections": ("boxes", "labels", "scores", "count", "masks"),
        "codes": ("boxes", "scores"),
        "map": ("map",),
        "map_logits": ("logits",),
    }[decoding["kind"]]
    return {
        "format": 1,
        "task": task,
        "model": "tiny",
        "variant": kind,
        "name": "tiny",
        "description": "of a test",
        "author": "",
        "license": "Apache-2.0",
        "version": "1",
        "labels": list(labels),
        "input": input_metadata("image", preprocessing, raw=kind == "uint8"),
        "outputs": [
            {"name": name, "shape": [], "type": "float32", "meaning": ""} for name in outputs
        ],
        "decoding": dict(decoding),
    }


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def coded(values: np.ndarray) -> dict[str, Any]:
    """An array for JSON."""
    data = np.ascontiguousarray(values)
    text = base64.b64encode(data.tobytes()).decode()
    return {"shape": list(data.shape), "type": str(data.dtype), "data": text}


def _bytes(*shape: int, seed: int) -> np.ndarray:
    return _rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _resizes() -> list[dict[str, Any]]:
    """Smaller, larger, both at once, one side alone, and parts with edges between pixels."""
    asked = [
        ((37, 53, 3), (16, 16), None),
        ((9, 11, 3), (24, 31), None),
        ((64, 10, 1), (7, 40), None),
        ((20, 33, 3), (20, 12), None),
        ((20, 33, 1), (50, 33), None),
        ((1, 1, 3), (5, 4), None),
        ((211, 3, 3), (2, 3), None),
        ((40, 60, 3), (32, 32), (10.0, 0.0, 50.0, 40.0)),
        ((41, 61, 3), (25, 25), (9.7, 0.3, 51.2, 40.6)),
        ((33, 47, 1), (33, 47), (0.1, 0.0, 46.9, 33.0)),
        # On both sides of where the order of the two passes changes.
        ((68, 62, 1), (41, 50), None),
        ((54, 50, 3), (18, 32), None),
        ((44, 11, 1), (42, 10), None),
        ((69, 11, 3), (59, 9), None),
        ((60, 25, 1), (9, 18), (2.3, 36.0, 20.4, 43.7)),
        ((53, 62, 1), (9, 22), (25.5, 2.8, 48.4, 28.8)),
    ]
    told = []
    each = [(seed, one, way) for seed, one in enumerate(asked) for way in INTERPOLATIONS]
    for seed, (shape, size, box), interpolation in each:
        picture = _bytes(*shape, seed=seed)
        image = Image.fromarray(picture[..., 0] if shape[2] == 1 else picture)
        resized = image.resize((size[1], size[0]), Image.Resampling[interpolation.upper()], box)
        told.append({
            "picture": coded(picture),
            "box": box,
            "interpolation": interpolation,
            "wanted": coded(np.asarray(resized).reshape(*size, shape[2])),
        })  # fmt: skip
    return told


def _fits() -> list[dict[str, Any]]:
    """Every geometry; sides over the fraction that lie between whole numbers, too."""
    told = []
    for channels in (1, 3):
        for resize, fraction, interpolation in (
            ("stretch", 1.0, "bilinear"),
            ("stretch", 1.0, "bicubic"),
            ("pad", 1.0, "bilinear"),
            ("crop", 0.875, "bilinear"),
            ("crop", 0.875, "bicubic"),
            ("crop", 0.4, "bilinear"),
            ("centre", 0.875, "bicubic"),
            ("centre", 0.7, "bilinear"),
            ("letterbox", 1.0, "bilinear"),
            ("letterbox", 1.0, "bicubic"),
        ):
            for height, width in ((24, 24), (5, 7), (21, 35)):
                preprocessing = Preprocessing(
                    height=height, width=width, channels=channels, resize=resize,
                    crop_fraction=fraction, interpolation=interpolation,
                )  # fmt: skip
                for size in ((40, 61), (61, 40), (4, 6), (21, 20), (height, width)):
                    picture = _bytes(*size, channels, seed=len(told))
                    told.append({
                        "picture": coded(picture),
                        "input": preprocessing.to_dict(),
                        "wanted": coded(fit_array(picture, preprocessing)),
                    })  # fmt: skip
    return told


def _normalised() -> list[dict[str, Any]]:
    imagenet = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
    told = []
    asked: list[dict[str, Any]] = [
        {"channels": 3},
        {"channels": 1, "mean": 0.1307 * 255, "std": 78.6},
        {"channels": 3, **imagenet},
        {"channels": 3, **imagenet, "order": "bgr"},
    ]
    for options in asked:
        preprocessing = Preprocessing(height=16, width=18, **options)
        bytes_ = _bytes(*preprocessing.input_shape, seed=7)
        told.append({
            "description": description("classification", preprocessing, ("a",), {"kind": "logits"}),
            "bytes": coded(bytes_),
            "wanted": coded(preprocessing.normalise(bytes_).astype(np.float32)),
        })  # fmt: skip
    return told


def _luma() -> dict[str, Any]:
    colours = _bytes(40, 50, 3, seed=8)
    return {
        "picture": coded(colours),
        "wanted": coded(np.asarray(Image.fromarray(colours).convert("L"))[..., None]),
    }


def _softmax() -> list[dict[str, Any]]:
    rows = (_rng(9).normal(0, 5, 10), np.array([1000.0, 999.0, -1000.0]), np.zeros(3))
    return [
        {"logits": row.tolist(), "wanted": softmax(row.astype(np.float32)[None])[0].tolist()}
        for row in rows
    ]


def _sigmoid() -> list[dict[str, Any]]:
    rows = (_rng(10).normal(0, 5, 10), np.array([100.0, -100.0, 1000.0, -1000.0]), np.zeros(3))
    return [
        {"logits": row.tolist(), "wanted": sigmoid(row.astype(np.float32)).tolist()} for row in rows
    ]


def _anchors() -> list[dict[str, Any]]:
    made = (
        ssd_anchors([(5, 7), (3, 4), (1, 1)], min_scale=0.2),
        pyramid_anchors((48, 64), levels=(3, 4)),
        rpn_anchors((32, 48), strides=(8, 16), sizes=((9,), (18,))),
    )
    return [{"anchors": one.to_dict(), "wanted": coded(one.boxes())} for one in made]


def _selection(seed: int) -> dict[str, Any]:
    """Random codes; every other with scores of few values, of which many are equal."""
    rng = _rng(10, seed)
    classes, background = 3, seed % 3 == 0
    spec = DetectorSpec(
        anchors=ssd_anchors([(4, 5), (2, 3)], min_scale=0.3, max_scale=0.6),
        box_scales=(10.0, 10.0, 5.0, 5.0),
        background=background,
        positive_iou=0.5,
        negative_iou=0.4,
        loss="multibox",
        score_threshold=0.25,
        iou_threshold=0.45,
        max_detections=12 if seed < 4 else 100,
        candidates=60 if seed == 5 else 5000,
    )
    spec = dataclasses.replace(spec, **_WAYS.get(seed, {}))
    count = spec.anchors.count
    codes = rng.normal(0, 1, (count, 4)).astype(np.float32)
    scores = rng.uniform(0, 1, (count, classes + background)).astype(np.float32)
    if seed % 2 and not spec.rule.soft:
        scores = np.round(scores * 4) / np.float32(4)
    found = of_picture(select(spec, codes[None], scores[None, :, int(background) :]), 0)
    return {
        "spec": spec.to_dict(),
        "classes": classes,
        "codes": coded(codes),
        "scores": coded(scores),
        "wanted": {name: coded(values) for name, values in found.items()},
    }


# Of `_selection`, by seed.
_WAYS: dict[int, dict[str, Any]] = {
    6: {"suppression": "soft"},
    7: {"class_agnostic": True},
    8: {"suppression": "soft", "soft_nms_sigma": 0.2, "class_agnostic": True},
}


def _worked_by_hand() -> list[dict[str, Any]]:
    return [
        {
            "spec": case.spec.to_dict(),
            "classes": suppression_cases.SCORES.shape[1],
            "codes": coded(suppression_cases.CODES),
            "scores": coded(suppression_cases.SCORES),
            "wanted": {name: coded(getattr(case, name)) for name in ("boxes", "labels", "scores")},
        }
        for case in suppression_cases.CASES
    ]


def _boxes() -> list[dict[str, Any]]:
    """In shares of the input, as shares of the picture."""
    told = []
    for resize in ("stretch", "pad", "letterbox"):
        preprocessing = Preprocessing(height=30, width=40, channels=3, resize=resize)
        for size in ((20, 33), (29, 40), (60, 33)):
            boxes = _rng(11, len(told)).uniform(-0.2, 1.2, (5, 4)).astype(np.float32)
            wanted = np.clip(boxes_from_network(boxes, size, preprocessing), 0, 1)
            told.append({
                "input": preprocessing.to_dict(),
                "size": size,
                "boxes": boxes.tolist(),
                "wanted": wanted.tolist(),
            })  # fmt: skip
    return told


def _maps() -> list[dict[str, Any]]:
    told = []
    for resize, output in (("stretch", (30, 40)), ("stretch", (21, 30)), ("pad", (30, 40)),
                           ("letterbox", (30, 40)), ("letterbox", (21, 30))):  # fmt: skip
        preprocessing = Preprocessing(height=30, width=40, channels=3, resize=resize)
        for size in ((20, 33), (30, 40), (97, 61), (11, 100)):
            found = _rng(12, len(told)).integers(0, 5, output, dtype=np.uint8)
            told.append({
                "input": preprocessing.to_dict(),
                "size": size,
                "map": coded(found),
                "wanted": coded(on_picture(found, size, preprocessing)),
            })  # fmt: skip
    return told


def _reframed() -> list[dict[str, Any]]:
    """A mask where its box is cut off, and where another box is around it."""
    told = []
    for box, frame in (
        ((-0.1, 0.2, 0.6, 1.3), (0.0, 0.2, 0.6, 1.0)),
        ((0.3, 0.3, 0.6, 0.5), (0.2, 0.1, 0.6, 0.8)),
    ):
        mask = _rng(14, len(told)).uniform(0, 1, (5, 5)).astype(np.float32)
        wanted = reframed(mask, np.array(box), np.array(frame))
        told.append({
            "mask": coded(mask), "side": 5, "box": box, "frame": frame, "wanted": coded(wanted)
        })  # fmt: skip
    return told


def _masks() -> list[dict[str, Any]]:
    """Inside, over edges, tiny, and wholly outside."""
    boxes = (
        (0.2, 0.3, 0.7, 0.9), (-0.3, 0.1, 0.4, 0.5), (0.5, 0.6, 1.3, 1.2), (0.41, 0.42, 0.43, 0.44),
        (0.0, 0.0, 1.0, 1.0), (1.2, 1.2, 1.5, 1.6),
    )  # fmt: skip
    told = []
    for seed, box in enumerate(boxes):
        mask = _rng(13, seed).uniform(0, 1, (14, 14)).astype(np.float32)
        told.append({
            "mask": coded(mask),
            "box": np.float32(box).tolist(),
            "size": (50, 64),
            "wanted": coded(paste(mask, np.float32(box), (50, 64)).astype(np.uint8)),
        })  # fmt: skip
    return told


def _overlays() -> list[dict[str, Any]]:
    """Of objects on a background, of many classes, and in the data's own colours."""
    many = tuple(f"class {number}" for number in range(20))
    own = tuple((7 * i, 250 - 5 * i, 3 * i) for i in range(4))
    told = []
    for labels, palette in ((("background", "a", "b"), None), (many, None), (many[:4], own)):
        rng = _rng(14, len(told))
        small = rng.integers(0, len(labels), (6, 7), dtype=np.uint8)
        small[0, 0] = VOID
        label_map = np.kron(small, np.ones((9, 8), np.uint8))
        picture = rng.integers(0, 256, (*label_map.shape, 3), dtype=np.uint8)
        told.append({
            "map": coded(label_map),
            "picture": coded(picture),
            "labels": labels,
            "palette": palette,
            "wanted": coded(overlay(picture, label_map, labels, palette)),
        })  # fmt: skip
    return told


def _zips() -> dict[str, str]:
    """Files as Python writes them, one with a zip made elsewhere, and a compressed one."""
    model = b"\x18\0\0\0TFL3" + bytes(range(256)) * 3
    preprocessing = Preprocessing(height=8, width=9, channels=3)
    told = description("classification", preprocessing, ("bär", "고양이"), {"kind": "logits"})
    apart, packed = io.BytesIO(), io.BytesIO(model)
    with zipfile.ZipFile(apart, "w") as archive:
        archive.writestr(DESCRIPTION, json.dumps(told))
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DESCRIPTION, json.dumps(told))
    files = {
        "appended": described(model, told),
        "apart": model + apart.getvalue(),
        "compressed": packed.getvalue(),
        "bare": model,
    }
    return {name: base64.b64encode(data).decode() for name, data in files.items()}
