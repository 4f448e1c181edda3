"""The self-test that a file carries: what it answered to a test image where it was written.

    "selftest": {"edition": 1, "runtime": "LiteRT 2.3.0", "tolerance": 0.001, "half": 0.03,
                 "float": 0.02,
                 "numbers": [{"name": "logits", "size": 1000, "span": 21.4, "mean": 0.012,
                              "top": [[281, 9.31], ...], "values": [0.12, ...]}, ...]}

or in place of "numbers", where choices among what is nearly equal may fall otherwise,

                 "map": {"name": "map", "size": 102400, "classes": [0, 0, 15, ...]}
                 "detections": {"floor": 0.05, "scores": [0.91, 0.4], "label": 3,
                                "box": [0.1, 0.2, 0.5, 0.6], "mask": 0.31}

The image is that of `selftest_image`; of another "edition" a client knows nothing, and says so. All
numbers are those of the outputs as the file gives them (ours are floats, or whole numbers that mean
classes), flattened, under the names of the signature.

How far another device is from them is one figure, a share:

- "numbers": the largest difference of a value, or of the mean of all values, over "span", which
  reaches from the lowest value to the highest, zero among them. "top" are the largest with their
  places, "values" those at places 0, 1, 2... if these are all of them, else at `hashes` mod "size".
- "map": the share of those places that have another class.
- "detections": the largest difference of scores, both sorted, those that are missing taken for the
  "floor", below which the file drops them. So equal scores may come in any order. One of those with
  the best one's label must overlap its box by `_SAME_BOX`, else what is missing of an overlap of 1
  counts: where two boxes are equally good, suppression keeps one or the other, and both overlap.
  "mask" is the mean of its cells, compared where the boxes are the same but for rounding.

"tolerance" is what the figure may be, "half" the same where a client's accelerator computes in half
precision, and "float" how far the file itself was from its float network when it was written.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from export.artefacts.selftest_image import EDITION, hashes

FIELD = "selftest"
_KINDS = ("numbers", "map", "detections")
_TOP, _VALUES, _CLASSES, _SCORES = 5, 32, 100, 12  # as many are written
_DIGITS = 5  # of a span
# Boxes of one object, between which suppression chose otherwise; and equal but for rounding.
_SAME_BOX, _EQUAL_BOX = 0.4, 0.9
# Of a file from anywhere no more is read.
_MOST_OUTPUTS, _MOST_VALUES, _MOST_SIZE, _MOST_CLASS = 8, 256, 2**31 - 1, 65535
_LONGEST_RUNTIME, _LARGEST = 80, 1e30

Outputs = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a runtime answers to the test image, against what the file says.

    Attributes:
        difference: see this module; infinite where answers are no numbers, or of another shape.
        tolerance: what it may be.
    """

    difference: float
    tolerance: float

    @property
    def verified(self) -> bool:
        """Whether the answers are the file's."""
        return self.difference <= self.tolerance

    def text(self) -> str:
        """As in "verified (0.012% apart, at most 0.1%)"."""
        if math.isinf(self.difference):
            return "the answers have another shape, or are no numbers"
        how = f"{_percent(self.difference)} apart, at most {_percent(self.tolerance)}"
        return f"verified ({how})" if self.verified else f"differs ({how})"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if share else "0%"


# ---------------------------------------------------------------- written


