"""What `import kerascnn` offers: training, compression, comparison, evaluation and prediction.

The command line calls the same functions. Nothing here imports a framework before it is needed:
`open_run`, `Run.results`, and `predict` and `evaluate` of .tflite and .onnx files need none.

    import kerascnn

    run = kerascnn.train("mobilenet_v2", data="flowers/", weights="imagenet", epochs=5)
    rows = run.compress(["float32", "int8"])
    kerascnn.predict(run.artefacts["int8.tflite"], "rose.jpg")

Bad input raises `InputError`, a ValueError whose message is one line that names the culprit and the
remedy. What else is raised is a defect, or comes from the system (OSError: no space, no permission;
`Stopped`: SIGTERM or Ctrl-C during a training, whose state was kept).

Long work shows a bar on a terminal, or lines on stderr elsewhere; `progress=False` is silent, and a
callable gets a `ProgressEvent` instead. Interrupted work is continued by the same call.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from kerascnn import arguments, zoo
from kerascnn.argument_names import named_in_python
from kerascnn.errors import InputError, did_you_mean
from training.common import framework
from training.common.progress import Event as ProgressEvent
from training.common.progress import Listener, reported_to
from training.engine.run import Run as OpenedRun

if TYPE_CHECKING:
    import keras
    import numpy as np

    from export.artefacts.variants import Settings
    from export.report.results import Result
    from kerascnn.preprocessing import Preprocessing

__all__ = [
    "CompressionOptions",
    "InputError",
    "ProgressEvent",
    "Results",
    "Run",
    "Search",
    "compare",
    "evaluate",
    "import_model",
    "open_run",
    "predict",
    "train",
]

Path: TypeAlias = str | os.PathLike[str]
# True: a bar, or lines; False: nothing; a callable: gets each event.
Progress: TypeAlias = bool | Callable[[ProgressEvent], None]

# Options of compression, by their type.
_WHOLE = frozenset({"calibration_images", "fine_tune_epochs", "keep_float"})
_NUMBERS = frozenset({"max_change", "learning_rate", "distil_weight", "temperature"})
_IMAGES = "image files, folders or arrays"


class CompressionOptions(TypedDict, total=False):
    """What `Run.compress` and `Run.shrink` take beside their own arguments; all may be left out.

    Attributes:
        calibration: images to calibrate and reconstruct on, in the place of training images: what
            `train` takes as data of the run's task, of which the training split or all of it is
            used, or a folder of images without labels.
        calibration_images: how many of them, in all; the run's seed chooses (default 200).
        max_change: of `mixed`: percent of predictions that may change (default 0.5).
        budget: of `mixed`, in place of `max_change`: what the file keeps with as little noise as
            that allows: bytes, or text as "2MB", or a time per image on this machine as "8ms".
        keep_float: of `int8`: up to so many layers may stay float where int8 loses most (default
            2); 0 keeps all in int8, as NPUs want it.
        spare: words; pruning and clustering leave out layers with one of them in their names.
        slim_score: how channels are ranked for removal: "taylor" (default), "norm" or "l1".
        fine_tune_epochs: per step that trains; by default a fraction of the run's.
        learning_rate: peak per step that trains; by default a fraction of the run's.
        teacher: of `distil` variants, a run folder; by default the run itself.
        distil_weight: of the distillation loss, 0 to 1 (default 0.7).
        temperature: of both softmaxes in distillation (default 3).
    """

    calibration: Path | None
    calibration_images: int | None
    max_change: float | None
    budget: int | str | None
    keep_float: int | None
    spare: Sequence[str] | str | None
    slim_score: str | None
    fine_tune_epochs: int | None
    learning_rate: float | None
    teacher: Path | None
    distil_weight: float | None
    temperature: float | None


class Results(list[dict[str, Any]]):
    """Rows of results.csv, one per file, with plain values; pandas.DataFrame takes it as it is.

    Its text is the table that the command line prints.

    Attributes:
        report: the page that was written (.html), or None.
        objects: the same rows as `export.report.results.Result`.

    Examples:
        >>> rows = run.compress()
        >>> print(rows)
        >>> rows.best["smallest"]["bytes"]
    """

    def __init__(self, objects: Iterable[Result], report: pathlib.Path | None = None) -> None:
        self.objects = list(objects)
        self.report = report
        super().__init__(one.to_dict() for one in self.objects)

    @property
    def best(self) -> dict[str, dict[str, Any]]:
        """The recommended files by reason: "smallest", "fastest", "most accurate".

        Empty where no file is verified, or no network finds anything; "fastest" is missing where
        nothing was timed. See `export.report.results.best_choices`.
        """
        return {reason: one.to_dict() for reason, one in self._best().items()}

    @property
    def best_labels(self) -> dict[str, str]:
        """The same files by their labels, as "flowers int8"."""
        return {reason: one.label for reason, one in self._best().items()}

    def _best(self) -> dict[str, Result]:
        from export.report.results import best_choices

        return best_choices(self.objects)

    def __str__(self) -> str:
        from export.report.table import table

        return table(self.objects)


class Search(dict[str, Any]):
    """What `Run.shrink` found; its text is what the command line prints.

    Its keys: "met", whether a file is within the budget; "chosen", the row of that file, or None;
    "nearest", the row that comes nearest; "front", labels of the Pareto-optimal files; "tried",
    variants; "passed_over", reasons by variant; "chosen_on", the images that decided.
    """

    def __init__(self, found: Mapping[str, Any], text: str) -> None:
        super().__init__(found)
        self._text = text

    def __str__(self) -> str:
        return self._text


class Artefacts(dict[str, pathlib.Path]):
    """Files of a run by name, as "int8.tflite"; the error for another name lists them."""

    def __init__(self, files: Mapping[str, pathlib.Path], folder: pathlib.Path) -> None:
        super().__init__(files)
        self._folder = folder

    def __missing__(self, name: object) -> pathlib.Path:
        there = f"there are: {', '.join(self)}" if self else "there are none yet; see Run.compress"
        hint = did_you_mean(str(name), self) or ";"
        raise KeyError(f"{self._folder} has no file {name!r}{hint} {there}")


class Run:
    """A trained network in its folder, with the files that were made of it.

    Get one from `train`, `import_model` or `open_run`.

    Examples:
        >>> run = kerascnn.open_run("runs/flowers")
        >>> run.metrics["held_out"]
        91.2
        >>> pandas.DataFrame(run.compress(["float32", "int8"]))
    """

    def __init__(self, opened: OpenedRun) -> None:
        self._opened = opened

    def __repr__(self) -> str:
        return f"<kerascnn.Run {str(self.folder)!r}: {self.model}>"

    @property
    def folder(self) -> pathlib.Path:
        """Where it is."""
        return self._opened.folder

    @property
    def name(self) -> str:
        """The folder's own name, by which reports call the run."""
        return self._opened.name

    @property
    def model(self) -> str:
        """The architecture's name in the zoo, or what an imported network is called."""
        return self._opened.called

    @property
    def task(self) -> str:
        """ "classification", "detection" or "segmentation"."""
        return self._opened.task

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs."""
        return self._opened.labels

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network expects of an image."""
        return self._opened.preprocessing

    @property
    def info(self) -> Mapping[str, Any]:
        """The contents of run.json: what was asked for, versions, data, results."""
        return self._opened.info

    @property
    def metrics(self) -> dict[str, Any]:
        """Figures of the Keras model on the held-out images, in percent.

        "metric" is the name of the main one, "held_out" its value; the others depend on the task.
        Empty on a host of a training on several that is not the first one.
        """
        return dict(self.info.get("results", {}))

    @property
    def artefacts(self) -> dict[str, pathlib.Path]:
        """Exported files by name, as "int8.tflite"; each has a .json beside it.

        A KeyError names those that there are.
        """
        from export.artefacts.artefact import FORMATS, sidecar

        files = sorted(self._opened.artefacts.glob("*"))
        whole = (path for path in files if path.suffix in FORMATS and sidecar(path).is_file())
        return Artefacts({path.name: path for path in whole}, self._opened.artefacts)

    @property
    def results(self) -> list[dict[str, Any]]:
        """Rows of the run's results.csv, one per file, by the last `compress` or `shrink`.

        Numbers have the six digits of the file. pandas.DataFrame takes it as it is. Empty before
        the first `compress`.

        Raises:
            InputError: results.csv is damaged.
        """
        from export.report.results import read_rows

        path = self.folder / "results.csv"
        return read_rows(path) if path.is_file() else []

    def load(self) -> keras.Model:
        """The trained network; loads Keras. No code that may be in the file is run.

        Raises:
            InputError: model.keras is damaged, or carries code.
        """
        framework.load(any_backend=True)
        return self._opened.load_model()

    @named_in_python(*CompressionOptions.__annotations__)
    def compress(
        self,
        variants: Sequence[str] | str | None = None,
        *,
        onnx: bool = True,
        author: str | None = None,
        license: str | None = None,
        outputs: str = "logits",
        progress: Progress = True,
        **options: Unpack[CompressionOptions],
    ) -> Results:
        """Make compressed files of the run, verify and time each in its runtime, write the report.

        Files that are there already are kept. report.html, results.csv and chart.png in the run's
        folder show all files of the run.

        Args:
            variants: names, as "int8" or "prune75_int8" (see `kerascnn compress --help`); by
                default the usual ones of the run's task.
            onnx: also write float32.onnx. Its bytes are the same in every process only where
                PYTHONHASHSEED is set.
            author: written into all files of the run from now on.
            license: likewise: an SPDX name as Apache-2.0, or text.
            outputs: of a classifier: "logits", or "probabilities" for clients that show outputs as
                they are, as MediaPipe and ML Kit; such files have "_probabilities" in their names.
            progress: a bar or lines (True), nothing (False), or a callable that gets each event.
            **options: see `CompressionOptions`.

        Returns:
            A row per file of the run.

        Raises:
            InputError: no such variant, one that this network does not allow, or data that is gone
                or has changed.
            TypeError: no such option.
            OSError: a file cannot be written.

        Examples:
            >>> rows = run.compress(["float32", "int8"], calibration="photos/")
        """
        from export.artefacts import about
        from export.artefacts.variants import parse_variant, with_outputs
        from export.tasks import allowed
        from training.common import once

        arguments.flag(onnx, "onnx")
        for value, argument in ((author, "author"), (license, "license")):
            if value is not None:
                arguments.word(value, argument)
        about.check(author, license)
        settings = _settings(**options)
        names = None if variants is None else arguments.words(variants, "variants")
        if names is not None and not any(names):
            raise InputError("variants names none; name one or more, or leave it out")
        arguments.word(outputs, "outputs")
        checked = names or ([] if outputs == "logits" else ["float32"])
        allowed.require_calibration(self._opened, settings)
        for name in with_outputs(checked, outputs):
            allowed.check(self._opened, parse_variant(name, settings))
        framework.load()
        from export.compress.compress import compress

        about.remember(self._opened, author=author, license=license)
        with _showing(progress), once.scope():  # one scan of the data for the files and the report
            compress(self._opened, names, onnx=onnx, settings=settings, outputs=outputs)
            return _compared([self._opened], self.folder)

    @named_in_python(*CompressionOptions.__annotations__)
    def shrink(
        self,
        *,
        max_size: int | str | None = None,
        max_drop: float = 1.0,
        max_latency: float | str | None = None,
        metric: str = "file",
        progress: Progress = True,
        **options: Unpack[CompressionOptions],
    ) -> Search:
        """Find a file within a size or latency budget, the quick methods first.

        All files that were tried stay in the run.

        Args:
            max_size: bytes, or text as "300KB" (1 KB is 1000 bytes).
            max_drop: the largest loss of accuracy, AP or mIoU, in percentage points.
            max_latency: milliseconds per image on this machine, or text as "5ms".
            metric: what `max_size` limits: "file", or "download" (compressed by zlib -9).
            progress: as of `compress`.
            **options: see `CompressionOptions`.

        Returns:
            What was found.

        Raises:
            InputError: a network that finds nothing yet, or a budget that no file can meet.
            TypeError: no such option.

        Examples:
            >>> found = run.shrink(max_size="300KB", max_drop=1.0)
            >>> found["chosen"]["variant"] if found["met"] else None
            'int8'
        """
        from export.tasks import allowed
        from export.tools.budget import Budget, milliseconds, size

        allowed.require_command(self._opened, "shrink")
        for limit, argument in ((max_size, "max_size"), (max_latency, "max_latency")):
            if limit is not None and not isinstance(limit, str):
                arguments.number(limit, argument)
        arguments.number(max_drop, "max_drop")
        arguments.word(metric, "metric")
        budget = Budget(
            size=None if max_size is None else size(str(max_size)),
            metric=metric,
            drop=max_drop,
            latency_ms=None if max_latency is None else milliseconds(str(max_latency)),
        )
        settings = _settings(**options)
        allowed.require_calibration(self._opened, settings)
        framework.load()
        from export.tools import shrink

        with _showing(progress):
            found = shrink.shrink(self._opened, budget, settings=settings)
        return Search(shrink.as_json(found), text=shrink.as_text(found, budget))


