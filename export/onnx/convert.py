"""Keras -> ONNX, by Keras' own exporter (which drives tf2onnx)."""

from __future__ import annotations

import contextlib
import math
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import keras
import numpy as np
import onnx
import tensorflow as tf
from tf2onnx import optimizer
from tf2onnx.graph import Node

from export.graph.signature import INPUT_NAME, output_names
from export.onnx.model import ONNXModel
from training.common.quiet import quiet


def to_onnx(model: keras.Model) -> bytes:
    """As `converted`, in bytes; equal networks give equal ones."""
    return converted(model).packed()


def converted(model: keras.Model) -> ONNXModel:
    """Convert a functional network.

    Returns:
        A checked file, `image` (batch, height, width, channels) float32 -> float32, by the names of
        `output_names`, any batch unless the network has one of its own.
    """
    try:
        proto = _exported(model, in_place=True)
    except _PassFailed:
        proto = _exported(model, in_place=False)
    _drop_idle_reshapes(proto)
    _write_erfc(proto.graph)
    _canonise(proto.graph, output_names(model))
    if model.input_shape[0] is None:
        _free_batch(proto.graph)
    onnx.checker.check_model(proto, full_check=True)
    return ONNXModel(proto)


def _exported(model: keras.Model, *, in_place: bool) -> onnx.ModelProto:
    picture = keras.InputSpec(shape=model.input_shape, dtype="float32", name=INPUT_NAME)
    with quiet(), _lean(in_place), tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        _plain(model).export(path, format="onnx", input_signature=[picture], verbose=False)
        return onnx.load(path)


class _PassFailed(Exception):
    """A pass of tf2onnx's optimiser, which left the graph half changed."""


@contextlib.contextmanager
def _lean(in_place: bool) -> Iterator[None]:
    """Keep tf2onnx from holding all weights once for each of its passes.

    Some twenty-six passes copy the graph, to go back where one of them fails, and write its
    constants anew: the 170 MB of a ResNet-101 took 13 GB.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(Node, "update_proto", _update_proto))
        if in_place:
            stack.enter_context(mock.patch.object(optimizer, "optimize_graph", _optimised))
        yield


_optimise = optimizer.optimize_graph


def _optimised(graph: Any, _catch_errors: bool = True, optimizers: Any = None) -> Any:
    """tf2onnx's own, on the graph itself; raises _PassFailed."""
    try:
        return _optimise(graph, catch_errors=False, optimizers=optimizers)
    except Exception as error:
        raise _PassFailed from error


_update_all = Node.update_proto


def _update_proto(node: Any, external_tensor_storage: Any = None) -> None:
    """tf2onnx's own, but for a constant whose value stands in the node already."""
    value = node.get_attr("value") if node.is_const() else None
    if value is None or not _is_written(node, value):
        _update_all(node, external_tensor_storage)
        node._written = value


def _is_written(node: Any, value: Any) -> bool:
    # Values are replaced, never changed in place, but for the sides of one.
    held = [list(each.t.dims) for each in node.op.attribute if each.name == value.name]
    return held == [list(value.t.dims)] and getattr(node, "_written", None) is value


class _GroupedConv2D(keras.layers.Conv2D):
    """A grouped convolution as one operation.

    Keras has XLA compile it on a CPU, for the sake of its gradient, and tf2onnx takes no compiled
    function.
    """

    def convolution_op(self, inputs, kernel):
        """As Keras', without the compiler."""
        return tf.nn.conv2d(
            inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate
        )


class _PlainFlatten(keras.layers.Flatten):
    """A flattening to a length that is known.

    Keras computes the shape from the input's, which tf2onnx folds most of the time: whether it
    does goes by the addresses of its objects.
    """

    def call(self, inputs):
        """(batch, ...) to (batch, values)."""
        return tf.reshape(inputs, [-1, math.prod(inputs.shape[1:])])


class _PlainReshape(keras.layers.Reshape):
    """A reshape to sides that are known, for the reason that `_PlainFlatten` has."""

    def call(self, inputs):
        """(batch, ...) to (batch, *sides)."""
        return tf.reshape(inputs, [-1, *self.compute_output_shape(inputs.shape)[1:]])


