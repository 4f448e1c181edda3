"""ImageNet's validation images as they come, on sets of the same form: images of a pixel or two.

The real ones were not at hand. Forms are those of the development kit's readme.txt, of Kaggle's
and Caffe's archives, and of torchvision's and TensorFlow's readers of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from kerascnn.errors import InputError
from training import datasets

# The kit's numbers are in another order than the synsets: 1 is the last one here.
KIT = {1: "n02119789", 2: "n01440764", 3: "n02100735"}
TRUTH = ("n01440764", "n02100735", "n02119789", "n01440764")  # of images 1 to 4


def images(folder: Path, name: str = "ILSVRC2012_val_{:08}.JPEG", first: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + len(TRUTH)):
        Image.new("RGB", (3, 2), (number, 0, 0)).save(folder / name.format(number), "JPEG")
    return folder


def numbers() -> str:
    of = {synset: number for number, synset in KIT.items()}
    return "".join(f"{of[synset]}\n" for synset in TRUTH)


def meta(path: Path) -> None:
    """As the kit's: leaves first, then inner nodes, each with more fields than are needed."""
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, synset, "words, of it", 0) for number, synset in KIT.items()]
    rows.append((1001, "n00001740", "entity", 4))
    table = np.empty((len(rows), 1), dtype=kinds)
    for i, row in enumerate(rows):
        table[i, 0] = row
    scipy.io.savemat(str(path), {"synsets": table})


def kit(root: Path) -> Path:
    where = images(root / "val")
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(numbers())
    meta(data / "meta.mat")
    return where


def kit_with_a_map(root: Path) -> Path:
    where = images(root / "val")
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text(numbers())
    lines = [f"{synset} {number} some_name" for number, synset in KIT.items()]
    (root / "map_clsloc.txt").write_text("\n".join(lines))
    return where


def kaggle(root: Path) -> Path:
    where = images(root / "ILSVRC" / "Data" / "CLS-LOC" / "val")
    rows = [
        f"ILSVRC2012_val_{i:08},{synset} 1 2 3 4 {synset} 5 6 7 8 "
        for i, synset in enumerate(TRUTH, 1)
    ]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    return where


def tensorflow(root: Path) -> Path:
    where = images(root / "val")
    (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(TRUTH))
    return where


def caffe(root: Path) -> Path:
    where = images(root / "val")
    ordered = sorted(KIT.values())
    rows = [f"ILSVRC2012_val_{i:08}.JPEG {ordered.index(s)}" for i, s in enumerate(TRUTH, 1)]
    (root / "val.txt").write_text("\n".join(rows))
    (root / "synset_words.txt").write_text("\n".join(f"{s} a name, another" for s in ordered))
    return where


def tiny(root: Path) -> Path:
    where = images(root / "val" / "images", "val_{}.JPEG", first=0)
    rows = [f"val_{i}.JPEG\t{synset}\t0\t1\t2\t3" for i, synset in enumerate(TRUTH)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(rows))
    return where


LAYOUTS = (kit, kit_with_a_map, kaggle, tensorflow, caffe, tiny)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("given", ["root", "images"])
def test_every_list_says_the_same(layout, given: str, tmp_path: Path) -> None:
    where = layout(tmp_path / "set")
    found = datasets.measured(str(where if given == "images" else tmp_path / "set"))
    assert found.classes == ("n01440764", "n02100735", "n02119789")
    assert tuple(found.classes[i] for i in found.held_out.labels) == TRUTH
    assert [Path(name).parent for name in found.held_out.names] == [where] * 4
    assert len(found.train) == 0
    assert found.notes == ()


def test_a_part_of_the_images_is_measured_and_said(tmp_path: Path) -> None:
    where = kit(tmp_path)
    (where / "ILSVRC2012_val_00000002.JPEG").unlink()
    found = datasets.measured(str(tmp_path))
    assert tuple(found.classes[i] for i in found.held_out.labels) == (TRUTH[0], *TRUTH[2:])
    (note,) = found.notes
    assert str(note).startswith("3 of the 4 images that")


def remove(name: str):
    def change(root: Path) -> None:
        next(root.rglob(name)).unlink()

    return change


def write(name: str, text: str | bytes):
    def change(root: Path) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        next(root.rglob(name)).write_bytes(data)

    return change


@pytest.mark.parametrize(
    ("layout", "change", "words"),
    [
        (kit, remove("*truth.txt"), "nothing says what they are; put ILSVRC2012_validation_gr"),
        (kit, remove("meta.mat"), r"its meta.mat \(or map_clsloc.txt\) is missing"),
        (kit, write("meta.mat", "no"), "is not the development kit's meta.mat"),
        (kit, write("*truth.txt", "1\n2\n3\n7\n"), "meta.mat has no class '7'"),
        (kit, write("*truth.txt", "1\n2\n3\n"), "does not say what 1 images of .*val_00000004"),
        (kaggle, write("LOC*", "a,b\n"), "has not the columns ImageId and PredictionString"),
        (kaggle, write("LOC*", "ImageId,PredictionString\nx,cat 1\n"), "'cat' is not a synset"),
        (caffe, remove("synset_words.txt"), "put LOC_synset_mapping.txt or synset_words.txt"),
        (caffe, write("val.txt", "one\n"), "is not a file's name and a number of"),
        (kit_with_a_map, write("map*", "n02119789"), "must have a synset, a number and a name"),
        (tensorflow, write("imagenet*", b"\xff"), "cannot be read as text"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(layout, change, words: str, tmp_path: Path) -> None:
    layout(tmp_path)
    change(tmp_path)
    with pytest.raises(InputError, match=words):
        datasets.measured(str(tmp_path))


def test_folders_of_synsets_beside_it_are_learnt_from(tmp_path: Path) -> None:
    where = kaggle(tmp_path)
    with pytest.raises(InputError, match="nothing to learn from"):
        datasets.scan(str(tmp_path), seed=0)
    for synset in (*sorted(KIT.values()), "n09999999"):
        images(where.parent / "train" / synset, f"{synset}_{{}}.JPEG")
    found = datasets.scan(str(tmp_path), seed=0)
    assert len(found.train) == 16
    assert len(found.classes) == 4
    assert tuple(found.classes[i] for i in found.held_out.labels) == TRUTH


def test_folders_of_synsets_are_class_folders(tmp_path: Path) -> None:
    for synset in KIT.values():
        images(tmp_path / "val" / synset)
        images(tmp_path / "train" / synset)
    found = datasets.measured(str(tmp_path))
    assert len(found.held_out) == 12
    assert found.classes == tuple(sorted(KIT.values()))
