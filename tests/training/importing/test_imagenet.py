"""ImageNet's labels are the published ones, in the order of the outputs."""

from __future__ import annotations

import pytest

from kerascnn.errors import InputError
from training.importing import imagenet


def test_a_thousand_labels_and_folders_in_the_order_of_the_outputs():
    assert len(set(imagenet.LABELS)) == len(set(imagenet.SYNSETS)) == 1000
    assert list(imagenet.SYNSETS) == sorted(imagenet.SYNSETS)
    # As keras.applications' imagenet_class_index.json and torchvision's categories have them.
    known = {
        0: ("n01440764", "tench"), 134: ("n02012849", "crane bird"), 281: ("n02123045", "tabby"),
        517: ("n03126707", "crane"), 639: ("n03710721", "maillot tank suit"),
        967: ("n07920052", "espresso"), 999: ("n15075141", "toilet tissue"),
    }  # fmt: skip
    assert {i: (imagenet.SYNSETS[i], imagenet.LABELS[i]) for i in known} == known
    assert imagenet.SYNONYMS[281] == ("tabby", "tabby cat")
    assert all(
        names[0] == label for names, label in zip(imagenet.SYNONYMS, imagenet.LABELS, strict=True)
    )


def test_folders_are_called_by_their_labels():
    assert imagenet.names_of(["n07920052", "n02123045"]) == ("espresso", "tabby")
    with pytest.raises(InputError, match="'cats' is not a folder of ImageNet's 1,000"):
        imagenet.names_of(["n07920052", "cats"])
    with pytest.raises(AttributeError):
        _ = imagenet.NAMES
