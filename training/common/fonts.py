"""Fonts for names in any script.

Drawings are set in DejaVu Sans, which comes with matplotlib and has Latin, Greek, Cyrillic, Hebrew
and Arabic letters. For those that it lacks (Chinese, Japanese, Korean, Devanagari, most emoji) a
font of the machine stands in, letter by letter; what no font has is warned of once, with what to
install. Nothing is fetched.
"""

from __future__ import annotations

import functools
import itertools
import pathlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FaceFlags, FT2Font
from PIL import ImageDraw, ImageFont, features

from training.common.progress import say

OURS = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
_MOST_NAMED = 8  # letters in a warning
# Upright letters of a plain weight come first, by the words of a file's name.
_UNWANTED = re.compile("serif|mono|bold|italic|oblique|light|thin|black|medium|cond|narrow", re.I)
# Scripts whose letters join, stack or run from right to left: Hebrew to Myanmar, and Khmer.
_SHAPED = ((0x0590, 0x109F), (0x1780, 0x17FF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFC))
_EAST_ASIAN = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO", "FULLWIDTH")
_warned: set[str] = set()


def fallbacks(texts: Iterable[str]) -> tuple[pathlib.Path, ...]:
    """Font files for the letters that `OURS` lacks, as few as have all that any font here has.

    A warning on stderr names letters that no font has, each once.
    """
    lacking = _letters(texts) - _held(OURS, _letters(texts))
    if not lacking:
        return ()
    chosen, missing = _chosen(frozenset(lacking), _installed())
    _tell_missing(missing)
    return chosen


def families(texts: Iterable[str]) -> list[str]:
    """What `fallbacks` gives as families that matplotlib knows, for its setting font.family."""
    return [_family(path) for path in fallbacks(texts)]


def columns(text: str) -> float:
    """About how many Latin letters are as wide as a text; Chinese ones are wider."""
    return sum(1.6 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


class Letters:
    """Writes on Pillow's canvases, in as many fonts as a text needs."""

    def __init__(self, height: int, texts: Collection[str]) -> None:
        """`height` is in pixels; `texts` are all that will be written, but for ASCII."""
        paths = (OURS, *fallbacks(texts))
        self._fonts = [ImageFont.truetype(path, height) for path in paths]
        self._place: dict[str, int] = {}
        self._spaceless = {place for place, path in enumerate(paths) if not _held(path, " ")}
        if len(paths) > 1:
            letters = _letters(texts)
            for place in reversed(range(len(paths))):
                self._place.update(dict.fromkeys(_held(paths[place], letters), place))
        _tell_unshaped(texts)

    @property
    def metrics(self) -> tuple[int, int]:
        """Pixels above and below the baseline."""
        return self._fonts[0].getmetrics()

    def length(self, text: str) -> float:
        """Pixels that a text is wide."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def write(
        self, canvas: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, fill: Any
    ) -> None:
        """Write a line whose left top corner is given."""
        left, baseline = corner[0], corner[1] + self.metrics[0]
        for font, run in self._runs(text):
            canvas.text((left, baseline), run, fill=fill, font=font, anchor="ls")
            left += font.getlength(run)

    def _runs(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        """Pieces of one font each. Spaces and what joins letters stay with the letter before."""
        places, place = [], 0
        for one in text:
            if one.isspace() and place in self._spaceless:
                place = 0
            place = self._place.get(one, 0 if _has_shape(one) else place)
            places.append(place)
        for place, pairs in itertools.groupby(zip(places, text, strict=True), lambda pair: pair[0]):
            yield self._fonts[place], "".join(one for _, one in pairs)


def _letters(texts: Iterable[str]) -> set[str]:
    return {one for text in texts for one in text if _has_shape(one)}


def _has_shape(letter: str) -> bool:
    """No space, control or joiner, and nothing that chooses between two looks of an emoji."""
    return unicodedata.category(letter)[0] not in "ZC" and not 0xFE00 <= ord(letter) <= 0xFE0F


def _held(path: pathlib.Path, letters: Iterable[str]) -> set[str]:
    """Those letters that a font has outlines of; none of a file that is no such font."""
    try:
        face = FT2Font(str(path))
    except (OSError, RuntimeError):
        return set()
    # Neither matplotlib nor Pillow scale images of letters, which most emoji fonts hold.
    if FaceFlags.SCALABLE not in face.face_flags or FaceFlags.COLOR in face.face_flags:
        return set()
    return {one for one in letters if face.get_char_index(ord(one))}


@functools.cache
def _installed() -> tuple[pathlib.Path, ...]:
    """Font files of the machine and of matplotlib, the plainest first."""
    paths = {*map(pathlib.Path, font_manager.findSystemFonts()), *OURS.parent.glob("*.ttf")}
    # Its glyphs say of what script a letter is: boxes again (matplotlib's and macOS').
    named = [path for path in paths if not path.stem.startswith("LastResort")]
    return tuple(sorted(named, key=lambda p: (len(_UNWANTED.findall(p.stem)), p.name, str(p))))


@functools.cache
def _chosen(
    letters: frozenset[str], installed: tuple[pathlib.Path, ...]
) -> tuple[tuple[pathlib.Path, ...], frozenset[str]]:
    """Each time the font that has most of the letters left; and the letters that none has."""
    held = {path: found for path in installed if (found := _held(path, letters))}
    chosen: list[pathlib.Path] = []
    left = set(letters)
    while any(found & left for found in held.values()):
        chosen.append(max(held, key=lambda path: len(held[path] & left)))
        left -= held[chosen[-1]]
    return tuple(chosen), frozenset(left)


@functools.cache
def _family(path: pathlib.Path) -> str:
    """The family of a font file, made known to matplotlib, whose own list may be older."""
    known = font_manager.fontManager
    if all(pathlib.Path(entry.fname) != path for entry in known.ttflist):
        known.addfont(path)
    return str(FT2Font(str(path)).family_name)


def _tell_missing(letters: Iterable[str]) -> None:
    new = sorted(set(letters) - _warned)
    if not new:
        return
    _warned.update(new)
    listed = ", ".join(f"{one} (U+{ord(one):04X})" for one in new[:_MOST_NAMED])
    more = f" and {len(new) - _MOST_NAMED} more" if len(new) > _MOST_NAMED else ""
    packages = " ".join(sorted({_package(one) for one in new}))
    say(
        f"warning: no font on this computer has {listed}{more}; drawn as boxes. Install one (on "
        f"Debian and Ubuntu: apt install {packages}) or put its .ttf file into ~/.local/share/fonts"
    )


def _package(letter: str) -> str:
    if unicodedata.name(letter, "").startswith(_EAST_ASIAN):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(letter) == "So" else "fonts-noto-core"


def _tell_unshaped(texts: Iterable[str]) -> None:
    shaped = {one for text in texts for one in text if _is_shaped(one)}
    if not shaped or "raqm" in _warned or features.check("raqm"):
        return
    _warned.add("raqm")
    say(
        f"warning: letters such as {min(shaped)} are drawn one by one, from left to right: Pillow "
        "finds no FriBiDi, which orders and joins them; install it (on Debian and Ubuntu: apt "
        "install libfribidi0)"
    )


def _is_shaped(letter: str) -> bool:
    return any(first <= ord(letter) <= last for first, last in _SHAPED)
