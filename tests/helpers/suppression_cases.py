"""Suppression worked by hand: what Python, the files, the page and the app all must answer.

Four anchors, the quarters of the input. Anchor 1 is moved by three quarters of its side onto
anchor 0: their IoU is 0.375 / 0.625 = 0.6. The others touch nothing.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kerascnn.detection.anchors import Anchors, Level
from kerascnn.detection.specs import DetectorSpec

SPEC = DetectorSpec(
    anchors=Anchors(levels=(Level(rows=2, columns=2, sizes=((0.5, 0.5),)),)),
    box_scales=(1.0, 1.0, 1.0, 1.0),
    background=False,
    positive_iou=0.5,
    negative_iou=0.4,
    loss="focal",
    score_threshold=0.1,
    max_detections=8,
)
CODES = np.zeros((4, 4), np.float32)
CODES[1, 1] = -0.75
# Of each anchor that of class 0 and of class 1.
SCORES = np.array([[0.9, 0.5], [0.3, 0.8], [0.05, 0.6], [0.05, 0.05]], np.float32)
BOXES = np.array([[0, 0, 0.5, 0.5], [0, 0.125, 0.5, 0.625], [0.5, 0, 1, 0.5]], np.float32)
_FALL = math.exp(-0.6 * 0.6 / 0.5)  # 0.486752


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """Options of the spec, and what is found: label, score and anchor, the best first."""

    name: str
    options: dict[str, object]
    wanted: list[tuple[int, float, int]]

    @property
    def spec(self) -> DetectorSpec:
        return dataclasses.replace(SPEC, **self.options)

    @property
    def labels(self) -> np.ndarray:
        return np.array([label for label, _, _ in self.wanted], np.int32)

    @property
    def scores(self) -> np.ndarray:
        return np.array([score for _, score, _ in self.wanted], np.float32)

    @property
    def boxes(self) -> np.ndarray:
        return BOXES[[anchor for _, _, anchor in self.wanted]]


CASES = (
    Case(name="hard", options={}, wanted=[(0, 0.9, 0), (1, 0.8, 1), (1, 0.6, 2)]),
    Case(
        name="hard, class-agnostic",
        options={"class_agnostic": True},
        wanted=[(0, 0.9, 0), (1, 0.6, 2)],
    ),
    Case(
        name="soft",
        options={"suppression": "soft"},
        wanted=[(0, 0.9, 0), (1, 0.8, 1), (1, 0.6, 2), (1, 0.5 * _FALL, 0), (0, 0.3 * _FALL, 1)],
    ),
    Case(  # the second falls behind the third
        name="soft, class-agnostic",
        options={"suppression": "soft", "class_agnostic": True},
        wanted=[(0, 0.9, 0), (1, 0.6, 2), (1, 0.8 * _FALL, 1)],
    ),
    Case(  # 0.8 * exp(-3.6) = 0.0219 is below the threshold
        name="soft with a narrow Gaussian",
        options={"suppression": "soft", "class_agnostic": True, "soft_nms_sigma": 0.1},
        wanted=[(0, 0.9, 0), (1, 0.6, 2)],
    ),
    Case(
        name="soft, the two best",
        options={"suppression": "soft", "class_agnostic": True, "max_detections": 2},
        wanted=[(0, 0.9, 0), (1, 0.6, 2)],
    ),
)
