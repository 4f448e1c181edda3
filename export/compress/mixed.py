"""Mixed precision: each layer's kernel in the fewest bits that keep the network's answers.

First the damage that each kernel does at each width is found: by gradients, of all kernels and
widths at once (`export.compress.reconstruct.sensitivity`); of networks whose graph is not known, or
that choose regions themselves, in the real runtime, one kernel after another. Then layers are
lowered together, those first that save most bytes for the least damage, until the answers change
more than they may, or until the file fits a budget of bytes. Widths are 4 and 8 bits and half
precision, all widened for float arithmetic, so a width can be tried without writing a file of it:
the rounded kernels are put into the float file.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import pathlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.artefacts.variants import Variant
from export.compress.reconstruct import rounding
from export.compress.reconstruct.inputs import kernel_of, matrix, shares_scales
from export.compress.reconstruct.sensitivity import Change, noises
from export.compress.reconstruct.walk import called_once
from export.tasks.comparison import Comparison, OfLogits
from export.tflite import flatbuffer
from export.tflite.convert import layer_of
from export.tflite.kernel_operations import DEPTHWISE, KERNEL_OPERATIONS, TRANSPOSED
from export.tflite.kernel_ranges import kernels
from export.tflite.model import TFLiteModel
from export.tflite.quantise import quantise_weights
from export.tflite.weights import int4_halves
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common.progress import Progress
from training.common.spread import spread
from training.engine.foldable_norms import LINEAR

# Images whose noise is sampled, and trials of combinations behind the first that changed too much.
_SAMPLED = 16
_TRIALS = 12
# Kernels of transposed convolutions are not searched for: they stay float32.
_SEARCHED = {code: one for code, one in KERNEL_OPERATIONS.items() if one is not TRANSPOSED}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What quantising one kernel alone does to the answers.

    Attributes:
        layer: name of the output tensor.
        op: "CONV_2D", "DEPTHWISE_CONV_2D" or "FULLY_CONNECTED".
        weights: in the kernel.
        bits: 4 or 8 (symmetric, a scale for each output channel) or 16 (half precision).
        error: distance from the float network's answers: noise over signal of what the network
            ends in (`export.compress.reconstruct.measure`), or where gradients do not tell that,
            see `export.tasks.comparison`; of a classifier the mean Kullback-Leibler divergence, in
            nats.
        changed: percent of the answers that are others; of a classifier's pictures those with
            another top-1. None where gradients gave the error.
    """

    layer: str
    op: str
    weights: int
    bits: int
    error: float
    changed: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What the search decided, for the .json beside the artefact.

    Attributes:
        layers: in the order of the file, at the bits that each got; errors are of each alone.
        error: of all layers together, by `export.tasks.comparison`.
        changed: likewise.
        pictures: that these figures were measured on.
        budget: bytes that the file was to fit, if any.
    """

    layers: tuple[Sensitivity, ...]
    error: float
    changed: float
    pictures: int
    budget: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, equal after a round trip."""
        plain = dataclasses.asdict(self)
        if self.budget is None:
            del plain["budget"]
        return {**plain, "layers": [dataclasses.asdict(s) for s in self.layers]}


def mixed(
    float_file: TFLiteModel,
    variant: Variant,
    preprocessing: Preprocessing,
    calibration: Iterable[np.ndarray],
    comparison: Comparison | None = None,
    *,
    model: keras.Model | None = None,
    room: int = 0,
) -> tuple[TFLiteModel, Report]:
    """Quantise each layer's kernel to a width of its own.

    Args:
        float_file: of `to_tflite`, not lowered; it is left as it is.
        variant: its `mixed_bits` are the widths to choose from, its `max_change` is the
            percentage of the answers that may change; of one with `max_bytes` the file fits these,
            however many answers change.
        preprocessing: of the network.
        calibration: training pictures, (height, width, channels) uint8 each.
        comparison: of answers; None: of a classifier's logits.
        model: that `float_file` was made of, its linear layers bare; None where that is not known.
        room: bytes of the budget that what stands behind the network takes.

    Returns:
        A file with the inputs and outputs of `float_file`, and how it came about. Where
        even the widest kernels change more answers than allowed, it has the widest.

    Raises:
        InputError: no pictures, or none of which the network says anything; or a budget that even
            the fewest bits do not fit.
    """
    trial = Trial(float_file, calibration, preprocessing, variant.mixed_bits, comparison)
    found = _found(trial, model)
    if variant.max_bytes is None:
        chosen = search(trial, found, variant.max_change)
    else:
        chosen = search_within(trial, found, variant.max_bytes, room)
    report = _report(trial, found, chosen)
    return trial.write(chosen), dataclasses.replace(report, budget=variant.max_bytes)


