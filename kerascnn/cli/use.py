"""The evaluate command."""

from __future__ import annotations

import pathlib

import click

from kerascnn.cli.options import json_option
from kerascnn.cli.printing import print_json


@click.command(epilog="Example: kerascnn evaluate runs/flowers/artefacts/int8.tflite --data more/")
@click.argument("source", metavar="FILE_OR_RUN", type=click.Path())
@click.option("--data", help="Images with their truth.  [default: those of the file's run]")
@click.option(
    "--split",
    default="held-out",
    show_default=True,
    help="Images to measure on: held-out, validation, train or all.",
)
@click.option("--csv", "table", type=click.Path(), metavar="FILE", help="Write figures by class.")
@json_option
def evaluate(source: str, data: str | None, split: str, table: str | None, as_json: bool) -> None:
    """Measure how good a file is on images whose truth is known.

    FILE_OR_RUN is a .tflite, .onnx or .keras file, or a run folder, whose model.keras is meant.
    --data takes what `train --data` takes; of it, held-out means the test split, else the
    validation split, else all images. Its classes are matched by name with the labels of the file,
    and those that the file does not know are refused.
    """
    from export.tools.evaluate import evaluate, write_table

    found = evaluate(pathlib.Path(source), data=data, split=split)
    if table:
        write_table(pathlib.Path(table), found)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(found.as_text())
