"""`kerascnn compress`: from a run to verified files, each with its .json."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from export import artefact, recipes
from export.artefact import Artefact
from export.convert_onnx import to_onnx
from export.convert_tflite import INPUT_NAME, OUTPUT_NAME, to_tflite
from export.converter_quantise import converter_quantise
from export.finetune import Lessons
from export.flatbuffer import nonzero_weights, weight_sparsity, with_half_precision_kernels
from export.lower import lower_for_int8, needs_lowering, with_raw_input
from export.mixed import mixed
from export.onnx_file import onnx_nonzero_weights, onnx_weight_sparsity
from export.quantise import quantise
from export.runtimes import Runtime
from export.runtimes import load as load_runtime
from export.significance import pack
from export.stages import Material, Stages, Trained, content_key
from export.verify import Verdict, verify
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import atomic, datasets
from training.config import TrainConfig
from training.datasets.decode import decode_split
from training.datasets.splits import Split
from training.distillation import Teacher
from training.evaluate import Evaluation, evaluate, keras_predict_fn
from training.progress import Progress, say
from training.run import Run, versions
from training.train import source_for

_MISTAKES_KEPT = 200
# Raised when the same recipe writes another file: those of before are made again.
_EDITION = 2


def compress(
    run: Run,
    variants: Sequence[str] = recipes.DEFAULT,
    *,
    onnx: bool = True,
    settings: recipes.Settings | None = None,
) -> tuple[list[Artefact], bool]:
    """Make the variants of a run that are not there yet; each is run before it is listed.

    Args:
        variants: names, see `recipes.variant`.
        onnx: also write the float32 network as ONNX.
        settings: what a name does not say.

    Returns:
        The artefacts asked for, in order, and whether any of them is new.

    Raises:
        InputError: no such variant, the run's data set is gone or has changed, or a step that
            this network does not allow.
    """
    plan = [(recipes.variant(name, settings), ".tflite") for name in dict.fromkeys(variants)]
    if onnx:
        plan.append((recipes.variant("float32"), ".onnx"))
    workshop = Workshop(run)
    found = {(v.name, end): workshop.found(v, end) for v, end in plan}
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
    for path in sorted(run.artefacts.glob("*"), key=_place):
        if path.suffix not in artefact.FORMATS or path.name.startswith(atomic.TEMPORARY):
            continue
        try:
            one = Artefact.open(path)
            belongs = one.info.get("source") == source
        except InputError:
            belongs = False
        if belongs:
            found.append(one)
        else:
            say(f"left out: {path} does not belong to {run.model_path}; run kerascnn compress")
    return found


def held_out_pictures(run: Run) -> Split:
    """The run's held-out split, decoded at its network's geometry.

    Raises:
        InputError: the data set is gone or has changed.
    """
    return _held_out(run, _dataset(run))


def reference_file(run: Run, variant: recipes.Variant) -> bytes:
    """The float TFLite file, with the same names of layers, that a variant is quantised from."""
    network = Workshop(run).network(variant)
    return network.lowered(variant)[1] if variant.calibrated else network.float32


def _place(path: pathlib.Path) -> tuple[bool, int, str, bool]:
    """Plain precisions in the order of their table, then trained ones by name; ONNX behind."""
    name, known = path.stem, list(recipes.PRECISIONS)
    plain = name in recipes.PRECISIONS
    return not plain, known.index(name) if plain else 0, name, path.suffix != ".tflite"


def _held_out(run: Run, dataset: datasets.Dataset) -> Split:
    split, _broken = decode_split(dataset.held_out, run.preprocessing)
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


class Workshop:
    """What the variants of one run share, each made when it is first needed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.source = atomic.sha256(run.model_path)
        self._stages = Stages(run, self._material())
        self._networks: dict[str, _Network] = {}
        self._samples: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def found(self, variant: recipes.Variant, end: str) -> Artefact | None:
        """The artefact, if it is whole and made of this model by this recipe and these tools."""
        try:
            one = Artefact.open(self._run.artefacts / f"{variant.name}{end}")
        except InputError:
            return None
        return one if one.info.get("key") == self._key(variant, end) else None

    def make(self, variant: recipes.Variant, end: str) -> Artefact:
        """Write, run, verify and describe one file."""
        network = self.network(variant)
        began = time.monotonic()
        data, layers = self._convert(network, variant, end)
        seconds = network.trained.seconds + time.monotonic() - began
        path = self._run.artefacts / f"{variant.name}{end}"
        # An old description must not outlive its file.
        artefact.sidecar(path).unlink(missing_ok=True)
        atomic.write_bytes(path, data)
        runtime = load_runtime(path, self._run.preprocessing)
        answers = evaluate(runtime.predict, self.held_out, self._run.preprocessing)
        reference = network.answers
        half = network.half_logits if variant.weight_bits == 16 else None
        verdict = verify(variant, answers.logits, reference.logits, half)
        info = self._describe(variant, path, data, network.trained)
        info["seconds"] = round(seconds, 1)
        info["evaluation"] = self._evaluation(answers, reference, verdict, runtime, data, path)
        info["mistakes"] = self._mistakes(answers)
        if layers is not None:
            info["layers"] = layers
        artefact.write_info(path, info)
        return Artefact(path, info)

    def network(self, variant: recipes.Variant) -> _Network:
        """The network of a variant after its steps."""
        key = self._stages.key(variant)
        if key not in self._networks:
            trained = self._stages.trained(variant)
            self._networks[key] = _Network(trained, self._run, self.held_out)
        return self._networks[key]

    @functools.cached_property
    def held_out(self) -> Split:
        """Pictures that figures are measured on."""
        return _held_out(self._run, self._data)

    @functools.cached_property
    def _data(self) -> datasets.Dataset:
        return _dataset(self._run)

    @functools.cached_property
    def _float(self) -> Evaluation:
        """The run's own network, which drops are measured from."""
        return self.network(recipes.variant("float32")).answers

    def _convert(self, network: _Network, variant: recipes.Variant, end: str) -> tuple[bytes, Any]:
        """The file, and what is told of its layers, if anything."""
        if end == ".onnx":
            return to_onnx(network.trained.model), None
        if variant.weight_bits == 32:
            return network.float32, None
        preprocessing = network.trained.preprocessing
        pictures = np.empty(0)
        if variant.calibration_pictures:
            pictures = self._sample(variant.calibration_pictures)[0]
        if variant.mixed_bits:
            data, report = mixed(network.float32, variant, preprocessing, pictures)
            return data, report.to_dict()
        model, float_file = network.trained.model, network.float32
        if variant.calibrated:
            model, float_file, preprocessing = network.lowered(variant)
        if variant.tool == "converter":
            return converter_quantise(model, variant, preprocessing, pictures), None
        shared, ranges = network.trained.shared_scale, network.trained.ranges
        data = quantise(
            float_file, variant, preprocessing, pictures, trained=ranges, shared_scale=shared
        )
        return data, None

    def _key(self, variant: recipes.Variant, end: str) -> str:
        made_of = {
            "network": self._stages.key(variant),
            "variant": variant.to_dict(),
            "data": self._run.info["dataset"]["fingerprint"],
            "format": end,
            "edition": _EDITION,
            "versions": versions(),
        }
        return content_key(made_of)

    def _material(self) -> Material:
        return Material(
            source=self.source,
            lessons=lambda: self._lessons,
            teacher=lambda name: Teacher.open(
                self._teaching(name), classes=self._run.labels, student=self._run.preprocessing
            ),
            teacher_key=self._teacher_key,
            calibration=self._sample,
            held_out=self._held_out_array,
        )

    def _teacher_key(self, name: str) -> str:
        return self.source if name == "self" else atomic.sha256(Run.open(name).model_path)

    def _teaching(self, name: str) -> Run:
        return self._run if name == "self" else Run.open(name)

    @functools.cached_property
    def _lessons(self) -> Lessons:
        preprocessing = self._run.preprocessing
        config = TrainConfig(**self._run.info["request"]["config"])
        source = source_for(preprocessing, config)
        train, _broken = decode_split(self._data.train, source)
        return Lessons(
            train=train,
            source=source,
            preprocessing=preprocessing,
            classes=len(self._run.labels),
        )

    def _held_out_array(self) -> np.ndarray:
        pictures = self.held_out.pictures
        if pictures is None:
            raise InputError(
                f"{self._run.folder}: its held-out pictures do not fit into memory, which "
                "quantisation-aware training here needs"
            )
        return pictures

    def _sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """A seeded, class-balanced sample of the training pictures, and their labels."""
        if count not in self._samples:
            train = self._data.train
            rng = np.random.default_rng(self._run.info["request"]["config"]["seed"])
            classes = np.unique(train.labels)
            each = max(1, count // len(classes))
            chosen = [rng.permutation(np.flatnonzero(train.labels == c))[:each] for c in classes]
            split, _broken = decode_split(
                train.take(np.sort(np.concatenate(chosen))), self._run.preprocessing
            )
            assert split.pictures is not None  # a few hundred pictures always fit
            self._samples[count] = split.pictures, split.labels
        return self._samples[count]

    def _describe(
        self,
        variant: recipes.Variant,
        path: pathlib.Path,
        data: bytes,
        trained: Trained,
    ) -> dict[str, Any]:
        run, tflite = self._run, path.suffix == ".tflite"
        raw = variant.raw_input and tflite
        pictures = variant.calibration_pictures
        return {
            "file": path.name,
            "sha256": atomic.sha256(path),
            **artefact.sizes(data),
            "model": run.info["request"]["model"],
            "task": "classification",
            "variant": variant.to_dict(),
            "source": self.source,
            "key": self._key(variant, path.suffix),
            "parameters": trained.parameters,
            "nonzero_parameters": nonzero_weights(data) if tflite else onnx_nonzero_weights(data),
            "macs": trained.macs,
            "preprocessing": run.preprocessing.to_dict(),
            "input": {
                "name": INPUT_NAME,
                "shape": [1 if tflite else None, *run.preprocessing.input_shape],
                "type": "uint8" if raw else "float32",
                "values": "raw bytes" if raw else "(byte - mean) / std",
            },
            "output": {"name": OUTPUT_NAME, "type": "float32", "meaning": "logits"},
            "labels": list(run.labels),
            "calibration_pictures": len(self._sample(pictures)[0]) if pictures else 0,
            "versions": versions(),
        }

    def _evaluation(
        self,
        answers: Evaluation,
        reference: Evaluation,
        verdict: Verdict,
        runtime: Runtime,
        data: bytes,
        path: pathlib.Path,
    ) -> dict[str, Any]:
        labels = self.held_out.labels
        tflite = path.suffix == ".tflite"
        return {
            "metric": "accuracy",
            "value": answers.accuracy,
            "float_value": self._float.accuracy,
            # Of the network that was written, before it was: after the variant's own steps.
            "keras_value": reference.accuracy,
            "right": pack(answers.predictions == labels),
            "float_right": pack(self._float.predictions == labels),
            "pictures": len(self.held_out),
            "data_fingerprint": self._run.info["dataset"]["fingerprint"],
            **dataclasses.asdict(verdict),
            "partitions": runtime.partitions,
            "operations": list(runtime.operations),
            "sparsity": weight_sparsity(data) if tflite else onnx_weight_sparsity(data),
        }

    def _mistakes(self, answers: Evaluation) -> list[dict[str, Any]]:
        wrong = np.flatnonzero(answers.predictions != self.held_out.labels)
        probabilities = answers.probabilities
        return [
            {
                "index": int(i),
                "name": self.held_out.names[i],
                "truth": self._run.labels[self.held_out.labels[i]],
                "predicted": self._run.labels[answers.predictions[i]],
                "probability": round(float(probabilities[i].max()), 4),
            }
            for i in wrong[:_MISTAKES_KEPT]
        ]


class _Network:
    """A network after its steps, in the forms that files are made from."""

    def __init__(self, trained: Trained, run: Run, held_out: Split) -> None:
        self.trained, self._run, self._held_out = trained, run, held_out
        self._lowered: dict[bool, tuple[keras.Model, bytes, Preprocessing]] = {}

    @functools.cached_property
    def float32(self) -> bytes:
        """As a float TFLite file."""
        return to_tflite(self.trained.model)

    def lowered(self, variant: recipes.Variant) -> tuple[keras.Model, bytes, Preprocessing]:
        """The network as integers have it: model, float file, and what pictures go through."""
        model, preprocessing = self.trained.model, self.trained.preprocessing
        raw = variant.raw_input and not preprocessing.is_a_scale
        if self.trained.ranges is not None or not (raw or needs_lowering(model)):
            return model, self.float32, preprocessing
        if raw not in self._lowered:
            model = lower_for_int8(model)
            if raw:
                model, preprocessing = with_raw_input(model, preprocessing)
            self._lowered[raw] = model, to_tflite(model), preprocessing
        return self._lowered[raw]

    @functools.cached_property
    def answers(self) -> Evaluation:
        """What the files should answer: Keras', or the simulated int8 network's."""
        if (logits := self.trained.logits) is not None:
            return Evaluation.of(logits, self._held_out.labels)
        predict = keras_predict_fn(self.trained.model, self.trained.preprocessing)
        return evaluate(predict, self._held_out, self._run.preprocessing)

    @functools.cached_property
    def half_logits(self) -> np.ndarray:
        """Of the float file with its kernels rounded to half precision."""
        # Kept beside the artefacts under a temporary name: the runtime wants a file.
        path = self._run.artefacts / f"{atomic.TEMPORARY}half.tflite"
        try:
            atomic.write_bytes(path, with_half_precision_kernels(self.float32))
            runtime = load_runtime(path, self._run.preprocessing)
            return evaluate(runtime.predict, self._held_out, self._run.preprocessing).logits
        finally:
            path.unlink(missing_ok=True)
