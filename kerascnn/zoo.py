"""Build a model by name, list the names, and cut features out of a model.

What each name stands for, and what is published of it, is in `kerascnn.catalogue`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kerascnn.catalogue import ENTRIES, Entry
from kerascnn.errors import InputError, did_you_mean
from kerascnn.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

    from kerascnn.detection.specs import DetectorSpec, TwoStageSpec

# What a network is made of, by the beginning of its layers' names.
_PART = r"stem|(?:stage|enc|dec)\d+"


class UnknownModelError(InputError):
    """A name that the registry does not hold; the message offers the closest one."""


def list_models(task: str | None = None) -> list[str]:
    """Names of all models, or of one task; task by task, each in the order of publication."""
    return [name for name, entry in ENTRIES.items() if task in (None, entry.task)]


def entry(name: str) -> Entry:
    """The catalogue's row for `name`; raises UnknownModelError with the closest name."""
    try:
        return ENTRIES[name]
    except KeyError:
        hint = did_you_mean(name, ENTRIES) or "; `kerascnn models` lists them all"
        raise UnknownModelError(f"unknown model {name!r}{hint}") from None


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    class_names: Sequence[str] = (),
    **options: Any,
) -> keras.Model:
    """Build a model of the zoo.

    Args:
        name: one of `list_models()`.
        input_shape: (height, width, channels); the published size by default.
        classes: how many; the published number by default.
        weights: None (random), a name that the model lists ("imagenet", "coco": downloaded into
            the cache when it is not there), or the path of a weights file of keras.applications
            (.h5, .keras), torchvision (.pth, .safetensors), timm, effdet, kerascnn or a plain
            Keras U-Net; its layout is found from the file, and sets the options that the weights
            were trained with (padding, epsilon). With `classes` given, layers for classes that do
            not fit keep their random weights. A detector or a U-Net takes its backbone's weights as
            well, and keeps the rest random.
        dtype: a Keras dtype policy, such as "mixed_float16" or "mixed_bfloat16"; the logits stay
            float32 in mixed precision. The global policy by default.
        class_names: of a detector's classes, as many as `classes`: where `weights` are of other
            classes, those of these names keep their outputs (COCO's, or a run's labels.txt).
        **options: of the family's builder, for example `alpha=0.35`.

    Returns:
        A functional model from (batch, height, width, channels) float32, normalised as
        `preprocessing(name, ...)` says. A classifier gives (batch, classes) logits; a detector
        gives coded boxes (batch, anchors, 4) and logits (batch, anchors, classes), the background
        first where its `detector_spec` has one; an R-CNN gives a dictionary of detections; a
        segmentation network gives logits (batch, height, width, classes).

    Raises:
        UnknownModelError: no such model.
        TypeError: no such option.
        InputError: an impossible shape, or weights that are not there or do not fit; the message
            names the first tensor that does not.
    """
    row = entry(name)
    if weights is not None:
        from kerascnn.weights import find

        source = find(name, weights, backbone=row.backbone, options=options)
        if options.get("fused") and source.layout.origin != "kerascnn":
            raise InputError(
                f"{source.path} holds branches: build {name} without fused=True, and join them as "
                "compress does (export.graph.join_branches.deployed)"
            )
        forms = row.backbone_options if source.backbone else {}
        options = {**source.layout.options, **forms, **options}
    module, _, function = row.builder.partition(":")
    builder = getattr(importlib.import_module(module), function)
    with _dtype_policy(dtype):
        model: keras.Model = builder(
            input_shape=tuple(input_shape or row.input_shape),
            classes=row.classes if classes is None else classes,
            **options,
        )
    if weights is not None:
        from kerascnn.weights.fill import fill

        fill(
            *(model, source),
            keep_misfitting_head=classes is not None,
            class_names=class_names if row.facts.decoded else (),
        )
    return model


def preprocessing(
    name: str,
    height: int,
    width: int,
    *,
    weights: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Preprocessing:
    """What a model expects of an image.

    Args:
        name: one of `list_models()`.
        height: of the network's input, in pixels.
        width: likewise.
        weights: as given to `build`; their own normalisation, and the share of the image that
            their publisher's crop keeps, replace the model's. No file is needed for a name.
        **options: other fields of `Preprocessing`.

    Raises:
        InputError: weights that are not there, or in no known layout.
    """
    row = entry(name)
    if weights is not None:
        from kerascnn.weights import find, published

        if named := published.first(name, weights, backbone=row.backbone):
            options = {
                **(named.normalisation if row.facts.whole else named.preprocessing),
                **options,
            }
        else:
            source = find(name, weights, backbone=row.backbone)
            options = {**source.layout.normalisation, **options}
    return row.preprocessing(height, width, **options)


def detector_spec(
    name: str, input_shape: tuple[int, ...] | None = None, **options: Any
) -> DetectorSpec | TwoStageSpec:
    """What a detector's outputs mean; no network is built for it.

    Args:
        name: one of `list_models("detection")`.
        input_shape: (height, width) or (height, width, channels) that the detector was built with;
            the published size by default.
        **options: other fields of the spec, for example `score_threshold=0.3`, and what the
            family's own `detector_spec` takes. An R-CNN has its detections inside: options must be
            those that it was built with.

    Returns:
        A `TwoStageSpec` for an R-CNN, else a `DetectorSpec`.

    Raises:
        InputError: a model that detects nothing.
    """
    row = entry(name)
    if not row.facts.decoded:
        raise InputError(
            f"{name} is not a detector; the detectors are {', '.join(list_models('detection'))}"
        )
    module = importlib.import_module(spec_module(name))
    spec: DetectorSpec | TwoStageSpec = module.detector_spec(
        name, input_shape or row.input_shape, **options
    )
    return spec


def spec_module(name: str) -> str:
    """Where a detector's `detector_spec` is: beside its builder where that needs no framework.

    Of a builder in `family` that is `family_boxes`, if there is such a module, else `family`.
    """
    module = entry(name).builder.partition(":")[0]
    light = f"{module}_boxes"
    return light if importlib.util.find_spec(light) else module


def features(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """Cut a feature extractor out of a model of the zoo; it shares the model's weights.

    Args:
        model: one that `build` made.
        names: "stem", stages ("stage2"), blocks ("stage2_block1") and a U-Net's levels ("enc1",
            "dec1"), which stand for their last tensor, or the name of any layer.

    Returns:
        A functional model from the same input to the list of the named tensors, in order.

    Raises:
        InputError: a name that the model has not.
    """
    import keras

    if isinstance(names, str):
        raise InputError(f"features takes a list of names, as in [{names!r}]")
    return keras.Model(
        model.input, [_end_of(model, name) for name in names], name=f"{model.name}_features"
    )


def _end_of(model: keras.Model, name: str) -> Any:
    if re.fullmatch(rf"{_PART}(_block\d+)?", name):
        part = [layer for layer in model.layers if re.fullmatch(f"{name}(_.*)?", layer.name)]
    else:
        part = [layer for layer in model.layers if layer.name == name]
    if not part:
        found = (re.match(rf"({_PART})(_|$)", layer.name) for layer in model.layers)
        parts = ", ".join(dict.fromkeys(match[1] for match in found if match))
        raise InputError(f"{model.name} has no {name!r}; it has {parts} and the names of layers")
    return part[-1].output


@contextlib.contextmanager
def _dtype_policy(dtype: str | None) -> Iterator[None]:
    if dtype is None:
        yield
        return
    import keras

    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(dtype)
    except ValueError as error:
        raise InputError(f"no dtype policy {dtype!r}: {error}") from None
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
