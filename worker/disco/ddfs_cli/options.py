"""What the commands of ``ddfs`` have in common: flags, and how tags and URLs are named."""

import os
import runpy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from disco.ddfs import DDFS, InvalidTag, canonizetag, istag
from disco.error import CommError, DiscoError
from disco.settings import DiscoSettings

Function = TypeVar("Function", bound=Callable[..., Any])


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Remember a flag where the command and the group above it find it."""
    if value:
        context.find_root().meta.setdefault(__name__, {})[parameter.name] = value


_COMMON = (
    click.option(
        "-s", "--settings", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
        expose_value=False, callback=_keep,
        help="Python file with settings; the environment takes precedence.",
    ),
    click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_keep,
        help="Print the settings first, to standard error.",
    ),
    click.option(
        "-t", "--token", metavar="TOKEN", expose_value=False, callback=_keep,
        help="Token of the tags. Others on this machine can see it: better set DDFS_READ_TOKEN or"
        " DDFS_WRITE_TOKEN.",
    ),
    click.option(
        "-M", "--master", metavar="ROOT", expose_value=False, callback=_keep,
        help="Where tags and blobs are: a directory or a URL.  [DISCO_DDFS]",
    ),
)  # fmt: skip

ignore_missing = click.option(
    "-i", "--ignore-missing", is_flag=True, help="Tags that are not there are empty ones."
)
prefix_mode = click.option(
    "-p", "--prefix-mode", is_flag=True, help="Names are beginnings of names of tags."
)
job_mode = click.option(
    "-j", "--job-mode", is_flag=True, help="Names are of jobs: their saved results are meant."
)
reader_option = click.option(
    "-R", "--reader", metavar="NAME", help="Reader, such as disco.readers.csv_rows."
)
stream_option = click.option(
    "-T", "--stream", "streams", metavar="NAME", multiple=True,
    help="Input stream before the reader; several follow each other.",
)  # fmt: skip
replicas_options = (
    click.option("-n", "--replicas", type=click.IntRange(1), help="Roots that must have each."),
    click.option(
        "-F", "--forceon", multiple=True, metavar="ROOT", help="A root that must be among them."
    ),
)


def common(function: Function) -> Function:
    """Give a command, or the group, the flags that all have."""
    for option in reversed(_COMMON):
        function = option(function)
    return function


def with_replicas(function: Function) -> Function:
    """Give a command the flags that say where copies go."""
    for option in reversed(replicas_options):
        function = option(function)
    return function


def said(flag: str) -> Any:
    """Return what a common flag says, before the command or after it; None: nothing."""
    return click.get_current_context().find_root().meta.get(__name__, {}).get(flag)


def open_ddfs() -> DDFS:
    """Return the DDFS that the flags, the environment and the settings file mean."""
    settings = DiscoSettings()
    if said("settings"):
        try:
            values = runpy.run_path(said("settings"))
        except Exception as error:  # it is the user's program
            raise DiscoError(f"settings file {said('settings')}: {error!r}") from error
        settings.update(
            {name: str(value) for name, value in values.items()
             if name.isupper() and name not in os.environ}
        )  # fmt: skip
    if said("verbose"):
        for name in settings.names():
            value = "(set)" if "TOKEN" in name and settings[name] else settings[name]
            click.echo(f"{name} = {value}", err=True)
    ddfs = DDFS(said("master"), settings=settings)
    click.get_current_context().call_on_close(ddfs.close)
    return ddfs


def token() -> str | None:
    """Return the token that was given by flag."""
    value: str | None = said("token")
    return value


def tags_named(ddfs: DDFS, given: Iterable[str], *, prefix: bool) -> Iterator[str]:
    """Yield the tags that names, URLs or, if *prefix*, beginnings of names stand for."""
    for name in given:
        if prefix:
            yield from ddfs.list(name.removeprefix("tag://"))
        else:
            yield canonizetag(name)


def urls_named(
    ddfs: DDFS, given: Iterable[str], *, ignore_missing: bool, prefix: bool, jobs: bool
) -> Iterator[list[str]]:
    """Yield the replicas of all that the arguments of a command stand for.

    A name without a slash is a tag, as it always was with ``ddfs``; a file is ``./file``.

    Raises:
        CommError: There is no such tag, with a hint if there is a file of that name.
    """
    for name in given:
        if jobs:
            name = ddfs.job_tag(name)
        if not istag(name):
            yield [name]
            continue
        try:
            for tag in tags_named(ddfs, [name], prefix=prefix):
                yield from ddfs.blobs(tag, ignore_missing, token())
        except (InvalidTag, CommError) as error:
            if os.path.exists(name) and getattr(error, "code", 404) == 404:
                raise DiscoError(f"there is no tag {name!r}; for the file, say ./{name}") from error
            raise
