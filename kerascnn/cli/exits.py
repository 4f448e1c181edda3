"""How a command ends: its exit code, and one line on stderr that says why."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import click

from kerascnn.errors import InputError
from training.engine.stopping import Stopped

_LONGEST_LINE = 2000  # characters of a message


# What a wrong path gives; other errors of the system are no fault of what was typed.
_WRONG_PATHS = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def ending(run: Callable[[], int | None]) -> None:
    """Run a command; end the process with its exit code, and with one line on what went wrong."""
    try:
        if code := run():
            sys.exit(code)
    except click.exceptions.Abort:
        fail("interrupted; repeat the command to continue from what was saved", code=130)
    except click.ClickException as error:
        fail(f"{error.format_message()} (see: kerascnn --help)")
    except InputError as error:
        fail(str(error))
    except Stopped as stopped:
        fail(str(stopped), code=128 + stopped.signal)
    except BrokenPipeError:
        # The reader of our output has seen enough; keep Python from saying so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(text_of_system_error(error), code=2 if error.errno in _WRONG_PATHS else 1)


def warn(message: str) -> None:
    """One line on stderr; the command goes on."""
    print(f"kerascnn: warning: {_line(message)}", file=sys.stderr)


def fail(message: str, *, code: int = 2) -> NoReturn:
    """Say why on stderr and end the process."""
    print(f"kerascnn: {_line(message)}", file=sys.stderr)
    sys.exit(code)


def text_of_system_error(error: OSError) -> str:
    """What failed, where, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = "try again, or choose another place"
    if error.errno in _WRONG_PATHS:
        remedy = "check the path"
    elif error.errno in _FULL:
        remedy = "make room, or choose another disk"
    elif error.errno in _FORBIDDEN:
        remedy = "choose a place that you may read and write"
    return f"{where}{error.strerror or error}; {remedy}"


def _line(message: str) -> str:
    """One line; a name in a stranger's file may hold commands to the terminal, or a megabyte."""
    line = " ".join(message.split())
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)
