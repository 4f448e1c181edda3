"""Make golden detections of torchvision's Faster and Mask R-CNN, filled by a rule.

The rule and the form of the file are those of make_torch_goldens.py, which must lie beside this
script. Only the names and shapes of tensors are stored, and what the networks say of two pictures.
The pictures are made as the network takes them: torchvision's own resizing is left out.

    python make_rcnn_goldens.py -o rcnn_goldens.json.gz [--only NAME ...]

Needs numpy, torch, torchvision and timm. Downloads nothing.

A model's entry holds: `version` of torchvision; `gains` (for `values`), by module, and that of all
others as ""; `parameters`, the number of trainable ones where batch norms are frozen; `epsilon` of
the batch norms; `options`, the numbers of inference that are not torchvision's own; `tensors`, a
list of [name, shape] in the file's order; `size`, height and width; and `pictures`, of each
`rpn`: logit and code (dx, dy, dw, dh) of the `picked` anchors;
`proposals`: how many there are, and the boxes of the best;
`detections`: [label, score, left, top, right, bottom], the background label 0, in pixels;
`masks`: probabilities of the detections' own classes at `PIXELS` of 28x28.
The arithmetic is float32 on one thread.
"""

import argparse
import gzip
import io
import json
import pathlib
import re

import numpy as np
import torch
import torchvision
from make_torch_goldens import values
from torchvision.models.detection import backbone_utils
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d

ANCHORS = 24
# Boxes of proposals that are stored, the best first.
PROPOSALS = 40
# Of a 28x28 mask, row by row: so spread that neither turning nor mirroring maps them on themselves.
PIXELS = (0, 27, 95, 200, 318, 406, 433, 581, 650, 756)
SIZE = (256, 320)
OPTIONS = {
    "rpn_pre_nms_top_n_test": 60,
    "rpn_post_nms_top_n_test": 150,
    "box_detections_per_img": 50,
}
# Codes of a random network would throw boxes about, and its scores be all alike or all certain.
_RESNET = {
    "": 1.0,
    "rpn.head.cls_logits": 0.1,
    "rpn.head.bbox_pred": 0.01,
    "roi_heads.box_predictor.cls_score": 1.0,
    "roi_heads.box_predictor.bbox_pred": 0.5,
    "roi_heads.mask_predictor.mask_fcn_logits": 4.0,
}
_MOBILENET = {
    "": 1.5,
    "rpn.head.cls_logits": 0.03,
    "rpn.head.bbox_pred": 0.003,
    "roi_heads.box_predictor.cls_score": 1.0,
    "roi_heads.box_predictor.bbox_pred": 0.5,
}
GAINS = {
    "fasterrcnn_resnet50_fpn": _RESNET,
    "maskrcnn_resnet50_fpn": _RESNET | {"roi_heads.box_predictor.cls_score": 0.1},
    "fasterrcnn_mobilenet_v3_large_fpn": _MOBILENET,
}
# Names of modules before torchvision 0.13.
OLD_NAMES = (
    (r"(rpn\.head\.conv)\.0\.0", r"\1"),
    (r"(backbone\.fpn\..*_blocks\.\d)\.0", r"\1"),
    (r"(roi_heads\.mask_head)\.(\d)\.0", lambda m: f"{m[1]}.mask_fcn{int(m[2]) + 1}"),
)


def build(name):
    """Build a model and say the names of its tensors in a file.

    Mask R-CNN is as its published weights are: with frozen batch norms of epsilon 0, and the names
    of that time, which torchvision reads still. The others have batch norms that are trained.
    """
    if name != "maskrcnn_resnet50_fpn":
        function = getattr(torchvision.models.detection, name)
        model = function(weights=None, weights_backbone=None, **OPTIONS)
        return model, list(model.state_dict())
    backbone = torchvision.models.resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    backbone = backbone_utils._resnet_fpn_extractor(backbone, trainable_layers=5)
    model = torchvision.models.detection.MaskRCNN(backbone, num_classes=91, **OPTIONS)
    overwrite_eps(model, 0.0)
    return model, [old_name(key) for key in model.state_dict()]


def old_name(key):
    """Name a tensor as a torchvision before 0.13 does."""
    for pattern, old in OLD_NAMES:
        key = re.sub(pattern, old, key)
    return key


def filled(model, names, gains):
    """Fill a model by the rule, and put it in inference mode; the tensors of its file."""
    shapes = {n: tuple(t.shape) for n, t in zip(names, model.state_dict().values(), strict=True)}
    state = {}
    for name, shape in shapes.items():
        gain = gains.get(name.rpartition(".")[0], gains[""])
        state[name] = torch.from_numpy(np.asarray(values(name, shape, gain)))
    model.load_state_dict(state, strict=True)
    return model.eval(), shapes


def pictures(height, width):
    """Make the two input pictures, channels last."""
    return np.random.default_rng(0).normal(0, 1, (2, height, width, 3)).astype("float32")


