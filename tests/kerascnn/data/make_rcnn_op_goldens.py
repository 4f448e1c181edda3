"""Make golden results of the operations in torchvision's two-stage detectors.

    python make_rcnn_op_goldens.py -o rcnn_op_goldens.npz

Needs numpy, torch and torchvision. Downloads nothing.

The file holds inputs and results in torchvision's order: maps (n, channels, height, width), boxes
(left, top, right, bottom) in pixels, codes (dx, dy, dw, dh). `torchvision` is its version, `size`
the (height, width) of the pictures. Of each operation:
`align_*`: roi_align on one map of stride 4, `align_false` and `align_true` by `aligned`;
`pyramid_*`: MultiScaleRoIAlign on maps of strides 4 to 32, of a picture 6 times the size;
`rpn_*`: AnchorGenerator and filter_proposals, with few and with a lowest score (`rpn_strict`);
`mobile_anchors`: of the detector on MobileNetV3;
`box_*`: postprocess_detections.
The arithmetic is float32 on one thread.
"""

import argparse

import numpy as np
import torch
import torchvision
from torchvision.models.detection import faster_rcnn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, roi_align

SIZE = HEIGHT, WIDTH = 64, 96
STRIDES = (4, 8, 16, 32, 64)
CLASSES = 4
Arrays = dict[str, np.ndarray]


def random_boxes(rng: np.random.Generator, count: int, largest: float) -> np.ndarray:
    """(count, 4), of all sizes, inside the picture."""
    centres = rng.uniform(0, 1, (count, 2)) * [WIDTH, HEIGHT]
    halves = np.exp(rng.uniform(0, np.log(largest), (count, 2))) / 2
    limits = [WIDTH, HEIGHT, WIDTH, HEIGHT]
    return np.clip(np.concatenate([centres - halves, centres + halves], 1), 0, limits)


def whole(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers, which take little room in the file."""
    return rng.integers(-8, 9, shape).astype(np.float32)


def make_align(rng: np.random.Generator) -> Arrays:
    """Boxes anywhere, some of them far out, without area, or larger than the picture."""
    maps = whole(rng, (2, 3, HEIGHT // 4, WIDTH // 4))
    boxes = np.stack([random_boxes(rng, 10, 80) for _ in maps])
    boxes[0, :5] = [
        [10, 12, 10, 12],
        [-30, -30, -9, -9],
        [90, 50, 120, 90],
        [-7, -3, 9, 5],
        [-20, -30, 130, 100],
    ]
    boxes = boxes.astype(np.float32)
    found = {"align_map": maps, "align_boxes": boxes}
    for aligned in (False, True):
        result = roi_align(
            torch.tensor(maps), [torch.tensor(b) for b in boxes], (3, 5), 0.25, 2, aligned
        )
        found[f"align_{aligned}".lower()] = result.numpy().reshape(2, 10, 3, 3, 5)
    return found


def make_pyramid(rng: np.random.Generator) -> Arrays:
    """Six times the picture, so that boxes belong to all levels."""
    height, width = 6 * HEIGHT, 6 * WIDTH
    shapes = [(1, 1, height // stride, width // stride) for stride in STRIDES[:4]]
    maps = {str(i): whole(rng, shape) for i, shape in enumerate(shapes)}
    boxes = (6 * random_boxes(rng, 24, 90)).astype(np.float32)
    boxes[0] = [0, 0, width, height]
    align = MultiScaleRoIAlign([*maps], 7, 2)
    result = align(
        {name: torch.tensor(x) for name, x in maps.items()},
        [torch.tensor(boxes)],
        [(height, width)],
    )
    found = {f"pyramid_map{name}": x for name, x in maps.items()}
    return found | {"pyramid_boxes": boxes, "pyramid_result": result.numpy()}


def make_rpn(rng: np.random.Generator, network: torch.nn.Module) -> Arrays:
    """Some codes so large that they are cut, some boxes outside of the picture."""
    maps = [torch.zeros(1, 1, -(-HEIGHT // s), -(-WIDTH // s)) for s in STRIDES]
    pictures = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    rpn = network.rpn
    anchors = rpn.anchor_generator(pictures, maps)
    count = len(anchors[0])
    codes = whole(rng, (1, count, 4)) / 8
    codes[:, ::40, 2:] += 6
    logits = rng.normal(-1, 2, (1, count)).astype(np.float32)
    boxes = rpn.box_coder.decode(torch.tensor(codes[0]), anchors).view(1, -1, 4)
    found = {"rpn_anchors": anchors[0].numpy(), "rpn_codes": codes, "rpn_logits": logits}
    for name, before, after, least in (("rpn_many", 200, 100, 0.0), ("rpn_strict", 50, 200, 0.3)):
        rpn._pre_nms_top_n["testing"], rpn._post_nms_top_n["testing"] = before, after
        rpn.score_thresh = least
        sizes = [3 * x.shape[2] * x.shape[3] for x in maps]
        proposals, _ = rpn.filter_proposals(boxes, torch.tensor(logits)[..., None], [SIZE], sizes)
        found[name] = proposals[0].numpy()
    return found


def make_detections(rng: np.random.Generator, network: torch.nn.Module) -> Arrays:
    """Regions that overlap, codes that take some of them out of the picture."""
    regions = random_boxes(rng, 40, 60).astype(np.float32)
    logits = rng.normal(0, 1.5, (40, 1 + CLASSES)).astype(np.float32)
    codes = whole(rng, (40, 4 * (1 + CLASSES))) / 4
    codes[::6] *= 8
    heads = network.roi_heads
    boxes, scores, labels = heads.postprocess_detections(
        torch.tensor(logits), torch.tensor(codes), [torch.tensor(regions)], [SIZE]
    )
    return {
        "box_regions": regions,
        "box_logits": logits,
        "box_codes": codes,
        "box_boxes": boxes[0].numpy(),
        "box_scores": scores[0].numpy(),
        "box_labels": labels[0].numpy(),
    }


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-o", "--output", default="rcnn_op_goldens.npz")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    nothing = {"weights": None, "weights_backbone": None, "num_classes": 1 + CLASSES}
    network = faster_rcnn.fasterrcnn_resnet50_fpn(**nothing).eval()
    mobile = faster_rcnn.fasterrcnn_mobilenet_v3_large_fpn(**nothing).eval()
    maps = [torch.zeros(1, 1, -(-HEIGHT // s), -(-WIDTH // s)) for s in (32, 32, 64)]
    anchors = mobile.rpn.anchor_generator(ImageList(torch.zeros(1, 3, *SIZE), [SIZE]), maps)
    np.savez_compressed(
        output,
        torchvision=torchvision.__version__,
        size=SIZE,
        mobile_anchors=anchors[0].numpy(),
        **make_align(rng),
        **make_pyramid(rng),
        **make_rpn(rng, network),
        **make_detections(rng, network),
    )


if __name__ == "__main__":
    main()
