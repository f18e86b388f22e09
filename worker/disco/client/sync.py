"""The client for programs without an event loop: ``AsyncClient``, run on a background thread."""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from disco.client.aio import AsyncClient
from disco.client.background import FORKED, background_loop
from disco.client.connection import Connection
from disco.client.errors import ClientError

P = ParamSpec("P")
T = TypeVar("T")

_CLOSE_S = 5.0


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Client", P], T]:
    """Return the method of a ``Client`` that returns what *method* does."""

    @wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._session.run(lambda client: method(client, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[AsyncClient, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate["Client", P], Generator[T, None, None]]:
    """Return the method of a ``Client`` that yields what *method* does."""

    @wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        return self._session.each(lambda client: method(client, *args, **kwargs))

    return call


class Client:
    """Talks to one server; its methods are those of ``disco.client.aio.AsyncClient``, blocking.

    Where those are asynchronous generators, these are plain ones.

        with Client(resolve()) as client:
            for job in client.list():
                print(job.name)

    Safe to use from several threads. What was not closed is closed when Python exits. An iterator
    holds what one message has brought; one that is not read to its end should be closed
    (``close()``), as generators are. What ``watch`` is to call on silence is called on another
    thread.

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

    about = _blocking(AsyncClient.about)
    upload_code = _blocking(AsyncClient.upload_code)
    submit = _blocking(AsyncClient.submit)
    get = _blocking(AsyncClient.get)
    list = _iterating(AsyncClient.list)
    watch = _iterating(AsyncClient.watch)
    logs = _iterating(AsyncClient.logs)
    values = _blocking(AsyncClient.values)
    results = _iterating(AsyncClient.results)
    wait = _blocking(AsyncClient.wait)
    cancel = _blocking(AsyncClient.cancel)
    retry = _blocking(AsyncClient.retry)
    delete = _blocking(AsyncClient.delete)

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
        """Return an iterator of what a call yields."""
        return self._each(call(self._client))

    def _each(self, stream: AsyncGenerator[T, None]) -> Generator[T, None, None]:
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
