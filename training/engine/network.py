"""The network of a request: built with its options and seed."""

from __future__ import annotations

import dataclasses

import keras

import kerascnn
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.engine import options
from training.engine.request import TrainRequest


def build(asked: TrainRequest, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
    """The untrained network.

    Args:
        preprocessing: gives the size of the images.
        classes: of the data.

    Raises:
        InputError: an option that the network does not take, or one that is not trained here.
    """
    task = tasks.of_model(asked.model)
    options.check(asked.model, asked.model_options)
    keras.utils.set_random_seed(asked.config.seed)
    try:
        model = kerascnn.build(
            asked.model,
            input_shape=preprocessing.input_shape,
            classes=classes,
            weights=asked.weights,
            **asked.model_options,
            **task.network_options(asked, preprocessing),
        )
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        if not asked.model_options:
            raise  # a defect of ours
        raise options.cannot_build(asked.model, "--option", asked.model_options) from error
    task.check_network(asked.model, model)
    return model


def in_single_precision(
    asked: TrainRequest, preprocessing: Preprocessing, model: keras.Model, *, classes: int
) -> keras.Model:
    """The model for export: one trained in mixed precision, rebuilt without it."""
    options = {key: value for key, value in asked.model_options.items() if key != "dtype"}
    if len(options) == len(asked.model_options):
        return model
    plain = dataclasses.replace(asked, model_options=options)
    rebuilt = build(plain, preprocessing, classes=classes)
    rebuilt.set_weights(model.get_weights())
    return rebuilt
