"""`kerascnn compare`: artefacts of one or more runs, timed against each other, in one report."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from export.artefacts import half_precision
from export.artefacts.artefact import FLOAT_LAYERS, Artefact, sidecar
from export.artefacts.kinds import base as kinds
from export.artefacts.significance import Difference
from export.compress import left_out
from export.compress.calibration import Likeness, warning
from export.compress.compress import all_artefacts
from export.report import chart, device_results, results
from export.report import (
    page as report,
)
from export.report.device_results import File, Phone
from export.report.page import (
    ByClass,
    Mistake,
    Mistakes,
    Named,
    RunSummary,
)
from export.report.results import Choice, NotWritten, Result
from export.runtime import accelerators, benchmark, first_run
from export.runtime import load as runtimes
from export.runtime.verify import verified_of
from export.tasks import allowed
from export.tasks import base as tasks
from export.tasks.classification import by_kind
from kerascnn.errors import InputError
from kerascnn.weights import published
from kerascnn.zoo import entry
from training.classification.closing import recalls, unequal
from training.common import once
from training.common.progress import Progress
from training.common.wording import counted
from training.engine import summary
from training.engine.run import Run, machine, versions

_PICTURES_SHOWN = 60


@once.scope()
def compare(
    runs: Sequence[Run],
    output: pathlib.Path | None,
    *,
    title: str = "",
    device: pathlib.Path | None = None,
    warn: Callable[[str], None] = lambda _: None,
    named: Named | None = None,
) -> list[Result]:
    """Time every artefact of the runs, interleaved, and write the report.

    Args:
        output: a page, beside which the table and the chart get its name with .csv and .png; or a
            folder, which gets report.html, results.csv and chart.png. None: nothing is written.
        device: a table of the Android demo, whose figures are put beside this machine's.
        warn: is called for every line of that table that is of no artefact here.
        named: photos, as files of another network name them, for the page.

    Returns:
        One row an artefact.

    Raises:
        InputError: a run without artefacts, runs measured on different pictures, or a table that is
            broken or knows none of the artefacts.
        NotWritten: a file of the report cannot be written; it holds the rows.
    """
    allowed.require_same_data(runs)
    runs = _distinctly_labelled(runs)
    found = [(run, a) for run in runs for a in _required(run)]
    phones = _phones(device, found, warn) if device else []
    rows = measure(found)
    if output is None:
        return rows
    try:
        write(output, runs, found, rows, title=title, phones=phones, named=named)
    except OSError as error:
        raise NotWritten(error, rows) from error
    return rows


@once.scope()
def measure(found: Sequence[tuple[Run, Artefact]]) -> list[Result]:
    """Time artefacts against each other, one thread each, and join that with what is known."""
    first_run.require([artefact.path for _run, artefact in found])
    calls = {}
    for run, artefact in found:
        task = tasks.of(run)
        calls[str(artefact.path)] = task.load(artefact.path).once(task.timed_picture())
    with Progress("timing", benchmark.ROUNDS, unit="round") as progress:
        latencies = benchmark.interleaved(calls, after_round=progress.step)
    rows = [result(run, a, latencies[str(a.path)]) for run, a in found]
    return [_with_accelerators(row, a.path) for row, (_run, a) in zip(rows, found, strict=True)]


def write(
    output: pathlib.Path,
    runs: Sequence[Run],
    found: Sequence[tuple[Run, Artefact]],
    rows: Sequence[Result],
    *,
    title: str = "",
    phones: Sequence[Phone] = (),
    named: Named | None = None,
) -> None:
    """Write the table, the page and the chart, each whether or not the others can be written.

    Raises:
        OSError: one cannot be written: of several the first.
    """
    page, listed, drawn = output_files(output)

    def write_list() -> None:
        if phones:
            results.write_table(listed, device_results.WRITTEN, device_results.table(rows, phones))
        else:
            results.write_csv(listed, rows)

    def write_page() -> None:
        report.write_report(
            page,
            rows,
            runs=[
                RunSummary(name=run.name, facts=_facts(run) | _findings(run, found)) for run in runs
            ],
            machine=machine() | {f"version of {name}": v for name, v in versions().items()},
            mistakes=_mistakes(found, rows),
            behind=_behind(found, rows),
            phones=phones,
            by_class=_by_class(found, rows),
            named=named,
            title=title or " · ".join(run.name for run in runs),
        )

    failed: list[OSError] = []
    for write_one in (write_list, write_page, lambda: chart.write_png(drawn, rows)):
        try:
            write_one()
        except OSError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def output_files(output: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Page, table and chart for a page's own path or for a folder."""
    if output.suffix == ".html":
        return output, output.with_suffix(".csv"), output.with_suffix(".png")
    return output / "report.html", output / "results.csv", output / "chart.png"


