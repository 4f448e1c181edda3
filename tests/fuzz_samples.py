"""Small sound files of every kind that is read: what `fuzz` damages."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TASKS = ("classifier", "detector", "segmenter")
_SIDE = 24


def make_light(folder: Path) -> None:
    """What needs no network; nothing where it is there."""
    if (folder / "light").exists():
        return
    for make in (_weights, _checkpoint, _device, _pictures, _tables, _coco, _voc, _yolo, _masks):
        make(folder)
    _picture(folder / "picture.png", 0)
    (folder / "light").touch()


def make_heavy(folder: Path) -> None:
    """Runs with files, and a pack; nothing where they are there."""
    if (folder / "heavy").exists():
        return
    for make in (_classifier, _detector, _segmenter, _packed):
        make(folder)
    (folder / "heavy").touch()


def variant() -> Any:
    """A variant of files."""
    from export.artefacts.variants import parse_variant

    return parse_variant("float32")


def _picture(path: Path, number: int, form: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (_SIDE, _SIDE, 3), np.uint8)
    Image.fromarray(pixels).convert(form).save(path)
    return path


def _tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "stem.weight": (4, 3, 3, 3),
        "stem.bias": (4,),
        "fc.weight": (10, 4),
        "fc.bias": (10,),
    }
    return {name: rng.normal(0, 1, shape).astype("<f4") for name, shape in shapes.items()}


def _weights(folder: Path) -> None:
    import h5py
    from checkpoints import write_safetensors

    place = folder / "weights"
    for name in ("pth_zip", "pth_legacy", "safetensors", "h5", "weights_h5", "keras"):
        (place / name).mkdir(parents=True, exist_ok=True)
    tensors = _tensors()
    _torch_zip(place / "pth_zip/x.pth", tensors)
    _torch_legacy(place / "pth_legacy/x.pth", tensors)
    write_safetensors(place / "safetensors/x.safetensors", tensors)
    with h5py.File(place / "h5/x.h5", "w") as file:
        names = ["conv", "logits"]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            group[f"{name}/kernel:0"] = np.ones((3, 4), "f4")
            group.create_dataset(
                f"{name}/bias:0", data=np.ones(4, "f4"), chunks=(2,), compression=9
            )
    with h5py.File(place / "weights_h5/x.weights.h5", "w") as file:
        for name in ("conv2d", "dense"):
            group = file.create_group(f"layers/{name}/vars")
            group.attrs["name"] = name
            group["0"], group["1"] = np.ones((3, 4), "f4"), np.ones(4, "f4")
    with zipfile.ZipFile(place / "keras/x.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(place / "weights_h5/x.weights.h5", "model.weights.h5")


class _Global:
    def __init__(self, text: str) -> None:
        self.text = text


def _torch_pickle(tensors: dict[str, np.ndarray]) -> bytes:
    """A state dict as torch writes it, instruction by instruction."""

    def plain(value: Any) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    def row(*items: bytes) -> bytes:
        return b"(" + b"".join(items) + b"t"

    out = b"\x80\x02ccollections\nOrderedDict\n)R("
    for number, (name, array) in enumerate(tensors.items()):
        storage = row(
            plain("storage"), b"ctorch\nFloatStorage\n", plain(str(number)), plain("cpu"),
            plain(array.size),
        )  # fmt: skip
        strides = tuple(s // 4 for s in array.strides)
        arguments = row(
            storage + b"Q", plain(0), plain(array.shape), plain(strides), b"\x89",
            b"ccollections\nOrderedDict\n)R",
        )  # fmt: skip
        out += plain(name).split(b"q\x00")[0]
        out += b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
    return out + b"u."


def _torch_zip(path: Path, tensors: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", _torch_pickle(tensors))
        archive.writestr("x/byteorder", "little")
        for number, array in enumerate(tensors.values()):
            archive.writestr(f"x/data/{number}", array.tobytes())


def _torch_legacy(path: Path, tensors: dict[str, np.ndarray]) -> None:
    from kerascnn.weights.torch_checkpoint import LEGACY_MAGIC

    out = io.BytesIO()
    for value in (LEGACY_MAGIC, 1001, {"little_endian": True}):
        pickle.dump(value, out, 2)
    out.write(_torch_pickle(tensors))
    pickle.dump([str(number) for number in range(len(tensors))], out, 2)
    for array in tensors.values():
        out.write(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(out.getvalue())


def _checkpoint(folder: Path) -> None:
    from training.engine import checkpoint

    (folder / "checkpoint").mkdir(exist_ok=True)
    state = {"history": [{"epoch": 1.0, "loss": 0.5}], "seconds": 1.5, "step": 3, "metrics": [0.5]}
    variables = [*_tensors().values(), np.int64(3)]
    checkpoint.save(folder / "checkpoint/epoch-00001.npz", variables, state)


def _device(folder: Path) -> None:
    from export.report.device_results import COLUMNS

    row = dict.fromkeys(COLUMNS, "") | {
        "run": "a", "model": "lenet5", "variant": "int8", "bytes": "1000", "metric": "accuracy",
        "value": "98.5", "latency_ms": "1.5", "latency_p95_ms": "2.5", "sha256": "a" * 64,
        "device": "Phone 1", "android": "14", "accelerator": "CPU", "threads": "1",
        "pictures": "100", "file": "a.tflite",
    }  # fmt: skip
    (folder / "device").mkdir(exist_ok=True)
    lines = [",".join(COLUMNS), *[",".join(row[name] for name in COLUMNS)] * 3]
    (folder / "device/phone.csv").write_text("\n".join(lines) + "\n")


def _pictures(folder: Path) -> None:
    for number in range(12):
        end = ("png", "jpg", "bmp")[number % 3]
        _picture(folder / f"pictures/{'ab'[number % 2]}/{number}.{end}", number)


def _tables(folder: Path) -> None:
    """labels.csv with a file of names; metadata.jsonl in each split; and a .parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, encoded = ["file,label,split"], []
    for number in range(12):
        path = _picture(folder / f"table/images/{number}.png", number)
        part = "train" if number < 8 else "test"
        rows.append(f"{number}.png,{number % 2},{part}")
        image = {"bytes": path.read_bytes(), "path": path.name}
        encoded.append({"image": image, "label": number % 2})
        _picture(folder / f"json_lines/{part}/{number}.png", number)
        with (folder / f"json_lines/{part}/metadata.jsonl").open("a") as file:
            file.write(json.dumps({"file_name": path.name, "label": "ab"[number % 2]}) + "\n")
    (folder / "table/labels.csv").write_text("\n".join(rows))
    (folder / "table/classes.txt").write_text("cat\ndog\n")
    (folder / "parquet").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(encoded), folder / "parquet/all.parquet", row_group_size=5)


