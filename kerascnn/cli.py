"""The command line: it reads what was asked, imports late, and prints; the work is elsewhere."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import math
import os
import pathlib
import re
import sys
from collections.abc import Iterable
from typing import Any

import click

import kerascnn
from kerascnn import zoo
from kerascnn.catalogue import TASKS
from kerascnn.errors import InputError
from training.stopping import Stopped

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def main() -> None:
    """Run the command line; bad input ends with exit code 2 and one line on stderr."""
    # Chatter of native libraries, off unless somebody asked for it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        commands(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.exceptions.Abort:
        _fail("interrupted; the same command goes on from here", code=130)
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
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; choose a place with room that you may write to")


def _warn(message: str) -> None:
    print(f"kerascnn: warning: {' '.join(message.split())}", file=sys.stderr)


def _fail(message: str, *, code: int = 2) -> None:
    print(f"kerascnn: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: kerascnn demo",
)
@click.version_option(kerascnn.__version__, prog_name="kerascnn")
def commands() -> None:
    """From pictures to the smallest model on the phone that is still right."""


@commands.command(epilog="Example: kerascnn models resnet50")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--task", help=f"Only models for it: {', '.join(TASKS)}.")
@_json_option
def models(names: tuple[str, ...], task: str | None, as_json: bool) -> None:
    """List the architectures with their published figures; or all that is known of NAME."""
    from kerascnn import listing

    chosen = names or zoo.list_models(task)
    if not chosen:
        raise InputError(f"no models for task {task!r}; there are: {', '.join(TASKS)}")
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
        click.option("--recipe", help="See `kerascnn recipes`.  [default: by data]"),
        click.option("--epochs", type=int, help="Passes over the training pictures."),
        click.option("--batch-size", type=int, help="Pictures a step."),
        click.option("--image-size", help="Pixels: 224, or 224x160 (height x width)."),
        click.option("--seed", type=int, help="Of weights, order, changes, split.  [default: 0]"),
        click.option("--optimizer", help="adamw, sgd or rmsprop."),
        click.option("--learning-rate", type=float, help="The peak, after warm-up."),
        click.option("--weight-decay", type=float, help="Not on biases and norms."),
        click.option("--warmup-epochs", type=float, help="Epochs of rising learning rate."),
        click.option("--label-smoothing", type=float, help="0 to 1."),
        click.option("--augmentation", help="none, digits, pictures, modern, detection, ..."),
        click.option("--validation-fraction", type=float, help="Set aside to choose the epoch."),
        click.option("--freeze-epochs", type=int, help="First epochs: the head alone learns."),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any other setting of a recipe: ema=0.999, cutmix=1, clip_norm=1, patience=10, "
            "class_weights=balanced, map_loss=dice; `kerascnn recipes NAME` lists them.",
        ),
        click.option("--weights", help="Initial weights: imagenet, or a file."),
        click.option(
            "--option",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            help="Of the network: alpha=0.35, drop_path=0.1, dtype=mixed_bfloat16, ...",
        ),
        click.option(
            "--detector",
            "detector_options",
            multiple=True,
            metavar="KEY=VALUE",
            help="Of a detector's boxes: min_scale=0.1 (SSDLite), anchor_scale=2 (EfficientDet), "
            "proposals=300 (R-CNN), score_threshold=0.1, iou_threshold=0.6, max_detections=50.",
        ),
    )):  # fmt: skip
        command = option(command)
    return command


_DATA_HELP = (
    "mnist, scenes-digits, a folder with one sub-folder a class, a pack (`kerascnn pack`), or "
    "tfds:NAME; for detectors scenes, a COCO .json, or a folder of COCO's, Pascal VOC's or YOLO's; "
    "for label maps the same, or a folder of pictures and one of masks."
)


@commands.command(epilog="Example: kerascnn recipes modern")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json_option
def recipes(names: tuple[str, ...], as_json: bool) -> None:
    """List the training recipes; or all settings of NAME, each to be changed with --set."""
    from training import recipes as there

    chosen = names or there.NAMES
    if as_json:
        _print_json({name: there.load(name).as_dict() for name in chosen})
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
@click.option("--teacher", type=click.Path(), help="A run folder, whose network is to be imitated.")
@click.option(
    "--distil-weight", type=float, help="The teacher's share of the loss.  [default: 0.7]"
)
@click.option("--temperature", type=float, help="That its answers soften at.  [default: 3]")
@click.option("--strict", is_flag=True, help="A broken picture is an error, not skipped.")
@_json_option
def train(
    model: str, data: str, out: str | None, devices: str, as_json: bool, **asked: Any
) -> None:
    """Train MODEL into a run folder; repeat the command to go on after an interruption.

    KERAS_BACKEND=jax or torch trains there; what follows (compress) runs on tensorflow.
    """
    if teacher := asked["teacher"]:
        _require_run(teacher)
    from training.devices import Devices

    asked_devices = Devices.parse(devices)
    asked = _training_request(model, data=data, **asked)
    _begin(any_backend=True)
    placement = asked_devices.open()
    from training.request import request
    from training.train import train

    folder = pathlib.Path(out) if out else pathlib.Path("runs") / f"{model}-{_short(data)}"
    run = train(request(model, data=data, **asked), folder, placement)
    if not placement.is_chief:
        return
    results = run.info["results"]
    if as_json:
        _print_json({"run": str(folder), **results})
    else:
        click.echo(f"{folder}: {_told(results)}")
        click.echo(f"next: kerascnn compress {folder}")


def _told(results: dict[str, Any]) -> str:
    """A run's figure in words."""
    if results["metric"] == "accuracy":
        return f"{results['held_out']:.1f}% of the held-out pictures are right"
    metric = results["metric"]
    shown = {
        metric: "held_out",
        **{"AP50": "ap50", "AP75": "ap75", "box AP": "box_ap"},
        **{"dice": "mean_dice", "boundary F1": "boundary_f1"},
    }
    figures = ", ".join(
        f"{name} {results[key]:.1f}"
        for name, key in shown.items()
        if results.get(key) is not None and not math.isnan(results[key])
    )
    return f"{figures or f'no {metric}'} on the held-out pictures"


