"""The partition service as a process: ``python -m disco_engine.partition --help``."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from disco.v1 import partition_pb2_grpc
from disco_engine import logs, memory, process, rpc
from disco_engine.health import served_health
from disco_engine.partition.journal import DirectoryInUseError
from disco_engine.partition.recovery import recover
from disco_engine.partition.service import PartitionService
from disco_engine.partition.space import DiskFullError
from disco_engine.partition.store import Holdings, Limits, Store

_log = logging.getLogger(__name__)

_STOP_GRACE_S = 0.5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m disco_engine.partition",
        description="Keep the blocks of one job's task outputs, and show readers what is sealed.",
        epilog=f"The job's token is read from the environment variable {rpc.TOKEN_VARIABLE}.",
    )
    parser.add_argument("--job-uid", required=True, help="the only job this service serves")
    parser.add_argument("--service-id", required=True, help="its name within the job, e.g. ps-0")
    parser.add_argument("--node", required=True, help="the node it runs on")
    parser.add_argument(
        "--data-dir",
        type=Path,
        required=True,
        help="where its files are; with the same directory a new process goes on where one ended",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any free one")
    parser.add_argument(
        "--memory-bytes",
        type=_at_least_1,
        default=Limits().memory_bytes,
        help="blocks that may wait in memory for the disk (default: %(default)s)",
    )
    parser.add_argument(
        "--storage-limit-bytes",
        type=_at_least_1,
        default=None,
        help="how large its files may get (default: as large as the file system)",
    )
    parser.add_argument(
        "--high-watermark",
        type=_fraction,
        default=Limits().high_watermark,
        help="fraction of the storage from which on pushes are refused (default: %(default)s)",
    )
    process.add_common_arguments(parser)
    return parser


def _at_least_1(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too small: give at least 1")
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0 and at most 1")
    return number


async def _serve(arguments: argparse.Namespace, token: str, holdings: Holdings) -> int:
    store = Store(
        holdings,
        Limits(
            memory_bytes=arguments.memory_bytes,
            storage_bytes=arguments.storage_limit_bytes,
            high_watermark=arguments.high_watermark,
        ),
    )
    service = PartitionService(store, service_id=arguments.service_id, node=arguments.node)
    server = rpc.aio_server(token)
    partition_pb2_grpc.add_PartitionServicer_to_server(service, server)
    port = rpc.listen(server, arguments.host, arguments.port)
    async with (
        served_health(arguments.health_port) as health,
        process.stop_requested(exit_on_stdin_eof=arguments.exit_on_stdin_eof) as stop,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(store.writer.run(), name="writer")
        await server.start()
        process.write_ready(arguments.ready_file, port)
        health.ready = True
        _log.info("serving", extra={"port": port, "data_dir": str(arguments.data_dir)})
        try:
            await stop.wait()
        finally:
            await server.stop(_STOP_GRACE_S)
        try:
            await store.writer.commit()
        except DiskFullError as error:
            _log.error("what was accepted last is not on disk", extra={"error": str(error)})
            return 1
        finally:
            store.writer.stop()
    _log.info("stopped")
    return 0


def main() -> int:
    """Serve until SIGTERM; return the exit status."""
    arguments = _parser().parse_args()
    logs.configure(arguments.log_level)
    memory.keep_freed_memory()
    try:
        token = rpc.token_from_environment()
        rpc.TlsIdentity.from_environment()  # what is wrong with it, is better known now
        holdings = recover(arguments.data_dir, arguments.job_uid)
    except (RuntimeError, DirectoryInUseError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"{arguments.data_dir} cannot be used: {error.strerror}; mend that, or choose another"
            " --data-dir",
            file=sys.stderr,
        )
        return 1
    try:
        return asyncio.run(_serve(arguments, token, holdings))
    except rpc.PortTakenError as error:
        print(error, file=sys.stderr)
        return process.EXIT_PORT_TAKEN
    except rpc.IdentityError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        holdings.close()


if __name__ == "__main__":
    sys.exit(main())
