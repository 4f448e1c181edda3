"""The compression variants: what a name means, as data; `compress` keeps it beside the file.

A name is the steps in order, joined by underscores: first what is trained, then how the file is
written. `prune75_cluster16_qat_int8` prunes three quarters of the weights, clusters the rest to 16
values a layer, trains on while feeling int8, and writes an int8 file.

    step         example          what it does                                   module
    distil       distil_qat_int8  a teacher in every training of the variant     stages
    slim<P>      slim50_int8      whole channels go until P% of the MACs remain  channel_prune
    prune<P>     prune75_int8     the P% smallest weights of each layer become 0 prune
    prune2of4    prune2of4_int8   two of four consecutive weights become 0       prune
    prune<P>x4   prune75x4_int8   the same in blocks of 1x4                      prune
    cluster<N>   cluster16_int8   a layer's weights take N values                cluster
    qat          qat_int8         trained while feeling the file's rounding      qat

`plain_` in front of a precision (`plain_int8`) leaves out the reconstruction of
`export.compress.reconstruct`: each weight is rounded to the nearest, and ranges are the whole ones.

A detector's file has its post-processing inside, a segmentation network's the choice of the
likeliest class; `_raw` behind the name leaves it out (`int8_raw`). A classifier's file ends in
logits; with `_probabilities` behind the name in probabilities (`int8_probabilities`).
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kerascnn.errors import InputError, did_you_mean

# What fine-tuning leaves as it is unless told otherwise: the first layer sees the picture itself
# (U-Net's is enc1_conv1), a depthwise kernel has 9 or 25 weights a channel, the logits have the
# fewest weights to spare.
FIRST_LAYERS, LAST_LAYER = ("stem", "enc1_conv1"), "logits"
SPARED = (*FIRST_LAYERS, "depthwise", LAST_LAYER)
CHANNEL_SCORES = ("taylor", "norm", "l1")
MOST_FLOAT = 8
"""Layers of an int8 file that may be asked to stay float: of more, it is no int8 file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a step trains; None takes a share of the run's own recipe (`export.compress.finetune`).

    Attributes:
        epochs: passes over the training pictures.
        learning_rate: the peak, before a cosine decay to zero.
        teacher: None, "self" (the run's own float network) or a run folder's absolute path.
        distil_weight: share of the loss that the teacher's answers have, 0 to 1.
        temperature: that both softmaxes are taken at for it.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    teacher: str | None = None
    distil_weight: float = 0.7
    temperature: float = 3.0

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"--fine-tune-epochs must be at least 1, not {self.epochs}")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise InputError(f"--learning-rate must be above 0, not {self.learning_rate}")
        if not 0 <= self.distil_weight <= 1:
            raise InputError(f"distil_weight must be between 0 and 1, not {self.distil_weight}")
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"temperature must be above 0, not {self.temperature}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelPrune:
    """Structured pruning: whole channels are removed.

    Attributes:
        macs: of the multiply-adds, how many percent stay.
        score: what tells a channel's worth: "taylor", "norm" (batch-norm scale) or "l1".
    """

    macs: int
    score: str = "taylor"

    def __post_init__(self) -> None:
        _check(1 <= self.macs <= 99, f"slim keeps between 1 and 99% of the MACs, not {self.macs}")
        _check(
            self.score in CHANNEL_SCORES,
            f"channels are scored by {', '.join(CHANNEL_SCORES)}, not {self.score!r}"
            f"{did_you_mean(str(self.score), CHANNEL_SCORES)}",
        )

    @property
    def name(self) -> str:
        """As in the variant's name."""
        return f"slim{self.macs}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prune:
    """Magnitude pruning: single weights become zero.

    Attributes:
        sparsity: percent of a pruned layer's weights.
        pattern: "free", "2of4" or "1x4".
        spared: layers whose name holds one of these words are left alone.
    """

    sparsity: int
    pattern: str = "free"
    spared: tuple[str, ...] = SPARED

    def __post_init__(self) -> None:
        _check(
            1 <= self.sparsity <= 99,
            f"sparsity is a whole number of percent between 1 and 99, not {self.sparsity}",
        )
        _check(self.pattern in ("free", "2of4", "1x4"), f"no pruning pattern {self.pattern!r}")

    @property
    def name(self) -> str:
        """As in the variant's name."""
        if self.pattern == "2of4":
            return "prune2of4"
        return f"prune{self.sparsity}" + ("x4" if self.pattern == "1x4" else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """Weight sharing.

    Attributes:
        clusters: values that a layer's weights may take; the zero of a pruned layer is one.
        spared: as of `Prune`.
    """

    clusters: int
    spared: tuple[str, ...] = SPARED

    def __post_init__(self) -> None:
        _check(3 <= self.clusters <= 256, f"a layer has 3 to 256 clusters, not {self.clusters}")

    @property
    def name(self) -> str:
        """As in the variant's name."""
        return f"cluster{self.clusters}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qat:
    """Quantisation-aware training.

    Attributes:
        precision: what rounding it feels: one of `AWARE`.
    """

    precision: str = "int8"

    @property
    def name(self) -> str:
        """As in the variant's name."""
        return "qat"


# Precisions that there is quantisation-aware training for.
AWARE = ("int8", "weight_int4")
Step = ChannelPrune | Prune | Cluster | Qat


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of writing a model.

    Attributes:
        name: as in file names and results.csv.
        weight_bits: of convolution and dense kernels.
        activations: "float32", "int8" or "int16" (both calibrated) or "dynamic" (int8, scaled at
            run time).
        depthwise_bits: of depthwise kernels, widened for float arithmetic; None treats them like
            the others. (The delegate has no dynamic depthwise convolution: it would cut the graph
            into 18 pieces; nor is there one of 4 bits.)
        first_and_last_bits: of the first and the last layer's kernels, likewise.
        mixed_bits: what a layer's kernel may have where a search gives each layer its own; widened
            for float arithmetic. Empty otherwise.
        max_change: for the search, the percentage of calibration pictures whose top-1 may change.
        max_bytes: for the search, what the file is to fit, in place of `max_change`.
        max_ms: likewise, how long it may take for an image where it is made, one thread: layers are
            int8 or float (`export.compress.reconstruct.mixed_time`).
        reconstructed: kernels are rounded and biases corrected by what they do to the network's
            activations on calibration pictures (`export.compress.reconstruct`), not weight by
            weight.
        keep_float: of int8, how many layers with kernels may stay float where that brings the file
            nearer to the network by much (`export.compress.reconstruct.keep_float`).
        tool: "litert-quantizer" or "converter" (tf.lite's own quantiser, a second opinion).
        calibration_pictures: that set the ranges of activations, or that the search looks at.
        calibration: where they are from; empty: from the run's training images.
        steps: what is trained before the file is written, in order.
        fine_tuning: how, where anything is.
        raw_outputs: a detector without its post-processing, a segmentation network's logits.
        probabilities: a classifier's in the place of logits.
        description: for people.
    """

    name: str
    weight_bits: int
    activations: str
    depthwise_bits: int | None = None
    first_and_last_bits: int | None = None
    mixed_bits: tuple[int, ...] = ()
    max_change: float = 0.0
    max_bytes: int | None = None
    max_ms: float | None = None
    reconstructed: bool = False
    keep_float: int = 0
    tool: str = "litert-quantizer"
    calibration_pictures: int = 0
    calibration: str = ""
    steps: tuple[Step, ...] = ()
    fine_tuning: FineTuning | None = None
    raw_outputs: bool = False
    probabilities: bool = False
    description: str

    @property
    def quantised(self) -> bool:
        """Whether integers stand for floats anywhere in the file."""
        return self.weight_bits <= 8

    @property
    def calibrated(self) -> bool:
        """Whether the ranges of activations are fixed beforehand, by pictures or by training."""
        return self.activations in ("int8", "int16")

    @property
    def aware(self) -> bool:
        """Whether quantisation-aware training found its integers."""
        return bool(self.steps) and isinstance(self.steps[-1], Qat)

    @property
    def raw_input(self) -> bool:
        """Whether the file takes raw uint8 bytes."""
        return self.activations == "int8"

    @property
    def precision(self) -> str:
        """The name without the steps: how the file is written."""
        name = _without_end(self.name)
        return name.rpartition("qat_")[2] if self.aware else _split(name)[1]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that lies beside the artefact, equal after a round trip.

        A teacher has the name of its run: where that lies is nobody's business. Nor is where
        calibration images lie.
        """
        plain = dataclasses.asdict(self)
        if self.fine_tuning and self.fine_tuning.teacher:
            plain["fine_tuning"]["teacher"] = pathlib.Path(self.fine_tuning.teacher).name
        if self.calibration:
            plain["calibration"] = pathlib.Path(self.calibration).name
        else:
            del plain["calibration"]
        if not self.probabilities:
            del plain["probabilities"]  # that recipes of before are still the same
        if not self.keep_float:
            del plain["keep_float"]
        for limit in ("max_bytes", "max_ms"):
            if plain[limit] is None:
                del plain[limit]
        plain["steps"] = [{"step": step.name, **dataclasses.asdict(step)} for step in self.steps]
        return _listed(plain)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user may say beside a variant's name; each goes into the variants that it shapes.

    Attributes:
        calibration_pictures: a sample of the training pictures, class-balanced where these have one
            class each; `mixed` looks at three times as many.
        calibration: images to take in their place, see `export.tasks.calibration_set.read`.
        max_change: of `mixed`, see `Variant`.
        max_bytes, max_ms: of `mixed`, one of them, see `Variant`.
        keep_float: of `int8`, see `Variant`.
        spared: of pruning and clustering.
        slim_score: of structured pruning.
        fine_tuning: of every step that trains.
    """

    calibration_pictures: int = 200
    calibration: str = ""
    max_change: float = 0.5
    max_bytes: int | None = None
    max_ms: float | None = None
    keep_float: int = 2
    spared: tuple[str, ...] = SPARED
    slim_score: str = "taylor"
    fine_tuning: FineTuning = FineTuning()

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Settings:
        """What a file was made with, by the `Variant.to_dict` beside it; names stand for places."""
        found: dict[str, Any] = {
            "calibration": plain.get("calibration", ""),
            "keep_float": plain.get("keep_float", 0),
        }
        if plain.get("mixed_bits"):
            found["max_change"] = plain["max_change"]
            found |= {limit: plain.get(limit) for limit in ("max_bytes", "max_ms")}
        if count := plain.get("calibration_pictures"):
            found["calibration_pictures"] = count // (_SEARCHED if plain.get("mixed_bits") else 1)
        for step in plain.get("steps", ()):
            if "spared" in step:
                found["spared"] = tuple(step["spared"])
            if "score" in step:
                found["slim_score"] = step["score"]
        if plain.get("fine_tuning") is not None:
            found["fine_tuning"] = FineTuning(**plain["fine_tuning"])
        return cls(**found)

    def __post_init__(self) -> None:
        _check(
            self.calibration_pictures >= 1,
            f"calibration takes at least 1 image, not {self.calibration_pictures}",
        )
        _check(0 <= self.max_change < 100, f"max_change is in percent, not {self.max_change}")
        for limit in (self.max_bytes, self.max_ms):
            fine = limit is None or 0 < limit < float("inf")
            _check(fine, f"--budget must be above 0, not {limit}")
        _check(
            self.max_bytes is None or self.max_ms is None,
            "--budget is a size or a time, not both",
        )
        _check(
            0 <= self.keep_float <= MOST_FLOAT,
            f"--keep-float must be between 0 and {MOST_FLOAT}, not {self.keep_float}",
        )


def _check(fine: bool, complaint: str) -> None:
    if not fine:
        raise InputError(complaint)


_PRECISIONS = (
    Variant(
        name="float32",
        weight_bits=32,
        activations="float32",
        description="as trained, batch norm folded",
    ),
    Variant(
        name="float16",
        weight_bits=16,
        activations="float32",
        description="weights in half precision, arithmetic in single",
    ),
    Variant(
        name="dynamic_int8",
        weight_bits=8,
        activations="dynamic",
        depthwise_bits=8,
        reconstructed=True,
        description="int8 weights, activations quantised while running",
    ),
    Variant(
        name="weight_int8",
        weight_bits=8,
        activations="float32",
        reconstructed=True,
        description="int8 weights, widened for float arithmetic",
    ),
    Variant(
        name="weight_int4",
        weight_bits=4,
        activations="float32",
        depthwise_bits=8,
        first_and_last_bits=8,
        reconstructed=True,
        description="int4 weights (first, last and depthwise layers int8), float arithmetic",
    ),
    Variant(
        name="mixed",
        weight_bits=8,
        activations="float32",
        mixed_bits=(4, 8, 16),
        reconstructed=True,
        description="each layer's weights in the fewest bits that keep the answers, "
        "float arithmetic",
    ),
    Variant(
        name="int8",
        weight_bits=8,
        activations="int8",
        reconstructed=True,
        description="int8 throughout, takes raw uint8 pixels",
    ),
    Variant(
        name="int16x8",
        weight_bits=8,
        activations="int16",
        reconstructed=True,
        description="int8 weights, int16 activations; slow outside of special hardware",
    ),
    *(
        Variant(
            name=f"{name}_converter",
            weight_bits=bits,
            activations=activations,
            tool="converter",
            description=f"{name} as tf.lite's own converter makes it, a second opinion",
        )
        for name, bits, activations in (
            ("float16", 16, "float32"),
            ("dynamic_int8", 8, "dynamic"),
            ("int8", 8, "int8"),
            ("int16x8", 8, "int16"),
        )
    ),
)
PRECISIONS = {variant.name: variant for variant in _PRECISIONS}
RECONSTRUCTED = tuple(name for name, variant in PRECISIONS.items() if variant.reconstructed)
# As they were before there was reconstruction, to compare with.
_PLAIN = {
    f"plain_{name}": dataclasses.replace(
        one,
        name=f"plain_{name}",
        reconstructed=False,
        description=f"{one.description}; each weight rounded to the nearest",
    )
    for name, one in PRECISIONS.items()
    if name in RECONSTRUCTED
}
_WRITTEN = PRECISIONS | _PLAIN

# What `kerascnn demo` and `kerascnn compress` make when nothing else is asked.
DEFAULT = ("float32", "float16", "dynamic_int8", "int8", "weight_int4")

_SEARCHED = 3
_RAW, _PROBABILITIES = "_raw", "_probabilities"
OUTPUTS = ("logits", "probabilities")
_EXAMPLES = ("slim50_int8", "prune75_int8", "cluster16_int8", "qat_int8")
_STEP = re.compile(
    r"(?P<distil>distil)|slim(?P<slim>[-\d.]+)|(?P<two_of_four>prune2of4)"
    r"|prune(?P<prune>[-\d.]+)(?P<block>x4)?|cluster(?P<cluster>[-\d.]+)|(?P<qat>qat)"
)
_ORDER = (ChannelPrune, Prune, Cluster, Qat)


def parse_variant(name: str, settings: Settings | None = None) -> Variant:
    """The variant that `name` spells.

    Raises:
        InputError: a word that is no step, an impossible number, or steps in another order than
            they are taken; the message says which.
    """
    settings = settings or Settings()
    words, precision = _split(_without_end(name))
    if precision not in _WRITTEN:
        raise InputError(_unknown(name))
    steps: list[Step] = []
    distil = False
    for position, word in enumerate(words):
        match = _STEP.fullmatch(word)
        if match is None:
            raise InputError(_unknown(name))
        if match["distil"]:
            _check(position == 0, f"{name}: distil must come first: all other steps use it")
            distil = True
        else:
            steps.append(_step(name, match, precision, settings))
    _check_order(name, steps, precision)
    _check(
        not distil or bool(steps),
        f"{name}: distil needs a step that trains, as in distil_slim50_int8",
    )
    return _filled(_WRITTEN[precision], name, tuple(steps), distil, settings)


def with_outputs(names: Sequence[str], outputs: str) -> list[str]:
    """Names of the same variants that end in `outputs`; raises InputError for other words."""
    if outputs not in OUTPUTS:
        raise InputError(
            f"outputs must be one of {', '.join(OUTPUTS)}, not {outputs!r}"
            f"{did_you_mean(outputs, OUTPUTS)}"
        )
    if outputs == "logits":
        return list(names)
    if raw := [name for name in names if name.endswith(_RAW)]:
        raise InputError(
            f"{raw[0]}: raw outputs are not turned into probabilities; only classifiers' files end "
            "in probabilities"
        )
    bare = [name.removesuffix(_PROBABILITIES) for name in names]
    return [f"{name}{_PROBABILITIES}" for name in bare]


def _without_end(name: str) -> str:
    """What is before a word on outputs."""
    return name.removesuffix(_RAW).removesuffix(_PROBABILITIES)


def _split(name: str) -> tuple[list[str], str]:
    """Words of the steps, and the precision."""
    for precision in sorted(_WRITTEN, key=len, reverse=True):
        if name == precision:
            return [], precision
        if name.endswith(f"_{precision}"):
            words = name[: -len(precision) - 1].split("_")
            # `qat_dynamic_int8` ends in `int8` too; the longest name is tried first.
            return words, precision
    return name.split("_"), ""


def _step(name: str, match: re.Match[str], precision: str, settings: Settings) -> Step:
    if match["slim"]:
        return ChannelPrune(macs=_whole(name, match["slim"], "slim"), score=settings.slim_score)
    if match["two_of_four"]:
        return Prune(sparsity=50, pattern="2of4", spared=settings.spared)
    if match["prune"]:
        return Prune(
            sparsity=_whole(name, match["prune"], "prune"),
            pattern="1x4" if match["block"] else "free",
            spared=settings.spared,
        )
    if match["cluster"]:
        number = _whole(name, match["cluster"], "cluster")
        return Cluster(clusters=number, spared=settings.spared)
    return Qat(precision=precision)


def _whole(name: str, text: str, word: str) -> int:
    _check(text.isdecimal(), f"{name}: {word} takes a whole number, as in {word}50, not {text}")
    return int(text)


def _check_order(name: str, steps: Sequence[Step], precision: str) -> None:
    places = [_ORDER.index(type(step)) for step in steps]
    if places != sorted(set(places)):
        raise InputError(f"{name}: each step comes once, in the order slim, prune, cluster, qat")
    if steps and isinstance(steps[-1], Qat) and precision not in AWARE:
        raise InputError(
            f"{name}: qat is for {' and '.join(AWARE)}; did you mean "
            f"{_without_end(name)[: -len(precision)]}int8?"
        )


def _filled(
    precision: Variant, name: str, steps: tuple[Step, ...], distil: bool, settings: Settings
) -> Variant:
    """The variant with the settings that shape it, and no others: they are part of its identity."""
    changes: dict[str, Any] = {"name": name, "steps": steps}
    aware = bool(steps) and isinstance(steps[-1], Qat)
    if aware:
        changes["reconstructed"] = False  # its training was for the kernels that it found
    elif precision.reconstructed and precision.activations == "int8":
        changes["keep_float"] = settings.keep_float
    calibrated = precision.activations in ("int8", "int16")
    if calibrated or precision.mixed_bits or precision.reconstructed or aware:
        changes["calibration_pictures"] = settings.calibration_pictures
        changes["calibration"] = settings.calibration
    if precision.mixed_bits:
        changes["max_change"] = settings.max_change
        changes["max_bytes"], changes["max_ms"] = settings.max_bytes, settings.max_ms
        # A share of answers wants more of them than a range does.
        changes["calibration_pictures"] = _SEARCHED * settings.calibration_pictures
    if name.endswith(_RAW):
        changes["raw_outputs"] = True
        changes["description"] = f"{precision.description}; without post-processing"
    if name.endswith(_PROBABILITIES):
        changes["probabilities"] = True
        changes["description"] = f"{precision.description}; its outputs are probabilities"
    if steps:
        tuning = settings.fine_tuning
        teacher = (tuning.teacher or "self") if distil else None
        changes["fine_tuning"] = dataclasses.replace(tuning, teacher=teacher)
        description = changes.get("description", precision.description)
        changes["description"] = f"{', '.join(map(_description, steps))}; {description}"
    return dataclasses.replace(precision, **changes)


def _description(step: Step) -> str:
    match step:
        case ChannelPrune():
            return f"channels removed to {step.macs}% of the MACs by {step.score}"
        case Prune():
            pattern = {"free": "", "2of4": " as 2 of 4", "1x4": " in blocks of 1x4"}[step.pattern]
            return f"{step.sparsity}% of weights pruned{pattern}"
        case Cluster():
            return f"{step.clusters} values a layer"
        case Qat():
            return f"trained for {step.precision}"


def _unknown(name: str) -> str:
    known = [*_WRITTEN, *_EXAMPLES]
    hint = did_you_mean(name, known) or ";"
    return (
        f"unknown variant {name!r}{hint} there are: {', '.join(PRECISIONS)}, and with training "
        f"before: {', '.join(_EXAMPLES)} and such, see kerascnn compress --help"
    )


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON gives them back."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value