def _training_request(
    model: str,
    *,
    data: str,
    image_size: str | None,
    options: tuple[str, ...],
    detector_options: tuple[str, ...],
    settings: tuple[str, ...],
    strict: bool = False,
    **asked: Any,
) -> dict[str, Any]:
    """What was typed, as `training.request.request` takes it; what is wrong is refused now."""
    from training.request import configure

    size, chosen = _image_size(image_size), _options(options, "--option", "alpha=0.35")
    asked["settings"] = _options(settings, "--set", "ema=0.999")
    configure(model, data=data, **asked)
    boxes = _options(detector_options, "--detector", "score_threshold=0.1")
    if boxes and zoo.entry(model).task != "detection":
        raise InputError(f"--detector is for detectors, and {model} is none")
    return asked | {
        "image_size": size,
        "model_options": chosen,
        "detector_options": boxes,
        "strict": strict,
    }


@commands.command(epilog="Example: kerascnn find-lr mobilenet_v2 --data flowers/ -o rate.png")
@click.argument("model")
@_training_options
@click.option(
    "-o", "--out", default="learning_rate.png", show_default=True, type=click.Path(), help="Plot."
)
@click.option(
    "--steps", type=click.IntRange(min=20), default=100, show_default=True, help="At most."
)
@_json_option
def find_lr(model: str, data: str, out: str, steps: int, as_json: bool, **asked: Any) -> None:
    """Find a learning rate for MODEL: train it for some steps while the rate rises."""
    asked = _training_request(model, data=data, **asked)
    _begin(any_backend=True)
    from training.range_test import range_test
    from training.request import request

    found = range_test(request(model, data=data, **asked), pathlib.Path(out), steps=steps)
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
    help="For each of the three in each round.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--uncached", is_flag=True, help="As for a set that does not fit into memory.")
