"""RTMDet: mmdetection's own outputs, boxes out of distances, and what has no anchors."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from checkpoints import differing, golden_values, goldens, write_safetensors
from marks import IN_CI
from networks import outputs_of, with_random_norms

import kerascnn
from export.runtime import suppression
from kerascnn import zoo
from kerascnn.detection import boxes as box_ops
from kerascnn.detection import postprocess, spec_from_dict
from kerascnn.detection.anchors import SMALLEST_CELLS
from kerascnn.errors import InputError

GOLDENS = "rtmdet_goldens.json.gz"
DETECTORS = ["rtmdet_tiny", pytest.param("rtmdet_s", marks=pytest.mark.slow)]
SHAPE = (64, 96, 3)


def reference(path: Path, golden: dict) -> Path:
    """A file as mmdetection writes it: the heads' shared convolutions are there for each level."""

    def value(name: str, shape: list[int]) -> np.ndarray:
        own = re.sub(r"(bbox_head\.\w+_convs)\.\d(\.\d\.conv\.)", r"\1.0\2", name)
        return golden_values(own, shape, golden["gain"])

    return write_safetensors(path, {name: value(name, size) for name, size in golden["tensors"]})


def picked(count: int) -> list[int]:
    """As make_rtmdet_goldens.py has it."""
    return sorted({*np.linspace(0, count - 1, 16).astype(int).tolist(), *range(count - 8, count)})


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (2, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    "name",
    [pytest.param("rtmdet_tiny", marks=IN_CI), *DETECTORS[1:]],  # its backbone: below
)
def test_outputs_are_mmdetections(name: str, tmp_path: Path) -> None:
    golden = goldens(GOLDENS)[name]
    assert zoo.entry(name).parameters == golden["parameters"]
    path = reference(tmp_path / "reference.safetensors", golden)
    for size, wanted in golden["outputs"].items():
        height, width = map(int, size.split("x"))
        model = kerascnn.build(name, weights=path, input_shape=(height, width, 3))
        boxes, logits = outputs_of(model, pictures((height, width, 3)))
        # Theirs are left, top, right and bottom.
        for got, right in ((boxes[..., [1, 0, 3, 2]], wanted["boxes"]), (logits, wanted["logits"])):
            kept, scale = got[:, picked(got.shape[1]), :4], np.abs(got).max()
            np.testing.assert_allclose(kept / scale, np.array(right) / scale, atol=1e-4)


@pytest.mark.parametrize("kind", ["tiny", pytest.param("s", marks=pytest.mark.slow)])
def test_logits_of_the_backbone_are_mmdetections(kind: str, tmp_path: Path) -> None:
    golden = goldens(GOLDENS)[f"cspnext-{kind}"]
    assert zoo.entry(f"cspnext_{kind}").parameters == golden["parameters"]
    path = reference(tmp_path / "reference.safetensors", golden)
    for size, wanted in golden["logits"].items():
        shape = (int(size), int(size), 3)
        model = kerascnn.build(f"cspnext_{kind}", weights=path, input_shape=shape)
        logits = outputs_of(model, pictures(shape))
        scale = np.abs(logits).max()
        np.testing.assert_allclose(logits[:, :16] / scale, np.array(wanted) / scale, atol=1e-4)


def test_a_classifiers_file_fills_the_backbone(tmp_path: Path) -> None:
    path = reference(tmp_path / "x.safetensors", goldens(GOLDENS)["cspnext-tiny"])
    classifier = kerascnn.build("cspnext_tiny", input_shape=SHAPE, weights=path)
    model = kerascnn.build("rtmdet_tiny", input_shape=SHAPE, classes=3, weights=path)
    shared = {x.name for x in classifier.layers} & {x.name for x in model.layers if x.weights}
    assert shared == {x.name for x in model.layers if x.weights and x.name.startswith("st")}
    assert not differing(model, classifier) & shared
    # The classifiers saw red, green and blue, the detectors blue, green and red.
    whole = reference(tmp_path / "y.safetensors", goldens(GOLDENS)["rtmdet_tiny"])
    orders = [zoo.preprocessing("rtmdet_tiny", 64, 64, weights=one).order for one in (path, whole)]
    assert orders == ["rgb", "bgr"]


@IN_CI
def test_a_run_is_loaded_but_for_other_classes(tmp_path: Path) -> None:
    trained = with_random_norms(kerascnn.build("rtmdet_tiny", input_shape=SHAPE, classes=3))
    trained.save(tmp_path / "model.keras")
    other = kerascnn.build(
        "rtmdet_tiny", input_shape=SHAPE, classes=5, weights=tmp_path / "model.keras"
    )
    assert differing(other, trained) == {f"class_map{n}_predict" for n in (1, 2, 3)}
    with pytest.raises(InputError, match=r"class_map1_predict.*give `classes`"):
        kerascnn.build("rtmdet_tiny", input_shape=SHAPE, weights=tmp_path / "model.keras")


