"""The catalogue: every architecture with its builder, input conventions and published figures.

Plain data with import paths as strings, so that listing models costs no import of keras. Sources
that publish accuracies are turned into errors here, at the source's own rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kerascnn.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A published result: errors in percent on ImageNet's 1,000 classes unless `data` says else.

    Attributes:
        top1, top5: a classifier's error in percent; None where the source has none.
        ap: a detector's average precision in percent, the mean over IoUs from 0.5 to 0.95 (COCO).
        iou: intersection over union of a network's label maps with the true ones in percent, the
            mean over classes where there are several.
        source: paper and table, or the weights' publisher.
        setting: the pictures and crops that were classified.
        networks: how many were averaged; 1 is a single model, 0 an unpublished number.
        data: the benchmark.
    """

    top1: float | None = None
    top5: float | None = None
    ap: float | None = None
    iou: float | None = None
    source: str
    setting: str
    networks: int = 1
    data: str = "ImageNet"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What all models of a task have in common.

    Attributes:
        measures: columns of `kerascnn models` with their best-known published results.
        published: what those results are.
        note: what the columns mean; empty for none.
        whole: images are seen whole, since the answer is of places in them; else the centre.
        decoded: a `DetectorSpec` or `TwoStageSpec` says what the outputs mean.
    """

    measures: tuple[str, ...] = ()
    published: str = "results"
    note: str = ""
    whole: bool = True
    decoded: bool = False


TASK_FACTS: Mapping[str, TaskFacts] = {
    "classification": TaskFacts(
        measures=("top-1", "top-5"),
        published="accuracies",
        note=(
            "top-1, top-5: published accuracy in percent on ImageNet (*: on MNIST) of a single "
            "network; ensembles, settings and sources: kerascnn models NAME"
        ),
        whole=False,
    ),
    "detection": TaskFacts(
        measures=("AP",),
        published="precisions",
        note=(
            "AP: published average precision in percent on COCO; settings and sources: "
            "kerascnn models NAME"
        ),
        decoded=True,
    ),
    "segmentation": TaskFacts(
        measures=("mIoU",),
        published="intersections over union",
        note=(
            "mIoU: published intersection over union in percent; its data, settings and sources: "
            "kerascnn models NAME"
        ),
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fused:
    """A network with one convolution in place of each sum of branches, as its files have it.

    Attributes:
        parameters: trainable count at the published defaults.
        macs: published multiply-adds, in millions, as rounded by the source.
        source: who publishes them, and the parameters as rounded there.
    """

    parameters: int
    macs: float
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One architecture; its published weights are in `kerascnn.weights.published`.

    Attributes:
        builder: "module:function".
        task: one of `TASKS`.
        year, paper: of publication; the paper as arXiv id or DOI.
        title: the name the field uses.
        input_shape, classes: published defaults.
        parameters: published trainable count at those defaults.
        parameters_source: who publishes exactly this count; else how it comes about.
        macs: published multiply-adds at those defaults, in millions, as rounded by the source.
        macs_source: who publishes them; why there are none, where `macs` is None.
        results: published errors, precisions or overlaps; first the single model's best-known one,
            then other settings and challenge entries, then reference weights; none where nobody
            publishes of this very network.
        mean, std: input normalisation of the published model.
        backbone: the classifier in a network of another task, whose weights it takes.
        backbone_options: of the network's builder, which those weights need.
        fused: of a network that is trained with branches, the form of its files.
        cell: of a detector, pixels of a side of a cell of the finest grid that it finds objects on.
    """

    builder: str
    title: str
    year: int
    paper: str
    parameters: int
    parameters_source: str
    macs: float | None
    macs_source: str
    results: tuple[Result, ...]
    task: str = "classification"
    input_shape: tuple[int, int, int] = (224, 224, 3)
    classes: int = 1000
    mean: float = 127.0
    std: float = 128.0
    backbone: str | None = None
    backbone_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fused: Fused | None = None
    cell: int | None = None

    @property
    def facts(self) -> TaskFacts:
        """Of its task; of a task that this catalogue does not know, nothing but defaults."""
        return TASK_FACTS.get(self.task, TaskFacts())

    def preprocessing(self, height: int, width: int, **options: Any) -> Preprocessing:
        """This architecture's preprocessing at a picture size."""
        values = {"channels": self.input_shape[2], "mean": self.mean, "std": self.std, **options}
        if self.facts.whole:
            values.setdefault("resize", "stretch")
        return Preprocessing(height=height, width=width, **values)


_CLASSIFICATION = "kerascnn.classification"
_DETECTION = "kerascnn.detection"
_SEGMENTATION = "kerascnn.segmentation"
_TORCHVISION = "torchvision"
_KERAS = "keras.applications"
_TIMM = "timm"
_EFFDET = "effdet"
_MMDETECTION = "mmdetection"

_ALEXNET = "doi:10.1145/3065386"
_VGG = "arXiv:1409.1556"
_GOOGLENET = "arXiv:1409.4842"
_RESNET = "arXiv:1512.03385"
_RESNEXT = "arXiv:1611.05431"
_MOBILENET_V1 = "arXiv:1704.04861"
_SENET = "arXiv:1709.01507"
_MOBILENET_V2 = "arXiv:1801.04381"
_MOBILENET_V3 = "arXiv:1905.02244"
_EFFICIENTNET = "arXiv:1905.11946"
_EFFICIENTDET = "arXiv:1911.09070"
_MOBILENET_V4 = "arXiv:2404.10518"
_EFFICIENTNET_V2 = "arXiv:2104.00298"
_MOBILEONE = "arXiv:2206.04040"
_REPVIT = "arXiv:2307.09283"
_RTMDET = "arXiv:2212.07784"
_UNET = "arXiv:1505.04597"
_FPN = "arXiv:1612.03144"
_MASK_RCNN = "arXiv:1703.06870"

_SLIM = "github.com/tensorflow/models, slim/nets"
_AUTOML = "github.com/google/automl, efficientnetv2"
_LITE = "github.com/tensorflow/tpu, efficientnet/lite"
_ML_MOBILEONE = "github.com/apple/ml-mobileone"
_DETECTORS = "github.com/google/automl, efficientdet"

_CROP_224 = "validation, 1 crop 224"
_CROPS_10 = "validation, 10 crops 224"
_VALIDATION = "validation"
_VAL2017 = "val2017"
_TEST_DEV = "test-dev"
_TRACKING = "ISBI cell tracking challenge 2015"
# What the heads of an R-CNN cost depends on how much there is to look at.
_NOTHING_FOUND = "of an image in which nothing is found"
# The Object Detection API's SSDLites, which the papers measured; ours is torchvision's form.
_FEWER = "with 3 anchors in a cell of the first map"


