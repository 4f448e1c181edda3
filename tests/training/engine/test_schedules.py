"""Learning rates against hand-worked values; the papers' own are in test_recipes.py."""

import math

import keras
import numpy as np
import pytest

from kerascnn.errors import InputError
from training.engine import optimizers, schedules
from training.engine.config import TrainConfig


def rates(config: TrainConfig, steps: int, epochs: int) -> list[float]:
    """The rate of every batch."""
    made = schedules.schedule(config, steps, epochs)
    return [float(keras.ops.convert_to_numpy(made(step))) for step in range(steps * epochs)]


def test_a_cosine_rises_and_falls_to_zero():
    config = TrainConfig(learning_rate=0.1, warmup_epochs=1, epochs=3)
    found = rates(config, 10, 3)
    rising = [0.004 + (0.1 - 0.004) * step / 10 for step in range(10)]
    falling = [0.05 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
    np.testing.assert_allclose(found, rising + falling, rtol=1e-5)


def test_a_cosine_is_keras_own():
    made = schedules.schedule(TrainConfig(learning_rate=6e-3, warmup_epochs=2), 31, 16)
    own = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=6e-3 / 25,
        decay_steps=31 * 14,
        warmup_target=6e-3,
        warmup_steps=62,
    )
    assert type(made) is type(own)
    assert made.get_config() == own.get_config()


def test_without_warmup_a_cosine_begins_at_its_peak():
    found = rates(TrainConfig(learning_rate=0.1, warmup_epochs=0), 2, 1)
    np.testing.assert_allclose(found, [0.1, 0.05], rtol=1e-6)


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_a_warmup_longer_than_the_training_leaves_one_update(name):
    found = rates(TrainConfig(learning_rate=0.1, warmup_epochs=9, schedule=name), 4, 1)
    assert found == pytest.approx([0.004, 0.036, 0.068, 0.1])


def test_constant_stays_at_the_peak_after_warmup():
    found = rates(TrainConfig(learning_rate=0.1, warmup_epochs=0.5, schedule="constant"), 4, 2)
    assert found == pytest.approx([0.004, 0.052] + 6 * [0.1])


def test_steps_change_at_the_milestones():
    config = TrainConfig(
        learning_rate=0.1,
        warmup_epochs=0,
        schedule="steps",
        milestones=((1, 0.5), (2.5, 0.01)),
    )
    assert rates(config, 2, 4) == pytest.approx([0.1, 0.1] + 3 * [0.05] + 3 * [0.001])


def test_milestones_count_from_the_first_epoch_of_the_warmup():
    config = TrainConfig(
        learning_rate=0.1, warmup_epochs=2, schedule="steps", milestones=((1, 0.5), (3, 0.1))
    )
    assert rates(config, 1, 4) == pytest.approx([0.004, 0.052, 0.05, 0.01])


def test_exponential_falls_at_fractions_of_epochs():
    config = TrainConfig(
        learning_rate=1.0,
        warmup_epochs=0,
        schedule="exponential",
        decay_rate=0.5,
        decay_epochs=2.4,
    )
    # 2.4 epochs of 5 batches are 12, although 2.4 * 5 need not be in floating point.
    assert rates(config, 5, 6) == pytest.approx(12 * [1.0] + 12 * [0.5] + 6 * [0.25])


def test_exponential_is_exact_after_many_decays():
    config = TrainConfig(
        learning_rate=1.0,
        warmup_epochs=0,
        schedule="exponential",
        decay_rate=0.97,
        decay_epochs=2.4,
    )
    made = schedules.schedule(config, 1251, 350)
    for n in (1, 5, 77, 145):  # n x 2.4 x 1251 = n x 3002.4 batches
        first = math.ceil(n * 3002.4)
        assert float(made(first)) == pytest.approx(0.97**n, rel=1e-6)
        assert float(made(first - 1)) == pytest.approx(0.97 ** (n - 1), rel=1e-6)


def test_the_rate_grows_with_the_batch_where_a_reference_is_given():
    config = TrainConfig(
        learning_rate=0.256,
        reference_batch=4096,
        batch_size=64,
        accumulate=4,
        warmup_epochs=0,
        schedule="constant",
    )
    assert rates(config, 4, 1) == pytest.approx(4 * [0.016])


@pytest.mark.parametrize("name", ["constant", "cosine", "steps", "exponential"])
def test_accumulation_has_the_rates_of_the_larger_batch(name):
    milestones = ((2, 0.1),) if name == "steps" else ()
    large = TrainConfig(batch_size=8, schedule=name, milestones=milestones, decay_epochs=1.5)
    small = TrainConfig(
        batch_size=2, accumulate=4, schedule=name, milestones=milestones, decay_epochs=1.5
    )
    assert rates(small, 12, 4) == [rate for rate in rates(large, 3, 4) for _ in range(4)]


