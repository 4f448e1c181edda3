"""The network of a request: built with its options and seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

import kerascnn
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import tasks
from training.engine import hardware, options
from training.engine.least_size import halves_a_pixel, least_side
from training.engine.request import TrainRequest


def build(
    asked: TrainRequest,
    preprocessing: Preprocessing,
    *,
    classes: int,
    names: Sequence[str] = (),
) -> keras.Model:
    """The untrained network.

    Args:
        preprocessing: gives the size of the images.
        classes: of the data.
        names: theirs, by which initial weights of a detector keep outputs of classes.

    Raises:
        InputError: an option that the network does not take, one that is not trained here, or
            images that are too small for it.
    """
    options.check(asked.model, asked.model_options)
    keras.utils.set_random_seed(asked.config.seed)
    try:
        model = _built(
            asked, preprocessing, classes=classes, weights=asked.weights, class_names=names
        )
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        if refused := _too_small(asked, preprocessing, classes=classes):
            raise refused from error
        if not asked.model_options:
            raise  # a defect of ours
        raise options.cannot_build(asked.model, "--option", asked.model_options) from error
    if halves_a_pixel(model) and (refused := _too_small(asked, preprocessing, classes=classes)):
        raise refused
    tasks.of_request(asked).check_network(asked.model, model)
    return model


def _built(
    asked: TrainRequest,
    preprocessing: Preprocessing,
    *,
    classes: int,
    weights: str | None = None,
    class_names: Sequence[str] = (),
) -> keras.Model:
    return kerascnn.build(
        asked.model,
        input_shape=preprocessing.input_shape,
        classes=classes,
        weights=weights,
        class_names=class_names,
        **with_precision(asked),
        **tasks.of_request(asked).network_options(asked, preprocessing),
    )


def _too_small(
    asked: TrainRequest, preprocessing: Preprocessing, *, classes: int
) -> InputError | None:
    """That the images are too small, where larger ones are taken."""

    def build(side: int) -> keras.Model:
        size = dataclasses.replace(preprocessing, height=side, width=side)
        return _built(asked, size, classes=classes)

    height, width = preprocessing.height, preprocessing.width
    least = least_side(build, min(height, width))
    if least is None:
        return None
    return InputError(
        f"{asked.model} takes images of at least {least} pixels a side, not {height}x{width}; "
        "give a larger --image-size"
    )


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