@named_in_python()
def train(
    model: str,
    *,
    data: Path,
    out: Path | None = None,
    val_data: Path | None = None,
    task: str | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    resize: str | None = None,
    tiles: int | None = None,
    overlap: float | None = None,
    weights: Path | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
    precision: str | None = None,
    deterministic: bool | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    warmup_epochs: float | None = None,
    label_smoothing: float | None = None,
    augmentation: str | None = None,
    validation_fraction: float | None = None,
    freeze_epochs: int | None = None,
    probe: bool = False,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    detector: Mapping[str, Any] | None = None,
    teacher: Path | None = None,
    distil_weight: float | None = None,
    temperature: float | None = None,
    devices: int | str = 1,
    strict: bool = False,
    progress: Progress = True,
) -> Run:
    """Train a network of the zoo into a run folder; the same call continues an interrupted run.

    Trains on the backend that KERAS_BACKEND names (tensorflow, jax or torch), tensorflow by
    default.

    Args:
        model: one of `list_models()`.
        data: of classifiers a folder with one sub-folder per class, a table of images and labels
            (.csv, .tsv), Hugging Face's image folders and .parquet files, a pack, "tfds:NAME",
            "mnist", "mnist-photos" or "scenes-digits"; of detectors a COCO .json, a folder in
            COCO, Pascal VOC or YOLO layout, or "scenes"; of segmentation networks the same with
            outlines, or a folder of images and one of masks.
        out: the run folder; by default runs/MODEL-DATA.
        task: "multilabel": a classifier gives an image any number of labels; by default by the
            model, and by the data: a table with several labels per image.
        val_data: data of the same kind whose images are held out, with the classes of `data`; by
            default images of `data` are held out.
        recipe: named settings (see `kerascnn recipes`); by default chosen by data and weights.
        epochs: passes over the training images.
        batch_size: images per step.
        image_size: pixels of a side, or (height, width).
        resize: how images meet that size: "stretch", "letterbox" (keep the shape, pad with grey)
            or, of classifiers, "crop"; by default as the data has it, of detectors and segmentation
            networks "stretch".
        tiles: of detectors and segmentation networks, pixels of a side of the squares that larger
            images are cut into; an epoch sees one of each image, evaluations see all and merge.
        overlap: share of a tile's side that the next one has too, 0.2 by default.
        weights: a name that `kerascnn weights NAME` lists ("imagenet", "coco"), or a file of a run
            (model.keras), torchvision, timm or keras.applications.
        seed: random seed.
        split_seed: of the held-out split.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; by default what the hardware is
            fast in. Files come from float32 weights in each.
        deterministic: whether every run gives the same weights to the last bit; by default on a
            CPU alone.
        optimizer: "adamw", "sgd" or "rmsprop".
        learning_rate: the peak, after warm-up.
        weight_decay: not of biases and normalisation.
        warmup_epochs: in which the learning rate rises.
        label_smoothing: 0 to 1.
        augmentation: "none", "digits", "pictures", "modern", "detection", ...
        validation_fraction: of the training images, those that the best epoch is chosen on.
        freeze_epochs: the first ones, which train only the head.
        probe: solve for the head on the features of `weights`, and train no more: the answer of
            about a minute (of classifiers alone).
        settings: any other setting of a recipe by name, as {"ema": 0.999}.
        options: of the network, as {"alpha": 0.35}.
        detector: options of a detector, as {"score_threshold": 0.1}.
        teacher: run folder of a network to distil from.
        distil_weight: of the distillation loss, 0 to 1.
        temperature: of both softmaxes in distillation.
        devices: how many GPUs share each batch, "all", or this host's place among several:
            "INDEX@HOST:PORT,HOST:PORT".
        strict: a broken image or annotation is an error; else it is left out.
        progress: a bar or lines (True), nothing (False), or a callable that gets each event.

    Returns:
        The run. A complete run of the same request is returned as it is.

    Raises:
        InputError: no such model or setting, bad data, an impossible value, a folder that holds
            another run, or weights that know the images to be held out.
        OSError: the folder cannot be written.
        training.engine.stopping.Stopped: SIGTERM or Ctrl-C asked to stop; the state was kept.

    Examples:
        >>> run = kerascnn.train("mobilenet_v2", data="flowers/", epochs=5)
        >>> run.metrics["held_out"]
        88.4
    """
    from training.common import once
    from training.common.progress import say
    from training.engine.config import yes_or_no
    from training.engine.devices import Devices
    from training.engine.first_look import first_look
    from training.engine.refusals import checked
    from training.engine.request import probe_alone

    arguments.word(model, "model")
    zoo.entry(model)
    place = arguments.path(data, "data", what="a path, or a name as 'mnist'")
    val_place = arguments.optional_path(val_data, "val_data")
    tiles, overlap = arguments.tiles(tiles, overlap)
    for given_word, argument in ((recipe, "recipe"), (task, "task"), (resize, "resize")):
        if given_word is not None:
            arguments.word(given_word, argument)
    arguments.flag(strict, "strict")
    if deterministic is not None:
        arguments.flag(deterministic, "deterministic")
    for given, argument, example in (
        (settings, "settings", "{'ema': 0.999}"),
        (options, "options", "{'alpha': 0.35}"),
        (detector, "detector", "{'score_threshold': 0.1}"),
    ):
        arguments.mapping(given, argument, example=example)
    arguments.flag(probe, "probe")
    known_weights = arguments.optional_path(weights, "weights", what="a name or a path")
    if probe:
        settings = probe_alone(
            settings, weights=known_weights, epochs=epochs, freeze_epochs=freeze_epochs
        )
    asked_devices = Devices.parse(str(devices))
    where = arguments.optional_path(out, "out")
    folder = default_folder(model, place) if where is None else pathlib.Path(where)
    with _showing(progress):
        with once.scope():  # data whose form decides the task are not read twice
            request = checked(
                model,
                folder=folder,
                data=place,
                val_data=val_place,
                task=task,
                recipe=recipe,
                model_options=options,
                detector_options=detector,
                image_size=arguments.image_size(image_size),
                resize=resize,
                tiles=tiles,
                overlap=overlap,
                weights=known_weights,
                strict=strict,
                teacher=arguments.optional_path(teacher, "teacher", what="a run folder"),
                settings=settings,
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
                split_seed=split_seed,
                precision=precision,
                deterministic=yes_or_no(deterministic),
                optimizer=optimizer,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                warmup_epochs=warmup_epochs,
                label_smoothing=label_smoothing,
                augmentation=augmentation,
                validation_fraction=validation_fraction,
                freeze_epochs=freeze_epochs,
                distil_weight=distil_weight,
                temperature=temperature,
            )
            framework.prepare()
            # Of several hosts the first one alone says what there is to say.
            seen = None if asked_devices.hosts else first_look(request, folder, warn=say)
        framework.load(any_backend=True)
        placement = asked_devices.open()
        from training.engine import train as training

        return Run(training.train(request, folder, placement, dataset=seen))


