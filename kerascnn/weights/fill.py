"""Copy tensors into a model by a layout's name table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from kerascnn.errors import InputError
from kerascnn.weights import Source, class_rows
from kerascnn.weights.layout import Place, places

# Variables of ours, and of a PyTorch module.
_TORCH = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Roles outside the stages: of a backbone, and of what stands behind it.
_OF_BACKBONES = re.compile(r"stem(_\w+)?|last|head")
_ENDS = ("head", "logits")
# Layers whose outputs are coded boxes, and those whose shapes go by the number of classes.
_CODES = re.compile(r"box_(map\d_predict|predict_pointwise|codes)|rpn_codes")
_CLASSES = re.compile(r"(mask_|class_)?logits|box_codes|class_(map\d_predict|predict_pointwise)")
# Smaller floats are subnormal, which TensorFlow and XLA take for 0.
_SMALLEST = float(np.finfo(np.float32).tiny)


def fill(
    model: keras.Model,
    source: Source,
    *,
    keep_misfitting_head: bool = False,
    class_names: Sequence[str] = (),
) -> None:
    """Copy a file into a model that was built with the layout's options, in place.

    Args:
        keep_misfitting_head: leave dense layers, and the layers of a detector that tell classes
            apart, random whose tensors are not there or have another shape.
        class_names: of a detector's classes; those that the file has too get its outputs for them
            (`class_rows`).

    Raises:
        InputError: names the first tensor that does not fit, or that no layer wants.
    """
    try:
        values = _values(model, source, keep_misfitting_head, class_names)
    except InputError:
        by_order = source.by_order()
        if by_order is None:
            raise
        values = _values(model, by_order, keep_misfitting_head, class_names)
    # Only now, so that a file that does not fit changes nothing.
    for name, arrays in values.items():
        model.get_layer(name).set_weights(arrays)


def _values(
    model: keras.Model, source: Source, keep_misfitting_head: bool, class_names: Sequence[str]
) -> dict[str, list[np.ndarray]]:
    """What each layer gets, by its name."""
    filling = _Filling(model, source)
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    wanted = places(layers)
    if source.backbone:
        wanted = {n: p for n, p in wanted.items() if p.stage or _OF_BACKBONES.fullmatch(p.role)}
        filling.give_up_ends(wanted.values())
        filling.give_up_dense()
    values: dict[str, list[np.ndarray]] = {}
    for name, place in wanted.items():
        conv, norm = source.layout.modules(place)
        if shared := filling.shared_classes(layers[name], conv, class_names):
            values[name] = shared
            filling.give_up(conv)
            continue
        try:
            values[name] = filling.values(layers[name], conv)
        except InputError:
            if not (keep_misfitting_head and _is_replaceable(layers[name])):
                raise
            filling.give_up(conv)
        if f"{name}_norm" in layers:
            values[f"{name}_norm"] = filling.norm_values(layers[f"{name}_norm"], norm, conv)
    left = filling.unused()
    if left is not None:
        raise filling.error(f"no layer wants its tensor {left}")
    return values


def _is_replaceable(layer: keras.Layer) -> bool:
    if isinstance(layer, keras.layers.Dense) and not layer.name.startswith("box_head"):
        return True
    return _tells_classes(layer.name)


def _tells_classes(name: str) -> bool:
    return bool(_CLASSES.fullmatch(name))


def _normal(gamma: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same gain gamma / sqrt(variance) of variances that are no subnormal floats.

    The running variance of a dead channel halts there, at 5.6e-45, and 0 / sqrt(0) is not a number.
    """
    small = (variance > 0) & (variance < _SMALLEST)
    more = np.sqrt(_SMALLEST / np.where(small, variance, _SMALLEST).astype(np.float64))
    return (gamma * more).astype(np.float32), np.where(small, np.float32(_SMALLEST), variance)


