"""Two-stage detectors as they are trained: odd pictures, what learns from what, some steps."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_detectors
from tiny_detectors import PREPROCESSING

from training.datasets.detection import DetectionSplit
from training.detection.batches import DetectionBatch, DetectionTrainingData
from training.detection.two_stage_training_model import TwoStageTrainingModel
from training.engine.config import TrainConfig

ODD = tiny_detectors.odd_split()
LOSSES = {"rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss"}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return tiny_detectors.two_stage_network()


@pytest.fixture(scope="module")
def training_model(network: keras.Model) -> TwoStageTrainingModel:
    return TwoStageTrainingModel(network, PREPROCESSING, tiny_detectors.two_stage_spec())


def batch_of(
    split: DetectionSplit, training_model: TwoStageTrainingModel, most_objects: int = 100
) -> DetectionBatch:
    config = TrainConfig(batch_size=len(split), augmentation="none", label_smoothing=0.0)
    training_data = DetectionTrainingData(
        split=split, preprocessing=PREPROCESSING, classes=2, config=config,
        most_objects=most_objects, masks=True,
        random_numbers=training_model.rcnn_loss.random_numbers(most_objects),
    )  # fmt: skip
    return training_data.batch(0, 0)


@pytest.fixture(scope="module")
def batch(training_model: TwoStageTrainingModel) -> DetectionBatch:
    """A picture with two rectangles, and one without any."""
    return batch_of(tiny_detectors.split(5).take([1, 4]), training_model, most_objects=4)


@pytest.fixture(scope="module")
def learnt(
    training_model: TwoStageTrainingModel, batch: DetectionBatch
) -> tuple[dict[str, float], dict[str, set[str]]]:
    """Each loss, and the layers that its slopes reach."""
    variables = training_model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        losses = training_model(batch, training=True)
    reached = {}
    for name, loss in losses.items():
        slopes = tape.gradient(loss, [v.value for v in variables])
        pairs = zip(variables, slopes, strict=True)
        reached[name] = {v.path.partition("/")[0] for v, slope in pairs if slope is not None}
    return {name: float(loss) for name, loss in losses.items()}, reached


@pytest.mark.parametrize("place", range(len(ODD)), ids=ODD.names)
def test_odd_pictures_have_finite_losses_and_slopes(
    place: int, training_model: TwoStageTrainingModel
) -> None:
    batch = batch_of(ODD.take([place]), training_model)
    if ODD.names[place] == "one pixel":  # what has less than two pixels a side training data ignore
        assert batch["gt_crowd"][0, 0]
        batch["gt_crowd"][:] = False
    with tf.GradientTape() as tape:
        losses = training_model(batch, training=True)
        total = tf.add_n(list(losses.values()))
    found = {name: float(loss) for name, loss in losses.items()}
    assert set(found) == LOSSES
    assert all(math.isfinite(loss) and loss >= 0 for loss in found.values())
    gradients = [
        g for g in tape.gradient(total, training_model.trainable_variables) if g is not None
    ]
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients)
    objects = ODD.objects(place)
    there = bool(len(objects)) and not objects.crowd.all()
    assert (found["box_loss"] > 0) == (found["mask_loss"] > 0) == there
    assert (found["rpn_box_loss"] > 0) == there
    assert found["rpn_class_loss"] > 0
    assert found["class_loss"] > 0


def test_of_200_objects_the_largest_100_are_learnt_from(
    training_model: TwoStageTrainingModel,
) -> None:
    batch = batch_of(ODD.take([2]), training_model)
    assert (batch["gt_labels"] >= 0).sum() == 100
    assert batch["gt_masks"].shape == (
        1,
        100,
        tiny_detectors.SHAPE[0],
        tiny_detectors.SHAPE[1] // 8,
    )


def test_all_variables_are_those_of_the_network(
    training_model: TwoStageTrainingModel, network: keras.Model
) -> None:
    for name in ("variables", "trainable_variables"):
        own = [
            v.path for v in getattr(training_model, name) if not v.path.startswith(tuple(LOSSES))
        ]
        assert sorted(own) == sorted(v.path for v in getattr(network, name))


def test_each_loss_reaches_what_it_depends_on(learnt) -> None:
    _losses, reached = learnt
    backbone = {"stem", "stem_norm", "stage1_block1_expand", "stage2_block1_expand"}
    heads = {"box_head1", "box_head2"}
    masks = {f"mask_conv{number}" for number in range(1, 5)} | {"mask_deconv", "mask_logits"}
    # No loss of the second stage goes through the coordinates of proposals to the first.
    own = {
        "rpn_class_loss": {"rpn_conv", "rpn_logits"},
        "rpn_box_loss": {"rpn_conv", "rpn_codes"},
        "class_loss": {*heads, "class_logits"},
        "box_loss": {*heads, "box_codes"},
        "mask_loss": masks,
    }
    for name, layers in reached.items():
        assert backbone <= layers
        assert layers & set.union(*own.values()) == own[name]


def test_chance_decides_what_is_sampled(
    training_model: TwoStageTrainingModel, batch: DetectionBatch, learnt
) -> None:
    def losses(chance: np.ndarray) -> dict[str, float]:
        found = training_model(batch | {"chance": chance}, training=True)
        return {name: float(loss) for name, loss in found.items()}

    once, _reached = learnt
    assert losses(batch["chance"]) == once
    assert losses(batch["chance"][:, ::-1].copy()) != once


def test_steps_lower_the_sum_and_leave_frozen_norms(batch: DetectionBatch) -> None:
    network = tiny_detectors.two_stage_network()
    frozen = network.get_layer("stage1_block1_expand_norm")
    frozen.trainable = False
    training_model = TwoStageTrainingModel(network, PREPROCESSING, tiny_detectors.two_stage_spec())
    before = {v.path: np.array(v) for v in network.variables}
    training_model.compile(
        optimizer=keras.optimizers.SGD(0.01), run_eagerly=True, jit_compile=False
    )
    first, both = (training_model.train_on_batch(batch, return_dict=True) for _ in range(2))
    assert set(first) == LOSSES | {"loss"}
    assert first["loss"] == pytest.approx(sum(first[name] for name in LOSSES), rel=1e-5)
    assert both["loss"] < first["loss"]  # the mean of two steps
    still = {v.path for v in network.variables if np.array_equal(before[v.path], v)}
    assert still == {v.path for v in frozen.variables}


def test_without_masks_there_are_four_losses(batch: DetectionBatch) -> None:
    network = tiny_detectors.two_stage_network(masks=False)
    training_model = TwoStageTrainingModel(
        network, PREPROCESSING, tiny_detectors.two_stage_spec(masks=False)
    )
    boxes = {name: value for name, value in batch.items() if name != "gt_masks"}
    assert set(training_model(boxes)) == LOSSES - {"mask_loss"}
    assert {part.name for part in training_model.parts} == LOSSES - {"mask_loss"}
