"""Commands that bring files to a phone: android, web, phone."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import click

from kerascnn.cli.exits import fail, warn
from kerascnn.cli.options import json_option, names_of
from kerascnn.cli.printing import print_json
from kerascnn.errors import InputError

if TYPE_CHECKING:
    from export.deploy.phone_benchmark import Asked
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


@click.command(epilog="Example: kerascnn phone runs/flowers --variants int8 --threads 1,4 --gpu")
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option(
    "--variants", help="Variants, separated by commas.  [default: all .tflite files of the runs]"
)
@click.option(
    "--device", metavar="SERIAL", help="Of `adb devices`.  [default: the only phone there is]"
)
@click.option(
    "--threads", default="1,4", show_default=True, help="Of the CPU, separated by commas."
)
@click.option("--gpu", is_flag=True, help="Measure on the GPU too.")
@click.option(
    "--seconds",
    default=5,
    show_default=True,
    type=click.IntRange(1, 60),
    help="For which a file is timed, after warming up.",
)
@click.option(
    "--labelled",
    type=click.Path(),
    metavar="FOLDER",
    help="Measure accuracy too: a sub-folder per class; images and a COCO .json for detectors; "
    "images/ and masks/ for segmentation.",
)
@click.option(
    "--benchmark-model",
    type=click.Path(),
    metavar="PATH",
    help="Google's benchmark_model for the phone, which times in the app's place.",
)
@click.option("--app", help="The app's id, where it is not the demo's own.")
@click.option("--again", is_flag=True, help="Measure anew what was measured before.")
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    help="Folder for table and report.  [default: RUN/phone; phone for several runs]",
)
@json_option
def phone(runs: tuple[str, ...], out: str | None, as_json: bool, **asked: Any) -> None:
    """Measure files on a phone by cable, for the report.

    RUN is a run folder, or a .tflite file. Android's adb finds the phone; the debug build of the
    Android demo measures. Repeat the command to continue: what was measured is kept, by file,
    threads and accelerator.
    """
    from export.deploy import phone_benchmark

    given = _asked_of_phone(runs, out, asked)
    try:
        measured = phone_benchmark.measure(given)
    except phone_benchmark.Unfinished as unfinished:
        fail(str(unfinished), code=1)
    report = _report_of_phone(runs, given.out, measured.table) if measured.rows else None
    if as_json:
        print_json({**dataclasses.asdict(measured), "report": report})
    else:
        click.echo(phone_benchmark.as_text(measured))
        if report:
            click.echo(f"report: {report}")


def _asked_of_phone(runs: tuple[str, ...], out: str | None, asked: dict[str, Any]) -> Asked:
    from export.deploy.phone_benchmark import APP, Asked

    one_run = len(runs) == 1 and (pathlib.Path(runs[0]) / "run.json").is_file()
    folder = pathlib.Path(out) if out else pathlib.Path(runs[0] if one_run else "") / "phone"
    threads = names_of(asked.pop("threads"))
    if not all(text.isascii() and text.isdecimal() for text in threads):
        raise InputError("--threads must be counts of threads, as in 1,4")
    labelled, tool = asked.pop("labelled"), asked.pop("benchmark_model")
    return Asked(
        sources=runs,
        out=folder,
        variants=names_of(asked.pop("variants")),
        threads=tuple(dict.fromkeys(int(text) for text in threads)),
        app=asked.pop("app") or APP,
        labelled=None if labelled is None else pathlib.Path(labelled),
        benchmark_model=None if tool is None else pathlib.Path(tool),
        **asked,
    )


def _report_of_phone(runs: tuple[str, ...], folder: pathlib.Path, table: str) -> str | None:
    """Of the runs; None where only files were named. What cannot be reported is said."""
    folders = [run for run in runs if (pathlib.Path(run) / "run.json").is_file()]
    if not folders:
        return None
    from kerascnn import api

    results = api.compare(folders, folder, device=table, warn=warn)
    return None if results.report is None else str(results.report)