class _Filling:
    """One file on its way into one model."""

    def __init__(self, model: keras.Model, source: Source) -> None:
        self._model, self._source = model, source
        self._used: set[str] = set()
        self._torch = source.layout.kind == "torch"

    def values(self, layer: keras.Layer, module: str) -> list[np.ndarray]:
        """The arrays of a convolution, dense layer or lone norm, in the layer's order."""
        arrays = [self._value(layer, weight, module) for weight in layer.weights]
        if _CODES.fullmatch(layer.name):
            return [self._in_our_order(array) for array in arrays]
        return arrays

    def norm_values(self, layer: keras.Layer, module: str, conv: str) -> list[np.ndarray]:
        """The arrays of a batch norm behind the convolution `conv`."""
        roles = [weight.name for weight in layer.weights]
        values = [self._value(layer, weight, module) for weight in layer.weights]
        bias = self._name(conv, "bias")
        if bias in self._source.tensors and bias not in self._used:
            # Their convolution has a bias and ours has not: (x + b) - mean = x - (mean - b).
            mean = roles.index("moving_mean")
            values[mean] = values[mean] - self._read(bias, values[mean].shape, layer)
        if layer.epsilon == 0 and "gamma" in roles:
            gamma, variance = roles.index("gamma"), roles.index("moving_variance")
            values[gamma], values[variance] = _normal(values[gamma], values[variance])
        return values

    def shared_classes(
        self, layer: keras.Layer, module: str, names: Sequence[str]
    ) -> list[np.ndarray] | None:
        """A layer's arrays with the file's outputs of classes that both have; None without any."""
        role, inner = layer.name, 4 if layer.name == "box_codes" else 1
        own = class_rows.names_beside(self._source.path) if not self._torch else None
        bias = self._source.tensors.get(self._name(module, "bias"))
        background = not role.startswith("class_predict")  # EfficientDet's sigmoids have none
        known = names and _tells_classes(role) and bias is not None
        if not known or (own is None and not self._torch):
            return None
        ours = layer.get_weights()
        anchors = ours[-1].size // ((len(names) + background) * inner)
        outputs = np.asarray(bias).size // (anchors * inner)
        which = class_rows.columns(names, own, outputs, background=background)
        if which is None:
            return None
        try:
            return [
                class_rows.chosen(
                    self._whole(layer, weight.name, module), mine, which,
                    outputs=outputs, inner=inner,
                )
                for weight, mine in zip(layer.weights, ours, strict=True)
            ]  # fmt: skip
        except (ValueError, KeyError):
            return None

    def _whole(self, layer: keras.Layer, role: str, module: str) -> np.ndarray:
        """A tensor of a layer that tells classes apart with our axes, of whatever many outputs."""
        found = np.asarray(self._source.tensors[self._name(module, role)], np.float32)
        if self._torch and found.ndim == 4:
            found = found.transpose(2, 3, 1, 0)
        elif self._torch and found.ndim == 2:
            found = found.T
        return self._in_our_order(found) if _CODES.fullmatch(layer.name) else found

    def give_up(self, module: str) -> None:
        """Forget a module that is left random, or has no layer."""
        self._used |= {self._name(module, role) for role in _TORCH}

    def give_up_ends(self, found: Iterable[Place]) -> None:
        """Forget what stands behind a classifier's backbone and has no layer here."""
        found = list(found)
        roles = {place.role for place in found}
        for role in _ENDS:
            if role not in roles:
                end = dataclasses.replace(found[0], name=role, role=role, stage=0, block=0)
                for module in self._source.layout.modules(end):
                    self.give_up(module)

    def give_up_dense(self) -> None:
        """Forget dense layers: a classifier trained for other pictures has any of any name."""
        end = ".weight" if self._torch else "/kernel"
        for name, tensor in self._source.tensors.items():
            if name.endswith(end) and len(tensor.shape) == 2:
                self.give_up(name.removesuffix(end))

    def unused(self) -> str | None:
        """The first tensor that no layer wanted."""
        return self._source.unused(self._used)

    def error(self, what: str) -> InputError:
        """What to raise about the file."""
        return InputError(
            f"{self._source.path} ({self._source.layout.origin}) does not fit "
            f"{self._model.name}: {what}"
        )

    def _in_our_order(self, array: np.ndarray) -> np.ndarray:
        boxes = array.reshape(*array.shape[:-1], -1, 4)
        return boxes[..., self._source.layout.box_order].reshape(array.shape)

    def _name(self, module: str, role: str) -> str:
        return f"{module}.{_TORCH[role]}" if self._torch else f"{module}/{role}"

    def _value(self, layer: keras.Layer, weight, module: str) -> np.ndarray:
        role = weight.name
        name, shape = self._name(module, role), tuple(weight.shape)
        if role != "kernel":
            return self._read(name, shape, layer)
        if isinstance(layer, keras.layers.Dense):
            return self._dense_kernel(layer, name, shape)
        if not self._torch:
            return self._read(name, shape, layer)
        # PyTorch: (out, in / groups, h, w). Keras: (h, w, in, out), depthwise (h, w, channels, 1).
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        theirs = tuple(shape[axes.index(i)] for i in range(4))
        return self._read(name, theirs, layer).transpose(axes)

    def _dense_kernel(self, layer: keras.Layer, name: str, shape: tuple[int, int]) -> np.ndarray:
        """(in, out), from a dense layer or a 1x1 convolution of theirs."""
        found = tuple(getattr(self._source.tensors.get(name), "shape", ()))
        if not self._torch:
            convolution = (1, 1, *shape)
            return self._read(name, convolution if len(found) == 4 else shape, layer).reshape(shape)
        theirs = (*shape[::-1], 1, 1) if len(found) == 4 else shape[::-1]
        kernel = self._read(name, theirs, layer).reshape(shape[::-1])
        before = self._flattened(layer)
        if before is not None:
            # Theirs flattens (channels, height, width), ours (height, width, channels).
            height, width, channels = before
            kernel = kernel.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return kernel.reshape(shape[::-1]).T

    def _flattened(self, layer: keras.Layer) -> tuple[int, int, int] | None:
        """Height, width and channels of what right before this layer becomes one row."""
        operation = layer.input._keras_history.operation
        if not isinstance(operation, (keras.layers.Flatten, keras.layers.Reshape)):
            return None
        height, width, channels = operation.input.shape[-3:]
        return height, width, channels

    def _read(self, name: str, shape: tuple[int, ...], layer: keras.Layer) -> np.ndarray:
        tensor = self._source.tensors.get(name)
        if tensor is None:
            raise self.error(f"it has no tensor {name}, which layer {layer.name} wants")
        if tuple(tensor.shape) != shape:
            hint = "; give `classes` to keep another head" if _tells_classes(layer.name) else ""
            raise self.error(
                f"its tensor {name} has shape {tuple(tensor.shape)}, where layer {layer.name} "
                f"wants {shape}{hint}"
            )
        self._used.add(name)
        return np.asarray(tensor, np.float32)
