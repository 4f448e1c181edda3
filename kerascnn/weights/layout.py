"""How one reference implementation names and orders the tensors of one family.

A layout is a name table. For every layer of ours it gives the module of theirs, and for every
variable the tensor; nothing is matched by order or by shape.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# What PyTorch's batch norms store beside their statistics.
NO_COUNTERS = r".*\.num_batches_tracked"

_PLACE = re.compile(r"stage(?P<stage>\d+)_block(?P<block>\d+)_(?P<role>.+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a convolution, depthwise convolution or dense layer stands in a model of ours.

    A batch norm has a place only where no convolution of its name is before it, as in heads whose
    convolutions are shared.

    Attributes:
        name: of the layer.
        role: the end of its name ("conv1", "se_reduce"), or the whole of it ("stem", "logits",
            "extra1_squeeze").
        stage, block: from 1; 0 outside the stages.
        index: of the block among all blocks, from 0.
        roles: of all layers with weights in the same block.
        stages, blocks: how many the model has.
        normed: whether the model has batch norms.
    """

    name: str
    role: str
    stage: int = 0
    block: int = 0
    index: int = 0
    roles: frozenset[str] = frozenset()
    stages: int = 0
    blocks: int = 0
    normed: bool = True

    @property
    def letter(self) -> str:
        """The block as Google's EfficientNets call it: a, b, ..."""
        return chr(ord("a") + self.block - 1)

    @property
    def depthwise_at(self) -> int:
        """Place of the depthwise convolution in a block that is numbered through."""
        return int("expand" in self.roles)

    @property
    def project_at(self) -> int:
        """Place of the projection in a block that is numbered through."""
        inner = {"expand", "depthwise", "se_reduce"}
        return len(inner & self.roles)


# Module of the layer, and of the batch norm behind it.
Modules = tuple[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One name table.

    Attributes:
        origin: of the files, for messages and `kerascnn models`.
        models: zoo names whose weights it describes.
        kind: "torch" (PyTorch names, kernel axes and variables) or "keras".
        signature: a tensor that only files of this layout have.
        modules: gives the modules of a place; "" for a norm that is not there.
        options: of the builder, which the weights were trained with.
        normalisation: what the weights expect of a picture, as fields of `Preprocessing`.
        ignored: pattern of tensors that belong to training alone or to the input.
        box_order: where our dy, dx, dh and dw stand in a coded box of theirs.
    """

    origin: str
    models: tuple[str, ...]
    kind: str
    signature: str
    modules: Callable[[Place], Modules]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    normalisation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ignored: str = r"$^"
    box_order: tuple[int, int, int, int] = (0, 1, 2, 3)

    def read(self, tensors: Mapping[str, Any]) -> tuple[Layout, Mapping[str, Any]] | None:
        """The layout of a file and its tensors, or None where it has another one.

        Where names or options differ from file to file, both are the file's own.
        """
        return (self, tensors) if self.signature in tensors else None


def places(layer_names: Iterable[str]) -> dict[str, Place]:
    """The places of layers with weights, norms behind them left out, in the order of the model."""
    names = list(layer_names)
    normed = any(name.endswith("_norm") for name in names)
    bare = [name for name in names if name.removesuffix("_norm") not in {*names} - {name}]
    matches = {name: _PLACE.fullmatch(name) for name in bare}
    roles: dict[tuple[int, int], set[str]] = {}
    for match in matches.values():
        if match:
            roles.setdefault(_block(match), set()).add(match["role"])
    order = {block: index for index, block in enumerate(sorted(roles))}
    common: dict[str, Any] = {
        "stages": len({stage for stage, _ in roles}),
        "blocks": len(roles),
        "normed": normed,
    }
    found = {}
    for name, match in matches.items():
        if match is None:
            found[name] = Place(name=name, role=name, **common)
            continue
        block = _block(match)
        found[name] = Place(
            name=name,
            role=match["role"],
            stage=block[0],
            block=block[1],
            index=order[block],
            roles=frozenset(roles[block]),
            **common,
        )
    return found


def _block(match: re.Match) -> tuple[int, int]:
    return int(match["stage"]), int(match["block"])
