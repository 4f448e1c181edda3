"""The network of a request: built with its options and seed."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

import kerascnn
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.engine import hardware, options
from training.engine.request import TrainRequest


def build(asked: TrainRequest, preprocessing: Preprocessing, *, classes: int) -> keras.Model:
    """The untrained network.

    Args:
        preprocessing: gives the size of the images.
        classes: of the data.

    Raises:
        InputError: an option that the network does not take, or one that is not trained here.
    """
    task = tasks.of_request(asked)
    options.check(asked.model, asked.model_options)
    keras.utils.set_random_seed(asked.config.seed)
    try:
        model = kerascnn.build(
            asked.model,
            input_shape=preprocessing.input_shape,
            classes=classes,
            weights=asked.weights,
            **with_precision(asked),
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


def with_precision(asked: TrainRequest) -> dict[str, Any]:
    """The builder's options, with the precision that the hardware or the configuration gives."""
    precision = hardware.chosen(asked.config).precision
    mixed = {} if precision == "float32" else {"dtype": precision}
    return {**mixed, **asked.model_options}


def in_single_precision(
    asked: TrainRequest, preprocessing: Preprocessing, model: keras.Model, *, classes: int
) -> keras.Model:
    """The model for export: one trained in mixed precision, rebuilt without it."""
    if "dtype" not in with_precision(asked):
        return model
    options = {key: value for key, value in asked.model_options.items() if key != "dtype"}
    config = dataclasses.replace(asked.config, precision="float32")
    plain = dataclasses.replace(asked, model_options=options, config=config)
    rebuilt = build(plain, preprocessing, classes=classes)
    rebuilt.set_weights(model.get_weights())
    return rebuilt
