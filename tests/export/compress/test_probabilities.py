"""Files that end in probabilities: what is in them, and what they are read as."""

from __future__ import annotations

from typing import Any

import known_files
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.artefacts.kinds import base
from export.artefacts.variants import parse_variant, with_outputs
from export.graph.signature import PROBABILITIES, SCORES
from export.onnx.convert import to_onnx
from export.onnx.model import ONNXModel
from export.onnx.probabilities import append_probabilities as in_onnx
from export.runtime.load import as_logits
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.probabilities import append_probabilities as in_tflite
from kerascnn.errors import InputError
from training.classification.evaluate import log_softmax, softmax
from training.classification.outputs import LEAST_LOG_PROBABILITY, Collected
from training.multilabel.evaluate import sigmoid


@pytest.mark.parametrize(("name", "each"), [(PROBABILITIES, False), (SCORES, True)])
def test_probabilities_stand_behind_the_logits(name: str, each: bool) -> None:
    model = known_files.classifier()
    pictures = np.random.default_rng(0).random((3, 8, 8, 3)).astype(np.float32)
    logits = np.asarray(model(pictures, training=False))
    wanted = sigmoid(logits) if each else softmax(logits)
    tflite = TFLiteModel.edited(to_tflite(model), in_tflite, name=name, each=each)
    runner = Interpreter(model_content=tflite).get_signature_runner()
    found = np.concatenate([runner(image=one[None])[name] for one in pictures])
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    data = ONNXModel.edited(to_onnx(model), in_onnx, name=name, each=each)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run([name], {"image": pictures})[0], wanted, atol=1e-6)
    assert [one.name for one in onnx.load_from_string(data).graph.output] == [name]
    # What is read of it answers as the logits do.
    before = np.maximum(logits if each else log_softmax(logits), LEAST_LOG_PROBABILITY)
    np.testing.assert_allclose(as_logits(name, found), before, atol=1e-4)


def test_what_is_read_is_never_infinite() -> None:
    numbers = np.array([[0, 1, 0.5, 1e-45]], np.float32)
    for name in (PROBABILITIES, SCORES):
        assert np.isfinite(as_logits(name, numbers)).all()
        assert np.isnan(as_logits(name, numbers * np.nan)).all()
    np.testing.assert_array_equal(as_logits("logits", numbers), numbers)
    assert as_logits(PROBABILITIES, numbers)[0, 0] == pytest.approx(LEAST_LOG_PROBABILITY)


def test_a_network_s_own_answers_as_logarithms() -> None:
    logits = np.array([[1, 2, 3], [200, 0, -200]], np.float32)
    collected = Collected(2, 3)
    collected.add(logits, log_softmax(logits))
    found = collected.outputs().log_probabilities()
    wanted = np.maximum(log_softmax(logits), LEAST_LOG_PROBABILITY)
    np.testing.assert_allclose(found.logits, wanted, rtol=1e-6)
    np.testing.assert_allclose(found.largest, wanted.max(axis=-1), atol=1e-6)
    assert found.predictions.tolist() == [2, 0]


def test_a_name_says_it() -> None:
    plain, inside = (parse_variant(name) for name in ("int8", "int8_probabilities"))
    assert (plain.probabilities, inside.probabilities) == (False, True)
    assert "its outputs are probabilities" in inside.description
    assert inside.precision == plain.precision == "int8"
    # Recipes of before are the same to the letter.
    assert "probabilities" not in plain.to_dict()
    assert inside.to_dict()["probabilities"] is True
    trained = parse_variant("prune75_qat_int8_probabilities")
    assert (trained.precision, len(trained.steps)) == ("int8", 2)
    assert "probabilities" in trained.description
    names = ["float32", "int8_probabilities"]
    assert with_outputs(names, "logits") == names
    assert with_outputs(names, "probabilities") == [
        "float32_probabilities", "int8_probabilities",
    ]  # fmt: skip
    with pytest.raises(InputError, match="did you mean 'logits'"):
        with_outputs(names, "logit")
    with pytest.raises(InputError, match=r"int8_raw: .* only classifiers' files end in"):
        with_outputs(["int8_raw"], "probabilities")


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_other_tasks_have_none(task: str) -> None:
    info: dict[str, Any] = {"request": {"model": "ssdlite_mobilenet_v2"}, "detector": {}}
    with pytest.raises(InputError, match="scores of detectors"):
        base.of(task).check(parse_variant("float32_probabilities"), info)


def test_a_kernel_of_one_piece_stays_whole() -> None:
    """The delegate takes the softmax, too."""
    model = known_files.classifier()
    data = TFLiteModel.edited(to_tflite(model), in_tflite, name=PROBABILITIES, each=False)
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    names = [one["op_name"] for one in interpreter._get_ops_details()]
    assert names.count("DELEGATE") == 1
