"""The command line: it reads what was asked, imports late, and prints; the work is elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib
import importlib.util
import json
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

import kerascnn
from kerascnn import zoo
from kerascnn.catalogue import TASKS
from kerascnn.errors import InputError, did_you_mean
from training.common.wording import counted
from training.engine.stopping import Stopped

_LONGEST_LINE = 2000  # characters of a message
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
# What a wrong path gives; other errors of the system are no fault of what was typed.
_WRONG_PATHS = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def main() -> None:
    """Run the command line; see `commands` for the exit codes."""
    # Chatter of native libraries, off unless somebody asked for it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        # A command's own exit code comes back as a number, not as an error.
        if code := commands(standalone_mode=False):
            sys.exit(code)
    except click.exceptions.Abort:
        _fail("interrupted; repeat the command to continue from what was saved", code=130)
    except click.ClickException as error:
        _fail(f"{error.format_message()} (see: kerascnn --help)")
    except InputError as error:
        _fail(str(error))
    except Stopped as stopped:
        _fail(str(stopped), code=128 + stopped.signal)
    except BrokenPipeError:
        # The reader of our output has seen enough; keep Python from saying so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail(_told_of_system(error), code=2 if error.errno in _WRONG_PATHS else 1)


def _told_of_system(error: OSError) -> str:
    """What failed, where, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = "try again, or choose another place"
    if error.errno in _WRONG_PATHS:
        remedy = "check the path"
    elif error.errno in _FULL:
        remedy = "make room, or choose another disk"
    elif error.errno in _FORBIDDEN:
        remedy = "choose a place that you may read and write"
    return f"{where}{error.strerror or error}; {remedy}"


def _warn(message: str) -> None:
    print(f"kerascnn: warning: {_line(message)}", file=sys.stderr)


def _fail(message: str, *, code: int = 2) -> None:
    print(f"kerascnn: {_line(message)}", file=sys.stderr)
    sys.exit(code)


def _line(message: str) -> str:
    """One line; a name in a stranger's file may hold commands to the terminal, or a megabyte."""
    line = " ".join(message.split())
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: kerascnn demo",
)
@click.version_option(kerascnn.__version__, prog_name="kerascnn")
def commands() -> None:
    """Train, compress and verify vision models for phones.

    Exit codes: 0 done; 1 failed at run time (disk full, no permission), or nothing met what was
    asked (`shrink`, `sweep`), or something was found (`check`); 2 bad input; 130 interrupted.
    """


@commands.command(epilog="Example: kerascnn models resnet50")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--task", help=f"Only models for this task: {', '.join(TASKS)}.")
@_json_option
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
        _print_json(listing.as_json(chosen))
    elif names:
        click.echo("\n\n".join(listing.page(name) for name in names))
    else:
        click.echo(listing.table(chosen))


def _training_options(command: Any) -> Any:
    """What says what is trained, on what and how, for all commands that train."""
    for option in reversed((
        click.option("--data", required=True, help=_DATA_HELP),
        click.option("--val-data", help=_VAL_DATA_HELP),
        click.option(
            "--recipe",
            help="Named training settings, see `kerascnn recipes`.  [default: chosen by data]",
        ),
        click.option("--epochs", type=int, help="Passes over the training images."),
        click.option("--batch-size", type=int, help="Images per step."),
        click.option("--image-size", help="Pixels: 224, or 224x160 (height x width)."),
        click.option("--seed", type=int, help="Random seed.  [default: 0]"),
        click.option(
            "--split-seed", type=int, help="Seed of the held-out split.  [default: 0]"
        ),
        click.option("--optimizer", help="adamw, sgd or rmsprop."),
        click.option("--learning-rate", type=float, help="Peak learning rate, after warm-up."),
        click.option(
            "--weight-decay", type=float, help="Weight decay (not of biases and normalisation)."
        ),
        click.option(
            "--warmup-epochs", type=float, help="Epochs in which the learning rate rises."
        ),
        click.option("--label-smoothing", type=float, help="Label smoothing, 0 to 1."),
        click.option("--augmentation", help="none, digits, pictures, modern, detection, ..."),
        click.option(
            "--validation-fraction",
            type=float,
            help="Fraction of the training images that the best epoch is chosen on.",
        ),
        click.option("--freeze-epochs", type=int, help="First epochs, which train only the head."),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any other training setting: ema=0.999, cutmix=1, clip_norm=1, patience=10, "
            "class_weights=balanced, map_loss=dice; `kerascnn recipes NAME` lists them.",
        ),
        click.option(
            "--weights",
            help="Initial weights: a file of a run (model.keras), torchvision, timm or "
            "keras.applications, or imagenet for models that list it in `kerascnn models`.",
        ),
        click.option(
            "--option",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            help="Option of the network: alpha=0.35, drop_path=0.1, dtype=mixed_bfloat16, ...",
        ),
        click.option(
            "--detector",
            "detector_options",
            multiple=True,
            metavar="KEY=VALUE",
            help="Option of a detector: min_scale=0.1 (SSDLite), anchor_scale=2 (EfficientDet), "
            "proposals=300 (R-CNN), score_threshold=0.1, iou_threshold=0.6, max_detections=50.",
        ),
    )):  # fmt: skip
        command = option(command)
    return command


