"""Names in any script: a font of the machine stands in, or one warning says what to install."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw, ImageFont, features

from training.classification.confusion import write_confusion
from training.common import fonts
from training.common.fonts import (
    OURS,
    Letters,
    columns,
    fallbacks,
    families,
)
from training.detection.drawing import draw_boxes
from training.engine.curves import write_curves
from training.segmentation.drawing import legend

CAT = "고양이"
Install = Callable[..., list[Path]]


def made_font(path: Path, letters: str, family: str) -> Path:
    """A font whose letters are squares of a whole em, of which DejaVu has none."""
    names = [".notdef", *(f"uni{ord(one):04X}" for one in letters)]
    glyphs = {}
    for name in names:
        pen = TTGlyphPen(None)
        if name != ".notdef":
            for to in ((0, 0), (0, 1000), (1000, 1000), (1000, 0)):
                (pen.lineTo if to != (0, 0) else pen.moveTo)(to)
            pen.closePath()
        glyphs[name] = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(one): f"uni{ord(one):04X}" for one in letters})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000, usWinAscent=1000)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Call it with the letters of each font that the machine is to have."""
    monkeypatch.setattr(fonts, "_warned", set())

    def put(*all_letters: str) -> list[Path]:
        paths = [
            made_font(tmp_path / f"made{number}.ttf", letters, f"Made {tmp_path.name} {number}")
            for number, letters in enumerate(all_letters)
        ]
        monkeypatch.setattr(fonts, "_installed", lambda: tuple(paths))
        return paths

    yield put
    known = fonts.font_manager.fontManager
    known.ttflist[:] = [one for one in known.ttflist if "Made " not in one.name]


def written(text: str, height: int = 20) -> np.ndarray:
    image = Image.new("L", (300, 40))
    Letters(height, [text]).write(ImageDraw.Draw(image), (10, 5), text, 255)
    return np.asarray(image)


def test_no_font_is_looked_for_where_ours_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_installed", lambda: pytest.fail("looked for fonts"))
    assert fallbacks(["cat", "Ærø", "кошка", "γάτα", "قطة", "חתול", "a b\n…"]) == ()
    assert families(["cat"]) == []


def test_as_few_fonts_as_have_all_letters(install: Install, capsys) -> None:
    _some, most, rest = install("고", "고양", "이猫")
    assert fallbacks([CAT]) == (most, rest)
    assert fallbacks(["고"]) != ()
    assert not capsys.readouterr().err


def test_letters_are_those_of_the_font_that_has_them(install: Install) -> None:
    install(CAT)
    picture = written(f"a{CAT} b")
    # Squares of 20 pixels on the baseline, behind a letter of ours.
    begin = 10 + round(Letters(20, []).length("a"))
    ascent = Letters(20, []).metrics[0]
    assert (picture[5 + ascent - 19 : 5 + ascent - 1, begin + 1 : begin + 59] == 255).all()
    assert picture[:, :begin].any()
    assert picture[:, begin + 62 :].any()
    letters = Letters(20, [CAT])
    assert letters.length(CAT) == 60
    assert letters.length(f"{CAT} 0.5") == pytest.approx(60 + letters.length(" 0.5"), abs=1)


def test_what_no_font_has_is_told_once_with_the_remedy(install: Install, capsys) -> None:
    install("고")
    assert fallbacks([CAT, "🦊", "बि"]) != ()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no font on this computer has ")
    assert "양 (U+C591), 이 (U+C774), 🦊 (U+1F98A)" in line
    assert "고" not in line
    assert "apt install fonts-noto-cjk fonts-noto-core fonts-symbola" in line
    fallbacks([CAT, "🦊"])
    Letters(12, [CAT])
    assert not capsys.readouterr().err
    fallbacks(["猫" + "".join(map(chr, range(0x4E00, 0x4E20)))])
    (line,) = capsys.readouterr().err.splitlines()
    assert "and 25 more" in line
    assert "apt install fonts-noto-cjk)" in line


def test_what_cannot_be_scaled_or_read_is_no_font(install: Install, tmp_path: Path) -> None:
    (broken := tmp_path / "broken.ttf").write_bytes(b"no font")
    assert fonts._held(broken, CAT) == set()
    assert fonts._held(tmp_path / "missing.ttf", CAT) == set()
    assert all("LastResort" not in path.name for path in fonts._installed())


def test_spaces_and_joiners_need_no_font(install: Install, capsys) -> None:
    install()
    assert fallbacks(["a\u200db", "a\ufe0f", "\u3000", "\n\t"]) == ()
    assert not capsys.readouterr().err


def test_drawings_have_the_letters(install: Install, tmp_path: Path, capsys) -> None:
    """Boxes' strips, legends, tables of confusion and titles."""
    history = [{"epoch": 1, "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.5}]
    box = np.float32([[0.3, 0.3, 0.9, 0.9]])

    def drawn(folder: Path) -> list[np.ndarray]:
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write_curves(history, folder / "curves.png", title=CAT)
            matrix = np.eye(2, dtype=np.int64)
            write_confusion(matrix, [CAT, "b"], folder / "confusion.png", folder / "confusion.csv")
        ground = np.full((200, 300, 3), 90, np.uint8)
        return [
            draw_boxes(ground, box, np.array([0]), classes=[CAT]),
            legend([0], [CAT], 200),
            *(np.asarray(Image.open(folder / name)) for name in ("curves.png", "confusion.png")),
        ]

    install()
    without = drawn(tmp_path / "without")
    assert len(capsys.readouterr().err.splitlines()) == 1
    install(CAT)
    for one, other in zip(drawn(tmp_path / "with"), without, strict=True):
        assert one.shape != other.shape or (one != other).any()
    assert not capsys.readouterr().err
    # Three squares of 10.5 points at 200 dots an inch stand in the title of the curves.
    title = np.asarray(Image.open(tmp_path / "with" / "curves.png").convert("L"))[:110, :220]
    assert (title < 60).mean() > 0.1


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow finds no FriBiDi here")
def test_arabic_is_joined_and_goes_from_right_to_left() -> None:
    letters = Letters(20, ["قطة"])
    assert letters.length("قطة") < sum(letters.length(one) for one in "قطة")

    def plain(layout: ImageFont.Layout, **options: str) -> np.ndarray:
        image = Image.new("L", (300, 40))
        font = ImageFont.truetype(OURS, 20, layout_engine=layout)
        ImageDraw.Draw(image).text((10, 5), "قطة", 255, font, **options)
        return np.asarray(image)

    assert np.array_equal(written("قطة"), plain(ImageFont.Layout.RAQM, direction="rtl"))
    assert not np.array_equal(written("قطة"), plain(ImageFont.Layout.BASIC))


def test_without_fribidi_one_warning_says_so(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    install()
    monkeypatch.setattr(features, "check", lambda _name: False)
    Letters(12, ["قطة", "cat"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "FriBiDi" in line
    assert "apt install libfribidi0" in line
    Letters(12, ["חתול"])
    Letters(12, ["cat"])
    assert not capsys.readouterr().err


def test_chinese_letters_count_for_more_columns() -> None:
    assert columns("cat") == 3
    assert columns("猫") > 1.5
    assert OURS.is_file()