@named_in_python()
def import_model(
    source: Path | keras.Model,
    *,
    data: Path,
    out: Path | None = None,
    val_data: Path | None = None,
    weights: Path | None = None,
    options: Mapping[str, Any] | None = None,
    image_size: int | tuple[int, int] | None = None,
    preprocessing: str | None = None,
    resize: str | None = None,
    labels: Path | None = None,
    unlabelled: bool = False,
    name: str | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress = True,
) -> Run:
    """Make a run of a network that was trained elsewhere; nothing is trained.

    Detectors and segmentation networks come by their name in the zoo, all others are classifiers.

    The network is measured on held-out images. What takes a trained run then takes this one: its
    steps of compression that train learn from the images that are not held out.

    Args:
        source: a .keras, .h5 or float .tflite file of a whole network, the folder of a SavedModel,
            or one of `list_models()` with `weights`. No code that may be in a file is run. Or a
            built keras.Model: it is copied as if it had been saved, and stays as it is; run.json
            has the digest of its weights.
        data: a folder with one sub-folder per class, a table of images and labels, a pack,
            "tfds:NAME", "mnist" or "scenes-digits", with some of the network's classes; or a folder
            of images without labels, which is enough for what needs none: then files are held
            against the network's own answers, and the metric is "agreement" ("AP agreement" of
            detectors, "mIoU agreement" of segmentation networks). A table with several
            labels per image is for a network with a sigmoid for each.
        out: the run folder; by default runs/NAME-DATA.
        val_data: data of the same kind whose images are held out; by default images of `data` are.
        weights: of a network of the zoo: a name that `kerascnn weights NAME` lists ("imagenet"), or
            a file.
        options: of a network of the zoo, as {"alpha": 0.35}.
        image_size: pixels of a side, or (height, width); by default the network's own.
        preprocessing: "0-1", "-1-1", "imagenet", "caffe" or "none" (bytes as they are); by default
            what stands inside of the network, or is published of its weights, else a guess.
        resize: "crop", "stretch", "letterbox" or "pad": how images meet its size; by default of a
            name as its weights are published, of a file "stretch", and "crop" where its classes are
            ImageNet's.
        labels: a file with a label a line, in the order of the outputs; by default the classes of
            the data in natural order if there are as many, or ImageNet's; COCO's of weights "coco".
        unlabelled: all images below `data` count, whatever their folders are called.
        name: what files and reports call the network; by default by the source (a model's name).
        recipe: of the steps of compression that train (see `kerascnn recipes`); by default
            "finetune".
        settings: any of its settings by name, as {"epochs": 5}.
        progress: a bar or lines (True), nothing (False), or a callable that gets each event.

    Returns:
        The run. A run of the same import is returned as it is.

    Raises:
        InputError: no readable network, one that cannot be taken (the layer is named), classes that
            it does not know (they are named), or a folder that holds something else.
        OSError: the folder cannot be written.

    Examples:
        >>> run = kerascnn.import_model("my_model.keras", data="flowers/")
        >>> run.compress(["float32", "int8"])
        >>> kerascnn.import_model(keras.applications.MobileNetV2(), data="photos/")
    """
    from training.importing.asked import IN_MEMORY, begun, import_request

    for value, argument in (
        (preprocessing, "preprocessing"),
        (resize, "resize"),
        (name, "name"),
        (recipe, "recipe"),
    ):
        if value is not None:
            arguments.word(value, argument)
    arguments.flag(unlabelled, "unlabelled")
    arguments.mapping(options, "options", example="{'alpha': 0.35}")
    arguments.mapping(settings, "settings", example="{'epochs': 5}")
    place = arguments.path(data, "data", what="a path, or a name as 'mnist'")
    model = _model_in_memory(source)
    digest = None
    if model is not None:
        framework.load()
        from training.importing import memory

        source, name, digest = IN_MEMORY, name or memory.name_of(model), memory.sha256_of(model)
    request = import_request(
        arguments.path(source, "source", what="a model file, a name of the zoo or a keras.Model"),
        data=place,
        val_data=arguments.optional_path(val_data, "val_data"),
        weights=arguments.optional_path(weights, "weights", what="a name or a path"),
        options=options,
        image_size=arguments.image_size(image_size),
        preprocessing=preprocessing,
        resize=resize,
        labels=arguments.optional_path(labels, "labels", what="a file"),
        unlabelled=unlabelled,
        name=name,
        recipe=recipe,
        settings=settings,
        weights_sha256=digest,
    )
    where = arguments.optional_path(out, "out")
    folder = default_folder(request.called, place) if where is None else pathlib.Path(where)
    begun(request, folder)
    framework.load()
    from training.importing.run import import_network

    with _showing(progress):
        return Run(import_network(request, folder, model))


