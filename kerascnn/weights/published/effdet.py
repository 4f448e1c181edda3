"""effdet's EfficientDet-Lites on COCO: effdet/config/model_config.py and its README."""

from __future__ import annotations

from kerascnn.weights.published.row import HALF, Evaluation, Published, digest_of_name

_RELEASE = "https://github.com/rwightman/efficientdet-pytorch/releases/download/v0.1"


def _lite(number: int, digits: str, size: int, ap: float) -> Published:
    reference = f"tf_efficientdet_lite{number}"
    file = f"{reference}-{digits}.pth"
    return Published(
        model=f"efficientdet_lite{number}",
        name="coco",
        source="effdet",
        reference=reference,
        url=f"{_RELEASE}/{file}",
        file=file,
        digest=digest_of_name(file),
        licence="Apache-2.0",
        normalisation=HALF,
        evaluation=Evaluation(size=size, resize="pad", interpolation="bilinear"),
        ap=ap,
        figures=f"effdet {reference}",
    )


ROWS = (
    _lite(0, "dfacfc78", 320, 27.1),
    _lite(1, "6dc7ab30", 384, 32.2),
    _lite(2, "86c5d55b", 448, 35.9),
    _lite(3, "506852cb", 512, 39.6),
    _lite(4, "391ddabc", 640, 44.2),
)
