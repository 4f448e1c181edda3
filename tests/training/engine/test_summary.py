"""What a person is told of a training: a line an epoch, a warning, the closing words."""

from __future__ import annotations

import dataclasses
import json

import pytest

from training import recipes
from training.common.progress import Progress
from training.engine.config import TrainConfig
from training.engine.history import History
from training.engine.summary import (
    closing,
    epoch_line,
    figures,
    standstill,
)

CONFIG = TrainConfig(epochs=6, freeze_epochs=1)


def history(*scores: float, loss: float = 0.9, name: str = "val_accuracy") -> History:
    """Epochs with these figures, whose loss falls by the factor `loss` each."""
    return [
        {"epoch": n + 1.0, "learning_rate": 1e-3, "accuracy": 50.0, "loss": 2 * loss**n}
        | {name: score, "val_balanced_accuracy": 100 - score, "val_loss": 1.0}
        for n, score in enumerate(scores)
    ]


def test_an_epoch_is_one_line() -> None:
    rows = history(79.54, 84.31, 71.88, loss=0.5)
    assert epoch_line(rows, CONFIG) == (
        "epoch 3/6  val accuracy 71.9% (best 84.3%, epoch 2)  loss 0.500"
    )
    assert epoch_line(rows[:2], CONFIG) == "epoch 2/6  val accuracy 84.3% (best)  loss 1.000"
    assert epoch_line(rows[:1], CONFIG).endswith("loss 2.000  head alone")
    balanced = dataclasses.replace(CONFIG, monitor="balanced_accuracy")
    assert epoch_line(rows, balanced) == (
        "epoch 3/6  val balanced accuracy 28.1% (best)  loss 0.500"
    )
    by_loss = dataclasses.replace(CONFIG, monitor="loss")
    assert "val loss 1.000 (best 1.000, epoch 3)" not in epoch_line(rows, by_loss)
    unjudged = [{"epoch": 1.0, "learning_rate": 1e-3, "accuracy": 50.0, "loss": 2.0}]
    assert epoch_line(unjudged, TrainConfig(epochs=2)) == (
        "epoch 1/2  training accuracy 50.0%  loss 2.000"
    )
    assert "val mIoU 44.4%" in epoch_line(history(44.4, name="val_miou"), CONFIG)


def test_of_equal_figures_none_is_called_best() -> None:
    rows = history(60.0, 84.31, 84.31, 84.31)  # whose validation loss is equal as well
    assert "val accuracy 84.3% (equals epoch 2)" in epoch_line(rows[:3], CONFIG)
    rows[2]["val_loss"] = 0.5
    assert "val accuracy 84.3% (equals epoch 2, at a lower loss)" in epoch_line(rows[:3], CONFIG)
    assert "val accuracy 84.3% (equals epoch 3)" in epoch_line(rows, CONFIG)


def test_an_epoch_equals_the_one_that_was_the_best() -> None:
    rows = history(60.0, 84.31, 70.0, 84.31, 84.31)
    rows[1]["val_loss"], rows[3]["val_loss"] = 0.8, 0.9
    assert "(equals epoch 2)" in epoch_line(rows[:4], CONFIG)
    rows[4]["val_loss"] = 0.5
    assert "(equals epoch 2, at a lower loss)" in epoch_line(rows, CONFIG)


def test_the_closing_words_count_the_epochs() -> None:
    rows = history(79.5, 84.3, 71.9)
    found = figures(rows, CONFIG)
    assert found == {
        "best_epoch": 2, "epochs": 3, "chosen_by": "val_accuracy", "validation": 84.3,
    }  # fmt: skip
    assert json.loads(json.dumps(found)) == found
    assert closing(found) == "best epoch 2 of 3 (val accuracy 84.3%)"
    unjudged = [{"epoch": 1.0, "learning_rate": 1e-3, "loss": 2.0}]
    assert closing(figures(unjudged, CONFIG)) == "1 epoch"
    assert closing({"best_epoch": 4}) == "best epoch 4"  # a run of before
    assert closing({}) == ""


def test_validation_that_stands_still_while_the_loss_falls_is_told_of_once() -> None:
    config = TrainConfig(epochs=30)  # a window of six epochs
    rows = history(30, 44.4, *(10 * [44.5]))
    said = [standstill(rows[: n + 1], config) for n in range(len(rows))]
    assert [text is not None for text in said] == [n == 7 for n in range(len(rows))]
    text = next(filter(None, said))
    assert "no better validation for 6 epochs (val accuracy 44.5%)" in text
    assert "loss fell by 47%" in text
    assert "norm_momentum" not in text
    assert "still 30% their initial" in (standstill(rows[:8], config, lag=0.3) or "")


@pytest.mark.parametrize(
    "rows",
    [
        history(*range(30, 50)),  # it gets better
        history(*(20 * [44.4]), loss=0.99),  # the loss stands, too
        history(*(20 * [99.0])),  # nothing is left to gain
        history(30, 44, 44, 44, 44),  # too short to tell
    ],
)
def test_no_warning_where_nothing_is_wrong(rows: History) -> None:
    assert all(standstill(rows[: n + 1], TrainConfig(epochs=30)) is None for n in range(len(rows)))


def test_a_log_has_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("net", 4, lines=True) as progress:
        for _ in range(2):
            for _ in range(2):
                progress.step()
                progress.note("loss 1")
            progress.line("epoch")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["net: epoch", "net: epoch"]


def test_recipes_say_how_their_averages_begin() -> None:
    for name in recipes.NAMES:
        averaged = recipes.load(name).config.ema > 0
        assert ("min(ema, (1 + n) / (10 + n))" in recipes.page(name)) == averaged
        assert "lower `ema`" not in recipes.page(name)
