"""benchmarks/clients.md: four clients answer ten pictures with the same files, and agree.

    kerascnn demo
    (a detector: see benchmarks/detection.py)
    python benchmarks/clients.py runs/demo/mobilenet_v2 runs/ssdlite_mobilenet_v2

Python is what `kerascnn predict` does. MediaPipe's ImageClassifier and ObjectDetector read the
metadata in the file; their environment is made when KERASCNN_MEDIAPIPE_PYTHON names none. Kotlin is
the core of the Android demo on a JVM, which has no runtime: it prepares pictures and decodes
outputs, and LiteRT runs the network in between. The browser is a headless Chromium with the page of
`kerascnn web`. A client whose tools are not there is listed with the reason.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "helpers"))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import browser
import mediapipe_client
import numpy as np
from PIL import Image

from export.artefacts.artefact import Artefact
from export.compress.compress import compress
from export.deploy import web
from export.deploy.android import PROJECT
from export.runtime.detectors import load_detector
from export.runtime.load import load
from export.tasks import base as tasks
from export.tasks.agreement import SAME_IOU, np_iou
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.augment.boxes import boxes_from_network, to_network
from training.classification.evaluate import softmax
from training.datasets.pictures import read_picture, read_pixels
from training.datasets.splits import Split
from training.detection.evaluate import on_picture
from training.engine.run import Run

PICTURES = 10
SHOWN = 0.3  # the lowest score of an object that is compared
# As many points around it: an object may lie below the threshold in one client.
SLACK = 0.02
ENLARGED = 1.37
FILES = (("classification", ("float32", "int8")), ("detection", ("int8",)))

# Runs a file on what it is given, as ReplayTest.kt speaks.
RUNTIME = """
import struct, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
(taken,) = interpreter.get_input_details()
runner = interpreter.get_signature_runner()
(name,) = runner.get_input_details()
size = int(np.prod(taken["shape"])) * np.dtype(taken["dtype"]).itemsize
out = sys.stdout.buffer
while data := sys.stdin.buffer.read(size):
    given = runner(**{name: np.frombuffer(data, taken["dtype"]).reshape(taken["shape"])})
    out.write(struct.pack(">i", len(given)))
    for key, values in given.items():
        out.write(struct.pack(">H", len(key)) + key.encode())
        out.write(struct.pack(f">{values.ndim + 1}i", values.ndim, *values.shape))
        out.write(values.astype(">f4").tobytes())
    out.flush()
"""
# Of the page's own modules, without its buttons: these show the best five alone.
_IN_THE_PAGE = """(async () => {
  const { Client } = await import("./client.js");
  const { pixels, readPicture } = await import("./pictures.js");
  const client = new Client();
  const bytes = async (path) => (await fetch(path)).blob();
  await client.open(new Uint8Array(await (await bytes(%s)).arrayBuffer()));
  const found = [];
  for (const path of %s) {
    const { answer } = await client.run(pixels(await readPicture(await bytes(path))));
    found.push(answer.kind === "labels" ? Array.from(answer.probabilities, (p, i) => [i, p])
      : answer.objects.map(({ label, score, box }) => [label, score, ...box]));
  }
  return found;
})()"""

# Of a picture: [label, probability], or [label, score, top, left, bottom, right] in shares of it.
Rows = list[list[float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A file, and the pictures that it answers."""

    run: Run
    artefact: Artefact
    pictures: tuple[pathlib.Path, ...]

    @property
    def path(self) -> pathlib.Path:
        return self.artefact.path

    @property
    def preprocessing(self) -> Preprocessing:
        return self.artefact.preprocessing


