"""Commands that store, read and collect blobs."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from disco.ddfs_cli.options import (
    common,
    ignore_missing,
    job_mode,
    open_ddfs,
    prefix_mode,
    reader_option,
    stream_option,
    token,
    urls_named,
    with_replicas,
)
from disco.functions import reify
from disco.iterables import iterify
from disco.util import format_size

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@common
@ignore_missing
@prefix_mode
@job_mode
@click.argument("urls", nargs=-1)
def cat(urls: tuple[str, ...], ignore_missing: bool, prefix_mode: bool, job_mode: bool) -> None:
    """Print the blobs of tags, and other URLS, as they are."""
    ddfs = open_ddfs()
    for replicas in urls_named(
        ddfs, urls, ignore_missing=ignore_missing, prefix=prefix_mode, jobs=job_mode
    ):
        with ddfs.open(replicas) as content:
            shutil.copyfileobj(content, sys.stdout.buffer)
    sys.stdout.buffer.flush()


@click.command()
@common
@reader_option
@stream_option
@ignore_missing
@prefix_mode
@job_mode
@click.argument("urls", nargs=-1)
def xcat(
    urls: tuple[str, ...],
    reader: str | None,
    streams: tuple[str, ...],
    ignore_missing: bool,
    prefix_mode: bool,
    job_mode: bool,
) -> None:
    """Print the records of tags, and other URLS, a line each; those of chunks without a reader."""
    from disco.core import result_iterator

    ddfs = open_ddfs()
    inputs = urls_named(
        ddfs, urls, ignore_missing=ignore_missing, prefix=prefix_mode, jobs=job_mode
    )
    for record in result_iterator(inputs, **_reading(reader, streams)):
        click.echo("\t".join(map(_text, iterify(record))))


@click.command()
@common
@reader_option
@stream_option
@ignore_missing
@prefix_mode
@with_replicas
@click.option("-u", "--update", is_flag=True, help="Leave out chunks that the tag has already.")
@click.option("-S", "--size", type=click.FloatRange(0, min_open=True), metavar="MB", default=64,
              show_default=True, help="When a chunk ends, compressed.")  # fmt: skip
@click.option("-Z", "--max-record-size", type=click.FloatRange(0, min_open=True), metavar="MB",
              default=1, show_default=True, help="Of the longest record.")  # fmt: skip
@click.argument("tag")
@click.argument("urls", nargs=-1)
def chunk(
    tag: str,
    urls: tuple[str, ...],
    reader: str | None,
    streams: tuple[str, ...],
    ignore_missing: bool,
    prefix_mode: bool,
    replicas: int | None,
    forceon: tuple[str, ...],
    update: bool,
    size: float,
    max_record_size: float,
) -> None:
    """Cut the records of URLS into chunks, and add those to TAG.

    Without a reader, records are lines. "-" is standard input, and names without a slash are tags.
    """
    ddfs = open_ddfs()
    with _with_standard_input(urls or ("-",)) as given:
        inputs = list(
            urls_named(ddfs, given, ignore_missing=ignore_missing, prefix=prefix_mode, jobs=False)
        )
        _tag, links = ddfs.chunk(
            tag,
            inputs,
            replicas=replicas,
            forceon=forceon,
            update=update,
            token=token(),
            chunk_size=int(size * 1024 * 1024),
            max_record_size=int(max_record_size * 1024 * 1024),
            **_reading(reader, streams),
        )
    _created(links)


@click.command()
@common
@with_replicas
@click.option("-E", "--exclude", metavar="TEXT", help="No files with that in their names.")
@click.option("-I", "--include", metavar="TEXT", help="Only files with that in their names.")
@click.option("-r", "--recursive", is_flag=True, help="Directories with all that is in them.")
@click.option("-x", "--tarballs", is_flag=True, help="The files are tar archives: push what is in.")
@click.option("-z", "--compress", is_flag=True, help="Compress what is in archives.")
@click.option("-u", "--update", is_flag=True, help="Leave out files whose name the tag has.")
@click.argument("tag")
@click.argument("files", nargs=-1, type=click.Path(exists=True))
def push(
    tag: str,
    files: tuple[str, ...],
    replicas: int | None,
    forceon: tuple[str, ...],
    exclude: str | None,
    include: str | None,
    recursive: bool,
    tarballs: bool,
    compress: bool,
    update: bool,
) -> None:
    """Store FILES as blobs, and add them to TAG."""
    ddfs = open_ddfs()

    def chosen() -> Iterator[Any]:
        for path in _files(files, recursive=recursive):
            if tarballs:
                yield from ddfs.tarblobs(path, compress, include, exclude)
            elif (include or "") in path and not (exclude and exclude in path):
                yield path

    _tag, links = ddfs.push(
        tag, chosen(), replicas=replicas, forceon=forceon, update=update, token=token()
    )
    _created(links)


@click.command()
@common
@click.option("--grace", metavar="TIME", default="5d", show_default=True,
              help="How long a blob stays that no tag has: a number with s, m, h or d. No push may"
              " take longer.")  # fmt: skip
@click.option("--verify", is_flag=True, help="Read all blobs, and replace damaged copies.")
@click.option("--dry-run", is_flag=True, help="Change nothing, only count.")
def gc(grace: str, verify: bool, dry_run: bool) -> int:
    """Remove blobs that no tag has had for a while, and make copies that are missing.

    The first run that finds a blob without a tag only notes it: run this regularly. The exit status
    is 1 if blobs are lost.
    """
    collected = open_ddfs().collect(_seconds(grace), verify=verify, dry=dry_run)
    click.echo(f"tags\t{collected.tags}")
    click.echo(f"blobs kept\t{collected.kept}\t{format_size(collected.kept_bytes)}")
    click.echo(f"blobs without a tag\t{collected.waiting}")
    click.echo(f"blobs removed\t{collected.removed}\t{format_size(collected.removed_bytes)}")
    click.echo(f"copies made\t{collected.copied}")
    for name, url in collected.lost:
        print(f"Lost: {url} of the tag {name}", file=sys.stderr)
    return 1 if collected.lost else 0


COMMANDS: tuple[click.Command, ...] = (cat, xcat, chunk, push, gc)


def _reading(reader: str | None, streams: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of ``result_iterator`` for the flags."""
    reading: dict[str, Any] = {}
    if reader is not None:
        reading["reader"] = _function(reader)
    if streams:
        chain: list[Any] = []
        for name in streams:
            chain.extend(iterify(_function(name)))
        reading["input_stream"] = tuple(chain)
    return reading


