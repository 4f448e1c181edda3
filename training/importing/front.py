"""What a network does to its image before the first layer that learns, taken out of it.

No list of layers is gone through: all at the front that has no weights is run on a few images, and
the farthest tensor that is `(byte - mean) / std` of the input, channel by channel, is where the
network begins. So Rescaling, Normalization, `x / 127.5 - 1` and preprocess_input of
keras.applications are found alike, and so is what does nothing at inference: augmentation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from keras import layers

from kerascnn.preprocessing import Preprocessing
from training.importing.graph import Graph, Step, Value, called, fill, twin

_MOST_STEPS = 60
_PROBE_SIDE = 32  # of images for a network that takes any size
# Change the size of an image, not its values: to be done before a network sees it.
_GEOMETRY = (layers.Resizing, layers.CenterCrop, layers.RandomCrop)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Affine:
    """`network = (image - mean) / std`, one number per channel in the network's order.

    Attributes:
        reversed: whether the network's first channel is the image's last.
    """

    mean: np.ndarray
    std: np.ndarray
    reversed: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether nothing is done."""
        return not self.reversed and bool((self.mean == 0).all() and (self.std == 1).all())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Front:
    """What was found at the front of a network.

    Attributes:
        graph: the rest, whose input is what `affine` makes.
        affine: done to what was the input.
        geometry: steps that change sizes, in their order.
        outer: what the values were before they came to the network: (mean, std) of bytes.
        notes: sentences to say about it.
    """

    graph: Graph
    affine: Affine
    geometry: tuple[Step, ...] = ()
    outer: tuple[float, float] = (0.0, 1.0)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that steps of `geometry` make, if there are any."""
        if not self.geometry:
            return None
        last: Any = self.geometry[-1].operation
        return int(last.height), int(last.width)


def split(graph: Graph) -> Front:
    """Cut a network behind what it does to its image; never raises."""
    probes = _probes(graph.input)
    values: dict[Value, Any] = {graph.input: probes}
    affine, cut = Affine(mean=np.zeros(1), std=np.ones(1)), 0
    start = graph.input
    for index, step in enumerate(graph.steps[:_MOST_STEPS]):
        if not _run(step, values):
            break
        alone = _only_live(graph, index)
        found = _affine(probes, np.asarray(values[alone], np.float64)) if alone else None
        if alone and found:
            affine, cut, start = found, index + 1, alone
    rest = dataclasses.replace(graph, input=start, steps=graph.steps[cut:])
    taken = graph.steps[:cut]
    outer, inside = _outer(affine)
    notes = [*_notes(taken, inside, outer), *_left(rest)]
    return Front(
        graph=rest,
        affine=inside,
        geometry=tuple(step for step in taken if isinstance(step.operation, _GEOMETRY)),
        outer=outer,
        notes=tuple(notes),
    )


def is_idle(step: Step) -> bool:
    """Whether a step is a layer of Keras' for images that does nothing at inference."""
    kind = type(step.operation)
    if step.weighted or not kind.__module__.startswith("keras.src.layers.preprocessing"):
        return False
    images = _probes(step.inputs[0])
    made = np.asarray(called(step, twin(step, step.operation.name), {step.inputs[0]: images})[0])
    return made.shape == images.shape and bool((made == images).all())


def resized(front: Front, images: np.ndarray) -> np.ndarray:
    """Float images with the geometry of the front done to them."""
    for step in front.geometry:
        own = twin(step, step.operation.name)
        images = np.asarray(called(step, own, {step.inputs[0]: images})[0], np.float32)
    return images


def preprocessing(front: Front, shape: tuple[int, int, int]) -> Preprocessing | None:
    """What stood inside, or None where that was nothing.

    Args:
        shape: (height, width, channels) of the network's input.
    """
    if front.affine.is_identity and not any(map(_rescales, _unlearnt(front.graph))):
        return None
    height, width, channels = shape
    return Preprocessing(
        height=height,
        width=width,
        channels=channels,
        mean=_per_channel(front.affine.mean),
        std=_per_channel(front.affine.std),
        order="bgr" if front.affine.reversed else "rgb",
        **_resize(front),
    )


def _resize(front: Front) -> dict[str, Any]:
    """How an image comes to its size, as fields of `Preprocessing`."""
    if not front.geometry:
        return {"resize": "stretch"}
    first, last = front.geometry[0].operation, front.geometry[-1].operation
    if isinstance(last, layers.Resizing):
        stretches = not (last.crop_to_aspect_ratio or last.pad_to_aspect_ratio)
        return {"resize": "stretch"} if stretches else {"resize": "crop", "crop_fraction": 1.0}
    before = first.height if isinstance(first, layers.Resizing) else front.geometry[0].inputs[0]
    whole = before.shape[1] if isinstance(before, Value) else before
    return {"resize": "crop", "crop_fraction": min(1.0, last.height / whole) if whole else 1.0}


