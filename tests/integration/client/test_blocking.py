"""The client for programs without an event loop."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from textwrap import dedent

import pytest

from disco.client.connection import Connection
from disco.client.errors import ClientError, NotConnectedError, NotFoundError
from disco.client.sync import Client
from disco.v1 import coordinator_pb2
from disco_engine.records.blocks import encode
from disco_gateway.fake import TOKEN
from disco_gateway.fake_partition import serving_partition, source_of

from .conftest import Elsewhere, submission

SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED


@pytest.fixture
def connection(elsewhere: Elsewhere) -> Connection:
    return elsewhere.replicas.connection()


@pytest.fixture
def client(connection: Connection) -> Iterator[Client]:
    with Client(connection) as opened:
        yield opened


def test_every_call_is_there(client: Client, elsewhere: Elsewhere) -> None:
    assert client.about().user == "alice"
    job = client.submit(submission(), name="words")
    assert [found.name for found in client.list()] == ["words"]
    assert client.get("words").uid == job.uid
    elsewhere.do(elsewhere.backend.print, "default", "words", "hello")
    client.cancel("words", reason="enough")
    assert client.wait("words").message == "cancelled by alice: enough"
    told = [event.text for reply in client.watch("words") for event in reply.events]
    assert told == ["hello", "cancelled by alice: enough"]
    logs = [entry.text for reply in client.logs("words", follow=True) for entry in reply.entries]
    assert logs == ["hello"]
    elsewhere.do(
        elsewhere.backend.change, "default", "words", phase=coordinator_pb2.JOB_PHASE_FAILED
    )
    assert client.retry("words").phase == coordinator_pb2.JOB_PHASE_PENDING
    client.delete("words", uid=job.uid)
    with pytest.raises(NotFoundError):
        client.get("words")


def test_records_are_read(client: Client, elsewhere: Elsewhere) -> None:
    blocks = [[(1000, encode(list(range(1000)), ["x"] * 1000))] * 3, [(1, encode(["end"], [0]))]]
    partition = serving_partition(blocks)
    source = source_of(elsewhere.run(partition.__aenter__()))
    elsewhere.do(elsewhere.backend.add, "default", "done")
    elsewhere.do(elsewhere.backend.finish, "default", "done", source=source)
    records = list(client.records("done"))
    assert records[:2] == [(0, "x"), (1, "x")]
    assert (len(records), records[-1]) == (3001, ("end", 0))
    assert len([block for reply in client.results("done") for block in reply.blocks]) == 4
    with closing(client.records("done")) as some:
        assert len(list(islice(some, 5))) == 5
    elsewhere.run(partition.__aexit__(None, None, None))


def test_several_threads_share_a_client(client: Client, elsewhere: Elsewhere) -> None:
    for number in range(8):
        elsewhere.do(elsewhere.backend.add, "default", f"job-{number}")

    def use(number: int) -> int:
        name = f"job-{number}"
        for _ in range(10):
            assert client.get(name).name == name
        elsewhere.do(elsewhere.backend.finish, "default", name)
        return client.wait(name).phase

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(use, range(8))) == [SUCCEEDED] * 8


def test_who_closes_a_client_ends_what_others_wait_for(
    connection: Connection, elsewhere: Elsewhere
) -> None:
    elsewhere.do(elsewhere.backend.add, "default", "words")
    client = Client(connection)
    watching = client.watch("words")
    next(watching)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.wait, "words")
        assert client.get("words").name == "words"
        client.close()
        with pytest.raises(ClientError, match="closed"):
            waiting.result(30)
    with pytest.raises(ClientError, match="the client is closed"):
        client.about()
    with pytest.raises(ClientError, match="the client is closed"):
        next(watching)
    client.close()


def test_clients_that_are_forgotten_leave_no_threads(
    connection: Connection, elsewhere: Elsewhere
) -> None:
    elsewhere.do(elsewhere.backend.add, "default", "words")
    Client(connection).about()
    before = threading.active_count()
    for _ in range(5):
        client = Client(connection)
        next(client.watch("words"))
        del client
    gc.collect()
    assert threading.active_count() == before


def test_what_cannot_be_opened_is_told_by_the_constructor(connection: Connection) -> None:
    from dataclasses import replace

    with pytest.raises(ClientError, match="ca_file"):
        Client(replace(connection, ca_file=Path("/nowhere")))


def _script(elsewhere: Elsewhere, text: str) -> list[str]:
    """Return the command line of a program that uses a client."""
    opening = f"""
        from disco.client.connection import resolve
        from disco.client.sync import Client
        client = Client(resolve(server="127.0.0.1:{elsewhere.replicas.port}", token={TOKEN!r}))
    """
    return [sys.executable, "-c", dedent(opening) + dedent(text)]


def test_a_program_may_end_without_closing_anything(elsewhere: Elsewhere) -> None:
    elsewhere.do(elsewhere.backend.add, "default", "words")
    program = _script(elsewhere, "stream = client.watch('words'); print(next(stream).job.name)")
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "words\n", "")


def test_ctrl_c_interrupts_a_call_and_the_client_goes_on(elsewhere: Elsewhere) -> None:
    elsewhere.do(elsewhere.backend.add, "default", "words")
    program = _script(
        elsewhere,
        """
        print("waits", flush=True)
        try:
            client.wait("words")
        except KeyboardInterrupt:
            print(client.get("words").name)
        client.close()
        """,
    )
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waits\n"
        while not _asked_to_watch(elsewhere):
            time.sleep(0.01)
        process.send_signal(2)
        out, told = process.communicate(timeout=60)
    assert (process.returncode, out, told) == (0, b"words\n", b"")


def test_ctrl_c_interrupts_an_iterator_that_waits(elsewhere: Elsewhere) -> None:
    """Closing the iterator raised RuntimeError over the interruption: it was still being read."""
    elsewhere.do(elsewhere.backend.add, "default", "words")
    program = _script(
        elsewhere,
        """
        try:
            for reply in client.watch("words"):
                print(reply.job.name, flush=True)
        except KeyboardInterrupt:
            print(client.get("words").name)
        """,
    )
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"words\n"
        process.send_signal(2)
        out, told = process.communicate(timeout=60)
    assert (process.returncode, out, told) == (0, b"words\n", b"")


def _asked_to_watch(elsewhere: Elsewhere) -> bool:
    return any(verb == "watch" for _, verb, _ in elsewhere.backend.asked)


def test_a_process_that_is_forked_is_told_and_its_parent_goes_on(elsewhere: Elsewhere) -> None:
    """gRPC would end the new process with a failed check of its own."""
    program = _script(
        elsewhere,
        """
        import os, sys
        client.about()
        child = os.fork()
        if child == 0:
            for use in (client.about, lambda: Client(client._session._client._connection)):
                try:
                    use()
                except Exception as error:
                    print(error, flush=True)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(client.about().user)
        """,
    )
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    first, second, third = ended.stdout.splitlines()
    assert first.startswith("this process was forked from one that uses the client")
    assert second == first
    assert third == "alice"


def test_nothing_listening_is_told(elsewhere: Elsewhere) -> None:
    elsewhere.run(elsewhere.replicas.stop())
    with Client(elsewhere.replicas.connection()) as client, pytest.raises(NotConnectedError):
        client.about()
