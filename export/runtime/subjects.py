"""What is run on images: a file of ours or of another program, or a network of the zoo."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from export.runtime import foreign
from export.runtime.detectors import Detector, KerasDetector, load_detector
from export.runtime.load import THREADS, KerasModel, Runtime, load
from export.runtime.model_facts import ModelFacts
from export.runtime.segmenters import KerasSegmenter, Segmenter, load_segmenter
from kerascnn.preprocessing import Preprocessing

if TYPE_CHECKING:  # .tflite and .onnx files need no framework
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A network that answers images.

    Attributes:
        path: of its file; of a network that was built, what messages call it.
        known: what it takes and gives.
        model: that was built; None of a file.
    """

    path: pathlib.Path
    known: ModelFacts
    model: keras.Model | None = None

    def classifier(self, *, threads: int = THREADS) -> Runtime:
        """Load it; raises InputError for what is none."""
        if self.known.form is not None:
            return foreign.ForeignClassifier(*self._foreign(threads))
        if self.model is not None:
            return KerasModel(self.path, self.known.preprocessing, model=self.model)
        return load(self.path, self.known.preprocessing, threads=threads)

    def detector(self, *, threads: int = THREADS) -> Detector:
        """Load it; raises InputError for what is none."""
        known = self.known
        if known.form is not None:
            return foreign.ForeignDetector(*self._foreign(threads))
        if self.model is not None:
            given = (self.path, known.preprocessing, threads, known.spec)
            return KerasDetector(*given, model=self.model)
        return load_detector(self.path, known.preprocessing, known.spec, threads=threads)

    def segmenter(self, *, threads: int = THREADS) -> Segmenter:
        """Load it; raises InputError for what is none."""
        if self.known.form is not None:
            return foreign.ForeignSegmenter(*self._foreign(threads))
        if self.model is not None:
            return KerasSegmenter(self.path, self.known.preprocessing, model=self.model)
        return load_segmenter(self.path, self.known.preprocessing, threads=threads)

    def _foreign(self, threads: int) -> tuple[foreign.OpenedFile, foreign.Form, Preprocessing]:
        assert self.known.form is not None
        file = foreign.opened(self.path, threads=threads)
        return file, self.known.form, self.known.preprocessing
