"""Uploads of code: refused before they are read, counted while they come, kept when whole."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from disco.v1 import job_pb2, jobs_pb2
from disco_engine.partition.budget import ByteBudget
from disco_gateway.backend import Backend, Caller, Verb
from disco_gateway.checks import Findings, check_namespace, digest_problem
from disco_gateway.errors import DeadlineError, InvalidRequestError, OverloadedError
from disco_gateway.limits import Limits

LOADER = "disco.program:load"
"""The only loader that may be asked for: what it gets is code, and nobody else's."""

_COPIES = 3
"""How often a whole upload is in memory for a moment: as it came, joined, and parsed."""

_Requests = AsyncIterator[jobs_pb2.UploadCodeRequest]


class Uploads:
    """All uploads that go on, and the memory that they share."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self._backend = backend
        self._idle_s = limits.upload_idle_s
        self._wait_s = limits.upload_wait_s
        self._memory = ByteBudget(limits.upload_memory_bytes)

    async def receive(self, caller: Caller, requests: _Requests) -> jobs_pb2.UploadCodeReply:
        """Keep the code that *requests* bring; what is there already is not asked for.

        Raises:
            InvalidRequestError: It is too large, not what was announced, or no code.
            DeniedError: The caller may not submit jobs there.
            OverloadedError: Others upload so much that there is no memory for it.
            DeadlineError: Nothing came for a while.
        """
        first = await self._next(requests)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidRequestError.of("header", "must come first")
        header = first.header
        namespace = header.namespace or self._backend.default_namespace
        check_namespace(namespace, "header.namespace")
        await self._backend.authorize(caller, Verb.CREATE, namespace)
        store = self._backend.code
        _check(header, store.max_bytes)
        reply = jobs_pb2.UploadCodeReply(sha256=header.sha256, size_bytes=header.size_bytes)
        if await store.has(namespace, header.sha256):
            reply.was_there = True
            return reply
        size = header.size_bytes * _COPIES
        await self._take(size)
        try:
            code = await self._code(header, requests)
            await store.put(namespace, header.sha256, code)
        finally:
            self._memory.give(size)
        return reply

    async def _take(self, size: int) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._memory.take(size)
        except TimeoutError as error:
            raise OverloadedError(
                "other uploads take all the memory that there is for them: try again soon",
                retry_after_s=5.0,
            ) from error

    async def _code(self, header: jobs_pb2.CodeHeader, requests: _Requests) -> bytes:
        """Return all that comes, once it is found to be what was announced."""
        chunks: list[bytes] = []
        digest, size = hashlib.sha256(), 0
        while (request := await self._next(requests)) is not None:
            if request.WhichOneof("part") != "chunk":
                raise InvalidRequestError.of("chunk", "expected after the header, and nothing else")
            size += len(request.chunk)
            if size > header.size_bytes:
                break
            digest.update(request.chunk)
            chunks.append(request.chunk)
        if size != header.size_bytes:
            raise InvalidRequestError.of(
                "header.size_bytes",
                f"{header.size_bytes} bytes were announced, and"
                f" {'more' if size > header.size_bytes else f'only {size}'} came",
            )
        if digest.hexdigest() != header.sha256:
            raise InvalidRequestError.of(
                "header.sha256", f"does not fit what came, which has {digest.hexdigest()}"
            )
        code = b"".join(chunks)
        _check_code(code)
        return code

    async def _next(self, requests: _Requests) -> jobs_pb2.UploadCodeRequest | None:
        """Return the next request; None: that was all."""
        try:
            async with asyncio.timeout(self._idle_s):
                return await anext(requests, None)
        except TimeoutError as error:
            raise DeadlineError(
                f"nothing came for {self._idle_s:g} s: send the code again"
            ) from error


def _check(header: jobs_pb2.CodeHeader, max_bytes: int) -> None:
    findings = Findings()
    findings.add("header.sha256", digest_problem(header.sha256))
    if not 0 < header.size_bytes <= max_bytes:
        findings.add(
            "header.size_bytes",
            f"expected 1 to {max_bytes} bytes, found {header.size_bytes}: large files are inputs"
            " of a job, or belong into its image",
        )
    findings.settle()


def _check_code(code: bytes) -> None:
    """Refuse what no worker could load; nothing in it is run, or unpickled, here."""
    try:
        loader = job_pb2.JobCode.FromString(code).loader
    except DecodeError as error:
        raise InvalidRequestError.of("chunk", "is not a serialised disco.v1.JobCode") from error
    if loader != LOADER:
        raise InvalidRequestError.of("chunk", f"expected loader {LOADER!r}, found {loader[:80]!r}")
