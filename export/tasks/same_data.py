"""Whether a run's data is still what it was trained on."""

from __future__ import annotations

from kerascnn.errors import InputError
from training.engine.run import Run


def check_fingerprint(run: Run, found: str) -> None:
    """Raise InputError if the data is not that of the run."""
    if found != run.info["dataset"]["fingerprint"]:
        raise InputError(
            f"{run.info['request']['data']} is not the data that {run.folder} was trained on; "
            "bring it back, or train again"
        )
