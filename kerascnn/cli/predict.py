"""The predict command."""

from __future__ import annotations

import contextlib
import csv
import json
import pathlib
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from kerascnn.cli.exits import warn
from kerascnn.cli.options import file_options_of, json_option, stranger_options, with_tiles
from kerascnn.errors import InputError
from training.common.wording import counted

if TYPE_CHECKING:
    from export.runtime.answers import Answer
    from export.runtime.model_facts import ModelFacts
    from export.runtime.sources import Clip, Source

_EXAMPLES = """\b
Example: kerascnn predict runs/flowers/artefacts/int8.tflite rose.jpg
\b
         kerascnn predict FILE photos/ "more/**/*.jpg" --top 3 --csv labels.csv
         find photos -name '*.jpg' | kerascnn predict FILE - --jsonl > labels.jsonl
         kerascnn predict FILE street.mp4 --fps 5 -o drawn.mp4
         kerascnn predict FILE camera:0 -o seen.mp4
"""


class _Time(click.ParamType):
    """Seconds, as in 90, 1:30 or 1:02:03.5."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        from export.runtime.picture_args import seconds

        return value if isinstance(value, float) else seconds(value)


@click.command(epilog=_EXAMPLES)
@click.argument("artefact", type=click.Path())
@click.argument("images", nargs=-1, type=click.Path(allow_dash=True))
@click.option(
    "--list",
    "lists",
    multiple=True,
    type=click.Path(allow_dash=True),
    metavar="FILE",
    help="A file with one path per line; - is the standard input.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="Labels per image (classifiers).  [default: 1]",
)
@click.option(
    "--score",
    type=click.FloatRange(0, 1),
    help="Lowest score of an object (detectors).  [default: 0.3]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    help="Draw what was found: a folder for images and videos, or the file of one video (.mp4).",
)
@click.option("--every", type=click.IntRange(min=1), help="Look at each Nth frame of a video.")
@click.option(
    "--fps",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Look at so many frames per second.",
)
@click.option("--start", type=_Time(), help="Begin at this time of a video: 90, 1:30.")
@click.option("--end", type=_Time(), help="End at this time of a video, or of a camera.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of the runtime; images are decoded in others.  [default: 1]",
)
@click.option(
    "--csv",
    "table",
    type=click.Path(),
    metavar="FILE",
    help="Write a row per label, object or class.",
)
@with_tiles
@stranger_options
@click.option("--jsonl", "as_lines", is_flag=True, help="Print JSON on stdout, a line per image.")
@json_option
def predict(
    artefact: str,
    images: tuple[str, ...],
    lists: tuple[str, ...],
    every: int | None,
    fps: float | None,
    start: float | None,
    end: float | None,
    out: str | None,
    table: str | None,
    as_lines: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Run a model file on images and videos.

    ARTEFACT is a .tflite, .onnx or .keras file: a classifier prints labels, a detector objects, a
    segmentation network the share of each class. IMAGES are image files, folders of them, quoted
    patterns, videos (with PyAV: pip install 'kerascnn[video]'), camera:0 (OpenCV:
    'kerascnn[camera]'), or - for a list on the standard input. Answers come as soon as they are
    known and name each image by its path, in text as in JSON. An image that cannot be read is
    skipped; the exit code is 2 then. Ctrl-C ends the work and leaves what was written whole.

    What files of other programs do not say themselves is given by --labels, --preprocessing and
    the options below these; TFLite Metadata are read.
    """
    path = pathlib.Path(artefact)
    if as_json and as_lines:
        raise InputError("--json is one list and --jsonl a line per image; choose one")
    from export.artefacts.description import require_file
    from export.runtime.picture_args import require_frames, sources

    options = file_options_of(limits)
    require_file(path)
    if not images and not lists:
        raise InputError("no images are named; give files, folders or a list of them")
    found = sources(images, lists=lists, warn=warn)
    asked: dict[str, Any] = {"every": every, "fps": fps, "start": start, "end": end}
    given = {name: value for name, value in asked.items() if value is not None}
    require_frames(found, [f"--{name}" for name in given])
    from export.runtime.strangers import for_predict

    known = for_predict(path, options)
    form = "json" if as_json else "jsonl" if as_lines else "text"
    from export.runtime.sources import Clip

    _answer(
        path,
        found,
        clip=Clip(**given),
        out=pathlib.Path(out) if out else None,
        table=pathlib.Path(table) if table else None,
        form=form,
        known=known,
        **limits,
    )


