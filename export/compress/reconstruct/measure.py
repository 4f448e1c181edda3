"""How far a quantised network's answers are from the float one's: signal over noise, in decibels.

No labels are asked for. A signal is what an answer varies by, from picture to picture and place to
place; noise is what a file makes otherwise. Each output counts alike, at its own scale.

Of logits, what is the same for all classes does not count: no choice depends on it. Of a one-stage
detector, whose files end in scores, the scores are turned back into logits; and since hardly one
anchor in a thousand is an object's, half of the weight is that of the anchors that the float
network takes for objects, and boxes count there alone: nobody decodes the others. Of a two-stage
detector, whose file ends behind suppression, both networks' heads are compared while they look at
the same regions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.compress.reconstruct.ranges import Range, fake_quantised
from export.compress.reconstruct.walk import Walk, chooses, inputs_of, twin_steps
from export.graph.signature import BOXES, OUTPUT_NAME, SCORES
from kerascnn.detection.roi_heads import Masks
from kerascnn.preprocessing import Preprocessing
from training.common.quiet import native_quiet

_LEAST_SCORE = 1e-9  # below it is nothing that a float32 score tells apart


def answers(
    file: bytes, preprocessing: Preprocessing, pictures: np.ndarray
) -> dict[str, np.ndarray]:
    """What a TFLite file answers, by output: (n, ...) float32."""
    with native_quiet():
        runtime = Interpreter(model_content=file, num_threads=1)
        call = runtime.get_signature_runner()
        ((name, given),) = call.get_input_details().items()
        found = []
        for picture in pictures:
            raw = given["dtype"] == np.uint8
            x = picture[None] if raw else preprocessing.normalise(picture[None])
            found.append(call(**{name: x}))
    return {key: np.concatenate([np.atleast_1d(one[key]) for one in found]) for key in found[0]}


def noise(got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """Decibels of answers below what was wanted, see the module.

    Args:
        got, wanted: (n, ...) by output; boxes (n, a, 4) beside scores (n, a, c) are a one-stage
            detector's.
    """
    if set(wanted) == {BOXES, SCORES}:
        objects = _objects(wanted[SCORES])
        logits, found = (_logits(one[SCORES]) for one in (wanted, got))
        even = np.full(objects.shape, 1 / objects.size)
        shares = [
            _share(got[BOXES] - wanted[BOXES], wanted[BOXES], objects),
            _share(found - logits, logits, (even + objects) / 2),
        ]
    else:
        shares = [_share(*_centred(key, got[key], wanted[key])) for key in wanted]
    return _decibels(shares)


def weights_of(wanted: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the square of each number's error counts in `noise`, before its decibels.

    Args:
        wanted: as of `noise`.

    Returns:
        By output, of its shape. Errors are those of what `comparable` makes of an output.
    """
    if set(wanted) == {BOXES, SCORES}:
        objects = _objects(wanted[SCORES])
        even = np.full(objects.shape, 1 / objects.size)
        of_anchors = {BOXES: objects, SCORES: (even + objects) / 2}
        signals = {BOXES: wanted[BOXES], SCORES: _logits(wanted[SCORES])}
    else:
        of_anchors = dict.fromkeys(wanted)
        signals = {key: _centred(key, one, one)[1] for key, one in wanted.items()}
    return {key: _counted(signals[key], of_anchors[key]) / len(wanted) for key in wanted}


def comparable(key: str, wanted: Mapping[str, np.ndarray]) -> Callable[[Any], Any]:
    """A function of `keras.ops` that makes of an output what `noise` takes the error of.

    Args:
        key: the output.
        wanted: of all outputs, as of `noise`.
    """

    def centred(x: Any) -> Any:
        return x - keras.ops.mean(x, axis=-1, keepdims=True)

    def logits(x: Any) -> Any:
        p = keras.ops.clip(x, _LEAST_SCORE, 1 - 2.0**-24)  # the number below 1 in float32
        if _has_background(wanted[SCORES]):
            return centred(keras.ops.log(p))
        return keras.ops.log(p) - keras.ops.log(1 - p)

    if set(wanted) == {BOXES, SCORES} and key == SCORES:
        return logits
    return centred if key == OUTPUT_NAME and wanted[key].shape[-1] > 1 else lambda x: x


