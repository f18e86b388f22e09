"""Commands that change tags, or read one of its parts."""

import json
import sys
from typing import Any

import click

from disco.ddfs.tags import READ_TOKEN, WRITE_TOKEN
from disco.ddfs_cli.options import common, open_ddfs, prefix_mode, tags_named, token


@click.command()
@common
@click.argument("tag")
def attrs(tag: str) -> None:
    """Print the attributes of TAG, a line "name TAB value" each."""
    for name, value in sorted(open_ddfs().attrs(tag, token()).items()):
        click.echo(f"{name}\t{value}")


@click.command()
@common
@click.argument("tag")
@click.argument("attr")
def getattr(tag: str, attr: str) -> None:
    """Print the attribute ATTR of TAG."""
    value = open_ddfs().getattr(tag, attr, token())
    click.echo(value if isinstance(value, str) else json.dumps(value))


@click.command()
@common
@click.argument("tag")
@click.argument("attr")
@click.argument("val")
def setattr(tag: str, attr: str, val: str) -> None:
    """Set the attribute ATTR of TAG to VAL."""
    open_ddfs().setattr(tag, attr, val, token())


@click.command()
@common
@click.argument("tag")
@click.argument("attr")
def delattr(tag: str, attr: str) -> None:
    """Remove the attribute ATTR of TAG, or a token of it (ddfs:read-token, ddfs:write-token)."""
    open_ddfs().delattr(tag, attr, token())


@click.command()
@common
@click.argument("tag")
@click.argument("new", metavar="TOKEN")
@click.option("-r", "--read", is_flag=True, help="For readers.")
@click.option("-w", "--write", is_flag=True, help="For who changes it.")
def chtok(tag: str, new: str, read: bool, write: bool) -> None:
    """Give TAG the TOKEN; "-" reads it from standard input, where nobody else sees it."""
    if not (read or write):
        raise click.UsageError("say for whom: -r for readers, -w for who changes the tag, or both")
    value = sys.stdin.readline().rstrip("\n") if new == "-" else new
    ddfs = open_ddfs()
    known: Any = token()
    if read:
        ddfs.setattr(tag, READ_TOKEN, value, known)
    if write:
        ddfs.setattr(tag, WRITE_TOKEN, value, known)


@click.command()
@common
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
def cp(source: str, target: str) -> None:
    """Give the tag DST the links of SRC, in place of its own."""
    open_ddfs().clone(source, target, token())


@click.command()
@common
@click.argument("tag")
@click.argument("urls", nargs=-1)
def put(tag: str, urls: tuple[str, ...]) -> None:
    """Give TAG the URLS in place of its own."""
    open_ddfs().put(tag, urls, token())


@click.command()
@common
@click.argument("tag")
@click.argument("urls", nargs=-1)
def tag(tag: str, urls: tuple[str, ...]) -> None:
    """Add URLS to TAG."""
    open_ddfs().tag(tag, urls, token())


@click.command()
@common
@click.argument("tag")
@click.argument("urls", nargs=-1, required=True)
def untag(tag: str, urls: tuple[str, ...]) -> None:
    """Remove URLS from TAG."""
    open_ddfs().untag(tag, urls, token())


@click.command()
@common
@click.argument("tags", nargs=-1, required=True)
def touch(tags: tuple[str, ...]) -> None:
    """Make the TAGS that are not there."""
    ddfs = open_ddfs()
    for name in tags:
        ddfs.touch(name, token())


@click.command()
@common
@prefix_mode
@click.argument("tags", nargs=-1, required=True)
def rm(tags: tuple[str, ...], prefix_mode: bool) -> None:
    """Remove TAGS; "ddfs gc" removes their blobs later, unless other tags have them."""
    ddfs = open_ddfs()
    for name in tags_named(ddfs, tags, prefix=prefix_mode):
        ddfs.delete(name, token())


COMMANDS: tuple[click.Command, ...] = (
    attrs, getattr, setattr, delattr, chtok, cp, put, tag, untag, touch, rm,
)  # fmt: skip
