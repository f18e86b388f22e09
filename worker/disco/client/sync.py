"""The client for programs without an event loop: ``AsyncClient``, run on a background thread."""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from disco.client.aio import AsyncClient
from disco.client.background import FORKED, background_loop
from disco.client.connection import Connection
from disco.client.errors import ClientError
from disco.client.submission import Submission
from disco.v1 import coordinator_pb2, jobs_pb2

T = TypeVar("T")

_CLOSE_S = 5.0


class Client:
    """Talks to one server; its methods are those of ``disco.client.aio.AsyncClient``, blocking.

        with Client(resolve()) as client:
            for job in client.list():
                print(job.name)

    Safe to use from several threads. What was not closed is closed when Python exits. An iterator
    holds what one message has brought; one that is not read to its end should be closed
    (``close()``), as generators are.

    Args:
        connection: From ``disco.client.connection.resolve``.
        patience_s: Seconds to go on trying while a server that has answered before does not.
    """

    def __init__(self, connection: Connection, *, patience_s: float = 60.0) -> None:
        self._session = _Session(connection, patience_s)
        self._close = weakref.finalize(self, self._session.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what runs, and let go of the connection. Doing it again does nothing."""
        self._close()

    def about(self) -> jobs_pb2.AboutReply:
        """Return what answers, and who is asking."""
        return self._session.run(lambda client: client.about())

    def upload_code(self, code: bytes, *, namespace: str | None = None) -> str:
        """Bring a serialised ``disco.v1.JobCode``; return its SHA-256 in hexadecimal."""
        return self._session.run(lambda client: client.upload_code(code, namespace=namespace))

    def submit(
        self,
        submission: Submission,
        *,
        namespace: str | None = None,
        name: str = "",
        request_id: str = "",
        dry_run: bool = False,
    ) -> jobs_pb2.Job:
        """Start a job, its code brought before, and return it."""
        return self._session.run(
            lambda client: client.submit(
                submission, namespace=namespace, name=name, request_id=request_id, dry_run=dry_run
            )
        )

    def get(self, name: str, *, namespace: str | None = None) -> jobs_pb2.Job:
        """Return all about a job."""
        return self._session.run(lambda client: client.get(name, namespace=namespace))

    def list(
        self,
        *,
        namespace: str | None = None,
        all_namespaces: bool = False,
        phases: Collection[coordinator_pb2.JobPhase.ValueType] = (),
        label_selector: str = "",
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        page_size: int = 0,
    ) -> Generator[jobs_pb2.Job, None, None]:
        """Yield the jobs, ascending by namespace and name, a page at a time."""
        return self._session.each(
            lambda client: client.list(
                namespace=namespace,
                all_namespaces=all_namespaces,
                phases=phases,
                label_selector=label_selector,
                created_from=created_from,
                created_before=created_before,
                page_size=page_size,
            )
        )

    def watch(
        self,
        name: str,
        *,
        namespace: str | None = None,
        cursor: str = "",
        on_silence: Callable[[str], None] | None = None,
    ) -> Generator[jobs_pb2.WatchJobReply, None, None]:
        """Yield how a job stands, and its events, until it has ended.

        *on_silence* is called on another thread.
        """
        return self._session.each(
            lambda client: client.watch(
                name, namespace=namespace, cursor=cursor, on_silence=on_silence
            )
        )

    def values(
        self,
        name: str,
        *,
        namespace: str | None = None,
        key: str = "",
        prefix: str = "",
        keys_only: bool = False,
    ) -> dict[str, bytes]:
        """Return what a job's tasks that have finished put beside their records, keys ascending."""
        return self._session.run(
            lambda client: client.values(
                name, namespace=namespace, key=key, prefix=prefix, keys_only=keys_only
            )
        )

    def logs(
        self,
        name: str,
        *,
        namespace: str | None = None,
        stage: str = "",
        task: int | None = None,
        attempt: int | None = None,
        follow: bool = False,
        cursor: str = "",
    ) -> Generator[jobs_pb2.LogsReply, None, None]:
        """Yield what a job's code has printed; with *follow*, until the job has ended."""
        return self._session.each(
            lambda client: client.logs(
                name,
                namespace=namespace,
                stage=stage,
                task=task,
                attempt=attempt,
                follow=follow,
                cursor=cursor,
            )
        )

    def results(
        self,
        name: str,
        *,
        namespace: str | None = None,
        first_part: int = 0,
        parts: int = 0,
        cursor: str = "",
    ) -> Generator[jobs_pb2.ResultsReply, None, None]:
        """Yield the frames of a job's records, part by part."""
        return self._session.each(
            lambda client: client.results(
                name, namespace=namespace, first_part=first_part, parts=parts, cursor=cursor
            )
        )

    def records(
        self,
        name: str,
        *,
        namespace: str | None = None,
        first_part: int = 0,
        parts: int = 0,
        trust: bool = False,
        uid: str = "",
    ) -> Generator[tuple[Any, Any], None, None]:
        """Yield the (key, value) records of a job, from its output if it has one."""
        for batch in self._session.each(
            lambda client: client.batches(
                name, namespace=namespace, first_part=first_part, parts=parts, trust=trust, uid=uid
            )
        ):
            yield from batch

    def wait(
        self, name: str, *, namespace: str | None = None, timeout_s: float | None = None
    ) -> jobs_pb2.Job:
        """Return the job when it has ended, however it did; its ``phase`` says how."""
        return self._session.run(
            lambda client: client.wait(name, namespace=namespace, timeout_s=timeout_s)
        )

    def cancel(self, name: str, *, namespace: str | None = None, reason: str = "") -> jobs_pb2.Job:
        """Stop a job for good; ``wait`` tells when it has."""
        return self._session.run(
            lambda client: client.cancel(name, namespace=namespace, reason=reason)
        )

    def retry(self, name: str, *, namespace: str | None = None) -> jobs_pb2.Job:
        """Run what is missing of a failed job."""
        return self._session.run(lambda client: client.retry(name, namespace=namespace))

    def delete(self, name: str, *, namespace: str | None = None, uid: str = "") -> None:
        """Remove a job and all that it left but its output."""
        self._session.run(lambda client: client.delete(name, namespace=namespace, uid=uid))


class _Session:
    """An ``AsyncClient`` that is open on the background loop until it is told to close.

    It knows nothing of the ``Client`` that it is for, so that this one may be forgotten.
    """

    def __init__(self, connection: Connection, patience_s: float) -> None:
        self._loop = background_loop()
        self._client = AsyncClient(connection, patience_s=patience_s)
        self._stop = asyncio.Event()
        self._closed = False
        opened: Future[None] = Future()
        # One task opens and closes it: a connection through kubectl has tasks of its own.
        self._life = self._loop.start(self._live(opened))
        try:
            opened.result()
        except BaseException:
            self._life.cancel()
            raise

    def run(self, call: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        """Return what a call returns."""
        return self._run(call(self._client))

    def each(
        self, call: Callable[[AsyncClient], AsyncGenerator[T, None]]
    ) -> Generator[T, None, None]:
        """Yield what a call yields."""
        stream = call(self._client)
        reading = asyncio.Lock()
        try:
            while True:
                yield self._run(_next(stream, reading))
        except _Exhausted:
            return
        finally:
            self._end(stream, reading)

    def close(self) -> None:
        """End all calls and close the client; doing it again does nothing."""
        if self._closed or self._loop.is_of_parent:  # whose parent closes it
            return
        self._closed = True
        self._loop.start(self._tell_to_stop())
        if not self._loop.is_here:  # as when memory is collected there
            with suppress(TimeoutError):  # it may be cut off in the middle of a long look-up
                self._life.exception(_CLOSE_S)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._closed or self._loop.is_of_parent:
            coroutine.close()
            raise ClientError("the client is closed" if self._closed else FORKED)
        try:
            return self._loop.run(coroutine)
        except CancelledError:
            raise ClientError("the client was closed meanwhile") from None

    def _end(self, stream: AsyncGenerator[T, None], reading: asyncio.Lock) -> None:
        if self._closed or self._loop.is_of_parent:
            return  # it has ended with all calls, or belongs to the parent
        future = self._loop.start(_ended(stream, reading))
        if not self._loop.is_here:
            with suppress(TimeoutError):  # it ends all the same, with the client at the latest
                future.result(_CLOSE_S)

    async def _live(self, opened: "Future[None]") -> None:
        try:
            async with self._client:
                opened.set_result(None)
                await self._stop.wait()
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
            raise

    async def _tell_to_stop(self) -> None:
        self._stop.set()


class _Exhausted(Exception):
    """Nothing follows; StopAsyncIteration cannot pass through a future."""


async def _next(stream: AsyncGenerator[T, None], reading: asyncio.Lock) -> T:
    async with reading:
        try:
            return await anext(stream)
        except StopAsyncIteration:
            raise _Exhausted from None


async def _ended(stream: AsyncGenerator[T, None], reading: asyncio.Lock) -> None:
    async with reading:  # who was interrupted waiting for an item is still being cancelled
        await stream.aclose()