def _coco(folder: Path) -> None:
    images, annotations = [], []
    for number in range(1, 7):
        _picture(folder / f"coco/images/{number}.png", number)
        images.append({
            "id": number, "file_name": f"{number}.png", "height": _SIDE, "width": _SIDE,
        })  # fmt: skip
        outline = [2, 2, 12, 2, 12, 12, 2, 12]
        runs = {"size": [_SIDE, _SIDE], "counts": [30, 10, _SIDE * _SIDE - 40]}
        annotations.append({
            "id": number, "image_id": number, "category_id": 1 + number % 2, "area": 100,
            "iscrowd": int(number == 6), "bbox": [2, 2, 10, 10],
            "segmentation": runs if number == 6 else [outline],
        })  # fmt: skip
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (folder / "coco/annotations.json").write_text(json.dumps(content))


def _voc(folder: Path) -> None:
    for number in range(6):
        _picture(folder / f"voc/{number}.png", number)
        name = ("cat", "dog")[number % 2]
        (folder / f"voc/{number}.xml").write_text(
            f"<annotation><filename>{number}.png</filename><size><width>{_SIDE}</width>"
            f"<height>{_SIDE}</height><depth>3</depth></size><object><name>{name}</name>"
            "<difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax>"
            "<ymax>13</ymax></bndbox></object></annotation>"
        )


