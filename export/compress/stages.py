"""The training steps of a variant, one after another, each kept: runs/<run>/stages/<steps>/.

A stage is named by the steps up to it, so that `prune75_int8` and `prune75_cluster16_int8` share
their pruning. Its key says what it was made of: the run's network, all steps and how they trained,
data, teacher and versions. Another key, and the stage is made again; the same, and it is read.

    stages/<steps>/model.keras     the network after the steps
    stages/<steps>/ranges.json     after quantisation-aware training: see `qat.QATResult`
    stages/<steps>/answers.npz     likewise, of a classifier: what it answers on held-out pictures
    stages/<steps>/stage.json      key, seconds, hashes; written last
    stages/<steps>/checkpoints-*/  what an interrupted training goes on from
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from export.artefacts.variants import ChannelPrune, Cluster, FineTuning, Prune, Qat, Step, Variant
from export.compress import qat
from export.compress.channel_prune import prune_channels
from export.compress.cluster import cluster
from export.compress.finetune import share_of
from export.compress.prune import prune
from export.graph.insert_norms import with_norms
from export.graph.join_branches import deployed
from export.tasks.fine_tuning import FineTuningData
from export.tasks.trained import Trained
from kerascnn.complexity import count_macs, count_parameters
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common import atomic
from training.common.arrays import read_npz
from training.datasets.splits import digest
from training.engine.config import TrainConfig
from training.engine.epoch_schedule import for_images
from training.engine.evaluation import at_once
from training.engine.run import Run, load_keras, versions
from training.engine.teacher import TeacherNetwork

# Shares of the run's epochs and of its learning rate.
_SHARES: dict[type, tuple[float, float]] = {
    ChannelPrune: (0.6, 0.5),
    Prune: (0.5, 0.5),
    Cluster: (0.15, 0.05),
    Qat: (0.15, 0.01),
}
# Of `weight_int4`: its steps are sixteen times as wide, and weights have to get over them.
_SHARE_OF_FEW_BITS = (0.15, 0.1)
_DIVISORS = (8, 4, 2, 1)  # of widths, the best for a phone's arithmetic first
# What reading a stage that was not written by us raises.
_UNREADABLE = (InputError, LookupError, TypeError, ValueError, OSError)
_SCORED_PICTURES = 512  # that channels are scored on
_SCORED_AT_ONCE = 64
_FITTED_PICTURES = 128  # that what is left of a network is fitted on
# Of the multiply-adds, about what a round of channel pruning leaves: a network that was trained in
# between knows better which channels to spare.
_ROUND = 0.5
# Raised when the same steps learn from other pictures, or by another loss.
_EDITION = 2
_EDITIONS: dict[type, int] = {
    ChannelPrune: 3,  # where norms keep statistics fitted to the whole network, in rounds
    Qat: 4,  # from the reconstructed network on, with learnt steps
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StageInputs:
    """What the steps of a run are made with; the functions are called when first needed.

    Attributes:
        source: sha256 of the run's model.keras.
        trainable: the network as steps train it.
        fine_tuning_data: for a teacher or None.
        teacher: opens it by the `teacher` of a `FineTuning`.
        teacher_key: its sha256, without opening it.
        sample: so many pictures of the training split, uint8, and their labels.
        calibration: the pictures that files of a variant are calibrated on.
        calibration_key: of the set that they are from; None: of training pictures.
        simulated: what the simulated int8 network, a function, answers on the held-out pictures.
        written: the network that a file holds.
        on_validation: what validation images say of a network's file; None where they say nothing.
    """

    source: str
    trainable: Callable[[keras.Model], keras.Model]
    fine_tuning_data: Callable[[], FineTuningData]
    teacher: Callable[[str], TeacherNetwork]
    teacher_key: Callable[[str], str]
    sample: Callable[[int], tuple[np.ndarray, np.ndarray]]
    calibration: Callable[[Variant], np.ndarray]
    calibration_key: Callable[[Variant], str | None]
    simulated: Callable[[Callable[[np.ndarray], np.ndarray]], Any]
    written: Callable[[keras.Model], keras.Model]
    on_validation: Callable[[Trained, Variant], float | None]


class CompressionStages:
    """The stages of one run."""

    def __init__(self, run: Run, inputs: StageInputs) -> None:
        self._run, self._inputs = run, inputs
        # Its learning rate is that of the batches that the run had.
        config = TrainConfig.from_dict(run.info["request"]["config"])
        pictures = run.info["dataset"].get("train", config.batch_size)
        self._config = for_images(config, pictures)
        self._open: dict[str, Trained] = {}

    def key(self, variant: Variant) -> str:
        """What the network of a variant is made of, without making it."""
        return self._keys(variant)[-1]

    def trained(self, variant: Variant) -> Trained:
        """The network of a variant; made stage by stage where it is not there yet.

        Raises:
            InputError: see the steps' own modules.
        """
        keys = self._keys(variant)
        current = self._first(keys[0])
        for count, key in enumerate(keys[1:], 1):
            if key not in self._open:
                self._open[key] = self._stage(variant, count, key, current)
            current = self._open[key]
        return current

    def there(self, variant: Variant) -> Trained | None:
        """The network of a variant as its stages lie there, whatever they were made with.

        None where one is missing or damaged: nothing is made.
        """
        current = self._first(self._inputs.source)
        for count, step in enumerate(variant.steps, 1):
            folder = self._folder(variant, count)
            key = _read_info(folder).get("key")
            if not isinstance(key, str) or not _whole(folder):
                return None
            try:
                current = _read(folder, key, current, step)
            except _UNREADABLE:
                return None
        return current

    def _keys(self, variant: Variant) -> list[str]:
        keys = [self._inputs.source]
        data = self._run.info["dataset"]["fingerprint"]
        for step in variant.steps:
            tuning = variant.fine_tuning
            assert tuning is not None
            made_of: dict[str, Any] = {
                "before": keys[-1],
                "step": {"name": step.name, **dataclasses.asdict(step)},
                "config": dataclasses.asdict(self._config_of(step, tuning)),
                "teacher": self._inputs.teacher_key(tuning.teacher) if tuning.teacher else None,
                "data": data,
                "edition": _EDITIONS.get(type(step), _EDITION),
                "calibration": variant.calibration_pictures if isinstance(step, Qat) else None,
                "versions": versions(),
            }
            chosen = self._inputs.calibration_key(variant) if isinstance(step, Qat) else None
            if chosen is not None:
                made_of["calibration_set"] = chosen
            keys.append(content_key(made_of))
        return keys

    def _config_of(self, step: Step, tuning: FineTuning) -> TrainConfig:
        epochs, rate = _share(step)
        return share_of(self._config, epochs=epochs, learning_rate=rate, tuning=tuning)

    def _first(self, key: str) -> Trained:
        if key not in self._open:
            model, info = self._run.load_model(), self._run.info
            smaller = deployed(model)
            same = smaller is model
            self._open[key] = Trained(
                key=key,
                model=model,
                preprocessing=self._run.preprocessing,
                parameters=info["parameters"] if same else count_parameters(smaller),
                macs=info["macs"] if same else count_macs(smaller),
                seconds=0.0,
            )
        return self._open[key]

    def _folder(self, variant: Variant, count: int) -> pathlib.Path:
        """Of the stage after so many steps."""
        taught = variant.fine_tuning is not None and variant.fine_tuning.teacher
        names = (["distil"] if taught else []) + [_title(step) for step in variant.steps[:count]]
        return self._run.folder / "stages" / "_".join(names)

    def _stage(self, variant: Variant, count: int, key: str, before: Trained) -> Trained:
        folder = self._folder(variant, count)
        if _read_info(folder).get("key") == key and _whole(folder):
            # One that is whole and cannot be read was not written by us, and is made again.
            with contextlib.suppress(*_UNREADABLE):
                return _read(folder, key, before, variant.steps[count - 1])
        (folder / "stage.json").unlink(missing_ok=True)
        began = time.monotonic()
        self._make(variant, variant.steps[count - 1], before, folder, key)
        seconds = round(before.seconds + time.monotonic() - began, 1)
        _write_info(folder, key, seconds)
        for left in folder.glob("checkpoints-*"):
            shutil.rmtree(left, ignore_errors=True)
        return _read(folder, key, before, variant.steps[count - 1])

    def _make(
        self,
        variant: Variant,
        step: Step,
        before: Trained,
        folder: pathlib.Path,
        key: str,
    ) -> None:
        tuning = variant.fine_tuning
        assert tuning is not None
        config = self._config_of(step, tuning)
        fine_tuning_data = self._inputs.fine_tuning_data()
        model = self._joined(before.model, step, fine_tuning_data.preprocessing)
        if not isinstance(step, ChannelPrune):  # which leaves a kernel of several calls one
            model = self._inputs.trainable(model)
        before = dataclasses.replace(before, model=model)
        if tuning.teacher:
            fine_tuning_data = dataclasses.replace(
                fine_tuning_data, teacher=self._inputs.teacher(tuning.teacher)
            )
        checkpoints = folder / f"checkpoints-{key[:12]}"
        match step:
            case ChannelPrune():
                model = self._fewer_channels(
                    before.model, step, fine_tuning_data, config, checkpoints
                )
            case Prune():
                model = prune(before.model, step, fine_tuning_data, config, checkpoints)
            case Cluster():
                model = cluster(before.model, step, fine_tuning_data, config, checkpoints)
            case _:
                aware = qat.train_aware(
                    before.model,
                    fine_tuning_data,
                    config,
                    checkpoints,
                    variant=variant,
                    calibration=self._inputs.calibration(variant),
                    judge=self._inputs.simulated,
                    figure=functools.partial(self._on_validation, before, variant),
                    clustered=before.shared_scale,
                    written=self._inputs.written,
                )
                _write_aware(folder, aware)
                model = aware.model
        _save(folder, model)

    def _on_validation(
        self, before: Trained, variant: Variant, found: qat.QATResult
    ) -> float | None:
        after = dataclasses.replace(
            before,
            model=found.model,
            preprocessing=found.preprocessing,
            bounds=found.bounds,
            ranges=found.ranges,
        )
        return self._inputs.on_validation(after, variant)

    def _joined(self, model: keras.Model, step: Step, preprocessing: Preprocessing) -> keras.Model:
        """The network as files hold it; with norms where a step trains with some.

        What a step does to a kernel must be done to the one in the file, not to its branches.
        """
        joined = deployed(model)
        if joined is model or not isinstance(step, ChannelPrune | Prune):
            return joined
        pictures, _ = self._inputs.sample(_SCORED_PICTURES)
        count = at_once(joined, _SCORED_AT_ONCE, copies=2)
        chunks = (pictures[i : i + count] for i in range(0, len(pictures), count))
        return with_norms(joined, model, map(preprocessing.normalise, chunks))

    def _fewer_channels(
        self,
        model: keras.Model,
        step: ChannelPrune,
        fine_tuning_data: FineTuningData,
        config: TrainConfig,
        checkpoints: pathlib.Path,
    ) -> keras.Model:
        """Fit what is left to the whole network, and in rounds, where norms keep statistics.

        Behind the statistics of a network that is no more a training does not recover. Norms that
        follow their batches soon have their own, and weights that were copied learn more than
        fitted ones (benchmarks/detection.md).
        """
        share, whole, stored = step.macs / 100, count_macs(model), config.norms != "batches"
        rounds, images = 1, None
        if stored:
            rounds = max(1, round(math.log(share) / math.log(_ROUND)))
            pictures, _ = self._inputs.sample(_FITTED_PICTURES)
            images = fine_tuning_data.preprocessing.normalise(pictures)
        config = dataclasses.replace(config, epochs=math.ceil(config.epochs / rounds))
        for number in range(1, rounds + 1):
            place = checkpoints.with_name(f"{checkpoints.name}-{number}")
            done = _round_of(place) if number < rounds else None
            if done is None:
                macs = share ** (number / rounds) * whole / count_macs(model)
                done = self._narrower(model, macs, step.score, fine_tuning_data, config, images)
                fine_tuning_data.train_on(done, config, place)
                if number < rounds:
                    _save(place, done)
                    done = _round_of(place) or done  # as one that goes on finds it
            model = done
        return model

    def _narrower(
        self,
        model: keras.Model,
        macs: float,
        score: str,
        fine_tuning_data: FineTuningData,
        config: TrainConfig,
        images: np.ndarray | None,
    ) -> keras.Model:
        # Beside each activation its slope is held, and their product.
        count = at_once(model, _SCORED_AT_ONCE, copies=3)
        scored = fine_tuning_data.scored(config, self._inputs.sample, _SCORED_PICTURES, count)
        return _least_pruned(
            model,
            macs=macs,
            score=score,
            batches=scored,
            loss=fine_tuning_data.score_loss(config),
            images=images,
        )


def _share(step: Step) -> tuple[float, float]:
    if isinstance(step, Qat) and step.precision != "int8":
        return _SHARE_OF_FEW_BITS
    return _SHARES[type(step)]


def _title(step: Step) -> str:
    """Of a step's folder: that of int8 has the name that it had when there was no other."""
    if isinstance(step, Qat) and step.precision != "int8":
        return f"{step.name}_{step.precision}"
    return step.name


