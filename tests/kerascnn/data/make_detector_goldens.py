"""Make golden outputs of torchvision's and effdet's detectors, filled by a rule.

The rule, the pictures and the form of the file are those of make_torch_goldens.py, which must lie
beside this script. Only the names and shapes of tensors are stored, and what the networks say of
some anchors of two pictures, before any decoding.

    python make_detector_goldens.py -o detector_goldens.json.gz [--only NAME ...]

Needs numpy, torch, torchvision, timm and effdet. Downloads nothing.

A model's entry holds: `package`; `version` of it; `gain` (for `values`); `parameters` (the number
of trainable ones); `tensors`, a list of [name, shape] in the state dict's order; and `outputs`, by
"height x width" the first values of the `picked` anchors of each of the two pictures: `boxes`, as
the package codes them, and `logits`. The arithmetic is float32 on one thread.
"""

import argparse
import gzip
import importlib.metadata
import io
import json
import pathlib

import effdet
import numpy as np
import torch
from make_torch_goldens import values
from torchvision.models import mobilenetv3
from torchvision.models.detection import ssdlite, ssdlite320_mobilenet_v3_large

ANCHORS = 24
VALUES = 4
# One that every level halves evenly down to stride 32, and one that none does.
SIZES = ((96, 128), (75, 101))
GAIN = 1.4


def picked(count):
    """Which anchors are stored: some of all levels, and the very last ones."""
    spread = np.linspace(0, count - 1, ANCHORS - 8).astype(int)
    return sorted({*spread.tolist(), *range(count - 8, count)})


def pictures(height, width):
    """Make the two input pictures, channels last."""
    return np.random.default_rng(0).normal(0, 1, (2, height, width, 3)).astype("float32")


def small_ssdlite():
    """Compose torchvision's SSDLite on its small MobileNetV3, which it has no function for."""
    norm = lambda channels: torch.nn.BatchNorm2d(channels, eps=0.001)  # noqa: E731
    backbone = mobilenetv3.mobilenet_v3_small(reduced_tail=True, norm_layer=norm)
    model = torch.nn.Module()
    model.backbone = ssdlite._mobilenet_extractor(backbone, 6, norm)
    with torch.inference_mode():
        maps = model.eval().backbone(torch.zeros(1, 3, 320, 320)).values()
    model.head = ssdlite.SSDLiteHead([x.shape[1] for x in maps], [6] * 6, 91, norm)
    return model


def build(name, height, width):
    """Build a model for a picture size; which package it is from."""
    if name.startswith("tf_efficientdet"):
        config = effdet.get_efficientdet_config(name)
        config.image_size = (height, width)
        return "effdet", effdet.EfficientDet(config, pretrained_backbone=False)
    if name == "ssdlite320_mobilenet_v3_small":
        return "torchvision", small_ssdlite()
    return "torchvision", ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)


def filled(model, gain):
    """Fill a model by the rule, and put it in inference mode."""
    state = {
        key: torch.from_numpy(np.asarray(values(key, tuple(tensor.shape), gain)))
        for key, tensor in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True)
    return model.eval()


def outputs_of(model, height, width):
    """Give coded boxes (2, anchors, 4) and logits (2, anchors, classes), in the model's dtype."""
    x = torch.from_numpy(pictures(height, width).transpose(0, 3, 1, 2).copy())
    x = x.to(next(model.parameters()).dtype)
    with torch.inference_mode():
        if isinstance(model, effdet.EfficientDet):
            logits, boxes = model(x)
            return rows(boxes, 4), rows(logits, 90)
        said = model.head(list(model.backbone(x).values()))
        return said["bbox_regression"].numpy(), said["cls_logits"].numpy()


def rows(levels, size):
    """Lay out (2, anchors * size, height, width) of each level as one (2, anchors, size)."""
    flat = [level.permute(0, 2, 3, 1).reshape(2, -1, size) for level in levels]
    return torch.cat(flat, dim=1).numpy()


def stored(output):
    """Give the part of an output that the file keeps."""
    part = output[:, picked(output.shape[1]), :VALUES]
    return [[[float(f"{v:.6g}") for v in row] for row in picture] for picture in part]


def golden(name):
    """Make a model's entry, and print how far it can be trusted."""
    entry = None
    for height, width in SIZES:
        package, model = build(name, height, width)
        model = filled(model, GAIN)
        if entry is None:
            entry = {
                "package": package,
                "version": importlib.metadata.version(package).split("+")[0],
                "gain": GAIN,
                "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
                "tensors": [[key, list(t.shape)] for key, t in model.state_dict().items()],
                "outputs": {},
            }
        boxes, logits = outputs_of(model, height, width)
        entry["outputs"][f"{height}x{width}"] = {"boxes": stored(boxes), "logits": stored(logits)}
        exact = outputs_of(model.double(), height, width)
        for what, y, right in (("boxes", boxes, exact[0]), ("logits", logits, exact[1])):
            apart = np.std(y[0] - y[1]) / np.std(y)
            error = np.abs(y - right).max() / np.abs(right).max()
            print(
                f"{name:30} {entry['parameters']:>11,} {height}x{width} {what:6} "
                f"max={np.abs(y).max():.3g} apart={apart:.2g} f32err={error:.1e}",
                flush=True,
            )
    return entry


def main():
    """Read the command line, make the entries and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-o", "--output", required=True, help="the .json.gz to write")
    parser.add_argument("--only", nargs="+", help="make only these models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [f"ssdlite320_mobilenet_v3_{size}" for size in ("large", "small")]
    names += [f"tf_efficientdet_lite{number}" for number in range(5)]
    goldens = {name: golden(name) for name in arguments.only or names}
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, filename="", mtime=0) as file:
        file.write(json.dumps(goldens, separators=(",", ":")).encode())
    pathlib.Path(arguments.output).write_bytes(raw.getvalue())
    print(f"{arguments.output}: {len(raw.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
