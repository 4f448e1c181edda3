"""Our own weights: the model.keras of a run, or what `model.save_weights` writes.

The options of the builder are not in them; give those that the run was trained with.
"""

from __future__ import annotations

from kerascnn.weights.layout import Layout, Modules, Place

# A tensor of the layer that tells classes apart.
_SIGNATURES = {
    "ssdlite": "class_map1_predict/kernel",
    "rtmdet": "class_map1_predict/kernel",
    "efficientdet": "class_predict_pointwise/kernel",
    "faster": "class_logits/kernel",
    "mask": "class_logits/kernel",
    "unet": "dec1_conv1/kernel",
}


def _ours(place: Place) -> Modules:
    return place.name, f"{place.name}_norm"


def layout(name: str) -> Layout:
    """The layout of `name`; any model has one."""
    signature = _SIGNATURES.get(name.partition("_")[0], "logits/kernel")
    return Layout(
        origin="kerascnn", models=(name,), kind="keras", signature=signature, modules=_ours
    )
