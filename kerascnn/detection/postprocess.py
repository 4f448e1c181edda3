"""From a detector's outputs to detections, and what a client must know of a detector for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from kerascnn.detection import boxes as box_ops
from kerascnn.detection.nms import nms, soft_nms
from kerascnn.detection.specs import DISTANCES, DetectorSpec, TwoStageSpec


def scores(spec: DetectorSpec, logits: Any) -> Any:
    """Class scores (n, a, c) in 0..1 of logits (n, a, c), or (n, a, c + 1) with a background."""
    logits = ops.convert_to_tensor(logits, "float32")
    return ops.softmax(logits, axis=-1)[..., 1:] if spec.background else ops.sigmoid(logits)


def detections(spec: DetectorSpec | TwoStageSpec, outputs: Any) -> dict[str, Any]:
    """Detections of a network's outputs; those of two stages are detections already."""
    return outputs if spec.decoder is None else detect(spec.decoder, *outputs)


def detect(spec: DetectorSpec, codes: Any, logits: Any) -> dict[str, Any]:
    """Detections of a batch, the best first.

    Args:
        codes: (n, a, 4).
        logits: (n, a, c), or (n, a, c + 1) with a background.

    Returns:
        "boxes" (n, d, 4), clipped to the picture after suppression, which compares whole boxes;
        "labels" (n, d) int32; "scores" (n, d); "count" (n,) int32. Behind `count` come boxes of
        zeros with label -1 and score 0. Equal scores go by label, then by anchor (by anchor where
        suppression is class-agnostic); see `kerascnn.detection`.

    They are those of TFLite_Detection_PostProcess with use_regular_nms (and detections_per_class
    as max_detections), or without where suppression is class-agnostic, clipped, if no more than
    `candidates` pairs reach the score threshold. It has no soft suppression.

    Source: tensorflow/lite/kernels/detection_postprocess.cc.
    """
    return select(spec, codes, scores(spec, logits))


def select(spec: DetectorSpec, codes: Any, class_scores: Any) -> dict[str, Any]:
    """The same of scores (n, a, c), as `scores` gives them."""
    best, label, anchor = _candidates(spec, ops.convert_to_tensor(class_scores, "float32"))
    chosen = ops.take_along_axis(ops.convert_to_tensor(codes), anchor[..., None], axis=1)
    boxes = box_ops.decode(
        box_ops.deltas_of(chosen) if spec.coding == DISTANCES else chosen,
        ops.take(ops.convert_to_tensor(spec.anchors.boxes()), anchor, axis=0),
        spec.box_scales,
    )
    kept, valid, *softened = suppress(spec, boxes, best, label)
    return {
        "boxes": ops.where(
            valid[..., None],
            box_ops.clip(ops.take_along_axis(boxes, kept[..., None], axis=1)),
            0.0,
        ),
        "labels": ops.where(valid, ops.take_along_axis(label, kept, axis=1), -1),
        "scores": ops.where(valid, left_of(softened, best, kept), 0.0),
        "count": ops.sum(ops.cast(valid, "int32"), axis=1),
    }


def left_of(softened: list[Any], best: Any, kept: Any) -> Any:
    """(n, d) scores of detections: what is left of them, else as candidates had them."""
    return softened[0] if softened else ops.take_along_axis(best, kept, axis=1)


def _candidates(spec: DetectorSpec, class_scores: Any) -> tuple[Any, Any, Any]:
    """Scores, labels and anchors (n, k) of what suppression looks at, the best first."""
    anchor_count, classes = class_scores.shape[1:]
    if spec.class_agnostic:  # as TFLite's operation without use_regular_nms
        scores = ops.max(class_scores, axis=-1)
        scores = ops.where(scores >= spec.score_threshold, scores, 0.0)
        best, anchor = ops.top_k(scores, min(spec.candidates, anchor_count))
        labels = ops.cast(ops.argmax(class_scores, axis=-1), anchor.dtype)
        return best, ops.take_along_axis(labels, anchor, axis=1), anchor
    # Class by class, as the files' operations have them: `top_k` keeps equal ones in that order.
    pairs = ops.reshape(ops.swapaxes(class_scores, 1, 2), (-1, classes * anchor_count))
    pairs = ops.where(pairs >= spec.score_threshold, pairs, 0.0)
    best, pair = ops.top_k(pairs, min(spec.candidates, classes * anchor_count))
    return best, pair // anchor_count, pair % anchor_count


def suppress(
    spec: DetectorSpec | TwoStageSpec, boxes: Any, scores: Any, labels: Any
) -> tuple[Any, ...]:
    """What is left of candidates by the spec's rule.

    Args:
        boxes: (n, k, 4).
        scores: (n, k), 0 for what is no candidate.
        labels: (n, k) int32.

    Returns:
        indices and valid as of `nms`, and the scores that are left where they fall (`soft_nms`).
    """
    rule = spec.rule
    classes = ops.zeros_like(labels) if rule.class_agnostic else labels
    if rule.soft_nms_sigma is None:
        return nms(
            *(boxes, scores, classes),
            iou_threshold=rule.iou_threshold,
            max_detections=spec.max_detections,
        )
    return soft_nms(
        *(boxes, scores, classes),
        sigma=rule.soft_nms_sigma,
        score_threshold=rule.score_threshold,
        max_detections=spec.max_detections,
    )


def of_picture(detected: Mapping[str, Any], index: int) -> dict[str, np.ndarray]:
    """NumPy "boxes" (count, 4), "labels" and "scores" (count,) of one picture of `detect`."""
    count = int(detected["count"][index])
    return {
        key: ops.convert_to_numpy(detected[key][index])[:count]
        for key in ("boxes", "labels", "scores")
    }
