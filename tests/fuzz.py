"""Damage files as chance or a stranger would, and see every reader refuse them in one line.

    python fuzz.py FOLDER SEED COUNT [KIND]...

Samples are made in FOLDER if it has none. Each input is read in a process that is forked for it
and has bounds on memory and processor time, so that a crash or a bomb is one finding among others.
Prints what is found, and how many inputs of each kind were read, refused, or worse.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

# A script of its own: pytest puts this folder into the path by itself.
sys.path.insert(1, str(Path(__file__).parent / "helpers"))

import fuzz_samples

_MEMORY = 3 * 2**30  # bytes that an input may take beside what is there before it
_SECONDS = 60  # of the processor
_SHOWN = 1500  # characters of a traceback


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """Inputs of one kind.

    Attributes:
        samples: the folder of samples that each input is a copy of.
        damaged: patterns of files in it, of which one is damaged.
        read: what is done with the copy; it raises InputError or OSError, or calls the command
            line.
        heavy: needs networks, which take minutes to make.
    """

    samples: str
    damaged: tuple[str, ...]
    read: Callable[[Path], Any]
    heavy: bool = False


@dataclasses.dataclass(frozen=True)
class Finding:
    """One input that was not dealt with as it should."""

    kind: str
    seed: int
    what: str


def weights(folder: Path) -> None:
    """Every tensor of a file."""
    import numpy as np

    from kerascnn import weights as readers
    from kerascnn.errors import InputError

    (path,) = folder.iterdir()
    _kind, tensors = readers.read(path)
    for name, tensor in tensors.items():
        if len(tensor.shape) > 8:
            raise InputError(f"{path}: {name}")
        if 0 < np.prod(tensor.shape, dtype=float) < 1e6:
            np.asarray(tensor, np.float32)


def checkpoint(folder: Path) -> None:
    from kerascnn.errors import InputError
    from training.engine import checkpoint as reader

    (path,) = folder.iterdir()
    try:
        reader.read(path)
    except ValueError as error:  # the loop goes back to the one before
        raise InputError(str(error)) from error


def device_csv(folder: Path) -> None:
    from export.report import device_results

    device_results.read(folder / "phone.csv")


def pictures(folder: Path) -> None:
    """As the folder of a classifier; each is decoded."""
    from kerascnn.preprocessing import Preprocessing
    from training import datasets
    from training.datasets.pictures import read_picture

    dataset = datasets.scan(str(folder), seed=0)
    preprocessing = Preprocessing(height=8, width=8, channels=3)
    for name in dataset.train.names:
        read_picture(str(name), preprocessing)


def table(folder: Path) -> None:
    """As a table of labels, or .parquet files; each image's bytes are read."""
    from kerascnn.preprocessing import Preprocessing
    from training import datasets
    from training.datasets.pictures import read_picture

    place = folder / "labels.csv"
    dataset = datasets.scan(str(place if place.exists() else folder), seed=0)
    preprocessing = Preprocessing(height=8, width=8, channels=3)
    for split in dataset.splits:
        for at in range(len(split)):
            read_picture(split.encoded(at), preprocessing, split.names[at])


def objects(folder: Path) -> None:
    from training.datasets.detection_sets import scan_objects

    split = scan_objects(str(folder), seed=0).train
    for place in range(len(split)):
        split.picture(place)
        for mask in split.objects(place).masks or ():
            mask()


def maps(folder: Path) -> None:
    from training.datasets.segmentation_sets import scan_maps

    split = scan_maps(str(folder), seed=0).train
    for place in range(len(split)):
        split.picture(place)
        split.label_map(place)


def pack(folder: Path) -> None:
    from kerascnn.preprocessing import Preprocessing
    from training import datasets
    from training.datasets.pictures import read_picture

    dataset = datasets.scan(str(folder / "pack"), seed=0)
    preprocessing = Preprocessing(height=8, width=8, channels=3)
    for split in (dataset.train, dataset.held_out):
        for place in range(len(split)):
            _ = split.names[place], dataset.classes[split.labels[place]]
            read_picture(split.encoded(place), preprocessing)


