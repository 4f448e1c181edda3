"""What a file may be at most, and how people write it."""

from __future__ import annotations

import dataclasses
from typing import Any

from export.report.results import Result
from kerascnn.errors import InputError, did_you_mean

_FEWEST = 1000  # bytes that may be written without a unit
METRICS = {"file": "bytes", "download": "download_bytes"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What a file may be at most; None is no limit.

    Attributes:
        size: bytes.
        metric: "file" (bytes on the phone) or "download" (after zlib -9).
        drop: points of accuracy below the run's float network, on the images that choose
            (`Result.chosen_on`).
        latency_ms: median for one picture, on this machine.
    """

    size: int | None = None
    metric: str = "file"
    drop: float = 1.0
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            hint = did_you_mean(self.metric, METRICS)
            raise InputError(f"--metric must be {' or '.join(METRICS)}, not {self.metric!r}{hint}")
        for name, value in (("size", self.size), ("latency", self.latency_ms)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"--max-{name} must be above 0, not {value:g}")
        if not 0 <= self.drop <= 100:
            raise InputError(f"--max-drop must be between 0 and 100 points, not {self.drop:g}")
        if self.size is None and self.latency_ms is None:
            raise InputError("give --max-size or --max-latency, or both")

    def over(self, result: Result) -> float:
        """The largest ratio of a figure to its limit, at most 1 where all are kept."""
        drop = result.choice_float_value - result.choice_value
        ratios = [1 + max(0.0, drop - self.drop - 1e-9) / max(self.drop, 0.1)]
        ratios.append(1.0 if result.is_verified else float("inf"))
        if self.size is not None:
            ratios.append(getattr(result, METRICS[self.metric]) / self.size)
        if self.latency_ms is not None:
            ratios.append((result.latency_ms or 0.0) / self.latency_ms)
        return max(ratios)

    def text(self) -> str:
        """For people."""
        parts = [] if self.size is None else [f"{self.metric} {self.size / 1000:,.1f} KB"]
        parts += [] if self.latency_ms is None else [f"{self.latency_ms:g} ms"]
        return ", ".join([*parts, f"a drop of {self.drop:g} points"])


def size(text: str, flag: str = "--max-size") -> int:
    """Bytes of `300KB`, `1.2MB`, `1.2M`, `48000`; KB is 1,000 bytes, KiB 1,024.

    Args:
        flag: what messages call it.

    Raises:
        InputError: anything else; or a number below 1,000 without a unit.
    """
    units = {"": 1, "B": 1, "K": 1000, "KB": 1000, "M": 10**6, "MB": 10**6, "KIB": 1024,
             "MIB": 1024**2}  # fmt: skip
    number = text.strip().rstrip("BKMIbkmi ")
    unit = text.strip()[len(number) :].strip().upper()
    try:
        found = round(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        raise InputError(f"{flag} must be like 300KB or 1.2MB, not {text!r}") from None
    if not unit and 0 < found < _FEWEST:  # no file is so small
        raise InputError(f"{flag} {number} means {found} bytes; did you mean {number}KB?")
    return found


def size_or_time(text: str, flag: str) -> dict[str, Any]:
    """{"max_bytes": ...} of `2MB`, {"max_ms": ...} of `8ms`; raises InputError for anything else.

    Args:
        flag: what messages call it.
    """
    if not text.strip().lower().endswith("s"):
        return {"max_bytes": size(text, flag)}
    try:
        return {"max_ms": milliseconds(text)}
    except InputError:
        raise InputError(f"{flag} must be like 2MB or 8ms, not {text!r}") from None


def milliseconds(text: str) -> float:
    """Of `5ms`, `5`, `0.2s`; raises InputError for anything else."""
    number = text.strip().lower()
    factor = 1.0
    if number.endswith("ms"):
        number = number[:-2]
    elif number.endswith("s"):
        number, factor = number[:-1], 1000.0
    try:
        return float(number) * factor
    except ValueError:
        raise InputError(f"--max-latency must be like 5ms, not {text!r}") from None