def _yolo(folder: Path) -> None:
    for number in range(6):
        part = "train" if number < 4 else "val"
        _picture(folder / f"yolo/images/{part}/{number}.png", number)
        label = folder / f"yolo/labels/{part}/{number}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"{number % 2} 0.5 0.5 0.2 0.25\n")
    (folder / "yolo/data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"
    )


def _masks(folder: Path) -> None:
    for number in range(6):
        _picture(folder / f"masks/images/{number}.png", number)
        mask = np.random.default_rng(number).integers(0, 2, (_SIDE, _SIDE), np.uint8)
        place = folder / f"masks/masks/{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(place)
    (folder / "masks/classes.txt").write_text("background\ncat\n")


def _packed(folder: Path) -> None:
    from training import datasets
    from training.datasets.pack import pack
    from training.tools.packing import packed

    source = folder / "to_pack"
    for number in range(12):
        _picture(source / f"{'ab'[number % 2]}/{number}.png", number)
    dataset = datasets.scan(str(source), seed=0, to_pack=True)
    shutil.rmtree(folder / "packed", ignore_errors=True)
    pack(dataset, folder / "packed/pack", seed=0, split_seed=0, report=print)
    for kind, name in (("detection", "packed_objects"), ("segmentation", "packed_maps")):
        shutil.rmtree(folder / name, ignore_errors=True)
        packed("scenes:64@4+2", folder / name, kind, seed=0, split_seed=0, report=print)


def _classifier(folder: Path) -> None:
    from training.classification.train import ClassifierTraining
    from training.engine.request import request

    asked = request("lenet5", data="mnist", epochs=1)
    training = ClassifierTraining(asked)
    counts = {"train": 3600, "validation": 400, "held_out": 1000, "skipped": []}
    results = {"metric": "accuracy", "held_out": 10.0}
    _run(folder / "classifier", asked, training, "classification", counts, results)


def _detector(folder: Path) -> None:
    from training.detection.train import opened as open_detector
    from training.engine.request import request

    asked = request(
        *("ssdlite_mobilenet_v3_small",), data="scenes:96@12+6", image_size=(96, 96),
        model_options={"alpha": 0.35}, epochs=1,
    )  # fmt: skip
    training = open_detector(asked)
    results = {"metric": "AP", "held_out": 0.0, "ap50": 0.0}
    _run(folder / "detector", asked, training, "detection", training.counts(), results)


def _segmenter(folder: Path) -> None:
    from training.engine.request import request
    from training.segmentation.train import SegmenterTraining

    asked = request(
        *("unet",), data="scenes:64@12+6", image_size=(64, 64),
        model_options={"width": 4, "depth": 2, "norm": True}, epochs=1,
    )  # fmt: skip
    training = SegmenterTraining(asked)
    results = {"metric": "mIoU", "held_out": 1.5}
    _run(folder / "segmenter", asked, training, "segmentation", training.counts(), results)


def _run(folder: Path, asked: Any, training: Any, task: str, counts: dict, results: dict) -> None:
    from networks import with_random_norms

    from export.compress.compress import compress
    from training.engine.run import Run, write_info

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "run").mkdir(parents=True)
    with_random_norms(training.model).save(folder / "run/model.keras")
    write_info(folder / "run", {
        "request": asked.to_dict(), "task": task, "created": "2026-01-01T00:00:00+00:00",
        "versions": {"keras": "3"}, "machine": {"processor": "a processor"},
        "preprocessing": training.preprocessing.to_dict(), "labels": list(training.classes),
        "dataset": {"name": asked.data, "fingerprint": training.fingerprint, **counts},
        "parameters": 1, "macs": 1, "complete": True, **training.facts(),
        "results": {**results, "best_epoch": 1, "seconds": 1.0},
    })  # fmt: skip
    compress(Run.open(folder / "run"), ["float32"])
    for sign in ("settings.gradle.kts", "app/src/main/AndroidManifest.xml"):
        (folder / "demo" / sign).parent.mkdir(parents=True, exist_ok=True)
        (folder / "demo" / sign).touch()
    models = folder / "demo/app/src/main/assets/models"
    models.mkdir(parents=True)
    (models / ".kerascnn.json").write_text('{"models": {"a.tflite": "0"}}')
