"""The page as a hand uses it, and whether there is a browser to open it in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import browser
import pytest

from export.deploy import web

PROBLEM = "!document.querySelector('#problem').hidden"
MISSING = (
    "there is no chromium"
    if browser.PROGRAM is None
    else "the page's runtime is not installed: npm ci --prefix export/deploy/web_page"
    if not (web.SOURCES / "node_modules").is_dir()
    else ""
)


def needs_browser(test: Any) -> Any:
    """Minutes long together, and of what `make web` fetches."""
    return pytest.mark.slow(pytest.mark.skipif(bool(MISSING), reason=MISSING)(test))


class Page:
    """The page in a browser, as a hand uses it."""

    def __init__(self, browser: browser.Browser, address: str, names: list[str]) -> None:
        self.browser = browser
        self._names = names
        browser.open(f"{address}/index.html")
        self.opened()

    def opened(self) -> None:
        """Wait for a model, or for what it complains of."""
        self.browser.wait(f"!document.querySelector('#about').hidden || {PROBLEM}")

    def choose(self, name: str) -> None:
        """Take a model of the list."""
        self.browser.evaluate(
            f"void (document.querySelector('#model').selectedIndex = {self._names.index(name)})"
        )
        self.browser.evaluate(
            "void document.querySelector('#model').dispatchEvent(new Event('change'))"
        )
        self.opened()

    def take(self, file: Path) -> None:
        """Open a file of one's own."""
        self.browser.evaluate("void (document.querySelector('#about').hidden = true)")
        self.browser.choose("#file", file)
        self.opened()

    def self_test(self) -> str:
        """What it says of the open file's self-test."""
        line = "document.querySelector('#selftest')"
        told: str = self.browser.evaluate(f"{line}.hidden ? '' : {line}.textContent")
        return told

    def answers(self, picture: Path, selector: str = "#picture") -> list[dict[str, Any]]:
        """Give it a picture; the rows that it shows."""
        self.browser.evaluate("document.querySelector('#answers').replaceChildren()")
        self.browser.choose(selector, picture)
        self.browser.wait(f"document.querySelector('#answers li') || {PROBLEM}")
        assert not self.problem()
        rows: list[dict[str, Any]] = self.browser.evaluate(
            "[...document.querySelectorAll('#answers li[data-share]')].map("
            "({dataset: d}) => ({label: d.label, share: Number(d.share),"
            " box: (d.box ?? '').split(' ').map(Number)}))"
        )
        return rows

    def problem(self) -> str:
        """What it complains of."""
        told: str = self.browser.evaluate(
            f"{PROBLEM} ? document.querySelector('#problem').textContent : ''"
        )
        return told

    def press(self, selector: str) -> None:
        """Tap on something."""
        self.browser.evaluate(f"document.querySelector({selector!r}).click()")

    def fact(self, name: str) -> str:
        """A line of what it tells about the model."""
        row = (
            "[...document.querySelectorAll('#facts dt')]"
            f".find((row) => row.textContent === {name!r})?.nextSibling.textContent"
        )
        self.browser.wait(row)
        told: str = self.browser.evaluate(row)
        return told