Client = Callable[[Sequence[Case], pathlib.Path], list[list[Rows]]]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        cases = [
            case
            for name, (task, variants) in zip(sys.argv[1:], FILES, strict=True)
            for case in _cases(name, task, variants, work)
        ]
        wanted = [_python(case) for case in cases]
        columns: dict[str, list[list[Rows]] | str] = {}
        for name, ask in CLIENTS.items():
            try:
                columns[name] = ask(cases, work)
            except (Missing, OSError, subprocess.SubprocessError, InputError) as error:
                columns[name] = str(error).splitlines()[0]
            print(name, "answered" if isinstance(columns[name], list) else columns[name])
        text = "\n\n".join((_head(cases), *_tables(cases, wanted, columns)))
    path = pathlib.Path(__file__).with_suffix(".md")
    path.write_text(text + "\n", encoding="utf-8")
    print(text)


class Missing(Exception):
    """A tool that is not there."""


def _cases(name: str, task: str, variants: Sequence[str], work: pathlib.Path) -> list[Case]:
    run = Run.open(name)
    if run.task != task:
        sys.exit(f"{name} is for {run.task}, not {task}")
    artefacts, _new = compress(run, variants, onnx=False)
    dataset: Any = tasks.of(run).dataset
    split = dataset.held_out
    folder = work / f"pictures_{task}"
    folder.mkdir()
    paths = []
    for number, index in enumerate(np.linspace(0, len(split) - 1, PICTURES).astype(int)):
        image = Image.fromarray(_pixels(split, int(index)))
        if number % 2:
            image = image.resize([round(ENLARGED * side) for side in image.size])
        paths.append(folder / f"{number}.png")
        image.save(paths[-1])
    return [Case(run=run, artefact=one, pictures=tuple(paths)) for one in artefacts]


def _pixels(split: Any, index: int) -> np.ndarray:
    """(height, width, 3) uint8 of a held-out picture, as it is before it is fitted."""
    if isinstance(split, Split):
        known = split.pictures
        return read_pixels(split.encoded(index)) if known is None else np.squeeze(known[index])
    pixels: np.ndarray = split.picture(index)
    return pixels


def _python(case: Case) -> list[Rows]:
    if case.run.task == "classification":
        runtime = load(case.path, case.preprocessing)
        pictures = np.stack([read_picture(path, case.preprocessing) for path in case.pictures])
        return [_ranked(row) for row in runtime.predict(pictures)]
    task: Any = tasks.of(case.run)
    detector = load_detector(case.path, case.preprocessing, task.spec)
    found = []
    for path in case.pictures:
        picture = read_pixels(path)
        (whole,) = detector.detect(to_network(picture, case.preprocessing)[None])
        one = on_picture(whole, picture.shape[:2], case.preprocessing)
        objects = zip(one.labels, one.scores, one.boxes, strict=True)
        found.append(
            [[int(label), float(score), *map(float, box)] for label, score, box in objects]
        )
    return found


def _ranked(logits: np.ndarray) -> Rows:
    return [[label, float(share)] for label, share in enumerate(softmax(logits[None])[0])]


def _mediapipe(cases: Sequence[Case], work: pathlib.Path) -> list[list[Rows]]:
    """Of pictures as Python fits them: MediaPipe has resizing of its own."""
    python = mediapipe_client.environment(work / "mediapipe")
    answered = []
    for number, case in enumerate(cases):
        fitted = [work / f"fitted_{number}_{path.name}" for path in case.pictures]
        for path, target in zip(case.pictures, fitted, strict=True):
            Image.fromarray(read_picture(path, case.preprocessing)).save(target)
        rows = mediapipe_client.ask(python, case.run.task, case.path, fitted)
        sizes = [read_pixels(path).shape[:2] for path in case.pictures]
        answered.append([_of_mediapipe(case, *one) for one in zip(rows, sizes, strict=True)])
    return answered


def _of_mediapipe(case: Case, rows: list[Any], size: tuple[int, int]) -> Rows:
    labels = case.run.labels
    if case.run.task == "classification":
        given = dict(rows)
        return _ranked(np.array([given[label] for label in labels], np.float32))
    found = []
    sides = np.tile(case.preprocessing.input_shape[:2], 2)
    for label, score, top, left, height, width in rows:
        box = np.array([top, left, top + height, left + width], np.float32) / sides
        there = np.clip(boxes_from_network(box[None], size, case.preprocessing)[0], 0, 1)
        found.append([labels.index(label), score, *there.tolist()])
    return found


