"""torchvision's weights: the `Weights` of torchvision/models/*.py (0.21 and later).

File names end in the first eight digits of their SHA-256. Its MobileNets are not `imagenet`, since
keras.applications has theirs in all widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerascnn.preprocessing import IMAGENET
from kerascnn.weights.published.row import HALF, Evaluation, Published, crop, digest_of_name

_MIB = 1 << 20


def _torchvision(
    model: str,
    file: str,
    version: str = "IMAGENET1K_V1",
    *,
    name: str = "imagenet",
    mib: float,
    accuracy: tuple[float, float] | None = None,
    ap: float | None = None,
    options: Mapping[str, Any] | None = None,
    normalisation: Mapping[str, Any] = IMAGENET,
    evaluation: Evaluation,
) -> Published:
    top1, top5 = accuracy or (None, None)
    return Published(
        model=model,
        name=name,
        source="torchvision",
        reference=version,
        url=f"https://download.pytorch.org/models/{file}",
        file=file,
        digest=digest_of_name(file),
        size=round(mib * _MIB),
        licence="BSD-3-Clause",
        options=options or {},
        normalisation=normalisation,
        evaluation=evaluation,
        top1=top1,
        top5=top5,
        ap=ap,
        figures=f"torchvision {version}",
    )


_FIRST = crop(224, 256)
_SECOND = crop(224, 232)


def _resnet(
    model: str,
    first: tuple[str, float, tuple[float, float]],
    second: tuple[str, float, tuple[float, float]] | None = None,
) -> tuple[Published, ...]:
    """Both recipes: digits of the file name, mebibytes, accuracies."""
    found = []
    for version, given in enumerate((first, second), 1):
        if given is not None:
            digits, mib, accuracy = given
            found.append(
                _torchvision(
                    model,
                    f"{model}-{digits}.pth",
                    f"IMAGENET1K_V{version}",
                    name="imagenet" if version == 1 else "imagenet-v2",
                    mib=mib,
                    accuracy=accuracy,
                    evaluation=_FIRST if version == 1 else _SECOND,
                )
            )
    return tuple(found)


def _efficientnet(
    model: str,
    file: str,
    size: int,
    resized: int,
    mib: float,
    accuracy: tuple[float, float],
    interpolation: str = "bicubic",
    normalisation: Mapping[str, Any] = IMAGENET,
) -> Published:
    return _torchvision(
        model,
        file,
        mib=mib,
        accuracy=accuracy,
        normalisation=normalisation,
        evaluation=crop(size, resized, interpolation),
    )


ROWS = (
    _torchvision(
        "alexnet",
        "alexnet-owt-7be5be79.pth",
        mib=233.087,
        accuracy=(56.522, 79.066),
        evaluation=_FIRST,
    ),
    _torchvision(
        "googlenet",
        "googlenet-1378be20.pth",
        mib=49.731,
        accuracy=(69.778, 89.530),
        normalisation=HALF,  # by its `transform_input`
        evaluation=_FIRST,
    ),
    _torchvision(
        "vgg16", "vgg16-397923af.pth", mib=527.796, accuracy=(71.592, 90.382), evaluation=_FIRST
    ),
    _torchvision(
        "vgg16",
        "vgg16_bn-6c64b313.pth",
        mib=527.866,
        accuracy=(73.360, 91.516),
        options={"batch_norm": True},
        evaluation=_FIRST,
    ),
    _torchvision(
        "vgg19", "vgg19-dcbb9e9d.pth", mib=548.051, accuracy=(72.376, 90.876), evaluation=_FIRST
    ),
    _torchvision(
        "vgg19",
        "vgg19_bn-c79401a0.pth",
        mib=548.143,
        accuracy=(74.218, 91.842),
        options={"batch_norm": True},
        evaluation=_FIRST,
    ),
    *_resnet("resnet18", ("f37072fd", 44.661, (69.758, 89.078))),
    *_resnet("resnet34", ("b627a593", 83.275, (73.314, 91.420))),
    *_resnet(
        "resnet50",
        ("0676ba61", 97.781, (76.130, 92.862)),
        ("11ad3fa6", 97.79, (80.858, 95.434)),
    ),
    *_resnet(
        "resnet101",
        ("63fe2227", 170.511, (77.374, 93.546)),
        ("cd907fc2", 170.53, (81.886, 95.780)),
    ),
    *_resnet(
        "resnet152",
        ("394f9c45", 230.434, (78.312, 94.046)),
        ("f82ba261", 230.474, (82.284, 96.002)),
    ),
    *_resnet(
        "resnext50_32x4d",
        ("7cdf4587", 95.789, (77.618, 93.698)),
        ("1a0047aa", 95.833, (81.198, 95.340)),
    ),
    *_resnet(
        "resnext101_32x8d",
        ("8ba56ff5", 339.586, (79.312, 94.526)),
        ("110c445d", 339.673, (82.834, 96.228)),
    ),
    _torchvision(  # the second recipe alone, under the first name
        "resnext101_64x4d",
        "resnext101_64x4d-173b62eb.pth",
        mib=319.318,
        accuracy=(83.246, 96.454),
        evaluation=_SECOND,
    ),
    _torchvision(
        "mobilenet_v2",
        "mobilenet_v2-b0353104.pth",
        name="imagenet-torchvision",
        mib=13.555,
        accuracy=(71.878, 90.286),
        evaluation=_FIRST,
    ),
    _torchvision(
        "mobilenet_v2",
        "mobilenet_v2-7ebf99e0.pth",
        "IMAGENET1K_V2",
        mib=13.598,
        accuracy=(72.154, 90.822),
        name="imagenet-v2",
        evaluation=_SECOND,
    ),
    _torchvision(
        "mobilenet_v3_small",
        "mobilenet_v3_small-047dcff4.pth",
        name="imagenet-torchvision",
        mib=9.829,
        accuracy=(67.668, 87.402),
        evaluation=_FIRST,
    ),
    _torchvision(
        "mobilenet_v3_large",
        "mobilenet_v3_large-8738ca79.pth",
        name="imagenet-torchvision",
        mib=21.114,
        accuracy=(74.042, 91.340),
        evaluation=_FIRST,
    ),
    _torchvision(
        "mobilenet_v3_large",
        "mobilenet_v3_large-5c1a4163.pth",
        "IMAGENET1K_V2",
        mib=21.107,
        accuracy=(75.274, 92.566),
        name="imagenet-v2",
        evaluation=_SECOND,
    ),
    _efficientnet(
        "efficientnet_b0",
        "efficientnet_b0_rwightman-7f5810bc.pth",
        224,
        256,
        20.451,
        (77.692, 93.532),
    ),
    _efficientnet(
        "efficientnet_b1",
        "efficientnet_b1_rwightman-bac287d4.pth",
        240,
        256,
        30.134,
        (78.642, 94.186),
    ),
    _torchvision(
        "efficientnet_b1",
        "efficientnet_b1-c27df63c.pth",
        "IMAGENET1K_V2",
        name="imagenet-v2",
        mib=30.136,
        accuracy=(79.838, 94.934),
        evaluation=crop(240, 255),
    ),
    _efficientnet(
        "efficientnet_b2",
        "efficientnet_b2_rwightman-c35c1473.pth",
        288,
        288,
        35.174,
        (80.608, 95.310),
    ),
    _efficientnet(
        "efficientnet_b3",
        "efficientnet_b3_rwightman-b3899882.pth",
        300,
        320,
        47.184,
        (82.008, 96.054),
    ),
    _efficientnet(
        "efficientnet_b4",
        "efficientnet_b4_rwightman-23ab8bcd.pth",
        380,
        384,
        74.489,
        (83.384, 96.594),
    ),
    _efficientnet(
        "efficientnet_b5",
        "efficientnet_b5_lukemelas-1a07897c.pth",
        456,
        456,
        116.864,
        (83.444, 96.628),
    ),
    _efficientnet(
        "efficientnet_b6",
        "efficientnet_b6_lukemelas-24a108a5.pth",
        528,
        528,
        165.362,
        (84.008, 96.916),
    ),
    _efficientnet(
        "efficientnet_b7",
        "efficientnet_b7_lukemelas-c5b4e57e.pth",
        600,
        600,
        254.675,
        (84.122, 96.908),
    ),
    _efficientnet(
        "efficientnet_v2_s",
        "efficientnet_v2_s-dd5fe13b.pth",
        384,
        384,
        82.704,
        (84.228, 96.878),
        "bilinear",
    ),
    _efficientnet(
        "efficientnet_v2_m",
        "efficientnet_v2_m-dc08266a.pth",
        480,
        480,
        208.01,
        (85.112, 97.156),
        "bilinear",
    ),
    _efficientnet(
        "efficientnet_v2_l",
        "efficientnet_v2_l-59c71312.pth",
        480,
        480,
        454.573,
        (85.808, 97.788),
        normalisation=HALF,
    ),
    _torchvision(
        "ssdlite_mobilenet_v3_large",
        "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
        "COCO_V1",
        name="coco",
        mib=13.418,
        ap=21.3,
        normalisation=HALF,
        evaluation=Evaluation(size=320, resize="stretch", interpolation="bilinear"),
    ),
    *(
        _torchvision(
            model,
            file,
            "COCO_V1",
            name="coco",
            mib=mib,
            ap=ap,
            evaluation=Evaluation(size=800, resize="shorter", interpolation="bilinear"),
        )
        for model, file, mib, ap in (
            (
                "faster_rcnn_resnet50_fpn",
                "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
                159.743,
                37.0,
            ),
            ("mask_rcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", 169.84, 37.9),
            (
                "faster_rcnn_mobilenet_v3_large_fpn",
                "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
                74.239,
                32.8,
            ),
        )
    ),
)
