"""A Keras 3 functional model as its tf_keras twin, and trained weights back again.

tensorflow-model-optimization knows tf_keras alone. The twin has the same layers, names and
weights, and gives the same outputs to the last bit. Activations that a Keras 3 layer carries
inside become layers of their own, and all activations are Keras 3's own functions, since the two
libraries do not mean the same by `hard_sigmoid`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tf_keras
from keras import layers

from kerascnn.errors import InputError


class Elementwise(tf_keras.layers.Layer):
    """A Keras 3 layer without weights, as a tf_keras layer.

    Args:
        inner: the layer's serialised form, from `keras.saving.serialize_keras_object`.
    """

    def __init__(self, inner: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._config = inner
        # In a tuple of its own, where neither library takes it for a part to be tracked.
        self._inner = _Untracked(keras.saving.deserialize_keras_object(inner))

    @property
    def layer(self) -> keras.Layer:
        """The Keras 3 layer."""
        return self._inner.value

    def call(self, inputs):
        """Call the Keras 3 layer."""
        return self._inner.value.call(inputs)

    def get_config(self) -> dict[str, Any]:
        """For cloning."""
        return {**super().get_config(), "inner": self._config}


class _Untracked:
    def __init__(self, value: Any) -> None:
        self.value = value


class BatchNormalization(tf_keras.layers.BatchNormalization):
    """tf_keras' layer, which at inference rounds as Keras 3 does: not by the fused operation.

    Attributes:
        keeps_statistics: whether it normalises by the moving statistics in training, too.
    """

    keeps_statistics = False

    def call(self, inputs, mask=None, training=None):
        """Normalise by the batch's statistics if `training`, else by the moving ones."""
        if training is not None and training is not False and not self.keeps_statistics:
            return super().call(inputs, training=training)
        return tf.nn.batch_normalization(
            inputs, self.moving_mean, self.moving_variance, self.beta, self.gamma, self.epsilon
        )