def _kotlin(cases: Sequence[Case], work: pathlib.Path) -> list[list[Rows]]:
    if shutil.which("mvn") is None:
        raise Missing("no Maven")
    script, asked, answers = (work / name for name in ("runtime.py", "asked.json", "answers.json"))
    script.write_text(RUNTIME)
    asked.write_text(
        json.dumps({
            "models": [str(case.path.resolve()) for case in cases],
            "pictures": {
                str(case.path.resolve()): [str(_raw(path)) for path in case.pictures]
                for case in cases
            },
            "runtime": [sys.executable, str(script)],
            "answers": str(answers),
        })
    )  # fmt: skip
    done = subprocess.run(
        [
            *("mvn", "-q", "-B", "-f", str(PROJECT / "pom.xml"), "test"),
            *("-Dtest=ReplayTest", "-Done-test=true"),
            "-Dsurefire.failIfNoSpecifiedTests=false",
        ],
        env=os.environ | {"KERASCNN_REPLAY": str(asked)},
        capture_output=True,
        text=True,
        check=False,
    )
    if not answers.is_file():
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
        raise Missing((lines or done.stderr.splitlines() or ["Maven says nothing"])[0])
    answered = json.loads(answers.read_text())
    return [answered[str(case.path.resolve())] for case in cases]


def _raw(path: pathlib.Path) -> pathlib.Path:
    """A picture as ReplayTest.kt reads it: width, height, and 0xRRGGBB for each pixel."""
    pixels = read_pixels(path).astype(">i4")
    colours = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    target = path.with_suffix(".rgb")
    size = np.array(colours.shape[::-1], ">i4")
    target.write_bytes(size.tobytes() + colours.astype(">i4").tobytes())
    return target


def _browser(cases: Sequence[Case], work: pathlib.Path) -> list[list[Rows]]:
    if browser.PROGRAM is None:
        raise Missing("no Chromium")
    page = work / "page"
    answered = []
    web.write_page([str(case.path) for case in cases], page)
    running = browser.Browser(work / "profile")
    try:
        with browser.served(page) as address:
            for number, case in enumerate(cases):
                folder = page / str(number)
                folder.mkdir()
                shutil.copy(case.path, folder / "model.tflite")
                for path in case.pictures:
                    shutil.copy(path, folder)
                running.open(f"{address}/index.html")
                pictures = json.dumps([f"{number}/{path.name}" for path in case.pictures])
                model = json.dumps(f"{number}/model.tflite")
                answered.append(running.evaluate(_IN_THE_PAGE % (model, pictures)))
    finally:
        running.close()
    return answered


CLIENTS: dict[str, Client] = {
    "MediaPipe": _mediapipe,
    "Kotlin": _kotlin,
    "browser": _browser,
}


def _head(cases: Sequence[Case]) -> str:
    return (
        "# The same file in four clients\n\n"
        "Made by `python benchmarks/clients.py`, which says how: what MediaPipe, the Android "
        "demo's arithmetic and the page in a browser answer, against Python. Each file answers "
        f"{PICTURES} held-out pictures, every other one enlarged to {ENLARGED:g} times its sides, "
        "so that clients have to resize. MediaPipe resizes in a way of its own, and is given the "
        "pictures as Python fits them; it hands out a file's logits, of which this is the softmax; "
        "corners and sides of its boxes are whole pixels of these, and one that begins outside of "
        "the picture is moved into it, so that edges are compared of boxes inside. Kotlin tells "
        "the five likeliest classes."
    )


