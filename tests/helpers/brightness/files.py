"""The file side of the task: a run's images, its answers, and when two agree."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from brightness.data import BrightnessDataset, BrightnessSplit, truths
from brightness.kind import FIGURE, explained
from brightness.numbers import numbers
from export.artefacts.open_file import OpenFile
from export.artefacts.variants import Variant
from export.graph.signature import OUTPUT_NAME
from export.runtime.load import Runtime, load
from export.runtime.verify import NO, YES, Verdict, bounded
from export.tasks.base import Task
from export.tasks.same_data import check_fingerprint
from export.tasks.trained import Trained
from kerascnn.errors import InputError
from training.augment.boxes import to_network
from training.classification.evaluate import keras_predict_fn
from training.engine import dataset_of_request as of_request

# How far a number may be from the network's; and the share of those of a quantised file that must
# be near, in percent: an image brighter than all that it was calibrated with is cut.
EXACT, NEAR, LEAST_NEAR = 1e-3, 0.05, 90.0
_SHOWN = 8

Function = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """(n,) true numbers of the held-out images, and those that were found."""

    truth: np.ndarray
    found: np.ndarray

    @property
    def value(self) -> float:
        """See `explained`."""
        return explained(self.truth, self.found)


class BrightnessFiles(Task):
    """See `export.tasks.base.Task`."""

    metric = FIGURE
    how_shown = "Each says how bright it is, and what the file took it for."

    @functools.cached_property
    def dataset(self) -> BrightnessDataset:
        """As it was trained on."""
        dataset = of_request.dataset_of(self.asked)
        check_fingerprint(self.run, dataset.fingerprint)
        broken = set(self.run.info["dataset"].get("broken", ()))
        found: BrightnessDataset = of_request.with_validation(dataset, self.config, broken=broken)
        return found

    @property
    def validation(self) -> BrightnessSplit | None:
        return self.dataset.validation

    def pictures(self) -> int:
        return len(self.dataset.held_out)

    def function_of(self, runtime: Runtime) -> Function:
        return runtime.predict

    def keras_function(self, trained: Trained) -> Function:
        return keras_predict_fn(trained.model, trained.preprocessing)

    def _numbers(self, function: Function, split: BrightnessSplit) -> Numbers:
        found = numbers(function, split, self.run.preprocessing)
        return Numbers(truth=truths(split), found=found)

    def on_validation(self, function: Function, title: str) -> float:
        assert self.validation is not None
        return self._numbers(function, self.validation).value

    def simulated_answers(self, function: Function) -> None:
        return

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        train = self.dataset.train
        order = np.random.default_rng(self.config.seed).permutation(len(train))[:count]
        images = [to_network(train.picture(int(i)), self.run.preprocessing) for i in order]
        return np.stack(images), np.empty(0, np.int32)

    def fine_tuning_data(self) -> Any:
        raise InputError("brightness networks have no steps that train")

    def extend(self, file: OpenFile, end: str, variant: Variant) -> None:
        """Nothing: the number is the answer."""

    @property
    def purpose(self) -> str:
        return "Says how bright an image is"

    def outputs(self, variant: Variant, end: str) -> list[dict[str, Any]]:
        shape = [None if end == ".onnx" else 1, 1]
        return [{"name": OUTPUT_NAME, "shape": shape, "type": "float32", "meaning": "brightness"}]

    def decoding(self, variant: Variant) -> dict[str, Any]:
        return {"kind": "number"}

    def description(self, variant: Variant, end: str) -> dict[str, Any]:
        (output,) = self.outputs(variant, end)
        return {"output": output}

    def keras_answers(self, trained: Trained) -> Numbers:
        return self._numbers(self.keras_function(trained), self.dataset.held_out)

    def load(self, path: pathlib.Path) -> Runtime:
        return load(path, self.run.preprocessing)

    def file_answers(self, path: pathlib.Path) -> tuple[Numbers, Runtime]:
        runtime = self.load(path)
        return self._numbers(runtime.predict, self.dataset.held_out), runtime

    def verify(
        self, variant: Variant, answers: Numbers, reference: Numbers, half: Numbers | None
    ) -> Verdict:
        against = half or reference
        allowed, least = (NEAR, LEAST_NEAR) if variant.quantised else (EXACT, 100.0)
        share = 100 * float((np.abs(answers.found - against.found) < allowed).mean())
        verdict = Verdict(
            verified=YES if share >= least else NO,
            agreement=share,
            max_logit_diff=float(np.abs(answers.found - reference.found).max()),
            rule=f"{share:.1f}% of the numbers are less than {allowed:g} from the network's, at "
            f"least {least:g}%",
        )

        def interval() -> tuple[float, float]:
            pairs = (np.array([one.truth, one.found]) for one in (reference, answers))
            return self.kind.drop_interval(*pairs)

        return bounded(verdict, self.metric, reference.value - answers.value, interval)

    def kept(self, answers: Numbers, reference: Numbers, own: Numbers) -> dict[str, Any]:
        return {
            "truth": answers.truth.tolist(),
            "found": answers.found.tolist(),
            "float_found": own.found.tolist(),
        }

    def mistakes(self, answers: Numbers) -> tuple[int, list[dict[str, Any]]]:
        apart = np.abs(answers.found - answers.truth)
        worst = np.argsort(-apart, kind="stable")[:_SHOWN]
        names = self.dataset.held_out.names
        return int((apart > NEAR).sum()), [
            {
                "index": int(i),
                "name": self.picture_name(names[i]),
                "told": f"{answers.truth[i]:.2f}, taken for {answers.found[i]:.2f}",
            }
            for i in worst
        ]

    def shown(self, mistakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        held_out = self.dataset.held_out
        return [
            {
                "picture": held_out.picture(one["index"]),
                "name": one["name"],
                "counted": one["told"],
            }
            for one in mistakes
        ]
