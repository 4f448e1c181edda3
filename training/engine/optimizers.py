"""Optimisers by configuration: Keras' own, and theirs with the L2 penalty of the older papers.

Weight decay spares biases and the scales and shifts of normalisation, whichever way it works.

What Keras 3.15 does with accumulation: gradients are averaged over the batches of an update, then
clipped, so that clipping sees the same gradient as with one large batch; schedules are handed the
batches that have been (`training.engine.schedules.OfUpdates`); and the moving average of the
weights takes a step with every batch, and starts with its full momentum: see `_WarmedAverages`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from training.engine.config import TrainConfig

_SPARED = ["bias", "gamma", "beta"]
# Of a learning rate. What learns by less stays as it is, which saves its gradients: the first
# layers are those of the largest maps.
_LEAST_SHARE = 0.05


class _WarmedAverages:
    """Moving averages that forget the initial weights, however short a training is.

    At the update behind n others, average <- decay x average + (1 - decay) x weights with
    decay = min(ema_momentum, (1 + n) / (10 + n)), as TensorFlow's ExponentialMovingAverage has it
    with `num_updates`: the average looks back over about n / 9 updates until that is as far as the
    momentum reaches. The first update makes it the weights. Batches that only gather gradients
    leave it alone, so that it is that of one large batch. n is the optimiser's own count, which a
    checkpoint holds.
    """

    # Keras' hook that is common to backends.
    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        optimizer: Any = self
        count = ops.cast(optimizer.iterations, "float32")
        decay = ops.minimum(optimizer.ema_momentum, (1 + count) / (10 + count))
        if batches := optimizer.gradient_accumulation_steps:
            updated = ops.equal((optimizer._iterations + 1) % batches, 0)
            decay = ops.where(updated, decay, 1.0)
        decay = ops.where(count > 0, decay, 0.0)
        for variable, average in zip(
            trainable_variables, optimizer._model_variables_moving_average, strict=True
        ):
            if average is not None:
                share = ops.cast(decay, variable.dtype)
                average.assign(share * average + (1 - share) * variable)


class _L2:
    """Adds weight_decay x variable to the gradient: that of weight_decay / 2 x |variable|^2.

    Behind clipping, as in torch.optim, and before momentum. For decay that is decoupled, Keras
    multiplies by the learning rate alone (arXiv:1711.05101, algorithm 1).
    """

    def __init__(self, *args: Any, l2: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.l2 = l2

    # Keras' hook that is common to backends and devices; a batched one of torch is passed over.
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        optimizer: Any = self
        if optimizer._use_weight_decay(variable):
            gradient = ops.cast(gradient, variable.dtype) + self.l2 * variable
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]


class AdamL2(_L2, keras.optimizers.Adam):
    """Adam with an L2 penalty."""


class RMSpropL2(_L2, keras.optimizers.RMSprop):
    """RMSprop with an L2 penalty."""


class SGDL2(_L2, keras.optimizers.SGD):
    """SGD with an L2 penalty; AlexNet's rule, v <- m v - rate (g + decay w), w <- w + v."""