def _found(trial: Trial, model: keras.Model | None) -> list[Sensitivity]:
    if model is not None:
        with contextlib.suppress(LookupError):  # an operation without a derivative
            return sampled(trial, model)
    return sensitivities(trial)


def sampled(trial: Trial, model: keras.Model) -> list[Sensitivity]:
    """As `sensitivities`, of all layers at once; `changed` is not known.

    Args:
        model: functional, that the trial's file was made of, its linear layers bare.

    Raises:
        LookupError: an operation has no derivative.
    """
    layers_of = _layers_of(trial, model)
    changes = {
        (layer, str(bits)): _change(model.get_layer(layer), bits)
        for kernel, layers in layers_of.items()
        for bits in trial.widths(kernel)
        for layer in layers
    }
    few = trial.pictures[spread(len(trial.pictures), _SAMPLED)]
    with Progress("mixed", 1, unit="network", lines=True) as progress:
        progress.note("sampling the noise of every layer at every width")
        found = noises(model, changes, {}, trial.preprocessing.normalise(few))
        progress.step()
    return [
        Sensitivity(
            layer=name,
            op=kernel.op,
            weights=kernel.weights,
            bits=bits,
            error=found.share([(layer, str(bits)) for layer in layers_of[name]]),
            changed=None,
        )
        for name, kernel in trial.kernels.items()
        for bits in trial.widths(name)
    ]


def _layers_of(trial: Trial, model: keras.Model) -> dict[str, list[str]]:
    """Keras layers of each of the trial's kernels; those whose noise can be sampled."""
    known = {layer.name for layer in model.layers if isinstance(layer, LINEAR)}
    known &= called_once(model)
    by_output = {one.output: layer_of(one.name, known) for one in kernels(trial.file)}
    found = {
        name: [by_output.get(output) for output in kernel.layers]
        for name, kernel in trial.kernels.items()
    }
    return {name: [one for one in layers if one] for name, layers in found.items()}


def _change(layer: Any, bits: int) -> Change:
    kernel = layer.get_weights()[0]
    if bits == 16:
        return Change(kernel=kernel.astype(np.float16).astype(np.float32) - kernel)
    rounded = rounding.by_range(matrix(layer, kernel), bits, tied=shares_scales(layer))
    return Change(kernel=kernel_of(layer, rounded.values) - kernel)


def sensitivities(trial: Trial) -> list[Sensitivity]:
    """Measure each layer alone at each width below the widest, widest first."""
    found = []
    with Progress("mixed", len(trial.kernels), unit="layer", lines=True) as progress:
        for number, layer in enumerate(trial.kernels, 1):
            progress.note(f"trying layer {number} of {len(trial.kernels)}")
            found += [trial.alone(layer, bits) for bits in trial.widths(layer)[1:]]
            progress.step()
    return found


def search(trial: Trial, found: Sequence[Sensitivity], max_change: float) -> dict[str, int]:
    """Give each layer the fewest bits that together keep the answers.

    Layers are lowered in the order of error per byte saved, as far as bisection finds the answers
    kept; then later steps are tried on top, half of those left at once and then half of that where
    they change too much, as often as `_TRIALS` allows.

    Args:
        found: from `sensitivities`.
        max_change: percent of the answers that may change.

    Returns:
        Bits by layer.
    """
    steps = _by_worth(trial, found)
    top = {layer: trial.widths(layer)[0] for layer in trial.kernels}

    def kept(bits: Mapping[str, int]) -> bool:
        changed = trial.together(bits)[1]
        progress.note(f"{changed:.1f}% of predictions changed")
        return changed <= max_change

    def lowered(count: int) -> dict[str, int]:
        return top | {step.layer: step.bits for step in steps[:count]}

    with Progress("mixed: combining layers", len(steps), unit="step", lines=True) as progress:
        good, bad = 0, len(steps) + 1
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if kept(lowered(middle)) else (good, middle)
        chosen = lowered(good)
        progress.step(min(bad, len(steps)))
        left, trials = [steps[bad:]] if bad < len(steps) else [], _TRIALS
        while left and trials:
            some = left.pop()
            # A layer that could not have 8 bits is not asked for 4.
            usable = [step for step in some if _next_lower(trial, chosen, some, step)]
            more = {step.layer: step.bits for step in usable}
            trials -= bool(usable)
            if usable and kept(chosen | more):
                chosen |= more
            elif len(some) > 1:
                middle = len(some) // 2
                left += [some[middle:], some[:middle]]  # the better half is tried next
                continue
            progress.step(len(some))
    return chosen