def _tables(
    cases: Sequence[Case], wanted: list[list[Rows]], columns: dict[str, list[list[Rows]] | str]
) -> list[str]:
    tables = []
    for number, case in enumerate(cases):
        request = case.run.info["request"]
        value = case.artefact.info["evaluation"]
        classifier = case.run.task == "classification"
        lines = [
            f"## {request['model']} {case.path.stem}",
            f"{case.run.task} of {request['data']}, {case.preprocessing.height}x"
            f"{case.preprocessing.width}, {case.artefact.info['bytes'] / 1e6:.2f} MB, "
            f"{value['metric']} {value['value']:.1f} on all held-out pictures. "
            f"{_variety(case, wanted[number])}",
            "",
            "| client | same first class | largest difference of a probability |"
            if classifier
            else f"| client | objects of Python's with a score of {SHOWN:g} or more | objects that "
            "Python has not | largest difference of a score | of an edge, in pixels |",
            "|---|---|---|" if classifier else "|---|---|---|---|---|",
        ]
        for name, column in columns.items():
            if isinstance(column, str):
                lines.append(f"| {name} | not asked: {column} |")
            elif classifier:
                lines.append(f"| {name} | {_of_classes(wanted[number], column[number])} |")
            else:
                sizes = [read_size(path) for path in case.pictures]
                inside = name == "MediaPipe"
                row = _of_boxes(wanted[number], column[number], sizes, inside=inside)
                lines.append(f"| {name} | {row} |")
        tables.append("\n".join(lines))
    return tables


def _variety(case: Case, wanted: list[Rows]) -> str:
    """How much there is to disagree on."""
    best = [max(rows, key=lambda row: row[1]) for rows in wanted]
    scores = [score for _label, score, *_box in best]
    classes = len({label for label, *_rest in best})
    what = "likeliest class" if case.run.task == "classification" else "surest object"
    return (
        f"The {what} of these pictures is one of {classes}, with {min(scores):.2f} to "
        f"{max(scores):.2f}."
    )


def _of_classes(wanted: list[Rows], found: list[Rows]) -> str:
    same, furthest = 0, 0.0
    for ours, theirs in zip(wanted, found, strict=True):
        shares = {int(label): share for label, share in ours}
        best = max(theirs, key=lambda row: row[1])
        same += max(shares, key=lambda label: shares[label]) == best[0]
        furthest = max(furthest, *(abs(shares[int(label)] - share) for label, share in theirs))
    return f"{same} of {len(wanted)} | {furthest:.1e}"


def _of_boxes(
    wanted: list[Rows], found: list[Rows], sizes: list[tuple[int, int]], *, inside: bool
) -> str:
    objects = same = others = 0
    score = edge = 0.0
    for ours, theirs, size in zip(wanted, found, sizes, strict=True):
        for one in ours:
            if one[1] < SHOWN:
                continue
            objects += 1
            if other := _same(one, theirs):
                same += 1
                score = max(score, abs(one[1] - other[1]))
                if not inside or _is_inside(one):
                    away = np.abs(np.subtract(one[2:6], other[2:6])) * np.tile(size, 2)
                    edge = max(edge, float(away.max()))
        others += sum(one[1] >= SHOWN + SLACK and _same(one, ours) is None for one in theirs)
    return f"{same} of {objects} | {others} | {score:.1e} | {edge:.1e}"


def _same(one: list[float], among: Rows) -> list[float] | None:
    """The same object: of its class, and there, which no other of its class can be."""
    there = [other for other in among if other[0] == one[0]]
    boxes = np.array([other[2:6] for other in there]).reshape(-1, 4)
    overlaps = np_iou(np.array(one[2:6])[None], boxes)[0]
    return there[int(overlaps.argmax())] if overlaps.size and overlaps.max() >= SAME_IOU else None


def _is_inside(one: list[float]) -> bool:
    return min(one[2:6]) > 0 and max(one[2:6]) < 1


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """(height, width) of a picture."""
    with Image.open(path) as image:
        return image.height, image.width


if __name__ == "__main__":
    main()