def _builder(family: str, name: str) -> str:
    return f"{_CLASSIFICATION}.{family}:{name}"


def _accuracy(
    top1_accuracy: float, top5_accuracy: float | None = None, *, source: str, setting: str
) -> Result:
    """A single model's result from a source that publishes accuracies (at most 3 decimals)."""
    return Result(
        top1=round(100 - top1_accuracy, 3),
        top5=None if top5_accuracy is None else round(100 - top5_accuracy, 3),
        source=source,
        setting=setting,
    )


def _torchvision(top1_accuracy: float, top5_accuracy: float, setting: str = _CROP_224) -> Result:
    return _accuracy(
        top1_accuracy, top5_accuracy, source="torchvision IMAGENET1K_V1", setting=setting
    )


def _keras(
    top1_accuracy: float, top5_accuracy: float | None = None, setting: str = _CROP_224
) -> Result:
    return _accuracy(top1_accuracy, top5_accuracy, source=_KERAS, setting=setting)


def _timm(name: str, top1: float, top5: float, setting: str = _CROP_224) -> Result:
    return Result(top1=top1, top5=top5, source=f"timm {name}.in1k", setting=setting)


def _vgg(  # the two deepest configurations, which the paper's ensembles share
    depth: int,
    *,
    parameters: int,
    macs: float,
    crops: tuple[Result, ...],
    reference: tuple[Result, ...],
) -> Entry:
    return Entry(
        builder=_builder("vgg", f"vgg{depth}"),
        title=f"VGG-{depth}",
        year=2014,
        paper=_VGG,
        parameters=parameters,
        parameters_source=_TORCHVISION,
        macs=macs,
        macs_source=_TORCHVISION,
        results=(
            *crops,
            Result(
                top1=24.8,
                top5=7.5,
                source=f"{_VGG}, table 4",
                setting="validation, dense at 3 scales",
            ),
            Result(
                top1=23.7,
                top5=6.8,
                source=f"{_VGG}, table 7",
                setting="validation, many crops and dense, VGG-16 and VGG-19",
                networks=2,
            ),
            Result(
                top5=6.8,
                source=f"{_VGG}, table 7",
                setting="ILSVRC-2014 test, many crops and dense, VGG-16 and VGG-19",
                networks=2,
            ),
            Result(
                top5=7.3,
                source=f"{_VGG}, table 7",
                setting="ILSVRC-2014 test, the submission (second place)",
                networks=7,
            ),
            *reference,
        ),
    )


def _vgg_crops(top5: float) -> Result:
    return Result(
        top1=24.4,
        top5=top5,
        source=f"{_VGG}, table 5",
        setting="validation, many crops and dense",
    )


def _resnet(
    depth: int,
    *,
    parameters: int,
    macs: float,
    macs_source: str,
    results: tuple[Result, ...],
) -> Entry:
    return Entry(
        builder=_builder("resnet", f"resnet{depth}"),
        title=f"ResNet-{depth}",
        year=2015,
        paper=_RESNET,
        parameters=parameters,
        parameters_source=_TORCHVISION,
        macs=macs,
        macs_source=macs_source,
        results=results,
    )


def _resnet_table(number: int, top1: float, top5: float | None, setting: str) -> Result:
    return Result(top1=top1, top5=top5, source=f"{_RESNET}, table {number}", setting=setting)


def _bottleneck_resnet(
    depth: int,
    *,
    parameters: int,
    macs: float,
    ten_crops: tuple[float, float],
    scales: tuple[float, float],
    one_crop: tuple[float, float],
    challenge: tuple[Result, ...] = (),
    torchvision: tuple[float, float],
    keras: tuple[float, float],
) -> Entry:
    # torchvision moves the stride into the 3x3 convolution and counts more multiply-adds; the
    # paper's own figure belongs to the stride in the first 1x1.
    return _resnet(
        depth,
        parameters=parameters,
        macs=macs,
        macs_source=f"{_RESNET}, table 1",
        results=(
            _resnet_table(3, *ten_crops, _CROPS_10),
            _resnet_table(4, *scales, "validation, fully convolutional at 5 scales"),
            *challenge,
            Result(
                top1=one_crop[0],
                top5=one_crop[1],
                source="github.com/KaimingHe/deep-residual-networks",
                setting=_CROP_224,
            ),
            _torchvision(*torchvision, f"{_CROP_224}, stride in the 3x3"),
            _keras(*keras),
        ),
    )


def _resnext(
    name: str, title: str, *, parameters: int, macs: float, results: tuple[Result, ...]
) -> Entry:
    return Entry(
        builder=_builder("resnet", name),
        title=title,
        year=2016,
        paper=_RESNEXT,
        parameters=parameters,
        parameters_source=_TORCHVISION,
        macs=macs,
        macs_source=_TORCHVISION,
        results=results,
    )


def _senet(
    name: str,
    title: str,
    *,
    parameters: int,
    macs: float,
    macs_source: str,
    results: tuple[Result, ...],
) -> Entry:
    return Entry(
        builder=_builder("resnet", name),
        title=title,
        year=2017,
        paper=_SENET,
        parameters=parameters,
        parameters_source=_TIMM,
        macs=macs,
        macs_source=macs_source,
        results=results,
    )


def _senet_retrained(top1: float, top5: float) -> Result:
    return Result(
        top1=top1,
        top5=top5,
        source="github.com/hujie-frank/SENet",
        setting=f"{_CROP_224}, trained longer than in the paper",
    )


def _mobilenet_v1_alpha(alpha: float, top1_accuracy: float) -> Result:
    return _accuracy(
        top1_accuracy,
        source=f"{_MOBILENET_V1}, table 6",
        setting=f"{_CROP_224}, alpha {alpha}",
    )


def _mobilenet_v3(
    size: str,
    *,
    parameters: int,
    macs: float,
    paper: float,
    slim: float,
    minimalistic: float,
    keras: float,
    torchvision: tuple[float, float],
) -> Entry:
    return Entry(
        builder=_builder("mobilenet", f"mobilenet_v3_{size}"),
        title=f"MobileNetV3-{size.capitalize()}",
        year=2019,
        paper=_MOBILENET_V3,
        parameters=parameters,
        parameters_source=_TORCHVISION,
        macs=macs,
        macs_source=f"{_MOBILENET_V3}, table 3",
        results=(
            _accuracy(paper, source=f"{_MOBILENET_V3}, table 3", setting=_CROP_224),
            _accuracy(slim, source=_SLIM, setting=_CROP_224),
            _accuracy(minimalistic, source=_SLIM, setting=f"{_CROP_224}, minimalistic"),
            _torchvision(*torchvision),
            _keras(keras),
        ),
    )


