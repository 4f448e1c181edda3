"""All networks of the zoo that are meant for phones: accuracy against latency and against size.

Run: python benchmarks/phone_networks.py [NAME ...] (or `make bench-phone`), on a machine that does
nothing else: about a quarter of an hour on 2 cores. Writes benchmarks/phone_latency.md and
docs/phone.png.

Each network is built at its published size with random weights and batch norms as after a training,
its branches are joined as `compress` joins them, and it is written as float32 and as int8. All
files of all networks take turns, one thread, in one run: a slow moment hits all. Accuracies are the
published ones of the float networks (`kerascnn models NAME` has the sources), so that an int8
file's point stands where it would if int8 lost nothing.

The arena is that of TFLite's own memory planner without a delegate, from the addresses that it
gives to what is no constant; XNNPACK keeps packed weights beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox
from phone_latency import LOADS, int8_file, with_random_norms

import kerascnn
from export.graph.join_branches import deployed
from export.graph.lower import lower_for_int8
from export.report.chart import SERIES
from export.runtime import benchmark
from export.runtime import load as runtimes
from export.tflite import flatbuffer
from export.tflite.convert import to_tflite
from kerascnn import zoo
from kerascnn.complexity import count_macs, count_parameters
from training.common import atomic
from training.common.drawing import INK, MUTED, drawing, save
from training.engine.run import machine

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE, CHART = ROOT / "benchmarks" / "phone_latency.md", ROOT / "docs" / "phone.png"
FAMILIES = {
    "MobileNet V1": r"mobilenet_v1",
    "MobileNet V2": r"mobilenet_v2",
    "MobileNet V3": r"mobilenet_v3_(small|large)",
    "EfficientNet": r"efficientnet_(b0|v2_b0)",
    "EfficientNet-Lite": r"efficientnet_lite\d",
    "MobileOne": r"mobileone_s\d",
    "MobileNet V4": r"mobilenet_v4_\w+",
    "RepViT": r"repvit_m\d_\d",
}
ROUNDS = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One file.

    Attributes:
        name: of the network.
        kind: "float32" or "int8".
        top1: published accuracy of the float network in percent.
        parameters, macs: of the network, branches joined, batch norms not yet folded.
        size: of the file, in bytes.
        arena: bytes of all that is no constant, at once.
        pieces: partitions that the delegate takes.
        left: operations that it does not take.
        median_ms, p95_ms: of one image.
    """

    name: str
    kind: str
    top1: float
    parameters: int
    macs: int
    size: int
    arena: int
    pieces: int
    left: tuple[str, ...]
    median_ms: float = 0.0
    p95_ms: float = 0.0


def phone_networks() -> list[str]:
    """Classifiers of the zoo by the families above, in the order of the catalogue."""
    return [name for name in kerascnn.list_models("classification") if family(name)]


def family(name: str) -> str | None:
    """Which of `FAMILIES` a network belongs to."""
    return next((one for one, form in FAMILIES.items() if re.fullmatch(form, name)), None)


