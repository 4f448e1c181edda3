"""How far a network after quantisation-aware training is from its TFLite file, and why.

Run: python benchmarks/qat_gap.py [RUN ...], for runs made by
`kerascnn train mobilenet_v3_small --data mnist --out runs/mobilenet_v3_small`. About three minutes
a line on two cores; the last line of a run is `kerascnn compress RUN --variants qat_int8`, whose
files stay in the run's folder. `--only WORD` leaves out ways without that word in their name.

The network is trained on as tensorflow-model-optimization has it, with the lessons, epochs and
learning rate of our own step: batch norms in place, the hard activations written out as its issue
1107 does (Rescaling, ReLU6, Rescaling, Multiply), its default 8-bit scheme wherever its registry
takes a layer, and a quantiser of the output where it does not. Each further way differs from that
one in one thing. The file is the converter's with Optimize.DEFAULT; `SNR` is the power of the
trained network's logits over that of the file's difference from them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs,
    default_8bit_quantize_registry,
    default_8bit_quantize_scheme,
    default_8bit_quantizers,
)

from export.artefacts.variants import Qat, parse_variant
from export.compress import finetune, stages
from export.compress.compress import VariantBuilder, compress
from export.graph.fold_norm import fold_batch_norms
from export.graph.legacy_keras import Elementwise, to_tf_keras
from export.runtime import load as runtimes
from export.tasks.classification import Classification
from training.common.quiet import native_quiet, quiet
from training.engine.loop import repeatable
from training.engine.run import Run

_CALIBRATION_PICTURES = 200
_annotate = tfmot.quantization.keras.quantize_annotate_layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """One way of training.

    Attributes:
        name: for the table.
        others: what becomes of layers that the registry refuses: their "outputs" get a quantiser;
            they are left "alone"; or they are left alone but for a quantiser behind each "whole"
            hard-swish, hard-sigmoid and product, which the converter then makes one operation of.
        calibrated: ranges of activations begin at those of training pictures, not at [-6, 6].
        wider: by how much ranges begin wider than tfmot's, which makes their steps coarser.
        momentum: of the ranges.
        per_channel: depthwise kernels have a scale a channel, not one.
        folded: batch norms are folded first.
        epochs: in place of our own step's.
    """

    name: str
    others: str = "outputs"
    calibrated: bool = False
    wider: float = 1.0
    momentum: float = 0.999
    per_channel: bool = False
    folded: bool = False
    epochs: int | None = None


WAYS = (
    Way(name="tfmot"),
    Way(name="tfmot, 1 epoch", epochs=1),
    Way(name="refused layers left alone", others="alone"),
    Way(name="hard activations whole", others="whole"),
    Way(name="ranges begin calibrated", calibrated=True),
    Way(name="ranges begin at [-48, 48]", wider=8.0),
    Way(name="momentum 0.9", momentum=0.9),
    Way(name="depthwise a scale a channel", per_channel=True),
    Way(name="batch norms folded", folded=True),
    Way(name="calibrated, 0.99, folded", calibrated=True, folded=True, momentum=0.99),
)


def main() -> None:
    """Print a line a run and way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    runs = ["runs/mobilenet_v3_small", "runs/mobilenet_v3_large"]
    parser.add_argument("runs", nargs="*", default=runs)
    parser.add_argument("--only", default="", help="a word of the ways' names")
    asked = parser.parse_args()
    print(
        f"{'run':20} {'way':28} {'trained':>8} {'file':>7} {'same top-1':>11} {'SNR':>8} "
        f"{'pieces':>7} {'float':>6} {'KB':>8}"
    )
    for folder in asked.runs:
        bench = Bench(Run.open(folder))
        for way in WAYS:
            if asked.only in way.name:
                print(bench.line(way), flush=True)
        if asked.only in "ours":
            print(bench.ours(), flush=True)