def _mobilenet_v4(
    kind: str,
    size: int,
    *,
    parameters: int,
    macs: float | None,
    macs_source: str = _TIMM,
    paper: float,
    timm: tuple[str, float, float],
    timm_crop: int | None = None,
) -> Entry:
    weights, *errors = timm
    return Entry(
        builder=_builder("mobilenet_v4", f"mobilenet_v4_{kind}"),
        title=f"MobileNetV4-{kind.replace('_', ' ').title().replace(' ', '-')}",
        year=2024,
        paper=_MOBILENET_V4,
        parameters=parameters,
        parameters_source=_TIMM,
        macs=macs,
        macs_source=macs_source,
        results=(
            _accuracy(paper, source=_MOBILENET_V4, setting=f"validation, 1 crop {size}"),
            Result(
                top1=errors[0],
                top5=errors[1],
                source=f"timm mobilenetv4_{kind}.{weights}",
                setting=f"validation, 1 crop {timm_crop or size}",
            ),
        ),
        input_shape=(size, size, 3),
    )


def _mobileone(number: int, *, parameters: int, macs: float, fused: Fused, top1: float) -> Entry:
    with_branches = fused.macs != macs
    return Entry(
        builder=_builder("mobileone", f"mobileone_s{number}"),
        title=f"MobileOne-S{number}",
        year=2023,
        paper=_MOBILEONE,
        parameters=parameters,
        parameters_source=f"{_TIMM}, with branches",
        macs=macs,
        macs_source=f"{_TIMM}, with branches" if with_branches else fused.source,
        results=(_accuracy(top1, source=_ML_MOBILEONE, setting=_CROP_224),),
        fused=fused,
    )


def _cspnext(
    kind: str,
    *,
    parameters: int,
    millions: float,
    macs: float,
    accuracies: tuple[float, float],
) -> Entry:
    source = f"{_MMDETECTION} cspnext-{kind}"
    return Entry(
        builder=_builder("cspnext", f"cspnext_{kind}"),
        title=f"CSPNeXt-{kind}",
        year=2022,
        paper=_RTMDET,
        parameters=parameters,
        parameters_source=f"counted; {source}, {millions:.2f} million",
        macs=macs,
        macs_source=source,
        results=(_accuracy(*accuracies, source=source, setting=_CROP_224),),
    )


def _rtmdet(
    kind: str, title: str, *, parameters: int, millions: float, macs: float, ap: float
) -> Entry:
    source = f"{_MMDETECTION} rtmdet_{kind}"
    return Entry(
        builder=f"{_DETECTION}.rtmdet:rtmdet_{kind}",
        title=title,
        task="detection",
        year=2022,
        paper=_RTMDET,
        parameters=parameters,
        parameters_source=f"counted; {source}, {millions:g} million",
        macs=macs,
        macs_source=source,
        results=(_coco(ap, source=source, setting=f"{_VAL2017}, 640"),),
        input_shape=(640, 640, 3),
        classes=80,
        backbone=f"cspnext_{kind}",
        cell=8,
    )


def _repvit(
    kind: str,
    *,
    parameters: int,
    both_heads: int,
    macs: float,
    fused: Fused,
    epochs_300: float,
    epochs_450: float,
) -> Entry:
    setting = f"{_CROP_224}, distilled"
    return Entry(
        builder=_builder("repvit", f"repvit_m{kind.replace('.', '_')}"),
        title=f"RepViT-M{kind}",
        year=2024,
        paper=_REPVIT,
        parameters=parameters,
        parameters_source=f"{_TIMM}, one head; {both_heads:,} with the one that distils",
        macs=macs,
        macs_source=f"{_REPVIT}, table 1",
        results=(
            _accuracy(epochs_300, source=f"{_REPVIT}, table 1, 300 epochs", setting=setting),
            _accuracy(epochs_450, source=f"{_REPVIT}, table 1, 450 epochs", setting=setting),
        ),
        fused=fused,
    )


def _efficientnet(
    number: int,
    size: int,
    parameters: int,
    *,
    macs: float,
    paper: tuple[float, float],
    others: tuple[Result, ...] = (),
    torchvision: tuple[float, float],
    torchvision_crop: int | None = None,
) -> Entry:
    table = f"{_EFFICIENTNET}, table 2"
    return Entry(
        builder=_builder("efficientnet", f"efficientnet_b{number}"),
        title=f"EfficientNet-B{number}",
        year=2019,
        paper=_EFFICIENTNET,
        parameters=parameters,
        parameters_source=_TORCHVISION,
        macs=macs,
        macs_source=table,
        results=(
            _accuracy(*paper, source=table, setting=f"validation, 1 crop {size}"),
            *others,
            _torchvision(*torchvision, f"validation, 1 crop {torchvision_crop or size}"),
        ),
        input_shape=(size, size, 3),
    )


def _lite(
    number: int,
    size: int,
    parameters: int,
    *,
    macs: float,
    float32: float,
    int8: float,
    timm: tuple[float, float],
    timm_crop: int | None = None,
) -> Entry:
    setting = f"validation, 1 crop {size}"
    return Entry(
        builder=_builder("efficientnet", f"efficientnet_lite{number}"),
        title=f"EfficientNet-Lite{number}",
        year=2020,
        paper=_EFFICIENTNET,
        parameters=parameters,
        parameters_source=_TIMM,
        macs=macs,
        macs_source=_LITE,
        results=(
            _accuracy(float32, source=_LITE, setting=setting),
            _accuracy(int8, source=_LITE, setting=f"{setting}, int8 after training"),
            _timm(
                f"tf_efficientnet_lite{number}",
                *timm,
                f"validation, 1 crop {timm_crop or size}",
            ),
        ),
        input_shape=(size, size, 3),
    )


def _efficientnet_v2_b(
    number: int,
    size: int,
    parameters: int,
    *,
    macs: float,
    automl: float,
    timm: tuple[float, float],
    keras: tuple[float, float],
) -> Entry:
    setting = f"validation, 1 crop {size}"
    return Entry(
        builder=_builder("efficientnet_v2", f"efficientnet_v2_b{number}"),
        title=f"EfficientNetV2-B{number}",
        year=2021,
        paper=_EFFICIENTNET_V2,
        parameters=parameters,
        parameters_source=_KERAS,
        macs=macs,
        macs_source=_AUTOML,
        results=(
            _accuracy(automl, source=_AUTOML, setting=setting),
            _timm(f"tf_efficientnetv2_b{number}", *timm, setting),
            _keras(*keras, setting),
        ),
        input_shape=(size, size, 3),
    )


