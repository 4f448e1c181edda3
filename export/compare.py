"""`kerascnn compare`: artefacts of one or more runs, timed against each other, in one report."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from export import (
    benchmark,
    chart,
    device_results,
    first_run,
    report,
    results,
    runtimes,
    significance,
    tasks,
)
from export.artefact import Artefact, sidecar
from export.compress import all_artefacts
from export.device_results import File, Phone
from export.report import Mistake, Mistakes, RunSummary
from export.results import Result
from export.significance import Difference
from kerascnn.errors import InputError
from training.progress import Progress
from training.run import Run, machine, versions

_PICTURES_SHOWN = 60


def compare(
    runs: Sequence[Run],
    output: pathlib.Path,
    *,
    title: str = "",
    device: pathlib.Path | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Time every artefact of the runs, interleaved, and write the report.

    Args:
        output: a page, beside which the table and the chart get its name with .csv and .png; or a
            folder, which gets report.html, results.csv and chart.png.
        device: a table of the Android demo, whose figures are put beside this machine's.
        warn: is told of every line of that table that is of no artefact here.

    Returns:
        One row an artefact.

    Raises:
        InputError: a run without artefacts, runs measured on different pictures, or a table that is
            broken or knows none of the artefacts.
        OSError: the report cannot be written.
    """
    _same_pictures(runs)
    runs = _told_apart(runs)
    found = [(run, a) for run in runs for a in _required(run)]
    phones = _phones(device, found, warn) if device else []
    rows = measure(found)
    write(output, runs, found, rows, title=title, phones=phones)
    return rows


def measure(found: Sequence[tuple[Run, Artefact]]) -> list[Result]:
    """Time artefacts against each other, one thread each, and join that with what is known."""
    first_run.require([artefact.path for _run, artefact in found])
    calls = {}
    for run, artefact in found:
        task = tasks.of(run)
        calls[str(artefact.path)] = task.load(artefact.path).once(task.timed_picture())
    with Progress("timing", benchmark.ROUNDS, unit="round") as progress:
        latencies = benchmark.interleaved(calls, after_round=progress.step)
    return [_result(run, a, latencies[str(a.path)]) for run, a in found]


def write(
    output: pathlib.Path,
    runs: Sequence[Run],
    found: Sequence[tuple[Run, Artefact]],
    rows: Sequence[Result],
    *,
    title: str = "",
    phones: Sequence[Phone] = (),
) -> None:
    """Write the page, the table and the chart."""
    page, listed, drawn = output_files(output)
    if phones:
        results.write_table(listed, device_results.COLUMNS, device_results.table(rows, phones))
    else:
        results.write_csv(listed, rows)
    chart.write_png(drawn, rows)
    report.write_report(
        page,
        rows,
        runs=[RunSummary(name=run.name, facts=_facts(run)) for run in runs],
        machine=machine() | {f"version of {name}": v for name, v in versions().items()},
        mistakes=_mistakes(found, rows),
        behind=_behind(found, rows),
        phones=phones,
        title=title or " · ".join(run.name for run in runs),
    )


