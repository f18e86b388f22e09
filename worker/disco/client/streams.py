"""The calls whose answers are streams: how jobs stand, what they printed, what they made."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from disco.client.counting import Counted, is_last
from disco.client.server import Server
from disco.v1 import jobs_pb2
from disco_engine.phases import ENDED


class Streams(Server):
    """Streams of one server, which go on where they broke, and tell nothing twice."""

    async def watch(
        self,
        name: str,
        *,
        namespace: str | None = None,
        cursor: str = "",
        on_silence: Callable[[str], None] | None = None,
    ) -> AsyncGenerator[jobs_pb2.WatchJobReply, None]:
        """Yield how a job stands, and its events, until it has ended.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            cursor: Of the last reply that was seen; empty: from the oldest event that is kept.
            on_silence: Called with a sentence when the server does not answer, and is asked again
                and again; the next reply ends that, or an error.

        Raises:
            GoneError: The job was replaced by another of its name.
        """
        request = jobs_pb2.WatchJobRequest(
            namespace=await self._in(namespace), name=name, cursor=cursor
        )
        replies = self._open.stream(
            "Watch", self._stub.Watch, request, may_end=has_ended, on_silence=on_silence
        )
        async with aclosing(replies):
            async for reply in replies:
                yield reply

    async def logs(
        self,
        name: str,
        *,
        namespace: str | None = None,
        stage: str = "",
        task: int | None = None,
        attempt: int | None = None,
        follow: bool = False,
        cursor: str = "",
    ) -> AsyncGenerator[jobs_pb2.LogsReply, None]:
        """Yield what a job's code has printed; with *follow*, until the job has ended.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            stage: Only of this stage; empty: of all.
            task: Only of this task of the stage.
            attempt: Only of this attempt at it.
            follow: Go on.
            cursor: Of the last reply that was seen.
        """
        request = jobs_pb2.LogsRequest(
            namespace=await self._in(namespace),
            name=name,
            stage=stage,
            task=task,
            attempt=attempt,
            follow=follow,
            cursor=cursor,
        )
        replies = self._open.stream("Logs", self._stub.Logs, request, may_end=lambda reply: True)
        async with aclosing(replies):
            async for reply in replies:
                yield reply

    async def results(
        self,
        name: str,
        *,
        namespace: str | None = None,
        first_part: int = 0,
        parts: int = 0,
        cursor: str = "",
    ) -> AsyncGenerator[jobs_pb2.ResultsReply, None]:
        """Yield the frames of a job's records, part by part.

        The first reply has ``info``. If the records are in an output (``info.output_url``), nothing
        follows. What comes is counted; with a *cursor* it cannot be.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            first_part: From 0.
            parts: How many; 0: all that follow.
            cursor: Of the last reply that was seen; the other arguments as then.

        Raises:
            NotPossibleError: The job has not succeeded, or its results are lost.
            LostRecordsError: The counts differ.
        """
        request = jobs_pb2.ResultsRequest(
            namespace=await self._in(namespace),
            name=name,
            first_part=first_part,
            parts=parts,
            cursor=cursor,
        )
        counted = Counted(f"{request.namespace}/{name}".lstrip("/"))
        replies = self._open.stream("Results", self._stub.Results, request, may_end=is_last)
        async with aclosing(replies):
            async for reply in replies:
                counted.add(reply)
                yield reply
                if is_last(reply):
                    break
        if not cursor:
            counted.check()

    async def values(
        self,
        name: str,
        *,
        namespace: str | None = None,
        key: str = "",
        prefix: str = "",
        keys_only: bool = False,
    ) -> dict[str, bytes]:
        """Return what a job's tasks that have finished put beside their records, keys ascending.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            key: Only this one; nothing is returned if there is none. Empty: all with *prefix*.
            prefix: What the keys begin with.
            keys_only: Have empty values.

        Raises:
            NotPossibleError: The job has ended, and they are not kept any more.
        """
        request = jobs_pb2.JobValuesRequest(
            namespace=await self._in(namespace),
            name=name,
            key=key,
            prefix=prefix,
            keys_only=keys_only,
        )
        found: dict[str, bytes] = {}
        replies = self._open.stream(
            "Values", self._stub.Values, request, may_end=lambda reply: bool(reply and reply.last)
        )
        async with aclosing(replies):
            async for reply in replies:
                found.update((value.key, value.value) for value in reply.values)
        return found


def has_ended(reply: jobs_pb2.WatchJobReply | None) -> bool:
    """Return whether nothing follows in a watch: its job has ended."""
    return reply is not None and reply.job.phase in ENDED
