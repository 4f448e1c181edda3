"""Weights of two-stage detectors: torchvision's own, and those of a backbone alone.

tests/kerascnn/data/make_rcnn_goldens.py made the reference's outputs; the weights are a function of
the tensors' names, so that neither they nor torch is needed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
from checkpoints import golden_values, goldens, write_safetensors
from marks import marks_of
from networks import with_random_norms

import kerascnn
from kerascnn import zoo
from kerascnn.detection import two_stage
from kerascnn.errors import InputError
from kerascnn.weights import Source, find
from kerascnn.weights.fill import fill
from kerascnn.weights.layout import Layout

OURS = {
    "fasterrcnn_resnet50_fpn": "faster_rcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn": "mask_rcnn_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn": "faster_rcnn_mobilenet_v3_large_fpn",
}
FAST = {"fasterrcnn_mobilenet_v3_large_fpn"}
# As make_rcnn_goldens.py has them.
OPTIONS = {
    "rpn_pre_nms_top_n_test": "candidates_a_level",
    "rpn_post_nms_top_n_test": "proposals",
    "box_detections_per_img": "max_detections",
}
PIXELS = (0, 27, 95, 200, 318, 406, 433, 581, 650, 756)
NEW, OLD = "rpn.head.conv.0.0.weight", "rpn.head.conv.weight"
CLASS_HEADS = {"class_logits", "box_codes", "mask_logits"}
MASKED = goldens("rcnn_goldens.json.gz")["maskrcnn_resnet50_fpn"]


def reference(path: Path, golden: dict) -> Path:
    gains = golden.get("gains", {"": golden.get("gain")})
    tensors = {
        name: golden_values(name, shape, gains.get(name.rpartition(".")[0], gains[""]))
        for name, shape in golden["tensors"]
    }
    return write_safetensors(path, tensors)


def picked(count: int) -> list[int]:
    """As make_rcnn_goldens.py has it."""
    return sorted({*np.linspace(0, count - 1, 16).astype(int).tolist(), *range(count - 8, count)})


@pytest.mark.parametrize(
    "theirs", [pytest.param(n, marks=marks_of(n, ci=FAST, slow={*OURS} - {*FAST})) for n in OURS]
)
def test_detections_of_the_reference(theirs: str, tmp_path: Path) -> None:
    golden = goldens("rcnn_goldens.json.gz")[theirs]
    path = reference(tmp_path / "reference.safetensors", golden)
    shape = (*golden["size"], 3)
    options = {OPTIONS[theirs]: value for theirs, value in golden["options"].items()}
    model = kerascnn.build(OURS[theirs], weights=path, input_shape=shape, **options)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == golden["parameters"]
    assert zoo.entry(OURS[theirs]).parameters == golden["parameters"]
    epsilons = {x.epsilon for x in model.layers if isinstance(x, keras.layers.BatchNormalization)}
    assert epsilons == {golden["epsilon"]}
    pictures = np.random.default_rng(0).normal(0, 1, (2, *shape)).astype(np.float32)
    names = ("rpn_codes_rows", "rpn_logits_flat", "proposals")
    inner = {name: model.get_layer(name).output for name in names}
    whole = keras.Model(model.inputs, {**inner, **model.output})
    said = keras.tree.map_structure(np.asarray, whole.predict_on_batch(pictures))
    for i, right in enumerate(golden["pictures"]):
        one = keras.tree.map_structure(lambda x, i=i: x[i], said)
        check_first_stage(one, right, shape)
        check_detections(one, right, shape)


def check_first_stage(said: dict, right: dict, shape: tuple[int, int, int]) -> None:
    logits, codes = said["rpn_logits_flat"], said["rpn_codes_rows"]
    rows = np.concatenate([logits[:, None], theirs(codes)], axis=1)
    np.testing.assert_allclose(rows[picked(len(rows))], right["rpn"], atol=1e-4)
    boxes, valid = said["proposals"]
    count, best = right["proposals"]
    assert valid.sum() == count
    np.testing.assert_allclose(
        boxes[: len(best)], in_shares(best, shape), atol=1e-4, err_msg="proposals"
    )


def check_detections(said: dict, right: dict, shape: tuple[int, int, int]) -> None:
    """In the reference's order, but for scores that float32 does not tell apart."""
    wanted = np.array(right["detections"])
    count = len(wanted)
    assert said["count"] == count
    assert len({label for label, *_ in wanted}) > 1
    np.testing.assert_allclose(said["scores"][:count], wanted[:, 1], atol=1e-4)
    boxes = in_shares(wanted[:, 2:], shape)
    left = set(range(count))
    for k in range(count):
        alike = said["labels"][:count] + 1 == wanted[k, 0]
        alike &= np.abs(said["scores"][:count] - wanted[k, 1]) < 1e-4
        alike &= np.abs(said["boxes"][:count] - boxes[k]).max(axis=1) < 1e-4
        (place, *_) = [j for j in np.flatnonzero(alike) if j in left] or [None]
        assert place is not None, f"detection {k} of the reference is nowhere: {wanted[k]}"
        left.remove(place)
        if "masks" in right:
            mask = said["masks"][place].reshape(-1)[list(PIXELS)]
            np.testing.assert_allclose(mask, right["masks"][k], atol=1e-4)