class _ByLayer:
    """Gives each variable a share of the learning rate of its own, and of decoupled decay with it.

    Args:
        rate_factors: of the trainable variables, in their order.
    """

    def __init__(self, *args: Any, rate_factors: Sequence[float], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rate_factors = rate_factors

    # As `_L2.update_step`.
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        optimizer: Any = self
        rate = learning_rate * self.rate_factors[optimizer._get_variable_index(variable)]
        # An L2 penalty is a part of the gradient.
        if optimizer.weight_decay and optimizer._use_weight_decay(variable):
            shrunk = ops.cast(optimizer.weight_decay * rate, variable.dtype) * variable
            optimizer.assign_sub(variable, shrunk)
        super().update_step(gradient, variable, rate)  # type: ignore[misc]

    # Keras' own decay, by the whole rate.
    def _apply_weight_decay(self, variables: Any) -> None:
        """`update_step` does it."""


_L2_OF = {"adamw": AdamL2, "rmsprop": RMSpropL2, "sgd": SGDL2}
# Without decay AdamW is Adam, and Keras' AdamW wants some.
_PLAIN = {
    "adamw": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
_DECOUPLED = _PLAIN | {"adamw": keras.optimizers.AdamW}


def layer_shares(network: keras.Model, first: float) -> dict[str, float]:
    """Shares of the learning rate, of the layers that have weights, by their names.

    Args:
        first: of the first of them. The last one's is 1, and between them they rise by the same
            factor from each such layer to the next. Shares below `_LEAST_SHARE` are 0.
    """
    names = [layer.name for layer in network.layers if layer.variables]
    last = max(1, len(names) - 1)
    shares = {name: first ** (1 - place / last) for place, name in enumerate(names)}
    return {name: share if share >= _LEAST_SHARE else 0.0 for name, share in shares.items()}


def rate_factors(network: keras.Model, first: float) -> list[float] | None:
    """Shares of the learning rate, of the trainable variables in their order; None: all whole.

    Args:
        first: see `layer_shares`.
    """
    if first == 1:
        return None
    shares = layer_shares(network, first)
    owners = {id(v): layer.name for layer in network.layers for v in layer.variables}
    return [shares[owners[id(v)]] for v in network.trainable_variables]


def build(
    config: TrainConfig,
    rate: float | keras.optimizers.schedules.LearningRateSchedule,
    factors: Sequence[float] | None = None,
) -> keras.optimizers.Optimizer:
    """Make the optimiser of a configuration.

    Args:
        rate: a learning rate, or a schedule of `training.engine.schedules`.
        factors: of `rate_factors`.

    Returns:
        An optimiser without variables yet. Its moving averages of the weights, if any, replace
        nothing by themselves: see `averages`.
    """
    options: dict[str, Any] = {
        "learning_rate": float(rate) if isinstance(rate, (int, float)) else rate,
        "global_clipnorm": config.clip_norm or None,
        "gradient_accumulation_steps": config.accumulate if config.accumulate > 1 else None,
    }
    if config.ema:
        options |= {"use_ema": True, "ema_momentum": config.ema}
    if config.optimizer == "sgd":
        options |= {"momentum": float(config.momentum), "nesterov": config.nesterov}
    elif config.optimizer == "rmsprop":
        options |= {"momentum": float(config.momentum), "rho": config.rho}
    if config.optimizer != "sgd":
        options["epsilon"] = config.epsilon
    if not config.weight_decay:
        kind = _PLAIN[config.optimizer]
    elif config.decay == "l2":
        kind = _L2_OF[config.optimizer]
        options["l2"] = config.weight_decay
    else:
        kind = _DECOUPLED[config.optimizer]
        options["weight_decay"] = config.weight_decay
    kind = _averaging(kind) if config.ema else kind
    if factors is not None:
        kind, options["rate_factors"] = _by_layer(kind), factors
    made: keras.optimizers.Optimizer = kind(**options)
    if config.weight_decay:
        made.exclude_from_weight_decay(var_names=_SPARED)
    return made


@functools.cache
def _averaging(kind: Any) -> Any:
    """A kind of optimiser, with `_WarmedAverages`."""
    return type(kind.__name__, (_WarmedAverages, kind), {"__doc__": kind.__doc__})


@functools.cache
def _by_layer(kind: Any) -> Any:
    """A kind of optimiser, with `_ByLayer`."""
    return type(kind.__name__, (_ByLayer, kind), {"__doc__": kind.__doc__})


def averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The moving averages of the trainable variables, in their order.

    Before the first update they are zeros; the first one makes them the weights.
    """
    own = getattr(
        optimizer, "inner_optimizer", optimizer
    )  # half precision scales the loss around it
    found: list[keras.Variable] = own._model_variables_moving_average
    return found
