"""Quantisation-aware training of every task's networks, and what it wins back."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_detectors
import tiny_segmenters
from fine_tuned import CONFIG, PICTURE, assert_trained_integers, fine_tuning_data
from keras import layers
from marks import IN_CI

from export.artefacts.variants import parse_variant
from export.compress import qat
from export.compress.qat import QATResult, train_aware
from export.compress.reconstruct import reconstruct
from export.compress.reconstruct.equalise import with_even_columns
from export.compress.reconstruct.files import file_format
from export.compress.reconstruct.network import with_bare_layers
from export.graph.detection import single_calls, with_scores
from export.tasks.one_stage import DetectionFineTuningData
from export.tasks.segmentation import SegmentationFineTuningData
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_file
from kerascnn.detection.specs import DetectorSpec
from training.augment.boxes import to_network
from training.engine.foldable_norms import LINEAR
from training.segmentation.losses import SegmentationLoss

SHORT = dataclasses.replace(CONFIG, epochs=1, batch_size=4, augmentation="none", learning_rate=1e-3)


def of_detector(network: keras.Model, spec: DetectorSpec, name: str, folder: Path) -> None:
    data = DetectionFineTuningData(
        train=tiny_detectors.split(8),
        preprocessing=tiny_detectors.PREPROCESSING,
        classes=2,
        spec=spec,
    )
    images = [to_network(data.train.picture(i), data.preprocessing) for i in range(8)]
    variant = parse_variant(name)
    aware = train_aware(
        single_calls(network),
        data,
        SHORT,
        folder,
        variant=variant,
        calibration=np.stack(images),
        written=lambda model: with_scores(model, spec),
    )
    float_file = to_tflite(with_scores(aware.model, spec))
    file = quantise_file(
        *(float_file, variant, aware.preprocessing, images),
        trained=aware.ranges,
        kernel_bounds=aware.bounds,
    )
    assert_moved(network, aware)
    linear = {layer.name for layer in aware.model.layers if isinstance(layer, LINEAR)}
    assert set(aware.bounds) == linear
    four = linear - {"stem"} if name == "qat_weight_int4" else set[str]()
    assert_trained_integers(file, aware, four)


def assert_moved(network: keras.Model, aware: QATResult) -> None:
    """Its loss reaches every kernel."""
    for layer in aware.model.layers:
        if isinstance(layer, LINEAR) and layer.use_bias:
            assert np.any(np.asarray(layer.bias) != 0), layer.name
    assert aware.model.name == network.name


@IN_CI
@pytest.mark.parametrize("name", ["qat_int8", "qat_weight_int4"])
def test_a_detectors_file_has_the_integers_of_its_training(name: str, tmp_path: Path) -> None:
    of_detector(tiny_detectors.network(), tiny_detectors.spec(), name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qat_int8", "qat_weight_int4"])
def test_so_has_that_of_one_without_anchors(name: str, tmp_path: Path) -> None:
    """Its heads are shared, and its loss wants both outputs."""
    of_detector(tiny_detectors.point_network(), tiny_detectors.point_spec(), name, tmp_path)


@IN_CI
@pytest.mark.parametrize(
    "name", ["qat_weight_int4", pytest.param("qat_int8", marks=pytest.mark.slow)]
)
def test_a_segmentation_networks_file_has_them(name: str, tmp_path: Path) -> None:
    network = tiny_segmenters.network()
    data = SegmentationFineTuningData(
        train=tiny_segmenters.split(8),
        preprocessing=tiny_segmenters.PREPROCESSING,
        output_size=network.output_shape[1:3],
        loss=SegmentationLoss(name="cross_entropy", classes=3),
        pixels=np.ones(3),
    )
    images = [to_network(data.train.picture(i), data.preprocessing) for i in range(8)]
    variant = parse_variant(name)
    aware = train_aware(
        network, data, SHORT, tmp_path, variant=variant, calibration=np.stack(images)
    )
    file = quantise_file(
        *(to_tflite(aware.model), variant, aware.preprocessing, images),
        trained=aware.ranges,
        kernel_bounds=aware.bounds,
    )
    linear = {layer.name for layer in aware.model.layers if isinstance(layer, LINEAR)}
    if name == "qat_int8":  # logits of pixels stay float, and the kernel that makes them
        assert set(aware.bounds) == linear - {"logits"}
        assert_trained_integers(file, aware, ())
        return
    assert set(aware.bounds) == linear
    # No transposed convolution has 4 bits.
    assert_trained_integers(file, aware, linear - {"enc1_conv", "dec1_up", "logits"})


# --- What it wins back ----------------------------------------------------------------------------


def narrow() -> keras.Model:
    """Five dense layers, of which the middle ones have 12 channels of very different sizes.

    They are scaled by up to nine, and the next kernel by as much less: the same function, but
    weights of a channel that no grid of four bits has room for.
    """
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input(PICTURE.input_shape, name="image")
    x = layers.Flatten(name="flat")(layers.AveragePooling2D(4, name="small")(x))
    names = [f"dense{i}" for i in range(4)] + ["logits"]
    for name in names[:-1]:
        x = layers.Dense(12, activation="relu", name=name)(x)
    model = keras.Model(inputs, layers.Dense(10, name="logits")(x), name="narrow")
    train = fine_tuning_data(1000).train
    rate = keras.optimizers.schedules.CosineDecay(6e-3, 1000)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    model.fit(PICTURE.normalise(train.pictures), train.labels, batch_size=50, epochs=50, verbose=0)
    rng = np.random.default_rng(0)
    for one, following in itertools.pairwise(names):
        factors = np.exp(rng.uniform(-2.2, 2.2, 12)).astype(np.float32)
        kernel, bias = model.get_layer(one).get_weights()
        model.get_layer(one).set_weights([kernel * factors, bias * factors])
        kernel, bias = model.get_layer(following).get_weights()
        model.get_layer(following).set_weights([kernel / factors[:, None], bias])
    return model


@IN_CI
def test_four_bits_win_back_what_rounding_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconstruction alone loses some 25 of 85 points; the training wins some 15 of them back.

    Unless the weights that read a channel are brought to one size first: then it loses one point.
    """
    model, data = narrow(), fine_tuning_data(1000)
    pictures = data.train.pictures
    assert pictures is not None

    def right(network: keras.Model) -> float:
        logits = np.asarray(network(PICTURE.normalise(pictures), training=False))
        return 100 * float(np.mean(logits.argmax(axis=-1) == data.train.labels))

    variant = parse_variant("qat_weight_int4")
    bare = with_bare_layers(model)
    form = file_format(bare, TFLiteModel.open(to_tflite(bare)), variant, ())
    even = reconstruct(with_even_columns(bare, form), form, PICTURE.normalise(pictures[:96]))
    assert right(even.model) > right(model) - 3
    monkeypatch.setattr(qat, "with_even_columns", lambda model, _format: model)
    config = dataclasses.replace(
        CONFIG, epochs=20, batch_size=50, augmentation="none", learning_rate=3e-3
    )
    aware = train_aware(
        *(model, data, config, tmp_path),
        variant=variant,
        calibration=pictures[:96],
        figure=lambda found: right(found.model),
    )
    assert aware.validation is not None
    begun, trained = aware.validation
    assert begun < right(model) - 12
    assert trained > begun + 10
    assert right(aware.model) == trained
