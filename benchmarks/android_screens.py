"""docs/android.png: the Android app's screens, with real answers.

    python benchmarks/android_screens.py docs/android.png CLASSIFIER.tflite=PICTURE \
        DETECTOR.tflite=PICTURE SEGMENTER.tflite=PICTURE

ScreensTest.kt runs the app's activities in Robolectric, which draws as Android does; LiteRT in
Python runs the networks, since Android's own runtime loads on phones alone. Times on the screens
are those of this computer, by way of a pipe: they say nothing.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from clients import RUNTIME
from PIL import Image

from export.deploy.android import PROJECT

_SIZE, _DENSITY = "w360dp-h740dp", "xhdpi"
_DAY, _NIGHT = f"{_SIZE}-{_DENSITY}", f"{_SIZE}-night-{_DENSITY}"
_GAP = 24
_GROUND = "#8a94a6"
_SHOWN = 450  # pixels of a screen's width


def main(target: str, *shown: str) -> None:
    (classifier, cat), (detector, scene), (segmenter, map_scene) = (
        map(os.path.abspath, pair.split("=")) for pair in shown
    )
    screens = [
        {"qualifiers": f"en-{_DAY}", "model": classifier, "picture": cat},
        {"qualifiers": f"en-{_NIGHT}", "model": detector, "picture": scene},
        {"qualifiers": f"ko-{_DAY}", "model": segmenter, "picture": map_scene},
        {"qualifiers": f"en-{_DAY}", "benchmark": True},
        {"qualifiers": f"ko-{_NIGHT}", "model": classifier, "denied": True},
    ]
    with tempfile.TemporaryDirectory() as folder:
        for at, screen in enumerate(screens):
            screen["name"] = f"{at}.png"
        asked = pathlib.Path(folder) / "asked.json"
        runtime = [sys.executable, "-c", RUNTIME]
        models = [classifier, detector, segmenter]
        wanted = {"folder": folder, "models": models, "runtime": runtime, "screens": screens}
        asked.write_text(json.dumps(wanted))
        subprocess.run(
            [
                *("mvn", "-q", "-B", "-f", str(PROJECT / "pom.xml"), "test"),
                *(
                    "-Dtest=ScreensTest",
                    "-Done-test=true",
                    "-Dsurefire.failIfNoSpecifiedTests=false",
                ),
            ],
            env=os.environ | {"KERASCNN_SCREENS": str(asked)},
            check=True,
        )
        drawn = [
            Image.open(pathlib.Path(folder) / f"{at}.png").convert("RGB")
            for at in range(len(screens))
        ]
        side_by_side(drawn).quantize(256).save(target, optimize=True)


def side_by_side(drawn: list[Image.Image]) -> Image.Image:
    """All screens in a row."""
    screens = [
        screen.resize((_SHOWN, round(screen.height * _SHOWN / screen.width)), Image.LANCZOS)
        for screen in drawn
    ]
    size = len(screens) * (_SHOWN + _GAP) + _GAP, screens[0].height + 2 * _GAP
    sheet = Image.new("RGB", size, _GROUND)
    for at, screen in enumerate(screens):
        sheet.paste(screen, (_GAP + at * (_SHOWN + _GAP), _GAP))
    return sheet


if __name__ == "__main__":
    main(*sys.argv[1:])
