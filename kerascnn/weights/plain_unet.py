"""Name table of U-Nets that were written in plain Keras, with the names that Keras gives by itself.

A convolution is called conv2d, the next one conv2d_1 and so on, in the order in which the network
was written, which is a picture's way through it: enc1 to the deepest level, then dec{n} to dec1 and
the logits. Transposed convolutions and batch norms are counted for themselves. Old versions of
Keras begin with conv2d_1, and a notebook that makes its network once more goes on where the last
one ended: the lowest number of a file is its first layer.

Depth, width, up-convolutions and batch norms are found from the kernels' shapes. Weights do not say
the rest, for which a file is taken to be as most published code:
    bytes over 255, ReLU, padding "same"
    transposed convolutions: nothing behind them, and the up-sampled map before the kept one
        (github.com/jocicmarko/ultrasound-nerve-segmentation, Kaggle's U-Net starters)
    resizing: repeated pixels, ReLU behind the convolution, the kept map before the up-sampled one
        (github.com/zhixuhao/unet, conv2d_1 to conv2d_24)
Options of the builder say what is otherwise: `activation`, `padding`, `upsample`, `up_activation`,
`kept_first`.

A network with one sigmoid for the mask has two classes here; the background's logit is 0.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerascnn.weights.layout import Layout, Modules, Place

_CONVOLUTION, _TRANSPOSED, _NORM = "conv2d", "conv2d_transpose", "batch_normalization"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Form:
    """What the kernels of a file say of its network.

    Attributes:
        depth, width, up_kernel, head: as of `kerascnn.segmentation.unet.unet`.
        transposed: whether up-convolutions are transposed.
    """

    depth: int
    width: int
    up_kernel: int
    head: int
    transposed: bool

    def options(self, norm: bool) -> dict[str, Any]:
        """Of the builder."""
        resized = not self.transposed
        return {
            "depth": self.depth,
            "width": self.width,
            "up_kernel": self.up_kernel,
            "head": self.head,
            "upsample": "nearest" if resized else "transposed",
            "up_activation": resized and self.up_kernel > 0,
            "kept_first": resized,
            "norm": norm,
        }

    def layers(self) -> list[str]:
        """Names of our convolutions in the order in which the network was written."""
        levels = [f"enc{level}" for level in range(1, self.depth + 2)]
        names = [f"{level}_conv{number}" for level in levels for number in (1, 2)]
        for level in range(self.depth, 0, -1):
            up = [f"dec{level}_up"] if self.up_kernel else []
            names += [*up, f"dec{level}_conv1", f"dec{level}_conv2"]
        return [*names, *(["head"] if self.head else []), "logits"]


class _PlainKeras(Layout):
    """The layout of one file depends on what is in it."""

    def read(self, tensors: Mapping[str, Any]) -> tuple[Layout, Mapping[str, Any]] | None:
        """As `Layout.read`."""
        convolutions = _numbered(tensors, _CONVOLUTION, "kernel")
        transposed = _numbered(tensors, _TRANSPOSED, "kernel")
        norms = _numbered(tensors, _NORM, "gamma")
        shapes = [tuple(tensors[f"{name}/kernel"].shape) for name in convolutions]
        ups = [tuple(tensors[f"{name}/kernel"].shape) for name in transposed]
        form = _form(shapes, ups)
        if form is None:
            return None
        ours = form.layers()
        ours_up = [name for name in ours if form.transposed and name.endswith("_up")]
        ours_plain = [name for name in ours if name not in ours_up]
        table = dict(zip((*ours_plain, *ours_up), (*convolutions, *transposed), strict=True))
        normed = [name for name in ours if "_conv" in name or name == "head"] if norms else []
        if len(normed) != len(norms):
            return None
        behind = dict(zip(normed, norms, strict=True))

        def modules(place: Place) -> Modules:
            name = place.name
            return table.get(name, name), behind.get(name, f"{name}_norm")

        options = {**self.options, **form.options(bool(norms))}
        own = dataclasses.replace(self, modules=modules, options=options)
        return own, _with_background(tensors, table["logits"])


def _numbered(tensors: Iterable[str], kind: str, role: str) -> list[str]:
    """The layers of one kind, by their numbers."""
    pattern = re.compile(rf"{kind}(?:_(\d+))?/{role}")
    found = (pattern.fullmatch(name) for name in tensors)
    numbers = {int(match[1] or 0): match[0] for match in found if match}
    return [numbers[number].partition("/")[0] for number in sorted(numbers)]


def _form(shapes: Sequence[tuple[int, ...]], ups: Sequence[tuple[int, ...]]) -> _Form | None:
    """The network of these kernels, of convolutions and of transposed ones, if it is a U-Net."""
    # Convolutions of a level on both ways; three more are the deepest level's and the logits.
    for a_level, resized_alone in ((4, False),) if ups else ((5, False), (4, True)):
        depth, head = divmod(len(shapes) - 3, a_level)
        if depth < 1 or head > 1 or (ups and len(ups) != depth):
            continue
        width, deepest, kept = shapes[0][-1], shapes[2 * depth + 1][-1], shapes[2 * depth - 1][-1]
        first_up = ups[0] if ups else shapes[2 * depth + 2]
        reads = first_up[-1] if ups else first_up[-2]
        if deepest != width * 2**depth or reads != deepest + (kept if resized_alone else 0):
            continue
        return _Form(
            depth=depth,
            width=width,
            up_kernel=0 if resized_alone else first_up[0],
            head=shapes[-2][-1] if head else 0,
            transposed=bool(ups),
        )
    return None


def _with_background(tensors: Mapping[str, Any], logits: str) -> Mapping[str, Any]:
    """The tensors with logits for two classes, where the file has one for the mask alone."""
    names = [name for name in (f"{logits}/kernel", f"{logits}/bias") if name in tensors]
    last = {name: np.asarray(tensors[name]) for name in names}
    if any(values.shape[-1] != 1 for values in last.values()):
        return tensors
    both = {name: np.concatenate([np.zeros_like(v), v], axis=-1) for name, v in last.items()}
    return {**tensors, **both}


LAYOUTS = (
    _PlainKeras(
        origin="plain Keras",
        models=("unet",),
        kind="keras",
        signature="conv2d/kernel with the others of a U-Net",
        modules=lambda place: (place.name, ""),  # until a file is read
        normalisation={"mean": 0.0, "std": 255.0},
    ),
)
