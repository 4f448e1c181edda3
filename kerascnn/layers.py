"""Layers for maths that Keras does not have. They are registered, so that saved models load."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerascnn")
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each channel by the energy of its neighbours: x / (k + alpha * sum x^2) ** beta.

    Args:
        size: channels in the sum, the own one in the middle.
        k, alpha, beta: constants.

    Keeps the shape (batch, height, width, channels).

    Source: AlexNet (doi:10.1145/3065386), section 3.3, which gives the defaults.
    """

    def __init__(self, size=5, k=2.0, alpha=1e-4, beta=0.75, **kwargs):
        super().__init__(**kwargs)
        self.size, self.k, self.alpha, self.beta = size, k, alpha, beta

    def call(self, inputs):
        """Normalise (batch, height, width, channels)."""
        channels = inputs.shape[-1]
        half = self.size // 2
        squares = ops.pad(ops.square(inputs), [(0, 0), (0, 0), (0, 0), (half, half)])
        energy = sum(squares[..., i : i + channels] for i in range(self.size))
        return inputs * ops.power(self.k + self.alpha * energy, -self.beta)

    def compute_output_shape(self, input_shape):
        """The input's own."""
        return input_shape

    def get_config(self):
        """Constants, for saving."""
        own = {"size": self.size, "k": self.k, "alpha": self.alpha, "beta": self.beta}
        return super().get_config() | own
