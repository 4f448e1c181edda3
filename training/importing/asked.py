"""What an import is asked for; checked before a framework is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from kerascnn import weights as weight_files
from kerascnn import zoo
from kerascnn.errors import InputError
from kerascnn.preprocessing import NORMALISATIONS, RESIZES
from training import tasks
from training.common import atomic
from training.datasets.paths import refuse_within
from training.datasets.unlabelled import nothing_else
from training.engine import options
from training.engine.run import read_info
from training.engine.task import Form, Task

IN_MEMORY = "a model in memory"
FILES = (".keras", ".h5", ".hdf5", ".tflite")
SAVED_MODEL = "saved_model.pb"  # in the folder of one
_ODD = re.compile(r"[^\w.-]+")
# What a file may be called that says nothing of what is in it.
_NAMELESS = ("model", "saved_model", "weights", "best", "final", "keras")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """Everything that an imported run is made of.

    Attributes:
        source: a zoo name, the absolute path of a file or of a SavedModel's folder, or `IN_MEMORY`.
        data: an embedded set's name or a folder's absolute path.
        val_data: another one's, whose images are held out instead.
        weights: of a zoo name: a name of weights, or a file's absolute path.
        options: of the zoo's builder.
        image_size: (height, width); None: the network's own.
        preprocessing: one of `NORMALISATIONS`, or None: what is inside of the network, or a guess.
        resize: one of `RESIZES`, or None: by the data and the weights.
        labels: the absolute path of a file with a label a line, or None.
        unlabelled: nothing is known of the images, whatever their folders are called.
        name: what files and reports call the network; None: by the source.
        recipe, settings: of the steps of compression that train.
        weights_sha256: of the weights of a model in memory.
    """

    source: str
    data: str
    val_data: str | None = None
    weights: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    preprocessing: str | None = None
    resize: str | None = None
    labels: str | None = None
    unlabelled: bool = False
    name: str | None = None
    recipe: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights_sha256: str | None = None

    @property
    def in_memory(self) -> bool:
        """Whether the source is a model that Python has."""
        return self.source == IN_MEMORY

    @property
    def in_zoo(self) -> bool:
        """Whether the source is a name."""
        return not self.in_memory and not pathlib.Path(self.source).is_absolute()

    @property
    def called(self) -> str:
        """The name of the network, without letters that files' names should not have."""
        if self.name is not None:
            return self.name
        if self.in_memory:
            return "network"
        if self.in_zoo:
            return self.source
        path = pathlib.Path(self.source)
        named = path if path.stem.lower() not in _NAMELESS else path.parent
        return file_name(named.name if named.is_dir() else named.stem) or "network"

    @property
    def shown_data(self) -> str:
        """The data, for messages."""
        path = pathlib.Path(self.data)
        return path.name if path.is_absolute() else self.data

    def digest(self) -> str | None:
        """Of the file or folder, or of the weights of a model in memory; None of a name."""
        if self.in_memory:
            return self.weights_sha256
        if self.in_zoo:
            return None
        path = pathlib.Path(self.source)
        return _of_folder(path) if path.is_dir() else atomic.sha256(path)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, equal after a round trip through JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


def file_name(text: str) -> str:
    """A text less the letters that files' names should not have; it may be empty."""
    return _ODD.sub("-", text).strip("-.")


def import_request(source: str, *, data: str, **asked: Any) -> ImportRequest:
    """Fill a request from what was typed.

    Args:
        source: a zoo name, a path, or `IN_MEMORY`.
        **asked: see `ImportRequest`; paths may be relative.

    Raises:
        InputError: anything that is wrong and needs neither a network nor an image to be found.
    """
    path, in_memory = pathlib.Path(source), source == IN_MEMORY
    task = tasks.of("classification")
    if in_memory or path.exists() or path.suffix in FILES:
        if not in_memory:
            _require_file(path)
        for flag, key in (("--weights", "weights"), ("--option", "options")):
            if asked.get(key):
                raise InputError(f"{flag} is for a network of the zoo by its name, not for {path}")
        place = source if in_memory else str(path.resolve())
    else:
        task = _require_zoo(source, asked)
        place = source
    for flag, value, known in (
        ("--preprocessing", asked.get("preprocessing"), NORMALISATIONS),
        ("--resize", asked.get("resize"), RESIZES),
    ):
        if value is not None and value not in known:
            raise InputError(f"{flag} must be one of {', '.join(known)}, not {value!r}")
    name = asked.get("name")
    if name is not None and (_ODD.search(name) or not name.strip("-.")):
        raise InputError(f"--name must be letters, digits, _, - and ., not {name!r}")
    for spec in filter(None, (data, asked.get("val_data"))):
        _require_data(spec, task, unlabelled=bool(asked.get("unlabelled")))
    return ImportRequest(source=place, data=task.canonical(data), **_canonical(asked, task))


