"""Random pictures and answers for the losses of two-stage detectors, and what torchvision says.

All anchors and regions are looked at, so that chance decides nothing. The second stage's answers
are linear in a region's box: whatever the order of the regions, they are the same.

`python rcnn_case.py`, where torch and torchvision are installed, prints `EXPECTED` anew.
"""

from __future__ import annotations

import numpy as np

HEIGHT, WIDTH = 128, 256  # powers of two: a pixel's share is a whole number of floats
SIZE = np.array([HEIGHT, WIDTH, HEIGHT, WIDTH], np.float32)
CLASSES, SIDE = 4, 28
ANCHORS = {"strides": (8, 16, 32), "sizes": ((16,), (32,), (64,)), "aspect_ratios": (0.5, 1, 2)}
ALL = 20_000  # samples
PROPOSALS = 300

# Of torchvision 0.29.2; the masks' with aligned=True and sampling_ratio=2.
EXPECTED = {
    "rpn_class_loss": 0.8040835,
    "rpn_box_loss": 0.007677188,
    "class_loss": 2.439279,
    "box_loss": 3.2024126,
    "mask_loss": 1.0971807,
}


def case() -> dict[str, np.ndarray]:
    """Boxes are pixels: top, left, bottom, right."""
    rng = np.random.default_rng(3)
    boxes, labels = np.zeros((3, 6, 4), np.float32), np.full((3, 6), -1, np.int32)
    for picture, count in enumerate((6, 3, 1)):
        for place in range(count):
            sides = rng.integers(3, 70, 2)
            corner = rng.integers(0, (HEIGHT, WIDTH) - sides)
            boxes[picture, place] = (*corner, *(corner + sides))
            labels[picture, place] = rng.integers(0, CLASSES)
    boxes[2, 0] = (60, 100, 63, 103)  # it lies in several anchors, and overlaps with them alike
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    top, left, bottom, right = (boxes[..., side, None, None] for side in range(4))
    with np.errstate(divide="ignore", invalid="ignore"):
        down = (2 * y - top - bottom) / (bottom - top)
        across = (2 * x - left - right) / (right - left)
    anchors = sum(3 * (HEIGHT // stride) * (WIDTH // stride) for stride in ANCHORS["strides"])
    draw = lambda scale, *shape: rng.normal(0, scale, shape).astype(np.float32)  # noqa: E731
    return {
        "boxes": boxes,
        "labels": labels,
        "masks": (down**2 + across**2 <= 1).astype(np.uint8),
        "proposals": _proposals(rng, boxes, labels),
        "rpn_codes": draw(0.3, 3, anchors, 4),
        "rpn_logits": draw(1.0, 3, anchors),
        "to_logits": draw(0.01, 4, 1 + CLASSES),
        "to_codes": draw(0.01, 4, (1 + CLASSES) * 4),
        "to_masks": draw(0.01, 4, SIDE * SIDE * (1 + CLASSES)),
    }


def _proposals(rng: np.random.Generator, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Every second one near an object."""
    corners = rng.uniform(0, 0.7, (3, PROPOSALS, 2)) * SIZE[:2]
    found = np.concatenate([corners, corners + rng.uniform(5, 35, corners.shape)], axis=-1)
    for picture in range(3):
        near = boxes[picture, rng.integers(0, (labels[picture] >= 0).sum(), PROPOSALS // 2)]
        sides = np.tile(near[:, 2:] - near[:, :2], 2)
        found[picture, ::2] = near + rng.normal(0, 0.15, near.shape) * sides
    found = np.clip(found, 0, SIZE)
    found[..., :2] = np.minimum(found[..., :2], SIZE[:2] - 1)
    found[..., 2:] = np.maximum(found[..., 2:], found[..., :2] + 0.5)
    return found.astype(np.float32)


def losses(given: dict) -> dict:
    """Ours, by name."""
    from keras import ops

    from kerascnn.detection.anchors import rpn_anchors
    from kerascnn.detection.specs import TwoStageSpec
    from training.datasets.mask_bits import packed
    from training.detection.two_stage_losses import RCNNLoss, Regions, Truth

    spec = TwoStageSpec(
        anchors=rpn_anchors((HEIGHT, WIDTH), **ANCHORS), input_size=(HEIGHT, WIDTH),
        rpn_samples=ALL, samples=ALL, positive_share=0.5, proposals=PROPOSALS // 2,
    )  # fmt: skip
    loss = RCNNLoss(spec=spec)
    truth = Truth(given["boxes"] / SIZE, given["labels"], given["labels"] == -2)
    truth = Truth(*map(ops.convert_to_tensor, truth))
    chance = np.random.default_rng(0).random((3, loss.random_numbers(6)), np.float32)
    objects, proposals = loss.of_anchors(truth, given["rpn_codes"], given["rpn_logits"], chance)
    regions = loss.regions(
        truth, ops.convert_to_tensor(given["proposals"] / SIZE),
        ops.ones((3, PROPOSALS), "bool"), chance,
    )  # fmt: skip
    pixels = regions.boxes * SIZE
    rows = pixels.shape[:2]
    classes, boxes = loss.of_regions(
        truth, regions, ops.matmul(pixels, given["to_logits"]),
        ops.reshape(ops.matmul(pixels, given["to_codes"]), (*rows, -1, 4)),
    )  # fmt: skip
    few = 150  # of each picture are positive at most
    some = Regions(*(each[:, :few] for each in regions))
    masks = ops.reshape(ops.matmul(pixels[:, :few], given["to_masks"]), (3, few, SIDE, SIDE, -1))
    return {
        "rpn_class_loss": objects,
        "rpn_box_loss": proposals,
        "class_loss": classes,
        "box_loss": boxes,
        "mask_loss": loss.of_masks(some, masks, packed(given["masks"]), WIDTH),
    }


def expected() -> dict[str, float]:
    """Torchvision's."""
    import torch
    import torchvision
    from torchvision.models.detection import roi_heads, rpn

    given = case()
    turned = [1, 0, 3, 2]  # left first: boxes and codes

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(values))

    objects = [labels >= 0 for labels in given["labels"]]
    targets = [
        {
            "boxes": tensor(boxes[real][:, turned]),
            "labels": tensor(labels[real] + 1).long(),
            "masks": tensor(masks[real]),
        }
        for boxes, labels, masks, real in zip(
            given["boxes"], given["labels"], given["masks"], objects, strict=True
        )
    ]
    from kerascnn.detection.anchors import rpn_anchors

    anchors = [tensor((rpn_anchors((HEIGHT, WIDTH), **ANCHORS).boxes() * SIZE)[:, turned])] * 3
    count = {"training": 1, "testing": 1}
    first = rpn.RegionProposalNetwork(None, None, 0.7, 0.3, ALL, 0.5, count, count, 0.7)
    labels, matched = first.assign_targets_to_anchors(anchors, targets)
    of_anchors = first.compute_loss(
        tensor(given["rpn_logits"]).reshape(-1, 1),
        tensor(given["rpn_codes"][..., turned]).reshape(-1, 4),
        labels,
        first.box_coder.encode(matched, anchors),
    )
    second = roi_heads.RoIHeads(None, None, None, 0.5, 0.5, ALL, 0.5, None, 0.05, 0.5, 100)
    regions, objects_of, labels, codes = second.select_training_samples(
        [tensor(each[:, turned]) for each in given["proposals"]], targets
    )
    pixels = torch.cat(regions)[:, turned]
    found = (pixels @ tensor(given["to_codes"])).reshape(len(pixels), -1, 4)[..., turned]
    of_regions = roi_heads.fastrcnn_loss(
        pixels @ tensor(given["to_logits"]), found.flatten(1), labels, codes
    )
    positive = [torch.where(each > 0)[0] for each in labels]
    regions = [each[chosen] for each, chosen in zip(regions, positive, strict=True)]
    masks = (torch.cat(regions)[:, turned] @ tensor(given["to_masks"])).reshape(
        -1, SIDE, SIDE, 1 + CLASSES
    )
    roi_heads.roi_align = lambda masks, boxes, size, scale: torchvision.ops.roi_align(
        masks, boxes, size, scale, sampling_ratio=2, aligned=True
    )
    of_masks = roi_heads.maskrcnn_loss(
        masks.permute(0, 3, 1, 2),
        regions,
        [each["masks"] for each in targets],
        [each["labels"] for each in targets],
        [each[chosen] for each, chosen in zip(objects_of, positive, strict=True)],
    )
    return dict(zip(EXPECTED, map(float, (*of_anchors, *of_regions, of_masks)), strict=True))


if __name__ == "__main__":
    print(expected())