def _function(name: str) -> Any:
    sys.path.insert(0, os.getcwd())  # one's own module, as with `python -m`
    try:
        found = reify(name)
    finally:
        sys.path.pop(0)
    if isinstance(found, str):
        raise click.UsageError(f"there is no {name!r}: expected module.function")
    return found


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return str(value).removesuffix("\n")


@contextmanager
def _with_standard_input(urls: Sequence[str]) -> Iterator[list[str]]:
    """Give *urls*, with a file that has all of standard input in place of "-"."""
    if "-" not in urls:
        yield list(urls)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/stdin"
        with open(path, "wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield [path if url == "-" else url for url in urls]


def _files(paths: Sequence[str], *, recursive: bool) -> Iterator[str]:
    for path in paths:
        if not os.path.isdir(path):
            yield path
        elif not recursive:
            raise click.UsageError(f"{path} is a directory: -r pushes all that is in it")
        else:
            for directory, below, names in os.walk(path):
                below.sort()
                yield from (os.path.join(directory, name) for name in sorted(names))


def _created(links: Sequence[Sequence[str]]) -> None:
    for replicas in links:
        click.echo("created: " + "\t".join(replicas))


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise click.UsageError(f"--grace {text!r}: expected a number with s, m, h or d, such as 5d")
    return float(match[1]) * _UNITS_S[match[2] or "s"]
