"""`kerascnn web`: a folder with a page that runs exported files in any phone's browser.

The page's sources lie in `web_page/`, and its runtime, LiteRT.js, comes from npm. A file says by
itself all that the page has to know, so that nothing is worked out here.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence

from export.deploy.page_icons import icons
from export.deploy.phone_files import Model, PhoneFile, choose
from kerascnn.errors import InputError
from training.common import atomic
from training.common.wording import unit_of

SOURCES = pathlib.Path(__file__).parent / "web_page"
_LIST, _MODELS, _RUNTIME = "models.json", "models", "litert"
_OFFLINE = "service_worker.js"
PAGE = (".html", ".css", ".js", ".svg", ".webmanifest")
# With relaxed SIMD, without, and with threads: a browser loads one of them.
_BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal", "litert_wasm_threaded_internal")
# Browsers know no packages: a file names its neighbour by its place.
_PACKAGE, _NEIGHBOUR = '"@litertjs/wasm-utils"', '"./wasm-utils.js"'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What was written.

    Attributes:
        folder: the page's.
        models: the smallest first, which is the one that the page opens with.
        bytes: of all files.
        visit_bytes: what a browser loads until the first model runs.
    """

    folder: str
    models: tuple[Model, ...]
    bytes: int
    visit_bytes: int


def write_page(
    sources: Sequence[str],
    folder: pathlib.Path,
    *,
    variants: Sequence[str] = (),
    packages: pathlib.Path = SOURCES / "node_modules",
) -> Page:
    """Write the page with the .tflite files of runs.

    Args:
        sources: run folders, and .tflite files.
        folder: new, empty, or of an earlier page, whose models go.
        variants: of the runs; none: all that they have.
        packages: where npm put the runtime.

    Raises:
        InputError: no such file or variant, a file that does not describe itself, a folder with
            something else in it, or no runtime.
    """
    chosen = choose(sources, variants)
    _check_folder(folder)
    parts = {**_runtime(packages), **_sources(), **icons()}
    models = tuple(_copied(one, folder) for one in chosen)
    listed = {
        "runtime": _runtime_name(),
        "models": [dataclasses.asdict(model) for model in models],
    }
    parts[_LIST] = (json.dumps(listed, indent=1, ensure_ascii=False) + "\n").encode()
    # Last, as it tells browsers that the others have changed.
    parts[_OFFLINE] = _with_tables(parts.pop(_OFFLINE), parts, models)
    for place, data in parts.items():
        atomic.write_bytes(folder / place, data)
    for path in (folder / _MODELS).iterdir():
        if path.relative_to(folder).as_posix() not in {model.file for model in models}:
            path.unlink()
    return Page(
        folder=str(folder),
        models=models,
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        visit_bytes=sum(
            len(data)
            for place, data in parts.items()
            if not any(build in place for build in _BUILDS[1:])
        )
        + models[0].bytes,
    )


def as_text(page: Page) -> str:
    """What was written."""
    unit = unit_of([model.bytes for model in page.models])
    models = ", ".join(f"{model.name} ({unit.text(model.bytes)})" for model in page.models)
    return (
        f"{page.folder}: {models}\n"
        f"{unit.text(page.bytes)} in total; a phone loads {unit.text(page.visit_bytes)} "
        "with the first model"
    )


def next_step(page: Page) -> str:
    """How to open it."""
    return (
        f"next: python -m http.server -d {page.folder}, and open http://localhost:8000\n"
        "(browsers allow the camera only on localhost and https pages; --serve serves both)"
    )


def _check_folder(folder: pathlib.Path) -> None:
    """Whether nothing of somebody else's is there."""
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / _LIST).is_file()
    ):
        raise InputError(f"{folder} has other files in it; name a new folder")


def _sources() -> dict[str, bytes]:
    """Files of the page itself, by their places."""
    files = [path for path in sorted(SOURCES.iterdir()) if path.suffix in PAGE]
    files.append(SOURCES / _RUNTIME / "LICENSE.txt")
    return {path.relative_to(SOURCES).as_posix(): path.read_bytes() for path in files}


def _with_tables(script: bytes, parts: Mapping[str, bytes], models: Sequence[Model]) -> bytes:
    """The service worker with the SHA-256 of every file: those of the page, and those kept later.

    A browser takes one of the builds, and a person some of the models.
    """
    digests = {place: hashlib.sha256(data).hexdigest() for place, data in parts.items()}
    page = {
        place: digest
        for place, digest in sorted(digests.items())
        if not any(build in place for build in _BUILDS)
    }
    later = {place: digest for place, digest in sorted(digests.items()) if place not in page}
    later |= {model.file: model.sha256 for model in models}
    text = script.decode()
    for name, table in (("PAGE", page), ("LATER", later)):
        before, after = f"const {name} = {{}};", f"const {name} = {json.dumps(table, indent=1)};"
        if text.count(before) != 1:
            raise ValueError(f"{_OFFLINE} has no {before!r}")
        text = text.replace(before, after)
    return text.encode()


def _runtime_name() -> str:
    """With the version that npm is asked for."""
    asked = json.loads((SOURCES / "package.json").read_text("utf-8"))["dependencies"]
    return f"LiteRT.js {asked['@litertjs/core']}"


def _runtime(packages: pathlib.Path) -> dict[str, bytes]:
    """Files of LiteRT.js, by their places.

    WebAssembly is packed: a third of the size, whatever the server can do.
    """
    install = f"npm ci --prefix {shlex.quote(str(SOURCES))}"
    core, utils = packages / "@litertjs" / "core", packages / "@litertjs" / "wasm-utils"
    try:
        script = (core / "dist" / "index.js").read_text("utf-8")
        found = {
            "litert.js": _without_map(script.replace(_PACKAGE, _NEIGHBOUR)),
            "wasm-utils.js": _without_map((utils / "dist" / "index.js").read_text("utf-8")),
        }
        for name in _BUILDS:
            found[f"{name}.js"] = (core / "wasm" / f"{name}.js").read_bytes()
            wasm = (core / "wasm" / f"{name}.wasm").read_bytes()
            found[f"{name}.wasm.gz"] = gzip.compress(wasm, 6, mtime=0)
    except FileNotFoundError:
        raise InputError(
            f"the page's runtime is not installed; with Node.js, once: {install}"
        ) from None
    if _PACKAGE not in script:
        raise InputError(f"{core} is of another version than the page's; run: {install}")
    return {f"{_RUNTIME}/{name}": data for name, data in found.items()}


def _without_map(script: str) -> bytes:
    """A script without its last line, which names a file for debuggers."""
    return script.partition("\n//# sourceMappingURL=")[0].encode() + b"\n"


def _copied(one: PhoneFile, folder: pathlib.Path) -> Model:
    """A file in the page's folder; its name has its hash, as browsers keep what they have seen."""
    file = f"{_MODELS}/{one.plain_name}-{one.sha256[:8]}.tflite"
    atomic.write_bytes(folder / file, one.path.read_bytes())
    return one.listed(file)
