"""The operations of two-stage detectors, and a whole one, under jax: the same as under tensorflow.

In a process of its own, compiled, which shows as well that all shapes are known beforehand.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from backends import Backends
from keras import ops
from marks import IN_CI

import kerascnn
from kerascnn import zoo
from kerascnn.detection import two_stage
from kerascnn.detection.nms import nms_of_groups
from kerascnn.detection.roi_align import roi_align

SCRIPT = """
import sys
import jax, keras, numpy as np
from kerascnn import zoo
from kerascnn.detection import two_stage
from kerascnn.detection.nms import nms_of_groups
from kerascnn.detection.roi_align import roi_align
assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules
given = dict(np.load(sys.argv[1]))
wanted = dict(np.load(sys.argv[2]))
spec = zoo.detector_spec("faster_rcnn_resnet50_fpn", (64, 64), proposals=30)
def weighed(maps, boxes):
    found = roi_align(maps, boxes, picture_size=(128, 128), size=(2, 3))
    return (found * given["weights"]).sum(), found
maps = [given["map0"], given["map1"]]
(_, aligned), gradients = jax.jit(jax.value_and_grad(weighed, has_aux=True))(maps, given["boxes"])
def second(codes, logits, *answers):
    regions, valid = two_stage.propose(spec, codes, logits)
    return regions, valid, two_stage.detect(spec, regions, valid, *answers)
inputs = [given[key] for key in ("codes", "logits", "class_logits", "box_codes")]
regions, valid, detections = jax.jit(second)(*inputs)
indices, kept = nms_of_groups(
    given["boxes"], given["scores"], [3, 3], iou_threshold=0.1, max_detections=5
)
got = {
    "aligned": aligned, "gradient0": gradients[0], "gradient1": gradients[1], "regions": regions,
    "valid": valid, "indices": indices, "kept": kept, **detections,
}
assert set(got) == set(wanted)
for key, value in wanted.items():
    np.testing.assert_allclose(np.asarray(got[key]), value, atol=2e-5, err_msg=key)
"""
NETWORK = """
import sys
import jax, keras, numpy as np, kerascnn
from kerascnn.detection import faster_rcnn, two_stage
assert keras.backend.backend() == "jax"
model = keras.models.load_model(sys.argv[1], compile=False, safe_mode=True)
pictures = np.load(sys.argv[2])
wanted = dict(np.load(sys.argv[3]))
seen = two_stage.parts(model).front(pictures)
for key in ("rpn_codes", "rpn_logits"):
    np.testing.assert_allclose(np.asarray(seen[key]), wanted[key], atol=1e-4)
found = model.predict_on_batch(pictures)
assert (np.asarray(found["count"]) == wanted["count"]).all()
np.testing.assert_allclose(np.asarray(found["boxes"]), wanted["boxes"], atol=1e-3)
np.testing.assert_allclose(np.asarray(found["masks"]), wanted["masks"], atol=1e-3)
parts = two_stage.parts(model)
weights = [v.value for v in model.trainable_variables]
fixed = [v.value for v in model.non_trainable_variables]
def loss(weights):
    scope = [*zip(model.trainable_variables, weights), *zip(model.non_trainable_variables, fixed)]
    with keras.StatelessScope(state_mapping=scope):
        found = model(pictures, training=False)
        seen = parts.front(pictures, training=False)
        regions, _ = two_stage.propose(
            model.get_layer("proposals").spec, seen["rpn_codes"], seen["rpn_logits"]
        )
        answers = parts.box_head([*seen["maps"], regions])
        masks = parts.mask_head([*seen["maps"], regions[:, :3]])
    terms = (seen["rpn_codes"], seen["rpn_logits"], *answers.values(), masks)
    return sum((x**2).mean() for x in terms)
gradients = jax.jit(jax.grad(loss))(weights)
assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
"""


@IN_CI
def test_operations_are_the_same(on_backend: Backends, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spec = zoo.detector_spec("faster_rcnn_resnet50_fpn", (64, 64), proposals=30)
    boxes = np.sort(rng.uniform(-0.1, 1.1, (2, 6, 2, 2)), axis=2).reshape(2, 6, 4)
    boxes[0, 0] = [0, 0, 1, 1]  # of the second level
    given = {
        "map0": rng.normal(0, 1, (2, 32, 32, 2)),
        "map1": rng.normal(0, 1, (2, 16, 16, 2)),
        "boxes": boxes,
        "weights": rng.normal(0, 1, (2, 6, 2, 3, 2)),
        "scores": rng.normal(0, 1, (2, 6)),
        "codes": rng.normal(0, 0.5, (2, spec.anchors.count, 4)),
        "logits": rng.normal(0, 1, (2, spec.anchors.count)),
        "class_logits": rng.normal(0, 1, (2, 30, 4)),
        "box_codes": rng.normal(0, 1, (2, 30, 4, 4)),
    }
    given = {key: value.astype(np.float32) for key, value in given.items()}
    maps = [tf.constant(given["map0"]), tf.constant(given["map1"])]
    with tf.GradientTape() as tape:
        tape.watch(maps)
        aligned = roi_align(maps, given["boxes"], picture_size=(128, 128), size=(2, 3))
        weighed = tf.reduce_sum(aligned * given["weights"])
    gradients = tape.gradient(weighed, maps)
    regions, valid = two_stage.propose(spec, given["codes"], given["logits"])
    indices, kept = nms_of_groups(
        given["boxes"], given["scores"], [3, 3], iou_threshold=0.1, max_detections=5
    )
    wanted = {
        "aligned": aligned,
        "gradient0": gradients[0],
        "gradient1": gradients[1],
        "regions": regions,
        "valid": valid,
        "indices": indices,
        "kept": kept,
        **two_stage.detect(spec, regions, valid, given["class_logits"], given["box_codes"]),
    }
    wanted = {key: ops.convert_to_numpy(tf.convert_to_tensor(x)) for key, x in wanted.items()}
    assert wanted["count"].min() > 3
    assert not wanted["kept"].all()
    np.savez(tmp_path / "given.npz", **given)
    np.savez(tmp_path / "wanted.npz", **wanted)
    on_backend("jax", SCRIPT, tmp_path / "given.npz", tmp_path / "wanted.npz")


@pytest.mark.slow
def test_a_network_says_the_same_and_has_gradients(on_backend: Backends, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = kerascnn.build(
        "mask_rcnn_efficientnet_lite0_fpn", input_shape=(64, 96, 3), classes=3, frozen_norm=False,
        fpn_filters=8, head_units=16, proposals=12, max_detections=4, anchor_scale=0.5,
    )  # fmt: skip
    for name in ("rpn_logits", "class_logits", "mask_logits"):
        layer = model.get_layer(name)
        kernel, bias = layer.get_weights()
        layer.set_weights([30 * kernel, bias])
    pictures = np.random.default_rng(0).normal(0, 3, (2, 64, 96, 3)).astype(np.float32)
    seen = two_stage.parts(model).front(pictures)
    wanted = {key: ops.convert_to_numpy(seen[key]) for key in ("rpn_codes", "rpn_logits")}
    wanted |= model.predict_on_batch(pictures)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "pictures.npy", pictures)
    np.savez(tmp_path / "wanted.npz", **wanted)
    files = (tmp_path / name for name in ("model.keras", "pictures.npy", "wanted.npz"))
    on_backend("jax", NETWORK, *files)
