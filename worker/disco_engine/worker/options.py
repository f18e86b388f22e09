"""What a worker is told when it is started."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from disco_engine.core.model import NodeName, WorkerId


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Who a worker is, and where.

    Attributes:
        coordinator: host:port.
        worker_id: Unique in the job; the same after a restart of the same worker.
        node: The node it runs on, as the partition service there calls it.
        slots: Tasks it runs at the same time, at least 1.
        scratch: A directory on local disk; made if missing. The worker's temporary files are in
            a directory of its own below, which it removes at its end, and also before it starts:
            an earlier process of the same worker may have been killed.
        token: The job's.
        only_stages: Names of the stages whose tasks it takes; empty: all.
        except_stages: Names of stages whose tasks it does not take.
        give_up_s: Seconds without a coordinator after which the worker ends.
        drain_s: Seconds that running attempts may still take once the worker was told to end.
        exit_on_oom: Whether the worker ends when a slot was killed for want of memory.
        on_ready: Called when the coordinator has accepted the worker for the first time.
    """

    coordinator: str
    worker_id: WorkerId
    node: NodeName
    slots: int
    scratch: Path
    token: str
    only_stages: tuple[str, ...] = ()
    except_stages: tuple[str, ...] = ()
    give_up_s: float = 120.0
    drain_s: float = 15.0
    exit_on_oom: bool = False
    on_ready: Callable[[], None] = lambda: None
