"""What is shown of an exported file, and that no file can do more than be refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import web_golden
from ai_edge_litert import schema_py_generated as schema
from commands import assert_refused, here

from export.artefacts.description import FORMAT, read_description
from export.artefacts.extent import is_cut_short
from export.onnx.metadata import describe as describe_onnx
from export.onnx.model import ONNXModel
from export.runtime.info import as_text, info
from export.tflite import flatbuffer
from export.tflite.metadata import describe
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

LABELS = ("bär", "고양이", "dog")
PREPROCESSING = Preprocessing(height=4, width=5, channels=3)


def tflite(operations: Sequence[str] = ("CONV_2D", "RESHAPE", "CONV_2D")) -> bytes:
    """A file with these operations, of which the unknown are custom; it is never run."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [graph]
    graph.tensors, graph.inputs, graph.outputs = [], [0], [1]
    for name, shape in (("image:0", (1, 4, 5, 3)), ("logits:0", (1, len(LABELS)))):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
        tensor.type = schema.TensorType.FLOAT32
        graph.tensors.append(tensor)
    model.operatorCodes, graph.operators = [], []
    kinds = list(dict.fromkeys(operations))
    for kind in kinds:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
        code.customCode = kind.encode() if not hasattr(schema.BuiltinOperator, kind) else None
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        model.operatorCodes.append(code)
    for kind in operations:
        operator = schema.OperatorT()
        operator.opcodeIndex = kinds.index(kind)
        operator.inputs, operator.outputs = [0], [1]
        graph.operators.append(operator)
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    ends = []
    for name, index in (("image", 0), ("logits", 1)):
        end = schema.TensorMapT()
        end.name, end.tensorIndex = name.encode(), index
        ends.append(end)
    signature.inputs, signature.outputs = ends[:1], ends[1:]
    model.signatureDefs = [signature]
    return flatbuffer.write(model)


def told_of(preprocessing: Preprocessing = PREPROCESSING, **changes: Any) -> dict[str, Any]:
    told = web_golden.description("classification", preprocessing, LABELS, {"kind": "logits"})
    outputs = [{"name": "logits", "meaning": "logits", "shape": [None, 3], "type": "float32"}]
    return {**told, "outputs": outputs, **changes}


def described(told: dict[str, Any], operations: Sequence[str] = ("CONV_2D",)) -> bytes:
    return TFLiteModel.edited(tflite(operations), describe, metadata=told)


def shown(folder: Path, file: bytes, name: str = "model.tflite") -> str:
    path = folder / name
    path.write_bytes(file)
    return as_text(info(path))


def test_a_page_of_a_file(tmp_path: Path) -> None:
    told = told_of(
        Preprocessing(height=4, width=5, channels=3, mean=(1.0, 2.5, 3.0), std=2.0),
        author="Jo Doe",
    )
    file = described(told, ("CONV_2D", "RESHAPE", "CONV_2D"))
    page = shown(tmp_path, file)
    assert page.splitlines() == [
        str(tmp_path / "model.tflite"),
        "of a test",
        "task        classification",
        "model       tiny, float32, network 1",
        f"size        {len(file) / 1000:.1f} KB ({len(file):,} bytes)",
        "input       image 4 x 5 RGB, float32: (byte - (1, 2.5, 3)) / 2; "
        "the middle 87.5% of the shorter side",
        "outputs     logits 1x3 float32",
        "answer      softmax of logits",
        "labels      3: bär, 고양이, dog",
        "author      Jo Doe",
        "licence     Apache-2.0",
        "self-test   none inside (an earlier version wrote the file, or its runtime was not there)",
        "operations  3 of 2 kinds; all of them the format's own; no Flex",
        "GPU         whole",
        "NPU         CONV_2D, RESHAPE: computes in float32",
    ]


def test_many_labels_and_no_author(tmp_path: Path) -> None:
    labels = [f"class {i}" for i in range(1000)]
    page = shown(tmp_path, described(told_of(labels=labels, license="")))
    assert "1000: class 0, class 1, class 2, " in page
    assert "class 9, ... (--json lists 1000)" in page
    assert "class 10" not in page
    assert "author      unknown (set it: kerascnn compress --author)" in page
    assert "licence     unknown (set it: kerascnn compress --license)" in page


