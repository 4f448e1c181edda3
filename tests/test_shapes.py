"""How a run sees images (letterboxed, in tiles) goes with it: to files, figures and answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_sets
import tiny_detectors
import tiny_segmenters
from commands import here
from marks import IN_CI, all_but

import kerascnn
from export.artefacts.artefact import Artefact, sidecar
from export.artefacts.description import read_description
from export.compress.compress import compress
from export.runtime.info import as_text, info
from export.tools.evaluate import Asked, evaluate
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.detection.batches import DetectionTrainingData
from training.engine import network
from training.engine.config import TrainConfig
from training.engine.refusals import checked
from training.engine.request import TrainRequest
from training.engine.request import request as asked_for
from training.engine.run import Run
from training.engine.train import train
from training.tasks import of_request

SEEN = {"resize": "letterbox", "tiles": 48, "overlap": 0.25}
CASES = {
    "detection": ("ssdlite_mobilenet_v3_small", small_sets.coco, tiny_detectors, {}),
    "segmentation": (
        *("unet", small_sets.masks, tiny_segmenters),
        {"learning_rate": 0.05, "warmup_epochs": 0, "settings": {"class_weights": "balanced"}},
    ),
}


@pytest.fixture(scope="module", params=all_but({"segmentation"}, CASES))
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, list[Artefact], Path]:
    """A run that sees images of 64x64 in tiles of 48, letterboxed to 32x48; its file; an image."""
    model, data, networks, changes = CASES[request.param]
    place = data(tmp_path_factory.mktemp("data") / "data", 12, side=64)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "detection":
            tiny_detectors.in_place_of_the_zoo(patch)
        else:
            patch.setattr(
                *(network, "build"),
                lambda _asked, seen, *, classes: networks.network(seen.input_shape, classes),
            )
        given = {"epochs": 2, "batch_size": 4, "image_size": (32, 48), **SEEN, **changes}
        run = train(
            asked_for(model, data=str(place), **given), tmp_path_factory.mktemp("runs") / "run"
        )
        files, _written = compress(run, ("float32",))
    folder = place if place.is_dir() else place.parent
    return run, files, min(folder.rglob("*.png"))


def test_it_is_told_wherever_preprocessing_is(made: tuple[Run, list[Artefact], Path]) -> None:
    run, files, _image = made
    assert {name: run.info["request"][name] for name in SEEN} == SEEN
    for one in files:
        told = read_description(one.path)["input"]
        beside = json.loads(sidecar(one.path).read_text())["preprocessing"]
        assert {name: told[name] for name in SEEN} == SEEN
        assert {name: beside[name] for name in SEEN} == SEEN
        assert "in its own shape" in as_text(info(one.path))
    assert run.preprocessing == Preprocessing(
        **{**dataclasses.asdict(run.preprocessing), "resize": "letterbox", "tiles": 48}
    )


def test_files_have_the_figure_of_the_run(made: tuple[Run, list[Artefact], Path]) -> None:
    run, files, _image = made
    for one in files:
        assert one.info["evaluation"]["fits"], one.info["evaluation"]["rule"]
        found = evaluate(one.path).to_dict()["value"]
        assert found == pytest.approx(one.info["evaluation"]["value"], abs=1e-6)
    assert evaluate(run.folder).to_dict()["value"] == pytest.approx(
        run.info["results"]["held_out"], abs=1e-6
    )
    whole = evaluate(run.folder, asked=Asked(tiles=0)).to_dict()
    assert whole["images"] == run.info["dataset"]["held_out"]


def test_predict_sees_tiles_as_the_file_says_or_as_it_is_told(
    made: tuple[Run, list[Artefact], Path],
) -> None:
    _run, files, image = made
    own = [kerascnn.predict(one.path, image) for one in files]
    for one in files:
        told = kerascnn.predict(one.path, image, tiles=48, overlap=0.25)
        assert told == kerascnn.predict(one.path, image)
        whole = kerascnn.predict(one.path, image, tiles=0)
        assert whole[0].keys() == told[0].keys()
    assert [one[0].keys() for one in own] == [own[0][0].keys()] * len(own)
    done = here("predict", files[0].path, image, "--tiles", "20")
    assert done.returncode == 2
    assert "tiles must be 32" in done.stderr


def test_a_tile_of_an_epoch_is_seeded_and_holds_its_objects() -> None:
    split = tiny_detectors.split(6)
    config = TrainConfig(epochs=1, batch_size=6, augmentation="none")
    seen = dataclasses.replace(tiny_detectors.PREPROCESSING, resize="letterbox", tiles=32)
    data = DetectionTrainingData(split=split, preprocessing=seen, classes=2, config=config)
    first, again, later = data.batch(0, 0), data.batch(0, 0), data.batch(1, 0)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (np.sort(first["pictures"], 0) != np.sort(later["pictures"], 0)).any()
    # A square of 32 pixels lies as it is in the middle of 32 x 48, on grey.
    assert (first["pictures"][:, :, :8] == 114).all()
    assert (first["pictures"][:, :, 40:] == 114).all()
    colours = np.array([(230, 30, 30), (30, 30, 230)])
    found = 0
    for row in range(6):
        there = first["gt_labels"][row] >= 0
        for box, label, crowd in zip(
            *(first[name][row][there] for name in ("gt_boxes", "gt_labels", "gt_crowd")),
            strict=True,
        ):
            if crowd:
                continue
            top, left, bottom, right = np.round(box * [32, 48, 32, 48]).astype(int)
            inside = first["pictures"][row, top + 1 : bottom - 1, left + 1 : right - 1]
            assert np.abs(inside.astype(int) - colours[label]).mean() < 20
            found += 1
    assert found > 3


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        ("ssdlite_mobilenet_v2", {"resize": "crop"}, "there are: stretch, letterbox"),
        ("mobilenet_v2", {"resize": "squash"}, "there are: stretch, crop"),
        ("mobilenet_v2", {"tiles": 64}, "sees whole images"),
        ("unet", {"tiles": 8}, "tiles must be 32"),
        ("unet", {"overlap": 0.5}, "overlap is of tiles"),
        ("unet", {"tiles": 64, "overlap": 1.0}, "overlap must be from 0 to 0.9"),
    ],
)
def test_what_cannot_be_seen_so_is_refused_at_once(
    model: str, given: dict[str, Any], message: str
) -> None:
    data = "mnist" if model == "mobilenet_v2" else "scenes"
    with pytest.raises(InputError, match=message):
        checked(model, data=data, **given)


@IN_CI
def test_classifiers_may_letterbox_too() -> None:
    for resize in (None, "letterbox"):
        asked = asked_for("lenet5", data="mnist-photos", image_size=(40, 28), resize=resize)
        task = of_request(asked)
        seen = task.preprocessing(asked, task.scan(asked))
        assert seen.resize == (resize or "pad")
    assert "tiles" not in seen.to_dict()


def test_runs_of_before_stretch() -> None:
    asked = asked_for("unet", data="scenes").to_dict()
    for name in SEEN:
        del asked[name]
    assert (found := TrainRequest.from_dict(asked)).resize is None
    assert (found.tiles, found.overlap) == (0, 0.2)
    seen = Preprocessing.from_dict({"height": 8, "width": 8, "channels": 3, "resize": "stretch"})
    assert not seen.tiles
