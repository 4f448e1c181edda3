"""Which preprocessing a network was trained with, where nobody says: by its norms, or its answers.

What the network's own norms know is asked first (`preprocessing.guess`); where they do not know,
and the images have labels, that preprocessing is taken by which the network is right most often.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from kerascnn.preprocessing import NORMALISATIONS, Preprocessing
from training.classification.evaluate import evaluate, keras_predict_fn
from training.common.spread import spread
from training.datasets.decode import decode_split
from training.datasets.splits import Split
from training.importing import preprocessing as normalising

_IMAGES = 64


def guessed(
    model: keras.Model, images: Split, *, labelled: bool, resize: str
) -> tuple[Preprocessing, str]:
    """The preprocessing, and a sentence that says how it was found.

    Args:
        model: plain.
        images: to learn from, not read yet; some of them are looked at.
        labelled: whether their labels are true.
        resize: see `Preprocessing`.
    """
    height, width, channels = model.input_shape[1:]
    bytes_ = normalising.named("none", height, width, channels, resize=resize)
    split, _broken = decode_split(images.take(spread(len(images), _IMAGES)), bytes_)
    assert split.pictures is not None  # so few always fit
    found = normalising.guess(model, split.pictures)
    name, sentence = found.name, found.sentence
    if not found.sure and labelled:
        known = _by_labels(model, split, found.scores, bytes_)
        name, sentence = known or (name, sentence)
    note = f"{sentence}; another one: --preprocessing {', '.join(NORMALISATIONS)}"
    return normalising.named(name, height, width, channels, resize=resize), note


def _by_labels(
    model: keras.Model, split: Split, names: Mapping[str, float], bytes_: Preprocessing
) -> tuple[str, str] | None:
    """The one by which the network is right most often; None where that is not more than chance."""
    found = {}
    for name in names:
        each = normalising.named(name, bytes_.height, bytes_.width, bytes_.channels)
        predict = keras_predict_fn(model, dataclasses.replace(each, resize=bytes_.resize))
        found[name] = evaluate(predict, split, bytes_)
    order = sorted(found, key=lambda name: (-found[name].accuracy, found[name].loss))
    best, second = order[:2]
    most_common = 100 * float(np.bincount(split.labels).max()) / len(split)
    if found[best].accuracy <= most_common:
        return None
    doubt = ""
    if found[best].accuracy - found[second].accuracy < 100 / np.sqrt(len(split)):
        doubt = f", not surely: {second!r} comes near"
    figures = ", ".join(f"{name} {found[name].accuracy:.0f}%" for name in names)
    return best, (
        f"preprocessing {best!r}{doubt}, by how many of {len(split)} labelled images the network "
        f"is right on under each name ({figures})"
    )
