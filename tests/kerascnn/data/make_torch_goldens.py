# ruff: noqa: SIM905
"""Make golden logits of torchvision's and timm's image classifiers, filled by a rule.

Every tensor of a model's state dict is made in NumPy from its name and shape (`values`), so a test
that has no torch can make the same weights, load them in the reference's own layout, and compare
logits. Only the names, the shapes, and the first logits of two images are stored.

    python make_torch_goldens.py -o torch_goldens.json.gz [--files DIR] [--only NAME ...]

Needs numpy, torch, torchvision, timm (and safetensors for `--files`). Downloads nothing.

The file is gzip'd JSON. A model's entry holds: `package`; `version` of it; `options` (the keywords
it was built with); `gain` (for `values`); `config` (how its public weights expect their images);
`parameters` (the number of trainable ones); `tensors`, a list of [name, shape] in the state dict's
order; and `logits`, by image size the first 16 of each of the two images. The arithmetic is
float32 on one thread.
"""

import argparse
import gzip
import io
import json
import pathlib
import zlib

import numpy as np
import timm
import torch
import torchvision

LOGITS = 16

# The variance of a kernel is gain / fan_in. No one gain serves every model: with 2 the deep nets
# with squeeze-and-excitation are chaotic (float32 and float64 disagree altogether), and with 1 the
# shallow ones forget their input (two images differ by 1e-5 of the logits' spread). So each model
# has its own, chosen so that `apart`, below, is above 0.01 and `error` under 2e-5.
GAIN = 1.4
GAINS = {
    "resnet34": 1.0,
    "resnet50": 1.0,
    "resnet101": 1.0,
    "resnet152": 1.0,
    "resnext50_32x4d": 1.0,
    "resnext101_32x8d": 1.0,
    "resnext101_64x4d": 1.0,
    "mobilenet_v3_small": 2.0,
    "mobilenet_v3_large": 1.7,
    "efficientnet_b0": 2.0,
    "efficientnet_b1": 1.85,
    "efficientnet_b2": 1.85,
    "efficientnet_b3": 1.85,
    "efficientnet_b4": 1.8,
    "efficientnet_b5": 1.8,
    "efficientnet_b6": 1.7,
    "efficientnet_b7": 1.55,
    "efficientnet_v2_s": 1.2,
    "efficientnet_v2_m": 1.1,
    "efficientnet_v2_l": 1.0,
    "legacy_seresnet50": 1.0,
    "legacy_seresnext50_32x4d": 1.0,
    "legacy_senet154": 1.0,
    "seresnet50": 1.0,
    "seresnext50_32x4d": 1.0,
    "mobilenetv3_small_100": 2.0,
    "mobilenetv3_large_100": 1.7,
    "mobilenetv4_hybrid_medium": 0.9,
    "mobilenetv4_hybrid_large": 0.9,
    "mobileone_s0": 0.25,
    "mobileone_s1": 0.7,
    "mobileone_s2": 0.7,
    "mobileone_s3": 0.7,
    "repvit_m0_9": 0.5,
    "repvit_m1_0": 0.5,
}

TORCHVISION = (
    "alexnet googlenet vgg16 vgg16_bn vgg19 "
    "resnet18 resnet34 resnet50 resnet101 resnet152 "
    "resnext50_32x4d resnext101_32x8d resnext101_64x4d "
    "mobilenet_v2 mobilenet_v3_small mobilenet_v3_large "
    "efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 "
    "efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 "
    "efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l"
).split()
TIMM = (
    "legacy_seresnet50 legacy_seresnext50_32x4d legacy_senet154 seresnet50 seresnext50_32x4d "
    "tf_efficientnet_lite0 tf_efficientnet_lite1 tf_efficientnet_lite2 "
    "tf_efficientnet_lite3 tf_efficientnet_lite4 efficientnet_lite0 "
    "mobilenetv3_small_100 mobilenetv3_large_100 "
    "mobilenetv4_conv_small mobilenetv4_conv_medium mobilenetv4_conv_large "
    "mobilenetv4_hybrid_medium mobilenetv4_hybrid_large "
    "mobileone_s0 mobileone_s1 mobileone_s2 mobileone_s3 repvit_m0_9 repvit_m1_0 "
    "efficientnet_b0"
).split()


def values(name, shape, gain):
    """Make the tensor called `name`; its last part says of which kind it is."""
    kind = name.rsplit(".", 1)[-1]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if kind == "num_batches_tracked":
        return np.zeros(shape, "int64")
    if len(shape) >= 2:
        array = rng.normal(0, np.sqrt(gain / np.prod(shape[1:])), shape)
    elif kind in ("running_var", "weight", "gamma"):
        array = rng.uniform(0.5, 1.5, shape)
    elif kind in ("running_mean", "bias"):
        array = rng.normal(0, 0.1, shape)
    else:
        raise ValueError(f"no rule for {name} of shape {shape}")
    return array.astype("float32")


def images(size):
    """Make the two input images, channels last."""
    return np.random.default_rng(0).normal(0, 1, (2, size, size, 3)).astype("float32")


def build(package, name, gain, **options):
    """Build a model, fill it by the rule, and put it in inference mode."""
    if package == "timm":
        model = timm.create_model(name, **options)
    else:
        model = torchvision.models.get_model(name, **options)
    state = {
        key: torch.from_numpy(np.asarray(values(key, tuple(tensor.shape), gain)))
        for key, tensor in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True)
    return model.eval()


