"""Whether this process does its work: ``/healthz``, ``/readyz`` and ``/metrics``.

Healthy is who makes progress, not who answers: a leader whose watches went deaf answers, too. Our
own Lease, which changes every two seconds, is watched through the same machinery as the jobs; that
it keeps arriving shows that changes do.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from disco_operator import metrics
from disco_operator.probes import probed

RESYNC_LIMIT_S = 180.0  # three periods
STALL_LIMIT_S = 180.0  # more than a look can take
WATCH_LIMIT_S = 60.0
MISSES_LIMIT = 2
LEASE_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What the judgment rests on; times in seconds.

    Attributes:
        leader: Who leads; empty: nobody that we know of.
        leading_s: For how long we do; None: we do not.
        lease_idle_s: Since something was last tried about the Lease.
        warm: Everything was listed since we lead.
        resync_age_s: Since everything was last listed; None: never yet.
        watch_age_s: Since the watch last delivered the Lease; None: never yet.
        stalled_s: For how long jobs have waited for a look, and none was looked at.
        misses: How many resyncs in a row found changes that the watch had not delivered.
    """

    leader: str = ""
    leading_s: float | None = None
    lease_idle_s: float = 0.0
    warm: bool = False
    resync_age_s: float | None = None
    watch_age_s: float | None = None
    stalled_s: float = 0.0
    misses: int = 0


def ills(signs: Signs) -> tuple[str, ...]:
    """Return what is wrong so that only a new process helps; nothing: healthy."""
    found = []
    if signs.lease_idle_s > LEASE_LIMIT_S:
        found.append(f"the lease was not looked at for {signs.lease_idle_s:.0f} s")
    if signs.leading_s is None:
        return tuple(found)
    resync_s = min(signs.leading_s, _age(signs.resync_age_s))
    if resync_s > RESYNC_LIMIT_S:
        found.append(f"the cluster was not listed for {resync_s:.0f} s")
    watch_s = min(signs.leading_s, _age(signs.watch_age_s))
    # Before the first list there is no watch, and the list may have to be tried again and again.
    if signs.warm and watch_s > WATCH_LIMIT_S:
        found.append(f"the watch delivered nothing for {watch_s:.0f} s")
    if signs.stalled_s > STALL_LIMIT_S:
        found.append(f"jobs wait, and none was looked at for {signs.stalled_s:.0f} s")
    if signs.misses >= MISSES_LIMIT:
        found.append(f"the watch missed changes, {signs.misses} times in a row")
    return tuple(found)


def hindrances(signs: Signs) -> tuple[str, ...]:
    """Return why this process does not reconcile jobs now; nothing: it does."""
    if signs.leading_s is None:
        return (f"following {signs.leader}" if signs.leader else "nobody leads yet",)
    found = []
    if not signs.warm:
        found.append("leading, but the cluster is not listed yet")
    elif signs.watch_age_s is None:
        found.append("leading, but not watching yet")
    return (*found, *ills(signs))


def _age(age_s: float | None) -> float:
    return float("inf") if age_s is None else age_s


def serving(
    port: int, signs: Callable[[], Signs], *, host: str | None = None
) -> AbstractAsyncContextManager[int]:
    """Answer while the block runs; give the port.

    Args:
        port: Where; 0: any.
        signs: Asked for every answer.
        host: One address of this machine; None: all, of both IP versions.

    Raises:
        PortTakenError: Something else answers there.
    """
    return probed(
        port,
        ills=lambda: ills(signs()),
        hindrances=lambda: hindrances(signs()),
        metrics=metrics.text,
        content_type=metrics.CONTENT_TYPE,
        host=host,
    )
