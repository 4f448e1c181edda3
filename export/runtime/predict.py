"""`kerascnn predict`: labels, boxes or label maps, from any file, as the phone would do it."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from export.artefacts.kinds import base as kinds
from export.runtime import load as runtimes
from export.runtime.detectors import load_detector
from export.runtime.model_facts import declared, facts
from export.runtime.segmenters import load_segmenter
from kerascnn.errors import InputError, reason
from training import tasks
from training.augment.boxes import to_network
from training.classification.evaluate import softmax
from training.common import framework
from training.common.registry import loaded
from training.common.wording import counted
from training.datasets.instance_masks import run_lengths
from training.datasets.pictures import read_picture, read_pixels
from training.datasets.segmentation import VOID
from training.detection.evaluate import on_picture
from training.detection.metrics import Detections
from training.segmentation.evaluate import on_picture as map_on_picture

# Called with what is wrong with a picture that is passed over.
Refuse = Callable[[InputError], None]
_MOST_LINES = 10  # objects that are listed for a person


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """Labels with probabilities (0 to 1) for a picture, the likeliest first."""

    image: str
    labels: tuple[tuple[str, float], ...]

    def as_text(self) -> str:
        """One line: each label with its probability."""
        ranked = ", ".join(f"{label} {value:.1%}" for label, value in self.labels)
        return f"{self.image}: {ranked}"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        labels = [{"label": label, "probability": value} for label, value in self.labels]
        return {"image": self.image, "labels": labels}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """One object: its label, score (0 to 1) and edges in pixels of the upright picture."""

    label: str
    score: float
    top: float
    left: float
    bottom: float
    right: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance(Box):
    """One object with its pixels.

    Attributes:
        mask: COCO's run lengths of the upright picture: "size" (height, width) and "counts".
    """

    mask: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boxes:
    """The objects found in a picture, the likeliest first: `Instance`s where there are masks.

    Attributes:
        drawn: the picture with its boxes, where one was asked for.
    """

    image: str
    objects: tuple[Box, ...]
    drawn: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """A line per object: score and corners, (x, y) of the upper left one first; at most ten."""
        count = counted(len(self.objects), "object") if self.objects else "nothing found"
        lines = [f"{self.image}: {count}" + (f" -> {self.drawn}" if self.drawn else "")]
        lines += [
            f"  {box.label} {box.score:.0%} "
            f"({box.left:.0f}, {box.top:.0f})-({box.right:.0f}, {box.bottom:.0f})"
            for box in self.objects[:_MOST_LINES]
        ]
        if more := self.objects[_MOST_LINES:]:
            least, most = f"{more[-1].score:.0%}", f"{more[0].score:.0%}"
            scores = f"score {most}" if least == most else f"scores {least} to {most}"
            lines.append(f"  and {len(more)} more ({scores}); --json lists them all")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Area:
    """A class in a picture: its pixels, and their share of the picture's, 0 to 1."""

    label: str
    pixels: int
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Areas:
    """The classes of a picture's pixels, the largest first.

    Attributes:
        drawn: the picture with its label map, where one was asked for.
    """

    image: str
    classes: tuple[Area, ...]
    drawn: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """One line: each class with its share of the picture."""
        told = ", ".join(f"{area.label} {area.share:.1%}" for area in self.classes)
        return f"{self.image}: {told}" + (f" -> {self.drawn}" if self.drawn else "")


class Answer(Protocol):
    """What a file says of an image."""

    @property
    def image(self) -> str: ...

    def as_text(self) -> str:
        """For a terminal."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What to tell of each image; see `predict`, `detect` and `segment`."""

    top: int = 1
    score: float = 0.3
    folder: pathlib.Path | None = None
    names: Mapping[str, str] | None = None
    refuse: Refuse | None = None


