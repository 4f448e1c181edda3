"""What a file of another program takes and gives: from the file itself, its metadata, and flags.

Sizes, types and layout are read off the file's tensors. TFLite Metadata, where there is any, gives
the normalisation (NormalizationOptions) and the labels (an associated file). All else is given by
the user (`FileOptions`); what is missing is refused by the name of its flag.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from export.artefacts.artefact import FORMATS, require_description, sidecar
from export.artefacts.description import inside
from export.runtime import first_run, foreign
from export.runtime.foreign import Form, OpenedFile, Tensor
from export.runtime.model_facts import ModelFacts, facts
from kerascnn.errors import InputError
from kerascnn.preprocessing import INTERPOLATIONS, NORMALISATIONS, RESIZES, Preprocessing
from training.common.progress import say
from training.importing import labels as naming
from training.importing import tflite_metadata

LAYOUTS = ("nhwc", "nchw")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What the user states of a file that does not describe itself; None: nothing.

    Attributes:
        labels: a file with a label a line.
        preprocessing: one of "0-1", "-1-1", "imagenet", "caffe", "none", or numbers: mean and
            standard deviation, of all channels or of each, in bytes or (below 1) in shares.
        layout: "nhwc" or "nchw".
        image_size: (height, width).
        resize, crop_fraction, interpolation: see `Preprocessing`.
        unlabelled: labels may be missing, since nothing is held against them.
    """

    labels: pathlib.Path | None = None
    preprocessing: str | None = None
    layout: str | None = None
    image_size: tuple[int, int] | None = None
    resize: str | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    unlabelled: bool = False

    def __post_init__(self) -> None:
        for flag, value, known in (
            ("--layout", self.layout, LAYOUTS),
            ("--resize", self.resize, RESIZES),
            ("--interpolation", self.interpolation, INTERPOLATIONS),
        ):
            if value is not None and value not in known:
                raise InputError(f"{flag} must be one of {', '.join(known)}, not {value!r}")
        if self.crop_fraction is not None and not 0 < self.crop_fraction <= 1:
            raise InputError(
                f"--crop-fraction must be above 0 and at most 1, not {self.crop_fraction:g}"
            )
        if self.preprocessing is not None:
            normalisation(self.preprocessing)

    @property
    def given(self) -> tuple[str, ...]:
        """Flags that were given."""
        fields = dataclasses.fields(self)
        said = [f.name for f in fields if f.name != "unlabelled" and getattr(self, f.name)]
        return tuple(f"--{name.replace('_', '-')}" for name in said)


def normalisation(text: str) -> dict[str, Any]:
    """Fields of `Preprocessing` that a name or numbers stand for.

    Numbers are mean and standard deviation: "127,128", or three and three. Where all deviations
    are below 1 they are of bytes divided by 255, as PyTorch has them.

    Raises:
        InputError: neither.
    """
    if text in NORMALISATIONS:
        return dict(NORMALISATIONS[text])
    names = ", ".join(NORMALISATIONS)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    half = len(numbers) // 2
    mean, std = tuple(numbers[:half]), tuple(numbers[half:])
    if len(numbers) not in (2, 6) or not np.isfinite(numbers).all() or min(std) <= 0:
        raise InputError(
            f"--preprocessing must be one of {names}, or MEAN,STD (one number each, or three and "
            f"three), not {text!r}"
        )
    unit = 255.0 if max(std) < 1 else 1.0
    scaled = [tuple(unit * one for one in each) for each in (mean, std)]
    mean, std = (each * 3 if len(each) == 1 else each for each in scaled)
    single = half == 1
    return {"mean": mean[0] if single else mean, "std": std[0] if single else std}


def describes_itself(path: pathlib.Path) -> bool:
    """Whether a .tflite or .onnx file, or a run's model.keras, says what it takes and gives."""
    if path.suffix == ".keras":
        return (path.parent / "run.json").is_file()
    return path.suffix in FORMATS and (inside(path) is not None or sidecar(path).is_file())