def content_key(made_of: Mapping[str, Any]) -> str:
    """A short name of everything that something was made of."""
    return digest([json.dumps(made_of, sort_keys=True).encode()])


def _least_pruned(model: keras.Model, **given: Any) -> keras.Model:
    """Prune in steps of 8 channels, or of fewer where a network is too narrow for that."""
    for divisor in _DIVISORS:
        try:
            return prune_channels(model, divisor=divisor, **given)
        except InputError as error:
            failure = error
    raise failure


def _round_of(folder: pathlib.Path) -> keras.Model | None:
    """The network that a round before the last left; None where it has not ended."""
    with contextlib.suppress(*_UNREADABLE):
        return load_keras(folder / "model.keras")
    return None


def _save(folder: pathlib.Path, model: keras.Model) -> None:
    with atomic.replacing(folder / "model.keras") as temporary:
        model.save(temporary)


def _write_aware(folder: pathlib.Path, aware: qat.QATResult) -> None:
    plain = {
        "ranges": aware.ranges,
        "bounds": {name: bound.tolist() for name, bound in aware.bounds.items()},
        "preprocessing": aware.preprocessing.to_dict(),
        "validation": aware.validation,
    }
    atomic.write_text(folder / "ranges.json", json.dumps(plain, indent=1))
    for earlier in folder.glob("answers.np[yz]"):
        earlier.unlink()
    if aware.answers is not None:
        with (
            atomic.replacing(folder / "answers.npz") as temporary,
            temporary.open("wb") as stream,  # NumPy would put its ending behind a name
        ):
            np.savez(stream, **aware.answers.arrays())