def picked(count):
    """Which anchors are stored: some of all levels, and the very last ones."""
    spread = np.linspace(0, count - 1, ANCHORS - 8).astype(int)
    return sorted({*spread.tolist(), *range(count - 8, count)})


def run(model, height, width):
    """Run the network on the two pictures, without torchvision's transform before and behind."""
    dtype = next(model.parameters()).dtype
    x = torch.from_numpy(pictures(height, width).transpose(0, 3, 1, 2).copy()).to(dtype)
    images = ImageList(x, [(height, width)] * 2)
    with torch.inference_mode():
        maps = model.backbone(x)
        logits, codes = model.rpn.head(list(maps.values()))
        rows = [
            torch.cat([rows_of(level, values) for level in levels], dim=1)
            for levels, values in ((logits, 1), (codes, 4))
        ]
        proposals, _ = model.rpn(images, maps)
        detections, _ = model.roi_heads(maps, proposals, images.image_sizes)
    return torch.cat(rows, dim=2).numpy(), [p.numpy() for p in proposals], detections


def rows_of(level, values):
    """Lay out (2, anchors * values, height, width) as (2, height * width * anchors, values)."""
    return level.permute(0, 2, 3, 1).reshape(2, -1, values)


def rounded(array):
    """Keep six digits."""
    return [[float(f"{v:.6g}") for v in row] for row in array]


def stored(output):
    """Give what the file keeps of `run`, by picture."""
    kept = []
    for rpn, proposals, found in zip(*output, strict=True):
        columns = (found["labels"][:, None], found["scores"][:, None], found["boxes"])
        entry = {
            "rpn": rounded(rpn[picked(len(rpn))]),
            "proposals": [len(proposals), rounded(proposals[:PROPOSALS])],
            "detections": rounded(torch.cat([c.double() for c in columns], dim=1).numpy()),
        }
        if "masks" in found:
            masks = found["masks"].flatten(1)[:, list(PIXELS)]
            entry["masks"] = [[round(float(v), 5) for v in row] for row in masks]
        kept.append(entry)
    return kept


def norms_of(model):
    """Give the batch norms, frozen or not."""
    return [m for m in model.modules() if isinstance(m, (torch.nn.BatchNorm2d, FrozenBatchNorm2d))]


def golden(name):
    """Make a model's entry, and print how far it can be trusted."""
    model, names = build(name)
    model, shapes = filled(model, names, GAINS[name])
    norms = {id(p) for norm in norms_of(model) for p in norm.parameters()}
    (epsilon,) = {norm.eps for norm in norms_of(model)}
    output = run(model, *SIZE)
    entry = {
        "version": torchvision.__version__.split("+")[0],
        "gains": GAINS[name],
        "parameters": sum(p.numel() for p in model.parameters() if id(p) not in norms),
        "epsilon": epsilon,
        "options": OPTIONS,
        "tensors": [[key, list(shape)] for key, shape in shapes.items()],
        "size": list(SIZE),
        "pictures": stored(output),
    }
    report(name, output, run(model.double(), *SIZE))
    return entry


def report(name, output, exact):
    """Print how many and how spread the outputs are, and how float32 differs from float64."""
    rpn, right = output[0], exact[0]
    print(
        f"{name}: logits {rpn[..., 0].std():.2g}, codes {rpn[..., 1:].std():.2g}, "
        f"apart={np.std(rpn[0] - rpn[1]) / np.std(rpn):.2g} "
        f"f32err={np.abs(rpn - right).max() / np.abs(right).max():.1e}"
    )
    for proposals, right, found, wanted in zip(
        output[1], exact[1], output[2], exact[2], strict=True
    ):
        sides = np.sqrt(np.prod(proposals[:, 2:] - proposals[:, :2], axis=1))
        print(
            f"  {len(proposals)} proposals, sides {np.percentile(sides, [0, 25, 50, 75, 100])}, "
            f"{difference(proposals, right)} off"
        )
        labels, scores = found["labels"].numpy(), found["scores"].numpy()
        print(
            f"  {len(scores)} detections, {np.bincount(labels).max()} of one of "
            f"{len(set(labels.tolist()))} classes, scores {scores[-1]:.3f} to {scores[0]:.3f}, "
            f"the closest {-np.diff(scores).max():.1e} apart"
        )
        print("  off by", {key: difference(found[key], wanted[key]) for key in found})


def difference(found, right):
    """Say how far two arrays are from each other."""
    found, right = np.asarray(found), np.asarray(right)
    return f"{np.abs(found - right).max():.1e}" if found.shape == right.shape else "wholly"


def main():
    """Read the command line, make the entries and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-o", "--output", required=True, help="the .json.gz to write")
    parser.add_argument("--only", nargs="+", help="make only these models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    goldens = {name: golden(name) for name in arguments.only or GAINS}
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, filename="", mtime=0) as file:
        file.write(json.dumps(goldens, separators=(",", ":")).encode())
    pathlib.Path(arguments.output).write_bytes(raw.getvalue())
    print(f"{arguments.output}: {len(raw.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
