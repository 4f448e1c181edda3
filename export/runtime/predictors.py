"""What classifiers, detectors and segmentation networks say of an image."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from export.runtime.answers import Area, Areas, Box, Boxes, Instance, Prediction
from export.runtime.model_facts import ModelFacts
from export.runtime.predictor import (
    Asked,
    Found,
    NumberlessError,
    Predictor,
    Seen,
    answering,
    made,
)
from export.runtime.subjects import Subject
from kerascnn.errors import InputError
from training.classification.evaluate import softmax
from training.datasets.instance_masks import run_lengths
from training.datasets.pictures import fit, read_picture, read_pixels
from training.datasets.segmentation import VOID
from training.detection.evaluate import on_picture
from training.detection.metrics import Detections
from training.detection.tiles import merging
from training.engine.evaluation import of_seen, tiles_of
from training.segmentation.evaluate import on_picture as map_on_picture
from training.segmentation.tiles import MERGE

_SURE = 0.3  # score of the objects that are reported


class Classifier(Predictor):
    """Labels with probabilities.

    Attributes:
        answer: what becomes of them.
    """

    columns = Prediction.columns
    answer: type[Prediction] = Prediction

    def __init__(self, path: pathlib.Path, known: ModelFacts, asked: Asked) -> None:
        super().__init__(path, known, asked)
        self._runtime = Subject(path=path, known=known).classifier(threads=asked.threads)

    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """Resized, or cut, as the file wants it; grey for networks of grey images."""
        image = Image.fromarray(pixels)
        grey = self.known.preprocessing.channels == 1
        return fit(image.convert("L") if grey else image, self.known.preprocessing)

    def find(self, seen: Seen) -> Found:
        """Its labels, with their figures."""
        labels = self.known.labels
        with answering(self.path):
            logits = self._runtime.predict(seen.fitted[None])[0]
            if logits.shape != (len(labels),):
                raise InputError(
                    f"{self.path} gives {len(logits)} logits and its description "
                    f"{len(labels)} labels; bring the description that belongs to it"
                )
        if not np.isfinite(softmax(logits)).all():
            raise NumberlessError(f"what {self.path} answers is not a number (NaN)")
        ranked = tuple((labels[i], value) for i, value in self.ranked(logits))

        def draw(pixels: np.ndarray, _one_size: bool) -> np.ndarray:
            from training.classification.drawing import draw_labels

            return draw_labels(pixels, ranked)

        return Found(answer=made(self.answer, labels=ranked), draw=draw)

    def ranked(self, logits: np.ndarray) -> list[tuple[int, float]]:
        """The likeliest classes with their probabilities."""
        probabilities = softmax(logits)
        top = 1 if self.asked.top is None else self.asked.top
        return [(int(i), float(probabilities[i])) for i in probabilities.argsort()[::-1][:top]]

    def _read(self, image: str, keep: bool) -> Seen:
        """Large images are decoded at reduced size, and again where they are to be drawn."""
        fitted = read_picture(image, self.known.preprocessing)
        pixels = read_pixels(image, image) if keep else None
        size = fitted.shape[:2] if pixels is None else pixels.shape[:2]
        return Seen(fitted=fitted, size=(size[0], size[1]), pixels=pixels)


class Detector(Predictor):
    """Objects: boxes, with masks where the network has them."""

    columns = Boxes.columns

    def __init__(self, path: pathlib.Path, known: ModelFacts, asked: Asked) -> None:
        super().__init__(path, known, asked)
        self._least = _SURE if asked.score is None else asked.score
        self._detector = Subject(path=path, known=known).detector(threads=asked.threads)

    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """As in training's evaluation."""
        return tiles_of(pixels, self.known.preprocessing, whole=True)

    def find(self, seen: Seen) -> Found:
        """The objects from a score on."""
        labels = self.known.labels
        with answering(self.path):
            found = of_seen(
                *(self._detector.detect, seen.fitted, seen.size, self.known.preprocessing),
                *(on_picture, merging(self.known.suppression)),
            )
            found = _sure(found, self._least)
            for label in found.labels:
                if not 0 <= label < len(labels):
                    raise InputError(
                        f"{self.path} finds class {label}, which its description does not name"
                    )

        def draw(pixels: np.ndarray, _one_size: bool) -> np.ndarray:
            from training.detection.drawing import draw_boxes

            return draw_boxes(
                *(pixels, found.boxes, found.labels, found.scores),
                classes=labels,
                masks=found.pasted(seen.size),
            )

        return Found(answer=made(Boxes, objects=_objects(found, labels, seen.size)), draw=draw)


class Segmenter(Predictor):
    """The class of each pixel."""

    columns = Areas.columns

    def __init__(self, path: pathlib.Path, known: ModelFacts, asked: Asked) -> None:
        super().__init__(path, known, asked)
        self._segmenter = Subject(path=path, known=known).segmenter(threads=asked.threads)

    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """As in training's evaluation."""
        return tiles_of(pixels, self.known.preprocessing, whole=False)

    def find(self, seen: Seen) -> Found:
        """The classes, and their shares of the image."""
        labels, palette = self.known.labels, self.known.palette
        with answering(self.path):
            label_map = of_seen(
                *(self._segment, seen.fitted, seen.size, self.known.preprocessing),
                *(map_on_picture, MERGE),
            )

        def draw(pixels: np.ndarray, one_size: bool) -> np.ndarray:
            from training.segmentation import drawing

            function = drawing.draw_frame if one_size else drawing.draw_map
            return function(pixels, label_map, labels, palette)

        return Found(answer=made(Areas, classes=_areas(label_map, labels)), draw=draw)

    def _segment(self, pictures: np.ndarray) -> np.ndarray:
        found = self._segmenter.segment(pictures)
        if found.max() >= len(self.known.labels):
            raise InputError(
                f"{self.path} finds class {found.max()}, which its description does not name"
            )
        return found


def _areas(label_map: np.ndarray, labels: Sequence[str]) -> tuple[Area, ...]:
    """Of a map, in which pixels that the network gives no class have none here either."""
    pixels = np.bincount(label_map.ravel(), minlength=VOID + 1)[: len(labels)]
    return tuple(
        Area(label=labels[i], pixels=int(pixels[i]), share=float(pixels[i] / label_map.size))
        for i in np.argsort(-pixels, kind="stable")
        if pixels[i]
    )


def _sure(found: Detections, score: float) -> Detections:
    """Those from a score on; what is no number is left out."""
    kept = (found.scores >= score) & np.isfinite(found.boxes).all(axis=-1)
    return found.take(kept)


def _objects(found: Detections, labels: Sequence[str], size: tuple[int, ...]) -> tuple[Box, ...]:
    pixels = found.boxes * np.tile(size[:2], 2)
    fields = [
        {
            "label": labels[label],
            "score": float(score),
            **dict(zip(("top", "left", "bottom", "right"), map(float, edges), strict=True)),
        }
        for label, score, edges in zip(found.labels, found.scores, pixels, strict=True)
    ]
    if found.masks is None:
        return tuple(Box(**one) for one in fields)
    encoded = run_lengths(found.masks, found.boxes, size[:2])
    return tuple(
        Instance(**one, mask={**mask, "counts": mask["counts"].decode("ascii")})
        for one, mask in zip(fields, encoded, strict=True)
    )
