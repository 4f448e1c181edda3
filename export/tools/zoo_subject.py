"""A network of the zoo by its name, with published weights, to be measured without a run."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from export.runtime.model_facts import ModelFacts
from export.runtime.subjects import Subject
from kerascnn import weights as weight_files
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from kerascnn.weights import published
from kerascnn.weights.published import Published
from training.common import framework
from training.engine import options as network_options

WITHIN = 0.2  # points of a published figure that count as the same
_IMAGES = {"top1": 50_000, "ap": 5_000}  # that published figures are measured on


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """What was asked for by name.

    Attributes:
        name: of the zoo.
        weights: a name of weights, or the path of a file.
        options: of the builder.
        row: the published weights of that name; None of a file.
        size: (height, width) of the network's input.
    """

    name: str
    weights: str
    options: Mapping[str, Any]
    row: Published | None
    size: tuple[int, int]

    @property
    def task(self) -> str:
        """Its task."""
        return zoo.entry(self.name).task

    @property
    def preprocessing(self) -> Preprocessing:
        """As the weights' publisher measured, as far as that is said."""
        entry, row = zoo.entry(self.name), self.row
        if row is None:
            return zoo.preprocessing(self.name, *self.size, weights=self.weights)
        if entry.facts.whole:
            return entry.preprocessing(*self.size, **row.normalisation)
        resize = "centre" if row.evaluation.resize == "crop" else "crop"
        return entry.preprocessing(*self.size, **row.preprocessing, resize=resize)

    def subject(self, labels: tuple[str, ...]) -> Subject:
        """The network, built; raises InputError where its weights cannot be had."""
        framework.load()
        entry, preprocessing = zoo.entry(self.name), self.preprocessing
        model = zoo.build(
            self.name, input_shape=preprocessing.input_shape, weights=self.weights, **self.options
        )
        spec = None
        if entry.facts.decoded:
            spec = zoo.detector_spec(self.name, preprocessing.input_shape)
        return Subject(
            path=pathlib.Path(self.name),
            known=ModelFacts(
                task=entry.task, preprocessing=preprocessing, labels=labels, spec=spec
            ),
            model=model,
        )

    def labels(self, dataset: Any) -> tuple[str, ...]:
        """What its outputs mean: ImageNet's classes, COCO's, or those of a data set.

        Raises:
            InputError: none of these are as many as its outputs.
        """
        if zoo.entry(self.name).classes == 1000 and self.task == "classification":
            from training.importing import imagenet

            return imagenet.LABELS
        from training.importing import labels as naming

        found = naming.of_weights(
            zoo.entry(self.name).classes,
            published=self.row is not None,
            classes=dataset.classes,
            data=dataset.name,
            source=self.name,
        )
        return found.names


def named(
    name: str,
    weights: str | None,
    options: Mapping[str, Any],
    image_size: tuple[int, int] | None,
) -> Named:
    """What a name stands for; no framework is loaded.

    Raises:
        InputError: no such network or weights, or no weights given.
    """
    entry = zoo.entry(name)
    network_options.check(name, options)
    weights = weight_files.required(name, weights)
    row = published.choose(name, weights, options)
    if row is None and not pathlib.Path(weights).is_file():
        raise InputError(f"no weights {weights!r} for {name}; {published.unknown(name, weights)}")
    size = entry.input_shape[:2]
    if row is not None:
        size = (row.evaluation.size, row.evaluation.size)
    return Named(name=name, weights=weights, options=options, row=row, size=image_size or size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """A figure beside the published one.

    Attributes:
        metric: "top1" or "ap".
        published: in percent, by `source`.
        ours: likewise, of the images that were measured.
        difference: ours less the published one, in points.
        within: whether that is at most `WITHIN`.
        notes: what is not as it was for the published figure.
    """

    metric: str
    published: float
    source: str
    ours: float
    difference: float
    within: bool
    notes: tuple[str, ...]

    def as_text(self) -> str:
        """Lines for a terminal."""
        names = {"top1": "top-1", "ap": "AP"}
        verdict = f"within {WITHIN:g} points" if self.within else f"not within {WITHIN:g} points"
        lines = [
            f"published {names[self.metric]} {self.published:.2f}% ({self.source}), here "
            f"{self.ours:.2f}%: {self.difference:+.2f}, {verdict}"
        ]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def held_against(asked: Named, ours: float | None, images: int) -> Held:
    """A figure beside the published one of its weights.

    Raises:
        InputError: nobody publishes one.
    """
    row = asked.row
    metric = "ap" if zoo.entry(asked.name).facts.decoded else "top1"
    figure = None if row is None else getattr(row, metric)
    if row is None or figure is None:
        raise InputError(f"nobody publishes a figure of {asked.name} with {asked.weights}")
    if ours is None:
        raise InputError(f"{asked.name}: nothing was measured that a published figure is of")
    difference = round(ours - figure, 4)
    return Held(
        metric=metric,
        published=figure,
        source=row.figures,
        ours=ours,
        difference=difference,
        within=abs(difference) <= WITHIN,
        notes=tuple(_notes(asked, row, metric, images)),
    )


def _notes(asked: Named, row: Published, metric: str, images: int) -> list[str]:
    evaluation, seen = row.evaluation, asked.preprocessing
    found = []
    if images != _IMAGES[metric]:
        found.append(f"the published figure is of {_IMAGES[metric]:,} images, this of {images:,}")
    if asked.size != (evaluation.size, evaluation.size):
        found.append(f"the published figure is of {evaluation.size} pixels, this of {asked.size}")
    if evaluation.resize is None:
        share = f"{seen.crop_fraction:.1%}"
        found.append(
            f"its publisher does not say how images were resized; here the middle {share} of the "
            f"shorter side, {seen.interpolation}"
        )
    elif evaluation.resize in ("shorter", "pad"):
        how = {
            "shorter": "the shorter side to the network's, whatever the shape",
            "pad": "the longer side, padded at the bottom and right",
        }[evaluation.resize]
        found.append(f"its publisher resizes {how}; here images are stretched")
    return found
