import socket

import pytest

from disco_engine.local.ports import ReservedPort


def listening(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_a_server_can_listen_on_a_reserved_port_again_and_again() -> None:
    reserved = ReservedPort()
    for _ in range(2):
        with (
            listening(reserved.port),
            socket.create_connection(("127.0.0.1", reserved.port)) as client,
        ):
            assert client.getpeername() == ("127.0.0.1", reserved.port)
    reserved.release()


def test_nobody_else_gets_a_reserved_port() -> None:
    reserved = ReservedPort()

    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", reserved.port))

    reserved.release()
    with socket.socket() as other:
        other.bind(("127.0.0.1", reserved.port))
