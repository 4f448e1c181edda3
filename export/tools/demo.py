"""`kerascnn demo`: the whole way in two acts, on data and weights that packages carry.

First networks of several sizes learn digits on photos; then one with ImageNet weights is brought as
it is (`demo_photos`).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from export.compress.compress import compress
from export.report.compare import compare
from export.report.page import Named
from export.report.results import Result
from export.tools.demo_photos import second_act
from kerascnn.zoo import entry
from training.common import once
from training.common.progress import say
from training.engine.request import request
from training.engine.run import Run
from training.engine.train import train

DATA = "mnist-photos"
MODELS = ("lenet5", "mobilenet_v2", "mobilenet_v3_small")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """What came of it.

    Attributes:
        rows: of the first act, one per artefact.
        named: of the second act; None where there was none.
    """

    rows: tuple[Result, ...]
    named: Named | None


@once.scope()
def demo(
    folder: pathlib.Path, *, models: Sequence[str] | None = None, epochs: int | None = None
) -> Demo:
    """Train, compress and compare; an interrupted demo goes on where it was.

    Args:
        folder: gets one run a model, and the report: report.html, results.csv, chart.png.
        models: zoo names, without the second act; None: `MODELS`, and the second act.
        epochs: fewer than the recipe's, for a quick look.
    """
    runs: list[Run] = []
    chosen = MODELS if models is None else models
    for name in chosen:
        entry(name)
    acts = len(chosen) + (models is None)
    for number, model in enumerate(chosen, 1):
        say(f"[{number}/{acts}] {model}")
        run = train(request(model, data=DATA, epochs=epochs), folder / model)
        compress(run)
        runs.append(run)
    named = None
    if models is None:
        say(f"[{acts}/{acts}] ImageNet weights, on photos")
        named = second_act(folder)
    title = "Classic networks on 1,000 held-out digits, blended with photos"
    return Demo(rows=tuple(compare(runs, folder, title=title, named=named)), named=named)
