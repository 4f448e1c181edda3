"""An ONNX file's own words are read as the onnx package reads them, from sound and broken files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from web_golden import description

from export.artefacts.description import inside
from export.artefacts.protobuf import byte_fields
from export.onnx.metadata import describe
from export.onnx.model import ONNXModel
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

TOLD = description(
    "classification",
    Preprocessing(height=4, width=5, channels=3),
    ("bär", "고양이"),
    {"kind": "logits"},
)


def model(**changes: object) -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.arange(300, dtype=np.float32), "weights")
    node = helper.make_node("Identity", ["weights"], ["logits"])
    graph = helper.make_graph([node], "graph", [], [], [weights])
    return helper.make_model(graph, **changes)


def test_a_description_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(ONNXModel.edited(model().SerializeToString(), describe, metadata=TOLD))
    assert inside(path) == {**TOLD}


def test_files_without_one(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    other = model()
    helper.set_model_props(other, {"author": "Jo", "kerascn": "{}"})
    for file in (b"", model().SerializeToString(), other.SerializeToString()):
        path.write_bytes(file)
        assert inside(path) is None


def test_fields_are_those_of_the_library() -> None:
    whole = model(producer_name="of a test")
    helper.set_model_props(whole, {"a": "1", "b": ""})
    found = list(byte_fields(memoryview(whole.SerializeToString())))
    texts = [bytes(content) for number, content in found if number == 2]
    assert texts == [b"of a test"]
    graphs = [bytes(content) for number, content in found if number == 7]
    assert graphs == [whole.graph.SerializeToString()]
    props = [dict(byte_fields(content)) for number, content in found if number == 14]
    assert [{n: bytes(c) for n, c in one.items()} for one in props] == [
        {1: b"a", 2: b"1"},
        {1: b"b"} | ({2: b""} if 2 in props[1] else {}),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x12", "cut off"),
        (b"\x12\x05ab", "cut off"),
        (b"\x09\x00", "cut off"),
        (b"\x0b", "wire type 3"),
        (b"\x02\x00", "without a number"),
        (b"\x08" + 11 * b"\xff", "without end"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        list(byte_fields(memoryview(data)))
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(InputError, match="not an ONNX model, or is damaged"):
        inside(tmp_path / "model.onnx")


def test_a_file_that_is_cut_anywhere_is_refused_or_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    whole = ONNXModel.edited(model().SerializeToString(), describe, metadata=TOLD)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with contextlib.suppress(InputError):
            assert inside(path) is None
