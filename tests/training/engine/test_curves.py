"""The picture of a training shows what its history says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kerascnn.errors import InputError
from training.common.drawing import drawing, shorten
from training.engine.curves import draw_curves, write_curves
from training.engine.history import best_epoch


def history(epochs: int, *, validation: bool = True) -> list[dict[str, float]]:
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": float(epoch), "learning_rate": 10.0**-epoch}
        row |= {"loss": 2 / epoch, "accuracy": 100 - 50 / epoch}
        if validation:
            row |= {"val_loss": 3 / epoch, "val_accuracy": 90.0 - 10 * abs(epoch - 2)}
        rows.append(row)
    return rows


def detector_history(epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": float(epoch), "learning_rate": 0.1, "loss": 3 / epoch}
        | {"box_loss": 1 / epoch, "class_loss": 2 / epoch}
        | {"val_ap": 50.0 - 10 * abs(epoch - 2), "val_ap50": 20.0 * epoch}
        for epoch in range(1, epochs + 1)
    ]


def map_history(epochs: int, *, validation: bool = True) -> list[dict[str, float]]:
    rows = [
        {"epoch": float(epoch), "learning_rate": 0.1, "loss": 3 / epoch}
        | {"val_miou": 50.0 - 10 * abs(epoch - 2), "val_dice": 70.0}
        for epoch in range(1, epochs + 1)
    ]
    names = rows[0] if validation else ("epoch", "learning_rate", "loss")
    return [{name: row[name] for name in names} for row in rows]


def lines(axes: Any) -> dict[str, Any]:
    return {str(line.get_label()): line for line in axes.get_lines()}


def test_every_column_is_drawn_in_its_unit() -> None:
    losses, accuracies, rates = draw_curves(history(4), "a run").axes
    assert lines(losses)["training"].get_xdata().tolist() == [1, 2, 3, 4]
    assert lines(losses)["training"].get_ydata().tolist() == [2, 1, 2 / 3, 0.5]
    assert lines(losses)["validation"].get_ydata().tolist() == [3, 1.5, 1, 0.75]
    np.testing.assert_allclose(lines(accuracies)["validation"].get_ydata(), [80, 90, 80, 70])
    assert rates.get_yscale() == "log"
    np.testing.assert_allclose(rates.get_lines()[0].get_ydata(), [0.1, 0.01, 1e-3, 1e-4])


def test_best_epoch_is_named_and_ringed() -> None:
    losses, accuracies, rates = draw_curves(history(4), "a run").axes
    (text,) = losses.texts
    assert text.get_text() == "best: epoch 2, 90% on validation images"
    for axes, value in ((losses, 1.5), (accuracies, 90)):
        ring = axes.get_lines()[-1]
        assert (ring.get_xdata(), ring.get_ydata()) == ([2], [value])
    assert [line.get_xdata() for line in rates.get_lines()][-1] == [2, 2]


def test_best_epoch_of_equal_ones_has_the_lowest_loss_and_comes_first() -> None:
    rows = [
        {"val_accuracy": 0.7, "val_loss": 0.1},
        {"val_accuracy": 0.8, "val_loss": 0.3},
        {"val_accuracy": 0.8, "val_loss": 0.2},
        {"val_accuracy": 0.8, "val_loss": 0.2},
        {"val_accuracy": 0.8, "val_loss": math.nan},
    ]
    assert best_epoch(rows) == 3
    assert best_epoch([{"accuracy": 1.0}, {"accuracy": 0.5}]) == 2


def test_of_a_detector_parts_of_the_loss_and_ap_are_drawn() -> None:
    losses, scores, _rates = draw_curves(detector_history(3), "a run").axes
    assert lines(losses)["training, sum of its parts"].get_ydata().tolist() == [3, 1.5, 1]
    assert lines(losses)["boxes"].get_ydata().tolist() == [1, 0.5, 1 / 3]
    assert lines(losses)["classes"].get_ydata().tolist() == [2, 1, 2 / 3]
    average, at_half = scores.get_lines()[:2]
    np.testing.assert_allclose(average.get_ydata(), [40, 50, 40])
    np.testing.assert_allclose(at_half.get_ydata(), [20, 40, 60])
    assert len(scores.get_legend().get_texts()) == 2
    (text,) = losses.texts
    assert text.get_text() == "best: epoch 2, AP 50% on validation images"
    ring = scores.get_lines()[-1]
    assert (ring.get_xdata(), ring.get_ydata()) == ([2], [50])


def test_detector_without_validation_has_nothing_best() -> None:
    rows = [{k: v for k, v in row.items() if "val" not in k} for row in detector_history(2)]
    losses, scores, _rates = draw_curves(rows, "a run").axes
    assert len(lines(losses)) == 3
    assert not losses.texts
    assert not scores.get_lines()
    assert scores.get_legend() is None
    assert best_epoch(rows) == 2


def test_best_epoch_of_a_detector_has_the_highest_ap() -> None:
    assert best_epoch(detector_history(4)) == 2
    rows = [
        {"val_ap": math.nan, "val_ap50": math.nan},
        {"val_ap": 0.2, "val_ap50": 0.9},
        {"val_ap": 0.3, "val_ap50": 0.5},
        {"val_ap": 0.3, "val_ap50": 0.6},
    ]
    assert best_epoch(rows) == 3
    assert best_epoch(rows[:1]) == 1


def test_of_label_maps_iou_and_dice_are_drawn() -> None:
    losses, scores, _rates = draw_curves(map_history(3), "a run").axes
    assert list(lines(losses))[:1] == ["training"]
    iou, dice = scores.get_lines()[:2]
    np.testing.assert_allclose(iou.get_ydata(), [40, 50, 40])
    np.testing.assert_allclose(dice.get_ydata(), [70, 70, 70])
    assert scores.get_title(loc="left") == "mean over classes (%)"
    assert len(scores.get_legend().get_texts()) == 2
    (text,) = losses.texts
    assert text.get_text() == "best: epoch 2, mIoU 50% on validation images"
    losses, scores, _rates = draw_curves(map_history(3, validation=False), "a run").axes
    assert list(lines(losses)) == ["training"]
    assert scores.get_legend() is None
    assert not losses.texts


def test_without_validation_nothing_is_best() -> None:
    losses, accuracies, _rates = draw_curves(history(3, validation=False), "a run").axes
    assert list(lines(losses)) == list(lines(accuracies)) == ["training"]
    assert not losses.texts


@pytest.mark.parametrize("rates", [[0.0], [1e-3], [0.0, 0.0], [math.nan, 1e-3]])
def test_few_epochs_and_odd_rates_are_drawn(tmp_path: Path, rates: list[float]) -> None:
    rows = [row | {"learning_rate": r} for row, r in zip(history(2), rates, strict=False)]
    write_curves(rows, tmp_path / "curves.png", title="one")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1680, 1760)


def test_rate_that_ends_near_zero_does_not_squash_the_rest() -> None:
    rows = history(3)
    for row, rate in zip(rows, (1e-3, 1e-4, 1e-12), strict=True):
        row["learning_rate"] = rate
    axes = draw_curves(rows, "a run").axes[2]
    low, high = axes.get_ylim()
    assert 1e-8 < low < 1e-7
    assert 1e-3 < high < 1e-2
    # Its point is there all the same, at the lower edge.
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [1e-3, 1e-4, low])
    assert lines(draw_curves(rows, "a run").axes[0])["training"].get_xdata().tolist() == [1, 2, 3]


def test_last_rate_of_a_cosine_is_drawn_where_it_is_zero() -> None:
    rows = history(3)
    rows[2]["learning_rate"] = 0.0
    drawn = draw_curves(rows, "a run").axes[2].get_lines()[0]
    assert drawn.get_xdata().tolist() == [1, 2, 3]
    assert np.isfinite(drawn.get_ydata()).all()
    assert drawn.get_ydata()[-1] > 0


def test_other_monitors_choose_and_name_another_epoch() -> None:
    rows = [
        {"epoch": 1.0, "learning_rate": 0.1, "loss": 2.0, "accuracy": 60.0}
        | {"val_accuracy": 96.0, "val_balanced_accuracy": 50.0, "val_loss": 0.3},
        {"epoch": 2.0, "learning_rate": 0.1, "loss": 1.0, "accuracy": 70.0}
        | {"val_accuracy": 90.0, "val_balanced_accuracy": 85.0, "val_loss": 0.4},
    ]
    assert [best_epoch(rows, m) for m in ("auto", "accuracy", "balanced_accuracy", "loss")] == [
        *(1, 1, 2, 1)
    ]
    losses, scores, _rates = draw_curves(rows, "a run", "balanced_accuracy").axes
    text = losses.texts[0].get_text()
    assert text == "best: epoch 2, balanced accuracy 85% on validation images"
    assert lines(scores)["balanced"].get_ydata().tolist() == [50, 85]
    losses, scores, _rates = draw_curves(rows, "a run", "loss").axes
    assert losses.texts[0].get_text() == "best: epoch 1, loss 0.3 on validation images"
    assert "balanced" not in lines(scores)


def test_gap_where_a_figure_is_no_number() -> None:
    rows = history(3)
    rows[1]["loss"] = math.inf
    drawn = lines(draw_curves(rows, "a run").axes[0])["training"].get_ydata()
    assert np.isnan(drawn).tolist() == [False, True, False]


def test_same_history_same_bytes_whatever_the_users_style(tmp_path: Path) -> None:
    import matplotlib

    one, same, other = (tmp_path / f"{name}.png" for name in ("one", "same", "other"))
    write_curves(history(3), one, title="$a_1$ 数")
    with matplotlib.rc_context({"font.size": 20, "savefig.facecolor": "red"}):
        write_curves(history(3), same, title="$a_1$ 数")
    write_curves(history(4), other, title="$a_1$ 数")
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()
    with Image.open(one) as picture:
        assert not getattr(picture, "text", {})  # neither date nor version


def test_long_title_stays_inside() -> None:
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 10) == "abcde…hijk"
    assert shorten("a\nb", 10) == "a b"
    with drawing():
        figure = draw_curves(history(2), "W" * 300)
        box = figure.texts[0].get_window_extent()
    assert "…" in figure.texts[0].get_text()
    assert box.x0 > 0


def test_no_epoch_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no epoch to draw"):
        write_curves([], tmp_path / "curves.png", title="none")
    assert not list(tmp_path.iterdir())
