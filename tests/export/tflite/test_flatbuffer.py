"""Edits of TFLite files: nothing said twice, constants where processors want them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from networks import converted

from export.artefacts.variants import parse_variant
from export.tflite import flatbuffer
from export.tflite.quantise import quantise_file
from kerascnn import zoo


@pytest.fixture(scope="module")
def int8() -> bytes:
    preprocessing = zoo.preprocessing("mobilenet_v2", 28, 28)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 3)).astype(np.uint8)
    file = converted("mobilenet_v2")[1]  # which needs no lowering
    return quantise_file(file, parse_variant("int8"), preprocessing, pictures)


def test_equal_lists_are_written_once(int8: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatbuffer.Sharing, "CreateNumpyVector", _apart)
    apart = flatbuffer.write(flatbuffer.read(int8))
    assert len(int8) < 0.9 * len(apart)
    assert np.array_equal(_logits(int8), _logits(apart))


def test_constants_are_aligned(int8: bytes) -> None:
    model = schema.Model.GetRootAs(int8, 0)
    places = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            places.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert len(places) > 100
    assert not any(place % 16 for place in places)


def test_what_a_graph_takes_without_constants(int8: bytes) -> None:
    constants = sum(
        len(buffer.data) for buffer in flatbuffer.read(int8).buffers if buffer.data is not None
    )
    alone = flatbuffer.skeleton(int8)
    assert 0 < alone < len(int8) - 0.9 * constants
    assert 0 < flatbuffer.skeleton(int8, compressed=True) < alone
    assert alone < len(zlib.compress(int8, 9))


def _apart(self, x: np.ndarray) -> int:
    return super(flatbuffer.Sharing, self).CreateNumpyVector(x)


def _logits(file: bytes) -> np.ndarray:
    runner = Interpreter(model_content=file).get_signature_runner()
    picture = np.random.default_rng(1).integers(0, 256, (1, 28, 28, 3)).astype(np.uint8)
    logits: np.ndarray = runner(image=picture)["logits"]
    return logits
