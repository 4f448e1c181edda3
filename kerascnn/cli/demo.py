"""The demo command."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import click

from kerascnn import zoo
from kerascnn.cli.options import json_option, names_of
from kerascnn.cli.printing import print_results
from training.common import framework

if TYPE_CHECKING:
    from kerascnn.api import Results


@click.command(epilog="Example: kerascnn demo")
@click.option(
    "--out", default="runs/demo", show_default=True, help="Folder for the runs and the report."
)
@click.option(
    "--models", "names", help="Models, separated by commas; no photos then.  [default: three]"
)
@click.option("--epochs", type=int, help="Epochs; fewer are quicker and less accurate.")
@json_option
def demo(out: str, names: str | None, epochs: int | None, as_json: bool) -> None:
    """Train and compare three networks, then name photos.

    The first act trains networks of three sizes on digits in colour, makes files of each and
    compares them. The second brings EfficientNet-Lite0 with its ImageNet weights as it is, makes
    small files of it, and has each name photos.
    """
    for name in names_of(names):
        zoo.entry(name)
    framework.load()
    from export.report.compare import output_files
    from export.tools import demo_photos
    from export.tools.demo import Demo, demo
    from kerascnn.api import Results

    folder = pathlib.Path(out)
    page = output_files(folder)[0]
    done: list[Demo] = []

    def make() -> Results:
        done.append(demo(folder, models=names_of(names) or None, epochs=epochs))
        return Results(list(done[0].rows), page)

    def more() -> dict[str, Any]:
        named = done[0].named if done else None
        return {} if named is None else {"photos": demo_photos.as_json(named)}

    print_results(make, as_json, more=more)
    for one in done:
        if one.named is not None and not as_json:
            click.echo(f"\n{demo_photos.as_text(one.named)}")
