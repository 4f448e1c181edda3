"""mAP while training: by the images of each class that fall into bins of scores.

Scores of one bin count as equal (see `metrics`), so that the figure is that of logits rounded to
1/128; its variables are counts, which may be added up over batches, devices and hosts.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_LARGEST, _PER_UNIT = 16, 128
_BINS = 2 * _LARGEST * _PER_UNIT + 1


class MeanAveragePrecision(keras.metrics.Metric):
    """Mean over classes of average precision.

    Args:
        classes: length of the logits.
    """

    def __init__(self, classes: int, name: str = "mAP") -> None:
        super().__init__(name=name)
        self.classes = classes
        self.hits = self.add_variable((classes, _BINS), "zeros", name="hits")
        self.pictures = self.add_variable((classes, _BINS), "zeros", name="pictures")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count (n, classes) labels, 1 from one half on, and logits; images weigh alike."""
        truth = ops.cast(ops.cast(y_true, "float32") >= 0.5, self.dtype)
        logits = ops.nan_to_num(ops.cast(y_pred, "float32"), nan=-_LARGEST)
        bins = ops.round((ops.clip(logits, -_LARGEST, _LARGEST) + _LARGEST) * _PER_UNIT)
        places = ops.cast(bins, "int32") + _BINS * ops.arange(self.classes, dtype="int32")
        places = ops.reshape(places, (-1,))
        for counts, values in ((self.hits, truth), (self.pictures, ops.ones_like(truth))):
            added = ops.segment_sum(
                ops.reshape(values, (-1,)), places, num_segments=self.classes * _BINS
            )
            counts.assign_add(ops.reshape(added, (self.classes, _BINS)))

    def result(self) -> Any:
        """A share of 1; 0 without labels."""
        hits, pictures = (
            ops.cumsum(ops.flip(counts, axis=1), axis=1) for counts in (self.hits, self.pictures)
        )
        total = hits[:, -1]
        gained = ops.flip(self.hits, axis=1)
        each = ops.sum(gained * hits / ops.maximum(pictures, 1), axis=1) / ops.maximum(total, 1)
        there = ops.cast(total > 0, self.dtype)
        return ops.sum(each * there) / ops.maximum(ops.sum(there), 1)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"name": self.name, "classes": self.classes}
