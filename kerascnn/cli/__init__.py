"""The command line: it reads what was asked, imports late, and prints; the work is elsewhere."""

from __future__ import annotations

import importlib
import os
from keyword import iskeyword

import click

import kerascnn
from kerascnn import argument_names
from kerascnn.cli.exits import ending
from kerascnn.cli.hashes import fix_hashes
from kerascnn.errors import did_you_mean
from training.common import framework

# Where each command is; a module is imported when its command, or the list of all, is asked for.
_MODULES = {
    "models": "look",
    "recipes": "look",
    "train": "train",
    "import": "bring",
    "find-lr": "train",
    "bench-data": "data",
    "sweep": "train",
    "check": "data",
    "pack": "data",
    "compress": "compress",
    "shrink": "compress",
    "compare": "compress",
    "predict": "predict",
    "evaluate": "use",
    "info": "look",
    "debug": "compress",
    "doctor": "look",
    "demo": "demo",
    "android": "phone",
    "web": "phone",
    "phone": "phone",
    "weights": "weights",
}


def main() -> None:
    """Run the command line; see `commands` for the exit codes."""
    # Chatter of native libraries, off unless somebody asked for it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with argument_names.flags(), framework.preparing(fix_hashes):
        # A command's own exit code comes back as a number, not as an error.
        ending(lambda: commands(standalone_mode=False))


class _Commands(click.Group):
    """Commands by name, each in a module that is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        module = importlib.import_module(f"kerascnn.cli.{_MODULES[cmd_name]}")
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(module, f"{name}_" if iskeyword(name) else name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _MODULES and (hint := did_you_mean(name, _MODULES)):
            ctx.fail(f"No such command {name!r}{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: kerascnn demo",
)
@click.version_option(kerascnn.__version__, prog_name="kerascnn")
def commands() -> None:
    """Train, compress and verify vision models for phones.

    Exit codes: 0 done; 1 failed at run time (disk full, no permission), or nothing met what was
    asked (`shrink`, `sweep`), or something was found (`check`, `doctor`); 2 bad input;
    130 interrupted.
    """
