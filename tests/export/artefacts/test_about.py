"""Author and licence are asked for once, and refused where they are no text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from export.artefacts.about import About, remember
from kerascnn.errors import InputError
from training.engine.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, {})


def test_what_is_given_once_is_known_from_then_on(run: Run) -> None:
    assert About.of(run) == About(author="", license="")
    assert remember(run) == About()
    assert list(run.folder.iterdir()) == []
    remember(run, author=" Jo Döe ")
    assert remember(run, license="Apache-2.0") == About(author="Jo Döe", license="Apache-2.0")
    assert About.of(run).to_dict() == {"author": "Jo Döe", "license": "Apache-2.0"}
    assert remember(run, author="") == About(license="Apache-2.0")


def test_a_licence_may_be_a_text(run: Run) -> None:
    text = "For friends alone.\n\tNot for sale."
    assert remember(run, license=text).license == About.of(run).license == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("author", "two\nlines"),
        ("author", "\x1b[2J"),
        ("author", "x" * 201),
        ("license", "\x00"),
        ("license", "x" * 20_001),
        ("license", "\udcff"),
    ],
)
def test_what_is_no_text_is_refused(run: Run, name: str, value: str) -> None:
    with pytest.raises(InputError, match=name):
        remember(run, **{name: value})
    assert About.of(run) == About()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"author": "a"}', '{"author": "a\\n", "license": ""}']
)
def test_a_damaged_note_is_named(run: Run, text: str) -> None:
    (run.folder / "about.json").write_text(text)
    with pytest.raises(InputError, match=r"about\.json is damaged .*--author"):
        About.of(run)


def test_the_note_is_plain_json(run: Run) -> None:
    about = remember(run, author="Jo")
    kept = json.loads((run.folder / "about.json").read_text("utf-8"))
    assert kept == dataclasses.asdict(about)