def _model_in_memory(source: object) -> keras.Model | None:
    """A source that is a model; whoever has one has imported Keras, which is not done here."""
    loaded = sys.modules.get("keras")
    return source if loaded is not None and isinstance(source, loaded.Model) else None


@named_in_python()
def open_run(folder: Path) -> Run:
    """Open the folder of a finished training; no framework is loaded.

    Args:
        folder: of the run, with run.json in it.

    Raises:
        InputError: no run there, a damaged one, or one whose training has not finished.

    Examples:
        >>> kerascnn.open_run("runs/flowers").labels
        ('daisy', 'rose', 'tulip')
    """
    return Run(OpenedRun.open(arguments.path(folder, "folder", what="a run folder")))


@named_in_python()
def compare(
    runs: Run | Path | Sequence[Run | Path],
    out: Path | None = None,
    *,
    device: Path | None = None,
    title: str = "",
    warn: Callable[[str], None] | None = None,
    progress: Progress = True,
) -> Results:
    """Time the files of several runs against each other, and write one report.

    Args:
        runs: runs, or their folders, or one of these; of one data set and split.
        out: the report (.html), beside which the table and the chart get its name with .csv and
            .png; or a folder, which gets report.html, results.csv and chart.png. None: nothing is
            written.
        device: results that the Android demo measured on a phone and shared (.csv).
        title: of the report.
        warn: gets lines of `device` that are of no file here; by default a line of progress.
        progress: a bar or lines (True), nothing (False), or a callable that gets each event.

    Returns:
        A row per file.

    Raises:
        InputError: a run without files, runs measured on different images, or a table that is
            broken or knows none of the files.
        export.report.results.NotWritten: a file of the report cannot be written; an OSError whose
            `rows` are the results.

    Examples:
        >>> rows = kerascnn.compare(["runs/a", "runs/b"], "report.html")
        >>> rows.best["fastest"]["run"]
        'b'
    """
    from export.tasks import allowed

    opened = [_opened(run) for run in _several(runs)]
    if not opened:
        raise InputError("there are no runs to compare; name at least one")
    for each in opened:
        allowed.require_files(each)
    allowed.require_same_data(opened)
    arguments.word(title, "title")
    shared, page = arguments.optional_path(device, "device"), arguments.optional_path(out, "out")
    table = None if shared is None else pathlib.Path(shared)
    if table is not None:
        if not table.is_file():
            raise InputError(f"{table}: no such file; share it from the Android demo")
        from export.report import device_results  # it draws, which takes a while to load

        device_results.read(table)  # what is no such table is refused now
    framework.load()
    output = None if page is None else pathlib.Path(page)
    with _showing(progress):
        return _compared(opened, output, device=table, title=title, warn=warn)


