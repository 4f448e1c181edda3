"""Which of several readers a path is for, by the form of what lies there; no annotation is read."""

from __future__ import annotations

import dataclasses
import pathlib
from types import ModuleType

from kerascnn.errors import InputError
from training.datasets import coco, pack
from training.datasets.detection import is_scenes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forms:
    """The forms in which a task takes its data, beside "scenes".

    Attributes:
        readers: modules with `recognises(path)`, in the order in which they are asked; those of
            packs have a `TASK`.
        wanted: what a path is not that none recognises, and what to give, for a message.
    """

    readers: tuple[ModuleType, ...]
    wanted: str

    def reader(self, spec: str) -> ModuleType:
        """The module that reads it; raises InputError where there is nothing, or nothing known."""
        path = pathlib.Path(spec)
        if not path.exists():
            raise InputError(f"{spec}: no such file or folder, nor a data set (there is: scenes)")
        if path.is_dir() and pack.is_pack(path):
            return self._of_pack(path)
        for reader in self.readers:
            if reader.recognises(path):
                return reader
        raise InputError(f"{spec} {self.wanted}")

    def _of_pack(self, path: pathlib.Path) -> ModuleType:
        task = pack.task_of(path)
        for reader in self.readers:
            if task is not None and getattr(reader, "TASK", None) == task:
                return reader
        raise InputError(
            f"{path} is a pack for {task or 'nothing that is known'}; train a network of that "
            "task, or pack its source again: kerascnn pack --task TASK"
        )

    def require(self, spec: str) -> None:
        """Raise InputError for what nothing is found in."""
        if not is_scenes(spec):
            self.reader(spec)

    def of_measured(self, spec: str) -> str:
        """What is read where nothing is learnt: of COCO's annotations the measured split's."""
        if is_scenes(spec) or self.reader(spec) is not coco:
            return spec
        return str(coco.measured_file(pathlib.Path(spec)))