@_json_option
def bench_data(
    model: str,
    data: str,
    seconds: float,
    rounds: int,
    uncached: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Time the input pipeline alone, the training step alone, and both: pictures per second."""
    asked = _training_request(model, data=data, **asked)
    _begin(any_backend=True)
    from training.bench_data import bench_data
    from training.request import request

    wanted = request(model, data=data, **asked)
    found = bench_data(wanted, seconds=seconds, rounds=rounds, cached=not uncached)
    if as_json:
        _print_json(dataclasses.asdict(found))
    else:
        click.echo(found.as_text())


@commands.command(
    epilog="Example: kerascnn sweep --models mobilenet_v2,resnet18 --recipes modern,modern_sgd "
    "--data flowers/"
)
@click.option("--models", required=True, help="Names with commas.")
@click.option("--recipes", "recipe_names", required=True, help="Names with commas.")
@click.option("--seeds", default="0", show_default=True, help="Numbers with commas.")
@click.option("--data", required=True, help=_DATA_HELP)
@click.option("--epochs", type=int, help="Passes over the training pictures.")
@click.option("--image-size", help="Pixels: 224, or 224x160 (height x width).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Of all recipes.")
@click.option("--out", default="runs/sweep", show_default=True, help="Folder of runs.")
@click.option("--workers", type=click.IntRange(min=1), default=1, help="Runs at a time, here.")
@click.option("--cores", type=click.IntRange(min=1), help="Of each run.  [default: a share]")
@click.option("--gpus", type=float, default=0.0, help="Of each run, for Ray.")
@click.option(
    "--ray", "ray_address", help="A Ray cluster: auto, HOST:PORT, or local for this machine."
)
@_json_option
def sweep(
    models: str,
    recipe_names: str,
    seeds: str,
    data: str,
    image_size: str | None,
    settings: tuple[str, ...],
    out: str,
    as_json: bool,
    epochs: int | None,
    **how: Any,
) -> None:
    """Train many models by many recipes, and rank them; the same command goes on.

    Over machines by Ray (pip install 'kerascnn[sweep]'); data and --out where all machines see
    them. The exit code is 1 where a run failed.
    """
    numbers = _names(seeds)
    if not all(number.isdecimal() for number in numbers):
        raise InputError(f"--seeds is 0,1,2, not {seeds!r}")
    chosen = _options(settings, "--set", "ema=0.999")
    size = _image_size(image_size)
    from training.request import configure
    from training.sweep import jobs, sweep, table

    work = jobs(
        models=_names(models),
        recipes=_names(recipe_names),
        seeds=[int(number) for number in numbers],
        data=data,
        settings=chosen,
        image_size=size,
        epochs=epochs,
    )
    for job in work:
        configure(**{k: v for k, v in job.request.items() if k != "image_size"})
    _begin(any_backend=True)
    rows = sweep(work, pathlib.Path(out), **how)
    if as_json:
        _print_json({"runs": rows, "table": str(pathlib.Path(out) / "sweep.csv")})
    else:
        click.echo(table(rows))
        click.echo(f"next: kerascnn compare {out}/RUN ...; all figures: {out}/sweep.csv")
    if any(row["error"] for row in rows):
        raise click.exceptions.Exit(1)


@commands.command(epilog="Example: kerascnn pack photos/ -o photos-pack --max-side 512")
@click.argument("source")
@click.option("-o", "--out", required=True, type=click.Path(), help="Folder of the pack.")
@click.option("--shard-size", default="128MB", show_default=True, help="Of each file, at most.")
@click.option(
    "--max-side", type=click.IntRange(min=1), help="Make larger pictures smaller.  [default: never]"
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of order and split."
)
@click.option("--strict", is_flag=True, help="A broken picture is an error, not skipped.")
@_json_option
def pack(source: str, out: str, shard_size: str, as_json: bool, **asked: Any) -> None:
    """Copy the pictures of SOURCE into a few large TFRecord files: train with --data DIR.

    SOURCE is what --data takes. Repeat the command to go on after an interruption.
    """
    from training.datasets.pack import pack, shard_bytes

    asked["shard_bytes"] = shard_bytes(shard_size)
    _begin()
    from training import datasets
    from training.progress import say

    dataset = datasets.scan(source, seed=asked["seed"], to_pack=True)
    made = pack(dataset, pathlib.Path(out), report=say, **asked)
    if as_json:
        _print_json(dataclasses.asdict(made) | {"folder": out})
    else:
        counts = ", ".join(f"{count} {name}" for name, count in made.counts.items())
        skipped = f"; {len(made.skipped)} broken ones skipped" if made.skipped else ""
        click.echo(f"{out}: {counts} in {made.shards} files, {made.bytes / 1e6:.1f} MB{skipped}")
        click.echo(f"next: kerascnn train MODEL --data {out}")


def _settings_options(command: Any) -> Any:
    """What `compress` and `shrink` may be told beside the names of variants."""
    for option in reversed((
        click.option("--calibration-pictures", type=int, help="That set ranges.  [default: 200]"),
        click.option(
            "--max-change",
            type=float,
            help="For `mixed`: percent of calibration answers that may change.  [default: 0.5]",
        ),
        click.option(
            "--spare",
            help="Words in the names of layers that pruning and clustering leave alone.  "
            "[default: stem,enc1_conv1,depthwise,logits]",
        ),
        click.option("--slim-score", help="taylor, norm or l1.  [default: taylor]"),
        click.option(
            "--fine-tune-epochs", type=int, help="Of each step.  [default: a share of the run's]"
        ),
        click.option(
            "--learning-rate", type=float, help="Of each step.  [default: a share of the run's]"
        ),
        click.option(
            "--teacher", help="For `distil` variants: a run folder.  [default: the run itself]"
        ),
        click.option(
            "--distil-weight", type=float, help="The teacher's share of the loss.  [default: 0.7]"
        ),
        click.option("--temperature", type=float, help="Its answers soften at.  [default: 3]"),
    )):  # fmt: skip
        command = option(command)
    return command


def _settings(**asked: Any) -> Any:
    from export.recipes import FineTuning, Settings

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
        _require_run(tuning["teacher"])
        tuning["teacher"] = str(pathlib.Path(tuning["teacher"]).resolve())
    if "spare" in given:
        given["spared"] = tuple(_names(given.pop("spare")))
    return Settings(fine_tuning=FineTuning(**tuning), **given)


@commands.command(epilog="Example: kerascnn compress runs/flowers --variants float32,prune75_int8")
@click.argument("run", type=click.Path())
@click.option("--variants", help="Names with commas.  [default: those of the demo, or of the task]")
@click.option("--onnx/--no-onnx", default=True, help="Also write float32.onnx.")
@click.option("--author", help="Who made the network: all files of RUN tell it, once it is given.")
@click.option("--license", help="The same of its terms: SPDX as Apache-2.0, or in words.")
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
    """Write, run and verify the compressed files of RUN, with a report.

    A variant is steps that train, then a precision, joined by underscores:
    prune75_cluster16_qat_int8.

    \b
    distil     first: every training here learns from a teacher's answers
    slim50     whole channels are removed until 50% of the multiply-adds are left
    prune75    75% of the weights become zero; prune2of4, prune75x4 in patterns
    cluster16  a layer's weights take 16 values
    qat        quantisation-aware training, before int8

    \b
    float32 float16 dynamic_int8 weight_int8 weight_int4 mixed int8 int16x8, and from
    tf.lite's converter: float16_converter dynamic_int8_converter int8_converter int16x8_converter
    """
    _require_run(run)
    from export import about, recipes

    about.check(author, license)
    settings = _settings(**asked)
    names = _names(variants) or None
    for name in names or ():
        recipes.variant(name, settings)
    _begin()
    from export.compare import compare
    from export.compress import compress
    from training.run import Run

    opened = Run.open(run)
    about.remember(opened, author=author, license=license)
    compress(opened, names, onnx=onnx, settings=settings)
    _print_results(compare([opened], opened.folder), opened.folder, as_json)


@commands.command(epilog="Example: kerascnn shrink runs/flowers --max-size 300KB --max-drop 1.0")
@click.argument("run", type=click.Path())
@click.option("--max-size", help="Of the file: 300KB, 1.2MB (1 KB is 1000 bytes).")
@click.option("--max-drop", type=float, default=1.0, show_default=True, help="Points of accuracy.")
@click.option("--max-latency", help="Median for one picture on this machine: 5ms.")
@click.option(
    "--metric",
    default="file",
    show_default=True,
    help="What --max-size limits: file, or download (after zlib -9).",
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
    """Find the cheapest method whose file of RUN keeps within a budget.

    Methods are tried from cheap to dear; all files stay, and the same command goes on. The exit
    code is 1 where nothing keeps within the budget.
    """
    _require_run(run)
    from export.budget import Budget, milliseconds, size

    budget = Budget(
        size=size(max_size) if max_size else None,
        metric=metric,
        drop=max_drop,
        latency_ms=milliseconds(max_latency) if max_latency else None,
    )
    settings = _settings(**asked)
    _begin()
    from export.shrink import as_json as search_as_json
    from export.shrink import as_text, shrink
    from training.run import Run

    found = shrink(Run.open(run), budget, settings=settings)
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
    help="The page to write (.html), or a folder.",
)
@click.option(
    "--device",
    type=click.Path(),
    metavar="CSV",
    help="What the Android demo measured on a phone, as it shares it.",
)
@_json_option
def compare(runs: tuple[str, ...], out: str, device: str | None, as_json: bool) -> None:
    """Time the files of RUNS against each other and write one report.

    With --device, the figures of a phone stand beside this machine's.
    """
    for run in runs:
        _require_run(run)
    table = pathlib.Path(device) if device else None
    if table and not table.is_file():
        raise InputError(f"{table}: no such file; the Android demo shares it")
    _begin()
    from export.compare import compare
    from training.run import Run

    output, opened = pathlib.Path(out), [Run.open(run) for run in runs]
    rows = compare(opened, output, device=table, warn=_warn)
    _print_results(rows, output, as_json)


@commands.command(epilog="Example: kerascnn predict runs/flowers/artefacts/int8.tflite rose.jpg")
@click.argument("artefact", type=click.Path())
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="Labels.")
@click.option(
    "--score",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Of a detector: the lowest to tell of.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    help="Folder for pictures with the boxes or the label map that was found.",
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
    """Label IMAGES with ARTEFACT, a .tflite, .onnx or .keras file.

    A detector finds the objects in them, a segmentation network the class of every pixel.
    """
    if not pathlib.Path(artefact).is_file():
        raise InputError(f"{artefact}: no such file")
    _begin()
    from export.predict import detect, predict, segment, task_of

    path, folder = pathlib.Path(artefact), pathlib.Path(out) if out else None
    task = task_of(path)
    if task in ("detection", "segmentation"):
        found: Iterable[Any] = (
            detect(path, images, score=score, folder=folder)
            if task == "detection"
            else segment(path, images, folder=folder)
        )
        if as_json:
            _print_json([dataclasses.asdict(picture) for picture in found])
            return
        for picture in found:
            click.echo(picture.as_text())
        return
    if out:
        raise InputError(f"{artefact} labels pictures and draws nothing; leave out --out")
    predictions = predict(path, images, top=top)
    if as_json:
        rows = [
            {"image": p.image, "labels": [{"label": n, "probability": v} for n, v in p.labels]}
            for p in predictions
        ]
        _print_json(rows)
        return
    for prediction in predictions:
        ranked = ", ".join(f"{label} {value:.1%}" for label, value in prediction.labels)
        click.echo(f"{prediction.image}: {ranked}")


@commands.command(epilog="Example: kerascnn info runs/flowers/artefacts/int8.tflite")
@click.argument("file", type=click.Path())
@_json_option
def info(file: str, as_json: bool) -> None:
    """Show what FILE, a .tflite or .onnx file, says of itself and needs to run."""
    from export.info import as_json as info_as_json
    from export.info import as_text, info

    found = info(pathlib.Path(file))
    if as_json:
        _print_json(info_as_json(found))
    else:
        click.echo(as_text(found))


@commands.command(epilog="Example: kerascnn debug runs/flowers int8")
@click.argument("run", type=click.Path())
@click.argument("variant")
@click.option("-o", "--out", type=click.Path(), help="Folder to write to.  [default: RUN/debug]")
@click.option(
    "--pictures", type=click.IntRange(min=1), default=100, show_default=True, help="To run on."
)
@_json_option
def debug(run: str, variant: str, out: str | None, pictures: int, as_json: bool) -> None:
    """Show layer by layer where VARIANT of RUN departs from its float form."""
    _require_run(run)
    _begin()
    from export.debug import as_json as errors_as_json
    from export.debug import as_text, debug
    from training.run import Run

    diagnosis = debug(Run.open(run), variant, pathlib.Path(out) if out else None, pictures)
    if as_json:
        suspect = diagnosis.suspect
        _print_json({
            "layers": errors_as_json(diagnosis.layers),
            "suspect": suspect.layer if suspect else None,
            "table": str(diagnosis.table),
            "chart": str(diagnosis.chart),
        })  # fmt: skip
    else:
        click.echo(as_text(diagnosis))


@commands.command(epilog="Example: kerascnn demo")
@click.option("--out", default="runs/demo", show_default=True, help="Folder of runs and report.")
@click.option("--models", "names", help="Zoo names with commas.  [default: all four]")
@click.option("--epochs", type=int, help="Fewer, for a quick look with worse figures.")
@_json_option
def demo(out: str, names: str | None, epochs: int | None, as_json: bool) -> None:
    """Train four networks on embedded digits, compress them and compare the files."""
    _begin()
    from export.demo import MODELS, demo

    folder = pathlib.Path(out)
    chosen = _names(names) or MODELS
    _print_results(demo(folder, models=chosen, epochs=epochs), folder, as_json)


@commands.command(epilog="Example: kerascnn android runs/flowers --variants int8,float16")
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option(
    "-o",
    "--out",
    default="android_demo",
    show_default=True,
    type=click.Path(),
    help="The Android demo, or a copy of it.",
)
@click.option("--variants", help="Names with commas.  [default: all .tflite files of the runs]")
@_json_option
def android(runs: tuple[str, ...], out: str, variants: str | None, as_json: bool) -> None:
    """Put the files of RUN into the Android demo, in place of those of an earlier call.

    RUN is a run folder, or a .tflite file. The demo is a project for Android Studio, android_demo/
    in kerascnn's repository; the app shows every file that it holds.
    """
    from export.android import as_text, fill

    filled = fill(runs, pathlib.Path(out), variants=_names(variants))
    if as_json:
        _print_json(dataclasses.asdict(filled))
    else:
        click.echo(as_text(filled))


@commands.command(epilog="Example: kerascnn web runs/flowers -o page --variants int8,float16")
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option("-o", "--out", required=True, type=click.Path(), help="Folder of the page.")
@click.option("--variants", help="Names with commas.  [default: all .tflite files of the runs]")
@_json_option
def web(runs: tuple[str, ...], out: str, variants: str | None, as_json: bool) -> None:
    """Write a page that runs the files of RUN in a phone's browser, from its camera or pictures.

    RUN is a run folder, or a .tflite file. The folder is served as it is, by any server of files.
    """
    from export.web import as_text, write_page

    made = write_page(runs, pathlib.Path(out), variants=_names(variants))
    if as_json:
        _print_json(dataclasses.asdict(made))
    else:
        click.echo(as_text(made))


def _begin(*, any_backend: bool = False) -> None:
    """Load TensorFlow, without its greetings; or, for training, another backend that is set."""
    if "PYTHONHASHSEED" not in os.environ:
        # The ONNX converter optimises in the order of hashes; a fixed one repeats its files.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    from training.quiet import native_quiet

    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        if not any_backend:
            raise InputError(f"this command runs on tensorflow; unset KERAS_BACKEND ({backend})")
        if backend not in ("jax", "torch") or importlib.util.find_spec(backend) is None:
            raise InputError(
                f"KERAS_BACKEND is tensorflow, jax or torch, and installed; {backend} is not"
            )
    with native_quiet():
        importlib.import_module(backend)


def _require_run(folder: str) -> None:
    """Answer the commonest mistake before TensorFlow is loaded."""
    if not (pathlib.Path(folder) / "run.json").is_file():
        raise InputError(f"{folder} is no run folder (no run.json); make one: kerascnn train")


def _short(data: str) -> str:
    """A data set's name as a part of a folder's: of tfds:flowers@/data it is tfds-flowers."""
    known, _, _ = data.partition("@")
    return re.sub(r"[^\w.-]+", "-", known if ":" in known else pathlib.Path(data).resolve().name)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def _print_results(results: Any, output: pathlib.Path, as_json: bool) -> None:
    from export.compare import output_files
    from export.results import best_choices
    from export.table import table

    page, _csv, _png = output_files(output)
    if as_json:
        choices = {reason: r.label for reason, r in best_choices(results).items()}
        rows = [r.to_dict() for r in results]
        _print_json({"results": rows, "best": choices, "report": str(page)})
    else:
        click.echo(table(results))
        click.echo(f"report: {page}")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def _image_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise InputError(f"--image-size is 224 or 224x160, not {text!r}")
    return int(sides[0]), int(sides[-1])


def _options(texts: tuple[str, ...], flag: str, example: str) -> dict[str, Any]:
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"{flag} is KEY=VALUE, as in {example}, not {text!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value  # a word, as in activation=relu6
    return options


if __name__ == "__main__":
    main()
