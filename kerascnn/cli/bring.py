"""The command that brings a network which was trained elsewhere."""

from __future__ import annotations

import shlex
from typing import Any

import click

from kerascnn.cli.options import VAL_DATA_HELP, image_size_of, json_option, options_of
from kerascnn.cli.printing import print_json


@click.command(
    "import",
    epilog="Example: kerascnn import my_model.keras --data flowers/ --out runs/mine",
)
@click.argument("source")
@click.option(
    "--data",
    required=True,
    help="Images: a folder with one sub-folder per class, a table of images and labels (one or "
    "several per image), a pack (`kerascnn pack`), tfds:NAME, mnist or scenes-digits; or a folder "
    "of images without labels. For detectors and segmentation networks as of `kerascnn train`, or "
    "a folder of images alone.",
)
@click.option("--val-data", help=VAL_DATA_HELP)
@click.option("--out", type=click.Path(), help="Run folder.  [default: runs/NAME-DATA]")
@click.option("--weights", help="For a zoo name: a name of weights (imagenet, coco), or a file.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="For a zoo name, option of the network: alpha=0.35, minimalistic=true, ...",
)
@click.option(
    "--image-size",
    help="Pixels: 224, or 224x160 (height x width).  [default: the network's own]",
)
@click.option(
    "--preprocessing",
    help="How the network wants bytes: 0-1, -1-1, imagenet, caffe or none.  [default: what is "
    "inside of it, else a guess]",
)
@click.option(
    "--resize",
    help="How images meet the network's size: crop, stretch, letterbox or pad.  [default: of a zoo "
    "name, as its weights are published; of a file, stretch, and crop where its classes are "
    "ImageNet's]",
)
@click.option(
    "--labels",
    type=click.Path(),
    metavar="FILE",
    help="What the outputs mean, a label a line.  [default: the data's folders in natural order, "
    "or ImageNet's labels; COCO's of --weights coco]",
)
@click.option(
    "--unlabelled",
    is_flag=True,
    help="All images below --data, whatever their folders are called: files are held against the "
    "network's own answers.",
)
@click.option("--name", help="What files and reports call the network.  [default: by SOURCE]")
@click.option(
    "--recipe",
    help="Settings of the steps of compression that train, see `kerascnn recipes`.  "
    "[default: finetune]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting of the recipe: epochs=5, learning_rate=1e-4, split_seed=1, ...",
)
@json_option
def import_(source: str, out: str | None, as_json: bool, **asked: Any) -> None:
    """Make a run folder of a network that was trained elsewhere.

    SOURCE is a .keras, .h5 or float .tflite file of a whole classifier, the folder of a SavedModel,
    or the name of a network of the zoo, of any task, with --weights. Nothing is trained: the
    network is measured on held-out images of --data, and compress, shrink, compare, debug, android
    and web then work as on a trained run.
    """
    from kerascnn import api

    given = {
        **asked,
        "image_size": image_size_of(asked["image_size"]),
        "options": options_of(asked["options"], "--option", "alpha=0.35"),
        "settings": options_of(asked["settings"], "--set", "epochs=5"),
    }
    run = api.import_model(source, out=out, **given)
    from training.engine.closing import below_floor, closing_line

    useless = below_floor(run.info)
    if as_json:
        print_json({"run": str(run.folder), **run.metrics, "below_floor": useless})
        return
    click.echo(f"{run.folder}: {closing_line(run.info)}")
    if useless:
        click.echo(useless)
    click.echo(f"next: kerascnn compress {shlex.quote(str(run.folder))}")