def main() -> None:
    """Make the files, time them in turns, write the table and the chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all phone networks by default")
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    parser.add_argument("--chart", type=pathlib.Path, default=CHART)
    parser.add_argument("--folder", type=pathlib.Path, help="keep files there, and take what is")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--loads", type=int, default=LOADS)
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = asked.folder or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        found = []
        for name in asked.names or phone_networks():
            found += kept(name, folder)
        timed = timings(found, folder, asked.loads, asked.rounds)
    text = table(timed, asked.loads, asked.rounds)
    atomic.write_text(asked.table, text)
    draw(asked.chart, timed)
    print(text)


def kept(name: str, folder: pathlib.Path) -> list[Measured]:
    """As `made`; what a folder has of a network is taken from there."""
    path = folder / f"{name}.json"
    if path.is_file():
        rows = json.loads(path.read_text())
        return [Measured(**{**row, "left": tuple(row["left"])}) for row in rows]
    print(f"making {name}", flush=True)
    found = made(name, folder)
    atomic.write_text(path, json.dumps([dataclasses.asdict(one) for one in found]))
    return found


def made(name: str, folder: pathlib.Path) -> list[Measured]:
    """Both files of a network, in the folder, and what is known of them without running them."""
    model = deployed(with_random_norms(kerascnn.build(name)))
    files = {
        "float32": to_tflite(model),
        "int8": int8_file(name, to_tflite(lower_for_int8(model))),
    }
    best = next(one for one in zoo.entry(name).results if one.networks == 1 and one.top1)
    assert best.top1 is not None
    counts = {"parameters": count_parameters(model), "macs": count_macs(model)}
    keras.backend.clear_session()
    found = []
    for kind, data in files.items():
        path = folder / f"{name}_{kind}.tflite"
        path.write_bytes(data)
        runtime = runtimes.load(path, preprocessing_of(name))
        found.append(
            Measured(
                name=name,
                kind=kind,
                top1=round(100 - best.top1, 1),
                **counts,
                size=len(data),
                arena=arena(data),
                pieces=runtime.partitions,
                left=tuple(op for op in runtime.operations if op != "DELEGATE"),
            )
        )
    return found


def preprocessing_of(name: str) -> Any:
    """Of the network at its published size."""
    entry = zoo.entry(name)
    return entry.preprocessing(*entry.input_shape[:2])


def arena(data: bytes) -> int:
    """How far apart the planner lays the first and the last byte of what is no constant."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    model = flatbuffer.read(data)
    begins, ends = [], []
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        held = model.buffers[tensor.buffer].data
        if held is not None and len(held):
            continue
        try:
            view = interpreter.tensor(index)()
        except ValueError:  # nothing was laid out for it
            continue
        begins.append(view.__array_interface__["data"][0])
        ends.append(begins[-1] + view.nbytes)
    return max(ends) - min(begins)


def timings(
    files: Sequence[Measured], folder: pathlib.Path, loads: int, rounds: int
) -> list[Measured]:
    """The files with their latencies; each load has its own place in memory, which counts."""
    times: dict[int, list[benchmark.Latency]] = {index: [] for index in range(len(files))}
    for number in range(loads):
        order = list(times)[:: -1 if number % 2 else 1]
        calls = {}
        for index in order:
            one = files[index]
            preprocessing = preprocessing_of(one.name)
            runtime = runtimes.load(folder / f"{one.name}_{one.kind}.tflite", preprocessing)
            picture = np.random.default_rng(0).integers(
                0, 256, preprocessing.input_shape, dtype=np.uint8
            )
            calls[str(index)] = runtime.once(picture)
        print(f"load {number + 1} of {loads}", flush=True)
        for index, latency in benchmark.interleaved(calls, rounds=rounds).items():
            times[int(index)].append(latency)
    return [
        dataclasses.replace(
            one,
            median_ms=float(np.median([t.median_ms for t in times[index]])),
            p95_ms=float(np.median([t.p95_ms for t in times[index]])),
        )
        for index, one in enumerate(files)
    ]


