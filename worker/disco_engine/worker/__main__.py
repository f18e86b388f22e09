"""``python -m disco_engine.worker``: one worker of one job."""

import argparse
import asyncio
import logging
import sys
from contextlib import nullcontext
from pathlib import Path

from disco_engine.core.model import NodeName, WorkerId
from disco_engine.health import served_health
from disco_engine.logs import configure
from disco_engine.memory import keep_freed_memory
from disco_engine.process import (
    EXIT_OUT_OF_MEMORY,
    EXIT_PORT_TAKEN,
    add_common_arguments,
    stop_requested,
    write_ready,
)
from disco_engine.rpc import (
    TOKEN_VARIABLE,
    PortTakenError,
    TlsIdentity,
    token_from_environment,
)
from disco_engine.worker.lingering import wanted_again
from disco_engine.worker.link import CoordinatorError
from disco_engine.worker.options import WorkerOptions
from disco_engine.worker.orphans import ending_orphans
from disco_engine.worker.parent import Worker
from disco_engine.worker.slots import SlotError, SlotMemoryError

log = logging.getLogger("disco_engine.worker")


def main(arguments: list[str] | None = None) -> int:
    """Run a worker and return the process's exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.linger and given.exit_on_stdin_eof:
        parser.error("--linger is for a supervisor that outlives its workers, so give it alone")
    configure(given.log_level)
    keep_freed_memory()
    try:
        token = token_from_environment()
        TlsIdentity.from_environment()  # what is wrong with it, is better known now
    except RuntimeError as error:
        log.error("the worker cannot start", extra={"reason": str(error)})
        return 2
    try:
        # A pod's processes end with it; those of a supervised worker would live on.
        with ending_orphans() if given.exit_on_stdin_eof else nullcontext():
            asyncio.run(_work(given, token))
    except SlotMemoryError as error:
        log.error("the worker ends", extra={"reason": str(error)})
        return EXIT_OUT_OF_MEMORY
    except (CoordinatorError, SlotError) as error:
        log.error("the worker gives up", extra={"reason": str(error)})
        return 1
    except PortTakenError as error:
        print(error, file=sys.stderr)
        return EXIT_PORT_TAKEN
    return 0


async def _work(given: argparse.Namespace, token: str) -> None:
    async with served_health(given.health_port) as health:

        def on_ready() -> None:
            write_ready(given.ready_file, 0)
            health.ready = True

        options = WorkerOptions(
            coordinator=given.coordinator,
            worker_id=WorkerId(given.worker_id),
            node=NodeName(given.node),
            slots=given.slots,
            scratch=given.scratch_dir,
            token=token,
            only_stages=tuple(given.stage),
            except_stages=tuple(given.except_stage),
            give_up_s=given.give_up_after,
            drain_s=given.drain,
            exit_on_oom=given.exit_on_oom,
            on_ready=on_ready,
        )
        worker = Worker(options)
        async with stop_requested(
            exit_on_stdin_eof=given.exit_on_stdin_eof, on_eof=worker.abort
        ) as stop:
            await worker.run(stop)
            while given.linger and not stop.is_set():
                log.info("the job is over: waiting to be told to end")
                if await wanted_again(given.coordinator, token, worker.epoch, stop):
                    log.info("there is a new coordinator, and the job goes on")
                    worker = Worker(options)
                    await worker.run(stop)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m disco_engine.worker",
        description="Run the tasks of one job, in slots that are processes of their own."
        f" The job's token is expected in the environment variable {TOKEN_VARIABLE}.",
    )
    parser.add_argument("--coordinator", required=True, metavar="HOST:PORT", help="where it is")
    parser.add_argument("--worker-id", required=True, help="unique in the job")
    parser.add_argument("--node", required=True, help="the machine, as its partition service says")
    parser.add_argument("--slots", type=_count, default=1, help="tasks at the same time")
    parser.add_argument(
        "--scratch-dir", type=Path, required=True, help="for temporary files; made if missing"
    )
    parser.add_argument(
        "--stage",
        action="append",
        default=[],
        metavar="NAME",
        help="take tasks of this stage, and of no other but those also named; once for each"
        " (default: of all stages). Planning and committing is every worker's work",
    )
    parser.add_argument(
        "--except-stage",
        action="append",
        default=[],
        metavar="NAME",
        help="take no tasks of this stage; once for each",
    )
    parser.add_argument(
        "--give-up-after",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="end with status 1 if the coordinator cannot be reached for so long",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=15.0,
        metavar="SECONDS",
        help="how long running tasks may still take after SIGTERM",
    )
    parser.add_argument(
        "--linger",
        action="store_true",
        help="stay when the job is over, until SIGTERM or a new coordinator of the job comes:"
        " for supervisors that start again whatever ends",
    )
    parser.add_argument(
        "--exit-on-oom",
        action="store_true",
        help=f"end with status {EXIT_OUT_OF_MEMORY} when a slot is killed because the container"
        " has reached its memory limit, charging no task for it",
    )
    add_common_arguments(parser)
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is less than 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
