"""Commands that train: train, sweep, find-lr."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import click

from kerascnn.cli.options import (
    DATA_HELP,
    VAL_DATA_HELP,
    as_given,
    image_size_of,
    json_option,
    names_of,
    options_of,
    training_options,
    training_request,
    with_tiles,
)
from kerascnn.cli.printing import print_json
from kerascnn.errors import InputError
from training.common import framework, once
from training.engine.stopping import Stopped


@click.command(
    epilog="Example: kerascnn train efficientnet_lite0 --weights imagenet --data flowers/ "
    "--out runs/flowers"
)
@click.argument("model")
@training_options
@click.option("--out", type=click.Path(), help="Run folder.  [default: runs/MODEL-DATA]")
@click.option(
    "--probe",
    is_flag=True,
    help="Solve for the head on the features of --weights, and train no more: the answer of about "
    "a minute (classifiers).",
)
@click.option(
    "--devices",
    default="1",
    show_default=True,
    help="GPUs that share each batch: a number, all, or INDEX@HOST:PORT,HOST:PORT for this one of "
    "several hosts.",
)
@click.option("--teacher", type=click.Path(), help="Run folder of a network to distil from.")
@click.option(
    "--distil-weight",
    type=float,
    help="Weight of the distillation loss, 0 to 1.  [default: 0.7]",
)
@click.option("--temperature", type=float, help="Softmax temperature.  [default: 3]")
@click.option(
    "--strict",
    is_flag=True,
    help="Stop at a broken image or annotation instead of leaving it out.",
)
@json_option
def train(
    model: str, data: str, out: str | None, devices: str, as_json: bool, **asked: Any
) -> None:
    """Train MODEL into a run folder.

    Repeat the command to continue after an interruption. KERAS_BACKEND=jax or torch trains with
    that backend; the other commands run on tensorflow.
    """
    from kerascnn import api
    from training.engine.devices import Devices

    folder = pathlib.Path(out) if out else api.default_folder(model, data)
    with _telling_what_is_kept(folder):
        run = api.train(model, data=data, out=folder, devices=devices, **as_given(asked))
    if Devices.parse(devices).host:  # the first of several hosts says the rest
        return
    from training.engine.closing import below_floor, closing_line

    useless = below_floor(run.info)
    if as_json:
        print_json({"run": str(folder), **run.metrics, "below_floor": useless})
        return
    click.echo(f"{folder}: {closing_line(run.info)}")
    click.echo(useless or f"next: kerascnn compress {shlex.quote(str(folder))}")


@contextlib.contextmanager
def _telling_what_is_kept(folder: pathlib.Path) -> Iterator[None]:
    """An interruption says whether the same command goes on or begins anew."""
    try:
        yield
    except KeyboardInterrupt:
        from training.engine.checkpoint import latest_first

        found = "interrupted before anything of the training was kept; the same command begins anew"
        if latest_first(folder / "checkpoints"):
            found = "interrupted; the same command goes on from the last checkpoint"
        raise Stopped(found, signal.SIGINT) from None


@click.command(
    epilog="Example: kerascnn sweep --models mobilenet_v2,resnet18 --recipes modern,modern_sgd "
    "--data flowers/"
)
@click.option("--models", required=True, help="Model names, separated by commas.")
@click.option("--recipes", "recipe_names", required=True, help="Recipes, separated by commas.")
@click.option("--seeds", default="0", show_default=True, help="Seeds, separated by commas.")
@click.option("--data", required=True, help=DATA_HELP)
@click.option("--val-data", help=VAL_DATA_HELP)
@click.option("--epochs", type=int, help="Passes over the training images.")
@click.option("--image-size", help="Input size in pixels: 224, or 224x160 (height x width).")
@click.option("--resize", help="As of `train`: stretch, letterbox or, of classifiers, crop.")
@with_tiles
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting for all recipes."
)
@click.option("--out", default="runs/sweep", show_default=True, help="Folder for the runs.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, help="Runs at the same time, without Ray."
)
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    help="CPU cores per run.  [default: an equal share per worker]",
)
@click.option("--gpus", type=float, default=0.0, help="GPUs per run, with Ray.")
@click.option(
    "--ray", "ray_address", help="A Ray cluster: auto, HOST:PORT, or local for this machine."
)
@json_option
def sweep(
    models: str,
    recipe_names: str,
    seeds: str,
    data: str,
    val_data: str | None,
    image_size: str | None,
    settings: tuple[str, ...],
    out: str,
    as_json: bool,
    epochs: int | None,
    resize: str | None,
    tiles: int | None,
    overlap: float | None,
    **how: Any,
) -> None:
    """Train a grid of models and recipes, and rank the runs.

    Every model is trained with every recipe and every seed. Repeat the command to continue.
    --ray spreads the runs over machines (pip install 'kerascnn[sweep]'), which must all see the
    data and --out. The exit code is 1 if a run failed.
    """
    numbers = names_of(seeds)
    if not all(number.isdecimal() for number in numbers):
        raise InputError(f"--seeds must be like 0,1,2, not {seeds!r}")
    chosen = options_of(settings, "--set", "ema=0.999")
    size = image_size_of(image_size)
    from training.engine.refusals import checked
    from training.tools.sweep import jobs, sweep, table

    work = jobs(
        models=names_of(models),
        recipes=names_of(recipe_names),
        seeds=[int(number) for number in numbers],
        data=data,
        val_data=val_data,
        settings=chosen,
        image_size=size,
        epochs=epochs,
        resize=resize,
        tiles=tiles,
        overlap=overlap,
    )
    with once.scope():
        for job in work:
            checked(**job.request, folder=pathlib.Path(out) / job.run)
    framework.load(any_backend=True)
    rows = sweep(work, pathlib.Path(out), **how)
    if as_json:
        print_json({"runs": rows, "table": str(pathlib.Path(out) / "sweep.csv")})
    else:
        click.echo(table(rows))
        click.echo(f"next: kerascnn compare {out}/RUN ...; all figures: {out}/sweep.csv")
    if any(row["error"] for row in rows):
        raise click.exceptions.Exit(1)


@click.command(epilog="Example: kerascnn find-lr mobilenet_v2 --data flowers/ -o rate.png")
@click.argument("model")
@training_options
@click.option(
    "-o",
    "--out",
    default="learning_rate.png",
    show_default=True,
    type=click.Path(),
    help="Plot of loss against learning rate.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=20),
    default=100,
    show_default=True,
    help="Training steps, at most.",
)
@json_option
@once.scope()  # a table is read once
def find_lr(model: str, out: str, steps: int, as_json: bool, **asked: Any) -> None:
    """Find a learning rate.

    MODEL is trained for some steps while the rate rises; the rate is where the loss falls fastest.
    """
    request = training_request(model, command="find-lr", **asked)
    framework.load(any_backend=True)
    from training.tools.range_test import range_test

    found = range_test(request, pathlib.Path(out), steps=steps)
    if as_json:
        print_json({**dataclasses.asdict(found), "plot": out})
    else:
        click.echo(f"--learning-rate {found.rate:.2g}, where the loss falls fastest; see {out}")
