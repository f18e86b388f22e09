"""``python -m disco_engine.worker``: one worker of one job."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from disco_engine.core.model import NodeName, WorkerId
from disco_engine.logs import configure
from disco_engine.memory import keep_freed_memory
from disco_engine.process import add_common_arguments, stop_requested, write_ready
from disco_engine.rpc import TOKEN_VARIABLE, token_from_environment
from disco_engine.worker.link import CoordinatorError
from disco_engine.worker.options import WorkerOptions
from disco_engine.worker.parent import Worker
from disco_engine.worker.slots import SlotError

log = logging.getLogger("disco_engine.worker")


def main(arguments: list[str] | None = None) -> int:
    """Run a worker and return the process's exit status."""
    given = _parser().parse_args(arguments)
    configure(given.log_level)
    keep_freed_memory()
    try:
        token = token_from_environment()
    except RuntimeError as error:
        log.error("the worker cannot start", extra={"reason": str(error)})
        return 2
    try:
        options = WorkerOptions(
            coordinator=given.coordinator,
            worker_id=WorkerId(given.worker_id),
            node=NodeName(given.node),
            slots=given.slots,
            scratch=given.scratch_dir,
            token=token,
            give_up_s=given.give_up_after,
            drain_s=given.drain,
            on_ready=lambda: write_ready(given.ready_file, 0),
        )
        asyncio.run(_work(options, exit_on_stdin_eof=given.exit_on_stdin_eof))
    except (CoordinatorError, SlotError) as error:
        log.error("the worker gives up", extra={"reason": str(error)})
        return 1
    return 0


async def _work(options: WorkerOptions, *, exit_on_stdin_eof: bool) -> None:
    worker = Worker(options)
    async with stop_requested(exit_on_stdin_eof=exit_on_stdin_eof, on_eof=worker.abort) as stop:
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
    add_common_arguments(parser)
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is less than 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
