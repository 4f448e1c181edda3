"""Packs of boxes, object masks and label maps: the same images and truth as their source's."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import small_sets
import tensorflow as tf
import tiny_detectors
from commands import here
from PIL import Image

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training import datasets
from training.datasets import pack as packing
from training.datasets.detection import DetectionDataset, Objects
from training.datasets.detection_sets import measured, scan_objects
from training.datasets.placed_pack import objects_of, written
from training.datasets.segmentation import VOID, SegmentationDataset
from training.datasets.segmentation_sets import scan_maps
from training.detection.batches import DetectionTrainingData
from training.engine.config import TrainConfig
from training.engine.request import request
from training.engine.run import Run
from training.engine.train import train
from training.tools.packing import kind_of, packed

Scan = Callable[..., Any]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 images of two sizes, one lying on its side: boxes, a crowd, polygons, one without any."""
    root = tmp_path_factory.mktemp("coco")
    (root / "images").mkdir()
    images, annotations = [], []
    for number in range(1, 11):
        size = (40, 60) if number % 2 else (50, 30)
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 3 else 1
        name = f"{number}.{'jpg' if number % 3 else 'png'}"
        Image.fromarray(pixels).save(root / "images" / name, exif=exif)
        height, width = size
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for place in range(0 if number == 5 else 1 + number % 3):
            left, top = 2.5 + 3 * place, 1.0 + number
            corners = [left, top, left + 12, top, left + 12, top + 9.5, left, top + 7]
            annotations.append({
                "id": 100 * number + place,
                "image_id": number,
                "category_id": 7 if place % 2 else 3,
                "bbox": [left, top, 12, 9.5],
                "area": 90.25,
                "iscrowd": 0,
                "segmentation": [corners],
            })  # fmt: skip
    annotations[-1]["iscrowd"] = 1
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    told = {"images": images, "annotations": annotations, "categories": categories}
    # The third is lying as it is stored.
    images[2]["height"], images[2]["width"] = images[2]["width"], images[2]["height"]
    (root / "all.json").write_text(json.dumps(told))
    return root / "all.json"


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 images with a palette PNG each."""
    root = tmp_path_factory.mktemp("masks")
    colours = [0, 0, 0, 200, 0, 0, 0, 200, 0]
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number in range(10):
        draw = np.random.default_rng(number)
        Image.fromarray(draw.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(
            root / "images" / f"{number}.png"
        )
        values = draw.integers(0, 3, (24, 30)).astype(np.uint8)
        values[:2] = VOID
        mask = Image.fromarray(values, "P")
        mask.putpalette(colours + [0] * (768 - len(colours)))
        mask.save(root / "masks" / f"{number}.png")
    return root


def made(source: Path | str, folder: Path, task: str | None = None, **options: Any) -> Path:
    given = {"split_seed": 3, "seed": 1, "shard_bytes": 6000, **options}
    kind = kind_of(str(source), task)
    packed(str(source), folder, kind, report=lambda _line: None, **given)
    return folder


def assert_same(one: Any, other: Any, same_truth: Callable[[Any, Any], None]) -> None:
    assert one.classes == other.classes
    assert len(one.splits) == len(other.splits)
    for mine, its in zip(one.splits, other.splits, strict=True):
        assert [Path(name).name for name in mine.names] == [Path(n).name for n in its.names]
        np.testing.assert_array_equal(mine.sizes, its.sizes)
        for index in range(len(mine)):
            np.testing.assert_array_equal(mine.picture(index), its.picture(index))
            same_truth(mine.truth(index), its.truth(index))


def assert_same_objects(one: Objects, other: Objects) -> None:
    for field in ("boxes", "labels", "crowd", "areas", "ids"):
        mine, its = getattr(one, field), getattr(other, field)
        np.testing.assert_array_equal(mine, its)
        assert mine.dtype == its.dtype, field
    assert (one.masks is None) == (other.masks is None)
    for mine, its in zip(one.masks or (), other.masks or (), strict=True):
        np.testing.assert_array_equal(mine(), its())


def test_objects_masks_and_splits_are_those_of_the_source(coco: Path, tmp_path: Path) -> None:
    pack = made(coco, tmp_path / "pack")
    one, other = scan_objects(str(coco), seed=3), scan_objects(str(pack), seed=9)
    assert_same(one, other, assert_same_objects)
    assert one.category_ids == other.category_ids == (3, 7)
    for mine, its in zip(one.splits, other.splits, strict=True):
        np.testing.assert_array_equal(mine.counts(), its.counts())
        chosen = [len(mine) - 1, 0]
        np.testing.assert_array_equal(mine.take(chosen).counts(), its.take(chosen).counts())
    assert len(list(pack.glob("train-*.tfrecord"))) > 2
    # What is painted of the objects' masks is the same, and so is what is only measured.
    assert_same(scan_maps(str(coco), seed=3), scan_maps(str(pack), seed=0), assert_arrays)
    assert len(measured(str(pack)).held_out) == len(one.held_out)
    assert not len(measured(str(pack)).train)
    assert len(scan_objects(str(pack), seed=0, val_data=str(pack)).train) == len(one.train)


def assert_arrays(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_array_equal(one, other)


def test_label_maps_and_colours_are_those_of_the_source(masks: Path, tmp_path: Path) -> None:
    pack = made(masks, tmp_path / "pack")
    one, other = scan_maps(str(masks), seed=3), scan_maps(str(pack), seed=9)
    assert_same(one, other, assert_arrays)
    assert one.palette == other.palette
    assert (other.train.label_map(0)[:2] == VOID).all()


def test_scenes_can_be_packed_for_either_task(tmp_path: Path) -> None:
    spec = "scenes:64@6+2"
    boxes = made(spec, tmp_path / "boxes")
    assert_same(scan_objects(spec, seed=0), scan_objects(str(boxes), seed=0), assert_same_objects)
    maps = made(spec, tmp_path / "maps", "segmentation")
    assert_same(scan_maps(spec, seed=0), scan_maps(str(maps), seed=0), assert_arrays)
    # A pack is data as any other: it can be packed again.
    again = made(boxes, tmp_path / "again")
    one, other = scan_objects(str(boxes), seed=0), scan_objects(str(again), seed=0)
    assert_same(one, other, assert_same_objects)


def test_training_sees_the_same_batches(coco: Path, tmp_path: Path) -> None:
    pack = made(coco, tmp_path / "pack")
    preprocessing = Preprocessing(height=32, width=32, channels=3, resize="stretch")
    config = TrainConfig(epochs=1, batch_size=4, seed=5, augmentation="flip")

    def batches(source: Path) -> list[dict[str, np.ndarray]]:
        found: DetectionDataset = scan_objects(str(source), seed=3)
        data = DetectionTrainingData(
            split=found.train, preprocessing=preprocessing, classes=2, config=config
        )
        return [data.batch(1, step) for step in range(2)]

    one, other = batches(coco), batches(pack)
    assert len(one) == len(other) > 1
    for mine, its in zip(one, other, strict=True):
        assert mine.keys() == its.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], its[name], err_msg=name)


@pytest.mark.slow
def test_two_steps_give_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_detectors.in_place_of_the_zoo(monkeypatch)
    source = small_sets.coco(tmp_path / "data", 12)
    pack = made(source, tmp_path / "pack", split_seed=0)

    def network_of(run: Run) -> keras.Model:
        return keras.models.load_model(run.model_path, compile=False)

    def weights(data: Path) -> list[np.ndarray]:
        asked = request(
            "ssdlite_mobilenet_v2",
            data=str(data),
            epochs=1,
            batch_size=4,
            image_size=(32, 48),
            validation_fraction=0.2,
        )
        return network_of(train(asked, tmp_path / f"run-{data.stem}")).get_weights()

    for one, other in zip(weights(source), weights(pack), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_that_broke_off_is_gone_on_with(coco: Path, tmp_path: Path, monkeypatch) -> None:
    whole = made(coco, tmp_path / "whole")
    written_text = packing.atomic.write_text
    finished: list[str] = []

    def broken_off(path: Path, text: str) -> None:
        written_text(path, text)
        if path.name.startswith("train-"):
            finished.append(path.name)
            if len(finished) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(packing.atomic, "write_text", broken_off)
    with pytest.raises(KeyboardInterrupt):
        made(coco, tmp_path / "part")
    monkeypatch.undo()
    with pytest.raises(InputError, match="unfinished"):
        scan_objects(str(tmp_path / "part"), seed=0)
    part = made(coco, tmp_path / "part")
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in part.iterdir())
    assert all((whole / name).read_bytes() == (part / name).read_bytes() for name in names)


def test_other_programs_find_boxes_and_maps_by_tensorflows_names(
    coco: Path, masks: Path, tmp_path: Path
) -> None:
    pack = made(coco, tmp_path / "boxes")
    sides = [f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")]
    features: dict[str, Any] = {side: tf.io.VarLenFeature(tf.float32) for side in sides}
    features |= {
        "image/object/class/label": tf.io.VarLenFeature(tf.int64),
        "image/object/class/text": tf.io.VarLenFeature(tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
    }
    source = scan_objects(str(coco), seed=3)
    for record in tf.data.TFRecordDataset(sorted(map(str, pack.glob("test-*.tfrecord")))):
        found = tf.io.parse_single_example(record, features)
        name = found["image/filename"].numpy().decode()
        index = [Path(one).name for one in source.held_out.names].index(name)
        objects = source.held_out.objects(index)
        boxes = np.stack([tf.sparse.to_dense(found[side]).numpy() for side in sides], axis=1)
        np.testing.assert_array_equal(boxes, objects.boxes)
        labels = tf.sparse.to_dense(found["image/object/class/label"]).numpy()
        np.testing.assert_array_equal(labels, objects.labels)
    pack = made(masks, tmp_path / "maps")
    key = "image/segmentation/class/encoded"
    record = next(iter(tf.data.TFRecordDataset(sorted(map(str, pack.glob("test-*"))))))
    found = tf.io.parse_single_example(record, {key: tf.io.FixedLenFeature([], tf.string)})
    values = tf.io.decode_png(found[key]).numpy()[..., 0]
    maps: SegmentationDataset = scan_maps(str(masks), seed=3)
    of_test = [maps.held_out.label_map(index) for index in range(len(maps.held_out))]
    assert any(np.array_equal(values, one) for one in of_test)


def test_broken_images_are_skipped_and_counted(coco: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(coco.parent, root)
    names = [Path(name).name for name in scan_objects(str(root / "all.json"), seed=3).train.names]
    (root / "images" / names[0]).write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(root / "images" / names[1])  # of another size than annotated
    told: list[str] = []
    kind = kind_of(str(root / "all.json"), None)
    options: dict[str, Any] = {"seed": 0, "split_seed": 3, "report": told.append}
    got = packed(str(root / "all.json"), tmp_path / "pack", kind, **options)
    assert (got.counts["train"], len(got.skipped)) == (len(names) - 2, len(told)) == (6, 2)
    with pytest.raises(InputError, match="image"):
        packed(str(root / "all.json"), tmp_path / "strict", kind, strict=True, **options)


def test_packs_of_other_tasks_and_odd_wishes_are_refused(
    coco: Path, masks: Path, tmp_path: Path
) -> None:
    boxes, maps = made(coco, tmp_path / "boxes"), made(masks, tmp_path / "maps")
    with pytest.raises(InputError, match="is a pack for detection, not for classification"):
        datasets.scan(str(boxes), seed=0)
    with pytest.raises(InputError, match="is a pack for segmentation"):
        scan_objects(str(maps), seed=0)
    with pytest.raises(InputError, match="--max-side"):
        made(coco, tmp_path / "small", max_side=20)
    with pytest.raises(InputError, match=r"--task must be .* segmentation"):
        kind_of(str(coco), "detect")
    with pytest.raises(InputError, match="not a data set of label maps"):
        kind_of("tests", "segmentation")
    assert [kind_of(str(one), None) for one in (boxes, maps)] == ["detection", "segmentation"]


@pytest.mark.parametrize("masked", [False, True])
def test_damaged_objects_are_refused(masked: bool) -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    objects = Objects(
        boxes=np.array([[0, 0, 0.5, 0.5], [0.25, 0, 1, 1]], np.float32),
        labels=np.array([0, 1], np.int32),
        crowd=np.array([False, True]),
        areas=np.array([6, 7.5], np.float32),
        ids=np.array([5, 1 << 40]),
        masks=(lambda: mask, lambda: ~mask) if masked else None,
    )
    data = written(objects)
    assert_same_objects(objects_of(data, (4, 6), 2), objects)
    nothing = dataclasses.replace(
        objects,
        **{name: getattr(objects, name)[:0] for name in ("boxes", "labels", "crowd", "areas")},
        ids=objects.ids[:0],
        masks=() if masked else None,
    )
    assert_same_objects(objects_of(written(nothing), (4, 6), 2), nothing)
    for wrong in (data[:-1], data + b"\0", data[:7], b"\xff" * len(data), b""):
        with pytest.raises(ValueError, match=r"."):
            objects_of(wrong, (4, 6), 2)
    with pytest.raises(ValueError, match="cannot be"):
        objects_of(data, (4, 6), 1)  # a class that there is not
    if masked:
        with pytest.raises(ValueError, match="another size"):
            objects_of(data, (4, 7), 2)
    draw = np.random.default_rng(0)
    for _ in range(300):
        wrong = bytearray(data)
        wrong[draw.integers(len(data))] = draw.integers(256)
        try:
            for one in objects_of(bytes(wrong), (4, 6), 2).masks or ():
                assert one().shape == (4, 6)
        except ValueError:
            pass


def test_the_command_packs_objects_and_checks_the_pack(coco: Path, tmp_path: Path) -> None:
    done = here("pack", coco, "-o", tmp_path / "pack", "--split-seed", 3)
    assert done.returncode == 0
    assert "8 train, 2 test images" in done.stdout
    again = here("check", tmp_path / "pack", "--json", "--split-seed", 3)
    assert json.loads(again.stdout)["task"] == "detection"
