"""Connections to the processes of jobs: shown who we are, and with the job's token."""

from datetime import UTC, datetime

from disco_engine.rpc import Line, aio_channel, credentials_of
from disco_operator.identity import Identities


def line_to(identities: Identities, uid: str, address: str) -> Line:
    """Open a connection to a process of a job.

    Args:
        identities: What jobs and we prove who we are with.
        uid: The job's.
        address: host:port of the process.
    """
    # Valid from now on, since the job's own clock matters as little as ours.
    identity = identities.client_identity(uid, datetime.now(UTC))
    channel = aio_channel(address, identity=identity)
    return Line(channel=channel, metadata=credentials_of(identities.token(uid)))
