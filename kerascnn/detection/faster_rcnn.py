"""Faster R-CNN (Ren et al., arXiv:1506.01497) and Mask R-CNN (He et al., arXiv:1703.06870) with a
feature pyramid (FPN, Lin et al., arXiv:1612.03144).

A classifier's maps, a top-down pyramid, a region proposal network, and heads that look at every
proposal: `two_stage_detector` puts them together out of its arguments, and the networks with names
are rows of `FORMS`. Those on ResNet-50 and on MobileNetV3-Large are torchvision's
fasterrcnn_resnet50_fpn, maskrcnn_resnet50_fpn and fasterrcnn_mobilenet_v3_large_fpn. The latter's
pyramid has two levels of the same stride, 32: the block that halves the picture last, and the last
convolution; regions are read from the first of them alone, as torchvision assigns levels.

Batch norms are frozen by default, as in torchvision's published networks: their statistics stay
those of the backbone's weights, and gamma and beta are no trainable parameters (53,120 of
ResNet-50), as a batch of a few pictures has no statistics worth having. That makes the 41,755,286
and 44,401,393 that torchvision lists. A network that starts from random weights needs
`frozen_norm=False`.

Deviations: pictures have one fixed size, to which they are stretched, where torchvision's sides
are 800 to 1333; padding is "same" by default, torchvision's is "symmetric"; suppression has a limit
of candidates (`two_stage.detect`). The form on EfficientNet-Lite0 is ours, for phones: a narrow
pyramid on the strides 8, 16 and 32, narrow heads, and fewer proposals.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerascnn import zoo
from kerascnn.detection import roi_heads
from kerascnn.detection.anchors import rpn_anchors
from kerascnn.detection.rpn import Proposals, rpn
from kerascnn.detection.specs import TwoStageSpec
from kerascnn.detection.top_down_fpn import top_down
from kerascnn.errors import InputError

# Sides in pixels of the regions' maps (torchvision; Mask R-CNN, figure 4).
BOX_SIZE, MASK_SIZE = (7, 7), (14, 14)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """What is behind a name.

    Attributes:
        backbone: of the zoo.
        features: its maps, as `zoo.features` takes them, the finest first.
        strides: of these maps; one of twice the last comes on top.
        sizes: sides in pixels of the square anchors of each level.
        options: of the backbone's builder.
        filters: of the pyramid.
        units: of the box head.
        mask_share: of the pyramid's filters that the mask head has.
        spec: fields of `TwoStageSpec`.
    """

    backbone: str
    features: tuple[str, ...]
    strides: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    options: Mapping[str, Any]
    filters: int = 256
    units: int = 1024
    mask_share: float = 1.0
    spec: Mapping[str, Any] = dataclasses.field(default_factory=dict)


FORMS = {
    "resnet50_fpn": Form(
        backbone="resnet50",
        features=("stage1", "stage2", "stage3", "stage4"),
        strides=(4, 8, 16, 32),
        sizes=((32,), (64,), (128,), (256,), (512,)),
        options={"small_stem": False, "downsample_in": "conv2"},
    ),
    "mobilenet_v3_large_fpn": Form(
        backbone="mobilenet_v3_large",
        features=("stage6_block1", "last_act"),
        strides=(32, 32),
        sizes=((32, 64, 128, 256, 512),) * 3,
        options={"stem_strides": 2},
        spec={"rpn_score_threshold": 0.05},
    ),
    "efficientnet_lite0_fpn": Form(
        backbone="efficientnet_lite0",
        features=("stage3", "stage5", "stage7"),
        strides=(8, 16, 32),
        sizes=((32,), (64,), (128,), (256,)),
        options={"stem_strides": 2, "drop_path": 0.0},
        filters=128,
        units=512,
        mask_share=0.5,
        spec={"candidates_a_level": 500, "proposals": 300},
    ),
}


def rcnn(
    name: str,
    *,
    input_shape=(800, 800, 3),
    classes=90,
    frozen_norm=True,
    aligned=False,
    fpn_filters=None,
    head_units=None,
    mask_filters=None,
    **options,
) -> keras.Model:
    """Build a Faster R-CNN or a Mask R-CNN.

    Args:
        name: "faster_rcnn_" or "mask_rcnn_" and a key of `FORMS`.
        input_shape: (height, width, channels).
        classes: without the background, which has a logit of its own.
        frozen_norm: whether the backbone's batch norms keep their statistics, gammas and betas; a
            network without trained weights needs False.
        aligned: whether RoIAlign takes pixels for their centres, which torchvision's published
            weights do not.
        fpn_filters, head_units, mask_filters: channels of the pyramid, units of the box head,
            channels of the mask head; the form's by default.
        **options: what `detector_spec` takes, and for the backbone's builder all else.

    Returns:
        A functional model from (batch, height, width, channels) to a dictionary: "boxes" (batch,
        d, 4), inside the picture; "labels" (batch, d) int32, -1 where there are no more; "scores"
        (batch, d); "count" (batch,) int32; of a Mask R-CNN "masks" (batch, d, 28, 28), the
        probabilities of the detection's own class in the frame of its box. d is the spec's
        `max_detections`.

    Raises:
        InputError: an impossible option.
    """
    form = FORMS[_form(name)]
    asked = {key: options.pop(key) for key in _SPEC_OPTIONS if key in options}
    spec = detector_spec(name, input_shape, **asked)
    backbone = zoo.build(
        form.backbone, input_shape=input_shape, classes=1, **{**form.options, **options}
    )
    filters = fpn_filters or form.filters
    return two_stage_detector(
        backbone,
        form.features,
        spec,
        classes,
        name=name,
        frozen_norm=frozen_norm,
        aligned=aligned,
        fpn_filters=filters,
        head_units=head_units or form.units,
        mask_filters=mask_filters or round(form.mask_share * filters),
    )


def two_stage_detector(
    backbone: keras.Model,
    features: Sequence[str],
    spec: TwoStageSpec,
    classes: int,
    *,
    name: str,
    frozen_norm=True,
    aligned=False,
    fpn_filters=256,
    head_units=1024,
    mask_filters=256,
) -> keras.Model:
    """Put a detector together; arguments and result are those of `rcnn`, and:

    Args:
        backbone: any model from pictures to features.
        features: its maps, as `zoo.features` takes them, the finest first.
        spec: its anchors' levels are those of the maps and one more, of half the last one's size;
            all have the same number of anchors in a cell. With `masks` it is a Mask R-CNN.
    """
    cut = zoo.features(backbone, features)
    if frozen_norm:
        for layer in cut.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    levels = range(_first_level(features), _first_level(features) + len(features) + 1)
    maps = top_down(cut.outputs, fpn_filters, levels=levels[:-1])
    anchors_a_cell = _anchors_a_cell(spec, maps)
    codes, logits = rpn(maps, anchors_a_cell, levels=levels)
    proposals, valid = Proposals(spec, name="proposals")(codes, logits)
    align = {"picture_size": spec.input_size, "aligned": aligned}
    class_logits, box_codes = roi_heads.box_head(
        maps[:-1], proposals, classes, align={**align, "size": BOX_SIZE}, units=head_units
    )
    outputs = roi_heads.Detections(spec, name="detections")(
        proposals, valid, class_logits, box_codes
    )
    if spec.masks:
        masks = roi_heads.mask_head(
            maps[:-1],
            outputs["boxes"],
            classes,
            align={**align, "size": MASK_SIZE},
            filters=mask_filters,
        )
        outputs["masks"] = roi_heads.Masks(name="masks")(masks, outputs["labels"])
    return keras.Model(cut.inputs[0], outputs, name=name)


def detector_spec(
    name: str, input_shape: tuple[int, ...], *, anchor_scale: float = 1.0, **options: Any
) -> TwoStageSpec:
    """What the outputs of such a network mean at a picture size; torchvision's conventions.

    Args:
        name: as `rcnn` takes it.
        input_shape: (height, width) or (height, width, channels).
        anchor_scale: multiplies the anchors' sides; smaller for smaller objects.
        **options: other fields of `TwoStageSpec`.
    """
    form = FORMS[_form(name)]
    height, width = input_shape[:2]
    values: dict[str, Any] = {
        "anchors": rpn_anchors(
            (height, width),
            strides=[*form.strides, 2 * form.strides[-1]],
            sizes=[[side * anchor_scale for side in sides] for sides in form.sizes],
        ),
        "input_size": (height, width),
        "masks": name.startswith("mask_rcnn_"),
        **form.spec,
    }
    return TwoStageSpec(**{**values, **options})


# What goes to `detector_spec` of a builder's options.
_SPEC_OPTIONS = {"anchor_scale"} | {field.name for field in dataclasses.fields(TwoStageSpec)}


def _form(name: str) -> str:
    return name.removeprefix("faster_rcnn_").removeprefix("mask_rcnn_")


def _first_level(features: Sequence[str]) -> int:
    """So that the coarsest map is level 5's, of stride 32."""
    return 6 - len(features)