_PLAIN = {keras.layers.Flatten: _PlainFlatten, keras.layers.Reshape: _PlainReshape}


def _plain(model: keras.Model) -> keras.Model:
    """The model itself, or a copy for inference where it has what the exporter trips over."""

    def kind(layer: keras.Layer) -> type[keras.Layer]:
        if type(layer) is keras.layers.Conv2D and layer.groups > 1:
            return _GroupedConv2D
        return _PLAIN.get(type(layer), type(layer))

    if all(kind(layer) is type(layer) for layer in model.layers):
        return model
    plain = keras.models.clone_model(
        model, clone_function=lambda layer: kind(layer).from_config(layer.get_config())
    )
    plain.set_weights(model.get_weights())
    return plain


def _write_erfc(graph: onnx.GraphProto) -> None:
    """Write erfc, which ONNX has not, as 1 - erf: TensorFlow computes the exact GELU by it."""
    nodes = list(graph.node)
    if not any(node.op_type == "Erfc" for node in nodes):
        return
    one = onnx.numpy_helper.from_array(np.float32(1), "erfc_one")
    graph.initializer.append(one)
    graph.ClearField("node")
    for node in nodes:
        if node.op_type != "Erfc":
            graph.node.append(node)
            continue
        (given,), (wanted,) = node.input, node.output
        middle = f"{wanted}_erf"
        graph.node.append(onnx.helper.make_node("Erf", [given], [middle]))
        graph.node.append(onnx.helper.make_node("Sub", [one.name, middle], [wanted]))


def _drop_idle_reshapes(model: onnx.ModelProto) -> None:
    """Take out reshapes that keep the shape.

    The exporter leaves two for each squeeze-excite, and at times, by the addresses of its objects,
    one less.
    """
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info)
    }
    targets = {
        constant.name: onnx.numpy_helper.to_array(constant).tolist()
        for constant in graph.initializer
        if constant.data_type == onnx.TensorProto.INT64 and len(constant.dims) == 1
    }
    outputs = {value.name for value in graph.output}
    instead: dict[str, str] = {}
    for node in graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
        if node.op_type != "Reshape" or node.output[0] in outputs:
            continue
        before, after = shapes.get(node.input[0], []), targets.get(node.input[1], [])
        # All but the batch are known (0 stands for unknown) and stay.
        if before[1:] == after[1:] and after[:1] == [-1] and all(before[1:]) and len(before) > 1:
            instead[node.output[0]] = node.input[0]


def _canonise(graph: onnx.GraphProto, output_names: Sequence[str]) -> None:
    """Order and name everything by its place in the graph.

    The exporter numbers names by counters of the process and orders nodes by hashes, so that two
    exports of one network differ.
    """
    makers = {output: node for node in graph.node for output in node.output}
    names = {graph.input[0].name: INPUT_NAME}
    names |= {v.name: name for v, name in zip(graph.output, output_names, strict=True)}
    constants = {constant.name: constant for constant in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    used: list[onnx.TensorProto] = []
    # Depth first from the outputs, without recursion: deep networks are deeper than Python's stack.
    waiting = [(makers[value.name], False) for value in reversed(graph.output)]
    placed: set[int] = set()
    while waiting:
        node, ready = waiting.pop()
        if id(node) in placed:
            continue
        if not ready:
            waiting.append((node, True))
            waiting += [(makers[i], False) for i in reversed(node.input) if i in makers]
            continue
        placed.add(id(node))
        for name in node.input:
            if name in constants and name not in names:
                names[name] = f"constant_{len(used)}"
                used.append(constants[name])
        for name in node.output:
            names.setdefault(name, f"{node.op_type}_{len(nodes)}:{name.rpartition(':')[2]}")
        nodes.append(node)
    for number, node in enumerate(nodes):
        node.name, node.doc_string = f"{node.op_type}_{number}", ""
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for constant in used:
        constant.name = names[constant.name]
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
    nodes, used = [_copy(node) for node in nodes], [_copy(constant) for constant in used]
    for field in ("node", "initializer", "value_info", "doc_string"):
        graph.ClearField(field)
    graph.node.extend(nodes)
    graph.initializer.extend(used)


def _free_batch(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _copy(message):
    copied = type(message)()
    copied.CopyFrom(message)
    return copied
