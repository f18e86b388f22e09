"""``python -m disco_engine.coordinator``: read the flags, coordinate one job, say how it ended."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from google.protobuf.message import DecodeError

from disco.v1 import job_pb2
from disco_engine import logs, memory
from disco_engine.coordinator.errors import CoordinatorError, FencedError
from disco_engine.coordinator.job_run import run_job
from disco_engine.core.job import JobMachine
from disco_engine.core.model import ServiceId
from disco_engine.process import (
    EXIT_FENCED,
    EXIT_PORT_TAKEN,
    add_common_arguments,
    stop_requested,
    write_ready,
)
from disco_engine.rpc import TOKEN_VARIABLE, PortTakenError, token_from_environment

log = logging.getLogger(__name__)

EXIT_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Coordinate a job; return the exit status.

    0: stopped as asked (whatever became of the job: ``Watch`` tells). 1: a bug or an unusable
    environment; a new coordinator may do better. 3: the port is taken. 4: a newer coordinator has
    taken over.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    logs.configure(options.log_level)
    memory.keep_freed_memory()
    try:
        token = token_from_environment()
    except RuntimeError as error:
        parser.error(str(error))
    try:
        asyncio.run(_run(options, token))
    except Exception as error:
        return _explain(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m disco_engine.coordinator",
        description="Own the tasks of one job: give them to workers, decide what counts.",
        epilog=f"The job's token is read from the environment variable {TOKEN_VARIABLE}.",
    )
    parser.add_argument(
        "--job-file", type=_job_spec, required=True, help="a serialised disco.v1.JobSpec"
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0: any free port")
    parser.add_argument(
        "--partition-service",
        type=_service,
        action="append",
        required=True,
        metavar="ID=HOST:PORT",
        help="a partition service of the job; once for each",
    )
    add_common_arguments(parser)
    return parser


def _job_spec(path: str) -> job_pb2.JobSpec:
    try:
        spec = job_pb2.JobSpec.FromString(Path(path).read_bytes())
    except (OSError, DecodeError) as error:
        raise argparse.ArgumentTypeError(f"{path} is not a readable job: {error}") from error
    if not spec.uid or not spec.HasField("settings"):
        raise argparse.ArgumentTypeError(f"the job in {path} has no uid or no settings")
    return spec


def _service(text: str) -> tuple[ServiceId, str]:
    service, equals, address = text.partition("=")
    if not (service and equals and ":" in address):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ps-0=HOST:PORT")
    return ServiceId(service), address


async def _run(options: argparse.Namespace, token: str) -> None:
    async with stop_requested(exit_on_stdin_eof=options.exit_on_stdin_eof) as stop:
        await run_job(
            options.job_file,
            host=options.host,
            port=options.port,
            services=dict(options.partition_service),
            token=token,
            on_ready=partial(write_ready, options.ready_file),
            stop=stop,
            make_machine=JobMachine,
        )


def _explain(error: Exception) -> int:
    for leaf in _leaves(error):
        if isinstance(leaf, FencedError):
            log.error("this coordinator has been replaced", extra={"reason": str(leaf)})
            return EXIT_FENCED
        if isinstance(leaf, PortTakenError):
            print(leaf, file=sys.stderr)
            return EXIT_PORT_TAKEN
        if isinstance(leaf, CoordinatorError):  # the environment is at fault: no traceback
            log.error("the coordinator cannot work", extra={"reason": str(leaf)})
            return EXIT_FAILED
    log.error("the coordinator has a bug and must end", exc_info=error)
    return EXIT_FAILED


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


if __name__ == "__main__":
    sys.exit(main())