def _anchors_a_cell(spec: TwoStageSpec, maps: Sequence[Any]) -> int:
    grids = [(level.rows, level.columns) for level in spec.anchors.levels]
    if grids != [tuple(x.shape[1:3]) for x in maps]:
        raise InputError(
            f"the anchors' grids are {grids}, the pyramid's maps "
            f"{[tuple(x.shape[1:3]) for x in maps]}; give anchors of the features' strides"
        )
    numbers = {len(level.sizes) for level in spec.anchors.levels}
    if len(numbers) > 1:
        raise InputError(f"one head predicts the same anchors in all cells, not {numbers}")
    return numbers.pop()


faster_rcnn_resnet50_fpn = functools.partial(rcnn, "faster_rcnn_resnet50_fpn")
mask_rcnn_resnet50_fpn = functools.partial(rcnn, "mask_rcnn_resnet50_fpn")
faster_rcnn_mobilenet_v3_large_fpn = functools.partial(rcnn, "faster_rcnn_mobilenet_v3_large_fpn")
mask_rcnn_mobilenet_v3_large_fpn = functools.partial(rcnn, "mask_rcnn_mobilenet_v3_large_fpn")
faster_rcnn_efficientnet_lite0_fpn = functools.partial(rcnn, "faster_rcnn_efficientnet_lite0_fpn")
mask_rcnn_efficientnet_lite0_fpn = functools.partial(rcnn, "mask_rcnn_efficientnet_lite0_fpn")
