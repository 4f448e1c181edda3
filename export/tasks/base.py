"""What a run's task means for its files: its pictures, its answers, and when two agree.

`export.tasks.classification`, `export.tasks.one_stage`, `export.tasks.two_stage` and
`export.tasks.segmentation` are the tasks; all else of compression is the same.
"""

from __future__ import annotations

import abc
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sized
from typing import Any, Protocol

import keras
import numpy as np

from export.artefacts.about import About
from export.artefacts.description import FORMAT, input_metadata
from export.artefacts.kinds import base as kinds
from export.artefacts.open_file import OpenFile
from export.artefacts.selftest import FIELD, Outputs
from export.artefacts.variants import Variant
from export.graph.signature import INPUT_NAME
from export.onnx import metadata as onnx_metadata
from export.runtime import selftest
from export.runtime.verify import Verdict
from export.tasks import calibration_set
from export.tasks.calibration_set import CalibrationSet
from export.tasks.comparison import Comparison
from export.tasks.fine_tuning import FineTuningData
from export.tasks.trained import Trained
from export.tflite import metadata as tflite_metadata
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError, reason
from training import tasks
from training.common import once
from training.common.progress import say
from training.datasets.decode import Broken
from training.engine.request import TrainRequest
from training.engine.run import Run
from training.engine.teacher import TeacherNetwork

_VERSION_DIGITS = 12
_DESCRIBE: dict[str, Callable[..., None]] = {
    ".tflite": tflite_metadata.describe,
    ".onnx": onnx_metadata.describe,
}


class Answers(Protocol):
    """What a network or a file answers on the held-out pictures.

    Attributes:
        value: the task's metric, in percent.
    """

    @property
    def value(self) -> float: ...


