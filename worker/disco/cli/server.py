"""The server that a command talks to: found, opened, and its errors turned into exit statuses."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from disco.cli.connection_options import where
from disco.cli.errors import (
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    EXIT_WRONG_USE,
    CommandError,
)

if TYPE_CHECKING:
    from disco.client.connection import Connection
    from disco.client.errors import ClientError
    from disco.client.sync import Client

_PATIENCE_OF_SHELLS_S = 2.0


@contextmanager
def open_server(*, namespace: str | None = None, patience_s: float = 60.0) -> Iterator["Client"]:
    """Give a client of the server that flags, environment and settings name.

    Args:
        namespace: Instead of the one that flags name.
        patience_s: Seconds to go on trying while a server that has answered before does not.

    Raises:
        CommandError: There is no such server, or a call of the body was not carried out.
    """
    from disco.client.sync import Client

    with client_errors(), Client(named_server(namespace), patience_s=patience_s) as client:
        yield client


def named_server(namespace: str | None = None) -> "Connection":
    """Return where the server is that flags, environment and settings name, and who asks.

    Raises:
        ClientError: There is no such server.
    """
    from disco.client.connection import resolve

    said = where()
    return resolve(
        context=said.context,
        server=said.server,
        namespace=namespace or said.namespace,
        token_file=said.token_file,
    )


@contextmanager
def client_errors() -> Iterator[None]:
    """Turn errors of the client into the end of the command."""
    from disco.client.errors import ClientError
    from disco.error import DiscoError

    try:
        yield
    except ClientError as error:
        raise CommandError(str(error), exit_status(error)) from error
    except DiscoError as error:
        raise CommandError(str(error), EXIT_WRONG_USE) from error


def exit_status(error: "ClientError") -> int:
    """Return the exit status that tells a script what kind of error it was."""
    from disco.client import errors

    match error:
        case (
            errors.NotConnectedError()
            | errors.UnauthenticatedError()
            | errors.DeniedError()
            | errors.OverloadedError()
            | errors.UnavailableError()
            | errors.InternalError()
        ):
            return EXIT_UNREACHABLE
        case errors.NotPossibleError() | errors.GoneError() | errors.LostRecordsError():
            return EXIT_FAILED
        case _:
            return EXIT_WRONG_USE


class JobName(NamedTuple):
    """Which job is meant; *namespace* None: the one that flags or settings name."""

    namespace: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class _JobNameType(click.ParamType[JobName]):
    name = "job"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> JobName:
        """Return what NAME or NAMESPACE/NAME means."""
        if isinstance(value, JobName):
            return value
        namespace, slash, name = str(value).rpartition("/")
        if not name or (slash and not namespace):
            self.fail(f'expected the name of a job, found "{value}"', param, ctx)
        return JobName(namespace or None, name)


def _complete_jobs(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the names of jobs, if the server answers at once."""
    from itertools import islice

    names: list[str] = []
    late = suppress(CommandError, TimeoutError)
    with late, _at_once(), context, open_server(patience_s=0) as client:
        names = [job.name for job in islice(client.list(), 500)]
    return [name for name in names if name.startswith(incomplete)]


@contextmanager
def _at_once() -> Iterator[None]:
    """Raise TimeoutError if the body takes so long that somebody waits for a shell's answer."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_OF_SHELLS_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def job_argument(**more: Any) -> Callable[[Any], Any]:
    """Return the decorator for a JOB that a server knows; *more* as for ``click.argument``.

    "@" is the newest job, "@?TEXT" the newest that has the text in its name, as Disco's command
    line has it.
    """
    argument = click.argument("job", type=_JobNameType(), shell_complete=_complete_jobs, **more)

    def decorate(function: Any) -> Any:
        @wraps(function)
        def call(*arguments: Any, job: Any, **named: Any) -> Any:
            several = not isinstance(job, JobName)
            found = tuple(map(_newest, job)) if several else _newest(job)
            return function(*arguments, job=found, **named)

        return argument(call)

    return decorate


def job_called(text: str) -> JobName:
    """Return the job that a text of a command's own means, as `job_argument` would."""
    return _newest(_JobNameType().convert(text, None, None))


def _newest(job: JobName) -> JobName:
    """Return the job that is meant, if it is named by how new it is.

    Raises:
        CommandError: There is none.
    """
    if not job.name.startswith("@"):
        return job
    if job.name[1:2] not in ("", "?"):
        raise CommandError(f"{job}: expected @, @?TEXT or a name", EXIT_WRONG_USE)
    with open_server(namespace=job.namespace) as client:
        named = [one for one in client.list() if job.name[2:] in one.name]
    if not named:
        raise CommandError(f"{job}: there is no such job", EXIT_WRONG_USE)
    return JobName(job.namespace, max(named, key=lambda one: one.created.ToNanoseconds()).name)