@named_in_python()
def evaluate(
    source: Path | Run,
    data: Path | None = None,
    *,
    split: str = "held-out",
    reference: Path | Run | None = None,
    weights: Path | None = None,
    options: Mapping[str, Any] | None = None,
    published: bool = False,
    tiles: int | None = None,
    overlap: float | None = None,
    labels: Path | None = None,
    preprocessing: str | None = None,
    layout: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    resize: str | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    page: Path | None = None,
    progress: Progress = True,
) -> dict[str, Any]:
    """Run a model file on images whose truth is known.

    No framework is loaded for .tflite and .onnx files.

    Args:
        source: a .tflite, .onnx or .keras file, a run, which means its model.keras, or a network of
            the zoo by its name.
        data: what `train` takes as data of the file's task. Its classes are found by name among the
            file's labels; those that the data lacks are left out. By default the data of the run
            that the file lies in.
        split: "held-out", "validation", "train" or "all". Of `data`, "held-out" means its test
            split, else its validation split, else all of it.
        reference: another file, or run, whose answers are compared; then `data` may be a folder of
            images without labels.
        weights: of a network of the zoo: "imagenet", ... or a file.
        options: of such a network's builder: `{"alpha": 0.35}`.
        published: hold the figure against the published one of `weights`.
        tiles: pixels of a side of the squares that larger images are cut into, 0 for none (of
            detectors and segmentation networks alone; by default as the file was trained).
        overlap: share of a tile's side that the next one has too, 0.2 by default.
        labels: of a file of another program, a label a line in the order of its outputs. This and
            the following are refused for a file that describes itself.
        preprocessing: "0-1", "-1-1", "imagenet", "caffe", "none", or numbers: "MEAN,STD".
        layout: "nhwc" or "nchw", of an .onnx file's input.
        image_size: in pixels, where the file takes any.
        resize: how images meet that size: "stretch", "letterbox", "crop", "centre" or "pad"; see
            `kerascnn.preprocessing.Preprocessing`.
        crop_fraction: share of the image that "crop" and "centre" keep.
        interpolation: "bilinear" or "bicubic".
        page: gets it all as one HTML file.
        progress: a bar or lines (True), nothing (False), or a callable that gets each event.

    Returns:
        "file", "task", "data", "split"; "images", how many; "broken", names of those that cannot be
        read and do not count; "absent", labels that the data has no class of; "metric" ("accuracy",
        "AP" or "mIoU"), "value" in percent, "value_low" and "value_high", its 95% interval by the
        luck of the images; "per_class", a list of rows, each with its "label"; "confused", the
        classes taken for another most often, and "confusion", (true, predicted, images) of places
        of labels, of classifiers; "worst", the images it is most wrong about. "reference" and
        "published" are there where they were asked for; of images without labels there is no
        figure else. Beside these: of
        classifiers "top1", "top5", "calibration_error", "loss" (in nats), "balanced_accuracy",
        "majority_baseline"; of detectors "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
        "ar1", "ar10", "ar100", and "box_ap", "box_ap50", "box_ap75" where "value" is of masks; of
        segmentation networks "mean_dice", "pixel_accuracy", "boundary_f1". None where there is
        nothing to measure.

    Raises:
        InputError: not a model file, no data, data that is gone or has changed, that has no such
            split, or that has classes which the file does not know (they are named).

    Examples:
        >>> found = kerascnn.evaluate("runs/flowers/artefacts/int8.tflite", "more-flowers/")
        >>> found["value"], found["value_low"], found["value_high"]
        (87.4, 84.1, 90.6)
    """
    from export.runtime.strangers import FileOptions
    from export.tools.evaluate import Asked, evaluate
    from export.tools.evaluation_page import require_page, write_page

    named = source.folder if isinstance(source, Run) else source
    path = pathlib.Path(arguments.path(named, "source", what="a model file, or a run"))
    place = arguments.optional_path(data, "data")
    arguments.word(split, "split")
    arguments.flag(published, "published")
    arguments.mapping(options or {}, "options", example="{'alpha': 0.35}")
    texts = {"preprocessing": preprocessing, "layout": layout, "resize": resize}
    for name, text in {**texts, "interpolation": interpolation}.items():
        if text is not None:
            arguments.word(text, name)
    if crop_fraction is not None:
        arguments.number(crop_fraction, "crop_fraction")
    other = reference.folder if isinstance(reference, Run) else reference
    beside = arguments.optional_path(other, "reference", what="a model file, or a run")
    names = arguments.optional_path(labels, "labels", what="a file")
    written = arguments.optional_path(page, "page", what="a file")
    tiles, overlap = arguments.tiles(tiles, overlap)
    asked = Asked(
        split=split,
        tiles=tiles,
        overlap=overlap,
        file_options=FileOptions(
            preprocessing=preprocessing,
            layout=layout,
            resize=resize,
            labels=None if names is None else pathlib.Path(names),
            image_size=arguments.image_size(image_size),
            crop_fraction=crop_fraction,
            interpolation=interpolation,
        ),
        weights=arguments.optional_path(weights, "weights", what="a name or a path"),
        options=options or {},
        published=published,
        reference=None if beside is None else pathlib.Path(beside),
    )
    if written is not None:
        require_page(pathlib.Path(written))
    with _showing(progress):
        found = evaluate(path, data=place, asked=asked)
        if written is not None:
            write_page(found, pathlib.Path(written))
        return found.to_dict()


