"""Our own weights: the model.keras of a run, or what `model.save_weights` writes.

The options of the builder are not in them; give those that the run was trained with.
"""

from __future__ import annotations

from kerascnn.weights.layout import Layout, Modules, Place


def _ours(place: Place) -> Modules:
    return place.name, f"{place.name}_norm"


def layout(name: str) -> Layout:
    """The layout of `name`; any model has one."""
    return Layout(
        origin="kerascnn", models=(name,), kind="keras", signature="logits/kernel", modules=_ours
    )