class Bench:
    """What the lines of one run share."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._model = run.load_model()
        self._builder = VariantBuilder(run)
        task = Classification(run)
        self._config, self._lessons = task.config, task.fine_tuning_data()
        self._calibration, _labels = task.sample(_CALIBRATION_PICTURES)
        self._pictures, self._labels = task.held_out.pictures, task.held_out.labels

    def line(self, way: Way) -> str:
        """Train, convert and run."""
        config = finetune.share_of(
            self._config,
            **dict(zip(("epochs", "learning_rate"), stages._SHARES[Qat], strict=True)),
        )
        if way.epochs is not None:
            config = dataclasses.replace(config, epochs=way.epochs)
        repeatable(config.seed)
        with quiet():
            aware = annotated(fold_batch_norms(self._model) if way.folded else self._model, way)
        normalise = self._run.preprocessing.normalise
        if way.calibrated:
            calibrate(aware, normalise(self._calibration))
        for variable in aware.variables:
            if variable.name.endswith(("_min:0", "_max:0")):
                variable.assign(way.wider * variable)
        with tempfile.TemporaryDirectory() as folder, momentum_of_ranges(way.momentum):
            name = f"{self._run.name}: {way.name}"
            finetune.fine_tune(aware, self._lessons, config, pathlib.Path(folder), name=name)
        inputs = normalise(self._pictures)
        blocks = [aware(inputs[i : i + 64], training=False) for i in range(0, len(inputs), 64)]
        return self._row(way.name, np.concatenate(blocks), to_file(aware))

    def ours(self) -> str:
        """The same of `kerascnn compress`."""
        (artefact,), _new = compress(self._run, ["qat_int8"], onnx=False)
        logits = self._builder.network(parse_variant("qat_int8")).answers.outputs.logits
        return self._row("ours (qat_int8)", logits, artefact.path.read_bytes())

    def _row(self, name: str, trained: np.ndarray, data: bytes) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "network.tflite"
            path.write_bytes(data)
            runtime = runtimes.load(path, self._run.preprocessing)
            found = runtime.predict(self._pictures)
        right = [100 * np.mean(x.argmax(-1) == self._labels) for x in (trained, found)]
        same = 100 * np.mean(trained.argmax(-1) == found.argmax(-1))
        snr = 10 * np.log10(np.sum(trained**2) / np.sum((trained - found) ** 2))
        return (
            f"{self._run.name:20} {name:28} {right[0]:7.1f}% {right[1]:6.1f}% {same:10.1f}% "
            f"{snr:5.1f} dB {runtime.partitions:7} {float_operations(data):6} "
            f"{len(data) / 1000:8.1f}"
        )


def annotated(model: keras.Model, way: Way) -> tf_keras.Model:
    """The network in tf_keras with tfmot's quantisers."""
    twin = to_tf_keras(model)
    image = tf_keras.Input(twin.inputs[0].shape[1:], name="image")
    tensors: dict[int, Any] = {id(twin.inputs[0]): image}
    pairs = []
    for layer in twin.layers[1:]:
        node = layer.inbound_nodes[0]
        inputs = [tensors[id(x)] for x in node.keras_inputs]
        x = inputs[0] if len(inputs) == 1 else inputs
        if isinstance(layer, Elementwise):
            outputs = _activation(layer, x, way)
        else:
            # Our twins of some layers are subclasses, which tfmot does not know.
            fresh = getattr(tf_keras.layers, type(layer).__name__).from_config(layer.get_config())
            multiply = isinstance(layer, tf_keras.layers.Multiply)
            outputs = (_refused(fresh, way) if multiply else _annotate(fresh))(x)
            pairs.append((fresh, layer))
        tensors[id(node.outputs)] = outputs
    whole = tf_keras.Model(image, tensors[id(twin.outputs[0])], name=model.name)
    for fresh, layer in pairs:
        if fresh.weights:
            fresh.set_weights(layer.get_weights())
    with tfmot.quantization.keras.quantize_scope():
        return tfmot.quantization.keras.quantize_apply(whole, scheme=Scheme(way.per_channel))


