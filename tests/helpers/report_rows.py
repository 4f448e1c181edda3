"""Rows of results, the page of them, and its table read again."""

from __future__ import annotations

import dataclasses
import pathlib
from html.parser import HTMLParser
from typing import Any

import numpy as np

from export.report.page import Mistake, Mistakes, RunSummary, write_report
from export.report.results import (
    Result,
)

HOSTILE = "<script>alert(1)</script>\"'$x^2$_&"


def rows() -> list[Result]:
    """Two runs of four files each; one is a misfit, one was not timed, one is far below."""
    made = []
    for run, size, value in (("lenet5", 250_000, 98.3), ("mobilenet_v3_small", 6_000_000, 99.0)):
        for variant, factor, drop in (
            ("float32", 1.0, 0.0),
            ("float16", 0.5, 0.0),
            ("int8", 0.26, 0.2),
            ("float32 onnx", 1.02, 0.0),
        ):
            name, _, format_ = variant.partition(" ")
            made.append(row(run, name, format_ or "tflite", int(size * factor), value, drop))
    made[2] = dataclasses.replace(made[2], value=50.0, drop=48.3, verified="no", partitions=18)
    made[7] = dataclasses.replace(made[7], latency_ms=None, latency_p95_ms=None)
    return made


def row(run: str, variant: str, format_: str, size: int, value: float, drop: float) -> Result:
    return Result(
        run=run,
        model=run,
        variant=variant,
        format=format_,
        parameters=61_706,
        nonzero_parameters=61_000,
        macs=416_520,
        bytes=size,
        download_bytes=size * 9 // 10,
        metric="accuracy",
        value=value - drop,
        float_value=value,
        drop=drop,
        drop_low=drop - 0.3,
        drop_high=drop + 0.4,
        latency_ms=size / 4e6,
        latency_p95_ms=size / 3e6,
        threads=1,
        peak_arena_bytes=None,
        sparsity=0.0,
        seconds=12.34,
        verified="yes",
        agreement=100 - drop,
        max_logit_diff=1e-6,
        partitions=None if format_ == "onnx" else 1,
        sha256="0" * 64,
    )


def mistake(shape: tuple[int, int, int], **given: Any) -> Mistake:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    values = {"name": "mnist[17]", "truth": "4", "predicted": "9", "probability": 0.714}
    return Mistake(picture=picture, **(values | given))


def page(tmp_path: pathlib.Path, results: list[Result] | None = None, **given: Any) -> str:
    path = tmp_path / "report.html"
    values: dict[str, Any] = {
        "runs": [
            RunSummary(name="lenet5", facts={"Data": "mnist (fingerprint 5f0c)", "Seed": "0"})
        ],
        "machine": {"processor": "a processor", "version of keras": "3.15.1"},
        "mistakes": Mistakes(
            label="lenet5 int8", total=1, pictures=1000, shown=[mistake((28, 28, 1))]
        ),
        "title": "Digits",
    }
    write_report(path, rows() if results is None else results, **(values | given))
    # Where a narrow window may break a name is of no interest here.
    return path.read_text("utf-8").replace("<wbr>", "")


class Table(HTMLParser):
    """The texts of the table's cells, row by row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data.strip()


def result(**given: Any) -> Result:
    values = {
        "run": "digits",
        "model": "lenet5",
        "variant": "float32",
        "format": "tflite",
        "parameters": 61_706,
        "nonzero_parameters": 61_000,
        "macs": 416_520,
        "bytes": 250_000,
        "download_bytes": 230_000,
        "metric": "accuracy",
        "value": 98.0,
        "float_value": 98.0,
        "drop": 0.0,
        "drop_low": -0.2,
        "drop_high": 0.3,
        "latency_ms": 0.05,
        "latency_p95_ms": 0.06,
        "threads": 1,
        "peak_arena_bytes": None,
        "sparsity": 0.0,
        "seconds": 12.5,
        "verified": "yes",
        "agreement": 100.0,
        "max_logit_diff": 1e-6,
        "partitions": 1,
        "sha256": "0" * 64,
    }
    return Result(**(values | given))