def _write_info(folder: pathlib.Path, key: str, seconds: float) -> None:
    files = {
        path.name: atomic.sha256(path)
        for path in sorted(folder.iterdir())
        if path.suffix in (".keras", ".npz") or path.name == "ranges.json"
    }
    info = {"key": key, "seconds": seconds, "files": files}
    atomic.write_text(folder / "stage.json", json.dumps(info, indent=1))


def _read_info(folder: pathlib.Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / "stage.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return info if isinstance(info, dict) else {}


def _whole(folder: pathlib.Path) -> bool:
    try:
        files = _read_info(folder)["files"].items()
        return all(atomic.sha256(folder / name) == expected for name, expected in files)
    except (OSError, KeyError, AttributeError, ValueError):
        return False


def _answers(folder: pathlib.Path) -> dict[str, np.ndarray] | None:
    if (folder / "answers.npz").is_file():
        return read_npz(folder / "answers.npz")
    if (folder / "answers.npy").is_file():  # of an earlier version
        return {"logits": np.load(folder / "answers.npy", mmap_mode="r", allow_pickle=False)}
    return None


def _read(folder: pathlib.Path, key: str, before: Trained, step: Step) -> Trained:
    model = load_keras(folder / "model.keras")
    read = functools.partial(Trained, key=key, model=model, seconds=_read_info(folder)["seconds"])
    if isinstance(step, Qat):
        plain = json.loads((folder / "ranges.json").read_text("utf-8"))
        return read(
            preprocessing=Preprocessing.from_dict(plain["preprocessing"]),
            parameters=before.parameters,
            macs=before.macs,
            bounds={name: np.array(one, np.float32) for name, one in plain["bounds"].items()},
            ranges=plain["ranges"]
            and {name: (low, high) for name, (low, high) in plain["ranges"].items()},
            validation=plain["validation"] and tuple(plain["validation"]),
            answers=_answers(folder),
            shared_scale=before.shared_scale,
        )
    fewer_channels = isinstance(step, ChannelPrune)
    clustered = isinstance(step, Cluster)
    return read(
        preprocessing=before.preprocessing,
        parameters=count_parameters(model) if fewer_channels else before.parameters,
        macs=count_macs(model) if fewer_channels else before.macs,
        shared_scale=qat.clustered_layers(model) if clustered else before.shared_scale,
    )