def test_an_accumulating_optimizer_counts_batches():
    """Keras hands its schedule the batches, and not the updates, which `OfUpdates` is for."""
    config = TrainConfig(accumulate=2, epochs=2, warmup_epochs=0, schedule="cosine")
    optimizer = optimizers.build(config, schedules.schedule(config, 4, 2))
    variable = keras.Variable([1.0], name="kernel")
    found = []
    for _ in range(8):
        found.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
        optimizer.apply([keras.ops.ones(1)], [variable])
    cosine = [5e-4 * (1 + math.cos(math.pi * update / 4)) for update in range(4)]
    assert found == pytest.approx([rate for rate in cosine for _ in range(2)], rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", ["constant", "cosine", "steps", "exponential"])
def test_schedules_survive_serialisation(name, accumulate):
    config = TrainConfig(
        schedule=name, milestones=((1, 0.1),) if name == "steps" else (), accumulate=accumulate
    )
    made = schedules.schedule(config, 6, 3)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(made))
    assert [float(again(step)) for step in range(18)] == rates(config, 6, 3)


def test_rate_at_holds_the_frozen_epochs_too():
    config = TrainConfig(
        epochs=4,
        freeze_epochs=2,
        freeze_learning_rate=0.3,
        learning_rate=0.1,
        warmup_epochs=0,
        schedule="steps",
        milestones=((1, 0.1),),
    )
    found = [schedules.rate_at(config, epoch, 10) for epoch in (0, 1.9, 2, 2.9, 3)]
    assert found == pytest.approx([0.3, 0.3, 0.1, 0.1, 0.01])


def test_a_plateau_has_no_rate_of_its_own():
    config = TrainConfig(schedule="plateau", warmup_epochs=0)
    with pytest.raises(ValueError, match="plateau_factor"):
        schedules.schedule(config, 10, 3)


def history(*accuracies: float) -> list[dict[str, float]]:
    return [{"val_accuracy": accuracy, "val_loss": 1.0} for accuracy in accuracies]


PLATEAU = TrainConfig(schedule="plateau", decay_rate=0.1, decay_epochs=2, decays=2, warmup_epochs=0)


def test_plateaus_lower_the_rate_and_the_third_one_ends_the_training():
    accuracies = (0.5, 0.6, 0.6, 0.5, 0.7, 0.7, 0.6, 0.7, 0.7)
    factors, over = [], []
    for epochs in range(len(accuracies) + 1):
        factors.append(schedules.plateau_factor(PLATEAU, history(*accuracies[:epochs])))
        over.append(schedules.plateau_is_over(PLATEAU, history(*accuracies[:epochs])))
    # Two epochs without a better one: after the 4th, after the 7th, after the 9th.
    assert factors == pytest.approx(4 * [1.0] + 3 * [0.1] + 3 * [0.01])
    assert over == 9 * [False] + [True]


def test_a_plateau_that_stays_lowers_the_rate_again():
    found = [schedules.plateau_factor(PLATEAU, history(*(n * [0.5]))) for n in range(1, 6)]
    assert found == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01])


def test_the_lower_loss_breaks_ties_of_accuracy():
    epochs = [{"val_accuracy": 0.5, "val_loss": loss} for loss in (1.0, 0.9, 0.8, 0.7, 0.8, 0.7)]
    assert schedules.plateau_factor(PLATEAU, epochs[:5]) == 1.0
    assert schedules.plateau_factor(PLATEAU, epochs) == 0.1


def test_a_loss_that_is_no_number_is_no_better():
    epochs = [{"val_accuracy": 0.5, "val_loss": loss} for loss in (1.0, math.nan, math.nan)]
    assert schedules.plateau_factor(PLATEAU, epochs) == 0.1


def test_detectors_are_judged_by_ap():
    # AP is the higher the better; while nothing is found, the training pictures' loss has to fall.
    rows = [{"val_ap": 0.0, "loss": loss} for loss in (5.0, 4.0, 3.0, 3.5, 3.2)]
    assert schedules.plateau_factor(PLATEAU, rows[:4]) == 1.0
    assert schedules.plateau_factor(PLATEAU, rows) == 0.1
    found = [{"val_ap": ap, "loss": 1.0} for ap in (0.1, 0.2, 0.1, 0.3, 0.3, 0.2)]
    assert schedules.plateau_factor(PLATEAU, found[:5]) == 1.0
    assert schedules.plateau_factor(PLATEAU, found) == 0.1


def test_without_a_limit_plateaus_never_end_a_training():
    config = TrainConfig(
        schedule="plateau", decay_rate=0.5, decay_epochs=1, decays=0, warmup_epochs=0
    )
    assert schedules.plateau_factor(config, history(*(11 * [0.5]))) == 0.5**10
    assert not schedules.plateau_is_over(config, history(*(11 * [0.5])))


def test_a_plateau_without_validation_is_an_input_error():
    with pytest.raises(InputError, match="plateau"):
        schedules.plateau_factor(PLATEAU, [{"loss": 1.0}])
