"""Pages that open offline: one file, with its style and its images inside."""

from __future__ import annotations

import base64
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from training.common import atomic

_JPEG = {"quality": 88, "subsampling": 0}  # thin coloured lines need all colours
# Below this many pixels a side, smoothing would blur what the network saw.
PIXELATED = 96


def write(path: pathlib.Path, package: str, template: str, values: Mapping[str, Any]) -> None:
    """Write a page, whole or not at all.

    Args:
        package: that the template lies in; it may include page_style.css, and has a filter `uri`
            for images, (height, width, 3) uint8.

    Raises:
        OSError: it cannot be written.
    """
    loaders = [jinja2.PackageLoader(one, ".") for one in (package, "training.common")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["uri"] = _uri
    text = environment.get_template(template).render(**values)
    # Names of files and folders may have bytes that are no text.
    atomic.write_bytes(path, text.encode("utf-8", "replace"))


def _uri(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    small = max(pixels.shape[:2]) <= PIXELATED
    image = Image.fromarray(pixels)
    image.save(stream, "PNG") if small else image.save(stream, "JPEG", **_JPEG)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
