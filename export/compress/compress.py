"""`kerascnn compress`: from a run to verified files, each with its .json."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from export.artefacts import artefact, half_precision
from export.artefacts.about import About
from export.artefacts.artefact import FLOAT_LAYERS, Artefact
from export.artefacts.description import check_labels, input_metadata, inside
from export.artefacts.kinds import base as kinds
from export.artefacts.open_file import OpenFile
from export.artefacts.selftest import FIELD, Outputs
from export.artefacts.variants import (
    PRECISIONS,
    ChannelPrune,
    Settings,
    Variant,
    parse_variant,
    with_outputs,
)
from export.compress import qat
from export.compress.calibration import Calibration
from export.compress.half_range import IMAGES, HalfRange, half_range
from export.compress.left_out import LeftOut, naming
from export.compress.mixed import mixed
from export.compress.reconstruct.files import reconstructed, reconstructed_in_time
from export.compress.reconstruct.mixed_widths import reconstructed_widths
from export.compress.reconstruct.network import with_bare_layers
from export.compress.reconstruct.walk import has_regions
from export.compress.stages import CompressionStages, StageInputs, content_key
from export.graph.fold_norm import fold_batch_norms
from export.graph.join_branches import deployed
from export.graph.legacy_keras import require_twin
from export.graph.lower import (
    as_convolution,
    lower_for_int8,
    needs_lowering,
    of_raw_input,
    with_raw_input,
)
from export.graph.signature import INPUT_NAME
from export.onnx.convert import converted
from export.runtime import first_run, selftest
from export.runtime.verify import NOT_VERIFIED, Verdict, in_short
from export.tasks import base as tasks
from export.tasks.fine_tuning import FineTuningData
from export.tasks.trained import Trained
from export.tflite.convert import to_tflite
from export.tflite.converter_quantise import converter_quantise
from export.tflite.half_precision import round_to_half
from export.tflite.model import TFLiteModel
from export.tflite.normalise_first import normalise_first
from export.tflite.quantise import quantise
from export.tflite.two_step_means import in_two_steps, means_of_maps
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common import atomic, once
from training.common.progress import Progress, say
from training.common.spread import spread
from training.common.wording import counted
from training.engine import file_network
from training.engine.file_network import FileNetwork
from training.engine.leaks import refuse_leaks
from training.engine.run import Run, versions

_MISTAKES_KEPT = 200
# Bytes by which the self-test of a quantised file is longer at most than that of the float one.
_SELFTEST = 512
# Raised when the same recipe writes another file: those of before are made again.
_EDITION = 10


@once.scope()
def compress(
    run: Run,
    variants: Sequence[str] | None = None,
    *,
    onnx: bool = True,
    settings: Settings | None = None,
    outputs: str = "logits",
) -> tuple[list[Artefact], bool]:
    """Make the variants of a run that are not there yet; each is run before it is listed.

    Args:
        variants: names, see `parse_variant`; None for the task's own choice.
        onnx: also write the float32 network as ONNX.
        settings: what a name does not say.
        outputs: of classifiers, "probabilities" for clients that show outputs as they are.

    Returns:
        The artefacts asked for, in order, and whether any of them is new.

    Raises:
        InputError: no such variant, the run's data set is gone or has changed, or a step that
            this network does not allow.
    """
    names = with_outputs(tasks.of(run).default if variants is None else variants, outputs)
    plan = [(parse_variant(name, settings), ".tflite") for name in dict.fromkeys(names)]
    builder = VariantBuilder(run)
    for variant, _end in plan:
        builder.check(variant)
    if onnx and (why := builder.without_onnx()):
        say(f"{run.name}: left out: float32.onnx: {why}")
    elif onnx:
        (name,) = with_outputs(["float32"], outputs)
        plan.append((parse_variant(name), ".onnx"))
        builder.check(plan[-1][0])
    left_out = LeftOut(run, forgiving=builder.imported and variants is None)
    found = {(v.name, end): builder.found(v, end) for v, end in plan}
    missing = [(v, end) for v, end in plan if found[v.name, end] is None]
    if missing:
        names = [f"{variant.name}{end}" for variant, end in missing]
        say(f"{run.name}: making {counted(len(names), 'file')}: {', '.join(names)}")
        with Progress(run.name, len(missing), unit="file", lines=True) as progress:
            for number, (variant, end) in enumerate(missing, 1):
                progress.note(names[number - 1])
                with left_out.instead_of(f"{variant.name}{end}"):
                    made = found[variant.name, end] = builder.make(variant, end)
                    progress.line(f"{number}/{len(names)} {_made(made)}")
                progress.step()
    left_out.close()
    return [a for a in found.values() if a is not None], bool(missing)


def _made(one: Artefact) -> str:
    """A file that was made, in a line: "int8.tflite  62.4 KB  accuracy 97.2%  verified: yes"."""
    measured = one.info["evaluation"]
    why = f" ({in_short(measured)})" if measured["verified"] == NOT_VERIFIED else ""
    return (
        f"{one.path.name}  {one.info['bytes'] / 1000:,.1f} KB  {measured['metric']} "
        f"{measured['value']:.1f}%  verified: {measured['verified']}{why}"
    )


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


def reference_file(run: Run, made: Artefact) -> tuple[bytes, Variant]:
    """The float TFLite file that a file was quantised from, and its variant.

    Layers have the same names in both. Nothing is made: a network that was trained for the file is
    read as it lies among the stages.

    Raises:
        InputError: the file is of another network than what lies there.
    """
    builder = VariantBuilder(run)
    recipe = made.info["variant"]
    variant = parse_variant(recipe["name"], Settings.of(recipe))
    network = builder.network_of(made, variant)
    return _float_form(builder, network, variant), variant


def _float_form(builder: VariantBuilder, network: _Network, variant: Variant) -> bytes:
    if variant.reconstructed and builder.reconstructs(network.trained):
        return to_tflite(network.bare(variant)[0])
    file = network.lowered(variant)[1] if variant.calibrated else network.float32
    return file.packed()


def _place(path: pathlib.Path) -> tuple[bool, int, str, bool]:
    """Plain precisions in the order of their table, then trained ones by name; ONNX behind."""
    name, known = path.stem, list(PRECISIONS)
    plain = name in PRECISIONS
    return not plain, known.index(name) if plain else 0, name, path.suffix != ".tflite"


class VariantBuilder:
    """What the variants of one run share, each made when it is first needed."""

    def __init__(self, run: Run) -> None:
        check_labels(run.labels)
        self._run, self._task = run, tasks.of(run)
        self.imported = run.info["request"].get("imported") is not None
        self.source = atomic.sha256(run.model_path)
        self._calibration = Calibration(
            self._task,
            lambda count: self._sample(count)[0],
            self._float_file,
        )
        self._stages = CompressionStages(run, self._inputs())
        self._networks: dict[str, _Network] = {}
        self._samples: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        # By the open float file, which its network keeps.
        self._half_ranges: dict[int, HalfRange] = {}
        self._warned: set[str] = set()

    def _float_file(self) -> bytes:
        return self.network(parse_variant("float32")).float32.packed()

    def found(self, variant: Variant, end: str) -> Artefact | None:
        """The artefact, if it is whole and made of this model by this recipe and these tools."""
        try:
            one = Artefact.open(self._run.artefacts / f"{variant.name}{end}")
        except InputError:
            return None
        return one if one.info.get("key") == self._key(variant, end) else None

    def check(self, variant: Variant) -> None:
        """Raise InputError for a variant that this network cannot have."""
        self._task.check(variant)
        if not self.has_graph:
            self._check_needs_no_graph(variant)
        elif self.imported and any(not isinstance(s, ChannelPrune) for s in variant.steps):
            model = self.network(parse_variant("float32")).trained.model
            with naming(variant.name):
                require_twin(self._task.trainable(model))

    @functools.cached_property
    def has_graph(self) -> bool:
        """Whether the network is layers; one that was imported may be a file and nothing else."""
        return self._whole is None

    def without_onnx(self) -> str | None:
        """Why the run has no ONNX file; None where it has one."""
        if not self.has_graph:
            return "the network's graph is not known"
        return kinds.of(self._run.task).without_onnx(self._run.info)

    @functools.cached_property
    def _whole(self) -> FileNetwork | None:
        if not self.imported:
            return None
        return file_network.inside(self.network(parse_variant("float32")).trained.model)

    def _check_needs_no_graph(self, variant: Variant) -> None:
        assert self._whole is not None
        if variant.steps:
            why = "has steps that train it"
        elif variant.tool == "converter":
            why = "is TensorFlow's converter's, which quantises graphs"
        else:
            return
        raise InputError(
            f"{variant.name} {why}, and the graph of this network is not known: "
            f"{self._whole.reason}"
        )

    def make(self, variant: Variant, end: str) -> Artefact:
        """Write, run, verify and describe one file.

        Raises:
            InputError: a variant that this network cannot have. Where the network is from
                elsewhere, that is also what a converter does not take.
        """
        self.check(variant)
        if not self.imported:
            return self._made(variant, end)
        with naming(f"{variant.name}{end}", foreign=True):
            return self._made(variant, end)

    def _made(self, variant: Variant, end: str) -> Artefact:
        network = self.network(variant)
        began = time.monotonic()
        needed = self._needs(network.trained, variant)
        calibrated = self._calibration.described(variant) if needed else {}
        reached = self._half_range(network, variant) if end == ".tflite" else None
        file, made = self._convert(network, variant, end)
        if reached is not None:
            made |= self._within_half(reached, file, variant)
        nonzero, sparsity = file.nonzero_weights(), file.weight_sparsity()
        # The float file ends in logits.
        comparable = variant.quantised and not variant.probabilities and end == ".tflite"
        plain = network.float_outputs if comparable else None
        data = self._task.finished(file, end, variant, float_outputs=plain)
        seconds = network.trained.seconds + time.monotonic() - began
        path = self._run.artefacts / f"{variant.name}{end}"
        # An old description must not outlive its file.
        artefact.sidecar(path).unlink(missing_ok=True)
        atomic.write_bytes(path, data)
        answers, runtime = self._task.file_answers(path)
        first_run.vouch(path)
        reference = network.answers
        half = network.half_answers if variant.weight_bits == 16 else None
        verdict = self._task.verify(variant, answers, reference, half)
        info = self._describe(variant, path, nonzero, network.trained)
        info["seconds"] = round(seconds, 1)
        info["evaluation"] = self._evaluation(answers, reference, verdict, runtime, sparsity, path)
        info["wrong_pictures"], info["mistakes"] = self._task.mistakes(answers)
        info |= made | calibrated | _training(network.trained)
        artefact.write_info(path, info)
        return Artefact(path, info)

    def _half_range(self, network: _Network, variant: Variant) -> HalfRange | None:
        """What a variant's float form reaches; None where no training image is to be had."""
        file, preprocessing = network.float32, network.trained.preprocessing
        if variant.calibrated:
            _model, file, preprocessing = network.lowered(variant)
        if id(file) not in self._half_ranges:
            pictures = self._images(network.trained, variant)
            try:
                pictures = pictures if len(pictures) else self._sample(IMAGES)[0]
            except InputError:
                return None
            chosen = pictures[spread(len(pictures), IMAGES)]
            layers = {layer.name for layer in network.model.layers}
            self._half_ranges[id(file)] = half_range(file, preprocessing, chosen, layers)
        return self._half_ranges[id(file)]

    def _within_half(self, half: HalfRange, file: OpenFile, variant: Variant) -> dict[str, Any]:
        """Write the means that need it in two steps, and warn once of the rest; for the .json."""
        assert isinstance(file, TFLiteModel)
        means = set(half.two_steps)
        rewritten = bool(means) and variant.activations in ("float32", "dynamic")
        # A second opinion is left as it is, and another converter calls tensors otherwise.
        rewritten = rewritten and variant.tool != "converter" and means <= means_of_maps(file)
        if rewritten:
            file.apply(in_two_steps, outputs=means)
        facts = half.to_dict(rewritten=rewritten)
        for line in half_precision.warnings(facts):
            if line not in self._warned:
                self._warned.add(line)
                say(f"warning: {variant.name}: {line}")
        return {"half_precision": facts}

    def network(self, variant: Variant) -> _Network:
        """The network of a variant after its steps."""
        key = self._stages.key(variant)
        if key not in self._networks:
            trained = self._stages.trained(variant)
            self._networks[key] = _Network(trained, self._task)
        return self._networks[key]

    def network_of(self, made: Artefact, variant: Variant) -> _Network:
        """What a file was made of, as it lies there; raises InputError where another one does."""
        trained = self._stages.there(variant)
        if trained is None or not self._is_of(made, trained.key):
            raise InputError(
                f"{made.path} is of another network than what lies in {self._run.folder} now; make "
                f"it again: kerascnn compress {self._run.folder} --variants {variant.name}"
            )
        return _Network(trained, self._task)

    def _is_of(self, made: Artefact, network: str) -> bool:
        info = made.info
        if network == self.source:
            return bool(info["source"] == network)
        key = _file_key(
            network=network,
            variant=info["variant"],
            data=self._run.info["dataset"]["fingerprint"],
            format=made.path.suffix,
            about={name: info.get(name, "") for name in About().to_dict()},
            versions=info["versions"],
            calibration=info.get("calibration", {}).get("fingerprint"),
        )
        return bool(info["key"] == key)

    @functools.cached_property
    def _float(self) -> Any:
        """The run's own network, which drops are measured from."""
        return self.network(parse_variant("float32")).answers

    def _convert(
        self, network: _Network, variant: Variant, end: str
    ) -> tuple[OpenFile, dict[str, Any]]:
        """The file, and what its .json says of how it came about, if anything."""
        if end == ".onnx":
            return converted(network.model), {}
        if variant.weight_bits == 32:
            return TFLiteModel.open(network.float32.packed()), {}
        preprocessing = network.trained.preprocessing
        pictures = self._images(network.trained, variant)
        if variant.mixed_bits:
            return self._mixed(network, variant, pictures)
        model, float_file = network.model, network.float32
        if variant.calibrated:
            model, float_file, preprocessing = network.lowered(variant)
        if variant.tool == "converter":
            return converter_quantise(model, variant, preprocessing, pictures), {}
        shared, ranges = network.trained.shared_scale, network.trained.ranges
        data = quantise(
            float_file,
            variant,
            preprocessing,
            pictures,
            trained=ranges,
            shared_scale=shared,
            kernel_bounds=network.trained.bounds,
        )
        if variant.reconstructed and self.reconstructs(network.trained):
            model, preprocessing = network.bare(variant)
            data, noises = reconstructed(
                model,
                variant,
                preprocessing,
                pictures,
                shared_scale=shared,
                float_file=float_file,
                plain=data,
                name=f"{self._run.name}: {variant.name}",
            )
            return data, self._reconstruction(variant, noises)
        return data, {}

    def _reconstruction(self, variant: Variant, facts: Mapping[str, Any] | None) -> dict[str, Any]:
        """For the .json; layers that stay float are said aloud, too."""
        if not facts:
            return {}
        noises = {name: value for name, value in facts.items() if name != FLOAT_LAYERS}
        if FLOAT_LAYERS not in facts:
            return {"reconstruction": noises}
        kept = facts[FLOAT_LAYERS]
        say(
            f"{self._run.name}: {variant.name}: {', '.join(kept['layers'])} "
            f"{'stays' if len(kept['layers']) == 1 else 'stay'} float: {kept['int8_db']:.1f} dB "
            f"without, {kept['db']:.1f} dB with (--keep-float 0 keeps all in int8)"
        )
        return {"reconstruction": noises, FLOAT_LAYERS: kept}

    def _mixed(
        self, network: _Network, variant: Variant, pictures: np.ndarray
    ) -> tuple[OpenFile, dict[str, Any]]:
        """A file whose layers have widths of their own, and what was decided."""
        comparison, preprocessing = self._task.comparison(), network.trained.preprocessing
        known = self.has_graph and network.trained.bounds is None
        if variant.max_ms is not None:
            return self._mixed_in_time(network, variant, pictures)
        model = network.bare(variant)[0] if known else None
        room = self._room(network) if variant.max_bytes is not None else 0
        data, report = mixed(
            network.float32,
            variant,
            preprocessing,
            pictures,
            comparison,
            model=None if model is None or has_regions(model) else model,
            room=room,
        )
        if not (variant.reconstructed and self.reconstructs(network.trained)):
            return data, {"layers": report.to_dict()}
        assert model is not None  # or nothing would be reconstructed
        made, made_report, noises = reconstructed_widths(
            model,
            variant,
            preprocessing,
            pictures,
            float_file=network.float32,
            plain=data,
            report=report,
            comparison=comparison,
            name=f"{self._run.name}: {variant.name}",
        )
        # Fewer scales may be equal, so that it is some bytes longer.
        if variant.max_bytes is None or len(made.packed()) + room <= variant.max_bytes:
            data, report = made, made_report
        elif noises:
            noises |= {"written": False}
        return data, {"layers": report.to_dict(), **self._reconstruction(variant, noises)}

    def _mixed_in_time(
        self, network: _Network, variant: Variant, pictures: np.ndarray
    ) -> tuple[OpenFile, dict[str, Any]]:
        """A file whose layers are int8 or float, and what was decided."""
        assert variant.max_ms is not None
        if not self.has_graph:
            raise InputError(
                "--budget of a time needs to know the network's graph, and of this one it is not "
                "known; give a size"
            )
        data, report = reconstructed_in_time(
            lower_for_int8(fold_batch_norms(network.model)),
            variant.max_ms,
            network.trained.preprocessing,
            pictures,
            shared_scale=network.trained.shared_scale,
            name=f"{self._run.name}: {variant.name}",
        )
        return data, {"layers": report.to_dict()}

    def _room(self, network: _Network) -> int:
        """Bytes of a file that stand behind its network: description, labels, post-processing."""
        float32 = parse_variant("float32")
        packed = network.float32.packed()
        finished = self._task.finished(TFLiteModel.open(packed), ".tflite", float32)
        return len(finished) - len(packed) + _SELFTEST

    def _images(self, trained: Trained, variant: Variant) -> np.ndarray:
        """The pictures that a file of this network is made with; none where it needs none."""
        return self._calibration.pictures(variant) if self._needs(trained, variant) else np.empty(0)

    def _needs(self, trained: Trained, variant: Variant) -> bool:
        needed = (
            variant.calibrated or variant.mixed_bits or variant.aware or self.reconstructs(trained)
        )
        return bool(variant.calibration_pictures and needed)

    def reconstructs(self, trained: Trained) -> bool:
        """Whether files of this network are reconstructed.

        What quantisation-aware training found is kept as it is.
        """
        return self._task.kind.reconstructed and trained.bounds is None and self.has_graph

    def _key(self, variant: Variant, end: str) -> str:
        return _file_key(
            network=self._stages.key(variant),
            variant=variant.to_dict(),
            data=self._run.info["dataset"]["fingerprint"],
            format=end,
            about=About.of(self._run).to_dict(),
            versions=versions(),
            calibration=self._calibration.key(variant),
        )

    def _inputs(self) -> StageInputs:
        return StageInputs(
            source=self.source,
            trainable=self._task.trainable,
            fine_tuning_data=lambda: self._fine_tuning_data,
            teacher=lambda name: self._task.teacher(self._teaching(name)),
            teacher_key=self._teacher_key,
            sample=self._sample,
            calibration=self._calibration.pictures,
            calibration_key=self._calibration.key,
            simulated=self._task.simulated_answers,
            written=self._task.written,
            on_validation=self._trial,
        )

    def _trial(self, trained: Trained, variant: Variant) -> float | None:
        """What validation images say of the file of a network; None where they say nothing."""
        task = self._task
        if task.validation is None:
            return None
        # One stage serves all forms.
        variant = dataclasses.replace(variant, raw_outputs=False, probabilities=False)
        network = _Network(trained, task)
        file, _report = self._convert(network, variant, ".tflite")
        path = self._run.artefacts / f"{atomic.TEMPORARY}trial.tflite"
        try:
            atomic.write_bytes(path, task.finished(file, ".tflite", variant, tested=False))
            function = task.function_of(task.load(path))
            value = task.on_validation(function, f"{variant.name} on validation images")
        finally:
            path.unlink(missing_ok=True)
        return None if math.isnan(value) else value

    def _teacher_key(self, name: str) -> str:
        return self.source if name == "self" else atomic.sha256(Run.open(name).model_path)

    def _teaching(self, name: str) -> Run:
        if name == "self":
            return self._run
        asked, dataset = self._task.asked, self._task.dataset
        refuse_leaks(asked, dataset.held_out, dataset.fingerprint, teacher=name, warn=say)
        return Run.open(name)

    @functools.cached_property
    def _fine_tuning_data(self) -> FineTuningData:
        return self._task.fine_tuning_data()

    def _sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """A seeded sample of the training pictures, and their labels."""
        if count not in self._samples:
            self._samples[count] = self._task.sample(count)
        return self._samples[count]

    def _describe(
        self,
        variant: Variant,
        path: pathlib.Path,
        nonzero: int,
        trained: Trained,
    ) -> dict[str, Any]:
        run, tflite = self._run, path.suffix == ".tflite"
        raw = variant.raw_input and tflite
        return {
            "file": path.name,
            "sha256": atomic.sha256(path),
            **artefact.sizes(path.read_bytes()),
            "model": run.called,
            "task": self._run.task,
            "variant": variant.to_dict(),
            "source": self.source,
            "key": self._key(variant, path.suffix),
            "parameters": trained.parameters,
            "nonzero_parameters": nonzero,
            "macs": trained.macs,
            "preprocessing": run.preprocessing.to_dict(),
            "input": {
                "name": INPUT_NAME,
                "shape": [1 if tflite else None, *run.preprocessing.input_shape],
                "type": "uint8" if raw else "float32",
                "values": "raw bytes" if raw else "(byte - mean) / std",
            },
            **self._task.description(variant, path.suffix),
            **_selftest(path),
            "labels": list(run.labels),
            **About.of(run).to_dict(),
            "calibration_pictures": len(self._images(trained, variant)),
            "versions": versions(),
        }

    def _evaluation(
        self,
        answers: Any,
        reference: Any,
        verdict: Verdict,
        runtime: Any,
        sparsity: float,
        path: pathlib.Path,
    ) -> dict[str, Any]:
        return {
            "metric": self._task.metric,
            "value": answers.value,
            "float_value": self._float.value,
            # Of the network that was written, before it was: after the variant's own steps.
            "keras_value": reference.value,
            **self._task.kept(answers, reference, self._float),
            "pictures": self._task.pictures(),
            **self._choice(runtime, path),
            "data_fingerprint": self._run.info["dataset"]["fingerprint"],
            **verdict.to_dict(),
            "partitions": runtime.partitions,
            "operations": list(runtime.operations),
            "sparsity": sparsity,
        }

    def _choice(self, runtime: Any, path: pathlib.Path) -> dict[str, Any]:
        """What files are chosen by, on the pictures that chose the run's epoch; if there are any.

        The held-out pictures only tell how good a choice was.
        """
        task, float_value = self._task, self._float_choice
        if task.validation is None or float_value is None:
            return {}
        title = f"{path.name} on validation images"
        value = task.on_validation(task.function_of(runtime), title)
        choice = {
            "split": "validation",
            "pictures": len(task.validation),
            "value": 0.0 if math.isnan(value) else value,
            "float_value": float_value,
        }
        return {"choice": choice}

    @functools.cached_property
    def _float_choice(self) -> float | None:
        """The run's own network on these pictures; None where they have nothing to find."""
        if self._task.validation is None:
            return None
        trained = self.network(parse_variant("float32")).trained
        function = self._task.keras_function(trained)
        value = self._task.on_validation(function, "Keras on validation images")
        return None if math.isnan(value) else value


