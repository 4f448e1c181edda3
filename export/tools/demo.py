"""`kerascnn demo`: the whole way on the embedded digits, for four networks."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from export.compress.compress import compress
from export.report.compare import compare
from export.report.results import Result
from kerascnn.zoo import entry
from training.common import once
from training.common.progress import say
from training.engine.request import request
from training.engine.run import Run
from training.engine.train import train

MODELS = ("lenet5", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0")


@once.scope()
def demo(
    folder: pathlib.Path, *, models: Sequence[str] = MODELS, epochs: int | None = None
) -> list[Result]:
    """Train, compress and compare; an interrupted demo goes on where it was.

    Args:
        folder: gets one run a model, and the report: report.html, results.csv, chart.png.
        models: zoo names.
        epochs: fewer than the recipe's, for a quick look.

    Returns:
        One row an artefact.
    """
    runs: list[Run] = []
    for name in models:
        entry(name)
    for number, model in enumerate(models, 1):
        say(f"[{number}/{len(models)}] {model}")
        run = train(request(model, data="mnist", epochs=epochs), folder / model)
        compress(run)
        runs.append(run)
    title = "Classic networks on 1,000 held-out digits"
    return compare(runs, folder, title=title)
