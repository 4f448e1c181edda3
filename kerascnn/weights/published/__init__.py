"""Weights that others publish: one row per model, name and builder options.

`imagenet` is a network's best-known set: torchvision's first recipe, or keras.applications' where
it has widths, sizes or networks that torchvision has not. Both pad as the phone's runtime does
(TensorFlow's "same") where they come from keras.applications, and as PyTorch does elsewhere; the
layout of a file decides. Other sets of the same network have names of their own: `imagenet-v2`
(torchvision's second recipe), `imagenet-keras`, `imagenet-torchvision`, `imagenet-timm`, `ra4`
(timm's recipe of that name), `imagenet-192` (trained at 192 pixels), `coco` (detectors).

Where the figures come from:

- torchvision: the `Weights` of torchvision/models/*.py, whose file names end in the first eight
  digits of their SHA-256.
- keras.applications: keras/src/applications/*.py, with the MD5 of each file but those of
  MobileNet and MobileNetV2, of which nobody publishes one: there the bucket's own MD5 counts,
  which it sends along. Their accuracies are those of the TF-Slim checkpoints that they are
  (tensorflow/models, research/slim/nets/mobilenet_v1.md and mobilenet/README.md).
- timm: timm/models/{senet,efficientnet,mobilenetv3,byobnet,repvit}.py; files on GitHub have the
  same eight digits, files on Hugging Face's hub a pinned commit and the hub's own SHA-256, sent
  along. Accuracies: its README and results/results-imagenet.csv, as `kerascnn.catalogue` has them.
- effdet: effdet/config/model_config.py and its README.
- mmdetection: configs/rtmdet/README.md and configs/rtmdet/classification/README.md; file names end
  in the first eight digits of their SHA-256.

tests/kerascnn/test_published.py compares the rows with the installed keras.applications, with the
name tables of this package and with the catalogue.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from kerascnn.errors import InputError, did_you_mean
from kerascnn.weights.published import effdet, keras_applications, mmdetection, timm, torchvision
from kerascnn.weights.published.row import Evaluation, Published, options_text

__all__ = [
    "ROWS",
    "Evaluation",
    "Published",
    "choose",
    "first",
    "fitting",
    "names",
    "of_file",
    "options_text",
    "rows",
    "unknown",
]

ROWS: tuple[Published, ...] = (
    *torchvision.ROWS,
    *keras_applications.ROWS,
    *timm.ROWS,
    *effdet.ROWS,
    *mmdetection.ROWS,
)

_FIRST = ("coco", "imagenet")
# What a builder does without these options; rows that differ by them have one name.
_DEFAULTS: Mapping[str, Any] = {"alpha": 1.0, "minimalistic": False, "batch_norm": False}


def names(model: str, backbone: str | None = None) -> tuple[str, ...]:
    """Names of weights that a model has, then those of its backbone alone."""
    return tuple(dict.fromkeys(row.name for row in rows(model, backbone)))


def rows(model: str, backbone: str | None = None) -> tuple[Published, ...]:
    """The rows of a model, then those of its backbone, each with the best-known name first."""
    found = []
    for one in (model, backbone):
        own = [row for row in ROWS if row.model == one]
        found += sorted(own, key=lambda row: row.name not in _FIRST)
    return tuple(found)


def choose(
    model: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    backbone: str | None = None,
) -> Published | None:
    """The row that a name stands for, or None where the model has none of that name.

    Args:
        options: of the builder; a file is for one width, for example.
        backbone: the classifier in the model, whose weights fit as well.

    Raises:
        InputError: the model has weights of this name, but not for these options.
    """
    named = [row for row in rows(model, backbone) if row.name == name]
    return fitting(model, named, options or {})[0] if named else None


def fitting(
    model: str, found: Sequence[Published], options: Mapping[str, Any]
) -> tuple[Published, ...]:
    """Those of some rows that are for these options, or for a network that is built without any.

    Args:
        model: whose rows they are, and its backbone's; at least one.
        options: of the builder.

    Raises:
        InputError: none is; the message says what there is.
    """
    wanted = {key: options.get(key, default) for key, default in _DEFAULTS.items()}
    fit = tuple(row for row in found if {**_DEFAULTS, **row.options} == wanted)
    if fit:
        return fit
    asked = {key: value for key, value in wanted.items() if value != _DEFAULTS[key]}
    forms = dict.fromkeys(
        (options_text(row.options) or " without options").strip() for row in found
    )
    names = {row.name for row in found}
    named = f" {names.pop()!r}" if len(names) == 1 else ""
    form = options_text(asked) or " without options"
    raise InputError(f"{model} has no weights{named}{form}; there are: {', '.join(forms)}")


def first(
    model: str, name: str | os.PathLike[str], *, backbone: str | None = None
) -> Published | None:
    """Any row of a name: all of one name expect the same of an image."""
    return next((row for row in rows(model, backbone) if row.name == os.fspath(name)), None)


def of_file(name: str) -> Published | None:
    """The row of a file that has the published name."""
    return next((row for row in ROWS if row.file == name), None)


def unknown(model: str, name: str, backbone: str | None = None) -> str:
    """The part of a message about a name that a model has not: what it has, and what is like it."""
    has = names(model, backbone)
    if not has:
        return "nobody publishes weights of it by name"
    return f"it has {', '.join(has)}{did_you_mean(name, has)}"
