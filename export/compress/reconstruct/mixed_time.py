"""`mixed` under a budget of time: layers in int8 until the file is fast enough, the rest in float.

One file holds both (one XNNPACK partition, with QUANTIZE and DEQUANTIZE where they meet), kernels
of float layers in half precision. int4 and int16 are left out: they run outside of XNNPACK, int16
ten times as slow.

What int8 saves is measured on the files in which all layers are float, or int8, and shared among
the layers by their multiply-adds; XNNPACK's runtime tells no time of a single operation to Python.
Layers become int8 in the order of the noise that each adds for what it saves, and each that is
taken makes its neighbours cheaper, whose activations are rounded already. So the float layers of a
smaller budget are among those of a larger one. Files are timed until the first that is fast enough
is known; reconstruction changes none of their operations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np

from export.compress.int8_tensors import with_fused_dense
from export.compress.reconstruct.keep_float import Plan, int8_noises, operations_of
from export.compress.reconstruct.measure import answers, noise
from export.compress.reconstruct.network import Format, Reconstruction, reconstruct
from export.compress.reconstruct.sensitivity import Noises
from export.runtime.benchmark import interleaved
from export.tflite.convert import to_tflite
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_parts
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.progress import Progress
from training.common.quiet import native_quiet

_ROUNDS = 10


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Timed:
    """A network that is to be fast enough.

    Attributes:
        model: lowered, its linear layers bare.
        format: of its int8 file.
        preprocessing: of the model.
        fitted, judged: (n, height, width, channels) uint8 images: of the fit, held back.
        milliseconds: times files against each other, in the order given.
    """

    model: keras.Model
    format: Format
    preprocessing: Preprocessing
    fitted: np.ndarray
    judged: np.ndarray
    milliseconds: Callable[[Sequence[bytes]], list[float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeReport:
    """What was decided, for the .json.

    Attributes:
        int8: layers in int8, in the order of the file.
        floats: layers with kernels that are not.
        milliseconds: of the file, where it was made, one thread.
        float_ms, int8_ms: of the files in which all layers are.
        budget_ms: what was allowed.
        db: the file's answers below the float network's, on images held back.
    """

    int8: tuple[str, ...]
    floats: tuple[str, ...]
    milliseconds: float
    float_ms: float
    int8_ms: float
    budget_ms: float
    db: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**dataclasses.asdict(self), "int8": [*self.int8], "floats": [*self.floats]}


def within_time(subject: Timed, budget: float, name: str = "") -> tuple[TFLiteModel, TimeReport]:
    """The file of least noise that is fast enough.

    Args:
        budget: milliseconds for an image on this machine, one thread.
        name: for progress lines.

    Raises:
        InputError: no mixture is so fast.
    """
    float_file = TFLiteModel.open(to_tflite(subject.model))
    plan = Plan(float_file, subject.model)
    plain = Reconstruction(model=subject.model, bounds={}, ranges={})
    ends = [_written(subject, plan, plain, some).packed() for some in ((), plan.kernels)]
    float_ms, int8_ms = subject.milliseconds(ends)
    chosen: list[str] = []
    took = float_ms
    if float_ms > budget:
        order = path(plan, _sampled(subject), multiply_adds(subject.model, plan.kernels))
        chosen, took = _fast_enough(subject, plan, plain, order, budget, (float_ms, int8_ms))
    found = reconstruct(
        subject.model,
        _format(subject.format, plan, chosen),
        subject.preprocessing.normalise(subject.fitted),
        name=name,
    )
    file = _written(subject, plan, found, chosen)
    wanted, got = (
        answers(one.packed(), subject.preprocessing, subject.judged) for one in (float_file, file)
    )
    return file, TimeReport(
        int8=tuple(plan.in_integers(chosen)),
        floats=tuple(one for one in plan.kernels if one not in chosen),
        milliseconds=round(took, 4),
        float_ms=round(float_ms, 4),
        int8_ms=round(int8_ms, 4),
        budget_ms=budget,
        db=noise(got, wanted),
    )


def path(plan: Plan, found: Noises, costs: dict[str, int]) -> list[str]:
    """Layers with kernels in the order in which they become int8.

    Args:
        found: noise of all roundings of the int8 file.
        costs: multiply-adds of each.
    """
    order: list[str] = []
    noisy = 0.0
    left = list(plan.kernels)
    while left:
        shares = {one: found.share(_rounded(plan, [*order, one])) for one in left}
        best = min(left, key=lambda one: (shares[one] - noisy) / costs[one])
        noisy = shares[best]
        order.append(best)
        left.remove(best)
    return order


def multiply_adds(model: keras.Model, layers: Collection[str]) -> dict[str, int]:
    """Of each layer with a kernel, for one image."""
    found = {}
    for name in layers:
        layer = model.get_layer(name)
        transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        shape = (layer.input if transposed else layer.output).shape
        found[name] = int(np.prod(layer.kernel.shape)) * int(np.prod(shape[1:-1] or (1,)))
    return found


def timed(files: Sequence[bytes]) -> list[float]:
    """Median milliseconds of files, one thread, interleaved."""
    from ai_edge_litert.interpreter import Interpreter

    calls: dict[str, Callable[[], Any]] = {}
    with native_quiet():
        for number, file in enumerate(files):
            runtime = Interpreter(model_content=file, num_threads=1)
            runtime.allocate_tensors()
            calls[str(number)] = runtime.invoke
    return [one.median_ms for one in interleaved(calls, rounds=_ROUNDS).values()]


def _fast_enough(
    subject: Timed,
    plan: Plan,
    plain: Reconstruction,
    order: Sequence[str],
    budget: float,
    ends: tuple[float, float],
) -> tuple[list[str], float]:
    """The first layers of the order that have to be int8, and what the file takes then."""
    costs = multiply_adds(subject.model, order)
    float_ms, int8_ms = ends
    saved = np.cumsum([costs[one] for one in order]) / sum(costs.values()) * (float_ms - int8_ms)
    # As many as suffice by that estimate; then fewer or more of them, as files have it.
    count = int(np.searchsorted(saved, float_ms - budget)) + 1
    slow, fast, took = 0, len(order) + 1, float_ms
    with Progress("mixed: combining layers", len(order), unit="layer", lines=True) as progress:
        while fast - slow > 1:
            count = min(max(count, slow + 1), fast - 1, len(order))
            file = _written(subject, plan, plain, order[:count])
            (found,) = subject.milliseconds([file.packed()])
            progress.note(f"{count} layers in int8: {found:.3g} ms")
            if found <= budget:
                fast, took = count, found
            else:
                slow = count
            count = (slow + fast) // 2
        progress.step(min(fast, len(order)))
    if fast <= len(order):
        return list(order[:fast]), took
    raise InputError(
        f"mixed cannot take {budget:g} ms: on this machine the network takes {float_ms:.3g} ms in "
        f"float and {int8_ms:.3g} ms in int8; allow more with --budget, or remove channels first, "
        "as in slim50_mixed"
    )


def _sampled(subject: Timed) -> Noises:
    return int8_noises(
        subject.model, subject.format, subject.preprocessing.normalise(subject.judged)
    )


def _rounded(plan: Plan, kernels: Collection[str]) -> set[tuple[str, str]]:
    """Roundings of a file in which these kernels are int8."""
    activations = plan.rounded_by(plan.in_integers(kernels))
    return {(one, "kernel") for one in kernels} | {(one, "activation") for one in activations}


def _format(format_: Format, plan: Plan, kernels: Collection[str]) -> Format:
    """Of a file in which these kernels are int8, and what reads of them alone."""
    rounded = plan.rounded_by(plan.in_integers(kernels))
    bits, has_scale = format_.bits, format_.has_scale
    return dataclasses.replace(
        format_,
        bits=lambda layer: bits(layer) if layer.name in kernels else None,
        has_scale=lambda layer: layer.name in rounded and has_scale(layer),
    )


def _written(
    subject: Timed, plan: Plan, found: Reconstruction, kernels: Collection[str]
) -> TFLiteModel:
    made = TFLiteModel.open(to_tflite(found.model))
    known = {layer.name for layer in found.model.layers}
    ranges = with_fused_dense(found.model, found.ranges)
    return quantise_parts(
        made,
        operations_of(made, plan.in_integers(kernels), known),
        subject.preprocessing,
        subject.fitted,
        trained=ranges or None,
        kernel_bounds=found.bounds,
    )
