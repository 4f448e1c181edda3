"""`kerascnn compress`: from a run to verified files, each with its .json."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from export import artefact, recipes
from export.artefact import Artefact
from export.convert_onnx import to_onnx
from export.convert_tflite import INPUT_NAME, OUTPUT_NAME, to_tflite
from export.flatbuffer import weight_sparsity, with_half_precision_kernels
from export.lower import lower_for_int8, needs_lowering, with_raw_input
from export.quantise import quantise
from export.runtimes import Runtime
from export.runtimes import load as load_runtime
from export.verify import Verdict, verify
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import atomic, datasets
from training.datasets.decode import decode_split
from training.datasets.splits import Split
from training.evaluate import Evaluation, evaluate, keras_predict_fn
from training.progress import Progress, say
from training.run import Run, versions

CALIBRATION_PICTURES = 200
_MISTAKES_KEPT = 200


def compress(
    run: Run, variants: Sequence[str] = recipes.DEFAULT, *, onnx: bool = True
) -> tuple[list[Artefact], bool]:
    """Make the variants of a run that are not there yet; each is run before it is listed.

    Args:
        variants: names, see `recipes.variant`.
        onnx: also write the float32 network as ONNX.

    Returns:
        The artefacts asked for, in order, and whether any of them is new.

    Raises:
        InputError: no such variant, or the run's data set is gone or has changed.
    """
    names = list(dict.fromkeys(variants))
    plan = [(recipes.variant(name), ".tflite") for name in names]
    if onnx:
        plan.append((recipes.variant("float32"), ".onnx"))
    source = atomic.sha256(run.model_path)
    found = {(v.name, end): _sound(run, v, end, source) for v, end in plan}
    workshop = _Workshop(run, source)
    missing = [(v, end) for v, end in plan if found[v.name, end] is None]
    if missing:
        with Progress(f"{run.name}: files", len(missing), unit="file") as progress:
            for variant, end in missing:
                progress.note(f"{variant.name}{end}")
                found[variant.name, end] = workshop.make(variant, end)
                progress.step()
    return [a for a in found.values() if a is not None], bool(missing)


def all_artefacts(run: Run) -> list[Artefact]:
    """Every sound artefact of a run's present model; others are named and left out."""
    source = atomic.sha256(run.model_path)
    found = []
    for name in recipes.PRECISIONS:
        for end in artefact.FORMATS:
            path = run.artefacts / f"{name}{end}"
            if not path.is_file():
                continue
            sound = _sound(run, recipes.variant(name), end, source)
            if sound:
                found.append(sound)
            else:
                say(f"left out: {path} does not belong to {run.model_path}; run kerascnn compress")
    return found


def held_out_pictures(run: Run) -> Split:
    """The run's held-out split, decoded at its network's geometry.

    Raises:
        InputError: the data set is gone or has changed.
    """
    split, _broken = decode_split(_dataset(run).held_out, run.preprocessing)
    return split


def _dataset(run: Run) -> datasets.Dataset:
    request = run.info["request"]
    dataset = datasets.scan(request["data"], seed=request["config"]["seed"])
    if dataset.fingerprint != run.info["dataset"]["fingerprint"]:
        raise InputError(
            f"{request['data']} is not the data that {run.folder} was trained on; "
            "bring it back, or train again"
        )
    return dataset


def _sound(run: Run, variant: recipes.Variant, end: str, source: str) -> Artefact | None:
    """The artefact, if it is whole and made of this model by this recipe."""
    try:
        found = Artefact.open(run.artefacts / f"{variant.name}{end}")
    except InputError:
        return None
    same = found.info.get("variant") == variant.to_dict() and found.info.get("source") == source
    return found if same else None


