"""The Android app draws with the colours of everything else that this project draws."""

import pathlib
import re

from training.common import drawing
from training.detection import drawing as box_drawing
from training.segmentation import drawing as map_drawing

ROOT = pathlib.Path(__file__).parents[1] / "android_demo/app/src/main"
UI = ROOT / "kotlin/org/kerascnn/demo/ui"


def test_classes_have_the_colours_of_our_reports():
    source = (UI / "Palette.kt").read_text()
    listed = re.search(r"intArrayOf\((.*?)\)\n", source, re.DOTALL)
    colours = re.findall(r"0xff([0-9a-f]{6})", listed[1])
    assert tuple(f"#{colour}" for colour in colours) == drawing.CLASS_COLOURS
    for name, colour in (("INK", drawing.INK), ("MUTED", drawing.MUTED)):
        assert f"const val {name} = 0xff{colour.removeprefix('#')}.toInt()" in source


def test_tints_are_those_of_our_reports():
    masks = (UI / "MaskLooks.kt").read_text()
    assert f"TINT = {box_drawing._TINT}" in masks
    maps = (UI / "MapLooks.kt").read_text()
    told = {name: float(value) for name, value in re.findall(r"val (\w+) = (0\.\d+)", maps)}
    assert told == {
        "TINT": map_drawing._TINT,
        "STRONG": map_drawing._STRONG,
        "WEAK": map_drawing._WEAK,
    }


def test_texts_can_be_read_by_day_and_by_night():
    for folder in ("values", "values-night"):
        colours = dict(
            re.findall(
                r'<color name="(\w+)">(#\w+)</color>',
                (ROOT / f"res/{folder}/colours.xml").read_text(),
            )
        )
        # WCAG 2.1 AA: 4.5 for text.
        for text, ground in (
            ("ink", "ground"),
            ("ink", "card"),
            ("muted", "ground"),
            ("muted", "card"),
            ("warning", "card"),
            ("on_accent", "accent"),
        ):
            assert contrast(colours[text], colours[ground]) >= 4.5, (folder, text, ground)


def contrast(one: str, other: str) -> float:
    dark, bright = sorted(map(luminance, (one, other)))
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(weight * s for weight, s in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
