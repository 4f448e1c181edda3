"""Files of detectors, of one stage and of two."""

from __future__ import annotations

from export.tasks.detectors import DetectorTask
from export.tasks.one_stage import OneStageDetection
from export.tasks.two_stage import TwoStageDetection
from training.engine.run import Run

_BY_STAGES: dict[int, type[DetectorTask]] = {1: OneStageDetection, 2: TwoStageDetection}


def of(run: Run) -> DetectorTask:
    """The file side of a detector's run, by the stages of its detector."""
    return _BY_STAGES[int(run.info["detector"].get("stages", 1))](run)
