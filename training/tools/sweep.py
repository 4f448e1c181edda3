"""`kerascnn sweep`: many networks times many recipes, one after another or spread by Ray.

Every job is `training.engine.train.train` in a process of its own, with a fixed number of cores, so
that its weights do not depend on where and beside what it ran. Runs that are complete are not
trained again, begun ones go on. With Ray on several machines, data and output lie where all see
them.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib
import itertools
import logging
import multiprocessing
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kerascnn.errors import InputError
from training import tasks
from training.common import atomic, once
from training.common.cores import WORKERS
from training.common.progress import Progress, say
from training.common.quiet import native_quiet
from training.engine.refusals import require_command

COLUMNS = (
    "run", "model", "recipe", "seed", "validation", "held_out", "top5", "calibration_error",
    "best_epoch", "seconds", "parameters", "macs", "below_floor", "error", "metric",
)  # fmt: skip
# Figures that networks of some tasks have beside their metric, with their headings.
_BESIDE = {"top5": "top-5", "calibration_error": "calibration error"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One training of a sweep.

    Attributes:
        run: the run folder's name below the sweep's.
        model, recipe, seed: what sets it apart from the others.
        request: arguments of `training.engine.train.request`.
    """

    run: str
    model: str
    recipe: str
    seed: int
    request: dict[str, Any]


@once.scope()
def jobs(
    *,
    models: Sequence[str],
    recipes: Sequence[str],
    seeds: Sequence[int],
    data: str,
    settings: dict[str, Any],
    **asked: Any,
) -> list[Job]:
    """The grid of a sweep, in order: models, then recipes, then seeds.

    Args:
        settings: fields of TrainConfig to replace in all of them.
        **asked: further arguments of `training.engine.train.request`.

    Raises:
        InputError: the same one twice, no model, or networks that no one figure ranks.
    """
    _refuse_unlike(models, data)
    for what, values in (("model", models), ("recipe", recipes), ("seed", seeds)):
        if not values or len(set(values)) != len(values):
            raise InputError(f"a sweep needs at least one {what}, and each only once: {values}")
    found = []
    for model, recipe, seed in itertools.product(models, recipes, seeds):
        request = {
            **asked, "model": model, "recipe": recipe, "seed": seed, "data": data,
            "settings": settings,
        }  # fmt: skip
        name = f"{model}-{recipe}-{seed}"
        found.append(Job(run=name, model=model, recipe=recipe, seed=seed, request=request))
    return found


def _refuse_unlike(models: Sequence[str], data: str) -> None:
    """Raise InputError for models of several tasks or metrics."""
    judged: dict[str, str] = {}
    for model in models:
        task = tasks.for_data(model, data)
        require_command(task, "sweep", model)
        judged.setdefault(task.metric_of(model), model)
    if len(judged) > 1:
        named = " and ".join(f"{model} by {metric}" for metric, model in judged.items())
        raise InputError(f"a sweep ranks by one figure, and {named} are judged by several")


