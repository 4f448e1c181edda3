"""The frame of a task's `training.engine.train.Training`: its data noted, its network built."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from training import tasks
from training.common.progress import say
from training.datasets import same_bytes
from training.datasets.broken import BrokenPictures
from training.engine import dataset_of_request as of_request
from training.engine import network
from training.engine.devices import SINGLE, Placement
from training.engine.enlarging import enlarging_lines
from training.engine.history import History
from training.engine.loop import Fitted, TrainingTask
from training.engine.opening import notes_lines, opening_line, split_counts
from training.engine.request import TrainRequest

if TYPE_CHECKING:
    import keras

    from kerascnn.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ready:
    """A network that is there, so that none is built.

    Attributes:
        preprocessing: what it expects of an image.
    """

    model: keras.Model
    preprocessing: Preprocessing


class OpenedTraining(abc.ABC):
    """A request with its data found and its network built; see `training.engine.train.Training`.

    Args:
        dataset: as `Task.scan` gives it; None: it is found now.
        ready: the network; None: it is built.

    Raises:
        InputError: bad data, or a network that does not go with it.
    """

    def __init__(
        self, asked: TrainRequest, dataset: Any = None, ready: Ready | None = None
    ) -> None:
        self._asked = asked
        self.task = tasks.of_request(asked)
        self.dataset = same_bytes.noted(dataset or of_request.dataset_of(asked))
        self._say_notes()
        self.name, self.fingerprint = self.dataset.name, self.dataset.fingerprint
        self.classes = self.dataset.classes
        if ready is None:
            self.preprocessing = self.task.preprocessing(asked, self.dataset)
        else:
            self.preprocessing = ready.preprocessing
        self._check()
        if ready is None:
            # Of no use but to initial weights.
            names = {"names": self.classes} if asked.weights else {}
            self.model = network.build(
                asked, self.preprocessing, classes=len(self.classes), **names
            )
        else:
            self.model = ready.model
        self._skipped: list[str] = []
        self._broken = BrokenPictures(strict=asked.strict)

    def _say_notes(self) -> None:
        """Show what the reader of the data noted."""
        for line in notes_lines(self.dataset.name, self.dataset.notes):
            say(line)

    def _check(self) -> None:
        """Raise InputError for what is known before the network is built."""
        return None

    def _say_sizes(self) -> None:
        """Show that images are enlarged, if they are, and what mends that."""
        # Of tiles their side says how large things are, which was asked for.
        asked = self._asked.image_size is not None or self.preprocessing.tiles > 0
        for line in enlarging_lines(self.dataset.train.sizes, self.preprocessing, asked=asked):
            say(line)

    def _begin(self, folder: pathlib.Path, placement: Placement) -> None:
        """Remember which images of a run that goes on were found broken."""
        self._broken = BrokenPictures.of_run(
            folder, strict=self._asked.strict, remember=placement.is_chief
        )

    def _say_splits(self) -> None:
        """Show how many images are for what."""
        counts, imported = split_counts(self.dataset), self._asked.imported is not None
        say(opening_line(**counts, classes=len(self.classes), imported=imported))

    def look(self, folder: pathlib.Path, placement: Placement = SINGLE) -> None:
        """Find out which images can be read, and set those aside that choose.

        Args:
            folder: of the run, which remembers what is broken.
            placement: the first host says what there is to say.
        """
        self._begin(folder, placement)
        self._read()
        if placement.is_chief:
            self._say_splits()

    @abc.abstractmethod
    def _read(self) -> None:
        """Of `look`: put the readable images into the splits of `dataset`."""

    def facts(self) -> dict[str, Any]:
        """What run.json notes of this task beyond what every run has."""
        return {}

    @abc.abstractmethod
    def fit(
        self, folder: pathlib.Path, placement: Placement, after_epoch: Callable[[History], None]
    ) -> Fitted:
        """Train, going on with what is in `folder`."""

    def trial(self, *, cached: bool = True) -> TrainingTask:
        """What `fit` would train on one device, without validation, and without a run folder.

        Of tasks whose `commands` have find-lr or bench-data.

        Args:
            cached: images are kept as arrays where a training keeps them; False reads files anew
                for every batch.
        """
        raise NotImplementedError(f"{type(self).__name__} trains whole runs alone")

    def counts(self) -> dict[str, Any]:
        """How many images there were for what, and which were broken; after `results`."""
        return {
            **split_counts(self.dataset.each(self._broken.without)),
            "skipped": self._skipped,
            "broken": sorted(self._broken.reasons),
            "notes": [str(note) for note in self.dataset.notes],
        }

    @abc.abstractmethod
    def results(self, folder: pathlib.Path, saved: keras.Model) -> dict[str, Any]:
        """Figures of the saved network on the held-out images, and files that show them."""
