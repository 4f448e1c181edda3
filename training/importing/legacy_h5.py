"""Models in files of Keras 2 (.h5), rebuilt in Keras 3 layer by layer.

The file is read by tf_keras, which is Keras 2, and its graph is called again with layers of Keras 3
of the same name and settings. `export/graph/legacy_keras.py` goes the other way; it shares no table
with this one, since it makes the few layers that the pruning library knows, and this takes all.
"""

from __future__ import annotations

import copy
import inspect
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kerascnn.errors import InputError, reason
from training.engine import h5_files, keras_files
from training.engine.run import load_keras

_TOLERANCE = 1e-5
_OPEN_SIDE = 96  # of an image for a network that takes any size
_RENAMED = {"LeakyReLU": {"alpha": "negative_slope"}}
# What Keras 2 says of training alone, or in other words.
_LEFT_OUT = ("_initializer", "_regularizer", "_constraint")


def _of_two(operation: Callable[..., Any]) -> Callable[..., Any]:
    """An operation of two tensors, which TensorFlow calls x and y and Keras x1 and x2."""
    return lambda x, y: operation(x1=x, x2=y)


def _part(x: Any, slice_spec: Any) -> Any:
    """As in x[..., ::-1]: a file has slices as dictionaries."""
    parts = [
        slice(one["start"], one["stop"], one["step"]) if isinstance(one, Mapping) else one
        for one in slice_spec
    ]
    return x[tuple(parts)]


# Functions of TensorFlow that a model of Keras 2 may call on its tensors, by TensorFlow's names.
# Each is one operation of Keras 3.
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "__operators__.add": _of_two(ops.add),
    "__operators__.getitem": _part,
    "cast": lambda x, dtype: ops.cast(x, str(getattr(dtype, "name", dtype))),
    "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.minimum(
        ops.maximum(t, clip_value_min), clip_value_max
    ),
    "concat": lambda values, axis: ops.concatenate(values, axis=axis),
    "math.add": _of_two(ops.add),
    "math.divide": _of_two(ops.divide),
    "math.maximum": _of_two(ops.maximum),
    "math.minimum": _of_two(ops.minimum),
    "math.multiply": _of_two(ops.multiply),
    "math.reduce_mean": lambda input_tensor, axis=None, keepdims=False: ops.mean(
        input_tensor, axis=axis, keepdims=keepdims
    ),
    "math.sigmoid": ops.sigmoid,
    "math.square": ops.square,
    "math.subtract": _of_two(ops.subtract),
    "math.truediv": _of_two(ops.divide),
    "nn.bias_add": lambda value, bias: ops.add(value, np.asarray(bias, np.float32)),
    "nn.relu": lambda features: ops.relu(x=features),
    "nn.relu6": lambda features: ops.relu6(x=features),
    "nn.silu": lambda features: ops.silu(x=features),
    "nn.softmax": lambda logits, axis=-1: ops.softmax(logits, axis=axis),
}
_MODELS = ("Functional", "Model", "Sequential")
_OPERATIONS = ("TFOpLambda", "SlicingOpLambda")


def read_legacy(path: pathlib.Path) -> keras.Model:
    """Read an .h5 file of a whole model, of whatever Keras.

    Returns:
        A Keras 3 model of the same structure, names and weights, whose answers on an image of noise
        are those of Keras 2 to 1e-5.

    Raises:
        InputError: no such file, one with code in it, or with a layer that Keras 3 has not.
    """
    found = h5_files.read(path)
    if found.version[0] >= 3:
        return load_keras(path)
    for one in h5_files.layers_of(found.config):
        _refuse_unknown(path, one)
    legacy = _opened(path, found)
    model = _rebuilt(legacy)
    _check_same(path, legacy, model)
    return model


