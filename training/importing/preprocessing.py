"""How images become the input of a network that says nothing about it: by a name, or by a guess.

0-1       bytes / 255
-1-1      bytes / 127.5 - 1
imagenet  less ImageNet's mean, by its standard deviation (torchvision, timm)
caffe     blue, green, red, less ImageNet's mean (keras.applications' VGG and ResNet)
none      bytes as they are
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from kerascnn.errors import InputError, did_you_mean
from kerascnn.preprocessing import NORMALISATIONS, Preprocessing

_MOST_IMAGES, _BATCH = 64, 8
# In nats by channel: how far photos are from a network of photos under the right name, at most, and
# how much farther under the next. EfficientNet-Lite0 and a MobileNetV2 of dogs: photos
# 0.007 to 0.14 (next 0.33 to 0.55), digits 0.28 and 0.41, under a wrong name.
_NEAR, _AHEAD = 0.25, 0.2


def named(
    name: str,
    height: int,
    width: int,
    channels: int,
    *,
    resize: str = "stretch",
    crop_fraction: float = 0.875,
) -> Preprocessing:
    """The preprocessing of one of `NORMALISATIONS`.

    Args:
        height, width, channels: of the network's input.
        resize, crop_fraction: see `Preprocessing`.

    Raises:
        InputError: no such name, or one that is of colours for a network of grey images.
    """
    if name not in NORMALISATIONS:
        raise InputError(
            f"no preprocessing is called {name!r}{did_you_mean(name, NORMALISATIONS)}; there are "
            f"{', '.join(NORMALISATIONS)}"
        )
    values = NORMALISATIONS[name]
    if channels == 1 and np.size(values["mean"]) > 1:
        raise InputError(f"preprocessing {name!r} is of colours; the network takes grey images")
    return Preprocessing(
        height=height,
        width=width,
        channels=channels,
        resize=resize,
        crop_fraction=crop_fraction,
        **values,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guess:
    """What a network was most probably fed with.

    Attributes:
        name: of `NORMALISATIONS`.
        sure: whether the evidence is such that no other name comes near.
        sentence: to be said, with the evidence.
        scores: of all names; the lowest is the guess.
    """

    name: str
    sure: bool
    sentence: str
    scores: Mapping[str, float]


def guess(model: keras.Model, images: np.ndarray) -> Guess:
    """Judge by what the network itself knows of its input.

    A batch norm has the mean and variance that its input had in training. The first one's are held
    against those that it has on some images under each name. A network without batch norms is
    judged by its answers: they are confident, and not all the same, if the input is right.

    Args:
        model: plain, ending in logits; see `training.importing.plain`.
        images: bytes (images, height, width, channels), of the network's size and kind; some tens
            of different ones.

    Raises:
        InputError: no images.
    """
    if not len(images):
        raise InputError("without images no preprocessing can be guessed; name it")
    images = np.asarray(images[:_MOST_IMAGES])
    fitting = (1, images.shape[-1])
    names = [one for one, v in NORMALISATIONS.items() if np.size(v["mean"]) in fitting]
    inputs = {one: named(one, *images.shape[1:]).normalise(images) for one in names}
    norm = first_norm(model)
    if norm is not None:
        return _by_norm(model, norm, inputs)
    return _by_answers(model, inputs)


def first_norm(model: keras.Model) -> layers.BatchNormalization | None:
    """The first batch norm of a network, if it was trained."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
            return layer if mean.any() or (variance != 1).any() else None
    return None


def _by_norm(
    model: keras.Model, norm: layers.BatchNormalization, inputs: Mapping[str, np.ndarray]
) -> Guess:
    inside = keras.Model(model.input, norm.input)
    scores = {
        name: _divergence(_run(inside, batch), norm) for name, batch in inputs.items()
    }  # fmt: skip
    best, second = sorted(scores, key=scores.__getitem__)[:2]
    doubt = ""
    if scores[best] > _NEAR:
        doubt = ", not surely: none fits these images well"
    elif scores[second] < scores[best] + _AHEAD:
        doubt = f", not surely: {second!r} comes near"
    return Guess(
        name=best,
        sure=not doubt,
        scores=scores,
        sentence=f"preprocessing {best!r}{doubt}: what reaches {norm.name!r} is nearest then to "
        f"the statistics stored in it (distance in nats: {_listed(scores)})",
    )


def _divergence(values: np.ndarray, norm: layers.BatchNormalization) -> float:
    """Median by channel of the divergence of a normal distribution from the norm's own."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    mean, variance = flat.mean(0), flat.var(0) + norm.epsilon
    own_mean = np.asarray(norm.moving_mean, np.float64)
    own = np.asarray(norm.moving_variance, np.float64) + norm.epsilon
    nats = (np.log(own / variance) + (variance + (mean - own_mean) ** 2) / own - 1) / 2
    return float(np.median(nats))  # dead channels have any


def _by_answers(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> Guess:
    scores = {name: -_information(_run(model, batch)) for name, batch in inputs.items()}
    best = min(scores, key=scores.__getitem__)
    nats = {name: -score for name, score in scores.items()}
    return Guess(
        name=best,
        sure=False,
        scores=scores,
        sentence=f"preprocessing {best!r}, not surely, by how much its answers tell images apart "
        f"(nats: {_listed(nats)}); the network has no batch norms, which would know",
    )


def _information(logits: np.ndarray) -> float:
    """Nats that an answer tells of its image: entropy of the mean less the mean entropy."""
    shares = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return float(_entropy(shares.mean(0)) - _entropy(shares).mean())


def _entropy(shares: np.ndarray) -> Any:
    return -(shares * np.log(np.maximum(shares, 1e-30))).sum(-1)


def _run(model: keras.Model, batch: np.ndarray) -> np.ndarray:
    parts = [
        np.asarray(model(batch[at : at + _BATCH], training=False))
        for at in range(0, len(batch), _BATCH)
    ]
    return np.concatenate(parts)


def _listed(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {score:.3g}" for name, score in scores.items())
