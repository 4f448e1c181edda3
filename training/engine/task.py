"""What a task is to a training: the protocol that `training.tasks` finds an object for by a name.

A module of a task that holds one is imported without a framework: the command line asks it what to
refuse. What needs Keras is imported by the methods that do.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kerascnn import zoo
from kerascnn.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from kerascnn.preprocessing import Preprocessing
    from training.engine.config import TrainConfig
    from training.engine.inspection import Counts, Reach, Sample
    from training.engine.request import TrainRequest
    from training.engine.run import Run
    from training.engine.train import Training
    from training.engine.training import Ready

PERCENT = "%"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A column of a history.

    Attributes:
        column: of history.csv.
        title: for a person; the column's name where it is empty.
        unit: `PERCENT`, or empty.
        higher_is_better: else the lower one is.
        monitor: the word of `TrainConfig.monitor` that means it; empty where it never judges.
        mark: what stands before its value in the drawing of a training, where that is not plain.
    """

    column: str
    title: str = ""
    unit: str = PERCENT
    higher_is_better: bool = True
    monitor: str = ""
    mark: str = ""

    def text(self, value: float) -> str:
        """For a person: "val accuracy 71.9%"; what has no unit has three places."""
        words = self.title or self.column
        return (
            f"{words} {value:.1f}%" if self.unit == PERCENT else f"{words} {value:.3f}{self.unit}"
        )

    def rank(self, value: float) -> float:
        """What sorts values: the better the higher."""
        return value if self.higher_is_better else -value


class Form(enum.IntEnum):
    """What a place has that data of a task has; of two tasks the one with the later form is meant.

    Masks come after annotations, since a list of classes, which YOLO has too, may lie beside them;
    Pascal VOC has a file of boxes for each image, and masks of some.
    """

    NONE = 0
    FOLDER = 1
    ANNOTATIONS = 2
    MASKS = 3
    ANNOTATIONS_PER_IMAGE = 4
    NAME = 5  # of an embedded set, or of a collection of sets


