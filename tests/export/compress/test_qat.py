"""What quantisation-aware training feels is what the file does, from the reconstructed one on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from fine_tuned import (
    CHOSEN,
    CONFIG,
    PICTURE,
    Stop,
    assert_same,
    assert_trained_integers,
    fine_tuning_data,
    int8_kernels,
    small,
    stop_after,
)
from keras import layers
from marks import IN_CI
from networks import with_random_weights

import kerascnn
from export.artefacts.variants import parse_variant
from export.compress import qat
from export.compress.int8_tensors import (
    FIXED_RANGES,
    calibrated,
    float_layers,
    fused_dense,
    has_scale,
)
from export.compress.qat import QATResult, lowered_for_training, train_aware
from export.compress.reconstruct.equalise import with_even_columns
from export.compress.reconstruct.files import file_format
from export.compress.reconstruct.network import Reconstruction, reconstruct, with_bare_layers
from export.graph.fold_norm import fold_batch_norms
from export.graph.join_branches import deployed
from export.graph.unshare import unshared
from export.runtime import load as runtimes
from export.tflite import flatbuffer
from export.tflite.convert import layer_of, to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_file
from export.tflite.tensors import float_tensors
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.engine.foldable_norms import LINEAR

NETWORKS: dict[str, dict] = {
    "lenet5": {"input_shape": (32, 32, 1)},
    "unet": {"width": 4, "depth": 2, "norm": True},
}
# Longer; their blocks are in the small networks below too.
LONG: dict[str, dict] = {
    "mobilenet_v2": {"alpha": 0.35},
    "mobilenet_v3_small": {},
    "resnet18": {"width": 0.25},
    "mobilenet_v1": {"alpha": 0.25},
    "efficientnet_b0": {"width": 0.25},
    "googlenet": {},
    "mobilenet_v3_large": {"alpha": 0.5},
    "efficientnet_lite0": {"width": 0.25},
    "efficientnet_v2_b0": {"width": 0.25},
    "resnet50": {"width": 0.25},
    "se_resnet50": {"width": 0.25},
    "vgg16": {},
    "mobilenet_v4_conv_small": {"alpha": 0.25},
    "mobilenet_v4_conv_medium": {"alpha": 0.25},
    "mobileone_s1": {"alpha": 0.125},
    "repvit_m0_9": {"alpha": 0.25},
    "unet_mobilenet_v2": {"alpha": 0.35, "decoder_width": 4, "upsample": "transposed"},
    "unet_efficientnet_lite0": {"width": 0.25, "decoder_width": 4},
}
# Operations whose int8 output has a scale of its own.
_SCALED = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "ADD", "MUL", "MEAN"),
    *("CONCATENATION", "LOGISTIC", "TANH", "GELU"),
)
_KINDS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0].isupper()}


def operations(file: bytes) -> list[tuple[str, list[int], list[int]]]:
    """(kind, inputs, outputs) of a file's graph."""
    model = flatbuffer.read(file)
    kinds = [_KINDS[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    return [
        (kinds[op.opcodeIndex], [int(i) for i in op.inputs], [int(o) for o in op.outputs])
        for op in model.subgraphs[0].operators
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [*NETWORKS.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in LONG.items())],
)
def test_each_scale_of_the_file_is_one_layers(name: str, options: dict) -> None:
    options = {"input_shape": (32, 32, 3), "classes": 10} | options
    model = deployed(with_random_weights(kerascnn.build(name, **options)))
    preprocessing = zoo.entry(name).preprocessing(*model.input_shape[1:3])
    lowered, preprocessing = lowered_for_training(model, preprocessing)
    assert_contract(lowered, preprocessing)


def assert_contract(lowered: keras.Model, preprocessing: Preprocessing) -> None:
    chosen = {layer.name for layer in lowered.layers if has_scale(layer, float_layers(lowered))}
    dense = fused_dense(lowered)
    file = to_tflite(lowered)
    floats = float_tensors(TFLiteModel.open(file))
    names = [tensor.name.decode() for tensor in flatbuffer.read(file).subgraphs[0].tensors]
    found = []
    for kind, _, outputs in operations(file):
        readers = [k for k, inputs, _ in operations(file) if outputs[0] in inputs]
        owner = layer_of(names[outputs[0]], chosen | dense.keys())
        owner = dense.get(owner, owner)
        if readers == ["CONCATENATION"] or names[outputs[0]] in floats:
            assert owner is None, names[outputs[0]]
        elif kind in _SCALED:
            assert owner is not None, names[outputs[0]]
            found.append(owner)
        else:
            assert owner is None, (kind, names[outputs[0]])
    assert sorted(found) == sorted(chosen)
    assert_scales(lowered, file, preprocessing)


def assert_scales(lowered: keras.Model, file: bytes, preprocessing: Preprocessing) -> None:
    """Ranges that were trained are those of the file."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, *preprocessing.input_shape), np.uint8)
    ranges = {
        name: one
        if one in FIXED_RANGES.values() or name == "image"
        else (one[0] * rng.uniform(0.8, 1.2), one[1] * rng.uniform(0.8, 1.2))
        for name, one in calibrated(lowered, preprocessing, pictures).items()
    }
    ranges |= {dense: ranges[relu] for dense, relu in fused_dense(lowered).items()}
    int8 = parse_variant("int8")
    data = quantise_file(file, int8, preprocessing, pictures[:1], trained=ranges)
    tensors = flatbuffer.read(data).subgraphs[0].tensors
    seen = set()
    for kind, _, outputs in operations(data):
        if kind == "QUANTIZE":
            continue  # a tensor once more, at the scale of a concatenation that reads it
        tensor = tensors[outputs[0]]
        owner = layer_of(tensor.name.decode(), ranges)
        if owner is None or tensor.quantization is None or tensor.quantization.scale is None:
            continue
        low, high = ranges[owner]
        scale = (high - low) / 255
        assert tensor.quantization.scale[0] == pytest.approx(scale, rel=1e-5), owner
        assert tensor.quantization.zeroPoint[0] == -128 - round(low / scale), owner
        seen.add(owner)
    assert seen == set(ranges) - {"image", *fused_dense(lowered).values()}


def conv(name: str, **options) -> layers.Layer:
    return layers.Conv2D(8, 1, name=name, **options)


def act(name: str = "act", **options) -> layers.Layer:
    return layers.ReLU(name=name, **options)


@pytest.mark.parametrize(
    "body",
    [
        lambda x: act()(conv("a")(x)),
        lambda x: act(max_value=6.0)(layers.Dropout(0.1, name="drop")(conv("a")(x))),
        lambda x: act()(layers.Dropout(0.1)(layers.Add()([conv("a")(x), conv("b")(x)]))),
        lambda x: act()(layers.Multiply()([conv("a")(x), conv("b")(x)])),
        lambda x: layers.Concatenate()([conv("a", activation="relu")(x), conv("b")(x)]),
        lambda x: conv("b")(layers.ZeroPadding2D()(conv("a", activation="relu6")(x))),
        lambda x: conv("b")(layers.Activation("sigmoid")(conv("a")(x))),
        lambda x: layers.Add()([conv("a", activation="hard_silu")(x), conv("b")(x)]),
        lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(conv("a")(x)),
        lambda x: layers.Activation("relu")(layers.AveragePooling2D(2, name="mean")(conv("a")(x))),
    ],
)
def test_pairs_that_the_converter_makes_one_of(body) -> None:
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(body(inputs))
    model = with_random_weights(keras.Model(inputs, layers.Dense(5, name="logits")(x), name="net"))
    preprocessing = Preprocessing(height=8, width=8, channels=3)
    lowered, _ = lowered_for_training(model, preprocessing)
    chosen = {layer.name for layer in lowered.layers if has_scale(layer, float_layers(lowered))}
    file = to_tflite(lowered)
    names = [tensor.name.decode() for tensor in flatbuffer.read(file).subgraphs[0].tensors]
    owners = [layer_of(names[o[0]], chosen) for _, _, o in operations(file)]
    assert sorted(owner for owner in owners if owner) == sorted(chosen)


def test_a_norm_that_cannot_be_folded_is_said() -> None:
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="lone")(layers.MaxPooling2D()(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="logits")(layers.Flatten()(x)), name="net")
    with pytest.raises(InputError, match="net: batch norm 'lone' has no convolution"):
        lowered_for_training(model, Preprocessing(height=8, width=8, channels=3))


def gated() -> keras.Model:
    """Swish, squeeze-excite, residual sum, concatenation and a mean pooling."""
    x = inputs = keras.Input(PICTURE.input_shape, name="image")
    x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(name="stem_norm")(x)
    x = shortcut = layers.Activation("silu", name="stem_act")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="hard_silu", name="block_depthwise")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="block_squeeze")(x)
    gate = layers.Conv2D(8, 1, activation="relu", name="block_reduce")(gate)
    gate = layers.Conv2D(16, 1, activation="sigmoid", name="block_expand")(gate)
    x = layers.Multiply(name="block_gate")([x, gate])
    x = layers.Conv2D(16, 1, name="block_project")(x)
    x = layers.Dropout(0.2, noise_shape=(None, 1, 1, 1), name="block_drop")(x)
    x = layers.Add(name="block_add")([shortcut, x])
    x = layers.AveragePooling2D(2, name="mean")(x)
    branches = [layers.Conv2D(8, 1, activation="relu", name=f"branch{i}")(x) for i in range(2)]
    x = layers.Concatenate(name="concat")(branches)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return with_random_weights(
        keras.Model(inputs, layers.Dense(10, name="logits")(x), name="gated")
    )


# Neither is a scale and a zero point of bytes.
CALIBRATION = 64  # of fewer images, groups differ so much that ranges are left wider
UNEVEN = dataclasses.replace(PICTURE, mean=(33.3,), std=(78.6,))


@pytest.mark.parametrize("network", [small, gated], ids=["small", "gated"])
def test_each_scale_of_a_small_networks_file_is_one_layers(network) -> None:
    """Depthwise layers and residual sums, swish, hard swish and squeeze-excite, concatenation."""
    assert_contract(*lowered_for_training(network(), PICTURE))


def pictures_of(count: int | None = None) -> np.ndarray:
    pictures = fine_tuning_data().train.pictures
    assert pictures is not None
    return pictures[:count]


def aware_of(
    model: keras.Model, folder: Path, preprocessing=PICTURE, variant="qat_int8", **options
) -> QATResult:
    config = dataclasses.replace(CONFIG, learning_rate=1e-3)
    return train_aware(
        model,
        dataclasses.replace(fine_tuning_data(), preprocessing=preprocessing),
        options.pop("config", config),
        folder,
        variant=parse_variant(variant),
        calibration=pictures_of(CALIBRATION),
        judge=lambda predict: predict(pictures_of()),
        **options,
    )


def file_of(aware: QATResult, clustered=(), variant="qat_int8") -> bytes:
    return quantise_file(
        to_tflite(aware.model),
        parse_variant(variant),
        aware.preprocessing,
        pictures_of(8),
        trained=aware.ranges,
        shared_scale=clustered,
        kernel_bounds=aware.bounds,
    )


def assert_agrees(aware: QATResult, data: bytes, folder: Path) -> None:
    """The same top-1 but for a few, and logits that are one step off at most, rarely two."""
    path = folder / "x.tflite"
    path.write_bytes(data)
    runtime = runtimes.load(path, PICTURE)
    assert runtime.partitions == 1
    logits = runtime.predict(pictures_of())
    low, high = aware.ranges["logits"]
    steps = np.abs(logits - aware.answers) / ((high - low) / 255)
    assert steps.max() < 3.1
    assert (steps < 1.1).mean() > 0.98
    assert (logits.argmax(axis=-1) == aware.answers.argmax(axis=-1)).mean() > 0.97
    assert np.ptp(logits, axis=0).max() > 20 * (high - low) / 255  # pictures do differ


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> QATResult:
    # What validation images say of both is the same: then the training is kept.
    folder = tmp_path_factory.mktemp("small")
    return aware_of(small(), folder, figure=lambda _found: 88.0)


@IN_CI
def test_the_simulation_is_the_file(trained: QATResult, tmp_path: Path) -> None:
    assert_agrees(trained, file_of(trained), tmp_path)


@IN_CI
def test_the_simulation_is_the_file_of_gates_and_of_an_uneven_normalisation(
    tmp_path: Path,
) -> None:
    aware = aware_of(gated(), tmp_path, UNEVEN)
    assert aware.ranges["image"] == (0.0, 255.0)
    normalise = aware.model.get_layer("normalise")
    assert float(np.asarray(normalise.kernel).squeeze()) == pytest.approx(1 / 78.6)
    assert np.asarray(normalise.bias) == pytest.approx(-33.3 / 78.6)
    assert np.all(np.asarray(aware.model.get_layer("mean").kernel) == 0.25)
    assert_agrees(aware, file_of(aware), tmp_path)


def test_kernels_are_on_the_files_grid(trained: QATResult) -> None:
    stored = int8_kernels(file_of(trained))
    for layer in trained.model.layers:
        if not isinstance(layer, LINEAR):
            continue
        kernel = np.asarray(layer.kernel)
        if isinstance(layer, layers.DepthwiseConv2D):
            kernel = kernel.reshape(1, *kernel.shape[:2], -1)
            scale = trained.bounds[layer.name] / 127
        else:
            kernel = np.moveaxis(kernel, -1, 0)
            scale = trained.bounds[layer.name].reshape(-1, *[1] * (kernel.ndim - 1)) / 127
        grid = kernel / scale
        assert np.abs(grid - np.round(grid)).max() < 1e-3, layer.name
        assert np.array_equal(np.round(grid), stored[kernel.shape][0]), layer.name


def begun_of(model: keras.Model, variant: str) -> tuple[Reconstruction, Preprocessing]:
    """What the training of a variant begins with, made once more."""
    if variant == "qat_int8":
        lowered, preprocessing = lowered_for_training(model, PICTURE)
    else:
        lowered, preprocessing = fold_batch_norms(model), PICTURE
    bare = with_bare_layers(lowered)
    form = file_format(bare, TFLiteModel.open(to_tflite(bare)), parse_variant(variant), ())
    bare = with_even_columns(bare, form)
    return reconstruct(bare, form, preprocessing.normalise(pictures_of(CALIBRATION))), preprocessing


@IN_CI
@pytest.mark.parametrize("variant", ["qat_int8", "qat_weight_int4"])
def test_it_begins_with_the_reconstructed_network(variant: str, tmp_path: Path) -> None:
    expected, preprocessing = begun_of(small(), variant)
    still = dataclasses.replace(CONFIG, epochs=1, learning_rate=1e-12)
    nothing = {"figure": lambda _found: None}  # which is not asked again
    aware = aware_of(small(), tmp_path, variant=variant, config=still, **nothing)
    assert aware.validation is None
    assert aware.bounds.keys() == expected.bounds.keys()
    for name, bound in expected.bounds.items():
        np.testing.assert_allclose(aware.bounds[name], bound, rtol=1e-6)
    for layer in expected.model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            left, there = aware.model.get_layer(layer.name).get_weights()
            np.testing.assert_allclose(left, kernel, rtol=1e-6, atol=1e-12)
            np.testing.assert_allclose(there, bias, atol=1e-9)
    if variant == "qat_weight_int4":
        assert aware.ranges is None
        assert aware.answers is None
        return
    assert aware.ranges is not None
    whole = calibrated(expected.model, preprocessing, pictures_of(CALIBRATION))
    assert aware.ranges.keys() == {*whole, "head"}
    for name, range_ in (whole | dict(expected.ranges)).items():
        if name != "logits":  # which follows the batches
            assert aware.ranges[name] == pytest.approx(range_, rel=1e-6), name


def test_kernels_steps_biases_and_ranges_learn(trained: QATResult) -> None:
    assert trained.validation == (88.0, 88.0)
    begun, preprocessing = begun_of(small(), "qat_int8")
    for layer in begun.model.layers:
        if not layer.weights:
            continue
        kernel, bias = layer.get_weights()
        moved, shifted = trained.model.get_layer(layer.name).get_weights()
        assert (moved != kernel).mean() > 0.2, layer.name
        assert (np.abs(shifted - bias) > 1e-6).mean() > 0.5, layer.name
        steps = trained.bounds[layer.name] / begun.bounds[layer.name]
        assert np.mean(np.abs(steps - 1) > 1e-5) > 0.5, layer.name
        assert np.all(np.abs(steps - 1) < 0.2), layer.name
    assert trained.ranges is not None
    assert trained.ranges["head"] == trained.ranges["head_activation"]
    assert trained.ranges["image"] == (-127 / 128, 1.0)
    ranges = calibrated(begun.model, preprocessing, pictures_of(CALIBRATION)) | dict(begun.ranges)
    for name, (first, last) in ranges.items():
        low, high = trained.ranges[name]
        assert low <= 0 <= high
        assert (low == 0) == (first == 0), name
        if name != "image":
            assert (low, high) != (first, last)
            assert 0.5 < (high - low) / (last - first) < 2, name


@IN_CI
def test_a_file_of_four_bits_has_the_integers_of_the_training(tmp_path: Path) -> None:
    aware = aware_of(small(), tmp_path, variant="qat_weight_int4")
    data = file_of(aware, variant="qat_weight_int4")
    assert_trained_integers(data, aware, {"wide", "odd", "point", "head"})


@IN_CI
def test_what_it_began_with_is_kept_where_training_made_it_worse(tmp_path: Path) -> None:
    expected, _ = begun_of(small(), "qat_int8")
    asked: list[QATResult] = []

    def figure(found: QATResult) -> float:
        asked.append(found)
        return 90.0 - len(asked)

    kept = aware_of(small(), tmp_path, figure=figure)
    assert kept.validation == (89.0, 88.0)
    assert kept.model is asked[0].model
    for name, bound in expected.bounds.items():
        np.testing.assert_allclose(kept.bounds[name], bound, rtol=1e-6)
    assert_agrees(kept, file_of(kept), tmp_path)  # the simulation is of what is kept


def headed() -> keras.Model:
    """A head that looks at two levels, with a norm of its own for each."""
    inputs = keras.Input(PICTURE.input_shape, name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(inputs)
    levels = [x, layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="down")(x)]
    head = layers.Conv2D(12, 3, padding="same", use_bias=False, name="head")
    norms = [layers.BatchNormalization(name=f"norm{i}") for i in range(2)]
    found = [norm(head(level)) for norm, level in zip(norms, levels, strict=True)]
    pooled = [layers.GlobalAveragePooling2D(name=f"pool{i}")(x) for i, x in enumerate(found)]
    x = layers.Concatenate(name="concat")(pooled)
    outputs = layers.Dense(10, name="logits")(x)
    return with_random_weights(keras.Model(inputs, outputs, name="headed"))


@IN_CI
@pytest.mark.parametrize("variant", ["qat_int8", "qat_weight_int4"])
def test_a_shared_head_stays_one_kernel(variant: str, tmp_path: Path) -> None:
    aware = aware_of(unshared(headed()), tmp_path, variant=variant)
    top = 127 if variant == "qat_int8" else 7
    integers = []
    for name in ("head", "head_call2"):
        kernel = np.asarray(aware.model.get_layer(name).kernel)
        integers.append(kernel / (aware.bounds[name] / top))
        assert np.abs(integers[-1] - np.rint(integers[-1])).max() < 1e-3
    assert np.array_equal(*map(np.rint, integers))
    scales = aware.bounds["head_call2"] / aware.bounds["head"]
    assert np.ptp(scales) > 0.1  # the norms are in them
    data = file_of(aware, variant=variant)
    places = []
    model = schema.Model.GetRootAs(data)
    graph = model.Subgraphs(0)
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        held = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if tensor.ShapeAsNumpy().tolist() == [12, 3, 3, 8] and not isinstance(held, int):
            places.append(held.__array_interface__["data"][0])
    assert len(places) == 2
    assert len(set(places)) == 1
    if variant == "qat_int8":
        assert_agrees(aware, data, tmp_path)


def folded(*, pruned: bool, clustered: bool) -> keras.Model:
    """As pruning and clustering leave a network, without a training."""
    model = fold_batch_norms(small())
    for name in CHOSEN:
        kernel, *rest = model.get_layer(name).get_weights()
        if pruned:
            kernel[np.abs(kernel) < np.median(np.abs(kernel))] = 0
        if clustered:
            values = np.unique(np.quantile(kernel[kernel != 0], np.linspace(0, 1, 15)))
            nearest = values[np.abs(kernel[..., None] - values).argmin(axis=-1)]
            kernel = np.where(kernel == 0, 0, nearest)
        model.get_layer(name).set_weights([kernel.astype(np.float32), *rest])
    return model


@pytest.mark.parametrize(
    ("pruned", "clustered"),
    [
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
        pytest.param(True, True, marks=IN_CI),
    ],
)
def test_zeros_and_clusters_are_kept(pruned: bool, clustered: bool, tmp_path: Path) -> None:
    model = folded(pruned=pruned, clustered=clustered)
    shared = qat.clustered_layers(model)
    assert set(shared) == (CHOSEN if clustered else set())
    aware = aware_of(model, tmp_path, clustered=shared)
    data = file_of(aware, shared)
    stored = int8_kernels(data)
    for name in CHOSEN:
        before = np.asarray(model.get_layer(name).kernel)
        after = np.asarray(aware.model.get_layer(name).kernel)
        kernel, scales = stored[np.moveaxis(after, -1, 0).shape]
        assert np.all(after[before == 0] == 0), name
        assert np.all(np.moveaxis(kernel, 0, -1)[before == 0] == 0), name
        if clustered:
            assert scales == 1, name
            assert len(np.unique(kernel)) <= 16, name
            assert len(np.unique(after)) <= 16, name
            assert not np.array_equal(np.unique(after), np.unique(before)), name
        else:
            assert scales == after.shape[-1], name
    assert_agrees(aware, data, tmp_path)


@IN_CI
def test_the_same_seed_gives_the_same_and_a_broken_training_goes_on(
    trained: QATResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            aware_of(small(), tmp_path)
    keras.utils.set_random_seed(5)  # another process would have other states of chance
    for _ in range(2):  # once more, all is read
        again = aware_of(small(), tmp_path)
        assert_same(again.model, trained.model)
        assert again.ranges == trained.ranges
        assert np.array_equal(again.answers, trained.answers)
