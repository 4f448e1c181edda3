"""What `kerascnn weights` shows: published weights, and which of them are in the cache."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kerascnn import weights
from kerascnn.catalogue import ENTRIES
from kerascnn.errors import InputError
from kerascnn.weights import cache, download, published
from kerascnn.weights.published import Published, options_text
from kerascnn.zoo import entry

_TO_THE_RIGHT = ("MB", "pixels", "top-1", "AP")
_MB = 1e6
_NOTES = (
    "top-1, AP: published, in percent, at that many pixels; sources, digests, licences and how the "
    "images were resized: --json"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """A row of the table, and what this machine has of it.

    Attributes:
        row: what is published.
        path: where its file lies, or would.
        state: "cached", "damaged", "package" (installed), or "" where it is not here.
    """

    row: Published
    path: pathlib.Path | None
    state: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **dataclasses.asdict(self.row),
            "address": download.address(self.row) or None,
            "path": self.path and str(self.path),
            "state": self.state,
            "cached": self.state in ("cached", "package"),
        }


def selected(
    model: str | None = None,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    default: bool = False,
) -> tuple[Published, ...]:
    """Rows of the table: all, those of a model and its backbone, or those of one name.

    Args:
        model: a zoo name.
        name: of weights.
        options: of the builder; with them, of each name the one row that fits.
        default: without options the rows of a network that is built without any, too, as a training
            would want them; else all.

    Raises:
        InputError: no such model, or no such weights of it.
    """
    if model is None:
        return tuple(row for one in ENTRIES for row in published.rows(one))
    backbone = entry(model).backbone
    found = published.rows(model, backbone)
    if name is not None:
        found = tuple(row for row in found if row.name == name)
    if not found:
        raise InputError(
            f"no weights{f' {name!r}' if name else ''} for {model}; "
            f"{published.unknown(model, name or '', backbone)}"
        )
    if options or default:
        found = published.fitting(model, found, options or {})
    return found


def looked_at(row: Published) -> Item:
    """What is here of a row, as far as it is known without reading the file."""
    if row.url is None:
        path = _of_package(row)
        return Item(row=row, path=path, state="package" if path else "")
    path = cache.path_of(row)
    return Item(row=row, path=path, state="cached" if path.is_file() else "")


def fetched(row: Published) -> Item:
    """The same, once its file is here.

    Raises:
        InputError: it cannot be had.
    """
    weights.fetch(row)
    return looked_at(row)


def verified(item: Item) -> Item:
    """The same, once the digest of a file that is here was compared with the published one."""
    if item.state == "":
        return item
    try:
        cache.verify(item.row, item.path)
    except InputError:
        return dataclasses.replace(item, state="damaged")
    return item


def table(items: Sequence[Item]) -> str:
    """One line per row, and where the files lie."""
    measure = "top-1" if any(item.row.top1 for item in items) else ""
    precision = "AP" if any(item.row.ap for item in items) else ""
    rows = [_cells(item) for item in items]
    columns = [c for c in rows[0] if c not in {"top-1", "AP"} - {measure, precision}]
    rows.insert(0, {column: column for column in columns})
    widths = {column: max(len(row[column]) for row in rows) for column in columns}
    lines = [
        "  ".join(
            row[c].rjust(widths[c]) if c in _TO_THE_RIGHT else row[c].ljust(widths[c])
            for c in columns
        ).rstrip()
        for row in rows
    ]
    return "\n".join((*lines, "", _NOTES, _place(items)))


def _cells(item: Item) -> dict[str, str]:
    row = item.row
    return {
        "model": row.model,
        "weights": f"{row.name}{options_text(row.options)}",
        "source": row.source,
        "MB": "" if row.size is None else f"{row.size / _MB:.1f}",
        "pixels": str(row.evaluation.size),
        "top-1": "" if row.top1 is None else f"{row.top1:.1f}",
        "AP": "" if row.ap is None else f"{row.ap:.1f}",
        "here": item.state,
    }


def _place(items: Sequence[Item]) -> str:
    here = [item.path for item in items if item.state == "cached" and item.path]
    size = sum(path.stat().st_size for path in here) / _MB
    return f"{len(here)} of {len(items)} in the cache, {size:.1f} MB: {cache.folder()}"


def _of_package(row: Published) -> pathlib.Path | None:
    try:
        return weights.fetch(row)
    except InputError:  # it is not installed
        return None
