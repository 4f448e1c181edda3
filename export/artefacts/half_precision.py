"""What is said of a network whose numbers half precision does not hold.

`export.compress.half_range` measures; the .json beside a file keeps it as "half_precision".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LARGEST = 65504.0  # of half precision
NEAR = LARGEST / 8  # calibration images are not the largest that will ever come
ENDLESS = 3.4028234663852886e38  # of float32; stands for what is no number, or has no end


def warnings(told: Mapping[str, Any]) -> list[str]:
    """What is to be said of `HalfRange.to_dict`, in compress, info and the report."""
    lines = []
    if told["activation"] >= NEAR:
        lines.append(
            f"activations of {told['activation_layer']} reach {_number(told['activation'])}: "
            f"{_how(told['activation'])}"
        )
    if told["sum"] >= NEAR and told["two_steps"] is not None and told["two_steps"] < NEAR:
        lines.append(
            f"the mean {told['sum_layer']} adds up {_number(told['sum'])}, and is written in two "
            f"steps that add up {_number(told['two_steps'])} at most, as half precision ends at "
            f"{LARGEST:,.0f}"
        )
    elif told["sum"] >= NEAR:
        lines.append(
            f"the mean {told['sum_layer']} adds up {_number(told['sum'])}: {_how(told['sum'])}"
        )
    return lines


def summary(told: Mapping[str, Any]) -> str:
    """The same figures where there is nothing to be said."""
    sums = f", sums of means up to {_number(told['sum'])}" if told["sum_layer"] else ""
    return f"activations up to {_number(told['activation'])}{sums}, of {LARGEST:,.0f}"


def _how(value: float) -> str:
    if value > LARGEST:
        return (
            f"half precision ends at {LARGEST:,.0f}, so that accelerators that compute in it give "
            "infinity or NaN; run the file on the CPU, or in float32 there"
        )
    return f"half precision ends at {LARGEST:,.0f}, and other images may reach eight times as much"


def _number(value: float) -> str:
    return "no finite number" if value >= ENDLESS else f"{value:,.0f}"
