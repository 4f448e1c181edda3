"""What commands print on stdout: JSON, and tables of results."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from kerascnn.cli.exits import fail, text_of_system_error

if TYPE_CHECKING:
    from kerascnn.api import Results


def print_results(
    make: Callable[[], Results],
    as_json: bool,
    *,
    more: Callable[[], dict[str, Any]] = dict,
) -> None:
    """The results that `make` gives, also where a file of the report cannot be written.

    Args:
        more: what JSON has beside them, asked for when they are there.
    """
    from export.report.results import NotWritten
    from kerascnn.api import Results

    failed: NotWritten | None = None
    try:
        results = make()
    except NotWritten as error:
        results, failed = Results(error.rows), error
    page = None if results.report is None else str(results.report)
    if as_json:
        fields = {"results": results, "best": results.best_labels, "report": page}
        print_json({**fields, **more()})
    else:
        click.echo(str(results))
        if page:
            click.echo(f"report: {page}")
    if failed:
        fail(text_of_system_error(failed), code=1)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))
