"""Which exported files go to a phone: of runs, and all of them such that describe themselves."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import unicodedata
from collections.abc import Sequence

from export.artefacts.description import read_description
from kerascnn.errors import InputError
from training.common import atomic


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A file as a list of an app, or of a page, has it.

    Attributes:
        name: for people.
        file: its name there, or its path.
        bytes: its size.
        sha256: hex digest.
    """

    name: str
    file: str
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneFile:
    """A .tflite file to take along.

    Attributes:
        name: for people: run and variant, or the file's own name.
        path: where it is.
    """

    name: str
    path: pathlib.Path

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest."""
        return atomic.sha256(self.path)

    def listed(self, file: str) -> Model:
        """As a list has it where it goes by this name."""
        return Model(name=self.name, file=file, bytes=self.path.stat().st_size, sha256=self.sha256)

    @property
    def plain_name(self) -> str:
        """The name in letters that every file system and address can hold; never empty."""
        known = unicodedata.normalize("NFKD", self.name).encode("ascii", "ignore").decode()
        return re.sub(r"[^\w.-]+", "-", known).strip(".-") or "model"


def choose(sources: Sequence[str], variants: Sequence[str] = ()) -> list[PhoneFile]:
    """Find the .tflite files of runs, the smallest first.

    Args:
        sources: run folders, and .tflite files.
        variants: of the runs; none: all that they have.

    Raises:
        InputError: no such file or variant, or a file that does not describe itself.
    """
    found = {
        one.path.resolve(): one for source in sources for one in _chosen(source, tuple(variants))
    }
    for one in found.values():
        read_description(one.path)
    return sorted(found.values(), key=lambda one: one.path.stat().st_size)


def _chosen(source: str, variants: Sequence[str]) -> list[PhoneFile]:
    """Those of a run, or a file itself."""
    path = pathlib.Path(source)
    if path.suffix == ".tflite":
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        return [PhoneFile(name=path.stem, path=path)]
    if not (path / "run.json").is_file():
        raise InputError(f"{path} is not a run folder (no run.json) or a .tflite file")
    files = {
        file.stem: file
        for file in sorted((path / "artefacts").glob("*.tflite"))
        if not file.name.startswith(atomic.TEMPORARY)
    }
    missing = [name for name in variants if name not in files]
    if missing or not files:
        wanted = f"no {', '.join(missing)}" if missing else "no .tflite files"
        has = f"; it has {', '.join(files)}" if files else ""
        make = f" --variants {','.join(missing)}" if missing else ""
        raise InputError(f"{path} has {wanted}{has}; make them: kerascnn compress {path}{make}")
    run = path.resolve().name
    return [PhoneFile(name=f"{run} {name}", path=files[name]) for name in variants or files]
