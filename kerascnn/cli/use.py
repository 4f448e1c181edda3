"""The evaluate command."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from kerascnn.cli.options import (
    file_options_of,
    json_option,
    options_of,
    stranger_options,
    with_tiles,
)
from kerascnn.cli.printing import print_json

_EVALUATE = """\b
Example: kerascnn evaluate runs/flowers/artefacts/int8.tflite --data more/ -o page.html
\b
         kerascnn evaluate net.onnx --data more/ --labels names.txt --preprocessing imagenet
         kerascnn evaluate int8.tflite --data photos/ --reference float32.tflite
         kerascnn evaluate resnet50 --weights imagenet --data imagenet/val --published
"""


@click.command(epilog=_EVALUATE)
@click.argument("source", metavar="FILE_OR_RUN_OR_NAME", type=click.Path())
@click.option("--data", help="Images with their truth.  [default: those of the file's run]")
@click.option(
    "--split",
    default="held-out",
    show_default=True,
    help="Images to measure on: held-out, validation, train or all.",
)
@click.option(
    "--reference",
    type=click.Path(),
    metavar="FILE",
    help="Another file, or run: how far the answers agree. Needs no labels.",
)
@click.option("--weights", help="Of a network of the zoo: imagenet, coco, ... or a file.")
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Of such a network: alpha=0.35."
)
@click.option(
    "--published", is_flag=True, help="Hold the figure against the published one of --weights."
)
@with_tiles
@stranger_options
@click.option("--csv", "table", type=click.Path(), metavar="FILE", help="Write figures by class.")
@click.option(
    "-o", "--out", "page", type=click.Path(), metavar="FILE.html", help="Write a page with it all."
)
@json_option
def evaluate(source: str, data: str | None, **given: Any) -> None:
    """Measure how good a file is on images whose truth is known.

    FILE_OR_RUN_OR_NAME is a .tflite, .onnx or .keras file, a run folder, whose model.keras is
    meant, or a network of the zoo with --weights. --data takes what `train --data` takes, and
    ImageNet's validation images and COCO as they come; of it, held-out means the test split, else
    the validation split, else all images. Its classes are matched by name with the labels of the
    file, and those that the file does not know are refused.

    What files of other programs do not say themselves is given by --labels, --preprocessing and
    the options below these; TFLite Metadata are read.
    """
    from export.tools.evaluate import Asked, evaluate, write_table
    from export.tools.evaluation_page import require_page, write_page

    page, table, as_json = (given.pop(name) for name in ("page", "table", "as_json"))
    reference = given.pop("reference")
    asked = Asked(
        file_options=file_options_of(given),
        options=options_of(given.pop("options"), "--option", "alpha=0.35"),
        reference=None if reference is None else pathlib.Path(reference),
        **given,
    )
    if page:
        require_page(pathlib.Path(page))
    found = evaluate(pathlib.Path(source), data=data, asked=asked)
    if table:
        write_table(pathlib.Path(table), found)
    if page:
        write_page(found, pathlib.Path(page))
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(found.as_text())
