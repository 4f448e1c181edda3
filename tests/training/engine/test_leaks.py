"""Held-out pictures that initial weights or a teacher know already are refused, by content."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import assert_refused, here
from PIL import Image

import kerascnn
from kerascnn.errors import InputError
from training.datasets.pack import pack
from training.engine import dataset_of_request as of_request
from training.engine.config import TrainConfig
from training.engine.leaks import refuse_leaks
from training.engine.request import TrainRequest, request
from training.engine.run import write_info
from training.engine.train import train

CLASSES, EACH = ("cup", "hat", "pen"), 10


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty pictures in three classes, of which six are held out."""
    return drawn(tmp_path / "photos", seed=0)


def drawn(folder: Path, *, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(EACH):
            pixels = rng.integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def asked(data: Path | str, **changes) -> TrainRequest:
    return request("lenet5", data=str(data), recipe="digits", epochs=1, batch_size=8, **changes)


def a_run(folder: Path, request_: TrainRequest) -> Path:
    """A run folder as far as others look into it; its network."""
    folder.mkdir()
    found = of_request.dataset_of(request_)
    write_info(folder, {
        "request": request_.to_dict(), "dataset": {"fingerprint": found.fingerprint},
        "complete": True,
    })  # fmt: skip
    model = kerascnn.build("lenet5", input_shape=(28, 28, 1), classes=len(found.classes))
    model.save(folder / "model.keras")
    return folder / "model.keras"


def look(request_: TrainRequest, **how) -> list[str]:
    """What is warned of."""
    warnings: list[str] = []
    dataset = of_request.dataset_of(request_)
    refuse_leaks(request_, dataset.held_out, dataset.fingerprint, warn=warnings.append, **how)
    return warnings


def test_weights_outside_of_their_run_are_told_of(photos: Path, tmp_path: Path) -> None:
    weights = a_run(tmp_path / "a", asked(photos))
    alone = shutil.copy(weights, tmp_path / "best.keras")
    (warning,) = look(asked(photos, split_seed=1, weights=str(alone)))
    assert "best.keras learnt from: no run.json lies beside it; name it in its run" in warning
    published = tmp_path / "resnet.pth"
    published.touch()
    assert look(asked(photos, weights=str(published))) == []


def test_the_seed_does_not_split(photos: Path) -> None:
    one, other = (of_request.dataset_of(asked(photos, seed=seed)) for seed in (0, 1))
    assert one.held_out.names == other.held_out.names
    assert one.fingerprint == other.fingerprint
    another = of_request.dataset_of(asked(photos, split_seed=1))
    assert another.held_out.names != one.held_out.names
    three = {"pictures_per_class": 3}
    few = [
        of_request.dataset_of(asked(photos, settings=three, **seeds)).train.names
        for seeds in ({"seed": 0}, {"seed": 1}, {"split_seed": 1})
    ]
    assert few[0] == few[1] != few[2]
    aside = [
        of_request.with_validation(one, asked(photos, validation_fraction=0.2, seed=seed).config)
        for seed in (0, 1)
    ]
    assert aside[0].validation is not None
    assert aside[1].validation is not None
    assert aside[0].validation.names == aside[1].validation.names


def test_an_older_run_was_split_by_its_seed(photos: Path) -> None:
    plain = asked(photos, seed=3).to_dict()
    del plain["config"]["split_seed"]
    older = TrainRequest.from_dict(json.loads(json.dumps(plain)))
    assert older.config.split_seed == 3
    assert older.to_dict()["config"]["split_seed"] == 3
    assert TrainConfig.from_dict({"epochs": 2}).split_seed == 0
    with pytest.raises(InputError, match="'emma'"):
        TrainConfig.from_dict({"emma": 1})


def test_another_split_than_the_weights_had_is_refused(photos: Path, tmp_path: Path) -> None:
    weights = a_run(tmp_path / "a", asked(photos))
    assert look(asked(photos, weights=str(weights), seed=1)) == []
    with pytest.raises(InputError) as refused:
        look(asked(photos, weights=str(weights), split_seed=1))
    known = set(of_request.dataset_of(asked(photos)).train.names)
    held_out = of_request.dataset_of(asked(photos, split_seed=1)).held_out.names
    count = len(known & set(held_out))
    assert count > 0
    assert f"learnt from {count} of the 6 images" in str(refused.value)
    assert "--split-seed 0" in str(refused.value)


def test_older_weights_of_another_seed_name_the_remedy(photos: Path, tmp_path: Path) -> None:
    weights = a_run(tmp_path / "a", asked(photos, split_seed=5))
    info = json.loads((tmp_path / "a" / "run.json").read_text())
    info["request"]["config"] |= {"seed": 5}
    del info["request"]["config"]["split_seed"]
    write_info(tmp_path / "a", info)
    with pytest.raises(InputError, match="--split-seed 5"):
        look(asked(photos, weights=str(weights)))
    assert look(asked(photos, weights=str(weights), split_seed=5)) == []


def test_copies_in_another_folder_are_known_by_what_they_hold(photos: Path, tmp_path: Path) -> None:
    weights = a_run(tmp_path / "a", asked(photos))
    other = drawn(tmp_path / "other", seed=1)
    theirs = asked(other, weights=str(weights))
    assert look(theirs) == []
    known = of_request.dataset_of(asked(photos)).train.names
    for held_out in of_request.dataset_of(theirs).held_out.names[:2]:
        shutil.copy(known[0], held_out)
    with pytest.raises(InputError, match=r"learnt from 2 of the 6 .*; hold out other images"):
        look(theirs)


def test_a_pack_holds_the_same_pictures(photos: Path, tmp_path: Path) -> None:
    source = of_request.dataset_of(asked(photos, split_seed=1))
    pack(source, tmp_path / "pack", seed=1, split_seed=1, report=print)
    weights = a_run(tmp_path / "a", asked(photos))
    with pytest.raises(InputError, match="of the 6 images"):
        look(asked(tmp_path / "pack", weights=str(weights)))
    packed = a_run(tmp_path / "b", asked(tmp_path / "pack"))
    with pytest.raises(InputError, match="of the 6 images"):
        look(asked(photos, weights=str(packed)))
    assert look(asked(photos, weights=str(packed), split_seed=1)) == []


def test_what_came_before_is_followed(photos: Path, tmp_path: Path) -> None:
    first = a_run(tmp_path / "a", asked(photos))
    other = drawn(tmp_path / "other", seed=1)
    second = a_run(tmp_path / "b", asked(other, weights=str(first)))
    third = a_run(tmp_path / "c", dataclasses.replace(asked(other), teacher=str(tmp_path / "b")))
    for weights in (second, third):
        with pytest.raises(InputError, match=f"{tmp_path / 'a'}, whose weights"):
            look(asked(photos, weights=str(weights), split_seed=1))
    with pytest.raises(InputError, match="would be the teacher"):
        look(dataclasses.replace(asked(photos, split_seed=1), teacher=str(tmp_path / "a")))
    with pytest.raises(InputError, match="would be the teacher"):
        look(asked(photos, split_seed=1), teacher=str(tmp_path / "a"))


def test_files_below_a_run_are_its_own(photos: Path, tmp_path: Path) -> None:
    model = a_run(tmp_path / "a", asked(photos))
    stage = tmp_path / "a" / "stages" / "prune50" / "model.keras"
    stage.parent.mkdir(parents=True)
    shutil.copy(model, stage)
    with pytest.raises(InputError, match=f"{tmp_path / 'a'}, whose weights"):
        look(asked(photos, weights=str(stage), split_seed=1))


def test_what_cannot_be_looked_at_is_said(photos: Path, tmp_path: Path) -> None:
    other = drawn(tmp_path / "other", seed=1)
    weights = a_run(tmp_path / "a", asked(other))
    moved = a_run(tmp_path / "b", asked(photos, weights=str(weights)))
    (other / "cup" / "0.png").unlink()
    assert "other has changed since" in look(asked(photos, weights=str(weights)))[0]
    shutil.rmtree(other)
    (told,) = look(asked(photos, weights=str(weights)))
    assert f"{tmp_path / 'a'} learnt from" in told
    assert "no such folder" in told
    (tmp_path / "a" / "run.json").write_text("{")
    assert "does not tell" in look(asked(photos, weights=str(weights)))[0]
    shutil.rmtree(tmp_path / "a")
    (told,) = look(asked(photos, weights=str(moved)))
    assert "is gone" in told


def test_embedded_sets_hold_the_same_digits_out(tmp_path: Path) -> None:
    weights = a_run(tmp_path / "a", asked("mnist"))
    assert look(asked("scenes-digits", weights=str(weights))) == []


def test_a_training_refuses_before_it_begins(photos: Path, tmp_path: Path) -> None:
    weights = a_run(tmp_path / "a", asked(photos))
    with pytest.raises(InputError, match="--split-seed 0"):
        train(asked(photos, weights=str(weights), split_seed=1), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    run = train(asked(photos, weights=str(weights), seed=1), tmp_path / "new")
    assert run.info["results"]["held_out"] >= 0


def test_a_split_seed_as_an_option(photos: Path, tmp_path: Path) -> None:
    weights = a_run(tmp_path / "a", asked(photos))
    words = ("train", "lenet5", "--data", photos, "--out", tmp_path / "new", "--epochs", "1")
    done = here(*words, "--weights", weights, "--split-seed", "1")
    assert_refused(done, "a", "--split-seed 0")