def for_predict(path: pathlib.Path, options: FileOptions) -> ModelFacts | None:
    """What a file of another program takes and gives; None of one that says it itself.

    Raises:
        InputError: as of `known`; and of a file that neither metadata nor options describe.
    """
    if describes_itself(path):
        if options.given:
            known(path, options)  # says what to leave out
        return None
    own = tflite_metadata.read(path) if path.suffix == ".tflite" else tflite_metadata.Nothing
    if not options.given and own == tflite_metadata.Nothing and path.suffix in FORMATS:
        try:
            require_description(path)
        except InputError as error:
            raise InputError(
                f"{error}; of a file of another program say what it takes: --preprocessing, "
                "--labels"
            ) from None
    return known(path, options)


def known(path: pathlib.Path, options: FileOptions | None = None) -> ModelFacts:
    """What a file takes and gives, of ours by its description and of others by `options`.

    Raises:
        InputError: something that is needed is missing; or options for a file of ours.
    """
    options = options or FileOptions()
    if path.suffix not in (*FORMATS, ".keras") or not path.is_file() or describes_itself(path):
        if options.given and path.is_file():
            raise InputError(f"{path} describes itself; leave out {', '.join(options.given)}")
        return facts(path)
    if path.suffix != ".keras":
        first_run.require([path])
    return _of_stranger(path, foreign.opened(path), options)


def _of_stranger(path: pathlib.Path, file: OpenedFile, options: FileOptions) -> ModelFacts:
    metadata = tflite_metadata.read(path) if path.suffix == ".tflite" else tflite_metadata.Nothing
    height, width, channels, first = _sides(path, file.input, options)
    task, form = _task(path, file, first)
    values, raw = _normalisation(path, file, options, metadata.normalisation, channels)
    form = dataclasses.replace(form, channels_first=first, raw=raw)
    whole = task != "classification"
    geometry = {"resize": "stretch" if whole else "crop"} | {
        name: value
        for name in ("resize", "crop_fraction", "interpolation")
        if (value := getattr(options, name)) is not None
    }
    if whole and geometry["resize"] in ("crop", "centre"):
        raise InputError(f"{path} sees whole images: --resize must be stretch, letterbox or pad")
    return ModelFacts(
        task=task,
        preprocessing=Preprocessing(
            height=height, width=width, channels=channels, **values, **geometry
        ),
        labels=_labels(path, form.classes, options, metadata.labels),
        form=form,
    )


def _sides(path: pathlib.Path, tensor: Tensor, options: FileOptions) -> tuple[int, int, int, bool]:
    """(height, width, channels) and whether the channels come first."""
    shape = tensor.shape
    shown = "x".join("?" if side is None else str(side) for side in shape)
    if len(shape) != 4 or shape[0] not in (1, None):
        raise InputError(
            f"{path} takes {shown}, not a batch of one image (1, height, width, channels)"
        )
    front, back = shape[1] in (1, 3), shape[3] in (1, 3)
    first = options.layout == "nchw" if options.layout else front
    if front == back and options.layout is None:
        raise InputError(f"{path} takes {shown}: say where its channels are, --layout nhwc or nchw")
    sides = (shape[2], shape[3], shape[1]) if first else (shape[1], shape[2], shape[3])
    channels = sides[2]
    if channels not in (1, 3):
        raise InputError(
            f"{path} takes {shown}, with {channels or 'any number of'} channels by --layout "
            f"{'nchw' if first else 'nhwc'}; images have 1 or 3"
        )
    size = list(sides[:2])
    for place, name in enumerate(("height", "width")):
        asked = options.image_size[place] if options.image_size else None
        if size[place] is None and asked is None:
            raise InputError(f"{path} takes images of any {name}; say which: --image-size")
        if asked is not None and size[place] not in (None, asked):
            raise InputError(f"{path} takes {shown}; leave out --image-size, or give it that")
        size[place] = size[place] or asked
    return int(size[0] or 0), int(size[1] or 0), channels, first


