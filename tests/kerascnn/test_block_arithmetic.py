"""One block of each PyTorch layout against plain NumPy, stride 2 and its padding included.

test_torch_layouts.py holds whole networks against the references; this says where one goes wrong.
The arithmetic is written from the papers and the checkpoints' names, and shares nothing with ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import golden_values, goldens, write_safetensors
from networks import outputs_of
from numpy.lib.stride_tricks import sliding_window_view

import kerascnn


class Reference:
    """Operations on (batch, height, width, channels) by a state dict's names."""

    def __init__(self, tensors: dict[str, np.ndarray], epsilon: float, same: bool) -> None:
        self.tensors, self.epsilon, self.same = tensors, epsilon, same

    def conv(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        kernel = self.tensors[f"{name}.weight"].astype(np.float64)
        out, inner, size, _ = kernel.shape
        groups = x.shape[-1] // inner
        border = [self.border(side, size, stride) for side in x.shape[1:3]]
        x = np.pad(x, [(0, 0), *border, (0, 0)])
        windows = sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
        n, height, width = windows.shape[:3]
        windows = windows.reshape(n, height, width, groups, inner, size, size)
        kernel = kernel.reshape(groups, out // groups, inner, size, size)
        y = np.einsum("nhwgikl,goikl->nhwgo", windows, kernel, optimize=True)
        return y.reshape(n, height, width, out) + self.tensors.get(f"{name}.bias", 0.0)

    def border(self, side: int, size: int, stride: int) -> tuple[int, int]:
        if not self.same:
            return size // 2, size // 2
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        return total // 2, total - total // 2

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        mean, variance, scale, shift = (
            self.tensors[f"{name}.{field}"].astype(np.float64)
            for field in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + self.epsilon) * scale + shift

    def squeeze(self, x: np.ndarray, name: str, act, gate) -> np.ndarray:
        pooled = x.mean(axis=(1, 2), keepdims=True)
        return x * gate(self.conv(act(self.conv(pooled, f"{name}fc1")), f"{name}fc2"))


def relu(x):
    return np.maximum(x, 0)


def relu6(x):
    return np.clip(x, 0, 6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def hard_sigmoid(x):
    return np.clip(x + 3, 0, 6) / 6


def basic(r: Reference, x):
    y = relu(r.norm(r.conv(x, "layer2.0.conv1", 2), "layer2.0.bn1"))
    y = r.norm(r.conv(y, "layer2.0.conv2"), "layer2.0.bn2")
    return relu(y + r.norm(r.conv(x, "layer2.0.downsample.0", 2), "layer2.0.downsample.1"))


def bottleneck(r: Reference, x, strides=(1, 2), squeeze=None):
    p = "layer2.0."
    y = relu(r.norm(r.conv(x, f"{p}conv1", strides[0]), f"{p}bn1"))
    y = relu(r.norm(r.conv(y, f"{p}conv2", strides[1]), f"{p}bn2"))
    y = r.norm(r.conv(y, f"{p}conv3"), f"{p}bn3")
    if squeeze:
        y = r.squeeze(y, p + squeeze, relu, sigmoid)
    return relu(y + r.norm(r.conv(x, f"{p}downsample.0", 2), f"{p}downsample.1"))


def legacy_bottleneck(r: Reference, x):
    return bottleneck(r, x, (2, 1), "se_module.")


def se_bottleneck(r: Reference, x):
    return bottleneck(r, x, (1, 2), "se.")


def legacy_grouped(r: Reference, x):
    return bottleneck(r, x, (1, 2), "se_module.")


def inverted_v2(r: Reference, x):
    p = "features.2.conv."
    y = relu6(r.norm(r.conv(x, f"{p}0.0"), f"{p}0.1"))
    y = relu6(r.norm(r.conv(y, f"{p}1.0", 2), f"{p}1.1"))
    return r.norm(r.conv(y, f"{p}2"), f"{p}3")


def mbconv(r: Reference, x, p: str, act, squeeze_act=relu, gate=None):
    y = act(r.norm(r.conv(x, f"{p}0.0"), f"{p}0.1"))
    y = act(r.norm(r.conv(y, f"{p}1.0", 2), f"{p}1.1"))
    if gate:
        y = r.squeeze(y, f"{p}2.", squeeze_act, gate)
    last = 3 if gate else 2
    return r.norm(r.conv(y, f"{p}{last}.0"), f"{p}{last}.1")


def v3(r: Reference, x):
    return mbconv(r, x, "features.4.block.", lambda y: y * hard_sigmoid(y), relu, hard_sigmoid)


def efficientnet(r: Reference, x):
    return mbconv(r, x, "features.2.0.block.", silu, silu, sigmoid)


def fused(r: Reference, x):
    p = "features.2.0.block."
    y = silu(r.norm(r.conv(x, f"{p}0.0", 2), f"{p}0.1"))
    return r.norm(r.conv(y, f"{p}1.0"), f"{p}1.1")


def lite(r: Reference, x):
    p = "blocks.1.0."
    y = relu6(r.norm(r.conv(x, f"{p}conv_pw"), f"{p}bn1"))
    y = relu6(r.norm(r.conv(y, f"{p}conv_dw", 2), f"{p}bn2"))
    return r.norm(r.conv(y, f"{p}conv_pwl"), f"{p}bn3")


def inception(r: Reference, x):
    def unit(y, name):
        return relu(r.norm(r.conv(y, f"inception3b.{name}.conv"), f"inception3b.{name}.bn"))

    around = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    pooled = sliding_window_view(around, (3, 3), axis=(1, 2)).max(axis=(-2, -1))
    return np.concatenate(
        [
            unit(x, "branch1"),
            unit(unit(x, "branch2.0"), "branch2.1"),
            unit(unit(x, "branch3.0"), "branch3.1"),
            unit(pooled, "branch4.1"),
        ],
        axis=-1,
    )


def vgg(r: Reference, x):
    return relu(r.conv(x, "features.2"))


def alexnet(r: Reference, x):
    pooled = sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(-2, -1))
    return relu(r.conv(pooled, "features.3"))


SLOW = pytest.mark.slow
# Theirs, ours, the block's input and the block, its arithmetic, epsilon, TensorFlow's padding.
FIRST = ("stage1", "stage2_block1")
CASES = [
    ("resnet18", "resnet18", *FIRST, basic, 1e-5, False, ()),
    ("resnet50", "resnet50", *FIRST, bottleneck, 1e-5, False, SLOW),
    ("resnext50_32x4d", "resnext50_32x4d", *FIRST, bottleneck, 1e-5, False, SLOW),
    ("legacy_seresnet50", "se_resnet50", *FIRST, legacy_bottleneck, 1e-5, False, SLOW),
    ("seresnet50", "se_resnet50", *FIRST, se_bottleneck, 1e-5, False, SLOW),
    ("legacy_senet154", "senet154", *FIRST, legacy_grouped, 1e-5, False, SLOW),
    ("mobilenet_v2", "mobilenet_v2", *FIRST, inverted_v2, 1e-5, False, ()),
    ("mobilenet_v3_small", "mobilenet_v3_small", "stage2", "stage3_block1", v3, 1e-3, False, ()),
    ("efficientnet_b0", "efficientnet_b0", *FIRST, efficientnet, 1e-5, False, SLOW),
    ("efficientnet_v2_s", "efficientnet_v2_s", *FIRST, fused, 1e-3, False, SLOW),
    ("tf_efficientnet_lite0", "efficientnet_lite0", *FIRST, lite, 1e-3, True, ()),
    ("googlenet", "googlenet", "stage3_block1", "stage3_block2", inception, 1e-3, False, ()),
    ("vgg16", "vgg16", "stage1_block1", "stage1_block2", vgg, 0, False, SLOW),
    ("alexnet", "alexnet", "stem", "stage1_block1", alexnet, 0, False, SLOW),
]


@pytest.mark.parametrize(
    ("theirs", "ours", "before", "block", "arithmetic", "epsilon", "same"),
    [pytest.param(*case[:-1], marks=case[-1], id=case[0]) for case in CASES],
)
def test_a_block_is_its_arithmetic(
    theirs, ours, before, block, arithmetic, epsilon, same, tmp_path: Path
) -> None:
    golden = goldens()[theirs]
    tensors = {
        name: golden_values(name, shape, golden["gain"]) for name, shape in golden["tensors"]
    }
    path = write_safetensors(tmp_path / "reference.safetensors", tensors)
    # 70 is halved to 35 and to 18: an even side and an odd one. Dense layers are not looked at.
    model = kerascnn.build(ours, weights=path, input_shape=(70, 70, 3), classes=1000)
    extractor = kerascnn.features(model, [before, block])
    pictures = np.random.default_rng(0).normal(0, 1, (2, 70, 70, 3)).astype(np.float32)
    given, got = (np.asarray(t, np.float64) for t in outputs_of(extractor, pictures))
    wanted = arithmetic(Reference(tensors, epsilon, same), given)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()
