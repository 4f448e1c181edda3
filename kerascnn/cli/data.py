"""Commands on data sets: check, pack, bench-data."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import click

from kerascnn.catalogue import TASKS
from kerascnn.cli.exits import fail
from kerascnn.cli.options import (
    image_size_of,
    json_option,
    training_options,
    training_request,
    with_tiles,
)
from kerascnn.cli.printing import print_json
from kerascnn.errors import InputError
from training.common import framework, once
from training.common.wording import counted


@click.command(epilog="Example: kerascnn check flowers/ -o check.html")
@click.argument("data")
@click.option("--task", help=f"{', '.join(TASKS)}.  [default: guessed from the data]")
@click.option(
    "--model", help="Model to check for: its input size and recipe.  [default: one of the task]"
)
@click.option("--image-size", help="Pixels: 224, or 224x160 (height x width).")
@click.option("--resize", help="As of `train`: stretch, letterbox or, of classifiers, crop.")
@with_tiles
@click.option("--augmentation", help="As of `train`, for the images on the page.")
@click.option("--split-seed", type=int, help="Seed of the held-out split.  [default: 0]")
@click.option("--val-data", help="As of `train`: data to hold out, which lie elsewhere.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False),
    help="Page to write (.html), with images as the network sees them.",
)
@json_option
def check(
    data: str,
    task: str | None,
    model: str | None,
    image_size: str | None,
    out: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Look at a data set before training.

    DATA is what `train --data` takes. Every image is read once: broken and unusual files, the same
    or nearly the same image within and across splits, classes that are rare or missing, objects too
    small for the network. The exit code is 1 if something was found, 2 if DATA cannot be read; the
    page then says why, and which image files can be.
    """
    size = image_size_of(image_size)
    page = pathlib.Path(out) if out else None
    if page and page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out must end in .html, not {out!r}")
    from training.tools.check import report
    from training.tools.check.check import check
    from training.tools.check.task import request

    try:
        with once.scope():  # data whose form decides the task are not read twice
            wanted, guessed = request(data, task=task, model=model, image_size=size, **asked)
            try:
                checked = check(wanted, guessed=guessed)
            except InputError as error:
                if page:
                    _write_refusal(wanted, error, page)
                raise
        if page:
            from training.tools.check.page import write_page

            write_page(checked, page)
    except KeyboardInterrupt:
        fail("interrupted; nothing was written", code=130)
    if as_json:
        print_json(report.as_json(checked, out))
    else:
        click.echo(report.as_text(checked))
        if page:
            click.echo(f"\nreport: {page}")
    if checked.findings:
        raise click.exceptions.Exit(1)


def _write_refusal(wanted: Any, error: InputError, page: pathlib.Path) -> None:
    """What can be said of data that is refused; where it is comes before the line that says why."""
    from training.tools.check.page import write_refusal
    from training.tools.check.refused import look

    write_refusal(look(wanted, error), page)
    click.echo(f"report: {page}", err=True)


@click.command(epilog="Example: kerascnn pack photos/ -o photos-pack --max-side 512")
@click.argument("source")
@click.option(
    "--task",
    help="What the images are for: classification, detection (boxes, and masks where there are "
    "outlines) or segmentation (masks of classes).  [default: by the form of SOURCE]",
)
@click.option("-o", "--out", required=True, type=click.Path(), help="Folder for the pack.")
@click.option("--shard-size", default="128MB", show_default=True, help="Size per file, at most.")
@click.option(
    "--max-side",
    type=click.IntRange(min=1),
    help="Scale labelled images down whose longer side has more pixels.  [default: never]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed of the order.",
)
@click.option(
    "--split-seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the held-out split.",
)
@click.option("--strict", is_flag=True, help="Stop at a broken image instead of skipping it.")
@json_option
def pack(
    source: str, task: str | None, out: str, shard_size: str, as_json: bool, **asked: Any
) -> None:
    """Copy images with labels, boxes or masks into large TFRecords.

    SOURCE is what `train --data` takes; then train with `--data` and the pack's folder. Repeat the
    command to continue after an interruption.
    """
    from training.datasets import canonical
    from training.datasets.pack import shard_bytes
    from training.datasets.paths import refuse_within
    from training.tools.packing import kind_of, packed

    kind = kind_of(source, task)
    asked["shard_bytes"] = shard_bytes(shard_size)
    refuse_within(pathlib.Path(out), source, canonical(source), flag="")
    from training.common.progress import say

    made = packed(source, pathlib.Path(out), kind, report=say, **asked)
    if as_json:
        print_json(dataclasses.asdict(made) | {"folder": out})
    else:
        counts = ", ".join(f"{count} {name}" for name, count in made.counts.items())
        skipped = ""
        if made.skipped:
            skipped = f"; skipped {counted(len(made.skipped), 'broken image')}"
        files = counted(made.shards, "file")
        click.echo(f"{out}: {counts} images in {files}, {made.bytes / 1e6:.1f} MB{skipped}")
        click.echo(f"next: kerascnn train MODEL --data {out}")


@click.command(epilog="Example: kerascnn bench-data mobilenet_v2 --data flowers/")
@click.argument("model")
@training_options
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds per measurement; there are three per round.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Rounds of measurements.",
)
@click.option(
    "--uncached",
    is_flag=True,
    help="Decode every image again, as for data larger than memory; images with boxes and masks "
    "always are.",
)
@json_option
@once.scope()  # a table is read once
def bench_data(
    model: str,
    seconds: float,
    rounds: int,
    uncached: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure whether reading data slows training.

    Times the input pipeline, the training step, and both together, in images per second.
    """
    wanted = training_request(model, command="bench-data", **asked)
    framework.load(any_backend=True)
    from training.tools.bench_data import bench_data

    found = bench_data(wanted, seconds=seconds, rounds=rounds, cached=not uncached)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        click.echo(found.as_text())