def _task(path: pathlib.Path, file: OpenedFile, channels_first: bool) -> tuple[str, Form]:
    """By what comes out."""
    shapes = [one.shape for one in file.outputs]
    if path.suffix == ".tflite" and (order := tflite_metadata.detections(path)) is not None:
        tensors: Sequence[int] = getattr(file, "tensors", ())
        if set(order) <= set(tensors):
            boxes, labels, scores, count = (tensors.index(one) for one in order)
            return "detection", Form(detections=(boxes, labels, scores, count))
    if len(shapes) == 1:
        (shape,) = shapes
        # Of (1, 1, 1, c), as of a network without its last reshaping, too.
        inner = [side for side in shape[1:] if side != 1]
        if len(shape) >= 2 and len(inner) == 1 and inner[0]:
            return "classification", Form(classes=int(inner[0]))
        whole = file.outputs[0].dtype.kind in "iu" and not file.outputs[0].scale
        if len(shape) == 4:
            classes = shape[1] if channels_first else shape[3]
            return "segmentation", Form(classes=int(classes or 0) if classes != 1 else 0)
        if len(shape) == 3 and whole:
            return "segmentation", Form()
    shown = ", ".join(
        f"{one.name} " + "x".join("?" if n is None else str(n) for n in one.shape)
        for one in file.outputs
    )
    raise InputError(
        f"{path} gives {shown}; what is understood: one output of a number per class "
        f"(1, classes), the four outputs of {foreign.POSTPROCESS}, and one map (1, height, width, "
        "classes)"
    )


def _normalisation(
    path: pathlib.Path,
    file: OpenedFile,
    options: FileOptions,
    own: tuple[tuple[float, ...], tuple[float, ...]] | None,
    channels: int,
) -> tuple[dict[str, Any], bool]:
    """Fields of `Preprocessing`, and whether bytes go in as they are."""
    if options.preprocessing is not None:
        values = normalisation(options.preprocessing)
        if channels == 1:
            if np.size(values["mean"]) != 1:
                raise InputError(
                    f"{path} takes grey images, and --preprocessing {options.preprocessing} is of "
                    "three channels; give MEAN,STD"
                )
            values = {**values, "order": "rgb"}
        # Into a tensor of bytes without a scale goes nothing else.
        return values, file.input.dtype.kind in "iu" and not file.input.scale
    if file.input.dtype.kind in "iu" and own is None:
        say(f"{path.name} takes {file.input.dtype} bytes: images go in as they are")
        return {"mean": 0.0, "std": 1.0}, True
    if own is not None and (len(own[0]), len(own[1])) in ((1, 1), (channels, channels)):
        mean, std = ((e[0] if len(set(e)) == 1 else e) for e in own)
        if min(own[1]) > 0:
            return {"mean": mean, "std": std}, False
    if path.suffix == ".keras" and (layer := _inside(file)):
        say(f"{path.name} normalises by itself (layer {layer}): images go in as they are")
        return {"mean": 0.0, "std": 1.0}, False
    raise InputError(
        f"{path} does not say how it wants the bytes of an image; say it: --preprocessing "
        f"{', '.join(NORMALISATIONS)} (it normalises by itself) or MEAN,STD{_or(path)}"
    )


def _inside(file: OpenedFile) -> str | None:
    """The name of a layer that normalises images, somewhere in a Keras model."""
    model: Any = getattr(file, "model", None)
    if model is None:
        return None
    for layer in model._flatten_layers(include_self=False):
        if type(layer).__name__ in ("Rescaling", "Normalization"):
            return str(layer.name)
    return None


def _labels(
    path: pathlib.Path, classes: int, options: FileOptions, own: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Names of the outputs; raises InputError where nothing gives them."""
    if options.labels is not None:
        found = naming.lines(options.labels)
        if not found:
            raise InputError(f"--labels {options.labels} is empty; give a label a line")
        if classes and len(found) != classes:
            raise InputError(
                f"{options.labels} has {len(found):,} labels and {path} {classes:,} outputs; give "
                "a label a line, in the order of the outputs"
            )
        return found
    if own is not None and (not classes or len(own) == classes):
        return own
    if imagenet := naming.imagenet(classes):
        say(f"{path.name} has {classes:,} outputs: they are taken for ImageNet's classes")
        return imagenet.names
    if options.unlabelled and classes:
        return tuple(map(str, range(classes)))
    counted = f" of its {classes:,} outputs" if classes else ""
    raise InputError(
        f"{path} does not name the classes{counted}; give --labels FILE, a label a line{_or(path)}"
    )


def _or(path: pathlib.Path) -> str:
    """What else helps a Keras file."""
    return f", or make a run of it: kerascnn import {path}" if path.suffix == ".keras" else ""