def output_files(output: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Page, table and chart for a page's own path or for a folder."""
    if output.suffix == ".html":
        return output, output.with_suffix(".csv"), output.with_suffix(".png")
    return output / "report.html", output / "results.csv", output / "chart.png"


def difference(first: Artefact, second: Artefact) -> Difference:
    """How much more accurate the first file is, whatever network either holds.

    Raises:
        InputError: they were measured on different pictures, or on different pixels of these, as
            networks are that do not pad.
    """
    keys = ("data_fingerprint", "pictures", "metric")
    one, two = ([a.info["evaluation"][k] for k in keys] for a in (first, second))
    if one != two:
        raise InputError(f"{first.path} and {second.path} were measured on different pictures")
    (_, before), (_, after) = first.answers, second.answers
    if first.info["evaluation"]["metric"] == results.ACCURACY:
        return significance.difference(before, after)
    try:
        low, high = first.drop_interval(before, after)
    except ValueError as error:
        raise InputError(f"{first.path} and {second.path} do not compare: {error}") from error
    points = first.info["evaluation"]["value"] - second.info["evaluation"]["value"]
    return Difference(points=points, low=low, high=high)


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    """Each folder once, called by as much of its path as tells it from the others."""
    folders = {run.folder.resolve(): run for run in runs}
    depth = 1
    while len({folder.parts[-depth:] for folder in folders}) < len(folders):
        depth += 1
    return [
        dataclasses.replace(run, label="/".join(folder.parts[-depth:]))
        for folder, run in folders.items()
    ]


def _required(run: Run) -> list[Artefact]:
    found = all_artefacts(run)
    if not found:
        raise InputError(f"{run.folder} has no artefacts; first: kerascnn compress {run.folder}")
    return found


def _phones(
    table: pathlib.Path, found: Sequence[tuple[Run, Artefact]], warn: Callable[[str], None]
) -> list[Phone]:
    """What phones measured of the artefacts."""
    files = [
        File(
            run=run.name,
            model=a.info["model"],
            variant=a.info["variant"]["name"],
            bytes=a.info["bytes"],
            metric=a.info["evaluation"]["metric"],
            sha256=a.info["sha256"],
        )
        for run, a in found
    ]
    phones, left_out = device_results.join(device_results.read(table), files)
    for line in left_out:
        warn(f"{table}, {line}")
    if not phones:
        raise InputError(f"{table} knows none of these files; name the runs that they are of")
    return phones


def _same_pictures(runs: Sequence[Run]) -> None:
    first = runs[0]
    for other in runs[1:]:
        keys = ("name", "fingerprint")
        one, two = ([run.info["dataset"][k] for k in keys] for run in (first, other))
        if one != two:
            raise InputError(
                f"{first.folder} and {other.folder} were measured on different pictures "
                f"({one[0]} and {two[0]}); compare runs of one data set and split"
            )
        metric, another = (run.info["results"]["metric"] for run in (first, other))
        if metric != another:
            raise InputError(
                f"{first.folder} is measured by {metric} and {other.folder} by {another}; compare "
                "runs of one metric"
            )


def _result(run: Run, artefact: Artefact, latency: benchmark.Latency) -> Result:
    info = artefact.info
    measured: Mapping[str, Any] = info["evaluation"]
    low, high = artefact.drop_interval(*artefact.answers)
    return Result(
        run=run.name,
        model=info["model"],
        variant=info["variant"]["name"],
        format=artefact.path.suffix.removeprefix("."),
        parameters=info["parameters"],
        nonzero_parameters=info["nonzero_parameters"],
        macs=info["macs"],
        bytes=info["bytes"],
        download_bytes=info["download_bytes"],
        metric=measured["metric"],
        value=measured["value"],
        float_value=measured["float_value"],
        drop=measured["float_value"] - measured["value"],
        drop_low=low,
        drop_high=high,
        latency_ms=latency.median_ms,
        latency_p95_ms=latency.p95_ms,
        threads=runtimes.THREADS,
        peak_arena_bytes=None,
        sparsity=measured["sparsity"],
        seconds=info["seconds"],
        fits=measured["fits"],
        agreement=measured["agreement"],
        max_logit_diff=measured["max_logit_diff"],
        partitions=measured["partitions"],
        sha256=info["sha256"],
    )


def _facts(run: Run) -> dict[str, str]:
    request, data, trained = (run.info[key] for key in ("request", "dataset", "results"))
    config = request["config"]
    pixels = "x".join(str(side) for side in run.preprocessing.input_shape)
    options = ", ".join(f"{k}={v}" for k, v in request["model_options"].items())
    return {
        "Model": request["model"] + (f" ({options})" if options else ""),
        # A file by its name alone: the rest of its path is nobody's business.
        "Initial weights": pathlib.Path(request["weights"] or "random").name,
        "Input": f"{pixels}, {run.preprocessing.resize}",
        "Data": f"{data['name']} (fingerprint {data['fingerprint']})",
        "Pictures": f"{data['train']} to learn, {data['validation']} to choose the epoch, "
        f"{data['held_out']} held out, {len(data['skipped'])} broken ones skipped",
        "Recipe": f"{request['recipe']}: {config['epochs']} epochs, batch {config['batch_size']}, "
        f"{config['optimizer']} at {config['learning_rate']:g}, {config['augmentation']} changes",
        "Seed": str(config["seed"]),
        "Keras model": f"{_keras_figure(trained)} on the held-out pictures, "
        f"weights of epoch {trained['best_epoch']}",
        "Training": f"{trained['seconds']:.0f} s, begun {run.info['created']}, "
        f"on {run.info['machine']['processor']}",
        "Trained with": ", ".join(f"{k} {v}" for k, v in run.info["versions"].items()),
    }


def _keras_figure(trained: Mapping[str, Any]) -> str:
    if trained["metric"] == results.ACCURACY:
        return f"{trained['held_out']:.1f}%"
    if trained["metric"] == results.MIOU:
        return f"mIoU {trained['held_out']:.1f}%"
    return f"{trained['metric']} {trained['held_out']:.1f}, AP50 {trained['ap50'] or 0:.1f}"


def _behind(
    found: Sequence[tuple[Run, Artefact]], rows: Sequence[Result]
) -> dict[Result, Difference]:
    """By how much each recommended file is less accurate than the most accurate one."""
    choices = results.best_choices(rows)
    if not choices:
        return {}
    artefacts = {row: artefact for row, (_run, artefact) in zip(rows, found, strict=True)}
    best = choices["most accurate"]
    behind = {}
    for chosen in choices.values():
        if chosen != best:
            # Those that do not compare stand without it.
            with contextlib.suppress(InputError):
                behind[chosen] = difference(artefacts[best], artefacts[chosen])
    return behind


def _mistakes(found: Sequence[tuple[Run, Artefact]], rows: Sequence[Result]) -> Mistakes | None:
    """Those of the recommended file."""
    chosen = results.best_choices(rows).get("smallest")
    if chosen is None:
        return None
    run, artefact = found[list(rows).index(chosen)]
    task = tasks.of(run)
    shown, note = [], ""
    try:
        shown = [
            Mistake(**told) for told in task.shown(artefact.info["mistakes"][:_PICTURES_SHOWN])
        ]
    except InputError as error:
        note = f"The pictures cannot be shown: {error}"
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{sidecar(artefact.path)} is damaged: its mistakes ({error!r}); run kerascnn compress"
        ) from None
    return Mistakes(
        label=chosen.label,
        total=artefact.info["wrong_pictures"],
        pictures=artefact.info["evaluation"]["pictures"],
        shown=shown,
        note=note,
        how=task.how_shown,
    )
