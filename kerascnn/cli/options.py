"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

import json
from typing import Any

import click

from kerascnn import zoo
from kerascnn.errors import InputError

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


DATA_HELP = (
    "Classifiers: a folder with one sub-folder per class, a table of images and labels (.csv, "
    ".tsv), Hugging Face's image folders and .parquet files, a pack (`kerascnn pack`), tfds:NAME, "
    "mnist, mnist-photos or scenes-digits. Detectors: a COCO .json, a folder in COCO, Pascal VOC "
    "or YOLO layout, or scenes. Segmentation: the same with outlines, or a folder of images and "
    "one of masks."
)


TASK_HELP = (
    "multilabel: a classifier gives an image any number of labels, each with a score of its own.  "
    "[default: by the model, and by the data: a table with several labels per image]"
)


VAL_DATA_HELP = (
    "Data of the same kind whose images are held out, with --data's classes; then all images of "
    "--data are trained on.  [default: held out of --data]"
)


tile_options = (
    click.option(
        "--tiles",
        type=int,
        metavar="PIXELS",
        help="Cut larger images into squares of so many pixels, for small objects (detectors, "
        "segmentation); 0: none.  [default: none, or as the file was trained]",
    ),
    click.option(
        "--overlap", type=float, help="Share of a tile that the next one has too.  [default: 0.2]"
    ),
)


def with_tiles(command: Any) -> Any:
    """`tile_options` of commands that run files, which may say so themselves."""
    for option in reversed(tile_options):
        command = option(command)
    return command


def training_options(command: Any) -> Any:
    """What says what is trained, on what and how, for all commands that train."""
    for option in reversed((
        click.option("--data", required=True, help=DATA_HELP),
        click.option("--val-data", help=VAL_DATA_HELP),
        click.option("--task", help=TASK_HELP),
        click.option(
            "--recipe",
            help="Named training settings, see `kerascnn recipes`.  [default: chosen by data]",
        ),
        click.option("--epochs", type=int, help="Passes over the training images."),
        click.option("--batch-size", type=int, help="Images per step."),
        click.option("--image-size", help="Pixels: 224, or 224x160 (height x width)."),
        click.option(
            "--resize",
            help="How images meet that size: stretch, letterbox (keep the shape, pad with grey) "
            "or, of classifiers, crop.  [default: crop for classifiers, else stretch]",
        ),
        *tile_options,
        click.option("--seed", type=int, help="Random seed.  [default: 0]"),
        click.option(
            "--split-seed", type=int, help="Seed of the held-out split.  [default: 0]"
        ),
        click.option(
            "--precision",
            help="float32, mixed_bfloat16 or mixed_float16.  [default: by the hardware]",
        ),
        click.option(
            "--deterministic/--no-deterministic",
            default=None,
            help="Weights equal to the last bit in every run.  [default: on a CPU alone]",
        ),
        click.option("--optimizer", help="adamw, sgd or rmsprop."),
        click.option("--learning-rate", type=float, help="Peak learning rate, after warm-up."),
        click.option(
            "--weight-decay", type=float, help="Weight decay (not of biases and normalisation)."
        ),
        click.option(
            "--warmup-epochs", type=float, help="Epochs in which the learning rate rises."
        ),
        click.option("--label-smoothing", type=float, help="Label smoothing, 0 to 1."),
        click.option("--augmentation", help="none, digits, pictures, modern, detection, ..."),
        click.option(
            "--validation-fraction",
            type=float,
            help="Fraction of the training images that the best epoch is chosen on.",
        ),
        click.option("--freeze-epochs", type=int, help="First epochs, which train only the head."),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any other training setting: ema=0.999, cutmix=1, clip_norm=1, patience=10, "
            "class_weights=balanced, map_loss=dice; `kerascnn recipes NAME` lists them.",
        ),
        click.option(
            "--weights",
            help="Initial weights: a name that `kerascnn weights NAME` lists (imagenet, coco), "
            "or a file of a run (model.keras), torchvision, timm or keras.applications.",
        ),
        click.option(
            "--option",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            help="Option of the network: alpha=0.35, drop_path=0.1, dtype=mixed_bfloat16, ...",
        ),
        click.option(
            "--detector",
            "detector_options",
            multiple=True,
            metavar="KEY=VALUE",
            help="Option of a detector: anchors=auto (fitted to the data), min_scale=0.1 "
            "(SSDLite), anchor_scale=2 (EfficientDet), "
            "proposals=300 (R-CNN), score_threshold=0.1, iou_threshold=0.6, max_detections=50, "
            "class_agnostic=true, suppression=soft (Soft-NMS).",
        ),
    )):  # fmt: skip
        command = option(command)
    return command


def as_given(asked: dict[str, Any]) -> dict[str, Any]:
    """What `training_options` took, as arguments of `kerascnn.train`."""
    given = dict(asked)
    return {
        "image_size": image_size_of(given.pop("image_size")),
        "options": options_of(given.pop("options"), "--option", "alpha=0.35"),
        "settings": options_of(given.pop("settings"), "--set", "ema=0.999"),
        "detector": options_of(given.pop("detector_options"), "--detector", "score_threshold=0.1"),
        **given,
    }


