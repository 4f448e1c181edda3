"""The compression variants: what each name means, as data; `compress` keeps it beside the file."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from kerascnn.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of writing a model.

    Attributes:
        name: as in file names and results.csv.
        weight_bits: of convolution and dense kernels.
        activations: "float32", "int8" (calibrated) or "dynamic" (int8, scaled at run time).
        depthwise_bits: of depthwise kernels, widened for float arithmetic; None treats them like
            the others. (The delegate has no dynamic depthwise convolution: it would cut the graph
            into 18 pieces; nor is there one of 4 bits.)
        first_and_last_bits: of the first and the last layer's kernels, likewise.
        description: for people.
    """

    name: str
    weight_bits: int
    activations: str
    depthwise_bits: int | None = None
    first_and_last_bits: int | None = None
    description: str

    @property
    def quantised(self) -> bool:
        """Whether integers stand for floats anywhere in the file."""
        return self.weight_bits <= 8

    @property
    def calibrated(self) -> bool:
        """Whether training pictures set the ranges of activations."""
        return self.activations == "int8"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that lies beside the artefact."""
        return dataclasses.asdict(self)


_ALL = (
    Variant(
        name="float32",
        weight_bits=32,
        activations="float32",
        description="as trained, batch norm folded",
    ),
    Variant(
        name="float16",
        weight_bits=16,
        activations="float32",
        description="weights in half precision, arithmetic in single",
    ),
    Variant(
        name="dynamic_int8",
        weight_bits=8,
        activations="dynamic",
        depthwise_bits=8,
        description="int8 weights, activations quantised while running",
    ),
    Variant(
        name="weight_int8",
        weight_bits=8,
        activations="float32",
        description="int8 weights, widened for float arithmetic",
    ),
    Variant(
        name="weight_int4",
        weight_bits=4,
        activations="float32",
        depthwise_bits=8,
        first_and_last_bits=8,
        description="int4 weights (first, last and depthwise layers int8), float arithmetic",
    ),
    Variant(
        name="int8",
        weight_bits=8,
        activations="int8",
        description="int8 throughout, takes raw uint8 pixels",
    ),
)
VARIANTS = {variant.name: variant for variant in _ALL}

# What `kerascnn demo` and `kerascnn compress` make when nothing else is asked.
DEFAULT = ("float32", "float16", "dynamic_int8", "int8", "weight_int4")


def variant(name: str) -> Variant:
    """The variant called `name`; raises InputError with the closest name."""
    try:
        return VARIANTS[name]
    except KeyError:
        close = difflib.get_close_matches(name, VARIANTS, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(
            f"unknown variant {name!r}; {hint}there are: {', '.join(VARIANTS)}"
        ) from None
