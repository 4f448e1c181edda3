"""Which operations of a two-stage detector compute in integers."""

from __future__ import annotations

from export.graph.regions import Operation, before_regions


def operation(name: str, *reads: str, kernel: bool = False, chooses: bool = False) -> Operation:
    return Operation(reads=reads, makes=(name,), has_kernel=kernel, chooses=chooses)


def test_integers_are_what_kernels_read_before_a_choice() -> None:
    graph = [
        operation("stem", "image", kernel=True),
        operation("relu", "stem"),
        operation("map", "relu", kernel=True),
        operation("doubled", "map"),
        operation("fine", "doubled", "relu", kernel=True),
        operation("rpn", "fine", kernel=True),
        operation("logits", "rpn", kernel=True),
        operation("rows", "logits"),
        operation("flat", "fine"),  # that regions are read from
        operation("best", "rows", chooses=True),
        operation("aligned", "flat", "best"),
        operation("head", "aligned", kernel=True),
        operation("classes", "head", kernel=True),
        operation("kept", "classes", chooses=True),
    ]
    found = before_regions(graph)
    integers = [one.makes[0] for one, early in zip(graph, found, strict=True) if early]
    assert integers == ["stem", "relu", "map", "doubled", "fine", "rpn"]