def test_the_command_tells_it_as_json_too(tmp_path: Path) -> None:
    file = described(told_of(), ("CONV_2D", "FlexErf", "RESHAPE"))
    (tmp_path / "model.tflite").write_bytes(file)
    done = here("info", "model.tflite", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["format"] == "tflite"
    assert found["bytes"] == len(file)
    assert found["operations"] == {"CONV_2D": 1, "FlexErf": 1, "RESHAPE": 1}
    assert found["flex"] == found["custom"] == ["FlexErf"]
    assert found["metadata"] == read_description(tmp_path / "model.tflite")
    assert found["metadata"]["outputs"][0]["tensor"] == "logits:0"
    assert here("info", "model.tflite", cwd=tmp_path).stdout == shown(tmp_path, file).replace(
        f"{tmp_path}/", ""
    ) + "\n"  # fmt: skip


@pytest.mark.parametrize(
    ("operations", "wanted"),
    [
        (
            ("TFLite_Detection_PostProcess",),
            "TFLite_Detection_PostProcess, which every LiteRT runtime has; no Flex",
        ),
        (("CONV_2D", "Mine"), "needs a runtime that has Mine; no Flex"),
        (("FlexB", "FlexA"), "needs the Flex delegate (Select TF ops) for FlexA, FlexB"),
    ],
)
def test_what_a_runtime_must_have(operations, wanted: str, tmp_path: Path) -> None:
    page = shown(tmp_path, described(told_of(), operations))
    assert f"; {wanted}\n" in page


def onnx_model(told: dict[str, Any] | None, *, domain: str = "") -> bytes:
    shape = ["batch", 4, 5, 3]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in ("image", "logits")
    ]
    node = onnx.helper.make_node("Relu", ["image"], ["logits"], domain=domain)
    graph = onnx.helper.make_graph([node], "toy", ends[:1], ends[1:])
    file: bytes = onnx.helper.make_model(graph).SerializeToString()
    return file if told is None else ONNXModel.edited(file, describe_onnx, metadata=told)


def test_onnx_files_say_the_same(tmp_path: Path) -> None:
    blue = Preprocessing(height=4, width=5, channels=3, order="bgr", resize="pad")
    page = shown(tmp_path, onnx_model(told_of(blue)), "model.onnx")
    assert "input       image 4 x 5 BGR, float32: (byte - 127) / 128; centred on black" in page
    assert "outputs     logits nx3 float32" in page
    assert page.endswith("operations  1 of 1 kinds; all of them the format's own")
    (tmp_path / "other.onnx").write_bytes(onnx_model(told_of(), domain="com.microsoft"))
    assert info(tmp_path / "other.onnx").custom == ("Relu",)


def test_texts_are_no_commands_to_the_terminal(tmp_path: Path) -> None:
    page = shown(tmp_path, described(told_of(author="\x1b[2J\rJo", description="a\nb")))
    assert page.isprintable() is False  # of line ends alone
    assert all(line.isprintable() for line in page.split("\n"))
    assert "author      �[2J�Jo" in page
    assert "a�b" in page.splitlines()


def with_entries(
    entries: dict[str, str], *, compression: int = zipfile.ZIP_STORED, model: bytes | None = None
) -> bytes:
    whole = io.BytesIO(tflite() if model is None else model)
    with zipfile.ZipFile(whole, "a", compression) as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return whole.getvalue()


def changed(path: str, value: Any) -> dict[str, str]:
    """kerascnn.json with one field, as input.height, of another value."""
    told = told_of()
    *parents, last = path.split(".")
    place = told
    for parent in parents:
        place = place[parent]
    place[last] = value
    return {"kerascnn.json": json.dumps(told)}


