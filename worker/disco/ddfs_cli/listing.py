"""Commands that say what there is."""

import json
import sys

import click

from disco.ddfs_cli.options import (
    common,
    ignore_missing,
    open_ddfs,
    prefix_mode,
    tags_named,
    token,
)


@click.command()
@common
@ignore_missing
@prefix_mode
@click.argument("tags", nargs=-1)
def blobs(tags: tuple[str, ...], ignore_missing: bool, prefix_mode: bool) -> None:
    """Print the blobs of TAGS and of the tags they have links to, a line of replicas each."""
    ddfs = open_ddfs()
    for name in tags_named(ddfs, tags, prefix=prefix_mode):
        for replicas in ddfs.blobs(name, ignore_missing, token()):
            click.echo("\t".join(replicas))


@click.command()
@common
@click.argument("tag")
def exists(tag: str) -> int:
    """Tell, by the exit status too, whether there is such a TAG."""
    there = open_ddfs().exists(tag)
    click.echo(there)
    return 0 if there else 1


@click.command()
@common
@click.argument("tag")
def get(tag: str) -> None:
    """Print TAG as JSON."""
    click.echo(json.dumps(open_ddfs().get(tag, token())))


@click.command()
@common
@ignore_missing
@prefix_mode
@click.option("-w", "--warn-missing", is_flag=True, help="Say which tags are not there.")
@click.argument("tags", nargs=-1)
def find(
    tags: tuple[str, ...], ignore_missing: bool, prefix_mode: bool, warn_missing: bool
) -> None:
    """Print TAGS and all the tags that they have links to, once each."""
    ddfs = open_ddfs()
    named = list(tags_named(ddfs, tags, prefix=prefix_mode))
    wanted = set(named)
    for name, children, _blobs in ddfs.findtags(named, ignore_missing or warn_missing, token()):
        wanted.discard(name)
        wanted.update(children)
        click.echo(name)
    if warn_missing:
        for name in sorted(wanted):
            if not ddfs.exists(name):
                print(f"Tag not found: {name}", file=sys.stderr)


@click.command()
@common
@ignore_missing
@prefix_mode
@click.option("-r", "--recursive", is_flag=True, help="And what each has links to.")
@click.argument("prefixes", nargs=-1)
def ls(prefixes: tuple[str, ...], ignore_missing: bool, prefix_mode: bool, recursive: bool) -> None:
    """Print the tags that begin with the PREFIXES, or all; -p is what it always does."""
    ddfs = open_ddfs()
    for name in (name for prefix in prefixes or ("",) for name in ddfs.list(prefix)):
        click.echo(name)
        if recursive:
            for path, _tags, blobs in ddfs.walk(name, ignore_missing, token=token()):
                if len(path) > 1:
                    click.echo("  " * (len(path) - 1) + path[-1])
                for replicas in blobs or ():
                    click.echo("  " * len(path) + "\t".join(replicas))


@click.command()
@common
@prefix_mode
@click.argument("tags", nargs=-1, required=True)
def stat(tags: tuple[str, ...], prefix_mode: bool) -> None:
    """Print what there is to know about TAGS, but for their links."""
    ddfs = open_ddfs()
    for name in tags_named(ddfs, tags, prefix=prefix_mode):
        found = ddfs.get(name, token())
        click.echo(
            "\t".join([found["id"], found["last-modified"], f"{len(found['urls'])} links",
                       json.dumps(found["user-data"])])
        )  # fmt: skip


@click.command()
@common
@prefix_mode
@click.argument("tags", nargs=-1, required=True)
def urls(tags: tuple[str, ...], prefix_mode: bool) -> None:
    """Print the links of TAGS, a line of replicas each."""
    ddfs = open_ddfs()
    for name in tags_named(ddfs, tags, prefix=prefix_mode):
        for replicas in ddfs.urls(name, token()):
            click.echo("\t".join(replicas))


COMMANDS: tuple[click.Command, ...] = (blobs, exists, get, find, ls, stat, urls)