def stranger_options(command: Any) -> Any:
    """What says what a file of another program takes and gives, for all commands that run one."""
    for option in reversed(
        (
            click.option(
                "--labels",
                type=click.Path(),
                metavar="FILE",
                help="A label a line, in output order.",
            ),
            click.option(
                "--preprocessing",
                metavar="NAME",
                help="What becomes of bytes: 0-1, -1-1, imagenet, caffe, none, or MEAN,STD "
                "(of bytes, or of shares: 0.485,0.456,0.406,0.229,0.224,0.225).",
            ),
            click.option(
                "--layout", help="Of an .onnx file's input: nhwc or nchw.  [default: found]"
            ),
            click.option(
                "--image-size", help="Pixels: 224, or 224x160.  [default: of the file's input]"
            ),
            click.option(
                "--resize",
                help="How images meet that size: stretch, letterbox (as YOLO), crop, centre (as "
                "torchvision) or pad.  "
                "[default: crop for classifiers, else stretch]",
            ),
            click.option(
                "--crop-fraction",
                type=float,
                help="Share that crop and centre keep.  [default: 0.875]",
            ),
            click.option("--interpolation", help="bilinear or bicubic.  [default: bilinear]"),
        )
    ):
        command = option(command)
    return command


def file_options_of(given: dict[str, Any]) -> Any:
    """Those options, as `export.runtime.strangers.FileOptions`; they are taken out of `given`."""
    import pathlib

    from export.runtime.strangers import FileOptions

    labels = given.pop("labels")
    names = ("preprocessing", "layout", "resize", "crop_fraction", "interpolation")
    return FileOptions(
        labels=None if labels is None else pathlib.Path(labels),
        image_size=image_size_of(given.pop("image_size")),
        **{name: given.pop(name) for name in names},
    )


def training_request(model: str, **asked: Any) -> Any:
    """The `TrainRequest` that was typed; what is wrong is refused now."""
    from training.engine.config import yes_or_no
    from training.engine.refusals import checked

    zoo.entry(model)
    given = as_given(asked)
    options, detector = given.pop("options"), given.pop("detector")
    given["deterministic"] = yes_or_no(given["deterministic"])
    return checked(model, model_options=options, detector_options=detector, **given)


def settings_options(command: Any) -> Any:
    """What `compress` and `shrink` take beside the names of variants."""
    for option in reversed((
        click.option(
            "--calibration",
            metavar="DATA",
            help="Images to calibrate and reconstruct on: a folder of images without labels, or "
            "what train's --data takes.  [default: training images of RUN]",
        ),
        click.option(
            "--calibration-pictures",
            type=int,
            help="How many of them, in all; RUN's seed chooses.  [default: 200]",
        ),
        click.option(
            "--max-change",
            type=float,
            help="For `mixed`: percent of predictions that may change.  [default: 0.5]",
        ),
        click.option(
            "--budget",
            metavar="SIZE|TIME",
            help="For `mixed`: the file keeps a size like 2MB, or a time per image on this "
            "computer like 8ms, with as little noise as that allows; in place of --max-change.",
        ),
        click.option(
            "--keep-float",
            type=int,
            metavar="N",
            help="For `int8`: up to N layers may stay float where int8 loses most; 0 keeps all in "
            "int8, as NPUs want it.  [default: 2]",
        ),
        click.option(
            "--spare",
            help="Pruning and clustering skip layers with these words in their names.  "
            "[default: stem,enc1_conv1,depthwise,logits]",
        ),
        click.option(
            "--slim-score",
            help="How channels are ranked for removal: taylor, norm or l1.  [default: taylor]",
        ),
        click.option(
            "--fine-tune-epochs",
            type=int,
            help="Epochs per step that trains.  [default: a fraction of the run's]",
        ),
        click.option(
            "--learning-rate",
            type=float,
            help="Peak learning rate per step that trains.  [default: a fraction of the run's]",
        ),
        click.option(
            "--teacher",
            help="For `distil` variants: run folder to distil from.  [default: the run itself]",
        ),
        click.option(
            "--distil-weight",
            type=float,
            help="Weight of the distillation loss, 0 to 1.  [default: 0.7]",
        ),
        click.option("--temperature", type=float, help="Softmax temperature.  [default: 3]"),
    )):  # fmt: skip
        command = option(command)
    return command


def compression_of(asked: dict[str, Any]) -> dict[str, Any]:
    """What `settings_options` took, as arguments of `kerascnn.Run.compress`."""
    given = dict(asked)
    return {
        "calibration_images": given.pop("calibration_pictures"),
        "spare": names_of(spare) if (spare := given.pop("spare")) is not None else None,
        **given,
    }


def names_of(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def image_size_of(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise InputError(f"--image-size must be like 224 or 224x160, not {text!r}")
    return int(sides[0]), int(sides[-1])


def options_of(texts: tuple[str, ...], flag: str, example: str) -> dict[str, Any]:
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"{flag} must be KEY=VALUE, as in {example}, not {text!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value  # a word, as in activation=relu6
    return options
