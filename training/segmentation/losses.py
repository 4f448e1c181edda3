"""What segmentation networks learn by: cross-entropy, dice, focal, on any backend.

Shapes: n images, h w pixels of the network's output, c classes.

Every loss is one number of a batch. A pixel that is `VOID` counts nowhere, and a batch of nothing
else has the loss 0. Weights of pixels, such as those of borders (U-Net, arXiv:1505.04597, equation
2), enter every sum; so do weights of classes, but for dice, which takes all classes alike already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from kerascnn.errors import InputError
from training.common.parallel import in_order
from training.common.progress import Progress
from training.datasets.segmentation import VOID, SegmentationSplit
from training.engine.config import TrainConfig

LOSSES = ("cross_entropy", "dice", "focal", "cross_entropy_dice")

_GAMMA = 2.0  # arXiv:1708.02002, section 4.1
_TINY = 1e-7  # keeps what was divided by it nothing: a sum over no pixel is 0 of 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationLoss:
    """A loss of logits against masks.

    Attributes:
        name: "cross_entropy": the weighted mean over pixels; "focal": of cross-entropies that
            weigh (1 - p)² (arXiv:1708.02002, equation 4, by softmax, and a mean over all pixels
            where detectors have one over objects); "dice": 1 - the mean over the classes that occur
            in the batch of 2 Σ p g / (Σ p + Σ g), sums going over all pixels of the batch
            (arXiv:1809.10486, equation 2); "cross_entropy_dice": the sum of both, as there.
        classes: c.
        class_weights: (c,) factors of a pixel's weight by its true class, or None for 1.
        total: sums over the whole batch, see `training.engine.devices.Placement`.
    """

    name: str
    classes: int
    class_weights: np.ndarray | None = None
    total: Callable[..., Any] = ops.sum

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise InputError(f"map_loss must be one of {', '.join(LOSSES)}, not {self.name!r}")

    @classmethod
    def of(
        cls, config: TrainConfig, pixels: np.ndarray, total: Callable[..., Any] = ops.sum
    ) -> SegmentationLoss:
        """The loss that a configuration asks for.

        Args:
            pixels: (c,) of each class in the images to learn from (`count_pixels`).
            total: see `SegmentationLoss`.
        """
        weighed = config.class_weights == "balanced"
        return cls(
            name=config.map_loss,
            classes=len(pixels),
            class_weights=balanced(pixels) if weighed else None,
            total=total,
        )

    def __call__(self, gt_map: Any, logits: Any, weights: Any = None) -> Any:
        """The loss of a batch; a float32 number.

        Args:
            gt_map: (n, h, w) integers, `VOID` where nothing counts.
            logits: (n, h, w, c).
            weights: (n, h, w) of pixels, 1 by default.
        """
        logits = ops.cast(logits, "float32")
        labels = ops.cast(gt_map, "int32")
        counted = labels != VOID
        labels = ops.where(counted, labels, 0)  # not every backend has one-hots of none
        weighing = ops.cast(counted, "float32")
        if weights is not None:
            weighing = weighing * ops.cast(weights, "float32")
        truth = ops.one_hot(labels, self.classes, dtype="float32")
        log_p = ops.log_softmax(logits, axis=-1)
        parts = []
        if self.name != "dice":
            entropy = -ops.sum(truth * log_p, axis=-1)
            if self.name == "focal":
                entropy = ops.square(1.0 - ops.exp(-entropy)) * entropy
            by_class = weighing
            if self.class_weights is not None:
                factors = ops.convert_to_tensor(self.class_weights, "float32")
                by_class = weighing * ops.take(factors, labels)
            whole = ops.maximum(self.total(by_class), _TINY)
            parts.append(self.total(by_class * entropy) / whole)
        if "dice" in self.name:
            found = ops.exp(log_p)
            parts.append(_dice(truth * weighing[..., None], found, weighing, self.total))
        return sum(parts)


def _dice(truth: Any, found: Any, weights: Any, total: Callable[..., Any]) -> Any:
    """1 - the mean dice of the classes that are there; 0 where none is.

    Args:
        truth: (n, h, w, c), one-hot times weights.
        found: (n, h, w, c), probabilities.
        weights: (n, h, w).
    """
    pixels = (0, 1, 2)
    there = total(truth, axis=pixels)
    both = total(truth * found, axis=pixels)
    sums = there + total(weights[..., None] * found, axis=pixels)
    occurs = ops.cast(there > 0, "float32")
    missed = occurs * (1.0 - 2.0 * both / ops.maximum(sums, _TINY))
    return ops.sum(missed) / ops.maximum(ops.sum(occurs), 1.0)


def count_pixels(split: SegmentationSplit, classes: int) -> np.ndarray:
    """(c,) pixels of each class in a split.

    Raises:
        InputError: a mask that cannot be read.
    """

    def count(index: int) -> np.ndarray:
        return np.bincount(split.label_map(index).ravel(), minlength=VOID + 1)[:classes]

    pixels = np.zeros(classes, np.int64)
    with Progress("counting pixels", len(split), unit="image") as progress:
        for each in in_order(count, len(split)):
            pixels += each
            progress.step()
    return pixels


def balanced(pixels: np.ndarray) -> np.ndarray:
    """Factors that make each class weigh the same; (c,) float32, 1 on average over pixels.

    A class without a pixel has 1. Source: King and Zeng, "Logistic Regression in Rare Events
    Data", 2001, section 4.2.

    Args:
        pixels: (c,) of each class.
    """
    there = pixels > 0
    factors = np.ones(len(pixels))
    factors[there] = pixels.sum() / (np.count_nonzero(there) * pixels[there])
    return factors.astype(np.float32)


def class_prior_biases(pixels: np.ndarray, class_weights: np.ndarray | None = None) -> np.ndarray:
    """Biases of logits with which a network begins at the classes' shares; (c,) float32.

    Where one class has nearly all pixels, a network that begins at equal shares spends hundreds of
    updates on finding that out (RetinaNet, arXiv:1708.02002, section 3.3).

    Args:
        pixels: (c,) of each class.
        class_weights: (c,) of the loss, by which each pixel counts for more or less.
    """
    weighed = (pixels + 1.0) * (1.0 if class_weights is None else class_weights)
    return np.log(weighed / weighed.sum()).astype(np.float32)