def table(files: Sequence[Measured], loads: int, rounds: int) -> str:
    """The document."""
    lines = [
        "# Networks for phones",
        "",
        "`python benchmarks/phone_networks.py`: random weights, so that accuracies are those that",
        "are published of the float networks; files as `compress` writes them; all files in turns,",
        f"one thread, {loads} loads of {rounds} rounds. Arena: TFLite's own planner, without a",
        "delegate. Pieces: partitions for XNNPACK, and what it leaves. Parameters and MACs: with",
        "the branches joined, batch norms counted as they are trained.",
        f"{machine()['processor']}, {machine()['cores']} cores.",
        "",
        "![Published accuracy against latency and size](../docs/phone.png)",
        "",
        "| network | file | top-1 | parameters | MACs | KB | arena KB | pieces | ms | p95 ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in files:
        left = f" ({', '.join(sorted(set(one.left)))})" if one.left else ""
        lines.append(
            f"| `{one.name}` | {one.kind} | {one.top1} | {one.parameters:,} "
            f"| {one.macs / 1e6:,.0f} M | {one.size / 1000:,.0f} | {one.arena / 1000:,.0f} "
            f"| {one.pieces}{left} | {one.median_ms:.2f} | {one.p95_ms:.2f} |"
        )
    return "\n".join(lines) + "\n"


def draw(path: pathlib.Path, files: Sequence[Measured]) -> None:
    """Accuracy against latency and against size, a colour per family, a line per network."""
    colours = dict(zip(FAMILIES, SERIES, strict=False))
    with drawing():
        figure = Figure(figsize=(11, 5), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        panels = (
            (left, "latency on this machine, one thread (ms)", lambda one: one.median_ms),
            (right, "file (MB)", lambda one: one.size / 1e6),
        )
        for axes, title, value in panels:
            _log_axis(axes, [value(one) for one in files])
            for name in dict.fromkeys(one.name for one in files):
                colour = colours.get(family(name) or "", MUTED)
                _line(axes, [one for one in files if one.name == name], value, colour)
            axes.set_xlabel(title)
            axes.grid(visible=True)
        left.set_ylabel("ImageNet top-1, published (%)")
        shown = [one for one in FAMILIES if one in {family(file.name) for file in files}]
        handles = [
            Line2D([], [], color=colours[one], marker="s", ls="", label=one) for one in shown
        ]
        handles += [
            Line2D([], [], color=INK, marker="o", ls="", mfc="none", label="float32"),
            Line2D([], [], color=INK, marker="s", ls="", label="int8"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
        for axes, _title, value in panels:
            _names(figure, axes, files, value, colours)
        save(figure, path)


def _log_axis(axes: Any, values: Sequence[float]) -> None:
    """Ticks at 1, 2 and 5 of every power of ten, as plain numbers."""
    low, high = 0.6 * min(values), 1.25 * max(values)  # names are to the left
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _line(axes: Any, files: Sequence[Measured], value: Any, colour: str) -> None:
    """Both files of a network, joined."""
    axes.plot([value(one) for one in files], [one.top1 for one in files], color=colour, lw=0.8)
    for one in files:
        hollow = one.kind == "float32"
        axes.plot(
            value(one),
            one.top1,
            marker="o" if hollow else "s",
            markerfacecolor="none" if hollow else colour,
            color=colour,
        )


def _names(
    figure: Figure,
    axes: Any,
    files: Sequence[Measured],
    value: Any,
    colours: Mapping[str, str],
) -> None:
    """The networks' names, each at the first place beside its points that is still free."""
    figure.draw_without_rendering()  # lays the axes out, so that places are known
    points = axes.transData.transform([(value(one), one.top1) for one in files])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in points]
    for name in dict.fromkeys(one.name for one in files):
        ends = sorted((one for one in files if one.name == name), key=value)
        for end, offset, side in (
            *((ends[0], (-6, high), "right") for high in (-3, 5, -11)),
            *((ends[-1], (6, high), "left") for high in (-3, 5, -11)),
        ):
            text = axes.annotate(
                _short(name),
                (value(end), end.top1),
                xytext=offset,
                textcoords="offset points",
                ha=side,
                fontsize=7,
                color=colours.get(family(name) or "", MUTED),
            )
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        taken.append(box)


def _short(name: str) -> str:
    """What its family's colour does not say: "v4_conv_small" is "conv small"."""
    rest = re.sub(r"^(mobilenet_v\d|mobileone|repvit|efficientnet)_?", "", name)
    return rest.replace("m0_9", "m0.9").replace("m1_0", "m1.0").replace("_", " ") or name[-2:]


if __name__ == "__main__":
    main()
