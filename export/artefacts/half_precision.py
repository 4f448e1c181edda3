"""What is said of a network whose numbers half precision does not hold.

`export.compress.half_range` measures; the .json beside a file keeps it as "half_precision".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST = 65504.0  # of half precision
NEAR = LARGEST / 8  # calibration images are not the largest that will ever come
ENDLESS = 3.4028234663852886e38  # of float32; stands for what is no number, or has no end


def warnings(facts: Mapping[str, Any]) -> list[str]:
    """What is to be said of `HalfRange.to_dict`, in compress, info and the report."""
    lines = []
    if facts["activation"] >= NEAR:
        lines.append(
            f"activations of {facts['activation_layer']} reach {_number(facts['activation'])}: "
            f"{_how(facts['activation'])}"
        )
    if facts["sum"] >= NEAR and facts["two_steps"] is not None and facts["two_steps"] < NEAR:
        lines.append(
            f"the mean {facts['sum_layer']} adds up {_number(facts['sum'])}, and is written in two "
            f"steps that add up {_number(facts['two_steps'])} at most, as half precision ends at "
            f"{LARGEST:,.0f}"
        )
    elif facts["sum"] >= NEAR:
        lines.append(
            f"the mean {facts['sum_layer']} adds up {_number(facts['sum'])}: {_how(facts['sum'])}"
        )
    return lines


def summary(facts: Mapping[str, Any]) -> str:
    """The same figures where there is nothing to be said."""
    sums = f", sums of means up to {_number(facts['sum'])}" if facts["sum_layer"] else ""
    return f"activations up to {_number(facts['activation'])}{sums}, of {LARGEST:,.0f}"


def _how(value: float) -> str:
    if value > LARGEST:
        return (
            f"half precision ends at {LARGEST:,.0f}, so that accelerators that compute in it give "
            "infinity or NaN; run the file on the CPU, or in float32 there"
        )
    return f"half precision ends at {LARGEST:,.0f}, and other images may reach eight times as much"


def _number(value: float) -> str:
    return "no finite number" if value >= ENDLESS else f"{value:,.0f}"
