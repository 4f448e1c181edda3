"""Commands that run a file: predict, evaluate."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from kerascnn.cli.exits import warn
from kerascnn.cli.options import json_option, options_of, stranger_options, told_of
from kerascnn.cli.printing import print_json
from kerascnn.errors import InputError
from training.common.wording import counted


@click.command(epilog="Example: kerascnn predict runs/flowers/artefacts/int8.tflite rose.jpg")
@click.argument("artefact", type=click.Path())
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="Labels per image (classifiers).  [default: 1]",
)
@click.option(
    "--score",
    type=click.FloatRange(0, 1),
    help="Lowest score of an object (detectors).  [default: 0.3]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    help="Folder for images with the boxes or the segmentation drawn on them.",
)
@json_option
def predict(
    artefact: str,
    images: tuple[str, ...],
    top: int | None,
    score: float | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Run a model file on images.

    ARTEFACT is a .tflite, .onnx or .keras file: a classifier prints labels, a detector objects, a
    segmentation network the share of each class. IMAGES are files or folders; answers name each
    image by its path, in text as in JSON. An image that cannot be read is skipped; the exit code is
    2 then.
    """
    path, folder = pathlib.Path(artefact), pathlib.Path(out) if out else None
    from export.artefacts.artefact import require_description
    from export.artefacts.description import require_file
    from export.runtime.picture_args import named

    require_file(path)
    names = named(images)
    require_description(path)
    from export.runtime.predict import answers

    broken: list[InputError] = []

    def refuse(error: InputError) -> None:
        broken.append(error)
        if len(names) > 1:
            warn(str(error))

    found = answers(
        *(path, list(names)), top=top, score=score, folder=folder, names=names, refuse=refuse
    )
    if as_json:
        print_json([one.as_json() for one in found])
    else:
        for one in found:
            click.echo(one.as_text())
    if broken and len(names) == 1:
        raise broken[0]
    if broken:
        count = counted(len(broken), "image")
        raise InputError(f"{count} of {len(names):,} could not be read, see above")


_EVALUATE = """Examples:

\b
  kerascnn evaluate runs/flowers/artefacts/int8.tflite --data more/ -o page.html
  kerascnn evaluate mobilenet.onnx --data more/ --labels names.txt --preprocessing imagenet
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

    Files of other programs are told by --labels, --preprocessing and the options below these what
    they do not say themselves; TFLite Metadata are read.
    """
    from export.tools.evaluate import Asked, evaluate, write_table
    from export.tools.evaluation_page import require_page, write_page

    page, table, as_json = (given.pop(name) for name in ("page", "table", "as_json"))
    reference = given.pop("reference")
    asked = Asked(
        told=told_of(given),
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