def difference(first: Artefact, second: Artefact) -> Difference:
    """How much more accurate the first file is, whatever network either holds.

    Raises:
        InputError: they were measured on different images, or on different pixels of these, as
            networks are that do not pad.
    """
    keys = ("data_fingerprint", "pictures", "metric")
    one, two = ([a.info["evaluation"][k] for k in keys] for a in (first, second))
    if one != two:
        raise InputError(f"{first.path} and {second.path} were measured on different images")
    (_, before), (_, after) = first.answers, second.answers
    try:
        low, high = first.kind.drop_interval(before, after)
    except ValueError as error:
        raise InputError(f"{first.path} and {second.path} do not compare: {error}") from error
    points = first.info["evaluation"]["value"] - second.info["evaluation"]["value"]
    return Difference(points=points, low=low, high=high)


def _distinctly_labelled(runs: Sequence[Run]) -> list[Run]:
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
        raise InputError(
            f"{run.folder} has no artefacts; make them: kerascnn compress {run.folder}"
        )
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
        raise InputError(
            f"{table} has results of none of these files; name the runs that it measured"
        )
    return phones


def result(run: Run, artefact: Artefact, latency: benchmark.Latency) -> Result:
    info = artefact.info
    measured: Mapping[str, Any] = info["evaluation"]
    low, high = artefact.kind.drop_interval(*artefact.answers)
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
        pictures=measured["pictures"],
        balanced_accuracy=measured.get("balanced_accuracy"),
        choice=_choice(measured),
        latency_ms=latency.median_ms,
        latency_p95_ms=latency.p95_ms,
        latency_low_ms=latency.low_ms,
        latency_high_ms=latency.high_ms,
        rounds_ms=latency.rounds_ms,
        threads=runtimes.THREADS,
        peak_arena_bytes=None,
        sparsity=measured["sparsity"],
        seconds=info["seconds"],
        verified=verified_of(measured),
        below_floor=artefact.kind.below_floor(
            measured,
            len(artefact.labels),
            imported=run.info["request"].get("imported") is not None,
        )
        or "",
        agreement=measured["agreement"],
        max_logit_diff=measured["max_logit_diff"],
        partitions=measured["partitions"],
        sha256=info["sha256"],
        float_layers=", ".join(info.get(FLOAT_LAYERS, {}).get("layers", ())) or None,
    )


def _with_accelerators(row: Result, path: pathlib.Path) -> Result:
    """With those that take the file; of ONNX files nothing is known."""
    if path.suffix != ".tflite":
        return row
    found = accelerators.accelerators(path)
    gpu, npu = accelerators.text(found.gpu), accelerators.text(found.npu)
    return dataclasses.replace(row, gpu=gpu, npu=npu)


def _choice(measured: Mapping[str, Any]) -> Choice | None:
    """What a file is chosen by; None where no split was set aside, and of earlier versions."""
    choice = measured.get("choice")
    if not choice:
        return None
    return Choice(
        split=choice["split"],
        pictures=choice["pictures"],
        value=float(choice["value"]),
        float_value=float(choice["float_value"]),
    )


def _facts(run: Run) -> dict[str, str]:
    request, data, trained = (run.info[key] for key in ("request", "dataset", "results"))
    config, imported = request["config"], request.get("imported")
    pixels = "x".join(str(side) for side in run.preprocessing.input_shape)
    options = ", ".join(f"{k}={v}" for k, v in request["model_options"].items())
    worth = kinds.of_metric(trained["metric"])
    unreadable = len(data["skipped"]) + len(data.get("broken", ()))
    learnt = "for calibration and fine-tuning" if imported else "training"
    begun = f"{trained['seconds']:.0f} s, started {run.info['created']}"
    closing = summary.closing(trained)
    return {
        "Model": run.called + (f" ({options})" if options else ""),
        "Imported from" if imported else "Initial weights": _initial_weights(run),
        **({"Teacher": run.info["teacher"]["run"]} if run.info.get("teacher") else {}),
        "Input": f"{pixels}, {run.preprocessing.resize}"
        + (f", in tiles of {tiles:,} pixels" if (tiles := run.preprocessing.tiles) else ""),
        "Data": f"{_data_name(data['name'])} (fingerprint {data['fingerprint']})",
        "Images": f"{data['train']:,} {learnt}, {data['validation']:,} validation, "
        f"{data['held_out']:,} held out"
        + (f"; {unreadable:,} unreadable, left out" if unreadable else ""),
        "Fine-tuning recipe" if imported else "Recipe": f"{request['recipe']}: "
        f"{counted(config['epochs'], 'epoch')}, batch {config['batch_size']}, "
        f"{config['optimizer']}, learning rate {config['learning_rate']:g}, "
        f"augmentation: {config['augmentation']}",
        "Random seed": str(config["seed"])
        + (f"; of the split {config['split_seed']}" if "split_seed" in config else ""),
        "Keras model": f"{worth.keras_figure(trained)} on the held-out images"
        + (f"; {closing}" if closing else ""),
        "Import" if imported else "Training": f"{begun}, on {run.info['machine']['processor']}",
        "Versions" if imported else "Trained with": ", ".join(
            f"{k} {v}" for k, v in run.info["versions"].items()
        ),
        **{f"Left out: {file}": why for file, why in left_out.of_run(run).items()},
    }


