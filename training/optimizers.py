"""Optimisers by configuration: Keras' own, and theirs with the L2 penalty of the older papers.

Weight decay spares biases and the scales and shifts of normalisation, whichever way it works.

What Keras 3.15 does with accumulation: gradients are averaged over the batches of an update, then
clipped, so that clipping sees the same gradient as with one large batch; schedules are handed the
batches that have been (`training.schedules.OfUpdates`); and the moving average of the weights
takes a step with every batch, which is why its momentum is made a root here.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from training.config import TrainConfig

_SPARED = ["bias", "gamma", "beta"]


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


_L2_OF = {"adamw": AdamL2, "rmsprop": RMSpropL2, "sgd": SGDL2}
# Without decay AdamW is Adam, and Keras' AdamW wants some.
_PLAIN = {
    "adamw": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
_DECOUPLED = _PLAIN | {"adamw": keras.optimizers.AdamW}


def build(
    config: TrainConfig, rate: float | keras.optimizers.schedules.LearningRateSchedule
) -> keras.optimizers.Optimizer:
    """Make the optimiser of a configuration.

    Args:
        rate: a learning rate, or a schedule of `training.schedules`.

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
        # k-th root: k batches an update take k steps of the average.
        options |= {"use_ema": True, "ema_momentum": config.ema ** (1 / config.accumulate)}
    if config.optimizer == "sgd":
        options |= {"momentum": float(config.momentum), "nesterov": config.nesterov}
    elif config.optimizer == "rmsprop":
        options |= {"momentum": float(config.momentum), "rho": config.rho}
    if config.optimizer != "sgd":
        options["epsilon"] = config.epsilon
    if not config.weight_decay:
        return _PLAIN[config.optimizer](**options)
    made: keras.optimizers.Optimizer
    if config.decay == "l2":
        made = _L2_OF[config.optimizer](**options, l2=config.weight_decay)
    else:
        made = _DECOUPLED[config.optimizer](**options, weight_decay=config.weight_decay)
    made.exclude_from_weight_decay(var_names=_SPARED)
    return made


def averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The moving averages of the trainable variables, in their order.

    Before the first update they are zeros; the first one makes them the weights.
    """
    own = getattr(
        optimizer, "inner_optimizer", optimizer
    )  # half precision scales the loss around it
    found: list[keras.Variable] = own._model_variables_moving_average
    return found
