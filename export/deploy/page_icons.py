"""The page's icon as PNG files, which phones want for what is installed.

Drawn by the numbers of `web_page/icon.svg`, in a square of 64 units.
"""

from __future__ import annotations

import io
import itertools

from PIL import Image, ImageDraw

_SIDE, _CORNER, _RADIUS, _WIDTH = 64, 14, 8, 5
_GROUND, _LINE, _DOT = "#0072b2", "#ffffff", "#f0e442"
_BRACKETS = (
    ((16, 24), (16, 16), (24, 16)),
    ((40, 16), (48, 16), (48, 24)),
    ((48, 40), (48, 48), (40, 48)),
    ((24, 48), (16, 48), (16, 40)),
)
_FINER = 4  # drawn so much larger, then made smaller: Pillow draws no smooth edges


def icons() -> dict[str, bytes]:
    """PNG files by name; the ground of the maskable one goes to the edge, for phones to cut."""
    return {
        "icon-192.png": _png(192, _CORNER),
        "icon-512.png": _png(512, _CORNER),
        "icon-maskable.png": _png(512, 0),
    }


def _png(side: int, corner: int) -> bytes:
    scale = side * _FINER / _SIDE
    image = Image.new("RGBA", (side * _FINER, side * _FINER))
    draw = ImageDraw.Draw(image)
    edge = side * _FINER - 1
    draw.rounded_rectangle((0, 0, edge, edge), corner * scale, fill=_GROUND)
    half = _WIDTH / 2
    for points in _BRACKETS:
        for (x, y), (to_x, to_y) in itertools.pairwise(points):
            # Ends are cut at the point, joints filled to their outer corner.
            box = (min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y))
            wide = (half, 0) if x == to_x else (0, half)
            draw.rectangle(_scaled(box, wide, scale), fill=_LINE)
        x, y = points[1]
        draw.rectangle(_scaled((x, y, x, y), (half, half), scale), fill=_LINE)
    middle = _SIDE / 2
    draw.ellipse(_scaled((middle,) * 4, (_RADIUS, _RADIUS), scale), fill=_DOT)
    data = io.BytesIO()
    image.reduce(_FINER).save(data, "PNG", optimize=True)
    return data.getvalue()


def _scaled(
    box: tuple[float, ...], grown: tuple[float, float], scale: float
) -> tuple[float, float, float, float]:
    """A box that reaches further by so much, in pixels; its last ones are inside."""
    left, top, right, bottom = box
    across, down = grown
    return (
        (left - across) * scale,
        (top - down) * scale,
        (right + across) * scale - 1,
        (bottom + down) * scale - 1,
    )