def _probes(value: Value) -> np.ndarray:
    """Images of one colour each (black, then one full channel each), and one of noise."""
    _, height, width, channels = value.shape
    height, width, channels = height or _PROBE_SIDE, width or _PROBE_SIDE, channels or 1
    images = np.zeros((channels + 2, height, width, channels), np.float32)
    for channel in range(channels):
        images[1 + channel, ..., channel] = 255
    images[-1] = np.random.default_rng(0).integers(0, 256, images.shape[1:])
    return images


def _run(step: Step, values: dict[Value, Any]) -> bool:
    """Do a step on the probes; whether it may belong to the front."""
    if step.weighted and not isinstance(step.operation, layers.Normalization):
        return False
    if isinstance(step.operation, _GEOMETRY):
        values[step.outputs[0]] = values[step.inputs[0]]
        return True
    try:
        own = twin(step, step.operation.name)
        made = called(step, own, values)
        if step.weighted:
            fill(step, own)
            made = called(step, own, values)
    except Exception:  # it takes no images of this size, or is none of ours to run
        return False
    values.update(zip(step.outputs, made, strict=True))
    return True


def _only_live(graph: Graph, index: int) -> Value | None:
    """The one tensor of the first steps that later ones read, if there is one."""
    made = {graph.input}.union(*(step.outputs for step in graph.steps[: index + 1]))
    read = {one for step in graph.steps[index + 1 :] for one in step.inputs} | {graph.output}
    live = made & read
    return live.pop() if len(live) == 1 else None


def _affine(images: np.ndarray, made: np.ndarray) -> Affine | None:
    """The map from images to what was made of them, if it is one that `Preprocessing` can say."""
    if made.shape != images.shape or not np.isfinite(made).all():
        return None
    channels = images.shape[-1]
    middle = made[: channels + 1].mean(axis=(1, 2))  # of images of one colour
    offset, gains = middle[0], (middle[1:] - middle[0]).T / 255  # (to, from)
    order = next((one for one in (slice(None), slice(None, None, -1))
                  if np.allclose(gains, np.diag(np.diag(gains[:, one]))[:, one],
                                 rtol=0, atol=1e-6 * np.abs(gains).max())), None)  # fmt: skip
    if order is None:
        return None
    gain = np.diag(gains[:, order])
    wanted = images[..., order] * gain + offset
    if (gain <= 0).any() or np.abs(made - wanted).max() > 1e-5 * max(1.0, np.abs(made).max()):
        return None
    return Affine(mean=_short(-offset / gain), std=_short(1 / gain), reversed=order != slice(None))


def _short(numbers: np.ndarray) -> np.ndarray:
    """Without the last digits of float32, where a short number was meant."""
    short = np.array([float(f"{one:.6g}") for one in numbers])
    short[np.abs(numbers) < 1e-4] = 0.0
    return np.where(
        np.abs(short - numbers) <= 2e-6 * np.maximum(1, np.abs(numbers)), short, numbers
    )


def _per_channel(numbers: np.ndarray) -> float | tuple[float, ...]:
    one = set(map(float, numbers))
    return one.pop() if len(one) == 1 else tuple(map(float, numbers))


def _outer(affine: Affine) -> tuple[tuple[float, float], Affine]:
    """What was done to bytes outside, and the map from bytes.

    A step that makes numbers larger was made for small ones: 0 to 1, or -1 to 1 if it takes those
    below zero for black.
    """
    if (affine.std >= 1).all():
        return (0.0, 1.0), affine
    mean, std = (127.5, 127.5) if (affine.mean < 0).any() else (0.0, 255.0)
    whole = dataclasses.replace(
        affine, mean=_short(affine.mean * std + mean), std=_short(affine.std * std)
    )
    return (mean, std), whole


def _notes(taken: Iterable[Step], affine: Affine, outer: tuple[float, float]) -> Iterable[str]:
    names = [f"{step.operation.name} ({type(step.operation).__name__})" for step in taken]
    if names:
        yield f"taken out of the network, to be done to images before it: {', '.join(names)}"
    if outer != (0.0, 1.0):
        span = "-1 to 1" if outer[0] else "0 to 1"
        yield f"the network scales its input up: it is taken for one that is fed with {span}"


def _left(rest: Graph) -> Iterable[str]:
    for step in _unlearnt(rest):
        if _rescales(step):
            yield f"{step.name} stays in the network, which is fed with what stands before it"


def _unlearnt(graph: Graph) -> Iterable[Step]:
    """The steps before the first that has weights to learn."""
    for step in graph.steps:
        if step.weighted and not isinstance(step.operation, layers.Normalization):
            return
        yield step


def _rescales(step: Step) -> bool:
    return isinstance(step.operation, layers.Rescaling | layers.Normalization)
