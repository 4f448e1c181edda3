"""Methods of compression against each other, on embedded digits; writes benchmarks/compression.md.

Run: python benchmarks/compression_methods.py [--out DIR] (or `make bench-compression`). It trains
six phone networks on `mnist` by the recipe `digits`, makes the files below, runs each one in LiteRT
on the 1,000 held-out pictures, and times the files of a network in turns. Everything is kept in
DIR: an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
from collections.abc import Iterable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("PYTHONHASHSEED", "0")

from export.compress.compress import compress
from export.report.compare import compare
from export.report.results import Result
from training.engine.request import request
from training.engine.run import Run, machine
from training.engine.train import train

SIX = (
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("efficientnet_lite0", "efficientnet_b0"),
)
OF_ALL = ("float32", "dynamic_int8", "int8", "qat_int8")
DEEP = "mobilenet_v2"
OF_ONE = (
    *("float32", "float16", "dynamic_int8", "weight_int8", "int8", "int8_converter"),
    *("mixed", "weight_int4", "qat_int8", "prune50_int8", "prune75_int8", "prune2of4_int8"),
    *("cluster16_int8", "prune75_cluster16_qat_int8", "distil_prune75_cluster16_qat_int8"),
    *("slim50_float32", "slim50_qat_int8", "distil_slim50_float32", "slim25_qat_int8"),
)
PAGE = pathlib.Path(__file__).with_suffix(".md")
CHART = PAGE.parent.parent / "docs" / "compression.png"


def main() -> None:
    """Train, compress, compare, write the page and the chart."""
    out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1] if "--out" in sys.argv else "runs/six")
    runs: dict[str, Run] = {}
    rows: dict[str, list[Result]] = {}
    for name in SIX:
        runs[name] = train(request(name, data="mnist"), out / name)
        compress(runs[name], OF_ONE if name == DEEP else OF_ALL, onnx=False)
        found = compare([runs[name]], out / name)
        rows[name] = [row for row in found if row.format == "tflite"]
    shutil.copy(out / DEEP / "chart.png", CHART)
    PAGE.write_text(page(runs, rows), "utf-8")
    print(PAGE)


def page(runs: dict[str, Run], rows: dict[str, list[Result]]) -> str:
    """The page in Markdown."""
    known = machine()
    paper = [
        "# Compression on embedded digits",
        "",
        "Made by `python benchmarks/compression_methods.py`, which says how. Accuracies are of",
        "files in LiteRT on 1,000 held-out pictures; the drop is from the network's own float32",
        "file, with its 95% interval (paired bootstrap). Latency is the median of one thread, the",
        "files of a network taking turns; seconds are what the method itself took, trainings",
        "included.",
        f"Machine: {known['processor']}, {known['cores']} cores.",
        "",
        "## Six networks",
        "",
        *table([row for name in SIX for row in rows[name] if row.variant in OF_ALL], rows, True),
        "",
        f"## All methods on {DEEP} (alpha 0.35)",
        "",
        *table(
            [row for variant in OF_ONE for row in rows[DEEP] if row.variant == variant],
            rows,
            False,
        ),
        "",
        "![Accuracy against size and latency](../docs/compression.png)",
        "",
        "Float networks, trained from random weights by the recipe `digits`: "
        + ", ".join(f"{name} {run.info['results']['held_out']:.1f}%" for name, run in runs.items())
        + ".",
        "",
    ]
    return "\n".join(paper)


def table(chosen: Sequence[Result], rows: dict[str, list[Result]], named: bool) -> Iterable[str]:
    """Lines of a Markdown table; sizes and latencies beside their ratio to float32."""
    heads = ["network"] if named else []
    heads += ["variant", "accuracy", "drop (95%)", "KB", "zipped KB", "of float", "ms", "of float"]
    heads += ["zeros", "MACs (M)", "seconds"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join('---' for _ in heads)}|"
    for row in chosen:
        base = next(r for r in rows[row.model] if r.variant == "float32")
        cells = [row.model] if named else []
        cells += [
            row.variant,
            f"{row.value:.1f}%",
            f"{row.drop:+.1f} ({row.drop_low:+.1f} to {row.drop_high:+.1f})",
            f"{row.bytes / 1000:.1f}",
            f"{row.download_bytes / 1000:.1f}",
            f"1/{base.download_bytes / row.download_bytes:.1f}",
            f"{row.latency_ms:.3f}",
            f"{(row.latency_ms or 0) / (base.latency_ms or 1):.2f}",
            f"{100 * row.sparsity:.0f}%",
            f"{row.macs / 1e6:.2f}",
            f"{row.seconds:.0f}",
        ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
