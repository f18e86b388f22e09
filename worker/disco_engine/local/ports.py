"""Loopback ports that are known before their servers run, and stay theirs across restarts."""

import socket


class ReservedPort:
    """A port nobody else on the machine gets, for a server that will listen on it.

    The socket is bound but never listens. Linux and the BSDs let another socket with SO_REUSEADDR
    (which gRPC sets) listen on the port all the same, and give it to no one who asks for any port.
    So all processes of a job can be started at once, each knowing the others' addresses.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, 0))
        self.host = host
        self.port: int = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """The ``host:port`` to connect to."""
        return f"{self.host}:{self.port}"

    def release(self) -> None:
        """Let others have the port."""
        self._socket.close()
