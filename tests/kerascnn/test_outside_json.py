"""JSON from elsewhere: what is missing is named, what is strange is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kerascnn import outside_json
from kerascnn.detection import spec_from_dict
from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing


def written(folder: Path, text: str) -> Path:
    path = folder / "a.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", '{"a":' * 10**5, "9" * 5000])
def test_what_is_no_object_is_a_value_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any message of the parser
        outside_json.read_object(written(tmp_path, text), "mend it")


def test_missing_fields_are_named_at_any_depth(tmp_path: Path) -> None:
    found = outside_json.read_object(written(tmp_path, '{"a": {"b": [{"c": 1}]}}'), "mend it")
    assert found["a"]["b"][0]["c"] == 1
    assert found.get("d") is None
    for place in (found, found["a"], found["a"]["b"][0]):
        with pytest.raises(InputError, match=r"a\.json lacks 'd'; mend it"):
            place["d"]


SHAPE: outside_json.Shape = {
    "count": outside_json.whole,
    "inner": {"names": outside_json.items(outside_json.text, least=1)},
}


def test_only_what_is_there_is_looked_at() -> None:
    outside_json.check({}, SHAPE)
    outside_json.check({"count": 3, "more": object(), "inner": {"names": ["a"]}}, SHAPE)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"count": True}, "count is True"),
        ({"count": -1}, "count is -1"),
        ({"count": 1.0}, "count is 1.0"),
        ({"count": 10**400}, "count is a huge number"),
        ({"count": "x" * 1000}, "count is 'xxx"),
        ({"inner": []}, "inner is a list of 0, no object"),
        ({"inner": {"names": []}}, r"inner\.names is a list of 0"),
        ({"inner": {"names": ["\ud800"]}}, r"inner\.names is a list of 1"),
    ],
)
def test_the_field_that_is_wrong_is_named(values: dict, field: str) -> None:
    with pytest.raises(ValueError, match=field) as raised:
        outside_json.check(values, SHAPE)
    assert len(str(raised.value)) < 100


@dataclasses.dataclass
class Inner:
    side: int = 1


@dataclasses.dataclass
class Fields:
    whole: int = 1
    real: float = 0.5
    word: str = "a"
    on: bool = True
    some: float | tuple[float, ...] = 1.0
    pairs: tuple[tuple[int, int], ...] = ()
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    "change",
    [
        {"whole": True}, {"whole": 1.5}, {"whole": "1"}, {"whole": None}, {"whole": 2**60},
        {"real": "1"}, {"real": float("inf")}, {"real": float("nan")}, {"real": 10**400},
        {"word": 1}, {"word": "\ud800"}, {"on": 1}, {"some": [1.0]}, {"some": ("a",)},
        {"pairs": ((1, 2), (1,))}, {"pairs": [(1, 2)]}, {"inner": None}, {"inner": Inner("a")},
    ],
)  # fmt: skip
def test_types_of_fields(change: dict) -> None:
    outside_json.check_types(Fields(whole=3, real=2, some=(1.0, 2), pairs=((1, 2),)))
    with pytest.raises(ValueError, match=r" is "):
        outside_json.check_types(Fields(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"height": "8"}, {"height": 8.5}, {"height": 10**9}, {"height": None}, {"mean": "1"},
        {"mean": float("nan")}, {"std": [1.0, 0.0, 1.0]}, {"std": [[1.0]]}, {"order": 1},
        {"crop_fraction": True}, {"more": 1},
    ],
)  # fmt: skip
def test_preprocessing_of_strangers(change: dict) -> None:
    fields = Preprocessing(height=8, width=8, channels=3).to_dict()
    assert Preprocessing.from_dict(fields).to_dict() == fields
    with pytest.raises((ValueError, TypeError)):
        Preprocessing.from_dict(fields | change)


LEVEL = {"rows": 2, "columns": 2, "sizes": [[0.5, 0.5]], "offset": 0.5}
SPEC = {
    "anchors": {"levels": [LEVEL]}, "box_scales": [10.0, 10.0, 5.0, 5.0], "background": True,
    "positive_iou": 0.5, "negative_iou": 0.4, "loss": "focal",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"anchors": None}, {"anchors": {"levels": [{}]}}, {"anchors": {"levels": [LEVEL, 1]}},
        {"anchors": {"levels": [LEVEL | {"rows": 10**6, "columns": 10**6}]}},
        {"anchors": {"levels": [LEVEL | {"rows": "2"}]}}, {"box_scales": "abcd"},
        {"max_detections": 10**9}, {"background": 1}, {"loss": []}, {"agnostic": True},
        {"score_threshold": "x"}, {"score_threshold": float("nan")}, {"stages": 2},
    ],
)  # fmt: skip
def test_detectors_of_strangers(change: dict) -> None:
    assert spec_from_dict(SPEC).anchors.count == 4
    with pytest.raises(ValueError):  # noqa: PT011 - any field
        spec_from_dict(SPEC | change)