def _efficientnet_v2(
    letter: str,
    size: int,
    parameters: int,
    *,
    macs: float,
    paper: float,
    automl: float,
    torchvision: tuple[float, float],
    keras: tuple[float, float],
) -> Entry:
    # The paper's table counts slightly larger networks (22, 54 and 120 million parameters; 8.8,
    # 24 and 53 thousand million multiply-adds) than the code that was released with it.
    setting = f"validation, 1 crop {size}"
    return Entry(
        builder=_builder("efficientnet_v2", f"efficientnet_v2_{letter}"),
        title=f"EfficientNetV2-{letter.upper()}",
        year=2021,
        paper=_EFFICIENTNET_V2,
        parameters=parameters,
        parameters_source=_TORCHVISION,
        macs=macs,
        macs_source=_TORCHVISION,
        results=(
            _accuracy(paper, source=f"{_EFFICIENTNET_V2}, table 7", setting=_VALIDATION),
            _accuracy(automl, source=_AUTOML, setting=_VALIDATION),
            _torchvision(*torchvision, setting),
            _keras(*keras, setting),
        ),
        input_shape=(size, size, 3),
    )


def _coco(ap: float, *, source: str, setting: str) -> Result:
    return Result(ap=ap, source=source, setting=setting, data="COCO")


def _ssdlite(
    backbone: str,
    title: str,
    *,
    year: int,
    paper: str,
    parameters: int,
    parameters_source: str,
    macs: float | None,
    macs_source: str,
    results: tuple[Result, ...],
    backbone_options: Mapping[str, Any] | None = None,
) -> Entry:
    return Entry(
        builder=f"{_DETECTION}.ssd:ssdlite_{backbone}",
        title=f"SSDLite, {title}",
        task="detection",
        year=year,
        paper=paper,
        parameters=parameters,
        parameters_source=parameters_source,
        macs=macs,
        macs_source=macs_source,
        results=results,
        input_shape=(320, 320, 3),
        classes=90,
        backbone=backbone,
        backbone_options=backbone_options or {},
        cell=16,
    )


def _efficientdet_lite(
    number: int,
    size: int,
    parameters: int,
    *,
    float32: float,
    int8: float,
    effdet: float,
) -> Entry:
    setting = f"{_VAL2017}, {size}"
    return Entry(
        builder=f"{_DETECTION}.efficientdet:efficientdet_lite{number}",
        title=f"EfficientDet-Lite{number}",
        task="detection",
        year=2020,
        paper=_EFFICIENTDET,
        parameters=parameters,
        parameters_source=f"{_EFFDET} tf_efficientdet_lite{number}",
        macs=None,
        macs_source="not published",
        results=(
            _coco(float32, source=_DETECTORS, setting=setting),
            _coco(int8, source=_DETECTORS, setting=f"{setting}, int8 after training"),
            _coco(effdet, source=f"{_EFFDET} tf_efficientdet_lite{number}", setting=setting),
        ),
        input_shape=(size, size, 3),
        classes=90,
        backbone=f"efficientnet_lite{number}",
        cell=8,
    )


# The first of `kerascnn.detection.faster_rcnn.FORMS`' strides.
_FINEST = {"resnet50": 4, "efficientnet_lite0": 8, "mobilenet_v3_large": 32}


def _rcnn(
    system: str,
    backbone: str,
    title: str,
    *,
    year: int,
    parameters: int,
    parameters_source: str = "counted",
    macs: float | None = None,
    macs_source: str = "not published",
    results: tuple[Result, ...] = (),
    size: int = 800,
) -> Entry:
    return Entry(
        builder=f"{_DETECTION}.faster_rcnn:{system}_rcnn_{backbone}_fpn",
        title=f"{system.title()} R-CNN, {title}, FPN",
        task="detection",
        year=year,
        paper=_MASK_RCNN if system == "mask" else _FPN,
        parameters=parameters,
        parameters_source=parameters_source,
        macs=macs,
        macs_source=macs_source,
        results=results,
        input_shape=(size, size, 3),
        classes=90,
        backbone=backbone,
        backbone_options={"frozen_norm": True},
        cell=_FINEST[backbone],
    )


def _overlap(iou: float, *, data: str, source: str, setting: str) -> Result:
    return Result(iou=iou, source=source, setting=setting, data=data)


def _unet_on(
    backbone: str,
    title: str,
    *,
    year: int,
    parameters: int,
    parameters_source: str = "counted",
) -> Entry:
    return Entry(
        builder=f"{_SEGMENTATION}.unet:unet_{backbone}",
        title=f"U-Net, {title}",
        task="segmentation",
        year=year,
        paper=_UNET,
        parameters=parameters,
        parameters_source=parameters_source,
        macs=None,
        macs_source="not published",
        results=(),
        classes=2,
        backbone=backbone,
    )


