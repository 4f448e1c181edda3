"""`scenes`: made anew the same, honest, and boxed to the pixel."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from kerascnn.errors import InputError
from training.datasets import mnist, painting, scenes, scenes_digits
from training.datasets.detection import DetectionDataset, is_scenes

LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def small() -> DetectionDataset:
    return scenes.scan("scenes:128x160@120+60")


def forget() -> None:
    for cached in (scenes._annotate, scenes._layout):
        cached.cache_clear()


def pixels(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes as whole pixels, which they must be but for float32's rounding."""
    scaled = boxes * [height, width, height, width]
    np.testing.assert_allclose(scaled, scaled.round(), atol=1e-3)
    return scaled.round().astype(int)


def test_what_it_is() -> None:
    whole = scenes.scan()
    assert (len(whole.train), whole.validation, len(whole.held_out)) == (2000, None, 500)
    assert whole.classes == tuple("0123456789")
    assert whole.category_ids == tuple(range(1, 11))
    assert whole.train.sizes.tolist() == [[320, 320]] * 2000
    assert whole.train.names[17] == "scenes/train[17]"
    assert not set(whole.train.names) & set(whole.held_out.names)
    picture = whole.train.picture(0)
    assert picture.shape == (320, 320, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize(
    ("part", "place", "labels", "boxes", "mean"),
    [
        ("train", 0, [4, 1], [[129, 4, 173, 36], [114, 137, 203, 203]], [141, 114, 107]),
        ("train", 41, [1], [[189, 99, 316, 198]], [123, 123, 123]),
        ("train", 94, [], np.zeros((0, 4)), None),
        (
            "held_out", 5, [1, 9, 9, 7, 8],
            [
                [220, 69, 265, 78], [112, 35, 151, 63], [138, 193, 190, 225],
                [173, 218, 309, 314], [175, 50, 230, 108],
            ],
            [135, 106, 85],
        ),
    ],
)  # fmt: skip
def test_these_scenes_stay_as_they_are(part: str, place: int, labels, boxes, mean) -> None:
    """Within what other versions of Pillow may round otherwise."""
    split = getattr(scenes.scan(), part)
    objects = split.objects(place)
    assert objects.labels.tolist() == labels
    np.testing.assert_allclose(pixels(objects.boxes, 320, 320), boxes, atol=1)
    if mean is not None:
        np.testing.assert_allclose(split.picture(place).mean(axis=(0, 1)), mean, atol=2)


def test_a_scene_is_the_same_in_any_order_and_number(small) -> None:
    forget()
    forwards = [(small.train.picture(i), small.train.objects(i)) for i in range(6)]
    forget()
    fewer = scenes.scan("scenes:128x160@6+1").train.take([5, 4, 3, 2, 1, 0])
    for index, (picture, objects) in enumerate(reversed(forwards)):
        again = fewer.objects(index)
        np.testing.assert_array_equal(fewer.picture(index), picture)
        for name in ("boxes", "labels", "areas", "crowd", "ids"):
            np.testing.assert_array_equal(getattr(again, name), getattr(objects, name))
    assert len({picture.tobytes() for picture, _objects in forwards}) == 6


def test_a_split_can_be_sent_to_another_process(small) -> None:
    there = pickle.loads(pickle.dumps(small.held_out))  # noqa: S301
    np.testing.assert_array_equal(there.picture(3), small.held_out.picture(3))
    np.testing.assert_array_equal(there.objects(3).masks[0](), small.held_out.objects(3).masks[0]())


@pytest.mark.parametrize("spec", ["scenes:128x160@120+60", "scenes:64@120+60"])
def test_boxes_bound_what_can_be_seen(spec: str) -> None:
    split = scenes.scan(spec).train
    height, width = split.sizes[0].tolist()
    for index in range(60):
        objects = split.objects(index)
        assert objects.masks is not None
        taken = np.zeros((height, width), int)
        for box, area, mask in zip(
            pixels(objects.boxes, height, width), objects.areas, objects.masks, strict=True
        ):
            seen = mask()
            assert (seen.shape, seen.dtype) == ((height, width), bool)
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            assert box.tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
            assert area == seen.sum()
            taken += seen
        assert taken.max(initial=0) <= 1


def test_masks_are_where_the_digits_were_painted(small, monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    blues = (3, 25, 58, 97, 131, 170, 211, 255)
    for index in range(20):
        marks = iter(blues)
        monkeypatch.setattr(scenes, "_colour", lambda *_args, marks=marks: (255, 0, next(marks)))
        picture, objects = small.train.picture(index), small.train.objects(index)
        solid = (picture[..., 0] == 255) & (picture[..., 1] == 0)
        for blue, mask in zip(blues, objects.masks or (), strict=False):
            painted = solid & (picture[..., 2] == blue)
            assert not (painted & ~mask()).any()
            assert painted.sum() > 0.25 * mask().sum()  # the rest is edge


def test_labels_are_those_of_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = mnist.scan().held_out
    assert digits.pictures is not None
    cuts, labels = scenes._digits("held_out")
    assert labels == digits.labels.tolist()
    for cut, digit in zip(cuts, digits.pictures[..., 0], strict=True):
        assert np.asarray(cut, int).sum() == digit.sum(dtype=int)
    asked: list[str] = []
    monkeypatch.setattr(scenes, "_digits", lambda part: asked.append(part) or (cuts[:1], [7]))
    forget()
    objects = scenes.scan("scenes:96").train.objects(0)
    assert set(objects.labels.tolist()) == {7}
    assert set(asked) == {"train"}
    forget()


def test_what_is_held_out_is_new_in_digit_and_photo() -> None:
    train, held_out = (set(scenes._PHOTOS[part]) for part in ("train", "held_out"))
    assert not train & held_out
    assert {file for _package, file in train} >= {"motorcycle_left.png", "motorcycle_right.png"}
    # What learnt from `scenes-digits` may be judged here.
    assert train >= set(scenes_digits.TRAIN_PHOTOS)
    assert held_out >= set(scenes_digits.HELD_OUT_PHOTOS)
    digits = mnist.scan()
    assert len(scenes._digits("train")[0]) == len(digits.train)
    assert len(scenes._digits("held_out")[0]) == len(digits.held_out)
    assert not set(digits.train.names) & set(digits.held_out.names)
    for photo in (photo for part in scenes._PHOTOS for photo in scenes._photos(part)):
        assert photo.mode == "RGB"
        assert min(photo.size) >= 300


def test_parts_draw_different_scenes(small) -> None:
    for index in range(10):
        one, other = small.train.objects(index), small.held_out.objects(index)
        assert one.boxes.tolist() != other.boxes.tolist() or not len(one)


def test_enough_of_each_digit_is_seen(small) -> None:
    part = scenes._Part(name="train", height=128, width=160)
    cut = hidden = 0
    for place in range(120):
        layout = scenes._layout(part, place)
        for index, digit in enumerate(layout.digits):
            whole = np.count_nonzero(np.asarray(digit.stroke) >= 128)
            inside = np.count_nonzero(scenes._own(part, digit)[1])
            seen = np.count_nonzero(layout.owner == index + 1)
            assert inside >= 0.7 * whole
            assert seen >= 0.6 * whole
            cut += inside < whole
            hidden += seen < inside
    assert cut > 20
    assert hidden > 20


def test_scenes_are_as_described(small) -> None:
    objects = [scenes.scan("scenes:160@2000+500").train.objects(i) for i in range(400)]
    counts = np.array([len(each) for each in objects])
    assert 2 <= np.count_nonzero(counts == 0) <= 30
    assert counts.max() == 8
    labels = np.concatenate([each.labels for each in objects])
    assert np.bincount(labels, minlength=10).min() > 0.07 * len(labels)
    boxes = np.concatenate([each.boxes for each in objects])
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert np.quantile(longer, 0.1) < 0.13
    assert np.quantile(longer, 0.9) > 0.35
    assert longer.max() < 0.65
    ids = np.concatenate([each.ids for each in objects])
    assert len(np.unique(ids)) == len(ids)
    assert ids.min() > 0  # evaluators take 0 for "none"
    assert not any(each.crowd.any() for each in objects)


def test_an_empty_scene_is_a_photo() -> None:
    split = scenes.scan().train
    index = next(i for i in range(200) if not len(split.objects(i)))
    objects = split.objects(index)
    assert objects.boxes.shape == (0, 4)
    assert objects.masks == ()
    assert split.picture(index).std() > 5


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_digits_are_readable(part: str) -> None:
    """A digit's brightness is far from the average around it."""
    split = getattr(scenes.scan(), part)
    gaps = []
    for index in range(30):
        luma, objects = split.picture(index) @ LUMA, split.objects(index)
        anything = np.zeros(luma.shape, bool)
        for mask in objects.masks:
            anything |= mask()
        for (top, left, bottom, right), mask in zip(
            pixels(objects.boxes, 320, 320), objects.masks, strict=True
        ):
            frame = np.s_[top:bottom, left:right]
            around = luma[frame][~anything[frame]]
            if len(around) > 50:
                gaps.append(abs(luma[mask()].mean() - around.mean()))
    assert len(gaps) > 80
    assert min(gaps) > 25
    assert np.quantile(gaps, 0.05) > 45


def test_digits_that_touch_differ_in_colour() -> None:
    hues = [0, 0xFFFF, 0, 0, 0, 0, 0xFFFF, 0, 0, 0, 0, 0xFFFF, 0, 0xFFFF, 0xFFFF, 0]
    first = scenes._colour(hues, 0, 10, [])
    assert first == painting.colour(hues[1:4], 0, 10, bright=True)
    assert scenes._colour(hues, 0, 10, [first]) != first


def test_annotations_look_at_no_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setattr(scenes, "_photos", None)
    assert len(scenes.scan("scenes:100").train.objects(0)) > 0


def test_shared_annotations_cannot_be_changed(small) -> None:
    with pytest.raises(ValueError, match="read-only"):
        small.train.objects(0).boxes[:] = 0


@pytest.mark.parametrize(
    ("spec", "size", "counts"),
    [
        ("scenes", (320, 320), (2000, 500)),
        ("scenes:96", (96, 96), (2000, 500)),
        ("scenes:256x192", (256, 192), (2000, 500)),
        ("scenes@7+5", (320, 320), (7, 5)),
        ("scenes:64x2048@3+2", (64, 2048), (3, 2)),
    ],
)
def test_sizes_and_numbers(spec: str, size: tuple[int, int], counts: tuple[int, int]) -> None:
    assert is_scenes(spec)
    asked = scenes.scan(spec)
    assert asked.name == spec
    assert (len(asked.train), len(asked.held_out)) == counts
    assert tuple(asked.train.sizes[0].tolist()) == size
    assert asked.held_out.picture(1).shape == (*size, 3)


def test_fingerprints_tell_sets_apart() -> None:
    specs = ("scenes", "scenes:320@2000+501", "scenes:319", "scenes:320x319")
    assert len({scenes.scan(spec).fingerprint for spec in specs}) == len(specs)
    assert scenes.scan("scenes:320@2000+500").fingerprint == scenes.scan().fingerprint


@pytest.mark.parametrize(
    "spec",
    ["scenes:", "scenes:big", "scenes:0320x", "scenes:-1", "scenes:320@", "scenes@4000",
     "scenes:320@5+", "scenes:320x320x3", "scenes:\u0663\u0662\u0660", "scenes:1" + "0" * 5000,
     "scenes:320\n"],
)  # fmt: skip
def test_what_is_no_spec_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"is not a set of scenes.*scenes:320@4000\+1000"):
        scenes.scan(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("scenes:63", "sides are from 64 to 2048"),
        ("scenes:320x2049", "sides are from 64 to 2048"),
        ("scenes:0", "sides are from 64 to 2048"),
        ("scenes:320@0+5", "numbers of scenes are from 1 to 1000000"),
        ("scenes@5+1000001", "numbers of scenes are from 1 to 1000000"),
    ],
)
def test_numbers_out_of_range_are_refused(spec: str, message: str) -> None:
    assert is_scenes(spec)
    with pytest.raises(InputError, match=message):
        scenes.scan(spec)


@pytest.mark.parametrize("spec", ["scenes-digits", "mnist", "my/scenes", "scenes2", "scenes/a", ""])
def test_other_names_are_not_taken(spec: str) -> None:
    assert not is_scenes(spec)
