"""Connections to the processes of jobs: shown who we are, and with the job's token."""

from datetime import UTC, datetime
from functools import lru_cache

from disco_engine.rpc import Line, TlsIdentity, aio_channel, credentials_of
from disco_operator.identity import Identities

REMEMBERED = 4_096
"""Jobs whose certificate is kept; it takes 0.8 ms to sign one, and 3 kB to keep it."""


class Lines:
    """Opens connections.

    Args:
        identities: What jobs and we prove who we are with.
    """

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._identity = lru_cache(REMEMBERED)(self._made_identity)

    def to(self, uid: str, address: str) -> Line:
        """Open a connection to a process of a job.

        Args:
            uid: The job's.
            address: host:port of the process.
        """
        channel = aio_channel(address, identity=self._identity(uid))
        return Line(channel=channel, metadata=credentials_of(self._identities.token(uid)))

    def _made_identity(self, uid: str) -> TlsIdentity:
        # Valid from now on, since the job's own clock matters as little as ours.
        return self._identities.client_identity(uid, datetime.now(UTC))
