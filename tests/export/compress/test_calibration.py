"""Files are calibrated on images of a user's own choice, and told of where these are unlike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import colours
import numpy as np
import pytest
from commands import assert_refused, here
from marks import IN_CI
from PIL import Image

import kerascnn
from export.artefacts.variants import Settings, parse_variant
from export.compress import calibration
from export.compress.calibration import Likeness, by_chance, distance
from export.compress.compress import VariantBuilder, compress
from kerascnn.errors import InputError
from training.engine.run import Run

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on colours, imported; others of them without labels, and images of another kind."""
    folder = tmp_path_factory.mktemp("calibration")
    colours.folders(folder / "pets", 60)
    colours.network().save(folder / "colours.keras")
    colours.flat(folder / "photos", 150)
    for number in range(60):  # which are the run's
        (folder / "photos" / f"{number}.png").unlink()
    (folder / "night").mkdir()
    for number in range(60):
        Image.new("RGB", (24, 24), (number % 4,) * 3).save(folder / "night" / f"{number}.png")
    kerascnn.import_model(
        folder / "colours.keras", data=folder / "pets", out=folder / "run", **QUIET
    )
    return folder


@pytest.fixture
def run(root: Path, tmp_path: Path) -> kerascnn.Run:
    return kerascnn.open_run(shutil.copytree(root / "run", tmp_path / "run"))


def told(run: kerascnn.Run, name: str) -> dict:
    return json.loads((run.folder / "artefacts" / f"{name}.json").read_text("utf-8"))


def test_distances_of_samples_are_kolmogorovs() -> None:
    """By hand: of 0 1 2 3 and 2 3 4 5 half of the one is below all of the other."""
    ladder = np.arange(4.0)[:, None]
    assert distance(ladder, ladder) == 0
    assert distance(ladder, ladder + 2) == 0.5
    assert distance(ladder, ladder + 4) == 1
    assert distance(1000 * ladder, 1000 * (ladder + 2)) == 0.5
    # In the mean of the columns; one that never moves is no distance.
    both = np.concatenate([ladder, np.zeros((4, 1))], axis=1)
    assert distance(both, both + np.array([2, 0])) == 0.25


def test_chance_is_counted_out() -> None:
    """Samples of one distribution are as far from each other as is said of their sizes."""
    rng = np.random.default_rng(0)
    for n, m in ((20, 100), (100, 100)):
        found = distance(rng.normal(size=(n, 2000)), rng.normal(size=(m, 2000)))
        assert found == pytest.approx(by_chance(n, m), abs=0.03)
    many, few = by_chance(100, 100), by_chance(5, 100)
    assert not Likeness(distance=many + 0.14, by_chance=many).unlike
    assert Likeness(distance=many + 0.16, by_chance=many).unlike
    # Of five images: 1.36 / sqrt(100 / 21), which Kolmogorov's table has for 5%, is 0.62.
    assert not Likeness(distance=0.61, by_chance=few).unlike
    assert Likeness(distance=0.63, by_chance=few).unlike


@IN_CI
def test_like_images_are_taken_without_a_word(
    root: Path, run: kerascnn.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(calibration=str(root / "photos"), calibration_pictures=60)
    compress(Run.open(run.folder), ["int8"], onnx=False, settings=settings)
    assert "unlike" not in capsys.readouterr().err
    found = told(run, "int8")
    assert found["calibration_pictures"] == 60
    assert found["variant"]["calibration"] == "photos"
    assert {key: found["calibration"][key] for key in ("data", "labelled", "unlike")} == {
        "data": "photos", "labelled": False, "unlike": False,
    }  # fmt: skip
    assert str(root) not in json.dumps(found)


def test_unlike_images_are_warned_of(
    root: Path, run: kerascnn.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Black images: no logit is where it is in the data."""
    run.compress(["int8", "weight_int8"], onnx=False, calibration=root / "night")
    assert capsys.readouterr().err.count("calibration images of night look unlike") == 1
    found = told(run, "int8")["calibration"]
    assert found["unlike"]
    assert found["distance"] - found["by_chance"] > found["limit"] == calibration.UNLIKE
    assert "look unlike the training images" in (run.folder / "report.html").read_text("utf-8")


@IN_CI
def test_another_set_makes_files_anew(root: Path, run: kerascnn.Run) -> None:
    opened, path = Run.open(run.folder), run.folder / "artefacts" / "plain_int8.tflite"

    def made(where: Path | str) -> str:
        settings = Settings(calibration=str(where))
        compress(opened, ["plain_int8"], onnx=False, settings=settings)
        return told(run, "plain_int8")["sha256"]

    own = made("")
    assert "calibration" not in told(run, "plain_int8")["variant"]
    assert made(root / "night") != own
    at = path.stat().st_mtime_ns
    # The same images in another place are the same set; one image more is another.
    moved = shutil.copytree(root / "night", run.folder.parent / "elsewhere" / "night")
    made(moved)
    assert path.stat().st_mtime_ns == at
    colours.flat(moved / "more", 1)
    made(moved)
    assert path.stat().st_mtime_ns != at
    assert made("") == own


def test_the_seed_chooses_so_many_in_all_and_broken_ones_are_named(
    root: Path, run: kerascnn.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    some = shutil.copytree(root / "photos", run.folder.parent / "some")
    opened = Run.open(run.folder)

    def pictures(where: Path, count: int) -> np.ndarray:
        settings = Settings(calibration=str(where), calibration_pictures=count)
        return VariantBuilder(opened)._calibration.pictures(parse_variant("int8", settings))

    found = pictures(some, 7)
    assert found.shape == (7, 16, 16, 3)
    np.testing.assert_array_equal(found, pictures(some, 7))
    assert len(pictures(some, 500)) == 90
    # Of folders of classes all images but those that the run measures by, under whatever names; of
    # a set with splits of its own none of the test split.
    capsys.readouterr()
    assert len(pictures(root / "pets", 500)) == 42
    assert "18 images of pets are held out by the run" in capsys.readouterr().err
    shutil.copytree(root / "pets", run.folder.parent / "split" / "train")
    shutil.copytree(root / "pets", run.folder.parent / "split" / "test")
    assert len(pictures(run.folder.parent / "split", 500)) == 42
    capsys.readouterr()
    (some / "60.png").write_bytes(b"no image")
    assert len(pictures(some, 500)) == 89
    assert "1 calibration image cannot be read and is left out" in capsys.readouterr().err
    for path in some.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="no image can be calibrated on"):
        pictures(some, 500)


def test_places_without_images_are_refused(root: Path, run: kerascnn.Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        run.compress(["int8"], calibration="nowhere", **QUIET)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty has no images"):
        run.compress(["int8"], calibration=tmp_path / "empty", **QUIET)
    with pytest.raises(InputError, match="calibration must be"):
        run.compress(["int8"], calibration=3, **QUIET)  # type: ignore[arg-type]
    done = here("compress", run.folder, "--variants", "int8", "--calibration", tmp_path / "none")
    assert_refused(done, "none: no such folder")
