"""From any Keras model to a network that the engine takes."""

from __future__ import annotations

import dataclasses

import keras

from kerascnn.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainNetwork:
    """A network that the engine takes, and what was taken off it."""

    model: keras.Model
    preprocessing: Preprocessing | None
    activation: str | None


def plain(model: keras.Model, *, image_size: tuple[int, int] | None = None) -> PlainNetwork:
    """A network that is plain already, but for a softmax or sigmoid in its last layer."""
    last = model.layers[-1]
    activation = getattr(last, "activation", None)
    found = getattr(activation, "__name__", None)
    if found in ("softmax", "sigmoid"):

        def bare(layer: keras.Layer) -> keras.Layer:
            config = layer.get_config()
            if layer is last:
                config["activation"] = "linear"
            return type(layer).from_config(config)

        twin = keras.models.clone_model(model, clone_function=bare)
        twin.set_weights(model.get_weights())
        return PlainNetwork(model=twin, preprocessing=None, activation=found)
    return PlainNetwork(model=model, preprocessing=None, activation=None)
