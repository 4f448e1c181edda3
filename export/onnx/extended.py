"""An ONNX graph that grows at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Extended:
    """A graph that grows at its end; names go by places.

    Args:
        prefix: of all names; of a graph inside another one, whose names it sees.
    """

    def __init__(self, graph: onnx.GraphProto, prefix: str = "") -> None:
        self.graph = graph
        self._prefix = prefix

    def constant(self, values: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add numbers: their name."""
        name = f"{self._prefix}constant_{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def integers(self, *values: int) -> str:
        """Add a list of int64: its name."""
        return self.constant(values, np.int64)

    def node(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add an operation: the name of its first output, by its place unless it is given."""
        name = f"{self._prefix}{kind}_{len(self.graph.node)}"
        made = helper.make_node(kind, inputs, outputs or [f"{name}:0"], name=name, **attributes)
        self.graph.node.append(made)
        return str(made.output[0])

    def best_class(self, scores: str) -> tuple[str, str]:
        """Of (1, a, c) scores the best of each anchor (1, a, 1), and its class (1, a, 1) int64.

        Of equal ones it is the first class.
        """
        place = f"{self._prefix}best_class_{len(self.graph.node)}"
        names = (f"{place}:0", f"{place}:1")
        self.node("TopK", scores, self.integers(1), outputs=names, axis=2)
        return names
