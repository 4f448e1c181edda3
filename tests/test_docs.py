"""The documents: links, quoted files and quoted commands are right, and the site builds."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from marks import IN_CI

import kerascnn
from kerascnn import cli
from kerascnn.catalogue import ENTRIES

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        ROOT / "android_demo/README.md",
    ]
)
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
COMMANDS = next(value for value in vars(cli).values() if isinstance(value, click.Group))

pages = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def test_the_front_page_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


@pages
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    inside = [target.partition("#")[0] for target in targets if "://" not in target]
    assert [target for target in inside if not (page.parent / target).exists()] == []


@pages
def test_quoted_files_exist(page: Path) -> None:
    """Modules, tests and benchmarks that a page names by their path."""
    if page.name == "CHANGELOG.md":
        return  # it tells of files as they were
    folders = "kerascnn|training|export|tests|benchmarks|docs|android_demo"
    named = rf"(?<![\w/.-])(?:{folders})/[\w./-]*\.(?:py|md|j2|json|toml|kts|ipynb)\b"
    modules = r"(?<![\w/.-])(?:kerascnn|training|export)(?:/[a-z_0-9]+)+(?![\w./-])"
    quoted = re.findall(f"{named}|{modules}", page.read_text())
    missing = [path for path in quoted if not (ROOT / path).exists()]
    assert [path for path in missing if not (ROOT / f"{path}.py").exists()] == []


@pages
def test_quoted_commands_are_understood(page: Path) -> None:
    """Every `kerascnn ...` parses: the command, its options, and the type of their values."""
    assert list(_faults(page.read_text())) == []


def test_every_command_is_on_the_page_of_commands() -> None:
    text = (ROOT / "docs/guides/commands.md").read_text()
    names = COMMANDS.list_commands(click.Context(COMMANDS))
    assert [name for name in names if f"`kerascnn {name}" not in text] == []


@pages
def test_quoted_python_is_understood(page: Path) -> None:
    """Every name of `kerascnn` and every member of a run exists, and takes the arguments given."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert [fault for block in blocks for fault in _faults_of_python(block)] == []


@pages
def test_quoted_programs_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    quoted = re.findall(r"(?:^ {4}|^|`)make ([a-z-]+)", text, re.MULTILINE)
    assert [target for target in quoted if target not in targets] == []
    scripts = re.findall(r"\bpython\s+(benchmarks/\w+\.py)", text)
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_every_page_of_figures_is_in_the_site() -> None:
    written = {page.name for page in (ROOT / "benchmarks").glob("*.md")}
    included = {page.name for page in (ROOT / "docs/benchmarks").glob("*.md")}
    assert included - {"index.md"} == written


@IN_CI
def test_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    fetched = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    pages = {page.name: page.read_text() for page in (tmp_path / "site").rglob("*.html")}
    found = {name: fetched.findall(text) for name, text in pages.items()}
    assert {name: links for name, links in found.items() if links} == {}
    assert "index.html" in pages


def _faults(text: str) -> Iterator[str]:
    """What is wrong with the commands of a page; what only mentions an option may be unfinished."""
    for line, mention in _quoted_commands(text):
        words = shlex.split(line, comments=True)
        command = COMMANDS.get_command(click.Context(COMMANDS), words[1])
        if command is None:
            yield f"no such command: {line}"
            continue
        if any(word == "..." or word.startswith("[") for word in words):
            continue  # a form, not a command
        try:
            command.make_context(words[1], words[2:])
        except click.exceptions.Exit:  # --help
            pass
        except click.UsageError as error:
            unfinished = isinstance(error, click.MissingParameter | click.BadOptionUsage)
            if not (mention and unfinished):
                yield f"{error.format_message()}: {line}"
        model = words[2] if words[1] == "train" and len(words) > 2 else ""
        if re.fullmatch("[a-z][a-z0-9_]+", model) and model not in ENTRIES:
            yield f"no such model: {line}"


def _faults_of_python(source: str) -> Iterator[str]:
    if "..." in source or not re.match(r"[a-z#@(\[]", source):  # a part of a file
        return
    roots = {"kerascnn": kerascnn, "run": kerascnn.Run}
    for node in ast.walk(ast.parse(source)):
        called = node.func if isinstance(node, ast.Call) else node
        if not isinstance(called, ast.Attribute) or not isinstance(called.value, ast.Name):
            continue
        root = roots.get(called.value.id)
        if root is None:
            continue
        if not hasattr(root, called.attr):
            yield f"no such name: {ast.unparse(called)}"
        elif isinstance(node, ast.Call):
            taken = inspect.signature(getattr(root, called.attr)).parameters
            anything = any(one.kind is one.VAR_KEYWORD for one in taken.values())
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            if not anything and (wrong := given - set(taken)):
                yield f"{ast.unparse(called)} has no {sorted(wrong)}"


def _quoted_commands(text: str) -> Iterator[tuple[str, bool]]:
    """Lines of code, and code within sentences (True), that begin with `kerascnn`."""
    start = r"(?:\S+/bin/)?(?:KERAS_BACKEND=\w+ )?(kerascnn [a-z]"
    yield from (
        (line, False) for line in re.findall(rf"^(?: {{4}})?{start}.*)", text, re.MULTILINE)
    )
    for found in re.findall(rf"(?<!`)`{start}[^`]*)`", text):
        yield re.sub(r"\s+", " ", found), True