def run(folder: Path) -> None:
    """All that commands make of a run.json before they load its network."""
    from export.report.compare import _facts
    from export.tasks import base as tasks
    from export.tasks.allowed import require_same_data
    from training.engine.request import TrainRequest
    from training.engine.run import Run

    opened = Run.open(folder / "run")
    TrainRequest.from_dict(opened.info["request"])
    task = tasks.of(opened)
    require_same_data([opened, opened])
    _facts(opened)
    _ = task.purpose, opened.labels, opened.preprocessing.input_shape
    if opened.task != "classification":
        task.description(fuzz_samples.variant(), ".tflite")
        task.outputs(fuzz_samples.variant(), ".tflite")


def sidecar(folder: Path) -> None:
    """What `compare` makes of artefacts, but for timing them."""
    from export.artefacts.artefact import Artefact
    from export.report.compare import difference, result
    from export.runtime.benchmark import Latency
    from training.engine.run import Run

    opened = Run.open(folder / "run")
    found = [Artefact.open(p) for p in (folder / "run/artefacts").glob("*.tflite")]
    for one in found:
        result(opened, one, Latency(median_ms=1.0, p95_ms=1.0))
        difference(found[0], one)
        _ = one.labels, one.preprocessing


def command(*arguments: str) -> Callable[[Path], None]:
    """A command of the command line, in the folder."""

    def call(folder: Path) -> None:
        from kerascnn import cli

        with contextlib.chdir(folder), mock.patch.object(sys, "argv", ["kerascnn", *arguments]):
            cli.main()

    return call


_PICTURE = "../picture.png"
KINDS: dict[str, Kind] = {
    **{
        name: Kind(samples=f"weights/{name}", damaged=("*",), read=weights)
        for name in ("pth_zip", "pth_legacy", "safetensors", "h5", "weights_h5", "keras")
    },
    "checkpoint": Kind(samples="checkpoint", damaged=("*.npz",), read=checkpoint),
    "device_csv": Kind(samples="device", damaged=("*.csv",), read=device_csv),
    "pictures": Kind(samples="pictures", damaged=("*/*",), read=pictures),
    "table": Kind(samples="table", damaged=("*.csv", "*.txt"), read=table),
    "json_lines": Kind(samples="json_lines", damaged=("*/*.jsonl",), read=table),
    "parquet": Kind(samples="parquet", damaged=("*.parquet",), read=table),
    "coco": Kind(samples="coco", damaged=("*.json", "*.json", "*/*.png"), read=objects),
    "voc": Kind(samples="voc", damaged=("*.xml", "*.xml", "*.png"), read=objects),
    "yolo": Kind(samples="yolo", damaged=("*.yaml", "labels/*/*.txt"), read=objects),
    "masks": Kind(samples="masks", damaged=("masks/*.png", "*.txt"), read=maps),
    "coco_maps": Kind(samples="coco", damaged=("*.json",), read=maps),
    "pack": Kind(samples="packed", damaged=("pack/*",), read=pack, heavy=True),
    "pack_of_objects": Kind(samples="packed_objects", damaged=("*",), read=objects, heavy=True),
    "pack_of_maps": Kind(samples="packed_maps", damaged=("*",), read=maps, heavy=True),
    **{
        f"{what}_{task}": Kind(samples=task, damaged=damaged, read=read, heavy=True)
        for task in fuzz_samples.TASKS
        for what, damaged, read in (
            ("run", ("run/run.json",), run),
            ("sidecar", ("run/artefacts/float32.json",), sidecar),
            (
                "predict_tflite",
                ("run/artefacts/float32.tflite",),
                command("predict", "run/artefacts/float32.tflite", _PICTURE),
            ),
            (
                "predict_described",
                ("run/artefacts/float32.json",),
                command("predict", "run/artefacts/float32.tflite", _PICTURE),
            ),
            (
                "predict_onnx",
                ("run/artefacts/float32.onnx",),
                command("predict", "run/artefacts/float32.onnx", _PICTURE),
            ),
            (
                "predict_keras",
                ("run/model.keras", "run/run.json"),
                command("predict", "run/model.keras", _PICTURE),
            ),
            (
                "info_tflite",
                ("run/artefacts/float32.tflite",),
                command("info", "run/artefacts/float32.tflite"),
            ),
            (
                "info_onnx",
                ("run/artefacts/float32.onnx",),
                command("info", "run/artefacts/float32.onnx"),
            ),
            (
                "android",
                (
                    "run/artefacts/float32.tflite",
                    "run/run.json",
                    "demo/app/src/main/assets/models/.kerascnn.json",
                ),
                command("android", "run", "-o", "demo"),
            ),
            (
                "compare",
                ("run/run.json", "run/artefacts/*"),
                command("compare", "run", "-o", "report"),
            ),
        )
    },
}


