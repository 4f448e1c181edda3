"""What a client must know of a detector's outputs; no framework is needed to read it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from kerascnn.detection.anchors import Anchors
from kerascnn.errors import InputError, did_you_mean

# Of two detections of a class with a higher one, the better one stays, where nobody says otherwise.
IOU_THRESHOLD = 0.5
# "hard": what overlaps with something better is dropped; "soft": its score falls (Soft-NMS).
SUPPRESSIONS = ("hard", "soft")
# Of Soft-NMS's Gaussian: Bodla et al., arXiv:1704.04503, section 4.2 ("sigma is set to 0.5").
SOFT_NMS_SIGMA = 0.5
MULTIBOX, FOCAL, QUALITY_FOCAL = LOSSES = ("multibox", "focal", "quality_focal")
DELTAS, DISTANCES = CODINGS = ("deltas", "distances")
# Fields of a `DetectorSpec` that say nothing of one with distances.
OF_ANCHORS = ("positive_iou", "negative_iou", "box_scales", "loss", "coding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suppression:
    """What becomes of a detection that overlaps with a better one.

    Attributes:
        iou_threshold: with a higher IoU it is dropped, where suppression is hard.
        class_agnostic: whether classes suppress one another.
        soft_nms_sigma: of Soft-NMS's Gaussian; None where suppression is hard.
        score_threshold: a score that fell below it is no detection's.
    """

    iou_threshold: float = IOU_THRESHOLD
    class_agnostic: bool = False
    soft_nms_sigma: float | None = None
    score_threshold: float = 0.0

    @property
    def soft(self) -> bool:
        """Whether scores fall, and nothing is dropped by its overlap alone."""
        return self.soft_nms_sigma is not None


# Fields that came later: at their defaults they are not written, as in files of before.
_LATER: Mapping[str, Any] = {
    "suppression": "hard",
    "soft_nms_sigma": SOFT_NMS_SIGMA,
    "class_agnostic": False,
}


class _Suppresses:
    """What the fields of a spec say of suppression."""

    suppression: str
    soft_nms_sigma: float
    class_agnostic: bool
    iou_threshold: float
    score_threshold: float

    @property
    def rule(self) -> Suppression:
        """What becomes of detections that overlap."""
        return Suppression(
            iou_threshold=self.iou_threshold,
            class_agnostic=self.class_agnostic,
            soft_nms_sigma=self.soft_nms_sigma if self.suppression == "soft" else None,
            score_threshold=self.score_threshold,
        )

    def _check_suppression(self) -> None:
        if self.suppression not in SUPPRESSIONS:
            hint = did_you_mean(str(self.suppression), SUPPRESSIONS)
            raise InputError(
                f"suppression must be {' or '.join(SUPPRESSIONS)}, not {self.suppression!r}{hint}"
            )
        if not isinstance(self.class_agnostic, bool):
            raise InputError(f"class_agnostic must be true or false, not {self.class_agnostic!r}")
        if not 0 < self.soft_nms_sigma < math.inf:
            raise InputError(f"soft_nms_sigma must be above 0, not {self.soft_nms_sigma}")


def suppression_to_dict(spec: DetectorSpec | TwoStageSpec) -> dict[str, Any]:
    """The fields of a spec that say of suppression what is not the default."""
    later = ((name, getattr(spec, name)) for name in _LATER)
    return {name: value for name, value in later if value != _LATER[name]}


def _fields(spec: DetectorSpec | TwoStageSpec) -> dict[str, Any]:
    values = dataclasses.asdict(spec)
    return {k: v for k, v in values.items() if k not in _LATER} | suppression_to_dict(spec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorSpec(_Suppresses):
    """What a detector's outputs mean; travels in run.json and beside every artefact.

    Attributes:
        anchors: what the codes are against.
        box_scales: of dy, dx, dh and dw.
        background: whether the logits are of a softmax with the background first; else each
            class has a sigmoid of its own.
        positive_iou, negative_iou: an anchor is an object's from the first on, and background
            below the second.
        loss: "multibox" or "focal", of anchors that match by their overlap; or "quality_focal", of
            points to which objects are assigned by what the network predicts there, where nothing
            goes by the two overlaps.
        score_threshold: the lowest score of a detection, above 0.
        iou_threshold: of two detections of a class with a higher IoU, the better one stays.
        max_detections: of a picture, of all classes together.
        candidates: (anchor, class) pairs of a picture that suppression looks at, the best ones; as
            many as github.com/google/automl's `MAX_DETECTION_POINTS`. Files look at all, unless
            suppression is soft. Where it is class-agnostic, they are anchors.
        suppression: "hard", or "soft": Soft-NMS's Gaussian (arXiv:1704.04503), by which the score
            of what overlaps with something better falls, and `iou_threshold` means nothing.
        soft_nms_sigma: of that Gaussian, exp(-IoU² / sigma).
        class_agnostic: classes suppress one another, and an anchor has its best class alone.
        coding: of boxes in the network's outputs: "deltas" against the anchors
            (`kerascnn.detection.boxes.encode`), or "distances" of the four sides from the anchors'
            centres, in anchors' sides (`kerascnn.detection.boxes.deltas_of`). Files have deltas.
    """

    stages = 1
    masks = False

    @property
    def decoder(self) -> DetectorSpec | None:
        """By what a client decodes codes and scores; None where a network has detections alone."""
        return self

    anchors: Anchors
    box_scales: tuple[float, float, float, float]
    background: bool
    positive_iou: float
    negative_iou: float
    loss: str
    score_threshold: float = 0.05
    iou_threshold: float = IOU_THRESHOLD
    max_detections: int = 100
    candidates: int = 5000
    suppression: str = "hard"
    soft_nms_sigma: float = SOFT_NMS_SIGMA
    class_agnostic: bool = False
    coding: str = DELTAS

    def __post_init__(self) -> None:
        if len(self.box_scales) != 4 or min(self.box_scales) <= 0:
            raise InputError(f"box_scales must be four numbers above 0, not {self.box_scales}")
        for name, known in (("loss", LOSSES), ("coding", CODINGS)):
            value = getattr(self, name)
            if value not in known:
                listed = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
                hint = did_you_mean(str(value), known)
                raise InputError(f"{name} must be {listed}, not {value!r}{hint}")
        self._check_points()
        if not 0 < self.negative_iou <= self.positive_iou <= 1:
            raise InputError(
                "0 < negative_iou <= positive_iou <= 1 must hold, not with "
                f"{self.negative_iou} and {self.positive_iou}"
            )
        for name in ("score_threshold", "iou_threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be above 0 and at most 1, not {getattr(self, name)}")
        for name in ("max_detections", "candidates"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        self._check_suppression()

    def _check_points(self) -> None:
        """What goes with distances, and with objects that are assigned by predictions."""
        if self.coding == DISTANCES and self.loss != QUALITY_FOCAL:
            raise InputError(f"boxes of {DISTANCES} have loss {QUALITY_FOCAL!r}, not {self.loss!r}")
        if self.loss == QUALITY_FOCAL and self.background:
            raise InputError(f"loss {QUALITY_FOCAL!r} is of sigmoids, and there is a background")
        if self.loss == QUALITY_FOCAL and any(len(one.sizes) > 1 for one in self.anchors.levels):
            raise InputError(f"loss {QUALITY_FOCAL!r} is of one point a cell, not of anchors")

    @property
    def in_files(self) -> DetectorSpec:
        """What the outputs of this network's files mean, whose boxes are deltas."""
        return dataclasses.replace(self, coding=DELTAS)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; without a coding where boxes are deltas, as it always was."""
        values = _fields(self)
        if self.coding == DELTAS:
            del values["coding"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DetectorSpec:
        """Read the JSON form; raises KeyError, TypeError or ValueError on anything else."""
        anchors, scales = Anchors.from_dict(values["anchors"]), tuple(values["box_scales"])
        return cls(**{**values, "anchors": anchors, "box_scales": scales})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoStageSpec(_Suppresses):
    """What a two-stage detector's outputs mean; travels in run.json and beside every artefact.

    Attributes:
        anchors: of the first stage, level by level.
        input_size: (height, width) of the network's input in pixels.
        box_scales: of dy, dx, dh and dw of the second stage.
        rpn_positive_iou, rpn_negative_iou: an anchor is an object's from the first on, and
            background below the second.
        rpn_samples, rpn_positive_share: anchors of a picture that the first stage's loss looks at,
            and how many of them may be objects'.
        candidates_a_level: anchors of a level that can become proposals, the best ones.
        proposals: of a picture; training takes twice as many.
        rpn_iou_threshold: of two candidates of a level with a higher IoU, the better one stays.
        rpn_score_threshold: the lowest score of a proposal.
        positive_iou: a region is an object's from this IoU on, else background.
        samples, positive_share: regions of a picture that the second stage's loss looks at, and
            how many of them may be objects'.
        score_threshold: detections have scores above it.
        iou_threshold: of two detections of a class with a higher IoU, the better one stays.
        max_detections: of a picture, of all classes together.
        candidates: (region, class) pairs of a picture that suppression looks at, the best ones.
        suppression, soft_nms_sigma, class_agnostic: of the second stage, as of `DetectorSpec`.
        masks: whether there are masks.
    """

    stages = 2

    @property
    def decoder(self) -> DetectorSpec | None:
        """None: the network detects by itself."""
        return None

    anchors: Anchors
    input_size: tuple[int, int]
    box_scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    rpn_positive_iou: float = 0.7
    rpn_negative_iou: float = 0.3
    rpn_samples: int = 256
    rpn_positive_share: float = 0.5
    candidates_a_level: int = 1000
    proposals: int = 1000
    rpn_iou_threshold: float = 0.7
    rpn_score_threshold: float = 0.0
    positive_iou: float = 0.5
    samples: int = 512
    positive_share: float = 0.25
    score_threshold: float = 0.05
    iou_threshold: float = IOU_THRESHOLD
    max_detections: int = 100
    candidates: int = 5000
    masks: bool = False
    suppression: str = "hard"
    soft_nms_sigma: float = SOFT_NMS_SIGMA
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        if len(self.box_scales) != 4 or min(self.box_scales) <= 0:
            raise InputError(f"box_scales must be four numbers above 0, not {self.box_scales}")
        if not 0 < self.rpn_negative_iou <= self.rpn_positive_iou <= 1:
            raise InputError(
                "0 < rpn_negative_iou <= rpn_positive_iou <= 1 must hold, not with "
                f"{self.rpn_negative_iou} and {self.rpn_positive_iou}"
            )
        for name in ("positive_iou", "rpn_iou_threshold", "iou_threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be above 0 and at most 1, not {getattr(self, name)}")
        for name in ("rpn_positive_share", "positive_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        for name in ("rpn_score_threshold", "score_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"{name} must be at least 0 and below 1, not {getattr(self, name)}"
                )
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        self._check_suppression()
        if len(self.input_size) != 2 or min(self.input_size) < 1:
            raise InputError(f"input_size must be a height and a width, not {self.input_size}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; "stages" tells it from a `DetectorSpec`'s."""
        return {"stages": self.stages, **_fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TwoStageSpec:
        """Read the JSON form; raises KeyError, TypeError or ValueError on anything else."""
        own = {name: value for name, value in values.items() if name != "stages"}
        for name in ("input_size", "box_scales"):
            own[name] = tuple(values[name])
        return cls(**{**own, "anchors": Anchors.from_dict(values["anchors"])})


_COUNTS = (
    "rpn_samples", "candidates_a_level", "proposals", "samples", "max_detections", "candidates",
)  # fmt: skip
