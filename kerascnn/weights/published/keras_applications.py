"""keras.applications' weights with their heads: keras/src/applications/*.py.

Its sources carry an MD5 for each file but those of MobileNet and MobileNetV2, of which nobody
publishes one: there the bucket's own counts, which it sends along. How it resized the images is
not said anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerascnn.preprocessing import CAFFE, IMAGENET
from kerascnn.weights.published.row import HALF, Evaluation, Published

_BUCKET = "https://storage.googleapis.com/tensorflow/keras-applications"
_EFFICIENTNETS = "https://storage.googleapis.com/keras-applications"
_SLIM = "github.com/tensorflow/models, slim/nets"
_KERNELS = "weights_tf_dim_ordering_tf_kernels"
# Of whom the weights are ported, where it is not Google.
_OXFORD, _KAIMING_HE = "CC-BY (VGG, Oxford)", "MIT (Kaiming He)"

# Top-1 and top-5 by width and size, of the TF-Slim checkpoints that the files are.
_V1 = {
    1.0: {224: (70.9, 89.9), 192: (70.0, 89.2), 160: (68.0, 87.7), 128: (65.2, 85.8)},
    0.75: {224: (68.4, 88.2), 192: (67.2, 87.3), 160: (65.3, 86.0), 128: (62.1, 83.9)},
    0.5: {224: (63.3, 84.9), 192: (61.7, 83.6), 160: (59.1, 81.9), 128: (56.3, 79.4)},
    0.25: {224: (49.8, 74.2), 192: (47.7, 72.3), 160: (45.5, 70.3), 128: (41.5, 66.3)},
}
_V2 = {
    1.4: {224: (75.0, 92.5)},
    1.3: {224: (74.4, 92.1)},
    1.0: {
        224: (71.8, 91.0), 192: (70.7, 90.1), 160: (68.8, 89.0), 128: (65.3, 86.9),
        96: (60.3, 83.2),
    },
    0.75: {
        224: (69.8, 89.6), 192: (68.7, 88.9), 160: (66.4, 87.3), 128: (63.2, 85.3),
        96: (58.8, 81.6),
    },
    0.5: {
        224: (65.4, 86.4), 192: (63.9, 85.4), 160: (61.0, 83.2), 128: (57.7, 80.8),
        96: (51.2, 75.8),
    },
    0.35: {
        224: (60.3, 82.9), 192: (58.2, 81.2), 160: (55.7, 79.1), 128: (50.8, 75.0),
        96: (45.5, 70.4),
    },
}  # fmt: skip
_V1_WIDTHS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}


def _row(
    model: str,
    place: str,
    md5: str | None,
    *,
    bucket: str = _BUCKET,
    name: str = "imagenet",
    size: int = 224,
    top1: float | None = None,
    top5: float | None = None,
    options: Mapping[str, Any] | None = None,
    normalisation: Mapping[str, Any] = HALF,
    licence: str = "Apache-2.0",
    figures: str = "keras.applications",
) -> Published:
    return Published(
        model=model,
        name=name,
        source="keras.applications",
        reference="imagenet",
        url=f"{bucket}/{place}",
        file=place.rpartition("/")[2],
        digest=md5 and f"md5:{md5}",
        licence=licence,
        options=options or {},
        normalisation=normalisation,
        evaluation=Evaluation(size=size),
        top1=top1,
        top5=top5,
        figures=figures,
    )


def _mobilenet(model: str, place: str, alpha: float, size: int) -> Published:
    top1, top5 = (_V1 if model == "mobilenet_v1" else _V2)[alpha][size]
    return _row(
        model,
        place,
        None,
        name="imagenet" if size == 224 else f"imagenet-{size}",
        size=size,
        top1=top1,
        top5=top5,
        options={} if alpha == 1.0 else {"alpha": alpha},
        figures=_SLIM,
    )


def _v3(size: str, variant: str, md5: str, top1: float, **options: Any) -> Published:
    file = f"weights_mobilenet_v3_{size}{variant}_float.h5"
    return _row(f"mobilenet_v3_{size}", f"mobilenet_v3/{file}", md5, top1=top1, options=options)


def _vgg(depth: int, md5: str, top1: float, top5: float) -> Published:
    return _row(
        f"vgg{depth}",
        f"vgg{depth}/vgg{depth}_{_KERNELS}.h5",
        md5,
        name="imagenet-keras",
        top1=top1,
        top5=top5,
        normalisation=CAFFE,
        licence=_OXFORD,
    )


def _resnet(depth: int, md5: str, top1: float, top5: float) -> Published:
    return _row(
        f"resnet{depth}",
        f"resnet/resnet{depth}_{_KERNELS}.h5",
        md5,
        name="imagenet-keras",
        top1=top1,
        top5=top5,
        normalisation=CAFFE,
        licence=_KAIMING_HE,
    )


def _efficientnet(number: int, size: int, md5: str) -> Published:
    return _row(
        f"efficientnet_b{number}",
        f"efficientnetb{number}.h5",
        md5,
        bucket=_EFFICIENTNETS,
        name="imagenet-keras",
        size=size,
        normalisation=IMAGENET,
    )


def _efficientnet_v2(kind: str, size: int, md5: str, top1: float, top5: float) -> Published:
    base = kind.startswith("b")
    return _row(
        f"efficientnet_v2_{kind}",
        f"efficientnet_v2/efficientnetv2-{kind}.h5",
        md5,
        name="imagenet" if base else "imagenet-keras",
        size=size,
        top1=top1,
        top5=top5,
        normalisation=IMAGENET if base else {"mean": 128.0, "std": 128.0},
    )


ROWS = (
    *(
        _mobilenet("mobilenet_v1", f"mobilenet/mobilenet_{_V1_WIDTHS[alpha]}_{size}_tf.h5",
                   alpha, size)
        for alpha, sizes in _V1.items()
        for size in sizes
    ),
    *(
        _mobilenet("mobilenet_v2", f"mobilenet_v2/mobilenet_v2_{_KERNELS}_{alpha}_{size}.h5",
                   alpha, size)
        for alpha, sizes in _V2.items()
        for size in sizes
    ),
    _v3("small", "_224_1.0", "8768d4c2e7dee89b9d02b2d03d65d862", 68.1),
    _v3("small", "_224_0.75", "cb65d4e5be93758266aa0a7f2c6708b7", 65.4, alpha=0.75),
    _v3(
        "small",
        "_minimalistic_224_1.0",
        "99cd97fb2fcdad2bf028eb838de69e37",
        61.9,
        minimalistic=True,
    ),
    _v3("large", "_224_1.0", "59e551e166be033d707958cf9e29a6a7", 75.6),
    _v3("large", "_224_0.75", "765b44a33ad4005b3ac83185abf1d0eb", 73.3, alpha=0.75),
    _v3(
        "large",
        "_minimalistic_224_1.0",
        "675e7b876c45c57e9e63e6d90a36599c",
        72.3,
        minimalistic=True,
    ),
    _vgg(16, "64373286793e3c8b2b4e3219cbf3544b", 71.3, 90.1),
    _vgg(19, "cbe5617147190e668d6c5d5026f83318", 71.3, 90.0),
    _resnet(50, "2cb95161c43110f7111970584f804107", 74.9, 92.1),
    _resnet(101, "f1aeb4b969a6efcfb50fad2f0c20cfc5", 76.4, 92.8),
    _resnet(152, "100835be76be38e30d865e96f2aaae62", 76.6, 93.1),
    _efficientnet(0, 224, "902e53a9f72be733fc0bcb005b3ebbac"),
    _efficientnet(1, 240, "1d254153d4ab51201f1646940f018540"),
    _efficientnet(2, 260, "b15cce36ff4dcbd00b6dd88e7857a6ad"),
    _efficientnet(3, 300, "ffd1fdc53d0ce67064dc6a9c7960ede0"),
    _efficientnet(4, 380, "18c95ad55216b8f92d7e70b3a046e2fc"),
    _efficientnet(5, 456, "ace28f2a6363774853a83a0b21b9421a"),
    _efficientnet(6, 528, "165f6e37dce68623721b423839de8be5"),
    _efficientnet(7, 600, "8c03f828fec3ef71311cd463b6759d99"),
    _efficientnet_v2("b0", 224, "21ecbf6da12460d5c40bb2f29ceb2188", 78.7, 94.3),
    _efficientnet_v2("b1", 240, "069f0534ff22adf035c89e2d9547a9dc", 79.8, 95.0),
    _efficientnet_v2("b2", 260, "424e49f28180edbde1e94797771950a7", 80.5, 95.1),
    _efficientnet_v2("b3", 300, "1f1fc43bd98a6e4fd8fdfd551e02c7a0", 82.0, 95.8),
    _efficientnet_v2("s", 384, "e1d88a8495beba45748fedd0cecbe016", 83.9, 96.7),
    _efficientnet_v2("m", 480, "a3bf6aa3276309f4fc6a34aa114c95cd", 85.3, 97.4),
    _efficientnet_v2("l", 480, "27e6d408b53c7ebc868fefa357689935", 85.7, 97.5),
)  # fmt: skip