class _Workshop:
    """What the variants of one run share, each made when it is first needed."""

    def __init__(self, run: Run, source: str) -> None:
        self._run, self._source = run, source

    def make(self, variant: recipes.Variant, end: str) -> Artefact:
        """Write, run, verify and describe one file."""
        data = self._convert(variant, end)
        path = self._run.artefacts / f"{variant.name}{end}"
        # An old description must not outlive its file.
        artefact.sidecar(path).unlink(missing_ok=True)
        atomic.write_bytes(path, data)
        runtime = load_runtime(path, self._run.preprocessing)
        answers = evaluate(runtime.predict, self._held_out, self._run.preprocessing)
        half = self._half_logits if variant.weight_bits == 16 else None
        verdict = verify(variant, answers.logits, self._keras.logits, half)
        info = self._describe(variant, path, data, runtime, answers, verdict)
        artefact.write_info(path, info)
        return Artefact(path, info)

    def _convert(self, variant: recipes.Variant, end: str) -> bytes:
        if end == ".onnx":
            return to_onnx(self._model)
        if variant.name == "float32":
            return self._float32
        if not variant.calibrated:
            return quantise(self._float32, variant, self._run.preprocessing)
        file, preprocessing = self._lowered
        return quantise(file, variant, preprocessing, self._calibration)

    @functools.cached_property
    def _model(self) -> keras.Model:
        return self._run.load_model()

    @functools.cached_property
    def _float32(self) -> bytes:
        return to_tflite(self._model)

    @functools.cached_property
    def _lowered(self) -> tuple[bytes, Preprocessing]:
        """The network as int8 has it, and what its calibration pictures go through."""
        preprocessing = self._run.preprocessing
        if not needs_lowering(self._model) and preprocessing.is_a_scale:
            return self._float32, preprocessing
        lowered, preprocessing = with_raw_input(lower_for_int8(self._model), preprocessing)
        return to_tflite(lowered), preprocessing

    @functools.cached_property
    def _held_out(self) -> Split:
        return held_out_pictures(self._run)

    @functools.cached_property
    def _keras(self) -> Evaluation:
        predict = keras_predict_fn(self._model, self._run.preprocessing)
        return evaluate(predict, self._held_out, self._run.preprocessing)

    @functools.cached_property
    def _half_logits(self) -> np.ndarray:
        # Kept beside the artefacts under a temporary name: the runtime wants a file.
        path = self._run.artefacts / f"{atomic.TEMPORARY}half.tflite"
        try:
            atomic.write_bytes(path, with_half_precision_kernels(self._float32))
            runtime = load_runtime(path, self._run.preprocessing)
            return evaluate(runtime.predict, self._held_out, self._run.preprocessing).logits
        finally:
            path.unlink(missing_ok=True)

    @functools.cached_property
    def _calibration(self) -> np.ndarray:
        """A seeded, class-balanced sample of the training pictures, without augmentation."""
        train = _dataset(self._run).train
        rng = np.random.default_rng(self._run.info["request"]["config"]["seed"])
        classes = np.unique(train.labels)
        each = max(1, CALIBRATION_PICTURES // len(classes))
        chosen = [rng.permutation(np.flatnonzero(train.labels == c))[:each] for c in classes]
        split, _broken = decode_split(
            train.take(np.sort(np.concatenate(chosen))), self._run.preprocessing
        )
        assert split.pictures is not None  # a few hundred pictures always fit
        return split.pictures

    def _describe(
        self,
        variant: recipes.Variant,
        path: pathlib.Path,
        data: bytes,
        runtime: Runtime,
        answers: Evaluation,
        verdict: Verdict,
    ) -> dict[str, Any]:
        run, raw = self._run, variant.raw_input
        tflite = path.suffix == ".tflite"
        return {
            "file": path.name,
            "sha256": atomic.sha256(path),
            **artefact.sizes(data),
            "model": run.info["request"]["model"],
            "task": "classification",
            "variant": variant.to_dict(),
            "source": self._source,
            "preprocessing": run.preprocessing.to_dict(),
            "input": {
                "name": INPUT_NAME,
                "shape": [1 if tflite else None, *run.preprocessing.input_shape],
                "type": "uint8" if raw else "float32",
                "values": "raw bytes" if raw else "(byte - mean) / std",
            },
            "output": {"name": OUTPUT_NAME, "type": "float32", "meaning": "logits"},
            "labels": list(run.labels),
            "calibration_pictures": len(self._calibration) if raw else 0,
            "evaluation": {
                "metric": "accuracy",
                "value": answers.accuracy,
                "float_value": self._keras.accuracy,
                "pictures": len(self._held_out),
                "data_fingerprint": run.info["dataset"]["fingerprint"],
                **dataclasses.asdict(verdict),
                "partitions": runtime.partitions,
                "operations": list(runtime.operations),
                "sparsity": weight_sparsity(data) if tflite else _onnx_sparsity(data),
            },
            "mistakes": self._mistakes(answers),
            "versions": versions(),
        }

    def _mistakes(self, answers: Evaluation) -> list[dict[str, Any]]:
        wrong = np.flatnonzero(answers.predictions != self._held_out.labels)
        probabilities = answers.probabilities
        return [
            {
                "index": int(i),
                "name": self._held_out.names[i],
                "truth": self._run.labels[self._held_out.labels[i]],
                "predicted": self._run.labels[answers.predictions[i]],
                "probability": round(float(probabilities[i].max()), 4),
            }
            for i in wrong[:_MISTAKES_KEPT]
        ]


def _onnx_sparsity(data: bytes) -> float:
    import onnx

    kernels = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(data).graph.initializer
        if len(tensor.dims) > 1
    ]
    total = sum(kernel.size for kernel in kernels)
    return sum(int(np.count_nonzero(kernel == 0)) for kernel in kernels) / total if total else 0.0
