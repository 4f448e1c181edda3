"""Google's `benchmark_model` on a phone: run, and read.

Source of its flags and lines: tensorflow/lite/tools/benchmark/README.md and
tensorflow/core/util/stats_calculator.h.
"""

from __future__ import annotations

import dataclasses
import re

from export.deploy import adb

_WARM_UP_S = 1.0
_COMPLETE = "graph will be completely executed by the delegate"
_PARTIAL = "graph will be partially executed by the delegate"
_UNUSED = "graph will not be executed by the delegate"
_TIMINGS = re.compile(
    r"Inference timings in us: Init: ([\d.e+]+), First inference: [\d.e+]+, "
    r"Warmup \(avg\): [\d.e+-]+, Inference \(avg\): ([\d.e+]+)"
)
_COUNTS = re.compile(r"\bcount=(\d+)[^\n]*")
_FIGURE = re.compile(r"\b(median|p95|p5|avg)=([\d.e+]+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """What the tool printed of one file.

    Attributes:
        init_ms: until the file could be asked.
        mean_ms: of the timed runs.
        median_ms, p95_ms: None where its version prints none.
        runs: that were timed; None where it does not tell.
        used: "CPU", "GPU", "GPU in part"; empty where it does not tell.
    """

    init_ms: float
    mean_ms: float
    median_ms: float | None
    p95_ms: float | None
    runs: int | None
    used: str


def run(
    phone: adb.Phone, tool: str, model: str, *, threads: int, gpu: bool, seconds: int
) -> Timing:
    """Time a file that lies on the phone.

    Args:
        tool, model: paths on the phone.
        seconds: of measuring, after one of warming up.

    Raises:
        adb.Lost: the phone went away.
        adb.Failed: the tool did; the text is its own last word.
    """
    said = phone.both(
        tool, f"--graph={model}", f"--num_threads={threads}", f"--use_gpu={str(gpu).lower()}",
        f"--warmup_min_secs={_WARM_UP_S}", f"--min_secs={seconds}", "--num_runs=1",
        f"--max_secs={10 * seconds}",
    )  # fmt: skip
    return read(said, gpu=gpu)


def read(text: str, *, gpu: bool) -> Timing:
    """What the tool printed.

    Raises:
        adb.Failed: there are no times in it.
    """
    timings = _TIMINGS.search(text)
    if not timings:
        errors = re.findall(r"(?:ERROR|FATAL)[: ]+(.+)", text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        raise adb.Failed(
            errors[0].strip() if errors else lines[-1] if lines else "it printed nothing"
        )
    init, mean = (float(number) / 1000 for number in timings.groups())
    # The first such line is of the warm-up.
    counts = list(_COUNTS.finditer(text[: timings.start()]))
    figures = dict(_FIGURE.findall(counts[-1][0])) if counts else {}
    median, p95 = (
        float(figures[name]) / 1000 if name in figures else None for name in ("median", "p95")
    )
    return Timing(
        init_ms=init,
        mean_ms=mean,
        median_ms=median,
        p95_ms=p95,
        runs=int(counts[-1][1]) if counts else None,
        used=_used(text) if gpu else "CPU",
    )


def _used(text: str) -> str:
    said = {_COMPLETE: "GPU", _PARTIAL: "GPU in part", _UNUSED: "CPU"}
    return next((used for words, used in said.items() if words in text), "")
