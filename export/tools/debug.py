"""`kerascnn debug`: where along a network an artefact departs from its float form."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from export.artefacts.artefact import Artefact
from export.artefacts.variants import Variant
from export.report.chart import SERIES
from export.tasks import allowed
from export.tasks import base as tasks
from export.tflite import kernel_ranges
from export.tflite.kernel_operations import KERNEL_NAMES
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.common import atomic, once
from training.common.drawing import drawing
from training.common.progress import Progress
from training.common.quiet import native_quiet
from training.engine.run import Run

# A layer is suspected when it adds nine times the noise that it was handed, and what it was
# handed counts as no better than 8 bits can be: where all is well, int8 layers show about 40 dB.
_SHARP_DB = 10.0
_INT8_DB = 40.0
# Operations whose outputs are in an order, or a choice, that rounding changes.
_ORDERING = (
    "TOPK_V2",
    "NON_MAX_SUPPRESSION_V4",
    "NON_MAX_SUPPRESSION_V5",
    "TFLite_Detection_PostProcess",
)
_LABELLED = 70  # layers; of more, the drawing names some


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerError:
    """How far one tensor of an artefact is from the reference's, over all pictures.

    Attributes:
        layer: whose output it is; "logits" for a classifier's last, "boxes" and "scores" for a
            detector's.
        tensor: its name in the artefact.
        op: that made it there.
        snr_db: power of the reference over power of the difference; infinite where they are equal.
        fall_db: by how much `snr_db` is below that of the worst input of the operation.
        cosine: of both, as vectors; 1 where both are zero.
        max_abs: largest difference, in the network's own units.
        bits: of an element.
        scale: one step of an integer in the network's own units; None for floats.
    """

    layer: str
    tensor: str
    op: str
    snr_db: float
    fall_db: float
    cosine: float
    max_abs: float
    bits: int
    scale: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All layers in the order in which they run, the one to look at first, and what was written.

    Attributes:
        dead_channels: by layer, output channels whose kernel is nothing while their bias is not
            (`export.tflite.kernel_ranges`).
    """

    layers: tuple[LayerError, ...]
    suspect: LayerError | None
    dead_channels: Mapping[str, int]
    table: pathlib.Path
    chart: pathlib.Path


@once.scope()
def debug(
    run: Run, variant: str, output: pathlib.Path | None = None, pictures: int = 100
) -> Diagnosis:
    """Compare an artefact of a run with its float form, layer by layer.

    Args:
        variant: name of a .tflite artefact that is there.
        output: folder for <variant>_layers.csv and .png; `debug` in the run's if None.
        pictures: how many to look at, evenly spread, of those set aside; of the held-out ones where
            the run set none aside.

    Raises:
        InputError: no such artefact, or one of another network than what lies there; or the run's
            data set is gone or has changed.
    """
    allowed.require_command(run, "debug")
    artefact = Artefact.open(allowed.require_file(run, variant))
    # Late: with it come the libraries of all trainings.
    from export.compress import compress

    task = tasks.of(run)
    chosen = task.judged(pictures)
    reference, recipe = compress.reference_file(run, artefact)
    layers = layer_errors(
        reference,
        artefact.path.read_bytes(),
        run.preprocessing,
        chosen,
        reference_preprocessing=_of_reference(run.preprocessing, recipe),
        ends=task.network_ends,
    )
    folder = output or run.folder / "debug"
    folder.mkdir(parents=True, exist_ok=True)
    table, chart = folder / f"{variant}_layers.csv", folder / f"{variant}_layers.png"
    suspect = first_fall(layers)
    atomic.write_text(table, as_csv(layers))
    write_chart(chart, layers, title=f"{run.folder.name}, {variant}")
    return Diagnosis(
        layers=tuple(layers),
        suspect=suspect,
        dead_channels=kernel_ranges.dead_channels(TFLiteModel.open(reference)),
        table=table,
        chart=chart,
    )


