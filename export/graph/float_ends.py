"""What stays float at the end of a network whose activations are integers.

Of a network with several outputs, as a detector's, what joins its levels behind the last
convolutions: in int8 a concatenation would give all levels one scale, and a sigmoid tell no scores
above 0.996 apart. So stays the arithmetic behind it, by which distances become box deltas
(`export.graph.detection`). Of one output with logits for each pixel, these: of int8 logits the two
largest are equal on 0.4 to 3% of the pixels (U-Nets on scenes with a mean IoU of 64 and 23%), which
then all fall to the first class, the background.

The rule is asked for the Keras graph that trains for int8 and for the file that is quantised.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

CONCATENATION, LOGISTIC, RESHAPE, SOFTMAX = "concatenation", "logistic", "reshape", "softmax"
ARITHMETIC = "arithmetic"
# Operations without weights that may end a network with several outputs.
_JOINING = (ARITHMETIC, CONCATENATION, LOGISTIC, RESHAPE, SOFTMAX)
_OF_PIXELS = 4  # dimensions: batch, height, width, classes

_Tensor = TypeVar("_Tensor", bound=Hashable)


def float_ends(
    outputs: Sequence[_Tensor],
    made_by: Callable[[_Tensor], tuple[str, Sequence[_Tensor]]],
    rank: Callable[[_Tensor], int],
) -> list[_Tensor]:
    """Tensors of a graph that stay float.

    Args:
        outputs: of the graph.
        made_by: the kind of the operation that makes a tensor, and the tensors that it reads; a
            kind that is none of this module's constants counts as one with weights.
        rank: how many dimensions a tensor has.

    Returns:
        Each once, from the outputs back to the last weights.
    """
    if len(outputs) == 1:
        return [one for one in outputs if rank(one) == _OF_PIXELS]
    open_ends, found = list(outputs), dict[_Tensor, None]()
    while open_ends:
        one = open_ends.pop()
        kind, read = made_by(one)
        if kind in _JOINING:
            found[one] = None
            open_ends += read
    return list(found)