def heads_noise(
    model: keras.Model,
    twin: keras.Model,
    x: np.ndarray,
    ranges: Mapping[str, Range] = MappingProxyType({}),
) -> float:
    """The same of a two-stage detector and a twin with other weights.

    Args:
        model: functional, as files hold it.
        x: (n, height, width, channels) normalised pictures.
        ranges: of the twin's activations that are int8, by layer.
    """
    before, after = Walk(model, x), Walk(twin, x)
    shares, chosen = [], set[int]()
    for old, new in twin_steps(model, twin):
        if chooses(new) or isinstance(new.operation, Masks):
            given = zip(inputs_of(old), after.inputs(new), before.inputs(old), strict=True)
            shares += [
                _share(got - wanted, wanted)
                for tensor, got, wanted in given
                if id(tensor) not in chosen  # which both have the same of
            ]
        wanted = before.outputs(old)
        before.keep(old, wanted)
        after.keep(new, wanted if chooses(new) else _felt(new, after.outputs(new), ranges))
        if chooses(old):
            chosen |= {id(one) for one in old.outputs}
    return _decibels(shares)


def _felt(step: Any, found: Any, ranges: Mapping[str, Range]) -> Any:
    name = step.operation.name
    return fake_quantised(found, *ranges[name], out=found) if name in ranges else found


def _decibels(shares: list[float]) -> float:
    return round(float(-10 * np.log10(max(float(np.mean(shares or [0.0])), 1e-12))), 2)


def _share(error: np.ndarray, signal: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean squared error in variances of the signal.

    Args:
        weights: (n, a) of anchors, 1 in all; even by default.
    """
    error, signal = error.astype(np.float64), signal.astype(np.float64)
    if weights is None:
        return float(np.mean(error**2) / max(float(np.var(signal)), 1e-12))
    weights = weights[..., None] / error.shape[-1]
    mean = np.sum(weights * signal)
    variance = np.sum(weights * np.square(signal - mean))
    return float(np.sum(weights * np.square(error)) / max(float(variance), 1e-12))


def _counted(signal: np.ndarray, of_anchors: np.ndarray | None) -> np.ndarray:
    """The weight of each squared error in `_share`."""
    signal = signal.astype(np.float64)
    if of_anchors is None:
        weight = 1 / max(float(np.var(signal)), 1e-12) / signal.size
        return np.full(signal.shape, weight)
    weights = np.broadcast_to(of_anchors[..., None] / signal.shape[-1], signal.shape)
    variance = np.sum(weights * np.square(signal - np.sum(weights * signal)))
    return weights / max(float(variance), 1e-12)


def _centred(key: str, got: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error and signal of an output."""
    error, signal = got.astype(np.float64) - wanted, wanted.astype(np.float64)
    if key == OUTPUT_NAME and error.shape[-1] > 1:
        error, signal = (each - each.mean(axis=-1, keepdims=True) for each in (error, signal))
    return error, signal


def _has_background(scores: np.ndarray) -> bool:
    """Whether they are shares of a whole, with a background as the first."""
    return scores.shape[-1] > 1 and bool(np.allclose(scores.sum(axis=-1), 1, atol=1e-3))


def _objects(scores: np.ndarray) -> np.ndarray:
    """(n, a) weights, 1 in all, of how sure the network is of an object in each anchor."""
    own = scores[..., 1:] if _has_background(scores) else scores
    sure = own.max(axis=-1).astype(np.float64)
    weights: np.ndarray = sure / max(float(sure.sum()), 1e-12)
    return weights


def _logits(scores: np.ndarray) -> np.ndarray:
    """What a softmax or a sigmoid made scores of; of a softmax without their mean."""
    p = np.clip(scores.astype(np.float64), _LEAST_SCORE, 1 - _LEAST_SCORE)
    if not _has_background(scores):
        logits: np.ndarray = np.log(p / (1 - p))
        return logits
    found = np.log(p)
    return found - found.mean(axis=-1, keepdims=True)
