"""Who made a run's network and on what terms: asked for once, in every file of the run."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from kerascnn.errors import InputError
from training.common import atomic

if TYPE_CHECKING:  # it loads Keras, before which the command line looks at what is given
    from training.engine.run import Run

_FILE = "about.json"
_LONGEST_NAME, _LONGEST_LICENSE = 200, 20_000  # characters; a whole text of a licence fits


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """What nobody but the maker knows of a network.

    Attributes:
        author: a name, one line.
        license: its SPDX identifier (spdx.org/licenses), or the terms in words.

    Raises:
        InputError: more than a line of author, characters that are no text, or too many.
    """

    author: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        if len(self.author) > _LONGEST_NAME or not self.author.isprintable():
            raise InputError(f"--author must be one line of up to {_LONGEST_NAME} characters")
        if len(self.license) > _LONGEST_LICENSE or not _is_text(self.license):
            raise InputError(
                f"--license must be an SPDX identifier, as MIT, or up to {_LONGEST_LICENSE} "
                "characters of plain text"
            )

    @classmethod
    def of(cls, run: Run) -> About:
        """What is known of a run's network; raises InputError where it is damaged."""
        path = run.folder / _FILE
        try:
            stored = json.loads(path.read_text("utf-8"))
            return cls(author=str(stored["author"]), license=str(stored["license"]))
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path} is damaged ({error}); delete it, and give --author and --license again"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return dataclasses.asdict(self)


def check(author: str | None, license: str | None) -> None:
    """Raise InputError for what `remember` would refuse."""
    About(author=(author or "").strip(), license=(license or "").strip())


def remember(run: Run, *, author: str | None = None, license: str | None = None) -> About:
    """Keep what is given for all files that are made of a run from now on.

    Args:
        author, license: None leaves what is known.

    Returns:
        What is known now.

    Raises:
        InputError: as of `About`.
    """
    given = {"author": author, "license": license}
    known = About.of(run)
    changed = {name: text.strip() for name, text in given.items() if text is not None}
    about = dataclasses.replace(known, **changed)
    if about != known:
        text = json.dumps(about.to_dict(), indent=1, ensure_ascii=False)
        atomic.write_text(run.folder / _FILE, f"{text}\n")
    return about


def _is_text(text: str) -> bool:
    return all(line.isprintable() for line in text.replace("\t", " ").split("\n"))
