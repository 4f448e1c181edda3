"""Operations that XNNPACK does not take, in its place: one piece, and the same answers."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers
from marks import all_but
from networks import outputs_of, with_random_weights

from export.artefacts.variants import parse_variant
from export.runtime import load as runtimes
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.one_piece import constant_ranges, in_one_piece, in_one_piece_of_int8
from export.tflite.quantise import quantise_file, quantise_parts
from kerascnn import zoo

SIDE = 15


def network(body: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    x = inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    x = body(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(8, 1, name="behind")(x))
    return with_random_weights(keras.Model(inputs, layers.Dense(4, name="logits")(x), name="net"))


def sum_read_twice(x: keras.KerasTensor, relu: str = "relu") -> keras.KerasTensor:
    """As in Xception: a ReLU that one of two readers has."""
    own = layers.Conv2D(8, 1, name="branch")(layers.Activation(relu, name="alone")(x))
    return layers.Add(name="sum")([x, own])


def many_branches(x: keras.KerasTensor, count: int) -> keras.KerasTensor:
    return layers.Concatenate(name="joined")([
        layers.Conv2D(2 + n % 3, 1, name=f"branch{n}")(x) for n in range(count)
    ])  # fmt: skip


BODIES = {
    "relu": sum_read_twice,
    "relu6": lambda x: sum_read_twice(x, "relu6"),
    "every second pixel, odd": layers.MaxPooling2D(1, strides=2, name="pixels"),
    "every second pixel, even": lambda x: layers.MaxPooling2D(1, 2)(
        layers.ZeroPadding2D(2)(x[:, 1:])
    ),
    "every third pixel": layers.MaxPooling2D(1, strides=3, padding="same", name="pixels"),
    "mean of single pixels": layers.AveragePooling2D(1, strides=2, name="pixels"),
    "six": lambda x: many_branches(x, 6),
    "fourteen": lambda x: many_branches(x, 14),
    "mean": layers.AveragePooling2D(3, strides=1, padding="same", name="mean"),
    "mean, strides": layers.AveragePooling2D(3, strides=2, padding="same", name="mean"),
    "mean of two": layers.AveragePooling2D(2, strides=1, padding="same", name="mean"),
    "mean, oblong": layers.AveragePooling2D((2, 5), strides=1, padding="same", name="mean"),
    "mean, whole windows": layers.AveragePooling2D(3, strides=3, padding="same", name="mean"),
}


def pieces(file: bytes, folder) -> tuple[int, runtimes.Runtime]:
    path = folder / "x.tflite"
    path.write_bytes(file)
    runtime = runtimes.load(path, preprocessing())
    return runtime.partitions, runtime


def preprocessing():
    return zoo.entry("mobilenet_v2").preprocessing(SIDE, SIDE)


def pictures(seed: int, count: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def as_it_is(monkeypatch) -> None:
    """Files as converter and quantiser have them."""
    monkeypatch.setattr("export.tflite.convert.in_one_piece", lambda file: file)
    monkeypatch.setattr("export.tflite.quantise.in_one_piece_of_int8", lambda file, _some: file)


@pytest.mark.parametrize("kind", all_but({"relu", "every second pixel, odd", "mean"}, BODIES))
def test_one_piece_and_the_same_answers(kind: str, tmp_path, request) -> None:
    model = network(BODIES[kind])
    wanted = outputs_of(model, preprocessing().normalise(pictures(1)))
    float_file = to_tflite(model)
    count, runtime = pieces(float_file, tmp_path)
    assert (count, runtime.operations) == (1, ("DELEGATE",))
    np.testing.assert_allclose(runtime.predict(pictures(1)), wanted, atol=1e-5)
    count, runtime = pieces(int8(float_file), tmp_path)
    assert (count, runtime.operations) == (1, ("QUANTIZE", "DELEGATE"))
    got = runtime.predict(pictures(1))

    request.getfixturevalue("as_it_is")
    count, runtime = pieces(int8(to_tflite(model)), tmp_path)
    # A quantiser that knows no RELU6 leaves it float, in the same piece.
    assert count == (1 if kind == "relu6" else 2)
    plain = runtime.predict(pictures(1))
    if kind.startswith("mean"):  # which XNNPACK rounds more finely
        assert np.std(got - wanted) < 1.05 * np.std(plain - wanted) < 0.05 * wanted.std()
    else:
        assert np.abs(got - plain).max() < 0.005 * (wanted.max() - wanted.min())


def int8(float_file: bytes) -> bytes:
    return quantise_file(float_file, parse_variant("int8"), preprocessing(), pictures(2))


def test_what_is_one_piece_already_is_the_same_file() -> None:
    file = to_tflite(network(layers.MaxPooling2D(2)))
    assert in_one_piece(file) is file
    model = TFLiteModel.open(file)
    assert in_one_piece_of_int8(model, lambda _name: True) is model


def test_means_at_edges_by_hand() -> None:
    """Of windows of 3 x 3, "same": what lies on the map is 9, 6 or 4 of 9 pixels."""
    file = TFLiteModel.open(to_tflite(network(BODIES["mean"])))
    made = in_one_piece_of_int8(file, lambda _name: True)
    (factors,) = (one for one in made.graph.tensors if one.name.endswith(b";lacking"))
    values = made.unpacked.buffers[factors.buffer].data.view("<f4").reshape(SIDE, SIDE)
    np.testing.assert_allclose(values[0, :2], [9 / 4, 9 / 6])
    np.testing.assert_allclose(values[7, [0, 7, -1]], [9 / 6, 1, 9 / 6])
    # In steps of which 4, 6 and 9 quarters are whole numbers.
    found = constant_ranges(made, {})[factors.name.decode()]
    steps = values / (found["max"].item() / 255)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    assert steps.max() == pytest.approx(252)


def test_what_stays_float_is_left() -> None:
    file = TFLiteModel.open(to_tflite(network(BODIES["relu"])))
    made = in_one_piece_of_int8(file, lambda name: "alone" not in name)
    assert len(made.graph.operators) == len(file.graph.operators)
    assert made.packed() == TFLiteModel.edited(file.packed(), lambda _file: None)


@pytest.mark.parametrize("kind", ["relu", "mean"])
def test_some_operations_in_int8(kind: str, tmp_path) -> None:
    """As `mixed` has them under a budget of time."""
    model = network(BODIES[kind])
    wanted = outputs_of(model, preprocessing().normalise(pictures(1)))
    file = TFLiteModel.open(to_tflite(model))
    names = [file.graph.tensors[one.outputs[0]].name.decode() for one in file.graph.operators]
    some = [f"{name};" for name in names if "behind" not in name]
    made = quantise_parts(file, some[:-2], preprocessing(), pictures(2)).packed()
    count, runtime = pieces(made, tmp_path)
    assert count == 1
    off = np.abs(runtime.predict(pictures(1)) - wanted).max()
    assert off < 0.03 * (wanted.max() - wanted.min())