# What every task has on validation, where its training model is evaluated by Keras.
LOSS = Figure(
    column="val_loss",
    title="val loss",
    unit="",
    higher_is_better=False,
    monitor="loss",
    mark="loss",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """What networks of a task are judged by.

    Attributes:
        name: as results.csv and run.json have it.
        judge: its column on the validation images, which chooses the epoch.
    """

    name: str
    judge: Figure


class Look(enum.Enum):
    """How a line is drawn; dashes tell lines apart in grey."""

    TRAINING = enum.auto()
    VALIDATION = enum.auto()
    SECOND = enum.auto()  # of validation
    PART = enum.auto()  # of the loss
    SECOND_PART = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A line in the drawing of a training.

    Attributes:
        column: of the history.
        label: in the legend.
        look: how it is drawn.
        monitor: the word of `TrainConfig.monitor` for which alone it is drawn; empty: always.
    """

    column: str
    label: str
    look: Look
    monitor: str = ""


LOSSES = (
    Line(column="loss", label="training", look=Look.TRAINING),
    Line(column="val_loss", label="validation", look=Look.VALIDATION),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curves:
    """What is drawn of a training: the losses, and below them the task's own figures.

    Attributes:
        title: of those figures, with their unit.
    """

    title: str
    scores: tuple[Line, ...]
    losses: tuple[Line, ...] = LOSSES


class Task(abc.ABC):
    """One task; `training.tasks` opens one object of each.

    Attributes:
        name: as the registry, the catalogue and run.json have it.
        network: what a network of this task is called, with its article.
        networks: the other task whose models of the zoo are for this one, too; empty: none.
        metric: what networks are judged by.
        figures: all columns of a history beside the loss, that of `metric` among them.
        policies: names of augmentation.
        settings: fields of `TrainConfig` that this task has a part for, beside the common ones;
            and "teacher", where another network's answers are part of the loss.
        model: of the zoo, whose input and recipe stand for the task where no model is named.
        head: names, or beginnings of names, of the layers that no backbone has; they learn alone
            in `TrainConfig.freeze_epochs`.
        decoded: a spec, whose fields `--detector` sets, says what the outputs mean.
        resizes: words of `kerascnn.preprocessing.RESIZES` that a request may have.
        tiled: larger images may be cut into tiles.
        lends_weights: a run's network is a source of weights for networks of other tasks.
        commands: of debug, shrink, sweep, find-lr and bench-data, those that have what they need of
            this task: a measure, or `Training.trial`.
    """

    name: str
    network: str
    networks: str = ""
    metric: Metric
    figures: tuple[Figure, ...]
    policies: Collection[str]
    settings: frozenset[str] = frozenset()
    model: str = ""
    head: tuple[str, ...] = ()
    decoded: bool = False
    resizes: Collection[str] = ("stretch", "letterbox")
    tiled: bool = False
    lends_weights: bool = True
    commands: frozenset[str] = frozenset()

    @functools.cached_property
    def curves(self) -> Curves:
        """What is drawn of a training."""
        judge = self.metric.judge
        line = Line(column=judge.column, label="validation", look=Look.VALIDATION)
        unit = f" ({judge.unit})" if judge.unit else ""
        return Curves(title=f"{self.metric.name}{unit}", scores=(line,))

    def metric_of(self, model: str) -> str:
        """What networks of a model of the zoo are judged by, where that differs among models."""
        return self.metric.name

    # Data -------------------------------------------------------------------------------------

    @abc.abstractmethod
    def require(self, data: str) -> None:
        """Raise InputError for a place where there is no data for this task; none is read."""

    def canonical(self, data: str) -> str:
        """What means the same data from any working directory."""
        return str(pathlib.Path(data).resolve())

    def form(self, data: str) -> Form:
        """How surely data is for this task by its form, so that nobody has to say so."""
        return Form.NONE

    def claims(self, data: str) -> bool:
        """Whether data is of a form that the task of its `networks` has no use for."""
        return False

    @abc.abstractmethod
    def scan(self, asked: TrainRequest) -> Any:
        """The data of a request, none of it decoded: a `training.datasets.splits.SplitDataset`.

        Raises:
            InputError: there is none, or it is inconsistent.
        """

    def learnt(self, data: str) -> Any:
        """A data set as `scan` gives it, of which nothing is held out; its truth is not used.

        Raises:
            InputError: there is none, or it is inconsistent.
        """
        raise InputError(f"no other data than a run's own is read for {self.name}")

    def with_answers(self, dataset: Any, folder: pathlib.Path) -> Any:
        """The data of an imported run without labels, with the network's own answers as its truth.

        Args:
            dataset: as `scan` gives it, with images set aside.
            folder: of the run, which has the answers.

        Raises:
            InputError: they are gone or damaged.
        """
        raise InputError(f"images for {self.name} need labels")

    # Configuration ----------------------------------------------------------------------------

    @abc.abstractmethod
    def default_recipe(self, data: str, weights: str | None) -> str:
        """The recipe for a data set and initial weights where none is named."""

    def check_config(self, config: TrainConfig) -> None:
        """Raise InputError for settings that are each of this task and contradict each other."""
        return None

    # Network ----------------------------------------------------------------------------------

    def network_options(
        self, asked: TrainRequest, preprocessing: Preprocessing
    ) -> Mapping[str, Any]:
        """Options of the builder beside those that were asked for."""
        return {}

    def check_network(self, name: str, model: keras.Model) -> None:
        """Raise InputError for a network that cannot be trained; `name` is the zoo's."""
        return None

    def preprocessing(self, asked: TrainRequest, dataset: Any) -> Preprocessing:
        """Of the network of a request: its size by the request, else the model.

        Images are seen whole, stretched where the request does not say otherwise;
        `kerascnn.geometry` knows where a place of an image comes to lie.
        """
        height, width = asked.image_size or zoo.entry(asked.model).input_shape[:2]
        found = zoo.preprocessing(
            asked.model, height, width, weights=asked.weights, resize=asked.resize or "stretch"
        )
        return dataclasses.replace(found, tiles=asked.tiles, overlap=asked.overlap)

    # Training ---------------------------------------------------------------------------------

    @abc.abstractmethod
    def open(self, asked: TrainRequest, dataset: Any, ready: Ready | None = None) -> Training:
        """The request with its data read and its network built; imports the framework.

        Args:
            dataset: as `scan` gives it.
            ready: the network, where it is there already; `kerascnn import` has one.

        Raises:
            InputError: data or a network that do not go together.
        """

    # What `kerascnn check` shows ---------------------------------------------------------------

    @abc.abstractmethod
    def counts(
        self, dataset: Any, splits: Mapping[str, Any], preprocessing: Preprocessing
    ) -> Counts:
        """How much of each class there is.

        Args:
            splits: of the data set, by name.
            preprocessing: of the network that the data is looked at for.
        """

    def reach(
        self, asked: TrainRequest, preprocessing: Preprocessing, boxes: np.ndarray
    ) -> Reach | None:
        """How the anchors or points of a request's network lie to objects; None: it has none.

        Args:
            boxes: (k, 4) shares of the network's input.
        """
        return None

    def finest_cell(self, model: str) -> int:
        """Pixels of a cell of the finest grid that a model of the zoo finds objects on; 0: none."""
        return zoo.entry(model).cell or 0

    def labels(self, splits: Mapping[str, Any]) -> np.ndarray | None:
        """The class of each image of the splits, one behind the other; None where it has no one."""
        return None

    def samples(
        self,
        dataset: Any,
        preprocessing: Preprocessing,
        config: TrainConfig,
        readable: Sequence[int] | np.ndarray,
    ) -> list[Sample]:
        """Some images of the training split as a network sees them, with the truth drawn on them.

        Args:
            readable: places of those that can be read.
        """
        return []

    def drawn(
        self, pixels: np.ndarray, split: Any, index: int, classes: Sequence[str]
    ) -> np.ndarray:
        """A small (h, w, 3) uint8 image of a split, with what can be seen of its truth."""
        return pixels

    # What a finished run is worth -------------------------------------------------------------

    @abc.abstractmethod
    def closing(self, results: Mapping[str, Any], images: str) -> Sequence[str]:
        """Parts of the line that a training ends with.

        Args:
            results: of run.json; of earlier versions, which say less.
            images: what was measured on, as in "150 held-out images".
        """

    @abc.abstractmethod
    def below_floor(self, info: Mapping[str, Any]) -> str | None:
        """Why a finished run is of no use yet, with likely causes; None where it finds something.

        Args:
            info: the contents of its run.json; of earlier versions, which say less.
        """

    def check_teacher(self, model: str, teacher: Run) -> None:
        """Raise InputError for a run whose network cannot teach this model; none is loaded."""
        if teacher.task != self.name:
            raise InputError(
                f"the teacher {teacher.folder} is for {teacher.task}, and {model} is "
                f"{self.network}; take a teacher of the same task"
            )

    def refuse_foreign_weights(self, weights: str, task: Task, model: str) -> None:
        """Raise InputError where a run of `task` lends no weights to this task's `model`."""
        if not task.lends_weights and task.name != self.name:
            raise InputError(
                f"{weights} has weights of {task.network}, and {model} is not one; give weights of "
                "another network"
            )