def _activation(layer: Elementwise, x: Any, way: Way) -> Any:
    kind, name = layer.layer.activation.__name__, layer.name
    if kind == "relu":
        return _annotate(tf_keras.layers.ReLU(name=name))(x)
    inner = way if way.others == "outputs" else dataclasses.replace(way, others="alone")
    relu6 = tf_keras.layers.ReLU(6.0, name=f"{name}_relu6")
    gate = _refused(tf_keras.layers.Rescaling(1.0, 3.0, name=f"{name}_plus3"), inner)(x)
    gate = (_annotate(relu6) if way.others == "outputs" else relu6)(gate)
    last = way if kind == "hard_sigmoid" else inner
    gate = _refused(tf_keras.layers.Rescaling(1 / 6, name=f"{name}_sixth"), last)(gate)
    if kind == "hard_sigmoid":
        return gate
    return _refused(tf_keras.layers.Multiply(name=name), way)([x, gate])


def _refused(layer: tf_keras.layers.Layer, way: Way) -> tf_keras.layers.Layer:
    if way.others == "alone":
        return layer
    return _annotate(layer, default_8bit_quantize_configs.Default8BitOutputQuantizeConfig())


class Scheme(default_8bit_quantize_scheme.Default8BitQuantizeScheme):
    """tfmot's, if asked with as many scales in a depthwise kernel as it has channels.

    A `QuantizeConfig` at the layers would keep tfmot from seeing their batch norms.
    """

    def __init__(self, per_channel: bool) -> None:
        super().__init__()
        self._per_channel = per_channel

    def get_quantize_registry(self):
        """For `quantize_apply`."""
        registry = super().get_quantize_registry()
        if self._per_channel:
            config = default_8bit_quantize_registry.Default8BitConvQuantizeConfig(
                ["depthwise_kernel"], ["activation"], False
            )
            config.weight_quantizer = PerChannel()
            registry._layer_quantize_map[tf_keras.layers.DepthwiseConv2D] = config
        return registry


class PerChannel(default_8bit_quantizers.Default8BitConvWeightsQuantizer):
    """A scale a channel for kernels of (height, width, channels, 1)."""

    def build(self, tensor_shape, name, layer) -> dict[str, Any]:
        """Two variables of the layer."""
        return super().build(tensor_shape[:3], name, layer)

    def __call__(self, inputs, training, weights, **kwargs):
        """Rounded."""
        flat = tf.reshape(inputs, [-1, inputs.shape[2]])
        if training:
            rounded = super().__call__(flat, training, weights, **kwargs)
        else:
            # The converter fails at such a fake quantiser in front of the reshaping; values that
            # are on the grid already it leaves there.
            step = weights["max_var"] / 127
            rounded = tf.clip_by_value(tf.round(flat / step), -127, 127) * step
        return tf.reshape(rounded, inputs.shape)


@contextlib.contextmanager
def momentum_of_ranges(momentum: float) -> Iterator[None]:
    """tfmot has 0.999 written in."""
    original = quant_ops.MovingAvgQuantize

    def changed(*args, **kwargs):
        return original(*args, **{**kwargs, "ema_decay": momentum})

    with mock.patch.object(quant_ops, "MovingAvgQuantize", changed):
        yield


def calibrate(aware: tf_keras.Model, inputs: np.ndarray) -> None:
    """Let the ranges be those of a batch."""
    kept = [(v, v.numpy()) for v in aware.variables if "moving_" in v.name]
    with momentum_of_ranges(0.0):
        aware(inputs, training=True)
    for variable, value in kept:
        variable.assign(value)


def to_file(aware: tf_keras.Model) -> bytes:
    """What the converter makes of it."""
    picture = tf.TensorSpec((1, *aware.input_shape[1:]), tf.float32, name="image")

    @tf.function(input_signature=[picture], autograph=False)
    def serve(image):
        return {"logits": aware(image, training=False)}

    with quiet(), native_quiet(), tempfile.TemporaryDirectory() as folder:
        archive = tf.Module()
        archive.network, archive.serve = aware.variables, serve
        tf.saved_model.save(archive, folder, signatures=serve)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        data: bytes = converter.convert()
    return data


def float_operations(data: bytes) -> int:
    """Operations of a file that compute floats."""
    with native_quiet():
        interpreter = Interpreter(
            model_content=data,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    types = {int(d["index"]): d["dtype"] for d in interpreter.get_tensor_details()}
    return sum(
        types[int(operation["outputs"][0])] == np.float32 and operation["op_name"] != "DEQUANTIZE"
        for operation in interpreter._get_ops_details()
    )


if __name__ == "__main__":
    main()