@pytest.mark.usefixtures("sized_alone")
def test_levels_share_the_heads_convolutions_and_nothing_else() -> None:
    model = kerascnn.build("rtmdet_tiny", input_shape=SHAPE, classes=3)
    calls = {
        x.name: len(x._inbound_nodes) for x in model.layers if x.name.startswith(("box", "cl"))
    }
    shared = {f"{head}_conv{n}" for head in ("box", "class") for n in (1, 2)}
    assert {name for name, count in calls.items() if count == 3} == shared
    assert {count for name, count in calls.items() if name not in shared} == {1}
    relu = kerascnn.build("rtmdet_mobilenet_v4_conv_small", input_shape=SHAPE, classes=3)
    kinds = {x.activation.__name__ for x in relu.layers if isinstance(x, keras.layers.Activation)}
    assert kinds == {"relu"}


def test_points_are_the_corners_of_cells() -> None:
    spec = zoo.detector_spec("rtmdet_tiny", (64, 96, 3))
    boxes = spec.anchors.boxes()
    assert spec.anchors.count == len(boxes) == 8 * 12 + 4 * 6 + 2 * 3
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 * (64, 96)
    np.testing.assert_allclose(centres[:3], [(0, 0), (0, 8), (0, 16)], atol=1e-5)
    np.testing.assert_allclose(centres[[96, 97, -1]], [(0, 0), (0, 16), (32, 64)], atol=1e-5)
    sides = (boxes[:, 2:] - boxes[:, :2]) * (64, 96)
    np.testing.assert_allclose(sides[[0, 96, -1]], [(8, 8), (16, 16), (32, 32)], rtol=1e-5)


def test_distances_are_boxes_worked_by_hand() -> None:
    # About the point at a quarter of the height and half the width, in cells of an eighth.
    anchors = np.array([(0.1875, 0.4375, 0.3125, 0.5625)] * 3, np.float32)
    distances = np.array([(1, 2, 3, 0.5), (-1, 1, 2, 1), (-1, 0, 0.5, 0)], np.float32)
    found = np.asarray(box_ops.decode(box_ops.deltas_of(distances), anchors, (1, 1, 1, 1)))
    np.testing.assert_allclose(found[0], (0.125, 0.25, 0.625, 0.5625), rtol=1e-5)
    np.testing.assert_allclose(found[1], (0.375, 0.375, 0.5, 0.625), rtol=1e-5)
    # Turned inside out: as small as sides get, about the middle of the two.
    sides = found[2, 2:] - found[2, :2]
    np.testing.assert_allclose(sides, 2 * [SMALLEST_CELLS / 8], rtol=1e-3)
    np.testing.assert_allclose((found[2, 0] + found[2, 2]) / 2, 0.25 + 0.75 / 8, rtol=1e-5)
    np.testing.assert_allclose(suppression.deltas_of(distances), box_ops.deltas_of(distances))


def test_detections_of_distances_and_of_a_files_deltas_are_one() -> None:
    spec = zoo.detector_spec("rtmdet_tiny", (64, 96, 3), max_detections=20)
    rng = np.random.default_rng(0)
    distances = rng.normal(1, 1, (2, spec.anchors.count, 4)).astype(np.float32)
    logits = rng.normal(-1, 2, (2, spec.anchors.count, 3)).astype(np.float32)
    found = postprocess.detect(spec, distances, logits)
    deltas = np.asarray(box_ops.deltas_of(distances))
    assert spec.in_files.coding == "deltas"
    again = postprocess.detect(spec.in_files, deltas, logits)
    for key in ("boxes", "labels", "scores", "count"):
        np.testing.assert_array_equal(found[key], again[key])
    scores = np.asarray(postprocess.scores(spec, logits))
    for index, one in enumerate(suppression.select(spec, distances, scores)):
        count = int(found["count"][index])
        assert count == len(one) == 20
        np.testing.assert_allclose(one.boxes, found["boxes"][index], atol=1e-6)
        np.testing.assert_array_equal(one.labels, found["labels"][index])


def test_a_spec_says_what_it_codes_and_older_ones_are_read() -> None:
    spec = zoo.detector_spec("rtmdet_tiny", (64, 96, 3))
    assert spec.to_dict()["coding"] == "distances"
    assert spec_from_dict(spec.to_dict()) == spec
    older = zoo.detector_spec("efficientdet_lite0", (64, 96, 3)).to_dict()
    assert "coding" not in older
    assert spec_from_dict(older).coding == "deltas"


@pytest.mark.parametrize("field", ["positive_iou", "negative_iou", "box_scales", "loss", "coding"])
def test_what_is_of_anchors_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=f"has no anchors.*leave --detector {field} out"):
        zoo.detector_spec("rtmdet_tiny", (64, 96, 3), **{field: 0.5})


def test_losses_and_codings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="one point a cell, not of anchors"):
        zoo.detector_spec("efficientdet_lite0", (64, 64, 3), loss="quality_focal")
    with pytest.raises(InputError, match="there is a background"):
        zoo.detector_spec("ssdlite_mobilenet_v2", (64, 64, 3), loss="quality_focal")
    with pytest.raises(InputError, match="boxes of distances have loss 'quality_focal'"):
        zoo.detector_spec("efficientdet_lite0", (64, 64, 3), coding="distances")