def of_outputs(outputs: Outputs, decoding: str, *, floor: float | None = None) -> dict[str, Any]:
    """The part of a self-test that says what was answered.

    Args:
        outputs: by name.
        decoding: its kind, see `export.artefacts.kinds.base.Kind.decodings`.
        floor: the lowest score of a detection; None where it is not known.

    Raises:
        ValueError: there are numbers among them that are none.
    """
    if not all(np.isfinite(values).all() for values in outputs.values()):
        raise ValueError("its answers are not numbers")
    if decoding == "detections":
        return {"detections": _detections(outputs, floor)}
    if decoding == "map":
        ((name, values),) = outputs.items()
        places = _places(values.size, _CLASSES)
        classes = values.ravel()[places].astype(int).tolist()
        return {"map": {"name": name, "size": values.size, "classes": classes}}
    each = max(1, _VALUES // len(outputs))
    return {"numbers": [_numbers(name, found, each) for name, found in outputs.items()]}


def _numbers(name: str, output: np.ndarray, count: int) -> dict[str, Any]:
    values = output.ravel().astype(np.float64)
    span = float(max(values.max(), 0) - min(values.min(), 0)) or 1.0
    digits = _DIGITS - math.ceil(math.log10(span))
    places = _places(values.size, count)
    top = np.argsort(-values, kind="stable")[:_TOP]
    return {
        "name": name,
        "size": values.size,
        "span": float(f"{span:.{_DIGITS}g}"),
        "mean": round(float(values.mean()), digits),
        "top": [[int(place), round(float(values[place]), digits)] for place in top],
        "values": [round(float(value), digits) for value in values[places]],
    }


def _detections(outputs: Outputs, floor: float | None) -> dict[str, Any]:
    count = round(float(outputs["count"].ravel()[0]))
    scores, labels = (outputs[name].ravel()[:count] for name in ("scores", "labels"))
    boxes = outputs["boxes"].reshape(-1, 4)[:count]
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    kept = [round(float(score), _DIGITS) for score in scores[order[:_SCORES]]]
    if count > _SCORES or floor is None:
        floor = min(kept, default=0.0)
    expected: dict[str, Any] = {"floor": round(floor, _DIGITS), "scores": kept}
    if not count:
        return expected
    best = int(order[0])
    expected["label"] = int(labels[best])
    expected["box"] = [round(float(side), _DIGITS) for side in boxes[best]]
    if "masks" in outputs:
        expected["mask"] = round(float(_masks(outputs)[best].mean(dtype=np.float64)), _DIGITS)
    return expected


def _masks(outputs: Outputs) -> np.ndarray:
    """(n, cells)."""
    return outputs["masks"].reshape(outputs["scores"].size, -1)


def _places(size: int, count: int) -> np.ndarray:
    """Where a self-test looks at an output."""
    return np.arange(size) if size <= count else hashes(count).astype(np.int64) % size


# ---------------------------------------------------------------- compared


def compare(selftest: Mapping[str, Any], outputs: Outputs, *, half: bool = False) -> Comparison:
    """Hold what a runtime answered to the test image against what the file says.

    Args:
        selftest: of a description, checked.
        outputs: by name.
        half: whether the runtime computed in half precision.
    """
    tolerance = float(selftest["tolerance"])
    if half:
        tolerance = max(tolerance, float(selftest["half"]))
    if "numbers" in selftest:
        apart = max(_apart(expected, outputs) for expected in selftest["numbers"])
    elif "map" in selftest:
        apart = _map_apart(selftest["map"], outputs)
    else:
        apart = _detections_apart(selftest["detections"], outputs)
    return Comparison(difference=apart if math.isfinite(apart) else math.inf, tolerance=tolerance)


def _found(outputs: Outputs, name: str, size: int | None = None) -> np.ndarray | None:
    """An output, flattened; None of one that is not there, of another size, or no numbers."""
    if name not in outputs:
        return None
    values = outputs[name].ravel()
    if (size is not None and values.size != size) or not np.isfinite(values).all():
        return None
    return values.astype(np.float64)


def _apart(expected: Mapping[str, Any], outputs: Outputs) -> float:
    values = _found(outputs, expected["name"], expected["size"])
    if values is None:
        return math.inf
    places = _places(values.size, len(expected["values"]))
    wanted = [*expected["values"], *(value for _, value in expected["top"]), expected["mean"]]
    top = [place for place, _ in expected["top"]]
    found = [*values[places], *values[top], values.mean()]
    return float(np.abs(np.subtract(found, wanted)).max()) / float(expected["span"])


def _map_apart(expected: Mapping[str, Any], outputs: Outputs) -> float:
    values = _found(outputs, expected["name"], expected["size"])
    if values is None:
        return math.inf
    places = _places(values.size, len(expected["classes"]))
    return float(np.mean(values[places] != expected["classes"]))


def _detections_apart(expected: Mapping[str, Any], outputs: Outputs) -> float:
    found = [_found(outputs, name) for name in ("boxes", "labels", "scores", "count")]
    boxes, labels, scores, counts = found
    if boxes is None or labels is None or scores is None or counts is None or counts.size != 1:
        return math.inf
    count = round(float(counts[0]))
    if not 0 <= count <= scores.size == labels.size or boxes.size != 4 * scores.size:
        return math.inf
    apart = _scores_apart(expected, scores[:count])
    if not expected["scores"]:
        return apart
    alike = np.flatnonzero(labels[:count] == expected["label"]).tolist()
    overlaps = [_overlap(boxes.reshape(-1, 4)[place], np.array(expected["box"])) for place in alike]
    overlap = max(overlaps, default=0.0)
    if overlap < _SAME_BOX:
        return max(apart, 1 - overlap)
    if "mask" not in expected or overlap < _EQUAL_BOX:
        return apart
    return max(apart, _mask_apart(expected["mask"], outputs, alike[overlaps.index(overlap)]))


def _scores_apart(expected: Mapping[str, Any], found: np.ndarray) -> float:
    """Of scores, the best first; what is below the floor, or missing, counts as the floor."""
    length = max(len(expected["scores"]), _SCORES)
    sorted_scores = np.full((2, length), expected["floor"], np.float64)
    for row, scores in zip(sorted_scores, (expected["scores"], found), strict=True):
        best = np.sort(scores)[::-1][:length]
        row[: len(best)] = np.maximum(best, expected["floor"])
    return float(np.abs(sorted_scores[0] - sorted_scores[1]).max())


def _mask_apart(wanted: float, outputs: Outputs, place: int) -> float:
    masks, count = _found(outputs, "masks"), outputs["scores"].size
    if masks is None or masks.size % count:
        return math.inf
    return abs(float(masks.reshape(count, -1)[place].mean()) - wanted)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union; of equal boxes 1, also without an area."""
    if np.abs(one - other).max() <= 0.1**_DIGITS:
        return 1.0
    sides = np.maximum(0, np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]))
    areas = [float(np.maximum(0, box[2:] - box[:2]).prod()) for box in (one, other)]
    shared = float(sides.prod())
    return shared / (sum(areas) - shared) if shared else 0.0


# ---------------------------------------------------------------- read


def check(selftest: Any) -> None:
    """Look at the self-test of a file, which may come from anywhere.

    Raises:
        ValueError: names the field that makes no sense. The page and the Android demo refuse the
            same ones.
    """
    _demand(isinstance(selftest, dict), FIELD)
    _demand(_is_whole(selftest.get("edition"), 1), f"{FIELD}.edition")
    if selftest["edition"] > EDITION:
        return
    runtime = selftest.get("runtime")
    _demand(isinstance(runtime, str) and len(runtime) <= _LONGEST_RUNTIME, f"{FIELD}.runtime")
    for name in ("tolerance", "half"):
        _demand(_is_share(selftest.get(name)) and selftest[name] > 0, f"{FIELD}.{name}")
    _demand("float" not in selftest or _is_number(selftest["float"]), f"{FIELD}.float")
    there = [name for name in _KINDS if name in selftest]
    _demand(len(there) == 1, FIELD)
    _CHECKS[there[0]](selftest[there[0]])


def known(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The self-test of a description; None without one, or of one by another formula."""
    selftest = metadata.get(FIELD)
    return selftest if selftest is not None and selftest["edition"] == EDITION else None


def _check_numbers(numbers: Any) -> None:
    field = f"{FIELD}.numbers"
    _demand(isinstance(numbers, list) and 0 < len(numbers) <= _MOST_OUTPUTS, field)
    for one in numbers:
        _demand(isinstance(one, dict) and isinstance(one.get("name"), str), field)
        _demand(_is_whole(one.get("size"), 1, _MOST_SIZE), f"{field}.size")
        _demand(_is_number(one.get("span")) and one["span"] > 0, f"{field}.span")
        _demand(_is_number(one.get("mean")), f"{field}.mean")
        _demand(_is_list(one.get("values"), _is_number), f"{field}.values")
        _demand(len(one["values"]) <= one["size"], f"{field}.values")
        _demand(_is_list(one.get("top"), _is_pair), f"{field}.top")
        _demand(all(place < one["size"] for place, _ in one["top"]), f"{field}.top")


def _is_pair(pair: Any) -> bool:
    fine = isinstance(pair, list) and len(pair) == 2
    return fine and _is_whole(pair[0], 0) and _is_number(pair[1])


def _check_map(expected: Any) -> None:
    field = f"{FIELD}.map"
    _demand(isinstance(expected, dict) and isinstance(expected.get("name"), str), field)
    _demand(_is_whole(expected.get("size"), 1, _MOST_SIZE), f"{field}.size")
    _demand(_is_list(expected.get("classes"), _is_class), f"{field}.classes")
    _demand(len(expected["classes"]) <= expected["size"], f"{field}.classes")


def _is_class(value: Any) -> bool:
    return _is_whole(value, 0, _MOST_CLASS)


def _check_detections(expected: Any) -> None:
    field = f"{FIELD}.detections"
    _demand(isinstance(expected, dict), field)
    _demand(_is_share(expected.get("floor")), f"{field}.floor")
    scores = expected.get("scores")
    _demand(scores == [] or _is_list(scores, _is_share), f"{field}.scores")
    if not scores:
        return
    _demand(_is_class(expected.get("label")), f"{field}.label")
    box = expected.get("box")
    _demand(_is_list(box, _is_number) and len(box) == 4, f"{field}.box")
    _demand("mask" not in expected or _is_number(expected["mask"]), f"{field}.mask")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "numbers": _check_numbers,
    "map": _check_map,
    "detections": _check_detections,
}


def _is_list(values: Any, fine: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and 0 < len(values) <= _MOST_VALUES and all(map(fine, values))


def _is_whole(value: Any, least: int, most: int = _MOST_SIZE) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) <= _LARGEST and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _demand(fine: bool, field: str) -> None:
    if not fine:
        raise ValueError(field)