ENTRIES: dict[str, Entry] = {
    "lenet5": Entry(
        builder=_builder("lenet", "lenet5"),
        title="LeNet-5",
        year=1998,
        paper="doi:10.1109/5.726791",
        # Every map of C3 sees all of S2; the paper's 60,000 is with its connection table.
        parameters=61_706,
        parameters_source="sum over the layers: 156 + 2,416 + 48,120 + 10,164 + 850",
        macs=None,
        macs_source="the paper counts 340,908 connections, with its connection table",
        results=(
            Result(
                top1=0.95,
                source="doi:10.1109/5.726791, section III",
                setting="test, no distortions",
                data="MNIST",
            ),
            Result(
                top1=0.8,
                source="doi:10.1109/5.726791, section III",
                setting="test, trained with distortions",
                data="MNIST",
            ),
        ),
        input_shape=(32, 32, 1),
        classes=10,
    ),
    "alexnet": Entry(
        builder=_builder("alexnet", "alexnet"),
        title="AlexNet",
        year=2012,
        paper=_ALEXNET,
        # The single-column variant of arXiv:1404.5997, which is what libraries call AlexNet; the
        # errors are those of the first paper's network on two GPUs (60 million).
        parameters=61_100_840,
        parameters_source=_TORCHVISION,
        macs=714.0,
        macs_source=_TORCHVISION,
        results=(
            Result(
                top1=40.7, top5=18.2, source=f"{_ALEXNET}, table 2", setting="validation, 10 crops"
            ),
            Result(
                top1=38.1,
                top5=16.4,
                source=f"{_ALEXNET}, table 2",
                setting="validation, 10 crops; the same top-5 on the test set",
                networks=5,
            ),
            Result(
                top1=36.7,
                top5=15.4,
                source=f"{_ALEXNET}, table 2",
                setting="validation, 10 crops, 2 networks pre-trained on ImageNet Fall 2011",
                networks=7,
            ),
            Result(
                top5=15.3,
                source=f"{_ALEXNET}, table 2",
                setting="ILSVRC-2012 test, winner, 2 networks pre-trained on ImageNet Fall 2011",
                networks=7,
            ),
            _torchvision(56.522, 79.066),
        ),
    ),
    "googlenet": Entry(
        builder=_builder("googlenet", "googlenet"),
        title="GoogLeNet",
        year=2014,
        paper=_GOOGLENET,
        # Without auxiliary classifiers, with batch norm, and with 3x3 instead of 5x5 kernels;
        # the paper's table 1 adds up to about 6.8 million and 1.5 thousand million.
        parameters=6_624_904,
        parameters_source=_TORCHVISION,
        macs=1_498.0,
        macs_source=_TORCHVISION,
        results=(
            Result(top5=10.07, source=f"{_GOOGLENET}, table 3", setting=_CROP_224),
            Result(top5=7.89, source=f"{_GOOGLENET}, table 3", setting="validation, 144 crops"),
            Result(
                top5=6.67,
                source=f"{_GOOGLENET}, table 3",
                setting="ILSVRC-2014 test, winner, 144 crops",
                networks=7,
            ),
            _torchvision(69.778, 89.530),
        ),
    ),
    "vgg16": _vgg(
        16,
        parameters=138_357_544,
        macs=15_470.0,
        crops=(_vgg_crops(7.2),),
        reference=(_torchvision(71.592, 90.382), _keras(71.3, 90.1)),
    ),
    "vgg19": _vgg(
        19,
        parameters=143_667_240,
        macs=19_632.0,
        crops=(
            _vgg_crops(7.1),
            Result(
                top5=7.0,
                source=f"{_VGG}, table 7",
                setting="ILSVRC-2014 test, many crops and dense",
            ),
        ),
        reference=(_torchvision(72.376, 90.876), _keras(71.3, 90.0)),
    ),
    "resnet18": _resnet(
        18,
        parameters=11_689_512,
        macs=1_814.0,
        macs_source=_TORCHVISION,
        results=(
            _resnet_table(2, 27.88, None, f"{_CROPS_10}, shortcuts without parameters (A)"),
            _torchvision(69.758, 89.078),
        ),
    ),
    "resnet34": _resnet(
        34,
        parameters=21_797_672,
        macs=3_664.0,
        macs_source=_TORCHVISION,
        results=(
            # Option B, projections where the shape changes, has the published count.
            _resnet_table(3, 24.52, 7.46, f"{_CROPS_10}, projections where needed (B)"),
            _resnet_table(3, 24.19, 7.40, f"{_CROPS_10}, projections everywhere (C)"),
            _torchvision(73.314, 91.420),
        ),
    ),
    "resnet50": _bottleneck_resnet(
        50,
        parameters=25_557_032,
        macs=3_800.0,
        ten_crops=(22.85, 6.71),
        scales=(20.74, 5.25),
        one_crop=(24.7, 7.8),
        torchvision=(76.130, 92.862),
        keras=(74.9, 92.1),
    ),
    "resnet101": _bottleneck_resnet(
        101,
        parameters=44_549_160,
        macs=7_600.0,
        ten_crops=(21.75, 6.05),
        scales=(19.87, 4.60),
        one_crop=(23.6, 7.1),
        torchvision=(77.374, 93.546),
        keras=(76.4, 92.8),
    ),
    "resnet152": _bottleneck_resnet(
        152,
        parameters=60_192_808,
        macs=11_300.0,
        ten_crops=(21.43, 5.71),
        scales=(19.38, 4.49),
        one_crop=(23.0, 6.7),
        challenge=(
            Result(
                top5=3.57,
                source=f"{_RESNET}, table 5",
                setting="ILSVRC-2015 test, winner, networks of several depths",
                networks=6,
            ),
        ),
        torchvision=(78.312, 94.046),
        keras=(76.6, 93.1),
    ),
    "resnext50_32x4d": _resnext(
        "resnext50_32x4d",
        "ResNeXt-50 32x4d",
        parameters=25_028_904,
        macs=4_230.0,
        results=(
            Result(top1=22.2, source=f"{_RESNEXT}, table 3", setting=_CROP_224),
            _torchvision(77.618, 93.698),
        ),
    ),
    "resnext101_32x8d": _resnext(
        "resnext101_32x8d",
        "ResNeXt-101 32x8d",
        parameters=88_791_336,
        macs=16_414.0,
        results=(_torchvision(79.312, 94.526),),  # not among the paper's networks
    ),
    "resnext101_64x4d": _resnext(
        "resnext101_64x4d",
        "ResNeXt-101 64x4d",
        parameters=83_455_272,
        macs=15_460.0,
        results=(
            Result(top1=20.4, top5=5.3, source=f"{_RESNEXT}, table 5", setting=_CROP_224),
            Result(
                top1=19.1,
                top5=4.4,
                source=f"{_RESNEXT}, table 5",
                setting="validation, 1 crop 320",
            ),
            Result(
                top5=3.03,
                source="ILSVRC-2016 results",
                setting="ILSVRC-2016 test, second place, ensemble of unpublished size",
                networks=0,
            ),
            _torchvision(83.246, 96.454, f"{_CROP_224}, a newer training recipe"),
        ),
    ),
    "se_resnet50": _senet(
        "se_resnet50",
        "SE-ResNet-50",
        parameters=28_088_024,
        macs=3_870.0,
        macs_source=f"{_SENET}, table 2",
        results=(
            Result(top1=23.29, top5=6.62, source=f"{_SENET}, table 2", setting=_CROP_224),
            _senet_retrained(22.37, 6.36),
            _timm("legacy_seresnet50", 22.356, 6.242),
        ),
    ),
    "se_resnext50_32x4d": _senet(
        "se_resnext50_32x4d",
        "SE-ResNeXt-50 32x4d",
        parameters=27_559_896,
        macs=4_250.0,
        macs_source=f"{_SENET}, table 2",
        results=(
            Result(top1=21.10, top5=5.49, source=f"{_SENET}, table 2", setting=_CROP_224),
            _senet_retrained(20.97, 5.54),
            _timm("legacy_seresnext50_32x4d", 20.924, 5.568),
        ),
    ),
    "senet154": _senet(
        "senet154",
        "SENet-154",
        parameters=115_088_984,
        macs=20_770.0,
        macs_source=_TIMM,
        results=(
            Result(top1=18.68, top5=4.47, source=_SENET, setting=_CROP_224),
            Result(top1=17.28, top5=3.79, source=_SENET, setting="validation, 1 crop 320"),
            Result(
                top5=2.251,
                source=_SENET,
                setting="ILSVRC-2017 test, winner, ensemble of unpublished size",
                networks=0,
            ),
            _timm("legacy_senet154", 18.692, 4.508),
        ),
    ),
    "mobilenet_v1": Entry(
        builder=_builder("mobilenet", "mobilenet_v1"),
        title="MobileNet",
        year=2017,
        paper=_MOBILENET_V1,
        parameters=4_231_976,
        parameters_source=_KERAS,
        macs=569.0,
        macs_source=f"{_MOBILENET_V1}, table 6",
        results=(
            _mobilenet_v1_alpha(1.0, 70.6),
            _mobilenet_v1_alpha(0.75, 68.4),
            _mobilenet_v1_alpha(0.5, 63.7),
            _mobilenet_v1_alpha(0.25, 50.6),
            _accuracy(70.9, 89.9, source=_SLIM, setting=_CROP_224),
            _keras(70.4, 89.5),
        ),
    ),
    "mobilenet_v2": Entry(
        builder=_builder("mobilenet", "mobilenet_v2"),
        title="MobileNetV2",
        year=2018,
        paper=_MOBILENET_V2,
        parameters=3_504_872,
        parameters_source=_TORCHVISION,
        macs=300.0,
        macs_source=f"{_MOBILENET_V2}, table 4",
        results=(
            _accuracy(72.0, source=f"{_MOBILENET_V2}, table 4", setting=_CROP_224),
            _accuracy(71.8, 91.0, source=_SLIM, setting=_CROP_224),
            _torchvision(71.878, 90.286),
            _keras(71.3, 90.1),
        ),
    ),
    "mobilenet_v3_small": _mobilenet_v3(
        "small",
        parameters=2_542_856,
        macs=56.0,
        paper=67.4,
        slim=67.5,
        minimalistic=61.9,
        keras=68.1,
        torchvision=(67.668, 87.402),
    ),
    "mobilenet_v3_large": _mobilenet_v3(
        "large",
        parameters=5_483_032,
        macs=219.0,
        paper=75.2,
        slim=75.2,
        minimalistic=72.3,
        keras=75.6,
        torchvision=(74.042, 91.340),
    ),
    "efficientnet_b0": _efficientnet(
        0, 224, 5_288_548, macs=390.0, paper=(77.1, 93.3), torchvision=(77.692, 93.532)
    ),
    "efficientnet_b1": _efficientnet(
        1, 240, 7_794_184, macs=700.0, paper=(79.1, 94.4), torchvision=(78.642, 94.186)
    ),
    "efficientnet_b2": _efficientnet(
        2,
        260,
        9_109_994,
        macs=1_000.0,
        paper=(80.1, 94.9),
        torchvision=(80.608, 95.310),
        torchvision_crop=288,
    ),
    "efficientnet_b3": _efficientnet(
        3, 300, 12_233_232, macs=1_800.0, paper=(81.6, 95.7), torchvision=(82.008, 96.054)
    ),
    "efficientnet_b4": _efficientnet(
        4, 380, 19_341_616, macs=4_200.0, paper=(82.9, 96.4), torchvision=(83.384, 96.594)
    ),
    "efficientnet_b5": _efficientnet(
        5, 456, 30_389_784, macs=9_900.0, paper=(83.6, 96.7), torchvision=(83.444, 96.628)
    ),
    "efficientnet_b6": _efficientnet(
        6, 528, 43_040_704, macs=19_000.0, paper=(84.0, 96.8), torchvision=(84.008, 96.916)
    ),
    "efficientnet_b7": _efficientnet(
        7,
        600,
        66_347_960,
        macs=37_000.0,
        paper=(84.3, 97.0),
        others=(
            _accuracy(
                84.4,
                97.1,
                source=f"{_EFFICIENTNET}v1, table 2",
                setting="validation, 1 crop 600, the paper's first version",
            ),
        ),
        torchvision=(84.122, 96.908),
    ),
    "efficientnet_lite0": _lite(
        0,
        224,
        4_652_008,
        macs=407.0,
        float32=75.1,
        int8=74.4,
        timm=(25.170, 7.828),
    ),
    "efficientnet_lite1": _lite(
        1, 240, 5_416_680, macs=631.0, float32=76.7, int8=75.9, timm=(23.356, 6.770)
    ),
    "efficientnet_lite2": _lite(
        2, 260, 6_092_072, macs=899.0, float32=77.6, int8=77.0, timm=(22.536, 6.250)
    ),
    "efficientnet_lite3": _lite(
        3,
        280,
        8_197_096,
        macs=1_440.0,
        float32=79.8,
        int8=79.0,
        timm=(20.192, 5.088),
        timm_crop=300,
    ),
    "efficientnet_lite4": _lite(
        4,
        300,
        13_006_568,
        macs=2_640.0,
        float32=81.5,
        int8=80.2,
        timm=(18.468, 4.336),
        timm_crop=380,
    ),
    "efficientnet_v2_b0": _efficientnet_v2_b(
        0,
        224,
        7_139_704,
        macs=720.0,
        automl=78.7,
        timm=(21.642, 5.986),
        keras=(78.7, 94.3),
    ),
    "efficientnet_v2_b1": _efficientnet_v2_b(
        1,
        240,
        8_141_052,
        macs=1_200.0,
        automl=79.8,
        timm=(20.538, 5.278),
        keras=(79.8, 95.0),
    ),
    "efficientnet_v2_b2": _efficientnet_v2_b(
        2,
        260,
        10_096_086,
        macs=1_700.0,
        automl=80.5,
        timm=(19.806, 4.958),
        keras=(80.5, 95.1),
    ),
    "efficientnet_v2_b3": _efficientnet_v2_b(
        3,
        300,
        14_358_406,
        macs=3_000.0,
        automl=82.1,
        timm=(18.030, 4.212),
        keras=(82.0, 95.8),
    ),
    "efficientnet_v2_s": _efficientnet_v2(
        "s",
        384,
        21_458_488,
        macs=8_366.0,
        paper=83.9,
        automl=83.9,
        torchvision=(84.228, 96.878),
        keras=(83.9, 96.7),
    ),
    "efficientnet_v2_m": _efficientnet_v2(
        "m",
        480,
        54_139_356,
        macs=24_582.0,
        paper=85.1,
        automl=85.2,
        torchvision=(85.112, 97.156),
        keras=(85.3, 97.4),
    ),
    "efficientnet_v2_l": _efficientnet_v2(
        "l",
        480,
        118_515_272,
        macs=56_080.0,
        paper=85.7,
        automl=85.7,
        torchvision=(85.808, 97.788),
        keras=(85.7, 97.5),
    ),
    "cspnext_tiny": _cspnext(
        "tiny", parameters=2_733_700, millions=2.73, macs=339.0, accuracies=(69.44, 89.45)
    ),
    "cspnext_s": _cspnext(
        "s", parameters=4_891_320, millions=4.89, macs=664.0, accuracies=(74.41, 92.23)
    ),
    "mobileone_s0": _mobileone(
        0,
        parameters=5_293_272,
        macs=1_100.0,
        fused=Fused(
            parameters=2_078_504, macs=275.0, source=f"{_ML_MOBILEONE}, 2.1 million parameters"
        ),
        top1=71.4,
    ),
    "mobileone_s1": _mobileone(
        1,
        parameters=4_825_192,
        macs=825.0,
        fused=Fused(
            parameters=4_764_840, macs=825.0, source=f"{_ML_MOBILEONE}, 4.8 million parameters"
        ),
        top1=75.9,
    ),
    "mobileone_s2": _mobileone(
        2,
        parameters=7_884_648,
        macs=1_299.0,
        fused=Fused(
            parameters=7_808_168, macs=1_299.0, source=f"{_ML_MOBILEONE}, 7.8 million parameters"
        ),
        top1=77.4,
    ),
    "mobileone_s3": _mobileone(
        3,
        parameters=10_170_600,
        macs=1_896.0,
        fused=Fused(
            parameters=10_078_312, macs=1_896.0, source=f"{_ML_MOBILEONE}, 10.1 million parameters"
        ),
        top1=78.1,
    ),
    "mobilenet_v4_conv_small": _mobilenet_v4(
        "conv_small",
        224,
        parameters=3_774_024,
        macs=None,
        macs_source="published as 0.2 G, no nearer",
        paper=73.8,
        timm=("e2400_r224_in1k", 26.244, 8.578),
    ),
    "mobilenet_v4_conv_medium": _mobilenet_v4(
        "conv_medium",
        256,
        parameters=9_715_512,
        macs=1_100.0,
        paper=79.9,
        timm=("e500_r256_in1k", 20.072, 4.816),
    ),
    "mobilenet_v4_conv_large": _mobilenet_v4(
        "conv_large",
        384,
        parameters=32_590_864,
        macs=6_400.0,
        paper=82.9,
        timm=("e600_r384_in1k", 17.048, 3.734),
    ),
    "mobilenet_v4_hybrid_medium": _mobilenet_v4(
        "hybrid_medium",
        256,
        parameters=11_074_648,
        macs=None,
        macs_source="published as 1.2 G, of a network with other counts",
        paper=80.7,
        timm=("e500_r224_in1k", 19.558, 4.62),
        timm_crop=224,
    ),
    "mobilenet_v4_hybrid_large": _mobilenet_v4(
        "hybrid_large",
        384,
        parameters=37_764_624,
        macs=None,
        macs_source="published as 7.2 G, of a network with other counts",
        paper=83.4,
        timm=("e600_r384_in1k", 16.2, 3.23),
    ),
    "repvit_m0_9": _repvit(
        "0.9",
        parameters=5_103_560,
        both_heads=5_489_328,
        macs=800.0,
        fused=Fused(
            parameters=5_067_056, macs=800.0, source=f"{_REPVIT}, table 1, 5.1 million parameters"
        ),
        epochs_300=78.7,
        epochs_450=79.1,
    ),
    "repvit_m1_0": _repvit(
        "1.0",
        parameters=6_852_900,
        both_heads=7_302_796,
        macs=1_100.0,
        fused=Fused(
            parameters=6_810_312, macs=1_100.0, source=f"{_REPVIT}, table 1, 6.8 million parameters"
        ),
        epochs_300=80.0,
        epochs_450=80.3,
    ),
    "faster_rcnn_resnet50_fpn": _rcnn(
        "faster",
        "resnet50",
        "ResNet-50",
        year=2017,
        parameters=41_755_286,
        parameters_source=f"{_TORCHVISION} fasterrcnn_resnet50_fpn",
        macs=134_380.0,
        macs_source=_TORCHVISION,
        results=(_coco(37.0, source=f"{_TORCHVISION} COCO_V1", setting=f"{_VAL2017}, 800"),),
    ),
    "mask_rcnn_resnet50_fpn": _rcnn(
        "mask",
        "resnet50",
        "ResNet-50",
        year=2017,
        parameters=44_401_393,
        parameters_source=f"{_TORCHVISION} maskrcnn_resnet50_fpn",
        macs=134_380.0,
        macs_source=f"{_TORCHVISION}, {_NOTHING_FOUND}",
        results=(
            _coco(37.9, source=f"{_TORCHVISION} COCO_V1", setting=f"{_VAL2017}, 800"),
            _coco(34.6, source=f"{_TORCHVISION} COCO_V1", setting=f"{_VAL2017}, 800, masks"),
        ),
    ),
    "ssdlite_mobilenet_v2": _ssdlite(
        "mobilenet_v2",
        "MobileNetV2",
        year=2018,
        paper=_MOBILENET_V2,
        parameters=4_664_988,
        parameters_source=f"counted; 4.3 million in the paper's table 6, {_FEWER}",
        macs=800.0,
        macs_source=f"{_MOBILENET_V2}, table 6, {_FEWER}",
        results=(_coco(22.1, source=f"{_MOBILENET_V2}, table 6", setting=f"{_TEST_DEV}, 320"),),
    ),
    "ssdlite_mobilenet_v3_small": _ssdlite(
        "mobilenet_v3_small",
        "MobileNetV3-Small",
        year=2019,
        paper=_MOBILENET_V3,
        backbone_options={"reduced_tail": False},
        parameters=1_868_108,
        parameters_source=f"counted; 1.77 million in the paper's table 6, {_FEWER}",
        macs=160.0,
        macs_source=f"{_MOBILENET_V3}, table 6, {_FEWER}",
        results=(
            _coco(16.1, source=f"{_MOBILENET_V3}, table 6", setting=f"{_TEST_DEV}, 320"),
            _coco(
                16.0,
                source=f"{_MOBILENET_V3}, table 6",
                setting=f"{_TEST_DEV}, 320, without reduced_tail",
            ),
        ),
    ),
    "ssdlite_mobilenet_v3_large": _ssdlite(
        "mobilenet_v3_large",
        "MobileNetV3-Large",
        year=2019,
        paper=_MOBILENET_V3,
        backbone_options={"reduced_tail": False},
        parameters=3_440_060,
        parameters_source=f"{_TORCHVISION} ssdlite320_mobilenet_v3_large",
        macs=583.0,
        macs_source=f"{_TORCHVISION}; 510 million in {_MOBILENET_V3}, table 6, {_FEWER}",
        results=(
            _coco(22.0, source=f"{_MOBILENET_V3}, table 6", setting=f"{_TEST_DEV}, 320"),
            _coco(
                22.0,
                source=f"{_MOBILENET_V3}, table 6",
                setting=f"{_TEST_DEV}, 320, without reduced_tail",
            ),
            _coco(21.3, source=f"{_TORCHVISION} COCO_V1", setting=f"{_VAL2017}, 320"),
        ),
    ),
    "efficientdet_lite0": _efficientdet_lite(
        0, 320, 3_243_470, float32=26.41, int8=26.10, effdet=27.1
    ),
    "efficientdet_lite1": _efficientdet_lite(
        1, 384, 4_248_318, float32=31.50, int8=31.12, effdet=32.2
    ),
    "efficientdet_lite2": _efficientdet_lite(
        2, 448, 5_252_334, float32=35.06, int8=34.69, effdet=35.9
    ),
    "efficientdet_lite3": _efficientdet_lite(
        3, 512, 8_350_862, float32=38.77, int8=38.42, effdet=39.6
    ),
    "efficientdet_lite4": _efficientdet_lite(
        4, 640, 15_130_894, float32=43.18, int8=42.83, effdet=44.2
    ),
    "faster_rcnn_efficientnet_lite0_fpn": _rcnn(
        "faster",
        "efficientnet_lite0",
        "EfficientNet-Lite0",
        year=2020,
        parameters=7_280_310,
        size=320,
    ),
    "mask_rcnn_efficientnet_lite0_fpn": _rcnn(
        "mask",
        "efficientnet_lite0",
        "EfficientNet-Lite0",
        year=2020,
        parameters=7_487_249,
        size=320,
    ),
    "faster_rcnn_mobilenet_v3_large_fpn": _rcnn(
        "faster",
        "mobilenet_v3_large",
        "MobileNetV3-Large",
        year=2021,
        parameters=19_386_354,
        parameters_source=f"{_TORCHVISION} fasterrcnn_mobilenet_v3_large_fpn",
        macs=4_494.0,
        macs_source=f"{_TORCHVISION}, {_NOTHING_FOUND}",
        results=(
            _coco(32.8, source=f"{_TORCHVISION} COCO_V1", setting=f"{_VAL2017}, 800"),
            _coco(
                22.8,
                source=f"{_TORCHVISION} fasterrcnn_mobilenet_v3_large_320_fpn COCO_V1",
                setting=f"{_VAL2017}, 320, 150 proposals",
            ),
        ),
    ),
    "mask_rcnn_mobilenet_v3_large_fpn": _rcnn(
        "mask", "mobilenet_v3_large", "MobileNetV3-Large", year=2021, parameters=22_032_461
    ),
    "rtmdet_tiny": _rtmdet(
        "tiny", "RTMDet-tiny", parameters=4_896_168, millions=4.8, macs=8_100.0, ap=41.1
    ),
    "rtmdet_s": _rtmdet(
        "s", "RTMDet-s", parameters=8_886_924, millions=8.89, macs=14_800.0, ap=44.6
    ),
    "ssdlite_mobileone_s0": _ssdlite(
        "mobileone_s0",
        "MobileOne-S0",
        year=2023,
        paper=_MOBILEONE,
        parameters=6_302_860,
        parameters_source="counted, with branches",
        macs=None,
        macs_source="not published",
        results=(),
    ),
    "rtmdet_mobilenet_v4_conv_small": Entry(
        builder=f"{_DETECTION}.rtmdet:rtmdet_mobilenet_v4_conv_small",
        title="RTMDet, MobileNetV4-Conv-Small",
        task="detection",
        year=2024,
        paper=_MOBILENET_V4,
        parameters=1_814_556,
        parameters_source="counted",
        macs=None,
        macs_source="not published",
        results=(),
        input_shape=(320, 320, 3),
        classes=80,
        backbone="mobilenet_v4_conv_small",
        cell=8,
    ),
    "ssdlite_mobilenet_v4_conv_small": _ssdlite(
        "mobilenet_v4_conv_small",
        "MobileNetV4-Conv-Small",
        year=2024,
        paper=_MOBILENET_V4,
        parameters=3_431_420,
        parameters_source="counted",
        macs=None,
        macs_source="not published",
        results=(),
    ),
    "ssdlite_mobilenet_v4_conv_medium": _ssdlite(
        "mobilenet_v4_conv_medium",
        "MobileNetV4-Conv-Medium",
        year=2024,
        paper=_MOBILENET_V4,
        parameters=9_600_236,
        parameters_source="counted",
        macs=None,
        macs_source="not published",
        results=(),
    ),
    "unet": Entry(
        builder=f"{_SEGMENTATION}.unet:unet",
        title="U-Net",
        task="segmentation",
        year=2015,
        paper=_UNET,
        parameters=31_031_810,
        parameters_source=f"counted, {_UNET}, figure 1; 31,030,658 with one channel, as there",
        macs=None,
        # The 54.7 thousand million of many tables, at 256x256, count every transposed convolution
        # as if all of its kernel met each output pixel; ours are 48.2 there, and 192.7 here.
        macs_source="not in the paper",
        results=(
            _overlap(92.03, data="PhC-U373", source=f"{_UNET}, table 2", setting=_TRACKING),
            _overlap(77.56, data="DIC-HeLa", source=f"{_UNET}, table 2", setting=_TRACKING),
            _overlap(
                69.10,
                data="Cityscapes",
                source="mmsegmentation UNet-S5-D16, FCN",
                setting="validation, 512x1024, with batch norm and bilinear up-sampling",
            ),
        ),
        input_shape=(512, 512, 3),
        classes=2,
    ),
    "unet_resnet50": _unet_on(
        "resnet50",
        "ResNet-50",
        year=2015,
        parameters=32_520_994,
        parameters_source="32,521,250 in segmentation_models_pytorch, whose logits are a 3x3",
    ),
    "unet_mobilenet_v2": _unet_on("mobilenet_v2", "MobileNetV2", year=2018, parameters=4_004_834),
    "unet_efficientnet_lite0": _unet_on(
        "efficientnet_lite0",
        "EfficientNet-Lite0",
        year=2020,
        parameters=5_198_050,
    ),
    "unet_mobileone_s0": _unet_on(
        "mobileone_s0",
        "MobileOne-S0",
        year=2023,
        parameters=8_585_682,
        parameters_source="counted, with branches",
    ),
    "unet_mobilenet_v4_conv_small": _unet_on(
        "mobilenet_v4_conv_small",
        "MobileNetV4-Conv-Small",
        year=2024,
        parameters=2_933_698,
        parameters_source="counted",
    ),
    "unet_mobilenet_v4_conv_medium": _unet_on(
        "mobilenet_v4_conv_medium",
        "MobileNetV4-Conv-Medium",
        year=2024,
        parameters=9_222_322,
        parameters_source="counted",
    ),
}
# In the order of their first entries.
TASKS = tuple(dict.fromkeys(entry.task for entry in ENTRIES.values()))