def main(place: str, seed: str, count: str, *names: str) -> None:
    """Print what is found; the exit code is 1 where anything is."""
    # Before anything of the project is loaded, as the command line has it.
    os.environ.update(PYTHONHASHSEED="0", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")
    samples, chosen = Path(place), names or tuple(KINDS)
    findings = []
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    heavy = any(KINDS[name].heavy for name in chosen)
    _make_samples(samples, heavy=heavy)
    if heavy:
        # What an input would import is there before it: each is a process of its own.
        import tensorflow  # noqa: F401

        import export.report.compare
        import export.runtime.predict  # noqa: F401
        import kerascnn.cli
    import kerascnn.weights  # noqa: F401
    import training.engine.run  # noqa: F401

    for name in chosen:
        outcome, what = one(samples, name, 0, sound=True)
        if outcome != "read":
            findings.append(Finding(name, 0, what))
            print(f"--- the sound {name}\n{what[-_SHOWN:]}", flush=True)
    for number in range(int(count)):
        name = chosen[number % len(chosen)]
        own = int(seed) * 1_000_003 + number
        outcome, what = one(samples, name, own)
        counts[name, outcome] += 1
        if outcome == "WRONG":
            findings.append(Finding(name, own, what))
            print(f"--- {name} {own}\n{what[-_SHOWN:]}", flush=True)
    for name in chosen:
        told = {outcome: n for (kind, outcome), n in sorted(counts.items()) if kind == name}
        print(name, told)
    print(f"{count} inputs, {len(findings)} wrong")
    sys.exit(bool(findings))


def _make_samples(samples: Path, *, heavy: bool) -> None:
    """In a process of their own.

    Here no network may ever run: TensorFlow starts threads for the first one, a fork has none of
    them, and a child that then waits for their answers waits for ever.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if heavy:
                fuzz_samples.make_heavy(samples)
            fuzz_samples.make_light(samples)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _pid, status = os.waitpid(child, 0)
    assert status == 0, "the samples cannot be made"


def one(samples: Path, name: str, seed: int, *, sound: bool = False) -> tuple[str, str]:
    """Damage a copy and read it: "read", "refused" or "WRONG", and what was said.

    Args:
        sound: leave the copy as it is.
    """
    kind, rng = KINDS[name], random.Random(f"{name} {seed}")
    work = samples / f"work-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(samples / kind.samples, work / "copy")
    for extra in samples.glob("picture.png"):
        shutil.copy(extra, work)
    matching = sorted(work.joinpath("copy").glob(rng.choice(kind.damaged)))
    victim = rng.choice([p for p in matching if p.is_file()])
    if not sound:
        victim.write_bytes(damage(victim.read_bytes(), rng))
        describe_again(victim, rng)
    code = _forked(kind.read, work)
    said = (work / "stderr").read_text("utf-8", errors="replace")
    lines = [line for line in said.splitlines() if line.strip()]
    half = list(work.rglob(".partial-*"))
    if code == 0 and "Traceback" not in said and not half:
        return "read", said
    one_line = len(lines) >= 1 and lines[-1].startswith("kerascnn: ") and "Traceback" not in said
    if code == 2 and one_line and not half:
        return "refused", said
    return "WRONG", f"{victim.name}: exit {code} {half or ''}\n{said}"


def describe_again(victim: Path, rng: random.Random) -> None:
    """Who makes a strange model file writes its hash beside it, too."""
    from training.common import atomic

    names = {".tflite": f"{victim.stem}.json", ".onnx": f"{victim.name}.json"}
    beside = victim.with_name(names.get(victim.suffix, "none"))
    if beside.is_file() and rng.random() < 0.9:
        told = json.loads(beside.read_text())
        beside.write_text(json.dumps(told | {"sha256": atomic.sha256(victim)}))


def _forked(read: Callable[[Path], Any], work: Path) -> int:
    """The exit code of a process that reads, or less than 0, its signal."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _in_child(read, work)
    _pid, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _in_child(read: Callable[[Path], Any], work: Path) -> None:
    code = 1
    try:
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(work / name, os.O_WRONLY | os.O_CREAT, 0o600), stream)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from kerascnn import cli

        # What is no command ends as one does.
        reading = mock.patch.object(cli, "commands", side_effect=lambda **_: read(work / "copy"))
        own = getattr(read, "__qualname__", "").startswith("command.")
        try:
            with contextlib.nullcontext() if own else reading:
                read(work / "copy") if own else cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def damage(data: bytes, rng: random.Random) -> bytes:
    """The file, changed by chance: its bytes, its JSON, or an entry of its archive."""
    if zipfile_like(data) and rng.random() < 0.7:
        return in_archive(data, rng)
    if data[:1] in b"{[" and rng.random() < 0.85:
        with contextlib.suppress(ValueError):
            return in_json(json.loads(data), rng)
    return in_bytes(data, rng)