FINE = json.dumps(told_of())
BAD = {
    "a text": (b"this is no model", "not a TFLite model"),
    "nothing": (b"", "not a TFLite model"),
    "its beginning": (described(told_of())[:100], "is damaged: it is cut short"),
    "no end of its zip": (described(told_of())[:-1], "is damaged: it is cut short"),
    "a bare model": (tflite(), "does not describe itself"),
    "labels alone": (with_entries({"labels.txt": "a\n"}), "does not describe itself"),
    "compressed": (
        with_entries({"kerascnn.json": FINE}, compression=zipfile.ZIP_DEFLATED), "compressed",
    ),
    "a bomb": (
        with_entries({"kerascnn.json": " " * 2**24}, compression=zipfile.ZIP_LZMA), "compressed",
    ),
    "too long": (with_entries({"kerascnn.json": FINE + " " * 2**23}), "too long"),
    "no JSON": (with_entries({"kerascnn.json": "{"}), "wrong description"),
    "deep": (with_entries({"kerascnn.json": "[" * 10**6}), "wrong description"),
    "a list": (with_entries({"kerascnn.json": "[]"}), "(no object)"),
    "newer": (with_entries(changed("format", FORMAT + 1)), "format 2 of a newer version"),
    "no tensors": (with_entries({"kerascnn.json": FINE}, model=b"\x18\0\0\0TFL3"), "is broken"),
    "another size": (with_entries(changed("input.width", 6)), "takes 4x5x3, and describes"),
}  # fmt: skip
WRONG = {
    "format": True, "task": "audio", "labels": [], "author": None, "decoding": {"kind": "map"},
    "outputs": [{"name": "logits"}], "input": 1, "input.height": 10**9, "input.width": 0,
    "input.channels": 2, "input.type": "int8", "input.values": "raw bytes", "input.mean": [1.0],
    "input.std": [1.0, 0.0, 1.0], "input.order": "grb", "input.resize": "squash",
    "input.crop_fraction": 2, "input.colour": "grey",
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_file_of_ours_is_refused(case: str, tmp_path: Path) -> None:
    file, reason = BAD[case]
    (tmp_path / "model.tflite").write_bytes(file)
    assert_refused(here("info", "model.tflite", cwd=tmp_path), "model.tflite", reason)


@pytest.mark.parametrize("field", WRONG)
def test_every_field_is_looked_at(field: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(with_entries(changed(field, WRONG[field])))
    with pytest.raises(InputError, match=rf"wrong description \({field}\)"):
        info(path)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    for number in ("NaN", "Infinity", "1e999"):
        text = FINE.replace('"crop_fraction": 0.875', f'"crop_fraction": {number}')
        assert text != FINE
        path.write_bytes(with_entries({"kerascnn.json": text}))
        with pytest.raises(InputError, match=r"input\.crop_fraction"):
            info(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 50)
    (tmp_path / "bare.onnx").write_bytes(onnx_model(None))
    (tmp_path / "page.html").write_text("")
    for name, reason in (
        ("missing.tflite", "no such file"),
        ("page.html", "should end in .tflite or .onnx"),
        ("broken.onnx", "not an ONNX model, or is damaged"),
        ("bare.onnx", "does not describe itself"),
    ):
        assert_refused(here("info", name, cwd=tmp_path), name, reason)


def test_of_a_run_folder_one_of_its_files_is_named(tmp_path: Path) -> None:
    files = tmp_path / "run" / "artefacts"
    files.mkdir(parents=True)
    assert_refused(here("info", "run", cwd=tmp_path), "run is a folder; name a model file")
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run" / "model.keras").write_text("")
    told = here("predict", "run", "x.png", cwd=tmp_path)
    assert_refused(told, "run is a run folder; name run/model.keras, or make files: kerascnn compr")
    for name in ("float32.onnx", "float32.tflite", "float32.json", ".partial-int8.tflite"):
        (files / name).write_text("")
    for command in (("info", "run"), ("predict", "run", "x.png")):
        told = here(*command, cwd=tmp_path)
        assert_refused(told, "is a run folder; name one of its files, as run/artefacts/float32.tf")
    (files / "int8.tflite").write_text("")
    assert_refused(here("info", "run", cwd=tmp_path), "as run/artefacts/int8.tflite")


def test_a_model_is_whole_wherever_its_last_part_is(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.tflite", tflite()
    path.write_bytes(whole)
    assert not is_cut_short(path)
    for length in range(8, len(whole) - 8, 7):
        path.write_bytes(whole[:length])
        assert is_cut_short(path), length


@pytest.mark.parametrize("end", [".tflite", ".onnx"])
def test_damage_anywhere_is_refused_or_harmless(end: str, tmp_path: Path) -> None:
    """Bytes changed, and files cut: shown, or an InputError, and never anything else."""
    rng = np.random.default_rng(0)
    whole = described(told_of()) if end == ".tflite" else onnx_model(told_of())
    path, refused = tmp_path / f"model{end}", 0
    for _ in range(400):
        file = bytearray(whole)
        for place in rng.integers(0, len(file), rng.integers(1, 4)):
            file[place] = rng.integers(0, 256)
        path.write_bytes(file[: rng.integers(1, len(file))] if rng.random() < 0.2 else file)
        try:
            as_text(info(path))
        except InputError:
            refused += 1
    assert 50 < refused < 400