def _file_key(*, calibration: str | None, **made_of: Any) -> str:
    """What a file is made of; a set of its own choice counts, where there is one."""
    chosen = {} if calibration is None else {"calibration": calibration}
    return content_key({**made_of, **chosen, "edition": _EDITION})


def _training(trained: Trained) -> dict[str, Any]:
    """What validation images said of a quantisation-aware training, for the .json."""
    if trained.validation is None:
        return {}
    before, after = trained.validation
    kept = "trained" if qat.is_better(trained.validation) else "begun"
    return {"quantisation_aware": {"begun": before, "trained": after, "kept": kept}}


def _selftest(path: pathlib.Path) -> dict[str, Any]:
    """What a file has as its self-test, for the .json beside it."""
    selftest = (inside(path) or {}).get(FIELD)
    return {} if selftest is None else {FIELD: selftest}


class _Network:
    """A network after its steps, in the forms that files are made from."""

    def __init__(self, trained: Trained, task: tasks.Task) -> None:
        self.trained, self._task = trained, task
        self._lowered: dict[bool, tuple[keras.Model, TFLiteModel, Preprocessing]] = {}

    @functools.cached_property
    def float32(self) -> TFLiteModel:
        """As a float TFLite file, which others are made from: it is left as it is."""
        return TFLiteModel.open(to_tflite(self.model))

    @functools.cached_property
    def model(self) -> keras.Model:
        """As files hold it."""
        return self._task.written(deployed(self.trained.model))

    def lowered(self, variant: Variant) -> tuple[keras.Model, TFLiteModel, Preprocessing]:
        """The network as integers have it: model, float file, and what pictures go through."""
        model, preprocessing = self.model, self.trained.preprocessing
        raw = variant.raw_input and not preprocessing.is_a_scale
        if self.trained.ranges is not None or not (raw or needs_lowering(model)):
            return model, self.float32, preprocessing
        if raw not in self._lowered and file_network.inside(model) is not None:
            kernel, bias = as_convolution(preprocessing)
            file = TFLiteModel.open(self.float32.packed())
            file.apply(normalise_first, kernel=kernel, bias=bias)
            self._lowered[raw] = model, file, of_raw_input(preprocessing)
        if raw not in self._lowered:
            model = lower_for_int8(model)
            if raw:
                model, preprocessing = with_raw_input(model, preprocessing)
            self._lowered[raw] = model, TFLiteModel.open(to_tflite(model)), preprocessing
        return self._lowered[raw]

    def bare(self, variant: Variant) -> tuple[keras.Model, Preprocessing]:
        """The network as it is reconstructed: norms folded, lowered where a file has integers."""
        model, preprocessing = fold_batch_norms(self.model), self.trained.preprocessing
        if not variant.calibrated:
            return with_bare_layers(model), preprocessing
        model = lower_for_int8(model)
        if variant.raw_input and not preprocessing.is_a_scale:
            model, preprocessing = with_raw_input(model, preprocessing)
        return model, preprocessing

    @functools.cached_property
    def answers(self) -> Any:
        """What the files should answer: Keras', or the simulated int8 network's."""
        return self._task.keras_answers(self.trained)

    def float_outputs(self) -> Outputs:
        """Of the float file for the image of the self-test, run once."""
        return self._float_outputs

    @functools.cached_property
    def _float_outputs(self) -> Outputs:
        taken = input_metadata(INPUT_NAME, self.trained.preprocessing, raw=False)
        file = self.float32
        outputs = [{"name": name} for name in file.outputs()]
        return selftest.answers(file.packed(), ".tflite", {"input": taken, "outputs": outputs})

    @functools.cached_property
    def half_answers(self) -> Any:
        """Of the float file with its kernels rounded to half precision."""
        # Kept beside the artefacts under a temporary name: the runtime wants a file.
        path = self._task.run.artefacts / f"{atomic.TEMPORARY}half.tflite"
        try:
            float32 = parse_variant("float32")
            rounded = TFLiteModel.open(self.float32.packed())
            rounded.apply(round_to_half)
            atomic.write_bytes(path, self._task.finished(rounded, ".tflite", float32, tested=False))
            return self._task.file_answers(path)[0]
        finally:
            path.unlink(missing_ok=True)
