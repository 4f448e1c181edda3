"""The same message has flags for whoever typed a command, and names of arguments in Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import assert_refused, here

import kerascnn
from kerascnn.api import CompressionOptions
from kerascnn.argument_names import flags, in_python
from kerascnn.errors import InputError


@pytest.mark.parametrize(
    ("written", "in_words"),
    [
        ("--fine-tune-epochs must be at least 1", "fine_tune_epochs must be at least 1"),
        ("without a teacher; give --teacher RUN", "without a teacher; give teacher RUN"),
        ("--set ema=0.9 (or --image-size 224)", "settings={'ema': 0.9} (or image_size 224)"),
        ("--option norm=true, --weights", "options={'norm': True}, weights"),
        ("--set map_loss=dice", "settings={'map_loss': 'dice'}"),
        ("--calibration-pictures", "calibration_images"),
        # What is to be typed in a shell, and what Python has no argument for.
        (
            "make it: kerascnn compress run --variants int8; or leave out --out",
            "make it: kerascnn compress run --variants int8; or leave out out",
        ),
        ("(pip install --force-reinstall x), --name", "(pip install --force-reinstall x), name"),
        ("--csv has all of them", "--csv has all of them"),
        ("a--weights and --weights", "a--weights and weights"),
    ],
)
def test_flags_become_names_of_arguments(written: str, in_words: str) -> None:
    assert in_python(written) == in_words


def test_a_message_names_what_the_caller_wrote(tmp_path: Path) -> None:
    words = "'gpu' names no devices"
    with pytest.raises(InputError, match=f"^devices {words}"):
        kerascnn.train("lenet5", data="mnist", devices="gpu")
    given = ("train", "lenet5", "--data", "mnist", "--devices", "gpu")
    assert_refused(here(*given, cwd=tmp_path), f"--devices {words}")
    with flags(), pytest.raises(InputError, match=f"^--devices {words}"):
        kerascnn.train("lenet5", data="mnist", devices="gpu")


def test_options_of_compression_have_their_names(tmp_path: Path) -> None:
    assert {"fine_tune_epochs", "learning_rate"} <= CompressionOptions.__annotations__.keys()
    assert in_python("--spare and --slim-score") == "spare and slim_score"
