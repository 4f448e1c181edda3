"""Commands that bring files to a phone: android, web."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING

import click

from kerascnn.cli.options import json_option, names_of
from kerascnn.cli.printing import print_json

if TYPE_CHECKING:
    from export.deploy.web import Page


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
@click.option(
    "--serve",
    is_flag=True,
    help="Serve the page until Ctrl+C: here, and by https to phones on the same Wi-Fi.",
)
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65534),
    help="With --serve: of this machine; the next one is for phones. 0: any.",
)
@json_option
def web(
    runs: tuple[str, ...], out: str, variants: str | None, serve: bool, port: int, as_json: bool
) -> None:
    """Write a web page that runs model files in a phone's browser.

    RUN is a run folder, or a .tflite file. The page takes images from the camera or from files; any
    static file server can serve its folder. --serve does so with threads, and gives phones the
    camera.
    """
    from export.deploy.web import as_text, next_step, write_page

    made = write_page(runs, pathlib.Path(out), variants=names_of(variants))
    if serve:
        _serve(made, port, as_json)
    elif as_json:
        print_json(dataclasses.asdict(made))
    else:
        click.echo(f"{as_text(made)}\n{next_step(made)}")


def _serve(page: Page, port: int, as_json: bool) -> None:
    """Until Ctrl+C or a termination, also where a script's background ignores Ctrl+C."""
    import time

    from export.deploy import page_server, web
    from training.engine.stopping import StopRequests

    with (
        StopRequests() as requests,
        page_server.serve(pathlib.Path(page.folder), port=port) as addresses,
    ):
        if as_json:
            print_json({**dataclasses.asdict(page), "serve": dataclasses.asdict(addresses)})
        else:
            click.echo(f"{web.as_text(page)}\n{page_server.as_text(addresses)}")
        sys.stdout.flush()
        while requests.signal is None:
            time.sleep(0.2)
