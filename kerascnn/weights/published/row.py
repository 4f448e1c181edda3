"""One file of weights that somebody publishes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

HALF = {"mean": 127.5, "std": 127.5}  # bytes from -1 to 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the publisher measured.

    Attributes:
        size: of the network's input in pixels, the side of a square; of what `resize` says with
            "shorter".
        resize: "crop" (the shorter side to `resized`, then the centre), "stretch", "pad" (the
            longer side to `size`, filled up at the bottom and right) or "shorter" (the shorter
            side to `size`, the longer one to 1,333 at most); None where nobody says.
        resized: pixels of the shorter side before "crop" cuts.
        interpolation: "bilinear" or "bicubic"; None where nobody says.
        antialias: whether shrinking smooths, as Pillow's resizing always does.
    """

    size: int
    resize: str | None = None
    resized: int | None = None
    interpolation: str | None = None
    antialias: bool | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """One file of weights.

    Attributes:
        model: a zoo name.
        name: what `weights=` and `--weights` take.
        source: who publishes it, a folder of the cache.
        reference: what the source calls it.
        url: of the file; None: it is in a package that the user installs.
        file: its name in the cache.
        digest: "sha256:" or "md5:" and hexadecimal digits, of a SHA-256 perhaps the first ones
            alone; None where the server tells it.
        size: in bytes, as rounded by the source; None where it does not say.
        licence: as the publisher states it; what ImageNet allows goes beyond it.
        options: of the builder, which the file is for.
        normalisation: fields of `Preprocessing` that the weights expect.
        evaluation: how `top1`, `top5` (accuracies) or `ap`, all in percent, were measured.
        figures: who published these.
    """

    model: str
    name: str
    source: str
    reference: str
    url: str | None
    file: str
    digest: str | None
    size: int | None = None
    licence: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    normalisation: Mapping[str, Any]
    evaluation: Evaluation
    top1: float | None = None
    top5: float | None = None
    ap: float | None = None
    figures: str

    @property
    def described(self) -> str:
        """For messages: mobilenet_v2's 'imagenet' with alpha=0.35."""
        return f"{self.model}'s {self.name!r}{options_text(self.options)}"

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Fields of `kerascnn.preprocessing.Preprocessing`, but for its size and `resize`."""
        asked: dict[str, Any] = {}
        if self.evaluation.resize == "crop" and self.evaluation.resized:
            asked["crop_fraction"] = self.evaluation.size / self.evaluation.resized
        if self.evaluation.interpolation is not None:
            asked["interpolation"] = self.evaluation.interpolation
        return {**self.normalisation, **asked}


def options_text(options: Mapping[str, Any]) -> str:
    """ " with alpha=0.35", or nothing without options."""
    joined = " and ".join(f"{key}={str(value).lower()}" for key, value in options.items())
    return f" with {joined}" if joined else ""


def digest_of_name(file: str) -> str:
    """PyTorch's convention: name-<first digits of the SHA-256>.pth."""
    return f"sha256:{file.rpartition('.')[0].rpartition('-')[2]}"


def crop(size: int, resized: int, interpolation: str = "bilinear") -> Evaluation:
    """The shorter side to `resized` pixels, with antialiasing, then the centre."""
    return Evaluation(
        size=size, resize="crop", resized=resized, interpolation=interpolation, antialias=True
    )
