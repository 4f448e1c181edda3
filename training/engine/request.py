"""What a training is asked for: all that a run is made of, checked before anything is loaded."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from kerascnn.errors import InputError, did_you_mean
from kerascnn.preprocessing import OVERLAP, refuse_tiles
from training import tasks
from training.common.reading import BEFORE, NOW, of_run
from training.common.wording import enumerated
from training.engine import recipes
from training.engine.config import OWNED, TrainConfig
from training.engine.imported import Imported
from training.engine.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """Everything that a run is made of; run.json keeps it, and it repeats the run.

    Attributes:
        model: a zoo name; of an imported network of none, what it is called.
        data: an embedded set's name or a folder's absolute path.
        task: the name of the task; None: the model's own.
        val_data: another one's, whose images are held out instead; None: of `data`.
        config: how to train.
        recipe: the name of the recipe that `config` began as.
        model_options: of the builder.
        detector_options: of `zoo.detector_spec`, where the model is a detector; one of two stages
            is built with them, since it proposes and detects by itself.
        image_size: (height, width); None for the data set's own or the model's published size.
        resize: how images meet that size, a word of `kerascnn.preprocessing.RESIZES`; None: as the
            data has it, and where images have boxes or masks "stretch".
        tiles: pixels of a side of the squares that larger images are cut into; 0: none.
        overlap: share of a tile's side that the next one has too.
        weights: initial weights by name or as a file's absolute path, or None.
        strict: a broken image or annotation is an error.
        teacher: a run folder's absolute path; its network's answers are part of the loss.
        reading: the rules to read folders by, see `training.common.reading`.
        imported: where the network is from, if it was not trained here.
    """

    model: str
    data: str
    config: TrainConfig
    recipe: str
    model_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    detector_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    resize: str | None = None
    tiles: int = 0
    overlap: float = OVERLAP
    weights: str | None = None
    strict: bool = False
    teacher: str | None = None
    reading: int = NOW
    val_data: str | None = None
    task: str | None = None
    imported: Imported | None = None

    @property
    def places(self) -> str:
        """Where its images are, for messages."""
        return self.data if self.val_data is None else f"{self.data} or {self.val_data}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, equal after a round trip through JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TrainRequest:
        """Read the JSON form; what an older version did not ask is what it did without asking."""
        size, imported = plain.get("image_size"), plain.get("imported")
        try:
            return cls(**{
                "reading": BEFORE,
                **plain,
                "config": TrainConfig.from_dict(plain["config"]),
                "image_size": tuple(size) if size else None,
                "imported": None if imported is None else Imported.from_dict(imported),
            })  # fmt: skip
        except TypeError as error:
            raise InputError(
                f"a run of another version, or a damaged one ({error}); name another folder"
            ) from None


def request(
    model: str,
    *,
    data: str,
    val_data: str | None = None,
    recipe: str | None = None,
    model_options: Mapping[str, Any] | None = None,
    detector_options: Mapping[str, Any] | None = None,
    image_size: tuple[int, int] | None = None,
    resize: str | None = None,
    tiles: int | None = None,
    overlap: float | None = None,
    weights: str | None = None,
    strict: bool = False,
    teacher: str | None = None,
    settings: Mapping[str, Any] | None = None,
    task: str | None = None,
    **changes: Any,
) -> TrainRequest:
    """Fill a request from a recipe.

    Args:
        val_data: see `TrainRequest`.
        recipe: its name; chosen by data and weights when None.
        model_options, detector_options: added to, or in place of, the recipe's.
        teacher: a run folder.
        resize, tiles, overlap: see `TrainRequest`; None: its default.
        task: its name; None: by the model and the data, see `tasks.for_data`.
        settings, **changes: see `configure`.

    Raises:
        InputError: no such model, recipe or setting, or an impossible value.
    """
    own = tasks.of_model(model)
    chosen = tasks.for_data(model, data, task)
    _refuse_geometry(chosen, model, resize, tiles, overlap)
    config = configure(
        model,
        data=data,
        recipe=recipe,
        weights=weights,
        teacher=teacher,
        settings=settings,
        task=chosen,
        **changes,
    )
    name = recipe or chosen.default_recipe(data, weights)
    learnt = chosen.canonical(data)
    measured = chosen.canonical(val_data) if val_data is not None else None
    if learnt == measured:
        raise InputError(
            f"the validation data is {val_data}, which is learnt from; leave it out, so that some "
            "of its images are held out"
        )
    return TrainRequest(
        model=model,
        data=learnt,
        config=config,
        recipe=name,
        model_options=recipes.load(name).options_for(model) | dict(model_options or {}),
        detector_options=recipes.load(name).detector_options_for(model)
        | dict(detector_options or {}),
        image_size=image_size,
        resize=resize,
        tiles=tiles or 0,
        overlap=OVERLAP if overlap is None else overlap,
        weights=_canonical_weights(weights),
        strict=strict,
        teacher=str(pathlib.Path(teacher).resolve()) if teacher else None,
        reading=min(of_run(teacher), of_run(weights)),
        val_data=measured,
        task=None if chosen is own else chosen.name,
    )


def configure(
    model: str,
    *,
    data: str,
    recipe: str | None = None,
    weights: str | None = None,
    teacher: str | None = None,
    settings: Mapping[str, Any] | None = None,
    task: Task | None = None,
    **changes: Any,
) -> TrainConfig:
    """The configuration of a request; it needs no framework, and refuses what is wrong at once.

    Args:
        settings: fields of TrainConfig to replace, by name.
        task: of a network that is not the zoo's; None: the model's own.
        **changes: the same; None leaves the recipe's value.

    Raises:
        InputError: no such model, recipe or setting, or an impossible value.
    """
    task = task or tasks.of_model(model)
    named = recipe or task.default_recipe(data, weights)
    if (other := recipes.load(named).task) != task.name:
        fitting = [name for name in recipes.names() if recipes.load(name).task == task.name]
        raise InputError(
            f"{named!r} is a recipe for {other}, and {model} is for {task.name}; there are: "
            f"{', '.join(fitting)}"
        )
    chosen = recipes.load(named).config_for(model)
    replaced = {key: value for key, value in changes.items() if value is not None}
    replaced |= _known(settings or {})
    if teacher is None and (useless := {"distil_weight", "temperature"} & set(replaced)):
        raise InputError(f"{' and '.join(sorted(useless))} without a teacher; give --teacher RUN")
    epochs = replaced.get("epochs", chosen.epochs)
    if "freeze_epochs" in replaced:  # so many
        replaced.setdefault("freeze_updates", 0)
    elif isinstance(epochs, int):
        replaced["freeze_epochs"] = min(chosen.freeze_epochs, epochs - 1)
    if "epochs" in replaced:  # so many, also where images are few
        replaced.setdefault("min_updates", 0)
        replaced.setdefault("freeze_updates", 0)
    if replaced.get("schedule", "steps") != "steps":
        replaced.setdefault("milestones", ())
    config = dataclasses.replace(chosen, **replaced)
    if config.augmentation not in task.policies:
        raise InputError(
            f"augmentation {config.augmentation!r} is not for {task.name} ({model}); there are: "
            f"{', '.join(task.policies)}"
        )
    _refuse_foreign(config, teacher, task)
    task.check_config(config)
    return config


def probe_alone(
    settings: Mapping[str, Any] | None, *, weights: str | None, **given: Any
) -> dict[str, Any]:
    """Settings of a training that ends behind its probe; see `TrainConfig.probe`.

    Args:
        settings: that were asked for beside it.
        **given: others by name; None: not asked for.

    Raises:
        InputError: no weights, whose features are what is looked at; or epochs, which it has none
            of.
    """
    if weights is None:
        raise InputError("a probe is of weights' features; give --weights, such as imagenet")
    asked = {**(settings or {}), **{key: v for key, v in given.items() if v is not None}}
    if useless := [name for name in ("epochs", "freeze_epochs", "probe") if name in asked]:
        raise InputError(f"{useless[0]}: a probe is one epoch of its own; leave it out")
    return {**(settings or {}), "epochs": 1, "freeze_epochs": 1, "probe": "yes"}


def _refuse_geometry(
    task: Task, model: str, resize: str | None, tiles: int | None, overlap: float | None
) -> None:
    """Raise InputError for a way of seeing images that this task has none of."""
    if resize is not None and resize not in task.resizes:
        raise InputError(
            f"resize {resize!r} is not for {task.name} ({model}); there are: "
            f"{', '.join(task.resizes)}"
        )
    if tiles and not task.tiled:
        raise InputError(f"tiles: {task.network} ({model}) sees whole images; leave it out")
    refuse_tiles(tiles, overlap)


def _refuse_foreign(config: TrainConfig, teacher: str | None, task: Task) -> None:
    """Raise InputError for settings that this task has no part for, with the tasks that have."""
    given = config.given(OWNED - task.settings)
    given += ["teacher"] if teacher and "teacher" not in task.settings else []
    if not given:
        return
    owners = _owners(given[0])
    same = [name for name in given if _owners(name) == owners]
    raise InputError(f"{' and '.join(same)}: for {enumerated(owners)} only; leave it out")


def _owners(setting: str) -> list[str]:
    return [task.name for task in tasks.all_tasks() if setting in task.settings]


def _known(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in settings:
        if name not in fields:
            hint = did_you_mean(name, fields) or f"; there are: {', '.join(fields)}"
            raise InputError(f"unknown setting {name!r}{hint}")
    return settings


def _canonical_weights(weights: str | None) -> str | None:
    """A file by its absolute path, since the run may go on from elsewhere; a name as it is."""
    if weights is None or not pathlib.Path(weights).is_file():
        return weights
    return str(pathlib.Path(weights).resolve())
