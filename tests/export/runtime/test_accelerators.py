"""Which accelerators take a file whole, with the operations that stop those that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from export.artefacts.variants import parse_variant
from export.runtime.accelerators import Stop, accelerators, text
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise
from kerascnn.preprocessing import Preprocessing

SIDE = 8


@pytest.fixture(scope="module")
def float_file() -> bytes:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return to_tflite(keras.Model(inputs, layers.Dense(4, name="logits")(x)))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(file: bytes) -> Path:
        (tmp_path / "net.tflite").write_bytes(file)
        return tmp_path / "net.tflite"

    return write


def in_precision(float_file: bytes, name: str) -> bytes:
    plain = Preprocessing(height=SIDE, width=SIDE, channels=3)
    pictures = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    return quantise(TFLiteModel.open(float_file), parse_variant(name), plain, pictures).packed()


def operator(model: schema.ModelT, kind: str) -> schema.OperatorT:
    code = getattr(schema.BuiltinOperator, kind)
    return next(
        one
        for one in model.subgraphs[0].operators
        if model.operatorCodes[one.opcodeIndex].builtinCode == code
    )


@pytest.mark.parametrize(
    ("variant", "gpu", "npu"),
    [
        (
            "float32",
            "whole",
            "CONV_2D, DEPTHWISE_CONV_2D, MEAN and 1 more: computes in float32",
        ),
        ("plain_int8", "whole", "whole"),
        (
            "int16x8",
            "QUANTIZE, CONV_2D, DEPTHWISE_CONV_2D and 3 more: computes in int16",
            "CONV_2D, DEPTHWISE_CONV_2D, MEAN and 1 more: computes in int16",
        ),
    ],
)
def test_precisions(
    float_file: bytes, written: Callable[[bytes], Path], variant: str, gpu: str, npu: str
) -> None:
    file = float_file if variant == "float32" else in_precision(float_file, variant)
    path = written(file)
    found = accelerators(path)
    assert (text(found.gpu), text(found.npu)) == (gpu, npu)


def test_each_rule_names_its_operation(float_file: bytes, written: Callable[[bytes], Path]) -> None:
    """An int8 file that takes part in all, spoiled in one thing at a time."""
    int8 = in_precision(float_file, "plain_int8")

    def stops(spoil: Callable[[schema.ModelT], None]) -> tuple[Stop, ...]:
        def edit(file: TFLiteModel) -> None:
            spoil(file.unpacked)

        return accelerators(written(TFLiteModel.edited(int8, edit))).npu

    def kernel(model: schema.ModelT, kind: str) -> schema.TensorT:
        return model.subgraphs[0].tensors[operator(model, kind).inputs[1]]

    def custom(model: schema.ModelT) -> None:
        code = model.operatorCodes[operator(model, "MEAN").opcodeIndex]
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"MyMean"
        operator(model, "CUSTOM").builtinOptionsType = 0
        operator(model, "CUSTOM").builtinOptions = None

    def of_any_size(model: schema.ModelT) -> None:
        place = operator(model, "CONV_2D").outputs[0]
        signature = np.array([-1, SIDE, SIDE, 8], np.int32)
        model.subgraphs[0].tensors[place].shapeSignature = signature

    def of_four_bits(model: schema.ModelT) -> None:
        kernel(model, "FULLY_CONNECTED").type = schema.TensorType.INT4

    def with_an_offset(model: schema.ModelT) -> None:
        told = kernel(model, "DEPTHWISE_CONV_2D").quantization
        told.zeroPoint = np.full(len(told.scale), 3, np.int64)

    def without_a_scale(model: schema.ModelT) -> None:
        kernel(model, "CONV_2D").quantization = None

    assert stops(custom) == (Stop("MyMean", "custom operation"),)
    assert stops(of_any_size) == (
        Stop("CONV_2D", "dynamic shape"),
        Stop("DEPTHWISE_CONV_2D", "dynamic shape"),
    )
    assert stops(of_four_bits) == (Stop("FULLY_CONNECTED", "kernel of int4"),)
    assert stops(with_an_offset) == (Stop("DEPTHWISE_CONV_2D", "kernel with an offset"),)
    assert stops(without_a_scale) == (Stop("CONV_2D", "kernel without a scale"),)


def test_gpus_take_no_more_than_their_delegate_does(
    float_file: bytes, written: Callable[[bytes], Path]
) -> None:
    """Of the same file, spoiled in one thing at a time."""

    def stops(spoil: Callable[[schema.ModelT], None]) -> tuple[Stop, ...]:
        def edit(file: TFLiteModel) -> None:
            spoil(file.unpacked)

        return accelerators(written(TFLiteModel.edited(float_file, edit))).gpu

    def become(kind: str, other: str) -> Callable[[schema.ModelT], None]:
        def spoil(model: schema.ModelT) -> None:
            code = model.operatorCodes[operator(model, kind).opcodeIndex]
            code.builtinCode = getattr(schema.BuiltinOperator, other)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            changed = operator(model, other)
            changed.builtinOptionsType, changed.builtinOptions = 0, None

        return spoil

    def several(model: schema.ModelT) -> None:
        operator(model, "DEPTHWISE_CONV_2D").builtinOptions.depthMultiplier = 2

    def computed_axes(model: schema.ModelT) -> None:
        pool = operator(model, "MEAN")
        pool.inputs = np.array([pool.inputs[0], pool.inputs[0]], np.int32)

    assert stops(lambda _model: None) == ()
    assert stops(become("MEAN", "ARG_MAX")) == (Stop("ARG_MAX", "not supported"),)
    assert stops(become("MEAN", "STRIDED_SLICE")) == ()
    assert stops(become("FULLY_CONNECTED", "STRIDED_SLICE")) == (
        Stop("STRIDED_SLICE", "of 2 dimensions, not 3 or 4"),
    )
    assert stops(become("MEAN", "CAST")) == ()
    assert stops(several) == (Stop("DEPTHWISE_CONV_2D", "several outputs per channel"),)
    assert stops(computed_axes) == (Stop("MEAN", "over axes that are computed"),)


def test_in_words() -> None:
    assert text(()) == "whole"
    stops = [Stop(name, "r") for name in "ABCDE"]
    assert text([*stops, Stop("A", "q", 7)]) == "A, B, C and 2 more: r; A: q"
