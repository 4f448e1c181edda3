"""Whether a folder holds a run that a request may go on with; no framework is needed for it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from kerascnn.errors import InputError
from training.engine.config import BEFORE, TrainConfig
from training.engine.request import TrainRequest
from training.engine.run import read_info


def begun(asked: TrainRequest, folder: pathlib.Path) -> dict[str, Any] | None:
    """The run.json of a run of this very request, or None where there is none yet.

    Raises:
        InputError: a run of another request; all differences are named.
    """
    info = read_info(folder)
    if info is None:
        return None
    before = TrainRequest.from_dict(info["request"]).to_dict()
    now = as_begun(asked, info).to_dict()
    if before != now:
        raise InputError(
            f"{folder} holds another run ({'; '.join(_differences(before, now))}); "
            "name another folder with --out, or delete it"
        )
    return info


def as_begun(asked: TrainRequest, info: Mapping[str, Any]) -> TrainRequest:
    """The request with what a run keeps of its time.

    That is the rules that its folders are read by, and what runs did that know no such setting,
    where nothing else is asked for.
    """
    before = TrainRequest.from_dict(info["request"])
    plain = TrainConfig()
    kept = {
        name: getattr(before.config, name)
        for name in BEFORE
        if name not in info["request"]["config"]
        and getattr(asked.config, name) == getattr(plain, name)
    }
    config = dataclasses.replace(asked.config, **kept)
    return dataclasses.replace(asked, reading=before.reading, config=config)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Everything that two requests disagree on, settings in the order of the request."""
    for key in {**here, **there}:
        if (before := there.get(key)) == (now := here.get(key)):
            continue
        if isinstance(now, dict) and isinstance(before, dict):
            yield from _differences(before, now)
        else:
            yield f"{key}: {_shown(before)} there, {_shown(now)} asked for"


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
