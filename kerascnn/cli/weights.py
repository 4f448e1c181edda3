"""The command that shows published weights, fetches them and looks at the fetched ones."""

from __future__ import annotations

import click

from kerascnn.cli.exits import warn
from kerascnn.cli.options import json_option, options_of
from kerascnn.cli.printing import print_json


@click.command(epilog="Example: kerascnn weights mobilenet_v2 imagenet --option alpha=0.35 --fetch")
@click.argument("model", required=False, metavar="[NAME]")
@click.argument("name", required=False, metavar="[WEIGHTS]")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the network that they are for: alpha=0.35, minimalistic=true, batch_norm=true.",
)
@click.option(
    "--fetch",
    is_flag=True,
    help="Download those that are not in the cache: without --option, of the network that is built "
    "without options.",
)
@click.option("--all", "every", is_flag=True, help="With --fetch: for all options of the network.")
@click.option("--verify", is_flag=True, help="Compare files in the cache with published digests.")
@json_option
@click.pass_context
def weights(
    ctx: click.Context,
    model: str | None,
    name: str | None,
    options: tuple[str, ...],
    fetch: bool,
    every: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """List published weights, and which of them are in the cache.

    NAME is a network, WEIGHTS one of its names for --weights ("imagenet", "coco"). A file is
    downloaded when `train --weights` or `build(weights=...)` asks for it; --fetch does so
    beforehand, for a machine without a network. Exit code 1 if --verify finds a damaged file, 2 if
    nothing of NAME is in the cache.

    By environment: KERASCNN_HOME (where files lie), KERASCNN_OFFLINE=1, KERASCNN_MIRROR (such a
    folder on a server), HF_ENDPOINT, HTTPS_PROXY.
    """
    from kerascnn.errors import InputError
    from kerascnn.weights import inventory

    if fetch and model is None:
        raise InputError("--fetch takes the NAME of a network: kerascnn weights resnet50 --fetch")
    if every and (options or not fetch):
        raise InputError(
            "--all is for --fetch without --option: kerascnn weights NAME --fetch --all"
        )
    asked = options_of(options, "--option", "alpha=0.35")
    rows = inventory.selected(model, name, asked, default=fetch and not every)
    items = [inventory.fetched(row) if fetch else inventory.looked_at(row) for row in rows]
    if verify:
        items = [inventory.verified(item) for item in items]
        if model is not None and not any(item.state for item in items):
            which = " ".join(filter(None, (model, name)))
            raise InputError(
                f"nothing of {which} is in the cache to verify: kerascnn weights {which} --fetch"
            )
    if as_json:
        print_json([item.to_dict() for item in items])
    else:
        click.echo(inventory.table(items))
    damaged = [item for item in items if item.state == "damaged"]
    for item in damaged:
        warn(f"{item.path} is not {item.row.described} as published; delete it")
    if damaged:
        ctx.exit(1)