_DATA_HELP = (
    "Classifiers: a folder with one sub-folder per class, a pack (`kerascnn pack`), tfds:NAME, "
    "mnist or scenes-digits. Detectors: a COCO .json, a folder in COCO, Pascal VOC or YOLO layout, "
    "or scenes. Segmentation: the same with outlines, or a folder of images and one of masks."
)
_VAL_DATA_HELP = (
    "Data of the same kind whose images are held out, with --data's classes; then all images of "
    "--data are trained on.  [default: held out of --data]"
)


@commands.command(epilog="Example: kerascnn recipes modern")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json_option
def recipes(names: tuple[str, ...], as_json: bool) -> None:
    """List the training recipes, or show all settings of one.

    `train --set KEY=VALUE` changes a setting. --json prints an array of objects with a "name", also
    for a single NAME.
    """
    from training import recipes as there

    chosen = names or there.NAMES
    if as_json:
        _print_json([{"name": name, **there.load(name).as_dict()} for name in chosen])
    elif names:
        click.echo("\n\n".join(there.page(name) for name in names))
    else:
        width = max(map(len, chosen))
        click.echo("\n".join(f"{name:{width}}  {there.summary(name)}" for name in chosen))


@commands.command(
    epilog="Example: kerascnn train efficientnet_lite0 --weights imagenet --data flowers/ "
    "--out runs/flowers"
)
@click.argument("model")
@_training_options
@click.option("--out", type=click.Path(), help="Run folder.  [default: runs/MODEL-DATA]")
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
@_json_option
def train(
    model: str, data: str, out: str | None, devices: str, as_json: bool, **asked: Any
) -> None:
    """Train MODEL into a run folder.

    Repeat the command to continue after an interruption. KERAS_BACKEND=jax or torch trains with
    that backend; the other commands run on tensorflow.
    """
    from training.engine.devices import Devices

    asked_devices = Devices.parse(devices)
    folder = pathlib.Path(out) if out else pathlib.Path("runs") / f"{model}-{_short(data)}"
    request = _training_request(model, data=data, folder=folder, **asked)
    _fix_hashes()
    with _telling_what_is_kept(folder):
        dataset = None
        if not asked_devices.hosts:  # else the first host alone says what there is to say
            from training.common.progress import say
            from training.engine.first_look import first_look

            dataset = first_look(request, folder, warn=say)
        _begin(any_backend=True)
        placement = asked_devices.open()
        from training.engine.train import train

        run = train(request, folder, placement, dataset=dataset)
    if not placement.is_chief:
        return
    from training.engine.closing import below_floor, closing_line

    useless = below_floor(run.info)
    if as_json:
        _print_json({"run": str(folder), **run.info["results"], "below_floor": useless})
        return
    click.echo(f"{folder}: {closing_line(run.info)}")
    click.echo(useless or f"next: kerascnn compress {folder}")


def _training_request(
    model: str,
    *,
    image_size: str | None,
    options: tuple[str, ...],
    detector_options: tuple[str, ...],
    settings: tuple[str, ...],
    **asked: Any,
) -> Any:
    """The `TrainRequest` that was typed; what is wrong is refused now."""
    zoo.entry(model)
    asked |= {
        "image_size": _image_size(image_size),
        "model_options": _options(options, "--option", "alpha=0.35"),
        "settings": _options(settings, "--set", "ema=0.999"),
        "detector_options": _options(detector_options, "--detector", "score_threshold=0.1"),
    }
    from training.engine.refusals import checked

    return checked(model, **asked)


