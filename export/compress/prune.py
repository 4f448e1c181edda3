"""Magnitude pruning by tensorflow-model-optimization: single weights become zero.

Zhu and Gupta, "To prune, or not to prune" (arXiv:1710.01878): the sparsity of each layer grows
with a cubic polynomial over the first two thirds of the fine-tuning, and what is left recovers in
the last third. The graph stays as it is: sparse files compress well, and are no faster on a CPU
without sparse kernels.

Left alone by default: the stem (it sees the picture), depthwise kernels (9 or 25 weights a
channel) and the logits. The four of "2 of 4" and of a 1x4 block are consecutive input channels,
which are neighbours in a TFLite file.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import (
    PruneLowMagnitude,
)

from export.artefacts.variants import Prune
from export.compress import finetune
from export.graph.legacy_keras import bring_back, to_tf_keras
from export.tasks.fine_tuning import FineTuningData
from kerascnn.errors import InputError
from training.common.quiet import quiet
from training.engine.config import TrainConfig
from training.engine.loop import repeatable

# Of a training's steps; what is left recovers at full sparsity.
_RISING = 2 / 3
_UPDATES = 20  # of the masks, while the sparsity rises
BLOCK = 4
_M_BY_N = {"2of4": (2, 4)}


def prune(
    model: keras.Model,
    step: Prune,
    fine_tuning_data: FineTuningData,
    config: TrainConfig,
    folder: pathlib.Path,
) -> keras.Model:
    """Prune while training on.

    Args:
        model: functional; it is left as it is.
        step: how much, in which pattern, and which layers are left alone.
        fine_tuning_data, config, folder: see `finetune.fine_tune`.

    Returns:
        A model of the same graph. In each pruned layer the share of zeros is the step's.

    Raises:
        InputError: a layer without a twin in tf_keras, or no layer to prune.
    """
    repeatable(config.seed)
    chosen = weighty_layers(model, step.spared)
    if not chosen:
        raise InputError(f"{model.name} has no layer to prune besides {', '.join(step.spared)}")
    steps = fine_tuning_data.steps(config) * config.epochs
    with quiet():
        wrapped = to_tf_keras(model, wrap=lambda layer: _wrapped(layer, step, steps, chosen))
    finetune.fine_tune(
        wrapped,
        fine_tuning_data,
        config,
        folder,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
        name=f"{model.name} {step.name}",
    )
    pruned = keras.models.clone_model(model)
    bring_back(tfmot.sparsity.keras.strip_pruning(wrapped), pruned)
    for layer in map(pruned.get_layer, chosen):
        kernel, *rest = layer.get_weights()
        # Half of the zeros are -0.0, whose signs are noise to whoever compresses the file.
        layer.set_weights([kernel + 0.0, *rest])
    return pruned


def weighty_layers(model: keras.Model, spared: Sequence[str]) -> set[str]:
    """Names of convolution and dense layers that pruning and clustering work on."""
    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.Dense)
    return {
        layer.name
        for layer in model.layers
        if type(layer) in kinds and not any(word in layer.name for word in spared)
    }


def _wrapped(
    layer: tf_keras.layers.Layer, step: Prune, steps: int, chosen: set[str]
) -> tf_keras.layers.Layer:
    if layer.name not in chosen:
        return layer
    every = max(1, int(_RISING * steps) // _UPDATES)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=step.sparsity / 100,
        begin_step=0,
        # A multiple: the last update is at the full sparsity.
        end_step=max(1, int(_RISING * steps) // every) * every,
        frequency=every,
    )
    if step.pattern == "free":
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)
    return _Grouped(layer, pruning_schedule=schedule, sparsity_m_by_n=_M_BY_N.get(step.pattern))


class _Grouped(PruneLowMagnitude):
    """Four neighbours of a file's kernel are a group: its input's channels.

    tfmot's own blocks are for two-dimensional kernels alone, which a convolution has not, and its
    "2 of 4" takes a transposed convolution's outputs for its inputs.
    """

    def build(self, input_shape) -> None:
        super().build(input_shape)
        self.pruning_obj = _GroupedPruning(
            training_step_fn=lambda: self.pruning_step,
            pruning_vars=self.pruning_vars,
            pruning_schedule=self.pruning_schedule,
            block_size=self.block_size,
            block_pooling_type=self.block_pooling_type,
            sparsity_m_by_n=self.sparsity_m_by_n,
        )
        if isinstance(self.layer, tf_keras.layers.Conv2DTranspose):
            self.pruning_obj.inputs_first = (0, 1, 3, 2)  # its own inverse


class _GroupedPruning(Pruning):
    inputs_first: tuple[int, ...] | None = None  # axes: from a kernel to (..., input, output)

    def _maybe_update_block_mask(self, weights):
        """Kernel -> threshold and mask."""
        if self.inputs_first is None:
            return super()._maybe_update_block_mask(weights)
        turned = tf.transpose(weights, self.inputs_first)
        threshold, mask = super()._maybe_update_block_mask(turned)
        return threshold, tf.transpose(mask, self.inputs_first)

    def _update_mask(self, weights):
        """(..., input, output) kernel -> threshold and mask; blocks of mean magnitude compete."""
        channels = weights.shape[-2]
        spare = -channels % BLOCK
        padding = [[0, 0]] * (len(weights.shape) - 2) + [[0, spare], [0, 0]]
        blocked = [*weights.shape[:-2], (channels + spare) // BLOCK, BLOCK, weights.shape[-1]]
        total = tf.reduce_sum(tf.reshape(tf.pad(tf.abs(weights), padding), blocked), axis=-2)
        members = np.minimum(BLOCK, channels - BLOCK * np.arange(blocked[-3]))
        threshold, mask = super()._update_mask(total / members[:, None].astype(np.float32))
        return threshold, tf.repeat(mask, BLOCK, axis=-2)[..., :channels, :]
