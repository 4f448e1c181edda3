"""The demo command."""

from __future__ import annotations

import pathlib

import click

from kerascnn import zoo
from kerascnn.cli.options import json_option, names_of
from kerascnn.cli.printing import print_results
from training.common import framework


@click.command(epilog="Example: kerascnn demo")
@click.option(
    "--out", default="runs/demo", show_default=True, help="Folder for the runs and the report."
)
@click.option("--models", "names", help="Models, separated by commas.  [default: four]")
@click.option("--epochs", type=int, help="Epochs; fewer are quicker and less accurate.")
@json_option
def demo(out: str, names: str | None, epochs: int | None, as_json: bool) -> None:
    """Train, compress and compare four networks on digits."""
    for name in names_of(names):
        zoo.entry(name)
    framework.load()
    from export.report.compare import output_files
    from export.tools.demo import MODELS, demo
    from kerascnn.api import Results

    folder = pathlib.Path(out)
    chosen = names_of(names) or MODELS
    page = output_files(folder)[0]
    print_results(lambda: Results(demo(folder, models=chosen, epochs=epochs), page), as_json)