def search_within(
    trial: Trial, found: Sequence[Sensitivity], budget: int, room: int = 0
) -> dict[str, int]:
    """Lower layers in the order of error per byte saved until the file fits.

    So a larger budget never has fewer bits in any layer.

    Args:
        found: from `sensitivities` or `sampled`.
        budget: bytes of the file.
        room: bytes of these that are none of the network's.

    Raises:
        InputError: it does not fit with the fewest bits, either.
    """
    steps = _by_worth(trial, found)
    chosen = {layer: trial.widths(layer)[0] for layer in trial.kernels}
    while (size := len(trial.write(chosen).packed()) + room) > budget:
        if not steps:
            raise InputError(
                f"mixed cannot have {budget:,} bytes: with the fewest bits in every layer it has "
                f"{size:,}; allow more with --budget, or remove channels first, as in slim50_mixed"
            )
        over = float(size - budget)
        while steps and over > 0:
            step = steps.pop(0)
            over -= step.weights * (chosen[step.layer] - step.bits) / 8
            chosen[step.layer] = step.bits
    return chosen


def _next_lower(
    trial: Trial, chosen: Mapping[str, int], some: Sequence[Sensitivity], step: Sensitivity
) -> bool:
    """Whether a step goes on from the bits that a layer has, or from another of these steps."""
    widths = trial.widths(step.layer)
    before = widths[widths.index(step.bits) - 1]
    return chosen[step.layer] == before or any(
        one.layer == step.layer and one.bits == before and chosen[one.layer] > before
        for one in some
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel in a float file; `layers` are the output tensors of those that share it."""

    op: str
    weights: int
    buffer: int
    layers: tuple[str, ...]


class Trial:
    """A float file whose kernels can be exchanged for rounded ones, and pictures to run it on.

    Args:
        float_file: of `to_tflite`; it is left as it is.
        pictures: (height, width, channels) uint8 each.
        preprocessing: of the network.
        bits: widths that layers may have; depthwise kernels have no 4.
        comparison: of answers; None: of a classifier's logits.

    Attributes:
        kernels: by layer, in the order of the file.
        pictures: (n, height, width, channels) uint8.
        file, preprocessing: as given.

    Raises:
        InputError: no pictures.
    """

    def __init__(
        self,
        float_file: TFLiteModel,
        pictures: Iterable[np.ndarray],
        preprocessing: Preprocessing,
        bits: Sequence[int],
        comparison: Comparison | None = None,
    ) -> None:
        self._comparison = comparison or OfLogits(preprocessing)
        self.file, self.preprocessing = float_file, preprocessing
        self.pictures = np.array(list(pictures)[: self._comparison.most])
        if not len(self.pictures):
            raise InputError("mixed precision needs calibration images; give at least one")
        self._file, self._bits = float_file, bits
        self._model = copy.deepcopy(float_file.unpacked)  # whose kernels are exchanged
        self.kernels = _kernels(self._model)
        self._float = {layer: self._model.buffers[k.buffer].data for layer, k in self._items()}
        # What the quantiser itself writes, so that a trial is what the file will be.
        self._rounded = {b: _widened(self.write(self._all(b))) for b in bits}
        self._own = self.answers({})

    def widths(self, layer: str) -> list[int]:
        """Bits that the layer may have, widest first."""
        depthwise = self.kernels[layer].op == DEPTHWISE.name
        return sorted((b for b in self._bits if not (depthwise and b == 4)), reverse=True)

    def alone(self, layer: str, bits: int) -> Sensitivity:
        """Measure one layer with all others in float32."""
        error, changed = self.together({layer: bits})
        kernel = self.kernels[layer]
        return Sensitivity(
            layer=layer, op=kernel.op, weights=kernel.weights, bits=bits, error=error,
            changed=changed,
        )  # fmt: skip

    def together(self, bits: Mapping[str, int]) -> tuple[float, float]:
        """Error and percent changed (see `Sensitivity`); layers that are not named stay float32."""
        return self._comparison.differences(self._own, self.answers(bits))

    def write(self, bits: Mapping[str, int]) -> TFLiteModel:
        """The file itself."""
        return quantise_weights(
            self._file,
            {name: b for layer, b in bits.items() for name in self.kernels[layer].layers},
        )

    def answers(self, bits: Mapping[str, int]) -> Any:
        """Of the pictures, with these layers rounded."""
        for layer, kernel in self._items():
            data = self._rounded[bits[layer]][layer] if layer in bits else self._float[layer]
            self._model.buffers[kernel.buffer].data = data.view(np.uint8).reshape(-1)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "trial.tflite"  # the runtime wants a file
            path.write_bytes(flatbuffer.write(self._model))
            return self._comparison.answers(path, self.pictures)

    def _all(self, bits: int) -> dict[str, int]:
        return {layer: bits for layer in self.kernels if bits in self.widths(layer)}

    def _items(self) -> Iterable[tuple[str, Kernel]]:
        return self.kernels.items()


def _by_worth(trial: Trial, found: Sequence[Sensitivity]) -> list[Sensitivity]:
    """Steps down, those of least error per byte saved first; a layer's own in order of width."""
    worth = []
    before = {layer: (trial.widths(layer)[0], 0.0, 0.0) for layer in trial.kernels}
    found = [step for step in found if step.bits < trial.widths(step.layer)[0]]
    for step in found:
        bits, error, least = before[step.layer]
        saved = step.weights * (bits - step.bits) / 8
        least = max(least, (step.error - error) / saved)
        before[step.layer] = (step.bits, step.error, least)
        worth.append(least)
    order = sorted(range(len(found)), key=worth.__getitem__)  # stable: a layer's 8 is before its 4
    return [found[i] for i in order]


def _report(trial: Trial, found: Sequence[Sensitivity], chosen: Mapping[str, int]) -> Report:
    known = {(s.layer, s.bits): s for s in found}
    layers = [known.get(choice) or trial.alone(*choice) for choice in chosen.items()]
    error, changed = trial.together(chosen)
    return Report(layers=tuple(layers), error=error, changed=changed, pictures=len(trial.pictures))


def _kernels(model: schema.ModelT) -> dict[str, Kernel]:
    graph = model.subgraphs[0]
    shared: dict[int, Kernel] = {}
    for layer, op, index in kernel_holders(model):
        tensor = graph.tensors[index]
        if tensor.type != schema.TensorType.FLOAT32 or model.buffers[tensor.buffer].data is None:
            continue
        earlier = shared[tensor.buffer].layers if tensor.buffer in shared else ()
        shared[tensor.buffer] = Kernel(
            op=op,
            weights=int(np.prod(tensor.shape)),
            buffer=tensor.buffer,
            layers=(*earlier, layer),
        )
    return {kernel.layers[0]: kernel for kernel in shared.values()}


def kernel_holders(model: schema.ModelT) -> Iterable[tuple[str, str, int]]:
    """Name of the output tensor, operation and index of the kernel's tensor."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        one = _SEARCHED.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
        if one is not None:
            name = graph.tensors[operator.outputs[0]].name.decode()
            yield name, one.name, operator.inputs[one.kernel]


def _widened(file: TFLiteModel) -> dict[str, np.ndarray]:
    """The kernels that a file widens while running, float32, by layer."""
    model, graph = file.unpacked, file.graph
    sources = {
        operator.outputs[0]: graph.tensors[operator.inputs[0]]
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode
        == schema.BuiltinOperator.DEQUANTIZE
    }
    return {
        layer: _dequantised(sources[index], model.buffers[sources[index].buffer].data)
        for layer, _op, index in kernel_holders(model)
        if index in sources
    }


def _dequantised(tensor: schema.TensorT, data: np.ndarray) -> np.ndarray:
    packed = np.ascontiguousarray(data, np.uint8)
    if tensor.type == schema.TensorType.FLOAT16:
        return packed.view(np.float16).astype(np.float32)
    if tensor.type == schema.TensorType.INT4:
        halves = int4_halves(tensor, packed)
        values = (halves.astype(np.int8) ^ 8) - 8
    else:
        values = packed.view(np.int8)
    scale = np.ones(len(tensor.shape), int)
    scale[tensor.quantization.quantizedDimension] = -1
    return values.reshape(tensor.shape).astype(np.float32) * np.asarray(
        tensor.quantization.scale, np.float32
    ).reshape(scale)
