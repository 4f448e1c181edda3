"""Which output a class of some data means."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.tools.label_places import places_of
from kerascnn.errors import InputError
from training.importing import imagenet
from training.importing import labels as naming

FILE = Path("net.tflite")
TENCH, CRANE_BIRD, CRANE = "n01440764", "n02012849", "n03126707"


def places(labels: tuple[str, ...], *classes: str) -> list[int]:
    return places_of(FILE, labels, "data", classes).tolist()


def test_names_are_found_by_their_spelling() -> None:
    assert places(("a", "cafe\u0301", "b"), "b", "café") == [2, 1]
    with pytest.raises(InputError, match=r"data has classes that net\.tflite does not know: c"):
        places(("a", "b"), "c")


def test_a_folder_that_can_be_imported_can_be_evaluated() -> None:
    """Case, spaces and words of a label count as little here as there."""
    names = ("red", "basset hound", "tench, Tinca tinca", "a", "A")
    classes = ("Red", "Basset_Hound", "tench", "A", "a")
    assert places(names, *classes) == [0, 1, 2, 4, 3]
    labels = naming.Labels(names=names)
    imported = naming.places(labels, classes, data="data", source="net")
    assert list(imported.values()) == places(names, *classes)
    with pytest.raises(InputError, match="'Red' and 'RED' are both the label 'red'"):
        places(names, "Red", "RED")


@pytest.mark.parametrize("front", [(), ("background",)])
def test_synsets_are_found_by_the_place_of_imagenets_labels(front: tuple[str, ...]) -> None:
    labels = (*front, *imagenet.LABELS)
    found = places(labels, CRANE, TENCH, CRANE_BIRD)
    wanted = [imagenet.SYNSETS.index(one) + len(front) for one in (CRANE, TENCH, CRANE_BIRD)]
    assert found == wanted
    # However they are worded: with all synonyms, or with underscores, as keras.applications.
    for worded in (
        [", ".join(names) for names in imagenet.SYNONYMS],
        [names[0].replace(" ", "_").upper() for names in imagenet.SYNONYMS],
    ):
        assert places((*front, *worded), CRANE, TENCH, CRANE_BIRD) == wanted


def test_synsets_of_some_classes_are_found_by_their_names() -> None:
    labels = ("goldfish", "Tinca tinca", "n03126707")
    assert places(labels, TENCH, CRANE) == [1, 2]
    with pytest.raises(InputError, match="does not know: n02012849"):
        places(labels, TENCH, CRANE_BIRD)