def in_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, blocks cut, doubled or emptied, and the file cut short."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed) + 1)
        # Most of what decides how a file is read is at its ends.
        if rng.random() < 0.6:
            at = min(at, rng.randrange(4096)) if rng.random() < 0.7 else max(at, len(changed) - 64)
        length = rng.choice((1, 1, 2, 4, 8, 64, 1000))
        changed[at : at + length] = rng.choice((
            rng.randbytes(length), bytes(length), b"\xff" * length, b"",
            (2**31 - 1).to_bytes(4, "little"), (2 ** rng.randrange(64)).to_bytes(8, "little"),
            bytes(changed[at : at + length]) * 2,
        ))  # fmt: skip
    return bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.1 else changed)


def in_archive(data: bytes, rng: random.Random) -> bytes:
    """One entry changed, with the check sums made right."""
    import io

    source, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    entries = source.infolist()
    victim = rng.choice(entries).filename
    victim = next((e.filename for e in entries if rng.random() < 0.3), victim)
    with zipfile.ZipFile(out, "w") as archive:
        for entry in entries:
            content = source.read(entry)
            if entry.filename == victim:
                content = damage(content, rng)
            archive.writestr(entry.filename, content)
    return out.getvalue()


def _strange(rng: random.Random, value: Any) -> Any:
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    return rng.choice((
        None, True, False, 0, 1, -1, 0.5, 1e308, float("inf"), float("nan"), 2**31, 2**63, 10**400,
        "", "x", "../../x", "\ud800", "a\nb", "x" * 5000, [], [[]], {}, {"a": 1}, deep,
        [value, value], [value] * 1000, {"a": value}, str(value)[:100], -1.5, [None], "nan", "\0",
    ))  # fmt: skip


def in_json(value: Any, rng: random.Random) -> bytes:
    """A field that is missing, or something else."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        parent, key = None, None
        place = value
        while isinstance(place, (dict, list)) and place and (parent is None or rng.random() < 0.8):
            parent = place
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            place = parent[key]
        if parent is None:
            break
        if rng.random() < 0.25:
            del parent[key]
        else:
            parent[key] = _strange(rng, place)
    with _no_limit_of_digits():
        text = json.dumps(value)
    if rng.random() < 0.03:
        text = text.replace("{", "[" * 10**5, 1)
    return text.encode()


@contextlib.contextmanager
def _no_limit_of_digits():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def zipfile_like(data: bytes) -> bool:
    """Whether the whole file is an archive."""
    import io

    return data[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