@named_in_python()
def predict(
    file: Path | Run,
    images: Path | np.ndarray | Sequence[Path | np.ndarray],
    *,
    top: int | None = None,
    score: float | None = None,
    tiles: int | None = None,
    overlap: float | None = None,
    out: Path | None = None,
    threads: int | None = None,
    every: int = 1,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> list[dict[str, Any]]:
    """Run a model file on images and videos, as a phone would.

    No framework is loaded for .tflite and .onnx files.

    Args:
        file: a .tflite or .onnx file that describes itself, the model.keras of a run, or a run.
        images: one or several: image files, folders, patterns ("photos/**/*.jpg"), videos (of the
            extra kerascnn[video]), or arrays (height, width, 3) uint8, red first. A file that is
            named twice is looked at once.
        top: labels per image (of classifiers alone; 1 by default).
        score: the lowest score of an object, 0 to 1 (of detectors alone; 0.3 by default).
        tiles: pixels of a side of the squares that larger images are cut into, 0 for none (of
            detectors and segmentation networks alone; by default as the file was trained).
        overlap: share of a tile's side that the next one has too, 0.2 by default.
        out: gets each image with what was found drawn on it, as NAME.png, and each video as
            NAME.mp4; or, with a video's ending, the file of one video.
        threads: of the runtime (1 by default).
        every: of a video each so many-th frame.
        fps: of a video at most so many frames per second.
        start: of a video, in seconds.
        end: of a video, in seconds; None: its own.

    Returns:
        A dictionary per image or frame, with its path or number as "image" (of a frame also "frame"
        and "time", in seconds), and: of a classifier "labels", a list of {"label", "probability"};
        of a detector "objects", a list of {"label", "score", "top", "left", "bottom", "right"} in
        pixels, with "mask" in COCO's run lengths where the network has masks; of a segmentation
        network "classes", a list of {"label", "pixels", "share"}. "drawn" is the file that was
        written to `out`; without one it is None, and of a classifier not there.

    Raises:
        InputError: not a model file, one that nothing describes, an argument that is for files of
            another task, an extra that is not installed, or an image that cannot be read.

    Examples:
        >>> kerascnn.predict("int8.tflite", "rose.jpg", top=2)
        [{'image': 'rose.jpg', 'labels': [{'label': 'rose', 'probability': 0.97}, ...]}]
    """
    from export.artefacts.artefact import require_description
    from export.artefacts.description import require_file
    from export.runtime.picture_args import sources
    from export.runtime.sources import Clip

    named_file = file._opened.model_path if isinstance(file, Run) else file
    path = pathlib.Path(arguments.path(named_file, "file", what="a model file, or a run"))
    if top is not None:
        top = arguments.whole(top, "top", least=1)
    if threads is not None:
        threads = arguments.whole(threads, "threads", least=1)
    if score is not None:
        arguments.number(score, "score", least=0, most=1)
    tiles, overlap = arguments.tiles(tiles, overlap)
    if fps is not None:
        arguments.number(fps, "fps", least=1e-3, most=1000)
    for name, given in (("start", start), ("end", end)):
        if given is not None:
            arguments.number(given, name, least=0)
    clip = Clip(every=arguments.whole(every, "every", least=1), fps=fps, start=start, end=end)
    target = arguments.optional_path(out, "out")
    require_file(path)
    with _as_files(images) as (paths, shown):
        found = sources(paths)
        require_description(path)
        from export.runtime.predict import Order, answers

        order = Order(out=None if target is None else pathlib.Path(target), clip=clip)
        limits: dict[str, Any] = {"top": top, "score": score, "threads": threads}
        answered = answers(path, found, tiles=tiles, overlap=overlap, order=order, **limits)
        return [{**one.as_json(), "image": shown.get(one.image, one.image)} for one in answered]


def default_folder(model: str, data: str) -> pathlib.Path:
    """Where a run goes that nobody named a folder for: runs/MODEL-DATA."""
    known, _, _ = data.partition("@")  # of tfds:flowers@/data the data's name is tfds-flowers
    whole = known if ":" in known else pathlib.Path(data).resolve().name
    short = re.sub(r"[^\w.-]+", "-", whole)
    return pathlib.Path("runs") / f"{model}-{short}"


def _settings(**options: Unpack[CompressionOptions]) -> Settings:
    """Options as the stages of compression take them; raises InputError for impossible values."""
    from export.artefacts.variants import FineTuning, Settings

    if unknown := options.keys() - CompressionOptions.__annotations__.keys():
        hint = did_you_mean(min(unknown), CompressionOptions.__annotations__)
        raise TypeError(f"no option {min(unknown)!r} of compression{hint}")
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    for name in given.keys() & _NUMBERS:
        arguments.number(given[name], name)
    for name in given.keys() & _WHOLE:
        given[name] = arguments.whole(given[name], name)
    if "slim_score" in given:
        arguments.word(given["slim_score"], "slim_score")
    tuning = {
        field: given.pop(name)
        for name, field in (
            ("fine_tune_epochs", "epochs"),
            ("learning_rate", "learning_rate"),
            ("teacher", "teacher"),
            ("distil_weight", "distil_weight"),
            ("temperature", "temperature"),
        )
        if name in given
    }
    if "teacher" in tuning:
        teacher = arguments.path(tuning["teacher"], "teacher", what="a run folder")
        OpenedRun.open(teacher)
        tuning["teacher"] = str(pathlib.Path(teacher).resolve())
    if "calibration" in given:
        given["calibration"] = arguments.path(given["calibration"], "calibration")
    if "spare" in given:
        given["spared"] = tuple(arguments.words(given.pop("spare"), "spare"))
    if "budget" in given:
        from export.tools.budget import size_or_time

        given |= size_or_time(str(given.pop("budget")), "--budget")
    if "calibration_images" in given:
        given["calibration_pictures"] = given.pop("calibration_images")
    return Settings(fine_tuning=FineTuning(**tuning), **given)


def _several(runs: Run | Path | Sequence[Run | Path]) -> list[Any]:
    """Runs of what `compare` takes; a text is one folder, not its letters."""
    if isinstance(runs, Run | str | os.PathLike):
        return [runs]
    if not isinstance(runs, Iterable) or isinstance(runs, bytes):
        raise arguments.wrong("runs", "runs or their folders", runs)
    return list(runs)


def _opened(run: Run | Path) -> OpenedRun:
    if isinstance(run, Run):
        return run._opened
    return OpenedRun.open(arguments.path(run, "runs", what="runs or their folders"))


def _compared(
    runs: Sequence[OpenedRun],
    output: pathlib.Path | None,
    *,
    device: pathlib.Path | None = None,
    title: str = "",
    warn: Callable[[str], None] | None = None,
) -> Results:
    from export.report.compare import compare, output_files
    from training.common.progress import say

    rows = compare(runs, output, device=device, title=title, warn=warn or say)
    return Results(rows, None if output is None else output_files(output)[0])


@contextlib.contextmanager
def _showing(progress: Progress) -> Iterator[None]:
    """While open, progress goes where the caller wants it."""
    if not callable(progress):
        arguments.flag(progress, "progress")
    if progress is True:
        yield
        return
    listener: Listener = progress if callable(progress) else lambda _event: None
    with reported_to(listener):
        yield


@contextlib.contextmanager
def _as_files(
    images: Path | np.ndarray | Sequence[Path | np.ndarray],
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Paths of images, arrays written as PNG for as long as this is open; and arrays' numbers."""
    import numpy as np

    if isinstance(images, str | os.PathLike | np.ndarray):
        several: list[Any] = [images]
    elif isinstance(images, Iterable) and not isinstance(images, bytes):
        several = list(images)
    else:
        raise arguments.wrong("images", _IMAGES, images)
    if not several:
        raise InputError("there are no images; give at least one")
    with tempfile.TemporaryDirectory() as folder:
        paths, shown = [], {}
        for number, image in enumerate(several):
            if isinstance(image, np.ndarray):
                path = str(_written(image, pathlib.Path(folder) / f"image-{number}.png"))
                shown[path] = str(number)
            else:
                path = arguments.path(image, "images", what=_IMAGES)
            paths.append(path)
        yield paths, shown


def _written(image: np.ndarray, path: pathlib.Path) -> pathlib.Path:
    """An array as a file, with the same pixels."""
    from PIL import Image

    if image.dtype != "uint8" or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise InputError(
            f"an image is a uint8 array (height, width, 3) or (height, width), not {image.dtype} "
            f"{image.shape}; scale values to 0..255"
        )
    Image.fromarray(image).save(path, compress_level=0)
    return path
