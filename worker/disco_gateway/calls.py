"""What every call goes through, whichever door it came in by: is there room, who asks, how long."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from disco_engine.partition.budget import ByteBudget
from disco_gateway.backend import Backend, Caller
from disco_gateway.errors import (
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from disco_gateway.limits import Limits
from disco_gateway.methods import METHODS, Method
from disco_gateway.remembering import Remembered

KNOWN_S = 10.0
"""How long an accepted token is not asked about again, and so may still be used after it was taken
away: a job's client asks every second or so."""

_MAX_KNOWN = 1_000
_MAX_TOKEN = 16 * 1024

OPEN_TO_ALL = "About"
"""The one call that needs no token."""


class Callers:
    """Who asks: tokens that the backend accepted a moment ago are not asked about again.

    No token stays in memory because of this: what is remembered is its SHA-256.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._known: Remembered[bytes, Caller] = Remembered(
            for_s=KNOWN_S, most=_MAX_KNOWN, clock=clock
        )

    async def of(self, authorization: str | None) -> Caller:
        """Return who shows *authorization*, the text "Bearer" and a token.

        Raises:
            UnauthenticatedError: It is not that, or nobody's.
            UnavailableError: Nobody can tell now.
        """
        token = _token(authorization)
        digest = hashlib.sha256(token.encode()).digest()
        return replace(await self._known.of(digest, lambda: self._ask(token)), token=token)

    async def _ask(self, token: str) -> Caller:
        return replace(await self._backend.authenticate(token), token="")


def _token(authorization: str | None) -> str:
    if not authorization:
        raise UnauthenticatedError(
            'this call needs "authorization" with "Bearer" and a token, and has none'
        )
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise UnauthenticatedError('"authorization" must be "Bearer", a space and a token')
    if len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise UnauthenticatedError("the token is not one: it is too long, or has odd characters")
    return token


_MAY_BE_LARGE = "Submit"
"""The one call whose request may be large: no other has a field that is long and makes sense."""

_SMALL_BYTES = 64 * 1024

_STREAMS, _UPLOADS, _CALLS = "streams", "uploads", "calls"


def _kind_of(method: Method) -> str:
    """Return which room a call needs: slow uploads must not take that of quick calls."""
    if method.gives_stream:
        return _STREAMS
    return _UPLOADS if method.takes_stream else _CALLS


_ALIKE = {
    kind: tuple(method.name for method in METHODS if _kind_of(method) == kind)
    for kind in (_STREAMS, _UPLOADS, _CALLS)
}


class Calls:
    """The calls that go on now, and the room there is for more.

    Attributes:
        open: How many go on, by name.
        closing: The gateway ends.
    """

    def __init__(
        self, backend: Backend, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.open: Counter[str] = Counter()
        self._limits = limits
        self._has_others = backend.kind == "kubernetes"
        self._callers = Callers(backend, clock)
        self._streams_of: Counter[str] = Counter()
        self._memory = ByteBudget(limits.request_memory_bytes)
        self._ends: set[asyncio.Timeout] = set()
        self.closing = False

    def close(self) -> None:
        """End every stream, so that its reader goes on at another replica, if there are others.

        Nobody is let in any more.
        """
        self.closing = True
        now = asyncio.get_running_loop().time()
        while self._ends:
            self._ends.pop().reschedule(now)

    @asynccontextmanager
    async def entered(
        self, method: Method, authorization: str | None, *, patience_s: float | None = None
    ) -> AsyncIterator[Caller | None]:
        """Give who asks, while the block carries out the call in the time that there is.

        Args:
            method: Which call.
            authorization: What was shown; None: nothing.
            patience_s: How long the caller waits; None: he does not say.

        Raises:
            UnauthenticatedError: Nobody knows who asks.
            OverloadedError: There are too many calls.
            UnavailableError: The gateway ends.
            DeadlineError: It took too long.
        """
        limit_s = self._limit_s(method, patience_s)
        end = asyncio.timeout(limit_s)
        with self._place(method):
            try:
                async with end:
                    if method.gives_stream:
                        self._ends.add(end)
                    caller = await self._caller(method, authorization)
                    with self._share(method, caller):
                        yield caller
            except TimeoutError as error:
                if not end.expired():
                    raise
                if limit_s is None:
                    raise self._ending() from error
                raise DeadlineError(
                    f"not answered within {limit_s:g} s; what was asked for may have been done:"
                    " look, or repeat a submission with its request_id"
                ) from error
            finally:
                self._ends.discard(end)

    def _limit_s(self, method: Method, patience_s: float | None) -> float | None:
        """Return how long a call may take; None: as long as its caller likes."""
        if method.gives_stream:
            return None
        limit_s = self._limits.upload_s if method.takes_stream else self._limits.call_s
        return limit_s if patience_s is None else min(limit_s, patience_s)

    async def _caller(self, method: Method, authorization: str | None) -> Caller | None:
        if method.name != OPEN_TO_ALL:
            return await self._callers.of(authorization)
        try:
            return await self._callers.of(authorization) if authorization else None
        except UnauthenticatedError:
            return None

    def most_bytes(self, method: Method) -> int:
        """Return how large a request may be."""
        return self._limits.request_bytes if method.name == _MAY_BE_LARGE else _SMALL_BYTES

    @asynccontextmanager
    async def holding(self, method: Method, size: int) -> AsyncIterator[None]:
        """Keep the memory that a request of *size* bytes takes, while the block deals with it.

        Raises:
            InvalidRequestError: It is too large.
        """
        most = self.most_bytes(method)
        if size > most:
            raise InvalidRequestError.of(
                "body", f"is too large: expected at most {most} bytes, found {size}"
            )
        if size <= _SMALL_BYTES:
            yield
            return
        await self._memory.take(size)
        try:
            yield
        finally:
            self._memory.give(size)

    @contextmanager
    def _place(self, method: Method) -> Iterator[None]:
        """Have the call be one of those that go on."""
        if self.closing:
            raise self._ending()
        kind, most = self._room(method)
        if sum(self.open[name] for name in _ALIKE[kind]) >= most:
            raise OverloadedError(f"{most} {kind} go on already: try again soon")
        self.open[method.name] += 1
        try:
            yield
        finally:
            self.open[method.name] -= 1

    def _room(self, method: Method) -> tuple[str, int]:
        """Return what kind of call it is, and how many of them may go on."""
        kind = _kind_of(method)
        return kind, {
            _STREAMS: self._limits.streams,
            _UPLOADS: self._limits.uploads,
            _CALLS: self._limits.calls,
        }[kind]

    @contextmanager
    def _share(self, method: Method, caller: Caller | None) -> Iterator[None]:
        """Keep one caller from taking all the room that there is for streams."""
        if caller is None or not method.gives_stream:
            yield
            return
        if self._streams_of[caller.name] >= self._limits.streams_per_caller:
            raise OverloadedError(
                f"{caller.name!r} has {self._limits.streams_per_caller} streams open already: end"
                " some of them first"
            )
        self._streams_of[caller.name] += 1
        try:
            yield
        finally:
            self._streams_of[caller.name] -= 1
            self._streams_of += Counter()  # forgets those who have none

    def _ending(self) -> UnavailableError:
        if self._has_others:
            return UnavailableError("this gateway ends: go on at another", retry_after_s=0.1)
        return UnavailableError(
            "the server has ended, and its jobs and results with it", retry_after_s=None
        )
