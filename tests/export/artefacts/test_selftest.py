"""Self-tests of files: the image, what is kept of answers, how far apart others are, refusals."""

from __future__ import annotations

import dataclasses
import json
import math
import zlib

import numpy as np
import pytest
import selftest_cases
from marks import IN_CI

from export.artefacts import selftest
from export.artefacts.selftest_image import image_of

# Of every client: a change makes all self-tests in files wrong.
CRCS = (3554254475, 3490023622, 1935767039, 979124387, 22338648, 3895843551, 1130090978)


def test_the_image_is_the_same_for_ever() -> None:
    found = [zlib.crc32(image_of(*shape).tobytes()) for shape in selftest_cases.SIZES]
    assert found == list(CRCS)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_image_has_gradients_edges_and_texture(channels: int) -> None:
    image = image_of(96, 128, channels)
    assert (image.shape, image.dtype) == ((96, 128, channels), np.uint8)
    assert all(len(np.unique(image[..., channel])) > 150 for channel in range(channels))
    assert not np.array_equal(image, image[::-1])
    assert not np.array_equal(image, image[:, ::-1])
    if channels == 3:
        assert not np.array_equal(image[..., 0], image[..., 2])


@IN_CI
def test_a_self_test_of_the_largest_answers_is_under_a_kilobyte() -> None:
    rng = np.random.default_rng(0)
    heads = {
        "logits": {"logits": rng.normal(0, 10, (1, 21841))},
        "codes": {
            "boxes": rng.normal(0, 1e-3, (1, 76725, 4)),
            "scores": rng.uniform(0, 1e-3, (1, 76725, 91)),
        },
        "map_logits": {"logits": rng.normal(0, 1e4, (1, 128, 128, 21))},
        "map": {"map": rng.integers(0, 150, (1, 1024, 2048))},
        "detections": {
            "boxes": rng.uniform(0, 1, (1, 300, 4)),
            "labels": rng.integers(0, 91, (1, 300)),
            "scores": rng.uniform(0, 1, (1, 300)),
            "count": np.float32([300]),
            "masks": rng.uniform(0, 1, (1, 300, 28, 28)),
        },
    }
    for decoding, outputs in heads.items():
        told = {
            **selftest_cases.numbers(),
            "float": 0.0123,
            **selftest.of_outputs(outputs, decoding, floor=0.05),
        }
        if "numbers" not in selftest.of_outputs(outputs, decoding, floor=0.05):
            del told["numbers"]
        selftest.check(told)
        assert len(json.dumps(told, separators=(",", ":"))) < 900, decoding
        assert selftest.compare(told, outputs).difference < 1e-4


def test_a_difference_is_a_share_of_the_span() -> None:
    logits = np.array([[-2.0, 0.5, 8.0]])
    told = {**selftest_cases.numbers(), **selftest.of_outputs({"logits": logits}, "logits")}
    moved = {"logits": logits + np.array([[0, 0, 0.2]])}
    found = selftest.compare(told, moved)
    assert found.difference == pytest.approx(0.02)
    assert not found.verified
    assert found.text() == "differs (2% apart, at most 0.1%)"
    assert selftest.compare(told, moved, half=True).verified
    assert selftest.compare(told, {"logits": logits}).verified


@pytest.mark.parametrize("outputs", [
    {},
    {"logits": np.zeros((1, 4))},
    {"logits": np.array([[0, np.nan, 0]])},
    {"logits": np.array([[0, np.inf, 0]])},
])  # fmt: skip
def test_answers_that_are_none_are_told(outputs: dict[str, np.ndarray]) -> None:
    logits = {"logits": np.array([[-2.0, 0.5, 8.0]])}
    told = {**selftest_cases.numbers(), **selftest.of_outputs(logits, "logits")}
    found = selftest.compare(told, outputs)
    assert math.isinf(found.difference)
    assert "no numbers" in found.text()


def test_files_that_answer_with_no_numbers_get_none() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        selftest.of_outputs({"logits": np.array([[np.nan]])}, "logits")


def test_equal_detections_may_come_in_any_order_and_no_others() -> None:
    told = [dataclasses.astuple(selftest.compare(*case[:2], half=case[2])) for case in _detected()]
    same, reordered, fewer, elsewhere, other, flat, none = (one for one, _ in told[::2])
    assert same < 1e-4
    assert reordered < 1e-4
    assert fewer == pytest.approx(0.25, abs=1e-4)  # the third one is missing: 0.3 for the floor
    assert elsewhere > 0.6
    assert other == 1
    assert flat > 0.4  # another mask
    assert none == 1


def _detected() -> list[tuple]:
    cases = selftest_cases.comparisons()
    return [case for case in cases if case[0] == selftest_cases.detections()][:14]


def test_hostile_ones_are_refused_by_their_field() -> None:
    for told in (selftest_cases.numbers(), selftest_cases.class_map(), selftest_cases.detections()):
        selftest.check(told)
    selftest.check({"edition": 2, "anything": float("nan")})
    cases = list(selftest_cases.hostile())
    assert len(cases) > 80
    for field, text in cases:
        with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole message is compared
            selftest.check(json.loads(text))
        assert str(refused.value) == field, text
    for value in (math.nan, math.inf, 10**400):
        with pytest.raises(ValueError, match=r"selftest\.tolerance"):
            selftest.check({**selftest_cases.numbers(), "tolerance": value})
