"""Make golden outputs of mmdetection's RTMDets, filled by a rule.

The rule, the pictures and the form of the file are those of make_detector_goldens.py and
make_torch_goldens.py, the latter of which must lie beside this script. The heads' convolutions are
shared by all levels: all have the first level's values.

    python make_rtmdet_goldens.py -o rtmdet_goldens.json.gz

Needs numpy, torch, mmengine, mmcv-lite and mmdet 3.3. mmcv-lite lacks the compiled operations,
which mmdetection imports and an RTMDet does not call: a module without any stands for them.
Downloads nothing.

`boxes` are distances left, top, right and bottom in cells, as the last convolution gives them;
mmdetection multiplies them by the stride right behind it. A classifier's entry has `logits` by
image size, the first 16 of each of the two images.
"""

import argparse
import gzip
import importlib.abc
import importlib.machinery
import io
import json
import pathlib
import re
import sys

import mmcv
import mmcv.cnn.bricks.transformer
import numpy as np
import torch
from make_torch_goldens import values

ANCHORS = 24
VALUES = 4
# Every level is twice the next one's side, which mmdetection's pyramid insists on.
DETECTED = ((96, 128), (64, 160))
# Chosen as make_torch_goldens.py chooses them.
GAIN = 2.4
LOGITS = 16
CLASSIFIED = (64, 75)
CLASSIFIERS = {"cspnext-tiny": (0.167, 0.375, 384), "cspnext-s": (0.33, 0.5, 512)}
DETECTORS = {
    "rtmdet_tiny": (0.167, 0.375, 96),
    "rtmdet_s": (0.33, 0.5, 128),
}


