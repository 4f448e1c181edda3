"""How a model is trained, as one frozen value that run.json keeps.

A common part, and settings that only some tasks have a part for: by
`training.engine.task.Task.settings` each task says which of those are its own. For users, and in
run.json, all names are equal.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from kerascnn.errors import InputError, did_you_mean
from training.augment.box_policies import BOX_POLICIES
from training.augment.policies import POLICIES

OPTIMIZERS = ("adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine", "exponential", "plateau", "steps")
DECAYS = ("decoupled", "l2")
CLASS_WEIGHTS = ("none", "balanced")
MONITORS = ("auto", "accuracy", "balanced_accuracy", "loss")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
DETERMINISTIC = ("auto", "yes", "no")
PROBES = ("no", "yes")
NORMS = ("batches", "stored", "backbone")
# What runs did that know no such setting.
BEFORE = {"watch_images": 0, "precision": "float32", "deterministic": "yes"}
MAP_LOSSES = ("cross_entropy", "dice", "focal", "cross_entropy_dice")
AUGMENTATIONS = tuple({**POLICIES, **BOX_POLICIES})

_Value = TypeVar("_Value")
_ANY = float("inf")


def yes_or_no(asked: bool | None) -> str | None:
    """The word of a setting such as `deterministic`; None where nothing was asked."""
    return None if asked is None else ("yes" if asked else "no")


def _setting(
    default: _Value,
    *,
    choices: Sequence[str] = (),
    least: float = -_ANY,
    most: float = _ANY,
    above: float = -_ANY,
    off: object = None,
    own: bool = False,
) -> _Value:
    """A field, with the values that it may have.

    Args:
        choices: words.
        least, most: numbers, these included.
        above: numbers, this excluded, and no infinite one.
        off: the value that leaves its part out of a training, where that is not the default.
        own: not of every task: those name it that have a part for it.
    """
    limits = {"choices": tuple(choices), "least": least, "most": most, "above": above}
    limits |= {"off": off, "own": own}
    found: _Value = dataclasses.field(default=default, metadata=limits)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that shapes the weights, beside the model, the data and their versions.

    Attributes:
        epochs: passes over the training images, at most.
        batch_size: images a step; the last images of an epoch that fill no batch are left
            out of it.
        min_steps: batches in an epoch, at least: where images are few, batches are smaller (of 4
            or more), so that a short training has updates enough; 0: as `batch_size` gives.
        min_updates: updates after the frozen epochs, at least: where images are few, there are
            more epochs than `epochs`; 0: as `epochs` gives. See
            `training.engine.epoch_schedule.for_images`.
        accumulate: steps whose mean gradient is one update.
        optimizer: "adamw"; "rmsprop" (TensorFlow's, epsilon within the root); "sgd".
        learning_rate: the peak, after a linear warm-up.
        reference_batch: `learning_rate` is meant for so many images an update, and is scaled
            linearly to the present ones (arXiv:1706.02677); 0: it is taken as it is.
        momentum: of sgd and rmsprop.
        nesterov: of sgd.
        rho: of rmsprop, how much of the mean square is kept.
        epsilon: of adamw and rmsprop.
        schedule: how the rate falls after warm-up: "cosine" (to zero), "steps" (`milestones`),
            "exponential" (times `decay_rate` every `decay_epochs`), "plateau" (times `decay_rate`
            after `decay_epochs` epochs without a better validation), "constant".
        milestones: (epoch, factor) pairs in order: from that epoch on the rate is factor x peak.
        decay_rate: of "exponential" and "plateau".
        decay_epochs: likewise; may be a fraction in "exponential".
        decays: of "plateau", after which the training ends at the next plateau; 0: never.
        weight_decay: not applied to biases and normalisation.
        decay: "decoupled" (arXiv:1711.05101) or "l2" (a part of the gradient).
        warmup_epochs: length of the warm-up, may be a fraction.
        clip_norm: longest gradient, over all variables; 0: any.
        ema: highest momentum of the moving average of weights that is evaluated and kept; 0: none.
            At the update behind n others it is min(ema, (1 + n) / (10 + n)), so that the average
            of a short run looks back over a ninth of it and has forgotten the initial weights.
        label_smoothing: of the cross-entropy.
        map_loss: of masks, see `training.segmentation.losses`: "cross_entropy", "dice",
            "focal", "cross_entropy_dice".
        border_weight: of masks, how much more the pixels between two objects that nearly
            touch weigh in the loss (w0 of arXiv:1505.04597, equation 2, where it is 10); 0: no
            more than others.
        augmentation: a name in `training.augment.policies.POLICIES`, or for what finds objects or
            masks in `training.augment.box_policies.BOX_POLICIES`.
        mixup: alpha of the beta distribution of shares (arXiv:1710.09412); 0: none.
        cutmix: alpha (arXiv:1905.04899); with both, each pair of images takes either; 0: none.
        class_weights: "balanced" weights the loss by the inverse of a class's frequency, in
            images or, of masks, in pixels.
        pictures_per_class: at most so many training images a class, chosen by `split_seed`;
            0: all.
        validation_fraction: part of the training images set aside to choose the best epoch,
            where the data has no split for that; 0 trains on all and keeps the last epoch.
        watch_images: of detectors and segmentation networks, validation images that are evaluated
            after each epoch, at most: the same ones after every one, drawn by `split_seed`; 0:
            all. Figures of a finished run are always of all held-out images.
        monitor: validation figure that chooses the epoch, by which plateaus and `patience` are
            judged, and which a classifier's files are chosen by: "auto" (accuracy, AP or mIoU, by
            task); of classifiers also "accuracy", "balanced_accuracy" (the mean of the classes'
            recalls) and "loss".
        patience: epochs without a better validation after which the training ends; 0: never.
        freeze_epochs: first epochs, in which the logits layer alone learns; of other networks than
            classifiers, what is no part of the backbone. Batch norms do as they do afterwards, see
            `norms`: a head behind other statistics would meet other features then.
        freeze_updates: updates in these, at least: where images are few, more epochs are frozen
            than `freeze_epochs`; 0: as `freeze_epochs` gives.
        freeze_learning_rate: the constant rate of those epochs; warm-up and decay come after them.
        probe: "yes": in the first of the frozen epochs the logits layer does not learn by steps,
            but is solved for: the best one on the features of the initial weights
            (`training.classification.probe`).
        norms: what batch norms normalise by while training: "batches", which they follow too; or
            "stored", the statistics of the initial weights. Scales and shifts learn either way.
        first_layer_rate: share of the learning rate that the first layer has; between it and the
            last one's, which is whole, rates rise geometrically (arXiv:1801.06146, section 3.2).
            Layers whose share is below a twentieth stay as they are.
        seed: of initial weights, order, augmentation and dropout.
        split_seed: which images are for what, where the data does not say: those held out, set
            aside, and left by `pictures_per_class`. Runs of another `seed` have the same ones.
        distil_weight: share of the loss that a teacher's answers have, where there is a teacher.
        temperature: that both softmaxes are taken at for it.
        precision: of the layers' arithmetic, a Keras dtype policy; variables stay float32, and so
            do files. "auto": half precision on accelerators that are faster in it, else float32
            (`training.engine.hardware`).
        deterministic: whether the same training gives the same weights to the last bit: "yes",
            "no", or "auto", which is "yes" on a CPU alone, as it costs a GPU its speed.
    """

    epochs: int = _setting(30, least=1)
    batch_size: int = _setting(64, least=1)
    min_steps: int = _setting(0, least=0)
    min_updates: int = _setting(0, least=0)
    accumulate: int = _setting(1, least=1)
    optimizer: str = _setting("adamw", choices=OPTIMIZERS)
    learning_rate: float = _setting(1e-3, above=0)
    reference_batch: int = _setting(0, least=0)
    momentum: float = _setting(0.9, least=0, most=0.9999)
    nesterov: bool = True
    rho: float = _setting(0.9, least=0, most=0.9999)
    epsilon: float = _setting(1e-7, above=0)
    schedule: str = _setting("cosine", choices=SCHEDULES)
    milestones: tuple[tuple[float, float], ...] = ()
    decay_rate: float = _setting(0.1, above=0)
    decay_epochs: float = _setting(10.0, above=0)
    decays: int = _setting(0, least=0)
    weight_decay: float = _setting(0.05, least=0)
    decay: str = _setting("decoupled", choices=DECAYS)
    warmup_epochs: float = _setting(1.0, least=0)
    clip_norm: float = _setting(0.0, least=0)
    ema: float = _setting(0.0, least=0, most=0.99999)
    label_smoothing: float = _setting(0.1, least=0, most=0.999, off=0.0, own=True)
    map_loss: str = _setting("cross_entropy", choices=MAP_LOSSES, own=True)
    border_weight: float = _setting(0.0, least=0, most=1e4, own=True)
    augmentation: str = _setting("pictures", choices=AUGMENTATIONS)
    mixup: float = _setting(0.0, least=0, most=100, own=True)
    cutmix: float = _setting(0.0, least=0, most=100, own=True)
    class_weights: str = _setting("none", choices=CLASS_WEIGHTS, own=True)
    pictures_per_class: int = _setting(0, least=0, own=True)
    validation_fraction: float = _setting(0.1, least=0, most=0.9)
    watch_images: int = _setting(2000, least=0, own=True)
    monitor: str = _setting("auto", choices=MONITORS, own=True)
    patience: int = _setting(0, least=0)
    freeze_epochs: int = _setting(0, least=0)
    freeze_updates: int = _setting(0, least=0)
    freeze_learning_rate: float = _setting(1e-2, above=0)
    probe: str = _setting("no", choices=PROBES, own=True)
    norms: str = _setting("batches", choices=NORMS)
    first_layer_rate: float = _setting(1.0, above=0, most=1, own=True)
    seed: int = _setting(0, least=0, most=2**31 - 1)
    split_seed: int = _setting(0, least=0, most=2**31 - 1)
    distil_weight: float = _setting(0.7, least=0, most=1, own=True)
    temperature: float = _setting(3.0, above=0, own=True)
    precision: str = _setting("auto", choices=PRECISIONS)
    deterministic: str = _setting("auto", choices=DETERMINISTIC)

    def __post_init__(self) -> None:
        if isinstance(self.milestones, list):  # as JSON has it
            pairs = tuple(tuple(p) if isinstance(p, list) else p for p in self.milestones)
            object.__setattr__(self, "milestones", pairs)
        _check_types(self)
        for field in dataclasses.fields(self):
            _check_limits(field, getattr(self, field.name))
        if self.freeze_epochs > self.epochs:
            raise InputError(
                f"freeze_epochs must be at most epochs ({self.epochs}), not {self.freeze_epochs}"
            )
        self._check_milestones()
        if self.schedule == "plateau" and self.warmup_epochs:
            raise InputError("schedule 'plateau' has no warm-up; set warmup_epochs to 0")
        if (self.schedule == "plateau" or self.patience) and not self.validation_fraction:
            what = "schedule 'plateau'" if self.schedule == "plateau" else "patience"
            raise InputError(f"{what} needs validation images; give a validation_fraction")

    def _check_milestones(self) -> None:
        epochs = [epoch for epoch, _factor in self.milestones]
        if (self.schedule == "steps") != bool(epochs):
            raise InputError("schedule 'steps' needs milestones, and no other schedule has them")
        if epochs != sorted(set(epochs)) or any(
            not (epoch > 0 and factor >= 0) for epoch, factor in self.milestones
        ):
            raise InputError(
                f"milestones must be (epoch, factor) pairs in order, not {self.milestones}"
            )

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TrainConfig:
        """Read what a run.json holds.

        An older one splits by its only seed, is watched by all its validation images, and was
        trained in float32 and repeatably.

        Raises:
            InputError: a field that there is not, or an impossible value.
        """
        if unknown := set(plain) - {field.name for field in dataclasses.fields(cls)}:
            raise InputError(
                f"no setting {min(unknown)!r}: the run is of a newer version; update kerascnn"
            )
        if "split_seed" not in plain and "seed" in plain:
            plain = {**plain, "split_seed": plain["seed"]}
        return cls(**{**BEFORE, **plain} if "seed" in plain else plain)

    def given(self, names: Collection[str]) -> list[str]:
        """Those of some settings that have a part in the training, in the order of the fields."""
        return [
            field.name
            for field in dataclasses.fields(self)
            if field.name in names and getattr(self, field.name) != _off(field)
        ]

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate for `batch_size` x `accumulate` images an update.

        Of a training whose images fill no such batch: see
            `training.engine.epoch_schedule.for_images`.
        """
        if not self.reference_batch:
            return self.learning_rate
        return self.learning_rate * self.batch_size * self.accumulate / self.reference_batch


# Settings that are not of every task.
OWNED = frozenset(
    field.name for field in dataclasses.fields(TrainConfig) if field.metadata.get("own")
)
# The words that settings take.
CHOICES: Mapping[str, Sequence[str]] = {
    field.name: field.metadata["choices"]
    for field in dataclasses.fields(TrainConfig)
    if field.metadata and field.metadata["choices"]
}


def _off(field: dataclasses.Field[Any]) -> object:
    off = field.metadata.get("off")
    return field.default if off is None else off


def _check_limits(field: dataclasses.Field[Any], value: Any) -> None:
    """Raise InputError for a value of the right type that a setting cannot have."""
    if not (limits := field.metadata):
        return
    choices, least, most = limits["choices"], limits["least"], limits["most"]
    if choices and value not in choices:
        hint = did_you_mean(value, choices)
        raise InputError(f"{field.name} must be one of {', '.join(choices)}, not {value!r}{hint}")
    if least > -_ANY and not least <= value <= most:
        range_ = f"between {least:g} and {most:g}" if most < _ANY else f"at least {least:g}"
        raise InputError(f"{field.name} must be {range_}, not {value}")
    if limits["above"] > -_ANY and not limits["above"] < value < _ANY:
        raise InputError(f"{field.name} must be above {limits['above']:g}, not {value}")


def _check_types(config: TrainConfig) -> None:
    """Values from JSON or a command line may be of any type."""
    for name, kind in typing.get_type_hints(TrainConfig).items():
        value = getattr(config, name)
        if kind is float:
            fits, wanted = _is_number(value), "a number"
        elif kind is int:
            fits, wanted = _is_number(value) and isinstance(value, int), "a whole number"
        elif kind is bool:
            fits, wanted = isinstance(value, bool), "true or false"
        elif kind is str:
            fits, wanted = isinstance(value, str), "a word"
        else:
            fits, wanted = _are_pairs(value), "a list of [epoch, factor]"
        if not fits:
            raise InputError(f"{name} must be {wanted}, not {value!r}")


def _are_pairs(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_number, pair)) for pair in value
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
