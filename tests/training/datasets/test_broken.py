"""Pictures that break while training: a stand-in in batches, left out of figures, named once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from marks import IN_CI
from PIL import Image

from kerascnn import blocks
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.classification import train as train_classifier
from training.classification.batches import EvaluationBatches, TrainingData, train_batches
from training.classification.fit import fit
from training.classification.tf_data import evaluation_stream, training_stream
from training.datasets import decode, header
from training.datasets.broken import BrokenPictures
from training.datasets.pictures import check_picture, read_picture
from training.datasets.splits import Split
from training.engine import loop
from training.engine.config import TrainConfig
from training.engine.request import request
from training.engine.run import Run
from training.engine.stopping import Stopped
from training.engine.train import train

CONFIG = TrainConfig(epochs=2, batch_size=4, augmentation="pictures", validation_fraction=0.0)
SOURCE = Preprocessing(height=36, width=36, channels=3, resize="stretch")
TARGET = Preprocessing(height=32, width=32, channels=3)
COUNT = 24


def breaks(path: str) -> None:
    """Damage a file so that its front and end stay sound."""
    data = bytearray(Path(path).read_bytes())
    if path.endswith(".png"):
        at = data.index(b"IDAT") + 20
        data[at : at + 20] = bytes(20)
    else:
        # A second table of codes, in the middle of a progressive file, is none.
        at = data.index(b"\xff\xc4", data.index(b"\xff\xda"))
        data[at + 4 : at + 21] = bytes([255]) * 17
    Path(path).write_bytes(bytes(data))
    header.read_header(path)
    with pytest.raises(InputError):
        check_picture(path)


def files(folder: Path, kinds: str = "jp") -> Split:
    """Photos of two classes in turn: progressive JPEG ("j") and PNG ("p"), with sizes and kinds."""
    rng = np.random.default_rng(0)
    names = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(COUNT):
        noise = rng.integers(0, 120, (9, 11, 3)) + 120 * (number % 2)
        picture = Image.fromarray(noise.astype(np.uint8)).resize((60, 50))
        kind = kinds[number % len(kinds)]
        names.append(str(folder / f"{number:02}.{'jpg' if kind == 'j' else 'png'}"))
        picture.save(names[-1], **({"progressive": True} if kind == "j" else {}))
    found = header.look(names, root=None)
    labels = (np.arange(COUNT) // 2 % 2).astype(np.int32)
    return Split(labels=labels, names=tuple(names), sizes=found.sizes, kinds=found.kinds)


def training_data(split: Split, **changes: Any) -> TrainingData:
    return TrainingData(
        split=split, source=SOURCE, preprocessing=TARGET, classes=2, config=CONFIG, **changes
    )


def arrays(batches: Any) -> list[Any]:
    return [{"pictures": np.asarray(x["pictures"]), "labels": np.asarray(y)} for x, y in batches]


@pytest.mark.parametrize("stream", [training_stream, train_batches])
def test_the_next_one_of_its_class_stands_in(
    stream: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = files(tmp_path)
    # 4 and 5 are of class 0; behind them come 8, and for the last one of all, 21, the first one.
    for place in (4, 5, 21):
        breaks(split.names[place])
    names = list(split.names)
    names[4] = names[5] = names[8]
    names[21] = names[0]
    kinds = split.kinds[[*range(4), 8, 8, *range(6, 21), 0, 22, 23]]  # type: ignore[index]
    mended = dataclasses.replace(split, names=tuple(names), kinds=kinds)
    span = {"first_epoch": 0, "last_epoch": 2}
    bad = training_data(split)
    found, wanted = arrays(stream(bad, **span)), arrays(stream(training_data(mended), **span))
    assert len(found) == 12
    for one, other in zip(found, wanted, strict=True):
        for key, values in one.items():
            np.testing.assert_array_equal(values, other[key])
    assert sorted(bad.broken.reasons) == [split.names[place] for place in (4, 5, 21)]
    said = capsys.readouterr().err
    assert [said.count(f"broken, left out: {split.names[i]} is") for i in (4, 5, 21)] == [1, 1, 1]
    # From the middle on it is the same, whatever is known by then.
    rest = arrays(stream(bad, first_epoch=1, last_epoch=2, first_step=3))
    for one, other in zip(rest, wanted[9:], strict=True):
        np.testing.assert_array_equal(one["pictures"], other["pictures"])


@pytest.mark.parametrize("batches", [evaluation_stream, EvaluationBatches])
def test_evaluation_leaves_it_out(batches: Any, tmp_path: Path) -> None:
    split = files(tmp_path)
    for place in (0, 9, 20, 21, 22, 23):
        breaks(split.names[place])
    broken = BrokenPictures()
    given = batches(split, TARGET, classes=2, batch_size=4, broken=broken)
    made = given if batches is evaluation_stream else map(given.__getitem__, range(len(given)))
    found = arrays(made)
    sound = [place for place in range(COUNT) if place not in (0, 9, 20, 21, 22, 23)]
    wanted = [read_picture(split.names[place], TARGET) for place in sound]
    # The last batch, of which nothing is left, has the first picture that can be read.
    assert [len(one["labels"]) for one in found] == [3, 4, 3, 4, 4, 1]
    np.testing.assert_array_equal(
        np.concatenate([one["pictures"] for one in found[:5]]), np.stack(wanted)
    )
    np.testing.assert_array_equal(found[5]["pictures"], wanted[:1])
    np.testing.assert_array_equal(
        np.concatenate([one["labels"] for one in found[:5]]).argmax(axis=-1), split.labels[sound]
    )
    assert len(broken.reasons) == 6


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = inputs = blocks.picture_input((32, 32, 3))
    x = blocks.Conventions(activation="relu6", norm_momentum=0.5).conv(x, 4, 3, name="stem")
    return keras.Model(inputs, blocks.classifier(x, 2, dropout=0.5), name="small")


def trained(folder: Path, split: Split, broken: BrokenPictures) -> keras.Model:
    model = network()
    given = {"source": SOURCE, "preprocessing": TARGET, "config": CONFIG, "broken": broken}
    fit(
        model, train=split, validation=split.take(range(8)), folder=folder,
        history_file=folder / "history.csv", **given,
    )  # fmt: skip
    return model


@IN_CI
def test_a_training_goes_on_exactly_over_broken_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = files(tmp_path / "data")
    for place in (2, 7):
        breaks(split.names[place])
    whole = trained(tmp_path / "whole", split, BrokenPictures(tmp_path / "whole.json"))
    with monkeypatch.context() as patch:
        steps = iter(range(100))

        def stops_at_the_eighth(self: Any) -> bool:
            return next(steps) == 8

        patch.setattr(loop._Watch, "_asked_to_stop", stops_at_the_eighth)
        patch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
        with pytest.raises(Stopped):
            trained(tmp_path / "run", split, BrokenPictures(tmp_path / "run.json"))
    known = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert sorted(known) == [split.names[2], split.names[7]]
    again = trained(tmp_path / "run", split, BrokenPictures(tmp_path / "run.json"))
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_strictly_a_broken_picture_ends_the_training(tmp_path: Path) -> None:
    split = files(tmp_path / "data", "j")
    breaks(split.names[2])
    with pytest.raises(InputError, match=r"02\.jpg is not a readable"):
        trained(tmp_path / "run", split, BrokenPictures(strict=True))


def test_a_picture_that_is_gone_ends_the_training(tmp_path: Path) -> None:
    split = files(tmp_path / "data", "j")
    Path(split.names[2]).unlink()
    broken = BrokenPictures()
    with pytest.raises(InputError, match=r"02\.jpg"):
        trained(tmp_path / "run", split, broken)
    assert broken.reasons == {}


def test_a_class_without_a_readable_picture_ends_the_training(tmp_path: Path) -> None:
    split = files(tmp_path / "data", "p").take(range(6))
    for place in (2, 3):
        breaks(split.names[place])
    with pytest.raises(InputError, match="no image can stand in for it"):
        arrays(train_batches(training_data(split), first_epoch=0, last_epoch=1))


def test_what_is_remembered_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    BrokenPictures(file).add("a.jpg", InputError("a.jpg is broken"))
    assert BrokenPictures(file).reasons == {"a.jpg": "a.jpg is broken"}
    for damaged in ("", "[1]", '{"a": 1}', "[" * 10000):
        file.write_text(damaged)
        assert BrokenPictures(file).reasons == {}


@IN_CI
def test_a_run_counts_what_it_left_out_and_its_split_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, name in enumerate(("cats", "dogs")):
        split = files(tmp_path / "data" / name, "p")
        assert label in (0, 1), split
    monkeypatch.setattr(train_classifier, "CACHE_BYTES", 0)
    monkeypatch.setattr(decode, "CACHE_BYTES", 0)
    real = decode.decode_dataset
    monkeypatch.setattr(
        train_classifier, "decode_dataset", lambda *a, **k: real(*a, cache_bytes=0, **k)
    )
    asked = request(
        "lenet5", data=str(tmp_path / "data"), epochs=1, image_size=(28, 28), batch_size=8,
        augmentation="pictures",
    )  # fmt: skip
    from training.engine import dataset_of_request as of_request

    chosen = of_request.with_validation(of_request.dataset_of(asked), asked.config)
    assert chosen.validation is not None
    for split in (chosen.train, chosen.validation, chosen.held_out):
        breaks(split.names[0])
    whole = [len(split) for split in (chosen.train, chosen.validation, chosen.held_out)]
    assert whole == [34, 4, 10]
    run = train(asked, tmp_path / "run")
    said = capsys.readouterr().err
    assert "34 images to learn from, 4 to choose the epoch, 10 held out; 2 classes" in said
    known = run.info["dataset"]
    assert (known["train"], known["validation"], known["held_out"]) == (33, 3, 9)
    lost = sorted(s.names[0] for s in (chosen.train, chosen.validation, chosen.held_out))
    assert known["broken"] == lost
    assert known["skipped"] == []
    assert sum(one["pictures"] for one in run.info["results"]["per_class"]) == 9

    from export.tasks.classification import Classification

    task = Classification(Run.open(tmp_path / "run"))
    assert set(task.dataset.train.names) == set(chosen.train.names) - set(lost)
    assert set(task.held_out.names) == set(chosen.held_out.names) - set(lost)
