"""Where the images lie that a table names: beside it, or in a folder of images beside it.

A name may lack its extension, be written in other letter cases, or with backslashes.
"""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence

from training.datasets.paths import suffix_of
from training.datasets.pictures import SUFFIXES

_BESIDE = ("images", "image", "imgs", "img", "pictures", "photos", "data", "jpg")


class TableFiles:
    """Finds images by the names that a table has for them.

    Args:
        table: the file whose folder is looked in.
    """

    def __init__(self, table: pathlib.Path) -> None:
        near, stem = table.absolute().parent, table.stem
        below = (stem, f"{stem}_images", f"images/{stem}", *_BESIDE)
        names = [near, *(near / name for name in below), near.parent / "images"]
        self.folders = [str(folder) for folder in names if folder.is_dir()]
        self._seen: dict[str, _Names] = {}
        self._last = self.folders[0] if self.folders else str(near)

    @property
    def places(self) -> str:
        """The folders, for messages."""
        return ", ".join(self.folders)

    def find(self, name: str) -> str | None:
        """The absolute path of an image, in the first folder that has it; None if none has."""
        name = name.replace("\\", "/").removeprefix("./")
        if not name or "\0" in name:
            return None
        for folder in dict.fromkeys((self._last, *self.folders)):
            path = os.path.join(folder, name)  # noqa: PTH118 - of a million names
            above, _slash, own = path.rpartition("/")
            if own and (there := self._names(above).match(own)):
                self._last = folder
                return f"{above}/{there}"
        return None

    def _names(self, folder: str) -> _Names:
        if folder not in self._seen:
            self._seen[folder] = _Names(folder)
        return self._seen[folder]


class _Names:
    """The files in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        try:
            self._all = frozenset(os.listdir(folder))  # noqa: PTH208 - of a million names
        except (OSError, ValueError):
            self._all = frozenset()
        self._alike: Mapping[str, Sequence[str]] | None = None

    def match(self, name: str) -> str | None:
        """The file of a name, or the one image whose name differs in what may differ."""
        if name in self._all and suffix_of(name) in SUFFIXES:
            return name
        if self._alike is None:
            alike = collections.defaultdict(list)
            for one in self._all:
                if (suffix := suffix_of(one)) in SUFFIXES and not one.startswith("."):
                    alike[one.lower()].append(one)
                    alike[one.lower().removesuffix(suffix)].append(one)
            self._alike = alike
        near = self._alike.get(name.lower(), ())
        return near[0] if len(near) == 1 else name if self._has_file(name) else None

    def _has_file(self, name: str) -> bool:
        """Whether something else than a folder is called so: folders are called as labels are."""
        return name in self._all and not os.path.isdir(os.path.join(self._folder, name))  # noqa: PTH112, PTH118
