"""Names for keras.applications' published files, whose own names are of older versions.

MobileNetV2's files call a layer "mobl1_conv_1_expand" or "mobl1_conv_expand" that the code has
long called "block_1_expand". Keras does not mind: it loads such a file by order, its n-th layer
with weights into the model's n-th. So does this module, by the installed keras.applications, and
then the name tables of `kerascnn.weights.keras_applications` are right. Shapes are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerascnn.errors import InputError
from kerascnn.weights.published import Published

_BUILDERS = {
    "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    **{f"vgg{depth}": f"VGG{depth}" for depth in (16, 19)},
    **{f"resnet{depth}": f"ResNet{depth}" for depth in (50, 101, 152)},
    **{f"efficientnet_b{number}": f"EfficientNetB{number}" for number in range(8)},
    **{f"efficientnet_v2_b{number}": f"EfficientNetV2B{number}" for number in range(4)},
    **{f"efficientnet_v2_{size}": f"EfficientNetV2{size.upper()}" for size in "sml"},
}


def named(row: Published, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a published file under the names that its layers have today.

    Args:
        row: what is published of it; of keras.applications.
        tensors: by "layer/variable", in the order of the file.

    Raises:
        InputError: the file has another number of layers, or of other shapes.
    """
    layers: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        layer, _, role = name.rpartition("/")
        layers.setdefault(layer, {})[role] = tensor
    wanted = _layers(row)
    if len(layers) != len(wanted):
        raise InputError(
            f"{row.file} has {len(layers)} layers with weights, and keras.applications has "
            f"{len(wanted)} for {row.described}; get it again"
        )
    found = {}
    for (theirs, variables), (layer, shapes) in zip(layers.items(), wanted.items(), strict=True):
        for role, tensor in variables.items():
            if shapes.get(role, tuple(tensor.shape)) != tuple(tensor.shape):
                raise InputError(
                    f"{row.file} does not fit {row.described}: its {theirs}/{role} has shape "
                    f"{tuple(tensor.shape)}, where {layer} wants {shapes[role]}"
                )
            found[f"{layer}/{role}"] = tensor
    return found


def _layers(row: Published) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of variables by layer, as the installed keras.applications has them, in its order."""
    import keras

    size = row.evaluation.size
    model = getattr(keras.applications, _BUILDERS[row.model])(
        weights=None, input_shape=(size, size, 3), **row.options
    )
    return {
        layer.name: {weight.name: tuple(weight.shape) for weight in layer.weights}
        for layer in model.layers
        if layer.weights
    }
