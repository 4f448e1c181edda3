"""Commands that bring files to a phone: android, web."""

from __future__ import annotations

import dataclasses
import pathlib

import click

from kerascnn.cli.options import json_option, names_of
from kerascnn.cli.printing import print_json


@click.command(epilog="Example: kerascnn android runs/flowers --variants int8,float16")
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option(
    "-o",
    "--out",
    default="android_demo",
    show_default=True,
    type=click.Path(),
    help="Folder of the Android demo; a new one gets a copy of it.",
)
@click.option(
    "--variants", help="Variants, separated by commas.  [default: all .tflite files of the runs]"
)
@json_option
def android(runs: tuple[str, ...], out: str, variants: str | None, as_json: bool) -> None:
    """Copy model files into the Android demo.

    They replace those of an earlier call. RUN is a run folder, or a .tflite file. The demo is a
    project for Android Studio, which is copied to where there is none yet; the app shows every
    file that it holds.
    """
    from export.deploy.android import as_text, fill

    filled = fill(runs, pathlib.Path(out), variants=names_of(variants))
    if as_json:
        print_json(dataclasses.asdict(filled))
    else:
        click.echo(as_text(filled))


@click.command(epilog="Example: kerascnn web runs/flowers -o page --variants int8,float16")
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option("-o", "--out", required=True, type=click.Path(), help="Folder for the page.")
@click.option(
    "--variants", help="Variants, separated by commas.  [default: all .tflite files of the runs]"
)
@json_option
def web(runs: tuple[str, ...], out: str, variants: str | None, as_json: bool) -> None:
    """Write a web page that runs model files in a phone's browser.

    RUN is a run folder, or a .tflite file. The page takes images from the camera or from files; any
    static file server can serve its folder.
    """
    from export.deploy.web import as_text, write_page

    made = write_page(runs, pathlib.Path(out), variants=names_of(variants))
    if as_json:
        print_json(dataclasses.asdict(made))
    else:
        click.echo(as_text(made))