class _Operations(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds mmcv.ops and whatever is in it: classes that do nothing."""

    def find_spec(self, name, path=None, target=None):
        """Of any module of mmcv.ops."""
        if name == "mmcv.ops" or name.startswith("mmcv.ops."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        """An empty one."""
        return None

    def exec_module(self, module):
        """Let it have any name."""
        module.__getattr__ = lambda name: type(name, (torch.nn.Module,), {})


def without_operations():
    """Let mmdetection be imported without mmcv's compiled operations."""
    sys.meta_path.insert(0, _Operations())
    attention = type("MultiScaleDeformableAttention", (torch.nn.Module,), {})
    mmcv.cnn.bricks.transformer.MultiScaleDeformableAttention = attention


def picked(count):
    """As make_detector_goldens.py has it."""
    spread = np.linspace(0, count - 1, ANCHORS - 8).astype(int)
    return sorted({*spread.tolist(), *range(count - 8, count)})


def pictures(height, width):
    """Make the two input pictures, channels last."""
    return np.random.default_rng(0).normal(0, 1, (2, height, width, 3)).astype("float32")


def built(name):
    """Backbone, neck and head as configs/rtmdet has them."""
    from mmdet.models.backbones import CSPNeXt
    from mmdet.models.dense_heads import RTMDetSepBNHead
    from mmdet.models.necks import CSPNeXtPAFPN

    deepen, widen, width = DETECTORS[name]
    common = {"norm_cfg": {"type": "BN"}, "act_cfg": {"type": "SiLU", "inplace": True}}
    model = torch.nn.Module()
    model.backbone = CSPNeXt(deepen_factor=deepen, widen_factor=widen, **common)
    model.neck = CSPNeXtPAFPN([width, 2 * width, 4 * width], width, num_csp_blocks=1, **common)
    model.bbox_head = RTMDetSepBNHead(
        80,
        width,
        feat_channels=width,
        stacked_convs=2,
        with_objectness=False,
        exp_on_reg=False,
        share_conv=True,
        pred_kernel_size=1,
        anchor_generator={"type": "MlvlPointGenerator", "offset": 0, "strides": [8, 16, 32]},
        bbox_coder={"type": "DistancePointBBoxCoder"},
        loss_cls={"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0},
        loss_bbox={"type": "GIoULoss", "loss_weight": 2.0},
        **common,
    )
    return model


class _Classifier(torch.nn.Module):
    """The backbone with mmclassification's pooling and dense head, as its files name them."""

    def __init__(self, deepen, widen, width):
        from mmdet.models.backbones import CSPNeXt

        super().__init__()
        self.backbone = CSPNeXt(
            deepen_factor=deepen,
            widen_factor=widen,
            out_indices=(4,),
            norm_cfg={"type": "BN"},
            act_cfg={"type": "SiLU", "inplace": True},
        )
        self.head = torch.nn.Module()
        self.head.fc = torch.nn.Linear(width, 1000)

    def forward(self, x):
        """Pictures to logits."""
        return self.head.fc(self.backbone(x)[0].mean(dim=(2, 3)))


def classifier_golden(name):
    """Make a classifier's entry."""
    import mmdet

    model = filled(_Classifier(*CLASSIFIERS[name]))
    entry = {
        "package": "mmdetection",
        "version": mmdet.__version__,
        "gain": GAIN,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "tensors": [[key, list(t.shape)] for key, t in model.state_dict().items()],
        "logits": {},
    }
    for size in CLASSIFIED:
        x = torch.from_numpy(pictures(size, size).transpose(0, 3, 1, 2))
        with torch.inference_mode():
            logits, exact = model.float()(x).numpy(), model.double()(x.double()).numpy()
        rows = [[float(f"{v:.6g}") for v in row[:LOGITS]] for row in logits]
        entry["logits"][str(size)] = rows
        apart = np.std(logits[0] - logits[1]) / np.std(logits)
        error = np.abs(logits - exact).max() / np.abs(exact).max()
        print(f"{name:30} {entry['parameters']:>11,} {size} apart={apart:.2g} f32err={error:.1e}")
    return entry


def objects():
    """Two pictures' boxes in pixels (left, top, right, bottom) and labels; a third has none."""
    first = [(4, 6, 30, 40), (20, 10, 60, 58), (22, 12, 50, 50), (50, 2, 63, 12)]
    return [(first, [0, 2, 1, 2]), ([(8, 8, 40, 24)], [1]), ([], [])]


def learnt():
    """Distances in cells (3, 84, 4) and logits (3, 84, 3) of 64x64 pictures, of a seed."""
    rng = np.random.default_rng(0)
    return (
        rng.uniform(-0.5, 4, (3, 84, 4)).astype("float32"),
        rng.normal(-2, 1.5, (3, 84, 3)).astype("float32"),
    )


def loss_golden():
    """Make the entry of what RTMDet learns by: assigned objects, their overlaps and both losses."""
    from mmdet.models.dense_heads import RTMDetSepBNHead
    from mmengine.config import ConfigDict
    from mmengine.structures import InstanceData

    assigner = {"type": "DynamicSoftLabelAssigner", "topk": 13}
    head = RTMDetSepBNHead(
        3,
        8,
        feat_channels=8,
        with_objectness=False,
        anchor_generator={"type": "MlvlPointGenerator", "offset": 0, "strides": [8, 16, 32]},
        bbox_coder={"type": "DistancePointBBoxCoder"},
        loss_cls={"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0},
        loss_bbox={"type": "GIoULoss", "loss_weight": 2.0},
        train_cfg=ConfigDict(assigner=assigner, allowed_border=-1, pos_weight=-1, debug=False),
    )
    found = []
    assign = head.assigner.assign

    def noting(*given, **options):
        result = assign(*given, **options)
        index = result.gt_inds.numpy() - 1
        found.append((index, np.where(index >= 0, result.max_overlaps.numpy(), 0)))
        return result

    head.assigner.assign = noting
    distances, logits = learnt()
    strides, starts, ends = (8, 16, 32), (0, 64, 80), (64, 80, 84)
    boxes, scores = [], []
    for stride, start, end, side in zip(strides, starts, ends, (8, 4, 2), strict=True):
        for levels, rows, scale in ((boxes, distances, stride), (scores, logits, 1)):
            level = rows[:, start:end].reshape(3, side, side, -1).transpose(0, 3, 1, 2)
            levels.append(torch.from_numpy(np.ascontiguousarray(level)) * scale)
    truth = [
        InstanceData(
            bboxes=torch.tensor(given, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(labels, dtype=torch.long),
        )
        for given, labels in objects()
    ]
    metas = [{"img_shape": (64, 64), "pad_shape": (64, 64)}] * 3
    losses = head.loss_by_feat(scores, boxes, truth, metas)
    return {
        "objects": objects(),
        "index": [index.tolist() for index, _ in found],
        "overlap": [[float(f"{v:.6g}") for v in overlap] for _, overlap in found],
        "box_loss": float(sum(losses["loss_bbox"])),
        "class_loss": float(sum(losses["loss_cls"])),
    }


def filled(model):
    """Fill a model by the rule, and put it in inference mode."""
    state = {}
    for key, tensor in model.state_dict().items():
        own = re.sub(r"(_convs)\.\d(\.\d\.conv\.)", r"\1.0\2", key)
        state[key] = torch.from_numpy(np.asarray(values(own, tuple(tensor.shape), GAIN)))
    model.load_state_dict(state, strict=True)
    return model.eval()


def outputs_of(model, height, width):
    """Distances in cells and logits, (2, points, 4) and (2, points, 80)."""
    dtype = next(model.parameters()).dtype
    x = torch.from_numpy(pictures(height, width).transpose(0, 3, 1, 2)).to(dtype)
    with torch.inference_mode():
        logits, boxes = model.bbox_head(model.neck(model.backbone(x)))
    strides = (8, 16, 32)
    boxes = [level / stride for level, stride in zip(boxes, strides, strict=True)]
    return rows(boxes, 4), rows(logits, 80)


def rows(levels, size):
    """Lay out (2, size, height, width) of each level as one (2, points, size)."""
    flat = [level.permute(0, 2, 3, 1).reshape(2, -1, size) for level in levels]
    return torch.cat(flat, dim=1).numpy()


def stored(output):
    """Give the part of an output that the file keeps."""
    part = output[:, picked(output.shape[1]), :VALUES]
    return [[[float(f"{v:.6g}") for v in row] for row in picture] for picture in part]


def golden(name):
    """Make a model's entry, and print how far it can be trusted."""
    import mmdet

    model = filled(built(name))
    entry = {
        "package": "mmdetection",
        "version": mmdet.__version__,
        "gain": GAIN,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "tensors": [[key, list(t.shape)] for key, t in model.state_dict().items()],
        "outputs": {},
    }
    for height, width in DETECTED:
        boxes, logits = outputs_of(model.float(), height, width)
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
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    without_operations()
    goldens = {name: classifier_golden(name) for name in CLASSIFIERS}
    goldens |= {name: golden(name) for name in DETECTORS} | {"losses": loss_golden()}
    print(goldens["losses"]["box_loss"], goldens["losses"]["class_loss"])
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, filename="", mtime=0) as file:
        file.write(json.dumps(goldens, separators=(",", ":")).encode())
    pathlib.Path(arguments.output).write_bytes(raw.getvalue())
    print(f"{arguments.output}: {len(raw.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
