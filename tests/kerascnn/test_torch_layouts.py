"""Weights in torchvision's and timm's layouts give their logits; tests/kerascnn/data made them.

The weights are a function of the tensors' names, so that neither they nor torch is needed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from checkpoints import golden_values, goldens, write_safetensors
from marks import marks_of
from networks import outputs_of, zeros_at_first

import kerascnn
from kerascnn.errors import InputError

OURS = {
    "vgg16_bn": "vgg16",
    "legacy_seresnet50": "se_resnet50",
    "legacy_seresnext50_32x4d": "se_resnext50_32x4d",
    "legacy_senet154": "senet154",
    "seresnet50": "se_resnet50",
    "seresnext50_32x4d": "se_resnext50_32x4d",
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    **{
        f"mobilenetv4_{kind}": f"mobilenet_v4_{kind}"
        for kind in ("conv_small", "conv_medium", "conv_large", "hybrid_medium", "hybrid_large")
    },
    "timm_efficientnet_b0": "efficientnet_b0",
    **{f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}" for n in range(5)},
}
# One of each layout, the smallest.
FAST = {
    "resnet18", "mobilenet_v3_small", "tf_efficientnet_lite0", "mobilenetv4_conv_small",
}  # fmt: skip
CI_ALONE = {
    "googlenet", "mobilenet_v2", "efficientnet_b0", "mobilenetv3_small_100",
    "legacy_seresnet50", "mobilenetv4_hybrid_medium", "mobileone_s1", "repvit_m0_9",
}  # fmt: skip
# These weights have the names and shapes of tf_efficientnet_lite0.
ASKED = {"efficientnet_lite0": {"padding": "symmetric", "norm_epsilon": 1e-5}}


@pytest.fixture(autouse=True)
def _all_values_come_from_files() -> Iterator[None]:
    """What a file does not fill is zero, and no time is spent on drawing it."""
    with zeros_at_first():
        yield


def names() -> list:
    slow = goldens().keys() - FAST - CI_ALONE
    return [pytest.param(name, marks=marks_of(name, ci=CI_ALONE, slow=slow)) for name in goldens()]


@pytest.mark.parametrize("theirs", names())
def test_logits_of_the_reference(theirs: str, tmp_path: Path) -> None:
    golden = goldens()[theirs]
    tensors = {n: golden_values(n, shape, golden["gain"]) for n, shape in golden["tensors"]}
    path = write_safetensors(tmp_path / "reference.safetensors", tensors)
    name = OURS.get(theirs, theirs)
    for size, logits in golden["logits"].items():
        shape = (int(size), int(size), 3)
        model = kerascnn.build(name, weights=path, input_shape=shape, **ASKED.get(theirs, {}))
        pictures = np.random.default_rng(0).normal(0, 1, (2, *shape)).astype(np.float32)
        got = outputs_of(model, pictures)
        scale = np.abs(got).max()
        np.testing.assert_allclose(got[:, :16] / scale, np.array(logits) / scale, atol=1e-4)


def test_files_of_branches_are_not_read_into_the_fused_form(tmp_path: Path) -> None:
    golden = goldens()["mobileone_s0"]
    tensors = {n: golden_values(n, shape, golden["gain"]) for n, shape in golden["tensors"]}
    path = write_safetensors(tmp_path / "reference.safetensors", tensors)
    with pytest.raises(InputError, match="holds branches: build mobileone_s0 without fused=True"):
        kerascnn.build("mobileone_s0", weights=path, fused=True)
