"""Which part of a two-stage detector computes in integers, where its file has some.

That is the backbone, the feature pyramid, and the hidden convolutions of the first stage: all that
a kernel reads which stands before the choice of regions. The first stage's last kernels, whose
answers are coordinates and scores by which regions are chosen, and all that comes after stay float:
it is the order of scores that chooses, and 256 steps leave many equal; of large boxes a step of a
coordinate is more than a pixel.

The rule is asked for the Keras graph that is reconstructed and for the file that is quantised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

_Tensor = TypeVar("_Tensor", bound=Hashable)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation(Generic[_Tensor]):
    """One of a graph.

    Attributes:
        reads, makes: tensors.
        has_kernel: whether it has trained weights.
        chooses: whether what it makes says which regions later operations look at.
    """

    reads: Sequence[_Tensor]
    makes: Sequence[_Tensor]
    has_kernel: bool = False
    chooses: bool = False


def before_regions(operations: Sequence[Operation[_Tensor]]) -> list[bool]:
    """Which operations of a two-stage detector compute in integers, in the order of the graph."""
    behind: set[_Tensor] = set()
    early = []
    for one in operations:
        early.append(not one.chooses and behind.isdisjoint(one.reads))
        if not early[-1]:
            behind.update(one.makes)
    by_kernels: set[_Tensor] = set()  # read, on whatever way
    found = []
    for one, is_early in zip(reversed(operations), reversed(early), strict=True):
        found.append(is_early and not by_kernels.isdisjoint(one.makes))
        if found[-1] or (is_early and one.has_kernel):
            by_kernels.update(one.reads)
    return found[::-1]
