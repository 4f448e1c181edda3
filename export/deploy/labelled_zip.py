"""A labelled folder as one file for a phone, known by what is in it."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import zipfile

from kerascnn.errors import InputError
from training.common import atomic

# Pictures that Android decodes, and what tells COCO's boxes.
_TAKEN = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledFolder:
    """What a phone is to be measured on.

    Attributes:
        folder: as it was named.
        files: relative paths, in order.
        digest: of paths and contents, hex.
    """

    folder: pathlib.Path
    files: tuple[str, ...]
    digest: str

    def write(self, path: pathlib.Path) -> None:
        """Write the zip; nothing is compressed, as pictures are already."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name in self.files:
                # A fixed date, so that the same files are the same zip.
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                with (self.folder / name).open("rb") as source, archive.open(entry, "w") as target:
                    while piece := source.read(1 << 20):
                        target.write(piece)


def read(folder: pathlib.Path) -> LabelledFolder:
    """Find the pictures of a folder, its masks and its COCO .json; hidden ones are left out.

    Raises:
        InputError: no such folder, or nothing in it that a phone is measured on.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --labelled takes a folder of labelled images")
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in _TAKEN and path.is_file()
    )
    files = [name for name in files if not any(part[0] in ".@" for part in name.split("/"))]
    if not any(not name.endswith(".json") for name in files):
        raise InputError(
            f"{folder} has no images; --labelled takes a folder with one sub-folder per class, "
            "images and a COCO .json, or images/ and masks/"
        )
    whole = hashlib.sha256()
    for name in files:
        whole.update(f"{name}\0{atomic.sha256(folder / name)}\n".encode())
    return LabelledFolder(folder=folder, files=tuple(files), digest=whole.hexdigest())
