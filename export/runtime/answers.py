"""What a file says of an image or of a video's frame: as text, as JSON, and as rows of a table."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from training.common.wording import counted

_MOST_LINES = 10  # objects that are listed for a person


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer(abc.ABC):
    """What a file says of an image.

    Attributes:
        columns: of a table of such answers, behind the image.
        image: the path that it was named by.
        frame: number of a video's or a camera's frame, from 0; None of an image.
        time: of the frame, in seconds from the video's beginning.
        drawn: the file that it was drawn into, where one was asked for.
    """

    columns: ClassVar[tuple[str, ...]]

    image: str
    frame: int | None = None
    time: float | None = None
    drawn: str | None = None

    @abc.abstractmethod
    def as_text(self) -> str:
        """For a terminal."""

    @abc.abstractmethod
    def as_json(self) -> dict[str, Any]:
        """Plain data."""

    @abc.abstractmethod
    def rows(self) -> list[tuple[Any, ...]]:
        """A row of `columns` for each thing that it says; None is an empty cell."""

    @property
    def title(self) -> str:
        """What a person knows the image by."""
        return self.image if self.time is None else f"{self.image} at {clock(self.time)}"

    def place(self) -> dict[str, Any]:
        """The image, and which frame of it."""
        if self.time is None:
            return {"image": self.image}
        return {"image": self.image, "frame": self.frame, "time": self.time}

    def written(self) -> str:
        """Where the image was drawn, behind a line of text."""
        return f" -> {self.drawn}" if self.drawn and self.time is None else ""


def clock(seconds: float) -> str:
    """ "1:02.50", or "1:00:02.50" from an hour on."""
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    before = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{before}:{rest / 100:05.2f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction(Answer):
    """Labels with probabilities (0 to 1) for an image, the likeliest first."""

    columns = ("label", "score")

    labels: tuple[tuple[str, float], ...]

    def as_text(self) -> str:
        """One line: each label with its probability."""
        ranked = ", ".join(f"{label} {value:.1%}" for label, value in self.labels)
        return f"{self.title}: {ranked}{self.written()}"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        labels = [{"label": label, "probability": value} for label, value in self.labels]
        drawn = {} if self.drawn is None else {"drawn": self.drawn}
        return {**self.place(), "labels": labels, **drawn}

    def rows(self) -> list[tuple[Any, ...]]:
        """One per label."""
        return [(label, f"{value:.6f}") for label, value in self.labels]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """One object: its label, score (0 to 1) and edges in pixels of the upright image."""

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
        mask: COCO's run lengths of the upright image: "size" (height, width) and "counts".
    """

    mask: dict[str, Any]

    @property
    def pixels(self) -> int:
        """How many the mask covers."""
        from pycocotools import mask as rle

        return int(rle.area({**self.mask, "counts": self.mask["counts"].encode("ascii")}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boxes(Answer):
    """The objects found in an image, the likeliest first: `Instance`s where there are masks."""

    columns = ("label", "score", "left", "top", "right", "bottom", "mask_pixels")

    objects: tuple[Box, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        objects = [dataclasses.asdict(one) for one in self.objects]
        return {**self.place(), "objects": objects, "drawn": self.drawn}

    def as_text(self) -> str:
        """A line per object: score and corners, (x, y) of the upper left one first; at most ten."""
        count = counted(len(self.objects), "object") if self.objects else "nothing found"
        lines = [f"{self.title}: {count}{self.written()}"]
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

    def rows(self) -> list[tuple[Any, ...]]:
        """One per object."""
        return [
            (
                *(box.label, f"{box.score:.6f}"),
                *(f"{edge:.2f}" for edge in (box.left, box.top, box.right, box.bottom)),
                box.pixels if isinstance(box, Instance) else None,
            )
            for box in self.objects
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Area:
    """A class in an image: its pixels, and their share of the image's, 0 to 1."""

    label: str
    pixels: int
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Areas(Answer):
    """The classes of an image's pixels, the largest first."""

    columns = ("label", "pixels", "share")

    classes: tuple[Area, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        classes = [dataclasses.asdict(one) for one in self.classes]
        return {**self.place(), "classes": classes, "drawn": self.drawn}

    def as_text(self) -> str:
        """One line: each class with its share of the image."""
        shares = ", ".join(f"{area.label} {area.share:.1%}" for area in self.classes)
        return f"{self.title}: {shares}{self.written()}"

    def rows(self) -> list[tuple[Any, ...]]:
        """One per class."""
        return [(one.label, one.pixels, f"{one.share:.6f}") for one in self.classes]
