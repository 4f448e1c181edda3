"""mmdetection's RTMDets on COCO and their backbones on ImageNet, as in configs/rtmdet/README.md.

Files are named by the first eight digits of their SHA-256. The detectors' images are in the order
blue, green, red; those of the classifiers, which mmclassification trained, are not.
"""

from __future__ import annotations

from kerascnn.weights.mmdetection import LAYOUTS
from kerascnn.weights.published.row import Evaluation, Published, crop, digest_of_name

_SERVER = "https://download.openmmlab.com/mmdetection/v3.0/rtmdet"


def _detector(kind: str, run: str, ap: float) -> Published:
    config = f"rtmdet_{kind}_8xb32-300e_coco"
    file = f"{config}_{run}.pth"
    return Published(
        model=f"rtmdet_{kind}",
        name="coco",
        source="mmdetection",
        reference=config,
        url=f"{_SERVER}/{config}/{file}",
        file=file,
        digest=digest_of_name(file),
        licence="Apache-2.0",
        normalisation=LAYOUTS[0].normalisation,
        evaluation=Evaluation(size=640, resize="pad", interpolation="bilinear"),
        ap=ap,
        figures=f"mmdetection rtmdet_{kind}",
    )


def _backbone(kind: str, digits: str, top1: float, top5: float) -> Published:
    file = f"cspnext-{kind}_imagenet_600e-{digits}.pth"
    return Published(
        model=f"cspnext_{kind}",
        name="imagenet",
        source="mmdetection",
        reference=f"cspnext-{kind}_8xb256-rsb-a1-600e_in1k",
        url=f"{_SERVER}/cspnext_rsb_pretrain/{file}",
        file=file,
        digest=digest_of_name(file),
        licence="Apache-2.0",
        normalisation=LAYOUTS[1].normalisation,
        evaluation=crop(224, 236, "bicubic"),
        top1=top1,
        top5=top5,
        figures=f"mmdetection cspnext-{kind}",
    )


ROWS = (
    _backbone("tiny", "3a2dd350", 69.44, 89.45),
    _backbone("s", "ea671761", 74.41, 92.23),
    _detector("tiny", "20220902_112414-78e30dcc", 41.1),
    _detector("s", "20220905_161602-387a891e", 44.6),
)
