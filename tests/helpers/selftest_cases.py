"""Self-tests, sound and hostile, and what Python makes of them: for the tests of all clients."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from export.artefacts.selftest import compare, of_outputs
from export.artefacts.selftest_image import image_of

SIZES = ((1, 1, 1), (1, 1, 3), (7, 5, 3), (28, 28, 1), (48, 40, 3), (65, 130, 1), (224, 224, 3))
_HEAD = {"edition": 1, "runtime": "LiteRT 2.3.0", "tolerance": 0.001, "half": 0.02}


def images() -> list[dict[str, Any]]:
    """Sizes, and the CRC-32 of the bytes."""
    return [
        {"shape": list(shape), "crc": zlib.crc32(image_of(*shape).tobytes())} for shape in SIZES
    ]


def numbers() -> dict[str, Any]:
    """Of a detector that gives codes."""
    return {**_HEAD, **of_outputs(_codes(), "codes")}


def few_numbers() -> dict[str, Any]:
    """Of a classifier."""
    return {**_HEAD, **of_outputs({"logits": np.float32([[-1, 0.5, 2]])}, "logits")}


def class_map() -> dict[str, Any]:
    """Of a segmentation network."""
    return {**_HEAD, "tolerance": 0.02, **of_outputs(_map(), "map")}


def detections() -> dict[str, Any]:
    """Of a detector with masks."""
    return {**_HEAD, **of_outputs(_detections(), "detections", floor=0.05)}


def comparisons() -> list[tuple[dict[str, Any], dict[str, np.ndarray], bool]]:
    """Self-tests, outputs of another runtime, and whether it computed in half precision."""
    noise = np.random.default_rng(3).normal(0, 0.01, 200)
    nudged = {
        name: array + noise[: array.size].reshape(array.shape) for name, array in _codes().items()
    }
    broken = {**_codes(), "boxes": np.full((1, 20, 4), np.nan)}
    flipped = _map()
    flipped["map"][0, ::9] = 4
    found = _detections()
    order = [1, 0, 2, 3]
    reordered = {name: one[:, order] if one.ndim > 1 else one for name, one in found.items()}
    fewer = {**found, "count": np.float32([2]), "scores": found["scores"] - np.float32(0.01)}
    elsewhere = {**found, "boxes": 1 - found["boxes"][..., [2, 3, 0, 1]]}
    other = {**found, "labels": found["labels"] + 1}
    flat = {**found, "masks": found["masks"] * 0 + np.float32(0.9)}
    none = {**found, "count": np.float32([0])}
    nothing = {**_HEAD, **of_outputs(none, "detections", floor=0.05)}
    return [
        *[(numbers(), one, half) for one in (_codes(), nudged, broken) for half in (False, True)],
        (numbers(), {"boxes": _codes()["boxes"]}, False),
        (numbers(), {**_codes(), "scores": np.zeros((1, 21, 3))}, False),
        *[(class_map(), one, False) for one in (_map(), flipped)],
        *[
            (detections(), one, half)
            for one in (found, reordered, fewer, elsewhere, other, flat, none)
            for half in (False, True)
        ],
        (detections(), {**found, "count": np.float32([9])}, False),
        *[(nothing, one, False) for one in (none, found)],
    ]


def hostile() -> Iterator[tuple[str, str]]:
    """Texts of self-tests that every client refuses, and the field that it names."""
    for name in ("edition", "runtime", "tolerance", "half"):
        for value in ([], {}, -1, "x" * 81):
            yield f"selftest.{name}", _changed(few_numbers(), name, value)
    for name in ("tolerance", "half"):
        for value in (0, 1.5, "0.1", True):
            yield f"selftest.{name}", _changed(few_numbers(), name, value)
        yield f"selftest.{name}", _changed(few_numbers(), name, None)
        yield f"selftest.{name}", _changed(few_numbers(), name, 77.25).replace("77.25", "1e400")
    yield "selftest.edition", _changed(few_numbers(), "edition", 0)
    yield "selftest.float", _changed(few_numbers(), "float", "far")
    for told in (5, "selftest", [few_numbers()], True):
        yield "selftest", json.dumps(told)
    yield "selftest", json.dumps(_HEAD)
    yield "selftest", json.dumps({**few_numbers(), **class_map()})
    yield from _hostile_numbers()
    yield from _hostile_maps()
    yield from _hostile_detections()


def _hostile_numbers() -> Iterator[tuple[str, str]]:
    for value in ([], {}, "x", [5], few_numbers()["numbers"] * 9):
        yield "selftest.numbers", _changed(few_numbers(), "numbers", value)
    wrong = {
        "size": (0, -1, 2**31, "9", []),
        "span": (0, -1, "1", [], 1e35),
        "mean": ("0", [], 1e35),
        "values": ([], [0] * 257, ["1"], [[0]], {}),
        "top": ([], [[0]], [[-1, 0]], [[2**31 - 1, 0]], [[0, "1"]], [5], [[0, 0]] * 257, "top"),
    }
    for name, values in wrong.items():
        for value in values:
            yield f"selftest.numbers.{name}", _changed(few_numbers(), "numbers", value, 0, name)
    yield "selftest.numbers", _changed(few_numbers(), "numbers", 5, 0, "name")


def _hostile_maps() -> Iterator[tuple[str, str]]:
    for value in ([], 5, "map"):
        yield "selftest.map", _changed(class_map(), "map", value)
    yield "selftest.map", _changed(class_map(), "map", 5, "name")
    for value in (0, 2**31, [], 3):
        field = "classes" if value == 3 else "size"
        yield f"selftest.map.{field}", _changed(class_map(), "map", value, "size")
    for value in ([], [-1], [2**16], [0.5], [0] * 257, "0"):
        yield "selftest.map.classes", _changed(class_map(), "map", value, "classes")


def _hostile_detections() -> Iterator[tuple[str, str]]:
    for value in ([], 5, "detections"):
        yield "selftest.detections", _changed(detections(), "detections", value)
    wrong = {
        "floor": (-0.1, 2, "0", []),
        "scores": ([2], [-1], ["1"], [0.5] * 257, {}, 5),
        "label": (-1, 2**16, 0.5, "1", []),
        "box": ([], [0] * 5, ["0"] * 4, 5),
        "mask": ("0", [], 1e35),
    }
    for name, values in wrong.items():
        for value in values:
            yield f"selftest.detections.{name}", _changed(detections(), "detections", value, name)


def golden() -> dict[str, Any]:
    """For clients in other languages, as JSON."""
    from web_golden import coded  # which asks for this

    return {
        "images": images(),
        "fine": [numbers(), class_map(), detections(), {"edition": 2}],
        "hostile": [{"field": field, "text": text} for field, text in hostile()],
        "comparisons": [
            {
                "selftest": told,
                "outputs": {name: coded(np.float32(one)) for name, one in outputs.items()},
                "half": half,
                "difference": _difference(told, outputs, half),
            }
            for told, outputs, half in comparisons()
        ],
    }


def _difference(told: dict[str, Any], outputs: dict[str, np.ndarray], half: bool) -> float | None:
    rounded = {name: np.float32(one) for name, one in outputs.items()}
    found = compare(told, rounded, half=half).difference
    return found if np.isfinite(found) else None


def _changed(told: dict[str, Any], name: str, value: Any, *inside: Any) -> str:
    """A self-test with another value in one place; without the field where that is None."""
    made = copy.deepcopy(told)
    place, last = made, name
    for step in inside:
        place, last = place[last], step
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(made)


def _codes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    boxes, scores = rng.normal(0, 2, (1, 20, 4)), rng.uniform(0, 0.1, (1, 20, 3))
    return {"boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32)}


def _map() -> dict[str, np.ndarray]:
    rows = np.arange(12)[:, None] // 3 * np.ones(10, int)
    return {"map": rows[None].astype(np.float32)}


def _detections() -> dict[str, np.ndarray]:
    corners = np.float32([[0.1, 0.1], [0.12, 0.13], [0.5, 0.4], [0, 0]])
    sides = np.float32([[0.3, 0.4], [0.3, 0.4], [0.2, 0.3], [0, 0]])
    masks = np.linspace(0, 1, 4 * 9, dtype=np.float32).reshape(1, 4, 3, 3)
    return {
        "boxes": np.concatenate([corners, corners + sides], axis=1)[None],
        "labels": np.float32([[2, 2, 0, 0]]),
        "scores": np.float32([[0.8, 0.8, 0.3, 0]]),
        "count": np.float32([3]),
        "masks": masks,
    }