def layer_errors(
    reference_file: bytes,
    artefact_file: bytes,
    preprocessing: Preprocessing,
    pictures: Iterable[np.ndarray],
    *,
    reference_preprocessing: Preprocessing | None = None,
    ends: Callable[[TFLiteModel], Mapping[str, int]] = TFLiteModel.output_places,
) -> list[LayerError]:
    """Run two TFLite files on the same pictures and compare the tensors that both have.

    Both run without the delegate, which would hide the tensors inside its pieces. Tensors belong
    together if they have the same name, else if they are the last of a layer of the same name.
    What depends on an order of candidates (the largest scores, suppression) has no counterpart:
    the same row may be another region there.

    Args:
        reference_file: float32.
        artefact_file: of the same layers, quantised.
        preprocessing: of the network; a file with uint8 input gets the bytes themselves.
        pictures: (height, width, channels) uint8 each.
        reference_preprocessing: of `reference_file`, where it is another (see
            `export.graph.lower.with_raw_input`).
        ends: gives the tensors that the network of a file ends in, by name: what stands behind it
            in an artefact is not in its reference.

    Returns:
        In the order in which the artefact runs; at least what the network ends in, but for
        networks that choose regions by themselves.

    Raises:
        InputError: no pictures.
    """
    reference = _Recording(
        reference_file,
        reference_preprocessing or preprocessing,
        TFLiteModel.open(reference_file).output_places(),
    )
    artefact = _Recording(artefact_file, preprocessing, ends(TFLiteModel.open(artefact_file)))
    pairs = _matched(reference, artefact)
    sums = {mine: _Sums() for mine in pairs}
    chosen = list(pictures)
    if not chosen:
        raise InputError("no images to compare on; give at least one")
    with Progress("images", len(chosen), unit="image") as progress:
        for picture in chosen:
            reference.run(picture)
            artefact.run(picture)
            for mine, theirs in pairs.items():
                sums[mine].add(reference.value(theirs), artefact.value(mine))
            progress.step()
    return _errors(artefact, sums)


def first_fall(layers: Sequence[LayerError]) -> LayerError | None:
    """The first layer that is sharply worse than what it was handed; None where none is."""
    return next((layer for layer in layers if layer.fall_db >= _SHARP_DB), None)


def as_text(diagnosis: Diagnosis) -> str:
    """Lines for a terminal."""
    head = ("layer", "op", "bits", "scale", "SNR dB", "fall", "cosine", "max error")
    rows = [head, *(_cells(layer) for layer in diagnosis.layers)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    suspect = diagnosis.suspect
    if suspect:
        advice = (
            f"look at {suspect.layer} ({suspect.op}): signal-to-noise ratio {suspect.snr_db:.1f} dB"
        )
        lines += ["", f"{advice}, {suspect.fall_db:.1f} dB below its input"]
    else:
        lines += ["", f"no layer falls by {_SHARP_DB:.0f} dB: no single layer is to blame"]
    if dead := diagnosis.dead_channels:
        named = ", ".join(f"{layer} {count}" for layer, count in dead.items())
        lines.append(f"channels with a bias and no kernel, which stay constant: {named}")
    return "\n".join([*lines, f"table: {diagnosis.table}", f"chart: {diagnosis.chart}"])


def as_csv(layers: Sequence[LayerError]) -> str:
    """One line a layer, under the names of `LayerError`; infinite decibels are left empty."""
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(LayerError)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_json(layers))
    return text.getvalue()


def as_json(layers: Sequence[LayerError]) -> list[dict[str, object]]:
    """Plain values; JSON has no infinity, so decibels without noise are None."""
    return [
        {
            key: None if isinstance(value, float) and math.isinf(value) else value
            for key, value in dataclasses.asdict(layer).items()
        }
        for layer in layers
    ]


def write_chart(path: pathlib.Path, layers: Sequence[LayerError], *, title: str) -> None:
    """Draw the signal-to-noise ratio along the network as a PNG; the suspect is marked."""
    with drawing(names=[title, *(layer.layer for layer in layers)]):
        _write_chart(path, layers, title)


