"""MediaPipe's own tasks on our files, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = "mediapipe==1.2.2"
# A classifier's rows are [label, score], a detector's [label, score, top, left, height, width];
# MediaPipe makes one detection with several categories of equal boxes.
_SCRIPT = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision

kind, model, *pictures = sys.argv[1:]
base = BaseOptions(model_asset_path=model)
read = mediapipe.Image.create_from_file
if kind == "detection":
    options = vision.ObjectDetectorOptions(base_options=base, max_results=-1)
    with vision.ObjectDetector.create_from_options(options) as detector:
        found = [
            [
                [c.category_name, c.score, d.bounding_box.origin_y, d.bounding_box.origin_x,
                 d.bounding_box.height, d.bounding_box.width]
                for d in detector.detect(read(picture)).detections
                for c in d.categories
            ]
            for picture in pictures
        ]
else:
    options = vision.ImageClassifierOptions(base_options=base)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        found = [
            [[c.category_name, c.score]
             for c in classifier.classify(read(picture)).classifications[0].categories]
            for picture in pictures
        ]
print(json.dumps(found))
"""


def environment(folder: Path) -> str:
    """A Python with MediaPipe: KERASCNN_MEDIAPIPE_PYTHON, or one that is made in `folder`.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be installed here.
    """
    if given := os.environ.get("KERASCNN_MEDIAPIPE_PYTHON"):
        return given
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
    install = [python, "-m", "pip", "install", "--quiet", PACKAGE]
    subprocess.run(install, check=True, capture_output=True)
    return python


def ask(python: str, task: str, model: Path, pictures: Sequence[Path]) -> list[list[Any]]:
    """The rows of each picture."""
    command = [python, "-c", _SCRIPT, task, str(model), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found
