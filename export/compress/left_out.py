"""Files that a network cannot have: named with the reason, while the others are made.

A network of the zoo has every variant. One that was imported may have layers that a step or a
converter does not take.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping

from kerascnn import outside_json
from kerascnn.errors import InputError
from training.common import atomic
from training.common.progress import say
from training.engine.run import Run
from training.engine.stopping import Stopped

FILE = "left_out.json"
_LONGEST = 300  # characters of what a converter says
# Where a converter names the layer of the graph that it fails at.
_LAYER = re.compile(r"(?:StatefulPartitionedCall|functional[_\d]*|model[_\d]*)/([\w./-]+)")


class LeftOut:
    """What one `compress` could not make.

    Args:
        forgiving: the rest is made; else the first error ends it.
    """

    def __init__(self, run: Run, *, forgiving: bool) -> None:
        self._run, self._forgiving = run, forgiving
        self._reasons: dict[str, str] = {}

    @contextlib.contextmanager
    def instead_of(self, file: str) -> Iterator[None]:
        """While open, an InputError is kept as the reason why a file is not there."""
        try:
            yield
        except InputError as error:
            if not self._forgiving:
                raise
            self._reasons[file] = str(error)

    def close(self) -> None:
        """Say what was left out, and keep it for the report."""
        if not self._forgiving:
            return
        path = self._run.folder / FILE
        if not self._reasons:
            path.unlink(missing_ok=True)
            return
        if not any(self._run.artefacts.glob("*.json")):
            first = next(iter(self._reasons.values()))
            raise InputError(f"no file can be made of this network: {first}")
        for file, why in self._reasons.items():
            say(f"left out: {file}: {why}")
        atomic.write_text(path, json.dumps(self._reasons, indent=1, ensure_ascii=False) + "\n")


def of_run(run: Run) -> Mapping[str, str]:
    """Reasons by file of the last `compress` of a run; none where that is not known."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = outside_json.read_object(run.folder / FILE, "")
        if all(map(outside_json.text, found.values())):
            return found
    return {}


@contextlib.contextmanager
def naming(file: str, *, foreign: bool = False) -> Iterator[None]:
    """While open, an InputError begins with the name of a file or variant.

    Args:
        foreign: the network is from elsewhere, so that what a converter raises is one, too.
    """
    try:
        yield
    except InputError as error:
        if str(error).startswith(file):
            raise
        raise InputError(f"{file}: {error}") from error
    except (OSError, MemoryError, Stopped):
        raise
    except Exception as error:
        if not foreign:
            raise
        raise InputError(f"{file}: {_words(error)}") from error


def _words(error: Exception) -> str:
    """What a converter says, without its stack; the layer first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines) or type(error).__name__
    layer = _LAYER.search(text)
    where = f"layer {layer[1].split('/')[0]!r} cannot be converted" if layer else "the converter"
    said = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"{where} ({type(error).__name__}: {said})"