def _write_chart(path: pathlib.Path, layers: Sequence[LayerError], title: str) -> None:
    figure = Figure(figsize=(max(7.0, min(16.0, 2 + 0.2 * len(layers))), 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    known = [(i, layer.snr_db) for i, layer in enumerate(layers) if math.isfinite(layer.snr_db)]
    axes.plot([i for i, _ in known], [y for _, y in known], color=SERIES[6], linewidth=1)
    for kind, marker, colour in (("with a kernel", "o", SERIES[0]), ("others", "s", SERIES[4])):
        points = [(i, y) for i, y in known if _has_kernel(layers[i]) == (kind != "others")]
        places, heights = [i for i, _ in points], [y for _, y in points]
        axes.scatter(places, heights, s=26, c=colour, marker=marker, label=kind, zorder=3)
    suspect = first_fall(layers)
    if suspect and math.isfinite(suspect.snr_db):
        place = (layers.index(suspect), suspect.snr_db)
        axes.scatter(*place, s=170, facecolors="none", edgecolors=SERIES[1], linewidths=2)
        axes.annotate(
            f"falls by {suspect.fall_db:.0f} dB", place, (8, 10), textcoords="offset points"
        )
    every = math.ceil(len(layers) / _LABELLED)
    axes.set_xticks(
        range(0, len(layers), every),
        [layer.layer for layer in layers[::every]],
        rotation=90,
        fontsize=7,
        parse_math=False,
    )
    axes.set_ylabel("signal to noise (dB), higher is better")
    axes.set_title(title, parse_math=False)
    axes.grid(axis="y", alpha=0.4)
    axes.legend(frameon=False)
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})


def _of_reference(preprocessing: Preprocessing, variant: Variant) -> Preprocessing:
    if not variant.raw_input or preprocessing.is_a_scale:
        return preprocessing
    # Such a network normalises inside, see `export.graph.lower.with_raw_input`.
    return dataclasses.replace(preprocessing, mean=0.0, std=1.0, order="rgb")