def _answer(
    path: pathlib.Path,
    found: Sequence[Source],
    *,
    clip: Clip,
    out: pathlib.Path | None,
    table: pathlib.Path | None,
    form: str,
    known: ModelFacts | None,
    **limits: Any,
) -> None:
    """Print what a file says, and say at the end how that went."""
    from export.runtime.predict import Order, answers, columns
    from export.runtime.predictor import NumberlessError
    from export.runtime.sources import moves
    from training.common.progress import say
    from training.engine.stopping import Stopped, StopRequests

    broken: list[InputError] = []
    alone = len(found) == 1

    def refuse(error: InputError) -> None:
        broken.append(error)
        if not alone:
            warn(str(error))

    films = any(map(moves, found))
    with StopRequests() as requests, contextlib.ExitStack() as stack:
        stop = lambda: requests.signal is not None  # noqa: E731
        order = Order(out=out, clip=clip, refuse=refuse, warn=warn, say=say, stop=stop)
        answered: Iterable[Answer] = answers(path, found, order=order, known=known, **limits)
        if table is not None:
            writer = stack.enter_context(_table(table, columns(path, known), films))
            answered = _written_to(answered, writer, films)
        shown = form == "text" and sys.stdout.isatty()
        if not alone or films:
            total, unit = (None, "frame") if films else (len(found), "image")
            answered = _with_bar(answered, total, unit, quiet=shown)
        _PRINTERS[form](answered)
    if order.work.images + order.work.frames > 1:
        say(order.work.as_text())
    if requests.signal is not None and not _is_end_of_camera(found, requests.signal):
        raise Stopped("interrupted; what was answered until then is written", requests.signal)
    if broken and alone:
        raise broken[0]
    if broken:
        kind = "source" if films else "image"
        unanswered = any(isinstance(error, NumberlessError) for error in broken)
        done = "read or answered" if unanswered else "read"
        raise InputError(
            f"{counted(len(broken), kind)} of {len(found):,} could not be {done}, see above"
        )


def _is_end_of_camera(found: Sequence[Source], number: int) -> bool:
    """Ctrl-C is how one ends what never ends by itself."""
    from export.runtime.sources import Camera

    return number == signal.SIGINT and isinstance(found[-1], Camera)


@contextlib.contextmanager
def _table(path: pathlib.Path, columns: Sequence[str], films: bool) -> Iterator[Any]:
    """A writer of rows into a file that gets its name when all are written."""
    from training.common import atomic

    if path.is_dir():
        raise InputError(f"--csv {path} is a folder; give a file")
    with (
        atomic.replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", *(["frame", "time"] if films else []), *columns])
        yield writer


def _written_to(answered: Iterable[Answer], writer: Any, films: bool) -> Iterator[Answer]:
    """The same, written into a table; of an image that has nothing, a row of empty cells."""
    for one in answered:
        place = [one.image, *([one.frame, one.time] if films else [])]
        for row in one.rows() or [()]:
            writer.writerow([*place, *row, *[None] * (len(one.columns) - len(row))])
        yield one


def _with_bar(
    answered: Iterable[Answer], total: int | None, unit: str, *, quiet: bool
) -> Iterator[Answer]:
    """The same, with a bar on stderr; without one where answers scroll by."""
    from training.common.progress import Progress

    if quiet:
        yield from answered
        return
    with Progress("predict", total, unit=unit) as progress:
        for one in answered:
            progress.step()
            yield one


def _print_text(answered: Iterable[Answer]) -> None:
    for one in answered:
        click.echo(one.as_text())


def _print_lines(answered: Iterable[Answer]) -> None:
    for one in answered:
        click.echo(json.dumps(one.as_json(), ensure_ascii=False))


def _print_list(answered: Iterable[Answer]) -> None:
    """One JSON list, as `print_json` writes it, item by item; it is closed whatever happens."""
    begun = False
    try:
        for one in answered:
            item = json.dumps(one.as_json(), indent=1, ensure_ascii=False).replace("\n", "\n ")
            click.echo(f",\n {item}" if begun else f"[\n {item}", nl=False)
            begun = True
    except Exception:
        if begun:
            click.echo("\n]")
        raise
    click.echo("\n]" if begun else "[]")


_PRINTERS: dict[str, Callable[[Iterable[Answer]], None]] = {
    "text": _print_text,
    "jsonl": _print_lines,
    "json": _print_list,
}