class Dropout(tf_keras.layers.Layer):
    """Dropout that counts its draws, so that an interrupted training goes on with the next one.

    tf_keras' own layer keeps the state of its generator in no variable, and so in no checkpoint.

    Args:
        rate, noise_shape: as of tf_keras' layer.
        seed: of all draws; None takes one of Python's generator.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rate, self.noise_shape = rate, noise_shape
        self.seed = random.randrange(2**31) if seed is None else seed

    def build(self, input_shape) -> None:
        """The number of draws so far."""
        self.draws = self.add_weight(
            "draws", shape=(), dtype=tf.int32, initializer="zeros", trainable=False
        )
        super().build(input_shape)

    def call(self, inputs, training=None):
        """Drop elements, or whole slices where `noise_shape` has 1, if `training`."""

        def dropped():
            number = self.draws.assign_add(1)
            shape = None
            if self.noise_shape is not None:
                sides = tf.shape(inputs)
                shape = [sides[i] if n is None else n for i, n in enumerate(self.noise_shape)]
            return tf.nn.experimental.stateless_dropout(
                inputs, self.rate, seed=tf.stack([self.seed, number]), noise_shape=shape
            )

        return tf_keras.backend.in_train_phase(dropped, inputs, training=training or False)

    def get_config(self) -> dict[str, Any]:
        """For cloning."""
        own = {"rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}
        return {**super().get_config(), **own}


# Layers of the same name and meaning in both libraries, with the arguments of their twins.
_SHAPED = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias")
_POOL = ("pool_size", "strides", "padding")
_SAME: dict[type[keras.Layer], tuple[str, ...]] = {
    layers.Add: (),
    layers.AveragePooling2D: _POOL,
    layers.BatchNormalization: ("axis", "momentum", "epsilon", "center", "scale"),
    layers.Concatenate: ("axis",),
    layers.Conv2D: _SHAPED,
    layers.Conv2DTranspose: (
        *("filters", "kernel_size", "strides", "padding", "output_padding", "dilation_rate"),
        "use_bias",
    ),
    layers.Cropping2D: ("cropping",),
    layers.Dense: ("units", "use_bias"),
    layers.DepthwiseConv2D: (
        *("kernel_size", "strides", "padding", "depth_multiplier", "dilation_rate", "use_bias"),
    ),
    layers.Dropout: ("rate", "noise_shape", "seed"),
    layers.Flatten: (),
    layers.GlobalAveragePooling2D: ("keepdims",),
    layers.GlobalMaxPooling2D: ("keepdims",),
    layers.MaxPooling2D: _POOL,
    layers.Multiply: (),
    layers.Reshape: ("target_shape",),
    layers.UpSampling2D: ("size", "interpolation"),
    layers.ZeroPadding2D: ("padding",),
}
_OWN = {layers.BatchNormalization: BatchNormalization, layers.Dropout: Dropout}
_ELEMENTWISE = (layers.Activation, layers.ReLU)
# Further layers without weights that hold for single elements; see `register_elementwise`.
_registered: list[type[keras.Layer]] = []


def register_elementwise(kind: type[keras.Layer]) -> type[keras.Layer]:
    """Class decorator: a Keras 3 layer without weights that the twin may call as it is."""
    _registered.append(kind)
    return kind


def to_tf_keras(
    model: keras.Model,
    *,
    wrap: Callable[[tf_keras.layers.Layer], tf_keras.layers.Layer] = lambda layer: layer,
    entrance: tf_keras.layers.Layer | None = None,
) -> tf_keras.Model:
    """Rebuild a functional model in tf_keras.

    Args:
        model: functional, of any depth of nesting; its weights are copied, never shared.
        wrap: called with each layer of the twin, which has its weights already; what it returns
            takes the layer's place.
        entrance: a layer between the input and the rest.

    Returns:
        A flat functional tf_keras model: without `wrap` and `entrance` the same names, weights,
        and outputs to the last bit.

    Raises:
        InputError: a layer that has no twin; the message names it.
    """
    # Of each layer, its twin and the activation behind it.
    twins: dict[int, tuple[tf_keras.layers.Layer, Callable]] = {}

    def call(operation, *args, **kwargs):
        kwargs.pop("training", None)
        if isinstance(operation, keras.Model):
            graph = getattr(operation, "_functional", operation)  # which a Sequential has inside
            return graph._run_through_graph(args, call_fn=call)
        if id(operation) not in twins:
            layer = _twin(operation, model.name)
            if operation.weights:
                layer.build(args[0].shape)
                layer.set_weights(operation.get_weights())
            layer.trainable = operation.trainable
            twins[id(operation)] = wrap(layer), _activation(operation)
        twin, activation = twins[id(operation)]
        return activation(twin(*args, **kwargs))

    first = model.inputs[0]
    inputs = tf_keras.Input(first.shape[1:], dtype=first.dtype, name=first.name)
    outputs = model._run_through_graph([entrance(inputs) if entrance else inputs], call_fn=call)
    return tf_keras.Model(inputs, outputs, name=model.name)


def require_twin(model: keras.Model) -> None:
    """Raise InputError where `to_tf_keras` would; nothing is built."""
    known = (*_SAME, *_ELEMENTWISE, *_registered, keras.layers.InputLayer)
    for operation in model.operations:
        if isinstance(operation, keras.Model):
            require_twin(operation)
        elif type(operation) not in known:
            raise _without_twin(operation, model.name)


def _without_twin(operation: keras.Operation, model_name: str) -> InputError:
    return InputError(
        f"{model_name}: layer {operation.name!r} is a {type(operation).__name__}, which has no "
        "twin in tf_keras; pruning, clustering and quantisation-aware training cannot take this "
        "network"
    )


def bring_back(twin: tf_keras.Model, model: keras.Model) -> None:
    """Put the weights of a (stripped) twin into the Keras 3 model that it was made of.

    Raises:
        ValueError: the twin lacks a layer, or has one of another shape.
    """
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(twin.get_layer(layer.name).get_weights())


def _twin(operation, model_name: str) -> tf_keras.layers.Layer:
    kind = type(operation)
    if kind in _SAME:
        config = operation.get_config()
        chosen = {key: config[key] for key in _SAME[kind] if config.get(key) is not None}
        if kind is layers.DepthwiseConv2D and "dilation_rate" in chosen:
            chosen["dilation_rate"] = tuple(chosen["dilation_rate"])
        if kind in _OWN:
            return _OWN[kind](name=operation.name, **chosen)
        return getattr(tf_keras.layers, kind.__name__)(name=operation.name, **chosen)
    if kind in (*_ELEMENTWISE, *_registered):
        return Elementwise(keras.saving.serialize_keras_object(operation), name=operation.name)
    raise _without_twin(operation, model_name)


def _activation(operation) -> Callable:
    """What a layer carries inside: the activation as a layer, or the identity."""
    function = getattr(operation, "activation", keras.activations.linear)
    if type(operation) not in _SAME or function is keras.activations.linear:
        return lambda outputs: outputs
    name = f"{operation.name}_activation"
    alone = layers.Activation(function, name=name)
    return Elementwise(keras.saving.serialize_keras_object(alone), name=name)