def _refuse_unknown(path: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Raise InputError for a function of TensorFlow that is not one of `_FUNCTIONS`."""
    if config["class_name"] not in _OPERATIONS:
        return
    function = config.get("config", {}).get("function")
    if function not in _FUNCTIONS:
        raise InputError(
            f"{path}: {h5_files.name_of(config)} calls tf.{function}, which is not known here; "
            "convert the model to .tflite with the TensorFlow that made it and import that file"
        )


def _opened(path: pathlib.Path, found: h5_files.Contents) -> Any:
    """The tf_keras model in a file, once its size was held against the file's."""
    # Read by tf_keras when it is imported, where a warning would be an error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf
    import tf_keras

    try:
        with tf.Graph().as_default():  # in which a variable has a shape and no memory
            tf.random.set_seed(0)  # of this graph: initial weights want one where a training ran
            sized = tf_keras.models.model_from_config(copy.deepcopy(dict(found.config)))
            wanted = sum(
                one.shape.num_elements() * one.dtype.size for one in sized.variables
            )  # fmt: skip
        keras_files.refuse_larger(path, wanted, found.bytes)
        return tf_keras.models.load_model(path, compile=False)
    except InputError:
        raise
    except Exception as error:
        if code := h5_files.code_in(found.config, _is_known):
            raise InputError(f"{path}: {code}") from error
        raise InputError(
            f"{path} is not readable as a model of Keras 2 ({reason(error)}); load it where it was "
            "made and save it as .keras or .tflite"
        ) from error


def _is_known(one: Mapping[str, Any]) -> bool:
    """Whether Keras 2 has the class of a layer; what is no layer is taken for known."""
    import tf_keras

    kind, inner = one["class_name"], one.get("config")
    if not isinstance(inner, Mapping) or "name" not in inner:
        return True
    known = tf_keras.utils.get_registered_object(kind) is not None
    return known or kind in (*_MODELS, *_OPERATIONS) or hasattr(tf_keras.layers, kind)


def _rebuilt(legacy: Any) -> keras.Model:
    """The same graph with layers of Keras 3, models inside it as well."""
    if not getattr(legacy, "_is_graph_network", False):
        raise InputError(
            f"{legacy.name} ({type(legacy).__name__}) is a model without an input or with code of "
            "its own, whose layers cannot be seen"
        )
    made: dict[int, Any] = {}
    inputs = []
    for one in legacy.inputs:
        own = keras.Input(
            batch_shape=tuple(one.shape), dtype=one.dtype.name, name=one.name.split(":")[0]
        )
        made[id(one)] = own
        inputs.append(own)
    twins: dict[int, Callable[..., Any]] = {}
    for depth in sorted(legacy._nodes_by_depth, reverse=True):
        for node in legacy._nodes_by_depth[depth]:
            if not node.is_input:
                _call(node, made, twins)
    outputs = [made[id(one)] for one in legacy.outputs]
    return keras.Model(_one(inputs), _one(outputs), name=legacy.name)


def _call(node: Any, made: dict[int, Any], twins: dict[int, Callable[..., Any]]) -> None:
    """Call the twin of a node's layer as the layer was called."""
    layer = node.layer
    # Each tensor is taken from a list of as many as there are readers.
    ready = {str(key): _Endless(value) for key, value in made.items()}
    args, kwargs = node.map_arguments(ready)
    left = {key: one for key, one in kwargs.items() if one is not None and key != "name"}
    if id(layer) not in twins:
        twins[id(layer)] = _twin(layer)
    try:
        outputs = twins[id(layer)](*args, **left)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{_named(layer)} has no twin in Keras 3: {reason(error)}") from error
    made.update(
        zip(map(id, _flat(node.outputs)), keras.tree.flatten(outputs), strict=True)
    )  # fmt: skip


class _Endless:
    def __init__(self, value: Any) -> None:
        self._value = value

    def pop(self) -> Any:
        """What a list of one value for each reader would give."""
        return self._value


class _Twin:
    """A layer of Keras 3 with the weights of one of Keras 2, from its first call on."""

    def __init__(self, layer: Any, own: type[keras.Layer]) -> None:
        self._source: Any = layer
        config, hard = _config(layer, own)
        self._layers = [own.from_config(config)]
        if hard:
            # Keras 2 and 3 do not mean the same by hard_sigmoid: this is Keras 2's.
            name = config["name"]
            self._layers.append(layers.Rescaling(0.2, 0.5, name=f"{name}_scaled"))
            self._layers.append(layers.ReLU(1.0, name=f"{name}_clipped"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        first, *others = self._layers
        outputs = first(*args, **kwargs)
        if self._source is not None:
            first.set_weights(self._source.get_weights())
            if isinstance(first, layers.Normalization):
                first.finalize_state()  # which it computes with
            first.trainable = self._source.trainable
            self._source = None
        for layer in others:
            outputs = layer(outputs)
        return outputs


def _twin(layer: Any) -> Callable[..., Any]:
    """What does in Keras 3 what a layer of Keras 2 does."""
    kind = type(layer).__name__
    if hasattr(layer, "_nodes_by_depth"):
        return _rebuilt(layer)
    if kind in _OPERATIONS:
        return _operation(layer)
    if kind.startswith("Random") and kind != "RandomCrop":
        return lambda x, **_: x  # augmentation, which Keras 3 words otherwise
    own = getattr(layers, kind, None)
    if own is None or not type(layer).__module__.startswith("tf_keras."):
        raise InputError(f"{_named(layer)} is a layer that Keras 3 has not")
    try:
        return _Twin(layer, own)
    except Exception as error:
        raise InputError(f"{_named(layer)} has no twin in Keras 3: {reason(error)}") from error


def _operation(layer: Any) -> Callable[..., Any]:
    """The operation of a layer that Keras 2 made of a call of TensorFlow, by the layer's name."""
    function = _FUNCTIONS[layer.get_config()["function"]]

    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = function(*args, **kwargs)
        # Its own is that of a layer: "add", for example, which there may be as well.
        outputs._keras_history.operation.name = layer.name.replace(".", "_")
        return outputs

    return call


def _config(layer: Any, own: type[keras.Layer]) -> tuple[dict[str, Any], bool]:
    """The settings of a layer in Keras 3's words, and whether it ends in Keras 2's hard_sigmoid."""
    saved = layer.get_config()
    if saved.get("renorm"):
        raise ValueError("it renormalises, which Keras 3 does not")
    known = inspect.signature(own.__init__).parameters
    renamed = _RENAMED.get(own.__name__, {})
    config = {renamed.get(key, key): value for key, value in saved.items()}
    config = {
        key: value
        for key, value in config.items()
        if key in known and not key.endswith(_LEFT_OUT)
    }  # fmt: skip
    if own is layers.BatchNormalization and not isinstance(config["axis"], int):
        (config["axis"],) = config["axis"]
    hard = config.get("activation") == "hard_sigmoid"
    if hard:
        config["activation"] = "linear"
    # A name with a slash is none in Keras 3.
    return {**config, "name": layer.name.replace("/", "_"), "dtype": "float32"}, hard


def _check_same(path: pathlib.Path, legacy: Any, model: keras.Model) -> None:
    """Raise InputError where noise is not answered as by the model of Keras 2."""
    rng = np.random.default_rng(2)
    shapes = [[1, *(side or _OPEN_SIDE for side in one.shape[1:])] for one in model.inputs]
    noise = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]
    wanted = _flat(legacy(_one(noise), training=False))
    ours = keras.tree.flatten(model(_one(noise), training=False))
    for one, other in zip(map(np.asarray, wanted), map(np.asarray, ours), strict=True):
        difference = float(np.abs(one - other).max()) / max(1.0, float(np.abs(one).max()))
        if not difference <= _TOLERANCE:
            raise InputError(
                f"{path}: its network in Keras 3 differs by {difference:.2g} from that in Keras 2, "
                f"where {_TOLERANCE:g} may be; convert it to .tflite where it was made and import "
                "that file"
            )


def _flat(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _one(values: list[Any]) -> Any:
    """The only one of a list, or the list."""
    return values if len(values) > 1 else values[0]


def _named(layer: Any) -> str:
    return f"layer {layer.name!r} ({type(layer).__name__})"
