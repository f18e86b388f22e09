"""``python -m disco_engine.coordinator``: read the flags, coordinate one job, say how it ended."""

import argparse
import asyncio
import hashlib
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from disco.v1 import job_pb2
from disco_engine import logs, memory
from disco_engine.coordinator.errors import CoordinatorError, FencedError
from disco_engine.coordinator.job_run import run_job
from disco_engine.core.job import JobMachine
from disco_engine.core.model import ServiceId
from disco_engine.health import served_health
from disco_engine.process import (
    EXIT_FENCED,
    EXIT_PORT_TAKEN,
    add_common_arguments,
    leaves_of,
    stop_requested,
    write_ready,
)
from disco_engine.rpc import (
    TOKEN_VARIABLE,
    IdentityError,
    PortTakenError,
    TlsIdentity,
    token_from_environment,
)

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
        code = _job_code(options.code_file, options.code_sha256)
    except CodeError as error:
        parser.error(f"argument --code-file: {error}")
    try:
        token = token_from_environment()
        TlsIdentity.from_environment()  # what is wrong with it, is better known now
    except RuntimeError as error:
        parser.error(str(error))
    try:
        asyncio.run(_run(options, code, token))
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
    parser.add_argument(
        "--code-file",
        action="append",
        default=[],
        metavar="PATH",
        help="a serialised disco.v1.JobCode, instead of that in the job file; if it brings no"
        " modules or no python_path, those of the job file stay; may be in several files, each"
        " named in order",
    )
    parser.add_argument(
        "--code-sha256",
        default="",
        metavar="HEX",
        help="checksum of all code files together: nothing else is run (default: not checked)",
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
    parser.add_argument(
        "--wait-for-services",
        type=float,
        metavar="SECONDS",
        help="how long the first partition service to answer may take (default: its lease);"
        " the others then have as long as the lease",
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


class CodeError(ValueError):
    """The submitted code cannot be run."""


def _job_code(paths: Sequence[str], sha256: str) -> job_pb2.JobCode | None:
    """Return the code in the files; None: there are none.

    Raises:
        CodeError: It cannot be read, or is not what the checksum says.
    """
    if not paths:
        return None
    where = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    try:
        content = b"".join(Path(path).read_bytes() for path in paths)
    except OSError as error:
        raise CodeError(f"{error.filename} is not readable code: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if sha256 and digest != sha256:
        raise CodeError(
            f"the code in {where} is not what was submitted: its SHA-256 is {digest}, that of the"
            f" submission {sha256}; nothing of it was run: delete the job and submit it again"
        )
    try:
        code = job_pb2.JobCode.FromString(content)
    except DecodeError as error:
        raise CodeError(f"{where} is not readable code: {error}") from error
    if not code.loader:
        raise CodeError(f"the code in {where} names no loader")
    return code


def _with_code(spec: job_pb2.JobSpec, code: job_pb2.JobCode | None) -> job_pb2.JobSpec:
    """Return the job with other code; what that does not bring stays as it is."""
    if code is None:
        return spec
    merged = job_pb2.JobSpec()
    merged.CopyFrom(spec)
    merged.code.loader, merged.code.payload = code.loader, code.payload
    if code.modules_zip:
        merged.code.modules_zip = code.modules_zip
    if code.python_path:
        merged.code.python_path[:] = code.python_path
    return merged


def _service(text: str) -> tuple[ServiceId, str]:
    service, equals, address = text.partition("=")
    if not (service and equals and ":" in address):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ps-0=HOST:PORT")
    return ServiceId(service), address


async def _run(options: argparse.Namespace, code: job_pb2.JobCode | None, token: str) -> None:
    async with (
        memory.seldom_collected(),
        served_health(options.health_port) as health,
        stop_requested(exit_on_stdin_eof=options.exit_on_stdin_eof) as stop,
    ):

        def on_ready(port: int) -> None:
            write_ready(options.ready_file, port)
            health.ready = True

        await run_job(
            _with_code(options.job_file, code),
            host=options.host,
            port=options.port,
            services=dict(options.partition_service),
            token=token,
            on_ready=on_ready,
            stop=stop,
            make_machine=JobMachine,
            least_epoch=int(time.time()),
            wait_for_services_s=options.wait_for_services,
        )


def _explain(error: Exception) -> int:
    for leaf in leaves_of(error):
        if isinstance(leaf, FencedError):
            log.error("this coordinator has been replaced", extra={"reason": str(leaf)})
            return EXIT_FENCED
        if isinstance(leaf, PortTakenError):
            print(leaf, file=sys.stderr)
            return EXIT_PORT_TAKEN
        if isinstance(leaf, CoordinatorError | IdentityError):  # no traceback: not a bug
            log.error("the coordinator cannot work", extra={"reason": str(leaf)})
            return EXIT_FAILED
    log.error("the coordinator has a bug and must end", exc_info=error)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