def options_of(package, name):
    """Give the keywords a model is built with."""
    if package == "timm":
        return {"pretrained": False}
    if name == "googlenet":
        return {
            "weights": None,
            "transform_input": False,
            "aux_logits": True,
            "init_weights": False,
        }
    return {"weights": None}


def config_of(package, name, model):
    """Say how the model's public weights expect their images; reads nothing from the network."""
    if package == "timm":
        keys = ("mean", "std", "crop_pct", "interpolation", "input_size")
        return {key: model.default_cfg.get(key) for key in keys}
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    transform = weights.transforms()
    return {
        "weights": str(weights),
        "mean": transform.mean,
        "std": transform.std,
        "crop_size": transform.crop_size[0],
        "resize_size": transform.resize_size[0],
        "interpolation": transform.interpolation.value,
    }


def logits_of(model, size):
    """Run the two images of a size through the model, all logits, in the model's own dtype."""
    dtype = next(model.parameters()).dtype
    x = torch.from_numpy(images(size).transpose(0, 3, 1, 2).copy()).to(dtype)
    with torch.inference_mode():
        return model(x).numpy()


def rates_of(model):
    """Read the norms' eps and momentum, and the rates of dropout and of stochastic depth."""
    modules = list(model.modules())
    norms = [m for m in modules if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    drops = {m.p for m in modules if isinstance(m, torch.nn.Dropout)}
    if getattr(model, "drop_rate", None) is not None:  # timm applies it by a function
        drops.add(model.drop_rate)
    paths = [m.p for m in modules if isinstance(m, torchvision.ops.StochasticDepth)]
    paths += [m.drop_prob for m in modules if type(m).__name__ == "DropPath"]
    return {
        "eps": sorted({m.eps for m in norms}),
        "momentum": sorted({m.momentum for m in norms}),
        "dropout": sorted(drops),
        "depth": [round(min(paths), 6), round(max(paths), 6)] if paths else [],
    }


def golden(package, name):
    """Make a model's entry, and what the printed table says of it."""
    gain = GAINS.get(name, GAIN)
    options = options_of(package, name)
    model = build(package, name, gain, **options)
    entry = {
        "package": package,
        "version": {"timm": timm, "torchvision": torchvision}[package].__version__.split("+")[0],
        "options": options,
        "gain": gain,
        "config": config_of(package, name, model),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "tensors": [[key, list(t.shape)] for key, t in model.state_dict().items()],
        "logits": {},
    }
    sizes = (224,) if name == "alexnet" or name.startswith("vgg") else (64, 75)
    outputs = {size: logits_of(model, size) for size in sizes}
    for size, output in outputs.items():
        entry["logits"][str(size)] = [
            [float(f"{value:.7g}") for value in row[:LOGITS]] for row in output
        ]
    notes = rates_of(model)
    exact = model.double()
    notes["max"] = max(float(np.abs(y).max()) for y in outputs.values())
    # How unlike the two images' logits are, and how far float32 is from float64, both in terms
    # of the logits' standard deviation.
    notes["apart"] = min(float(np.std(y[0] - y[1]) / np.std(y)) for y in outputs.values())
    notes["error"] = max(
        float(np.abs(y - logits_of(exact, size)).max() / np.std(y)) for size, y in outputs.items()
    )
    return entry, notes


def write_files(folder):
    """Save one small model's state as torch and safetensors themselves write it."""
    import safetensors.torch

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = build("torchvision", "resnet18", GAIN, weights=None, num_classes=10).state_dict()
    state = {key: tensor.clone() for key, tensor in state.items()}
    half = {k: t.to(torch.bfloat16) if t.is_floating_point() else t for k, t in state.items()}
    torch.save(state, folder / "resnet18.pth")
    torch.save(state, folder / "resnet18_legacy.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, folder / "resnet18.safetensors")
    safetensors.torch.save_file(half, folder / "resnet18_bf16.safetensors")


def main():
    """Read the command line, make the entries, write the file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-o", "--output", required=True, help="the .json.gz to write")
    parser.add_argument("--files", help="a folder for the small checkpoints, if wanted")
    parser.add_argument("--only", nargs="+", help="make only these models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    names = [("torchvision", name) for name in TORCHVISION] + [("timm", name) for name in TIMM]
    if arguments.only:
        names = [pair for pair in names if pair[1] in arguments.only]
    goldens = {}
    for package, name in names:
        # timm has a network of torchvision's name, with names of its own for the tensors.
        key = f"timm_{name}" if package == "timm" and name in TORCHVISION else name
        goldens[key], notes = golden(package, name)
        print(
            f"{key:26} {goldens[key]['parameters']:>11,} gain={goldens[key]['gain']} "
            f"eps={notes['eps']} mom={notes['momentum']} drop={notes['dropout']} "
            f"depth={notes['depth']} max={notes['max']:.3g} "
            f"apart={notes['apart']:.2g} f32err={notes['error']:.1e}",
            flush=True,
        )
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, filename="", mtime=0) as file:
        file.write(json.dumps(goldens, separators=(",", ":")).encode())
    pathlib.Path(arguments.output).write_bytes(raw.getvalue())
    print(f"{arguments.output}: {len(raw.getvalue()):,} bytes")
    if arguments.files:
        write_files(arguments.files)


if __name__ == "__main__":
    main()