def _findings(run: Run, found: Sequence[tuple[Run, Artefact]]) -> dict[str, str]:
    """Images of the user's own choice that files were calibrated on; what half precision lacks."""
    findings = {}
    for owner, artefact in found:
        reached = artefact.info.get("half_precision")
        if owner is run and reached and (lines := half_precision.warnings(reached)):
            findings[f"Half precision: {artefact.path.name}"] = "; ".join(lines)
        chosen = artefact.info.get("calibration")
        if owner is run and chosen:
            likeness = Likeness(distance=chosen["distance"], by_chance=chosen["by_chance"])
            name = f"{chosen['data']} (fingerprint {chosen['fingerprint']})"
            end = f"; {warning(chosen['data'], likeness)}" if likeness.unlike else ""
            findings[f"Calibrated: {artefact.path.name}"] = name + end
    return findings


def _data_name(name: str) -> str:
    """As asked for; of a path no more than its end, for the page goes to other people."""
    path = pathlib.Path(name)
    if not path.is_absolute():
        return name
    return f"{path.parent.name}/{path.name}" if path.suffix else path.name


def _initial_weights(run: Run) -> str:
    """As asked for; of a file no more of its path than tells it from others."""
    weights, imported = run.info["request"]["weights"], run.info["request"].get("imported")
    if imported and imported["sha256"]:
        source = pathlib.Path(imported["source"])
        shown = f"{source.parent.name}/{source.name}" if source.is_absolute() else str(source)
        return f"{shown} (sha256 {imported['sha256'][:12]})"
    if weights is None:
        return "random"
    path = pathlib.Path(weights)
    if path.is_absolute():
        # What a file in a run folder is called says nothing.
        return f"{path.parent.name}/{path.name}" if path.name == "model.keras" else path.name
    model = imported["source"] if imported else run.info["request"]["model"]
    own = entry(model).backbone is None or weights in published.names(model)
    return str(weights) if own else f"{weights} (backbone alone)"


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


def looked_at(rows: Sequence[Result]) -> int:
    """Place of the file that is shown in detail: the recommended one, else the best."""
    chosen = results.best_choices(rows).get("smallest")
    return rows.index(chosen or max(rows, key=lambda r: (r.is_verified, r.value, -r.bytes)))


def _name_of(rows: Sequence[Result], row: Result) -> str:
    """The file's name, with its run where there are several."""
    run = f"{row.run} " if len({r.run for r in rows}) > 1 else ""
    return f"{run}{row.variant}.{row.format}"


def _by_class(found: Sequence[tuple[Run, Artefact]], rows: Sequence[Result]) -> ByClass | None:
    """Of the file that is shown in detail; None of old files, and where there is one class."""
    place = looked_at(rows)
    _run, artefact = found[place]
    measured = artefact.info["evaluation"]
    per_class, label = measured.get("per_class"), _name_of(rows, rows[place])
    if not per_class or len(per_class) < 2:
        return None
    if isinstance(per_class, dict):  # detectors' and segmentation networks': one figure a class
        metric = artefact.kind.class_metric or measured["metric"]
        lines = [(name, None, [figure]) for name, figure in per_class.items()]
        return ByClass(label=label, figures=[metric], rows=lines)
    commonest = max(per_class, key=lambda one: one["pictures"])
    hidden = unequal([one["pictures"] for one in per_class])
    return ByClass(
        label=label,
        figures=["Recall", "Precision"],
        rows=[
            (one["label"], one["pictures"], [one["recall"], one["precision"]]) for one in per_class
        ],
        majority=commonest["label"] if hidden else "",
        baseline=measured["majority_baseline"],
        summary=f"balanced accuracy {measured['balanced_accuracy']:.1f}%; {recalls(per_class)}",
    )


def _mistakes(found: Sequence[tuple[Run, Artefact]], rows: Sequence[Result]) -> Mistakes:
    """Those of the file that is shown in detail."""
    place = looked_at(rows)
    run, artefact = found[place]
    task = tasks.of(run)
    shown, note = [], ""
    try:
        # Files of earlier versions keep them sorted by class.
        kept = by_kind(artefact.info["mistakes"])[:_PICTURES_SHOWN]
        shown = [Mistake(**fields) for fields in task.shown(kept)]
    except InputError as error:
        note = f"The images cannot be shown: {error}"
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{sidecar(artefact.path)} is damaged: its mistakes ({error!r}); run kerascnn compress"
        ) from None
    return Mistakes(
        label=_name_of(rows, rows[place]),
        total=artefact.info["wrong_pictures"],
        pictures=artefact.info["evaluation"]["pictures"],
        shown=shown,
        note=note,
        how=task.how_shown,
        graded=task.graded,
    )
