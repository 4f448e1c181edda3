"""`kerascnn android`: puts exported files into the Android demo, which shows all that it holds.

The demo is a Gradle project, `android_demo/` at the top of the repository and beside this file in
an installed package, which is never written to: a folder that is not there yet gets a copy of it. A
file says by itself all that the app has to know, so that nothing is worked out here.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterator, Sequence

from export.deploy.phone_files import Model, PhoneFile, choose
from kerascnn.errors import InputError
from training.common import atomic
from training.common.wording import unit_of

_HERE = pathlib.Path(__file__).parent
# As installed, and in a checkout.
_PLACES = (_HERE / "android_demo", _HERE.parents[1] / "android_demo")
PROJECT = _PLACES[0] if _PLACES[0].is_dir() else _PLACES[1]
_ASSETS = pathlib.Path("app", "src", "main", "assets")
# By these a folder is known as the project, or one that was made of it.
_SIGNS = (pathlib.Path("settings.gradle.kts"), _ASSETS.parent / "AndroidManifest.xml")
_MODELS = "models"
# Android's packager leaves out what begins with a dot.
_LIST = ".kerascnn.json"
_PARTIAL = f"{atomic.TEMPORARY}android_demo"
# What Gradle, Maven, Android Studio and this command put into the project.
_MADE = (
    *("build", "target", ".gradle", ".idea", ".kotlin", "local.properties", "*.tflite", _LIST),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filled:
    """What was put where.

    Attributes:
        folder: the project's.
        models: the smallest first.
        removed: names of files that an earlier call had put there.
        copied: whether the folder is a new copy of the project.
    """

    folder: str
    models: tuple[Model, ...]
    removed: tuple[str, ...]
    copied: bool


def fill(sources: Sequence[str], project: pathlib.Path, *, variants: Sequence[str] = ()) -> Filled:
    """Put the .tflite files of runs into the app, in place of those of an earlier call.

    Files that somebody else put there stay.

    Args:
        sources: run folders, and .tflite files.
        project: the Android demo, or a folder that is not there yet or is empty, which becomes a
            copy of it.
        variants: of the runs; none: all that they have.

    Raises:
        InputError: no such file or variant, a file that does not describe itself, a folder that is
            not the project, or somebody else's file of a name that is wanted.
    """
    copied = _is_free(project)
    check_project(PROJECT if copied else project)
    models = list(_named(choose(sources, variants)))
    if copied:
        _copy_project(project)
    folder = project / _ASSETS / _MODELS
    earlier = _listed(folder)
    wanted = {model.file: model for model, _ in models}
    ours = {
        name
        for name, digest in earlier.items()
        if (folder / name).is_file() and atomic.sha256(folder / name) == digest
    }
    for name in wanted:
        if (folder / name).exists() and name not in ours:
            raise InputError(f"{folder / name} was not written by this command; move it away")
    # A list of both first: a crash leaves no file that the next call would not know.
    _write_list(folder, earlier | {name: model.sha256 for name, model in wanted.items()})
    for model, path in models:
        atomic.write_bytes(folder / model.file, path.read_bytes())
    removed = sorted(ours - set(wanted))
    for name in removed:
        (folder / name).unlink()
    _write_list(folder, {name: model.sha256 for name, model in wanted.items()})
    return Filled(
        folder=str(project),
        models=tuple(model for model, _ in models),
        removed=tuple(removed),
        copied=copied,
    )


def as_text(filled: Filled) -> str:
    """What was put where, and what to do with it."""
    unit = unit_of([model.bytes for model in filled.models])
    models = ", ".join(f"{model.file} ({unit.text(model.bytes)})" for model in filled.models)
    removed = f"removed: {', '.join(filled.removed)}\n" if filled.removed else ""
    copied = " is a new copy of the Android demo, with" if filled.copied else ":"
    return (
        f"{filled.folder}{copied} {models}\n{removed}"
        f"next: open {filled.folder} in Android Studio and run it on a phone"
    )


def check_project(project: pathlib.Path) -> None:
    if all((project / sign).is_file() for sign in _SIGNS):
        return
    if project == PROJECT:
        raise InputError(f"this installation lacks {PROJECT}; install kerascnn again")
    raise InputError(
        f"{project} is not the Android demo: it has no {_SIGNS[0]}, or no manifest; name a new "
        "folder by -o"
    )


def _is_free(folder: pathlib.Path) -> bool:
    """Whether nothing is there, but for what an interrupted copy may have left."""
    if not folder.is_dir():
        return not folder.exists()
    return all(path.name == _PARTIAL for path in folder.iterdir())


def _copy_project(folder: pathlib.Path) -> None:
    """Copy all under a temporary name, then rename; by what a project is known comes last."""
    temporary = folder / _PARTIAL
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(PROJECT, temporary, ignore=shutil.ignore_patterns(*_MADE))
        for path in sorted(temporary.iterdir(), key=lambda path: path.name == str(_SIGNS[0])):
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _named(chosen: Sequence[PhoneFile]) -> Iterator[tuple[Model, pathlib.Path]]:
    """Each with a file name of its own; of equal ones, all have a piece of their hash."""
    plain = [one.plain_name.lower() for one in chosen]
    for one, name in zip(chosen, plain, strict=True):
        apart = f"-{one.sha256[:8]}" if plain.count(name) > 1 else ""
        yield one.listed(f"{one.plain_name}{apart}.tflite"), one.path


def _listed(folder: pathlib.Path) -> dict[str, str]:
    """Hashes of the files that earlier calls put there, by their names."""
    path = folder / _LIST
    try:
        listed = json.loads(path.read_text("utf-8"))
        found = {str(name): str(digest) for name, digest in listed["models"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path} is damaged; delete it and the models beside it") from None
    if any(pathlib.PurePath(name).name != name or "\\" in name for name in found):
        raise InputError(f"{path} is damaged; delete it and the models beside it")
    return found


def _write_list(folder: pathlib.Path, models: dict[str, str]) -> None:
    text = json.dumps({"models": dict(sorted(models.items()))}, indent=1)
    atomic.write_text(folder / _LIST, text + "\n")
