"""Whether images that a run holds out were known to its initial weights or its teacher.

Weights and teachers that are a run's, one of its stages' or artefacts', are followed from run to
run. The images of each are found again by its own request, and compared by what their files hold:
sizes first, so that few files are read. What is not compared: images that were written anew
(`kerascnn pack --max-side`), embedded images with files, and weights that lie outside of the
folder of their run, of which a .keras file gets a warning.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

from kerascnn.errors import InputError
from training.datasets import EMBEDDED
from training.datasets.detection import is_scenes
from training.datasets.same_bytes import shared
from training.datasets.splits import SplitLike
from training.engine import dataset_of_request as of_request
from training.engine.request import TrainRequest
from training.engine.run import read_info

# Of a file in a run's folder: stages/<steps>/model.keras.
_DEEPEST = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """A run that another one's weights or teacher are of.

    Attributes:
        role: "weights" or "teacher".
        folder: of the run.
        request, fingerprint: what it was asked, and of its data.
    """

    role: str
    folder: pathlib.Path
    request: TrainRequest
    fingerprint: str


def refuse_leaks(
    asked: TrainRequest,
    held_out: SplitLike,
    fingerprint: str,
    *,
    teacher: str | None = None,
    warn: Callable[[str], None],
) -> None:
    """Look at every run that the weights and the teacher of a request go back to.

    Args:
        held_out: the request's.
        fingerprint: of its data: the same one has the same held-out images.
        teacher: a run folder, in place of the request's own weights and teacher.
        warn: takes a line of text for each run that cannot be looked at.

    Raises:
        InputError: one of these runs learnt from images that this one holds out.
    """
    first = dataclasses.replace(asked, weights=None, teacher=teacher) if teacher else asked
    for origin in _origins(first, warn, set()):
        if origin.request.imported is not None:
            warn(_unchecked(origin.folder, _IMPORTED))
            continue
        # Of folders, a fingerprint has names and sizes: two may have the same one.
        same = _places(asked) == _places(origin.request) and origin.fingerprint == fingerprint
        if same or _both_embedded(asked, origin.request):
            continue  # the embedded sets hold the same digits out
        try:
            learnt = _learnt_from(origin)
        except InputError as error:
            warn(_unchecked(origin.folder, str(error)))
            continue
        if count := sum(_shared(held_out, split) for split in learnt):
            raise InputError(
                f"{origin.folder}, whose {_ROLES[origin.role]}, learnt from {count:,} of the "
                f"{len(held_out):,} images that would be held out here, so that figures would "
                f"flatter; {_remedy(asked, origin.request)}"
            )


_IMPORTED = "its network was imported, and what that knew is not known"
_ROLES = {"weights": "weights are taken", "teacher": "network would be the teacher"}


def _remedy(asked: TrainRequest, origin: TrainRequest) -> str:
    if _places(asked) == _places(origin) and asked.config.split_seed != origin.config.split_seed:
        return f"hold out what it held out: --split-seed {origin.config.split_seed}"
    return "hold out other images, or take other weights"


def _unchecked(folder: pathlib.Path, why: str) -> str:
    return f"held-out images are not compared with those that {folder} learnt from: {why}"


def _origins(
    asked: TrainRequest, warn: Callable[[str], None], seen: set[pathlib.Path]
) -> Iterator[Origin]:
    """The runs that a request goes back to, each once, the nearest first."""
    for role, path in (("weights", asked.weights), ("teacher", asked.teacher)):
        folder = _run_of(path, warn) if path else None
        if folder is None or folder in seen:
            continue
        seen.add(folder)
        try:
            info = read_info(folder) or {}
            request = TrainRequest.from_dict(info["request"])
            fingerprint = str(info["dataset"]["fingerprint"])
        except (InputError, KeyError, TypeError, AttributeError) as error:
            warn(_unchecked(folder, f"its run.json does not tell ({error})"))
            continue
        yield Origin(role=role, folder=folder, request=request, fingerprint=fingerprint)
        yield from _origins(request, warn, seen)


def _run_of(given: str, warn: Callable[[str], None]) -> pathlib.Path | None:
    """The folder of the run that a file, or the folder itself, belongs to."""
    path = pathlib.Path(given)
    if not path.exists():
        if path.is_absolute():  # and no name of published weights
            warn(_unchecked(path, "it is gone"))
        return None
    path = path.resolve()
    near = [path, *path.parents][: _DEEPEST + 1]
    found = next((folder for folder in near if (folder / "run.json").is_file()), None)
    if found is None and path.suffix == ".keras":  # published weights come in other forms
        warn(_unchecked(path, "no run.json lies beside it; name it in its run folder"))
    return found


def _both_embedded(*requests: TrainRequest) -> bool:
    places = (place for one in requests for place in _places(one) if place is not None)
    return all(place in EMBEDDED or is_scenes(place) for place in places)


def _places(asked: TrainRequest) -> tuple[str, str | None]:
    """Where a request's images are."""
    return asked.data, asked.val_data


def _learnt_from(origin: Origin) -> list[SplitLike]:
    """The images that a run learnt from, and those that chose its epoch.

    Raises:
        InputError: its data is gone or has changed.
    """
    asked = origin.request
    dataset = of_request.dataset_of(asked)
    if dataset.fingerprint != origin.fingerprint:
        raise InputError(f"{asked.places} has changed since")
    return [split for split in (dataset.train, dataset.validation) if split]


def _shared(held_out: SplitLike, learnt: SplitLike) -> int:
    """How many of the first images are among the second ones."""
    return int(shared(held_out.contents(), learnt.contents()).same.sum())