def require_folder(folder: pathlib.Path) -> None:
    """Raise InputError for a place for drawings that is, or lies in, a file."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise InputError(f"--out {folder}: {there} is a file; give a folder for the drawings")


def answers(
    path: pathlib.Path,
    images: Sequence[str],
    *,
    top: int | None = None,
    score: float | None = None,
    folder: pathlib.Path | None = None,
    names: Mapping[str, str] | None = None,
    refuse: Refuse | None = None,
) -> Iterator[Answer]:
    """What a file of any task says of each image; see `predict`, `detect` and `segment`.

    Args:
        top, score: None: as `Asked` has them.

    Raises:
        InputError: as they do; a file in place of `folder`; or what files of another task alone
            are asked for, before this one is run.
    """
    if folder is not None:
        require_folder(folder)
    task = declared(path).task
    limits = {"top": top, "score": score}
    given: dict[str, Any] = {name: one for name, one in limits.items() if one is not None}
    _refuse_foreign(path, task, [*given, *([] if folder is None else ["out"])])
    if path.suffix == ".keras":
        framework.load()
    asked = Asked(**given, folder=folder, names=names, refuse=refuse)
    function = loaded(kinds.of(task).predicted)
    found: Iterator[Answer] = function(path, images, asked)
    return found


_FOREIGN = {
    "out": "draws nothing",
    "score": "finds no objects",
    "top": "gives no labels of whole images",
}


def _refuse_foreign(path: pathlib.Path, task: str, given: Sequence[str]) -> None:
    """Raise InputError for what the answers of a task have no part for."""
    for name in given:
        if name not in kinds.of(task).asked:
            kind = tasks.of(task).network
            raise InputError(f"{path} is {kind}, which {_FOREIGN[name]}; leave out {name}")


def labels(path: pathlib.Path, images: Sequence[str], asked: Asked) -> Iterator[Prediction]:
    """`predict` for `answers`."""
    return predict(path, images, top=asked.top, refuse=asked.refuse)


def objects(path: pathlib.Path, images: Sequence[str], asked: Asked) -> Iterator[Boxes]:
    """`detect` for `answers`."""
    return detect(
        *(path, images),
        score=asked.score,
        folder=asked.folder,
        names=asked.names,
        refuse=asked.refuse,
    )


def pixels(path: pathlib.Path, images: Sequence[str], asked: Asked) -> Iterator[Areas]:
    """`segment` for `answers`."""
    return segment(path, images, folder=asked.folder, names=asked.names, refuse=asked.refuse)


def predict(
    path: pathlib.Path, images: Sequence[str], *, top: int = 1, refuse: Refuse | None = None
) -> Iterator[Prediction]:
    """Yield a prediction for each picture.

    Args:
        path: a .tflite or .onnx file, or the model.keras of a run.
        images: picture files.
        top: how many labels for each.
        refuse: called with the error of a picture that cannot be read, which is passed over; None:
            it is raised.

    Raises:
        InputError: a file that is not a model, or that nothing describes; a broken image.
    """
    described = facts(path)
    preprocessing, labels = described.preprocessing, described.labels
    runtime = runtimes.load(path, preprocessing)
    for image in images:
        picture = _read(refuse, read_picture, image, preprocessing)
        if picture is None:
            continue
        with answering(path):
            probabilities = softmax(runtime.predict(picture[None])[0])
            if probabilities.shape != (len(labels),):
                raise InputError(
                    f"{path} gives {len(probabilities)} logits and its description {len(labels)} "
                    "labels; bring the description that belongs to it"
                )
        order = probabilities.argsort()[::-1][:top]
        ranked = tuple((labels[i], float(probabilities[i])) for i in order)
        yield Prediction(image=image, labels=ranked)


def detect(
    path: pathlib.Path,
    images: Sequence[str],
    *,
    score: float = 0.3,
    folder: pathlib.Path | None = None,
    names: Mapping[str, str] | None = None,
    refuse: Refuse | None = None,
) -> Iterator[Boxes]:
    """Yield the objects in each picture.

    Args:
        path, images, refuse: as of `predict`.
        score: the lowest to tell of.
        folder: gets each picture with its boxes and masks drawn, as NAME.png; None for none.
        names: of the drawings, by picture, where they should have another than the file's own.

    Raises:
        InputError: as of `predict`; or two pictures of one name, which would be one file.
    """
    described = facts(path)
    targets = _targets(images, folder, names or {})
    detector = load_detector(path, described.preprocessing, described.spec)
    for image, target in zip(images, targets, strict=True):
        picture = _read(refuse, read_pixels, image, image)
        if picture is None:
            continue
        fitted = to_network(picture, described.preprocessing)[None]
        with answering(path):
            whole = detector.detect(fitted)[0]
            found = _sure(on_picture(whole, picture.shape[:2], described.preprocessing), score)
            for label in found.labels:
                if not 0 <= label < len(described.labels):
                    raise InputError(
                        f"{path} finds class {label}, which its description does not name"
                    )
        if target is not None:
            from training.detection.drawing import write_boxes

            write_boxes(
                *(target, picture, found.boxes, found.labels, found.scores),
                classes=described.labels,
                masks=found.pasted(picture.shape[:2]),
            )
        yield Boxes(
            image=image,
            objects=_objects(found, described.labels, picture.shape[:2]),
            drawn=None if target is None else str(target),
        )


def segment(
    path: pathlib.Path,
    images: Sequence[str],
    *,
    folder: pathlib.Path | None = None,
    names: Mapping[str, str] | None = None,
    refuse: Refuse | None = None,
) -> Iterator[Areas]:
    """Yield the classes of each picture's pixels.

    Args:
        path, images, names, refuse: as of `detect`.
        folder: gets each picture with its label map drawn on it, as NAME.png; None for none.

    Raises:
        InputError: as of `detect`.
    """
    described = facts(path)
    labels, preprocessing = described.labels, described.preprocessing
    targets = _targets(images, folder, names or {})
    segmenter = load_segmenter(path, preprocessing)
    for image, target in zip(images, targets, strict=True):
        picture = _read(refuse, read_pixels, image, image)
        if picture is None:
            continue
        fitted = to_network(picture, preprocessing)[None]
        with answering(path):
            found = segmenter.segment(fitted)[0]
            if found.max() >= len(labels):
                raise InputError(
                    f"{path} finds class {found.max()}, which its description does not name"
                )
            label_map = map_on_picture(found, picture.shape[:2], preprocessing)
        if target is not None:
            from training.segmentation.drawing import write_map

            write_map(target, picture, label_map, labels, described.palette)
        yield Areas(
            image=image,
            classes=_areas(label_map, labels),
            drawn=None if target is None else str(target),
        )


@contextlib.contextmanager
def answering(path: pathlib.Path) -> Iterator[None]:
    """A file from elsewhere can answer anything, in any shape, or end in any error."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} does not answer as its description says ({reason(error)}); get both again"
        ) from error


