"""What may happen to training images, and how chance decides on it: NumPy alone.

One row an image is drawn beforehand (`draw`), so that augmentation is a function of (seed, epoch,
image) under every backend. `training.augment.images` does to a batch what was drawn for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from kerascnn.errors import InputError

# The window that the papers' sides of ImageNet images are meant for.
_PAPERS_WINDOW = 224
# Principal components of the RGB values of ImageNet, on a scale of 0 to 1 (facebook's
# fb.resnet.torch, datasets/imagenet.lua): standard deviations, and directions in columns.
_PCA_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])
_PCA_DIRECTIONS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
# RandAugment's (arXiv:1909.13719, section 3), in the order of the drawn codes.
OPERATIONS = (
    *("identity", "autocontrast", "equalize", "rotate", "solarize", "color", "posterize"),
    *("contrast", "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What may happen to an image; everything is off by default.

    Attributes:
        shorter_side: a window of the network's size, at a random place of the image resized so
            that its shorter side is between these two, for a 224 window and in proportion for
            others (AlexNet 2012, section 4.1: 256; arXiv:1409.1556, section 3.1: 256 to 512).
        area: a window that holds this share of the image (arXiv:1409.4842, section 6).
        aspect: width to height of such a window over that of the network, log-uniform.
        flip: one of two mirrored, left to right.
        rotation: degrees to either side.
        zoom: share of either side, each by itself.
        shear: x by share of y.
        move: share of either side, in any fraction of pixels.
        shift: share of either side, in whole pixels (arXiv:1512.03385, section 4.2).
        outside: what lies around an image: "black", "mirrored" or "edge" (the nearest pixel).
        negative: probability of 255 minus the image.
        gains: range of a factor a channel.
        pca: standard deviation, in those of ImageNet, of one colour added to all pixels (AlexNet
            2012, section 4.1). One channel takes the mean of the three.
        operations: of RandAugment, one after another (arXiv:1909.13719).
        magnitude: of these, 0 to 10. Ranges are AutoAugment's (arXiv:1805.09501, table 6), each
            from nothing at 0 to its strong end at 10; directions and blends take either sign.
        erase: probability that a box is replaced by noise (arXiv:1708.04896).
        erased_area: share of the image that the box holds.
        erased_aspect: height to width of the box, log-uniform.
    """

    shorter_side: tuple[int, int] | None = None
    area: tuple[float, float] | None = None
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    move: float = 0.0
    shift: float = 0.0
    outside: str = "edge"
    negative: float = 0.0
    gains: tuple[float, float] | None = None
    pca: float = 0.0
    operations: int = 0
    magnitude: float = 0.0
    erase: float = 0.0
    erased_area: tuple[float, float] = (0.02, 0.4)
    erased_aspect: tuple[float, float] = (0.3, 1 / 0.3)

    @property
    def crops(self) -> bool:
        """Whether windows are cut out of larger images: `draw` gives "window"."""
        return self.shorter_side is not None or self.area is not None

    @property
    def warps(self) -> bool:
        """Whether images are rotated, zoomed, sheared or moved: `draw` gives "matrix"."""
        return any((self.rotation, self.zoom, self.shear, self.move))


_PICTURES = Policy(shorter_side=(256, 256), flip=True)
_INCEPTION = Policy(area=(0.08, 1.0), flip=True)
POLICIES: Mapping[str, Policy] = {
    "none": Policy(),
    "digits": Policy(rotation=15, zoom=0.15, shear=0.2, move=0.09, outside="black"),
    # Half as far: a digit on a photo may stand at the edge already.
    "scenes": Policy(
        rotation=7.5,
        zoom=0.075,
        shear=0.1,
        move=0.045,
        outside="mirrored",
        negative=0.5,
        gains=(0.7, 1.3),
    ),
    "pictures": _PICTURES,
    "randaugment": dataclasses.replace(_PICTURES, operations=2, magnitude=5),
    "cifar": Policy(shift=1 / 8, flip=True, outside="black"),  # 4 of 32 pixels
    "alexnet": dataclasses.replace(_PICTURES, pca=0.1),
    "vgg": Policy(shorter_side=(256, 512), flip=True, pca=0.1),
    "resnet": Policy(shorter_side=(256, 480), flip=True, pca=0.1),
    "inception": _INCEPTION,
    "inception_randaugment": dataclasses.replace(_INCEPTION, operations=2, magnitude=9),
    "modern": dataclasses.replace(_INCEPTION, operations=2, magnitude=9, erase=0.25),
}

