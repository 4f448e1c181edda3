"""What commands print on stdout: JSON, and tables of results."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import click

from kerascnn.cli.exits import fail, told_of_system


def print_results(make: Callable[[], Any], output: pathlib.Path, as_json: bool) -> None:
    """The results that `make` gives, also where a file of the report cannot be written."""
    from export.report.compare import NotWritten, output_files
    from export.report.results import best_choices
    from export.report.table import table

    page: str | None = str(output_files(output)[0])
    failed: NotWritten | None = None
    try:
        results = make()
    except NotWritten as error:
        results, page, failed = error.rows, None, error
    if as_json:
        choices = {reason: r.label for reason, r in best_choices(results).items()}
        rows = [r.to_dict() for r in results]
        print_json({"results": rows, "best": choices, "report": page})
    else:
        click.echo(table(results))
        if page:
            click.echo(f"report: {page}")
    if failed:
        fail(told_of_system(failed), code=1)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))
