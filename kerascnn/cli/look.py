"""Commands that show what there is: models, recipes, info, doctor."""

from __future__ import annotations

import pathlib

import click

from kerascnn import zoo
from kerascnn.catalogue import TASKS
from kerascnn.cli.options import json_option
from kerascnn.cli.printing import print_json
from kerascnn.errors import InputError, did_you_mean


@click.command(epilog="Example: kerascnn models resnet50")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--task", help=f"Only models for this task: {', '.join(TASKS)}.")
@json_option
def models(names: tuple[str, ...], task: str | None, as_json: bool) -> None:
    """List the architectures and their published results.

    With NAME, show all that is known of one. --json prints an array of objects with a "name",
    also for a single NAME. Its "top1" and "top5" are errors in percent, "top1_accuracy" and
    "top5_accuracy" accuracies.
    """
    from kerascnn import listing

    chosen = names or zoo.list_models(task)
    if not chosen:
        hint = did_you_mean(task or "", TASKS) or ";"
        raise InputError(f"no models for task {task!r}{hint} the tasks are {', '.join(TASKS)}")
    if as_json:
        print_json(listing.as_json(chosen))
    elif names:
        click.echo("\n\n".join(listing.page(name) for name in names))
    else:
        click.echo(listing.table(chosen))


@click.command(epilog="Example: kerascnn recipes modern")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
def recipes(names: tuple[str, ...], as_json: bool) -> None:
    """List the training recipes, or show all settings of one.

    `train --set KEY=VALUE` changes a setting. --json prints an array of objects with a "name", also
    for a single NAME.
    """
    from training import recipes as there

    chosen = names or there.NAMES
    if as_json:
        print_json([{"name": name, **there.load(name).as_dict()} for name in chosen])
    elif names:
        click.echo("\n\n".join(there.page(name) for name in names))
    else:
        width = max(map(len, chosen))
        click.echo("\n".join(f"{name:{width}}  {there.summary(name)}" for name in chosen))


@click.command(epilog="Example: kerascnn info runs/flowers/artefacts/int8.tflite")
@click.argument("file", type=click.Path())
@click.option(
    "--verify",
    is_flag=True,
    help="Run the self-test inside the file: does this machine answer as the one that wrote it? "
    "Exit code 1 if not.",
)
@json_option
@click.pass_context
def info(ctx: click.Context, file: str, verify: bool, as_json: bool) -> None:
    """Show what a .tflite or .onnx file contains and needs to run."""
    from export.runtime.info import as_json as info_as_json
    from export.runtime.info import as_text, info

    found = info(pathlib.Path(file), verify=verify)
    if as_json:
        print_json(info_as_json(found))
    else:
        click.echo(as_text(found))
    if found.verified is not None and not found.verified.verified:
        ctx.exit(1)


@click.command(epilog="Example: kerascnn doctor")
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look at this machine: packages, GPUs, runtimes.

    Which GPUs the driver knows and which of them each backend sees, processor, memory, disk, and
    the tools for phones and pages.

    Each gap comes with the command that mends it. Exit code 1 if one keeps the machine from being
    used as it could be.
    """
    from export.tools.doctor import examine, has_problem, lines

    findings = examine()
    if as_json:
        print_json([one.to_dict() for one in findings])
    else:
        click.echo("\n".join(lines(findings)))
    if has_problem(findings):
        ctx.exit(1)
