"""`kerascnn bench-data`: is the input pipeline or the training step what a run waits for?

Three things are timed in turn, round by round, so that a machine whose speed drifts does not
favour one: the pipeline alone, the training step on one batch again and again, and both together,
which is what an epoch does. The last reaches the slower of the first two where they work side by
side; on a CPU alone they share its cores.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator
from typing import Any

from training import tasks
from training.common.progress import Progress
from training.engine.loop import TrainingTask, repeatable
from training.engine.request import TrainRequest

_LONG = 1_000_000  # epochs: more than any bench lasts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    """Images per second, medians of the rounds.

    Attributes:
        pipeline: of the input pipeline alone.
        step: of the training step on a batch that is there already.
        epoch: of both.
        share: median over the rounds of the epoch's against the slower one's.
        rounds: how many.
    """

    pipeline: float
    step: float
    epoch: float
    share: float
    rounds: int

    def as_text(self) -> str:
        """Four lines."""
        return "\n".join((
            f"pipeline alone  {self.pipeline:10.1f} images/s",
            f"training step   {self.step:10.1f} images/s",
            f"both            {self.epoch:10.1f} images/s",
            f"which is {self.share:.1%} of the slower one (median of {self.rounds} rounds)",
        ))  # fmt: skip


def bench_data(
    asked: TrainRequest, *, seconds: float, rounds: int, cached: bool = True
) -> Throughput:
    """Time what `kerascnn train` would do for this request.

    Args:
        seconds: about how long each of the three runs in each round.
        cached: False reads files anew for every batch, as where they do not fit into memory; those
            of tasks with boxes and masks always are.

    Raises:
        InputError: bad data or an impossible model.
    """
    repeatable(asked.config.seed)
    work = tasks.of_request(asked).open(asked, None).trial(cached=cached)
    work.compile(asked.config, asked.config.peak_learning_rate)
    batches = work.input_pipeline(0, _LONG, 0)
    stream = iter(batches)
    batch = next(stream)
    _train(work, _again(batch, batches), 2)  # traced before anything is timed
    count = len(batch[0]["pictures"])
    found: list[tuple[float, float, float]] = []
    with Progress("bench-data", rounds * 3, unit="part") as progress:
        for number in range(rounds):
            pipeline = count * _rate(lambda n: _pull(stream, n), seconds)
            progress.step()
            step = count * _rate(lambda n: _train(work, _again(batch, batches), n), seconds)
            progress.step()
            # As an epoch begins: with nothing ready yet. Its length evens that out.
            fresh = work.input_pipeline(number, _LONG, 0)
            epoch = count * _rate(lambda n, batches=fresh: _train(work, batches, n), seconds)
            progress.step()
            progress.note(f"{pipeline:.0f}, {step:.0f}, {epoch:.0f} images/s")
            found.append((pipeline, step, epoch))
    return Throughput(
        pipeline=statistics.median(p for p, _, _ in found),
        step=statistics.median(s for _, s, _ in found),
        epoch=statistics.median(e for _, _, e in found),
        share=statistics.median(e / min(p, s) for p, s, e in found),
        rounds=rounds,
    )


def _rate(run: Any, seconds: float) -> float:
    """Calls of a counted loop per second, over about so many seconds."""
    count = 2
    while True:
        began = time.perf_counter()
        run(count)
        taken = time.perf_counter() - began
        if taken >= seconds / 2:
            return count / taken
        # Doubled, not guessed: the first batches may lie ready, and say nothing of the others.
        count *= 2


def _pull(stream: Iterator[Any], count: int) -> None:
    for _ in range(count):
        next(stream)


def _train(work: TrainingTask, batches: Any, count: int) -> None:
    work.training_model.fit(batches, epochs=1, steps_per_epoch=count, shuffle=False, verbose=0)


def _again(batch: Any, batches: Any) -> Any:
    """One batch of a feed without end, in the form of that feed."""
    if not hasattr(batches, "element_spec"):
        return _endless(batch)
    import tensorflow as tf

    from training.datasets import streams

    return streams.ready(tf.data.Dataset.from_tensors(batch).repeat())


def _endless(batch: Any) -> Iterator[Any]:
    while True:
        yield batch