@commands.command(epilog="Example: kerascnn find-lr mobilenet_v2 --data flowers/ -o rate.png")
@click.argument("model")
@_training_options
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
@_json_option
def find_lr(model: str, out: str, steps: int, as_json: bool, **asked: Any) -> None:
    """Find a learning rate for a classifier.

    MODEL is trained for some steps while the rate rises; the rate is where the loss falls fastest.
    """
    request = _training_request(model, task="classification", **asked)
    _begin(any_backend=True)
    from training.tools.range_test import range_test

    found = range_test(request, pathlib.Path(out), steps=steps)
    if as_json:
        _print_json({**dataclasses.asdict(found), "plot": out})
    else:
        click.echo(f"--learning-rate {found.rate:.2g}, where the loss falls fastest; see {out}")


@commands.command(epilog="Example: kerascnn bench-data mobilenet_v2 --data flowers/")
@click.argument("model")
@_training_options
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
    "--uncached", is_flag=True, help="Decode every image again, as for data larger than memory."
)
@_json_option
def bench_data(
    model: str,
    seconds: float,
    rounds: int,
    uncached: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure whether reading data slows training.

    For classifiers. Times the input pipeline, the training step, and both together, in images
    per second.
    """
    wanted = _training_request(model, task="classification", **asked)
    _begin(any_backend=True)
    from training.tools.bench_data import bench_data

    found = bench_data(wanted, seconds=seconds, rounds=rounds, cached=not uncached)
    if as_json:
        _print_json(dataclasses.asdict(found))
    else:
        click.echo(found.as_text())


@commands.command(
    epilog="Example: kerascnn sweep --models mobilenet_v2,resnet18 --recipes modern,modern_sgd "
    "--data flowers/"
)
@click.option("--models", required=True, help="Model names, separated by commas.")
@click.option("--recipes", "recipe_names", required=True, help="Recipes, separated by commas.")
@click.option("--seeds", default="0", show_default=True, help="Seeds, separated by commas.")
@click.option("--data", required=True, help=_DATA_HELP)
@click.option("--val-data", help=_VAL_DATA_HELP)
@click.option("--epochs", type=int, help="Passes over the training images.")
@click.option("--image-size", help="Input size in pixels: 224, or 224x160 (height x width).")
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
@_json_option
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
    **how: Any,
) -> None:
    """Train a grid of models and recipes, and rank the runs.

    Every model is trained with every recipe and every seed. Repeat the command to continue.
    --ray spreads the runs over machines (pip install 'kerascnn[sweep]'), which must all see the
    data and --out. The exit code is 1 if a run failed.
    """
    numbers = _names(seeds)
    if not all(number.isdecimal() for number in numbers):
        raise InputError(f"--seeds must be like 0,1,2, not {seeds!r}")
    chosen = _options(settings, "--set", "ema=0.999")
    size = _image_size(image_size)
    from training.engine.refusals import checked
    from training.tools.sweep import jobs, sweep, table

    work = jobs(
        models=_names(models),
        recipes=_names(recipe_names),
        seeds=[int(number) for number in numbers],
        data=data,
        val_data=val_data,
        settings=chosen,
        image_size=size,
        epochs=epochs,
    )
    for job in work:
        checked(**job.request, folder=pathlib.Path(out) / job.run)
    _begin(any_backend=True)
    rows = sweep(work, pathlib.Path(out), **how)
    if as_json:
        _print_json({"runs": rows, "table": str(pathlib.Path(out) / "sweep.csv")})
    else:
        click.echo(table(rows))
        click.echo(f"next: kerascnn compare {out}/RUN ...; all figures: {out}/sweep.csv")
    if any(row["error"] for row in rows):
        raise click.exceptions.Exit(1)


@commands.command(epilog="Example: kerascnn check flowers/ -o check.html")
@click.argument("data")
@click.option("--task", help=f"{', '.join(TASKS)}.  [default: guessed from the data]")
@click.option(
    "--model", help="Model to check for: its input size and recipe.  [default: one of the task]"
)
@click.option("--image-size", help="Pixels: 224, or 224x160 (height x width).")
@click.option("--augmentation", help="As of `train`, for the images on the page.")
@click.option("--split-seed", type=int, help="Seed of the held-out split.  [default: 0]")
@click.option("--val-data", help="As of `train`: data to hold out, which lie elsewhere.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False),
    help="Page to write (.html), with images as the network sees them.",
)
@_json_option
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
    small for the network. The exit code is 1 if something was found, 2 if DATA cannot be read.
    """
    size = _image_size(image_size)
    page = pathlib.Path(out) if out else None
    if page and page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out must end in .html, not {out!r}")
    from training.tools.check.task import request

    wanted, guessed = request(data, task=task, model=model, image_size=size, **asked)
    from training.tools.check import report
    from training.tools.check.check import check

    try:
        checked = check(wanted, guessed=guessed)
        if page:
            from training.tools.check.page import write_page

            write_page(checked, page)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was written", code=130)
    if as_json:
        _print_json(report.as_json(checked, out))
    else:
        click.echo(report.as_text(checked))
        if page:
            click.echo(f"\nreport: {page}")
    if checked.findings:
        raise click.exceptions.Exit(1)


@commands.command(epilog="Example: kerascnn pack photos/ -o photos-pack --max-side 512")
@click.argument("source")
@click.option("-o", "--out", required=True, type=click.Path(), help="Folder for the pack.")
@click.option("--shard-size", default="128MB", show_default=True, help="Size per file, at most.")
@click.option(
    "--max-side",
    type=click.IntRange(min=1),
    help="Scale images down whose longer side has more pixels.  [default: never]",
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
@_json_option
def pack(source: str, out: str, shard_size: str, as_json: bool, **asked: Any) -> None:
    """Copy labelled images into a few large TFRecord files.

    SOURCE is what `train --data` takes; then train with `--data` and the pack's folder. Repeat the
    command to continue after an interruption.
    """
    from training.datasets import require
    from training.datasets.pack import pack, shard_bytes

    require(source)
    asked["shard_bytes"] = shard_bytes(shard_size)
    _begin()
    from training import datasets
    from training.common.progress import say

    dataset = datasets.scan(source, seed=asked["split_seed"], to_pack=True)
    made = pack(dataset, pathlib.Path(out), report=say, **asked)
    if as_json:
        _print_json(dataclasses.asdict(made) | {"folder": out})
    else:
        counts = ", ".join(f"{count} {name}" for name, count in made.counts.items())
        skipped = ""
        if made.skipped:
            skipped = f"; skipped {counted(len(made.skipped), 'broken image')}"
        files = counted(made.shards, "file")
        click.echo(f"{out}: {counts} images in {files}, {made.bytes / 1e6:.1f} MB{skipped}")
        click.echo(f"next: kerascnn train MODEL --data {out}")


def _settings_options(command: Any) -> Any:
    """What `compress` and `shrink` may be told beside the names of variants."""
    for option in reversed((
        click.option(
            "--calibration-pictures",
            type=int,
            help="Images used to calibrate int8.  [default: 200]",
        ),
        click.option(
            "--max-change",
            type=float,
            help="For `mixed`: percent of predictions that may change.  [default: 0.5]",
        ),
        click.option(
            "--spare",
            help="Pruning and clustering skip layers with these words in their names.  "
            "[default: stem,enc1_conv1,depthwise,logits]",
        ),
        click.option(
            "--slim-score",
            help="How channels are ranked for removal: taylor, norm or l1.  [default: taylor]",
        ),
        click.option(
            "--fine-tune-epochs",
            type=int,
            help="Epochs per step that trains.  [default: a fraction of the run's]",
        ),
        click.option(
            "--learning-rate",
            type=float,
            help="Peak learning rate per step that trains.  [default: a fraction of the run's]",
        ),
        click.option(
            "--teacher",
            help="For `distil` variants: run folder to distil from.  [default: the run itself]",
        ),
        click.option(
            "--distil-weight",
            type=float,
            help="Weight of the distillation loss, 0 to 1.  [default: 0.7]",
        ),
        click.option("--temperature", type=float, help="Softmax temperature.  [default: 3]"),
    )):  # fmt: skip
        command = option(command)
    return command


def _settings(**asked: Any) -> Any:
    from export.artefacts.variants import FineTuning, Settings

    given = {key: value for key, value in asked.items() if value is not None}
    tuning = {
        key: given.pop(name)
        for name, key in (
            ("fine_tune_epochs", "epochs"),
            ("learning_rate", "learning_rate"),
            ("teacher", "teacher"),
            ("distil_weight", "distil_weight"),
            ("temperature", "temperature"),
        )
        if name in given
    }
    if "teacher" in tuning:
        from training.engine.run import Run

        Run.open(tuning["teacher"])
        tuning["teacher"] = str(pathlib.Path(tuning["teacher"]).resolve())
    if "spare" in given:
        given["spared"] = tuple(_names(given.pop("spare")))
    return Settings(fine_tuning=FineTuning(**tuning), **given)


@commands.command(epilog="Example: kerascnn compress runs/flowers --variants float32,prune75_int8")
@click.argument("run", type=click.Path())
@click.option(
    "--variants",
    help="Variants, separated by commas.  [default: the usual ones for the run's task]",
)
@click.option("--onnx/--no-onnx", default=True, help="Also write float32.onnx.")
@click.option("--author", help="Author, written into all files of RUN from now on.")
@click.option("--license", help="Licence, likewise: an SPDX name as Apache-2.0, or text.")
@_settings_options
@_json_option
def compress(
    run: str,
    variants: str | None,
    onnx: bool,
    author: str | None,
    license: str | None,
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
    qat        quantisation-aware training, for int8

    Precisions:

    \b
    float32  float16  weight_int8  weight_int4  dynamic_int8  int8  int16x8
    mixed    4, 8 or 16 bits per layer, chosen by sensitivity
    plain_int8  plain_weight_int8  plain_weight_int4  plain_dynamic_int8
             rounded to the nearest, without reconstruction, for comparison
    float16_converter  dynamic_int8_converter  int8_converter  int16x8_converter
             the same by TensorFlow's own converter, for comparison
    """
    from export.artefacts import about
    from export.artefacts import variants as recipes
    from export.compress import allowed
    from training.common import once
    from training.engine.run import Run

    opened = Run.open(run)
    about.check(author, license)
    settings = _settings(**asked)
    names = _names(variants) or None
    for name in names or ():
        allowed.check(opened, recipes.variant(name, settings))
    _begin()
    from export.compress.compress import compress
    from export.report.compare import compare

    about.remember(opened, author=author, license=license)
    with once.scope():  # one scan of the data for the files and for their report
        compress(opened, names, onnx=onnx, settings=settings)
        _print_results(lambda: compare([opened], opened.folder), opened.folder, as_json)


@commands.command(epilog="Example: kerascnn shrink runs/flowers --max-size 300KB --max-drop 1.0")
@click.argument("run", type=click.Path())
@click.option("--max-size", help="Largest file: 300KB, 1.2MB (1 KB is 1000 bytes).")
@click.option(
    "--max-drop",
    type=float,
    default=1.0,
    show_default=True,
    help="Largest loss of accuracy, in percentage points.",
)
@click.option("--max-latency", help="Longest median time per image on this computer: 5ms.")
@click.option(
    "--metric",
    default="file",
    show_default=True,
    help="Size that --max-size limits: file, or download (compressed by zlib -9).",
)
@_settings_options
@_json_option
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

    RUN is of a classifier. Tries the quick methods first, then those that train. All files stay
    in RUN; repeat the command to continue. The exit code is 1 if no file meets the budget.
    """
    from export.compress import allowed
    from export.compress.budget import Budget, milliseconds, size
    from training.engine.run import Run

    opened = Run.open(run)
    allowed.require_classifier(opened, "shrink")

    budget = Budget(
        size=size(max_size) if max_size else None,
        metric=metric,
        drop=max_drop,
        latency_ms=milliseconds(max_latency) if max_latency else None,
    )
    settings = _settings(**asked)
    _begin()
    from export.tools.shrink import as_json as search_as_json
    from export.tools.shrink import as_text, shrink

    found = shrink(opened, budget, settings=settings)
    if as_json:
        _print_json(search_as_json(found))
    else:
        click.echo(as_text(found, budget))
    if found.chosen is None:
        raise click.exceptions.Exit(1)


@commands.command(epilog="Example: kerascnn compare runs/a runs/b -o report.html")
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
@_json_option
def compare(runs: tuple[str, ...], out: str, device: str | None, as_json: bool) -> None:
    """Time the files of several runs together and write one report.

    --device adds what a phone measured.
    """
    from export.compress import allowed
    from training.engine.run import Run

    opened = [Run.open(run) for run in runs]
    for each in opened:
        allowed.require_files(each)
    table = pathlib.Path(device) if device else None
    if table and not table.is_file():
        raise InputError(f"{table}: no such file; share it from the Android demo")
    _begin()
    from export.report.compare import compare

    output = pathlib.Path(out)
    _print_results(lambda: compare(opened, output, device=table, warn=_warn), output, as_json)


@commands.command(epilog="Example: kerascnn predict runs/flowers/artefacts/int8.tflite rose.jpg")
@click.argument("artefact", type=click.Path())
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Labels per image (classifiers).",
)
@click.option(
    "--score",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Lowest score of an object (detectors).",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    help="Folder for images with the boxes or the segmentation drawn on them.",
)
@_json_option
def predict(
    artefact: str,
    images: tuple[str, ...],
    top: int,
    score: float,
    out: str | None,
    as_json: bool,
) -> None:
    """Run a model file on images.

    ARTEFACT is a .tflite, .onnx or .keras file: a classifier prints labels, a detector objects, a
    segmentation network the share of each class. IMAGES are files or folders, whose images are
    named by their path within the folder. An image that cannot be read is skipped; the exit code is
    2 then.
    """
    path, folder = pathlib.Path(artefact), pathlib.Path(out) if out else None
    from export.artefacts.artefact import require_description
    from export.runtime.picture_args import named

    if not path.is_file():
        raise InputError(f"{artefact}: no such file")
    names = named(images)
    require_description(path)
    _begin()
    from export.runtime.predict import (
        detect,
        predict,
        segment,
        task_of,
    )

    task, broken = task_of(path), list[InputError]()
    if task == "classification" and out:
        raise InputError(f"{artefact} is a classifier, which draws nothing; leave out --out")

    def refuse(error: InputError) -> None:
        broken.append(error)
        if len(names) > 1:
            _warn(str(error))

    found: Iterable[Any] = {
        "classification": lambda: predict(path, list(names), top=top, refuse=refuse),
        "detection": lambda: detect(
            path, list(names), score=score, folder=folder, names=names, refuse=refuse
        ),
        "segmentation": lambda: segment(
            path, list(names), folder=folder, names=names, refuse=refuse
        ),
    }[task]()
    if as_json:
        _print_json([one.as_json() for one in found])
    else:
        for one in found:
            click.echo(one.as_text(names[one.image]))
    if broken and len(names) == 1:
        raise broken[0]
    if broken:
        count = counted(len(broken), "image")
        raise InputError(f"{count} of {len(names):,} could not be read, see above")


@commands.command(epilog="Example: kerascnn info runs/flowers/artefacts/int8.tflite")
@click.argument("file", type=click.Path())
@_json_option
def info(file: str, as_json: bool) -> None:
    """Show what a .tflite or .onnx file contains and needs to run."""
    from export.runtime.info import as_json as info_as_json
    from export.runtime.info import as_text, info

    found = info(pathlib.Path(file))
    if as_json:
        _print_json(info_as_json(found))
    else:
        click.echo(as_text(found))


@commands.command(epilog="Example: kerascnn debug runs/flowers int8")
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
@_json_option
def debug(run: str, variant: str, out: str | None, pictures: int, as_json: bool) -> None:
    """Show layer by layer where a compressed file loses accuracy.

    RUN is of a classifier. VARIANT is the name of a .tflite file of RUN, as int8.
    """
    from export.compress import allowed
    from training.engine.run import Run

    opened = Run.open(run)
    allowed.require_classifier(opened, "debug")
    allowed.require_file(opened, variant)
    _begin()
    from export.tools.debug import as_json as errors_as_json
    from export.tools.debug import as_text, debug

    diagnosis = debug(opened, variant, pathlib.Path(out) if out else None, pictures)
    if as_json:
        suspect = diagnosis.suspect
        _print_json({
            "layers": errors_as_json(diagnosis.layers),
            "suspect": suspect.layer if suspect else None,
            "dead_channels": dict(diagnosis.dead_channels),
            "table": str(diagnosis.table),
            "chart": str(diagnosis.chart),
        })  # fmt: skip
    else:
        click.echo(as_text(diagnosis))


@commands.command(epilog="Example: kerascnn demo")
@click.option(
    "--out", default="runs/demo", show_default=True, help="Folder for the runs and the report."
)
@click.option("--models", "names", help="Models, separated by commas.  [default: four]")
@click.option("--epochs", type=int, help="Epochs; fewer are quicker and less accurate.")
@_json_option
def demo(out: str, names: str | None, epochs: int | None, as_json: bool) -> None:
    """Train, compress and compare four networks on digits."""
    for name in _names(names):
        zoo.entry(name)
    _begin()
    from export.tools.demo import MODELS, demo

    folder = pathlib.Path(out)
    chosen = _names(names) or MODELS
    _print_results(lambda: demo(folder, models=chosen, epochs=epochs), folder, as_json)


@commands.command(epilog="Example: kerascnn android runs/flowers --variants int8,float16")
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
@_json_option
def android(runs: tuple[str, ...], out: str, variants: str | None, as_json: bool) -> None:
    """Copy model files into the Android demo.

    They replace those of an earlier call. RUN is a run folder, or a .tflite file. The demo is a
    project for Android Studio, which is copied to where there is none yet; the app shows every
    file that it holds.
    """
    from export.deploy.android import as_text, fill

    filled = fill(runs, pathlib.Path(out), variants=_names(variants))
    if as_json:
        _print_json(dataclasses.asdict(filled))
    else:
        click.echo(as_text(filled))


@commands.command(epilog="Example: kerascnn web runs/flowers -o page --variants int8,float16")
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option("-o", "--out", required=True, type=click.Path(), help="Folder for the page.")
@click.option(
    "--variants", help="Variants, separated by commas.  [default: all .tflite files of the runs]"
)
@_json_option
def web(runs: tuple[str, ...], out: str, variants: str | None, as_json: bool) -> None:
    """Write a web page that runs model files in a phone's browser.

    RUN is a run folder, or a .tflite file. The page takes images from the camera or from files; any
    static file server can serve its folder.
    """
    from export.deploy.web import as_text, write_page

    made = write_page(runs, pathlib.Path(out), variants=_names(variants))
    if as_json:
        _print_json(dataclasses.asdict(made))
    else:
        click.echo(as_text(made))


def _begin(*, any_backend: bool = False) -> None:
    """Load TensorFlow, without its greetings; or, for training, another backend that is set."""
    _fix_hashes()
    from training.common.quiet import native_quiet

    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        if not any_backend:
            raise InputError(f"this command runs on tensorflow; unset KERAS_BACKEND ({backend})")
        if backend not in ("jax", "torch") or importlib.util.find_spec(backend) is None:
            raise InputError(
                f"KERAS_BACKEND must be tensorflow, jax or torch, and installed; {backend} is not"
            )
    with native_quiet():
        importlib.import_module(backend)


def _fix_hashes() -> None:
    """Begin the process anew with fixed hashes, if it has not; what it has done is lost."""
    if "PYTHONHASHSEED" not in os.environ:
        # The ONNX converter optimises in the order of hashes; a fixed one repeats its files.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


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


def _short(data: str) -> str:
    """A data set's name as a part of a folder's: of tfds:flowers@/data it is tfds-flowers."""
    known, _, _ = data.partition("@")
    return re.sub(r"[^\w.-]+", "-", known if ":" in known else pathlib.Path(data).resolve().name)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def _print_results(make: Callable[[], Any], output: pathlib.Path, as_json: bool) -> None:
    """The results that `make` gives, also where a file of the report cannot be written."""
    from export.report.compare import NotWritten, output_files
    from export.report.results import best_choices
    from export.report.table import table

    page: str | None = str(output_files(output)[0])
    failed: NotWritten | None = None
    try:
        results = make()
    except NotWritten as error:
        results, page, failed = error.rows, None, error
    if as_json:
        choices = {reason: r.label for reason, r in best_choices(results).items()}
        rows = [r.to_dict() for r in results]
        _print_json({"results": rows, "best": choices, "report": page})
    else:
        click.echo(table(results))
        if page:
            click.echo(f"report: {page}")
    if failed:
        _fail(_told_of_system(failed), code=1)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def _image_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise InputError(f"--image-size must be like 224 or 224x160, not {text!r}")
    return int(sides[0]), int(sides[-1])


def _options(texts: tuple[str, ...], flag: str, example: str) -> dict[str, Any]:
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"{flag} must be KEY=VALUE, as in {example}, not {text!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value  # a word, as in activation=relu6
    return options


if __name__ == "__main__":
    main()