def _areas(label_map: np.ndarray, labels: Sequence[str]) -> tuple[Area, ...]:
    """Of a map, in which pixels that the network gives no class have none here either."""
    pixels = np.bincount(label_map.ravel(), minlength=VOID + 1)[: len(labels)]
    return tuple(
        Area(label=labels[i], pixels=int(pixels[i]), share=float(pixels[i] / label_map.size))
        for i in np.argsort(-pixels, kind="stable")
        if pixels[i]
    )


def _read(
    refuse: Refuse | None, read: Callable[..., np.ndarray], *arguments: Any
) -> np.ndarray | None:
    """What `read` gives, or None for a broken picture that is passed over."""
    try:
        return read(*arguments)
    except InputError as error:
        if refuse is None:
            raise
        refuse(error)
        return None


def _targets(
    images: Sequence[str], folder: pathlib.Path | None, inside: Mapping[str, str]
) -> list[pathlib.Path | None]:
    """Where each picture's drawing goes."""
    if folder is None:
        return [None] * len(images)
    # A picture of a folder that was given keeps its place; others have their file's name.
    places = [
        pathlib.Path(image).name if inside.get(image, image) == image else inside[image]
        for image in images
    ]
    names = [pathlib.PurePath(place).with_suffix(".png").as_posix() for place in places]
    for i, name in enumerate(names):
        if name in names[:i]:
            first = images[names.index(name)]
            raise InputError(
                f"{first} and {images[i]} would both be drawn as {name}; name one of them"
            )
    return [folder / name for name in names]


def _sure(found: Detections, score: float) -> Detections:
    """Those from a score on; what is no number is left out."""
    kept = (found.scores >= score) & np.isfinite(found.boxes).all(axis=-1)
    return found.take(kept)


def _objects(found: Detections, labels: Sequence[str], size: tuple[int, ...]) -> tuple[Box, ...]:
    pixels = found.boxes * np.tile(size[:2], 2)
    told = [
        {
            "label": labels[label],
            "score": float(score),
            **dict(zip(("top", "left", "bottom", "right"), map(float, edges), strict=True)),
        }
        for label, score, edges in zip(found.labels, found.scores, pixels, strict=True)
    ]
    if found.masks is None:
        return tuple(Box(**one) for one in told)
    encoded = run_lengths(found.masks, found.boxes, size[:2])
    return tuple(
        Instance(**one, mask={**mask, "counts": mask["counts"].decode("ascii")})
        for one, mask in zip(told, encoded, strict=True)
    )
