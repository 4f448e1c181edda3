"""The command line: it reads what was asked, imports late, and prints; the work is elsewhere."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
from typing import Any

import click

import kerascnn
from kerascnn import zoo
from kerascnn.errors import InputError

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
    except BrokenPipeError:
        # The reader of our output has seen enough; keep Python from saying so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; choose a place with room that you may write to")


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
@click.option("--task", help="Only models for it: classification.")
@_json_option
def models(names: tuple[str, ...], task: str | None, as_json: bool) -> None:
    """List the architectures with their published figures; or all that is known of NAME."""
    from kerascnn import listing

    chosen = names or zoo.list_models(task)
    if not chosen:
        raise InputError(f"no models for task {task!r}; there is: classification")
    if as_json:
        _print_json(listing.as_json(chosen))
    elif names:
        click.echo("\n\n".join(listing.page(name) for name in names))
    else:
        click.echo(listing.table(chosen))


@commands.command(
    epilog="Example: kerascnn train efficientnet_lite0 --weights imagenet --data flowers/ "
    "--out runs/flowers"
)
@click.argument("model")
@click.option(
    "--data", required=True, help="mnist, scenes-digits, or a folder with one sub-folder a class."
)
@click.option("--out", type=click.Path(), help="Run folder.  [default: runs/MODEL-DATA]")
@click.option("--recipe", help="digits, scenes_digits, scratch or finetune.  [default: by data]")
@click.option("--epochs", type=int, help="Passes over the training pictures.")
@click.option("--batch-size", type=int, help="Pictures a step.")
@click.option("--image-size", help="Pixels: 224, or 224x160 (height x width).")
@click.option("--seed", type=int, help="Of weights, order, changes and split.  [default: 0]")
@click.option("--optimizer", help="adamw or sgd.")
@click.option("--learning-rate", type=float, help="The peak, after warm-up, before cosine decay.")
@click.option("--weight-decay", type=float, help="Decoupled; not on biases and norms.")
@click.option("--warmup-epochs", type=float, help="Epochs of rising learning rate.")
@click.option("--label-smoothing", type=float, help="0 to 1.")
@click.option("--augmentation", help="none, digits, scenes, pictures (crop, flip) or randaugment.")
@click.option("--validation-fraction", type=float, help="Set aside to choose the best epoch.")
@click.option(
    "--weights", help="Initial weights: imagenet, or a file; `kerascnn models` says of which."
)
@click.option("--freeze-epochs", type=int, help="First epochs, in which only the head learns.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="alpha=0.35, ...")
@click.option("--teacher", type=click.Path(), help="A run folder, whose network is to be imitated.")
@click.option(
    "--distil-weight", type=float, help="The teacher's share of the loss.  [default: 0.7]"
)
@click.option("--temperature", type=float, help="That its answers soften at.  [default: 3]")
@click.option("--strict", is_flag=True, help="A broken picture is an error, not skipped.")
@_json_option
def train(
    model: str,
    data: str,
    out: str | None,
    image_size: str | None,
    options: tuple[str, ...],
    as_json: bool,
    **asked: Any,
) -> None:
    """Train MODEL into a run folder; repeat the command to go on after an interruption."""
    zoo.entry(model)
    if teacher := asked["teacher"]:
        _require_run(teacher)
    size, chosen = _image_size(image_size), _options(options)
    _begin()
    from training.train import request, train

    name = pathlib.Path(data).resolve().name
    folder = pathlib.Path(out) if out else pathlib.Path("runs") / f"{model}-{name}"
    run = train(request(model, data=data, image_size=size, model_options=chosen, **asked), folder)
    results = run.info["results"]
    if as_json:
        _print_json({"run": str(folder), **results})
    else:
        click.echo(f"{folder}: {results['held_out']:.1f}% of the held-out pictures are right")
        click.echo(f"next: kerascnn compress {folder}")


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
            "[default: stem,depthwise,logits]",
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
@click.option("--variants", help="Names with commas.  [default: all of the demo]")
@click.option("--onnx/--no-onnx", default=True, help="Also write float32.onnx.")
@_settings_options
@_json_option
def compress(run: str, variants: str | None, onnx: bool, as_json: bool, **asked: Any) -> None:
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
    from export import recipes

    settings = _settings(**asked)
    names = _names(variants) or list(recipes.DEFAULT)
    for name in names:
        recipes.variant(name, settings)
    _begin()
    from export.compare import compare
    from export.compress import compress
    from training.run import Run

    opened = Run.open(run)
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
@_json_option
def compare(runs: tuple[str, ...], out: str, as_json: bool) -> None:
    """Time the files of RUNS against each other and write one report."""
    for run in runs:
        _require_run(run)
    _begin()
    from export.compare import compare
    from training.run import Run

    output = pathlib.Path(out)
    _print_results(compare([Run.open(run) for run in runs], output), output, as_json)


@commands.command(epilog="Example: kerascnn predict runs/flowers/artefacts/int8.tflite rose.jpg")
@click.argument("artefact", type=click.Path())
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="Labels.")
@_json_option
def predict(artefact: str, images: tuple[str, ...], top: int, as_json: bool) -> None:
    """Label IMAGES with ARTEFACT, a .tflite, .onnx or .keras file."""
    if not pathlib.Path(artefact).is_file():
        raise InputError(f"{artefact}: no such file")
    _begin()
    from export.predict import predict

    predictions = predict(pathlib.Path(artefact), images, top=top)
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


def _begin() -> None:
    """Load TensorFlow, without its greetings."""
    if "PYTHONHASHSEED" not in os.environ:
        # The ONNX converter optimises in the order of hashes; a fixed one repeats its files.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    from training.quiet import native_quiet

    if (backend := os.environ.setdefault("KERAS_BACKEND", "tensorflow")) != "tensorflow":
        raise InputError(f"training and export run on tensorflow; unset KERAS_BACKEND ({backend})")
    with native_quiet():
        import tensorflow  # noqa: F401


def _require_run(folder: str) -> None:
    """Answer the commonest mistake before TensorFlow is loaded."""
    if not (pathlib.Path(folder) / "run.json").is_file():
        raise InputError(f"{folder} is no run folder (no run.json); make one: kerascnn train")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def _print_results(results: Any, output: pathlib.Path, as_json: bool) -> None:
    from export.compare import output_files
    from export.results import best_choices
    from export.table import table

    page, _csv, _png = output_files(output)
    if as_json:
        choices = {reason: r.label for reason, r in best_choices(results).items()}
        rows = [dataclasses.asdict(r) for r in results]
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


def _options(texts: tuple[str, ...]) -> dict[str, Any]:
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--option is KEY=VALUE, as in alpha=0.35, not {text!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value  # a word, as in activation=relu6
    return options


if __name__ == "__main__":
    main()
