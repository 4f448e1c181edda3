"""Images that turn out to be broken when they are decoded, behind a look at their headers.

While training, the next image that can be read stands in for a broken one: what a batch holds is
still a function of (seed, epoch, step) and of the files, so that a training that goes on is exact.
In evaluation it is left out of the figures. Either way it is named once, counted and remembered.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from kerascnn.errors import InputError
from training.common import atomic
from training.common.parallel import in_order
from training.common.progress import Progress, say
from training.datasets.splits import SplitLike

_Result = TypeVar("_Result")


_AnySplit = TypeVar("_AnySplit", bound=SplitLike)


class BrokenPictures:
    """Those that a run has met; any thread may add one.

    Args:
        file: a .json of names with reasons, read now and written at each new one; None: none.
        strict: a broken image is an error.

    Attributes:
        reasons: why each is broken, in one line, by its name.
        refusal: the error that ended the reading. A stream hands errors of its threads on as its
            own; this is the one to show.
    """

    def __init__(self, file: pathlib.Path | None = None, *, strict: bool = False) -> None:
        self._file, self._strict = file, strict
        self._lock = threading.Lock()
        self.reasons = _read(file) if file else {}
        self.refusal: InputError | None = None

    @classmethod
    def of_run(cls, folder: pathlib.Path, *, strict: bool, remember: bool) -> BrokenPictures:
        """Those of the run in a folder.

        Args:
            remember: whether this process writes them; one of several hosts does, and tells those
                of its own part of the batches.
        """
        return cls(folder / "broken.json" if remember else None, strict=strict)

    def add(self, name: str, error: InputError) -> None:
        """Remember an image that cannot be read.

        Raises:
            InputError: this one, if `strict`, or where the file is gone or the disk fails: then
                not the image is broken, and it may come back.
        """
        with self._lock:
            if self._strict or _of_system(error):
                self.refusal = error
                raise error
            if name in self.reasons:
                return
            self.reasons[name] = str(error)
            say(f"broken, left out: {error}")
            if self._file:
                atomic.write_text(self._file, json.dumps(self.reasons, indent=1))

    def first_sound(
        self, places: Iterable[int], names: Sequence[str], load: Callable[[int], _Result]
    ) -> _Result:
        """What `load` gives of the first place whose image can be read.

        Nothing is left out because it was found broken before: what is used does not depend on
        what this process has seen.

        Raises:
            InputError: none can be read, or see `add`.
        """
        last: InputError | None = None
        for place in places:
            try:
                return load(place)
            except InputError as error:
                self.add(names[place], error)
                last = error
        self.refusal = InputError(f"{last}; no image can stand in for it")
        raise self.refusal

    def sift(self, split: _AnySplit, look: Callable[[int], object]) -> _AnySplit:
        """The images of a split that can be read; all are decoded.

        Args:
            look: reads what belongs to the image at an index; raises InputError.
        """

        def error(index: int) -> InputError | None:
            try:
                look(index)
            except InputError as found:
                return found
            return None

        good = []
        with Progress("looking for broken images", len(split), unit="image") as progress:
            for index, found in enumerate(in_order(error, len(split))):
                progress.step()
                if found is None:
                    good.append(index)
                else:
                    self.add(split.names[index], found)
        sound: _AnySplit = split.take(good)
        return sound

    def without(self, split: _AnySplit) -> _AnySplit:
        """The split less what is known to be broken."""
        good = [index for index, name in enumerate(split.names) if name not in self.reasons]
        if len(good) == len(split):
            return split
        sound: _AnySplit = split.take(good)
        return sound

    def measured(
        self,
        split: _AnySplit,
        look: Callable[[_AnySplit, int], object],
        measure: Callable[[_AnySplit], _Result],
    ) -> tuple[_AnySplit, _Result]:
        """Measure on the images of a split that can be read.

        Args:
            look: reads what belongs to the image at an index of a split.
            measure: reads all images of a split; raises InputError where one is broken. Then it
                is called once more, without those.

        Returns:
            The images that were measured on, and what `measure` gives.
        """
        sound = self.without(split)
        try:
            return sound, measure(sound)
        except InputError:
            sifted = self.sift(sound, lambda index: look(sound, index))
            if len(sifted) == len(sound):
                raise
        return sifted, measure(sifted)


def _of_system(error: InputError) -> bool:
    """Whether a file is gone, or cannot be read for a reason that is not its own."""
    origin = error.__cause__ or error.__context__
    return isinstance(origin, OSError) and origin.errno is not None


def _read(file: pathlib.Path) -> dict[str, str]:
    """What an earlier process has met; nothing where that is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        found = json.loads(file.read_text("utf-8"))
        if isinstance(found, dict) and all(isinstance(why, str) for why in found.values()):
            return found
    return {}
