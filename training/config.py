"""How a model is trained, as one frozen value that run.json keeps."""

from __future__ import annotations

import dataclasses

from kerascnn.errors import InputError

OPTIMIZERS = ("adamw", "sgd")
AUGMENTATIONS = ("none", "digits", "scenes", "pictures", "randaugment")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that shapes the weights, beside the model, the data and their versions.

    Attributes:
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        optimizer: "adamw" or "sgd" (Nesterov momentum 0.9).
        learning_rate: the peak, after a linear warm-up and before a cosine decay to zero.
        weight_decay: decoupled; not applied to biases and normalisation.
        warmup_epochs: length of the warm-up, may be a fraction.
        label_smoothing: of the cross-entropy.
        augmentation: "none"; "digits" (small rotations, zooms, shears, shifts); "scenes" (those
            and other colours); "pictures" (random crop, horizontal flip); "randaugment" (that,
            and RandAugment).
        validation_fraction: part of the training pictures set aside to choose the best epoch,
            where the data has no split for that; 0 trains on all and keeps the last epoch.
        freeze_epochs: first epochs, in which the logits layer alone learns.
        freeze_learning_rate: the constant rate of those epochs; warm-up and decay come after them.
        seed: of initial weights, order, augmentation, dropout and splits.
        distil_weight: share of the loss that a teacher's answers have, where there is a teacher.
        temperature: that both softmaxes are taken at for it.
    """

    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.1
    augmentation: str = "pictures"
    validation_fraction: float = 0.1
    freeze_epochs: int = 0
    freeze_learning_rate: float = 1e-2
    seed: int = 0
    distil_weight: float = 0.7
    temperature: float = 3.0

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", OPTIMIZERS), ("augmentation", AUGMENTATIONS)):
            if (value := getattr(self, name)) not in choices:
                raise InputError(f"{name} is one of {', '.join(choices)}, not {value!r}")
        limits: tuple[tuple[str, float, float], ...] = (
            ("epochs", 1, float("inf")),
            ("batch_size", 1, float("inf")),
            ("weight_decay", 0, float("inf")),
            ("warmup_epochs", 0, float("inf")),
            ("label_smoothing", 0, 0.999),
            ("validation_fraction", 0, 0.9),
            ("freeze_epochs", 0, self.epochs),
            ("seed", 0, 2**31 - 1),
            ("distil_weight", 0, 1),
        )
        for name, low, high in limits:
            if not low <= (value := getattr(self, name)) <= high:
                raise InputError(f"{name} is between {low:g} and {high:g}, not {value}")
        for name in ("learning_rate", "freeze_learning_rate", "temperature"):
            if not 0 < (value := getattr(self, name)) < float("inf"):
                raise InputError(f"{name} is positive, not {value}")