# Columns of uniform numbers an image. Each purpose has its own, used or not, so that what one
# policy draws for a window another draws too.
_FLIP, _NEGATIVE, _SIDE, _ERASE, _NOISE = range(5)
_PLACE, _SHIFT, _ERASED_PLACE = slice(5, 7), slice(7, 9), slice(9, 11)
_AFFINE, _NORMAL, _GAINS = slice(11, 17), slice(17, 23), slice(23, 26)
_OPERATIONS = slice(26, 34)
_AREAS, _ASPECTS = slice(34, 44), slice(44, 54)
_ERASED_AREAS, _ERASED_ASPECTS = slice(54, 64), slice(64, 74)
_COLUMNS = 74
_ROWS_AT_ONCE = 8192  # bounds memory: a row is 592 bytes


def draw(
    policy: Policy, rng: np.random.Generator, sizes: np.ndarray, target: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Draw what happens to each image of an epoch; row i is the same whatever the others are.

    Args:
        sizes: (n, 2) heights and widths of the original images.
        target: height and width of the network.

    Returns:
        Arrays with n rows, as far as the policy has them:
        window: (n, 4) float32 top, left, height and width as shares of the whole image.
        flip: (n,) float32, 1 where mirrored.
        shift: (n, 2) float32, whole pixels of the network to move down and right, before the
            flip.
        matrix: (n, 2, 3) float32, from (x, y, 1) of a changed to (x, y) of an unchanged image,
            in pixel numbers of the network.
        negative: (n,) float32, 1 where inverted.
        gains: (n, 3) float32 factors.
        colour: (n, 3) float32, added on the scale of 0 to 255.
        operations: (n, operations) int32, 2 x number in `OPERATIONS` + (1 where reversed).
        erased: (n, 4) int32 top, left, bottom and right in pixels of the network.
        noise: (n,) int32, where in a sheet of noise that of an erased box begins.

    Raises:
        InputError: sizes that are no (n, 2), or an image without pixels.
    """
    sizes = np.asarray(sizes, np.int64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or (sizes < 1).any():
        raise InputError(f"sizes are (n, 2) heights and widths from 1, not {sizes.shape}")
    parts = []
    for start in range(0, max(1, len(sizes)), _ROWS_AT_ONCE):
        some = sizes[start : start + _ROWS_AT_ONCE]
        parts.append(_rows(policy, rng.random((len(some), _COLUMNS)), some, target))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _rows(
    policy: Policy, u: np.ndarray, sizes: np.ndarray, target: tuple[int, int]
) -> dict[str, np.ndarray]:
    rows: dict[str, np.ndarray] = {}
    if policy.area is not None:
        rows["window"] = _area_windows(policy.area, policy.aspect, u, sizes, target)
    elif policy.shorter_side is not None:
        rows["window"] = _side_windows(policy.shorter_side, u, sizes, target)
    if policy.flip:
        rows["flip"] = u[:, _FLIP] < 0.5
    if policy.shift:
        most = np.floor(np.multiply(policy.shift, target))
        rows["shift"] = np.floor(u[:, _SHIFT] * (2 * most + 1)) - most
    if policy.warps:
        rows["matrix"] = _matrices(policy, 2 * u[:, _AFFINE] - 1, target)
    if policy.negative:
        rows["negative"] = u[:, _NEGATIVE] < policy.negative
    if policy.gains is not None:
        low, high = policy.gains
        rows["gains"] = low + (high - low) * u[:, _GAINS]
    if policy.pca:
        alphas = policy.pca * _normal(u[:, _NORMAL])
        rows["colour"] = 255 * (alphas * _PCA_DEVIATIONS) @ _PCA_DIRECTIONS.T
    rows = {key: value.astype(np.float32) for key, value in rows.items()}
    if policy.operations:
        codes = u[:, _OPERATIONS][:, : policy.operations] * 2 * len(OPERATIONS)
        rows["operations"] = codes.astype(np.int32)
    if policy.erase:
        rows["erased"] = _erased(policy, u, target).astype(np.int32)
        rows["noise"] = (target[0] * u[:, _NOISE]).astype(np.int32)
    return rows


def _side_windows(
    sides: tuple[int, int], u: np.ndarray, sizes: np.ndarray, target: tuple[int, int]
) -> np.ndarray:
    """Windows at whole pixels of the image as it would be resized, so as not to blur it."""
    low, high = sides
    side = low + np.floor(u[:, _SIDE] * (high - low + 1))
    scale = (target / sizes).max(axis=1) * side / _PAPERS_WINDOW
    resized = np.maximum(np.round(sizes * scale[:, None]), target)
    place = np.floor(u[:, _PLACE] * (resized - target + 1))
    return np.concatenate([place / resized, target / resized], axis=1)


def _area_windows(
    area: tuple[float, float],
    aspect: tuple[float, float],
    u: np.ndarray,
    sizes: np.ndarray,
    target: tuple[int, int],
) -> np.ndarray:
    """Ten tries an image, then the largest centred window of an allowed shape."""
    network = target[1] / target[0]
    low, high = aspect[0] * network, aspect[1] * network
    fits, box = _first_fit(sizes, area, (low, high), u[:, _AREAS], u[:, _ASPECTS])
    heights, widths = sizes.T
    largest = np.stack(
        [np.minimum(heights, np.round(widths / low)), np.minimum(widths, np.round(heights * high))],
        axis=1,
    ).clip(1)
    box = np.where(fits[:, None], box, largest)
    free = sizes - box
    place = np.where(fits[:, None], np.floor(u[:, _PLACE] * (free + 1)), free // 2)
    return np.concatenate([place / sizes, box / sizes], axis=1)


def _first_fit(
    sizes: np.ndarray,
    area: tuple[float, float],
    aspect: tuple[float, float],
    areas: np.ndarray,
    aspects: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The first box, width over height in `aspect`, that fits its image.

    Args:
        areas, aspects: (n, tries) uniform numbers.

    Returns:
        (n,) whether there is one, and (n, 2) whole heights and widths.
    """
    pixels = sizes.prod(axis=1)[:, None] * (area[0] + (area[1] - area[0]) * areas)
    low, high = np.log(aspect)
    ratios = np.exp(low + (high - low) * aspects)
    boxes = np.round(np.sqrt(np.stack([pixels / ratios, pixels * ratios], axis=-1)))
    fit = ((boxes >= 1) & (boxes <= sizes[:, None])).all(axis=-1)
    return fit.any(axis=1), boxes[np.arange(len(boxes)), fit.argmax(axis=1)]


def _erased(policy: Policy, u: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    sizes = np.broadcast_to(np.array(target), (len(u), 2))
    low, high = policy.erased_aspect
    fits, box = _first_fit(
        sizes, policy.erased_area, (1 / high, 1 / low), u[:, _ERASED_AREAS], u[:, _ERASED_ASPECTS]
    )
    fits &= u[:, _ERASE] < policy.erase
    place = np.floor(u[:, _ERASED_PLACE] * (sizes - box + 1))
    return np.where(fits[:, None], np.concatenate([place, place + box], axis=1), 0)


def _matrices(policy: Policy, u: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    """(n, 6) numbers from -1 to 1 to (n, 2, 3), about the middle of the image."""
    height, width = target
    angle = np.radians(policy.rotation) * u[:, 0]
    zoom_x, zoom_y = 1 + policy.zoom * u[:, 1], 1 + policy.zoom * u[:, 2]
    shear = policy.shear * u[:, 3]
    a, b = np.cos(angle) * zoom_x, (shear - np.sin(angle)) * zoom_y
    c, d = np.sin(angle) * zoom_x, np.cos(angle) * zoom_y
    x, y = (width - 1) / 2, (height - 1) / 2
    move_x = x - a * x - b * y + policy.move * width * u[:, 4]
    move_y = y - c * x - d * y + policy.move * height * u[:, 5]
    return np.stack([a, b, move_x, c, d, move_y], axis=1).reshape(-1, 2, 3)


def _normal(u: np.ndarray) -> np.ndarray:
    """(n, 6) uniform to (n, 3) normal numbers by Box and Muller, as many from each row."""
    normal: np.ndarray = np.sqrt(-2 * np.log1p(-u[:, :3])) * np.cos(2 * np.pi * u[:, 3:])
    return normal
