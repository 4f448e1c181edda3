"""`kerascnn shrink`: the cheapest method whose file keeps within a budget.

What a file lost is judged by the images that were set aside for choices, where the run has some:
the held-out ones then tell, once, how good the chosen file is.

Methods are tried from cheap to dear: first what needs no training, then what trains. A method that
cannot meet the budget, because a file that is already there shows its size or its speed, is passed
over. Every file is an artefact of the run like any other, so that a repeated search goes on where
it was.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from export.artefacts.artefact import Artefact
from export.artefacts.variants import ChannelPrune, Cluster, Settings, Variant, parse_variant
from export.compress.compress import VariantBuilder, all_artefacts
from export.report.compare import measure, write
from export.report.results import (
    Result,
    chosen_text,
    drop_words,
    milliseconds,
    pareto,
)
from export.tasks import allowed
from export.tflite.flatbuffer import skeleton
from export.tools.budget import Budget
from kerascnn.errors import InputError
from training.common import once
from training.common.progress import say
from training.engine.foldable_norms import LINEAR
from training.engine.run import Run

# From cheap to dear. Within a step of dearness, the larger and more accurate ones first.
LADDER = (
    *("float16", "dynamic_int8", "int8", "weight_int8", "mixed", "weight_int4"),
    *("qat_int8", "qat_weight_int4", "cluster16_qat_int8"),
    *("prune50_qat_int8", "prune75_qat_int8"),
    *("slim50_float16", "slim50_int8", "slim50_qat_int8"),
    "prune75_cluster16_qat_int8",
    *("slim50_mixed", "slim25_int8", "slim25_qat_int8", "slim25_mixed"),
    *("slim50_prune50_cluster16_qat_int8", "slim25_prune50_cluster16_qat_int8"),
)


# By how much a file may be longer than that of the same precision and channels, or slower, before
# nothing better is expected of more training.
_SLACK = 1.03
_CLUSTERED_SLACK = 1.2
_SLOWER = 1.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """What `shrink` found.

    Attributes:
        chosen: the file within the budget, or None.
        nearest: the one that came nearest.
        rows: all files of the run, timed against each other.
        tried: variants, in order.
        passed_over: variants that could not meet the budget, each with the reason.
    """

    chosen: Result | None
    nearest: Result
    rows: list[Result]
    tried: tuple[str, ...]
    passed_over: dict[str, str]

    @property
    def front(self) -> list[Result]:
        """Files that no smaller one equals or beats."""
        return pareto(self.rows, "bytes", by_choice=True)


@once.scope()
def shrink(
    run: Run,
    budget: Budget,
    *,
    ladder: Sequence[str] = LADDER,
    settings: Settings | None = None,
) -> Search:
    """Try methods until a file keeps within the budget; all tries are left as artefacts.

    The run's report, results.csv and chart are written anew at the end.

    Args:
        ladder: variants, from cheap to dear.
        settings: see `export.compress.compress.compress`.

    Raises:
        InputError: a task without a measure; a network that finds nothing yet; or an impossible
            budget, smaller than the graph alone is without any weight.
    """
    allowed.require_command(run, "shrink")
    variants = [parse_variant(name, settings) for name in ladder]
    builder = VariantBuilder(run)
    _check_possible(run, builder, budget)
    float32 = _there(builder, parse_variant("float32"))
    if nothing := measure([(run, float32)])[0].below_floor:
        raise InputError(f"{run.folder}: {nothing}; train it on before it is shrunk")
    measured: dict[str, Result] = {}
    tried: list[str] = []
    passed_over: dict[str, str] = {}
    too_long = _too_long(variants, _kernels(builder), budget)
    met = ""
    for variant in variants:
        if reason := too_long.get(variant.name) or _hopeless(variant, measured, budget):
            passed_over[variant.name] = reason
            continue
        try:
            artefact = _there(builder, variant)
        except InputError as error:
            # A method may not suit a network; the others are still to be tried.
            passed_over[variant.name] = str(error)
            continue
        tried.append(variant.name)
        # Beside the float file, which tells a slow moment of the machine from a slow file.
        row = measure([(run, float32), (run, artefact)])[-1]
        measured[variant.name] = row
        over = budget.over(row) > 1
        say(f"{variant.name}: {_figures(row)}{', over' if over else ''}")
        if not over:
            met = variant.name
            break
    return _closed(run, budget, met, tried, passed_over)


def as_text(search: Search, budget: Budget) -> str:
    """Lines for a terminal."""
    lines = [f"skipped {name}: {why}" for name, why in search.passed_over.items()]
    if search.chosen:
        row = search.chosen
        lines.append(
            f"within the budget ({budget.text()}): {row.label}, {_figures(row)}{_held_out(row)}"
        )
    else:
        row = search.nearest
        lines.append(f"no file is within the budget ({budget.text()})")
        lines.append(f"closest: {row.label}, {_figures(row)}")
        lines += [f"Pareto-optimal: {r.label}, {_figures(r)}" for r in search.front]
    lines.append(f"({chosen_text([search.chosen or search.nearest])})")
    return "\n".join(lines)


def as_json(search: Search) -> dict[str, Any]:
    """Plain values; `met` says whether a file keeps within the budget."""
    return {
        "met": search.chosen is not None,
        "chosen": search.chosen and search.chosen.to_dict(),
        "nearest": search.nearest.to_dict(),
        "chosen_on": search.nearest.chosen_on,
        "front": [row.label for row in search.front],
        "tried": list(search.tried),
        "passed_over": search.passed_over,
    }


def _check_possible(run: Run, builder: VariantBuilder, budget: Budget) -> None:
    if budget.size is None:
        return
    float_file = builder.network(parse_variant("float32")).float32.packed()
    least = skeleton(float_file, compressed=budget.metric == "download")
    if budget.size < least:
        raise InputError(
            f"--max-size {budget.size / 1000:g}KB: the graph of {run.name} alone, without any "
            f"weight, takes {least / 1000:.1f} KB; ask for more, or train a shallower network"
        )


def _there(builder: VariantBuilder, variant: Variant) -> Artefact:
    return builder.found(variant, ".tflite") or builder.make(variant, ".tflite")


def _kernels(builder: VariantBuilder) -> int:
    """How many numbers are in the kernels of the run's network."""
    network = builder.network(parse_variant("float32")).trained.model
    return sum(
        math.prod(layer.kernel.shape) for layer in network.layers if isinstance(layer, LINEAR)
    )