class _Recording:
    """A file whose tensors can all be read after a run.

    Attributes:
        ends: names of the tensors that its network ends in, by index.
        made: (operation, inputs, output) of what depends on the image, up to an order of
            candidates; the rest widens weights.
    """

    def __init__(self, file: bytes, preprocessing: Preprocessing, ends: Mapping[str, int]) -> None:
        self._preprocessing = preprocessing
        self.ends = {index: name for name, index in ends.items()}
        with native_quiet():
            self._interpreter = Interpreter(
                model_content=file,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self.details = {int(d["index"]): d for d in self._interpreter.get_tensor_details()}
        live = {int(self._input["index"])}
        ordered: set[int] = set()
        self.made: list[tuple[str, tuple[int, ...], int]] = []
        for operation in self._interpreter._get_ops_details():
            inputs = tuple(int(i) for i in operation["inputs"] if int(i) in live)
            outputs = [int(i) for i in operation["outputs"]]
            if operation["op_name"] in _ORDERING or ordered.intersection(operation["inputs"]):
                ordered.update(outputs)
            elif inputs:
                live.update(outputs)
                self.made += [(operation["op_name"], inputs, i) for i in outputs]

    def run(self, picture: np.ndarray) -> None:
        raw = self._input["dtype"] == np.uint8
        fed = picture[None] if raw else self._preprocessing.normalise(picture[None])
        self._interpreter.set_tensor(self._input["index"], fed)
        self._interpreter.invoke()

    def value(self, index: int) -> np.ndarray:
        """In the network's own units."""
        stored = self._interpreter.get_tensor(index).astype(np.float64)
        scale, zero_point = self.details[index]["quantization"]
        return (stored - zero_point) * scale if scale else stored

    def name(self, index: int) -> str:
        return str(self.details[index]["name"])

    def layer(self, index: int) -> str | None:
        """Of a name like `net_1/stem_act_1/Relu6;net_1/stem_1/convolution` the layer stem_act."""
        return self.ends.get(index) or _layers(self.name(index))[0]

    def label(self, index: int) -> str:
        """The same for people, who like any layer of the name better than none."""
        known = (layer for layer in _layers(self.name(index)) if layer)
        return self.layer(index) or next(known, self.name(index).split(";")[0])


def _layers(name: str) -> list[str | None]:
    """Layers of which a tensor's name tells, the last to run first."""
    layers: list[str | None] = []
    for path in name.split(";"):
        # The second call of a Keras 3 layer has _1 behind its name, an aware one quant_ before.
        steps = [s.removeprefix("quant_").removesuffix("_1") for s in path.split("/")]
        # A network inside a network of its name is named twice.
        inside = [step for step in steps if step != steps[0]]
        layers.append(inside[0] if len(inside) > 1 else None)
    return layers


class _Sums:
    """What the figures of one tensor are made of, summed over pictures."""

    def __init__(self) -> None:
        self.signal = self.noise = self.other = self.product = self.largest = 0.0

    def add(self, wanted: np.ndarray, got: np.ndarray) -> None:
        difference = got - wanted
        self.signal += float(np.sum(wanted**2))
        self.noise += float(np.sum(difference**2))
        self.other += float(np.sum(got**2))
        self.product += float(np.sum(wanted * got))
        self.largest = max(self.largest, float(np.max(np.abs(difference))))

    @property
    def snr_db(self) -> float:
        if not self.noise:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf

    @property
    def cosine(self) -> float:
        lengths = math.sqrt(self.signal * self.other)
        return self.product / lengths if lengths else float(self.signal == self.other)


def _matched(reference: _Recording, artefact: _Recording) -> dict[int, int]:
    """Tensors of the artefact, in the order of its run, with those of the reference."""
    names, layers = {}, {}
    by_end = {name: index for index, name in reference.ends.items()}
    for _op, _inputs, index in reference.made:
        names[reference.name(index)] = index
        layers[reference.layer(index)] = index
    last = {artefact.layer(index): index for _op, _inputs, index in artefact.made}
    pairs: dict[int, int] = {}
    for _op, _inputs, index in artefact.made:
        layer = artefact.layer(index)
        theirs = names.get(artefact.name(index))
        end = artefact.ends.get(index)
        if end in by_end:
            theirs = by_end[end]
        elif theirs is None and layer is not None and last[layer] == index:
            theirs = layers.get(layer)
        taken = theirs in pairs.values() and end is None
        if theirs is None or taken or not _comparable(reference, theirs, artefact, index):
            continue
        # A file that ends in a conversion has its output twice.
        pairs = {mine: other for mine, other in pairs.items() if other != theirs}
        pairs[index] = theirs
    return pairs


def _comparable(reference: _Recording, theirs: int, artefact: _Recording, mine: int) -> bool:
    shapes = (reference.details[theirs]["shape"], artefact.details[mine]["shape"])
    return bool(np.array_equal(*shapes))


def _errors(artefact: _Recording, sums: dict[int, _Sums]) -> list[LayerError]:
    quality: dict[int, float] = {}
    found = []
    for op, inputs, index in artefact.made:
        # Tensors without a partner are as good as what they were made of.
        handed = min([_INT8_DB, *(quality[i] for i in inputs if i in quality)])
        quality[index] = sums[index].snr_db if index in sums else handed
        if index not in sums:
            continue
        details = artefact.details[index]
        found.append(
            LayerError(
                layer=artefact.label(index),
                tensor=artefact.name(index),
                op=op,
                snr_db=sums[index].snr_db,
                fall_db=handed - sums[index].snr_db,
                cosine=sums[index].cosine,
                max_abs=sums[index].largest,
                bits=8 * np.dtype(details["dtype"]).itemsize,
                scale=float(details["quantization"][0]) or None,
            )
        )
    return found


def _has_kernel(layer: LayerError) -> bool:
    return layer.op in KERNEL_NAMES


def _cells(layer: LayerError) -> tuple[str, ...]:
    return (
        layer.layer,
        layer.op,
        str(layer.bits),
        f"{layer.scale:.3g}" if layer.scale else "",
        "" if math.isinf(layer.snr_db) else f"{layer.snr_db:.1f}",
        f"{layer.fall_db:.1f}" if layer.fall_db > 0 else "",
        f"{layer.cosine:.5f}",
        f"{layer.max_abs:.3g}",
    )
