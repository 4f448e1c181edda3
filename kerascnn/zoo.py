"""The explicit registry: name -> builder, published figures and input conventions.

Plain data with import paths as strings, so that listing models costs no import of keras.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from typing import TYPE_CHECKING, Any

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras


class UnknownModelError(InputError):
    """A name that the registry does not hold; the message offers the closest one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One architecture.

    Attributes:
        builder: "module:function".
        task: "classification".
        year, paper: of publication; the paper as arXiv id or DOI.
        title: the name the field uses.
        input_shape, classes: published defaults.
        parameters: published trainable count at those defaults.
        weights: names that `build(weights=...)` can load.
        mean, std: input normalisation of the published model.
    """

    builder: str
    title: str
    year: int
    paper: str
    parameters: int
    task: str = "classification"
    input_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    weights: tuple[str, ...] = ()
    mean: float = 127.0
    std: float = 128.0

    def preprocessing(self, height: int, width: int, **options: Any) -> Preprocessing:
        """This architecture's preprocessing at a picture size."""
        return Preprocessing(
            height=height,
            width=width,
            channels=self.input_shape[2],
            mean=self.mean,
            std=self.std,
            **options,
        )


_CLASSIFICATION = "kerascnn.classification"


def _lite(number: int, size: int, parameters: int, weights: tuple[str, ...] = ()) -> Entry:
    return Entry(
        builder=f"{_CLASSIFICATION}.efficientnet:efficientnet_lite{number}",
        title=f"EfficientNet-Lite{number}",
        year=2020,
        paper="arXiv:1905.11946",
        parameters=parameters,
        input_shape=(size, size, 3),
        weights=weights,
    )


ENTRIES: dict[str, Entry] = {
    "lenet5": Entry(
        builder=f"{_CLASSIFICATION}.lenet:lenet5",
        title="LeNet-5",
        year=1998,
        paper="doi:10.1109/5.726791",
        parameters=61_706,
        input_shape=(32, 32, 1),
        classes=10,
    ),
    "mobilenet_v2": Entry(
        builder=f"{_CLASSIFICATION}.mobilenet:mobilenet_v2",
        title="MobileNetV2",
        year=2018,
        paper="arXiv:1801.04381",
        parameters=3_504_872,
    ),
    "mobilenet_v3_small": Entry(
        builder=f"{_CLASSIFICATION}.mobilenet:mobilenet_v3_small",
        title="MobileNetV3-Small",
        year=2019,
        paper="arXiv:1905.02244",
        parameters=2_542_856,
    ),
    "mobilenet_v3_large": Entry(
        builder=f"{_CLASSIFICATION}.mobilenet:mobilenet_v3_large",
        title="MobileNetV3-Large",
        year=2019,
        paper="arXiv:1905.02244",
        parameters=5_483_032,
    ),
    "efficientnet_lite0": _lite(0, 224, 4_652_008, weights=("imagenet",)),
    "efficientnet_lite1": _lite(1, 240, 5_416_680),
    "efficientnet_lite2": _lite(2, 260, 6_092_072),
    "efficientnet_lite3": _lite(3, 280, 8_197_096),
    "efficientnet_lite4": _lite(4, 300, 13_006_568),
}


def list_models(task: str | None = None) -> list[str]:
    """Names of all models, or of one task, in the order of publication."""
    return [name for name, entry in ENTRIES.items() if task in (None, entry.task)]


def entry(name: str) -> Entry:
    """The registry's row for `name`; raises UnknownModelError with the closest name."""
    try:
        return ENTRIES[name]
    except KeyError:
        close = difflib.get_close_matches(name, ENTRIES, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else "`kerascnn models` lists them all"
        raise UnknownModelError(f"unknown model {name!r}; {hint}") from None


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    weights: str | None = None,
    **options: Any,
) -> keras.Model:
    """Build a model of the zoo.

    Args:
        name: one of `list_models()`.
        input_shape: (height, width, channels); the published size by default.
        classes: length of the logits; the published number by default.
        weights: None (random) or a name that the model lists, such as "imagenet". With another
            number of classes than the published one the head keeps its random weights.
        **options: of the family's builder, for example `alpha=0.35`.

    Returns:
        A functional model from (batch, height, width, channels) float32, normalised as
        `entry(name).preprocessing` says, to (batch, classes) logits.

    Raises:
        UnknownModelError: no such model.
        TypeError: no such option.
        InputError: an impossible shape, or weights that the model does not have.
    """
    row = entry(name)
    if weights is not None and weights not in row.weights:
        offered = f"it has {', '.join(row.weights)}" if row.weights else "it has none"
        raise InputError(f"no weights {weights!r} for {name}; {offered}")
    module, _, function = row.builder.partition(":")
    builder = getattr(importlib.import_module(module), function)
    model: keras.Model = builder(
        input_shape=tuple(input_shape or row.input_shape),
        classes=row.classes if classes is None else classes,
        **options,
    )
    if weights is not None:
        from kerascnn.weights import load

        load(model, name, weights)
    return model