def begun(asked: ImportRequest, folder: pathlib.Path) -> Mapping[str, Any] | None:
    """The run.json of a run of this very import, or None where there is nothing yet.

    Raises:
        InputError: a folder of something else; the message says of what.
    """
    info = read_info(folder)
    if info is None:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"--out {folder} is not empty, and not a run; name another folder")
        for flag, spec in (("--data", asked.data), ("--val-data", asked.val_data)):
            if spec is not None:
                refuse_within(folder, spec, spec, flag=flag)
        return None
    imported = info["request"].get("imported")
    if imported is None:
        raise InputError(f"{folder} holds a run that was trained here; name another folder: --out")
    before, now = imported.get("asked", {}), asked.to_dict()
    differences = [key for key in now if before.get(key) != now[key]]
    if imported.get("sha256") != asked.digest():
        differences.append("the file's content")
    if differences:
        raise InputError(
            f"{folder} holds another import ({', '.join(differences)} differs); name another "
            "folder with --out, or delete it"
        )
    return info


def _require_file(path: pathlib.Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        if (path / "run.json").is_file():
            raise InputError(
                f"{path} is a run already, which all commands take; of its network on other data: "
                f"kerascnn import {path / 'model.keras'}"
            )
        if not (path / SAVED_MODEL).is_file():
            raise InputError(
                f"{path} is a folder without {SAVED_MODEL}, so no SavedModel; give that, or a "
                f"{', '.join(FILES[:2])} or {FILES[-1]} file"
            )
    elif path.suffix not in FILES:
        raise InputError(
            f"{path} must end in {', '.join(FILES)}, or be the folder of a SavedModel: a whole "
            "network, not its weights"
        )


def _of_folder(folder: pathlib.Path) -> str:
    """A digest of what a SavedModel is: its graph, and the files of its variables."""
    files = [folder / SAVED_MODEL, *sorted((folder / "variables").glob("*"))]
    listed = [f"{path.relative_to(folder)} {atomic.sha256(path)}\n" for path in files]
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def _require_zoo(name: str, asked: Mapping[str, Any]) -> Task:
    """The task of a network of the zoo; raises InputError for what it cannot be asked."""
    row, given = zoo.entry(name), asked.get("options") or {}
    task = tasks.of(row.task)
    options.check(name, given)
    weights = weight_files.required(name, asked.get("weights"))
    weight_files.require(name, weights, backbone=None, options=given)
    if task.name != "classification" and asked.get("resize") in ("crop", "centre"):
        raise InputError(f"{name} sees whole images: --resize must be stretch, letterbox or pad")
    return task


def _require_data(spec: str, task: Task, *, unlabelled: bool) -> None:
    """Raise InputError for a place where there are no images for a task."""
    path = pathlib.Path(spec)
    if unlabelled:
        if not path.is_dir():
            raise InputError(f"--unlabelled is for a folder of images, not for {spec}")
    elif not says_nothing(spec, task):
        task.require(spec)


def says_nothing(spec: str, task: Task) -> bool:
    """Whether data is a folder of images, beside which nothing says what is in them.

    Of other tasks than classification: folders have names, which may be classes.
    """
    path = pathlib.Path(spec)
    if task.name == "classification" or not path.is_dir():
        return False
    return task.form(spec) == Form.NONE and nothing_else(path)


def _canonical(asked: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Paths that mean the same from any working directory; what is not given is left out."""
    found = {key: value for key, value in asked.items() if value is not None}
    if "val_data" in found:
        found["val_data"] = task.canonical(found["val_data"])
    for key in ("weights", "labels"):  # data may lie in a folder that is called as weights are
        if key in found and pathlib.Path(found[key]).is_file():
            found[key] = str(pathlib.Path(found[key]).resolve())
    if "labels" in found and not pathlib.Path(found["labels"]).is_file():
        raise InputError(f"--labels {found['labels']}: no such file; give one with a label a line")
    return found