def theirs(codes: np.ndarray) -> np.ndarray:
    """dx, dy, dw, dh of dy, dx, dh, dw; and the other way round."""
    return codes[..., [1, 0, 3, 2]]


def in_shares(boxes, shape: tuple[int, int, int]) -> np.ndarray:
    height, width, _ = shape
    return theirs(np.asarray(boxes) / [width, height, width, height])


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> tuple[keras.Model, dict]:
    """A Mask R-CNN on an ImageNet classifier, and what torchvision's classifier had."""
    golden = goldens("torch_goldens.json.gz")["resnet50"]
    path = reference(tmp_path_factory.mktemp("resnet50") / "resnet50.safetensors", golden)
    model = kerascnn.build("mask_rcnn_resnet50_fpn", input_shape=(64, 64, 3), weights=path)
    return model, {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def test_a_references_classifier_fills_the_backbone(begun) -> None:
    model, filled = begun
    golden = goldens("torch_goldens.json.gz")["resnet50"]
    shapes = dict(golden["tensors"])

    def tensor(name: str) -> np.ndarray:
        return golden_values(name, shapes[name], golden["gain"])

    for ours, conv, norm in (
        ("stem", "conv1", "bn1"),
        ("stage1_block1_shortcut", "layer1.0.downsample.0", "layer1.0.downsample.1"),
        ("stage4_block3_conv3", "layer4.2.conv3", "layer4.2.bn3"),
    ):
        (kernel,) = filled[ours]
        np.testing.assert_array_equal(kernel, tensor(f"{conv}.weight").transpose(2, 3, 1, 0))
        by_name = dict(zip(role_names(model, f"{ours}_norm"), filled[f"{ours}_norm"], strict=True))
        np.testing.assert_array_equal(by_name["gamma"], tensor(f"{norm}.weight"))
        np.testing.assert_array_equal(by_name["moving_variance"], tensor(f"{norm}.running_var"))
    norms = [x for x in model.layers if x.name.endswith("_norm")]
    assert len(norms) == 53  # of ResNet-50
    assert not any(x.trainable_weights for x in norms)
    assert {x.epsilon for x in norms} == {1e-5}


def role_names(model: keras.Model, layer: str) -> list[str]:
    return [weight.name for weight in model.get_layer(layer).weights]


def named(golden: dict, names: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the golden Mask R-CNN's tensors, whose names are old ones, under either."""
    shapes = {name: tuple(shape) for name, shape in golden["tensors"]}
    if names == OLD:
        return shapes
    renamed = {}
    for name, shape in shapes.items():
        new = re.sub(r"mask_fcn(\d)", lambda m: f"{int(m[1]) - 1}.0", name)
        new = re.sub(r"((inner|layer)_blocks\.\d)\.", r"\1.0.", new)
        renamed[new.replace("head.conv.", "head.conv.0.0.")] = shape
    return renamed


def source(names: str, **changed: np.ndarray) -> Source:
    """A Mask R-CNN's file, each tensor of numbers of its own."""
    tensors = {
        name: np.broadcast_to(np.float32(0.5 + i / 1000), shape)
        for i, (name, shape) in enumerate(named(MASKED, names).items())
    }
    return Source(path=Path("x.pth"), layout=layout_of(names), tensors=tensors | changed)


def layout_of(names: str) -> Layout:
    from kerascnn.weights import torchvision

    (layout,) = (
        x
        for x in torchvision.LAYOUTS
        if x.signature == names and "mask_rcnn_resnet50_fpn" in x.models
    )
    return layout


@pytest.mark.parametrize("names", [OLD, NEW])
def test_every_tensor_has_a_layer_and_every_layer_tensors(begun, names: str) -> None:
    """In files of COCO_V1's time and of today."""
    model, _ = begun
    given = source(names)
    for layer in model.layers:
        layer.set_weights([np.full(w.shape, np.nan, np.float32) for w in layer.weights])
    fill(model, given)
    for layer in model.layers:
        assert all(np.isfinite(w).all() for w in layer.get_weights()), layer.name
    # Tensors are of as many numbers as places: each has gone to one weight.
    firsts = sorted(float(w.flat[0]) for x in model.layers for w in x.get_weights())
    assert firsts == sorted(float(t.flat[0]) for t in given.tensors.values())


def test_tensors_are_turned_as_layers_want_them(begun) -> None:
    model, _ = begun
    rng = np.random.default_rng(1)
    changed = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in named(MASKED, NEW).items()
        if name.startswith(("rpn.head.bbox", "roi_heads.box", "roi_heads.mask_predictor"))
    }
    fill(model, source(NEW, **changed))
    box = "roi_heads.box_predictor.bbox_pred"

    kernel, bias = model.get_layer("rpn_codes").get_weights()  # (1, 1, 256, 3 anchors * 4)
    wanted = changed["rpn.head.bbox_pred.weight"][4 + 1]  # dy of the second anchor
    np.testing.assert_array_equal(kernel[0, 0, :, 4 + 0], wanted[:, 0, 0])
    assert bias[8 + 3] == changed["rpn.head.bbox_pred.bias"][8 + 2]  # dw of the third
    kernel, bias = model.get_layer("box_codes").get_weights()  # (1024, 91 * 4)
    np.testing.assert_array_equal(kernel[:, 4 * 7 + 2], changed[f"{box}.weight"][4 * 7 + 3])  # dh
    assert bias[4 * 90 + 1] == changed[f"{box}.bias"][4 * 90]  # dx of the last class
    kernel, _ = model.get_layer("box_head1").get_weights()
    theirs = changed["roi_heads.box_head.fc6.weight"].reshape(1024, 256, 7, 7)
    np.testing.assert_array_equal(kernel.reshape(7, 7, 256, 1024)[2, 5, 9], theirs[:, 9, 2, 5])
    kernel, _ = model.get_layer("mask_deconv").get_weights()  # (2, 2, out, in)
    theirs = changed["roi_heads.mask_predictor.conv5_mask.weight"]  # (in, out, 2, 2)
    np.testing.assert_array_equal(kernel[1, 0], theirs[:, :, 1, 0].T)


def test_other_classes_leave_what_tells_them_apart_random(begun) -> None:
    model, _ = begun
    fewer = {
        name: np.zeros((shape[0] // 91 * 21, *shape[1:]), np.float32)
        for name, shape in named(MASKED, NEW).items()
        if "box_predictor" in name or "mask_fcn_logits" in name
    }
    with pytest.raises(InputError, match=r"bbox_pred\.weight .* box_codes .*give `classes`"):
        fill(model, source(NEW, **fewer))
    for layer in model.layers:
        layer.set_weights([np.full(w.shape, -1, np.float32) for w in layer.weights])
    fill(model, source(NEW, **fewer), keep_misfitting_head=True)
    untouched = {x.name for x in model.layers if any((w == -1).all() for w in x.get_weights())}
    assert untouched == CLASS_HEADS


def test_a_box_head_is_not_left_random(begun) -> None:
    model, _ = begun
    given = source(NEW)
    tensors = {n: t for n, t in given.tensors.items() if "fc7" not in n}
    with pytest.raises(InputError, match=r"no tensor roi_heads\.box_head\.fc7\.weight, which"):
        fill(model, Source(path=given.path, layout=given.layout, tensors=tensors),
             keep_misfitting_head=True)  # fmt: skip
    with pytest.raises(InputError, match=r"no layer wants its tensor roi_heads\.keypoint_head"):
        fill(model, source(NEW, **{"roi_heads.keypoint_head.0.weight": np.zeros(3, np.float32)}))


@pytest.mark.parametrize(
    ("name", "signature", "epsilon"),
    [
        ("faster_rcnn_resnet50_fpn", OLD, 0.0),
        ("mask_rcnn_resnet50_fpn", OLD, 0.0),
        ("mask_rcnn_resnet50_fpn", NEW, 1e-5),
        ("faster_rcnn_mobilenet_v3_large_fpn", OLD, 1e-5),
        ("mask_rcnn_mobilenet_v3_large_fpn", NEW, 1e-5),
    ],
)
def test_names_tell_the_epsilon(name: str, signature: str, epsilon: float, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", {signature: np.zeros(1, np.float32)})
    assert find(name, path).layout.options["norm_epsilon"] == epsilon
    preprocessing = zoo.preprocessing(name, 64, 64, weights=path)
    assert preprocessing.mean == (123.675, 116.28, 103.53)


def test_dead_channels_of_norms_without_epsilon_stay_numbers() -> None:
    """Their running variance halts at four times the smallest float, which backends take for 0."""
    dead = np.float32(4 * 2.0**-149)
    tensors = {
        "conv.weight": np.ones((2, 1, 1, 1), np.float32),
        "norm.weight": np.array([1e-20, 2.0], np.float32),
        "norm.bias": np.array([0.5, -1.0], np.float32),
        "norm.running_mean": np.array([0.25, 0.0], np.float32),
        "norm.running_var": np.array([dead, 4.0], np.float32),
    }
    model = keras.Sequential([
        keras.Input((1, 1, 1)),
        keras.layers.Conv2D(2, 1, use_bias=False, name="stem"),
        keras.layers.BatchNormalization(epsilon=0.0, name="stem_norm"),
    ])  # fmt: skip
    layout = Layout(origin="x", models=("x",), kind="torch", signature="x", modules=_conv_and_norm)
    fill(model, Source(path=Path("x.pth"), layout=layout, tensors=tensors))
    got = model.predict_on_batch(np.full((1, 1, 1, 1), 0.75, np.float32)).ravel()
    gain = np.float64(np.float32(1e-20)) / np.sqrt(4 * 2.0**-149)  # 133.6
    np.testing.assert_allclose(got, [gain * (0.75 - 0.25) + 0.5, 2 * 0.75 / 2 - 1], rtol=1e-5)


def _conv_and_norm(_place) -> tuple[str, str]:
    return "conv", "norm"


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenet_v3_large", "tf_efficientnet_lite0"])
def test_a_references_classifier_gives_its_features(backbone: str, tmp_path: Path) -> None:
    path = reference(tmp_path / "x.safetensors", goldens("torch_goldens.json.gz")[backbone])
    ours = backbone.removeprefix("tf_")
    shape = (64, 96, 3)
    classifier = kerascnn.build(ours, input_shape=shape, weights=path, stem_strides=2)
    model = kerascnn.build(f"faster_rcnn_{ours}_fpn", input_shape=shape, weights=path)
    pictures = np.random.default_rng(0).normal(0, 1, (2, *shape)).astype(np.float32)
    last = {"mobilenet_v3_large": "last_act", "efficientnet_lite0": "stage7"}[ours]
    got, right = (
        kerascnn.features(x, [last]).predict_on_batch(pictures)[0] for x in (model, classifier)
    )
    np.testing.assert_allclose(got, right, atol=1e-5)


@pytest.mark.slow
def test_a_run_of_ours_is_loaded_but_for_other_classes(tmp_path: Path) -> None:
    name, small = "mask_rcnn_efficientnet_lite0_fpn", {"fpn_filters": 16, "head_units": 32}
    options = {"input_shape": (64, 64, 3), **small}
    trained = with_random_norms(kerascnn.build(name, classes=3, **options))
    trained.save(tmp_path / "model.keras")
    again = kerascnn.build(name, classes=3, weights=tmp_path / "model.keras", **options)
    assert differing(again, trained) == set()
    assert two_stage.parts(again).mask_head is not None
    other = kerascnn.build(name, classes=5, weights=tmp_path / "model.keras", **options)
    assert differing(other, trained) == CLASS_HEADS
    with pytest.raises(InputError, match=r"layer box_codes wants .*give `classes`"):
        kerascnn.build(name, weights=tmp_path / "model.keras", **options)


def differing(model: keras.Model, other: keras.Model) -> set[str]:
    """Layers of `model` whose weights are not those of `other`."""
    theirs: Mapping[str, list] = {layer.name: layer.get_weights() for layer in other.layers}
    return {
        layer.name
        for layer in model.layers
        if not all(map(np.array_equal, layer.get_weights(), theirs[layer.name]))
    }