def sweep(
    work: Sequence[Job],
    folder: pathlib.Path,
    *,
    workers: int = 1,
    cores: int | None = None,
    gpus: float = 0,
    ray_address: str | None = None,
) -> list[dict[str, Any]]:
    """Run all jobs; a row each, in the order given, which sweep.csv keeps.

    Args:
        folder: gets a run folder a job, and sweep.csv.
        workers: jobs at a time on this machine, without Ray.
        cores: of each job; this machine's shared among the workers by default.
        gpus: of each job, for Ray to find.
        ray_address: of a Ray cluster: "auto", HOST:PORT, or "local" for one of this machine alone.

    Raises:
        InputError: no Ray there. A job that fails is a row with its error.
    """
    cores = cores or max(1, WORKERS // workers)
    folder = folder.resolve()
    rows: dict[str, dict[str, Any]] = {}
    done = (
        _by_ray(work, folder, cores, gpus, ray_address)
        if ray_address
        else _here(work, folder, cores, workers)
    )
    with Progress("sweep", len(work), unit="run") as progress:
        for job, row in done:
            rows[job.run] = row
            _write(folder / "sweep.csv", [rows[j.run] for j in work if j.run in rows])
            progress.step()
            said = row["error"] or _summary(row)
            say(f"{job.run}: {said}")
    return [rows[job.run] for job in work]


def run_job(job: Job, folder: str, cores: int) -> dict[str, Any]:
    """Train one; its row. Called in a process of its own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _use_cores(cores)
    from training.engine.closing import below_floor
    from training.engine.request import request
    from training.engine.train import train

    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"run": job.run, "model": job.model, "recipe": job.recipe, "seed": job.seed}
    try:
        run = train(request(**job.request), pathlib.Path(folder) / job.run)
    except InputError as error:
        return row | {"error": str(error)}
    results = {key: value for key, value in run.info["results"].items() if key in COLUMNS}
    results |= {key: run.info[key] for key in ("parameters", "macs")}
    return row | results | {"below_floor": below_floor(run.info) or "", "error": ""}


def _use_cores(cores: int) -> None:
    """Sums over threads are rounded otherwise for another number of them."""
    os.environ["OMP_NUM_THREADS"] = str(cores)
    with native_quiet():  # it greets every process anew
        importlib.import_module(os.environ.setdefault("KERAS_BACKEND", "tensorflow"))
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(cores)


def _here(
    work: Sequence[Job], folder: pathlib.Path, cores: int, workers: int
) -> Iterator[tuple[Job, dict[str, Any]]]:
    # A process each: what one leaves behind, no other one meets.
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=fresh, max_tasks_per_child=1
    ) as pool:
        jobs_of = {pool.submit(run_job, job, str(folder), cores): job for job in work}
        for future in concurrent.futures.as_completed(jobs_of):
            yield jobs_of[future], future.result()


def _by_ray(
    work: Sequence[Job], folder: pathlib.Path, cores: int, gpus: float, address: str
) -> Iterator[tuple[Job, dict[str, Any]]]:
    try:
        import ray
    except ImportError:
        raise InputError("no Ray here; pip install 'kerascnn[sweep]'") from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"no Ray cluster at {address}: {error}") from None
    # One call a process, as `_here`.
    remote = ray.remote(num_cpus=cores, num_gpus=gpus, max_calls=1, max_retries=2)(run_job)
    waiting = {remote.remote(job, str(folder), cores): job for job in work}
    while waiting:
        ready, _rest = ray.wait(list(waiting), num_returns=1)
        for reference in ready:
            yield waiting.pop(reference), ray.get(reference)


def _write(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    atomic.write_csv(path, COLUMNS, ([row[column] for column in COLUMNS] for row in rows))


def _summary(row: Mapping[str, Any]) -> str:
    if row.get("metric", "accuracy") == "accuracy":
        text = f"{row['held_out']:.1f}% of the held-out images are right"
        if row["validation"] is not None:
            text = f"{row['validation']:.1f}% of the validation images are right, {text}"
    else:
        text = f"{row['metric']} {_percent(row['held_out'])} on the held-out images"
        if row["validation"] is not None:
            text = f"{row['validation']:.1f}% on the validation images, {text}"
    return f"{text}; {row['below_floor']}" if row["below_floor"] else text


def ranked_by(rows: Sequence[Mapping[str, Any]]) -> str:
    """What tells the best row: "validation", or "held_out" where a run set no images aside."""
    finished = [row for row in rows if not row["error"]]
    return "held_out" if any(row["validation"] is None for row in finished) else "validation"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for a person, the best first, failures last; and what they are ranked by."""
    rank = ranked_by(rows)
    best_first = sorted(
        rows, key=lambda row: -1.0 if row["error"] else row[rank] or 0.0, reverse=True
    )
    width = max(len(row["run"]) for row in rows)
    beside = [name for name in _BESIDE if any(row.get(name) is not None for row in rows)]
    headings = "".join(f"  {_BESIDE[name]}" for name in beside)
    lines = [f"{'run':{width}}  validation  held out{headings}  epoch  seconds"]
    for row in best_first:
        if row["error"]:
            lines.append(f"{row['run']:{width}}  failed: {row['error']}")
            continue
        figures = "".join(f"  {_percent(row.get(name)):>{len(_BESIDE[name])}}" for name in beside)
        lines.append(
            f"{row['run']:{width}}  {_percent(row['validation']):>10}"
            f"  {_percent(row['held_out']):>8}{figures}"
            f"  {row['best_epoch']:5d}  {row['seconds']:7.1f}"
            f"{'  no better than chance' if row.get('below_floor') else ''}"
        )
    return "\n".join([*lines, _RANKED[rank]])


_RANKED = {
    "validation": "ranked by the validation images; the held-out ones tell how good the best is",
    "held_out": "ranked by the held-out images, since not all of these runs have validation "
    "images: the best figure is too good by some luck; give --set validation_fraction=0.1",
}


def _percent(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f}%"
