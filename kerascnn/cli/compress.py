"""Commands on a run's files: compress, shrink, compare, debug."""

from __future__ import annotations

import pathlib
from typing import Any

import click

from kerascnn.cli.exits import warn
from kerascnn.cli.options import compression_of, json_option, names_of, settings_options
from kerascnn.cli.printing import print_json, print_results
from training.common import framework


@click.command(epilog="Example: kerascnn compress runs/flowers --variants float32,prune75_int8")
@click.argument("run", type=click.Path())
@click.option(
    "--variants",
    help="Variants, separated by commas.  [default: the usual ones for the run's task]",
)
@click.option("--onnx/--no-onnx", default=True, help="Also write float32.onnx.")
@click.option(
    "--outputs",
    default="logits",
    show_default=True,
    help="Of classifiers: logits, or probabilities, for apps that show outputs as they are.",
)
@click.option("--author", help="Author, written into all files of RUN from now on.")
@click.option("--license", help="Licence, likewise: an SPDX name as Apache-2.0, or text.")
@settings_options
@json_option
def compress(
    run: str,
    variants: str | None,
    onnx: bool,
    author: str | None,
    license: str | None,
    outputs: str,
    as_json: bool,
    **asked: Any,
) -> None:
    """Write and verify compressed files of a run, with a report.

    A variant is training steps and a precision, joined by underscores: int8, prune75_int8,
    prune75_cluster16_qat_int8. Steps, in this order:

    \b
    distil     knowledge distillation in all following steps
    slim50     channel pruning to 50% of the multiply-adds
    prune75    75% of the weights become zero (prune2of4, prune75x4: in patterns)
    cluster16  16 distinct weights per layer
    qat        quantisation-aware training, for int8 and weight_int4

    Precisions:

    \b
    float32  float16  weight_int8  weight_int4  dynamic_int8  int8  int16x8
    mixed    4, 8 or 16 bits per layer, chosen by sensitivity
    plain_int8  plain_weight_int8  plain_weight_int4  plain_dynamic_int8
    plain_mixed  plain_int16x8
             rounded to the nearest, without reconstruction, for comparison
    float16_converter  dynamic_int8_converter  int8_converter  int16x8_converter
             the same by TensorFlow's own converter, for comparison
    """
    from kerascnn import api

    opened = api.open_run(run)
    print_results(
        lambda: opened.compress(
            None if variants is None else names_of(variants),
            onnx=onnx,
            author=author,
            license=license,
            outputs=outputs,
            **compression_of(asked),
        ),
        as_json,
    )


@click.command(epilog="Example: kerascnn shrink runs/flowers --max-size 300KB --max-drop 1.0")
@click.argument("run", type=click.Path())
@click.option("--max-size", help="Largest file: 300KB, 1.2MB (1 KB is 1000 bytes).")
@click.option(
    "--max-drop",
    type=float,
    default=1.0,
    show_default=True,
    help="Largest loss of accuracy, AP or mIoU, in percentage points.",
)
@click.option("--max-latency", help="Longest median time per image on this computer: 5ms.")
@click.option(
    "--metric",
    default="file",
    show_default=True,
    help="Size that --max-size limits: file, or download (compressed by zlib -9).",
)
@settings_options
@json_option
def shrink(
    run: str,
    max_size: str | None,
    max_drop: float,
    max_latency: str | None,
    metric: str,
    as_json: bool,
    **asked: Any,
) -> None:
    """Find a file within a size or latency budget.

    Tries the quick methods first, then those that train; a file is judged by the run's metric
    (accuracy, AP, mIoU) on images that no figure is measured on. All files stay in RUN; repeat the
    command to continue. The exit code is 1 if no file meets the budget.
    """
    from kerascnn import api

    found = api.open_run(run).shrink(
        max_size=max_size,
        max_drop=max_drop,
        max_latency=max_latency,
        metric=metric,
        **compression_of(asked),
    )
    if as_json:
        print_json(found)
    else:
        click.echo(str(found))
    if not found["met"]:
        raise click.exceptions.Exit(1)


@click.command(epilog="Example: kerascnn compare runs/a runs/b -o report.html")
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o",
    "--out",
    default="report.html",
    show_default=True,
    help="Report to write (.html), or a folder for it.",
)
@click.option(
    "--device",
    type=click.Path(),
    metavar="CSV",
    help="Results that the Android demo measured on a phone and shared.",
)
@json_option
def compare(runs: tuple[str, ...], out: str, device: str | None, as_json: bool) -> None:
    """Time the files of several runs together and write one report.

    --device adds what a phone measured.
    """
    from kerascnn import api

    print_results(lambda: api.compare(runs, out, device=device, warn=warn), as_json)


@click.command(epilog="Example: kerascnn debug runs/flowers int8")
@click.argument("run", type=click.Path())
@click.argument("variant")
@click.option("-o", "--out", type=click.Path(), help="Folder for results.  [default: RUN/debug]")
@click.option(
    "--pictures",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Held-out images to run on.",
)
@json_option
def debug(run: str, variant: str, out: str | None, pictures: int, as_json: bool) -> None:
    """Show layer by layer where a compressed file loses accuracy.

    VARIANT is the name of a .tflite file of RUN, as int8.
    """
    from export.tasks import allowed
    from training.engine.run import Run

    opened = Run.open(run)
    allowed.require_command(opened, "debug")
    allowed.require_file(opened, variant)
    framework.load()
    from export.tools.debug import as_json as errors_as_json
    from export.tools.debug import as_text, debug

    diagnosis = debug(opened, variant, pathlib.Path(out) if out else None, pictures)
    if as_json:
        suspect = diagnosis.suspect
        print_json({
            "layers": errors_as_json(diagnosis.layers),
            "suspect": suspect.layer if suspect else None,
            "dead_channels": dict(diagnosis.dead_channels),
            "table": str(diagnosis.table),
            "chart": str(diagnosis.chart),
        })  # fmt: skip
    else:
        click.echo(as_text(diagnosis))