def _too_long(variants: Sequence[Variant], kernels: int, budget: Budget) -> dict[str, str]:
    """Variants whose weights alone are more than the budget, each with that as the reason.

    Not those that remove channels; and of a ladder that has nothing shorter the shortest is left,
    as it tells how near the network comes.
    """
    if budget.size is None or budget.metric != "file":
        return {}
    least = {variant.name: _least(variant, kernels) for variant in variants}
    shortest = min(least.values(), default=0)
    return {
        name: f"its weights alone take {size / 1000:,.1f} KB"
        for name, size in least.items()
        if size > max(budget.size, shortest)
    }


def _least(variant: Variant, kernels: int) -> int:
    """Bytes that so many numbers take at least."""
    if any(isinstance(step, ChannelPrune) for step in variant.steps):
        return 0
    return kernels * min((variant.weight_bits, *variant.mixed_bits)) // 8


def _hopeless(variant: Variant, measured: Mapping[str, Result], budget: Budget) -> str | None:
    """Why a variant cannot keep within the budget, by a file that is there.

    Zeros and shared values shorten a download; a file of as many bits is as long, and as fast.
    """
    slimmed = [step.name for step in variant.steps if isinstance(step, ChannelPrune)]
    plain = "_".join([*slimmed, variant.precision])
    sibling = measured.get(plain)
    if variant.name == plain or sibling is None:
        return None
    # A clustered file lacks the scales of its channels.
    clustered = any(isinstance(step, Cluster) for step in variant.steps)
    slack = _CLUSTERED_SLACK if clustered else _SLACK
    if budget.size is not None and budget.metric == "file" and sibling.bytes > slack * budget.size:
        return f"its file is as long as {plain}'s, {sibling.bytes / 1000:.1f} KB"
    if budget.latency_ms is not None and (sibling.latency_ms or 0) > _SLOWER * budget.latency_ms:
        return f"its file is as slow as {plain}'s, {sibling.latency_ms:.3f} ms"
    return None


def _closed(
    run: Run, budget: Budget, met: str, tried: list[str], passed_over: dict[str, str]
) -> Search:
    """Time all files of the run together, and write the report."""
    found = [(run, one) for one in all_artefacts(run)]
    rows = measure(found)
    write(run.folder, [run], found, rows)
    mobile = [row for row in rows if row.format == "tflite"]
    # Files of older versions have no other figure than that on the held-out images.
    judged = [row for row in mobile if row.choice is not None] or mobile
    return Search(
        chosen=next((row for row in mobile if row.variant == met), None),
        nearest=min(judged, key=budget.over),
        rows=rows,
        tried=tuple(tried),
        passed_over=passed_over,
    )


def _figures(row: Result) -> str:
    """What a file is chosen by: the held-out figure where no images were set aside for that."""
    figures = f"{row.figure} ({row.drop_text})"
    if row.choice is not None:
        drop = drop_words(row.choice_float_value - row.choice_value)
        shown = f"{row.choice_value:.1f}%"
        accuracy = row.metric == "accuracy"
        shown = f"{shown} of" if accuracy else f"{row.metric} {shown} on"
        figures = f"{shown} the validation images ({drop})"
    figures += f", {row.bytes / 1000:,.1f} KB"
    figures += f" ({row.download_bytes / 1000:,.1f} zipped)"
    if row.latency_ms is not None:
        figures += f", {milliseconds(row.latency_ms)} ms"
    return figures


def _held_out(row: Result) -> str:
    """How good the chosen file is on images that chose nothing."""
    if row.choice is None:
        return ""
    return f"; on the held-out images {row.figure} ({row.drop_text})"
