"""Commands that run a file: predict, evaluate."""

from __future__ import annotations

import pathlib

import click

from kerascnn.cli.exits import warn
from kerascnn.cli.options import json_option
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