class Task(abc.ABC):
    """The task of one run.

    Attributes:
        metric: what `Answers.value` is called.
        how_shown: what the pictures of `shown` say.
        graded: answers are better or worse, so that the weakest are shown, not the wrong ones.
        kind: what is known of its files without a framework.
    """

    metric: str
    how_shown: str
    graded: bool = True

    def __init__(self, run: Run) -> None:
        self.run = run
        self.asked = TrainRequest.from_dict(run.info["request"])
        self.config = self.asked.config
        self.kind = kinds.of(run.task)

    def check(self, variant: Variant) -> None:
        """Raise InputError for a variant that files of this run cannot have."""
        self.kind.check(variant, self.run.info)

    @property
    def default(self) -> tuple[str, ...]:
        """Variants that are made when none are asked for."""
        return self.kind.default(self.run.info)

    @abc.abstractmethod
    def pictures(self) -> int:
        """How many are held out."""

    @property
    @abc.abstractmethod
    def dataset(self) -> Any:
        """The run's data, as it was trained on; raises InputError if it is gone or has changed."""

    @property
    @abc.abstractmethod
    def validation(self) -> Sized | None:
        """Pictures set aside from those to learn from: what is chosen, is chosen by them.

        None where the run has none.
        """

    @abc.abstractmethod
    def function_of(self, runtime: Any) -> Callable[[np.ndarray], Any]:
        """What a runtime from `load` answers for uint8 pictures."""

    @abc.abstractmethod
    def keras_function(self, trained: Trained) -> Callable[[np.ndarray], Any]:
        """The same of a network."""

    @abc.abstractmethod
    def on_validation(self, function: Callable[[np.ndarray], Any], title: str) -> float:
        """What choices are made by: a figure in percent on `validation`.

        The run's metric, or what its epoch was chosen by (`TrainConfig.monitor`); NaN where these
        pictures have nothing to find.

        Args:
            title: of the progress bar.
        """

    @abc.abstractmethod
    def simulated_answers(self, function: Callable[[np.ndarray], Any]) -> Any:
        """What a network answers on the held-out pictures while int8 is simulated; None: not asked.

        They have `arrays`, which go into the stage's folder and come back as `Trained.answers`.

        Args:
            function: from (n, height, width, channels) uint8 to the network's outputs.
        """

    @abc.abstractmethod
    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(n, height, width, channels) uint8 training pictures, chosen by the seed; and labels."""

    def calibration_set(self, data: str) -> CalibrationSet:
        """Images that a user names to calibrate on; those that the run measures by are left out.

        Raises:
            InputError: there are none.
        """
        found = calibration_set.read(data, self.run.task)
        aside = (self.dataset.held_out, self.dataset.validation)
        return found.without([split for split in aside if split])

    def sampled(self, chosen_from: CalibrationSet, count: int) -> tuple[np.ndarray, list[Broken]]:
        """(n, height, width, channels) uint8 of it, chosen by the seed; and what is broken.

        Args:
            count: in all; broken ones are among them.
        """
        raise InputError(f"files for {self.run.task} are calibrated on training images alone")

    def judged(self, count: int) -> np.ndarray:
        """(n, height, width, channels) uint8 pictures that `debug` looks for faults on.

        Evenly spread over those that were set aside, or over the held-out ones where the run set
        none aside; at most `count`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no images to look for faults on")

    def comparison(self) -> Comparison:
        """How `mixed` tells what rounding does to answers; raises InputError where it cannot."""
        raise InputError(f"no answers of {self.run.task} are compared; leave mixed out")

    def network_ends(self, file: TFLiteModel) -> Mapping[str, int]:
        """Tensors of a finished file that its network ends in, named as the float file's outputs.

        Behind them stands what `extend` added.
        """
        return file.output_places()

    @abc.abstractmethod
    def fine_tuning_data(self) -> FineTuningData:
        """What every fine-tuning of the run learns from."""

    def teacher(self, run: Run) -> TeacherNetwork:
        """The network of a run as a teacher of this one's; raises InputError for what it cannot."""
        raise InputError(f"networks for {self.run.task} have no teacher; leave distil out")

    def trainable(self, model: keras.Model) -> keras.Model:
        """The run's network as steps train it: of layers that are called once."""
        return model

    def written(self, model: keras.Model) -> keras.Model:
        """The network that a file holds."""
        return model

    @abc.abstractmethod
    def extend(self, file: OpenFile, end: str, variant: Variant) -> None:
        """Put what stands behind the network into a converted and quantised file."""

    def finished(
        self,
        file: OpenFile,
        end: str,
        variant: Variant,
        *,
        tested: bool = True,
        float_outputs: Callable[[], Outputs] | None = None,
    ) -> bytes:
        """The bytes of a converted and quantised file, extended and described.

        Args:
            tested: it is run once, so that it carries a self-test.
            float_outputs: gives those of the float network for the image of the self-test.

        Raises:
            InputError: a label of several lines, or a damaged about.json.
        """
        self.extend(file, end, variant)
        whole = file.packed()
        metadata = {
            **self.metadata(variant, end),
            # Of the network alone: another author does not make another network.
            "version": hashlib.sha256(whole).hexdigest()[:_VERSION_DIGITS],
        }
        if tested:
            metadata |= self._selftest(whole, end, variant, metadata, float_outputs)
        file.apply(_DESCRIBE[end], metadata=metadata)
        return file.packed()

    def _selftest(
        self,
        file: bytes,
        end: str,
        variant: Variant,
        metadata: Mapping[str, Any],
        float_outputs: Callable[[], Outputs] | None,
    ) -> dict[str, Any]:
        """What a file says of its own answers; nothing where they are not to be had here."""
        floor = self.lowest_score
        try:
            test = selftest.of_file(
                file, end, metadata, variant, floor=floor, float_outputs=float_outputs
            )
        except Exception as error:  # as runtimes raise anything
            say(f"{variant.name}{end}: no self-test inside, as it did not run ({reason(error)})")
            return {}
        return {FIELD: test}

    @property
    def lowest_score(self) -> float | None:
        """Of what a detector's file lists."""
        return None

    def metadata(self, variant: Variant, end: str) -> dict[str, Any]:
        """What a file says of itself, see `export.artefacts.description`, but for its version."""
        run = self.run
        return {
            "format": FORMAT,
            "task": run.task,
            "model": run.called,
            "variant": variant.name,
            "name": run.called,
            "description": f"{self.purpose}; {self.written_as(variant)}",
            **About.of(run).to_dict(),
            "version": "",
            "labels": list(run.labels),
            "input": input_metadata(
                INPUT_NAME, run.preprocessing, raw=variant.raw_input and end == ".tflite"
            ),
            "outputs": self.outputs(variant, end),
            "decoding": self.decoding(variant),
        }

    @property
    @abc.abstractmethod
    def purpose(self) -> str:
        """What the files do, in a few words."""

    def written_as(self, variant: Variant) -> str:
        """How a variant's file holds the network, for people."""
        return variant.description

    @abc.abstractmethod
    def outputs(self, variant: Variant, end: str) -> list[dict[str, Any]]:
        """Name, shape, type and meaning of each output of a file."""

    @abc.abstractmethod
    def decoding(self, variant: Variant) -> dict[str, Any]:
        """How outputs become answers: see `export.artefacts.description`."""

    @abc.abstractmethod
    def keras_answers(self, trained: Trained) -> Answers:
        """Of a network, before it is written."""

    @abc.abstractmethod
    def load(self, path: pathlib.Path) -> Any:
        """The runtime of a file: a `Runtime`, a `Detector` or a `Segmenter` (see their modules)."""

    def timed_picture(self) -> np.ndarray:
        """(height, width, channels) uint8 that latencies are measured on.

        Any serves where a network takes the same time for all.
        """
        return np.full(self.run.preprocessing.input_shape, 127, np.uint8)

    @abc.abstractmethod
    def file_answers(self, path: pathlib.Path) -> tuple[Answers, Any]:
        """Of a file, and the runtime that gave them."""

    @abc.abstractmethod
    def verify(self, variant: Variant, answers: Any, reference: Any, half: Any | None) -> Verdict:
        """Whether a file answers like its network.

        Args:
            half: answers of the float file with its kernels rounded to half precision, for float16.
        """

    @abc.abstractmethod
    def kept(self, answers: Any, reference: Any, own: Any) -> dict[str, Any]:
        """What of a file's answers stays beside it, so that files can be compared later.

        Args:
            reference: of the network that was written.
            own: of the run's float network.
        """

    def picture_name(self, name: str) -> str:
        """What a file says of a picture: where it lies in its data, not where that lies here."""
        path = pathlib.Path(name)
        if not path.is_absolute():
            return name
        given = [pathlib.Path(one) for one in (self.asked.data, self.asked.val_data) if one]
        places = [place for one in given for place in (one, one.parent)]
        root = next((place for place in places if path.is_relative_to(place)), path.parent)
        return path.relative_to(root).as_posix()

    @abc.abstractmethod
    def mistakes(self, answers: Any) -> tuple[int, list[dict[str, Any]]]:
        """How many held-out pictures a file answers wrongly, and some of them for the .json."""

    @abc.abstractmethod
    def shown(self, mistakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same with their pictures, as `export.report.page.Mistake` takes them.

        Raises:
            InputError: the pictures are gone.
        """

    @abc.abstractmethod
    def description(self, variant: Variant, end: str) -> dict[str, Any]:
        """What the .json beside a file says of its outputs."""


def of(run: Run) -> Task:
    """The task of a run, one in each `training.common.once.scope`.

    Raises:
        InputError: a task that has no files yet.
    """
    # A task holds its run, so that no other info gets this one's number.
    key = (Task, run.folder.resolve(), id(run.info))
    found: Task = once.kept(key, lambda: tasks.files_of(run.task)(run))
    return found
