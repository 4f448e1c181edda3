"""What outputs are called, and which of them a folder means; no framework."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerascnn.errors import InputError
from training.importing import imagenet
from training.importing.labels import Labels, choose, coco, from_file, of_names, of_weights, places

PETS = Labels(names=("Abyssinian", "basset hound", "Zwergdackel"))


def placed(labels: Labels, *classes: str) -> dict[str, int]:
    return places(labels, classes, data="pets", source="net")


def chosen(outputs: int, *classes: str) -> Labels:
    return choose(outputs, source="net", classes=classes, data="pets")


def test_folders_are_found_by_name_whatever_their_order_case_and_spaces() -> None:
    assert placed(PETS, "Zwergdackel", "Abyssinian") == {"Zwergdackel": 2, "Abyssinian": 0}
    assert placed(PETS, "Basset_Hound") == {"Basset_Hound": 1}
    assert placed(PETS, "basset-hound") == {"basset-hound": 1}


def test_accents_may_be_stored_apart() -> None:
    assert placed(Labels(names=("caf\u00e9", "tee")), "cafe\u0301") == {"cafe\u0301": 0}


def test_the_words_of_a_label_are_its_names() -> None:
    labels = Labels(names=("tench, Tinca tinca", "goldfish"))
    assert placed(labels, "tench") == placed(labels, "tench") == {"tench": 0}
    assert placed(labels, "Tinca tinca") == {"Tinca tinca": 0}


def test_imagenets_folders_are_found_by_their_synsets_and_names() -> None:
    labels = chosen(1000)
    assert labels.names == imagenet.LABELS
    found = placed(labels, "n01440764", "tabby", "espresso", "Carassius_auratus")
    assert [labels.names[place] for place in found.values()] == [
        "tench", "tabby", "espresso", "goldfish",
    ]  # fmt: skip
    assert chosen(1001).names[:2] == ("background", "tench")
    assert placed(chosen(1001), "n01440764") == {"n01440764": 1}


def test_a_synset_counts_where_a_file_words_labels_otherwise(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("".join(f"class {i}\n" for i in range(1000)))
    labels = from_file(tmp_path / "labels.txt", 1000)
    assert placed(labels, "n01440764", "class 7") == {"n01440764": 0, "class 7": 7}


def test_labels_are_the_datas_where_there_are_as_many() -> None:
    found = chosen(3, "10", "9", "cat")
    assert found.names == ("9", "10", "cat")
    assert "natural order" in found.said
    assert "--labels FILE" in found.said


def test_a_thousand_other_folders_are_not_imagenets() -> None:
    names = [f"plant {i}" for i in range(1000)]
    assert chosen(1000, *names).names[:2] == ("plant 0", "plant 1")


def test_what_the_network_does_not_know_is_named_with_what_is_near() -> None:
    with pytest.raises(InputError) as refused:
        placed(PETS, "Abysinian", "Zwergdackel", "cow")
    told = str(refused.value)
    for words in ("pets has classes that net does not know: Abysinian, cow", "'Abyssinian'?"):
        assert words in told
    for remedy in ("--labels FILE", "--unlabelled"):
        assert remedy in told


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        (PETS, ("basset hound", "Basset Hound"), "'basset hound' and 'Basset Hound' are both"),
        (Labels(names=("a,x", "b,x")), ("x",), "2 outputs of net are called 'x'"),
    ],
)
def test_what_has_two_meanings_is_refused(
    labels: Labels, classes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        placed(labels, *classes)


def test_outputs_that_nobody_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"net has 4 outputs and pets has 2 classes; .*--labels"):
        chosen(4, "cat", "dog")
    with pytest.raises(InputError, match="pets has no classes"):
        chosen(4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat\n", "has 1 labels and the network 2 outputs"),
        ("cat\ncat\n", "has the label 'cat' twice"),
        ("\ncat\n", "no label in line 1"),
    ],
)
def test_a_file_of_labels_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        from_file(tmp_path / "labels.txt", 2)


def test_a_file_of_labels_may_come_from_windows(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\ndog\r\n\r\n".encode())
    assert from_file(tmp_path / "labels.txt", 2).names == ("cat", "dog")
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00c")
    with pytest.raises(InputError, match="not a text file of labels"):
        from_file(tmp_path / "labels.txt", 2)


def test_cocos_classes_are_found_by_their_names() -> None:
    """Detectors have 90 outputs for the numbers of its 80 classes, or one for each."""
    numbered, listed = coco(90), coco(80)
    assert numbered
    assert listed
    assert (numbered.names[0], numbered.names[11], numbered.names[89]) == (
        "person", "no class 12", "toothbrush",
    )  # fmt: skip
    assert (listed.names[0], listed.names[11], listed.names[79]) == (
        "person", "stop sign", "toothbrush",
    )  # fmt: skip
    assert placed(numbered, "Traffic_Light", "dog") == {"Traffic_Light": 9, "dog": 17}
    assert placed(listed, "aeroplane", "tvmonitor") == {"aeroplane": 4, "tvmonitor": 62}
    assert coco(20) is None
    assert of_names(numbered.names, ["sofa"]).synonyms == numbered.synonyms


def test_outputs_of_published_weights_mean_cocos_classes_whatever_the_datas_numbers() -> None:
    """A set of three classes has the numbers 1, 2 and 3, which are COCO's person, bicycle, car."""

    def meant(outputs: int, *classes: str, published: bool = True) -> Labels:
        return of_weights(outputs, published=published, classes=classes, data="pets", source="net")

    labels = meant(90, "cat", "dog", "forklift")
    with pytest.raises(InputError, match="pets has classes that net does not know: forklift"):
        placed(labels, "cat", "dog", "forklift")
    assert placed(labels, "cat", "dog") == {"cat": 16, "dog": 17}
    own = tuple(f"kind {number}" for number in range(90))
    assert meant(90, *own).names == labels.names
    assert meant(90, *own, published=False).names == own
    assert meant(90, "cat", published=False).names == labels.names
    with pytest.raises(InputError, match=r"20 outputs and pets has 2 classes; .* --labels"):
        meant(20, "cat", "dog")
