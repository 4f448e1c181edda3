"""What happens to a picture between its file and the first layer, declared once.

The same object is stored in run.json, written beside every artefact and read by
`kerascnn predict` and by the phone, so that no client has a 224 or a 127.5 of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from kerascnn import outside_json
from kerascnn.errors import InputError

_LARGEST_SIDE = 65_536
RESIZES = ("stretch", "crop", "pad", "centre", "letterbox")
LETTERBOX_GREY = 114  # around letterboxed images, in each channel: Ultralytics' YOLO has it
# Of tiles: pixels of a side, and how much of it neighbours share (SAHI's default, and at most).
LEAST_TILE, OVERLAP, MOST_OVERLAP = 32, 0.2, 0.9
INTERPOLATIONS = ("bilinear", "bicubic")

# ImageNet's mean and standard deviation by channel, of bytes.
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
# As Caffe had it: bytes in the order blue, green, red, less their mean.
CAFFE = {"mean": (103.939, 116.779, 123.68), "std": 1.0, "order": "bgr"}
NORMALISATIONS: Mapping[str, Mapping[str, Any]] = {
    "0-1": {"mean": 0.0, "std": 255.0},
    "-1-1": {"mean": 127.5, "std": 127.5},
    "imagenet": IMAGENET,
    "caffe": CAFFE,
    "none": {"mean": 0.0, "std": 1.0},
}
"""Fields of `Preprocessing` by the names that people have for them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Fixed image geometry and the affine map from bytes to network input.

    Attributes:
        height: of the network's input, in pixels.
        width: likewise.
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB).
        mean: `network_input = (byte - mean) / std`, one number or one per channel in the
            network's order. With one integer mean the map is exactly representable as the
            quantisation of a uint8 tensor, which is how int8 artefacts take raw bytes (Lite
            family: 127 and 128).
        std: likewise.
        order: of the network's three channels, "rgb" or "bgr"; bytes come as "rgb".
        resize: "stretch" (aspect ratio not kept), "crop" (resize the shorter side to
            `height / crop_fraction`, then cut the centre, between pixels where it lies
            there), "centre" (the same as torchvision and timm do it: the longer side is rounded
            down to whole pixels, and so is the cut), "pad" (centre the picture on black if it
            is smaller than the input, else "stretch") or "letterbox" (keep the aspect ratio: as
            large as the input holds it, enlarged if it is smaller, in the middle of grey 114; as
            Ultralytics' `LetterBox`). `kerascnn.geometry` has the numbers.
        crop_fraction: share of the resized picture that "crop" and "centre" keep.
        interpolation: of every resizing, "bilinear" or "bicubic" (a = -0.5); both as Pillow has
            them, with a filter as wide as what a new pixel covers (antialiasing).
        tiles: side in pixels of the squares that a larger image is cut into, each of which the
            network sees as an image of its own; 0: it sees the image whole. See
            `training.datasets.tiling`.
        overlap: share of a tile's side that the next one has too.
    """

    height: int
    width: int
    channels: int
    mean: float | tuple[float, ...] = 127.0
    std: float | tuple[float, ...] = 128.0
    order: str = "rgb"
    resize: str = "crop"
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
    tiles: int = 0
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"images have 1 or 3 channels, not {self.channels}")
        if self.resize not in RESIZES:
            raise ValueError(f"resize is one of {', '.join(RESIZES)}, not {self.resize!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation is 'bilinear' or 'bicubic', not {self.interpolation!r}"
            )
        if self.order not in ("rgb", "bgr"):
            raise ValueError(f"channels are in the order 'rgb' or 'bgr', not {self.order!r}")
        if self.tiles and self.tiles < LEAST_TILE:
            raise ValueError(f"tiles have {LEAST_TILE} pixels a side or more, not {self.tiles}")
        if not 0 <= self.overlap <= MOST_OVERLAP:
            raise ValueError(f"overlap is from 0 to {MOST_OVERLAP:g}, not {self.overlap}")
        sizes = {np.size(self.mean), np.size(self.std)} - {1, self.channels}
        impossible = sizes or np.min(self.std) <= 0 or not 0 < self.crop_fraction <= 1
        if impossible or self.height < 1 or self.width < 1:
            raise ValueError(f"impossible preprocessing: {self}")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the network input."""
        return (self.height, self.width, self.channels)

    @property
    def crops(self) -> bool:
        """Whether parts of an image are never seen."""
        return self.resize in ("crop", "centre")

    @property
    def keeps_shape(self) -> bool:
        """Whether what the network sees of an image has the image's aspect ratio."""
        return self.crops or self.resize == "letterbox"

    @property
    def filling(self) -> int:
        """The byte of each channel around an image that does not fill the input."""
        return LETTERBOX_GREY if self.resize == "letterbox" else 0

    @property
    def frame(self) -> tuple[int, int]:
        """(height, width) of what "crop" and "centre" cut the input out of."""
        return (round(self.height / self.crop_fraction), round(self.width / self.crop_fraction))

    @property
    def is_a_scale(self) -> bool:
        """Whether a uint8 tensor's scale and zero point can say exactly what a byte means."""
        numbers = np.size(self.mean) == np.size(self.std) == 1
        return numbers and float(np.squeeze(self.mean)).is_integer() and self.order == "rgb"

    def normalise(self, pictures: np.ndarray) -> np.ndarray:
        """Map bytes (..., channels), red first, to float32 network input."""
        normalised: np.ndarray = self.normalise_floats(np.asarray(pictures, np.float32))
        return normalised

    def normalise_floats(self, values: Any) -> Any:
        """The same for float32 values, of NumPy or of Keras' backend."""
        if self.order == "bgr" and self.channels == 3:
            values = reversed_channels(values)
        return (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that travels with runs and artefacts.

        Bilinear interpolation is not named, nor is that there are no tiles: files that were made
        before these had a name, and their hashes, stay the same.
        """
        fields = dataclasses.asdict(self)
        if self.interpolation == "bilinear":
            del fields["interpolation"]
        if not self.tiles:
            del fields["tiles"], fields["overlap"]
        return fields

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Read the JSON form; raises TypeError or ValueError on anything else."""
        lists = {key: tuple(v) for key, v in values.items() if isinstance(v, list)}
        read = cls(**{**values, **lists})
        outside_json.check_types(read)
        if max(read.height, read.width) > _LARGEST_SIDE:
            raise ValueError(f"a network of {read.height}x{read.width} pixels")
        return read


def refuse_tiles(tiles: int | None, overlap: float | None) -> None:
    """Raise InputError for tiles that are asked for and that `Preprocessing` cannot have."""
    if overlap is not None and not tiles:
        raise InputError("overlap is of tiles; give --tiles PIXELS as well, or leave it out")
    if tiles and not LEAST_TILE <= tiles <= _LARGEST_SIDE:
        raise InputError(f"tiles must be {LEAST_TILE} to {_LARGEST_SIDE} pixels, not {tiles}")
    if overlap is not None and not 0 <= overlap <= MOST_OVERLAP:
        raise InputError(f"overlap must be from 0 to {MOST_OVERLAP:g}, not {overlap}")


def reversed_channels(values: Any) -> Any:
    """(..., channels) in the other order, red first for blue first."""
    if isinstance(values, np.ndarray):
        return values[..., ::-1]
    from keras import ops  # imported late: the command line reads these figures without Keras

    return ops.flip(values, axis=-1)  # torch takes no negative steps
